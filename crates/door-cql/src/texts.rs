//! Statements that clients send as text again and again, planned once.
//!
//! Many drivers send a text with its values beside it and never prepare it. What comes a second
//! time is kept, with its plan; what comes once (a text with its values written into it) costs a
//! look and displaces nothing. A plan is good for the definitions it was made from and for no
//! others: their epoch is compared at each use.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use base::token_of;

use crate::{
    bind::CqlError,
    exec::{Engine, Prepared},
    limits::{TEXT_BYTES, TEXTS_BYTES},
};

/// Texts that were seen once and are remembered by their hash: as many as may come between two of
/// the same.
const SEEN: usize = 4096;

/// The texts.
pub(crate) struct Texts {
    max_bytes: usize,
    /// Counts uses; orders the last uses of texts.
    uses: AtomicU64,
    /// Hashes of texts seen lately, each at the place it says; a later one takes the place.
    seen: Box<[AtomicU64]>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// By hash. Of two texts with one hash the later stays.
    by_hash: BTreeMap<u64, Entry>,
    /// Of the texts.
    bytes: usize,
}

struct Entry {
    keyspace: Option<Arc<str>>,
    text: Box<str>,
    prepared: Arc<Prepared>,
    last_use: AtomicU64,
}

impl Default for Texts {
    fn default() -> Texts {
        Texts::bounded(TEXTS_BYTES)
    }
}

fn hash_of(keyspace: Option<&str>, text: &str) -> u64 {
    let keyspace = keyspace.map_or(0, |keyspace| token_of(keyspace.as_bytes()));
    (token_of(text.as_bytes()) ^ keyspace.rotate_left(17)) as u64
}

impl Texts {
    fn bounded(max_bytes: usize) -> Texts {
        let seen = (0..SEEN).map(|_| AtomicU64::new(0)).collect();
        Texts { max_bytes, uses: AtomicU64::new(0), seen, known: RwLock::default() }
    }

    /// The plan of `text` in a session that uses `keyspace`, kept or new.
    ///
    /// # Errors
    /// As [`Engine::prepare`].
    pub(crate) fn prepare(
        &self,
        engine: &Engine,
        keyspace: Option<&Arc<str>>,
        text: &str,
    ) -> Result<Arc<Prepared>, CqlError> {
        if text.len() > TEXT_BYTES {
            return engine.prepare(keyspace.map(AsRef::as_ref), text);
        }
        let hash = hash_of(keyspace.map(AsRef::as_ref), text);
        if let Some(prepared) = self.get(engine, hash, keyspace, text) {
            return Ok(prepared);
        }
        let prepared = engine.prepare(keyspace.map(AsRef::as_ref), text)?;
        let seen = &self.seen[hash as usize % SEEN];
        if seen.swap(hash, Ordering::Relaxed) == hash && prepared.is_of_rows() {
            self.put(hash, keyspace.cloned(), text, prepared.clone());
        }
        Ok(prepared)
    }

    fn get(
        &self,
        engine: &Engine,
        hash: u64,
        keyspace: Option<&Arc<str>>,
        text: &str,
    ) -> Option<Arc<Prepared>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.by_hash.get(&hash)?;
        let is_it = *entry.text == *text && entry.keyspace.as_ref() == keyspace;
        if !is_it || !engine.is_current(&entry.prepared) {
            return None;
        }
        entry.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(entry.prepared.clone())
    }

    /// Keeps a text, and forgets the least recently used above the bound.
    fn put(&self, hash: u64, keyspace: Option<Arc<str>>, text: &str, prepared: Arc<Prepared>) {
        let last_use = AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.bytes += text.len();
        let before = known.by_hash.insert(hash, Entry { keyspace, text: text.into(), prepared, last_use });
        known.bytes -= before.map_or(0, |before| before.text.len());
        while known.bytes > self.max_bytes {
            let oldest = known.by_hash.iter().min_by_key(|(_, entry)| entry.last_use.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else { break };
            known.bytes -= known.by_hash.remove(&oldest).map_or(0, |oldest| oldest.text.len());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::tests::door;

    fn kept(texts: &Texts) -> Vec<String> {
        let known = texts.known.read().unwrap();
        assert_eq!(known.bytes, known.by_hash.values().map(|entry| entry.text.len()).sum::<usize>());
        let mut kept: Vec<String> = known.by_hash.values().map(|entry| entry.text.to_string()).collect();
        kept.sort();
        kept
    }

    const A: &str = "SELECT key FROM system.local";
    const B: &str = "SELECT rack FROM system.local";

    #[test]
    fn what_comes_twice_is_kept_and_the_same_plan_is_given_again() {
        let (door, texts) = (door(), Texts::default());
        let prepare = |keyspace: Option<&Arc<str>>, text| texts.prepare(&door.engine, keyspace, text);
        prepare(None, A).unwrap();
        prepare(None, B).unwrap();
        assert!(kept(&texts).is_empty());
        let second = prepare(None, A).unwrap();
        assert_eq!(kept(&texts), [A]);
        assert!(Arc::ptr_eq(&second, &prepare(None, A).unwrap()));
        // In another keyspace it is another statement.
        let sample = Arc::from("sample");
        assert!(!Arc::ptr_eq(&second, &prepare(Some(&sample), A).unwrap()));
        // What is no statement, or changes no rows, is not kept, nor what is very long.
        let long = format!("{A} WHERE key = '{}'", "x".repeat(TEXT_BYTES));
        for _ in 0..3 {
            assert!(prepare(None, "SELEC").is_err());
            prepare(None, "USE system").unwrap();
            prepare(None, &long).unwrap();
        }
        assert_eq!(kept(&texts), [A]);
    }

    #[test]
    fn the_least_recently_used_is_forgotten_first() {
        let (door, texts) = (door(), Texts::bounded(2 * B.len()));
        let twice = |text: &str| {
            texts.prepare(&door.engine, None, text).unwrap();
            texts.prepare(&door.engine, None, text).unwrap();
        };
        twice(A);
        twice(B);
        twice(A);
        let other = "SELECT rack FROM system.peers";
        twice(other);
        assert_eq!(kept(&texts), [A, other]);
    }

    /// Two texts may have one hash; each is told from the other.
    #[test]
    fn a_text_is_compared_and_not_only_its_hash() {
        let (door, texts) = (door(), Texts::default());
        let prepared = door.engine.prepare(None, B).unwrap();
        texts.put(hash_of(None, A), None, B, prepared.clone());
        let found = texts.prepare(&door.engine, None, A).unwrap();
        assert!(!Arc::ptr_eq(&found, &prepared));
        texts.prepare(&door.engine, None, A).unwrap();
        assert_eq!(kept(&texts), [A]);
    }
}
