//! Parse results held against `golden.txt`: the statement printed back, or the error. Set
//! `GOLDEN=write` to write the file anew, and read the difference.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "golden files are written by hand")]

use proptest::prelude::*;

use super::{parse, parse_type};
use crate::bind::CqlError;

/// The statements; what becomes of each stands in the golden file.
const STATEMENTS: &str = include_str!("statements.txt");
const GOLDEN: &str = include_str!("golden.txt");

fn told(statement: &str) -> String {
    match parse(statement) {
        Ok(parsed) => format!("  {} [{} markers]", parsed.statement, parsed.marker_count),
        Err(CqlError::Syntax(message)) => format!("  SYNTAX {message}"),
        Err(error) => format!("  INVALID {error}"),
    }
}

#[test]
fn statements_parse_as_they_did() {
    let mut golden = String::new();
    for line in STATEMENTS.lines().filter(|line| !line.is_empty()) {
        let statement = line.replace("\\n", "\n");
        golden.push_str(&format!("{line}\n{}\n", told(&statement)));
    }
    if std::env::var("GOLDEN").is_ok_and(|mode| mode == "write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lang/golden.txt");
        std::fs::write(path, &golden).unwrap();
        return;
    }
    for (expected, found) in GOLDEN.lines().zip(golden.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(golden.lines().count(), GOLDEN.lines().count());
}

#[test]
fn what_is_printed_parses_to_the_same_tree() {
    for line in STATEMENTS.lines() {
        if let Ok(parsed) = parse(&line.replace("\\n", "\n")) {
            let printed = parsed.statement.to_string();
            assert_eq!(parse(&printed), Ok(parsed), "{printed}");
        }
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let deep =
        |levels: usize| format!("INSERT INTO t (a) VALUES ({}1{})", "[".repeat(levels), "]".repeat(levels));
    assert!(parse(&deep(60)).is_ok());
    assert!(
        matches!(parse(&deep(100)), Err(CqlError::Syntax(message)) if message.contains("nested more than 64"))
    );
    // Far deeper than any stack.
    for open in ["[", "(", "{", "f(", "(int)"] {
        assert!(parse(&format!("SELECT * FROM t WHERE a = {}", open.repeat(100_000))).is_err());
    }
    assert!(parse(&format!("SELECT {}", "f(".repeat(100_000))).is_err());
    assert!(parse(&format!("SELECT * FROM t WHERE {}", "(".repeat(100_000))).is_err());
    assert!(parse_type(&"list<".repeat(100_000)).is_err());
    let long = format!("SELECT * FROM t WHERE a = '{}'", "x".repeat(1 << 20));
    assert!(matches!(parse(&long), Err(CqlError::Invalid(_))));
}

/// Words and signs that statements are made of, so that random texts get past the first token.
fn soup() -> impl Strategy<Value = String> {
    let words = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "TABLE",
        "KEYSPACE",
        "INTO",
        "FROM",
        "WHERE",
        "SET",
        "IF",
        "NOT",
        "EXISTS",
        "VALUES",
        "USING",
        "TTL",
        "TIMESTAMP",
        "AND",
        "IN",
        "PRIMARY",
        "KEY",
        "WITH",
        "ORDER",
        "BY",
        "LIMIT",
        "PER",
        "PARTITION",
        "token",
        "count",
        "a",
        "b",
        "\"C\"",
        "'s'",
        "1",
        "-",
        "2.5",
        "0xff",
        "1h",
        "?",
        ":x",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ";",
        ".",
        "=",
        "<",
        ">=",
        "!=",
        "+",
        "*",
        "int",
        "list",
        "null",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..30)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let _ = parse(&text);
        let _ = parse_type(&text);
    }

    #[test]
    fn word_soup_never_panics_and_prints_back(text in soup()) {
        if let Ok(parsed) = parse(&text) {
            prop_assert_eq!(parse(&parsed.statement.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn cut_and_mutated_statements_never_panic(which in 0usize..200, cut in 0usize..200, byte: u8) {
        let lines: Vec<&str> = STATEMENTS.lines().collect();
        let line = lines[which % lines.len()];
        let mut bytes = line.as_bytes().to_vec();
        if let Some(target) = bytes.get_mut(cut) {
            *target = byte;
        }
        let _ = parse(&String::from_utf8_lossy(&bytes));
        let _ = parse(&String::from_utf8_lossy(&line.as_bytes()[..cut.min(line.len())]));
    }
}
