//! The Rust ZooKeeper client's rarer requests: credentials and access control lists, watches that
//! stay, containers and times to live, many reads in one. Some of it across a kill -9, since all of
//! it must be there again after one.

use std::time::Duration;

use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, AuthUser, Client, CreateMode, CreateOptions, Error, EventType,
    MultiReadResult, Permission,
};

use crate::{
    harness::{Launch, Server},
    rust_zookeeper::client,
};

const PERSISTENT: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: &CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(Acls::anyone_all());
const CONTAINER: &CreateOptions<'static> = &CreateMode::Container.with_acls(Acls::anyone_all());

use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

/// Long enough for a client to find a server that was killed and started again.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn access_control_lists_hold_also_after_a_kill() {
    let digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";
    let mut server =
        Launch::new("rust-zk-acl").flags(&["--set", &format!("zookeeper.super_digest={digest}")]).start();
    let mut acl = Vec::new();
    for round in 0..2 {
        let (pat, other) = (client(&server, LONG).await, client(&server, LONG).await);
        pat.auth("digest", b"pat:pass").await.unwrap();
        let users = pat.list_auth_users().await.unwrap();
        assert!(users.contains(&AuthUser::new("digest", "pat")), "{users:?}");
        if round == 0 {
            pat.create("/a", b"secret", &CreateMode::Persistent.with_acls(Acls::creator_all()))
                .await
                .unwrap();
            acl = pat.get_acl("/a").await.unwrap().0;
            let expected = AuthId::new("digest", "pat:WHGn0d6WM4lGFEKDvqymXAwzUzA=");
            assert_eq!(acl, [Acl::new(Permission::ALL, expected)]);
        }
        assert_eq!(pat.get_data("/a").await.unwrap().0, b"secret");
        assert_eq!(pat.get_acl("/a").await.unwrap().0, acl);
        assert_eq!(other.get_data("/a").await.map(drop), Err(Error::NoAuth));
        assert_eq!(other.set_data("/a", b"", None).await.map(drop), Err(Error::NoAuth));
        assert_eq!(other.create("/a/b", b"", PERSISTENT).await.map(drop), Err(Error::NoAuth));
        assert_eq!(other.set_acl("/a", &[], None).await.map(drop), Err(Error::InvalidAcl));
        server.kill();
        server.restart();
    }
    let operator = client(&server, LONG).await;
    operator.auth("digest", b"super:secret").await.unwrap();
    let anyone = [Acl::new(Permission::READ, AuthId::anyone())];
    assert_eq!(operator.set_acl("/a", &anyone, Some(3)).await.map(drop), Err(Error::BadVersion));
    assert_eq!(operator.set_acl("/a", &anyone, Some(0)).await.unwrap().aversion, 1);
    let other = client(&server, LONG).await;
    assert_eq!(other.get_data("/a").await.unwrap().0, b"secret");
    assert_eq!(other.get_acl("/a").await.unwrap().0, anyone);
}

#[tokio::test]
async fn watches_that_stay_see_every_change() {
    let server = Server::start("rust-zk-lasting");
    let (watcher, other) = (client(&server, LONG).await, client(&server, LONG).await);
    watcher.create("/w", b"", PERSISTENT).await.unwrap();
    let mut one = watcher.watch("/w", AddWatchMode::Persistent).await.unwrap();
    let mut all = watcher.watch("/w", AddWatchMode::PersistentRecursive).await.unwrap();
    for round in 0..2 {
        other.create("/w/c", b"", PERSISTENT).await.unwrap();
        other.set_data("/w/c", b"1", None).await.unwrap();
        other.set_data("/w", b"1", None).await.unwrap();
        other.delete("/w/c", None).await.unwrap();
        for (kind, path) in
            [(NodeChildrenChanged, "/w"), (NodeDataChanged, "/w"), (NodeChildrenChanged, "/w")]
        {
            let event = one.changed().await;
            assert_eq!((event.event_type, &*event.path), (kind, path), "round {round}");
        }
        for (kind, path) in
            [(NodeCreated, "/w/c"), (NodeDataChanged, "/w/c"), (NodeDataChanged, "/w"), (NodeDeleted, "/w/c")]
        {
            let event = all.changed().await;
            assert_eq!((event.event_type, &*event.path), (kind, path), "round {round}");
        }
    }
}

/// The client sets its watches again when it comes back. (Version 0.11 of it forgets those that stay.)
#[tokio::test]
async fn watches_are_set_again_after_a_kill() {
    let mut server = Server::start("rust-zk-set-again");
    let watcher = client(&server, LONG).await;
    watcher.create("/w", b"", PERSISTENT).await.unwrap();
    let (_, _, data) = watcher.get_and_watch_data("/w").await.unwrap();
    let (_, _, children) = watcher.get_and_watch_children("/w").await.unwrap();
    let (_, created) = watcher.check_and_watch_stat("/new").await.unwrap();
    server.kill();
    server.restart();
    // The session is on the new server when an answer comes from there.
    comes_back(&watcher).await;
    let other = client(&server, LONG).await;
    other.set_data("/w", b"1", None).await.unwrap();
    other.create("/w/c", b"", PERSISTENT).await.unwrap();
    other.create("/new", b"", PERSISTENT).await.unwrap();
    assert_eq!(data.changed().await.event_type, NodeDataChanged);
    assert_eq!(children.changed().await.event_type, NodeChildrenChanged);
    assert_eq!(created.changed().await.event_type, NodeCreated);
}

/// Waits until the client has found the server again.
async fn comes_back(client: &Client) {
    while let Err(error) = client.check_stat("/w").await {
        assert!(matches!(error, Error::ConnectionLoss), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn containers_and_times_to_live_end_also_after_a_kill() {
    let mut server = Launch::new("rust-zk-reaped").flags(&["--set", "zookeeper.reap_ms=100"]).start();
    let first = client(&server, LONG).await;
    let brief = PERSISTENT.clone().with_ttl(Duration::from_millis(1500));
    let long = PERSISTENT.clone().with_ttl(Duration::from_secs(1000));
    first.create("/c", b"", CONTAINER).await.unwrap();
    first.create("/c/x", b"", PERSISTENT).await.unwrap();
    first.create("/never-used", b"", CONTAINER).await.unwrap();
    let (stat, _) = first.create("/brief", b"", &brief).await.unwrap();
    assert_eq!(stat.ephemeral_owner, 0, "only sessions are told");
    first.create("/long", b"", &long).await.unwrap();
    server.kill();
    server.restart();
    let again = client(&server, LONG).await;
    assert!(again.check_stat("/c").await.unwrap().is_some(), "it has a child");
    let (_, gone) = again.check_and_watch_stat("/c").await.unwrap();
    again.delete("/c/x", None).await.unwrap();
    assert_eq!(gone.changed().await.event_type, NodeDeleted);
    if let (Some(_), gone) = again.check_and_watch_stat("/brief").await.unwrap() {
        assert_eq!(gone.changed().await.event_type, NodeDeleted);
    }
    assert!(again.check_stat("/never-used").await.unwrap().is_some());
    assert!(again.check_stat("/long").await.unwrap().is_some());
}

#[tokio::test]
async fn many_znodes_are_asked_about_at_once() {
    let server = Server::start("rust-zk-many");
    let client = client(&server, LONG).await;
    client.create("/m", b"0", PERSISTENT).await.unwrap();
    for n in 0..5 {
        client.create(&format!("/m/{n}"), n.to_string().as_bytes(), EPHEMERAL).await.unwrap();
    }
    assert_eq!(client.count_descendants_number("/m").await.unwrap(), 5);
    assert_eq!(client.count_descendants_number("/").await.unwrap(), 9);
    let mut ephemerals = client.list_ephemerals("/m").await.unwrap();
    ephemerals.sort();
    assert_eq!(ephemerals, ["/m/0", "/m/1", "/m/2", "/m/3", "/m/4"]);
    let mut reader = client.new_multi_reader();
    reader.add_get_data("/m/3").unwrap();
    reader.add_get_children("/m").unwrap();
    reader.add_get_data("/none").unwrap();
    let results = reader.commit().await.unwrap();
    let [
        MultiReadResult::Data { data, stat },
        MultiReadResult::Children { children },
        MultiReadResult::Error { err },
    ] = &results[..]
    else {
        panic!("{results:?}")
    };
    assert_eq!((&data[..], stat.ephemeral_owner), (&b"3"[..], client.session_id().0));
    assert_eq!((children.len(), err), (5, &Error::NoNode));
}
