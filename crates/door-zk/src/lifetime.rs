//! How long a znode lives, as its Stat tells it: by `ephemeralOwner`.
//!
//! ZooKeeper packs four cases into this number: 0 lives for ever, a session's id as long as the
//! session, `i64::MIN` is a container, and a first byte of 0xff is a time to live of 40 bits in
//! milliseconds. Session ids never begin with 0xff.

/// The longest time to live: about 34 years.
const MAX_TTL_MS: i64 = (1 << 40) - 1;

/// The first byte of an owner that is a time to live.
const TTL_MARK: i64 = 0xff << 56;

/// How long a znode lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until it is deleted.
    Forever,
    /// Until this session ends. It has no children.
    Session(i64),
    /// Until it has had a child and has none any more.
    Container,
    /// Until its data was not set for this long, in milliseconds, and it has no children.
    Ttl(i64),
}

impl Lifetime {
    /// That of a znode with this owner.
    pub(crate) fn of_owner(owner: i64) -> Lifetime {
        match owner {
            0 => Lifetime::Forever,
            i64::MIN => Lifetime::Container,
            _ if owner & TTL_MARK == TTL_MARK => Lifetime::Ttl(owner & MAX_TTL_MS),
            session => Lifetime::Session(session),
        }
    }

    /// The owner that stands for it.
    pub(crate) fn owner(self) -> i64 {
        match self {
            Lifetime::Forever => 0,
            Lifetime::Session(session) => session,
            Lifetime::Container => i64::MIN,
            Lifetime::Ttl(ms) => TTL_MARK | ms,
        }
    }

    /// A time to live of so many milliseconds, if there can be one.
    pub(crate) fn ttl(ms: i64) -> Option<Lifetime> {
        (1..=MAX_TTL_MS).contains(&ms).then_some(Lifetime::Ttl(ms))
    }

    /// Whether the server itself removes it.
    pub(crate) fn is_reaped(self) -> bool {
        matches!(self, Lifetime::Container | Lifetime::Ttl(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_zookeepers() {
        for (lifetime, owner) in [
            (Lifetime::Forever, 0),
            (Lifetime::Session(0x0100_0000_0000_0001), 0x0100_0000_0000_0001),
            (Lifetime::Container, i64::MIN),
            (Lifetime::Ttl(1), -0x00ff_ffff_ffff_ffff),
            (Lifetime::Ttl(MAX_TTL_MS), -0x00ff_ff00_0000_0001),
        ] {
            assert_eq!((lifetime.owner(), Lifetime::of_owner(owner)), (owner, lifetime));
        }
        for ms in [0, -1, MAX_TTL_MS + 1, i64::MIN] {
            assert_eq!(Lifetime::ttl(ms), None);
        }
    }
}
