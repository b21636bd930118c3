//! [`Outbox`]: the bytes on their way to one client.
//!
//! Answers are pushed from whatever thread completed them. The first push after a silence wakes
//! the connection's task; those that come before it has run cost a memory copy each and leave in
//! the same write. The task takes the whole buffer and gives an empty one back, so pushing never
//! waits for the socket.
//!
//! A bounded queue of messages lost to this: it would cost an allocation a message and count
//! messages where memory is what has to be bounded.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::Budget;

/// Bytes on their way to one client.
pub struct Outbox {
    budget: Arc<Budget>,
    /// See [`crate::Limits::unsent_bytes`].
    limit: usize,
    /// See [`crate::Limits::pause_bytes`].
    pause: usize,
    state: Mutex<State>,
}

struct State {
    /// Pushed and not taken by the task yet.
    waiting: Vec<u8>,
    /// Taken by the task and not sent yet.
    taken: usize,
    /// Whether the socket took no more when it was last tried.
    blocked: bool,
    end: End,
    /// The task, when it sleeps and wants to hear of the next change.
    sleeper: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection goes on.
    Open,
    /// Send what there is, then close.
    AfterSending,
    /// Too much unsent: close now.
    Overflow,
    /// The connection is gone; pushes go nowhere.
    Gone,
}

impl Outbox {
    pub(crate) fn new(budget: Arc<Budget>, limit: usize, pause: usize) -> Outbox {
        let state = State { waiting: Vec::new(), taken: 0, blocked: false, end: End::Open, sleeper: None };
        budget.join();
        Outbox { budget, limit, pause, state: Mutex::new(state) }
    }

    /// An outbox without a connection, for tests of sessions: what is pushed is had by
    /// [`Outbox::drain`].
    pub fn detached() -> Outbox {
        Outbox::new(Arc::new(Budget::new(usize::MAX)), usize::MAX, usize::MAX)
    }

    /// Everything pushed and not sent yet. For outboxes made by [`Outbox::detached`].
    pub fn drain(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.swap(&mut bytes);
        self.sent(bytes.len());
        bytes
    }

    /// Sends `bytes`, after all that was pushed before.
    pub fn push(&self, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }

    /// Sends what `encode` appends to the buffer it is given; it must only append. Saves a copy
    /// where a message is built byte by byte. `encode` runs under the outbox's lock.
    pub fn write<R>(&self, encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut state = self.lock();
        let before = state.waiting.len();
        let result = encode(&mut state.waiting);
        let added = state.waiting.len() - before;
        let wake = match state.end {
            End::Open => {
                self.budget.take(added);
                let unsent = before + state.taken;
                // A client that does not read must not live on memory that others need. What it has
                // not read is what counts: one answer alone may be larger than the limit. When all
                // hold too much together, whoever reads is spared, though much may be on its way.
                let is_greedy = unsent > self.pause || (state.blocked && unsent > self.budget.share());
                if unsent > self.limit || (is_greedy && self.budget.is_over()) {
                    state.end = End::Overflow;
                    self.drop_waiting(&mut state);
                }
                state.sleeper.take()
            }
            // Nothing follows the last message, and there is nobody to send it to.
            End::AfterSending | End::Overflow | End::Gone => {
                state.waiting.truncate(before);
                None
            }
        };
        drop(state);
        if let Some(waker) = wake {
            waker.wake();
        }
        result
    }

    /// Closes the connection once everything pushed so far is sent.
    pub fn close(&self) {
        let mut state = self.lock();
        if state.end == End::Open {
            state.end = End::AfterSending;
        }
        let wake = state.sleeper.take();
        drop(state);
        if let Some(waker) = wake {
            waker.wake();
        }
    }

    /// Whether pushing is of no use any more.
    pub fn is_closed(&self) -> bool {
        self.lock().end != End::Open
    }

    /// Bytes pushed and not sent.
    pub fn unsent(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.taken
    }

    /// Trades the waiting bytes for `empty`; false when there are none. The taker reports progress
    /// by [`Outbox::sent`].
    pub(crate) fn swap(&self, empty: &mut Vec<u8>) -> bool {
        debug_assert!(empty.is_empty(), "unsent bytes would go back behind newer ones");
        let mut state = self.lock();
        mem::swap(&mut state.waiting, empty);
        state.taken += empty.len();
        !empty.is_empty()
    }

    /// Notes that `bytes` of those taken have left.
    pub(crate) fn sent(&self, bytes: usize) {
        let mut state = self.lock();
        state.taken -= bytes;
        state.blocked = false;
        drop(state);
        self.budget.give_back(bytes);
    }

    /// Notes that the socket takes no more for now.
    pub(crate) fn block(&self) {
        self.lock().blocked = true;
    }

    pub(crate) fn end(&self) -> End {
        self.lock().end
    }

    /// Ready when the task must act: there are bytes to take and it can take them (`hungry`), or
    /// the connection should end. Otherwise the task is woken by the change.
    pub(crate) fn poll(&self, context: &mut Context<'_>, hungry: bool) -> Poll<()> {
        let mut state = self.lock();
        let ready = match state.end {
            End::Open => hungry && !state.waiting.is_empty(),
            End::AfterSending => hungry,
            End::Overflow | End::Gone => true,
        };
        if ready {
            state.sleeper = None;
            return Poll::Ready(());
        }
        if !state.sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(context.waker())) {
            state.sleeper = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// The connection has ended: frees the memory, and what is pushed from now on goes nowhere.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.end = End::Gone;
        state.sleeper = None;
        self.drop_waiting(&mut state);
        let taken = mem::take(&mut state.taken);
        self.budget.give_back(taken);
    }

    fn drop_waiting(&self, state: &mut State) {
        let dropped = mem::take(&mut state.waiting);
        self.budget.give_back(dropped.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.budget.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_pushes_wake_once_and_leave_together() {
        let outbox = Outbox::detached();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        assert!(outbox.poll(&mut Context::from_waker(&waker), true).is_pending());
        for part in [b"a", b"b", b"c"] {
            outbox.push(part);
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(outbox.drain(), b"abc");
    }

    #[test]
    fn too_much_unsent_ends_the_connection_and_frees_its_memory() {
        let budget = Arc::new(Budget::new(1000));
        let outbox = Outbox::new(budget.clone(), 10, 5);
        outbox.push(b"one answer may be large");
        let mut taken = Vec::new();
        assert!(outbox.swap(&mut taken));
        assert_eq!(outbox.end(), End::Open);
        outbox.push(b"another may not follow it");
        assert_eq!(outbox.end(), End::Overflow);
        assert_eq!(budget.used(), taken.len(), "only what the task holds");
        outbox.push(b"more");
        outbox.finish();
        assert_eq!((budget.used(), outbox.unsent()), (0, 0));
    }

    #[test]
    fn when_memory_is_short_the_slow_reader_goes_first() {
        let budget = Arc::new(Budget::new(10));
        let (slow, quick) = (Outbox::new(budget.clone(), 100, 5), Outbox::new(budget.clone(), 100, 5));
        budget.take(8);
        slow.push(b"123456");
        quick.push(b"123");
        for outbox in [&quick, &slow] {
            outbox.push(b"4");
        }
        assert_eq!((quick.end(), slow.end()), (End::Open, End::Overflow));
    }

    #[test]
    fn many_slow_readers_hold_no_more_than_the_budget_together() {
        let budget = Arc::new(Budget::new(1000));
        let outboxes: Vec<_> = (0..100).map(|_| Outbox::new(budget.clone(), 1000, 500)).collect();
        let (quick, slow) = outboxes.split_at(10);
        slow.iter().for_each(Outbox::block);
        for _ in 0..80 {
            for outbox in slow {
                outbox.push(b"12345");
                assert!(budget.used() <= 1000 + 100 * 5, "{}: one push each beyond it", budget.used());
            }
            for outbox in quick {
                outbox.push(b"much more than an equal share");
                outbox.push(b"again");
                outbox.drain();
                assert_eq!(outbox.end(), End::Open);
            }
        }
        assert!(slow.iter().any(|outbox| outbox.end() == End::Overflow));
        drop(outboxes);
        assert_eq!(budget.share(), 1000);
    }

    #[test]
    fn nothing_follows_the_last_message() {
        let outbox = Outbox::detached();
        outbox.push(b"bye");
        outbox.close();
        outbox.push(b"late");
        assert!(outbox.is_closed());
        assert_eq!(outbox.drain(), b"bye");
    }
}
