//! [`verify`]: reads a whole log, changes nothing, and names every fault.
//!
//! Recovery stops at the first fault, because a log that has one is not believed. This goes on: at
//! the next sound batch of a segment, and at the next segment. It knows the same rules (see
//! `recover`), so a log of which it finds no fault opens; what a stop in the middle of a write
//! leaves behind is no fault.

use std::collections::{BTreeMap, BTreeSet};

use base::{Position, Reader, StreamId};
use world::{Disk, DiskError};

use crate::{
    LogError,
    control::Control,
    format::{self, Kind, SEGMENT_HEADER, SegmentHeader, StoredBatch},
    log::segment_name,
    recover::{read_segment, segment_ids},
};

/// What [`verify`] has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFinding {
    /// Bytes that were once durable are gone or changed.
    Fault {
        /// The file, relative to the disk's directory.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// The streams that seem to be concerned, as far as the damaged bytes tell.
        streams: BTreeSet<StreamId>,
        /// What is wrong there.
        why: String,
    },
    /// Bytes behind the last sound batch that nothing reads. At the end of the log that is what a
    /// stop in the middle of a write leaves, and what the next start cuts; damage to the very last
    /// batch of a log that was not stopped cleanly looks the same.
    Remains {
        /// The file, relative to the disk's directory.
        file: String,
        /// Where they begin, in bytes.
        offset: u64,
        /// How many there are, up to the last that is not zero.
        bytes: u64,
    },
    /// What could not be judged, and why.
    Unchecked(String),
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogVerified {
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sound records by stream, dead ones included.
    pub records: BTreeMap<StreamId, u64>,
    /// Faults found.
    pub faults: u64,
}

/// Reads the log of `disk`, telling `tell` what it finds as it is found. A disk without a log has
/// nothing to find fault with.
///
/// # Errors
/// [`LogError::Disk`] if the folder cannot be listed.
pub fn verify(disk: &Disk, tell: &mut dyn FnMut(LogFinding)) -> Result<LogVerified, LogError> {
    let ids = match segment_ids(disk) {
        Err(LogError::Disk(DiskError::NotFound { .. })) => return Ok(LogVerified::default()),
        ids => ids?,
    };
    let mut walk = Walk {
        tell,
        verified: LogVerified::default(),
        log_id: None,
        control: Control::default(),
        control_doubted: false,
        segments: BTreeMap::new(),
    };
    let mut bytes = Vec::new();
    for &id in &ids {
        walk.segment(disk, id, &mut bytes);
    }
    walk.joints(&ids);
    Ok(walk.verified)
}

/// The way through the segments.
struct Walk<'a> {
    tell: &'a mut dyn FnMut(LogFinding),
    verified: LogVerified,
    /// That of the first segment whose header is sound.
    log_id: Option<u64>,
    /// What the last sound control batch says, and whether a damaged batch after it may have been
    /// another.
    control: Control,
    control_doubted: bool,
    /// Segments whose headers are sound.
    segments: BTreeMap<u64, Ends>,
}

/// What joins a segment to its neighbours.
struct Ends {
    /// The checksum of the last batch before it, by its header.
    previous: u64,
    /// The checksum of its last batch, links not counted.
    chain: u64,
    /// Where its sound part ends.
    end: u64,
    /// What is wrong there, if the rest is not all zeros.
    spoiled: Option<&'static str>,
    linked: bool,
}

impl Walk<'_> {
    fn fault(&mut self, file: &str, offset: u64, streams: BTreeSet<StreamId>, why: impl Into<String>) {
        self.verified.faults += 1;
        (self.tell)(LogFinding::Fault { file: file.to_owned(), offset, streams, why: why.into() });
    }

    fn plain_fault(&mut self, file: &str, offset: u64, why: impl Into<String>) {
        self.fault(file, offset, BTreeSet::new(), why);
    }

    /// Reads one segment and all its batches.
    fn segment(&mut self, disk: &Disk, id: u64, bytes: &mut Vec<u8>) {
        let name = segment_name(id);
        self.verified.segments += 1;
        self.verified.bytes += disk.open(&name).and_then(|file| file.len()).unwrap_or(0);
        let header = match read_segment(disk, id, bytes) {
            Ok(header) => header,
            Err(error) => {
                let (offset, why) = match error {
                    LogError::Damaged { offset, why, .. } => (offset, why),
                    other => (0, other.to_string()),
                };
                self.plain_fault(&name, offset, why);
                (self.tell)(LogFinding::Unchecked(format!(
                    "the records of {name}: without its beginning there is no telling what belongs to it"
                )));
                self.control_doubted = true;
                return;
            }
        };
        if *self.log_id.get_or_insert(header.log_id) != header.log_id {
            self.plain_fault(&name, 16, "the segment belongs to another log");
        }
        let ends = self.batches(&name, header, bytes);
        if ends.end == SEGMENT_HEADER as u64 {
            // The first batch was synced before the segment got its name, so no power cut tore it.
            self.plain_fault(&name, ends.end, ends.spoiled.unwrap_or("the first batch is missing"));
            self.control_doubted = true;
        } else if ends.spoiled.is_some() {
            let rest = &bytes[ends.end as usize..];
            let used = rest.iter().rposition(|&byte| byte != 0).map_or(0, |at| at as u64 + 1);
            (self.tell)(LogFinding::Remains { file: name, offset: ends.end, bytes: used });
        }
        self.segments.insert(id, ends);
    }

    /// Walks the batches of one segment, over what is damaged to the next one that is sound.
    fn batches(&mut self, name: &str, header: SegmentHeader, bytes: &[u8]) -> Ends {
        let (previous, chain, end) = (header.previous, header.previous, SEGMENT_HEADER as u64);
        let mut ends = Ends { previous, chain, end, spoiled: None, linked: false };
        let mut next = header.first;
        // Whether what is before `ends.end` is known to be sound.
        let mut follows = true;
        loop {
            let at = ends.end as usize;
            let why = match format::read_batch(bytes, at, header.log_id, header.segment) {
                Ok(batch) => {
                    self.batch(name, &batch, follows.then_some((ends.chain, next)), ends.linked);
                    next = Position(batch.header.first.0 + u64::from(batch.header.records));
                    ends.end = batch.end();
                    if batch.header.kind == Kind::Link {
                        // It still knows the batch before it, even one that is damaged.
                        (ends.linked, ends.chain) = (true, batch.header.previous);
                    } else {
                        ends.chain = batch.checksum;
                    }
                    follows = true;
                    continue;
                }
                Err(why) => why,
            };
            let Some(later) = format::find_batch(bytes, at + 1, header.log_id, header.segment) else {
                ends.spoiled = (!format::is_zero(&bytes[at..])).then_some(why);
                return ends;
            };
            let streams = format::claimed_streams(&bytes[at..later]);
            self.fault(name, ends.end, streams, format!("{why}; a sound batch follows at byte {later}"));
            self.control_doubted = true;
            follows = false;
            ends.end = later as u64;
        }
    }

    /// Looks at a batch that is sound by itself.
    fn batch(&mut self, name: &str, batch: &StoredBatch<'_>, expected: Option<(u64, Position)>, ended: bool) {
        let at = batch.header.offset;
        if ended {
            self.plain_fault(name, at, "a batch after the end of the segment");
        }
        if expected.is_some_and(|expected| expected != (batch.header.previous, batch.header.first)) {
            self.plain_fault(name, at, "the batch does not follow the one before it");
        }
        match batch.header.kind {
            Kind::Data => {
                let mut reader = Reader::new(batch.body);
                let mut missing = batch.header.records;
                while missing > 0
                    && let Ok((stream, _)) = format::take_record(&mut reader)
                {
                    *self.verified.records.entry(stream).or_default() += 1;
                    missing -= 1;
                }
                if missing > 0 || !reader.is_empty() {
                    let streams = format::claimed_streams_of(batch.body);
                    self.fault(name, at, streams, "the batch's records are malformed");
                }
            }
            Kind::Control => match Control::decode(batch.body) {
                Ok(control) => (self.control, self.control_doubted) = (control, false),
                Err(error) => {
                    self.plain_fault(name, at, error.to_string());
                    self.control_doubted = true;
                }
            },
            Kind::Seal | Kind::Link => {}
        }
    }

    /// Checks that each segment follows the one before it, or that what is missing between them
    /// was dropped on purpose, and that the last is the last.
    fn joints(&mut self, ids: &[u64]) {
        let segments = std::mem::take(&mut self.segments);
        let mut expected = 1;
        for &id in ids {
            self.missing(expected, id);
            let before = segments.get(&(expected.saturating_sub(1)));
            // Who knows what the end of the segment before must be: its successor, or the word
            // that was left when the successor was dropped.
            let end = if expected == id {
                segments.get(&id).map(|ends| ends.previous)
            } else {
                let range = self.control.dropped(expected).filter(|(from, _)| *from == expected);
                range.map(|(_, range)| range.before).filter(|_| !self.control_doubted)
            };
            if let (Some(before), Some(end)) = (before, end)
                && before.chain != end
            {
                let why = before.spoiled.unwrap_or("batches are missing");
                self.plain_fault(&segment_name(expected - 1), before.end, why);
            }
            expected = id.saturating_add(1);
        }
        if let Some(last) = ids.last().and_then(|id| segments.get(id))
            && last.linked
        {
            let why = "the segment is missing, for the one before it goes on in it";
            self.plain_fault(&segment_name(expected), 0, why);
        }
    }

    /// Names the segments between `from` and `to` that were lost.
    fn missing(&mut self, from: u64, to: u64) {
        let mut lost = (from..to).filter(|&id| self.control.dropped(id).is_none());
        let Some(first) = lost.next() else { return };
        let last = lost.next_back().unwrap_or(first);
        if self.control_doubted {
            let (first, last) = (segment_name(first), segment_name(last));
            (self.tell)(LogFinding::Unchecked(format!(
                "whether {first} to {last} were lost: what says that they were dropped on purpose may be among \
                 what is damaged"
            )));
        } else {
            let why = if first == last {
                "the segment is missing".to_owned()
            } else {
                format!("the segment is missing, and others up to {}", segment_name(last))
            };
            self.plain_fault(&segment_name(first), 0, why);
        }
    }
}
