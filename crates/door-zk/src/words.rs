//! Four-letter words: what operators and monitors type into the port instead of a connect request.
//!
//! The first four bytes of a connection decide: read as a length they would be far too long. A
//! word that is known and not whitelisted is answered as ZooKeeper answers it; what is no word at
//! all is an unreasonable length.

use std::{fmt::Write, sync::atomic::Ordering};

use crate::hub::Hub;

/// The version that clients and tools see. They switch features on by its number, so it is the
/// number of the ZooKeeper whose behaviour this door has.
const VERSION: &str = concat!("3.9.5-holdfast-", env!("CARGO_PKG_VERSION"), ", built on an unknown day");

/// Every word that ZooKeeper 3.9 knows.
const KNOWN: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];

/// The word that these bytes are, if any.
pub(crate) fn known(bytes: [u8; 4]) -> Option<&'static str> {
    KNOWN.into_iter().find(|word| word.as_bytes() == bytes)
}

/// The answer to a word.
pub(crate) fn answer(hub: &Hub, word: &str) -> String {
    let allowed = word == "srvr" || hub.settings.four_letter_words.iter().any(|entry| entry == word);
    match word {
        "ruok" if allowed => "imok".to_owned(),
        "isro" if allowed => "rw".to_owned(),
        "srvr" if allowed => server(hub),
        "envi" if allowed => format!(
            "Environment:\nzookeeper.version={VERSION}\nos.name={}\nos.arch={}\n",
            std::env::consts::OS,
            std::env::consts::ARCH,
        ),
        _ => format!("{word} is not executed because it is not in the whitelist.\n"),
    }
}

fn server(hub: &Hub) -> String {
    let (zxid, nodes) = {
        let state = hub.lock();
        (state.replica.zxid, state.replica.tree.len())
    };
    let traffic = &hub.traffic;
    let sent = traffic.sent.load(Ordering::Relaxed);
    let average = traffic.latency_sum_ms.load(Ordering::Relaxed) as f64 / sent.max(1) as f64;
    let mut text = String::new();
    let written = write!(
        text,
        "Zookeeper version: {VERSION}\nLatency min/avg/max: {}/{:?}/{}\nReceived: {}\nSent: {sent}\n\
         Connections: {}\nOutstanding: {}\nZxid: 0x{zxid:x}\nMode: standalone\nNode count: {}\n",
        traffic.latency_min_ms(),
        (average * 10_000.0).round() / 10_000.0,
        traffic.latency_max_ms.load(Ordering::Relaxed),
        traffic.received.load(Ordering::Relaxed),
        traffic.connections.load(Ordering::Relaxed),
        traffic.outstanding.load(Ordering::Relaxed),
        // ZooKeeper keeps the root under two names and counts both.
        nodes + 1,
    );
    written.expect("writing to a string does not fail");
    text
}

#[cfg(test)]
mod tests {
    use world::{Clock, Entropy};

    use super::*;
    use crate::Settings;

    #[test]
    fn only_whitelisted_words_are_answered() {
        let hub = Hub::new(Settings::default(), Clock::simulated(0), Entropy::seeded(1));
        assert_eq!(known(*b"ruok"), Some("ruok"));
        assert_eq!(known(*b"nope"), None);
        assert_eq!(answer(&hub, "ruok"), "imok");
        assert_eq!(answer(&hub, "envi"), "envi is not executed because it is not in the whitelist.\n");
        let srvr = answer(&hub, "srvr");
        assert!(srvr.starts_with("Zookeeper version: 3.9.5-"), "{srvr}");
        assert!(srvr.ends_with("\nZxid: 0x0\nMode: standalone\nNode count: 5\n"), "{srvr}");
    }
}
