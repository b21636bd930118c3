//! One connection from its first byte to its last, in one task.
//!
//! The loop writes what there is, then sleeps until something can be done: bytes arrived, the
//! socket takes more, an answer was pushed, the door closes, a deadline passed. Reading and
//! writing share the task, so an idle connection is one small future and no buffers.

use std::{
    future::{Future, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};

use crate::{Budget, Limits, Outbox, Session, Shutdown, meters::Meters, outbox::End};

/// The first read of a connection, and the smallest.
const READ_MIN: usize = 4 << 10;
/// The largest read while messages are whole; also what a connection's unfinished message may take
/// before the budget is asked.
const READ_MAX: usize = 64 << 10;
/// The largest growth of an unfinished message's buffer in one step, so that a claimed length
/// takes memory only as its bytes really arrive.
const GROW_MAX: usize = 1 << 20;
/// An empty write buffer up to this size is kept for the next answer.
const KEEP: usize = 1 << 10;
/// How long a client is listened to after the last answer, unless it closes first.
const PART: Duration = Duration::from_millis(500);

/// Why a connection ended; the text is the metric's label.
pub(crate) enum Ended {
    /// The client closed, or the session wanted it and everything was sent.
    Peacefully,
    /// The door ended it for this reason.
    Dropped(&'static str),
    /// The socket failed.
    Broken(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Broken(error)
    }
}

/// What wakes the loop.
enum Event {
    Socket(io::Result<Ready>),
    Outbox,
    Drain,
    Late(&'static str),
}

type Deadline = Pin<Box<dyn Future<Output = ()> + Send>>;

fn after(ms: u64) -> Deadline {
    Box::pin(world::time::sleep(Duration::from_millis(ms)))
}

async fn expiry(deadline: &mut Option<Deadline>) {
    match deadline {
        Some(deadline) => deadline.await,
        None => pending().await,
    }
}

/// Waits until the socket can be read (if `reading`) or written (if `writing`).
async fn ready(stream: &world::net::Stream, reading: bool, writing: bool) -> io::Result<Ready> {
    let interest = match (reading, writing) {
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (true, false) => Interest::READABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => return pending().await,
    };
    stream.ready(interest).await
}

pub(crate) struct Driver<'a> {
    pub(crate) stream: world::net::Stream,
    pub(crate) session: Box<dyn Session>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) limits: &'a Limits,
    pub(crate) meters: &'a Meters,
}

/// Bytes between socket and session.
#[derive(Default)]
struct Buffers {
    input: BytesMut,
    /// Size of the next read.
    read_size: usize,
    /// Bytes of `input` that were taken from the budget.
    charged: usize,
    output: Vec<u8>,
    /// How much of `output` has left.
    sent: usize,
}

impl Buffers {
    fn is_blocked(&self) -> bool {
        self.sent < self.output.len()
    }
}

impl Driver<'_> {
    /// Drives the connection to its end.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Ended {
        let mut buffers = Buffers { read_size: READ_MIN, ..Buffers::default() };
        let ended = match self.drive(&mut buffers, shutdown).await {
            Ok(()) => Ended::Peacefully,
            Err(ended) => ended,
        };
        self.outbox.finish();
        self.budget.give_back(buffers.charged);
        ended
    }

    async fn drive(&mut self, buffers: &mut Buffers, mut shutdown: Shutdown) -> Result<(), Ended> {
        let mut handshake = Some(after(self.limits.handshake_ms));
        let mut stall = None;
        let mut drain = None;
        let mut closing = pin!(shutdown.wait());
        loop {
            self.flush(buffers, &mut stall)?;
            if self.session.holds_back() && !self.session.is_full() && !self.outbox.is_closed() {
                self.feed(buffers)?;
                continue;
            }
            let blocked = buffers.is_blocked();
            match self.outbox.end() {
                End::Open => {}
                End::AfterSending if blocked => {}
                End::AfterSending => return self.part().await,
                End::Overflow => return Err(Ended::Dropped("client does not read its answers")),
                End::Gone => return Ok(()),
            }
            // In this order: an answer leaves the count only once it is in the outbox.
            if drain.is_some() && !blocked && self.session.in_flight() == 0 && self.outbox.unsent() == 0 {
                return self.part().await;
            }
            if handshake.is_some() && self.session.established() {
                handshake = None;
            }
            let reading = drain.is_none()
                && !self.outbox.is_closed()
                && self.outbox.unsent() <= self.limits.pause_bytes
                && !self.session.is_full();
            let event = tokio::select! {
                ready = ready(&self.stream, reading, blocked) => Event::Socket(ready),
                () = poll_fn(|context| self.outbox.poll(context, !blocked)) => Event::Outbox,
                () = &mut closing, if drain.is_none() => Event::Drain,
                () = expiry(&mut handshake) => Event::Late("no handshake in time"),
                () = expiry(&mut stall) => Event::Late("write stalled"),
                () = expiry(&mut drain) => Event::Late("drain took too long"),
            };
            match event {
                Event::Socket(ready) => {
                    let ready = ready?;
                    if reading && ready.is_readable() && !self.read(buffers).await? {
                        drain = Some(after(self.limits.drain_ms));
                    }
                }
                Event::Outbox => {}
                Event::Drain => drain = Some(after(self.limits.drain_ms)),
                Event::Late(reason) => return Err(Ended::Dropped(reason)),
            }
        }
    }

    /// Ends a connection when everything is said. Closing a socket that holds unread bytes sends a
    /// reset, and a client that meets it while it writes forgets the answers it has not read yet; so
    /// the rest of what it says is read and forgotten, for a short while.
    async fn part(&mut self) -> Result<(), Ended> {
        self.stream.shutdown().await?;
        let stream = &self.stream;
        let silence = async {
            // On the heap: in the future, every connection would carry it all its life.
            let mut forgotten = vec![0; READ_MIN];
            while stream.readable().await.is_ok() {
                match stream.try_read(&mut forgotten) {
                    Ok(0) => return,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                    Ok(_) | Err(_) => {}
                }
            }
        };
        // Whether the client closed in time makes no difference to us.
        let _ = world::time::timeout(PART, silence).await;
        Ok(())
    }

    /// Reads what is there and feeds the session. False when the client sends no more.
    async fn read(&mut self, buffers: &mut Buffers) -> Result<bool, Ended> {
        let input = &mut buffers.input;
        // An unfinished message doubles its buffer, so that its copies cost no more than itself.
        input.reserve(buffers.read_size.max(input.len().min(GROW_MAX)));
        // Polled once: a read that leaves room in the buffer has emptied the socket, which tokio
        // notes here and not in `try_read`, where every wake-up would cost a second call in vain.
        let stream = &mut self.stream;
        let polled = poll_fn(|context| Poll::Ready(pin!(stream.read_buf(input)).poll(context))).await;
        let read = match polled {
            Poll::Ready(Ok(0)) => return Ok(false),
            Poll::Ready(read) => read?,
            Poll::Pending => 0,
        };
        self.meters.received.increment(read as u64);
        if read >= buffers.read_size {
            buffers.read_size = (buffers.read_size * 2).min(READ_MAX);
        } else if read < buffers.read_size / 4 {
            buffers.read_size = (buffers.read_size / 2).max(READ_MIN);
        }
        if read > 0 {
            self.feed(buffers)?;
        }
        if buffers.input.is_empty() {
            // Idle connections hold no buffer; requests in flight keep theirs alive by themselves.
            buffers.input = BytesMut::new();
        }
        Ok(true)
    }

    fn feed(&mut self, buffers: &mut Buffers) -> Result<(), Ended> {
        if let Err(close) = self.session.feed(&mut buffers.input) {
            tracing::debug!(reason = %close, "session closes its connection");
            self.outbox.close();
            buffers.input.clear();
        }
        let unfinished = buffers.input.len().saturating_sub(READ_MAX);
        if unfinished > buffers.charged {
            if !self.budget.try_take(unfinished - buffers.charged) {
                return Err(Ended::Dropped("no memory for an unfinished message"));
            }
        } else {
            self.budget.give_back(buffers.charged - unfinished);
        }
        buffers.charged = unfinished;
        Ok(())
    }

    /// Writes what the socket takes without waiting, and keeps the time since it last took anything.
    fn flush(&self, buffers: &mut Buffers, stall: &mut Option<Deadline>) -> Result<(), Ended> {
        loop {
            if !buffers.is_blocked() {
                buffers.sent = 0;
                if buffers.output.capacity() > KEEP {
                    buffers.output = Vec::new();
                }
                buffers.output.clear();
                if !self.outbox.swap(&mut buffers.output) {
                    *stall = None;
                    return Ok(());
                }
            }
            match self.stream.try_write(&buffers.output[buffers.sent..]) {
                Ok(written) => {
                    buffers.sent += written;
                    self.outbox.sent(written);
                    self.meters.sent.increment(written as u64);
                    self.meters.writes.increment(1);
                    *stall = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stall.get_or_insert_with(|| after(self.limits.stall_ms));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
