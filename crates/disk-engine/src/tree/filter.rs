//! [`Filter`]: a Bloom filter (Bloom, 1970), which says of a key that it is certainly not there, or
//! perhaps is: with 10 bits a key and 7 probes, one miss in a hundred is not recognised.
//!
//! The probes are `h1 + i * h2` (Kirsch and Mitzenmacher, 2006), of one 64-bit hash.

use base::Malformed;

use super::format::checksum;

const BITS_A_KEY: usize = 10;
const PROBES: u8 = 7;

/// A filter, read.
#[derive(Debug)]
pub(crate) struct Filter {
    probes: u8,
    bits: Vec<u8>,
}

impl Filter {
    pub(crate) fn decode(mut payload: Vec<u8>) -> Result<Filter, Malformed> {
        match payload.first() {
            Some(&probes @ 1..=30) if payload.len() > 1 => {
                payload.remove(0);
                Ok(Filter { probes, bits: payload })
            }
            _ => Err(Malformed("filter")),
        }
    }

    /// False if no key with this hash was put in.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        places(hash, self.probes, self.bits.len() * 8).all(|bit| self.bits[bit / 8] & (1 << (bit % 8)) != 0)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bits.len()
    }
}

/// The payload of a filter block for keys with these hashes.
pub(crate) fn encode(hashes: &[u64]) -> Vec<u8> {
    let bytes = (hashes.len() * BITS_A_KEY).div_ceil(8).max(8);
    let mut payload = vec![0; 1 + bytes];
    payload[0] = PROBES;
    for &hash in hashes {
        for bit in places(hash, PROBES, bytes * 8) {
            payload[1 + bit / 8] |= 1 << (bit % 8);
        }
    }
    payload
}

fn places(hash: u64, probes: u8, bits: usize) -> impl Iterator<Item = usize> {
    let (first, step) = (hash, (hash >> 33) | 1);
    (0..u64::from(probes)).map(move |probe| (first.wrapping_add(probe * step) % bits as u64) as usize)
}

/// The hash of a key: its checksum, whose bits are then mixed (a checksum is linear, which the
/// finalizer of MurmurHash3 is not). It is part of the format.
pub(crate) fn hash(key: &[u8]) -> u64 {
    let mut hash = checksum(&[key]);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn it_forgets_nothing_and_turns_away_most() {
        let key = |n: u32| hash(format!("key {n}").as_bytes());
        let hashes: Vec<u64> = (0..10_000).map(key).collect();
        let filter = Filter::decode(encode(&hashes)).unwrap();
        assert!(hashes.iter().all(|&hash| filter.may_hold(hash)));
        let wrong = (10_000..110_000).filter(|&n| filter.may_hold(key(n))).count();
        assert!((500..1_500).contains(&wrong), "{wrong} of 100000");
    }

    #[test]
    fn other_bytes_are_refused() {
        for payload in [vec![], vec![7], vec![0, 1], vec![31, 1]] {
            assert!(Filter::decode(payload).is_err());
        }
    }
}
