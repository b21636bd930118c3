//! A connection's requests in flight, and the order of its answers.
//!
//! Requests stand in a queue in the order they came, and are answered in that order. A write
//! waits for its entry to be applied, a read for the store's word that the state includes all
//! that was acknowledged before; both arrive as a [`store::Done`], on whatever thread. Whoever
//! completes the front of the queue answers it and all that is ready behind it, right there: the
//! answer to a write is in the outbox before the next entry is applied, and no task wakes but the
//! connection's own, once.
//!
//! Locks are taken in the order taking, is_fenced, queue, state, outbox; never the other way.

mod later;
mod service;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use base::Cause;
use bytes::Bytes;
use door::Guest;
use store::{Inbox, Patience};

pub(crate) use self::service::Service;

use self::later::{Errand, Later, Unanswered};
use crate::{
    auth::Identity,
    faults::{self, Answer, Code},
    ops::{ReadFn, Reading},
    sessions::Heard,
    traffic::{Last, Traffic},
    tree::{Stop, away},
    watches::{LinkId, Listener},
    wire::{
        jute::{Input, put_i32},
        reply,
        request::opcode,
    },
};

/// Where a connection is in its life.
#[derive(Clone)]
pub(crate) enum Phase {
    /// Its session is being opened or found again.
    Connecting,
    /// It serves a session.
    Live(Live),
    /// It is gone, or as good as.
    Over,
}

/// A session on a connection.
#[derive(Clone)]
pub(crate) struct Live {
    /// The session.
    pub(crate) session: i64,
    /// Where its signs of life are noted.
    pub(crate) heard: Heard,
}

/// What a request in flight waits for.
pub(crate) enum Step {
    /// The connect request of a new session.
    Open { timeout_ms: u32, password: [u8; 16], knows_read_only: bool },
    /// The connect request of a known session.
    Renew { session: i64, password: Box<[u8]>, last_zxid: i64, timeout_ms: u32, knows_read_only: bool },
    /// An entry to be applied, or a count to be taken.
    Write { opcode: i32, closes_session: bool },
    /// The state to be current; then the record is answered from it.
    Read { opcode: i32, read: ReadFn, record: Box<[u8]>, identity: Arc<Identity>, tries: u8 },
    /// Nothing.
    Ping,
    /// Nothing; it is answered by a header and this record. The zxid is this, or the state's.
    Bare { code: Code, zxid: Option<i64>, record: &'static [u8], closes: bool },
}

impl Step {
    /// What operators are told of it as.
    fn opcode(&self) -> Option<i32> {
        match self {
            Step::Open { .. } | Step::Renew { .. } => Some(opcode::CREATE_SESSION),
            Step::Write { opcode, .. } | Step::Read { opcode, .. } => Some(*opcode),
            Step::Ping => Some(opcode::PING),
            Step::Bare { .. } => None,
        }
    }
}

/// A request in flight.
pub(crate) struct Pending {
    xid: i32,
    step: Step,
    since_ms: u64,
    /// Bytes of the door's budget that it holds.
    charge: usize,
    answer: Option<Result<Bytes, Cause>>,
    /// A thread that may wait for the disk has it.
    is_away: bool,
}

impl Pending {
    fn is_ready(&self) -> bool {
        self.answer.is_some() || matches!(self.step, Step::Ping | Step::Bare { .. })
    }
}

struct Queue {
    phase: Phase,
    /// The tag of the front; tags count up.
    front_tag: u64,
    pending: VecDeque<Pending>,
    /// How many of them are away: meanwhile no more are taken.
    away: usize,
}

impl Queue {
    fn find(&mut self, tag: u64) -> Option<&mut Pending> {
        let index = tag.checked_sub(self.front_tag)?;
        self.pending.get_mut(usize::try_from(index).ok()?)
    }

    fn has_writes(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.step, Step::Write { .. }))
    }
}

/// How often a read is tried, with what it needs read again and again because it was thrown out
/// between, before it waits for the disk where it stands.
const TRIES: u8 = 4;

/// A connection as its answers see it.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) guest: Guest,
    pub(crate) listener: Arc<Listener>,
    /// What came and went over it.
    pub(crate) traffic: Traffic,
    /// What was answered last.
    pub(crate) last: Last,
    /// When it came, in milliseconds since 1970.
    pub(crate) since_ms: i64,
    pub(crate) service: Arc<Service>,
    queue: Mutex<Queue>,
    /// Held while requests are taken from the connection.
    taking: Mutex<()>,
    /// Whether no more are to be proposed, also of those that were taken. Held while one is that had
    /// to wait.
    is_fenced: Mutex<bool>,
    own: Weak<Link>,
}

impl Link {
    pub(crate) fn new(mut guest: Guest, service: Arc<Service>) -> Arc<Link> {
        let id = service.hub.new_link();
        let queue = Queue { phase: Phase::Connecting, front_tag: 0, pending: VecDeque::new(), away: 0 };
        service.hub.traffic.connections.fetch_add(1, Ordering::Relaxed);
        // Taken: a link does not carry a certificate all its life.
        let identity = Identity::of(guest.peer.ip(), guest.certificate.take().as_deref());
        let listener = Arc::new(Listener::new(guest.outbox.clone(), identity));
        let (traffic, since_ms) = (Traffic::default(), service.hub.wall_ms());
        let queue = Mutex::new(queue);
        let last = Last::default();
        let (taking, is_fenced) = (Mutex::new(()), Mutex::new(false));
        let link = Arc::new_cyclic(|own| {
            let own = own.clone();
            Link { id, guest, listener, traffic, last, since_ms, service, queue, taking, is_fenced, own }
        });
        link.service.hub.add_link(&link);
        link
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while requests are taken and proposed; `None` when no more are to be taken.
    pub(crate) fn taking(&self) -> Option<MutexGuard<'_, ()>> {
        let guard = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.guest.outbox.is_closed()).then_some(guard)
    }

    /// Closes the connection: behind this call, no request of it is proposed any more. Those that
    /// were are ahead of whatever is proposed next.
    pub(crate) fn fence(&self) {
        self.guest.outbox.close();
        drop(self.taking.lock().unwrap_or_else(PoisonError::into_inner));
        *self.is_fenced.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    /// Requests without an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().pending.len()
    }

    /// Whether no more requests are taken for now: there are so many, one of them waits for the
    /// disk, or the last one will.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        let queue = self.lock();
        // It is answered from elsewhere however little there is to count.
        let counts = Some(opcode::GET_ALL_CHILDREN_NUMBER);
        let last = queue.pending.back();
        queue.pending.len() >= most
            || queue.away > 0
            || last.is_some_and(|pending| pending.step.opcode() == counts)
    }

    /// Puts a request at the end of the queue, answers it if it can be at once, and gives its tag.
    pub(crate) fn push(&self, xid: i32, step: Step, since_ms: u64, charge: usize) -> u64 {
        for traffic in [&self.service.hub.traffic, &self.traffic] {
            traffic.outstanding.fetch_add(1, Ordering::Relaxed);
        }
        let mut queue = self.lock();
        let tag = queue.front_tag + queue.pending.len() as u64;
        let pending = Pending { xid, step, since_ms, charge, answer: None, is_away: false };
        queue.pending.push_back(pending);
        if queue.pending.len() == 1 {
            self.answer_ready(queue);
        }
        tag
    }

    fn deliver(&self, tag: u64, answer: Result<Bytes, Cause>) {
        let mut queue = self.lock();
        let is_front = tag == queue.front_tag;
        // The connection may be gone, and its queue with it.
        let Some(pending) = queue.find(tag) else { return };
        pending.answer = Some(answer);
        if is_front {
            self.answer_ready(queue);
        }
    }

    /// A request waits for the disk.
    fn send_away(&self, tag: u64) {
        let mut queue = self.lock();
        if let Some(pending) = queue.find(tag) {
            pending.is_away = true;
            queue.away += 1;
        }
    }

    /// It does not any more.
    fn came_back(&self, tag: u64) {
        let mut queue = self.lock();
        if queue.find(tag).is_some_and(|pending| std::mem::take(&mut pending.is_away)) {
            queue.away -= 1;
        }
    }

    /// Answers the front of the queue for as long as it is ready.
    fn answer_ready(&self, mut queue: MutexGuard<'_, Queue>) {
        let mut now_ms = None;
        while queue.pending.front().is_some_and(Pending::is_ready) {
            let Some(mut pending) = queue.pending.pop_front() else { return };
            if let Some(what) = self.try_read(&queue, &mut pending) {
                (pending.answer, pending.is_away) = (None, true);
                queue.away += 1;
                queue.pending.push_front(pending);
                let tag = queue.front_tag;
                drop(queue);
                return self.run(Errand { tag, what });
            }
            queue.front_tag += 1;
            queue.away -= usize::from(pending.is_away);
            self.guest.budget.give_back(pending.charge);
            let now_ms = *now_ms.get_or_insert_with(|| self.service.hub.now_ms());
            let latency_ms = now_ms.saturating_sub(pending.since_ms);
            for traffic in [&self.service.hub.traffic, &self.traffic] {
                traffic.answered(latency_ms);
            }
            if let Some(opcode) = pending.step.opcode() {
                self.last.answered(opcode, pending.xid, now_ms, latency_ms);
            }
            self.answer(&mut queue, pending, now_ms);
        }
    }

    /// Has an errand done. The queue is not locked.
    fn run(&self, errand: Errand) {
        let Some(link) = self.own.upgrade() else { return };
        let store = self.service.hub.lock().replica.tree.store().clone();
        away(&store, move |store| {
            let answer = store.and_then(|store| errand.what.run(store));
            link.came_back(errand.tag);
            link.deliver(errand.tag, answer);
        });
    }

    /// Answers the request if it is a read that may be answered. If it has to wait for something, it
    /// says for what, and is not answered.
    fn try_read(&self, queue: &Queue, pending: &mut Pending) -> Option<Later> {
        let Pending { xid, step, answer: answer @ Some(Ok(_)), .. } = pending else { return None };
        let Step::Read { opcode, read, record, identity, tries } = step else { return None };
        let opcode = *opcode;
        *tries += 1;
        let patience = if *tries < TRIES { Patience::Now } else { Patience::Wait };
        let mut outcome = self.read(queue, *xid, *read, record, identity, patience);
        // A write behind it may be on its way through the log already, and its turn comes next: what
        // it changes must not be seen here.
        if matches!(outcome, Err(Unanswered::Later(Later::Warm(_)))) && queue.has_writes() {
            outcome = self.read(queue, *xid, *read, record, identity, Patience::Wait);
        }
        match outcome {
            Ok(()) => {}
            Err(Unanswered::Later(later)) => {
                if matches!(later, Later::Count(..)) {
                    *step = Step::Write { opcode, closes_session: false };
                }
                return Some(later);
            }
            Err(Unanswered::Failed(cause)) => *answer = Some(Err(cause)),
        }
        None
    }

    fn answer(&self, queue: &mut Queue, pending: Pending, now_ms: u64) {
        let Pending { xid, step, answer, .. } = pending;
        let answer = answer.unwrap_or_else(|| Ok(Bytes::new()));
        match (step, answer) {
            (Step::Open { timeout_ms, password, knows_read_only }, Ok(result)) => {
                self.opened(queue, &result, timeout_ms, &password, knows_read_only, now_ms);
            }
            (Step::Renew { session, password, last_zxid, timeout_ms, knows_read_only }, Ok(_)) => {
                let who = Renewal { session, password: &password, last_zxid };
                self.renewed(queue, who, timeout_ms, knows_read_only, now_ms);
            }
            (Step::Open { .. } | Step::Renew { .. }, Err(cause)) => {
                tracing::debug!(%cause, "no session could be given");
                self.guest.outbox.close();
            }
            (Step::Write { closes_session, .. }, Ok(result)) => {
                self.note_zxid(zxid_of(&result));
                self.guest.outbox.write(|out| {
                    reply::frame(out, |out| {
                        put_i32(out, xid);
                        out.extend_from_slice(&result);
                    });
                });
                if closes_session || code_of(&result) == Some(Code::SESSION_EXPIRED) {
                    self.guest.outbox.close();
                }
            }
            (Step::Write { closes_session: true, .. }, Err(cause)) => {
                // The session is still there, and will expire; its client wanted to go, and goes.
                self.refuse(xid, &cause);
                self.guest.outbox.close();
            }
            // It is answered.
            (Step::Read { .. }, Ok(_)) => {}
            (Step::Ping, Ok(_)) => self.bare(xid, Code::OK, None, &[]),
            (Step::Bare { code, zxid, record, closes }, _) => {
                self.bare(xid, code, zxid, record);
                if closes {
                    self.guest.outbox.close();
                }
            }
            (Step::Write { .. } | Step::Read { .. } | Step::Ping, Err(cause)) => self.refuse(xid, &cause),
        }
    }

    /// A session was opened for this connection.
    fn opened(
        &self,
        queue: &mut Queue,
        result: &[u8],
        timeout_ms: u32,
        password: &[u8; 16],
        knows_read_only: bool,
        now_ms: u64,
    ) {
        self.note_zxid(zxid_of(result));
        let Some(session) = session_of(result) else {
            tracing::error!("the state machine opened no session");
            self.guest.outbox.close();
            return;
        };
        let heard =
            self.service.hub.lock().sessions.attach(session, self.id, &self.guest.outbox, timeout_ms, now_ms);
        let Some(heard) = heard else {
            // It expired before its client heard of it.
            self.guest.outbox.close();
            return;
        };
        queue.phase = Phase::Live(Live { session, heard });
        self.guest.outbox.write(|out| {
            reply::frame(out, |out| reply::connected(out, timeout_ms, session, password, knows_read_only));
        });
    }

    /// The state is current, so a known session can be looked up.
    fn renewed(
        &self,
        queue: &mut Queue,
        who: Renewal<'_>,
        timeout_ms: u32,
        knows_read_only: bool,
        now_ms: u64,
    ) {
        let mut state = self.service.hub.lock();
        if who.last_zxid > state.replica.zxid {
            // The client has seen a future that is not ours; it must look for another server.
            self.guest.outbox.close();
            return;
        }
        self.note_zxid(state.replica.zxid);
        let known = state.replica.sessions.get(&who.session);
        let password = known.map(|known| known.password).filter(|known| known[..] == *who.password);
        let heard = password.and_then(|_| {
            state.sessions.attach(who.session, self.id, &self.guest.outbox, timeout_ms, now_ms)
        });
        drop(state);
        match (heard, password) {
            (Some(heard), Some(password)) => {
                let session = who.session;
                queue.phase = Phase::Live(Live { session, heard });
                self.guest.outbox.write(|out| {
                    reply::frame(out, |out| {
                        reply::connected(out, timeout_ms, session, &password, knows_read_only);
                    });
                });
            }
            _ => {
                self.guest.outbox.write(|out| {
                    reply::frame(out, |out| reply::no_session(out, knows_read_only));
                });
                self.guest.outbox.close();
            }
        }
    }

    /// Reads, sets a watch, and puts the answer into the outbox, all under the state's lock.
    fn read(
        &self,
        queue: &Queue,
        xid: i32,
        read: ReadFn,
        record: &[u8],
        identity: &Identity,
        patience: Patience,
    ) -> Result<(), Unanswered> {
        let session = if let Phase::Live(live) = &queue.phase { live.session } else { 0 };
        let mut state = self.service.hub.lock_for(&self.listener);
        state.replica.tree.set_patience(patience);
        let zxid = state.replica.zxid;
        self.note_zxid(zxid);
        let mut events = Vec::new();
        let mut reading = Reading {
            state: &mut state,
            link: self.id,
            session,
            listener: &self.listener,
            identity,
            events: &mut events,
            answer_bytes: self.service.hub.settings.answer_bytes,
            budget: &self.guest.budget,
            wants: Vec::new(),
            census: None,
            listed: None,
        };
        let outcome = self.guest.outbox.write(|out| {
            let before = out.len();
            let mut outcome = Ok(());
            reply::frame(out, |out| {
                let start = out.len();
                reply::header(out, xid, zxid, Code::OK);
                match read(&mut reading, Input::new(record), out) {
                    Ok(()) => {}
                    Err(Stop::Refused(code)) => {
                        out.truncate(start);
                        reply::header(out, xid, zxid, code);
                    }
                    Err(stop) => outcome = Err(stop),
                }
            });
            if outcome.is_err() {
                out.truncate(before);
            } else if !reading.events.is_empty() {
                out.splice(before..before, reading.events.drain(..));
            }
            outcome
        });
        let Reading { wants, census, listed, .. } = reading;
        let tree = &mut state.replica.tree;
        tree.set_patience(Patience::Now);
        tree.trim(listed);
        outcome.map_err(|stop| match (stop, census) {
            (Stop::Cold, Some(census)) => Unanswered::Later(Later::Count(census, zxid)),
            (Stop::Cold, None) => Unanswered::Later(Later::Warm(wants)),
            (stop, _) => Unanswered::Failed(stop.into()),
        })
    }

    /// Answers a request that the store did not carry out.
    fn refuse(&self, xid: i32, cause: &Cause) {
        match faults::answer(cause) {
            Answer::Code(code) => self.bare(xid, code, None, &[]),
            Answer::Close => {
                tracing::debug!(%cause, "closing a connection over a request");
                self.guest.outbox.close();
            }
        }
    }

    /// Answers without looking at the state, but for its zxid.
    fn bare(&self, xid: i32, code: Code, zxid: Option<i64>, record: &[u8]) {
        let zxid = zxid.unwrap_or_else(|| {
            let zxid = self.service.hub.lock_for(&self.listener).replica.zxid;
            self.note_zxid(zxid);
            zxid
        });
        self.guest.outbox.write(|out| {
            reply::frame(out, |out| {
                reply::header(out, xid, zxid, code);
                out.extend_from_slice(record);
            });
        });
    }

    fn note_zxid(&self, zxid: i64) {
        self.last.zxid.store(zxid, Ordering::Relaxed);
    }

    /// Notes that the client is closing its session, so that it gets to hear that it did.
    pub(crate) fn leave(&self, session: i64) {
        self.service.hub.lock().sessions.leave(session, self.id);
    }

    /// The connection is gone: nobody waits for its answers, and its watches must not outlive it.
    pub(crate) fn end(&self) {
        let mut queue = self.lock();
        let phase = std::mem::replace(&mut queue.phase, Phase::Over);
        let unanswered = queue.pending.len() as u64;
        self.service.hub.traffic.outstanding.fetch_sub(unanswered, Ordering::Relaxed);
        queue.front_tag += unanswered;
        queue.away = 0;
        for pending in queue.pending.drain(..) {
            self.guest.budget.give_back(pending.charge);
        }
        drop(queue);
        self.service.hub.remove_link(self.id);
        let mut state = self.service.hub.lock();
        state.watches.remove_all(self.id);
        if let Phase::Live(live) = phase {
            state.sessions.detach(live.session, self.id);
        }
        drop(state);
        self.service.hub.traffic.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who comes back.
struct Renewal<'a> {
    session: i64,
    password: &'a [u8],
    last_zxid: i64,
}

/// Answers of writes are results of the state machine.
impl Inbox<Bytes> for Link {
    fn deliver(&self, tag: u64, answer: Result<Bytes, Cause>) {
        Link::deliver(self, tag, answer);
    }
}

/// Answers of barriers say only that they came.
impl Inbox<()> for Link {
    fn deliver(&self, tag: u64, answer: Result<(), Cause>) {
        Link::deliver(self, tag, answer.map(|()| Bytes::new()));
    }
}

/// The zxid in a result of the state machine.
fn zxid_of(result: &[u8]) -> i64 {
    result.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// The error in a result of the state machine.
fn code_of(result: &[u8]) -> Option<Code> {
    result.get(8..12)?.try_into().ok().map(|bytes| Code::from_number(i32::from_be_bytes(bytes)))
}

/// The id in the result of opening a session.
fn session_of(result: &[u8]) -> Option<i64> {
    result.get(12..20)?.try_into().ok().map(i64::from_be_bytes)
}

/// Notes a sign of life.
pub(crate) fn hear(heard: &AtomicU64, now_ms: u64) {
    heard.store(now_ms, Ordering::Relaxed);
}
