//! From an accepted socket to the first bytes of a protocol: whether the client speaks TLS, and the
//! handshake if it does.
//!
//! Everything here runs against the connection's handshake deadline, which it shares with the
//! protocol's own handshake. An answer to a handshake costs a signature, with an RSA key about a
//! millisecond of a processor (with P-256 a whole handshake takes 80 us), and memory for certificates; so there is a bound on handshakes at a time
//! ([`crate::Limits::handshakes`]) below the one on connections, and a crowd of clients that never
//! finish theirs leaves places to those that need none.

use ::tls::{Certificates, ServerChannel};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};
use world::net::Stream;

use crate::{
    drive::{Ended, READ_MIN, Wire, silence},
    meters::Meters,
    tls::HANDSHAKE_RECORD,
};

/// A client that has arrived.
pub(crate) struct Arrival {
    pub(crate) wire: Wire,
    /// What it has said so far.
    pub(crate) first: BytesMut,
    /// Who it is, if it has shown a certificate: DER, verified.
    pub(crate) certificate: Option<Bytes>,
}

impl Arrival {
    /// A client that speaks in clear and has said `first`.
    pub(crate) fn in_clear(first: BytesMut) -> Arrival {
        Arrival { wire: Wire::Clear, first, certificate: None }
    }
}

/// Hears the first bytes, and shakes hands if they are TLS. `in_clear` is whether they may be
/// anything else; `handshakes` are places for handshakes.
pub(crate) async fn greet(
    stream: &mut Stream,
    certificates: &Certificates,
    in_clear: bool,
    handshakes: &Semaphore,
    meters: &Meters,
) -> Result<Arrival, Ended> {
    // A silent client takes no buffer.
    stream.readable().await?;
    let mut first = BytesMut::new();
    if read(stream, &mut first, meters).await? == 0 {
        return Err(Ended::Peacefully);
    }
    if first.first() != Some(&HANDSHAKE_RECORD) {
        return if in_clear { Ok(Arrival::in_clear(first)) } else { Err(Ended::Dropped("not TLS")) };
    }
    let _place = handshakes.try_acquire().map_err(|_| Ended::Dropped("too many TLS handshakes"))?;
    let mut channel = Box::new(ServerChannel::new(certificates.config(), first)?);
    let mut input = BytesMut::new();
    loop {
        let opened = channel.open(&mut input);
        send(stream, &mut channel, meters).await?;
        if let Err(broken) = opened {
            // So that the client reads why.
            stream.shutdown().await?;
            silence(stream).await;
            return Err(broken.into());
        }
        if !channel.is_handshaking() {
            break;
        }
        if channel.is_ended() || read(stream, &mut channel.received, meters).await? == 0 {
            return Err(Ended::Distrusted("the client broke off the handshake".into()));
        }
    }
    meters.tls.increment(1);
    if input.is_empty() {
        // The client had the last word, and many keep their first request back until that is
        // acknowledged (Nagle's algorithm), which the kernel would put off for 40 ms. If this
        // fails, they wait.
        let _ = stream.set_quickack(true);
    }
    let certificate = channel.certificate();
    Ok(Arrival { wire: Wire::Tls(channel), first: input, certificate })
}

async fn read(stream: &mut Stream, into: &mut BytesMut, meters: &Meters) -> Result<usize, Ended> {
    into.reserve(READ_MIN);
    let read = stream.read_buf(into).await?;
    meters.received.increment(read as u64);
    Ok(read)
}

async fn send(stream: &mut Stream, channel: &mut ServerChannel, meters: &Meters) -> Result<(), Ended> {
    let bytes = channel.unsent().len();
    if bytes > 0 {
        stream.write_all(channel.unsent()).await?;
        channel.sent(bytes);
        meters.sent.increment(bytes as u64);
        meters.writes.increment(1);
    }
    Ok(())
}
