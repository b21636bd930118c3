//! One connection, as the protocol sees it: fed bytes, no I/O.
//!
//! The first frame is a connect request, or four letters; then come requests. Until the session
//! is opened nothing else is taken from the connection. See [`crate::link`] for how answers leave.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Buf, BytesMut};
use door::{Close, Guest, Session};
use store::{Done, Principal};

use crate::{
    entry::{Entry, What},
    faults::Code,
    link::{Link, Live, Phase, Service, Step, hear},
    ops::{self, Operation, Run},
    wire::{
        Frame, LENGTH_BYTES, frame,
        jute::{Input, Malformed},
        request::{self, Connect, Credentials, Header, opcode},
    },
    words::{self, Typed},
};

/// A connection takes no more requests while this much is unsent: what a client does not read it
/// need not ask for. Within the bounds of the kit, and checked between two requests, so that a
/// burst of small requests for large answers waits instead of breaking the connection.
const PAUSE_BYTES: usize = 1 << 20;

/// Null, as jute writes it.
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// See the module.
pub(crate) struct Connection {
    link: Arc<Link>,
    greeted: bool,
    live: Option<Live>,
    holds_back: bool,
    /// A request that ends the connection was taken; what follows is not looked at.
    ending: bool,
}

impl Connection {
    pub(crate) fn new(guest: Guest, service: Arc<Service>) -> Connection {
        let link = Link::new(guest, service);
        Connection { link, greeted: false, live: None, holds_back: false, ending: false }
    }

    fn service(&self) -> &Service {
        &self.link.service
    }

    /// Counts requests.
    fn received(&self, count: u64) {
        for traffic in [&self.service().hub.traffic, &self.link.traffic] {
            traffic.received.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The first bytes of a connection.
    fn greet(&mut self, input: &mut BytesMut) -> Result<(), Close> {
        match words::typed(&self.service().hub, input) {
            Typed::Word(answer) => {
                self.link.guest.outbox.push(answer.as_bytes());
                return Err(Close::because("a four-letter word was answered"));
            }
            Typed::Unfinished => return Ok(()),
            Typed::Nothing => {}
        }
        let body = match frame(input, self.service().hub.settings.message_bytes) {
            Frame::Whole(body) => body,
            Frame::Unfinished => return Ok(()),
            Frame::Unreasonable => return Err(Close::because("not a ZooKeeper client")),
        };
        let connect =
            request::connect(body).map_err(|Malformed| Close::because("malformed connect request"))?;
        self.greeted = true;
        let length = LENGTH_BYTES + body.len();
        self.connect(connect)?;
        input.advance(length);
        Ok(())
    }

    fn connect(&self, connect: Connect<'_>) -> Result<(), Close> {
        let hub = &self.service().hub;
        let now_ms = hub.now_ms();
        let timeout_ms = hub.settings.session_timeout_ms(connect.timeout_ms);
        let knows_read_only = connect.knows_read_only;
        self.received(1);
        if connect.session != 0 {
            let (session, last_zxid) = (connect.session, connect.last_zxid);
            let password = connect.password.into();
            let step = Step::Renew { session, password, last_zxid, timeout_ms, knows_read_only };
            let tag = self.link.push(0, step, now_ms, 0);
            self.come_back(&connect, tag);
            return Ok(());
        }
        if connect.last_zxid > hub.lock().replica.zxid {
            return Err(Close::because("the client has seen a zxid that is ahead of ours"));
        }
        let mut password = [0; 16];
        hub.entropy.fill(&mut password);
        let what = What::Open { timeout_ms, password };
        let entry = Entry::plain(hub.wall_ms(), 0, what);
        let tag = self.link.push(0, Step::Open { timeout_ms, password, knows_read_only }, now_ms, 0);
        self.propose(&entry, tag);
        Ok(())
    }

    /// Goes on with a session when all is done that it has asked for on another connection. A client
    /// whose request had no answer looks whether it was done, and must not be told that it was not
    /// while it is still on its way.
    fn come_back(&self, connect: &Connect<'_>, tag: u64) {
        let hub = &self.service().hub;
        let session = connect.session;
        let state = hub.lock();
        let known = state.replica.sessions.get(&session);
        let is_known = known.is_some_and(|known| known.password[..] == *connect.password)
            && connect.last_zxid <= state.replica.zxid;
        let before = state.sessions.on(session).filter(|_| is_known);
        drop(state);
        if !is_known {
            // A stranger, who ends nothing; or this state is old, and nothing of the session is on its
            // way from here.
            return self.service().barrier(Done::new(self.link.clone(), tag));
        }
        if let Some(link) = before.and_then(|id| hub.link(id)) {
            link.fence();
        }
        let what = What::Return;
        let entry = Entry::plain(hub.wall_ms(), session, what);
        self.propose(&entry, tag);
    }

    /// Takes the requests at the front of `input`.
    fn requests(&mut self, live: &Live, input: &mut BytesMut) -> Result<(), Close> {
        let link = self.link.clone();
        let Some(_taking) = link.taking() else {
            input.clear();
            return Ok(());
        };
        let now_ms = self.service().hub.now_ms();
        hear(&live.heard, now_ms);
        let max_bytes = self.service().hub.settings.message_bytes;
        let mut taken = 0;
        let mut count = 0;
        let outcome = loop {
            if self.ending {
                taken = input.len();
                break Ok(());
            }
            if self.is_full() {
                self.holds_back = true;
                break Ok(());
            }
            match frame(&input[taken..], max_bytes) {
                Frame::Whole(body) => {
                    taken += LENGTH_BYTES + body.len();
                    count += 1;
                    if let Err(Malformed) = self.request(live.session, body, now_ms) {
                        break Err(Close::because("a request without a header, or malformed credentials"));
                    }
                }
                Frame::Unfinished => break Ok(()),
                Frame::Unreasonable => break Err(Close::because("unreasonable length")),
            }
        };
        self.received(count);
        input.advance(taken);
        outcome
    }

    fn request(&mut self, session: i64, body: &[u8], now_ms: u64) -> Result<(), Malformed> {
        let mut input = Input::new(body);
        let header = request::header(&mut input)?;
        match header.opcode {
            opcode::PING => {
                self.link.push(header.xid, Step::Ping, now_ms, 0);
            }
            opcode::AUTH => {
                let credentials = request::credentials(&mut input)?;
                self.authenticate(header, credentials, now_ms);
            }
            opcode::SASL => {
                input.buffer()?;
                // As a server answers that has no mechanism: with a null token, which proves nothing.
                let step = Step::Bare { code: Code::OK, zxid: Some(0), record: &NULL, closes: false };
                self.link.push(header.xid, step, now_ms, 0);
            }
            code => match ops::find(code) {
                // As ZooKeeper does; -1 is the zxid of a request that never got one.
                None => self.end(header, Code::UNIMPLEMENTED, -1, now_ms),
                Some((row, operation)) => {
                    self.service().counters[row].increment(1);
                    self.operate(session, header, operation, input, now_ms);
                }
            },
        }
        Ok(())
    }

    /// Takes credentials. They count for the requests behind them and the watches that fire from
    /// now on, whoever set them.
    fn authenticate(&mut self, header: Header, credentials: Credentials<'_>, now_ms: u64) {
        let super_digest = self.service().hub.settings.super_digest.as_deref();
        let listener = &self.link.listener;
        match listener.identity().with(credentials.scheme, credentials.auth, super_digest) {
            Some(identity) => {
                listener.identify(identity);
                self.link.push(
                    header.xid,
                    Step::Bare { code: Code::OK, zxid: Some(0), record: &[], closes: false },
                    now_ms,
                    0,
                );
            }
            None => {
                self.service().hub.traffic.auth_failed.fetch_add(1, Ordering::Relaxed);
                self.end(header, Code::AUTH_FAILED, 0, now_ms);
            }
        }
    }

    /// Refuses a request and ends the connection after it.
    fn end(&mut self, header: Header, code: Code, zxid: i64, now_ms: u64) {
        self.ending = true;
        self.link.push(
            header.xid,
            Step::Bare { code, zxid: Some(zxid), record: &[], closes: true },
            now_ms,
            0,
        );
    }

    fn operate(
        &mut self,
        session: i64,
        header: Header,
        operation: &'static Operation,
        mut record: Input<'_>,
        now_ms: u64,
    ) {
        let decode = match operation.run {
            Run::Read(read) => {
                let record = record.rest();
                if self.has_room(header, record.len(), now_ms) {
                    let step = Step::Read {
                        opcode: header.opcode,
                        read,
                        record: record.into(),
                        identity: self.link.listener.identity(),
                        tries: 0,
                    };
                    let tag = self.link.push(header.xid, step, now_ms, record.len());
                    self.service().barrier(Done::new(self.link.clone(), tag));
                }
                return;
            }
            Run::Write(decode) => decode,
        };
        // An entry holds the request's fields and little else.
        let bytes = record.rest().len();
        let Ok(what) = decode(&mut record) else {
            return self.refuse(header, Code::MARSHALLING_ERROR, now_ms);
        };
        let closes_session = what == What::Close;
        let time_ms = self.service().hub.wall_ms();
        let identity = self.link.listener.identity();
        let enforces_quotas = self.service().hub.settings.enforce_quota;
        let entry = Entry {
            time_ms,
            session,
            cxid: header.xid,
            ids: identity.ids().collect(),
            enforces_quotas,
            what,
        };
        if !self.has_room(header, bytes, now_ms) {
            return;
        }
        if closes_session {
            self.ending = true;
            self.link.leave(session);
        }
        let step = Step::Write { opcode: header.opcode, closes_session };
        let tag = self.link.push(header.xid, step, now_ms, bytes);
        self.propose(&entry, tag);
    }

    fn propose(&self, entry: &Entry<'_>, tag: u64) {
        let done = Done::new(self.link.clone(), tag);
        self.link.service.propose(Principal::Anonymous, entry, done, Some((&self.link, tag)));
    }

    fn refuse(&self, header: Header, code: Code, now_ms: u64) {
        self.link.push(header.xid, Step::Bare { code, zxid: None, record: &[], closes: false }, now_ms, 0);
    }

    /// Takes what a request holds until its answer from the door's budget, or refuses it.
    fn has_room(&self, header: Header, bytes: usize, now_ms: u64) -> bool {
        let has_room = self.link.guest.budget.try_take(bytes);
        if !has_room {
            self.refuse(header, Code::THROTTLED, now_ms);
        }
        has_room
    }
}

impl Session for Connection {
    fn feed(&mut self, input: &mut BytesMut) -> Result<(), Close> {
        self.holds_back = false;
        if self.ending {
            input.clear();
            return Ok(());
        }
        if !self.greeted {
            self.greet(input)?;
        }
        if self.live.is_none() {
            match self.link.phase() {
                Phase::Live(live) => self.live = Some(live),
                Phase::Connecting | Phase::Over => {
                    self.holds_back = self.greeted && !input.is_empty();
                    return Ok(());
                }
            }
        }
        match self.live.clone() {
            Some(live) if !input.is_empty() => self.requests(&live, input),
            _ => Ok(()),
        }
    }

    fn established(&self) -> bool {
        self.live.is_some() || matches!(self.link.phase(), Phase::Live(_))
    }

    fn in_flight(&self) -> usize {
        self.link.in_flight()
    }

    fn is_full(&self) -> bool {
        if self.live.is_none() && self.greeted {
            return matches!(self.link.phase(), Phase::Connecting);
        }
        self.link.is_full(self.service().hub.settings.in_flight)
            || self.link.guest.outbox.unsent() > PAUSE_BYTES
    }

    fn holds_back(&self) -> bool {
        self.holds_back
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.end();
    }
}
