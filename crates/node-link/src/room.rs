//! The receiver's side of flow control: who may still send how much.
//!
//! A sender spends credit; what it sent takes room here until the message is dropped. Room that was given
//! back becomes credit again a quarter of the window at a time, so that small messages cost no frames of their
//! own. The room belongs to the peer and not to a connection: one that connects again and again cannot have more of it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use tokio::sync::Notify;

use crate::{Class, Settings};

/// The share of a window that is worth a frame.
const WORTH: i64 = 4;

/// Room for what one peer sends over one lane.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    /// Bytes of messages, whole or not, that live.
    held: [AtomicI64; Class::ALL.len()],
    /// At or below which the connection wants to be woken: there is credit to give.
    wake_at: [AtomicI64; Class::ALL.len()],
    wake: Notify,
}

/// A message's place in it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    rooms: Arc<Rooms>,
    class: Class,
    bytes: i64,
}

impl Place {
    /// A place for `bytes` of `class`.
    pub(crate) fn take(rooms: &Arc<Rooms>, class: Class, bytes: usize) -> Place {
        let mut place = Place { rooms: rooms.clone(), class, bytes: 0 };
        place.grow(bytes);
        place
    }

    /// Takes `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes as i64;
        self.rooms.held[self.class as usize].fetch_add(bytes as i64, SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let at = self.class as usize;
        let held = self.rooms.held[at].fetch_sub(self.bytes, SeqCst) - self.bytes;
        if held <= self.rooms.wake_at[at].load(SeqCst) {
            self.rooms.wake.notify_one();
        }
    }
}

impl Rooms {
    /// Waits until there may be credit to give.
    pub(crate) async fn freed(&self) {
        self.wake.notified().await;
    }
}

/// What a connection has promised its sender.
#[derive(Debug)]
pub(crate) struct Grants {
    rooms: Arc<Rooms>,
    windows: [i64; Class::ALL.len()],
    /// What the sender may still send.
    granted: [i64; Class::ALL.len()],
}

/// A sender has begun a message for which it had no credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdrawn;

impl Grants {
    /// Grants what is free.
    pub(crate) fn new(rooms: Arc<Rooms>, settings: &Settings) -> Grants {
        let windows = Class::ALL.map(|class| settings.room(class).window_bytes as i64);
        let granted =
            Class::ALL.map(|class| windows[class as usize] - rooms.held[class as usize].load(SeqCst));
        Grants { rooms, windows, granted }
    }

    /// What the sender is told when it begins.
    pub(crate) fn first(&self) -> [i64; Class::ALL.len()] {
        self.granted
    }

    /// The sender has sent `bytes`; `begins` a message with them.
    pub(crate) fn spend(&mut self, class: Class, bytes: usize, begins: bool) -> Result<(), Overdrawn> {
        let granted = &mut self.granted[class as usize];
        if begins && *granted <= 0 {
            return Err(Overdrawn);
        }
        *granted -= bytes as i64;
        Ok(())
    }

    /// What is to be granted now, if it is worth a frame.
    pub(crate) fn due(&mut self, class: Class) -> Option<i64> {
        let at = class as usize;
        let free = self.windows[at] - self.granted[at];
        // Set first: who drops a message after this wakes us, who did before is seen below.
        self.rooms.wake_at[at].store(free - self.windows[at] / WORTH, SeqCst);
        let due = free - self.rooms.held[at].load(SeqCst);
        if due < self.windows[at] / WORTH {
            return None;
        }
        self.granted[at] += due;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(rooms: &Arc<Rooms>) -> Grants {
        let mut settings = Settings::default();
        settings.log.window_bytes = 1000;
        Grants::new(rooms.clone(), &settings)
    }

    #[test]
    fn room_comes_back_a_quarter_at_a_time() {
        let rooms = Arc::new(Rooms::default());
        let mut grants = grants(&rooms);
        assert_eq!(grants.first()[Class::Log as usize], 1000);
        let mut places = Vec::new();
        for _ in 0..10 {
            assert_eq!(grants.spend(Class::Log, 100, true), Ok(()));
            places.push(Place::take(&rooms, Class::Log, 100));
        }
        assert_eq!(grants.spend(Class::Log, 100, true), Err(Overdrawn));
        assert_eq!(grants.spend(Class::Control, 100, true), Ok(()), "another class has its own");
        places.truncate(8);
        assert_eq!(grants.due(Class::Log), None, "too little");
        places.truncate(7);
        assert_eq!(grants.due(Class::Log), Some(300));
        assert_eq!(grants.due(Class::Log), None);
        assert_eq!(grants.spend(Class::Log, 300, true), Ok(()));
    }

    #[test]
    fn a_message_longer_than_the_room_is_taken_and_the_room_lent_is_paid_back_first() {
        let rooms = Arc::new(Rooms::default());
        let mut grants = grants(&rooms);
        let mut place = Place::take(&rooms, Class::Log, 700);
        assert_eq!(grants.spend(Class::Log, 700, true), Ok(()));
        place.grow(4000);
        assert_eq!(grants.spend(Class::Log, 4000, false), Ok(()));
        assert_eq!(grants.due(Class::Log), None);
        drop(place);
        assert_eq!(grants.due(Class::Log), Some(4700));
    }

    #[test]
    fn a_new_connection_has_what_the_old_one_left() {
        let rooms = Arc::new(Rooms::default());
        let place = Place::take(&rooms, Class::Log, 1200);
        let mut grants = grants(&rooms);
        assert_eq!(grants.first()[Class::Log as usize], -200);
        assert_eq!(grants.spend(Class::Log, 1, true), Err(Overdrawn));
        drop(place);
        assert_eq!(grants.due(Class::Log), Some(1200));
    }
}
