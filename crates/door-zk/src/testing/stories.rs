//! Stories: scripts of what clients do, with what they then see. See `tests/golden/`.
//!
//! A line `name> command` is done by the client of that name (`door>` is the house itself); the
//! lines below are all that any client received from it, `name< message`. Lines that begin with `#` are
//! for the reader. To accept what a changed
//! door says, run the tests with `UPDATE_GOLDEN=1` and read the difference.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, time::Duration};

use super::{Durable, House, client::*};
use crate::{Settings, reaper::reap_some, serve::expire, wire::request::opcode};

struct Story {
    house: House,
    clients: BTreeMap<String, Client>,
}

impl Story {
    fn new() -> Story {
        let words = "ruok isro stat mntr conf cons dump wchs wchc wchp srst crst";
        let four_letter_words = words.split(' ').map(str::to_owned).collect();
        // The operator's user is `super` with the password `secret`.
        let super_digest = Some("super:lK75jTNcA+U9vtVEw5vB51mj/w4=".to_owned());
        let settings = Settings { four_letter_words, super_digest, in_flight: 4, ..Settings::default() };
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
                self.house = House::new(settings);
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
        if words[0] == "multi" || words[0] == "multiread" {
            let list = text.strip_prefix(words[0]).unwrap();
            let operations: Vec<_> = list
                .split(';')
                .filter(|part| !part.trim().is_empty())
                .map(|part| operation(&part.split_whitespace().collect::<Vec<_>>()))
                .collect();
            let code = if words[0] == "multi" { opcode::MULTI } else { opcode::MULTI_READ };
            client.request(code, &transaction(&operations));
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
                Some("container") => 4,
                Some(number) => number.parse().unwrap(),
            };
            let list = option("acl");
            let acl = acl(list.as_deref());
            if let Some(ttl) = option("ttl") {
                let mode = if mode == 2 { 6 } else { 5 };
                let mode = option("flags").map_or(mode, |flags| flags.parse().unwrap());
                let mut record = create(path, data.as_deref(), &acl, mode);
                record.extend_from_slice(&ttl.parse::<i64>().unwrap().to_be_bytes());
                return (opcode::CREATE_TTL, record);
            }
            let code = match words[0] {
                _ if option("mode").as_deref() == Some("container") => opcode::CREATE_CONTAINER,
                "create" => opcode::CREATE,
                _ => opcode::CREATE2,
            };
            (code, create(path, data.as_deref(), &acl, mode))
        }
        "delete" => (opcode::DELETE, versioned(path, version)),
        "check" => (opcode::CHECK, versioned(path, version)),
        "ephemerals" => (opcode::GET_EPHEMERALS, text(path)),
        "count" => (opcode::GET_ALL_CHILDREN_NUMBER, text(path)),
        "getacl" => (opcode::GET_ACL, text(path)),
        "setacl" => (opcode::SET_ACL, set_acl(path, &acl(option("acl").as_deref()), version)),
        "addwatch" => {
            let mode = match option("mode").unwrap().as_str() {
                "persistent" => 0,
                "recursive" => 1,
                number => number.parse().unwrap(),
            };
            (opcode::ADD_WATCH, versioned(path, mode))
        }
        "checkwatches" | "removewatches" => {
            let kind = match option("type").unwrap().as_str() {
                "children" => 1,
                "data" => 2,
                "any" => 3,
                "persistent" => 4,
                "recursive" => 5,
                number => number.parse().unwrap(),
            };
            let code =
                if words[0] == "checkwatches" { opcode::CHECK_WATCHES } else { opcode::REMOVE_WATCHES };
            (code, versioned(path, kind))
        }
        "setwatches" | "setwatches2" => {
            let zxid = option("zxid").unwrap().parse().unwrap();
            let (code, names) = if words[0] == "setwatches" {
                (opcode::SET_WATCHES, &["data", "exist", "children"][..])
            } else {
                (opcode::SET_WATCHES2, &["data", "exist", "children", "persistent", "recursive"][..])
            };
            let lists: Vec<_> = names.iter().map(|name| option(name).unwrap_or_default()).collect();
            (code, set_watches(zxid, &lists))
        }
        "whoami" => (opcode::WHO_AM_I, vec![]),
        "set" => (opcode::SET_DATA, set_data(path, data.as_deref(), version)),
        "exists" => (opcode::EXISTS, look(path, flag("watch"))),
        "get" => (opcode::GET_DATA, look(path, flag("watch"))),
        "children" => (opcode::GET_CHILDREN, look(path, flag("watch"))),
        "children2" => (opcode::GET_CHILDREN2, look(path, flag("watch"))),
        "sync" => (opcode::SYNC, look(path, false)),
        "ping" => (opcode::PING, vec![]),
        "close" => (opcode::CLOSE_SESSION, vec![]),
        "auth" => (opcode::AUTH, options.first().map_or(vec![], |scheme| auth(scheme, options.get(1)))),
        "sasl" => (opcode::SASL, text("token")),
        "reconfig" => (opcode::RECONFIG, [&text("")[..], &text(""), &text("members"), &[0; 8]].concat()),
        "garbled" => (options[0].parse().unwrap(), vec![0, 0, 0, 9]),
        number => (number.parse().unwrap(), vec![]),
    }
}

/// A list as a story writes it: `perms/scheme/id,…`, or only the permissions of everyone.
fn acl(list: Option<&str>) -> Vec<(i32, &str, &str)> {
    match list {
        None => vec![(31, "world", "anyone")],
        Some("none") => vec![],
        Some(list) if !list.contains('/') => vec![(list.parse().unwrap(), "world", "anyone")],
        Some(list) => {
            let entries = list.split(',').map(|entry| entry.splitn(3, '/').collect::<Vec<_>>());
            entries.map(|parts| (parts[0].parse().unwrap(), parts[1], parts[2])).collect()
        }
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
        let mut told = run(&script);
        if told_by_peer {
            told = without_times(&told);
        }
        if !told_by_peer && std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, told).unwrap();
            continue;
        }
        for (number, (expected, got)) in script.lines().zip(told.lines()).enumerate() {
            assert_eq!(got, expected, "{}:{}", path.display(), number + 1);
        }
        assert_eq!(told.lines().count(), script.lines().count(), "{}", path.display());
    }
    assert!(count >= 18, "only {count} stories were found");
}
