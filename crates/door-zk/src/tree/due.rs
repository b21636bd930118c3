//! Which znodes have outlived themselves.

use super::{Stop, Tree, ends::NEVER};

/// What is known of znodes that may have outlived themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Those that have.
    pub(crate) paths: Vec<String>,
    /// Those that must be read from the disk to know.
    pub(crate) cold: Vec<String>,
    /// The last path that was looked at, if there may be more behind it.
    pub(crate) last: Option<String>,
}

impl Tree {
    /// Of the containers and the znodes with a time to live whose paths come after `after`, the
    /// first `count`: what is known of them.
    pub(crate) fn due(&mut self, time_ms: i64, after: &str, count: usize) -> Due {
        let looked_at = self.ends.reaped(after, count);
        let last = looked_at.last().filter(|_| looked_at.len() == count);
        let mut due = Due { last: last.map(|(path, _)| (**path).to_owned()), ..Due::default() };
        for (path, _) in looked_at.into_iter().filter(|(_, at_ms)| *at_ms <= time_ms) {
            match self.look(&path, time_ms) {
                Ok(true) => due.paths.push(path.into()),
                Err(Stop::Cold) => due.cold.push(path.into()),
                // What cannot be read is told of by whoever needs it.
                Ok(false) | Err(_) => {}
            }
        }
        self.cache.trim(&mut self.acls);
        due
    }

    /// Whether the znode at `path` has outlived itself, as far as can be told without waiting.
    pub(crate) fn is_due(&mut self, path: &str, time_ms: i64) -> bool {
        self.look(path, time_ms) == Ok(true)
    }

    fn look(&mut self, path: &str, time_ms: i64) -> Result<bool, Stop> {
        let Some(place) = self.find(path)? else { return Ok(false) };
        let is_due = self.node(place).is_due(time_ms);
        if !is_due {
            let again_ms = self.node(place).due_after().unwrap_or(NEVER);
            self.ends.look_at(path, again_ms);
        }
        Ok(is_due)
    }
}
