//! Reads that must wait for the disk.
//!
//! Most reads find what they need in memory and are answered where they are asked, because a wake-up
//! costs more than such a read. One that does not must not hold up an async worker, the log or the
//! spine: it is begun again here, on a few threads that have nothing else to do. (A pool for every
//! read costs two wake-ups each, about what the whole answer costs otherwise.)

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
};

use base::Cause;
use store::Job;

/// Threads: reads of one node that wait for its disk at the same time. Disks like several.
const THREADS: usize = 4;
/// Reads that wait for a thread; more are refused as busy.
const WAITING_MAX: usize = 16_384;

/// Where reads wait.
#[derive(Default)]
pub(crate) struct Readers {
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that serve it. Without any, whoever brings a job does it: that is how a stepped node
    /// reads.
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        for _ in 0..THREADS {
            let own = self.clone();
            let thread = world::task::spawn_thread("holdfast-read", move || own.serve())?;
            self.lock().threads.push(thread);
        }
        Ok(())
    }

    /// Has `job` done soon, or tells it why not.
    pub(crate) fn submit(&self, job: Job) {
        let mut queue = self.lock();
        if queue.closed || queue.threads.is_empty() {
            let turn = if queue.closed { Err(stopping()) } else { Ok(()) };
            drop(queue);
            return job(turn);
        }
        if queue.jobs.len() >= WAITING_MAX {
            drop(queue);
            metrics::counter!("holdfast_refused_total", "why" => "reads").increment(1);
            return job(Err(Cause::busy("too many reads wait for the disk")));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.bell.notify_one();
    }

    /// Ends the threads; reads that wait hear so.
    pub(crate) fn stop(&self) {
        let (jobs, threads) = {
            let mut queue = self.lock();
            queue.closed = true;
            (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.threads))
        };
        self.bell.notify_all();
        for job in jobs {
            job(Err(stopping()));
        }
        for thread in threads {
            // One that panicked has told so.
            let _ = thread.join();
        }
    }

    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job(Ok(()));
                queue = self.lock();
            } else if queue.closed {
                return;
            } else {
                queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopping() -> Cause {
    Cause::busy("the node is stopping")
}
