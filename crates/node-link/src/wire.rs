//! [`Wire`]: a socket with TLS over it and frames in that, for the one task that drives it.

use std::{fmt, future::poll_fn, io, pin::pin, task::Poll, time::Duration};

use base::Malformed;
use bytes::{Bytes, BytesMut};
use tls::{Broken, Channel, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::net::Stream;

use crate::frame::{self, Kind};

/// Frames gathered before they are sealed and written together.
pub(crate) const GATHER: usize = 64 << 10;
/// Bytes read at once.
const READ: usize = 64 << 10;
/// How long the other side is listened to after it was refused, so that it reads why.
const PART: Duration = Duration::from_millis(500);

/// Why a connection ended, for a person.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The other side closed it.
    Closed,
    /// The socket failed.
    Socket(io::Error),
    /// TLS failed: who is there is not whom we believe, or does not believe us.
    Distrusted(Broken),
    /// What came is no frame of ours.
    Malformed(Malformed),
    /// We refused it.
    Refused(String),
    /// It refused us.
    RefusedUs(String),
    /// It has said nothing for too long.
    Silent,
    /// Another connection has taken its place.
    Replaced,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Closed => f.write_str("closed by the other side"),
            Ended::Socket(error) => error.fmt(f),
            Ended::Distrusted(Broken(why)) => write!(f, "TLS failed: {why}"),
            Ended::Malformed(what) => what.fmt(f),
            Ended::Refused(why) => write!(f, "refused here: {why}"),
            Ended::RefusedUs(why) => write!(f, "refused there: {why}"),
            Ended::Silent => f.write_str("silent for too long"),
            Ended::Replaced => f.write_str("a newer connection took its place"),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Socket(error)
    }
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Ended {
        Ended::Distrusted(broken)
    }
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Ended {
        Ended::Malformed(malformed)
    }
}

/// See the module.
pub(crate) struct Wire<S> {
    stream: Stream,
    channel: Box<Channel<S>>,
    input: BytesMut,
    /// Frames that are not sealed yet.
    pub(crate) out: Vec<u8>,
    /// How much of them is.
    sealed: usize,
}

impl<S: Side> Wire<S> {
    pub(crate) fn new(stream: Stream, channel: Channel<S>) -> Wire<S> {
        let channel = Box::new(channel);
        Wire { stream, channel, input: BytesMut::new(), out: Vec::new(), sealed: 0 }
    }

    /// Agrees with the other side on keys, each having shown its certificate.
    pub(crate) async fn shake_hands(&mut self) -> Result<(), Ended> {
        loop {
            let opened = self.channel.open(&mut self.input);
            // Also the alert that tells the other side why not.
            self.write_all().await?;
            opened?;
            if !self.channel.is_handshaking() {
                return Ok(());
            }
            self.await_bytes().await?;
        }
    }

    /// Waits for the next frame. Before the connection stands only: nothing else is done meanwhile.
    pub(crate) async fn next(&mut self, longest: usize) -> Result<(Kind, Bytes), Ended> {
        loop {
            if let Some(frame) = frame::take(&mut self.input, longest)? {
                return Ok(frame);
            }
            self.await_bytes().await?;
            let opened = self.channel.open(&mut self.input);
            self.write_all().await?;
            opened?;
        }
    }

    /// Sends a frame before the connection stands.
    pub(crate) async fn say(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Ended> {
        frame::put(&mut self.out, kind, bytes);
        self.write_all().await
    }

    /// Says why not, and ends.
    pub(crate) async fn refuse(&mut self, why: String) -> Ended {
        let mut length = why.len().min(frame::HELLO_MAX);
        while !why.is_char_boundary(length) {
            length -= 1;
        }
        if self.say(Kind::Refused, &why.as_bytes()[..length]).await.is_ok() {
            self.part().await;
        }
        Ended::Refused(why)
    }

    /// Closes a connection on which everything was said. A socket that is closed with unread bytes sends a
    /// reset, and the last words might not be read; so what still comes is read and forgotten, for a short while.
    pub(crate) async fn part(&mut self) {
        self.channel.close();
        let last_words = async {
            self.write_all().await?;
            self.stream.shutdown().await?;
            while self.stream.read_buf(&mut self.input).await? > 0 {
                self.input.clear();
            }
            Ok::<(), Ended>(())
        };
        // Whether the other side closed in time makes no difference.
        let _ = world::time::timeout(PART, last_words).await;
    }

    async fn await_bytes(&mut self) -> Result<(), Ended> {
        self.channel.received.reserve(READ);
        match self.stream.read_buf(&mut self.channel.received).await? {
            0 => Err(Ended::Closed),
            _ => Ok(()),
        }
    }

    async fn write_all(&mut self) -> Result<(), Ended> {
        while self.flush()?.is_blocked {
            self.stream.writable().await?;
        }
        Ok(())
    }

    /// Writes what the socket takes without waiting.
    pub(crate) fn flush(&mut self) -> Result<Flushed, Ended> {
        let mut flushed = Flushed::default();
        loop {
            if self.channel.unsent().is_empty() {
                if self.sealed == self.out.len() {
                    self.out.clear();
                    self.sealed = 0;
                    return Ok(flushed);
                }
                self.sealed += self.channel.seal(&self.out[self.sealed..])?;
            }
            match self.stream.try_write(self.channel.unsent()) {
                Ok(written) => {
                    self.channel.sent(written);
                    flushed.bytes += written as u64;
                    flushed.writes += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    flushed.is_blocked = true;
                    return Ok(flushed);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the socket may have bytes. Cancel safe.
    pub(crate) async fn readable(&self) -> Result<(), Ended> {
        self.stream.readable().await.map_err(Ended::from)
    }

    /// Waits until the socket may take bytes. Cancel safe.
    pub(crate) async fn writable(&self) -> Result<(), Ended> {
        self.stream.writable().await.map_err(Ended::from)
    }

    /// Reads what the socket has without waiting; how many bytes it was.
    pub(crate) async fn read(&mut self) -> Result<u64, Ended> {
        self.channel.received.reserve(READ);
        let (stream, received) = (&mut self.stream, &mut self.channel.received);
        // Polled once: a read that leaves room in the buffer has emptied the socket, which tokio notes
        // here and not in `try_read`, where every wake-up would cost a second call in vain.
        let polled = poll_fn(|context| Poll::Ready(pin!(stream.read_buf(received)).poll(context))).await;
        let read = match polled {
            Poll::Ready(Ok(0)) => return Err(Ended::Closed),
            Poll::Ready(read) => read?,
            Poll::Pending => return Ok(0),
        };
        if let Err(broken) = self.channel.open(&mut self.input) {
            // The alert, if there is one and the socket takes it.
            let _ = self.stream.try_write(self.channel.unsent());
            return Err(broken.into());
        }
        Ok(read as u64)
    }

    /// The next frame of those that were read.
    pub(crate) fn frame(&mut self) -> Result<Option<(Kind, Bytes)>, Malformed> {
        let frame = frame::take(&mut self.input, frame::FRAME_MAX)?;
        if self.input.is_empty() {
            // An idle connection holds no buffer; messages that live keep theirs by themselves.
            self.input = BytesMut::new();
        }
        Ok(frame)
    }
}

/// What a flush has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flushed {
    /// Whether something is left that the socket did not take.
    pub(crate) is_blocked: bool,
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
}
