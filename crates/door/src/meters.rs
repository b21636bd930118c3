//! What a door counts. Handles are made once, so counting is one atomic addition.

use metrics::{Counter, Gauge, counter, gauge};

/// The counter of a door's requests of one operation: `holdfast_door_requests_total{door,op}`.
/// Make it once and keep it.
pub fn request_counter(door: &'static str, op: &'static str) -> Counter {
    counter!("holdfast_door_requests_total", "door" => door, "op" => op)
}

/// Counts of one door's connections.
pub(crate) struct Meters {
    door: &'static str,
    /// Connections now.
    pub(crate) connections: Gauge,
    /// Connections closed at once because there were too many.
    pub(crate) refused: Counter,
    /// TLS handshakes that succeeded.
    pub(crate) tls: Counter,
    /// Bytes read from clients.
    pub(crate) received: Counter,
    /// Bytes written to clients.
    pub(crate) sent: Counter,
    /// System calls that wrote them; requests over these is how many answers leave together.
    pub(crate) writes: Counter,
}

impl Meters {
    pub(crate) fn new(door: &'static str) -> Meters {
        Meters {
            door,
            connections: gauge!("holdfast_door_connections", "door" => door),
            refused: counter!("holdfast_door_refused_connections_total", "door" => door),
            tls: counter!("holdfast_door_tls_handshakes_total", "door" => door),
            received: counter!("holdfast_door_received_bytes_total", "door" => door),
            sent: counter!("holdfast_door_sent_bytes_total", "door" => door),
            writes: counter!("holdfast_door_writes_total", "door" => door),
        }
    }

    /// Counts a connection that the door ended, by reason.
    pub(crate) fn dropped(&self, reason: &'static str) {
        counter!("holdfast_door_dropped_connections_total", "door" => self.door, "reason" => reason)
            .increment(1);
    }
}
