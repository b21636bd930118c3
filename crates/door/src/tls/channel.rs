//! [`Channel`]: one connection's TLS, fed bytes, no I/O.
//!
//! Records that arrived are opened into the session's input; answers are sealed into records. An
//! idle channel holds keys and no buffers: received bytes stay only while a record is unfinished,
//! sealed ones until the socket has taken them.

use std::{mem, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use rustls::{
    Error, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

/// The most that may wait for the rest of a record or of the handshake. A record has 16 KiB and a
/// little; a chain of certificates fits that is longer than anybody's.
const UNFINISHED_MAX: usize = 64 << 10;
/// Answers sealed at a time: a few records, so that a large answer does not take its memory twice.
const SEAL_MAX: usize = 64 << 10;
/// What sealing adds to a record at most, and how much of an answer a record holds.
const RECORD_OVERHEAD: usize = 64;
const RECORD_BYTES: usize = 16 << 10;
/// An empty buffer up to this size is kept for the next answer.
const KEEP: usize = 1 << 10;

/// Why a channel cannot go on; told in the log. An alert that says so may be among what is unsent.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken(error.to_string())
    }
}

/// See the module.
pub(crate) struct Channel {
    tls: UnbufferedServerConnection,
    /// Received and not opened.
    pub(crate) received: BytesMut,
    sealed: Vec<u8>,
    /// How much of `sealed` has left.
    sent: usize,
    /// How many bytes of answers `sealed` stands for.
    covers: usize,
    ended: bool,
}

impl Channel {
    /// A channel that goes by `config` and has received `received`.
    pub(crate) fn new(config: Arc<ServerConfig>, received: BytesMut) -> Result<Channel, Broken> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Channel { tls, received, sealed: Vec::new(), sent: 0, covers: 0, ended: false })
    }

    /// Opens what was received, onto the end of `input`. There may be something to send then.
    pub(crate) fn open(&mut self, input: &mut BytesMut) -> Result<(), Broken> {
        let mut outcome = self.advance(input);
        if outcome.is_err() {
            self.take_alert();
            self.received.clear();
        } else if self.received.len() > UNFINISHED_MAX {
            outcome = Err(Broken("an endless record or handshake".into()));
        }
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        outcome
    }

    /// After a failure: the alert that tells the client why. It is there before anything else is looked
    /// at, and nothing may be looked at any more.
    fn take_alert(&mut self) {
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut self.received);
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = state {
            // A client that is not told sees the connection end all the same.
            let _ = append(&mut self.sealed, |room| alert.encode(room));
        }
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<(), Broken> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut self.received);
            let mut waits = false;
            let outcome = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            input.extend_from_slice(record.payload);
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    let encoded = append(&mut self.sealed, |room| message.encode(room));
                    encoded.map_err(|error| Error::General(error.to_string()))
                }
                // It lies in `sealed` and leaves in order; rustls need not wait for that.
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    Ok(())
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    waits = true;
                    Ok(())
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    waits = true;
                    Ok(())
                }
                Ok(_) => Err(Error::General("early data, which nobody was allowed to send".into())),
                Err(error) => Err(error),
            };
            self.received.advance(discard);
            outcome?;
            if waits {
                return Ok(());
            }
        }
    }

    /// Whether client and server have not agreed yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the client sends no more.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The certificate that the client has shown and proven to be its own, in DER.
    pub(crate) fn certificate(&self) -> Option<Bytes> {
        let chain = self.tls.peer_certificates()?;
        chain.first().map(|certificate| Bytes::copy_from_slice(certificate))
    }

    /// Seals the beginning of `answers`; how much of them. Only when nothing is unsent.
    pub(crate) fn seal(&mut self, answers: &[u8]) -> Result<usize, Broken> {
        debug_assert!(self.unsent().is_empty(), "what was sealed before leaves first");
        let answers = &answers[..answers.len().min(SEAL_MAX)];
        loop {
            let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut []);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let records = answers.len().div_ceil(RECORD_BYTES);
                    self.sealed.reserve(answers.len() + records * RECORD_OVERHEAD);
                    let encrypted = append(&mut self.sealed, |room| traffic.encrypt(answers, room));
                    encrypted.map_err(|error| Broken(error.to_string()))?;
                    self.covers = answers.len();
                    return Ok(answers.len());
                }
                // Keys that have sealed much are changed, which the client is told.
                ConnectionState::EncodeTlsData(mut message) => {
                    let encoded = append(&mut self.sealed, |room| message.encode(room));
                    encoded.map_err(|error| Broken(error.to_string()))?;
                }
                ConnectionState::TransmitTlsData(message) => message.done(),
                _ => return Err(Broken("the channel takes no answers".into())),
            }
        }
    }

    /// Seals the word that nothing follows.
    pub(crate) fn close(&mut self) {
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut []);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            // Without it the client only misses that this end was meant.
            let _ = append(&mut self.sealed, |room| traffic.queue_close_notify(room));
        }
    }

    /// What is to be sent next.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.sealed[self.sent..]
    }

    /// Notes that `bytes` of it have left. How many bytes of answers are with the client now that
    /// were not before.
    pub(crate) fn sent(&mut self, bytes: usize) -> usize {
        self.sent += bytes;
        if self.sent < self.sealed.len() {
            return 0;
        }
        self.sent = 0;
        self.sealed.clear();
        if self.sealed.capacity() > KEEP {
            self.sealed = Vec::new();
        }
        mem::take(&mut self.covers)
    }
}

/// An error that may say how much room was lacking.
trait Lack {
    fn required_bytes(&self) -> Option<usize>;
}

impl Lack for EncodeError {
    fn required_bytes(&self) -> Option<usize> {
        match self {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl Lack for EncryptError {
    fn required_bytes(&self) -> Option<usize> {
        match self {
            EncryptError::InsufficientSize(size) => Some(size.required_size),
            EncryptError::EncryptExhausted => None,
        }
    }
}

/// Appends what `write` puts into the room behind `out`; with more room, if it asks for that.
fn append<E: Lack>(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
    let before = out.len();
    out.resize(out.capacity(), 0);
    let mut written = write(&mut out[before..]);
    if let Some(required) = written.as_ref().err().and_then(Lack::required_bytes) {
        out.resize(before + required, 0);
        written = write(&mut out[before..]);
    }
    out.truncate(before + *written.as_ref().unwrap_or(&0));
    written.map(|_| ())
}
