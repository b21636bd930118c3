//! [`Done`]: where the answer of one request goes.
//!
//! A door's connection keeps one [`Inbox`] for all its requests in flight and tells them apart by
//! a tag, so thousands of requests share one allocation and one wake-up. Code that asks for one
//! thing at a time uses [`waiter`] instead.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use base::Cause;
use tokio::sync::oneshot;

/// Takes answers. Called once a request, from any thread, possibly before the call that made the
/// request has returned; it must not block, for it runs on the threads that serve everyone.
pub trait Inbox<T>: Send + Sync {
    /// Takes the answer of the request tagged `tag`.
    fn deliver(&self, tag: u64, answer: Result<T, Cause>);

    /// Whether answers are still of use to anybody. Long work looks at this between its steps and
    /// ends when its asker has left.
    fn is_open(&self) -> bool {
        true
    }
}

/// The right and the duty to answer one request. Dropped unanswered, it answers
/// [`base::Class::Uncertain`]: nobody may conclude that nothing happened.
pub struct Done<T: 'static> {
    inbox: Option<Arc<dyn Inbox<T>>>,
    tag: u64,
}

impl<T: 'static> Done<T> {
    /// An answer to `inbox` under `tag`.
    pub fn new(inbox: Arc<dyn Inbox<T>>, tag: u64) -> Done<T> {
        Done { inbox: Some(inbox), tag }
    }

    /// Whether anybody still waits for the answer ([`Inbox::is_open`]). It must be given all the
    /// same.
    pub fn is_wanted(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.is_open())
    }

    /// Answers.
    pub fn complete(mut self, answer: Result<T, Cause>) {
        if let Some(inbox) = self.inbox.take() {
            inbox.deliver(self.tag, answer);
        }
    }
}

impl<T: 'static> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            inbox.deliver(self.tag, Err(Cause::uncertain("the node stopped before the outcome was known")));
        }
    }
}

/// A [`Done`] and the future of its answer.
pub fn waiter<T: Send + 'static>() -> (Done<T>, Waiter<T>) {
    let (sender, receiver) = oneshot::channel();
    (Done::new(Arc::new(Single(std::sync::Mutex::new(Some(sender)))), 0), Waiter(receiver))
}

struct Single<T>(std::sync::Mutex<Option<oneshot::Sender<Result<T, Cause>>>>);

impl<T: Send> Inbox<T> for Single<T> {
    fn deliver(&self, _tag: u64, answer: Result<T, Cause>) {
        let sender = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(sender) = sender {
            // The waiter may have gone away; then nobody wants the answer.
            let _ = sender.send(answer);
        }
    }
}

/// The future of one answer.
pub struct Waiter<T>(oneshot::Receiver<Result<T, Cause>>);

impl<T> Waiter<T> {
    /// Waits by blocking the thread. For tests and start-up, never in a door.
    pub fn wait(self) -> Result<T, Cause> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(lost()))
    }
}

impl<T> Future for Waiter<T> {
    type Output = Result<T, Cause>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| received.unwrap_or_else(|_| Err(lost())))
    }
}

fn lost() -> Cause {
    Cause::bug("an answer was lost")
}

#[cfg(test)]
mod tests {
    use base::Class;

    use super::*;

    #[test]
    fn a_dropped_request_is_uncertain_not_failed() {
        let (done, waiter) = waiter::<()>();
        drop(done);
        assert!(matches!(waiter.wait(), Err(Cause { class: Class::Uncertain { .. }, .. })));
    }

    #[test]
    fn an_answer_arrives_once() {
        let (done, waiter) = waiter();
        done.complete(Ok(7));
        assert_eq!(waiter.wait(), Ok(7));
    }
}
