//! The tree told in stories: scripts with what each line answers. `stories/*.txt` hold them; a line
//! that begins with `=` is what the line before must have answered.
//!
//! ```text
//! put KEY AT VALUE [EXPIRES]   delete KEY AT   delete-range FROM TO AT      one batch each
//! freeze   work   compact [BEFORE NOW]   snapshot   release   reopen
//! get KEY   scan FROM TO   back FROM TO   (at the snapshot, if there is one)   files
//! ```

use base::{Cell, Position};
use bytes::Bytes;
use world::Disk;

use super::{model::rules, program::finish_work};
use crate::tree::{Batch, Forest, Horizon, Snapshot, TreeId, TreeSettings, decode_cell, encode_cell};

const TREE: TreeId = TreeId(1);

struct Story {
    disk: Disk,
    forest: Forest,
    position: u64,
    snapshot: Option<Snapshot>,
}

fn show(value: &[u8]) -> String {
    let cell = decode_cell(value).unwrap();
    let value = cell.value.map_or("deleted".to_owned(), |value| String::from_utf8(value.to_vec()).unwrap());
    match cell.expires_at_seconds {
        0 => format!("{value}@{}", cell.timestamp),
        expires => format!("{value}@{} until {expires}", cell.timestamp),
    }
}

impl Story {
    fn begin() -> Story {
        let disk = Disk::in_memory();
        let forest = Forest::open(disk.clone(), settings(), rules()).unwrap();
        Story { disk, forest, position: 0, snapshot: None }
    }

    fn apply(&mut self, fill: impl FnOnce(&mut Batch)) -> String {
        let mut batch = Batch::new();
        fill(&mut batch);
        self.position += 1;
        self.forest.apply(Position(self.position), batch).unwrap();
        String::new()
    }

    fn scan(&self, from: &str, to: &str, backward: bool) -> String {
        let (from, to) = (from.to_owned(), Some(Bytes::from(to.to_owned())));
        let scan = match &self.snapshot {
            Some(snapshot) => snapshot.scan(TREE, from, to, backward),
            None => self.forest.scan(TREE, from, to, backward),
        };
        let rows = scan.unwrap().map(|row| {
            let (key, value) = row.unwrap();
            format!("{}={}", String::from_utf8(key.to_vec()).unwrap(), show(&value))
        });
        rows.collect::<Vec<_>>().join(", ")
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<i64>().unwrap();
        match words[..] {
            ["put", key, at, value] => {
                let cell = Cell::live(number(at), Bytes::from(value.to_owned()));
                self.apply(|batch| batch.put(TREE, key.to_owned(), encode_cell(&cell)))
            }
            ["put", key, at, value, expires] => {
                let mut cell = Cell::live(number(at), Bytes::from(value.to_owned()));
                (cell.ttl_seconds, cell.expires_at_seconds) = (1, number(expires) as u32);
                self.apply(|batch| batch.put(TREE, key.to_owned(), encode_cell(&cell)))
            }
            ["delete", key, at] => {
                let cell = Cell::tombstone(number(at));
                self.apply(|batch| batch.put(TREE, key.to_owned(), encode_cell(&cell)))
            }
            ["delete-range", from, to, at] => {
                let to = Some(Bytes::from(to.to_owned()));
                self.apply(|batch| batch.delete_range(TREE, from.to_owned(), to, number(at)))
            }
            ["freeze"] => {
                self.forest.freeze(Position(self.position));
                String::new()
            }
            ["work"] => {
                finish_work(&self.forest, None).unwrap();
                format!("flushed up to {}", self.forest.flushed_position())
            }
            ["compact", ref rest @ ..] => {
                let horizon = match *rest {
                    [before, now] => {
                        Some(Horizon { before: number(before), now_seconds: number(now) as u32 })
                    }
                    _ => None,
                };
                self.forest.compact(TREE);
                finish_work(&self.forest, horizon).unwrap();
                String::new()
            }
            ["snapshot"] => {
                self.snapshot = Some(self.forest.snapshot());
                String::new()
            }
            ["release"] => {
                self.snapshot = None;
                String::new()
            }
            ["reopen"] => {
                self.snapshot = None;
                self.forest = Forest::open(self.disk.clone(), settings(), rules()).unwrap();
                format!("at {}", self.forest.applied_position())
            }
            ["get", key] => {
                let value = match &self.snapshot {
                    Some(snapshot) => snapshot.get(TREE, key.as_bytes()).unwrap(),
                    None => self.forest.get(TREE, key.as_bytes()).unwrap(),
                };
                value.map_or("nothing".to_owned(), |value| show(&value))
            }
            ["scan", from, to] => self.scan(from, to, false),
            ["back", from, to] => self.scan(from, to, true),
            ["files"] => {
                let figures = self.forest.figures(TREE);
                format!("{} runs, {} entries", figures.runs, figures.entries)
            }
            _ => panic!("no such line: {line}"),
        }
    }
}

/// Without a cache, which would show values that compaction has purged.
fn settings() -> TreeSettings {
    TreeSettings { cache_bytes: 0, ..TreeSettings::default() }
}

fn tell(name: &str, text: &str) {
    let mut story = Story::begin();
    let mut answer = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(expected) = line.strip_prefix('=') {
            assert_eq!(answer, expected.trim(), "{name}, line {}", number + 1);
        } else if !line.is_empty() && !line.starts_with('#') {
            answer = story.line(line);
        }
    }
}

#[test]
fn writes_become_files() {
    tell("files", include_str!("stories/files.txt"));
}

#[test]
fn deletions_and_times() {
    tell("deletions", include_str!("stories/deletions.txt"));
}

#[test]
fn the_past_stays_readable() {
    tell("snapshots", include_str!("stories/snapshots.txt"));
}
