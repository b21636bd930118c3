//! The bounds a door keeps, each with its default, range and reason.

/// Bounds of one door.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; one more is closed at once. Default 10,000; 1 to 1,000,000. A
    /// connection takes a descriptor and about 1 KB when idle, so the bound keeps the process
    /// below its descriptor limit rather than its memory.
    pub connections: u32,
    /// Time for a new connection to finish its handshake. Default 10,000; 100 to 600,000. Port
    /// scanners and half-open connections do not count against `connections` for longer.
    pub handshake_ms: u64,
    /// TLS handshakes at a time; a connection that begins one more is closed. Default 1,000; 1 to
    /// `connections`. A thousand clients that all come back at once are through in a second or two at worst;
    /// as many that never finish hold a few MB, and places that clients in clear do not need.
    pub handshakes: u32,
    /// Unsent bytes of one connection, with which it is dropped instead of being given another
    /// answer. Default 32 MiB; 64 KiB to 1 GiB. Must hold the answers to what a client asks in one
    /// breath; a single larger one is sent all the same.
    pub unsent_bytes: usize,
    /// Unsent bytes of one connection, beyond which nothing more is read from it. Default 1 MiB;
    /// at most `unsent_bytes`. A client that pipelines faster than it reads is slowed down by TCP
    /// instead of being dropped.
    pub pause_bytes: usize,
    /// Time without progress of a write, after which the connection is dropped. Default 30,000;
    /// 1,000 to 600,000. Longer than a client's garbage collection, shorter than its user's patience.
    pub stall_ms: u64,
    /// Time that connections have to finish what is in flight when the door closes, or when the
    /// client has said that it sends no more. Default 5,000; 0 to 600,000.
    pub drain_ms: u64,
    /// Bytes that all connections together hold in unfinished messages, requests in flight and
    /// unsent answers; beyond, requests are refused with the protocol's overload error, and clients
    /// that do not read and hold more than an equal share are dropped. Default 128 MiB; 1 MiB to
    /// the machine's memory.
    pub budget_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            handshake_ms: 10_000,
            handshakes: 1_000,
            unsent_bytes: 32 << 20,
            pause_bytes: 1 << 20,
            stall_ms: 30_000,
            drain_ms: 5_000,
            budget_bytes: 128 << 20,
        }
    }
}
