//! [`Hello`]: what two nodes say of themselves before anything else, and [`Judge`], who says whether
//! they believe each other.
//!
//! Each side sends its hello and judges the other's; a connection stands when both are content. The link
//! checks nothing itself: what a fitting cluster, version, start or position is, the owner knows.

use base::{Malformed, NodeId, Reader, Writer};
use bytes::Bytes;

use crate::Answer;

/// What a node says of itself when a connection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster it belongs to.
    pub cluster: u128,
    /// Its name in the cluster.
    pub node: NodeId,
    /// The machine, as its disk remembers it.
    pub host_uuid: u128,
    /// How often the node has started. Whether that is the same disk as before and in the state that it was in, the
    /// groups judge, by every frame of theirs.
    pub start: u64,
    /// The lowest version of the cluster that the node can work with.
    pub version_min: u32,
    /// The highest.
    pub version_max: u32,
}

impl Hello {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u128(self.cluster);
        out.u64(self.node.0);
        out.u128(self.host_uuid);
        out.u64(self.start);
        out.u32(self.version_min);
        out.u32(self.version_max);
        out.into_vec()
    }

    /// From bytes. What stands behind is of a later version, and is passed over.
    ///
    /// # Errors
    /// When it is too short.
    pub fn decode(bytes: &[u8]) -> Result<Hello, Malformed> {
        let mut reader = Reader::new(bytes);
        Ok(Hello {
            cluster: reader.u128("hello")?,
            node: NodeId(reader.u64("hello")?),
            host_uuid: reader.u128("hello")?,
            start: reader.u64("hello")?,
            version_min: reader.u32("hello")?,
            version_max: reader.u32("hello")?,
        })
    }
}

/// Why a node is not spoken with, for a person; the other side is told in the same words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// The owner of a link, who knows what the node is and whom it believes.
pub trait Judge: Send + Sync {
    /// What the node says of itself now.
    fn hello(&self) -> Hello;

    /// Whether to speak with a node that says `theirs`. Called for every connection, on both of its sides.
    ///
    /// # Errors
    /// Why not.
    fn judge(&self, theirs: &Hello) -> Result<(), Refusal>;

    /// Somebody asks something ([`crate::ask()`]), who has shown a certificate and is no node yet. Must not wait: the
    /// answer may be given later. A node that has nothing to say drops it.
    fn ask(&self, question: Bytes, answer: Answer) {
        drop((question, answer));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_hello_comes_back_and_a_longer_one_is_understood() {
        let hello = Hello {
            cluster: 1 << 100,
            node: NodeId(7),
            host_uuid: 9,
            start: 3,
            version_min: 1,
            version_max: 2,
        };
        let mut bytes = hello.encode();
        for len in 0..bytes.len() {
            assert!(Hello::decode(&bytes[..len]).is_err());
        }
        assert_eq!(Hello::decode(&bytes).unwrap(), hello);
        bytes.extend_from_slice(b"of a later version");
        assert_eq!(Hello::decode(&bytes).unwrap(), hello);
    }
}
