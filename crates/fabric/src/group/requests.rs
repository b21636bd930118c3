//! Proposals of a node that does not lead: numbered, sent to the leader, repeated until its own replica
//! applies them, and applied once.
//!
//! A proposal that a follower forwards may be lost on its way, or arrive and its leader with it, so the
//! follower repeats it, and replicas must recognise a repetition. Each carries a [`RequestId`] in the
//! entry's context: who asked, in which start, its number, and the lowest number not answered yet.
//! **Each replica applies the requests of one start of one node in the order of their numbers**, and
//! knows of each node the last one it applied ([`Window`]): a number that is not higher is a
//! repetition; one that leaves out a number that is still waited for came over a gap, and is passed
//! over as well: the origin, which sees that in its own log, sends again from the gap on (as TCP did
//! before it had selective acknowledgements). So a window is two numbers, however much is in flight, and
//! the order in which a thread proposes is kept over any loss. What lost: a set of numbers applied, which
//! grows with what is in flight and keeps no order.
//!
//! Windows are part of the state: they go into the Machine's tree in the batch that holds what the entry
//! changed. A node's earlier starts are over when an entry of a later one is applied: who asked is
//! dead, and has heard nothing.

use std::collections::{BTreeMap, VecDeque};

use base::{Cause, Malformed, NodeId, Reader, Writer};
use bytes::Bytes;
use store::Done;

use crate::{shared::Admitted, state::GROUPS};

/// Requests that are sent and not applied yet, at most; the others wait at their origin.
const SENT_MAX: usize = 1024;
/// Their bytes, but for the first.
const SENT_BYTES_MAX: usize = 4 << 20;
/// Ticks after which what was sent is sent again: a second.
const REPEAT_AFTER_TICKS: u32 = 20;
/// Ticks after which a request is given up: ten seconds. It may have been applied.
pub(crate) const PATIENCE_TICKS: u32 = 200;

/// What tells a request from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    /// The node that asks.
    pub(crate) origin: NodeId,
    /// Which of its starts.
    pub(crate) start: u64,
    /// From 1, in the order of asking.
    pub(crate) number: u64,
    /// The lowest number that the origin has not answered: what is lower, it waits for no more.
    pub(crate) lowest: u64,
}

impl RequestId {
    pub(crate) fn put(&self, out: &mut Writer) {
        [self.origin.0, self.start, self.number, self.lowest].into_iter().for_each(|part| out.varint(part));
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<RequestId, Malformed> {
        Ok(RequestId {
            origin: NodeId(reader.varint("origin")?),
            start: reader.varint("origin's start")?,
            number: reader.varint("request number")?,
            lowest: reader.varint("lowest request")?,
        })
    }

    /// As an entry's context.
    pub(crate) fn context(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(16);
        self.put(&mut out);
        out.into_vec()
    }

    /// The inverse of [`RequestId::context`].
    pub(crate) fn of_context(context: &[u8]) -> Result<RequestId, Malformed> {
        let mut reader = Reader::new(context);
        let id = RequestId::take(&mut reader)?;
        reader.end("request")?;
        Ok(id)
    }
}

/// What is to be done with a request whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the next one.
    Next,
    /// It was applied before, or nobody waits for it any more.
    Repeated,
    /// One before it is missing.
    Gap,
}

/// The last request of a node that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Window {
    start: u64,
    last: u64,
}

impl Window {
    fn turn(self, id: &RequestId) -> Turn {
        let last = match id.start.cmp(&self.start) {
            std::cmp::Ordering::Less => return Turn::Repeated,
            std::cmp::Ordering::Equal => self.last,
            std::cmp::Ordering::Greater => 0,
        };
        match id.number {
            number if number <= last => Turn::Repeated,
            number if number == last + 1 || id.lowest >= number => Turn::Next,
            _ => Turn::Gap,
        }
    }

    fn advance(&mut self, id: &RequestId) {
        *self = Window { start: id.start, last: id.number };
    }
}

/// Second byte of the keys of windows, behind [`GROUPS`].
const WINDOWS: u8 = 2;

/// The prefix of the keys under which windows are kept.
pub(crate) const WINDOW_KEYS: [u8; 2] = [GROUPS, WINDOWS];

/// The windows of all nodes, as of the last entry applied; or, at a leader, as of the last proposed.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    of: BTreeMap<NodeId, Window>,
    /// Those that changed since they were last kept.
    changed: Vec<NodeId>,
}

impl Windows {
    /// From what [`Windows::take_changed`] gave.
    pub(crate) fn load(kept: Vec<(Bytes, Bytes)>) -> Result<Windows, Cause> {
        let mut windows = Windows::default();
        for (key, value) in kept {
            let mut key = Reader::new(&key[WINDOW_KEYS.len()..]);
            let node = NodeId(key.u64("window's node")?);
            let mut value = Reader::new(&value);
            let window =
                Window { start: value.varint("window's start")?, last: value.varint("window's last")? };
            windows.of.insert(node, window);
        }
        Ok(windows)
    }

    /// What is to be done with a request; if it is the next one, the window moves.
    pub(crate) fn take_turn(&mut self, id: &RequestId) -> Turn {
        let window = self.of.entry(id.origin).or_default();
        let turn = window.turn(id);
        if turn == Turn::Next {
            window.advance(id);
            if !self.changed.contains(&id.origin) {
                self.changed.push(id.origin);
            }
        }
        turn
    }

    /// Whether a request of this start and number was applied, or never will be.
    pub(crate) fn is_past(&self, origin: NodeId, start: u64, number: u64) -> bool {
        let Window { start: seen, last } = self.of.get(&origin).copied().unwrap_or_default();
        seen > start || (seen == start && last >= number)
    }

    /// Appends what is to be kept of the windows that changed.
    pub(crate) fn take_changed(&mut self, into: &mut Vec<(Bytes, Bytes)>) {
        for node in self.changed.drain(..) {
            let mut key = Writer::with_capacity(10);
            key.raw(&WINDOW_KEYS);
            key.u64(node.0);
            let window = self.of[&node];
            let mut value = Writer::with_capacity(8);
            value.varint(window.start);
            value.varint(window.last);
            into.push((key.into_vec().into(), value.into_vec().into()));
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Windows::default();
    }
}

/// A request that this node waits for.
struct Request {
    number: u64,
    entry: Bytes,
    done: Done<Bytes>,
    /// Held until it is answered.
    _room: Admitted,
    age_ticks: u32,
    was_sent: bool,
}

/// The requests that this node waits for.
pub(crate) struct Requests {
    origin: NodeId,
    start: u64,
    next: u64,
    /// Ascending, without gaps but for what was given up.
    waiting: VecDeque<Request>,
    /// How many at the front are with the leader, for all that is known, and their bytes.
    sent: usize,
    sent_bytes: usize,
    /// Ticks since a request was applied, or the first of those under way was sent.
    quiet_ticks: u32,
}

impl Requests {
    pub(crate) fn new(origin: NodeId, start: u64) -> Requests {
        let waiting = VecDeque::new();
        Requests { origin, start, next: 1, waiting, sent: 0, sent_bytes: 0, quiet_ticks: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes on a request; [`Requests::send`] says what to do with it.
    pub(crate) fn push(&mut self, entry: Bytes, done: Done<Bytes>, room: Admitted) {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(Request { number, entry, done, _room: room, age_ticks: 0, was_sent: false });
    }

    /// The next one to be sent, if one may be.
    pub(crate) fn send(&mut self) -> Option<(RequestId, Bytes)> {
        let lowest = self.waiting.front()?.number;
        if self.sent >= SENT_MAX || (self.sent > 0 && self.sent_bytes >= SENT_BYTES_MAX) {
            return None;
        }
        let request = self.waiting.get_mut(self.sent)?;
        request.was_sent = true;
        self.sent += 1;
        self.sent_bytes += request.entry.len();
        // More requests behind one that is lost must not put off that it is sent again.
        if self.sent == 1 {
            self.quiet_ticks = 0;
        }
        let id = RequestId { origin: self.origin, start: self.start, number: request.number, lowest };
        Some((id, request.entry.clone()))
    }

    /// What was sent may be lost: it will be sent again, from the first on.
    pub(crate) fn send_again(&mut self) {
        (self.sent, self.sent_bytes, self.quiet_ticks) = (0, 0, 0);
    }

    /// Whether a request is one of this node's, of this start.
    pub(crate) fn is_own(&self, id: &RequestId) -> bool {
        id.origin == self.origin && id.start == self.start
    }

    /// One of this node's requests was applied here, with this result.
    pub(crate) fn applied(&mut self, number: u64, result: Bytes) {
        if let Some(request) = self.pop_up_to(number) {
            request.done.complete(Ok(result));
        }
    }

    /// The state has moved past requests without this node having applied them itself.
    pub(crate) fn overtaken(&mut self, windows: &Windows) {
        while self.waiting.front().is_some_and(|front| windows.is_past(self.origin, self.start, front.number))
        {
            self.pop_front(|_| ());
            self.quiet_ticks = 0;
        }
    }

    /// Removes the front ones up to `number`, of which only the last can be answered truly.
    fn pop_up_to(&mut self, number: u64) -> Option<Request> {
        loop {
            let front = self.waiting.front()?.number;
            if front > number {
                return None;
            }
            let mut found = None;
            self.pop_front(|request| found = Some(request));
            self.quiet_ticks = 0;
            if front == number {
                return found;
            }
        }
    }

    /// Hands over the front one; dropped, it is uncertain.
    fn pop_front(&mut self, take: impl FnOnce(Request)) {
        let Some(request) = self.waiting.pop_front() else { return };
        if self.sent > 0 {
            self.sent -= 1;
            self.sent_bytes -= request.entry.len();
        }
        take(request);
    }

    /// A tick has passed: gives up what is too old, and says whether to send again.
    pub(crate) fn tick(&mut self) {
        self.waiting.iter_mut().for_each(|request| request.age_ticks += 1);
        while self.waiting.front().is_some_and(|front| front.age_ticks >= PATIENCE_TICKS) {
            self.pop_front(|request| {
                let cause = if request.was_sent {
                    Cause::uncertain("no leader has answered in time")
                } else {
                    Cause::busy("the group has no leader")
                };
                request.done.complete(Err(cause));
            });
        }
        self.quiet_ticks += 1;
        if self.sent > 0 && self.quiet_ticks >= REPEAT_AFTER_TICKS {
            self.send_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start: u64, number: u64, lowest: u64) -> RequestId {
        RequestId { origin: NodeId(4), start, number, lowest }
    }

    #[test]
    fn each_is_applied_once_and_in_order() {
        let mut windows = Windows::default();
        let mut turn = |start, number, lowest| windows.take_turn(&id(start, number, lowest));
        assert_eq!(turn(1, 1, 1), Turn::Next);
        assert_eq!(turn(1, 1, 1), Turn::Repeated);
        assert_eq!(turn(1, 3, 1), Turn::Gap, "2 is waited for");
        assert_eq!(turn(1, 2, 2), Turn::Next);
        assert_eq!(turn(1, 3, 2), Turn::Next);
        assert_eq!(turn(1, 7, 7), Turn::Next, "4 to 6 were given up");
        assert_eq!(turn(1, 5, 5), Turn::Repeated, "it would come after 7");
        assert_eq!(turn(2, 2, 1), Turn::Gap, "a new start begins with 1");
        assert_eq!(turn(2, 1, 1), Turn::Next);
        assert_eq!(turn(1, 8, 8), Turn::Repeated, "whoever asked is dead");
    }

    #[test]
    fn windows_come_back_as_they_were_kept() {
        let mut windows = Windows::default();
        assert_eq!(windows.take_turn(&id(3, 1, 1)), Turn::Next);
        assert_eq!(windows.take_turn(&id(3, 2, 1)), Turn::Next);
        let mut kept = Vec::new();
        windows.take_changed(&mut kept);
        assert_eq!(kept.len(), 1);
        let mut loaded = Windows::load(kept).expect("what was kept");
        assert!(loaded.is_past(NodeId(4), 3, 2) && !loaded.is_past(NodeId(4), 3, 3));
        assert_eq!(loaded.take_turn(&id(3, 2, 1)), Turn::Repeated);
    }

    #[test]
    fn a_context_round_trips() {
        assert_eq!(RequestId::of_context(&id(7, 300, 299).context()), Ok(id(7, 300, 299)));
        assert!(RequestId::of_context(b"").is_err());
    }
}
