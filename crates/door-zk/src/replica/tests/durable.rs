//! The durable state: its bytes, what is refused, and how fast it is taken up.
#![allow(clippy::unwrap_used)]

use base::{Cause, Class};
use bytes::Bytes;

use super::*;
use crate::{
    replica::durable::session_key,
    testing::Broken,
    tree::{Stop, node_key},
};

/// The durable state of `replica`, written down whole.
pub(super) fn everything(replica: &mut Replica) -> Durable {
    let mut changes = Changes::new();
    if replica.zxid > 0 {
        replica.save_counters(&mut changes);
        let (mut paths, mut key) = (vec![String::new()], Vec::new());
        replica.tree.set_patience(Patience::Wait);
        while let Some(path) = paths.pop() {
            let place = replica.tree.find(&path).unwrap().unwrap();
            let names = replica.tree.names(place).unwrap();
            paths.extend(names.iter().map(|name| format!("{path}/{name}")));
            node_key(&path, &mut key);
            let node = replica.tree.node(place);
            changes.put_with(&key, 0, |out| node.encode(out));
            match node.owner() {
                0 => {}
                session if session > 0 => {
                    changes.put([b"e", &session.to_be_bytes()[..], path.as_bytes()].concat(), []);
                }
                _ => changes.put([b"r", path.as_bytes()].concat(), []),
            }
            replica.tree.trim(Some(place));
        }
        replica.tree.set_patience(Patience::Now);
        for (id, session) in &replica.sessions {
            changes.put(session_key(*id), session.encode());
        }
    }
    let mut state = Durable::default();
    state.take(&mut changes);
    state
}

/// A replica in which `session` was opened and made these znodes, and its durable state.
fn made(nodes: &[(&str, i32)]) -> (Replica, Durable, i64) {
    let mut state = Durable::default();
    let mut replica = Replica::new(state.handle(), ROOMY);
    let what = What::Open { timeout_ms: 9, password: [5; 16] };
    let open = Entry::plain(0, 0, what);
    let session = apply(&mut replica, &mut state, &open).1.opened.unwrap();
    for (path, mode) in nodes {
        let acl = vec![OPEN_ACL];
        let change = Change::Create { path, data: Some(b"x"), acl, mode: *mode, form: Form::Plain };
        let entry = Entry::plain(258, session, What::One(change));
        let (result, _) = apply(&mut replica, &mut state, &entry);
        assert_eq!(errors_of(&result, false), (0, vec![]), "{path}");
    }
    (replica, state, session)
}

fn corrupt(records: BTreeMap<Bytes, Bytes>) -> Cause {
    let state = Durable::of(records);
    let Err(cause) = Replica::restore(state.handle(), ROOMY) else { panic!("it is not what was written") };
    assert_eq!(cause.class, Class::Corrupt, "{cause}");
    cause
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The state of a session with an ephemeral znode, as version 2 writes it: a key and a value a line.
const VERSION_2: &str = include_str!("../../../tests/golden/state-2.txt");

#[test]
fn the_bytes_of_version_2_stay() {
    let (mut replica, mut state, session) = made(&[("/a", 0), ("/a/b", 1)]);
    let change = Change::Create {
        path: "/é",
        data: None,
        acl: vec![Ace { perms: 3, ..OPEN_ACL }],
        mode: 2,
        form: Form::Plain,
    };
    let entry = Entry::plain(259, session, What::One(change));
    apply(&mut replica, &mut state, &entry);
    let lines: String =
        state.map().iter().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect();
    assert_eq!(lines, VERSION_2);
    let stat = |replica: &mut Replica, path| {
        let place = replica.tree.find(path).unwrap().unwrap();
        replica.tree.node(place).stat()
    };
    let mut restored = restored(&state);
    for path in ["", "/a", "/a/b", "/é0000000001", "/zookeeper/config"] {
        assert_eq!(stat(&mut restored, path), stat(&mut replica, path), "{path}");
    }
    let place = restored.tree.find("/é0000000001").unwrap().unwrap();
    assert_eq!(restored.tree.node(place).data, None);
}

#[test]
fn an_entry_writes_what_it_touched_and_no_more() {
    let (mut replica, _, session) = made(&[("/a", 0), ("/a/b", 0), ("/a/c", 1)]);
    let mut keys = |what| {
        let mut changes = Changes::new();
        let entry = Entry::plain(0, session, what);
        replica.apply(&entry, &mut Effects::default()).unwrap();
        replica.settle(&mut changes);
        let keys = changes.drain().map(|(key, value)| {
            let sign = if value.is_some() { '+' } else { '-' };
            format!("{sign}{}", String::from_utf8_lossy(&key).replace('\0', "|"))
        });
        keys.collect::<Vec<_>>()
    };
    let set = Change::SetData { path: "/a/b", data: Some(b"y"), version: -1 };
    assert_eq!(keys(What::One(set.clone())), ["+m", "+n/a|b"]);
    let delete = Change::Delete { path: "/a/b", version: -1 };
    assert_eq!(keys(What::One(delete.clone())), ["+m", "-n/a|b", "+n|a"]);
    assert_eq!(keys(What::One(delete.clone())), ["+m"], "there is no such znode");
    assert_eq!(keys(What::Multi(vec![set, delete])), ["+m"], "nor was there for the multi");
    let close = keys(What::Close);
    assert_eq!(close[..3], ["+m", "-n/a|c", "+n|a"]);
    assert!(close[3].starts_with("-e") && close[4].starts_with("-s") && close.len() == 5, "{close:?}");
    assert_eq!(keys(What::Close), [""; 0], "what is no transaction writes nothing");
}

#[test]
fn entries_that_are_written_together_write_what_several_of_them_touched_once() {
    let (mut replica, mut state, session) = made(&[("/a", 0), ("/a/b", 0)]);
    let mut changes = Changes::new();
    for (nth, data) in ["x", "y", "z"].into_iter().enumerate() {
        let set = Change::SetData { path: "/a/b", data: Some(data.as_bytes()), version: nth as i32 };
        let entry = Entry::plain(0, session, What::One(set));
        assert_eq!(errors_of(&replica.apply(&entry, &mut Effects::default()).unwrap(), false), (0, vec![]));
    }
    replica.settle(&mut changes);
    let mut keys = changes.clone();
    let keys: Vec<_> = keys.drain().map(|(key, _)| key).collect();
    assert_eq!(keys, [&b"m"[..], b"n/a\0b"]);
    state.take(&mut changes);
    assert_eq!(everything(&mut replica), state);
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let (mut replica, mut state, session) = made(&[("/a", 0)]);
    let (long, large) = (format!("/{}", "x".repeat(60_000)), vec![0; (7 << 20) + 1]);
    let create = |path, data| Change::Create { path, data, acl: vec![OPEN_ACL], mode: 0, form: Form::Plain };
    let changes = [
        create(&long, None),
        create("/b", Some(&large)),
        Change::SetData { path: "/a", data: Some(&large), version: -1 },
    ];
    for change in changes {
        let entry = Entry::plain(0, session, What::One(change));
        let (result, _) = apply(&mut replica, &mut state, &entry);
        assert_eq!(errors_of(&result, false), (-8, vec![]));
    }
    let longest = &long[..60_000];
    let entry = Entry::plain(0, session, What::One(create(longest, Some(&large[1..]))));
    assert_eq!(errors_of(&apply(&mut replica, &mut state, &entry).0, false), (0, vec![]));
    assert!(state.map().keys().all(|key| key.len() < Changes::MAX_KEY_BYTES));
    assert!(state.map().values().all(|value| value.len() < Changes::MAX_VALUE_BYTES));
}

#[test]
fn a_state_with_a_hole_is_corrupt() {
    let (_, state, session) = made(&[("/a", 0), ("/a/b", 0), ("/a/b/c", 1), ("/q", 4)]);
    let whole = state.map();
    for key in whole.keys() {
        let mut records = whole.clone();
        records.remove(key);
        let is_permanent =
            key.starts_with(b"n\0zookeeper") || key.starts_with(b"n/zookeeper") || **key == *b"n";
        if matches!(key[0], b'm' | b's') || is_permanent {
            corrupt(records);
            continue;
        }
        // What is not read at the start is found missing when it is needed. A leaf that nobody else
        // refers to leaves no trace but a child too few.
        let state = Durable::of(records);
        let mut replica = Replica::restore(state.handle(), ROOMY).unwrap();
        let place = replica.tree.find("/a").unwrap();
        let names = place.map(|place| replica.tree.names(place).map(|_| ()));
        let close = Entry::plain(0, session, What::Close);
        let closed = replica.apply(&close, &mut Effects::default()).map(|_| ());
        match &**key {
            b"n\0a" => assert_eq!(names, None),
            b"n/a\0b" => assert!(matches!(names, Some(Err(Stop::Failed(_)))) && closed.is_err()),
            b"n/a/b\0c" => assert_eq!(closed.unwrap_err().class, Class::Corrupt),
            _ => assert_eq!((names, closed), (Some(Ok(())), Ok(())), "{}", hex(key)),
        }
    }
}

#[test]
fn keys_that_are_read_at_the_start_and_are_none_are_corrupt() {
    let (_, state, _) = made(&[("/a", 0), ("/a/e", 1)]);
    for key in [&b"e123"[..], b"e12345678/nobody", b"s123", b"r\xff", b"n/zookeeper/quota\0\xff"] {
        let mut records = state.map();
        records.insert(Bytes::copy_from_slice(key), Bytes::new());
        corrupt(records);
    }
    let Err(cause) = Replica::restore(Arc::new(Broken), ROOMY) else { panic!("it cannot be read") };
    assert_eq!(cause, Cause::corrupt("a bad block"));
}

#[test]
fn a_start_reads_no_znodes() {
    let names: Vec<String> = (0..50).map(|nth| format!("/{nth}")).collect();
    let nodes: Vec<(&str, i32)> = names.iter().map(|name| (&**name, 0)).chain([("/e", 1)]).collect();
    let (_, state, session) = made(&nodes);
    let mut records = state.map();
    // Whatever stands in them.
    let is_znode = |key: &[u8]| key.starts_with(b"n\0") && !key.ends_with(b"zookeeper");
    records
        .iter_mut()
        .filter(|(key, _)| is_znode(key))
        .for_each(|(_, value)| *value = Bytes::from_static(b"?"));
    let state = Durable::of(records);
    let mut replica = Replica::restore(state.handle(), ROOMY).unwrap();
    assert_eq!(replica.tree.ephemerals(session).collect::<Vec<_>>(), ["/e"]);
    assert_eq!(replica.tree.size().znodes, 4 + 51);
    assert!(matches!(replica.tree.find("/7"), Err(Stop::Failed(_))));
}

#[test]
fn a_tree_ten_times_the_memory_is_served_from_a_bounded_part_of_it() {
    const ZNODES: usize = 1000;
    const CACHE_BYTES: usize = ZNODES * 350 / 10;
    let mut state = Durable::default();
    let mut replica = Replica::new(state.handle(), CACHE_BYTES);
    let mut apply = |what| {
        let entry = Entry::plain(0, 0, what);
        let session = replica.sessions.keys().next().copied().unwrap_or(0);
        let entry = Entry { session, ..entry };
        let (_, effects) = apply(&mut replica, &mut state, &entry);
        assert_eq!(effects.trace.events.len(), usize::from(session != 0));
        assert!(replica.weight() < CACHE_BYTES + 4000, "{}", replica.weight());
    };
    apply(What::Open { timeout_ms: 9, password: [5; 16] });
    let paths: Vec<String> = (0..ZNODES).map(|nth| format!("/{:03}", nth * 7 % ZNODES)).collect();
    let acl = || vec![OPEN_ACL];
    for path in &paths {
        let data = Some(path.as_bytes());
        apply(What::One(Change::Create { path, data, acl: acl(), mode: 0, form: Form::Plain }));
    }
    for path in paths.iter().step_by(3) {
        apply(What::One(Change::SetData { path, data: None, version: 0 }));
    }
    for (nth, path) in paths.iter().enumerate() {
        let place = replica.tree.find(path).unwrap().unwrap();
        let expected = (nth % 3 != 0).then_some(path.as_bytes());
        assert_eq!(replica.tree.node(place).data.as_deref(), expected, "{path}");
        replica.tree.trim(None);
        assert!(replica.weight() < CACHE_BYTES + 4000);
    }
    let root = replica.tree.find("/").unwrap().unwrap();
    assert_eq!(replica.tree.names(root).unwrap().len(), ZNODES + 1);
    replica.tree.trim(Some(root));
    assert!(replica.weight() < CACHE_BYTES + 4000, "a list of that length is not kept");
}

#[test]
fn a_deep_tree_neither_overflows_the_stack_nor_loses_a_node() {
    let mut nodes = vec![String::new()];
    for depth in 0..3000 {
        nodes.push(format!("{}/d", nodes[depth]));
    }
    let modes = nodes[1..].iter().enumerate().map(|(at, path)| (&**path, i32::from(at == 2999)));
    let (_, state, session) = made(&modes.collect::<Vec<_>>());
    let mut again = restored(&state);
    assert_eq!(everything(&mut again), state);
    let close = Entry::plain(0, session, What::Close);
    let (_, effects) = apply(&mut again, &mut state.clone(), &close);
    assert_eq!(effects.trace.events.len(), 1);
    assert_eq!(effects.trace.events[0].path, nodes[3000]);
}

proptest! {
    #[test]
    fn arbitrary_states_are_corrupt_or_work(
        records in prop::collection::btree_map(
            prop::collection::vec(prop::sample::select(b"emnrs\0/ab\xff".to_vec()), 0..6),
            prop::collection::vec(any::<u8>(), 0..90),
            0..6,
        ),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep: bool,
    ) {
        let (_, state, session) = made(&[("/a", 0), ("/a/b", 1), ("/c", 0)]);
        let mut given: Vec<_> =
            state.map().into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        for (which, at, byte) in flips {
            let which = which.index(given.len());
            let (key, value) = given[which].clone();
            let mut bytes = [key.clone(), value].concat();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let value = bytes.split_off(key.len());
            given[which] = (bytes, value);
        }
        if !keep {
            given.clear();
        }
        given.extend(records);
        let records = given.into_iter().map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
        let mut state = Durable::of(records.collect());
        match Replica::restore(state.handle(), ROOMY) {
            Err(cause) => prop_assert_eq!(cause.class, Class::Corrupt),
            Ok(mut replica) => {
                for what in [
                    What::One(Change::SetData { path: "/a", data: None, version: -1 }),
                    What::One(Change::Delete { path: "/a/b", version: -1 }),
                    What::One(Change::Create { path: "/c/d", data: None, acl: vec![OPEN_ACL], mode: 3, form: Form::WithStat }),
                    What::Close,
                ] {
                    let entry =
                        Entry::plain(0, session, what);
                    let mut changes = Changes::new();
                    if let Err(cause) = replica.apply(&entry, &mut Effects::default()) {
                        prop_assert_eq!(cause.class, Class::Corrupt);
                        return Ok(());
                    }
                    replica.settle(&mut changes);
                    state.take(&mut changes);
                }
            }
        }
    }
}
