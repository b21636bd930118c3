//! Connections from others: what a node receives comes over these.
//!
//! Everything until a node was believed runs against a deadline, with small frames only. Of each node there is
//! one connection a lane: a newer one takes the place of the older, and is answered only when that has ended, so
//! that nothing of the old comes after something of the new.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base::{Malformed, NodeId};
use bytes::{Bytes, BytesMut};
use rustls::server::UnbufferedServerConnection;
use tls::ServerChannel;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use world::net::Stream;

use crate::{
    Answer, Class, Hello,
    assembly::Assembly,
    frame::{self, ANSWER_MAX, ASK_MAX, FORMAT, HELLO_MAX, Kind, Lane, Opening, Welcome},
    link::{House, Stop},
    pulse::{Beat, Pulse},
    seats::Seat,
    wire::{Ended, Wire},
};

/// Time for an answer to a question, in which the cluster may have to agree on something.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection that was accepted.
pub(crate) struct Guest {
    pub(crate) house: Arc<House>,
    pub(crate) address: SocketAddr,
    pub(crate) place: OwnedSemaphorePermit,
}

/// What somebody who is believed has come for.
enum Arrival {
    /// A node sends.
    Node { lane: Lane, theirs: Hello },
    /// Somebody asks.
    Question(Bytes),
}

impl Guest {
    /// Serves it until it ends or `stop`.
    pub(crate) async fn run(self, stream: Stream, mut stop: Stop) {
        self.house.meters.guests.increment(1.0);
        let outcome = tokio::select! {
            outcome = self.serve(stream) => outcome,
            () = stop.given() => Ok(()),
        };
        self.house.meters.guests.decrement(1.0);
        if let Err(ended) = outcome {
            self.house.count_refusal(&ended);
            let address = self.address;
            match ended {
                Ended::Refused(_) | Ended::Distrusted(_) | Ended::Malformed(_) => {
                    tracing::info!(%address, %ended, "a connection from another node ended");
                }
                _ => tracing::debug!(%address, %ended, "a connection from another node ended"),
            }
        }
        drop(self.place);
    }

    async fn serve(&self, stream: Stream) -> Result<(), Ended> {
        // Frames are gathered here already; Nagle's algorithm would only delay them.
        stream.set_nodelay(true)?;
        let channel = ServerChannel::new(self.house.certificates.config(), BytesMut::new())?;
        let mut wire = Wire::new(stream, channel);
        let greeting = Duration::from_millis(self.house.settings.greet_ms);
        let greeted = world::time::timeout(greeting, greet(&self.house, &mut wire)).await;
        match greeted.unwrap_or(Err(Ended::Silent))? {
            Arrival::Node { lane, theirs } => self.host(&mut wire, lane, theirs.node).await,
            Arrival::Question(question) => self.answer(&mut wire, question).await,
        }
    }

    /// Takes what a node sends, when the connection that it had before has ended.
    async fn host(
        &self,
        wire: &mut Wire<UnbufferedServerConnection>,
        lane: Lane,
        node: NodeId,
    ) -> Result<(), Ended> {
        let seat = self.house.seats.of(node, lane);
        let taken = seat.take().await.ok_or(Ended::Replaced)?;
        let assembly = Assembly::new(seat.rooms.clone(), &self.house.settings);
        let credits = assembly.grants.first();
        let ours = self.house.judge.hello().encode();
        let welcome = Welcome { format: FORMAT, credits, hello: &ours };
        frame::put(&mut wire.out, Kind::Welcome, &welcome.encode());
        let mut hosted = Hosted { house: &self.house, node, seat: &seat, assembly };
        tokio::select! {
            outcome = hosted.drive(wire) => outcome,
            () = taken.claimed() => Err(Ended::Replaced),
        }
    }

    /// Has the owner answer a question.
    async fn answer(
        &self,
        wire: &mut Wire<UnbufferedServerConnection>,
        question: Bytes,
    ) -> Result<(), Ended> {
        let (give, answer) = oneshot::channel();
        self.house.judge.ask(question, Answer(give));
        match world::time::timeout(ANSWER, answer).await {
            Some(Ok(answer)) if answer.len() <= ANSWER_MAX => {
                wire.say(Kind::Answer, &answer).await?;
                wire.part().await;
                Ok(())
            }
            Some(Ok(_)) => Err(wire.refuse("the answer is too long".into()).await),
            Some(Err(_)) => Err(wire.refuse("the node has no answer".into()).await),
            None => Err(wire.refuse("the node has no answer in time".into()).await),
        }
    }
}

/// Shakes hands and hears what the guest has come for, and judges it if it is a node.
async fn greet(house: &House, wire: &mut Wire<UnbufferedServerConnection>) -> Result<Arrival, Ended> {
    wire.shake_hands().await?;
    let (kind, bytes) = wire.next(ASK_MAX).await?;
    match kind {
        Kind::Ask => return Ok(Arrival::Question(bytes)),
        Kind::Hello if bytes.len() <= HELLO_MAX => {}
        _ => return Err(Malformed("hello").into()),
    }
    let opening = Opening::decode(&bytes)?;
    if opening.format < FORMAT {
        return Err(wire.refuse(format!("frames of format {}, which is too old", opening.format)).await);
    }
    let theirs = Hello::decode(opening.hello)?;
    let judged = if theirs.node == house.judge.hello().node {
        Err(format!("this is node {} itself", theirs.node))
    } else {
        house.judge.judge(&theirs).map_err(|refusal| refusal.0)
    };
    match judged {
        Ok(()) => Ok(Arrival::Node { lane: opening.lane, theirs }),
        Err(why) => Err(wire.refuse(why).await),
    }
}

/// A node that sends.
struct Hosted<'a> {
    house: &'a House,
    node: NodeId,
    seat: &'a Seat,
    assembly: Assembly,
}

impl Hosted<'_> {
    async fn drive(&mut self, wire: &mut Wire<UnbufferedServerConnection>) -> Result<(), Ended> {
        let House { settings, clock, meters, .. } = self.house;
        let mut pulse = Pulse::new(clock.boot(), settings);
        let mut timer = Box::pin(pulse.next(clock.boot()));
        loop {
            self.give_credit(wire);
            let flushed = wire.flush()?;
            meters.sent_bytes.increment(flushed.bytes);
            meters.writes.increment(flushed.writes);
            tokio::select! {
                // While the other side does not read what it is told, it is not heard either, so that nothing
                // piles up that we would have to say.
                writable = wire.writable(), if flushed.is_blocked => writable?,
                readable = wire.readable(), if !flushed.is_blocked => {
                    readable?;
                    let read = wire.read().await?;
                    if read > 0 {
                        meters.received_bytes.increment(read);
                        pulse.heard(clock.boot());
                        self.hear(wire)?;
                    }
                }
                () = self.seat.rooms.freed() => {}
                () = &mut timer => {
                    if pulse.beat(clock.boot()) == Beat::Dead {
                        return Err(Ended::Silent);
                    }
                    timer.set(pulse.next(clock.boot()));
                }
            }
        }
    }

    fn hear(&mut self, wire: &mut Wire<UnbufferedServerConnection>) -> Result<(), Ended> {
        let mut messages = 0;
        while let Some((kind, bytes)) = wire.frame()? {
            match kind {
                Kind::Part { class, last } => {
                    if let Some(message) = self.assembly.add(class, last, bytes)? {
                        self.house.receive.receive(self.node, class, message);
                        messages += 1;
                    }
                }
                Kind::Ping => frame::put(&mut wire.out, Kind::Pong, &[]),
                Kind::Refused => {
                    return Err(Ended::RefusedUs(String::from_utf8_lossy(&bytes).into_owned()));
                }
                _ => return Err(Malformed("frame for one who receives").into()),
            }
        }
        self.house.meters.received_messages.increment(messages);
        Ok(())
    }

    fn give_credit(&mut self, wire: &mut Wire<UnbufferedServerConnection>) {
        for class in Class::ALL {
            if let Some(bytes) = self.assembly.grants.due(class) {
                frame::put(&mut wire.out, Kind::Credit(class), &bytes.to_le_bytes());
            }
        }
    }
}
