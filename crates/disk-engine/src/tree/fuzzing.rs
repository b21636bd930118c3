//! The readers of files, for tests and fuzzers. A checksum stands before each of them; here it is put
//! right, because what hides behind it must bear any bytes too: a fault of ours is sealed like all else.

use bytes::Bytes;
use world::garbage::Target;

use super::{
    TreeId,
    block::{Block, BlockBuilder, BlockCursor},
    filter,
    format::{FOOTER, FilterPlace, Footer, Place, Root, checksum},
    manifest::Manifest,
    ranges::decode_marks,
    rule::{LastWriteWins, Merge, decode_cell, encode_cell},
    seal::{Compression, Sealer, open_block, reseal},
};

/// Every reader of this module.
pub const TARGETS: [Target; 6] = [
    Target { name: "engine_block", samples: blocks, read: block },
    Target { name: "engine_stored_block", samples: stored_blocks, read: stored_block },
    Target { name: "engine_footer", samples: footers, read: footer },
    Target { name: "engine_manifest", samples: manifests, read: manifest },
    Target { name: "engine_parts", samples: parts, read: part },
    Target { name: "engine_cell", samples: cells, read: cell },
];

/// Entries of a block: keys that share, a few versions each.
fn payload(interval: usize) -> Vec<u8> {
    let mut builder = BlockBuilder::new(interval);
    for n in 0..20 {
        let key = format!("key-{:03}", n / 2);
        builder.push(key.as_bytes(), 100 - n % 2, &vec![b'v'; n as usize * 3]);
    }
    builder.finish(<[u8]>::to_vec)
}

fn blocks() -> Vec<Vec<u8>> {
    vec![payload(1), payload(16), BlockBuilder::new(16).finish(<[u8]>::to_vec)]
}

/// The payload of a block: both ways through it end, and so do searches.
fn block(bytes: &[u8]) -> bool {
    let Ok(block) = Block::parse(Bytes::copy_from_slice(bytes)) else { return false };
    for (key, sequence) in [(&b""[..], u64::MAX), (b"key-004", 99), (b"\xff", 0)] {
        let _ = block.find(key, sequence);
        let _ = block.collect(key, sequence, &mut Default::default());
        let mut cursor = BlockCursor::new(block.clone());
        let _ = cursor.seek(key, sequence);
    }
    let mut cursor = BlockCursor::new(block.clone());
    let mut forward = 0;
    let mut at = cursor.first();
    while at.is_ok() && cursor.key().is_some() {
        assert!(cursor.value().is_some());
        forward += 1;
        at = cursor.next();
    }
    // An entry takes four bytes at least.
    assert!(forward <= bytes.len() / 4);
    let is_good = at.is_ok();
    let mut cursor = BlockCursor::new(block);
    let mut backward = 0;
    let mut at = cursor.last();
    while at.is_ok() && cursor.key().is_some() {
        backward += 1;
        assert!(backward <= bytes.len() / 4, "the way back has no end");
        at = cursor.prev();
    }
    is_good && at.is_ok() && forward == backward
}

fn stored_blocks() -> Vec<Vec<u8>> {
    let kinds = [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }];
    let stored = |compression| {
        let mut out = Vec::new();
        Sealer::new(compression).seal(&payload(16), (7, 100), &mut out);
        out
    };
    kinds.into_iter().map(stored).collect()
}

/// A block as it is stored, its checksum put right.
fn stored_block(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    reseal(&mut bytes, (7, 100));
    open_block(&bytes.into(), 7, 100).is_ok_and(|payload| block(&payload))
}

fn sample_footer() -> Footer {
    let root = |offset, height| Root { place: Place { offset, len: 20 }, height };
    let filter = |offset| FilterPlace { offset, pages: 2, page_len: 300 };
    Footer {
        file_id: 3,
        tree: TreeId(9),
        data: root(1, 3),
        ranges: root(2, 1),
        key_filter: filter(1000),
        prefix_filter: filter(2000),
        entries: 8,
        oldest: -5,
    }
}

fn footers() -> Vec<Vec<u8>> {
    vec![sample_footer().encode().to_vec()]
}

/// A footer, its checksum put right: the same bytes again, or refused.
fn footer(bytes: &[u8]) -> bool {
    let Some(mut bytes) = bytes.first_chunk::<FOOTER>().copied() else { return false };
    let check = checksum(&[&bytes[..FOOTER - 8]]);
    bytes[FOOTER - 8..].copy_from_slice(&check.to_le_bytes());
    let Ok(footer) = Footer::decode(&bytes) else { return false };
    assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
    let _ = (footer.key_filter.page(u32::MAX), footer.prefix_filter.page(1));
    true
}

fn manifests() -> Vec<Vec<u8>> {
    vec![Manifest::new().encode(), Manifest::example().encode()]
}

/// A manifest, its checksum put right: what is read is written and read again as the same.
fn manifest(bytes: &[u8]) -> bool {
    let Some(body) = bytes.len().checked_sub(8) else { return false };
    let check = checksum(&[&bytes[..body]]).to_le_bytes();
    let Ok(manifest) = Manifest::decode(&[&bytes[..body], &check].concat()) else { return false };
    assert!(matches!(Manifest::decode(&manifest.encode()), Ok(again) if again == manifest));
    true
}

fn parts() -> Vec<Vec<u8>> {
    let marks = vec![5, 9, 0, 0, 0, 0, 0, 0, 0, 6, 10, 0, 0, 0, 0, 0, 0, 0];
    let page = filter::pages(&[1, 1 << 40, u64::MAX]).remove(0);
    vec![marks, page, Place { offset: 7, len: 20 }.encode().to_vec()]
}

/// What is inside blocks: marks of range deletions, pages of filters, places.
fn part(bytes: &[u8]) -> bool {
    let marks = decode_marks(bytes);
    if let Ok(marks) = &marks {
        assert!(marks.len() <= bytes.len() / 9, "a mark takes nine bytes at least");
    }
    let page = filter::may_hold(bytes, filter::hash(bytes));
    let place = Place::decode(bytes);
    if let Ok(place) = place {
        assert_eq!(place.encode(), bytes);
    }
    marks.is_ok() || page.is_ok() || place.is_ok()
}

fn cells() -> Vec<Vec<u8>> {
    let live = base::Cell::live(5, "value".into());
    let brief = base::Cell { ttl_seconds: 9, expires_at_seconds: 1000, ..live.clone() };
    [live, brief].iter().map(|cell| encode_cell(cell).to_vec()).collect()
}

/// A value of a tree of cells, under every rule.
fn cell(bytes: &[u8]) -> bool {
    let rule = LastWriteWins { prefix_bytes: 3 };
    let is_cell = rule.oldest(bytes).is_ok();
    assert_eq!(decode_cell(bytes).is_ok(), is_cell, "what `oldest` takes, all others take");
    let others = [
        rule.merge(bytes, bytes).is_ok(),
        rule.cover(bytes, 0).is_ok(),
        rule.purge(bytes, 0, 0).is_ok(),
        rule.lifetime(bytes).is_ok(),
    ];
    assert_eq!(others, [is_cell; 4]);
    is_cell
}
