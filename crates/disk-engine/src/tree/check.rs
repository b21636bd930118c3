//! Reading a whole file, past the cache, to tell what is wrong with it.
//!
//! More is checked than a reader can: that entries ascend and lie where the index says, that the
//! filter knows each key, that what the footer counts is there, and that no byte belongs to nothing.

use std::cmp::Ordering;

use bytes::Bytes;

use super::{
    Patience, TreeError,
    block::{BlockCursor, compare},
    file::FileHandle,
    filter,
    format::{FOOTER, FilterPlace, Footer, Place, Root},
    ranges::decode_marks,
};

/// A place in the order of entries.
type Bound = (Bytes, u64);

struct Check<'f> {
    file: &'f FileHandle,
    faults: Vec<TreeError>,
    /// Bytes of the blocks that were met.
    bytes: u64,
}

/// What the entries of a leaf are.
enum Leaf<'c> {
    /// Entries: their number so far, and the pages of the filter that must know their keys.
    Entries(&'c mut u64, &'c [Option<Bytes>]),
    Ranges,
}

impl FileHandle {
    /// Reads and checks all of it. Returns what is wrong, place by place.
    pub(crate) fn verify(&self) -> Vec<TreeError> {
        let footer = match self.read_footer(Patience::Wait) {
            Ok(footer) => footer,
            Err(error) => return vec![error],
        };
        let mut check = Check { file: self, faults: Vec::new(), bytes: FOOTER as u64 };
        check.all(&footer);
        check.faults
    }
}

impl Check<'_> {
    fn all(&mut self, footer: &Footer) {
        let pages = self.pages(footer.key_filter);
        self.pages(footer.prefix_filter);
        let mut entries = 0;
        self.root(footer.data, &mut Leaf::Entries(&mut entries, &pages));
        self.root(footer.ranges, &mut Leaf::Ranges);
        if !self.faults.is_empty() {
            // What could not be read is not counted.
            return;
        }
        let end = self.file.meta.bytes;
        if entries != footer.entries {
            self.fault(end - FOOTER as u64, &format!("{entries} entries instead of {}", footer.entries));
        }
        if self.bytes != end {
            self.fault(0, &format!("{} of {end} bytes belong to nothing", end.abs_diff(self.bytes)));
        }
    }

    fn fault(&mut self, offset: u64, why: &str) {
        self.faults.push(self.file.damage(offset, why));
    }

    /// The pages of a filter that can be read.
    fn pages(&mut self, place: FilterPlace) -> Vec<Option<Bytes>> {
        let mut pages = Vec::new();
        for nth in 0..place.pages {
            let page = place.page(nth);
            self.bytes += u64::from(page.len);
            let read = self.file.read_part(page, Patience::Wait).and_then(|bits| {
                filter::may_hold(&bits, 0).map_err(|error| self.file.malformed(page, error))?;
                Ok(bits)
            });
            match read {
                Ok(bits) => pages.push(Some(bits)),
                // A count that lies leads beyond the end, and no further.
                Err(error) => {
                    self.faults.push(error);
                    pages.push(None);
                    if page.offset >= self.file.meta.bytes {
                        break;
                    }
                }
            }
        }
        pages
    }

    fn root(&mut self, root: Root, leaf: &mut Leaf<'_>) {
        if root.height > 0 {
            self.block(root.place, root.height, (None, None), leaf);
        }
    }

    /// Checks the block at `place` and all below it; its entries are behind the first of `within` and
    /// at or before the second.
    fn block(
        &mut self,
        place: Place,
        height: u32,
        within: (Option<&Bound>, Option<&Bound>),
        leaf: &mut Leaf<'_>,
    ) {
        self.bytes += u64::from(place.len);
        let mut cursor = match self.file.read_block(place) {
            Ok(block) => BlockCursor::new(block),
            Err(error) => return self.faults.push(error),
        };
        let mut before: Option<Bound> = within.0.cloned();
        let mut step = cursor.first();
        while let (Ok(()), Some(key), Some((sequence, value))) = (&step, cursor.key(), cursor.value()) {
            let at = (Bytes::copy_from_slice(key), sequence);
            if before.as_ref().is_some_and(|before| !is_before(before, &at))
                || within.1.is_some_and(|last| is_before(last, &at))
            {
                return self.fault(place.offset, "entries that are not in order");
            }
            if height == 1 {
                self.entry(place, &at.0, &value, leaf);
            } else {
                match Place::decode(&value) {
                    // Blocks below were written before, so a circle is none of ours.
                    Ok(below) if below.offset < place.offset => {
                        self.block(below, height - 1, (before.as_ref(), Some(&at)), leaf);
                    }
                    _ => self.fault(place.offset, "an index entry that leads nowhere"),
                }
            }
            before = Some(at);
            step = cursor.next();
        }
        if let Err(error) = step {
            self.faults.push(self.file.malformed(place, error));
        }
    }

    fn entry(&mut self, place: Place, key: &[u8], value: &[u8], leaf: &mut Leaf<'_>) {
        match leaf {
            Leaf::Entries(count, pages) => {
                **count += 1;
                let hash = filter::hash(key);
                let page = pages.get(filter::page_of(hash, pages.len() as u32) as usize);
                if let Some(Some(page)) = page
                    && filter::may_hold(page, hash) == Ok(false)
                {
                    self.fault(place.offset, "a key that the filter does not know");
                }
            }
            Leaf::Ranges => {
                if let Err(error) = decode_marks(value) {
                    self.faults.push(self.file.malformed(place, error));
                }
            }
        }
    }
}

fn is_before(a: &Bound, b: &Bound) -> bool {
    compare(&a.0, a.1, &b.0, b.1) == Ordering::Less
}
