//! Connections to others: what a node sends goes over those that it made itself, one for each [`Lane`]. So who is
//! connected to whom is decided by one side alone, and two nodes that connect to each other at once are no special case.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base::{Malformed, NodeId};
use rustls::client::UnbufferedClientConnection;

use crate::{
    Hello,
    ask::connect,
    frame::{self, FORMAT, HELLO_MAX, Kind, Lane, Opening, Welcome},
    link::{House, Stop},
    pulse::{Beat, Pulse},
    queue::Queue,
    wire::{Ended, GATHER, Wire},
};

/// A connection that stood this long starts anew with its patience.
const STOOD: Duration = Duration::from_secs(1);

/// Keeps a connection to one node over one lane.
pub(crate) struct Dialer {
    pub(crate) house: Arc<House>,
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) lane: Lane,
    pub(crate) queue: Arc<Queue>,
}

impl Dialer {
    /// Keeps it until `stop`.
    pub(crate) async fn run(self, mut stop: Stop) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.given() => {}
        }
    }

    async fn keep(&self) {
        let settings = &self.house.settings;
        let mut retry_ms = settings.retry_min_ms;
        let mut told = String::new();
        loop {
            let began = self.house.clock.boot();
            let Err(ended) = self.once().await;
            let ended = ended.to_string();
            let (node, address, lane) = (self.node, self.address, self.lane.name());
            if ended == told {
                tracing::debug!(%node, %address, lane, ended, "no connection to the node");
            } else {
                tracing::info!(%node, %address, lane, ended, "no connection to the node");
                told = ended;
            }
            if self.house.clock.boot() - began >= STOOD {
                retry_ms = settings.retry_min_ms;
            }
            let least = retry_ms / 2;
            let wait_ms = least + self.house.entropy.below(retry_ms - least + 1);
            world::time::sleep(Duration::from_millis(wait_ms)).await;
            retry_ms = (retry_ms * 2).min(settings.retry_max_ms);
        }
    }

    /// Makes a connection and drives it to its end.
    async fn once(&self) -> Result<Never, Ended> {
        let greeting = Duration::from_millis(self.house.settings.greet_ms);
        let greeted = world::time::timeout(greeting, self.greet()).await.unwrap_or(Err(Ended::Silent));
        let (mut wire, theirs, credits) = greeted.inspect_err(|ended| self.house.count_refusal(ended))?;
        let _up = Up::new(self, &theirs, credits);
        self.drive(&mut wire).await
    }

    /// Connects; each side says who it is and judges the other.
    async fn greet(&self) -> Result<(Wire<UnbufferedClientConnection>, Hello, [i64; 3]), Ended> {
        let mut wire = connect(self.address, &self.house.certificates).await?;
        let ours = self.house.judge.hello().encode();
        let opening = Opening { format: FORMAT, lane: self.lane, hello: &ours };
        wire.say(Kind::Hello, &opening.encode()).await?;
        let (kind, bytes) = wire.next(HELLO_MAX).await?;
        match kind {
            Kind::Welcome => {}
            Kind::Refused => return Err(Ended::RefusedUs(String::from_utf8_lossy(&bytes).into_owned())),
            _ => return Err(Malformed("answer to a hello").into()),
        }
        let welcome = Welcome::decode(&bytes)?;
        if welcome.format != FORMAT {
            return Err(wire
                .refuse(format!("frames of format {}, which nobody offered", welcome.format))
                .await);
        }
        let theirs = Hello::decode(welcome.hello)?;
        let judged = if theirs.node == self.node {
            self.house.judge.judge(&theirs).map_err(|refusal| refusal.0)
        } else {
            Err(format!("this is node {}, and not node {}", theirs.node, self.node))
        };
        match judged {
            Ok(()) => Ok((wire, theirs, welcome.credits)),
            Err(why) => Err(wire.refuse(why).await),
        }
    }

    /// Sends what is pushed, as far as there is room, and hears what room there is.
    async fn drive(&self, wire: &mut Wire<UnbufferedClientConnection>) -> Result<Never, Ended> {
        let House { settings, clock, meters, .. } = &*self.house;
        let mut pulse = Pulse::new(clock.boot(), settings);
        let mut timer = Box::pin(pulse.next(clock.boot()));
        loop {
            let is_blocked = loop {
                if wire.out.is_empty() {
                    let taken = self.queue.fill(&mut wire.out, GATHER);
                    meters.sent_messages.increment(taken.messages);
                    if wire.out.is_empty() {
                        break false;
                    }
                }
                let flushed = wire.flush()?;
                meters.sent_bytes.increment(flushed.bytes);
                meters.writes.increment(flushed.writes);
                if flushed.is_blocked {
                    break true;
                }
            };
            tokio::select! {
                writable = wire.writable(), if is_blocked => writable?,
                readable = wire.readable() => {
                    readable?;
                    let read = wire.read().await?;
                    if read > 0 {
                        meters.received_bytes.increment(read);
                        pulse.heard(clock.boot());
                        self.hear(wire)?;
                    }
                }
                () = self.queue.pushed(), if !is_blocked => {}
                () = &mut timer => {
                    match pulse.beat(clock.boot()) {
                        Beat::Fine => {}
                        Beat::Ask => frame::put(&mut wire.out, Kind::Ping, &[]),
                        Beat::Dead => return Err(Ended::Silent),
                    }
                    timer.set(pulse.next(clock.boot()));
                }
            }
        }
    }

    fn hear(&self, wire: &mut Wire<UnbufferedClientConnection>) -> Result<(), Ended> {
        while let Some((kind, bytes)) = wire.frame()? {
            match kind {
                Kind::Credit(class) => self.queue.credit(class, frame::credit(&bytes)?),
                Kind::Pong => {}
                Kind::Refused => {
                    return Err(Ended::RefusedUs(String::from_utf8_lossy(&bytes).into_owned()));
                }
                _ => return Err(Malformed("frame for one who sends").into()),
            }
        }
        Ok(())
    }
}

/// What a connection that is driven until it ends does not return.
enum Never {}

/// A connection that stands: messages are taken, and the owner knows.
struct Up<'a> {
    dialer: &'a Dialer,
}

impl Up<'_> {
    fn new<'a>(dialer: &'a Dialer, theirs: &Hello, credits: [i64; 3]) -> Up<'a> {
        dialer.queue.open(credits);
        if dialer.lane == Lane::Prompt {
            dialer.house.meters.peers.increment(1.0);
            tracing::info!(node = %dialer.node, address = %dialer.address, "connected to the node");
            dialer.house.receive.connected(theirs.node, theirs.start);
        }
        Up { dialer }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.dialer.queue.close();
        if self.dialer.lane == Lane::Prompt {
            self.dialer.house.meters.peers.decrement(1.0);
            self.dialer.house.receive.disconnected(self.dialer.node);
        }
    }
}
