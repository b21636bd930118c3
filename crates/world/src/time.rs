//! Waiting. What a wait *means* is judged by [`crate::Clock`]; these only wake a task.

use std::{future::Future, time::Duration};

/// Wakes after `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The output of `future`, or `None` if `duration` passes first.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(duration, future).await.ok()
}
