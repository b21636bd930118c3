//! Prepared statements, shared by all connections.
//!
//! A statement's id is a function of the keyspace it was prepared in and its text and of nothing
//! else: a driver that prepares again, at another node or after a restart, must get the id it
//! has. It is the first half of a SHA-256, because whoever could make two texts with one id could
//! have another client execute the wrong one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};

use crate::{
    exec::{Prepared, SchemaChanged},
    limits::{PREPARED_BYTES, PREPARED_STATEMENTS},
};

/// The id of a prepared statement.
pub(crate) type StatementId = [u8; 16];

/// The id of `text` prepared in `keyspace`.
pub(crate) fn id_of(keyspace: Option<&str>, text: &str) -> StatementId {
    let mut hash = Sha256::new();
    // No keyspace has this character in its name, so the two parts cannot run into each other.
    hash.update(keyspace.unwrap_or_default());
    hash.update([0]);
    hash.update(text);
    let digest: [u8; 32] = hash.finalize().into();
    *digest.first_chunk().expect("half of it")
}

/// The statements.
pub(crate) struct Statements {
    max_count: usize,
    max_bytes: usize,
    /// Counts uses; orders the last uses of statements.
    uses: AtomicU64,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_id: BTreeMap<StatementId, Entry>,
    /// Of the texts.
    bytes: usize,
}

struct Entry {
    keyspace: Option<Arc<str>>,
    text: Arc<str>,
    prepared: Arc<Prepared>,
    last_use: AtomicU64,
}

impl Default for Statements {
    fn default() -> Statements {
        Statements::bounded(PREPARED_STATEMENTS, PREPARED_BYTES)
    }
}

impl Statements {
    fn bounded(max_count: usize, max_bytes: usize) -> Statements {
        Statements { max_count, max_bytes, uses: AtomicU64::new(0), known: RwLock::default() }
    }

    /// The statement, if it is known.
    pub(crate) fn get(&self, id: &[u8]) -> Option<Arc<Prepared>> {
        let id: &StatementId = id.try_into().ok()?;
        let known = self.read();
        let entry = known.by_id.get(id)?;
        entry.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(entry.prepared.clone())
    }

    /// Keeps a statement, and forgets the least recently used above the bounds.
    pub(crate) fn put(&self, keyspace: Option<Arc<str>>, text: &str, prepared: Arc<Prepared>) -> StatementId {
        let id = id_of(keyspace.as_deref(), text);
        let last_use = AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed));
        let entry = Entry { keyspace, text: text.into(), prepared, last_use };
        let mut known = self.write();
        known.bytes += text.len();
        if let Some(before) = known.by_id.insert(id, entry) {
            known.bytes -= before.text.len();
        }
        while known.by_id.len() > 1 && (known.by_id.len() > self.max_count || known.bytes > self.max_bytes) {
            known.forget_oldest();
        }
        id
    }

    /// Forgets statements of what was changed: who executes one prepares it again, and is told of
    /// the columns that a new table of the old name has.
    pub(crate) fn forget(&self, changed: &SchemaChanged) {
        let mut known = self.write();
        let mut freed = 0;
        known.by_id.retain(|_, entry| {
            let keep = !entry.prepared.is_of(&changed.keyspace, changed.table.as_deref());
            freed += if keep { 0 } else { entry.text.len() };
            keep
        });
        known.bytes -= freed;
    }

    /// All statements: id, keyspace and text.
    pub(crate) fn list(&self) -> Vec<(StatementId, Option<Arc<str>>, Arc<str>)> {
        let known = self.read();
        known.by_id.iter().map(|(id, entry)| (*id, entry.keyspace.clone(), entry.text.clone())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// A scan: it happens once a PREPARE at most, which costs more than this.
    fn forget_oldest(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(_, entry)| entry.last_use.load(Ordering::Relaxed));
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(entry) = self.by_id.remove(&id)
        {
            self.bytes -= entry.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::tests::door;

    const TEXTS: [&str; 3] =
        ["SELECT key FROM system.local", "SELECT rack FROM system.local", "SELECT a FROM sample.t"];

    fn put(statements: &Statements, text: &str) -> StatementId {
        statements.put(None, text, door().engine.prepare(None, text).unwrap())
    }

    #[test]
    fn ids_are_functions_of_keyspace_and_text_forever() {
        // Written down, because clients keep ids over restarts and upgrades of the server.
        let id = u128::from_be_bytes(id_of(Some("ks"), "SELECT 1"));
        assert_eq!(format!("{id:032x}"), "65e762251f33255bec82b8eea5a88000");
        assert_ne!(id_of(Some("ks"), "SELECT 1"), id_of(None, "SELECT 1"));
        assert_ne!(id_of(Some("a"), "b"), id_of(Some("ab"), ""));
    }

    #[test]
    fn the_least_recently_used_is_forgotten_first() {
        let statements = Statements::bounded(2, 1000);
        let ids = [put(&statements, TEXTS[0]), put(&statements, TEXTS[1])];
        assert!(statements.get(&ids[0]).is_some());
        let third = put(&statements, TEXTS[2]);
        assert!(statements.get(&ids[0]).is_some());
        assert!(statements.get(&ids[1]).is_none());
        assert!(statements.get(&third).is_some());
    }

    #[test]
    fn texts_are_bounded_together_and_counted_once() {
        let statements = Statements::bounded(100, TEXTS[0].len() + TEXTS[1].len());
        for _ in 0..10 {
            put(&statements, TEXTS[0]);
        }
        put(&statements, TEXTS[1]);
        assert_eq!(statements.list().len(), 2);
        put(&statements, TEXTS[2]);
        assert_eq!(statements.list().len(), 2);
    }

    #[test]
    fn what_is_stale_is_forgotten() {
        let statements = Statements::default();
        let ids = TEXTS.map(|text| put(&statements, text));
        let keyspace = "sample".to_owned();
        statements.forget(&SchemaChanged { created: false, keyspace, table: Some("t".to_owned()) });
        assert!(statements.get(&ids[0]).is_some());
        assert!(statements.get(&ids[2]).is_none());
    }
}
