//! Stories: scripts of what clients do, with what they then see. See `tests/golden/`.
//!
//! A line `name> command` is done by the client of that name (`door>` is the house itself); the
//! lines below are all that any client received from it, `name< message`. Lines that begin with `#` are
//! for the reader. To accept what a changed
//! door says, run the tests with `UPDATE_GOLDEN=1` and read the difference.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, time::Duration};

use super::{Durable, House, client::*};
use crate::{Settings, reaper::reap_some, serve::expire};

/// How much of the tree is in memory.
#[derive(Clone, Copy, Debug)]
enum Memory {
    /// All of it.
    Roomy,
    /// A few znodes, and the disk is slow.
    Tiny,
}

struct Story {
    house: House,
    clients: BTreeMap<String, Client>,
}

impl Story {
    fn new(memory: Memory) -> Story {
        let words = "ruok isro stat mntr conf cons dump dirs gtmk hash wchs wchc wchp srst crst";
        let four_letter_words = words.split(' ').map(str::to_owned).collect();
        // The operator's user is `super` with the password `secret`.
        let super_digest = Some("super:lK75jTNcA+U9vtVEw5vB51mj/w4=".to_owned());
        let (cache_bytes, state) = match memory {
            Memory::Roomy => (64 << 20, Durable::default()),
            Memory::Tiny => (2 << 10, Durable::default().cold()),
        };
        let settings =
            Settings { four_letter_words, super_digest, in_flight: 4, cache_bytes, ..Settings::default() };
        Story { house: House::after(settings, state, &[]), clients: BTreeMap::new() }
    }

    fn step(&mut self, who: &str, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        match who {
            "door" => self.door(&words),
            _ => self.client(who, &words),
        }
        let mut told = String::new();
        for (name, client) in &mut self.clients {
            for line in client.receive() {
                writeln!(told, "{name}< {line}").unwrap();
            }
        }
        told
    }

    fn door(&mut self, words: &[&str]) {
        match words {
            ["hold"] => self.house.machine.hold(),
            ["release"] => self.house.machine.release(),
            ["release", "one"] => self.house.machine.release_one(),
            ["refuse", "busy"] => self.house.machine.refuse(Some(base::Cause::busy("full"))),
            ["refuse", "uncertain"] => self.house.machine.refuse(Some(base::Cause::uncertain("late"))),
            ["refuse", "nothing"] => self.house.machine.refuse(None),
            ["reap"] => {
                // Twice, for a container may become empty when the one in it goes.
                for _ in 0..2 {
                    assert_eq!(reap_some(&self.house.service, ""), None, "few enough for one step");
                }
            }
            ["wait", ms] => {
                self.house.clock.advance(Duration::from_millis(ms.parse().unwrap()));
                expire(&self.house.service);
            }
            // An operator's setting, so before anybody comes.
            ["enforces", "quotas"] => {
                assert!(self.clients.is_empty() && self.house.machine.log().is_empty());
                let settings = Settings { enforce_quota: true, ..self.house.hub().settings.clone() };
                self.house = House::after(settings, self.house.machine.state(), &[]);
            }
            ["restart"] => {
                let (state, log) = (self.house.machine.state(), self.house.machine.log());
                let settings = self.house.hub().settings.clone();
                let replayed = House::after(settings.clone(), Durable::default(), &log);
                assert!(replayed.machine.state() == state, "the log replayed gives the same state");
                self.clients.clear();
                self.house = House::after(settings, state, &[]);
            }
            _ => panic!("the door cannot {words:?}"),
        }
        for client in self.clients.values_mut().filter(|client| client.holds_back()) {
            client.feed();
        }
    }

    fn client(&mut self, who: &str, words: &[&str]) {
        if let ["connects", rest @ ..] = words {
            let mut ticket = match rest {
                [_, "as", other, ..] => self.clients[*other].talk.ticket,
                _ => Ticket::default(),
            };
            match rest.last() {
                Some(&"wrong-password") => ticket.password = [1; 16],
                Some(&"from-the-future") => ticket.last_zxid = 1000,
                _ => {}
            }
            let timeout_ms = rest.first().map_or(10_000, |timeout| timeout.parse().unwrap());
            let client = Client::connect(&self.house, timeout_ms, ticket);
            self.clients.insert(who.to_owned(), client);
            return;
        }
        if let ["types", text] = words {
            let mut client = Client::silent(&self.house);
            client.send(text.as_bytes());
            self.clients.insert(who.to_owned(), client);
            return;
        }
        if let ["sends", hex] = words {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let house = &self.house;
            let client = self.clients.entry(who.to_owned()).or_insert_with(|| Client::silent(house));
            client.send_recorded(&bytes);
            return;
        }
        if words == ["vanishes"] {
            self.clients.remove(who);
            return;
        }
        let client = self.clients.get_mut(who).expect("a client that connected");
        let (code, record) = request(&words.join(" "));
        client.request(code, &record);
    }
}

fn run(script: &str, memory: Memory) -> String {
    let mut story = Story::new(memory);
    let mut told = String::new();
    for line in script.lines() {
        if let Some((who, command)) = line.split_once("> ") {
            writeln!(told, "{line}").unwrap();
            told.push_str(&story.step(who, command));
        } else if !line.contains("< ") {
            writeln!(told, "{line}").unwrap();
        }
    }
    told
}

/// The text without the numbers of descriptors, which are those of the process that runs the tests.
fn without_descriptors(text: &str) -> String {
    const NAME: &str = "_file_descriptor_count\\t";
    let mut parts = text.split(NAME);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(NAME);
        out.push('N');
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// The text with times as 0, as in what a peer told.
fn without_times(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once("time=") {
        Some((which @ ("c" | "m"), _)) => format!("{which}time=0"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn stories_go_as_they_are_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        // A `.peer` is a story told by ZooKeeper itself, and is never rewritten.
        let told_by_peer = path.extension().is_some_and(|extension| extension == "peer");
        if !told_by_peer && path.extension().is_none_or(|extension| extension != "story") {
            continue;
        }
        count += 1;
        let script = fs::read_to_string(&path).unwrap();
        let tell = |memory| {
            let told = without_descriptors(&run(&script, memory));
            if told_by_peer { without_times(&told) } else { told }
        };
        let told = tell(Memory::Roomy);
        if !told_by_peer && std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, told).unwrap();
            continue;
        }
        for told in [told, tell(Memory::Tiny)] {
            for (number, (expected, got)) in script.lines().zip(told.lines()).enumerate() {
                assert_eq!(got, expected, "{}:{}", path.display(), number + 1);
            }
            assert_eq!(told.lines().count(), script.lines().count(), "{}", path.display());
        }
    }
    assert!(count >= 18, "only {count} stories were found");
}
