//! What a link counts. Handles are made once; messages are counted by the batch.

use metrics::{Counter, Gauge, counter, gauge};

/// Counts of a node's link.
pub(crate) struct Meters {
    /// Nodes that messages can be sent to now.
    pub(crate) peers: Gauge,
    /// Connections from others now.
    pub(crate) guests: Gauge,
    /// Messages handed to sockets.
    pub(crate) sent_messages: Counter,
    /// Messages that came.
    pub(crate) received_messages: Counter,
    /// Bytes written, with everything that TLS adds.
    pub(crate) sent_bytes: Counter,
    /// Bytes read, likewise.
    pub(crate) received_bytes: Counter,
    /// System calls that wrote: messages over these is how many leave together.
    pub(crate) writes: Counter,
    /// Messages that were not taken because too much waits.
    pub(crate) full: Counter,
    /// Connections that either side refused, or that TLS did not let through.
    pub(crate) refused: Counter,
}

impl Meters {
    pub(crate) fn new() -> Meters {
        Meters {
            peers: gauge!("holdfast_link_peers"),
            guests: gauge!("holdfast_link_guests"),
            sent_messages: counter!("holdfast_link_sent_messages_total"),
            received_messages: counter!("holdfast_link_received_messages_total"),
            sent_bytes: counter!("holdfast_link_sent_bytes_total"),
            received_bytes: counter!("holdfast_link_received_bytes_total"),
            writes: counter!("holdfast_link_writes_total"),
            full: counter!("holdfast_link_full_total"),
            refused: counter!("holdfast_link_refused_total"),
        }
    }
}
