//! A Bloom filter (Bloom, 1970), which says of a key that it is certainly not there, or perhaps is:
//! with 10 bits a key and 7 probes, one miss in a hundred is not recognised.
//!
//! It comes in pages: the hash of a key chooses a page, and all its probes are in that page. So a
//! lookup needs one small page and not the filter of a whole file in memory, and only one line of
//! the processor's page table; the price is that some pages are fuller than others, which at 3,000
//! keys a page is not measurable. The probes in a page are `h1 + i * h2` (Kirsch and Mitzenmacher,
//! 2006).

use base::Malformed;

const BITS_A_KEY: u64 = 10;
const PROBES: u8 = 7;
/// The most bytes of bits in a page.
const PAGE: u64 = 4096;

/// The pages of the filter for keys with these hashes, all of one length; none for no keys.
pub(crate) fn pages(hashes: &[u64]) -> Vec<Vec<u8>> {
    if hashes.is_empty() {
        return Vec::new();
    }
    let bytes = (hashes.len() as u64 * BITS_A_KEY).div_ceil(8).max(8);
    let count = bytes.div_ceil(PAGE);
    let mut pages = vec![vec![0; 1 + bytes.div_ceil(count) as usize]; count as usize];
    for page in &mut pages {
        page[0] = PROBES;
    }
    for &hash in hashes {
        let page = &mut pages[page_of(hash, count as u32) as usize];
        for bit in places(hash, PROBES, page.len() - 1) {
            page[1 + bit / 8] |= 1 << (bit % 8);
        }
    }
    pages
}

/// Which of `pages` knows the keys with this hash.
pub(crate) fn page_of(hash: u64, pages: u32) -> u32 {
    ((u128::from(hash) * u128::from(pages)) >> 64) as u32
}

/// False if no key with this hash was put into this page.
pub(crate) fn may_hold(page: &[u8], hash: u64) -> Result<bool, Malformed> {
    match page.split_first() {
        Some((&probes @ 1..=30, bits)) if !bits.is_empty() => {
            Ok(places(hash, probes, bits.len()).all(|bit| bits[bit / 8] & (1 << (bit % 8)) != 0))
        }
        _ => Err(Malformed("filter")),
    }
}

fn places(hash: u64, probes: u8, bytes: usize) -> impl Iterator<Item = usize> {
    // Mixed anew: the upper bits have chosen the page, so in it they are nearly the same.
    let mixed = fold(hash, SALT[3]);
    let (first, step) = (mixed as u32, (mixed >> 32) as u32 | 1);
    let bits = bytes as u64 * 8;
    (0..u32::from(probes)).map(move |probe| {
        let place = first.wrapping_add(probe.wrapping_mul(step));
        ((u64::from(place) * bits) >> 32) as usize
    })
}

/// Fractional digits of pi, as good as any.
const SALT: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// The hash of a key: 16 bytes at a time, the last ones filled up with zeros, each folded into it by
/// a multiplication to 128 bits (Wang Yi, wyhash, 2019). It is part of the format.
pub(crate) fn hash(key: &[u8]) -> u64 {
    let mut hash = SALT[0];
    let (whole, rest) = key.as_chunks::<16>();
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    for piece in whole.iter().chain([&last]) {
        let number = u128::from_le_bytes(*piece);
        hash = fold(number as u64 ^ SALT[1], (number >> 64) as u64 ^ hash);
    }
    fold(hash ^ SALT[2], key.len() as u64 ^ SALT[1])
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn held(pages: &[Vec<u8>], hash: u64) -> bool {
        may_hold(&pages[page_of(hash, pages.len() as u32) as usize], hash).unwrap()
    }

    /// Shapes of keys: text, a number at the front, one at the back behind a long common part.
    const SHAPES: [fn(u32) -> Vec<u8>; 4] = [
        |n| format!("key {n}").into_bytes(),
        |n| n.to_be_bytes().to_vec(),
        |n| [&[7; 40][..], &n.to_le_bytes()].concat(),
        |n| [&u64::from(n).to_be_bytes()[..], b"the same end of all of them"].concat(),
    ];

    #[test]
    fn it_forgets_nothing_and_turns_away_99_of_100() {
        for shape in SHAPES {
            for count in [1, 100, 5_000, 60_000] {
                let key = |n: u32| hash(&shape(n));
                let hashes: Vec<u64> = (0..count).map(key).collect();
                let pages = pages(&hashes);
                assert!(pages.iter().all(|page| page.len() == pages[0].len() && page.len() <= 4097));
                assert!(hashes.iter().all(|&hash| held(&pages, hash)));
                let wrong = (count..count + 100_000).filter(|&n| held(&pages, key(n))).count();
                assert!(wrong < 1_100 && (count < 5_000 || wrong > 600), "{wrong} of 100000, {count} keys");
            }
        }
    }

    #[test]
    fn the_hash_stays_as_it_is() {
        assert_eq!(hash(b""), 12_572_389_119_662_025_932);
        assert_eq!(hash(b"key"), 9_696_696_232_442_133_991);
        assert_eq!(hash(b"a key that is longer than sixteen bytes"), 9_524_965_339_641_934_144);
    }

    #[test]
    fn other_bytes_are_refused() {
        for page in [&[][..], &[7], &[0, 1], &[31, 1]] {
            assert!(may_hold(page, 1).is_err());
        }
    }
}
