//! What a thread puts off until its step is done.
//!
//! A thread that does many things in a row, each of which ends in calling somebody (a connection's
//! task that has something to send, the owner of something that has an event), would call the same
//! ones again and again, and the first of them would run while there is more for them to come. In a
//! [`step`] they are called once, at its end, when everything is there and no lock is held.
//!
//! A step is a property of the thread, not an argument, because between the one who knows that more is
//! coming (the log, with a batch; a connection, with a buffer of requests) and those who call stand
//! interfaces that are none of either's business.

use std::{cell::RefCell, mem, sync::Arc};

/// Somebody who can be called later.
pub trait Later: Send + Sync {
    /// The step is done; outside of one it is called at once. `alone` is whether nobody else was to be
    /// called then: there is no work waiting for this thread, which may do more than it would otherwise.
    /// Outside of a step nobody knows, and locks may be held: there it is false.
    fn call(self: Arc<Self>, alone: bool);
}

/// Places in the list for which memory is kept.
const KEPT: usize = 256;

struct Step {
    is_open: bool,
    called: Vec<Arc<dyn Later>>,
}

thread_local! {
    static STEP: RefCell<Step> = const { RefCell::new(Step { is_open: false, called: Vec::new() }) };
}

/// Does `work`, and then calls whom it put off, in that order, until there is nobody. A step within a
/// step is a part of it. To be begun without holding a lock.
pub fn step<R>(work: impl FnOnce() -> R) -> R {
    let is_outermost = STEP.with_borrow_mut(|step| !mem::replace(&mut step.is_open, true));
    let _end = is_outermost.then(|| End);
    work()
}

/// Calls `whom` at the end of this thread's step, or at once if there is none. Twice in a row is once;
/// who is put off by many in turn must know by itself that it is.
pub fn put_off(whom: Arc<dyn Later>) {
    let now = STEP.with_borrow_mut(|step| {
        if !step.is_open {
            return Some(whom);
        }
        if !step.called.last().is_some_and(|last| Arc::ptr_eq(last, &whom)) {
            step.called.push(whom);
        }
        None
    });
    if let Some(whom) = now {
        whom.call(false);
    }
}

/// The end of a step, also of one that panics: others must not wait for what it put off.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let mut called = Vec::new();
        loop {
            STEP.with_borrow_mut(|step| {
                mem::swap(&mut step.called, &mut called);
                step.is_open = !called.is_empty();
                step.called.shrink_to(KEPT);
            });
            if called.is_empty() {
                return;
            }
            let alone = called.len() == 1;
            for whom in called.drain(..) {
                whom.call(alone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use super::*;

    /// Notes that it was called, and puts off another.
    struct Noting {
        name: &'static str,
        calls: Arc<Mutex<Vec<(&'static str, bool)>>>,
        next: Option<Arc<Noting>>,
    }

    impl Later for Noting {
        fn call(self: Arc<Self>, alone: bool) {
            self.calls.lock().unwrap().push((self.name, alone));
            if let Some(next) = &self.next {
                put_off(next.clone());
            }
        }
    }

    type Calls = Arc<Mutex<Vec<(&'static str, bool)>>>;

    fn noting(name: &'static str, calls: &Calls, next: Option<Arc<Noting>>) -> Arc<Noting> {
        Arc::new(Noting { name, calls: calls.clone(), next })
    }

    #[test]
    fn who_is_put_off_is_called_when_all_steps_are_done() {
        let calls = Calls::default();
        let (one, two) = (noting("one", &calls, None), noting("two", &calls, None));
        step(|| {
            put_off(one.clone());
            step(|| put_off(two.clone()));
            put_off(two.clone());
            assert!(calls.lock().unwrap().is_empty());
        });
        assert_eq!(*calls.lock().unwrap(), [("one", false), ("two", false)]);
    }

    #[test]
    fn who_is_called_may_put_off_others() {
        let calls = Calls::default();
        let chain = noting("first", &calls, Some(noting("second", &calls, None)));
        step(|| put_off(chain));
        assert_eq!(*calls.lock().unwrap(), [("first", true), ("second", true)]);
    }

    #[test]
    fn without_a_step_the_call_comes_at_once() {
        let calls = Calls::default();
        put_off(noting("now", &calls, Some(noting("next", &calls, None))));
        assert_eq!(*calls.lock().unwrap(), [("now", false), ("next", false)]);
    }

    #[test]
    fn a_step_that_panics_calls_all_the_same_and_is_over() {
        let calls = Calls::default();
        let whom = noting("whom", &calls, None);
        let panicked = std::panic::catch_unwind(|| {
            step(|| {
                put_off(whom.clone());
                panic!("as planned");
            })
        });
        assert!(panicked.is_err());
        put_off(whom);
        assert_eq!(*calls.lock().unwrap(), [("whom", true), ("whom", false)]);
    }
}
