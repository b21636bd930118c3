//! [`Channel`]: one connection's TLS, fed bytes, no I/O.
//!
//! Records that arrived are opened into the session's input; answers are sealed into records. An
//! idle channel holds keys and no buffers: received bytes stay only while a record is unfinished,
//! sealed ones until the socket has taken them.

use std::{mem, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use rustls::{
    ClientConfig, CommonState, Error, ServerConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    server::{ServerConnectionData, UnbufferedServerConnection},
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
pub struct Broken(
    /// For a person.
    pub String,
);

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken(error.to_string())
    }
}

/// One of the two ends of a channel.
pub trait Side {
    /// What rustls keeps beside for this end.
    type Data;

    /// Lets rustls look at what was received.
    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both ends have.
    fn common(&self) -> &CommonState;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// The end that was connected to.
pub type ServerChannel = Channel<UnbufferedServerConnection>;
/// The end that connected.
pub type ClientChannel = Channel<UnbufferedClientConnection>;

/// See the module.
pub struct Channel<S> {
    tls: S,
    /// Received and not opened.
    pub received: BytesMut,
    sealed: Vec<u8>,
    /// How much of `sealed` has left.
    sent: usize,
    /// How many bytes of answers `sealed` stands for.
    covers: usize,
    ended: bool,
}

impl ServerChannel {
    /// A channel that goes by `config` and has received `received`.
    ///
    /// # Errors
    /// When `config` is of no use.
    pub fn new(config: Arc<ServerConfig>, received: BytesMut) -> Result<ServerChannel, Broken> {
        Ok(Channel::over(UnbufferedServerConnection::new(config)?, received))
    }
}

impl ClientChannel {
    /// A channel that goes by `config`, to whoever calls itself `name`. The first [`Channel::open`] gives
    /// what is to be sent first.
    ///
    /// # Errors
    /// When `config` is of no use.
    pub fn to(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<ClientChannel, Broken> {
        Ok(Channel::over(UnbufferedClientConnection::new(config, name)?, BytesMut::new()))
    }
}

impl<S: Side> Channel<S> {
    fn over(tls: S, received: BytesMut) -> Channel<S> {
        Channel { tls, received, sealed: Vec::new(), sent: 0, covers: 0, ended: false }
    }

    /// Opens what was received, onto the end of `input`. There may be something to send then.
    ///
    /// # Errors
    /// When it is no TLS, or the other end is not believed. An alert that says so may be among what is to be sent.
    pub fn open(&mut self, input: &mut BytesMut) -> Result<(), Broken> {
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
        let UnbufferedStatus { state, .. } = self.tls.process(&mut self.received);
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = state {
            // A client that is not told sees the connection end all the same.
            let _ = append(&mut self.sealed, |room| alert.encode(room));
        }
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<(), Broken> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process(&mut self.received);
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

    /// Whether the two ends have not agreed yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.common().is_handshaking()
    }

    /// Whether the other end sends no more.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The certificate that the other end has shown and proven to be its own, in DER.
    pub fn certificate(&self) -> Option<Bytes> {
        let chain = self.tls.common().peer_certificates()?;
        chain.first().map(|certificate| Bytes::copy_from_slice(certificate))
    }

    /// Seals the beginning of `answers`; how much of them. Only when nothing is unsent.
    ///
    /// # Errors
    /// When the two ends have not agreed yet, or the channel has ended.
    pub fn seal(&mut self, answers: &[u8]) -> Result<usize, Broken> {
        debug_assert!(self.unsent().is_empty(), "what was sealed before leaves first");
        let answers = &answers[..answers.len().min(SEAL_MAX)];
        loop {
            let UnbufferedStatus { state, .. } = self.tls.process(&mut []);
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
    pub fn close(&mut self) {
        let UnbufferedStatus { state, .. } = self.tls.process(&mut []);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            // Without it the client only misses that this end was meant.
            let _ = append(&mut self.sealed, |room| traffic.queue_close_notify(room));
        }
    }

    /// What is to be sent next.
    pub fn unsent(&self) -> &[u8] {
        &self.sealed[self.sent..]
    }

    /// Notes that `bytes` of it have left. How many bytes of answers are with the client now that
    /// were not before.
    pub fn sent(&mut self, bytes: usize) -> usize {
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

#[cfg(test)]
impl<S: Side> Channel<S> {
    /// Changes keys, as rustls does by itself when they have sealed millions of records.
    pub(crate) fn change_keys(&mut self) {
        let UnbufferedStatus { state, .. } = self.tls.process(&mut []);
        let Ok(ConnectionState::WriteTraffic(traffic)) = state else { panic!("not open") };
        traffic.refresh_traffic_keys().expect("TLS 1.3 can");
    }
}
