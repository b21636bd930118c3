//! [`Output`]: rows read become rows of the result, as far as tests, limits and the page allow.

use base::Cause;
use bytes::Bytes;
use store::{Page, Place, Row};

use super::{
    Rows, failed, keys,
    paging::Position,
    read::Reading,
    rows::{Projector, RowParts},
};
use crate::bind::{CqlError, Doing, Selected};

/// A page ends once it has this many bytes, however many rows were asked for.
const PAGE_BYTES: usize = 8 << 20;
/// The most bytes of a result that is not paged.
const WHOLE_BYTES: usize = 64 << 20;

/// How to go on after a page of the store.
pub(super) enum Flow {
    /// Read on.
    On,
    /// The result is complete.
    Done,
    /// The page is; there may be more after this place.
    PageFull(Place),
}

/// The result in the making.
pub(super) struct Output<'a> {
    reading: &'a Reading,
    cells: Vec<u8>,
    count: u64,
    /// Counters of the aggregates, in the order of the selectors.
    counts: Vec<u64>,
    /// Rows that an aggregate has taken.
    counted: u64,
    /// The first row of an aggregate: what is selected beside the counts is taken from it.
    first: Option<(Bytes, Row)>,
    /// Rows to be sorted before they are cells, by what ORDER BY looks at of the clustering key.
    unsorted: Vec<(Bytes, Vec<u8>)>,
    unsorted_bytes: usize,
    /// The partition at hand, and how many rows it may still give.
    partition: Bytes,
    left_in_partition: Option<u64>,
}

impl<'a> Output<'a> {
    pub(super) fn new(reading: &'a Reading) -> Output<'a> {
        let is_count = |one: &&Selected| matches!(one, Selected::CountRows | Selected::Count(_));
        let counts = reading.plan.selected.iter().filter(is_count).count();
        let resumed = reading.resume.as_ref();
        Output {
            reading,
            cells: Vec::new(),
            count: 0,
            counts: vec![0; counts],
            counted: 0,
            first: None,
            unsorted: Vec::new(),
            unsorted_bytes: 0,
            partition: resumed.map_or_else(Bytes::new, |position| position.place.key.clone()),
            left_in_partition: resumed.and_then(|position| position.left_in_partition),
        }
    }

    /// How many more rows the result can take; `None` is any number.
    pub(super) fn wanted_rows(&self) -> Option<u64> {
        if self.reading.plan.aggregate || self.reading.merged {
            return None;
        }
        let limit = self.reading.limit.map(|limit| limit - self.count);
        let page = self.reading.page_size.map(|size| size - self.count);
        limit.into_iter().chain(page).min()
    }

    /// How many rows an aggregate has taken.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// Where to read on after `place`: past the partition, if it has given all it may.
    pub(super) fn skip_from(&self, place: Place) -> Place {
        let used_up = self.left_in_partition == Some(0) && place.key == self.partition;
        Place { clustering: place.clustering.filter(|_| !used_up), ..place }
    }

    /// Takes the rows of a page; `is_last` says that no rows come after it.
    ///
    /// # Errors
    /// Keys that are none of the table; a result that is too large.
    pub(super) fn take(&mut self, page: &Page, is_last: bool) -> Result<Flow, CqlError> {
        let view = &self.reading.plan.view;
        for (i, partition) in page.partitions.iter().enumerate() {
            let components = keys::split_partition_key(&partition.key, view.partition_len);
            let components = components.ok_or_else(|| self.damaged("a partition key"))?;
            if self.partition != partition.key || self.left_in_partition.is_none() {
                self.partition = partition.key.clone();
                self.left_in_partition = self.reading.per_partition;
            }
            for (j, row) in partition.rows.iter().enumerate() {
                if self.left_in_partition == Some(0) {
                    break;
                }
                let parts = RowParts::new(view, &components, row, self.reading.now_seconds);
                let parts = parts.ok_or_else(|| self.damaged("a clustering key"))?;
                if !self.reading.tests.iter().all(|test| test.passes(view, &parts)) {
                    continue;
                }
                self.add(&partition.key, row, &parts)?;
                if let Some(left) = &mut self.left_in_partition {
                    *left -= 1;
                }
                let ends = is_last && i + 1 == page.partitions.len() && j + 1 == partition.rows.len();
                match self.full(ends)? {
                    Flow::On => {}
                    Flow::Done => return Ok(Flow::Done),
                    Flow::PageFull(_) => {
                        let place =
                            Place { key: partition.key.clone(), clustering: Some(row.clustering.clone()) };
                        return Ok(Flow::PageFull(self.skip_from(place)));
                    }
                }
            }
        }
        Ok(Flow::On)
    }

    fn add(&mut self, key: &Bytes, row: &Row, parts: &RowParts<'_>) -> Result<(), CqlError> {
        let reading = self.reading;
        let projector = Projector { engine: &reading.engine, plan: &reading.plan, values: reading.values() };
        if reading.plan.aggregate {
            self.counted += 1;
            let selectors = reading.plan.selected.iter();
            let counted = selectors.filter(|one| matches!(one, Selected::CountRows | Selected::Count(_)));
            for (counter, selected) in self.counts.iter_mut().zip(counted) {
                *counter += match selected {
                    Selected::Count(inner) => u64::from(projector.value(inner, key, Some(parts))?.is_some()),
                    _ => 1,
                };
            }
            if self.first.is_none() {
                self.first = Some((key.clone(), row.clone()));
            }
            return Ok(());
        }
        self.count += 1;
        if reading.merged {
            let mut cells = Vec::new();
            projector.put(&mut cells, key, Some(parts), &[])?;
            let columns = &reading.plan.view.clustering()[..reading.plan.order_width];
            let rest = keys::after_columns(columns, &row.clustering);
            let rest = rest.ok_or_else(|| self.damaged("a clustering key"))?.len();
            let by = row.clustering.slice(..row.clustering.len() - rest);
            self.unsorted_bytes += by.len() + cells.len();
            self.unsorted.push((by, cells));
            return Ok(());
        }
        projector.put(&mut self.cells, key, Some(parts), &[])
    }

    /// Whether the result, or its page, is complete; `ends` says that the row just added was the
    /// last there is. The place in the answer means nothing yet.
    fn full(&self, ends: bool) -> Result<Flow, CqlError> {
        let reading = self.reading;
        if reading.plan.aggregate {
            return Ok(Flow::On);
        }
        if !reading.merged && reading.limit == Some(self.count) {
            return Ok(Flow::Done);
        }
        let bytes = self.cells.len() + self.unsorted_bytes;
        match reading.page_size {
            Some(size) if self.count >= size || bytes >= PAGE_BYTES => Ok(if ends {
                Flow::Done
            } else {
                Flow::PageFull(Place { key: Bytes::new(), clustering: None })
            }),
            None if bytes > WHOLE_BYTES => Err(CqlError::Invalid(format!(
                "The result is larger than {WHOLE_BYTES} bytes; read it in pages"
            ))),
            _ => Ok(Flow::On),
        }
    }

    /// The result; `more` is where its next page begins.
    ///
    /// # Errors
    /// What a function says to its arguments.
    pub(super) fn finish(mut self, more: Option<Place>) -> Result<Rows, CqlError> {
        let reading = self.reading;
        let plan = &reading.plan;
        if plan.aggregate {
            let projector = Projector { engine: &reading.engine, plan, values: reading.values() };
            let (key, row) = self.first.take().map_or((Bytes::new(), None), |(key, row)| (key, Some(row)));
            let components = keys::split_partition_key(&key, plan.view.partition_len);
            let parts = row.as_ref().zip(components.as_ref()).and_then(|(row, components)| {
                RowParts::new(&plan.view, components, row, reading.now_seconds)
            });
            projector.put(&mut self.cells, &key, parts.as_ref(), &self.counts)?;
            self.count = 1;
        }
        if reading.merged {
            self.unsorted.sort_by(|(a, _), (b, _)| if plan.reversed { b.cmp(a) } else { a.cmp(b) });
            let limit = reading.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            self.unsorted.truncate(limit);
            self.count = self.unsorted.len() as u64;
            self.cells = self.unsorted.iter().flat_map(|(_, cells)| cells).copied().collect();
        }
        let paging_state = more.map(|place| {
            let left_in_partition = self.left_in_partition.filter(|_| place.clustering.is_some());
            let position = Position {
                table: plan.view.uuid,
                left: reading.limit.map(|limit| limit - self.count),
                left_in_partition,
                place,
            };
            position.encode()
        });
        Ok(Rows {
            metadata: plan.result.clone(),
            count: u32::try_from(self.count).unwrap_or(u32::MAX),
            cells: self.cells,
            paging_state,
        })
    }

    fn damaged(&self, what: &str) -> CqlError {
        let cause = Cause::corrupt(format!("{what} of {} does not fit the table", self.reading.plan.view));
        failed(cause, Doing::Read, self.reading.consistency)
    }
}
