//! Sessions as this node sees them: when each was last heard of, and on which connection.
//!
//! Whether a session exists is replicated; whether it is alive is judged here, by the boot clock
//! of the node that leads. A sign of life costs one store to an atomic: it is never logged, and
//! moves nothing. Deadlines stand in an ordered set and are only checked when they come: one that
//! was pushed out meanwhile goes back in, at most once in a session's timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use door::Outbox;

use crate::watches::LinkId;

/// How long to wait before trying again to close a session that could not be closed.
const RETRY_MS: u64 = 1000;

/// When a session was last heard of, in milliseconds of the boot clock. Shared with its connection.
pub(crate) type Heard = Arc<AtomicU64>;

struct Session {
    timeout_ms: u32,
    heard: Heard,
    /// Where it stands in `deadlines`; `None` while it is being closed.
    deadline_ms: Option<u64>,
    on: Option<Attached>,
}

impl Session {
    /// When its time is up if it is not heard of again, in milliseconds of the boot clock.
    fn due_ms(&self) -> u64 {
        self.heard.load(Ordering::Relaxed) + u64::from(self.timeout_ms)
    }
}

struct Attached {
    link: LinkId,
    outbox: Arc<Outbox>,
    /// Whether the client itself is closing the session, and awaits an answer.
    leaving: bool,
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<i64, Session>,
    deadlines: BTreeSet<(u64, i64)>,
}

impl Sessions {
    /// A session was opened, or found in the durable state.
    pub(crate) fn open(&mut self, id: i64, timeout_ms: u32, now_ms: u64) {
        let deadline_ms = now_ms + u64::from(timeout_ms);
        self.deadlines.insert((deadline_ms, id));
        let heard = Arc::new(AtomicU64::new(now_ms));
        self.sessions.insert(id, Session { timeout_ms, heard, deadline_ms: Some(deadline_ms), on: None });
    }

    /// A session was closed: its connection is closed too, unless it is the one that asked.
    pub(crate) fn close(&mut self, id: i64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(deadline_ms) = session.deadline_ms {
            self.deadlines.remove(&(deadline_ms, id));
        }
        if let Some(on) = session.on.filter(|on| !on.leaving) {
            on.outbox.close();
        }
    }

    /// Puts a session on a connection, and closes the one it was on before. `None` when it does
    /// not exist or is being closed.
    pub(crate) fn attach(
        &mut self,
        id: i64,
        link: LinkId,
        outbox: &Arc<Outbox>,
        timeout_ms: u32,
        now_ms: u64,
    ) -> Option<Heard> {
        let session = self.sessions.get_mut(&id)?;
        let deadline_ms = session.deadline_ms.as_mut()?;
        session.heard.store(now_ms, Ordering::Relaxed);
        self.deadlines.remove(&(*deadline_ms, id));
        *deadline_ms = now_ms + u64::from(timeout_ms);
        self.deadlines.insert((*deadline_ms, id));
        session.timeout_ms = timeout_ms;
        if let Some(before) = session.on.replace(Attached { link, outbox: outbox.clone(), leaving: false }) {
            before.outbox.close();
        }
        Some(session.heard.clone())
    }

    /// The connection that a session is on.
    pub(crate) fn on(&self, id: i64) -> Option<LinkId> {
        self.sessions.get(&id)?.on.as_ref().map(|on| on.link)
    }

    /// A connection is gone; its session lives on until its timeout, or on another connection.
    pub(crate) fn detach(&mut self, id: i64, link: LinkId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.on.as_ref().is_some_and(|on| on.link == link)
        {
            session.on = None;
        }
    }

    /// Notes that the client on `link` is closing its session.
    pub(crate) fn leave(&mut self, id: i64, link: LinkId) {
        if let Some(on) = self.sessions.get_mut(&id).and_then(|session| session.on.as_mut())
            && on.link == link
        {
            on.leaving = true;
        }
    }

    /// Sessions whose time is up; from now on they are being closed.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<i64> {
        let mut expired = Vec::new();
        while let Some(&(deadline_ms, id)) = self.deadlines.first()
            && deadline_ms <= now_ms
        {
            self.deadlines.pop_first();
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let deadline_ms = session.due_ms();
            if deadline_ms > now_ms {
                session.deadline_ms = Some(deadline_ms);
                self.deadlines.insert((deadline_ms, id));
            } else {
                session.deadline_ms = None;
                expired.push(id);
            }
        }
        expired
    }

    /// A session whose time was up could not be closed; it will be tried again.
    pub(crate) fn retry(&mut self, id: i64, now_ms: u64) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.deadline_ms.is_none()
        {
            session.deadline_ms = Some(now_ms + RETRY_MS);
            self.deadlines.insert((now_ms + RETRY_MS, id));
        }
    }

    /// The next moment at which a session may have to be closed.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline_ms, _)| deadline_ms)
    }

    /// Gives every session one full timeout from now: nobody could be heard while we were down.
    pub(crate) fn hear_all(&mut self, now_ms: u64) {
        for session in self.sessions.values() {
            session.heard.store(now_ms, Ordering::Relaxed);
        }
    }

    /// All sessions that are not being closed, each with when its time is up if it is not heard of again.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (i64, u64)> {
        let alive = self.sessions.iter().filter(|(_, session)| session.deadline_ms.is_some());
        alive.map(|(id, session)| (*id, session.due_ms()))
    }

    /// The timeout of a session.
    pub(crate) fn timeout_ms(&self, id: i64) -> Option<u32> {
        self.sessions.get(&id).map(|session| session.timeout_ms)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn silence_for_the_timeout_ends_a_session_not_a_moment_less() {
        let mut sessions = Sessions::default();
        sessions.open(1, 4000, 100);
        assert_eq!(sessions.expire(4099), []);
        assert_eq!(sessions.expire(4100), [1]);
        assert_eq!(sessions.expire(9000), [], "it is being closed already");
        sessions.retry(1, 9000);
        assert_eq!(sessions.expire(9000 + RETRY_MS), [1]);
    }

    #[test]
    fn signs_of_life_put_the_end_off() {
        let mut sessions = Sessions::default();
        sessions.open(1, 4000, 0);
        let outbox = Arc::new(Outbox::detached());
        let heard = sessions.attach(1, 9, &outbox, 6000, 1000).unwrap();
        assert_eq!(sessions.next_deadline_ms(), Some(7000));
        heard.store(5000, Ordering::Relaxed);
        assert_eq!(sessions.expire(7000), []);
        assert_eq!(sessions.next_deadline_ms(), Some(11_000));
        sessions.hear_all(8000);
        assert_eq!(sessions.expire(13_999), []);
        assert_eq!(sessions.expire(14_000), [1]);
        assert!(sessions.attach(1, 10, &outbox, 4000, 14_000).is_none(), "too late to come back");
    }

    #[test]
    fn a_session_is_on_one_connection() {
        let mut sessions = Sessions::default();
        sessions.open(1, 4000, 0);
        let (old, new) = (Arc::new(Outbox::detached()), Arc::new(Outbox::detached()));
        sessions.attach(1, 7, &old, 4000, 0).unwrap();
        sessions.attach(1, 8, &new, 4000, 0).unwrap();
        assert!(old.is_closed() && !new.is_closed());
        sessions.detach(1, 7);
        sessions.close(1);
        assert!(new.is_closed(), "the old connection's end did not take the new one off");
        assert!(sessions.deadlines.is_empty());
    }

    #[test]
    fn who_closes_its_session_still_gets_the_answer() {
        let mut sessions = Sessions::default();
        sessions.open(1, 4000, 0);
        let outbox = Arc::new(Outbox::detached());
        sessions.attach(1, 7, &outbox, 4000, 0).unwrap();
        sessions.leave(1, 7);
        sessions.close(1);
        assert!(!outbox.is_closed());
    }
}
