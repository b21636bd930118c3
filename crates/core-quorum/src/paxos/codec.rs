//! The bytes of an acceptor's state on disk, version 1.
//!
//! ```text
//! state  = 1 u8 | promised ballot | accepted vote? | committed vote?
//! ballot = time u64 | node u64
//! vote?  = 0 u8 | 1 u8 | ballot | origin ballot | base ballot | value bytes
//! ```

use base::{Hlc, Malformed, NodeId, Reader, Writer};
use bytes::Bytes;

use crate::paxos::{Acceptor, Ballot, Decree, Vote};

const VERSION: u8 = 1;

impl Acceptor {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let vote = |vote: &Option<Vote>| vote.as_ref().map_or(0, |vote| vote.decree.value.len() + 56);
        let mut out = Writer::with_capacity(20 + vote(&self.accepted) + vote(&self.committed));
        out.u8(VERSION);
        put_ballot(&mut out, self.promised);
        put_vote(&mut out, self.accepted.as_ref());
        put_vote(&mut out, self.committed.as_ref());
        out.into_vec()
    }

    /// Reads what [`Acceptor::encode`] wrote; refuses anything else.
    pub fn decode(bytes: &[u8]) -> Result<Acceptor, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8("paxos state version")? != VERSION {
            return Err(Malformed("paxos state version"));
        }
        let promised = take_ballot(&mut reader)?;
        let accepted = take_vote(&mut reader)?;
        let committed = take_vote(&mut reader)?;
        reader.end("paxos state")?;
        Ok(Acceptor::restored(promised, accepted, committed))
    }
}

fn put_ballot(out: &mut Writer, ballot: Ballot) {
    out.u64(ballot.time.0);
    out.u64(ballot.node.0);
}

fn take_ballot(reader: &mut Reader<'_>) -> Result<Ballot, Malformed> {
    let time = Hlc(reader.u64("ballot time")?);
    Ok(Ballot { time, node: NodeId(reader.u64("ballot node")?) })
}

fn put_vote(out: &mut Writer, vote: Option<&Vote>) {
    out.u8(u8::from(vote.is_some()));
    if let Some(Vote { ballot, decree }) = vote {
        put_ballot(out, *ballot);
        put_ballot(out, decree.origin);
        put_ballot(out, decree.base);
        out.bytes(&decree.value);
    }
}

fn take_vote(reader: &mut Reader<'_>) -> Result<Option<Vote>, Malformed> {
    match reader.u8("vote")? {
        0 => Ok(None),
        1 => {
            let ballot = take_ballot(reader)?;
            let (origin, base) = (take_ballot(reader)?, take_ballot(reader)?);
            let value = Bytes::copy_from_slice(reader.bytes("decree")?);
            Ok(Some(Vote { ballot, decree: Decree { origin, base, value } }))
        }
        _ => Err(Malformed("vote")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ballot() -> impl Strategy<Value = Ballot> {
        (any::<u64>(), any::<u64>()).prop_map(|(time, node)| Ballot { time: Hlc(time), node: NodeId(node) })
    }

    fn vote() -> impl Strategy<Value = Option<Vote>> {
        let decree = (ballot(), ballot(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(origin, base, value)| Decree { origin, base, value: value.into() });
        prop::option::of((ballot(), decree).prop_map(|(ballot, decree)| Vote { ballot, decree }))
    }

    proptest! {
        #[test]
        fn it_comes_back_and_no_part_of_it_does(promised in ballot(), accepted in vote(), committed in vote()) {
            let acceptor = Acceptor::restored(promised, accepted, committed);
            let bytes = acceptor.encode();
            prop_assert_eq!(Acceptor::decode(&bytes), Ok(acceptor));
            for cut in 0..bytes.len() {
                prop_assert!(Acceptor::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Acceptor::decode(&bytes);
        }
    }

    #[test]
    fn the_layout_is_pinned() {
        let ballot = |time| Ballot { time: Hlc(time), node: NodeId(2) };
        let decree = Decree { origin: ballot(7), base: ballot(5), value: Bytes::from_static(b"xy") };
        let acceptor = Acceptor::restored(ballot(9), Some(Vote { ballot: ballot(8), decree }), None);
        let mut expected = vec![1];
        for (time, flag) in [(9u64, Some(1u8)), (8, None), (7, None), (5, None)] {
            expected.extend(time.to_le_bytes());
            expected.extend(2u64.to_le_bytes());
            expected.extend(flag);
        }
        expected.extend([2, b'x', b'y', 0]);
        assert_eq!(acceptor.encode(), expected);
    }
}
