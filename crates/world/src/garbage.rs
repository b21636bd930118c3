//! Bytes that no honest writer made, for the readers of bytes: good samples, damaged in the ways that
//! readers fall for, the same for the same seed.
//!
//! A crate lists its readers as [`Target`]s. Its tests attack each for a bounded number of rounds; the
//! programs in `fuzz/` do the same without a bound, guided by what the reader's code has seen.

use crate::Entropy;

/// Something that reads bytes from outside: a socket, a file, the log.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as a program and a folder of `fuzz/` have it.
    pub name: &'static str,
    /// Good bytes to begin with.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Reads bytes, and says whether it took them for good ones. Panics if it does what no reader may,
    /// whatever the bytes.
    pub read: fn(&[u8]) -> bool,
}

/// The longest sample of which every prefix is tried.
const PREFIXES_OF: usize = 1024;

impl Target {
    /// Reads every sample, every prefix of a sample, and `rounds` pieces of garbage.
    ///
    /// # Panics
    /// When the reader does, or when it refuses a sample. The bytes are printed.
    pub fn attack(&self, seed: u64, rounds: usize) {
        let samples = (self.samples)();
        for sample in &samples {
            for len in 0..sample.len().min(PREFIXES_OF) {
                self.once(&sample[..len], false);
            }
            self.once(sample, true);
        }
        for bytes in Garbage::new(seed, samples).take(rounds) {
            self.once(&bytes, false);
        }
    }

    fn once(&self, bytes: &[u8], is_sample: bool) {
        let witness = Witness { name: self.name, bytes };
        let is_good = (self.read)(bytes);
        assert!(is_good || !is_sample, "{}: a sample is refused", self.name);
        drop(witness);
    }
}

/// Prints what a reader panicked on.
struct Witness<'a> {
    name: &'static str,
    bytes: &'a [u8],
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} panicked on {} bytes: {:02x?}", self.name, self.bytes.len(), self.bytes);
        }
    }
}

/// An endless stream of garbage.
#[derive(Debug)]
pub struct Garbage {
    entropy: Entropy,
    samples: Vec<Vec<u8>>,
}

impl Garbage {
    /// Garbage made of `samples`; without any, of nothing.
    pub fn new(seed: u64, samples: Vec<Vec<u8>>) -> Garbage {
        Garbage { entropy: Entropy::seeded(seed), samples }
    }

    fn below(&self, bound: usize) -> usize {
        self.entropy.below(bound as u64) as usize
    }

    /// One of the samples, or sometimes bytes that have nothing to do with them.
    fn sample(&self) -> Vec<u8> {
        if self.samples.is_empty() || self.below(16) == 0 {
            let mut bytes = vec![0; self.below(80)];
            self.entropy.fill(&mut bytes);
            return bytes;
        }
        self.samples[self.below(self.samples.len())].clone()
    }

    /// A place in `bytes`, and how much from there on.
    fn span(&self, bytes: &[u8]) -> std::ops::Range<usize> {
        let from = self.below(bytes.len() + 1);
        let most = (bytes.len() - from).min(1 + self.below(64));
        from..from + most
    }

    fn damage(&self, bytes: &mut Vec<u8>) {
        const BYTES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        let at = self.below(bytes.len().max(1));
        match self.below(8) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 if at < bytes.len() => bytes[at] = BYTES[self.below(BYTES.len())],
            3 => {
                // A length or count that lies, in either order of bytes.
                const NUMBERS: [i32; 9] =
                    [-1, -2, 0, 1, i32::MAX, i32::MIN, 0x0100_0000, 0x7fff_0000, 0x0001_0000];
                let number = NUMBERS[self.below(NUMBERS.len())];
                let number = if self.below(2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
                if let Some(place) = bytes.get_mut(at..at + 4) {
                    place.copy_from_slice(&number);
                }
            }
            4 => {
                let span = self.span(bytes);
                bytes.drain(span);
            }
            5 => {
                let again = bytes[self.span(bytes)].to_vec();
                bytes.splice(at..at, again);
            }
            6 => {
                let other = self.sample();
                let part = other[self.span(&other)].to_vec();
                let at = at.min(bytes.len());
                bytes.splice(at..at, part);
            }
            _ => {
                let other = self.sample();
                bytes.truncate(at);
                bytes.extend_from_slice(&other[self.below(other.len().max(1)).min(other.len())..]);
            }
        }
    }
}

impl Iterator for Garbage {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.sample();
        for _ in 0..=self.below(4) {
            self.damage(&mut bytes);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_garbage_and_little_of_it_is_a_sample() {
        let samples = vec![b"hello, world".to_vec(), (0..=255).collect()];
        let garbage = |seed| Garbage::new(seed, samples.clone()).take(1000).collect::<Vec<_>>();
        assert_eq!(garbage(1), garbage(1));
        assert_ne!(garbage(1), garbage(2));
        let untouched = garbage(1).iter().filter(|bytes| samples.contains(bytes)).count();
        assert!(untouched < 100, "{untouched}");
        assert!(garbage(1).iter().all(|bytes| bytes.len() < 2000));
    }

    #[test]
    fn a_reader_is_given_every_prefix() {
        let target = Target {
            name: "prefix",
            samples: || vec![b"abc".to_vec()],
            read: |bytes| {
                assert_ne!(bytes, b"ab");
                bytes != b"y"
            },
        };
        assert!(std::panic::catch_unwind(|| target.attack(1, 0)).is_err());
        Target { samples: || vec![b"x".to_vec()], ..target }.attack(1, 1000);
        let refused = Target { samples: || vec![b"y".to_vec()], ..target };
        assert!(std::panic::catch_unwind(|| refused.attack(1, 0)).is_err());
    }
}
