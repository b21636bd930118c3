//! The Rust ZooKeeper client, which uses the newer requests (create2, getChildren2, multi), and a
//! bare connection for the order of what a session is told.

use std::time::Duration;

use door_zk::script::requests;
use zookeeper_client::{
    Acls, CheckWriteError, Client, CreateMode, CreateOptions, Error, EventType, MultiWriteError,
    MultiWriteResult, SessionState,
};

use crate::harness::{
    Server,
    zookeeper::{Conn, opcode, read, request},
};

const PERSISTENT: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());
const SEQUENTIAL: &CreateOptions<'static> = &CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
const EPHEMERAL: &CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// A client with a session of `timeout`.
pub(crate) async fn client(server: &Server, timeout: Duration) -> Client {
    let connector = Client::connector().with_session_timeout(timeout);
    connector.connect(&server.zookeeper().to_string()).await.unwrap()
}

#[tokio::test]
async fn nodes_are_made_read_changed_and_deleted() {
    let server = Server::start("rust-zk");
    let client = client(&server, Duration::from_secs(12)).await;
    assert_eq!(client.session_timeout(), Duration::from_secs(12));

    let (made, _) = client.create("/a", b"one", PERSISTENT).await.unwrap();
    assert_eq!(client.get_data("/a").await.unwrap(), (b"one".to_vec(), made));
    assert_eq!((made.version, made.data_length, made.czxid, made.mzxid), (0, 3, made.pzxid, made.pzxid));
    let changed = client.set_data("/a", b"two", Some(0)).await.unwrap();
    assert_eq!((changed.version, changed.czxid), (1, made.czxid));
    assert_eq!(client.set_data("/a", b"x", Some(0)).await, Err(Error::BadVersion));
    assert_eq!(client.create("/a", b"", PERSISTENT).await.map(|_| ()), Err(Error::NodeExists));
    assert_eq!(client.create("/b/c", b"", PERSISTENT).await.map(|_| ()), Err(Error::NoNode));

    let (_, first) = client.create("/a/n-", b"", SEQUENTIAL).await.unwrap();
    let (_, second) = client.create("/a/n-", b"", SEQUENTIAL).await.unwrap();
    assert_eq!((first.into_i64(), second.into_i64()), (0, 1));
    let (mut children, stat) = client.get_children("/a").await.unwrap();
    children.sort();
    assert_eq!(children, ["n-0000000000", "n-0000000001"]);
    assert_eq!((stat.num_children, stat.cversion), (2, 2));
    assert_eq!(client.list_children("/a").await.unwrap().len(), 2);
    assert_eq!(client.delete("/a", None).await, Err(Error::NotEmpty));
    for child in children {
        client.delete(&format!("/a/{child}"), Some(0)).await.unwrap();
    }
    assert_eq!(client.check_stat("/a").await.unwrap().unwrap().cversion, 4);
    client.delete("/a", Some(1)).await.unwrap();
    assert_eq!(client.check_stat("/a").await.unwrap(), None);
    client.sync("/").await.unwrap();
}

#[tokio::test]
async fn watches_tell_once_what_changed() {
    let server = Server::start("rust-zk-watches");
    let client = client(&server, Duration::from_secs(12)).await;
    let (none, created) = client.check_and_watch_stat("/w").await.unwrap();
    assert_eq!(none, None);
    client.create("/w", b"", PERSISTENT).await.unwrap();
    let event = created.changed().await;
    assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/w"));

    let (_, _, data) = client.get_and_watch_data("/w").await.unwrap();
    let (_, _, children) = client.get_and_watch_children("/w").await.unwrap();
    client.set_data("/w", b"1", None).await.unwrap();
    client.create("/w/c", b"", PERSISTENT).await.unwrap();
    assert_eq!(data.changed().await.event_type, EventType::NodeDataChanged);
    assert_eq!(children.changed().await.event_type, EventType::NodeChildrenChanged);

    let (_, _, deleted) = client.get_and_watch_data("/w/c").await.unwrap();
    client.delete("/w/c", None).await.unwrap();
    assert_eq!(deleted.changed().await.event_type, EventType::NodeDeleted);
}

#[tokio::test]
async fn a_transaction_is_whole_or_nothing() {
    let server = Server::start("rust-zk-multi");
    let client = client(&server, Duration::from_secs(12)).await;
    let mut writer = client.new_multi_writer();
    writer.add_create("/m", b"", PERSISTENT).unwrap();
    writer.add_create("/m/x", b"1", PERSISTENT).unwrap();
    writer.add_set_data("/m", b"2", Some(0)).unwrap();
    writer.add_check_version("/m/x", 0).unwrap();
    writer.add_delete("/m/x", None).unwrap();
    let results = writer.commit().await.unwrap();
    assert_eq!(results.len(), 5);
    let MultiWriteResult::Create { path, stat } = &results[0] else { panic!("{results:?}") };
    let MultiWriteResult::SetData { stat: set } = &results[2] else { panic!("{results:?}") };
    assert_eq!((path.as_str(), stat.czxid), ("/m", set.mzxid), "one transaction, one zxid");

    let mut writer = client.new_multi_writer();
    writer.add_create("/m/y", b"", PERSISTENT).unwrap();
    writer.add_delete("/nothing", None).unwrap();
    assert_eq!(
        writer.commit().await,
        Err(MultiWriteError::OperationFailed { index: 1, source: Error::NoNode })
    );
    assert_eq!(client.check_stat("/m/y").await.unwrap(), None);

    let mut writer = client.new_check_writer("/m", Some(7)).unwrap();
    writer.add_set_data("/m", b"no", None).unwrap();
    assert_eq!(writer.commit().await, Err(CheckWriteError::CheckFailed { source: Error::BadVersion }));
    assert_eq!(client.get_data("/m").await.unwrap().0, b"2");
}

#[tokio::test]
async fn ephemerals_go_with_their_session_in_one_transaction() {
    let server = Server::start("rust-zk-ephemerals");
    let observer = client(&server, Duration::from_secs(30)).await;
    let owner = client(&server, Duration::from_secs(30)).await;
    observer.create("/e", b"", PERSISTENT).await.unwrap();
    for name in ["/e/a", "/e/b"] {
        let (stat, _) = owner.create(name, b"", EPHEMERAL).await.unwrap();
        assert_eq!(stat.ephemeral_owner, owner.session_id().0);
    }
    let (_, a) = observer.check_and_watch_stat("/e/a").await.unwrap();
    let (_, b) = observer.check_and_watch_stat("/e/b").await.unwrap();
    drop(owner);
    let (a, b) = (a.changed().await, b.changed().await);
    assert_eq!((a.event_type, b.event_type), (EventType::NodeDeleted, EventType::NodeDeleted));
    assert_eq!(a.zxid, b.zxid, "one closed session, one zxid");
    assert_eq!(observer.get_children("/e").await.unwrap().0, Vec::<String>::new());
}

#[tokio::test]
async fn a_session_is_taken_over_by_its_id_and_password_and_no_other() {
    let server = Server::start("rust-zk-session");
    let first = Client::connector()
        .with_session_timeout(Duration::from_secs(30))
        .with_detached()
        .connect(&server.zookeeper().to_string())
        .await
        .unwrap();
    first.create("/mine", b"", EPHEMERAL).await.unwrap();
    let session = first.into_session();
    let id = session.id();
    let again = Client::connector()
        .with_session(session)
        .with_detached()
        .connect(&server.zookeeper().to_string())
        .await
        .unwrap();
    assert_eq!(again.session_id(), id);
    assert_eq!(again.check_stat("/mine").await.unwrap().unwrap().ephemeral_owner, id.0);

    // The right id with a wrong password: a ConnectResponse with timeout 0, and the end.
    let mut stream = Conn::silent(server.zookeeper());
    let mut hello = crate::harness::zookeeper::connect(30_000);
    hello[20..28].copy_from_slice(&id.0.to_be_bytes());
    std::io::Write::write_all(&mut stream, &hello).unwrap();
    let answer = read(&mut stream).unwrap();
    assert_eq!(answer[4..16], [0; 12], "timeout 0, session 0");
    assert_eq!(again.state(), SessionState::SyncConnected);
}

/// The event of a change reaches a session before any answer that shows the change: told on a bare
/// connection, where what comes first is seen. (The bare connection blocks its thread; the writer
/// runs on the other.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_of_a_change_comes_before_an_answer_that_shows_it() {
    let server = Server::start("rust-zk-order");
    let writer = client(&server, Duration::from_secs(30)).await;
    writer.create("/o", b"0", PERSISTENT).await.unwrap();
    let mut watcher = Conn::open(server.zookeeper());
    let mut xid = 0;
    let mut last_zxid = 0;
    for round in 1..=200_u32 {
        let data = round.to_string();
        xid += 1;
        let (error, _) = watcher.call(xid, opcode::GET_DATA, &requests::look("/o", true)).unwrap();
        assert_eq!(error, 0);
        let write = writer.set_data("/o", data.as_bytes(), None);
        let mut event_seen = false;
        loop {
            xid += 1;
            let ask = request(xid, opcode::GET_DATA, &requests::look("/o", false));
            std::io::Write::write_all(&mut watcher.stream, &ask).unwrap();
            let mut packet = read(&mut watcher.stream).unwrap();
            while packet[..4] == (-1_i32).to_be_bytes() {
                assert!(!event_seen, "one event for one watch");
                event_seen = true;
                packet = read(&mut watcher.stream).unwrap();
            }
            let zxid = i64::from_be_bytes(packet[4..12].try_into().unwrap());
            assert!(zxid >= last_zxid, "zxids of replies go forward");
            last_zxid = zxid;
            let shows_the_change = packet[20..].starts_with(data.as_bytes());
            assert!(event_seen || !shows_the_change, "round {round}: the answer came before the event");
            if shows_the_change {
                break;
            }
        }
        write.await.unwrap();
    }
    let (error, _) = watcher.call(-2, opcode::PING, &[]).unwrap();
    assert_eq!(error, 0);
}
