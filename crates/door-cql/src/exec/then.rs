//! [`then`]: goes on with an answer of the store on the thread that gives it.

use std::sync::{Arc, Mutex, PoisonError};

use base::Cause;
use store::{Done, Inbox};

/// A [`Done`] that calls `next` with the answer. `next` must not block.
pub(super) fn then<T, F>(next: F) -> Done<T>
where
    T: 'static,
    F: FnOnce(Result<T, Cause>) + Send + 'static,
{
    Done::new(Arc::new(Then(Mutex::new(Some(next)))), 0)
}

struct Then<F>(Mutex<Option<F>>);

impl<T, F: FnOnce(Result<T, Cause>) + Send> Inbox<T> for Then<F> {
    fn deliver(&self, _tag: u64, answer: Result<T, Cause>) {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            next(answer);
        }
    }
}
