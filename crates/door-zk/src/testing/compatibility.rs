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
    row("getAllChildrenNumber", "counted when asked for, while others are served", "lifetimes.peer", "count"),
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

/// What is no operation: what there is to say, and the tests that show it, each in a file below the
/// repository's root, or a story.
struct Beside {
    what: &'static str,
    remark: &'static str,
    shown: &'static [(&'static str, &'static str)],
}

const STORY: &str = "crates/door-zk/tests/golden";
const DOOR: &str = "crates/door-zk/src";
const REAL: &str = "crates/it/tests/it";

const BESIDE: [Beside; 16] = [
    Beside {
        what: "connecting",
        remark: "with and without the `readOnly` byte; timeouts of 2 to 20 ticks",
        shown: &[
            ("wire/request.rs", "both_lengths_of_the_connect_request_are_read"),
            ("limits.rs", "timeouts_stay_between_2_and_20_ticks"),
        ],
    },
    Beside {
        what: "sessions",
        remark: "move with id and password to another connection; expire by the server's clock; outlive it",
        shown: &[
            ("rust_zookeeper.rs", "a_session_is_taken_over_by_its_id_and_password_and_no_other"),
            ("kazoo.rs", "a_silent_session_expires_and_its_ephemerals_with_it"),
            ("kazoo.rs", "sessions_ephemerals_and_data_outlive_the_server"),
        ],
    },
    Beside {
        what: "keepalives",
        remark: "never go through the log",
        shown: &[("testing/crowd.rs", "keepalives_never_reach_the_log")],
    },
    Beside {
        what: "order",
        remark: "replies as requests came; an event before any answer that shows the change",
        shown: &[
            ("order.story", ""),
            ("rust_zookeeper.rs", "the_event_of_a_change_comes_before_an_answer_that_shows_it"),
        ],
    },
    Beside {
        what: "linearizability",
        remark: "of all that concurrent sessions see, through kill -9 and restarts",
        shown: &[("witness.rs", "the_order_of_zxids_explains_all_answers_through_kills")],
    },
    Beside {
        what: "quotas",
        remark: "count and bytes; hard ones refuse where `zookeeper.enforce_quota` is set",
        shown: &[("quotas.peer", ""), ("quotas-enforced.peer", "")],
    },
    Beside {
        what: "four-letter words",
        remark: "all that 3.9 knows, behind a whitelist; `hash` without digests",
        shown: &[
            ("words.story", ""),
            ("testing/sockets.rs", "four_letters_are_answered_and_the_connection_ends"),
            ("words.rs", "words_tell_of_the_disk_of_sessions_and_of_connections"),
        ],
    },
    Beside {
        what: "`jute.maxbuffer`",
        remark: "`zookeeper.message_bytes` for requests, `zookeeper.answer_bytes` for answers",
        shown: &[
            ("testing/garbage.rs", "an_oversized_frame_ends_the_connection_at_its_length"),
            ("testing/crowd.rs", "an_answer_that_is_too_long_is_an_error_and_sets_no_watch"),
        ],
    },
    Beside {
        what: "TLS",
        remark: "by option, on the same port; certificates of clients are ids of scheme `x509`",
        shown: &[("tls.rs", "kazoo_shows_its_certificate_and_is_known_by_it")],
    },
    Beside {
        what: "crowds",
        remark: "10,000 watchers of one znode; thousands of idle sessions; watchers that do not read",
        shown: &[
            ("testing/crowd.rs", "ten_thousand_watchers_of_one_znode_are_told_of_every_change_in_order"),
            ("crowd.rs", "thousands_of_sessions_cost_little_idle_and_all_are_told"),
            ("crowd.rs", "a_watcher_that_does_not_read_is_dropped_and_no_other"),
        ],
    },
    Beside {
        what: "large multis",
        remark: "10,000 operations are one transaction",
        shown: &[("crowd.rs", "a_multi_of_ten_thousand_operations_is_one_and_survives_a_crash")],
    },
    Beside {
        what: "bad input",
        remark: "harms nobody else; what is read of it, and by which laws: `fuzz/README.md`",
        shown: &[
            ("fuzzing.rs", "no_stream_of_bytes_harms_anybody"),
            ("fuzzing.rs", "every_record_is_answered_once"),
            ("testing/garbage.rs", "a_stream_cut_anywhere_is_the_same_stream"),
        ],
    },
    Beside {
        what: "kazoo 2.11",
        remark: "its own tests; those that do not pass: `crates/it/python/kazoo_not_passing.tsv`",
        shown: &[("kazoo_own.rs", "kazoos_own_tests_pass_but_for_those_that_are_listed")],
    },
    Beside {
        what: "`zookeeper-client` 0.11 (Rust)",
        remark: "every operation, locks included",
        shown: &[
            ("rust_zookeeper.rs", "nodes_are_made_read_changed_and_deleted"),
            ("rust_zookeeper_wide.rs", "watches_that_stay_see_every_change"),
            ("rust_zookeeper_rest.rs", "locks_of_every_kind_pass_on_and_guard_writes"),
        ],
    },
    Beside {
        what: "`zkCli` 3.9.5",
        remark: "prints what it prints against ZooKeeper, where Java is there",
        shown: &[("zkcli.rs", "zookeepers_shell_prints_what_it_prints_against_zookeeper")],
    },
    Beside {
        what: "Apache Curator 5.9",
        remark: "latch, locks, semaphore, counter, barrier, cache and persistent nodes, where Java is there",
        shown: &[("curator.rs", "curators_recipes_work")],
    },
];

/// The text of the file with a test or story, by its short name, and where it stands. A name of this crate's
/// source has its folder; others are of the tests with real clients.
fn found(root: &Path, file: &str, test: &str) -> String {
    let is_here = root.join(DOOR).join(file).exists() && !root.join(REAL).join(file).exists();
    let folder = if test.is_empty() {
        STORY
    } else if is_here {
        DOOR
    } else {
        REAL
    };
    let path = root.join(folder).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let is_there = test.is_empty() || text.contains(&format!("fn {test}("));
    assert!(is_there, "{} has no test {test}", path.display());
    format!("{folder}/{file}")
}

fn page(root: &Path) -> String {
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
    page.push_str("\n## Beside the operations\n\n| what | remarks | shown by |\n|---|---|---|\n");
    for Beside { what, remark, shown } in &BESIDE {
        let tests = shown.iter().map(|(file, test)| match (found(root, file, test), test.is_empty()) {
            (path, true) => format!("`{path}`"),
            (path, false) => format!("`{test}` in `{path}`"),
        });
        writeln!(page, "| {what} | {remark} | {} |", tests.collect::<Vec<_>>().join(", ")).unwrap();
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
    let root = crate_root.join("../..");
    let path = root.join("docs/zookeeper/compatibility.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, page(&root)).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), page(&root));
}
