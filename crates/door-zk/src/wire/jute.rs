//! Jute, ZooKeeper's record encoding: big-endian integers, a length in front of strings, buffers
//! and vectors, -1 as the length of null. No tags, no versions, no padding.

use std::fmt;

/// A frame that is not what its opcode claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed request")
    }
}

/// A cursor over a frame. Lengths are checked against what is really there, so reading allocates
/// nothing.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.array::<1>()?[0] != 0)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer; `None` is null.
    pub(crate) fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let len = self.i32()?;
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some(head))
    }

    /// A string; `None` is null. ZooKeeper replaces broken UTF-8 by U+FFFD, which no path may
    /// hold; here it is malformed at once.
    pub(crate) fn string(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.buffer()?.map(|bytes| std::str::from_utf8(bytes).map_err(|_| Malformed)).transpose()
    }

    /// A string that may not be null.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.string()?.ok_or(Malformed)
    }

    /// The count of a vector whose items take at least `item_bytes` each, so never more than what
    /// is left could hold; null counts as none.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, Malformed> {
        let count = self.i32()?;
        if count == -1 {
            return Ok(0);
        }
        let count = usize::try_from(count).map_err(|_| Malformed)?;
        if count > self.rest.len() / item_bytes { Err(Malformed) } else { Ok(count) }
    }
}

pub(crate) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

pub(crate) fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A length or count. Everything that is written fits a frame or the memory budget, both far
/// below 2 GiB.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_i32(out, i32::try_from(len).expect("records stay below 2 GiB"));
}

pub(crate) fn put_buffer(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_len(out, bytes.len());
            out.extend_from_slice(bytes);
        }
        None => put_i32(out, -1),
    }
}

pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_buffer(out, Some(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn null_and_empty_differ() {
        let mut out = Vec::new();
        put_buffer(&mut out, None);
        put_buffer(&mut out, Some(b""));
        put_str(&mut out, "/ä");
        let mut input = Input::new(&out);
        assert_eq!(input.buffer().unwrap(), None);
        assert_eq!(input.buffer().unwrap(), Some(&b""[..]));
        assert_eq!(input.text().unwrap(), "/ä");
        assert!(input.rest().is_empty());
    }

    #[test]
    fn lengths_beyond_the_frame_are_malformed() {
        for len in [2i32, i32::MAX, -2, i32::MIN] {
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.push(b'x');
            assert_eq!(Input::new(&bytes).buffer(), Err(Malformed), "{len}");
            assert_eq!(Input::new(&bytes).count(1), Err(Malformed), "{len}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut input = Input::new(&bytes);
            let _ = input.count(4);
            while let Ok(Some(slice)) = input.buffer() {
                prop_assert!(slice.len() <= bytes.len());
            }
            let _ = (input.bool(), input.i64(), input.string());
        }
    }
}
