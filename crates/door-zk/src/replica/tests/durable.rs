//! The durable state: its bytes, what is refused, and how fast it is taken up.
#![allow(clippy::unwrap_used)]

use base::{Cause, Class};
use bytes::Bytes;

use super::*;
use crate::{replica::durable::session_key, tree::node_key};

/// The durable state of `replica`, written down whole.
pub(super) fn everything(replica: &Replica) -> Durable {
    let mut changes = Changes::new();
    if replica.zxid > 0 {
        replica.save_counters(&mut changes);
        let (mut paths, mut key) = (vec![String::new()], Vec::new());
        while let Some(path) = paths.pop() {
            let node = replica.tree.get(&path).unwrap();
            paths.extend(node.children().map(|name| format!("{path}/{name}")));
            node_key(&path, &mut key);
            changes.put_with(&key, 0, |out| node.encode(out));
        }
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
    let (mut replica, mut state) = (Replica::new(), Durable::default());
    let what = What::Open { timeout_ms: 9, password: [5; 16] };
    let open = Entry { time_ms: 0, session: 0, cxid: 0, ids: vec![], enforces_quotas: false, what };
    let session = apply(&mut replica, &mut state, &open).1.opened.unwrap();
    for (path, mode) in nodes {
        let acl = vec![OPEN_ACL];
        let change = Change::Create { path, data: Some(b"x"), acl, mode: *mode, form: Form::Plain };
        let entry = Entry {
            time_ms: 258,
            session,
            cxid: 0,
            ids: vec![],
            enforces_quotas: false,
            what: What::One(change),
        };
        let (result, _) = apply(&mut replica, &mut state, &entry);
        assert_eq!(errors_of(&result, false), (0, vec![]), "{path}");
    }
    (replica, state, session)
}

fn corrupt(records: Vec<(Bytes, Bytes)>) -> Cause {
    let cause = Replica::restore(&mut records.into_iter().map(Ok)).expect_err("it is not what was written");
    assert_eq!(cause.class, Class::Corrupt, "{cause}");
    cause
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The state of a session with an ephemeral znode, as version 1 wrote it: a key and a value a line.
const VERSION_1: &str = include_str!("../../../tests/golden/state-1.txt");

#[test]
fn the_bytes_of_version_1_stay() {
    let (mut replica, mut state, session) = made(&[("/a", 0), ("/a/b", 1)]);
    let change = Change::Create {
        path: "/é",
        data: None,
        acl: vec![Ace { perms: 3, ..OPEN_ACL }],
        mode: 2,
        form: Form::Plain,
    };
    let entry = Entry {
        time_ms: 259,
        session,
        cxid: 0,
        ids: vec![],
        enforces_quotas: false,
        what: What::One(change),
    };
    apply(&mut replica, &mut state, &entry);
    let lines: String = state.0.iter().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect();
    assert_eq!(lines, VERSION_1);
    let stat = |replica: &Replica, path| replica.tree.get(path).unwrap().stat();
    let restored = restored(&state);
    for path in ["", "/a", "/a/b", "/é0000000001", "/zookeeper/config"] {
        assert_eq!(stat(&restored, path), stat(&replica, path), "{path}");
    }
    assert_eq!(restored.tree.get("/é0000000001").unwrap().data, None);
}

#[test]
fn an_entry_writes_what_it_touched_and_no_more() {
    let (mut replica, _, session) = made(&[("/a", 0), ("/a/b", 0), ("/a/c", 1)]);
    let mut keys = |what| {
        let mut changes = Changes::new();
        let entry = Entry { time_ms: 0, session, cxid: 0, ids: vec![], enforces_quotas: false, what };
        replica.apply(&entry, &mut Effects::default());
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
    assert!(close[3].starts_with("-s") && close.len() == 4, "{close:?}");
    assert_eq!(keys(What::Close), [""; 0], "what is no transaction writes nothing");
}

#[test]
fn entries_that_are_written_together_write_what_several_of_them_touched_once() {
    let (mut replica, mut state, session) = made(&[("/a", 0), ("/a/b", 0)]);
    let mut changes = Changes::new();
    for (nth, data) in ["x", "y", "z"].into_iter().enumerate() {
        let set = Change::SetData { path: "/a/b", data: Some(data.as_bytes()), version: nth as i32 };
        let entry =
            Entry { time_ms: 0, session, cxid: 0, ids: vec![], enforces_quotas: false, what: What::One(set) };
        assert_eq!(errors_of(&replica.apply(&entry, &mut Effects::default()), false), (0, vec![]));
    }
    replica.settle(&mut changes);
    let mut keys = changes.clone();
    let keys: Vec<_> = keys.drain().map(|(key, _)| key).collect();
    assert_eq!(keys, [&b"m"[..], b"n/a\0b"]);
    state.take(&mut changes);
    assert_eq!(everything(&replica), state);
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
        let entry = Entry {
            time_ms: 0,
            session,
            cxid: 0,
            ids: vec![],
            enforces_quotas: false,
            what: What::One(change),
        };
        let (result, _) = apply(&mut replica, &mut state, &entry);
        assert_eq!(errors_of(&result, false), (-8, vec![]));
    }
    let longest = &long[..60_000];
    let entry = Entry {
        time_ms: 0,
        session,
        cxid: 0,
        ids: vec![],
        enforces_quotas: false,
        what: What::One(create(longest, Some(&large[1..]))),
    };
    assert_eq!(errors_of(&apply(&mut replica, &mut state, &entry).0, false), (0, vec![]));
    assert!(state.0.keys().all(|key| key.len() < Changes::MAX_KEY_BYTES));
    assert!(state.0.values().all(|value| value.len() < Changes::MAX_VALUE_BYTES));
}

#[test]
fn a_state_with_a_hole_is_corrupt() {
    let (_, state, _) = made(&[("/a", 0), ("/a/b", 0), ("/a/b/c", 1)]);
    let whole: Vec<(Bytes, Bytes)> = state.0.into_iter().collect();
    for hole in 0..whole.len() {
        let mut records = whole.clone();
        let (key, _) = records.remove(hole);
        // A leaf that nobody else refers to leaves no trace; its parent still counts it as made.
        let leaf = b"n/a/b\0c";
        assert!(key == leaf[..] || !corrupt(records).message.is_empty(), "{}", hex(&key));
    }
    let mut swapped = whole;
    swapped.swap(2, 3);
    assert_eq!((&*swapped[2].0, &*swapped[3].0), (&b"n\0zookeeper"[..], &b"n\0a"[..]));
    corrupt(swapped);
}

#[test]
fn a_key_of_no_kind_a_name_that_is_none_and_an_orphan_are_corrupt() {
    let (_, state, _) = made(&[("/a", 0), ("/a/e", 1)]);
    let node = state.0[&b"n\0a"[..]].clone();
    for key in [
        &b"n/nowhere\0x"[..],
        b"n/a/e\0below-an-ephemeral",
        b"n/\0x",
        b"n\0",
        b"n\0.",
        b"n\0b\0c",
        b"n\0b/c",
        b"nx",
        b"n\0\xff",
        b"s123",
        b"x",
        b"",
    ] {
        let mut records = state.clone();
        records.0.insert(Bytes::copy_from_slice(key), node.clone());
        corrupt(records.0.into_iter().collect());
    }
    // As is a failure of the store itself, which stays what it is.
    let failed = vec![Ok((Bytes::from_static(b"m"), state.0[&b"m"[..]].clone())), Err(Cause::busy("later"))];
    let cause = Replica::restore(&mut failed.into_iter()).unwrap_err();
    assert_eq!(cause, Cause::busy("later"));
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
    assert_eq!(everything(&again), state);
    let close =
        Entry { time_ms: 0, session, cxid: 0, ids: vec![], enforces_quotas: false, what: What::Close };
    let (_, effects) = apply(&mut again, &mut state.clone(), &close);
    assert_eq!(effects.trace.events.len(), 1);
    assert_eq!(effects.trace.events[0].path, nodes[3000]);
}

proptest! {
    #[test]
    fn arbitrary_states_are_corrupt_or_work(
        records in prop::collection::btree_map(
            prop::collection::vec(prop::sample::select(b"mns\0/ab\xff".to_vec()), 0..6),
            prop::collection::vec(any::<u8>(), 0..90),
            0..6,
        ),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep: bool,
    ) {
        let (_, state, session) = made(&[("/a", 0), ("/a/b", 1), ("/c", 0)]);
        let mut given: Vec<_> = state.0.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
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
        given.sort();
        given.dedup_by(|one, other| one.0 == other.0);
        let mut records = given.into_iter().map(|(key, value)| Ok((Bytes::from(key), Bytes::from(value))));
        match Replica::restore(&mut records) {
            Err(cause) => prop_assert_eq!(cause.class, Class::Corrupt),
            Ok(mut replica) => {
                let mut state = Durable::default();
                for what in [
                    What::One(Change::SetData { path: "/a", data: None, version: -1 }),
                    What::One(Change::Delete { path: "/a/b", version: -1 }),
                    What::One(Change::Create { path: "/c/d", data: None, acl: vec![OPEN_ACL], mode: 3, form: Form::WithStat }),
                    What::Close,
                ] {
                    let entry = Entry { time_ms: 0, session, cxid: 0, ids: vec![], enforces_quotas: false, what };
                    apply(&mut replica, &mut state, &entry);
                }
            }
        }
    }
}
