//! Bytes to messages and back: ZooKeeper's records, plain functions of byte slices.
//!
//! A message is a frame: a four-byte length and that many bytes, all integers big-endian. The
//! records inside are "jute" ([`jute`]); requests are decoded in [`request`], replies encoded in
//! [`reply`]. Nothing here knows the tree, and decoders borrow from the frame.

pub(crate) mod jute;
pub(crate) mod reply;
pub(crate) mod request;

/// Bytes of the length in front of each frame.
pub(crate) const LENGTH_BYTES: usize = 4;

/// The next frame of `input`, without its length.
pub(crate) enum Frame<'a> {
    /// A whole frame.
    Whole(&'a [u8]),
    /// More bytes are needed.
    Unfinished,
    /// A length that no honest client sends: negative or above the bound.
    Unreasonable,
}

/// Takes a frame of at most `max_bytes` from the front of `input`.
pub(crate) fn frame(input: &[u8], max_bytes: usize) -> Frame<'_> {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else { return Frame::Unfinished };
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) if length <= max_bytes => rest.get(..length).map_or(Frame::Unfinished, Frame::Whole),
        _ => Frame::Unreasonable,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_split_at_every_byte_is_the_same_frame() {
        let bytes = [0, 0, 0, 3, 7, 8, 9, 1];
        for have in 0..7 {
            assert!(matches!(frame(&bytes[..have], 10), Frame::Unfinished), "{have} bytes");
        }
        assert!(matches!(frame(&bytes, 10), Frame::Whole([7, 8, 9])));
    }

    #[test]
    fn a_lying_length_is_refused_before_its_bytes_arrive() {
        assert!(matches!(frame(&[0, 0, 0, 11], 10), Frame::Unreasonable));
        assert!(matches!(frame(&[0xff, 0xff, 0xff, 0xff], 10), Frame::Unreasonable));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Frame::Whole(body) = frame(&bytes, 64) {
                prop_assert!(body.len() <= 64);
            }
        }
    }
}
