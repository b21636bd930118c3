//! The numbers of quotas are those of the tree, whatever happened.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use store::{Changes, Patience};

use super::{LIMITS, STATS, survey, znode};
use crate::{
    entry::{Entry, What, tests::OPEN_ACL},
    replica::{Effects, Replica},
    testing::Durable,
    wire::request::{Change, Form},
};

/// Places of quotas, one of them within another.
const PLACES: [&str; 3] = ["/a", "/a/b", "/c"];
const PATHS: [&str; 9] =
    ["/a", "/a/b", "/a/b/c", "/a/b/d", "/a/x", "/c", "/c/d", "/d", "/zookeeper/quota/a/b"];
const DATA: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"1"), Some(b"four")];

#[derive(Clone, Debug)]
enum Drawn {
    Change {
        kind: u8,
        path: usize,
        data: usize,
    },
    /// Makes or removes the limits and the numbers of a quota.
    Quota {
        place: usize,
        made: bool,
    },
    Multi(Vec<(u8, usize, usize)>),
    /// Closes the session and opens another.
    Close,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let change = || (0u8..4, 0..PATHS.len(), 0..DATA.len());
    prop_oneof![
        6 => change().prop_map(|(kind, path, data)| Drawn::Change { kind, path, data }),
        3 => prop::collection::vec(change(), 0..5).prop_map(Drawn::Multi),
        2 => (0..PLACES.len(), prop::bool::weighted(0.7)).prop_map(|(place, made)| Drawn::Quota { place, made }),
        1 => Just(Drawn::Close),
    ]
}

fn change_of((kind, path, data): (u8, usize, usize)) -> Change<'static> {
    let (path, data) = (PATHS[path], DATA[data]);
    match kind {
        0 | 1 => Change::Create { path, data, acl: vec![OPEN_ACL], mode: i32::from(kind), form: Form::Plain },
        2 => Change::Delete { path, version: -1 },
        _ => Change::SetData { path, data, version: -1 },
    }
}

struct World {
    replica: Replica,
    state: Durable,
    session: i64,
}

impl World {
    fn apply(&mut self, what: What<'_>) {
        let entry =
            Entry { time_ms: 1, session: self.session, cxid: 0, ids: vec![], enforces_quotas: true, what };
        let mut effects = Effects::default();
        let mut changes = Changes::new();
        self.replica.apply(&entry, &mut effects).unwrap();
        self.replica.settle(&mut changes);
        self.state.take(&mut changes);
        self.session = effects.opened.unwrap_or(self.session);
    }

    fn open(&mut self) {
        self.apply(What::Open { timeout_ms: 4000, password: [0; 16] });
    }

    fn quota(&mut self, place: &str, made: bool) {
        let paths = [format!("/zookeeper/quota{place}"), znode(place, LIMITS), znode(place, STATS)];
        let limits = Some(&b"count=1,bytes=2=;byteHardLimit=9;countHardLimit=3"[..]);
        for path in &paths {
            let (data, acl) = (limits.filter(|_| path.ends_with(LIMITS)), vec![OPEN_ACL]);
            let change = if made {
                Change::Create { path, data, acl, mode: 0, form: Form::Plain }
            } else {
                Change::Delete { path, version: -1 }
            };
            self.apply(What::One(change));
        }
    }

    /// What holds at any time. A quota whose limits and numbers came while a deeper one was there
    /// counts that one's znodes too, and goes on without them: only the deepest are exact.
    fn check(&mut self) {
        let restored = Replica::restore(self.state.handle(), 1 << 20).unwrap();
        assert_eq!(
            self.replica.tree.quotas.limited.keys().collect::<Vec<_>>(),
            restored.tree.quotas.limited.keys().collect::<Vec<_>>(),
        );
        let tree = &mut self.replica.tree;
        tree.set_patience(Patience::Wait);
        for place in ["/a/b", "/c"] {
            let limits = tree.find(&znode(place, LIMITS)).unwrap();
            let stats = tree.find(&znode(place, STATS)).unwrap();
            if let (Some(_), Some(stats)) = (limits, stats) {
                let expected = survey(tree, place).unwrap();
                assert_eq!(
                    String::from_utf8_lossy(tree.node(stats).data.as_ref().unwrap()),
                    expected,
                    "{place}"
                );
            }
        }
        tree.set_patience(Patience::Now);
    }
}

proptest! {
    #[test]
    fn numbers_are_those_of_the_tree(drawn in prop::collection::vec(drawn(), 1..60), is_roomy: bool) {
        let state = Durable::default().cold();
        let replica = Replica::new(state.handle(), if is_roomy { 1 << 20 } else { 0 });
        let mut world = World { replica, state, session: 0 };
        world.open();
        for place in PLACES {
            world.quota(place, true);
        }
        for drawn in drawn {
            match drawn {
                Drawn::Change { kind, path, data } => world.apply(What::One(change_of((kind, path, data)))),
                Drawn::Multi(changes) => {
                    world.apply(What::Multi(changes.into_iter().map(change_of).collect()));
                }
                Drawn::Quota { place, made } => world.quota(PLACES[place], made),
                Drawn::Close => {
                    world.apply(What::Close);
                    world.open();
                }
            }
            world.check();
        }
    }
}
