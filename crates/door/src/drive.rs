//! One connection from its first byte to its last, in one task.
//!
//! The loop writes what there is, then sleeps until something can be done: bytes arrived, the
//! socket takes more, an answer was pushed, the door closes, a deadline passed. Reading and
//! writing share the task, so an idle connection is one small future and no buffers. With TLS
//! ([`Wire`]) what is read is opened before the session sees it, and what is written is sealed first.

use std::{
    future::{Future, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, Interest, Ready};
use world::{
    later,
    net::{ReadHalf, Stream, WriteHalf},
};

use ::tls::{Broken, ServerChannel};

use crate::{
    Budget, Limits, Outbox, Session, Shutdown,
    meters::Meters,
    outbox::{End, KEEP, Wants},
};

/// The first read of a connection, and the smallest.
pub(crate) const READ_MIN: usize = 4 << 10;
/// The largest read while messages are whole; also what a connection's unfinished message may take
/// before the budget is asked.
const READ_MAX: usize = 64 << 10;
/// The largest growth of an unfinished message's buffer in one step, so that a claimed length
/// takes memory only as its bytes really arrive.
const GROW_MAX: usize = 1 << 20;
/// How long a client is listened to after the last answer, unless it closes first.
const PART: Duration = Duration::from_millis(500);

/// Why a connection ended; the text is the metric's label.
pub(crate) enum Ended {
    /// The client closed, or the session wanted it and everything was sent.
    Peacefully,
    /// The door ended it for this reason.
    Dropped(&'static str),
    /// TLS failed, for a reason that differs from client to client.
    Distrusted(String),
    /// The socket failed.
    Broken(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Broken(error)
    }
}

impl From<Broken> for Ended {
    fn from(Broken(why): Broken) -> Ended {
        Ended::Distrusted(why)
    }
}

/// How bytes cross the wire.
pub(crate) enum Wire {
    /// As they are.
    Clear,
    /// In TLS records. On the heap: connections in clear should not carry its size.
    Tls(Box<ServerChannel>),
}

/// What wakes the loop.
enum Event {
    Socket(io::Result<Ready>),
    Outbox,
    Drain,
    Late(&'static str),
}

pub(crate) type Deadline = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) fn after(ms: u64) -> Deadline {
    Box::pin(world::time::sleep(Duration::from_millis(ms)))
}

async fn expiry(deadline: &mut Option<Deadline>) {
    match deadline {
        Some(deadline) => deadline.await,
        None => pending().await,
    }
}

/// Waits until the socket can be read (if `reading`) or written (if `writing`).
async fn ready(stream: &ReadHalf, reading: bool, writing: bool) -> io::Result<Ready> {
    let interest = match (reading, writing) {
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (true, false) => Interest::READABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => return pending().await,
    };
    stream.ready(interest).await
}

pub(crate) struct Driver<'a> {
    pub(crate) stream: ReadHalf,
    /// Until everything is said.
    pub(crate) writer: Option<Arc<WriteHalf>>,
    pub(crate) wire: Wire,
    pub(crate) session: Box<dyn Session>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) limits: &'a Limits,
    pub(crate) meters: Arc<Meters>,
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

impl Driver<'_> {
    /// Drives the connection, which has `first` said already, to its end. `handshake` is when it
    /// must be established.
    pub(crate) async fn run(&mut self, first: BytesMut, handshake: Deadline, shutdown: Shutdown) -> Ended {
        let mut buffers = Buffers { input: first, read_size: READ_MIN, ..Buffers::default() };
        let ended = match self.drive(&mut buffers, handshake, shutdown).await {
            Ok(()) => Ended::Peacefully,
            Err(ended) => ended,
        };
        self.outbox.finish();
        self.budget.give_back(buffers.charged);
        ended
    }

    async fn drive(
        &mut self,
        buffers: &mut Buffers,
        handshake: Deadline,
        mut shutdown: Shutdown,
    ) -> Result<(), Ended> {
        let mut handshake = Some(handshake);
        let mut stall = None;
        let mut drain = None;
        let mut closing = pin!(shutdown.wait());
        if !buffers.input.is_empty() {
            self.feed(buffers)?;
        }
        if self.wire.is_ended() {
            drain = Some(after(self.limits.drain_ms));
        }
        loop {
            self.flush(buffers, &mut stall)?;
            if self.session.holds_back() && !self.session.is_full() && !self.outbox.is_closed() {
                self.feed(buffers)?;
                continue;
            }
            let blocked = self.is_blocked(buffers);
            match self.outbox.end() {
                End::Open => {}
                // The last answers may have been pushed, and the end, since the flush above.
                End::AfterSending if blocked || self.outbox.unsent() > 0 => {}
                // On the heap: in the future, every connection would carry it all its life.
                End::AfterSending => return Box::pin(self.part()).await,
                End::Overflow => return Err(Ended::Dropped("client does not read its answers")),
                End::Gone => return Ok(()),
            }
            // In this order: an answer leaves the count only once it is in the outbox.
            if drain.is_some() && !blocked && self.session.in_flight() == 0 && self.outbox.unsent() == 0 {
                return Box::pin(self.part()).await;
            }
            if handshake.is_some() && self.session.established() {
                handshake = None;
            }
            let reading = drain.is_none()
                && !self.outbox.is_closed()
                && self.outbox.unsent() <= self.limits.pause_bytes
                && !self.session.is_full();
            if buffers.input.is_empty() {
                // Idle connections hold no buffer; requests in flight keep theirs alive by themselves.
                buffers.input = BytesMut::new();
            }
            let wants = match blocked {
                true => Wants::Nothing,
                // What is decided above does not change by answers that leave.
                false if reading && handshake.is_none() => Wants::Sending,
                false => Wants::Pushes,
            };
            let event = tokio::select! {
                ready = ready(&self.stream, reading, blocked) => Event::Socket(ready),
                () = poll_fn(|context| self.outbox.poll(context, wants)) => Event::Outbox,
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

    /// Whether there is something to send that the socket has not taken.
    fn is_blocked(&self, buffers: &Buffers) -> bool {
        buffers.sent < buffers.output.len() || !self.wire.unsent().is_empty()
    }

    /// Ends a connection when everything is said.
    async fn part(&mut self) -> Result<(), Ended> {
        if let Wire::Tls(channel) = &mut self.wire {
            channel.close();
            // Everything before it has left, so there is room for these few bytes.
            let _ = try_write(&self.writer, channel.unsent());
        }
        // Whoever sends at this moment has it for as long as that takes; the last to let go says goodbye.
        self.writer = None;
        silence(self.stream.as_ref()).await;
        Ok(())
    }

    /// Reads what is there and feeds the session. False when the client sends no more.
    async fn read(&mut self, buffers: &mut Buffers) -> Result<bool, Ended> {
        let size = buffers.read_size;
        let into = match &mut self.wire {
            Wire::Clear => {
                // An unfinished message doubles its buffer, so that its copies cost no more than itself.
                buffers.input.reserve(size.max(buffers.input.len().min(GROW_MAX)));
                &mut buffers.input
            }
            Wire::Tls(channel) => {
                channel.received.reserve(size);
                &mut channel.received
            }
        };
        // Polled once: a read that leaves room in the buffer has emptied the socket, which tokio
        // notes here and not in `try_read`, where every wake-up would cost a second call in vain.
        let stream = &mut self.stream;
        let polled = poll_fn(|context| Poll::Ready(pin!(stream.read_buf(into)).poll(context))).await;
        let read = match polled {
            Poll::Ready(Ok(0)) => return Ok(false),
            Poll::Ready(read) => read?,
            Poll::Pending => 0,
        };
        self.meters.received.increment(read as u64);
        if read >= size {
            buffers.read_size = (size * 2).min(READ_MAX);
        } else if read < size / 4 {
            buffers.read_size = (size / 2).max(READ_MIN);
        }
        if let Wire::Tls(channel) = &mut self.wire
            && let Err(broken) = channel.open(&mut buffers.input)
        {
            // The alert, if there is one and the socket takes it.
            let _ = try_write(&self.writer, channel.unsent());
            return Err(broken.into());
        }
        if read > 0 && !buffers.input.is_empty() {
            self.feed(buffers)?;
        }
        Ok(!self.wire.is_ended())
    }

    fn feed(&mut self, buffers: &mut Buffers) -> Result<(), Ended> {
        // One step: all that it asks for is brought on its way together.
        let fed = later::step(|| self.session.feed(&mut buffers.input));
        if let Err(close) = fed {
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
    fn flush(&mut self, buffers: &mut Buffers, stall: &mut Option<Deadline>) -> Result<(), Ended> {
        loop {
            if !self.refill(buffers)? {
                *stall = None;
                return Ok(());
            }
            let bytes = match &self.wire {
                Wire::Clear => &buffers.output[buffers.sent..],
                Wire::Tls(channel) => channel.unsent(),
            };
            match try_write(&self.writer, bytes) {
                Ok(written) => {
                    let answered = match &mut self.wire {
                        Wire::Clear => {
                            buffers.sent += written;
                            written
                        }
                        Wire::Tls(channel) => channel.sent(written),
                    };
                    self.outbox.sent(answered);
                    self.meters.sent.increment(written as u64);
                    self.meters.writes.increment(1);
                    *stall = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outbox.block();
                    stall.get_or_insert_with(|| after(self.limits.stall_ms));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes answers from the outbox, and seals some, if there is nothing to send. False when there
    /// still is nothing.
    fn refill(&mut self, buffers: &mut Buffers) -> Result<bool, Ended> {
        if !self.wire.unsent().is_empty() {
            return Ok(true);
        }
        if buffers.sent == buffers.output.len() {
            buffers.sent = 0;
            if buffers.output.capacity() > KEEP {
                buffers.output = Vec::new();
            }
            buffers.output.clear();
            if !self.outbox.swap(&mut buffers.output) {
                return Ok(false);
            }
        }
        if let Wire::Tls(channel) = &mut self.wire {
            buffers.sent += channel.seal(&buffers.output[buffers.sent..])?;
        }
        Ok(true)
    }
}

impl Wire {
    /// Records that the socket has not taken.
    fn unsent(&self) -> &[u8] {
        match self {
            Wire::Clear => &[],
            Wire::Tls(channel) => channel.unsent(),
        }
    }

    /// Whether the client has said, within TLS, that it sends no more.
    fn is_ended(&self) -> bool {
        match self {
            Wire::Clear => false,
            Wire::Tls(channel) => channel.is_ended(),
        }
    }
}

fn try_write(writer: &Option<Arc<WriteHalf>>, bytes: &[u8]) -> io::Result<usize> {
    writer.as_ref().expect("it is there until everything is said").try_write(bytes)
}

/// Waits for the client to close, after it was told that nothing more will be said. Closing a socket
/// that holds unread bytes sends a reset, and a client that meets it
/// while it writes forgets the answers it has not read yet; so the rest of what it says is read and
/// forgotten, for a short while.
pub(crate) async fn silence(stream: &Stream) {
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
}
