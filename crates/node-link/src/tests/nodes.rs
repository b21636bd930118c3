//! What nodes see of each other.

use super::*;
use crate::frame::PART_MAX;

#[test]
fn every_class_arrives_in_order_whole_and_from_everybody() {
    run(async {
        let town = Town::new("order");
        let nodes = town.nodes(3).await;
        let lengths = [0, 100, PART_MAX, PART_MAX + 1, 3 * PART_MAX, 1_000_000];
        let sent = |class| -> Vec<Bytes> {
            let count = if class == Class::Bulk { 30 } else { 200 };
            (0..count).map(|at| message(at, if at % 10 == 0 { lengths[at / 10 % 6] } else { 256 })).collect()
        };
        for node in &nodes {
            for other in 1..=3 {
                if NodeId(other) == node.owner.hello().node {
                    assert_eq!(
                        node.link.send(NodeId(other), Class::Log, Bytes::new()),
                        Err(NotSent::Unknown)
                    );
                    continue;
                }
                for class in Class::ALL {
                    for message in sent(class) {
                        // There is more than fits the queues.
                        until(|| node.link.send(NodeId(other), class, message.clone()).is_ok()).await;
                    }
                }
            }
        }
        for node in &nodes {
            for other in (1..=3).filter(|other| NodeId(*other) != node.owner.hello().node) {
                for class in Class::ALL {
                    let sent = sent(class);
                    until(|| node.owner.count(other, class) >= sent.len()).await;
                    assert!(node.owner.came(other, class) == sent, "{class:?} from {other}");
                }
            }
        }
        for node in &nodes {
            assert_eq!(node.owner.events().len(), 2, "{:?}", node.owner.events());
        }
        for node in nodes {
            node.stop().await;
        }
    });
}

#[test]
fn a_node_that_restarts_is_connected_to_again_and_its_start_is_told() {
    run(async {
        let town = Town::new("restart");
        let mut nodes = town.nodes(2).await;
        let (second, first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
        let address = second.address;
        second.stop().await;
        until(|| !first.owner.is_connected(2)).await;
        assert_eq!(first.link.send(NodeId(2), Class::Control, Bytes::new()), Err(NotSent::Down));
        let second = town.node(Owner::new(2, 2), Some(address)).await;
        introduce(&second, &[&first]);
        until(|| first.owner.is_connected(2)).await;
        let events = [Event::Connected(2, 1), Event::Disconnected(2), Event::Connected(2, 2)];
        assert_eq!(first.owner.events(), events);
        first.send(2, Class::Log, "again").await;
        until(|| second.owner.count(1, Class::Log) == 1).await;
    });
}

#[test]
fn a_node_that_makes_no_room_gets_no_more_until_it_does_and_its_votes_all_the_same() {
    run(async {
        let mut town = Town::new("slow");
        town.settings.log.window_bytes = 64 << 10;
        town.settings.log.queue_bytes = 64 << 10;
        town.settings.bulk.window_bytes = 64 << 10;
        town.settings.bulk.queue_bytes = 64 << 10;
        let nodes = town.nodes(2).await;
        *nodes[1].owner.keeps.lock().unwrap() = Some(Vec::new());
        let mut sent = 0;
        // Until it is full, and stays so though there was time to send.
        for class in [Class::Log, Class::Bulk] {
            sent = 0;
            let mut refused = 0;
            while refused < 20 {
                match nodes[0].link.send(NodeId(2), class, message(sent, 1000)) {
                    Ok(()) => (sent, refused) = (sent + 1, 0),
                    Err(why) => {
                        assert!(matches!(why, NotSent::Full | NotSent::Down), "{why}");
                        refused += usize::from(why == NotSent::Full);
                        world::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                assert!(sent <= 2 * (64 << 10) / 1000 + 2, "{sent}");
            }
            let room = (64 << 10) / (1000 + 64) + 1;
            assert!(nodes[1].owner.count(1, class) <= room, "{class:?}");
        }
        nodes[0].send(2, Class::Control, "a vote").await;
        until(|| nodes[1].owner.count(1, Class::Control) == 1).await;
        assert!(nodes[1].owner.count(1, Class::Log) < sent);
        // Room again.
        *nodes[1].owner.keeps.lock().unwrap() = None;
        until(|| nodes[1].owner.count(1, Class::Bulk) == sent).await;
        let came = nodes[1].owner.came(1, Class::Log);
        assert!(came.iter().enumerate().all(|(at, bytes)| *bytes == message(at, 1000)));
        assert_eq!(came.len(), sent);
        let again = |class| nodes[0].link.send(NodeId(2), class, Bytes::new()).is_ok();
        assert!(again(Class::Log) && again(Class::Bulk));
    });
}

#[test]
fn votes_go_by_while_a_snapshot_is_sent() {
    run(async {
        let town = Town::new("bulk");
        let nodes = town.nodes(2).await;
        let snapshot = Bytes::from(vec![7; 500_000]);
        let mut chunks = 0;
        for vote in 0..100 {
            while nodes[0].link.send(NodeId(2), Class::Bulk, snapshot.clone()).is_ok() {
                chunks += 1;
            }
            nodes[0].send(2, Class::Control, message(vote, 100)).await;
            until(|| nodes[1].owner.count(1, Class::Control) > vote).await;
        }
        assert!(chunks > 8, "{chunks}");
        until(|| nodes[1].owner.count(1, Class::Bulk) == chunks).await;
    });
}

#[test]
fn whoever_is_removed_is_cut_off_and_may_come_back_elsewhere() {
    run(async {
        let town = Town::new("peers");
        let nodes = town.nodes(2).await;
        nodes[0].link.set_peers(&BTreeMap::new());
        until(|| !nodes[0].owner.is_connected(2)).await;
        assert_eq!(nodes[0].link.send(NodeId(2), Class::Control, Bytes::new()), Err(NotSent::Unknown));
        // Its connection to us ended too; it knows no better than to come again.
        until(|| nodes[1].owner.events().contains(&Event::Disconnected(1))).await;
        until(|| nodes[1].owner.is_connected(1)).await;

        let moved = town.node(Owner::new(2, 2), None).await;
        introduce(&nodes[0], &[&nodes[1]]);
        until(|| nodes[0].owner.is_connected(2)).await;
        introduce(&nodes[0], &[&moved]);
        until(|| nodes[0].owner.events().contains(&Event::Connected(2, 2))).await;
        nodes[0].send(2, Class::Log, "here").await;
        until(|| moved.owner.count(1, Class::Log) == 1).await;
        assert_eq!(nodes[1].owner.count(1, Class::Log), 0);
    });
}

#[test]
fn a_node_is_believed_only_by_who_it_says_it_is() {
    run(async {
        let town = Town::new("judged");
        let nodes = town.nodes(1).await;
        // One of another cluster, one that is not who it should be, one that is not believed here.
        let stranger = Owner::new(2, 1);
        stranger.hello.lock().unwrap().cluster = 1;
        let stranger = town.node(stranger, None).await;
        let namesake = town.node(Owner::new(9, 1), None).await;
        let distrusted = Owner::new(4, 1);
        *distrusted.refuses.lock().unwrap() = Some("I believe nobody");
        let distrusted = town.node(distrusted, None).await;
        let peers = [(2, &stranger), (3, &namesake), (4, &distrusted)];
        nodes[0].link.set_peers(&peers.map(|(node, other)| (NodeId(node), other.address)).into());
        for (_, other) in peers {
            introduce(other, &[&nodes[0]]);
        }
        // The namesake may well connect to us: it says truly who it is.
        until(|| namesake.owner.is_connected(1)).await;
        world::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(nodes[0].owner.events(), []);
        assert!(stranger.owner.events().is_empty() && distrusted.owner.events().is_empty());
        // All is well: they speak with each other.
        *distrusted.owner.refuses.lock().unwrap() = None;
        until(|| nodes[0].owner.is_connected(4) && distrusted.owner.is_connected(1)).await;
    });
}

#[test]
fn a_silent_connection_is_kept_as_long_as_both_sides_live() {
    run(async {
        let mut town = Town::new("idle");
        (town.settings.keepalive_ms, town.settings.silence_ms) = (50, 1_500);
        let nodes = town.nodes(2).await;
        world::time::sleep(Duration::from_millis(3_500)).await;
        for node in &nodes {
            assert_eq!(node.owner.events().len(), 1, "{:?}", node.owner.events());
        }
    });
}

#[test]
fn new_certificates_count_for_new_connections() {
    run(async {
        let town = Town::new("renewed");
        let nodes = town.nodes(1).await;
        let other = Authority::new("another cluster");
        town.folder.put(&other.sign("a node", 2999));
        let stranger = town.certificates().await;
        let refused = crate::ask(nodes[0].address, &stranger, b"?", 10_000).await.unwrap_err();
        assert!(refused.0.contains("UnknownCA"), "{refused:?}");
        town.folder.put(&town.authority.sign("a node", 2999));
        stranger.refresh().await.unwrap().unwrap();
        assert_eq!(crate::ask(nodes[0].address, &stranger, b"?", 10_000).await.unwrap(), "!");
        // The node's own: nobody believes it any more.
        town.folder.put(&other.sign("a node", 2999));
        let liar = town.nodes(1).await;
        let refused = crate::ask(liar[0].address, &stranger, b"?", 10_000).await.unwrap_err();
        assert!(refused.0.contains("UnknownIssuer"), "{refused:?}");
    });
}

#[test]
fn a_question_has_one_answer_or_a_reason() {
    run(async {
        let town = Town::new("asked");
        let nodes = town.nodes(1).await;
        let certificates = town.certificates().await;
        let address = nodes[0].address;
        assert_eq!(crate::ask(address, &certificates, b"?", 10_000).await.unwrap(), "!");
        let refused = crate::ask(address, &certificates, b"what", 10_000).await.unwrap_err();
        assert!(refused.0.contains("the node has no answer"), "{refused:?}");
        let too_long = crate::ask(address, &certificates, &[7; 70_000], 10_000).await.unwrap_err();
        assert!(too_long.0.contains("too long"), "{too_long:?}");
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = crate::ask(deaf.local_addr().unwrap(), &certificates, b"?", 50).await.unwrap_err();
        assert!(nobody.0.contains("in time"), "{nobody:?}");
    });
}
