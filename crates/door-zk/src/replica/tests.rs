//! The replica against a model that is as plain as can be: a map of whole paths, rebuilt for every
//! multi. Random transactions give the same results and the same tree, and what is restored from
//! the durable state after each of them is the same again. What the durable state itself must be
//! is in `durable`.
#![allow(clippy::unwrap_used)]

mod durable;

use proptest::prelude::*;

use super::*;
use crate::{
    entry::tests::OPEN_ACL,
    testing::Durable,
    wire::{jute::Input, reply::Stat, request::Ace},
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    data: Option<Vec<u8>>,
    stat: Stat,
    created_children: i32,
}

#[derive(Clone, Debug)]
struct Model {
    zxid: i64,
    nodes: BTreeMap<String, Plain>,
    sessions: Vec<i64>,
}

impl Model {
    fn new() -> Model {
        let plain = || Plain { data: Some(vec![]), stat: Stat::default(), created_children: 0 };
        let nodes = ["", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];
        Model { zxid: 0, nodes: nodes.map(|path| (path.to_owned(), plain())).into(), sessions: Vec::new() }
    }

    fn children(&self, path: &str) -> Vec<String> {
        let names = self.nodes.keys().filter_map(|other| other.strip_prefix(path)?.strip_prefix('/'));
        names.filter(|rest| !rest.is_empty() && !rest.contains('/')).map(str::to_owned).collect()
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        let node = self.nodes.get(path)?;
        let num_children = self.children(path).len() as i32;
        Some(Stat {
            num_children,
            cversion: 2 * node.created_children - num_children,
            data_length: node.data.as_ref().map_or(0, |data| data.len() as i32),
            ..node.stat
        })
    }

    fn change(&mut self, time_ms: i64, session: i64, change: &Change<'_>) -> Result<(), i32> {
        let zxid = self.zxid;
        match change {
            Change::Create { path, data, mode, .. } => {
                let parent = &path[..path.rfind('/').unwrap()];
                let above = self.nodes.get(parent).ok_or(-101)?;
                let mut path = (*path).to_owned();
                if mode & 2 != 0 {
                    path = format!("{path}{:010}", above.created_children);
                }
                if self.nodes.contains_key(&path) {
                    return Err(-110);
                }
                if above.stat.ephemeral_owner != 0 {
                    return Err(-108);
                }
                let above = self.nodes.get_mut(parent).unwrap();
                above.created_children += 1;
                above.stat.pzxid = zxid;
                let stat = Stat {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: time_ms,
                    mtime: time_ms,
                    ephemeral_owner: if mode & 1 != 0 { session } else { 0 },
                    ..Stat::default()
                };
                let data = data.map(<[u8]>::to_vec);
                self.nodes.insert(path, Plain { data, stat, created_children: 0 });
            }
            Change::Delete { path, version } => {
                let node = self.nodes.get(*path).ok_or(-101)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(-103);
                }
                if !self.children(path).is_empty() {
                    return Err(-111);
                }
                self.delete(path);
            }
            Change::SetData { path, data, version } => {
                let node = self.nodes.get_mut(*path).ok_or(-101)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(-103);
                }
                node.data = data.map(<[u8]>::to_vec);
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                node.stat.mtime = time_ms;
            }
            Change::Check { path, version } => {
                let node = self.nodes.get(*path).ok_or(-101)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(-103);
                }
            }
            Change::Unsupported => return Err(-6),
        }
        Ok(())
    }

    fn delete(&mut self, path: &str) {
        self.nodes.remove(path);
        self.nodes.get_mut(&path[..path.rfind('/').unwrap()]).unwrap().stat.pzxid = self.zxid;
    }

    /// The error in the reply's header, and the errors of a multi's operations.
    fn apply(&mut self, entry: &Entry<'_>) -> (i32, Vec<i32>) {
        if !matches!(entry.what, What::Open { .. }) && !self.sessions.contains(&entry.session) {
            return (-112, vec![]);
        }
        self.zxid += 1;
        match &entry.what {
            What::Open { .. } => (0, vec![]),
            What::Close => {
                self.sessions.retain(|session| *session != entry.session);
                let of = |node: &Plain| node.stat.ephemeral_owner == entry.session;
                let paths: Vec<_> =
                    self.nodes.iter().filter(|(_, node)| of(node)).map(|(path, _)| path.clone()).collect();
                paths.iter().for_each(|path| self.delete(path));
                (0, vec![])
            }
            What::One(change) => {
                (self.change(entry.time_ms, entry.session, change).err().unwrap_or(0), vec![])
            }
            What::Multi(changes) => {
                let mut next = self.clone();
                let mut failed = None;
                for (index, change) in changes.iter().enumerate() {
                    if let Err(code) = next.change(entry.time_ms, entry.session, change) {
                        failed = Some((index, code));
                        break;
                    }
                }
                let Some((at, code)) = failed else {
                    *self = next;
                    return (0, vec![]);
                };
                let errors = (0..changes.len()).map(|index| match index.cmp(&at) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => code,
                    std::cmp::Ordering::Greater => -2,
                });
                (0, errors.collect())
            }
            What::Refuse(code) => (code.number(), vec![]),
        }
    }
}

/// The header's error and, when it is a failed multi, each operation's.
fn errors_of(result: &[u8], multi: bool) -> (i32, Vec<i32>) {
    let mut input = Input::new(result);
    input.i64().unwrap();
    let error = input.i32().unwrap();
    let mut errors = Vec::new();
    if multi && error == 0 {
        while let (-1, false, error) = (input.i32().unwrap(), input.bool().unwrap(), input.i32().unwrap()) {
            assert_eq!(input.i32().unwrap(), error);
            errors.push(error);
        }
    }
    (error, errors)
}

fn compare(replica: &Replica, model: &Model) {
    assert_eq!(replica.zxid, model.zxid);
    assert_eq!(replica.sessions.keys().copied().collect::<Vec<_>>(), model.sessions);
    assert_eq!(replica.tree.len(), model.nodes.len());
    for (path, plain) in &model.nodes {
        if path.starts_with("/zookeeper/") {
            continue;
        }
        let node = replica.tree.get(path).unwrap();
        assert_eq!(node.data.as_deref(), plain.data.as_deref(), "{path}");
        assert_eq!(Some(node.stat()), model.stat(path), "{path}");
        assert_eq!(node.children().collect::<Vec<_>>(), model.children(path), "{path}");
    }
    let ephemerals = model.nodes.values().filter(|node| node.stat.ephemeral_owner != 0);
    assert_eq!(replica.tree.ephemeral_len(), ephemerals.count());
}

/// A drawn operation; paths and sessions are drawn small so that they meet.
#[derive(Clone, Debug)]
enum Drawn {
    Open,
    Close,
    One(DrawnChange),
    Multi(Vec<DrawnChange>),
    Refuse,
}

#[derive(Clone, Debug)]
struct DrawnChange {
    kind: u8,
    path: String,
    data: Option<Vec<u8>>,
    mode: i32,
    version: i32,
}

fn drawn_change() -> impl Strategy<Value = DrawnChange> {
    let path =
        prop::collection::vec(prop::sample::select(vec!["a", "a", "a", "b", "b", "b", "a-b", "é"]), 1..4)
            .prop_map(|names| names.iter().fold(String::new(), |path, name| format!("{path}/{name}")));
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..4));
    let version = prop::sample::select(vec![-1, -1, -1, 0, 1]);
    (0u8..8, path, data, 0..4i32, version).prop_map(|(kind, path, data, mode, version)| DrawnChange {
        kind,
        path,
        data,
        mode,
        version,
    })
}

fn drawn() -> impl Strategy<Value = (u8, Drawn)> {
    let what = prop_oneof![
        1 => Just(Drawn::Open),
        1 => Just(Drawn::Close),
        12 => drawn_change().prop_map(Drawn::One),
        5 => prop::collection::vec(drawn_change(), 0..6).prop_map(Drawn::Multi),
        1 => Just(Drawn::Refuse),
    ];
    (0u8..4, what)
}

fn change_of(drawn: &DrawnChange) -> Change<'_> {
    let (path, version) = (&*drawn.path, drawn.version);
    let data = drawn.data.as_deref();
    match drawn.kind {
        0..=3 => {
            let acl: Vec<Ace<'_>> = vec![OPEN_ACL];
            Change::Create { path, data, acl, mode: drawn.mode, with_stat: drawn.kind == 3 }
        }
        4 => Change::SetData { path, data, version },
        5 => Change::Check { path, version },
        _ => Change::Delete { path, version },
    }
}

/// Applies an entry and takes in what it changed.
fn apply<'a>(replica: &mut Replica, state: &mut Durable, entry: &'a Entry<'a>) -> (Vec<u8>, Effects<'a>) {
    let (mut effects, mut changes) = (Effects::default(), Changes::new());
    let result = replica.apply(entry, &mut effects, &mut changes);
    state.take(&mut changes);
    (result, effects)
}

fn restored(state: &Durable) -> Replica {
    Replica::restore(&mut state.records()).unwrap()
}

/// Runs the drawn operations. After each, the durable state is that of a replica that writes down
/// everything, and a replica restored from it is the model too; from `cut` on, one that was
/// restored then goes along.
fn run(drawn: &[(u8, Drawn)], cut: usize) {
    let (mut replica, mut model) = (Replica::new(), Model::new());
    let (mut state, mut follower_state) = (Durable::default(), Durable::default());
    let mut opened: Vec<i64> = Vec::new();
    let mut follower: Option<Replica> = None;
    for (step, (who, drawn)) in drawn.iter().enumerate() {
        if step == cut {
            follower = Some(restored(&state));
            follower_state = state.clone();
        }
        let session = opened.get(usize::from(*who)).copied().unwrap_or(1);
        let what = match drawn {
            Drawn::Open => What::Open { timeout_ms: 4000, password: [step as u8; 16] },
            Drawn::Close => What::Close,
            Drawn::One(change) => What::One(change_of(change)),
            Drawn::Multi(changes) => What::Multi(changes.iter().map(change_of).collect()),
            Drawn::Refuse => What::Refuse(Code::MARSHALLING_ERROR),
        };
        let bytes = Entry { time_ms: 1000 + step as i64, session, cxid: 0, what }.encode();
        let entry = Entry::decode(&bytes).unwrap();
        let (result, effects) = apply(&mut replica, &mut state, &entry);
        if let Some(follower) = &mut follower {
            let same = apply(follower, &mut follower_state, &entry);
            assert_eq!((&same.0, &same.1), (&result, &effects));
            assert_eq!(follower_state, state);
        }
        let expected = model.apply(&entry);
        let failed_multi = matches!(entry.what, What::Multi(_)) && !expected.1.is_empty();
        assert_eq!(errors_of(&result, failed_multi), expected);
        if expected.0 != 0 || failed_multi {
            assert_eq!(effects.trace, Trace::default(), "what failed is not told, and not written");
        }
        if let Some(id) = effects.opened {
            opened.push(id);
            model.sessions.push(id);
        }
        compare(&replica, &model);
        assert_eq!(durable::everything(&replica), state);
        let restored = restored(&state);
        compare(&restored, &model);
        assert_eq!((&restored.sessions, restored.last_session), (&replica.sessions, replica.last_session));
        assert_eq!(restored.weight(), replica.weight());
    }
}

proptest! {
    #[test]
    fn the_replica_is_its_model(drawn in prop::collection::vec(drawn(), 1..80), cut in 0usize..80) {
        let mut with_session = vec![(0, Drawn::Open)];
        with_session.extend(drawn);
        run(&with_session, cut);
    }
}
