//! What happened in a run: a hash of all of it, and, for whoever wants to read, a story in words.
//!
//! The hash is how a run proves that it is a function of its seed: two runs of a seed must end with
//! the same one. Everything that is noted counts, the bytes of every message among it, so the first
//! difference between two runs is found by comparing their stories.

use std::hash::{DefaultHasher, Hasher};

/// What happened so far.
pub(crate) struct Trace {
    /// SipHash with fixed keys: the same in every process.
    hasher: DefaultHasher,
    steps: u64,
    story: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; it keeps the words if `explain`.
    pub(crate) fn new(explain: bool) -> Trace {
        Trace { hasher: DefaultHasher::new(), steps: 0, story: explain.then(Vec::new) }
    }

    /// Something happened at `now_us`: what, and the numbers that tell it from others of its kind.
    /// `words` is called only if somebody wants to read them; empty ones are left out.
    pub(crate) fn note(
        &mut self,
        now_us: u64,
        what: &'static str,
        numbers: &[u64],
        words: impl FnOnce() -> String,
    ) {
        self.steps += 1;
        self.hasher.write_u64(now_us);
        self.hasher.write(what.as_bytes());
        numbers.iter().for_each(|number| self.hasher.write_u64(*number));
        if let Some(story) = &mut self.story {
            let words = words();
            if !words.is_empty() {
                story.push(format!("{:>10.3} ms  {words}", now_us as f64 / 1_000.0));
            }
        }
    }

    /// Bytes that belong to what was noted last.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.write_usize(bytes.len());
        self.hasher.write(bytes);
    }

    /// How much was noted.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of it all.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The words, if they were kept.
    pub(crate) fn into_story(self) -> Vec<String> {
        self.story.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_byte_counts_and_words_do_not() {
        let hash = |number, bytes: &[u8], explain| {
            let mut trace = Trace::new(explain);
            trace.note(5, "turn", &[number], || "a node turned".to_owned());
            trace.bytes(bytes);
            (trace.hash(), trace.into_story().len())
        };
        assert_eq!(hash(1, b"a", false).0, hash(1, b"a", true).0);
        assert_ne!(hash(1, b"a", false).0, hash(2, b"a", false).0);
        assert_ne!(hash(1, b"a", false).0, hash(1, b"b", false).0);
        assert_eq!(hash(1, b"a", true).1, 1);
    }
}
