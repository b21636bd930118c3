//! Opening a log: what is on the disk is checked as a whole before any of it is believed.
//!
//! Two passes over the segments. The first walks every batch and checks it, its place in the chain
//! and that no segment is missing; it ends with the last control batch, which says what was
//! trimmed and dropped. The second shows the live records to the caller, in order.
//!
//! A power cut can spoil one batch only: the last, because the next is written after the sync of
//! the one before. So a batch that fails its checks is
//! - a *torn tail* if nothing sound comes after it: cut, zeroed, reported once;
//! - *damage* otherwise: the log is refused and nothing is changed.
//!
//! What was read may never have reached the device: the process may have been killed between a
//! write and its sync, or have died of a failed sync, after which the page cache shows bytes the
//! device does not have. So the last batch is written once more and synced before [`Log::open`] returns.

use std::collections::{BTreeMap, BTreeSet};

use base::{Cause, Position, Reader, StreamId};
use world::{Disk, DiskError, Entropy, File};

use crate::{
    Log, LogError, LogSettings, LogStats,
    control::Control,
    format::{self, Kind, NoSegment, SEGMENT_HEADER, SegmentHeader, StoredBatch},
    log::{Active, FOLDER, Limits, Meters, RESERVE, Segment, begin_segment, segment_name},
};

/// Shown every live record, in order: its position, its stream, its bytes.
pub type Visit<'a> = dyn FnMut(Position, StreamId, &[u8]) -> Result<(), Cause> + 'a;

/// The largest segment there may be, in bytes: what the settings allow.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

impl Log {
    /// Opens the log of `disk`, or begins one, and shows every live record to `visit`.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Version`], [`LogError::Visitor`] with what `visit` said,
    /// [`LogError::Settings`], [`LogError::Full`] when there is no room to begin, and
    /// [`LogError::Disk`]. Except for the last two nothing on the disk was changed.
    pub fn open(
        disk: Disk,
        settings: LogSettings,
        entropy: &Entropy,
        visit: &mut Visit<'_>,
    ) -> Result<Log, LogError> {
        let limits = Limits::of(&settings)?;
        disk.make_folder(FOLDER)?;
        let ids = segment_ids(&disk)?;
        if ids.is_empty() {
            remove_reserve(&disk)?;
            return begin_log(disk, settings, limits, entropy);
        }
        let survey = Survey::of(&disk, &ids)?;
        if survey.control.encode().len() as u64 > limits.control_bytes {
            let why = "segment_bytes is too small for the trim points of this log; it was larger before";
            return Err(LogError::Settings(why.to_owned()));
        }
        let segments = survey.replay(&disk, visit)?;
        let file = survey.mend(&disk)?;
        remove_reserve(&disk)?;
        let (id, last) = survey.last();
        let (bytes, end) = (last.header.segment_bytes, last.end);
        let active = Active { id, file, bytes, end, prepared: end };
        let dropped: BTreeSet<u64> =
            ids.iter().copied().filter(|&id| survey.control.dropped(id).is_some()).collect();
        let mut log = Log {
            disk,
            settings,
            limits,
            log_id: last.header.log_id,
            segments,
            active,
            reserve: None,
            next: last.next,
            chain: last.chain,
            trims: survey.control.trims.clone(),
            control: survey.control,
            dirty: false,
            failed: None,
            scratch: Vec::new(),
            stats: LogStats::default(),
            meters: Meters::new(),
        };
        log.remove_segments(&dropped);
        log.ensure_reserve();
        Ok(log)
    }
}

/// What the first pass found.
struct Survey {
    segments: BTreeMap<u64, Walked>,
    control: Control,
}

/// One segment, walked from its header to the end of its last sound batch.
struct Walked {
    header: SegmentHeader,
    /// Where its last sound batch begins and ends, links not counted.
    last_batch: (u64, u64),
    /// The checksum of that batch.
    chain: u64,
    /// The position after its last record.
    next: Position,
    /// Whether it ends with a link.
    linked: bool,
    /// Where the sound part ends, and what is wrong there if the rest is not all zeros.
    end: u64,
    spoiled: Option<&'static str>,
}

fn damaged(file: &str, offset: u64, why: impl Into<String>) -> LogError {
    LogError::Damaged { file: file.to_owned(), offset, why: why.into() }
}

/// The ids of all segments there are, in order.
pub(crate) fn segment_ids(disk: &Disk) -> Result<Vec<u64>, LogError> {
    let names = disk.list(FOLDER)?;
    let ids = names.iter().filter_map(|name| {
        let id = name.strip_suffix(".seg")?.parse().ok()?;
        (segment_name(id).strip_prefix("log/") == Some(name)).then_some(id)
    });
    let mut ids: Vec<u64> = ids.collect();
    ids.sort_unstable();
    Ok(ids)
}

/// A reserve that was never named holds nothing, perhaps half a header.
fn remove_reserve(disk: &Disk) -> Result<(), LogError> {
    match disk.remove(RESERVE) {
        Ok(()) | Err(DiskError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn begin_log(disk: Disk, settings: LogSettings, limits: Limits, entropy: &Entropy) -> Result<Log, LogError> {
    let (id, segment_bytes) = (1, settings.segment_bytes);
    let file = disk.create(RESERVE, segment_bytes)?;
    let (log_id, first) = (entropy.u64(), Position(1));
    let header = SegmentHeader { log_id, segment: id, first, previous: 0, segment_bytes };
    let control = Control::default();
    let chain = begin_segment(&file, header, &control)?;
    drop(file);
    disk.rename(RESERVE, &segment_name(id))?;
    disk.sync_folder(FOLDER)?;
    let file = disk.open(&segment_name(id))?;
    let segment = Segment { bytes: segment_bytes, previous: 0, streams: BTreeMap::new() };
    let end = (SEGMENT_HEADER + format::BATCH_HEADER + control.encode().len()) as u64;
    let mut log = Log {
        disk,
        settings,
        limits,
        log_id,
        segments: BTreeMap::from([(id, segment)]),
        active: Active { id, file, bytes: segment_bytes, end, prepared: end },
        reserve: None,
        next: first,
        chain,
        trims: BTreeMap::new(),
        control,
        dirty: false,
        failed: None,
        scratch: Vec::new(),
        stats: LogStats::default(),
        meters: Meters::new(),
    };
    log.ensure_reserve();
    Ok(log)
}

/// Makes `bytes` what stands in `file` between two offsets.
fn read_part(file: &File, from: u64, to: u64, bytes: &mut Vec<u8>) -> Result<(), DiskError> {
    bytes.resize((to - from) as usize, 0);
    file.read_at(bytes, from)
}

/// Reads a whole segment and its header.
pub(crate) fn read_segment(disk: &Disk, id: u64, bytes: &mut Vec<u8>) -> Result<SegmentHeader, LogError> {
    let name = segment_name(id);
    let file = disk.open(&name)?;
    let len = file.len()?;
    if len > MAX_SEGMENT_BYTES {
        return Err(damaged(&name, 0, format!("{len} bytes are more than any segment has")));
    }
    read_part(&file, 0, len, bytes)?;
    let header = SegmentHeader::decode(bytes).map_err(|fault| match fault {
        NoSegment::Foreign => damaged(&name, 0, "this is not the beginning of a log segment"),
        NoSegment::Checksum => damaged(&name, 0, "the segment header fails its checksum"),
        NoSegment::Version(version) => LogError::Version { file: name.clone(), version },
    })?;
    if header.segment != id {
        return Err(damaged(&name, 24, format!("this is segment {}, by another name", header.segment)));
    }
    if header.segment_bytes != len {
        return Err(damaged(
            &name,
            len,
            format!("the segment has {} bytes, by its header", header.segment_bytes),
        ));
    }
    Ok(header)
}

/// Walks the batches of one segment, checking each and showing it to `take`.
fn walk_segment(
    bytes: &[u8],
    header: SegmentHeader,
    take: &mut dyn FnMut(&StoredBatch<'_>) -> Result<(), LogError>,
) -> Result<Walked, LogError> {
    let name = segment_name(header.segment);
    let end = SEGMENT_HEADER as u64;
    let (chain, next) = (header.previous, header.first);
    let mut walked =
        Walked { header, last_batch: (end, end), chain, next, linked: false, end, spoiled: None };
    let why = loop {
        let end = walked.end;
        let batch = match format::read_batch(bytes, end as usize, header.log_id, header.segment) {
            Ok(batch) => batch,
            Err(why) => break why,
        };
        if walked.linked {
            return Err(damaged(&name, end, "a batch after the end of the segment"));
        }
        if batch.header.previous != walked.chain || batch.header.first != walked.next {
            return Err(damaged(&name, end, "the batch does not follow the one before it"));
        }
        take(&batch)?;
        walked.end = batch.end();
        walked.next.0 += u64::from(batch.header.records);
        if batch.header.kind == Kind::Link {
            walked.linked = true;
        } else {
            walked.chain = batch.checksum;
            walked.last_batch = (end, walked.end);
        }
    };
    let end = walked.end as usize;
    if end == SEGMENT_HEADER {
        // The first batch was synced before the segment got its name, so no power cut tore it.
        return Err(damaged(&name, walked.end, why));
    }
    if !format::is_zero(&bytes[end..]) {
        walked.spoiled = Some(why);
        if let Some(later) = format::find_batch(bytes, end + 1, header.log_id, header.segment) {
            return Err(damaged(&name, walked.end, format!("{why}, and a sound batch follows at {later}")));
        }
    }
    Ok(walked)
}

impl Survey {
    /// The first pass.
    fn of(disk: &Disk, ids: &[u64]) -> Result<Survey, LogError> {
        let mut survey = Survey { segments: BTreeMap::new(), control: Control::default() };
        let mut bytes = Vec::new();
        for &id in ids {
            let header = read_segment(disk, id, &mut bytes)?;
            let name = segment_name(id);
            if survey.segments.values().any(|walked| walked.header.log_id != header.log_id) {
                return Err(damaged(&name, 16, "the segment belongs to another log"));
            }
            let control = &mut survey.control;
            let walked = walk_segment(&bytes, header, &mut |batch| {
                if batch.header.kind == Kind::Control {
                    *control = Control::decode(batch.body)
                        .map_err(|error| damaged(&name, batch.header.offset, error.to_string()))?;
                }
                Ok(())
            })?;
            survey.segments.insert(id, walked);
        }
        survey.check_joints()?;
        Ok(survey)
    }

    /// Checks that each segment follows the one before it, or that what is missing between them
    /// was dropped on purpose, and that the last is the last.
    fn check_joints(&self) -> Result<(), LogError> {
        let mut before: Option<(u64, &Walked)> = None;
        for (&id, walked) in &self.segments {
            let expected = before.map_or(1, |(id, _)| id + 1);
            if let Some(lost) = (expected..id).find(|&id| self.control.dropped(id).is_none()) {
                return Err(damaged(&segment_name(lost), 0, "the segment is missing"));
            }
            // Who knows what the end of the segment before must be: its successor, or the word
            // that was left when the successor was dropped.
            let end = if expected == id {
                Some(walked.header.previous)
            } else {
                let range = self.control.dropped(expected);
                range.filter(|(from, _)| *from == expected).map(|(_, range)| range.before)
            };
            if let (Some((id, before)), Some(end)) = (before, end)
                && before.chain != end
            {
                let why = before.spoiled.unwrap_or("batches are missing");
                return Err(damaged(&segment_name(id), before.end, why));
            }
            before = Some((id, walked));
        }
        match before {
            Some((id, last)) if last.linked => Err(damaged(
                &segment_name(id + 1),
                0,
                "the segment is missing, for the one before it goes on in it",
            )),
            _ => Ok(()),
        }
    }

    fn last(&self) -> (u64, &Walked) {
        let (id, walked) = self.segments.last_key_value().expect("a survey is of at least one segment");
        (*id, walked)
    }

    /// The second pass.
    fn replay(&self, disk: &Disk, visit: &mut Visit<'_>) -> Result<BTreeMap<u64, Segment>, LogError> {
        let mut segments = BTreeMap::new();
        let mut bytes = Vec::new();
        for (&id, walked) in &self.segments {
            let mut segment = Segment {
                bytes: walked.header.segment_bytes,
                previous: walked.header.previous,
                streams: BTreeMap::new(),
            };
            if self.control.dropped(id).is_none() {
                read_part(&disk.open(&segment_name(id))?, 0, walked.end, &mut bytes)?;
                walk_segment(&bytes, walked.header, &mut |batch| {
                    replay_batch(batch, &self.control.trims, &mut segment, visit)
                })?;
            }
            segments.insert(id, segment);
        }
        Ok(segments)
    }

    /// Cuts a torn tail, and makes the rest as durable as it looks.
    fn mend(&self, disk: &Disk) -> Result<File, LogError> {
        let (id, last) = self.last();
        let mut bytes = Vec::new();
        let file = disk.open(&segment_name(id))?;
        let (from, to) = last.last_batch;
        read_part(&file, from, to, &mut bytes)?;
        file.write_at(&bytes, from)?;
        if let Some(why) = last.spoiled {
            read_part(&file, last.end, last.header.segment_bytes, &mut bytes)?;
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
            tracing::warn!(
                "{} ends at byte {} with {used} bytes that a stop in the middle of a write left ({why}): cut",
                file.name(),
                last.end,
            );
            for at in (0..used).step_by(ZEROS.len()) {
                file.write_at(&ZEROS[..ZEROS.len().min(used - at)], last.end + at as u64)?;
            }
        }
        file.sync_data()?;
        // A name that is seen may not be durable yet, too.
        disk.sync_folder(FOLDER)?;
        Ok(file)
    }
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

fn replay_batch(
    batch: &StoredBatch<'_>,
    trims: &BTreeMap<StreamId, Position>,
    segment: &mut Segment,
    visit: &mut Visit<'_>,
) -> Result<(), LogError> {
    if batch.header.kind != Kind::Data {
        return Ok(());
    }
    let malformed = || {
        damaged(&segment_name(batch.header.segment), batch.header.offset, "the batch's records are malformed")
    };
    let mut reader = Reader::new(batch.body);
    for index in 0..u64::from(batch.header.records) {
        let position = Position(batch.header.first.0 + index);
        let (stream, payload) = format::take_record(&mut reader).map_err(|_| malformed())?;
        segment.note(stream, position);
        if trims.get(&stream).is_none_or(|up_to| position > *up_to) {
            visit(position, stream, payload).map_err(LogError::Visitor)?;
        }
    }
    reader.end("batch").map_err(|_| malformed())
}
