//! Four-letter words: what operators and monitors type into the port instead of a connect request.
//!
//! The first four bytes of a connection decide: read as a length they would be far too long. A
//! word that is known and not whitelisted is answered as ZooKeeper answers it; what is no word at
//! all is an unreasonable length. Answers have ZooKeeper's lines and names of fields; of `mntr` and
//! `cons`, those fields that this door knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    sync::{Arc, atomic::Ordering},
};

use store::Patience;

use crate::{
    hub::Hub,
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

/// Every word that ZooKeeper 3.9 knows, with its answer if this door has one.
const WORDS: [(&str, Option<Answer>); 18] = [
    ("conf", Some(configuration)),
    ("cons", Some(connections)),
    ("crst", Some(reset_connections)),
    ("dirs", None),
    ("dump", Some(ephemerals)),
    ("envi", Some(environment)),
    ("gtmk", None),
    ("hash", None),
    ("isro", Some(|_, text| text.write_str("rw"))),
    ("mntr", Some(monitor)),
    ("ruok", Some(|_, text| text.write_str("imok"))),
    ("srst", Some(reset)),
    ("srvr", Some(server)),
    ("stat", Some(statistics)),
    ("stmk", None),
    ("wchc", Some(watches_by_session)),
    ("wchp", Some(watches_by_path)),
    ("wchs", Some(watches)),
];

/// The word that these bytes are, if any.
pub(crate) fn known(bytes: [u8; 4]) -> Option<&'static str> {
    WORDS.into_iter().map(|(word, _)| word).find(|word| word.as_bytes() == bytes)
}

/// The answer to a word.
pub(crate) fn answer(hub: &Hub, word: &str) -> String {
    let named = |entry: &String| entry == word || entry == "*";
    let allowed = word == "srvr" || hub.settings.four_letter_words.iter().any(named);
    let found = WORDS.iter().find(|(known, _)| *known == word).and_then(|(_, answer)| *answer);
    match found {
        Some(answer) if allowed => {
            let mut text = String::new();
            answer(hub, &mut text).expect("writing to a string does not fail");
            text
        }
        _ => format!("{word} is not executed because it is not in the whitelist.\n"),
    }
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

fn ephemerals(hub: &Hub, text: &mut String) -> fmt::Result {
    let state = hub.lock();
    let tree = &state.replica.tree;
    writeln!(text, "ephemeral nodes dump:\nSessions with Ephemerals ({}):", tree.owners().len())?;
    for session in tree.owners() {
        writeln!(text, "0x{session:x}:")?;
        tree.ephemerals(session).try_for_each(|path| writeln!(text, "\t{path}"))?;
    }
    Ok(())
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
    use world::{Clock, Entropy};

    use super::*;
    use crate::Settings;

    fn hub(words: &[&str]) -> Hub {
        let four_letter_words = words.iter().map(|word| (*word).to_owned()).collect();
        let settings = Settings { four_letter_words, ..Settings::default() };
        Hub::new(settings, Clock::simulated(0), Entropy::seeded(1))
    }

    #[test]
    fn only_whitelisted_words_are_answered() {
        let some = hub(&["ruok"]);
        assert_eq!(known(*b"ruok"), Some("ruok"));
        assert_eq!(known(*b"nope"), None);
        assert_eq!(answer(&some, "ruok"), "imok");
        assert_eq!(answer(&some, "envi"), "envi is not executed because it is not in the whitelist.\n");
        let srvr = answer(&some, "srvr");
        assert!(srvr.starts_with("Zookeeper version: 3.9.5-"), "{srvr}");
        assert!(srvr.ends_with("\nZxid: 0x0\nMode: standalone\nNode count: 5\n"), "{srvr}");
        let all = hub(&["*"]);
        for (word, has_answer) in WORDS.map(|(word, answer)| (word, answer.is_some())) {
            assert_eq!(answer(&all, word).contains("whitelist"), !has_answer, "{word}");
        }
    }
}
