//! What waits to be sent to one peer over one lane.
//!
//! Senders push and go on; the lane's task is woken once for however many messages came before it looks.
//! It takes them in the order of their urgency, as far as the receiver has made room, long ones a part at a time.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    Class, NotSent, Settings,
    frame::{Kind, PART_COST, PART_MAX, put},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    longest: usize,
    bounds: [usize; Class::ALL.len()],
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    /// Whether the task will look again by itself.
    is_awake: bool,
    waiting: [Waiting; Class::ALL.len()],
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    /// What they take of the bound.
    bytes: usize,
    /// How much of the first has left.
    sent: usize,
    /// How much the receiver has room for. Below zero by what a message was longer than that.
    credit: i64,
}

/// What was taken out of a queue at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Messages whose last part is among it.
    pub(crate) messages: u64,
}

impl Queue {
    pub(crate) fn new(settings: &Settings) -> Queue {
        Queue {
            state: Mutex::default(),
            wake: Notify::new(),
            longest: settings.message_bytes,
            bounds: Class::ALL.map(|class| settings.room(class).queue_bytes),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message behind the others of its class.
    pub(crate) fn push(&self, class: Class, message: Bytes) -> Result<(), NotSent> {
        if message.len() > self.longest {
            return Err(NotSent::TooLong);
        }
        let cost = message.len() + PART_COST;
        let mut state = self.lock();
        if !state.is_open {
            return Err(NotSent::Down);
        }
        let waiting = &mut state.waiting[class as usize];
        if waiting.bytes > 0 && waiting.bytes + cost > self.bounds[class as usize] {
            return Err(NotSent::Full);
        }
        waiting.bytes += cost;
        waiting.messages.push_back(message);
        let sleeps = !mem::replace(&mut state.is_awake, true);
        drop(state);
        if sleeps {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for something to be pushed after [`Queue::fill`] has found nothing.
    pub(crate) async fn pushed(&self) {
        self.wake.notified().await;
    }

    /// Appends frames to `out` until it has about `limit` bytes. When that leaves it empty, the next push
    /// wakes the task.
    pub(crate) fn fill(&self, out: &mut Vec<u8>, limit: usize) -> Taken {
        let mut taken = Taken::default();
        let mut state = self.lock();
        for class in Class::ALL {
            let waiting = &mut state.waiting[class as usize];
            while out.len() < limit && waiting.put_part(class, out) {
                taken.messages += u64::from(waiting.sent == 0);
            }
        }
        state.is_awake = !out.is_empty();
        taken
    }

    /// The receiver has made room.
    pub(crate) fn credit(&self, class: Class, bytes: i64) {
        let waiting = &mut self.lock().waiting[class as usize];
        waiting.credit = waiting.credit.saturating_add(bytes);
    }

    /// There is a connection, whose receiver has this much room.
    pub(crate) fn open(&self, credits: [i64; Class::ALL.len()]) {
        let mut state = self.lock();
        debug_assert!(!state.is_open, "a queue has one task");
        *state = State { is_open: true, is_awake: true, ..State::default() };
        for (waiting, credit) in state.waiting.iter_mut().zip(credits) {
            waiting.credit = credit;
        }
    }

    /// There is none any more; what waits is lost.
    pub(crate) fn close(&self) {
        let lost = mem::take(&mut *self.lock());
        drop(lost);
    }
}

impl Waiting {
    /// Appends the next part of the first message. False if there is none, or no room for it.
    fn put_part(&mut self, class: Class, out: &mut Vec<u8>) -> bool {
        let Some(message) = self.messages.front() else { return false };
        if self.sent == 0 && self.credit <= 0 {
            return false;
        }
        let rest = &message[self.sent..];
        let part = &rest[..rest.len().min(PART_MAX)];
        let last = part.len() == rest.len();
        put(out, Kind::Part { class, last }, part);
        self.credit -= (part.len() + PART_COST) as i64;
        self.sent += part.len();
        if last {
            self.bytes -= message.len() + PART_COST;
            self.sent = 0;
            self.messages.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::BytesMut;

    use super::*;
    use crate::frame::{FRAME_MAX, take};

    fn queue() -> Queue {
        let mut settings = Settings { message_bytes: 100_000, ..Settings::default() };
        settings.log.queue_bytes = 1000;
        let queue = Queue::new(&settings);
        queue.open([10_000; 3]);
        queue
    }

    fn taken(queue: &Queue, limit: usize) -> Vec<(Class, bool, usize)> {
        let mut out = Vec::new();
        queue.fill(&mut out, limit);
        let mut out = BytesMut::from(&out[..]);
        let mut parts = Vec::new();
        while let Some((Kind::Part { class, last }, bytes)) = take(&mut out, FRAME_MAX).unwrap() {
            parts.push((class, last, bytes.len()));
        }
        assert!(out.is_empty());
        parts
    }

    fn message(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    #[test]
    fn urgent_messages_overtake_in_between_the_parts_of_a_long_one() {
        let queue = queue();
        queue.push(Class::Log, message(PART_MAX + 1)).unwrap();
        assert_eq!(taken(&queue, 1), [(Class::Log, false, PART_MAX)]);
        queue.push(Class::Control, message(3)).unwrap();
        queue.push(Class::Control, message(4)).unwrap();
        let rest = [(Class::Control, true, 3), (Class::Control, true, 4), (Class::Log, true, 1)];
        assert_eq!(taken(&queue, 1 << 20), rest);
        assert_eq!(taken(&queue, 1 << 20), []);
    }

    #[test]
    fn without_room_a_message_waits_and_one_that_was_begun_goes_on() {
        let queue = queue();
        queue.push(Class::Log, message(50_000)).unwrap();
        assert_eq!(taken(&queue, 1 << 20).len(), 2, "it has begun");
        queue.push(Class::Log, message(1)).unwrap();
        assert_eq!(taken(&queue, 1 << 20), []);
        queue.credit(Class::Log, 40_129);
        assert_eq!(taken(&queue, 1 << 20), [(Class::Log, true, 1)]);
    }

    #[test]
    fn what_waits_is_bounded_and_lost_with_the_connection() {
        let queue = queue();
        assert_eq!(queue.push(Class::Log, message(100_001)), Err(NotSent::TooLong));
        queue.push(Class::Log, message(100_000)).unwrap();
        assert_eq!(queue.push(Class::Log, message(1)), Err(NotSent::Full));
        queue.push(Class::Control, message(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(Class::Log, message(1)), Err(NotSent::Down));
        queue.open([0; 3]);
        for _ in 0..15 {
            queue.push(Class::Log, message(0)).unwrap();
        }
        assert_eq!(queue.push(Class::Log, message(0)), Err(NotSent::Full));
        assert_eq!(taken(&queue, 1 << 20), [], "nothing of the old connection, and no room for the new");
    }
}
