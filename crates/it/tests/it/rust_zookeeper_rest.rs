//! The rest of the Rust ZooKeeper client's operations: folders, roots, names of every kind, watches that
//! are taken back, reads and writes in one, locks of three kinds, what a session hears of itself.

use std::time::Duration;

use tokio::time::timeout;
use zookeeper_client::{
    Acls, AddWatchMode, CheckWriteError, Client, CreateMode, CreateOptions, EnsembleUpdate, Error, EventType,
    LockOptions, LockPrefix, MultiReadResult, MultiWriteError, MultiWriteResult, SessionState,
};

use crate::{
    harness::{Launch, Server},
    rust_zookeeper::client,
};

const PERSISTENT: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());

const LONG: Duration = Duration::from_secs(30);

/// What must not come has not come within this.
const BRIEF: Duration = Duration::from_millis(300);

async fn open(server: &Server) -> Client {
    client(server, LONG).await
}

#[tokio::test]
async fn folders_are_made_and_a_root_is_put_before_every_path() {
    let server = Server::start("rust-zk-chroot");
    let whole = open(&server).await;
    whole.mkdir("/tenants/one/data", PERSISTENT).await.unwrap();
    whole.mkdir("/tenants/one/data", PERSISTENT).await.unwrap();
    let inside = Client::connect(&format!("{}/tenants/one", server.zookeeper())).await.unwrap();
    assert_eq!(inside.path(), "/tenants/one");
    let (_, _, watcher) = inside.get_and_watch_data("/data").await.unwrap();
    inside.create("/data/x", b"1", PERSISTENT).await.unwrap();
    assert_eq!(whole.get_data("/tenants/one/data/x").await.unwrap().0, b"1");
    whole.set_data("/tenants/one/data", b"new", None).await.unwrap();
    let event = watcher.changed().await;
    assert_eq!((event.event_type, &*event.path), (EventType::NodeDataChanged, "/data"));
    let deeper = inside.chroot("/tenants/one/data").unwrap();
    assert_eq!(deeper.list_children("/").await.unwrap(), ["x"]);
    let nowhere = whole.chroot("/not-there").unwrap();
    assert_eq!(nowhere.create("/x", b"", PERSISTENT).await.map(drop), Err(Error::NoNode));
}

#[tokio::test]
async fn every_create_mode_makes_its_kind_of_znode() {
    let server = Launch::new("rust-zk-modes").flags(&["--set", "zookeeper.reap_ms=100"]).start();
    let (client, other) = (open(&server).await, open(&server).await);
    client.create("/m", b"", PERSISTENT).await.unwrap();
    let everyone = Acls::anyone_all;
    let brief = Duration::from_millis(500);
    let modes = [
        (CreateMode::Persistent.with_acls(everyone()), false, false),
        (CreateMode::PersistentSequential.with_acls(everyone()), true, false),
        (CreateMode::Ephemeral.with_acls(everyone()), false, true),
        (CreateMode::EphemeralSequential.with_acls(everyone()), true, true),
        (CreateMode::Container.with_acls(everyone()), false, false),
        (CreateMode::Persistent.with_acls(everyone()).with_ttl(LONG), false, false),
        (CreateMode::PersistentSequential.with_acls(everyone()).with_ttl(brief), true, false),
    ];
    let mut names = Vec::new();
    for (n, (mode, is_sequential, is_ephemeral)) in modes.iter().enumerate() {
        let (stat, sequence) = client.create(&format!("/m/{n}-"), b"x", mode).await.unwrap();
        assert_eq!(sequence.into_i64(), if *is_sequential { n as i64 } else { -1 }, "{mode:?}");
        assert_eq!(stat.ephemeral_owner != 0, *is_ephemeral, "{mode:?}");
        names.push(if *is_sequential { format!("{n}-{n:010}") } else { format!("{n}-") });
    }
    let mut children = other.list_children("/m").await.unwrap();
    children.sort();
    assert_eq!(children, names);
    assert_eq!(
        client.create("/m/2-/x", b"", PERSISTENT).await.map(drop),
        Err(Error::NoChildrenForEphemerals)
    );
    // The client ends its session when it is dropped, and the reaper comes for what has outlived itself.
    let (_, gone) = other.check_and_watch_stat(&format!("/m/{}", names[6])).await.unwrap();
    assert_eq!(gone.changed().await.event_type, EventType::NodeDeleted);
    let (_, gone) = other.check_and_watch_stat("/m/2-").await.unwrap();
    drop(client);
    assert_eq!(gone.changed().await.event_type, EventType::NodeDeleted);
    let mut children = other.list_children("/m").await.unwrap();
    children.sort();
    assert_eq!(children, [&*names[0], &names[1], &names[4], &names[5]]);
}

#[tokio::test]
async fn watches_are_taken_back() {
    let server = Server::start("rust-zk-unwatch");
    let (client, other) = (open(&server).await, open(&server).await);
    client.create("/w", b"", PERSISTENT).await.unwrap();
    let (_, _, data) = client.get_and_watch_data("/w").await.unwrap();
    let (_, children) = client.list_and_watch_children("/w").await.unwrap();
    let mut one = client.watch("/w", AddWatchMode::Persistent).await.unwrap();
    let all = client.watch("/w", AddWatchMode::PersistentRecursive).await.unwrap();
    // To drop a watcher takes its watch back: the client sends removeWatches.
    drop((data, all));
    client.sync("/w").await.unwrap();
    other.create("/w/c", b"", PERSISTENT).await.unwrap();
    let event = children.changed().await;
    assert_eq!((event.event_type, &*event.path), (EventType::NodeChildrenChanged, "/w"));
    let event = one.changed().await;
    assert_eq!((event.event_type, &*event.path), (EventType::NodeChildrenChanged, "/w"));
    drop(one);
    client.sync("/w").await.unwrap();
    let (_, _, last) = client.get_and_watch_children("/w").await.unwrap();
    other.set_data("/w", b"1", None).await.unwrap();
    assert!(timeout(BRIEF, last.changed()).await.is_err(), "data is no matter of this watch");
}

#[tokio::test]
async fn many_reads_and_many_writes_are_one_or_none() {
    let server = Server::start("rust-zk-many-writes");
    let client = open(&server).await;
    let mut writer = client.new_multi_writer();
    let modes = [CreateMode::Persistent, CreateMode::Container, CreateMode::Ephemeral];
    for (path, mode) in ["/p", "/c", "/e"].into_iter().zip(modes) {
        writer.add_create(path, b"x", &mode.with_acls(Acls::anyone_all())).unwrap();
    }
    let brief = PERSISTENT.clone().with_ttl(LONG);
    writer.add_create("/t", b"x", &brief).unwrap();
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    writer.add_create("/p/s-", b"x", &sequential).unwrap();
    let results = writer.commit().await.unwrap();
    let paths: Vec<&str> = results
        .iter()
        .map(|result| match result {
            MultiWriteResult::Create { path, .. } => path.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, ["/p", "/c", "/e", "/t", "/p/s-0000000000"]);
    writer.add_delete("/p", None).unwrap();
    writer.abort();
    writer.add_set_data("/t", b"y", Some(0)).unwrap();
    assert_eq!(writer.commit().await.unwrap().len(), 1, "what was aborted is not sent");
    let mut writer = client.new_check_writer("/t", Some(1)).unwrap();
    writer.add_check_version("/c", 0).unwrap();
    writer.add_create("/p/x", b"", PERSISTENT).unwrap();
    writer.add_delete("/p", None).unwrap();
    let refused = writer.commit().await;
    assert_eq!(refused, Err(CheckWriteError::OperationFailed { index: 2, source: Error::NotEmpty }));
    let mut writer = client.new_multi_writer();
    writer.add_check_version("/t", 7).unwrap();
    let refused = writer.commit().await;
    assert_eq!(refused, Err(MultiWriteError::OperationFailed { index: 0, source: Error::BadVersion }));

    let mut reader = client.new_multi_reader();
    reader.add_get_data("/none").unwrap();
    reader.abort();
    reader.add_get_data("/t").unwrap();
    reader.add_get_children("/p").unwrap();
    let results = reader.commit().await.unwrap();
    let [MultiReadResult::Data { data, .. }, MultiReadResult::Children { children }] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!((&data[..], &children[..]), (&b"y"[..], &["s-0000000000".to_owned()][..]));
}

/// A lock is an ephemeral sequential znode; what its owner writes is checked against it.
#[tokio::test]
async fn locks_of_every_kind_pass_on_and_guard_writes() {
    let server = Server::start("rust-zk-locks");
    let (one, two) = (open(&server).await, open(&server).await);
    one.create("/data", b"0", PERSISTENT).await.unwrap();
    let options = || {
        let parents = CreateMode::Container.with_acls(Acls::anyone_all());
        LockOptions::new(Acls::anyone_all()).with_ancestor_options(parents).unwrap()
    };
    let prefix = |kind: usize, client: &Client| match kind {
        0 => LockPrefix::new_curator("/locks/curator", "lock-").unwrap(),
        1 => LockPrefix::new_shared("/locks/shared/n-").unwrap(),
        _ => LockPrefix::new_custom(format!("/locks/custom/x-{}-", client.session_id()), "x-").unwrap(),
    };
    for kind in 0..3 {
        let mine = one.lock(prefix(kind, &one), b"one", options()).await.unwrap();
        mine.set_data("/data", b"mine", None).await.unwrap();
        mine.create("/data/made", b"", PERSISTENT).await.unwrap();
        mine.delete("/data/made", None).await.unwrap();
        let waits = two.lock(prefix(kind, &two), b"two", options());
        tokio::pin!(waits);
        assert!(timeout(BRIEF, &mut waits).await.is_err(), "kind {kind}: two holders");
        let path = mine.lock_path().to_owned();
        let mine = mine.into_owned();
        // Somebody breaks the lock: its owner can write nothing under it any more.
        two.delete(&path, None).await.unwrap();
        let theirs = waits.await.unwrap();
        assert_eq!(mine.set_data("/data", b"late", None).await.map(drop), Err(Error::RuntimeInconsistent));
        let mut writer = theirs.new_check_writer();
        writer.add_set_data("/data", b"theirs", None).unwrap();
        writer.commit().await.unwrap();
        assert_eq!(one.get_data("/data").await.unwrap().0, b"theirs");
        // A lock that is dropped is given back.
        let path = theirs.lock_path().to_owned();
        let (_, gone) = one.check_and_watch_stat(&path).await.unwrap();
        drop(theirs);
        assert_eq!(gone.changed().await.event_type, EventType::NodeDeleted);
    }
}

#[tokio::test]
async fn a_session_hears_of_its_connection_and_its_end() {
    let mut server = Server::start("rust-zk-states");
    let address = server.zookeeper().to_string();
    let connector = || Client::connector().with_session_timeout(Duration::from_secs(4));
    let client =
        connector().with_auth("digest", b"pat:pass").with_readonly(true).connect(&address).await.unwrap();
    assert_eq!(client.list_auth_users().await.unwrap().len(), 2);
    let mut states = client.state_watcher();
    assert_eq!((states.state(), states.peek_state()), (SessionState::SyncConnected, client.state()));
    client.create("/mine", b"", &CreateMode::Ephemeral.with_acls(Acls::anyone_all())).await.unwrap();
    server.kill();
    assert_eq!(states.changed().await, SessionState::Disconnected);
    let nobody = connector().with_fail_eagerly().with_connection_timeout(BRIEF).connect(&address).await;
    assert_eq!(nobody.map(drop), Err(Error::NoHosts));
    server.restart();
    assert_eq!(states.changed().await, SessionState::SyncConnected);
    assert_eq!(client.list_auth_users().await.unwrap().len(), 2, "credentials are shown again");
    assert!(client.check_stat("/mine").await.unwrap().is_some());

    // A session whose client says nothing for longer than its timeout: the server is not there to say
    // so, and the client says it by itself.
    server.kill();
    assert_eq!(states.changed().await, SessionState::Disconnected);
    assert_eq!(states.changed().await, SessionState::Expired);
    assert_eq!(client.get_data("/mine").await.map(drop), Err(Error::SessionExpired));
}

#[tokio::test]
async fn bad_credentials_end_a_session() {
    let server = Server::start("rust-zk-bad-auth");
    let client = open(&server).await;
    let mut states = client.state_watcher();
    assert_eq!(client.auth("nobody-knows", b"x").await, Err(Error::AuthFailed));
    assert_eq!(states.changed().await, SessionState::AuthFailed);
}

#[tokio::test]
async fn the_ensemble_is_this_server_and_stays_so() {
    let server = Server::start("rust-zk-config");
    let client = open(&server).await;
    let (data, stat) = client.get_config().await.unwrap();
    assert_eq!((data.len(), stat.version), (0, 0), "as of a stock server that stands alone");
    let (again, _, _watcher) = client.get_and_watch_config().await.unwrap();
    assert_eq!(again, data);
    let servers = || ["server.2=localhost:1:2;3"].into_iter();
    let more = EnsembleUpdate::Incremental { joinings: servers(), leavings: servers() };
    assert_eq!(client.update_ensemble(more, None).await.map(drop), Err(Error::ReconfigDisabled));
    let other = EnsembleUpdate::New { ensemble: servers() };
    assert_eq!(client.update_ensemble(other, Some(1)).await.map(drop), Err(Error::ReconfigDisabled));
}
