//! Tasks on the async runtime, and named threads of one's own.

use std::{future::Future, io, thread};

pub use tokio::task::JoinHandle;

/// Runs `future` on the current runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// Runs `body` on a thread of its own, named for debuggers and `/proc`.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// A runtime with `workers` threads for doors and network.
pub fn runtime(workers: usize) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("holdfast-door")
        .enable_all()
        .build()
}

/// The number of cores this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
