//! Four-letter words: what operators and monitors type into the port instead of a connect request.
//!
//! The first four bytes of a connection decide: read as a length they would be far too long. A
//! word that is known and not whitelisted is answered as ZooKeeper answers it; what is no word at
//! all is an unreasonable length. Answers have ZooKeeper's lines and names of fields; of `mntr` and
//! `cons`, those fields that this door knows.

mod dump;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    sync::{Arc, atomic::Ordering},
};

use store::Patience;

use crate::{
    hub::Hub,
    limits::Folders,
    link::{Link, Phase},
    quota,
    watches::LinkId,
    wire::request::opcode,
};

/// The version that clients and tools see. They switch features on by its number, so it is the
/// number of the ZooKeeper whose behaviour this door has.
const VERSION: &str = concat!("3.9.5-holdfast-", env!("CARGO_PKG_VERSION"), ", built on an unknown day");

/// Appends a word's answer.
type Answer = fn(&Hub, &mut String) -> fmt::Result;

/// Every word that ZooKeeper 3.9 knows, with its answer.
const WORDS: [(&str, Answer); 18] = [
    ("conf", configuration),
    ("cons", connections),
    ("crst", reset_connections),
    ("dirs", directories),
    ("dump", dump::dump),
    ("envi", environment),
    ("gtmk", trace_mask),
    ("hash", digests),
    ("isro", |_, text| text.write_str("rw")),
    ("mntr", monitor),
    ("ruok", |_, text| text.write_str("imok")),
    ("srst", reset),
    ("srvr", server),
    ("stat", statistics),
    ("stmk", trace_mask),
    ("wchc", watches_by_session),
    ("wchp", watches_by_path),
    ("wchs", watches),
];

/// The one word that has a number behind it: eight bytes, big-endian.
const SETS_MASK: &str = "stmk";

/// ZooKeeper's mask from the start: requests, packets of servers, sessions, warnings.
pub(crate) const TRACE_MASK: i64 = 0x132;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// No word, or not yet.
    Nothing,
    /// A word that wants more bytes than have come.
    Unfinished,
    /// A word, and its answer.
    Word(String),
}

/// Looks for a word at the front of `input`, and does what it says.
pub(crate) fn typed(hub: &Hub, input: &[u8]) -> Typed {
    let Some((first, rest)) = input.split_first_chunk::<4>() else { return Typed::Nothing };
    let Some((word, answer)) = WORDS.into_iter().find(|(word, _)| word.as_bytes() == first) else {
        return Typed::Nothing;
    };
    let named = |entry: &String| entry == word || entry == "*";
    if word != "srvr" && !hub.settings.four_letter_words.iter().any(named) {
        return Typed::Word(format!("{word} is not executed because it is not in the whitelist.\n"));
    }
    if word == SETS_MASK {
        let Some(mask) = rest.first_chunk() else { return Typed::Unfinished };
        hub.trace_mask.store(i64::from_be_bytes(*mask), Ordering::Relaxed);
    }
    let mut text = String::new();
    answer(hub, &mut text).expect("writing to a string does not fail");
    Typed::Word(text)
}

/// In ZooKeeper the mask chooses among log lines of the level TRACE, of which there are none here: it is
/// kept for who sets it.
fn trace_mask(hub: &Hub, text: &mut String) -> fmt::Result {
    write!(text, "{}", hub.trace_mask.load(Ordering::Relaxed))
}

/// The last transactions whose number is a multiple of 128, each with the digest of the tree behind it: 0,
/// for none is kept, as by a ZooKeeper with `zookeeper.digest.enabled=false`. It would cost every write two
/// checksums of a path and its data.
fn digests(hub: &Hub, text: &mut String) -> fmt::Result {
    const EVERY: i64 = 128;
    const KEPT: i64 = 1024;
    let last = hub.lock().replica.zxid / EVERY;
    let first = (hub.restored_zxid.load(Ordering::Relaxed) / EVERY).max(last.saturating_sub(KEPT));
    (first..last).try_for_each(|before| writeln!(text, "{:x}: 0", (before + 1) * EVERY))
}

/// Bytes of what is kept on the disk, for all doors.
fn directories(hub: &Hub, text: &mut String) -> fmt::Result {
    let (data_bytes, log_bytes) = hub.settings.folders.as_ref().map_or((0, 0), Folders::bytes);
    writeln!(text, "datadir_size: {data_bytes}\nlogdir_size: {log_bytes}")
}

fn server(hub: &Hub, text: &mut String) -> fmt::Result {
    writeln!(text, "Zookeeper version: {VERSION}")?;
    counts(hub, text)
}

fn statistics(hub: &Hub, text: &mut String) -> fmt::Result {
    writeln!(text, "Zookeeper version: {VERSION}\nClients:")?;
    for link in hub.links() {
        connection(&link, text)?;
        text.push_str(")\n");
    }
    text.push('\n');
    counts(hub, text)
}

/// What `srvr` and `stat` end with.
fn counts(hub: &Hub, text: &mut String) -> fmt::Result {
    let (zxid, nodes) = {
        let state = hub.lock();
        (state.replica.zxid, state.replica.tree.size().znodes)
    };
    let traffic = &hub.traffic;
    let latency = traffic.latency();
    writeln!(
        text,
        "Latency min/avg/max: {}/{:?}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\n\
         Zxid: 0x{zxid:x}\nMode: standalone\nNode count: {}",
        latency.least_ms,
        latency.average_ms,
        latency.most_ms,
        traffic.received.load(Ordering::Relaxed),
        traffic.sent.load(Ordering::Relaxed),
        traffic.connections.load(Ordering::Relaxed),
        traffic.outstanding.load(Ordering::Relaxed),
        node_count(nodes),
    )
}

/// ZooKeeper keeps the root under two names and counts both; of their bytes, too.
fn node_count(nodes: u64) -> u64 {
    nodes + 1
}

fn monitor(hub: &Hub, text: &mut String) -> fmt::Result {
    let (ephemerals, size, sessions, watches) = {
        let state = hub.lock();
        let tree = &state.replica.tree;
        (tree.ephemeral_len(), tree.size(), state.sessions.len(), state.watches.len())
    };
    let traffic = &hub.traffic;
    let latency = traffic.latency();
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    writeln!(text, "zk_version\t{VERSION}\nzk_server_state\tstandalone")?;
    writeln!(text, "zk_avg_latency\t{:?}", latency.average_ms)?;
    for (name, value) in [
        ("ephemerals_count", ephemerals as u64),
        ("num_alive_connections", load(&traffic.connections)),
        ("outstanding_requests", load(&traffic.outstanding)),
        ("znode_count", node_count(size.znodes)),
        ("global_sessions", sessions as u64),
        ("local_sessions", 0),
        ("packets_sent", load(&traffic.sent)),
        ("packets_received", load(&traffic.received)),
        ("watch_count", watches as u64),
        ("auth_failed_count", load(&traffic.auth_failed)),
        ("min_latency", latency.least_ms),
        ("max_latency", latency.most_ms),
        ("approximate_data_size", size.bytes + 1),
        ("uptime", hub.now_ms().saturating_sub(hub.since_ms)),
    ] {
        writeln!(text, "zk_{name}\t{value}")?;
    }
    if let Some((open, most)) = world::process::descriptors() {
        writeln!(text, "zk_open_file_descriptor_count\t{open}\nzk_max_file_descriptor_count\t{most}")?;
    }
    let sums = {
        let tree = &mut hub.lock().replica.tree;
        // They are few, and small.
        tree.set_patience(Patience::Wait);
        let sums = quota::sums(tree);
        tree.set_patience(Patience::Now);
        tree.trim(None);
        sums
    };
    for (namespace, sums) in sums {
        for (name, value) in [
            ("count_limit", sums.count_limit),
            ("bytes_limit", sums.bytes_limit),
            ("count_usage", sums.count),
            ("bytes_usage", sums.bytes),
            ("exceeded_error", sums.refused as i64),
        ] {
            writeln!(text, "zk_{namespace}_quota_{name}_per_namespace\t{value}")?;
        }
    }
    Ok(())
}

fn configuration(hub: &Hub, text: &mut String) -> fmt::Result {
    let settings = &hub.settings;
    if let Some(port) = hub.port.get() {
        writeln!(text, "clientPort={port}")?;
    }
    writeln!(
        text,
        "tickTime={}\nmaxClientCnxns=0\nminSessionTimeout={}\nmaxSessionTimeout={}\nserverId=0",
        settings.tick_ms,
        settings.session_timeout_ms(0),
        settings.session_timeout_ms(i32::MAX),
    )
}

fn environment(_: &Hub, text: &mut String) -> fmt::Result {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    writeln!(text, "Environment:\nzookeeper.version={VERSION}\nos.name={os}\nos.arch={arch}")
}

fn connections(hub: &Hub, text: &mut String) -> fmt::Result {
    for link in hub.links() {
        connection(&link, text)?;
        if let Phase::Live(live) = link.phase() {
            let timeout_ms = hub.lock().sessions.timeout_ms(live.session).unwrap_or(0);
            let (last, latency) = (&link.last, link.traffic.latency());
            let operation = last_operation(last.opcode.load(Ordering::Relaxed));
            write!(text, ",sid=0x{:x},lop={operation},est={},to={timeout_ms}", live.session, link.since_ms)?;
            // Those of pings and the like are no client's numbers.
            let xid = last.xid.load(Ordering::Relaxed);
            if xid >= 0 {
                write!(text, ",lcxid=0x{xid:x}")?;
            }
            write!(
                text,
                ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
                last.zxid.load(Ordering::Relaxed),
                last.at_ms.load(Ordering::Relaxed),
                last.latency_ms.load(Ordering::Relaxed),
                latency.least_ms,
                latency.average_ms as u64,
                latency.most_ms,
            )?;
        }
        text.push_str(")\n");
    }
    text.push('\n');
    Ok(())
}

/// What ZooKeeper calls an operation where it has four letters for it.
fn last_operation(code: i32) -> &'static str {
    match code {
        opcode::CREATE_SESSION => "SESS",
        opcode::PING => "PING",
        opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => "CREA",
        opcode::DELETE => "DELE",
        opcode::EXISTS => "EXIS",
        opcode::GET_DATA => "GETD",
        opcode::SET_DATA => "SETD",
        opcode::GET_ACL => "GETA",
        opcode::SET_ACL => "SETA",
        opcode::GET_CHILDREN | opcode::GET_CHILDREN2 => "GETC",
        opcode::SYNC => "SYNC",
        opcode::MULTI => "MULT",
        opcode::MULTI_READ => "MLTR",
        opcode::RECONFIG => "RECO",
        opcode::SET_WATCHES => "SETW",
        opcode::SET_WATCHES2 => "STW2",
        opcode::ADD_WATCH => "ADDW",
        opcode::CHECK_WATCHES => "CHKW",
        opcode::REMOVE_WATCHES => "REMW",
        opcode::GET_EPHEMERALS => "GETE",
        opcode::GET_ALL_CHILDREN_NUMBER => "GETACN",
        opcode::WHO_AM_I => "HOMI",
        opcode::CLOSE_SESSION => "CLOS",
        _ => "NA",
    }
}

/// The front of a connection's line.
fn connection(link: &Link, text: &mut String) -> fmt::Result {
    let traffic = &link.traffic;
    write!(
        text,
        " /{}[1](queued={},recved={},sent={}",
        link.guest.peer,
        link.in_flight(),
        traffic.received.load(Ordering::Relaxed),
        traffic.sent.load(Ordering::Relaxed),
    )
}

fn watches(hub: &Hub, text: &mut String) -> fmt::Result {
    let state = hub.lock();
    let (mut connections, mut total) = (BTreeSet::new(), 0);
    let paths = state.watches.paths();
    let path_count = paths.len();
    for (_, links) in paths {
        for link in links {
            connections.insert(link);
            total += 1;
        }
    }
    let connections = connections.len();
    writeln!(text, "{connections} connections watching {path_count} paths\nTotal watches:{total}")
}

fn watches_by_session(hub: &Hub, text: &mut String) -> fmt::Result {
    let sessions = sessions(hub);
    let state = hub.lock();
    let mut by_link: BTreeMap<LinkId, Vec<&str>> = BTreeMap::new();
    for (path, links) in state.watches.paths() {
        links.for_each(|link| by_link.entry(link).or_default().push(path));
    }
    for (link, paths) in by_link {
        writeln!(text, "0x{:x}", sessions.get(&link).copied().unwrap_or(0))?;
        paths.iter().try_for_each(|path| writeln!(text, "\t{path}"))?;
    }
    text.push('\n');
    Ok(())
}

fn watches_by_path(hub: &Hub, text: &mut String) -> fmt::Result {
    let sessions = sessions(hub);
    let state = hub.lock();
    for (path, mut links) in state.watches.paths() {
        writeln!(text, "{path}")?;
        links.try_for_each(|link| writeln!(text, "\t0x{:x}", sessions.get(&link).copied().unwrap_or(0)))?;
    }
    text.push('\n');
    Ok(())
}

/// The session of every connection that has one. Asked for before the state is locked: a
/// connection's own lock comes first.
fn sessions(hub: &Hub) -> BTreeMap<LinkId, i64> {
    let of = |link: &Arc<Link>| match link.phase() {
        Phase::Live(live) => Some((link.id, live.session)),
        Phase::Connecting | Phase::Over => None,
    };
    hub.links().iter().filter_map(of).collect()
}

fn reset(hub: &Hub, text: &mut String) -> fmt::Result {
    hub.traffic.reset();
    text.write_str("Server stats reset.\n")
}

fn reset_connections(hub: &Hub, text: &mut String) -> fmt::Result {
    hub.links().iter().for_each(|link| link.traffic.reset());
    text.write_str("Connection stats reset.\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use world::{Clock, Entropy};

    use super::*;
    use crate::Settings;

    fn hub(words: &[&str]) -> Hub {
        let four_letter_words = words.iter().map(|word| (*word).to_owned()).collect();
        let settings = Settings { four_letter_words, ..Settings::default() };
        Hub::new(settings, Clock::simulated(0), Entropy::seeded(1))
    }

    fn answer(hub: &Hub, word: &str) -> String {
        match typed(hub, word.as_bytes()) {
            Typed::Word(answer) => answer,
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn only_whitelisted_words_are_answered() {
        let some = hub(&["ruok"]);
        assert_eq!(typed(&some, b"nope"), Typed::Nothing);
        assert_eq!(typed(&some, b"ruo"), Typed::Nothing);
        assert_eq!(answer(&some, "ruok"), "imok");
        assert_eq!(answer(&some, "envi"), "envi is not executed because it is not in the whitelist.\n");
        let srvr = answer(&some, "srvr");
        assert!(srvr.starts_with("Zookeeper version: 3.9.5-"), "{srvr}");
        assert!(srvr.ends_with("\nZxid: 0x0\nMode: standalone\nNode count: 5\n"), "{srvr}");
        let all = hub(&["*"]);
        for (word, _) in WORDS {
            assert!(!answer(&all, &format!("{word}01234567")).contains("whitelist"), "{word}");
            assert!(word == "ruok" || word == "srvr" || answer(&some, word).contains("whitelist"), "{word}");
        }
    }

    /// As ZooKeeper 3.9.5 answers: the mask, and nothing else.
    #[test]
    fn the_trace_mask_is_what_was_set_last() {
        let hub = hub(&["gtmk", "stmk"]);
        assert_eq!(answer(&hub, "gtmk"), "306");
        for mask in [2, -1, i64::MIN, 306] {
            let bytes = [&b"stmk"[..], &mask.to_be_bytes()].concat();
            for missing in 1..=8 {
                assert_eq!(typed(&hub, &bytes[..bytes.len() - missing]), Typed::Unfinished);
            }
            assert_eq!(typed(&hub, &bytes), Typed::Word(mask.to_string()));
            assert_eq!(answer(&hub, "gtmk"), mask.to_string());
        }
    }

    /// As a ZooKeeper 3.9.5 with `zookeeper.digest.enabled=false` answers after 0x130 transactions.
    #[test]
    fn no_digests_are_told_for_the_transactions_that_have_some() {
        let hub = hub(&["hash"]);
        let after = |zxid| {
            hub.lock().replica.zxid = zxid;
            answer(&hub, "hash")
        };
        assert_eq!((after(127).as_str(), after(128).as_str()), ("", "80: 0\n"));
        assert_eq!(after(0x130), "80: 0\n100: 0\n");
        let many = after(5000 * 128);
        assert_eq!(many.lines().count(), 1024);
        assert!(many.starts_with("7c480: 0\n") && many.ends_with("\n9c400: 0\n"), "{many}");
        hub.restored_zxid.store(4999 * 128 + 5, Ordering::Relaxed);
        assert_eq!(after(5000 * 128), "9c400: 0\n", "those before the start are forgotten");
    }

    #[test]
    fn the_sizes_of_folders_are_those_of_their_files() {
        let disk = world::Disk::in_memory();
        for (name, bytes) in [("data/a", 30), ("data/b", 12), ("journal/a", 5)] {
            disk.make_folder(name.split_once('/').unwrap().0).unwrap();
            disk.create(name, bytes).unwrap();
        }
        let folders = Folders { disk, data: "data", log: "journal" };
        let settings = Settings {
            four_letter_words: vec!["dirs".to_owned()],
            folders: Some(folders),
            ..Settings::default()
        };
        let hub = Hub::new(settings, Clock::simulated(0), Entropy::seeded(1));
        assert_eq!(answer(&hub, "dirs"), "datadir_size: 42\nlogdir_size: 5\n");
    }
}
