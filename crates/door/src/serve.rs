//! Accepting connections, up to a number, until the door closes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Budget, Guest, Limits, Outbox, Session, Shutdown, Tls,
    drive::{Deadline, Driver, Ended, Wire, after},
    greet::{Arrival, greet},
    meters::Meters,
    outbox::Line,
};

/// How long to wait after a failed accept. It fails when descriptors run out, and then trying
/// again at once would only heat the machine.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until `shutdown`: each connection gets the session that `make` gives it, once it
/// is known whether it speaks TLS, which `tls` says it may. Returns when every connection has ended, which takes at most [`Limits::drain_ms`] and a little.
/// `door` names the door in metrics and log lines.
pub async fn serve(
    door: &'static str,
    listener: world::net::Listener,
    limits: Limits,
    tls: Tls,
    shutdown: Shutdown,
    make: impl Fn(Guest) -> Box<dyn Session> + Send + Sync + 'static,
) {
    let hall = Arc::new(Hall {
        door,
        budget: Arc::new(Budget::new(limits.budget_bytes)),
        room: Arc::new(Semaphore::new(limits.connections as usize)),
        handshakes: Semaphore::new(limits.handshakes as usize),
        tls,
        meters: Arc::new(Meters::new(door)),
        limits,
        make: Box::new(make),
    });
    let mut closing = shutdown.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.wait() => break,
        };
        match accepted {
            Ok((stream, peer)) => hall.admit(stream, peer, &shutdown),
            Err(error) => {
                tracing::warn!(door, %error, "cannot accept a connection");
                world::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // All permits are back when the last connection has ended.
    let _ = hall.room.acquire_many(hall.limits.connections).await;
}

/// What the connections of one door share.
struct Hall {
    door: &'static str,
    limits: Limits,
    budget: Arc<Budget>,
    room: Arc<Semaphore>,
    /// Places for TLS handshakes that are going on.
    handshakes: Semaphore,
    tls: Tls,
    meters: Arc<Meters>,
    make: Box<dyn Fn(Guest) -> Box<dyn Session> + Send + Sync>,
}

impl Hall {
    fn admit(self: &Arc<Hall>, stream: world::net::Stream, peer: SocketAddr, shutdown: &Shutdown) {
        match self.room.clone().try_acquire_owned() {
            Ok(place) => {
                world::task::spawn(self.clone().host(stream, peer, shutdown.clone(), place));
            }
            Err(_) => {
                self.meters.refused.increment(1);
                tracing::debug!(door = self.door, %peer, "connection refused: too many");
            }
        }
    }

    async fn host(
        self: Arc<Hall>,
        stream: world::net::Stream,
        peer: SocketAddr,
        shutdown: Shutdown,
        place: OwnedSemaphorePermit,
    ) {
        // Answers are gathered here already; Nagle's algorithm would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(door = self.door, %peer, %error, "connection lost at once");
            return;
        }
        self.meters.connections.increment(1.0);
        let ended = match self.attend(stream, peer, shutdown).await {
            Ok(ended) | Err(ended) => ended,
        };
        self.meters.connections.decrement(1.0);
        match ended {
            Ended::Peacefully => tracing::debug!(door = self.door, %peer, "connection ended"),
            Ended::Broken(error) => tracing::debug!(door = self.door, %peer, %error, "connection broke"),
            Ended::Distrusted(why) => {
                self.meters.dropped("TLS failed");
                tracing::info!(door = self.door, %peer, why, "TLS failed");
            }
            Ended::Dropped(reason) => {
                self.meters.dropped(reason);
                tracing::info!(door = self.door, %peer, reason, "connection dropped");
            }
        }
        drop(place);
    }

    /// Serves one connection to its end.
    async fn attend(
        &self,
        mut stream: world::net::Stream,
        peer: SocketAddr,
        mut shutdown: Shutdown,
    ) -> Result<Ended, Ended> {
        let mut handshake = after(self.limits.handshake_ms);
        let arrival = self.welcome(&mut stream, &mut handshake, &mut shutdown).await?;
        let (stream, writer) = stream.into_split();
        let writer = Arc::new(writer);
        // What is said in TLS has to be sealed first, which is the task's work.
        let line = matches!(arrival.wire, Wire::Clear)
            .then(|| Line { socket: Arc::downgrade(&writer), meters: self.meters.clone() });
        let (limit, pause) = (self.limits.unsent_bytes, self.limits.pause_bytes);
        let outbox = Arc::new(Outbox::new(self.budget.clone(), limit, pause, line));
        let session = (self.make)(Guest {
            peer,
            certificate: arrival.certificate,
            outbox: outbox.clone(),
            budget: self.budget.clone(),
        });
        let mut driver = Driver {
            stream,
            writer: Some(writer),
            wire: arrival.wire,
            session,
            outbox,
            budget: self.budget.clone(),
            limits: &self.limits,
            meters: self.meters.clone(),
        };
        Ok(driver.run(arrival.first, handshake, shutdown).await)
    }

    /// What a new connection speaks. At once where there is no choice.
    async fn welcome(
        &self,
        stream: &mut world::net::Stream,
        handshake: &mut Deadline,
        shutdown: &mut Shutdown,
    ) -> Result<Arrival, Ended> {
        let (certificates, in_clear) = match &self.tls {
            Tls::Off => return Ok(Arrival::in_clear(BytesMut::new())),
            Tls::Optional(certificates) => (certificates, true),
            Tls::Required(certificates) => (certificates, false),
        };
        // On the heap: in the future, every connection would carry its size all its life.
        let greeting = Box::pin(greet(stream, certificates, in_clear, &self.handshakes, &self.meters));
        tokio::select! {
            arrival = greeting => arrival,
            () = handshake => Err(Ended::Dropped("no handshake in time")),
            () = shutdown.wait() => Err(Ended::Peacefully),
        }
    }
}

#[cfg(test)]
mod tests;
