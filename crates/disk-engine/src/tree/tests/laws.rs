//! The six laws of [`Merge`], as a check for any rule: given values that its owner may write, and
//! what a reader sees of a value.

use std::fmt::Debug;

use base::Cell;
use bytes::Bytes;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::tree::{LastWriteWins, Latest, Merge, decode_cell, decode_latest, encode_cell, encode_latest};

/// What a reader sees of a value at a time in seconds; `None` for nothing.
type Seen<T> = fn(&[u8], u32) -> Option<T>;

/// Checks the laws of a rule with random values and keys, which `values` and `keys` draw.
/// Timestamps of deletions are drawn from -2 to 12 and times from 0 to 12: values should have theirs
/// around there, so that they meet.
pub(crate) fn check_laws<T: PartialEq + Debug>(
    rule: &dyn Merge,
    values: impl Strategy<Value = Vec<u8>> + Clone,
    keys: impl Strategy<Value = Vec<u8>>,
    seen: Seen<T>,
) {
    let mut runner = TestRunner::new(Config { cases: 4_000, ..Config::default() });
    let three = (values.clone(), values.clone(), values);
    let drawn = (three, (-2i64..12, -2i64..12), (0u32..12, 0u32..12), keys, any::<Vec<u8>>());
    runner
        .run(&drawn, |((a, b, c), (t, u), (now, later), key, rest)| {
            associative(rule, [&a, &b, &c])?;
            covering_distributes(rule, &a, &b, t, u)?;
            purging_shows_nothing(rule, &a, &b, t, (now, now + later), seen)?;
            nothing_outlives_its_lifetime(rule, &a, now)?;
            prefixes_nest(rule, &key, &rest)?;
            oldest_knows(rule, &[&a, &b, &c, &key, &rest])
        })
        .unwrap();
}

type Checked = Result<(), TestCaseError>;

fn merged(rule: &dyn Merge, older: &[u8], newer: &[u8]) -> Vec<u8> {
    rule.merge(older, newer).unwrap()
}

fn covered(rule: &dyn Merge, value: Option<Vec<u8>>, at: i64) -> Option<Vec<u8>> {
    value.and_then(|value| rule.cover(&value, at).unwrap().map(std::borrow::Cow::into_owned))
}

/// With "gone" as the neutral element.
fn merged_or_gone(rule: &dyn Merge, older: Option<Vec<u8>>, newer: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match (older, newer) {
        (Some(older), Some(newer)) => Some(merged(rule, &older, &newer)),
        (one, other) => one.or(other),
    }
}

fn associative(rule: &dyn Merge, [a, b, c]: [&[u8]; 3]) -> Checked {
    let left = merged(rule, &merged(rule, a, b), c);
    prop_assert_eq!(left, merged(rule, a, &merged(rule, b, c)));
    Ok(())
}

fn covering_distributes(rule: &dyn Merge, a: &[u8], b: &[u8], t: i64, u: i64) -> Checked {
    let cover = |value: &[u8]| covered(rule, Some(value.to_vec()), t);
    prop_assert_eq!(cover(&merged(rule, a, b)), merged_or_gone(rule, cover(a), cover(b)));
    let both = covered(rule, Some(a.to_vec()), t.max(u));
    prop_assert_eq!(covered(rule, cover(a), u), both.clone());
    if rule.newest_stands() {
        prop_assert_eq!(both, Some(a.to_vec()), "it takes no deletions of ranges");
        return Ok(());
    }
    if rule.oldest(a).unwrap() > t {
        prop_assert_eq!(cover(a), Some(a.to_vec()), "all of it is later");
    }
    if let Some(left) = cover(a) {
        prop_assert!(rule.oldest(&left).unwrap() > t, "something of it is not later");
    }
    Ok(())
}

fn purging_shows_nothing<T: PartialEq + Debug>(
    rule: &dyn Merge,
    value: &[u8],
    other: &[u8],
    before: i64,
    (now, later): (u32, u32),
    seen: Seen<T>,
) -> Checked {
    let left = rule.purge(value, before, now).unwrap().map(std::borrow::Cow::into_owned);
    let see = |value: Option<Vec<u8>>| value.and_then(|value| seen(&value, later));
    prop_assert_eq!(see(left.clone()), see(Some(value.to_vec())), "purged from {:?}", value);
    let (whole, other) = (Some(value.to_vec()), Some(other.to_vec()));
    let none_such = rule.oldest(other.as_ref().expect("it is there")).unwrap() >= before;
    for (allowed, older) in [(none_such || rule.newest_stands(), false), (none_such, true)] {
        if allowed {
            let with = |value: &Option<Vec<u8>>| match older {
                true => see(merged_or_gone(rule, other.clone(), value.clone())),
                false => see(merged_or_gone(rule, value.clone(), other.clone())),
            };
            prop_assert_eq!(with(&left), with(&whole), "beside {:?}, older: {}", other, older);
        }
    }
    Ok(())
}

fn nothing_outlives_its_lifetime(rule: &dyn Merge, value: &[u8], now: u32) -> Checked {
    let lifetime = rule.lifetime(value).unwrap();
    prop_assert!(lifetime.newest >= rule.oldest(value).unwrap());
    if let Some(dies_at) = lifetime.dies_at {
        let left = rule.purge(value, lifetime.newest + 1, dies_at.max(now)).unwrap();
        prop_assert_eq!(left, None, "it has died");
    }
    Ok(())
}

fn prefixes_nest(rule: &dyn Merge, key: &[u8], rest: &[u8]) -> Checked {
    if let Some(prefix) = rule.prefix(key) {
        prop_assert!(key.starts_with(prefix));
        let longer = [prefix, rest].concat();
        prop_assert_eq!(rule.prefix(&longer), Some(prefix));
    }
    Ok(())
}

/// What `oldest` takes, all others take.
fn oldest_knows(rule: &dyn Merge, values: &[&[u8]]) -> Checked {
    let sound = values.iter().filter(|value| rule.oldest(value).is_ok());
    let sound: Vec<&&[u8]> = sound.collect();
    for a in &sound {
        prop_assert!(rule.cover(a, 5).is_ok() && rule.purge(a, 5, 5).is_ok() && rule.lifetime(a).is_ok());
        for b in &sound {
            prop_assert!(rule.merge(a, b).is_ok_and(|merged| rule.oldest(&merged).is_ok()));
        }
    }
    Ok(())
}

#[test]
fn last_write_wins_keeps_the_laws() {
    let cell = (0i64..10, prop::option::of((1u32..3, 1u32..12)), prop::option::of(0u8..3));
    let values = cell.prop_map(|(timestamp, times, value)| {
        let (ttl_seconds, expires_at_seconds) = times.unwrap_or_default();
        let value = value.map(|value| Bytes::copy_from_slice(&[value]));
        encode_cell(&Cell { timestamp, ttl_seconds, expires_at_seconds, value }).to_vec()
    });
    check_laws(&LastWriteWins { prefix_bytes: 2 }, values, any::<Vec<u8>>(), |value, now| {
        let cell = decode_cell(value).unwrap();
        if cell.is_live(now) { cell.value } else { None }
    });
}

#[test]
fn latest_keeps_the_laws() {
    let values = prop::option::of(any::<[u8; 2]>())
        .prop_map(|value| encode_latest(value.as_ref().map(|value| &value[..])).to_vec());
    check_laws(&Latest, values, any::<Vec<u8>>(), |value, _| {
        decode_latest(&Bytes::copy_from_slice(value)).unwrap()
    });
}
