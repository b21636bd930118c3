//! Commands to requests: `create /a data=x mode=ephemeral` to an opcode and its record.
//!
//! The words of a command are an operation, a path, and options (`name=value`, or a bare flag). An
//! operation that is a number is that opcode with an empty record.

use crate::wire::{
    jute::{put_bool, put_buffer, put_i32, put_str},
    request::opcode,
};

/// An opcode and the record behind it.
pub type Request = (i32, Vec<u8>);

/// The request that `command` asks for.
///
/// # Panics
/// If a number of the command is none.
pub fn request(command: &str) -> Request {
    for (word, code) in [("multiread", opcode::MULTI_READ), ("multi", opcode::MULTI)] {
        if let Some(list) = command.strip_prefix(word) {
            let parts = list.split(';').filter(|part| !part.trim().is_empty());
            let operations: Vec<Request> = parts.map(|part| single(&words(part))).collect();
            return (code, transaction(&operations));
        }
    }
    single(&words(command))
}

fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

/// The options of a command.
struct Options<'a>(&'a [&'a str]);

impl<'a> Options<'a> {
    fn flag(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str, otherwise: i32) -> i32 {
        self.value(name).map_or(otherwise, number)
    }

    fn data(&self) -> Option<&'a [u8]> {
        self.value("data").map(str::as_bytes)
    }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

/// A number that may have a name.
fn named(word: &str, names: &[(&str, i32)]) -> i32 {
    names.iter().find(|(name, _)| *name == word).map_or_else(|| number(word), |(_, code)| *code)
}

fn single(words: &[&str]) -> Request {
    let (operation, rest) = words.split_first().unwrap_or((&"", &[]));
    let options = Options(rest);
    let path = rest.first().map_or("", |path| if *path == "''" { "" } else { path });
    let version = options.number("version", -1);
    match *operation {
        "create" | "create2" => creation(operation, path, &options),
        "delete" => (opcode::DELETE, versioned(path, version)),
        "check" => (opcode::CHECK, versioned(path, version)),
        "ephemerals" => (opcode::GET_EPHEMERALS, text(path)),
        "count" => (opcode::GET_ALL_CHILDREN_NUMBER, text(path)),
        "getacl" => (opcode::GET_ACL, text(path)),
        "setacl" => (opcode::SET_ACL, set_acl(path, &acl(options.value("acl")), version)),
        "addwatch" => {
            let mode = named(options.value("mode").unwrap_or("0"), &[("persistent", 0), ("recursive", 1)]);
            (opcode::ADD_WATCH, versioned(path, mode))
        }
        "checkwatches" | "removewatches" => {
            let kinds = [("children", 1), ("data", 2), ("any", 3), ("persistent", 4), ("recursive", 5)];
            let kind = named(options.value("type").unwrap_or("any"), &kinds);
            let checks = *operation == "checkwatches";
            (if checks { opcode::CHECK_WATCHES } else { opcode::REMOVE_WATCHES }, versioned(path, kind))
        }
        "setwatches" | "setwatches2" => {
            let kinds = ["data", "exist", "children", "persistent", "recursive"];
            let (code, kinds) = match *operation {
                "setwatches" => (opcode::SET_WATCHES, &kinds[..3]),
                _ => (opcode::SET_WATCHES2, &kinds[..]),
            };
            let lists: Vec<&str> = kinds.iter().map(|kind| options.value(kind).unwrap_or("")).collect();
            (code, set_watches(options.value("zxid").map_or(0, number), &lists))
        }
        "whoami" => (opcode::WHO_AM_I, vec![]),
        "set" => (opcode::SET_DATA, set_data(path, options.data(), version)),
        "exists" => (opcode::EXISTS, look(path, options.flag("watch"))),
        "get" => (opcode::GET_DATA, look(path, options.flag("watch"))),
        "children" => (opcode::GET_CHILDREN, look(path, options.flag("watch"))),
        "children2" => (opcode::GET_CHILDREN2, look(path, options.flag("watch"))),
        "sync" => (opcode::SYNC, look(path, false)),
        "ping" => (opcode::PING, vec![]),
        "close" => (opcode::CLOSE_SESSION, vec![]),
        "auth" => (opcode::AUTH, rest.first().map_or(vec![], |scheme| auth(scheme, rest.get(1)))),
        "sasl" => (opcode::SASL, text("token")),
        "reconfig" => (opcode::RECONFIG, [&text("")[..], &text(""), &text("members"), &[0; 8]].concat()),
        "garbled" => (number(path), vec![0, 0, 0, 9]),
        code => (number(code), vec![]),
    }
}

fn creation(operation: &str, path: &str, options: &Options<'_>) -> Request {
    let modes =
        [("ephemeral", 1), ("sequential", 2), ("ephemeral-sequential", 3), ("container", CONTAINER_MODE)];
    let mode = options.value("mode").map_or(0, |mode| named(mode, &modes));
    let acl = acl(options.value("acl"));
    if let Some(ttl) = options.value("ttl") {
        let mode = if mode == 2 { 6 } else { 5 };
        let mut record = create(path, options.data(), &acl, options.number("flags", mode));
        record.extend_from_slice(&number::<i64>(ttl).to_be_bytes());
        return (opcode::CREATE_TTL, record);
    }
    let code = match operation {
        _ if options.flag("mode=container") => opcode::CREATE_CONTAINER,
        "create" => opcode::CREATE,
        _ => opcode::CREATE2,
    };
    (code, create(path, options.data(), &acl, mode))
}

const CONTAINER_MODE: i32 = 4;

/// The access control list by which everyone may do everything.
pub const EVERYONE: [(i32, &str, &str); 1] = [(31, "world", "anyone")];

/// A list as a script writes it: `perms/scheme/id,…`, or only the permissions of everyone.
fn acl(list: Option<&str>) -> Vec<(i32, &str, &str)> {
    match list {
        None => EVERYONE.to_vec(),
        Some("none") => vec![],
        Some(list) if !list.contains('/') => vec![(number(list), "world", "anyone")],
        Some(list) => list
            .split(',')
            .map(|text| entry(text).unwrap_or_else(|| panic!("`{text}` is no entry")))
            .collect(),
    }
}

fn entry(text: &str) -> Option<(i32, &str, &str)> {
    let (perms, rest) = text.split_once('/')?;
    let (scheme, id) = rest.split_once('/')?;
    Some((number(perms), scheme, id))
}

/// Encodes the record of create; that of createTTL has the time behind it.
pub fn create(path: &str, data: Option<&[u8]>, acl: &[(i32, &str, &str)], mode: i32) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    put_buffer(&mut out, data);
    put_acl(&mut out, acl);
    put_i32(&mut out, mode);
    out
}

/// Encodes a path and a number: the records of delete, check, addWatch and removeWatches.
pub fn versioned(path: &str, version: i32) -> Vec<u8> {
    let mut out = text(path);
    put_i32(&mut out, version);
    out
}

/// Encodes a record that is a path.
pub fn text(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    out
}

/// Encodes the record of setWatches: lists of paths, with commas between them.
pub fn set_watches(zxid: i64, lists: &[&str]) -> Vec<u8> {
    let mut out = zxid.to_be_bytes().to_vec();
    for list in lists {
        let paths: Vec<&str> = list.split(',').filter(|path| !path.is_empty()).collect();
        put_i32(&mut out, paths.len() as i32);
        paths.iter().for_each(|path| put_str(&mut out, path));
    }
    out
}

/// Encodes the record of setACL.
pub fn set_acl(path: &str, acl: &[(i32, &str, &str)], version: i32) -> Vec<u8> {
    let mut out = text(path);
    put_acl(&mut out, acl);
    put_i32(&mut out, version);
    out
}

/// Encodes the record of auth; without credentials they are null.
pub fn auth(scheme: &str, credentials: Option<&&str>) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_str(&mut out, scheme);
    put_buffer(&mut out, credentials.map(|text| text.as_bytes()));
    out
}

fn put_acl(out: &mut Vec<u8>, acl: &[(i32, &str, &str)]) {
    put_i32(out, acl.len() as i32);
    for (perms, scheme, id) in acl {
        put_i32(out, *perms);
        put_str(out, scheme);
        put_str(out, id);
    }
}

/// Encodes the record of setData.
pub fn set_data(path: &str, data: Option<&[u8]>, version: i32) -> Vec<u8> {
    let mut out = text(path);
    put_buffer(&mut out, data);
    put_i32(&mut out, version);
    out
}

/// Encodes the record of the reads.
pub fn look(path: &str, watch: bool) -> Vec<u8> {
    let mut out = text(path);
    put_bool(&mut out, watch);
    out
}

/// Encodes the record of multi.
pub fn transaction(operations: &[Request]) -> Vec<u8> {
    let mut out = Vec::new();
    for (code, record) in operations {
        put_i32(&mut out, *code);
        put_bool(&mut out, false);
        put_i32(&mut out, -1);
        out.extend_from_slice(record);
    }
    put_i32(&mut out, -1);
    put_bool(&mut out, true);
    put_i32(&mut out, -1);
    out
}
