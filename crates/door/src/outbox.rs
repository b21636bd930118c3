//! [`Outbox`]: the bytes on their way to one client.
//!
//! Answers are pushed from whatever thread completed them. The first push after a silence wakes
//! the connection's task; those that come before it has run cost a memory copy each and leave in
//! the same write. The task takes the whole buffer and gives an empty one back, so pushing never
//! waits for the socket.
//!
//! A thread that completes many answers in one step ([`world::later`]) wakes each task once, at the
//! end. If it has completed answers of one connection only, and the task of that sleeps and would do
//! nothing but write them, the thread writes them itself ([`Line`]): for a client that asks for one
//! thing at a time, that saves one of the two wake-ups between the disk and the answer. Of many
//! connections it wakes the tasks, because the log's next batch should not wait for so many system calls.
//!
//! A bounded queue of messages lost to this: it would cost an allocation a message and count
//! messages where memory is what has to be bounded.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use world::{
    later::{self, Later},
    net::WriteHalf,
};

use crate::{Budget, meters::Meters};

/// An empty buffer up to this size is kept for the next answer.
pub(crate) const KEEP: usize = 1 << 10;

/// Bytes on their way to one client.
pub struct Outbox {
    budget: Arc<Budget>,
    /// See [`crate::Limits::unsent_bytes`].
    limit: usize,
    /// See [`crate::Limits::pause_bytes`].
    pause: usize,
    line: Option<Line>,
    state: Mutex<State>,
}

/// A socket that takes bytes as they are. It is the task's, and goes with it.
pub(crate) struct Line {
    pub(crate) socket: Weak<WriteHalf>,
    pub(crate) meters: Arc<Meters>,
}

/// What a task that sleeps wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Only an end: it has bytes that the socket does not take.
    Nothing,
    /// Whatever is pushed.
    Pushes,
    /// To have it sent, by itself or by whoever pushes: nothing else hangs on it.
    Sending,
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
    wants: Wants,
    /// Somebody will call this outbox, at the end of a step.
    is_called: bool,
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
    /// `line` is where it may be sent to by whoever pushes.
    pub(crate) fn new(budget: Arc<Budget>, limit: usize, pause: usize, line: Option<Line>) -> Outbox {
        let state = State {
            waiting: Vec::new(),
            taken: 0,
            blocked: false,
            end: End::Open,
            sleeper: None,
            wants: Wants::Pushes,
            is_called: false,
        };
        budget.join();
        Outbox { budget, limit, pause, line, state: Mutex::new(state) }
    }

    /// An outbox without a connection, for tests of sessions: what is pushed is had by
    /// [`Outbox::drain`].
    pub fn detached() -> Outbox {
        Outbox::new(Arc::new(Budget::new(usize::MAX)), usize::MAX, usize::MAX, None)
    }

    /// Everything pushed and not sent yet. For outboxes made by [`Outbox::detached`].
    pub fn drain(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.swap(&mut bytes);
        self.sent(bytes.len());
        bytes
    }

    /// Sends `bytes`, after all that was pushed before.
    pub fn push(self: &Arc<Self>, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }

    /// Sends what `encode` appends to the buffer it is given; it must only append. Saves a copy
    /// where a message is built byte by byte. `encode` runs under the outbox's lock.
    pub fn write<R>(self: &Arc<Self>, encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut state = self.lock();
        let before = state.waiting.len();
        let result = encode(&mut state.waiting);
        let added = state.waiting.len() - before;
        let calls = match state.end {
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
                state.sleeper.is_some() && !mem::replace(&mut state.is_called, true)
            }
            // Nothing follows the last message, and there is nobody to send it to.
            End::AfterSending | End::Overflow | End::Gone => {
                state.waiting.truncate(before);
                false
            }
        };
        drop(state);
        if calls {
            later::put_off(self.clone());
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

    /// Ready when the task must act: there are bytes to take and it wants them, or
    /// the connection should end. Otherwise the task is woken by the change.
    pub(crate) fn poll(&self, context: &mut Context<'_>, wants: Wants) -> Poll<()> {
        let hungry = wants != Wants::Nothing;
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
        state.wants = wants;
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

    /// Sends what waits, if that is all there is to do for the sleeping task. False if it has to act.
    fn send(&self, state: &mut State) -> bool {
        // The task may have been woken by its socket since, and hold bytes that come before these.
        let is_asleep = state.wants == Wants::Sending && state.sleeper.is_some() && state.taken == 0;
        let Some(line) = self.line.as_ref().filter(|_| is_asleep && state.end == End::Open) else {
            return false;
        };
        let Some(socket) = line.socket.upgrade() else { return false };
        // A broken socket is the task's affair.
        let Ok(sent) = socket.try_write(&state.waiting) else { return false };
        line.meters.sent.increment(sent as u64);
        line.meters.writes.increment(1);
        self.budget.give_back(sent);
        state.waiting.drain(..sent);
        if !state.waiting.is_empty() {
            return false;
        }
        if state.waiting.capacity() > KEEP {
            state.waiting = Vec::new();
        }
        true
    }

    fn drop_waiting(&self, state: &mut State) {
        let dropped = mem::take(&mut state.waiting);
        self.budget.give_back(dropped.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something was pushed.
impl Later for Outbox {
    fn call(self: Arc<Self>, alone: bool) {
        let mut state = self.lock();
        state.is_called = false;
        let was_taken = state.waiting.is_empty() && state.end == End::Open;
        if was_taken || alone && self.send(&mut state) {
            return;
        }
        let wake = state.sleeper.take();
        drop(state);
        if let Some(waker) = wake {
            waker.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.budget.leave();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use tokio::io::AsyncReadExt;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn boxed(budget: &Arc<Budget>, limit: usize) -> Arc<Outbox> {
        Arc::new(Outbox::new(budget.clone(), limit, 5, None))
    }

    #[test]
    fn many_pushes_wake_once_and_leave_together() {
        let outbox = Arc::new(Outbox::detached());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        assert!(outbox.poll(&mut Context::from_waker(&waker), Wants::Pushes).is_pending());
        for part in [b"a", b"b", b"c"] {
            outbox.push(part);
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(outbox.drain(), b"abc");
    }

    /// An outbox that may be sent from by whoever pushes, its socket, and the client's.
    async fn sendable() -> (Arc<Outbox>, Arc<WriteHalf>, world::net::Stream) {
        let listener = world::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let client = world::net::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, writer) = listener.accept().await.unwrap().0.into_split();
        writer.writable().await.unwrap();
        let writer = Arc::new(writer);
        let line = Line { socket: Arc::downgrade(&writer), meters: Arc::new(Meters::new("test")) };
        let budget = Arc::new(Budget::new(usize::MAX));
        (Arc::new(Outbox::new(budget, usize::MAX, usize::MAX, Some(line))), writer, client)
    }

    fn run(test: impl Future<Output = ()>) {
        world::task::runtime(1).unwrap().block_on(test);
    }

    fn asleep(outbox: &Outbox, wants: Wants) -> Arc<Count> {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        assert!(outbox.poll(&mut Context::from_waker(&waker), wants).is_pending());
        count
    }

    fn woken(count: &Count) -> usize {
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn an_only_answer_is_sent_without_waking_the_task() {
        run(async {
            let (outbox, _writer, mut client) = sendable().await;
            let count = asleep(&outbox, Wants::Sending);
            later::step(|| {
                outbox.push(b"one, ");
                outbox.push(b"two");
            });
            assert_eq!((woken(&count), outbox.unsent(), outbox.budget.used()), (0, 0, 0));
            let mut bytes = [0; 8];
            client.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"one, two");
        });
    }

    #[test]
    fn the_task_is_woken_when_there_is_more_to_do_or_others_wait() {
        run(async {
            let ((first, _writer, _client), (second, _own, _far)) = (sendable().await, sendable().await);
            let count = asleep(&first, Wants::Pushes);
            later::step(|| first.push(b"a handshake's end"));
            assert_eq!((woken(&count), first.unsent()), (1, 17));
            first.drain();
            let counts = [&first, &second].map(|outbox| asleep(outbox, Wants::Sending));
            later::step(|| [&first, &second, &first].into_iter().for_each(|outbox| outbox.push(b"answer")));
            assert_eq!(counts.map(|count| woken(&count)), [1, 1]);
            assert_eq!((first.unsent(), second.unsent()), (12, 6));
            second.drain();
            let count = asleep(&second, Wants::Sending);
            second.push(b"who knows what locks are held");
            assert_eq!((woken(&count), second.unsent()), (1, 29));
        });
    }

    #[test]
    fn bytes_that_the_task_holds_are_not_overtaken() {
        run(async {
            let (outbox, _writer, _client) = sendable().await;
            // It sleeps, is woken by its socket, which the outbox does not hear of, and takes what is there.
            let count = asleep(&outbox, Wants::Sending);
            let mut taken = Vec::new();
            later::step(|| {
                outbox.push(b"first");
                assert!(outbox.swap(&mut taken));
            });
            later::step(|| outbox.push(b"second"));
            assert_eq!((woken(&count), outbox.unsent()), (1, 11));
        });
    }

    #[test]
    fn what_does_not_fit_into_the_socket_is_left_to_the_task() {
        run(async {
            let (outbox, _writer, _client) = sendable().await;
            let count = asleep(&outbox, Wants::Sending);
            later::step(|| outbox.push(&vec![7; 64 << 20]));
            assert_eq!(woken(&count), 1);
            let left = outbox.unsent();
            assert!((1..64 << 20).contains(&left), "{left}");
            assert_eq!(outbox.budget.used(), left);
        });
    }

    #[test]
    fn too_much_unsent_ends_the_connection_and_frees_its_memory() {
        let budget = Arc::new(Budget::new(1000));
        let outbox = boxed(&budget, 10);
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
        let (slow, quick) = (boxed(&budget, 100), boxed(&budget, 100));
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
        let outboxes: Vec<_> =
            (0..100).map(|_| Arc::new(Outbox::new(budget.clone(), 1000, 500, None))).collect();
        let (quick, slow) = outboxes.split_at(10);
        slow.iter().for_each(|outbox| outbox.block());
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
        let outbox = Arc::new(Outbox::detached());
        outbox.push(b"bye");
        outbox.close();
        outbox.push(b"late");
        assert!(outbox.is_closed());
        assert_eq!(outbox.drain(), b"bye");
    }
}
