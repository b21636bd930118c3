//! [`Puller`]: a follower's way through a cut, as a value.
//!
//! It is told what was offered, what came and that time passes, and says what it wants. One piece is
//! asked for at a time, and the next one when that is in a file: so a slow disk slows its leader down,
//! and nothing piles up. Beyond that it asks for no more than so many bytes a tick. A piece that does
//! not come is asked for again; another cut begins anew.

use base::NodeId;
use bytes::Bytes;
use raft::eraftpb::Message;

use super::codec::{Chunk, Pull};

/// Ticks after which an unanswered pull is repeated: 500 ms.
const REPEAT_TICKS: u32 = 10;
/// Ticks without an answer after which it is given up: 15 s. The leader has forgotten the cut by then.
const GIVE_UP_TICKS: u32 = 300;
/// What may be asked for at once after a quiet time, in ticks.
const BURST_TICKS: i64 = 4;

/// What the puller wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Want {
    /// Ask for the next piece.
    Ask { of: NodeId, pull: Pull },
    /// Put these records into the stage of fetch `ticket`, which begins with its first ones; if they are the
    /// `last`, make a tree of it. Answered by [`Puller::staged`].
    Stage { ticket: u64, entries: Vec<(Bytes, Bytes)>, last: bool },
    /// Everything is durable: the Raft core may hear of it.
    Install(Box<Message>),
    /// The stage of fetch `ticket` is of no use, nor is what was made of it.
    Drop { ticket: u64 },
}

/// Where a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A piece is asked for.
    Asked,
    /// A piece is on its way into a file.
    Staging { last: bool },
    /// The next piece costs more than may be had now.
    Waiting,
}

/// A cut on its way.
struct Fetch {
    ticket: u64,
    from: NodeId,
    /// The message of the core, held back.
    offer: Box<Message>,
    /// The piece that is wanted.
    pull: Pull,
    /// Where the one behind it begins, and the checksum up to there.
    next: Option<(Bytes, u64)>,
    phase: Phase,
    silent_ticks: u32,
}

/// The fetches of one group, one after the other.
pub(crate) struct Puller {
    fetch: Option<Fetch>,
    tickets: u64,
    bytes_per_tick: i64,
    /// Bytes that may be asked for. Below zero after a piece that was larger.
    credit: i64,
}

impl Puller {
    /// With nothing to do, at so many bytes a tick.
    pub(crate) fn new(bytes_per_tick: usize) -> Puller {
        let bytes_per_tick = i64::try_from(bytes_per_tick).unwrap_or(i64::MAX / BURST_TICKS).max(1);
        Puller { fetch: None, tickets: 0, bytes_per_tick, credit: bytes_per_tick * BURST_TICKS }
    }

    /// Whether a cut is on its way.
    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        self.fetch.is_some()
    }

    /// `from` offers what `offer` says, of which the state is in `cut`.
    pub(crate) fn offered(&mut self, from: NodeId, cut: u64, offer: Box<Message>) -> Vec<Want> {
        if let Some(fetch) = &mut self.fetch {
            if (fetch.from, fetch.pull.cut) == (from, cut) {
                // Said once more, perhaps with a later term.
                fetch.offer = if offer.term >= fetch.offer.term { offer } else { return Vec::new() };
                return Vec::new();
            }
            // Of a leader that has lost its lead, or said earlier and held up on the way.
            let old = |message: &Message| (message.term, message.get_snapshot().get_metadata().index);
            if old(&offer) < old(&fetch.offer) {
                return Vec::new();
            }
        }
        let mut wants = self.give_up();
        self.tickets += 1;
        let pull = Pull { cut, number: 0, chain: 0, from: Bytes::new() };
        let (ticket, phase) = (self.tickets, Phase::Waiting);
        self.fetch = Some(Fetch { ticket, from, offer, pull, next: None, phase, silent_ticks: 0 });
        wants.extend(self.ask());
        wants
    }

    /// A piece has come.
    pub(crate) fn chunk(&mut self, from: NodeId, chunk: &Chunk) -> Vec<Want> {
        let Some(fetch) = &mut self.fetch else { return Vec::new() };
        if fetch.phase != Phase::Asked || fetch.from != from || !fetch.pull.is_answered_by(chunk) {
            // Said twice, late, or damaged: what is wanted is asked for again.
            return Vec::new();
        }
        fetch.silent_ticks = 0;
        self.credit -= i64::try_from(chunk.records.len()).unwrap_or(i64::MAX / 2);
        let entries = match chunk.entries() {
            Ok(entries) if chunk.last || !entries.is_empty() => entries,
            // Whoever made it is no replica of this kind.
            _ => return self.give_up(),
        };
        if let Some((key, _)) = entries.last() {
            fetch.next = Some(([key, &[0][..]].concat().into(), chunk.chain));
        }
        fetch.phase = Phase::Staging { last: chunk.last };
        vec![Want::Stage { ticket: fetch.ticket, entries, last: chunk.last }]
    }

    /// `from` has no such cut.
    pub(crate) fn gone(&mut self, from: NodeId, cut: u64) -> Vec<Want> {
        let fetch = self.fetch.as_ref().filter(|fetch| (fetch.from, fetch.pull.cut) == (from, cut));
        // What is on its way into a file may be the last piece.
        if fetch.is_some_and(|fetch| fetch.phase == Phase::Asked) { self.give_up() } else { Vec::new() }
    }

    /// What fetch `ticket` wanted to be put into its stage is there, or cannot be.
    pub(crate) fn staged(&mut self, ticket: u64, is_there: bool) -> Vec<Want> {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.ticket == ticket) else {
            // Given up meanwhile.
            return vec![Want::Drop { ticket }];
        };
        match fetch.phase {
            Phase::Staging { last } if is_there => {
                if last {
                    return self.fetch.take().map(|fetch| Want::Install(fetch.offer)).into_iter().collect();
                }
                if let Some((from, chain)) = fetch.next.take() {
                    let (cut, number) = (fetch.pull.cut, fetch.pull.number + 1);
                    fetch.pull = Pull { cut, number, chain, from };
                }
                fetch.phase = Phase::Waiting;
                self.ask().into_iter().collect()
            }
            _ => self.give_up(),
        }
    }

    /// A tick has passed.
    pub(crate) fn tick(&mut self) -> Vec<Want> {
        self.credit = (self.credit + self.bytes_per_tick).min(self.bytes_per_tick * BURST_TICKS);
        let Some(fetch) = &mut self.fetch else { return Vec::new() };
        match fetch.phase {
            Phase::Staging { .. } => Vec::new(),
            Phase::Waiting => self.ask().into_iter().collect(),
            Phase::Asked => {
                fetch.silent_ticks += 1;
                if fetch.silent_ticks >= GIVE_UP_TICKS {
                    self.give_up()
                } else if fetch.silent_ticks.is_multiple_of(REPEAT_TICKS) {
                    self.ask().into_iter().collect()
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Nothing more of what is on its way.
    pub(crate) fn give_up(&mut self) -> Vec<Want> {
        self.fetch.take().map(|fetch| Want::Drop { ticket: fetch.ticket }).into_iter().collect()
    }

    fn ask(&mut self) -> Option<Want> {
        let fetch = self.fetch.as_mut().filter(|_| self.credit > 0)?;
        fetch.phase = Phase::Asked;
        Some(Want::Ask { of: fetch.from, pull: fetch.pull.clone() })
    }
}
