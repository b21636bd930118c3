//! The replica against a model that is as plain as can be: a map of whole paths, rebuilt for every
//! multi. Random transactions give the same results and the same tree, and what is restored from
//! the durable state after each of them is the same again. What the durable state itself must be
//! is in `durable`.
#![allow(clippy::unwrap_used)]

mod durable;

use proptest::prelude::*;
use store::{Changes, Patience};

use super::*;
use crate::{
    auth::Id,
    entry::tests::OPEN_ACL,
    testing::Durable,
    tree::Size,
    wire::{
        jute::Input,
        reply::Stat,
        request::{Ace, Form},
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    data: Option<Vec<u8>>,
    acl: Vec<Ace<'static>>,
    stat: Stat,
    created_children: i32,
}

/// Someone with credentials, and the lists that znodes get.
const PAT: Id<'static> = Id { scheme: "digest", id: "pat:hash" };
const LISTS: [&[Ace<'static>]; 4] = [
    &[OPEN_ACL],
    &[OPEN_ACL],
    &[Ace { perms: 1, ..OPEN_ACL }],
    &[Ace { perms: 31, scheme: "digest", id: "pat:hash" }, Ace { perms: 4, ..OPEN_ACL }],
];

#[derive(Clone, Debug)]
struct Model {
    zxid: i64,
    nodes: BTreeMap<String, Plain>,
    sessions: Vec<i64>,
}

impl Model {
    fn new() -> Model {
        let acl = vec![OPEN_ACL];
        let plain =
            || Plain { data: Some(vec![]), acl: acl.clone(), stat: Stat::default(), created_children: 0 };
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
            ephemeral_owner: node.stat.ephemeral_owner.max(0),
            cversion: 2 * node.created_children - num_children,
            data_length: node.data.as_ref().map_or(0, |data| data.len() as i32),
            ..node.stat
        })
    }

    fn change(&mut self, entry: &Entry<'_>, change: &Change<'_>) -> Result<(), i32> {
        let Entry { time_ms, session, .. } = *entry;
        let zxid = self.zxid;
        let may = |node: &Plain, perms| {
            let known = |grant: &Ace<'_>| grant.id == "anyone" || entry.ids.contains(&PAT);
            node.acl.iter().any(|grant| grant.perms & perms != 0 && known(grant)).then_some(()).ok_or(-102)
        };
        match change {
            Change::Create { path, data, mode, acl, form } => {
                let owner = owner(*mode, *form, session)?;
                let parent = &path[..path.rfind('/').unwrap()];
                let above = self.nodes.get(parent).ok_or(-101)?;
                may(above, 4)?;
                let mut path = (*path).to_owned();
                if matches!(mode, 2 | 3 | 6) {
                    path = format!("{path}{:010}", above.created_children);
                }
                if self.nodes.contains_key(&path) {
                    return Err(-110);
                }
                if above.stat.ephemeral_owner > 0 {
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
                    ephemeral_owner: owner,
                    ..Stat::default()
                };
                let data = data.map(<[u8]>::to_vec);
                let acl = list(acl);
                self.nodes.insert(path, Plain { data, acl, stat, created_children: 0 });
            }
            Change::Delete { path, version } => {
                may(self.nodes.get(&path[..path.rfind('/').unwrap()]).ok_or(-101)?, 8)?;
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
                may(node, 2)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(-103);
                }
                node.data = data.map(<[u8]>::to_vec);
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                node.stat.mtime = time_ms;
            }
            Change::SetAcl { path, acl, version } => {
                let node = self.nodes.get_mut(*path).ok_or(-101)?;
                may(node, 16)?;
                if *version != -1 && *version != node.stat.aversion {
                    return Err(-103);
                }
                node.acl = list(acl);
                node.stat.aversion += 1;
            }
            Change::Check { path, version } => {
                let node = self.nodes.get(*path).ok_or(-101)?;
                may(node, 1)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(-103);
                }
            }
        }
        Ok(())
    }

    /// Whether the server itself may remove it.
    fn is_due(&self, path: &str, time_ms: i64) -> bool {
        let node = &self.nodes[path];
        let is_due = match node.stat.ephemeral_owner {
            i64::MIN => node.created_children > 0,
            // All that the programs draw.
            owner if owner == TTL_OWNER => time_ms - node.stat.mtime > TTL_MS,
            _ => false,
        };
        is_due && self.children(path).is_empty()
    }

    fn delete(&mut self, path: &str) {
        self.nodes.remove(path);
        self.nodes.get_mut(&path[..path.rfind('/').unwrap()]).unwrap().stat.pzxid = self.zxid;
    }

    /// The error in the reply's header, and the errors of a multi's operations.
    fn apply(&mut self, entry: &Entry<'_>) -> (i32, Vec<i32>) {
        if !matches!(entry.what, What::Open { .. } | What::Reap(_)) && !self.sessions.contains(&entry.session)
        {
            return (-112, vec![]);
        }
        if entry.what == What::Return {
            return (0, vec![]);
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
            What::One(change) => (self.change(entry, change).err().unwrap_or(0), vec![]),
            What::Multi(changes) => {
                let mut next = self.clone();
                let mut failed = None;
                for (index, change) in changes.iter().enumerate() {
                    if let Err(code) = next.change(entry, change) {
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
            What::Reap(path) => {
                let error = match self.nodes.contains_key(*path) {
                    false => -101,
                    true if !self.is_due(path, entry.time_ms) => -103,
                    true => 0,
                };
                if error == 0 {
                    self.delete(path);
                }
                (error, vec![])
            }
            What::Refuse(code) => (code.number(), vec![]),
            What::Return => unreachable!("no transaction"),
        }
    }
}

/// The time to live that znodes get, and the owner that stands for it.
const TTL_MS: i64 = 5;
const TTL_OWNER: i64 = -0x00ff_ffff_ffff_fffb;

/// The owner of a znode to be made.
fn owner(mode: i32, form: Form, session: i64) -> Result<i64, i32> {
    match form {
        Form::Ttl(TTL_MS) if mode == 5 || mode == 6 => Ok(TTL_OWNER),
        Form::Container if mode < 5 => Ok(i64::MIN),
        Form::Plain | Form::WithStat if mode < 5 => Ok(if mode & 1 != 0 { session } else { 0 }),
        _ => Err(-8),
    }
}

/// One of [`LISTS`].
fn list(acl: &[Ace<'_>]) -> Vec<Ace<'static>> {
    LISTS.iter().find(|list| ***list == *acl).unwrap().to_vec()
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

fn compare(replica: &mut Replica, model: &Model) {
    assert_eq!(replica.zxid, model.zxid);
    assert_eq!(replica.sessions.keys().copied().collect::<Vec<_>>(), model.sessions);
    let tree = &mut replica.tree;
    let bytes = model.nodes.iter().map(|(path, plain)| path.len() + plain.data.as_ref().map_or(0, Vec::len));
    let size = Size { znodes: model.nodes.len() as u64, bytes: bytes.sum::<usize>() as u64 };
    assert_eq!(tree.size(), size);
    tree.set_patience(Patience::Wait);
    for (path, plain) in &model.nodes {
        if path.starts_with("/zookeeper/") {
            continue;
        }
        let place = tree.find(path).unwrap().unwrap();
        let node = tree.node(place);
        assert_eq!(node.data.as_deref(), plain.data.as_deref(), "{path}");
        assert_eq!(node.acl().entries().collect::<Vec<_>>(), plain.acl, "{path}");
        assert_eq!(Some(node.stat()), model.stat(path), "{path}");
        let below = model.nodes.keys().filter(|other| other.starts_with(&format!("{path}/"))).count();
        assert_eq!(tree.census(place).unwrap().take().unwrap().znodes as usize, below, "{path}");
        assert_eq!(
            tree.names(place).unwrap().iter().map(|name| &**name).collect::<Vec<_>>(),
            model.children(path)
        );
        tree.trim(Some(place));
    }
    for path in ["/nowhere", "/a/", "//", "a", "/a//b", "/a\0b"] {
        assert_eq!(tree.find(path), Ok(None), "{path}");
    }
    tree.set_patience(Patience::Now);
    let ephemerals = model.nodes.values().filter(|node| node.stat.ephemeral_owner > 0);
    assert_eq!(tree.ephemeral_len(), ephemerals.count());
}

/// A drawn operation; paths and sessions are drawn small so that they meet.
#[derive(Clone, Debug)]
enum Drawn {
    Open,
    Close,
    One(DrawnChange),
    Multi(Vec<DrawnChange>),
    Reap(String),
    Refuse,
    Return,
}

#[derive(Clone, Debug)]
struct DrawnChange {
    kind: u8,
    path: String,
    data: Option<Vec<u8>>,
    mode: i32,
    acl: usize,
    form: Form,
    version: i32,
}

fn drawn_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "a", "a", "b", "b", "b", "a-b", "é"]), 1..4)
        .prop_map(|names| names.iter().fold(String::new(), |path, name| format!("{path}/{name}")))
}

fn drawn_change() -> impl Strategy<Value = DrawnChange> {
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..4));
    let version = prop::sample::select(vec![-1, -1, -1, 0, 1]);
    // Modes and forms that go together, and any.
    let modes = prop_oneof![
        6 => (0..4i32, prop::sample::select(vec![Form::Plain, Form::WithStat])),
        2 => Just((4, Form::Container)),
        2 => (5..7i32, Just(Form::Ttl(TTL_MS))),
        1 => (0..8i32, prop::sample::select(vec![Form::Plain, Form::Container, Form::Ttl(TTL_MS), Form::Ttl(0)])),
    ];
    let drawn = (0u8..8, drawn_path(), data, modes, 0..LISTS.len(), version);
    drawn.prop_map(|(kind, path, data, (mode, form), acl, version)| DrawnChange {
        kind,
        path,
        data,
        mode,
        form,
        acl,
        version,
    })
}

/// Who of the sessions, whether it is Pat, and what it does.
fn drawn() -> impl Strategy<Value = (u8, bool, Drawn)> {
    let what = prop_oneof![
        1 => Just(Drawn::Open),
        1 => Just(Drawn::Close),
        12 => drawn_change().prop_map(Drawn::One),
        5 => prop::collection::vec(drawn_change(), 0..6).prop_map(Drawn::Multi),
        2 => drawn_path().prop_map(Drawn::Reap),
        1 => Just(Drawn::Refuse),
        1 => Just(Drawn::Return),
    ];
    (0u8..4, any::<bool>(), what)
}

fn change_of(drawn: &DrawnChange) -> Change<'_> {
    let (path, version) = (&*drawn.path, drawn.version);
    let data = drawn.data.as_deref();
    match drawn.kind {
        0..=3 => {
            let acl = LISTS[drawn.acl].to_vec();
            Change::Create { path, data, acl, mode: drawn.mode, form: drawn.form }
        }
        4 => Change::SetData { path, data, version },
        5 => Change::Check { path, version },
        _ => Change::Delete { path, version },
    }
}

/// setACL stands alone, never in a multi.
fn set_acl_of(drawn: &DrawnChange) -> Change<'_> {
    Change::SetAcl { path: &drawn.path, acl: LISTS[drawn.acl].to_vec(), version: drawn.version }
}

/// Applies an entry and takes in what it changed.
fn apply<'a>(replica: &mut Replica, state: &mut Durable, entry: &'a Entry<'a>) -> (Vec<u8>, Effects<'a>) {
    let (mut effects, mut changes) = (Effects::default(), Changes::new());
    let result = replica.apply(entry, &mut effects).unwrap();
    replica.settle(&mut changes);
    state.take(&mut changes);
    (result, effects)
}

/// Memory for everything, for one znode, and for none.
const ROOMY: usize = 1 << 20;
const CACHES: [usize; 3] = [ROOMY, 2 << 10, 0];

fn restored(state: &Durable) -> Replica {
    Replica::restore(state.handle(), ROOMY).unwrap()
}

/// Runs the drawn operations. After each, the durable state is that of a replica that writes down
/// everything, and a replica restored from it is the model too; from `cut` on, one that was
/// restored then goes along.
fn run(drawn: &[(u8, bool, Drawn)], cut: usize, cache_bytes: usize) {
    let (mut state, mut follower_state) = (Durable::default().cold(), Durable::default());
    let (mut replica, mut model) = (Replica::new(state.handle(), cache_bytes), Model::new());
    let mut opened: Vec<i64> = Vec::new();
    let mut follower: Option<Replica> = None;
    for (step, (who, is_pat, drawn)) in drawn.iter().enumerate() {
        if step == cut {
            follower_state = state.clone();
            follower = Some(Replica::restore(follower_state.handle(), cache_bytes).unwrap());
        }
        let session = opened.get(usize::from(*who)).copied().unwrap_or(1);
        let what = match drawn {
            Drawn::Open => What::Open { timeout_ms: 4000, password: [step as u8; 16] },
            Drawn::Close => What::Close,
            Drawn::One(change) if change.kind == 7 => What::One(set_acl_of(change)),
            Drawn::One(change) => What::One(change_of(change)),
            Drawn::Multi(changes) => What::Multi(changes.iter().map(change_of).collect()),
            Drawn::Reap(path) => What::Reap(path),
            Drawn::Refuse => What::Refuse(Code::MARSHALLING_ERROR),
            Drawn::Return => What::Return,
        };
        let ids = if *is_pat { vec![PAT] } else { vec![] };
        let bytes =
            Entry { time_ms: 1000 + step as i64, session, cxid: 0, ids, enforces_quotas: false, what }
                .encode();
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
        compare(&mut replica, &model);
        assert_eq!(durable::everything(&mut replica), state);
        let time_ms = 1000 + step as i64;
        let due: Vec<_> = model.nodes.keys().filter(|path| model.is_due(path, time_ms)).cloned().collect();
        let mut restored = restored(&state);
        for replica in [&mut replica, &mut restored] {
            let found = replica.tree.due(time_ms, "", 1000);
            let mut paths = [found.paths, found.cold].concat();
            paths.retain(|path| {
                replica.tree.set_patience(Patience::Wait);
                replica.tree.is_due(path, time_ms)
            });
            replica.tree.set_patience(Patience::Now);
            paths.sort();
            assert_eq!((&paths, found.last), (&due, None));
        }
        compare(&mut restored, &model);
        assert_eq!((&restored.sessions, restored.last_session), (&replica.sessions, replica.last_session));
    }
}

proptest! {
    #[test]
    fn the_replica_is_its_model(drawn in prop::collection::vec(drawn(), 1..80), cut in 0usize..80, cache in 0..CACHES.len()) {
        let mut with_session = vec![(0, false, Drawn::Open)];
        with_session.extend(drawn);
        run(&with_session, cut, CACHES[cache]);
    }
}
