//! Reading: the walk over the rows of a selection that every page is.
//!
//! One [`View`] serves a page, so a page is one moment. A slice that is one row is looked up, which
//! asks the filters for that key; others are scanned, which asks them for the partition. What
//! becomes of a row is the business of a [`Sink`]: resolved for a client, or handed on raw.

use std::{cmp::Ordering, ops::ControlFlow};

use base::{Malformed, Place, Selection, Slice, Token};
use bytes::Bytes;

use super::{
    fragment::Fragment,
    key::{self, PartitionKey},
    write::is_row,
};
use crate::{
    ReadSpec,
    page::Pager,
    tree::{Damage, Patience, TreeError, View},
};

/// What becomes of the rows of a walk.
pub(super) trait Sink {
    /// Takes a row of the partition `key`, dead or alive. Returns the bytes it adds to the page if
    /// it lives.
    fn row(&mut self, key: &Bytes, clustering: Bytes, value: &Bytes) -> Result<Option<usize>, Malformed>;

    /// The page is full: what comes now belongs to it only if no live row follows.
    fn full(&mut self);

    /// A live row follows the full page: what came since belongs to the next.
    fn cut(&mut self);
}

/// A row that was met.
struct At<'a> {
    /// Its partition's key.
    key: &'a Bytes,
    partition: &'a PartitionKey,
    /// Its key in the tree.
    row: &'a [u8],
}

impl At<'_> {
    fn clustering(&self) -> Result<Bytes, Malformed> {
        self.partition.clustering(self.row)
    }

    /// Where a page ends that ends here.
    fn place(&self) -> Place {
        let clustering = self.clustering().expect("it was read when the row was met");
        Place { key: self.key.clone(), clustering: Some(clustering) }
    }
}

/// A read under way.
pub(super) struct Walk<'a, S> {
    pub(super) view: &'a View,
    pub(super) spec: &'a ReadSpec,
    pub(super) patience: Patience,
    pub(super) tokens: fn(&[u8]) -> Token,
    pub(super) pager: Pager<'a>,
    pub(super) sink: S,
}

type Flow = Result<ControlFlow<()>, TreeError>;
const ON: Flow = Ok(ControlFlow::Continue(()));

/// Where a page of one partition begins.
pub(super) enum Begin<'a> {
    /// With the first row.
    Start,
    /// Behind this row.
    After(&'a [u8]),
    /// Not at all: the page before was the last.
    Nowhere,
}

impl<'a, S: Sink> Walk<'a, S> {
    pub(super) fn new(
        view: &'a View,
        spec: &'a ReadSpec,
        patience: Patience,
        tokens: fn(&[u8]) -> Token,
        sink: S,
    ) -> Walk<'a, S> {
        Walk { view, spec, patience, tokens, pager: Pager::new(spec), sink }
    }

    /// Where the page begins in the partition `key`.
    pub(super) fn begin(&self, key: &[u8]) -> Begin<'a> {
        let Some(place) = &self.spec.after else { return Begin::Start };
        let here = ((self.tokens)(key), key);
        match (here.cmp(&((self.tokens)(&place.key), &place.key)), &place.clustering) {
            (Ordering::Greater, _) => Begin::Start,
            (Ordering::Equal, Some(clustering)) => Begin::After(clustering),
            (Ordering::Equal, None) | (Ordering::Less, _) => Begin::Nowhere,
        }
    }

    /// The keys of a walk over tokens: from where the page before ended.
    pub(super) fn bounds(&self, first: Token, last: Token) -> (Bytes, Option<Bytes>) {
        let mut from = key::first_of(first);
        if let Some(place) = &self.spec.after {
            let partition = PartitionKey::new((self.tokens)(&place.key), &place.key);
            let behind = match &place.clustering {
                Some(clustering) => partition.behind_row(clustering),
                None => partition.end(),
            };
            from = from.max(behind);
        }
        (from, key::behind(last))
    }

    pub(super) fn run(&mut self) -> Result<(), TreeError> {
        // Whether the walk ended itself or ran out of rows is in the pager.
        let _ended = match &self.spec.selection {
            Selection::Partition { key, slices, reversed } => self.partition(key, slices, *reversed)?,
            Selection::Tokens { first, last } => self.tokens(*first, *last)?,
        };
        Ok(())
    }

    fn partition(&mut self, key: &Bytes, slices: &[Slice], reversed: bool) -> Flow {
        let after = match self.begin(key) {
            Begin::Start => None,
            Begin::After(after) => Some(after),
            Begin::Nowhere => return ON,
        };
        let partition = PartitionKey::new((self.tokens)(key), key);
        for nth in 0..slices.len() {
            let slice = &slices[if reversed { slices.len() - 1 - nth } else { nth }];
            let flow = if slice.to.as_ref().is_some_and(|to| is_row(&slice.from, to)) {
                self.one_row(key, &partition, &slice.from, reversed, after)?
            } else {
                self.slice(key, &partition, slice, reversed, after)?
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        ON
    }

    fn one_row(
        &mut self,
        key: &Bytes,
        partition: &PartitionKey,
        clustering: &Bytes,
        reversed: bool,
        after: Option<&[u8]>,
    ) -> Flow {
        let is_behind = |after: &[u8]| if reversed { clustering < after } else { clustering > after };
        if !after.is_none_or(is_behind) {
            return ON;
        }
        let row = partition.row(clustering);
        match self.view.get(&row, self.patience)? {
            Some(value) => self.row(&At { key, partition, row: &row }, &value),
            None => ON,
        }
    }

    fn slice(
        &mut self,
        key: &Bytes,
        partition: &PartitionKey,
        slice: &Slice,
        reversed: bool,
        after: Option<&[u8]>,
    ) -> Flow {
        let mut from = partition.row(&slice.from);
        let mut to = slice.to.as_ref().map_or_else(|| partition.end(), |to| partition.row(to));
        match after {
            Some(after) if reversed => to = to.min(partition.row(after)),
            Some(after) => from = from.max(partition.behind_row(after)),
            None => {}
        }
        let mut scan = self.view.clone().scan(from, Some(to), reversed, self.patience)?;
        while let Some(step) = scan.advance()? {
            let flow = self.step(&At { key, partition, row: &step.key }, step.value.as_ref())?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        ON
    }

    fn tokens(&mut self, first: Token, last: Token) -> Flow {
        let (from, to) = self.bounds(first, last);
        let mut scan = self.view.clone().scan(from, to, false, self.patience)?;
        let mut current: Option<(PartitionKey, Bytes)> = None;
        while let Some(step) = scan.advance()? {
            if !current.as_ref().is_some_and(|(partition, _)| partition.holds(&step.key)) {
                current = Some(key::partition_of(&step.key).map_err(|error| self.damaged(error))?);
            }
            let (partition, key) = current.as_ref().expect("it was just made");
            let flow = self.step(&At { key, partition, row: &step.key }, step.value.as_ref())?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        ON
    }

    fn step(&mut self, at: &At<'_>, value: Option<&Bytes>) -> Flow {
        match value {
            Some(value) => self.row(at, value),
            None => {
                let clustering = at.clustering().map_err(|error| self.damaged(error))?;
                self.looked_at(at, clustering.len())
            }
        }
    }

    fn row(&mut self, at: &At<'_>, value: &Bytes) -> Flow {
        if self.pager.is_full()
            && is_live(value, self.spec.now_seconds).map_err(|error| self.damaged(error))?
        {
            self.sink.cut();
            return Ok(self.pager.end());
        }
        let clustering = at.clustering().map_err(|error| self.damaged(error))?;
        let bytes = clustering.len() + value.len();
        let added = self.sink.row(at.key, clustering, value).map_err(|error| self.damaged(error))?;
        if let Some(bytes) = added {
            self.pager.added(bytes, || at.place());
            if self.pager.is_full() {
                self.sink.full();
            }
        }
        self.looked_at(at, bytes)
    }

    fn looked_at(&mut self, at: &At<'_>, bytes: usize) -> Flow {
        self.pager.scanned_bytes += bytes as u64;
        let was_full = self.pager.is_full();
        let flow = self.pager.looked_at(|| at.place());
        if flow.is_break() && was_full {
            self.sink.cut();
        }
        Ok(flow)
    }

    /// A key or value that passed its checksum and yet is none of a table.
    fn damaged(&self, error: Malformed) -> TreeError {
        damaged(self.view, error)
    }
}

pub(super) fn damaged(view: &View, error: Malformed) -> TreeError {
    TreeError::Damaged(Damage {
        file: "tree".into(),
        offset: 0,
        tree: Some(view.tree),
        why: format!("not a row of a table: {error}"),
    })
}

/// Whether a reader at `now_seconds` sees the row.
fn is_live(value: &[u8], now_seconds: u32) -> Result<bool, Malformed> {
    for cell in Fragment::decode(value)?.cells() {
        if cell?.1.is_live(now_seconds) {
            return Ok(true);
        }
    }
    Ok(false)
}
