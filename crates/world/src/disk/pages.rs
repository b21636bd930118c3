//! [`Pages`]: the bytes of a file in memory. Pages never written are zeros and take no memory;
//! clones share pages until one of them writes, so a snapshot of a whole disk costs little.

use std::{collections::BTreeMap, sync::Arc};

/// Bytes a page. The host's page size: smaller pays more for the map, larger copies more when a
/// shared page is written.
const PAGE: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Makes the file `len` bytes long. Growing adds zeros; what shrinking cuts is zero when the
    /// file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let kept = (len % PAGE as u64) as usize;
            let last = len / PAGE as u64;
            self.pages.retain(|&page, _| page < last || (page == last && kept > 0));
            if let Some(page) = self.pages.get_mut(&last) {
                Arc::make_mut(page)[kept..].fill(0);
            }
        }
        self.len = len;
    }

    /// Fills `buffer` from `offset`, or returns false if the file ends before.
    #[must_use]
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> bool {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        for (page, within, part) in split(offset, buffer.len()) {
            let target = &mut buffer[part.clone()];
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + part.len()]),
                None => target.fill(0),
            }
        }
        true
    }

    /// Writes `bytes` at `offset`, growing the file if need be.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        for (page, within, part) in split(offset, bytes.len()) {
            let target = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(target)[within..within + part.len()].copy_from_slice(&bytes[part]);
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Pages that take memory.
    #[cfg(test)]
    pub(super) fn committed(&self) -> usize {
        self.pages.len()
    }
}

/// `len` bytes at `offset` as (page, offset within it, range of the `len` bytes).
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(len - done);
        let part = done..done + count;
        done += count;
        Some((at / PAGE as u64, within, part))
    })
}
