//! [`Log`]: the log as a plain value, one owner, no thread. [`crate::LogWriter`] drives it for
//! many callers; what happens at a start is in `recover`.
//!
//! A batch goes to the *active* segment: one write, one sync. When the active segment is full, the
//! *reserve* takes over, in an order that no power cut can turn into a lie:
//!
//! 1. header and first control batch are written to the reserve and synced;
//! 2. it is renamed to its segment name and the folder synced;
//! 3. the old segment gets a link batch that says "goes on", synced, so that even the newest
//!    segment cannot vanish unnoticed once there is anything in it;
//! 4. a new reserve is made. If the disk has no room for one, the log is still able to take what
//!    the active segment has room for, and says so by [`Log::room`].
//!
//! A segment whose records are all trimmed is removed, wherever in the log it is; first a control
//! batch says so and is synced, so that a segment that is missing without such a word was lost.

use std::collections::{BTreeMap, BTreeSet};

use base::{Position, Reader, StreamId};
use metrics::{Counter, Gauge, Histogram};
use world::{Disk, DiskError, File};

use crate::{
    LogError, LogSettings,
    batch::Batch,
    control::Control,
    format::{self, BATCH_HEADER, BatchHeader, Kind, SEGMENT_HEADER, SegmentHeader},
};

/// The folder of the log.
pub const FOLDER: &str = "log";
/// The segment to be.
pub(crate) const RESERVE: &str = "log/reserve";

const HEADER: u64 = BATCH_HEADER as u64;
/// Bytes of the longest varint.
const MAX_VARINT: u64 = 10;

/// The name of a segment, relative to the disk.
pub(crate) fn segment_name(id: u64) -> String {
    format!("{FOLDER}/{id:08}.seg")
}

/// Numbers about a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogStats {
    /// Records appended since it was opened.
    pub records: u64,
    /// Bytes written since it was opened, headers included.
    pub bytes: u64,
    /// Batches of records written since it was opened.
    pub batches: u64,
    /// Syncs of data since it was opened.
    pub fsyncs: u64,
    /// Segments now.
    pub segments: u64,
    /// Bytes all segments and the reserve take on the disk now.
    pub disk_bytes: u64,
    /// Whether the next segment has its room on the disk.
    pub has_reserve: bool,
    /// The position of the next record.
    pub next: Position,
}

/// One disk's log. See the module for how it works.
pub struct Log {
    pub(crate) disk: Disk,
    pub(crate) settings: LogSettings,
    pub(crate) limits: Limits,
    pub(crate) log_id: u64,
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) active: Active,
    pub(crate) reserve: Option<File>,
    /// The position of the next record.
    pub(crate) next: Position,
    /// The checksum of the last batch.
    pub(crate) chain: u64,
    /// Trim points asked for; those that matter for what is recorded are in `control`.
    pub(crate) trims: BTreeMap<StreamId, Position>,
    /// What the last control batch says.
    pub(crate) control: Control,
    /// Whether something was written since the last sync.
    pub(crate) dirty: bool,
    /// Why nothing works any more.
    pub(crate) failed: Option<String>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) stats: LogStats,
    pub(crate) meters: Meters,
}

/// What is known of a segment.
pub(crate) struct Segment {
    pub(crate) bytes: u64,
    /// The checksum of the last batch before it.
    pub(crate) previous: u64,
    /// First and last position of each stream in it.
    pub(crate) streams: BTreeMap<StreamId, (Position, Position)>,
}

/// The segment being filled.
pub(crate) struct Active {
    pub(crate) id: u64,
    pub(crate) file: File,
    pub(crate) bytes: u64,
    /// Where the next batch goes.
    pub(crate) end: u64,
    /// What is before was written at least once, if only with zeros.
    pub(crate) prepared: u64,
}

/// Sizes that follow from the settings.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Most bytes of a control batch's body.
    pub(crate) control_bytes: u64,
    /// Bytes at the end of a segment that records leave alone: a control batch, a seal and a link
    /// find room there even when the disk is full, so that trimming can free it.
    pub(crate) tail_bytes: u64,
    /// Most bytes of a data batch's body.
    pub(crate) batch_bytes: u64,
}

/// Counters for the metrics page.
pub(crate) struct Meters {
    fsyncs: Counter,
    bytes: Counter,
    batch_records: Histogram,
    segments: Gauge,
}

impl Limits {
    pub(crate) fn of(settings: &LogSettings) -> Result<Limits, LogError> {
        if !(1 << 10..=1 << 30).contains(&settings.segment_bytes) {
            return Err(LogError::Settings("segment_bytes must be 1 KiB to 1 GiB".to_owned()));
        }
        let control_bytes = (settings.segment_bytes / 64).max(128);
        let tail_bytes = control_bytes + 3 * HEADER;
        let start_bytes = SEGMENT_HEADER as u64 + HEADER + control_bytes;
        let batch_bytes = settings.segment_bytes - start_bytes - tail_bytes - HEADER;
        // The longest stream and length there are, beside the payload.
        let largest = settings.max_record_bytes.saturating_add(2 * MAX_VARINT);
        if settings.max_record_bytes == 0 || largest > batch_bytes {
            return Err(LogError::Settings(format!(
                "max_record_bytes must be 1 to {}, which is what a segment holds",
                batch_bytes - 2 * MAX_VARINT
            )));
        }
        if settings.queue_bytes < largest + HEADER {
            return Err(LogError::Settings("queue_bytes must hold the largest record".to_owned()));
        }
        if settings.prepare_bytes > 32 << 20 {
            return Err(LogError::Settings("prepare_bytes must be 0 to 32 MiB".to_owned()));
        }
        if settings.gather_us > 10_000 {
            return Err(LogError::Settings("gather_us must be 0 to 10,000".to_owned()));
        }
        Ok(Limits { control_bytes, tail_bytes, batch_bytes })
    }
}

impl Meters {
    /// Finds the counters, so the recorder must have been installed before the log is opened.
    pub(crate) fn new() -> Meters {
        Meters {
            fsyncs: metrics::counter!("holdfast_log_fsyncs_total"),
            bytes: metrics::counter!("holdfast_log_bytes_total"),
            batch_records: metrics::histogram!("holdfast_log_batch_records"),
            segments: metrics::gauge!("holdfast_log_segments"),
        }
    }
}

impl Segment {
    /// Takes note of a record.
    pub(crate) fn note(&mut self, stream: StreamId, position: Position) {
        self.streams.entry(stream).or_insert((position, position)).1 = position;
    }

    /// Whether every record in it is trimmed.
    fn is_dead(&self, trims: &BTreeMap<StreamId, Position>) -> bool {
        self.streams.iter().all(|(stream, (_, last))| trims.get(stream).is_some_and(|up_to| last <= up_to))
    }
}

impl Log {
    /// What a batch takes beyond its records, in bytes.
    pub const BATCH_OVERHEAD: u64 = HEADER;

    /// Makes all records of `batch` durable together, in order: after a power cut either all are
    /// there or none. Returns the position of the first.
    ///
    /// # Errors
    /// [`LogError::TooLarge`] and [`LogError::Full`]: nothing was done. [`LogError::Fatal`]: it
    /// may be there or not, and this log takes nothing any more.
    pub fn append(&mut self, batch: &Batch) -> Result<Position, LogError> {
        let (bytes, limit) = (batch.longest_bytes(), self.settings.max_record_bytes);
        if bytes > limit {
            return Err(LogError::TooLarge { bytes, limit });
        }
        let first = self.write(batch.body(), batch.records())?;
        self.sync()?;
        Ok(first)
    }

    /// The first half of [`Log::append`].
    pub(crate) fn write(&mut self, body: &[u8], records: u32) -> Result<Position, LogError> {
        self.alive()?;
        if body.len() as u64 > self.limits.batch_bytes {
            return Err(LogError::TooLarge { bytes: body.len() as u64, limit: self.limits.batch_bytes });
        }
        if !self.fits(body.len() as u64) {
            let control = self.wanted_control(&BTreeSet::new());
            self.rotate(control)?;
        }
        let first = self.next;
        self.put(Kind::Data, body, records)?;
        let segment = self.segments.get_mut(&self.active.id).expect("the active segment is a segment");
        let mut reader = Reader::new(body);
        for index in 0..u64::from(records) {
            let (stream, _) = format::take_record(&mut reader).expect("a batch holds what was put into it");
            segment.note(stream, Position(first.0 + index));
        }
        self.next = Position(first.0 + u64::from(records));
        self.stats.records += u64::from(records);
        self.stats.batches += 1;
        self.meters.batch_records.record(f64::from(records));
        Ok(first)
    }

    /// The second half of [`Log::append`].
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.alive()?;
        if self.dirty {
            self.sync_active()?;
        }
        Ok(())
    }

    /// Declares the records of `stream` at positions up to and including `up_to` dead, and removes
    /// the segments in which all are. It is a hint about space, not a deletion: a dead record that
    /// shares its segment with a live one may be seen again after an unclean stop. What is never
    /// seen again is a part: if a dead record comes back, so do the dead ones after it.
    ///
    /// # Errors
    /// [`LogError::Fatal`] only; a full disk merely leaves the space for later.
    pub fn trim(&mut self, stream: StreamId, up_to: Position) -> Result<(), LogError> {
        self.alive()?;
        let up_to = up_to.min(Position(self.next.0 - 1));
        let point = self.trims.entry(stream).or_insert(up_to);
        *point = up_to.max(*point);
        let dead: BTreeSet<u64> = self
            .segments
            .iter()
            .filter(|(id, segment)| **id != self.active.id && segment.is_dead(&self.trims))
            .map(|(id, _)| *id)
            .collect();
        if dead.is_empty() {
            return Ok(());
        }
        let control = self.wanted_control(&dead);
        if control == self.control {
            return Ok(());
        }
        match self.record(control) {
            Err(LogError::Full) => return Ok(()),
            recorded => recorded?,
        }
        self.remove_segments(&dead);
        Ok(())
    }

    /// Ends the log cleanly, so that from now on damage to its last batch is noticed too.
    pub fn seal(mut self) -> Result<(), LogError> {
        self.alive()?;
        let control = self.wanted_control(&BTreeSet::new());
        let recorded = if control == self.control { Ok(()) } else { self.record(control.clone()) };
        let sealed = recorded.and_then(|()| {
            if self.active.end + 2 * HEADER > self.active.bytes {
                self.rotate(control)?;
            }
            self.put(Kind::Seal, &[], 0)?;
            self.sync_active()
        });
        match sealed {
            Err(LogError::Full) => {
                tracing::warn!("no room on the disk to seal the log; all records are safe");
                Ok(())
            }
            sealed => sealed,
        }
    }

    /// The position the next record gets.
    pub fn next_position(&self) -> Position {
        self.next
    }

    /// Bytes that are sure to find room: the sum, over batches to come, of their bytes and
    /// [`Log::BATCH_OVERHEAD`] each. Makes a reserve if there is none and the disk has room again.
    pub fn room(&mut self) -> u64 {
        self.ensure_reserve();
        match self.reserve {
            Some(_) => self.limits.batch_bytes + HEADER,
            None => self.data_end().saturating_sub(self.active.end),
        }
    }

    /// Numbers about it.
    pub fn stats(&self) -> LogStats {
        let reserve = if self.reserve.is_some() { self.settings.segment_bytes } else { 0 };
        LogStats {
            segments: self.segments.len() as u64,
            disk_bytes: self.segments.values().map(|segment| segment.bytes).sum::<u64>() + reserve,
            has_reserve: self.reserve.is_some(),
            next: self.next,
            ..self.stats
        }
    }

    /// Whether a data batch with a body of `bytes` fits the active segment.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.active.end + HEADER + bytes <= self.data_end()
    }

    fn data_end(&self) -> u64 {
        self.active.bytes.saturating_sub(self.limits.tail_bytes)
    }

    fn alive(&self) -> Result<(), LogError> {
        match &self.failed {
            Some(why) => Err(LogError::Fatal(why.clone())),
            None => Ok(()),
        }
    }

    /// Nobody knows any more what is on the disk: the end of this log.
    fn fatal(&mut self, error: &DiskError) -> LogError {
        let why = error.to_string();
        self.failed = Some(why.clone());
        LogError::Fatal(why)
    }

    /// Writes one batch at the end of the active segment. When the disk is full (which
    /// preallocation prevents, except on file systems that copy on write) what was written of it
    /// is overwritten by the next try.
    fn put(&mut self, kind: Kind, body: &[u8], records: u32) -> Result<(), LogError> {
        let header = BatchHeader {
            kind,
            log_id: self.log_id,
            segment: self.active.id,
            offset: self.active.end,
            first: self.next,
            records,
            previous: self.chain,
        };
        self.scratch.clear();
        let checksum = header.encode(body, &mut self.scratch);
        debug_assert!(self.active.end + self.scratch.len() as u64 <= self.active.bytes, "room was checked");
        let written = self.prepare().and_then(|()| self.active.file.write_at(&self.scratch, self.active.end));
        match written {
            Ok(()) => {}
            Err(DiskError::Full { .. }) => return Err(LogError::Full),
            Err(error) => return Err(self.fatal(&error)),
        }
        let written = self.scratch.len() as u64;
        // One huge batch must not pin its memory for ever.
        self.scratch.shrink_to(4 << 20);
        self.dirty = true;
        self.active.end += written;
        if kind != Kind::Link {
            self.chain = checksum;
        }
        self.stats.bytes += written;
        self.meters.bytes.increment(written);
        Ok(())
    }

    /// Writes zeros ahead of the batch in `scratch` if it reaches new ground.
    fn prepare(&mut self) -> Result<(), DiskError> {
        let end = self.active.end + self.scratch.len() as u64;
        if end > self.active.prepared {
            let to = (end + self.settings.prepare_bytes).min(self.active.bytes);
            self.active.file.prepare(end, to - end)?;
            self.active.prepared = to;
        }
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), LogError> {
        #[cfg(test)]
        if self.settings.sabotage == Some(crate::settings::Sabotage::BatchUnsynced) {
            self.dirty = false;
            return Ok(());
        }
        self.active.file.sync_data().map_err(|error| self.fatal(&error))?;
        self.dirty = false;
        self.count_sync();
        Ok(())
    }

    fn count_sync(&mut self) {
        self.stats.fsyncs += 1;
        self.meters.fsyncs.increment(1);
    }

    /// What the next control batch should say once the segments `dead` are gone: all trim points
    /// that some record left behind needs. If that is more than a control batch holds, what the
    /// last one said, and the space waits until there are fewer streams.
    fn wanted_control(&self, dead: &BTreeSet<u64>) -> Control {
        let live = |(stream, up_to): &(&StreamId, &Position)| {
            self.segments.iter().any(|(id, segment)| {
                !dead.contains(id) && segment.streams.get(stream).is_some_and(|(first, _)| first <= up_to)
            })
        };
        let mut control = self.control.clone();
        control.trims = self.trims.iter().filter(live).map(|(stream, up_to)| (*stream, *up_to)).collect();
        for id in dead {
            control.drop_segment(*id, self.segments[id].previous);
        }
        if control.encode().len() as u64 > self.limits.control_bytes { self.control.clone() } else { control }
    }

    /// Makes `control` durable, in the active segment or as the beginning of the next.
    fn record(&mut self, control: Control) -> Result<(), LogError> {
        let body = control.encode();
        if self.active.end + body.len() as u64 + 3 * HEADER > self.active.bytes {
            return self.rotate(control);
        }
        self.put(Kind::Control, &body, 0)?;
        self.sync_active()?;
        self.control = control;
        Ok(())
    }

    /// Removes segments that `control` records as dropped. One that cannot be removed now is
    /// removed at the next start.
    pub(crate) fn remove_segments(&mut self, dead: &BTreeSet<u64>) {
        for id in dead {
            match self.disk.remove(&segment_name(*id)) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => tracing::warn!("a dead segment of the log stays: {error}"),
            }
            self.segments.remove(id);
        }
        let control = &self.control;
        self.trims.retain(|stream, _| {
            control.trims.contains_key(stream)
                || self.segments.values().any(|segment| segment.streams.contains_key(stream))
        });
        self.meters.segments.set(self.segments.len() as f64);
    }

    /// Goes on in a new segment that begins with `control`.
    ///
    /// # Errors
    /// [`LogError::Full`]: nothing was done.
    fn rotate(&mut self, control: Control) -> Result<(), LogError> {
        self.sync()?;
        self.ensure_reserve();
        let file = self.reserve.take().ok_or(LogError::Full)?;
        let (id, previous) = (self.active.id + 1, self.chain);
        let bytes = self.settings.segment_bytes;
        let (log_id, first) = (self.log_id, self.next);
        let header = SegmentHeader { log_id, segment: id, first, previous, segment_bytes: bytes };
        let checksum = match begin_segment(&file, header, &control) {
            Ok(checksum) => checksum,
            Err(DiskError::Full { .. }) => {
                // Even its length may be lost with a sync that had no room: the next try makes
                // another.
                drop(file);
                return Err(LogError::Full);
            }
            Err(error) => return Err(self.fatal(&error)),
        };
        self.count_sync();
        self.name_segment(id)?;
        match self.put(Kind::Link, &[], 0) {
            Ok(()) => self.sync_active()?,
            // Without the link a loss of the next segment's file would go unnoticed, no more.
            Err(LogError::Full) => {}
            Err(error) => return Err(error),
        }
        // The new name is opened anew, so that errors speak of the segment and not the reserve.
        drop(file);
        let file = self.disk.open(&segment_name(id)).map_err(|error| self.fatal(&error))?;
        let end = (SEGMENT_HEADER + BATCH_HEADER + control.encode().len()) as u64;
        self.active = Active { id, file, bytes, end, prepared: end };
        self.chain = checksum;
        self.control = control;
        self.segments.insert(id, Segment { bytes, previous, streams: BTreeMap::new() });
        self.meters.segments.set(self.segments.len() as f64);
        self.ensure_reserve();
        Ok(())
    }

    /// Gives the reserve its name as segment `id`.
    fn name_segment(&mut self, id: u64) -> Result<(), LogError> {
        let renamed = self.disk.rename(RESERVE, &segment_name(id));
        renamed.map_err(|error| self.fatal(&error))?;
        #[cfg(test)]
        if self.settings.sabotage == Some(crate::settings::Sabotage::NameUnsynced) {
            return Ok(());
        }
        self.disk.sync_folder(FOLDER).map_err(|error| self.fatal(&error))
    }

    /// Takes room for the next segment if there is none taken and the disk has it.
    pub(crate) fn ensure_reserve(&mut self) {
        if self.reserve.is_some() || self.failed.is_some() {
            return;
        }
        match self.make_reserve() {
            Ok(file) => self.reserve = Some(file),
            Err(DiskError::Full { .. }) => {}
            Err(error) => tracing::warn!("no reserve for the log: {error}"),
        }
    }

    fn make_reserve(&self) -> Result<File, DiskError> {
        match self.disk.create(RESERVE, self.settings.segment_bytes) {
            // Left by a try that failed half way.
            Err(DiskError::Exists { .. }) => {
                self.disk.remove(RESERVE)?;
                self.disk.create(RESERVE, self.settings.segment_bytes)
            }
            made => made,
        }
    }
}

/// Writes the header and first control batch of a segment into `file` and syncs it; returns the
/// checksum of that batch.
pub(crate) fn begin_segment(file: &File, header: SegmentHeader, control: &Control) -> Result<u64, DiskError> {
    let mut bytes = header.encode().to_vec();
    let batch = BatchHeader {
        kind: Kind::Control,
        log_id: header.log_id,
        segment: header.segment,
        offset: SEGMENT_HEADER as u64,
        first: header.first,
        records: 0,
        previous: header.previous,
    };
    let checksum = batch.encode(&control.encode(), &mut bytes);
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    Ok(checksum)
}
