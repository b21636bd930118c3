//! Keys at and over their bounds, as Cassandra 5.0.6 was seen to take and to refuse them.

use bytes::Bytes;
use fabric::Fabric;
use world::{Clock, Disk, Entropy, World};

use super::{NOW_MICROS, SETUP, model::Model, story::Teller, teller};
use crate::{
    bind::CqlError,
    exec::{Answer, BoundValue, BoundValues, Request},
};

const TABLES: &str = "CREATE TABLE one (a text PRIMARY KEY, v int)
CREATE TABLE two (a text, b text, c text, d text, v int, PRIMARY KEY ((a, b), c, d))
";

/// What comes of a statement whose markers are texts of these lengths: rows, or the error.
fn tell(teller: &Teller, statement: &str, lengths: &[usize]) -> Result<u32, String> {
    let text = |length: &usize| BoundValue::Value(Bytes::from(vec![b'x'; *length]));
    let values = BoundValues::Positional(lengths.iter().map(text).collect());
    match teller.execute(statement, Request { values, ..Request::default() }) {
        Ok(answered) => match answered.answer {
            Answer::Rows(rows) => Ok(rows.count),
            _ => Ok(0),
        },
        Err(CqlError::Invalid(message)) => Err(message),
        Err(other) => panic!("{statement}: {other:?}"),
    }
}

fn too_long(length: usize) -> String {
    format!("Key length of {length} is longer than maximum of 65535")
}

fn tables() -> Teller {
    let mut teller = teller(usize::MAX);
    teller.play(SETUP);
    teller.play(TABLES);
    teller
}

#[test]
fn partition_keys_are_refused_when_they_are_bound() {
    let teller = tables();
    let of_one = [
        "INSERT INTO one (a, v) VALUES (?, 1)",
        "INSERT INTO one (a, v) VALUES (?, 1) IF NOT EXISTS",
        "UPDATE one SET v = 1 WHERE a = ?",
        "UPDATE one SET v = 1 WHERE a = ? IF v = 1",
        "UPDATE one SET v = 1 WHERE a IN (?, 'q')",
        "SELECT v FROM one WHERE a = ?",
        "SELECT v FROM one WHERE a IN (?, 'q')",
        "DELETE FROM one WHERE a IN (?, 'q')",
        "DELETE FROM one WHERE a = ? IF EXISTS",
        "DELETE FROM one WHERE a = ?",
    ];
    for statement in of_one {
        assert_eq!(tell(&teller, statement, &[65_536]), Err(too_long(65_536)), "{statement}");
        assert_eq!(tell(&teller, statement, &[0]), Err("Key may not be empty".to_owned()), "{statement}");
        assert!(tell(&teller, statement, &[65_535]).is_ok(), "{statement}");
    }
    let of_two = [
        "INSERT INTO two (a, b, c, d, v) VALUES (?, ?, 'c', 'd', 1)",
        "SELECT v FROM two WHERE a = ? AND b = ?",
        "SELECT v FROM two WHERE a IN (?) AND b IN (?)",
        "DELETE FROM two WHERE a = ? AND b = ?",
    ];
    for statement in of_two {
        assert_eq!(tell(&teller, statement, &[40_000, 40_000]), Err(too_long(80_000)), "{statement}");
        assert_eq!(tell(&teller, statement, &[65_529, 1]), Err(too_long(65_536)), "{statement}");
        assert!(tell(&teller, statement, &[65_528, 1]).is_ok(), "{statement}");
        assert!(tell(&teller, statement, &[0, 0]).is_ok(), "{statement}");
    }
    // What only asks for a token, or compares, is no key.
    for statement in
        ["SELECT v FROM one WHERE token(a) > token(?)", "SELECT v FROM one WHERE a > ? ALLOW FILTERING"]
    {
        assert_eq!(tell(&teller, statement, &[65_536]), Ok(0), "{statement}");
    }
}

#[test]
fn clustering_keys_are_refused_when_they_are_written() {
    let mut teller = tables();
    let written = [
        "INSERT INTO two (a, b, c, d, v) VALUES ('a', 'b', ?, ?, 1)",
        "INSERT INTO two (a, b, c, d, v) VALUES ('a', 'b', ?, ?, 1) IF NOT EXISTS",
        "UPDATE two SET v = 1 WHERE a = 'a' AND b = 'b' AND c = ? AND d = ?",
        "UPDATE two SET v = 1 WHERE a = 'a' AND b = 'b' AND c = ? AND d = ? IF v = 1",
        "UPDATE two SET v = 1 WHERE a = 'a' AND b = 'b' AND c = ? AND d IN (?)",
        "DELETE v FROM two WHERE a = 'a' AND b = 'b' AND c = ? AND d = ?",
        "DELETE FROM two WHERE a = 'a' AND b = 'b' AND c = ? AND d = ?",
    ];
    for statement in written {
        for lengths in [[40_000, 40_000], [65_536, 0], [65_535, 1]] {
            let refused = tell(&teller, statement, &lengths);
            assert_eq!(refused, Err(too_long(lengths[0] + lengths[1])), "{statement}");
        }
        for lengths in [[65_535, 0], [65_534, 1], [0, 0]] {
            assert!(tell(&teller, statement, &lengths).is_ok(), "{statement}");
        }
    }
    // Whoever asks for such rows finds none.
    teller.play("TRUNCATE two\n");
    let asked = [
        "SELECT v FROM two WHERE a = 'a' AND b = 'b' AND c = ? AND d = ?",
        "SELECT v FROM two WHERE a = 'a' AND b = 'b' AND c = ? AND d > ?",
        "SELECT v FROM two WHERE a = 'a' AND b = 'b' AND c = ? AND d IN (?, 'z')",
        "SELECT v FROM two WHERE a = 'a' AND b = 'b' AND (c, d) > (?, ?)",
        "SELECT v FROM two WHERE a = 'a' AND b = 'b' AND (c, d) IN ((?, ?), ('a', 'b'))",
        "SELECT v FROM two WHERE c = ? AND d = ? ALLOW FILTERING",
        "DELETE FROM two WHERE a = 'a' AND b = 'b' AND c = ? AND d > ?",
    ];
    for statement in asked {
        assert_eq!(tell(&teller, statement, &[40_000, 40_000]), Ok(0), "{statement}");
    }
    // But a bound that no tree could hold is refused.
    let delete = "DELETE FROM two WHERE a = 'a' AND b = 'b' AND c > ?";
    assert_eq!(tell(&teller, delete, &[300_000]), Err(too_long(300_004)));
}

/// Zeros take most room as parts of keys.
#[test]
fn the_longest_keys_are_written_and_read() {
    longest_keys(Teller::new(Model::store(usize::MAX), Clock::simulated(NOW_MICROS)));
    let clock = Clock::simulated(NOW_MICROS);
    let world = World { clock: clock.clone(), entropy: Entropy::seeded(7), disk: Disk::in_memory() };
    let fabric = Fabric::start(&world, fabric::Settings::default(), Vec::new(), Default::default()).unwrap();
    longest_keys(Teller::new(fabric.store().clone(), clock));
    fabric.stop().unwrap();
}

fn longest_keys(mut teller: Teller) {
    teller.play(SETUP);
    teller.play(TABLES);
    for byte in [0, b'x', 0x7f] {
        let text = |len: usize| BoundValue::Value(Bytes::from(vec![byte; len]));
        let values = vec![text(65_528), text(1), text(30_000), text(35_535)];
        let request = |values| Request { values: BoundValues::Positional(values), ..Request::default() };
        let insert = "INSERT INTO two (a, b, c, d, v) VALUES (?, ?, ?, ?, 7)";
        teller.execute(insert, request(values.clone())).unwrap();
        let select = "SELECT v FROM two WHERE a = ? AND b = ? AND c = ? AND d = ?";
        let Answer::Rows(rows) = teller.execute(select, request(values)).unwrap().answer else { panic!() };
        assert_eq!(rows.count, 1);
    }
    let delete = "DELETE FROM two WHERE a = ? AND b = ? AND c = ? AND d >= ?";
    let text = |len: usize| BoundValue::Value(Bytes::from(vec![0; len]));
    let values = BoundValues::Positional(vec![text(65_528), text(1), text(30_000), text(35_535)]);
    teller.execute(delete, Request { values, ..Request::default() }).unwrap();
    let Answer::Rows(rows) = teller.execute("SELECT v FROM two", Request::default()).unwrap().answer else {
        panic!()
    };
    assert_eq!(rows.count, 2);
}

/// The INs of a statement multiply, and so do their bytes.
#[test]
fn combinations_are_bounded_in_number_and_bytes() {
    let teller = tables();
    let refused = |statement: &str, lengths: &[usize]| {
        tell(&teller, statement, lengths).unwrap_err().contains("IN restrictions make more than")
    };
    let markers = |count: usize| vec!["?"; count].join(", ");
    let many = markers(300);
    let statement = format!("SELECT v FROM two WHERE a IN ({many}) AND b IN ({many})");
    assert!(refused(&statement, &[1; 600]));
    let some = markers(60);
    for statement in [
        format!("SELECT v FROM two WHERE a IN ({some}) AND b IN ({some})"),
        format!("UPDATE two SET v = 1 WHERE a = 'a' AND b = 'b' AND c IN ({some}) AND d IN ({some})"),
    ] {
        assert!(refused(&statement, &[30_000; 120]));
        assert!(tell(&teller, &statement, &[3; 120]).is_ok());
    }
}
