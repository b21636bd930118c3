//! The judge, judged: histories without a fault, and with one planted.

use super::{
    history::{Answer, Asked, Change, Detail, Op, Sight},
    judge::{Summary, judge},
};

/// Who writes.
const SESSION: i64 = 7;
/// Who looks.
const READER: i64 = 8;

/// A history in which each request begins when the one before has ended.
#[derive(Default)]
struct History(Vec<Op>);

impl History {
    fn op(mut self, asked: Asked, answer: Answer) -> History {
        let began_us = self.0.len() as u64 * 10;
        let session = if matches!(asked, Asked::Read(_) | Asked::List(_)) { READER } else { SESSION };
        self.0.push(Op { session, began_us, ended_us: began_us + 5, asked, answer });
        self
    }

    fn write(self, zxid: i64, changes: &[(Change, Sight)]) -> History {
        let saw = changes.iter().map(|(change, sight)| (change.path().to_owned(), *sight)).collect();
        let changes = changes.iter().map(|(change, _)| change.clone()).collect();
        self.op(Asked::Write(changes), Answer::Done { zxid, saw })
    }

    fn unknown(self, changes: &[Change]) -> History {
        self.op(Asked::Write(changes.to_vec()), Answer::Unknown)
    }

    fn read(self, zxid: i64, path: &str, sight: Sight) -> History {
        let saw = vec![(path.to_owned(), sight)];
        self.op(Asked::Read(path.to_owned()), Answer::Done { zxid, saw })
    }

    fn list(self, zxid: i64, parent: &str, names: &[&str]) -> History {
        let saw = names.iter().map(|name| (format!("{parent}/{name}"), Sight::Named)).collect();
        self.op(Asked::List(parent.to_owned()), Answer::Done { zxid, saw })
    }

    /// `name` in `/q`, made at `zxid`.
    fn sequential(mut self, zxid: i64, name: &str) -> History {
        let change =
            Change::Create { path: "/q/s-".into(), value: zxid as u64, ephemeral: false, sequential: true };
        let saw = vec![(format!("/q/{name}"), there(zxid, zxid, 0, 0, zxid as u64))];
        self = self.op(Asked::Write(vec![change]), Answer::Done { zxid, saw });
        self
    }

    /// The last request ran beside all that were before it.
    fn at_once(mut self) -> History {
        self.0.last_mut().unwrap().began_us = 0;
        self
    }

    fn judged(&self) -> Result<Summary, String> {
        judge(&self.0)
    }

    fn must_fail(&self, why: &str) {
        let error = self.judged().unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

fn there(czxid: i64, mzxid: i64, version: i32, owner: i64, value: u64) -> Sight {
    Sight::There(Detail { czxid, mzxid, version, owner, value })
}

fn create(value: u64) -> Change {
    Change::Create { path: "/a".into(), value, ephemeral: false, sequential: false }
}

fn ephemeral(value: u64) -> Change {
    Change::Create { path: "/a".into(), value, ephemeral: true, sequential: false }
}

fn set(value: u64) -> Change {
    Change::Set { path: "/a".into(), value, version: None }
}

fn delete() -> Change {
    Change::Delete { path: "/a".into() }
}

/// `/a` is made with 1 at zxid 1, and set to 2 at zxid 2.
fn begun() -> History {
    History::default()
        .write(1, &[(create(1), there(1, 1, 0, 0, 1))])
        .write(2, &[(set(2), there(1, 2, 1, 0, 2))])
}

#[test]
fn what_follows_from_itself_is_right() {
    let history = begun()
        .read(2, "/a", there(1, 2, 1, 0, 2))
        .write(3, &[(delete(), Sight::Absent)])
        .read(3, "/a", Sight::Absent)
        .write(4, &[(create(3), there(4, 4, 0, 0, 3))])
        .read(9, "/a", there(4, 4, 0, 0, 3));
    let summary = history.judged().unwrap();
    assert_eq!((summary.acknowledged, summary.unknown), (7, 0));
}

#[test]
fn a_stale_read_is_found() {
    begun().read(2, "/a", there(1, 1, 0, 0, 1)).must_fail("a stale read, or a lost write");
    // Its header admits that it is old, but the write was acknowledged before it began.
    begun().read(1, "/a", there(1, 1, 0, 0, 1)).must_fail("had been acknowledged before");
    // A read that ran beside the write may show the state before it.
    assert!(begun().read(1, "/a", there(1, 1, 0, 0, 1)).at_once().judged().is_ok());
}

#[test]
fn a_lost_write_is_found() {
    begun().read(3, "/a", Sight::Absent).must_fail("lost");
    begun()
        .write(3, &[(set(3), there(1, 3, 2, 0, 3))])
        .read(4, "/a", there(1, 2, 1, 0, 2))
        .must_fail("a stale read, or a lost write");
    // A write that a read should have shown.
    begun()
        .read(5, "/a", there(1, 2, 1, 0, 2))
        .unknown(&[set(3)])
        .read(6, "/a", there(1, 4, 2, 0, 3))
        .must_fail("appears at 4");
}

#[test]
fn a_write_that_takes_another_ones_place_is_found() {
    begun().write(2, &[(set(3), there(1, 2, 2, 0, 3))]).must_fail("acknowledged before");
    begun().write(2, &[(set(3), there(1, 2, 2, 0, 3))]).at_once().must_fail("one zxid for two");
}

#[test]
fn a_version_gap_is_found() {
    begun().write(3, &[(set(3), there(1, 3, 3, 0, 3))]).must_fail("a version gap");
    begun().write(3, &[(set(3), there(1, 3, 1, 0, 3))]).must_fail("a version went back, or stood still");
    let missing = begun().unknown(&[set(9)]).write(4, &[(set(3), there(1, 4, 3, 0, 3))]);
    assert_eq!(missing.judged().unwrap().appeared, 1);
    missing.write(5, &[(set(4), there(1, 5, 5, 0, 4))]).must_fail("a version gap");
    let conditional = Change::Set { path: "/a".into(), value: 3, version: Some(0) };
    begun().write(3, &[(conditional, there(1, 3, 2, 0, 3))]).must_fail("is not what came");
}

#[test]
fn an_unknown_write_appears_once_or_never() {
    let unknown = begun().unknown(&[set(3)]);
    assert!(begun().unknown(&[set(3)]).read(2, "/a", there(1, 2, 1, 0, 2)).judged().is_ok());
    let once = unknown.read(3, "/a", there(1, 3, 2, 0, 3));
    assert_eq!(once.judged().unwrap().appeared, 1);
    once.write(4, &[(set(4), there(1, 4, 3, 0, 4))])
        .read(5, "/a", there(1, 5, 4, 0, 3))
        .must_fail("appears twice");
    // Not there when the server was back, and there later.
    begun()
        .unknown(&[set(3)])
        .read(2, "/a", there(1, 2, 1, 0, 2))
        .read(4, "/a", there(1, 4, 2, 0, 3))
        .must_fail("appears at 4, not in 2..=2");
    let deleted = begun().unknown(&[delete()]);
    assert!(deleted.read(3, "/a", Sight::Absent).judged().is_ok());
}

#[test]
fn what_nobody_wrote_or_was_refused_is_found() {
    begun().read(2, "/a", there(1, 2, 1, 0, 77)).must_fail("nobody wrote");
    begun()
        .op(Asked::Write(vec![set(3)]), Answer::Refused { zxid: 3, error: -103 })
        .read(4, "/a", there(1, 3, 2, 0, 3))
        .must_fail("cannot have written");
}

#[test]
fn half_a_multi_is_found() {
    let other = || Change::Create { path: "/b".into(), value: 8, ephemeral: false, sequential: false };
    let both = || begun().write(3, &[(other(), there(3, 3, 0, 0, 8))]);
    let set_b = Change::Set { path: "/b".into(), value: 9, version: None };
    let half = both().unknown(&[set(3), set_b.clone()]).read(4, "/a", there(1, 4, 2, 0, 3));
    half.read(4, "/b", there(3, 3, 0, 0, 8)).must_fail("half of the multi");
    let whole = both().unknown(&[set(3), set_b]).read(4, "/a", there(1, 4, 2, 0, 3));
    assert!(whole.read(4, "/b", there(3, 4, 1, 0, 9)).judged().is_ok());
}

#[test]
fn a_sequential_name_that_comes_again_or_goes_back_is_found() {
    let two = || History::default().sequential(1, "s-0000000000").sequential(2, "s-0000000001");
    assert!(two().list(2, "/q", &["s-0000000000", "s-0000000001"]).judged().is_ok());
    two().sequential(3, "s-0000000001").must_fail("is not behind");
    two().sequential(3, "s-0000000000").must_fail("is not behind");
    two().list(2, "/q", &["s-0000000000"]).must_fail("lost");
    two().list(2, "/q", &["s-0000000000", "s-0000000001", "s-0000000002"]).must_fail("nobody made");
    let unknown = Change::Create { path: "/q/s-".into(), value: 9, ephemeral: false, sequential: true };
    let listed = two().unknown(&[unknown]).list(3, "/q", &["s-0000000000", "s-0000000001", "s-0000000002"]);
    assert!(listed.judged().is_ok());
    listed.list(4, "/q", &["s-0000000000", "s-0000000001"]).must_fail("lost");
}

#[test]
fn an_ephemeral_that_was_only_listed_goes_with_a_session_that_may_have_made_it() {
    let maybe = |ephemeral| Change::Create { path: "/q/s-".into(), value: 9, ephemeral, sequential: true };
    let listed = |ephemeral| History::default().unknown(&[maybe(ephemeral)]).list(1, "/q", &["s-0000000000"]);
    listed(true).list(3, "/q", &[]).must_fail("lost");
    let closed = |ephemeral| listed(ephemeral).op(Asked::Close, Answer::Done { zxid: 2, saw: vec![] });
    assert!(closed(true).list(3, "/q", &[]).judged().is_ok());
    closed(false).list(3, "/q", &[]).must_fail("lost");
}

#[test]
fn an_ephemeral_left_behind_is_found() {
    let made = || History::default().write(1, &[(ephemeral(1), there(1, 1, 0, SESSION, 1))]);
    let closed = || made().op(Asked::Close, Answer::Done { zxid: 2, saw: vec![] });
    assert!(closed().read(2, "/a", Sight::Absent).judged().is_ok());
    closed().read(2, "/a", there(1, 1, 0, SESSION, 1)).must_fail("left behind by its closed session");
    let left = || made().op(Asked::Abandon { timeout_us: 15 }, Answer::Unknown);
    let expired = left().read(1, "/a", there(1, 1, 0, SESSION, 1)).op(Asked::Expired, Answer::Unknown);
    expired.read(2, "/a", there(1, 1, 0, SESSION, 1)).must_fail("left behind by its expired session");
    let gone = left().read(2, "/a", Sight::Absent);
    assert!(gone.judged().is_ok());
    gone.read(3, "/a", there(1, 1, 0, SESSION, 1)).must_fail("what was gone");
}

#[test]
fn an_ephemeral_that_goes_before_its_session_is_found() {
    let made = || History::default().write(1, &[(ephemeral(1), there(1, 1, 0, SESSION, 1))]);
    made().read(2, "/a", Sight::Absent).must_fail("gone while its session lives");
    let left = made().op(Asked::Abandon { timeout_us: 1_000 }, Answer::Unknown);
    left.read(2, "/a", Sight::Absent).must_fail("gone while its session lives");
    let unowned = History::default().write(1, &[(ephemeral(1), there(1, 1, 0, 0, 1))]);
    unowned.must_fail("is not what came");
}
