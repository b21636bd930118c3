//! Who runs the spine: whoever has something for it.
//!
//! The spine is one value behind one lock. A thread that brings an event puts it into the mailbox
//! and tries the lock: if it is free, that thread runs the spine until the mailbox is empty; if
//! not, the thread that holds it finds the event before it goes, because it looks again *after*
//! letting go. So an event costs no wake-up of another thread: a proposal is brought to the log by
//! the door's thread, and applied and answered by the log's. (A thread of its own for every event
//! cost two more wake-ups a write, 30 to 50 microseconds of processor time on a virtual machine:
//! `docs/adr/0003-whoever-has-an-event-runs-the-spine.md`. The technique is known as flat
//! combining: Hendler et al., SPAA 2010.)
//!
//! A thread that brings many events in one step ([`world::later`]), as the log does with a batch,
//! runs the spine once, at the end of it: entries that became durable together are applied together,
//! and their changes written together.
//!
//! What must not happen on other people's threads, waiting for time, is left to a thread of the
//! spine's own. Nothing in the spine takes long or waits for the disk.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, TryLockError},
    time::Duration,
};

use world::later::{self, Later};

use crate::{
    mailbox::Mailbox,
    shared::Shared,
    spine::{Event, Spine},
};

/// How long a refused write waits before it is tried again, and the finest step of timers.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Turns that one event's bringer runs for others at most, before the spine's own thread takes over.
const BORROWED_TURNS_MAX: usize = 64;

/// The place of a spine that runs on threads, and what it is to do.
pub(crate) struct Runner {
    pub(crate) events: Mailbox<Event>,
    /// `None` before the spine is ready, and after it stopped.
    spine: Mutex<Option<Spine>>,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    /// The spine's own thread wakes by itself soon.
    timed: bool,
    stopped: bool,
}

impl Runner {
    pub(crate) fn new() -> Runner {
        Runner {
            events: Mailbox::new(),
            spine: Mutex::new(None),
            state: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Brings an event, and runs the spine if nobody does, when this thread's step is done.
    pub(crate) fn post(self: &Arc<Self>, event: Event) {
        self.events.push(event);
        later::put_off(self.clone());
    }

    /// Puts the spine in its place.
    pub(crate) fn place(&self, spine: Spine) {
        *self.spine.lock().unwrap_or_else(PoisonError::into_inner) = Some(spine);
    }

    /// Runs the spine if nobody does, for whoever has just put an event into the mailbox.
    fn run(&self) {
        for _ in 0..BORROWED_TURNS_MAX {
            let mut place = match self.spine.try_lock() {
                Ok(place) => place,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let Some(spine) = place.as_mut() else { return };
            spine.turn();
            let own = spine.needs_own_thread();
            drop(place);
            if own {
                self.time_matters();
            }
            if self.events.is_empty() {
                return;
            }
        }
        self.ring();
    }

    /// The body of the spine's own thread; returns when [`Runner::stop`] was called.
    pub(crate) fn live(&self) {
        let mut again = None;
        while self.wait(again) {
            let goes_on = later::step(|| {
                let mut place = self.spine.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(spine) = place.as_mut() else { return false };
                spine.turn();
                spine.retry();
                spine.time_passed();
                again = spine.needs_own_thread().then_some(RETRY_AFTER);
                drop(place);
                if !self.events.is_empty() {
                    self.run();
                }
                true
            });
            if !goes_on {
                return;
            }
        }
    }

    /// Ends the spine: what it had under way is answered as uncertain.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.bell.notify_all();
        let spine = self.spine.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(spine);
    }

    /// Has the spine's own thread wake from time to time, if it does not anyway.
    fn time_matters(&self) {
        let timed = self.state.lock().unwrap_or_else(PoisonError::into_inner).timed;
        if !timed {
            self.ring();
        }
    }

    fn ring(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.wanted, true) {
            self.bell.notify_one();
        }
    }

    /// Waits to be wanted, or for `limit`; says whether to go on.
    fn wait(&self, limit: Option<Duration>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.timed = limit.is_some();
        let idle = |state: &mut State| !state.wanted && !state.stopped;
        let mut state = match limit {
            None => self.bell.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.bell.wait_timeout_while(state, limit, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.wanted = false;
        !state.stopped
    }
}

impl Later for Runner {
    fn call(self: Arc<Self>, _: bool) {
        later::step(|| self.run());
    }
}

/// Starts the spine's own thread.
pub(crate) fn start(shared: &Arc<Shared>, spine: Spine) -> std::io::Result<std::thread::JoinHandle<()>> {
    let own = shared.runner.clone();
    let thread = world::task::spawn_thread("holdfast-spine", move || own.live())?;
    shared.runner.place(spine);
    // What came while it was on its way.
    shared.runner.ring();
    Ok(thread)
}
