//! Tokens: where a partition stands on the ring.
//!
//! Apache Cassandra's `Murmur3Partitioner`: the first 64 bits of MurmurHash3 x64 128 with seed 0,
//! where the tail bytes are *sign-extended* before they are mixed (a difference from the published
//! algorithm that every driver reproduces to find the replica of a row), and `i64::MIN` mapped to
//! `i64::MAX`, because the minimum stands for "before everything".

/// A place on the ring.
pub type Token = i64;

/// The token before every partition's.
pub const MIN_TOKEN: Token = i64::MIN;
/// The last token a partition may have.
pub const MAX_TOKEN: Token = i64::MAX;

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn fmix(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

/// The token of a serialized partition key (one component as it is, several in Cassandra's
/// composite form).
pub fn token_of(key: &[u8]) -> Token {
    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = key.chunks_exact(16);
    for block in &mut blocks {
        let (low, high) = block.split_at(8);
        let k1 = u64::from_le_bytes(low.try_into().expect("half of a 16-byte block"));
        let k2 = u64::from_le_bytes(high.try_into().expect("half of a 16-byte block"));
        h1 ^= mix1(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (mut k1, mut k2) = (0u64, 0u64);
    for (i, &byte) in blocks.remainder().iter().enumerate() {
        let extended = byte as i8 as i64 as u64;
        if i < 8 {
            k1 ^= extended << (8 * i);
        } else {
            k2 ^= extended << (8 * (i - 8));
        }
    }
    // Mixing zero gives zero, so an absent half needs no special case.
    h1 ^= mix1(k1);
    h2 ^= mix2(k2);
    h1 ^= key.len() as u64;
    h2 ^= key.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let token = fmix(h1).wrapping_add(fmix(h2)) as i64;
    if token == i64::MIN { i64::MAX } else { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the Python driver's own `murmur3`, which has to agree with the server's.
    #[test]
    fn tokens_agree_with_the_python_driver() {
        let cases: [(&[u8], i64); 6] = [
            (b"123", -7468325962851647638),
            (b"\x00\xff\x10\xfa\x99".repeat(10).leak(), 5837342703291459765),
            (b"\xfe".repeat(8).leak(), -8927430733708461935),
            (b"\x10".repeat(8).leak(), 1446172840243228796),
            (b"9223372036854775807", 7162290910810015547),
            (b"", 0),
        ];
        for (key, token) in cases {
            assert_eq!(token_of(key), token, "{key:?}");
        }
    }
}
