//! Writing the notations of the protocol (its section 3), appended to a buffer.

pub(super) fn short(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A count or number of replicas as `[int]`.
pub(super) fn number(out: &mut Vec<u8>, value: usize) {
    int(out, i32::try_from(value).unwrap_or(i32::MAX));
}

/// A `[string]`; longer than its length can say, it is cut at a character.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    short(out, text.len() as u16);
    out.extend_from_slice(text.as_bytes());
}

/// A `[short bytes]` of at most 65,535 bytes.
pub(super) fn short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX), "ids and addresses are short");
    short(out, bytes.len() as u16);
    out.extend_from_slice(bytes);
}

/// A `[bytes]`.
pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    number(out, value.len());
    out.extend_from_slice(value);
}

/// A `[string list]`.
pub(super) fn string_list<'a>(out: &mut Vec<u8>, list: impl ExactSizeIterator<Item = &'a str>) {
    short(out, list.len().min(usize::from(u16::MAX)) as u16);
    for text in list.take(usize::from(u16::MAX)) {
        string(out, text);
    }
}
