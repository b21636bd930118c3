//! A node in few lines, to test the simulator: the `raft` crate over the log of the house, with
//! the bugs of the books planted. What it lacks of a real one: a state in files (it applies its whole
//! log again), snapshots, changes of membership, proposals that are repeated.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use base::{Cause, Class, Malformed, NodeId, Position, Reader, StreamId, Writer};
use bytes::Bytes;
use disk_log::{Log, LogSettings, LogWriter, Stepper};
use node_link::{Class as LinkClass, Link, Receive, Received};
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{Entry, HardState, Message, MessageType},
    storage::MemStorage,
};
use store::{Changes, Done, Machine, MachineState, Patience, Records, Unread};
use world::Entropy;

use crate::{
    bugs::Bug,
    node::{Birth, Node},
};

const STREAM: StreamId = StreamId(20);

/// What its link brings.
#[derive(Default)]
struct Inbox(Mutex<Vec<(NodeId, Bytes)>>);

impl Receive for Inbox {
    fn receive(&self, from: NodeId, _class: LinkClass, message: Received) {
        self.0.lock().unwrap().push((from, message.bytes().clone()));
    }

    fn connected(&self, _node: NodeId, _start: u64) {}

    fn disconnected(&self, _node: NodeId) {}
}

/// A state of which nothing is durable.
struct Nothing;

impl MachineState for Nothing {
    fn get(&self, _key: &[u8], _patience: Patience) -> Result<Option<Bytes>, Unread> {
        Ok(None)
    }

    fn scan(&self, _from: &[u8], _to: Option<&[u8]>, _patience: Patience) -> Result<Records, Unread> {
        Ok(Box::new(std::iter::empty()))
    }

    fn defer(&self, job: store::Job) {
        job(Ok(()));
    }
}

pub(crate) struct Sketch {
    id: u64,
    core: RawNode<MemStorage>,
    machine: Box<dyn Machine>,
    link: Arc<dyn Link>,
    log: LogWriter,
    stepper: Stepper,
    inbox: Arc<Inbox>,
    bug: Option<Bug>,
    /// Proposals, by the context of their entry.
    pending: BTreeMap<Vec<u8>, Done<Bytes>>,
    barriers: BTreeMap<Vec<u8>, (Option<u64>, Done<()>)>,
    /// Tells this life's contexts from those of others.
    life: u64,
    next: u64,
    applied: u64,
    /// Numbers of `Ready`s that are durable.
    durable: Arc<Mutex<Vec<u64>>>,
    entropy: Entropy,
    /// The election timeout drawn for a term: the core would draw its own from the machine's entropy.
    timeout: (u64, usize),
    /// Messages that wait for a `Ready` to be durable.
    waiting: VecDeque<Waits>,
}

/// A `Ready` that is not durable yet.
struct Waits {
    number: u64,
    writes: bool,
    messages: Vec<Message>,
}

impl Node for Sketch {
    fn start(birth: Birth) -> Result<Sketch, Cause> {
        let voters: Vec<u64> = birth.members.iter().map(|node| node.0).collect();
        let storage = MemStorage::new_with_conf_state((voters, vec![]));
        let mut visit = |_: Position, stream: StreamId, payload: &[u8]| {
            if stream == STREAM { Ok(replay(&storage, payload)?) } else { Ok(()) }
        };
        // It does not know what to do when the log refuses a record.
        let settings = LogSettings {
            segment_bytes: 1 << 20,
            queue_bytes: 900 << 10,
            max_record_bytes: 64 << 10,
            ..birth.settings.log.clone()
        };
        let log = Log::open(birth.world.disk.clone(), settings, &birth.world.entropy, &mut visit)?;
        let (log, stepper) = LogWriter::stepped(log);
        let config = Config {
            id: birth.node.0,
            election_tick: 10,
            heartbeat_tick: 2,
            check_quorum: true,
            pre_vote: true,
            max_size_per_msg: 1_000,
            max_inflight_msgs: 16,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let core = RawNode::new(&config, storage, &logger).map_err(|error| Cause::bug(error.to_string()))?;
        let mut machine = birth.machine;
        machine.restore(Arc::new(Nothing))?;
        Ok(Sketch {
            id: birth.node.0,
            core,
            machine,
            link: birth.link,
            log,
            stepper,
            inbox: Arc::default(),
            bug: birth.bug,
            pending: BTreeMap::new(),
            barriers: BTreeMap::new(),
            life: birth.world.entropy.u64(),
            next: 0,
            applied: 0,
            durable: Arc::default(),
            entropy: birth.world.entropy,
            timeout: (u64::MAX, 10),
            waiting: VecDeque::new(),
        })
    }

    fn receiver(&self) -> Option<Arc<dyn Receive>> {
        Some(self.inbox.clone())
    }

    fn start_number(&self) -> u64 {
        self.life
    }

    fn turn(&mut self) -> Result<bool, Cause> {
        let heard = std::mem::take(&mut *self.inbox.0.lock().unwrap());
        for (_, bytes) in heard {
            match decode(&bytes)? {
                Heard::Raft(message) => _ = self.core.step(message),
                Heard::Propose { context, entry } => _ = self.core.propose(context, entry),
            }
            self.draw_timeout();
        }
        let durable = std::mem::take(&mut *self.durable.lock().unwrap());
        for number in durable {
            self.persisted(number);
        }
        let any = self.core.has_ready();
        while self.core.has_ready() {
            self.take_ready()?;
        }
        Ok(any)
    }

    fn step_log(&mut self) -> Result<bool, Cause> {
        Ok(self.stepper.step()? > 0)
    }

    fn step_upkeep(&mut self) -> Result<bool, Cause> {
        Ok(false)
    }

    fn tick(&mut self) -> Result<(), Cause> {
        self.draw_timeout();
        self.core.tick();
        self.draw_timeout();
        for context in
            self.barriers.iter().filter(|(_, (index, _))| index.is_none()).map(|(context, _)| context)
        {
            self.core.read_index(context.clone());
        }
        Ok(())
    }

    fn propose(&mut self, entry: Bytes, done: Done<Bytes>) {
        let context = self.context();
        let leader = self.core.raft.leader_id;
        if leader == self.id {
            if let Err(error) = self.core.propose(context.clone(), entry.to_vec()) {
                return done.complete(Err(Cause::busy(error.to_string())));
            }
        } else if leader == 0 {
            return done.complete(Err(Cause::new(Class::Moved, "nobody leads")));
        } else {
            let mut out = Writer::new();
            out.u8(PROPOSE);
            out.bytes(&context);
            out.bytes(&entry);
            let message = Bytes::from(out.into_vec());
            for _ in 0..1 + usize::from(self.bug == Some(Bug::DuplicateApply)) {
                let _ = self.link.send(NodeId(leader), LinkClass::Log, message.clone());
            }
        }
        self.pending.insert(context, done);
    }

    fn words(message: &[u8]) -> String {
        match decode(message) {
            Ok(Heard::Raft(m)) => format!("{:?} of term {}, {} entries", m.msg_type, m.term, m.entries.len()),
            Ok(Heard::Propose { entry, .. }) => format!("please propose {} bytes", entry.len()),
            Err(malformed) => malformed.to_string(),
        }
    }

    fn is_vote(message: &[u8]) -> bool {
        matches!(decode(message), Ok(Heard::Raft(m)) if m.msg_type == MessageType::MsgRequestVoteResponse && !m.reject)
    }

    fn barrier(&mut self, done: Done<()>) {
        if self.bug == Some(Bug::ReadBeforeOwnTerm) {
            // Coarser than a real one: it asks nobody at all.
            return done.complete(Ok(()));
        }
        let context = self.context();
        self.core.read_index(context.clone());
        self.barriers.insert(context, (None, done));
    }
}

impl Sketch {
    fn context(&mut self) -> Vec<u8> {
        self.next += 1;
        let mut out = Writer::new();
        out.u64(self.life);
        out.u64(self.next);
        out.into_vec()
    }

    fn draw_timeout(&mut self) {
        if self.timeout.0 != self.core.raft.term {
            self.timeout = (self.core.raft.term, 10 + self.entropy.below(10) as usize);
        }
        self.core.raft.set_randomized_election_timeout(self.timeout.1);
    }

    fn take_ready(&mut self) -> Result<(), Cause> {
        let mut ready = self.core.ready();
        self.send(ready.take_messages());
        for state in ready.take_read_states() {
            if let Some((index, _)) = self.barriers.get_mut(&state.request_ctx) {
                *index = Some(state.index);
            }
        }
        let committed = ready.take_committed_entries();
        let entries = ready.take_entries();
        let hard_state = ready.hs().cloned();
        let afterwards = ready.take_persisted_messages();
        let number = ready.number();
        let mut records = Vec::new();
        if let Some(state) = hard_state {
            let vote = if self.bug == Some(Bug::VoteNotPersisted) { 0 } else { state.vote };
            records.push(hard_state_record(state.term, vote, state.commit));
            self.core.mut_store().wl().set_hardstate(state);
        }
        records.extend(entries.iter().map(entry_record));
        self.core.mut_store().wl().append(&entries).map_err(|error| Cause::bug(error.to_string()))?;
        self.core.advance_append_async(ready);
        let mut messages = afterwards;
        if self.bug == Some(Bug::AckBeforeFsync) {
            self.send(std::mem::take(&mut messages));
        }
        if self.bug == Some(Bug::LeaderCountsItselfEarly) && self.core.raft.state == StateRole::Leader {
            self.core.on_persist_ready(number);
        }
        self.waiting.push_back(Waits { number, writes: !records.is_empty(), messages });
        if records.is_empty() {
            // Nothing to wait for, unless something before it waits.
            self.persisted(0);
        } else {
            self.append(number, &records)?;
        }
        self.apply(committed)
    }

    /// Brings the records of a `Ready` to the log.
    fn append(&mut self, number: u64, records: &[Vec<u8>]) -> Result<(), Cause> {
        let durable = self.durable.clone();
        let done = Box::new(move |outcome: Result<Position, Cause>| {
            if outcome.is_ok() {
                durable.lock().unwrap().push(number);
            }
        });
        let records: Vec<_> = records.iter().map(|record| (STREAM, &record[..])).collect();
        match self.log.append_many(&records, done) {
            Ok(_) => Ok(()),
            Err(refused) => Err(Cause::bug(refused.cause.message)),
        }
    }

    /// A `Ready` is durable, and with it those behind it that had nothing to write.
    fn persisted(&mut self, number: u64) {
        while let Some(waits) = self.waiting.pop_front_if(|waits| waits.number <= number || !waits.writes) {
            self.core.on_persist_ready(waits.number);
            self.send(waits.messages);
        }
    }

    fn apply(&mut self, committed: Vec<Entry>) -> Result<(), Cause> {
        for entry in committed {
            self.applied = entry.index;
            if !entry.data.is_empty() {
                let told = self.machine.apply(entry.index, &entry.data, &mut Changes::new())?;
                if let Some(done) = self.pending.remove(&entry.context[..]) {
                    done.complete(Ok(told));
                }
            }
        }
        self.core.advance_apply_to(self.applied);
        let applied = self.applied;
        for (_, (_, done)) in
            self.barriers.extract_if(.., |_, (index, _)| index.is_some_and(|i| i <= applied))
        {
            done.complete(Ok(()));
        }
        Ok(())
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            let class = match message.msg_type {
                MessageType::MsgAppend | MessageType::MsgAppendResponse => LinkClass::Log,
                _ => LinkClass::Control,
            };
            let _ = self.link.send(NodeId(message.to), class, encode(&message));
        }
    }
}

// Records.

fn hard_state_record(term: u64, vote: u64, commit: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(0);
    [term, vote, commit].into_iter().for_each(|number| out.u64(number));
    out.into_vec()
}

fn entry_record(entry: &Entry) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(1);
    put_entry(&mut out, entry);
    out.into_vec()
}

fn replay(storage: &MemStorage, record: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(record);
    if reader.u8("kind")? == 1 {
        storage.wl().append(&[take_entry(&mut reader)?]).map_err(|_| Malformed("order of entries"))
    } else {
        let (term, vote, commit) = (reader.u64("term")?, reader.u64("vote")?, reader.u64("commit")?);
        let mut state = HardState { term, vote, ..HardState::default() };
        state.commit = commit;
        storage.wl().set_hardstate(state);
        Ok(())
    }
}

// Messages.

const RAFT: u8 = 0;
const PROPOSE: u8 = 1;

enum Heard {
    Raft(Message),
    Propose { context: Vec<u8>, entry: Vec<u8> },
}

fn put_entry(out: &mut Writer, entry: &Entry) {
    out.u64(entry.index);
    out.u64(entry.term);
    out.bytes(&entry.context);
    out.bytes(&entry.data);
}

fn take_entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let mut entry = Entry { index: reader.u64("index")?, term: reader.u64("term")?, ..Entry::default() };
    entry.context = Bytes::copy_from_slice(reader.bytes("context")?);
    entry.data = Bytes::copy_from_slice(reader.bytes("data")?);
    Ok(entry)
}

fn encode(m: &Message) -> Bytes {
    let mut out = Writer::new();
    out.u8(RAFT);
    let numbers = [m.msg_type as u64, m.to, m.from, m.term, m.log_term, m.index, m.commit, m.commit_term];
    let more = [m.reject.into(), m.reject_hint, m.entries.len() as u64, m.priority as u64];
    numbers.into_iter().chain(more).for_each(|number| out.u64(number));
    out.bytes(&m.context);
    m.entries.iter().for_each(|entry| put_entry(&mut out, entry));
    out.into_vec().into()
}

fn decode(bytes: &[u8]) -> Result<Heard, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8("kind")? == PROPOSE {
        let context = reader.bytes("context")?.to_vec();
        return Ok(Heard::Propose { context, entry: reader.bytes("entry")?.to_vec() });
    }
    let mut next = || reader.u64("number");
    let kind = next()? as i32;
    let mut m =
        Message { to: next()?, from: next()?, term: next()?, log_term: next()?, ..Message::default() };
    (m.index, m.commit, m.commit_term) = (next()?, next()?, next()?);
    (m.reject, m.reject_hint) = (next()? == 1, next()?);
    let entries = next()?;
    m.priority = next()? as i64;
    m.msg_type = TYPES.iter().copied().find(|known| *known as i32 == kind).ok_or(Malformed("type"))?;
    m.context = Bytes::copy_from_slice(reader.bytes("context")?);
    m.entries = (0..entries).map(|_| take_entry(&mut reader)).collect::<Result<Vec<_>, _>>()?.into();
    Ok(Heard::Raft(m))
}

const TYPES: [MessageType; 15] = [
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgUnreachable,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];
