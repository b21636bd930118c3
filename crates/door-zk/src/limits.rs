//! The door's settings, each with its default, range and reason.

use world::Disk;

/// Settings of the ZooKeeper door.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The unit of session timeouts. Default 2,000; 10 to 60,000. ZooKeeper's own default;
    /// clients ask for timeouts with it in mind.
    pub tick_ms: u32,
    /// The shortest session timeout given, in ticks. Default 2; 1 to 1,000. Shorter ones would end
    /// sessions over a pause of the garbage collector.
    pub min_session_ticks: u32,
    /// The longest session timeout given, in ticks. Default 20; `min_session_ticks` to 100,000.
    /// Longer ones keep locks of dead clients for longer.
    pub max_session_ticks: u32,
    /// The longest message taken from a client, `jute.maxbuffer`. Default 1,048,575 (ZooKeeper's);
    /// 1,024 to 64 MiB. Bounds the data of a znode too.
    pub message_bytes: usize,
    /// The longest answer to getData, getChildren, getEphemerals and multiRead; a longer one is the
    /// error `MarshallingError`. Default 64 MiB; 64 KiB to 1 GiB. ZooKeeper bounds no answers:
    /// its clients do, by a `jute.maxbuffer` of their own, and drop a connection that brings a
    /// longer one, again and again. Set to theirs, this makes an error of it. What is longer than 64
    /// KiB is `ThrottledOp` too when it does not fit into the door's memory, `connections.budget_bytes`.
    pub answer_bytes: usize,
    /// Requests of one connection in flight; more are left in the socket. Default 1,000; 1 to
    /// 100,000. As ZooKeeper's `globalOutstandingLimit`, for each connection instead of all.
    pub in_flight: usize,
    /// Memory for watches of all connections; beyond, a read that sets one is refused as
    /// throttled. Default 64 MiB; 64 KiB to the machine's memory. About 300,000 watches, and a
    /// bound on what clients can make the server remember without writing anything.
    pub watch_bytes: usize,
    /// Memory for znodes, beside what was changed a moment ago. Default 64 MiB, and an eighth of the
    /// memory budget in the binary; 0 to the machine's memory. Others are read from the store when they are asked for; a znode takes about 350 bytes
    /// beside its path and data.
    pub cache_bytes: usize,
    /// How often containers that have become empty, and znodes whose time to live is up, are looked
    /// for. Default 60,000; 10 to 86,400,000. ZooKeeper's `znode.container.checkIntervalMs`; they
    /// live up to this much longer than they should.
    pub reap_ms: u32,
    /// Whether a request that goes beyond a hard limit of a quota is refused. Default no, as
    /// ZooKeeper's `enforceQuota`: then going beyond any limit is only logged.
    pub enforce_quota: bool,
    /// Who may do everything, as `super:` and the base64 of the SHA-1 of `super:PASSWORD` (or any
    /// other user's `user:hash`): a client that shows those credentials is not held up by any
    /// access control list. Default none, as ZooKeeper's.
    pub super_digest: Option<String>,
    /// Four-letter words that are answered: `srvr` always, and of `ruok`, `isro`, `stat`, `mntr`,
    /// `conf`, `envi`, `cons`, `dump`, `dirs`, `hash`, `wchs`, `wchc`, `wchp`, `srst`, `crst`, `gtmk`,
    /// `stmk` those named here; `*` is all. Default `srvr` and `ruok`. ZooKeeper's default is `srvr`; others tell strangers about the
    /// machine and its clients, or cost much.
    pub four_letter_words: Vec<String>,
    /// What `dirs` tells the sizes of. Default nothing, and in the binary its own.
    pub folders: Option<Folders>,
    /// Bounds on connections; see there. 20,000 of them by default: sessions are idle for most of
    /// their lives, and clusters have many.
    pub connections: door::Limits,
    /// Whether clients may or must speak TLS. Default off. What ZooKeeper calls
    /// `client.portUnification`, and a `secureClientPort` of its own where TLS is required.
    pub tls: door::Tls,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tick_ms: 2000,
            min_session_ticks: 2,
            max_session_ticks: 20,
            message_bytes: 0xf_ffff,
            answer_bytes: 64 << 20,
            in_flight: 1000,
            watch_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            reap_ms: 60_000,
            enforce_quota: false,
            super_digest: None,
            four_letter_words: vec!["srvr".to_owned(), "ruok".to_owned()],
            folders: None,
            connections: door::Limits { connections: 20_000, ..door::Limits::default() },
            tls: door::Tls::Off,
        }
    }
}

/// Where the store keeps what all doors have, for operators.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Where they are.
    pub disk: Disk,
    /// The folder of data.
    pub data: &'static str,
    /// The folder of the log.
    pub log: &'static str,
}

impl Folders {
    /// Bytes of the files in each. What goes while it is looked at, or cannot be, counts as nothing.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let bytes_of = |folder: &str| {
            let names = self.disk.list(folder).unwrap_or_default();
            let len = |name| self.disk.open(&format!("{folder}/{name}")).and_then(|file| file.len());
            names.into_iter().map(|name| len(name).unwrap_or(0)).sum()
        };
        (bytes_of(self.data), bytes_of(self.log))
    }
}

impl Settings {
    /// The timeout given to a client that asks for `asked_ms`.
    pub(crate) fn session_timeout_ms(&self, asked_ms: i32) -> u32 {
        let shortest = self.min_session_ticks.saturating_mul(self.tick_ms);
        let longest = self.max_session_ticks.saturating_mul(self.tick_ms).max(shortest);
        u32::try_from(asked_ms).unwrap_or(0).clamp(shortest, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_stay_between_2_and_20_ticks() {
        let settings = Settings::default();
        for (asked, given) in [(-1, 4000), (0, 4000), (10_000, 10_000), (i32::MAX, 40_000)] {
            assert_eq!(settings.session_timeout_ms(asked), given);
        }
    }
}
