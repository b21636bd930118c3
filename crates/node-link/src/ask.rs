//! A question to a node by somebody who is no node yet, such as one that wants to join: one frame there,
//! one frame back, over the same listener and with the same certificates.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tls::Certificates;
use tokio::sync::oneshot;

use crate::{
    Refusal,
    frame::{ANSWER_MAX, ASK_MAX, Kind},
    wire::{Ended, Wire},
};

/// Where the answer to a question goes. Dropped, it tells whoever asks that there is none.
#[derive(Debug)]
pub struct Answer(pub(crate) oneshot::Sender<Bytes>);

impl Answer {
    /// Answers; at most 1 MiB.
    pub fn give(self, answer: Bytes) {
        // Whoever asked may have gone.
        let _ = self.0.send(answer);
    }
}

/// Asks the node at `address`; `question` has at most 64 KiB. What it means is between who asks and the
/// [`crate::Judge`] there.
///
/// # Errors
/// Why there is no answer: nobody is there, one of the two does not believe the other, or the other refused
/// to answer or did not within `timeout_ms`.
pub async fn ask(
    address: SocketAddr,
    certificates: &Certificates,
    question: &[u8],
    timeout_ms: u64,
) -> Result<Bytes, Refusal> {
    if question.len() > ASK_MAX {
        return Err(Refusal("the question is too long".into()));
    }
    let asking = async {
        let mut wire = connect(address, certificates).await?;
        wire.say(Kind::Ask, question).await?;
        match wire.next(ANSWER_MAX).await? {
            (Kind::Answer, answer) => {
                wire.part().await;
                Ok(answer)
            }
            (Kind::Refused, why) => Err(Ended::RefusedUs(String::from_utf8_lossy(&why).into_owned())),
            _ => Err(Ended::Malformed(base::Malformed("answer"))),
        }
    };
    match world::time::timeout(Duration::from_millis(timeout_ms), asking).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(ended)) => Err(Refusal(format!("{address}: {ended}"))),
        None => Err(Refusal(format!("{address}: no answer in time"))),
    }
}

/// Connects to a node, whose certificate is good.
pub(crate) async fn connect(
    address: SocketAddr,
    certificates: &Certificates,
) -> Result<Wire<rustls::client::UnbufferedClientConnection>, Ended> {
    let config = certificates
        .client_config()
        .ok_or_else(|| Ended::Refused("the certificates are not those of a peer".into()))?;
    let stream = world::net::connect(address).await?;
    let channel = tls::ClientChannel::to(config, address.ip().into())?;
    let mut wire = Wire::new(stream, channel);
    wire.shake_hands().await?;
    Ok(wire)
}
