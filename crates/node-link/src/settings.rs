//! The bounds a link keeps, each with its default, range and reason.

use crate::Class;

/// Bounds of one link.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest message. Default 20 MiB; 64 KiB to 256 MiB. Holds the log's longest record (16 MiB)
    /// and what an append says beside it.
    pub message_bytes: usize,
    /// Room for votes and the like. Default 1 MiB and 1 MiB: they are small, and old ones are worth nothing.
    pub control: Room,
    /// Room for appends. Default 8 MiB and 16 MiB: what a 1 Gbit/s line carries in 64 ms, so that a
    /// distant follower keeps a whole line busy; the groups bound what they have in flight themselves.
    pub log: Room,
    /// Room for snapshots. Default 1 MiB and 4 MiB: a transfer has time, and what is under way in the
    /// sockets is before everything that comes later.
    pub bulk: Room,
    /// Time to connect, shake hands and be judged. Default 3,000; 100 to 60,000.
    pub greet_ms: u64,
    /// How long a connection may be silent before it is asked whether it lives. Default 1,000; 10 to 60,000.
    pub keepalive_ms: u64,
    /// How long one may be silent before it is given up. Default 4,000; at least three times `keepalive_ms`. The
    /// cores have their own, quicker ideas of who is alive; this one only ends what is dead.
    pub silence_ms: u64,
    /// The wait before the first attempt to connect again; each further one waits twice as long. Every wait
    /// is shortened by up to half of it, at random, so that nodes do not come in step. Default 50; 1 to 10,000.
    pub retry_min_ms: u64,
    /// The longest wait. Default 2,000; at least `retry_min_ms`. A node that comes back is reached so soon.
    pub retry_max_ms: u64,
    /// Connections from others at a time; one more is closed at once. Default 1,024; 1 to 100,000. A node
    /// has two from each other node; the rest are strangers, who have `greet_ms` to show a certificate.
    pub guests: u32,
}

/// Room of one class and one peer, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What the other side may have sent and we have not dropped yet, bytes; a message that is begun within it is taken
    /// whole, so that one longer than the room is not stuck for ever. 64 KiB to 1 GiB.
    pub window_bytes: usize,
    /// What may wait here for the socket and for the other side's room, bytes; an only message may be longer.
    /// 64 KiB to 1 GiB.
    pub queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            message_bytes: 20 << 20,
            control: Room { window_bytes: 1 << 20, queue_bytes: 1 << 20 },
            log: Room { window_bytes: 8 << 20, queue_bytes: 16 << 20 },
            bulk: Room { window_bytes: 1 << 20, queue_bytes: 4 << 20 },
            greet_ms: 3_000,
            keepalive_ms: 1_000,
            silence_ms: 4_000,
            retry_min_ms: 50,
            retry_max_ms: 2_000,
            guests: 1_024,
        }
    }
}

impl Settings {
    /// The room of `class`.
    pub(crate) fn room(&self, class: Class) -> Room {
        match class {
            Class::Control => self.control,
            Class::Log => self.log,
            Class::Bulk => self.bulk,
        }
    }
}
