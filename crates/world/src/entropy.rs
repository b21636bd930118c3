//! Random numbers: the operating system's, or a seeded stream.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers. Clones share one stream.
#[derive(Clone, Debug)]
pub struct Entropy(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real,
    Sim(Arc<Mutex<u64>>),
}

impl Entropy {
    /// The operating system's.
    pub fn real() -> Entropy {
        Entropy(Kind::Real)
    }

    /// The same stream for the same seed.
    pub fn seeded(seed: u64) -> Entropy {
        Entropy(Kind::Sim(Arc::new(Mutex::new(seed))))
    }

    /// Fills `bytes`.
    ///
    /// # Panics
    /// When the operating system has no entropy to give, without which no id is safe.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Kind::Real => getrandom::fill(bytes).expect("the operating system gives entropy"),
            Kind::Sim(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&splitmix64(&mut state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }

    /// A random u64.
    pub fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number below `bound`, which must not be 0. The bias of the modulo is below
    /// 2^-32 for bounds below 2^32.
    pub fn below(&self, bound: u64) -> u64 {
        self.u64() % bound
    }

    /// A random UUID (version 4, RFC 9562 section 5.4) as a big-endian number.
    pub fn uuid(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        let random = u128::from_be_bytes(bytes);
        random & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62)
    }
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream() {
        let draw = |seed| {
            let entropy = Entropy::seeded(seed);
            [entropy.u64(), entropy.u64()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn uuids_are_version_4() {
        for entropy in [Entropy::real(), Entropy::seeded(3)] {
            let uuid = entropy.uuid();
            assert_eq!(uuid >> 76 & 0xf, 4);
            assert_eq!(uuid >> 62 & 0x3, 2);
        }
    }
}
