//! Rows on trees told in stories: scripts with what each line answers. `stories/*.txt` hold them;
//! lines that begin with `=` are what the line before must have answered.
//!
//! ```text
//! write PARTITION/ROW AT COLUMN=VALUE... [until SECONDS]     a cell without a value is deleted
//! delete PARTITION | PARTITION/ROW | PARTITION/FROM..[TO] AT
//! keys     what the tree holds: each key and its value, byte by byte
//! read | read PARTITION[/FROM..[TO]] [backward] [at SECONDS]
//! raw      everything that is known
//! flush   compact [BEFORE NOW]   reopen
//! ```
//!
//! Bytes that are letters are shown as such, others as `\xx`. Column 1 is `name`, 2 is `age`.

use base::{
    Cell, Change, ColumnId, Mutation, PartitionRows, Position, Row, Selection, Slice, TableId, Token,
    token_of,
};
use bytes::Bytes;
use world::Disk;

use crate::{
    Engine, ReadSpec,
    tree::{Horizon, Patience, TreeSettings, Work},
};

const TABLE: TableId = TableId(1);
const COLUMNS: [(&str, ColumnId); 3] = [("row", ColumnId::ROW), ("name", ColumnId(1)), ("age", ColumnId(2))];

struct Story {
    disk: Disk,
    engine: Engine,
    position: u64,
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn number(word: &str) -> i64 {
    word.parse().unwrap()
}

fn show(bytes: &[u8]) -> String {
    let shown = |byte: &u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' => char::from(*byte).to_string(),
        byte => format!("\\{byte:02x}"),
    };
    bytes.iter().map(shown).collect()
}

fn column_name(id: ColumnId) -> &'static str {
    COLUMNS.iter().find(|column| column.1 == id).unwrap().0
}

/// `FROM..TO` or one row.
fn slice_of(words: &str) -> Slice {
    match words.split_once("..") {
        Some((from, to)) => Slice { from: text(from), to: Some(text(to)).filter(|to| !to.is_empty()) },
        None => Slice::row(text(words)),
    }
}

fn show_cell((column, cell): &(ColumnId, Cell)) -> String {
    let value = cell.value.as_ref().map_or("deleted".to_owned(), |value| show(value));
    let until = match cell.expires_at_seconds {
        0 => String::new(),
        until => format!(" until {until}"),
    };
    format!("{}={value}@{}{until}", column_name(*column), cell.timestamp)
}

fn show_row(key: &[u8], row: &Row) -> String {
    let cells: Vec<String> = row.cells.iter().map(show_cell).collect();
    format!("{}/{} {}", show(key), show(&row.clustering), cells.join(" "))
}

fn show_change(key: &[u8], change: &Change) -> String {
    match change {
        Change::Row { clustering, cells } => {
            show_row(key, &Row { clustering: clustering.clone(), cells: cells.clone() })
        }
        Change::DeleteRows { from, to, timestamp } => {
            let to = to.as_ref().map_or(String::new(), |to| show(to));
            format!("{}/{}..{to} deleted@{timestamp}", show(key), show(from))
        }
        Change::DeletePartition { timestamp } => format!("{} deleted@{timestamp}", show(key)),
    }
}

impl Story {
    fn begin() -> Story {
        let disk = Disk::in_memory();
        let engine = Engine::open(disk.clone(), TreeSettings::default()).unwrap();
        Story { disk, engine, position: 0 }
    }

    fn apply(&mut self, partition: &str, change: Change) -> String {
        let mutation = Mutation { table: TABLE, key: text(partition), changes: vec![change] };
        self.position += 1;
        self.engine.apply(Position(self.position), &[mutation]).unwrap();
        String::new()
    }

    fn write(&mut self, place: &str, at: &str, cells: &[&str], until: u32) -> String {
        let (partition, row) = place.split_once('/').unwrap();
        let cell = |words: &&str| {
            let (column, value) = words.split_once('=').unwrap();
            let id = COLUMNS.iter().find(|known| known.0 == column).unwrap().1;
            let value = Some(text(value)).filter(|value| !value.is_empty() || id == ColumnId::ROW);
            let ttl_seconds = if until == 0 { 0 } else { 60 };
            (id, Cell { timestamp: number(at), ttl_seconds, expires_at_seconds: until, value })
        };
        let cells = cells.iter().map(cell).collect();
        self.apply(partition, Change::Row { clustering: text(row), cells })
    }

    fn delete(&mut self, place: &str, timestamp: i64) -> String {
        match place.split_once('/') {
            None => self.apply(place, Change::DeletePartition { timestamp }),
            Some((partition, rows)) => {
                let Slice { from, to } = slice_of(rows);
                self.apply(partition, Change::DeleteRows { from, to, timestamp })
            }
        }
    }

    fn finish_work(&self, horizon: Option<Horizon>) -> String {
        while self.engine.forest().work(u64::MAX, &|_| horizon).unwrap() == Work::More {}
        String::new()
    }

    fn compact(&self, horizon: Option<Horizon>) -> String {
        self.engine.forest().compact(Engine::tree_of(TABLE));
        self.finish_work(horizon)
    }

    fn keys(&self) -> String {
        let scan = self.engine.forest().scan(Engine::tree_of(TABLE), Bytes::new(), None, false).unwrap();
        let line = |step: Result<(Bytes, Bytes), _>| {
            let (key, value) = step.unwrap();
            format!("{} -> {}", show(&key), show(&value))
        };
        scan.map(line).collect::<Vec<_>>().join("\n")
    }

    fn spec(&self, mut words: &[&str]) -> ReadSpec {
        let mut spec = ReadSpec::partition(TABLE, Bytes::new(), 0);
        if let [rest @ .., "at", seconds] = words {
            (words, spec.now_seconds) = (rest, number(seconds) as u32);
        }
        let reversed = words.last() == Some(&"backward");
        spec.selection = match words.first() {
            None => Selection::Tokens { first: Token::MIN, last: Token::MAX },
            Some(place) => {
                let (key, rows) = place.split_once('/').unwrap_or((place, ".."));
                Selection::Partition { key: text(key), slices: vec![slice_of(rows)], reversed }
            }
        };
        spec
    }

    fn read(&self, words: &[&str]) -> String {
        let page = self.engine.read(&self.spec(words), Patience::Wait).unwrap();
        let rows = |found: &PartitionRows| {
            found.rows.iter().map(|row| show_row(&found.key, row)).collect::<Vec<_>>()
        };
        page.partitions.iter().flat_map(rows).collect::<Vec<_>>().join("\n")
    }

    fn raw(&self) -> String {
        let found = self.engine.read_raw(&self.spec(&[]), Patience::Wait).unwrap();
        let changes = |mutation: &Mutation| {
            mutation.changes.iter().map(|change| show_change(&mutation.key, change)).collect::<Vec<_>>()
        };
        found.mutations.iter().flat_map(changes).collect::<Vec<_>>().join("\n")
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["write", place, at, ref cells @ .., "until", until] => {
                self.write(place, at, cells, number(until) as u32)
            }
            ["write", place, at, ref cells @ ..] => self.write(place, at, cells, 0),
            ["delete", place, at] => self.delete(place, number(at)),
            ["token", key] => token_of(key.as_bytes()).to_string(),
            ["keys"] => self.keys(),
            ["read", ref words @ ..] => self.read(words),
            ["raw"] => self.raw(),
            ["flush"] => {
                self.engine.forest().freeze(Position(self.position));
                self.finish_work(None)
            }
            ["compact"] => self.compact(None),
            ["compact", before, now] => {
                let horizon = Horizon { before: number(before), now_seconds: number(now) as u32 };
                self.compact(Some(horizon))
            }
            ["files"] => {
                let figures = self.engine.forest().figures(Engine::tree_of(TABLE));
                format!("{} runs, {} entries", figures.runs, figures.entries)
            }
            ["reopen"] => {
                self.engine = Engine::open(self.disk.clone(), TreeSettings::default()).unwrap();
                String::new()
            }
            _ => panic!("no such line: {line}"),
        }
    }
}

fn tell(name: &str, told: &str) {
    let mut story = Story::begin();
    let mut answer: Vec<String> = Vec::new();
    let mut asked = 0;
    for (nth, line) in told.lines().enumerate().map(|(nth, line)| (nth + 1, line.trim())) {
        if let Some(expected) = line.strip_prefix('=') {
            assert!(!answer.is_empty(), "{name}, line {nth}: the answer is shorter");
            assert_eq!(answer.remove(0), expected.trim(), "{name}, line {nth}");
        } else if !line.is_empty() && !line.starts_with('#') {
            assert!(answer.is_empty(), "{name}, line {asked}: it also answered {answer:#?}");
            answer = story.line(line).lines().map(str::to_owned).collect();
            asked = nth;
        }
    }
    assert!(answer.is_empty(), "{name}, line {asked}: it also answered {answer:#?}");
}

#[test]
fn rows_become_keys() {
    tell("rows", include_str!("stories/rows.txt"));
}
