//! Quotas: how much a subtree should hold, and how much it does.
//!
//! They are znodes, as in ZooKeeper. For `/a/b` an operator (`setquota` of `zkCli`) makes
//! `/zookeeper/quota/a/b/zookeeper_limits`, which holds the limits, and `zookeeper_stats` beside it,
//! which the tree keeps from then on: what it holds is replaced by the count of znodes and bytes of
//! data of `/a/b` and all below, and follows every create, delete and setData without a version, a
//! time or an event of its own. Of nested quotas the deepest counts, and the root has none.
//!
//! Both hold text: `count=2,bytes=10`, and behind it what else there is, `=;byteHardLimit=20;…`; a
//! limit of -1 is none. Whoever goes beyond `count` or `bytes` is only told of in the log. Beyond
//! `countHardLimit` or `byteHardLimit`, where given, a request is refused if its entry says that
//! quotas are enforced: a setting of the node that proposed it, and so the same for all that apply it.
//!
//! ZooKeeper judges every operation of a multi by the state before the first, and so lets one with
//! many creates through any limit; here each is judged by the state that it finds.

use std::collections::BTreeMap;

use base::Malformed;
use metrics::counter;

use crate::{
    faults::Code,
    path,
    tree::{Stamp, Stop, Tree},
};

/// Name of the znode with the limits.
const LIMITS: &str = "zookeeper_limits";

/// Name of the znode with what there is.
const STATS: &str = "zookeeper_stats";

const COUNT: &str = "count";
const BYTES: &str = "bytes";
const COUNT_HARD: &str = "countHardLimit";
const BYTES_HARD: &str = "byteHardLimit";

/// Bytes of the longest text that is read as numbers, for it is read at every change below the
/// quota. What ZooKeeper writes takes less than 150.
const MAX_TEXT_BYTES: usize = 1024;

/// How long the log is silent about a quota after it told that it is exceeded.
const SILENCE_MS: i64 = 60_000;

/// The numbers in a znode of a quota, by name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers<'a>(BTreeMap<&'a str, i64>);

impl<'a> Numbers<'a> {
    /// Reads names and numbers: `=` between the two, `,` and `;` between pairs, in any number. A
    /// pair may have an empty number, which is -1, and more behind a second `=`, which is nothing.
    fn read(data: Option<&'a [u8]>) -> Result<Numbers<'a>, Malformed> {
        const WHAT: Malformed = Malformed("numbers of a quota");
        let data = data.filter(|data| data.len() <= MAX_TEXT_BYTES).ok_or(WHAT)?;
        let text = std::str::from_utf8(data).map_err(|_| WHAT)?;
        let pairs = text.trim_end_matches([',', ';']);
        if pairs.starts_with([',', ';']) {
            return Err(WHAT);
        }
        let mut numbers = BTreeMap::new();
        for pair in pairs.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let (name, rest) = pair.trim_end_matches('=').split_once('=').ok_or(WHAT)?;
            let number = rest.split('=').next().unwrap_or_default();
            let number = if number.is_empty() { -1 } else { number.parse().map_err(|_| WHAT)? };
            numbers.insert(name, number);
        }
        Ok(Numbers(numbers))
    }

    /// The number of this name; -1 if there is none.
    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn add(&mut self, name: &'static str, more: i64) {
        self.0.insert(name, self.get(name).wrapping_add(more));
    }

    /// The text of these numbers, in the order that old clients can read: they stop at the second
    /// `=` behind `bytes`.
    fn write(&self) -> String {
        let mut text = format!("{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES));
        let others = self.0.iter().filter(|(name, _)| !matches!(**name, COUNT | BYTES));
        for (index, (name, number)) in others.enumerate() {
            text.push_str(if index == 0 { "=;" } else { ";" });
            text.push_str(name);
            text.push('=');
            text.push_str(&number.to_string());
        }
        text
    }
}

/// What a change adds to a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct More {
    /// Bytes of data; negative when there are fewer.
    pub(crate) bytes: i64,
    /// Znodes.
    pub(crate) znodes: i64,
}

impl More {
    /// A znode with this data more.
    pub(crate) fn made(data: Option<&[u8]>) -> More {
        More { bytes: data.map_or(0, <[u8]>::len) as i64, znodes: 1 }
    }

    /// A znode with this much data fewer.
    pub(crate) fn removed(bytes: usize) -> More {
        More { bytes: -(bytes as i64), znodes: -1 }
    }

    /// Other data in the place of this much.
    pub(crate) fn replaced(was_bytes: usize, data: Option<&[u8]>) -> More {
        More { bytes: data.map_or(0, <[u8]>::len) as i64 - was_bytes as i64, znodes: 0 }
    }
}

/// A limit that a change would go beyond.
#[derive(Debug, PartialEq, Eq)]
struct Beyond {
    name: &'static str,
    limit: i64,
    /// What there would be.
    value: i64,
}

impl Beyond {
    fn is_hard(&self) -> bool {
        matches!(self.name, COUNT_HARD | BYTES_HARD)
    }
}

/// The limits that `more` would go beyond where there are `stats` already. A hard limit takes the
/// place of the other.
fn beyond(limits: &Numbers<'_>, stats: &Numbers<'_>, more: More) -> impl Iterator<Item = Beyond> {
    let judge = |soft, hard, more: i64| {
        let hard_limit = limits.get(hard);
        let (name, limit) = if hard_limit > -1 { (hard, hard_limit) } else { (soft, limits.get(soft)) };
        let value = stats.get(soft).wrapping_add(more);
        (more != 0 && limit > -1 && value > limit).then_some(Beyond { name, limit, value })
    };
    let count = judge(COUNT, COUNT_HARD, more.znodes);
    count.into_iter().chain(judge(BYTES, BYTES_HARD, more.bytes))
}

/// Which znodes have limits. Derived from the tree: kept so that a change finds its quota without
/// looking through the znodes of all quotas.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// Their paths, and when the log last told of them, in milliseconds since 1970.
    limited: BTreeMap<Box<str>, Option<i64>>,
    /// Requests that were refused, by the first name of the quota's path. Since the start.
    refused: BTreeMap<Box<str>, u64>,
}

impl Quotas {
    /// A znode is there.
    pub(crate) fn note(&mut self, path: &str) {
        if let Some(limited) = limited_by(path) {
            self.limited.insert(limited.into(), None);
        }
    }

    /// A znode is gone.
    pub(crate) fn forget(&mut self, path: &str) {
        if let Some(limited) = limited_by(path) {
            self.limited.remove(limited);
        }
    }

    /// The deepest znode with limits of `path` and those above.
    fn of<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut at = path;
        while !self.limited.is_empty() && !at.is_empty() {
            if self.limited.contains_key(at) {
                return Some(at);
            }
            at = path::above(at);
        }
        None
    }

    /// The znodes that a change of the one at `path` looks at.
    pub(crate) fn znodes_of(&self, path: &str) -> Option<[String; 2]> {
        self.of(path).map(|quota| [znode(quota, LIMITS), znode(quota, STATS)])
    }

    /// Tells the operator, now and then.
    fn tell(&mut self, quota: &str, beyond: &Beyond, refused: bool, time_ms: i64) {
        if refused {
            match self.refused.get_mut(namespace(quota)) {
                Some(count) => *count += 1,
                None => drop(self.refused.insert(namespace(quota).into(), 1)),
            }
        }
        let kind = if beyond.is_hard() { "hard" } else { "soft" };
        counter!("holdfast_zookeeper_quota_exceeded_total", "limit" => kind).increment(1);
        let Some(told_ms) = self.limited.get_mut(quota) else { return };
        if told_ms.is_none_or(|told_ms| !(0..SILENCE_MS).contains(&(time_ms - told_ms))) {
            *told_ms = Some(time_ms);
            let Beyond { name, limit, value } = *beyond;
            tracing::warn!(quota, name, limit, value, refused, "a quota is exceeded");
        }
    }
}

/// The znode whose limits the one at `path` holds.
fn limited_by(path: &str) -> Option<&str> {
    quota_of(path, LIMITS)
}

/// The znode whose quota has the one at `path`, if that is the one of this name.
fn quota_of<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let place = path.strip_prefix(path::QUOTA)?;
    place.strip_suffix(name)?.strip_suffix('/').filter(|limited| limited.starts_with('/'))
}

fn znode(quota: &str, name: &str) -> String {
    format!("{}{quota}/{name}", path::QUOTA)
}

/// The first name of a path, by which operators are told of quotas.
fn namespace(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// What operators are told of all quotas whose paths begin with the same name, as a sum. A limit is
/// the hard one where there is one; -1 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) count_limit: i64,
    pub(crate) bytes_limit: i64,
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    /// Requests refused since the start.
    pub(crate) refused: u64,
}

/// Sums by the first name of the path. What cannot be read counts as nothing.
pub(crate) fn sums(tree: &mut Tree) -> BTreeMap<String, Sums> {
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    let quotas: Vec<Box<str>> = tree.quotas.limited.keys().cloned().collect();
    for quota in quotas {
        let mut numbers = |name| {
            let place = tree.find(&znode(&quota, name)).ok()??;
            let numbers = Numbers::read(tree.node(place).data.as_deref()).ok()?;
            let either =
                |hard, soft| Some(numbers.get(hard)).filter(|hard| *hard > -1).unwrap_or(numbers.get(soft));
            Some((either(COUNT_HARD, COUNT), either(BYTES_HARD, BYTES)))
        };
        let sum = sums.entry(namespace(&quota).to_owned()).or_default();
        if let Some((count, bytes)) = numbers(LIMITS) {
            sum.count_limit = sum.count_limit.saturating_add(count);
            sum.bytes_limit = sum.bytes_limit.saturating_add(bytes);
        }
        if let Some((count, bytes)) = numbers(STATS) {
            sum.count = sum.count.saturating_add(count);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
    }
    for (namespace, refused) in &tree.quotas.refused {
        sums.entry(namespace.to_string()).or_default().refused = *refused;
    }
    sums
}

/// Fails if a change of the znode at `path` goes beyond a hard limit and that is enforced.
pub(crate) fn check(tree: &mut Tree, stamp: Stamp<'_>, path: &str, more: More) -> Result<(), Stop> {
    let Some(quota) = tree.quotas.of(path) else { return Ok(()) };
    let Some(limits) = tree.find(&znode(quota, LIMITS))? else { return Ok(()) };
    let Some(stats) = tree.find(&znode(quota, STATS))? else { return Ok(()) };
    let limits = match Numbers::read(tree.node(limits).data.as_deref()) {
        Ok(limits) => limits,
        // ZooKeeper's answer, too.
        Err(_) if stamp.enforces_quotas => return Err(Code::MARSHALLING_ERROR.into()),
        Err(_) => return Ok(()),
    };
    // What cannot be read is counted anew by the change itself.
    let Ok(stats) = Numbers::read(tree.node(stats).data.as_deref()) else { return Ok(()) };
    let found: Vec<Beyond> = beyond(&limits, &stats, more).collect();
    for beyond in found {
        let refused = beyond.is_hard() && stamp.enforces_quotas;
        tree.quotas.tell(quota, &beyond, refused, stamp.time_ms);
        if refused {
            return Err(Code::QUOTA_EXCEEDED.into());
        }
    }
    Ok(())
}

/// Counts what a change of the znode at `path` added.
pub(crate) fn count(tree: &mut Tree, path: &str, more: More) -> Result<(), Stop> {
    if let Some(quota) = quota_of(path, STATS).filter(|_| more.znodes == 1) {
        let data = survey(tree, quota)?;
        tree.rewrite(path, data)?;
    }
    let Some(quota) = tree.quotas.of(path) else { return Ok(()) };
    let stats_path = znode(quota, STATS);
    let Some(stats) = tree.find(&stats_path)? else { return Ok(()) };
    let data = match Numbers::read(tree.node(stats).data.as_deref()) {
        Ok(mut stats) => {
            stats.add(COUNT, more.znodes);
            stats.add(BYTES, more.bytes);
            stats.write()
        }
        Err(_) => survey(tree, quota)?,
    };
    tree.rewrite(&stats_path, data)
}

/// Counts the znodes at and below `path`, and their bytes. It reads them all, while nothing else is
/// applied: for an operator who sets a quota.
fn survey(tree: &mut Tree, path: &str) -> Result<String, Stop> {
    let (mut znodes, mut bytes) = (0, 0);
    if let Some(place) = tree.find(path)? {
        let below = tree.census(place)?.take().map_err(Stop::Failed)?;
        znodes = below.znodes as i64 + 1;
        bytes = (below.bytes + tree.node(place).data_len() as u64) as i64;
    }
    Ok(Numbers(BTreeMap::from([(COUNT, znodes), (BYTES, bytes)])).write())
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        Numbers::read(Some(text.as_bytes())).ok().map(|numbers| numbers.write())
    }

    #[test]
    fn numbers_are_read_as_zookeeper_reads_them() {
        for (text, same) in [
            ("count=4,bytes=5", "count=4,bytes=5"),
            (
                "count=4,bytes=5=;countHardLimit=10;byteHardLimit=-1",
                "count=4,bytes=5=;byteHardLimit=-1;countHardLimit=10",
            ),
            ("", "count=-1,bytes=-1"),
            (",;", "count=-1,bytes=-1"),
            ("bytes=+7;;,x=1,", "count=-1,bytes=7=;x=1"),
            ("bytes==7", "count=-1,bytes=-1"),
            ("bytes=1,bytes=2=3", "count=-1,bytes=2"),
        ] {
            assert_eq!(read(text).as_deref(), Some(same), "{text}");
        }
        for text in ["x", "count=", ",count=1", "count= 1", "count=1.5", "=", "count=99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(Numbers::read(None).is_err() && Numbers::read(Some(b"\xff=1")).is_err());
        assert_eq!(read(&format!("{}=1", "x".repeat(MAX_TEXT_BYTES))), None);
    }

    #[test]
    fn a_hard_limit_takes_the_place_of_the_other() {
        let limits = Numbers::read(Some(b"count=2,bytes=10=;countHardLimit=5")).unwrap();
        let stats = Numbers::read(Some(b"count=5,bytes=10")).unwrap();
        let names = |bytes, znodes| {
            let found = beyond(&limits, &stats, More { bytes, znodes });
            found.map(|beyond| (beyond.name, beyond.value)).collect::<Vec<_>>()
        };
        assert_eq!(names(1, 1), [(COUNT_HARD, 6), (BYTES, 11)]);
        assert_eq!(names(0, 1), [(COUNT_HARD, 6)]);
        assert_eq!(names(1, 0), [(BYTES, 11)]);
        assert_eq!(names(0, 0), []);
        assert_eq!(names(-1, -1), []);
    }

    #[test]
    fn the_deepest_quota_counts_and_the_root_has_none() {
        let mut quotas = Quotas::default();
        for place in ["/a", "/a/b/c", "", "s"] {
            quotas.note(&znode(place, LIMITS));
        }
        assert_eq!(quotas.limited.len(), 2, "the root, and what is not below the znode of quotas");
        for (path, quota) in [
            ("/a", Some("/a")),
            ("/a/b", Some("/a")),
            ("/a/b/c/d", Some("/a/b/c")),
            ("/a/b/cd", Some("/a")),
            ("/ab", None),
            ("/", None),
        ] {
            assert_eq!(quotas.of(path), quota, "{path}");
        }
        quotas.forget(&znode("/a", STATS));
        quotas.forget(&znode("/a", LIMITS));
        assert_eq!((quotas.of("/a/b"), quotas.of("/a/b/c")), (None, Some("/a/b/c")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(text in "[a-d]{1,2}=[0-9]{1,3}([,;=]{1,2}[a-d]{1,2}=-?[0-9]{1,3}){0,5}") {
            if let Some(once) = read(&text) {
                prop_assert_eq!(read(&once), Some(once));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(numbers) = Numbers::read(Some(&bytes)) {
                prop_assert!(numbers.write().len() < 1100 + 2 * bytes.len());
            }
        }
    }
}
