//! Stories: scripts of what clients do, with what they then see. See `tests/golden/`.
//!
//! A line `name> command` is done by the client of that name (`door>` is the house itself); the
//! lines below are all that any client received from it, `name< message`. Lines that begin with `#` are
//! for the reader. To accept what a changed
//! door says, run the tests with `UPDATE_GOLDEN=1` and read the difference.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, time::Duration};

use super::{Durable, House, client::*};
use crate::{Settings, serve::expire, wire::request::opcode};

struct Story {
    house: House,
    clients: BTreeMap<String, Client>,
}

impl Story {
    fn new() -> Story {
        let four_letter_words = vec!["ruok".to_owned(), "isro".to_owned()];
        let settings = Settings { four_letter_words, in_flight: 4, ..Settings::default() };
        Story { house: House::new(settings), clients: BTreeMap::new() }
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
            ["wait", ms] => {
                self.house.clock.advance(Duration::from_millis(ms.parse().unwrap()));
                expire(&self.house.service);
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
                [_, "as", other, ..] => self.clients[*other].ticket,
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
        let text = words.join(" ");
        if let Some(list) = text.strip_prefix("multi") {
            let operations: Vec<_> = list
                .split(';')
                .filter(|part| !part.trim().is_empty())
                .map(|part| operation(&part.split_whitespace().collect::<Vec<_>>()))
                .collect();
            client.request(opcode::MULTI, &transaction(&operations));
            return;
        }
        let (code, record) = operation(words);
        client.request(code, &record);
    }
}

/// An operation and its record.
fn operation(words: &[&str]) -> (i32, Vec<u8>) {
    let options = &words[1..];
    let flag = |name: &str| options.contains(&name);
    let option = |name: &str| {
        options.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let version = option("version").map_or(-1, |version| version.parse().unwrap());
    let path = options.first().map_or("", |path| if *path == "''" { "" } else { path });
    let data = option("data").map(String::into_bytes);
    match words[0] {
        "create" | "create2" => {
            let mode = match option("mode").as_deref() {
                None => 0,
                Some("ephemeral") => 1,
                Some("sequential") => 2,
                Some("ephemeral-sequential") => 3,
                Some(number) => number.parse().unwrap(),
            };
            let acl = match option("acl").as_deref() {
                None => vec![(31, "world", "anyone")],
                Some("none") => vec![],
                Some("digest") => vec![(31, "digest", "u:h")],
                Some(perms) => vec![(perms.parse().unwrap(), "world", "anyone")],
            };
            let code = if words[0] == "create" { opcode::CREATE } else { opcode::CREATE2 };
            (code, create(path, data.as_deref(), &acl, mode))
        }
        "delete" => (opcode::DELETE, versioned(path, version)),
        "check" => (opcode::CHECK, versioned(path, version)),
        "set" => (opcode::SET_DATA, set_data(path, data.as_deref(), version)),
        "exists" => (opcode::EXISTS, look(path, flag("watch"))),
        "get" => (opcode::GET_DATA, look(path, flag("watch"))),
        "children" => (opcode::GET_CHILDREN, look(path, flag("watch"))),
        "children2" => (opcode::GET_CHILDREN2, look(path, flag("watch"))),
        "sync" => (opcode::SYNC, look(path, false)),
        "ping" => (opcode::PING, vec![]),
        "close" => (opcode::CLOSE_SESSION, vec![]),
        "auth" => (opcode::AUTH, vec![]),
        "garbled" => (options[0].parse().unwrap(), vec![0, 0, 0, 9]),
        number => (number.parse().unwrap(), vec![]),
    }
}

fn run(script: &str) -> String {
    let mut story = Story::new();
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
        let told = run(&script);
        if !told_by_peer && std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, told).unwrap();
            continue;
        }
        for (number, (expected, got)) in script.lines().zip(told.lines()).enumerate() {
            assert_eq!(got, expected, "{}:{}", path.display(), number + 1);
        }
        assert_eq!(told.lines().count(), script.lines().count(), "{}", path.display());
    }
    assert!(count >= 11, "only {count} stories were found");
}
