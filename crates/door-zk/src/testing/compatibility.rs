//! `docs/zookeeper/compatibility.md`: what of ZooKeeper is there, a row an operation, each with the
//! story that shows it. Written from the table of operations, so none is missing;
//! `UPDATE_GOLDEN=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fmt::Write, fs, path::Path};

use crate::{ops::OPERATIONS, wire::request::opcode};

/// What there is to say of an operation, and a story with the command that asks for it.
struct Row {
    name: &'static str,
    remark: &'static str,
    story: &'static str,
    command: &'static str,
}

const fn row(name: &'static str, remark: &'static str, story: &'static str, command: &'static str) -> Row {
    Row { name, remark, story, command }
}

/// By name of the operation.
const ROWS: [Row; 25] = [
    row("addWatch", "persistent and recursive", "lasting.peer", "addwatch"),
    row("checkWatches", "every type of watch", "lasting.peer", "checkwatches"),
    row("closeSession", "one zxid for the session and its ephemeral znodes", "sessions.story", "close"),
    row("create", "persistent, ephemeral, both sequential or not", "sequence.story", "create"),
    row("create2", "as create, and the Stat", "stat.story", "create2"),
    row(
        "createContainer",
        "removed when it has become empty; looked for every `zookeeper.reap_ms`",
        "lifetimes.peer",
        "create /c mode=container",
    ),
    row(
        "createTTL",
        "as with ZooKeeper's extended types; the time counts from the last data",
        "lifetimes.peer",
        "create /t ttl=1500",
    ),
    row("delete", "with versions", "errors.story", "delete"),
    row(
        "exists",
        "linearizable; one-shot watches, also for what is not there yet",
        "watches.story",
        "exists",
    ),
    row("getACL", "hashes only for those who may set the list", "acl.peer", "getacl"),
    row("getAllChildrenNumber", "counted as the tree changes", "lifetimes.peer", "count"),
    row("getChildren", "linearizable; one-shot watches", "watches.story", "children"),
    row("getChildren2", "as getChildren, and the Stat", "stat.story", "children2"),
    row("getData", "linearizable; one-shot watches", "watches.story", "get"),
    row("getEphemerals", "of the session", "lifetimes.peer", "ephemerals"),
    row("multi", "create in its four forms, delete, setData, check; all or none", "multi.story", "multi"),
    row(
        "multiRead",
        "getData, getChildren; each with its own error; cut at 8 MiB",
        "lifetimes.peer",
        "multiread",
    ),
    row(
        "reconfig",
        "`ReconfigDisabled`, as on a server that has it switched off",
        "errors.story",
        "reconfig",
    ),
    row("removeWatches", "every type of watch", "lasting.peer", "removewatches"),
    row(
        "setACL",
        "schemes `world`, `auth`, `digest`, `ip`, `x509`; enforced on every operation and event",
        "acl.peer",
        "setacl",
    ),
    row("setData", "with versions", "stat.story", "set"),
    row("setWatches", "what was missed is told before the answer", "lasting.peer", "setwatches"),
    row("setWatches2", "as setWatches, with the watches that stay", "lasting.peer", "setwatches2"),
    row("sync", "answers its path; reads need no sync here", "acl.peer", "sync"),
    row("whoAmI", "schemes and users, never a hash", "acl.peer", "whoami"),
];

/// What is no row of the table of operations.
const OTHERS: [(&str, i32, Row); 3] = [
    ("ping", opcode::PING, row("ping", "answered in its turn, as ZooKeeper does", "order.story", "ping")),
    (
        "auth",
        opcode::AUTH,
        row(
            "auth",
            "`digest`, `ip`; the operator's user (`zookeeper.super_digest`) may do everything",
            "acl.peer",
            "auth digest",
        ),
    ),
    (
        "sasl",
        opcode::SASL,
        row("sasl", "a null token, as on a server without a mechanism", "refusals.story", "sasl"),
    ),
];

fn page() -> String {
    let mut rows: Vec<(i32, &Row)> = OTHERS.iter().map(|(_, code, row)| (*code, row)).collect();
    for operation in &OPERATIONS {
        let row = ROWS.iter().find(|row| row.name == operation.name);
        rows.push((operation.code, row.unwrap_or_else(|| panic!("{} has no row", operation.name))));
    }
    assert_eq!(rows.len(), ROWS.len() + OTHERS.len(), "a row for what is no operation");
    rows.sort_by_key(|(code, _)| *code);
    let mut page = String::from(
        "# ZooKeeper: what is there\n\n\
         Written by a test from the table of operations (`UPDATE_GOLDEN=1 cargo test -p door-zk`). A story\n\
         that ends with `.peer` was told by ZooKeeper 3.9.5 itself. What is refused, and where the door\n\
         differs on purpose, stands in `crates/door-zk/README.md`.\n\n\
         | opcode | operation | remarks | story |\n|---|---|---|---|\n",
    );
    for (code, row) in rows {
        let Row { name, remark, story, .. } = row;
        writeln!(page, "| {code} | {name} | {remark} | `{story}` |").unwrap();
    }
    page
}

#[test]
fn the_page_of_compatibility_has_every_operation_and_its_story() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in ROWS.iter().chain(OTHERS.iter().map(|(_, _, row)| row)) {
        let story = fs::read_to_string(crate_root.join("tests/golden").join(row.story)).unwrap();
        let asks = |line: &str| {
            line.split_once("> ").is_some_and(|(_, command)| {
                command == row.command || command.starts_with(&format!("{} ", row.command))
            })
        };
        assert!(story.lines().any(asks), "{} does not tell of {}", row.story, row.name);
    }
    let path = crate_root.join("../../docs/zookeeper/compatibility.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), page());
}
