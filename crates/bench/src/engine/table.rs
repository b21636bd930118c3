//! The tables of the suite `engine`: ratios first, then what they are made of.

use std::fmt::Write as _;

use serde_json::Value;

use super::{data::VALUE_BYTES, layout::Kind, peer::Engine, suite::Results};
use crate::{figures::median, report::verdict};

/// What is promised: not slower than `lsm-tree` in any row.
pub const BAR: f64 = 1.0;
/// And so much faster where only our filters know the partition.
pub const PARTITION_MISS_BAR: f64 = 1.5;
/// The row of that.
const PARTITION_MISS: &str = "partition miss";
/// What one of 64 clients may wait for a write, 999 times in 1,000, while compaction works off its
/// debt, in milliseconds.
pub const WRITE_P999_MS_AIM: f64 = 20.0;

/// All tables.
pub fn tables(results: &Results) -> String {
    let mut text = ratio_table(&results.turns);
    text.push_str(&costs_table(&results.turns));
    text.push_str(&rows_table(&results.turns));
    text.push_str(&layouts_table(&results.layouts));
    text
}

fn bar_of(row: &str) -> f64 {
    if row == PARTITION_MISS { PARTITION_MISS_BAR } else { BAR }
}

/// The turns of one engine at one size, in order of rounds.
fn turns_of(turns: &[Value], engine: Engine, value_bytes: usize) -> Vec<&Value> {
    let of = |turn: &&Value| {
        turn["engine"] == engine.name() && turn["value_bytes"].as_u64() == Some(value_bytes as u64)
    };
    turns.iter().filter(of).collect()
}

/// The names of the rows, in the order in which they are measured.
fn row_names(turns: &[Value]) -> Vec<&str> {
    let rows = turns.first().and_then(|turn| turn["rows"].as_array());
    rows.into_iter().flatten().filter_map(|row| row["name"].as_str()).collect()
}

/// `field` of the row `name` in each of `turns`.
fn of_row(turns: &[&Value], name: &str, field: &str) -> Vec<f64> {
    let rows = |turn: &&Value| turn["rows"].as_array().cloned().unwrap_or_default();
    let named = |row: &Value| row["name"] == name;
    turns.iter().filter_map(|turn| rows(turn).into_iter().find(named)?[field].as_f64()).collect()
}

/// Ours divided by theirs, of the same round; the median of the rounds.
fn ratio(turns: &[Value], name: &str, field: &str, value_bytes: usize) -> Option<f64> {
    let [ours, theirs] =
        Engine::BOTH.map(|engine| of_row(&turns_of(turns, engine, value_bytes), name, field));
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

fn ratio_table(turns: &[Value]) -> String {
    let mut text = String::from("| Holdfast ÷ lsm-tree, a second (CPU) | bar |");
    for value_bytes in VALUE_BYTES {
        let _ = write!(text, " {} |  |", size(value_bytes));
    }
    text.push_str("\n|---|--:|");
    text.push_str(&"--:|---|".repeat(VALUE_BYTES.len()));
    text.push('\n');
    for name in row_names(turns) {
        let bar = bar_of(name);
        let _ = write!(text, "| {name} | ≥ {bar} |");
        for value_bytes in VALUE_BYTES {
            let ratio = |field| ratio(turns, name, field, value_bytes);
            match (ratio("per_second"), ratio("cpu_us")) {
                (Some(rate), Some(cpu)) => {
                    let _ = write!(text, " **{rate:.2}** ({cpu:.2}) | {} |", verdict(rate >= bar));
                }
                _ => text.push_str(" – |  |"),
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn size(value_bytes: usize) -> String {
    if value_bytes == 1024 { "1 KB".to_owned() } else { format!("{value_bytes} B") }
}

/// What is told of a turn beside its rows: a name, where it is in the turn, what to divide it by.
const COSTS: [(&str, &str, f64); 13] = [
    ("bytes written ÷ bytes put, load", "/load/write_amplification", 1.0),
    ("bytes written ÷ bytes put, overwrite", "/overwrite/write_amplification", 1.0),
    ("bytes written ÷ bytes put, mixed", "/mixed/write_amplification", 1.0),
    ("bytes on disk ÷ bytes of data, loaded", "/load/space_amplification", 1.0),
    ("bytes on disk ÷ bytes of data, overwritten", "/overwrite/space_amplification", 1.0),
    ("write p99.9 while debt is worked off, ms", "/overwrite/waits/p999_us", 1e3),
    ("longest write while debt is worked off, ms", "/overwrite/waits/max_us", 1e3),
    ("mixed: read p99.9, ms", "/mixed/reads/p999_us", 1e3),
    ("mixed: write p99.9, ms", "/mixed/writes/p999_us", 1e3),
    ("resident memory, most, MB", "/memory/peak_bytes", 1e6),
    ("of it memtables, most, MB", "/memory/memtables_peak_bytes", 1e6),
    ("of it cache at the end, MB", "/holdings_end/cache_bytes", 1e6),
    ("files at the end", "/holdings_end/files", 1.0),
];

fn costs_table(turns: &[Value]) -> String {
    let mut text = String::from("| lower is better |");
    let mut rule = String::from("|---|");
    for value_bytes in VALUE_BYTES {
        for engine in Engine::BOTH {
            let _ = write!(text, " {}, {} |", engine.name(), size(value_bytes));
            rule.push_str("--:|");
        }
    }
    let _ = write!(text, "\n{rule}\n");
    for (name, place, unit) in COSTS {
        let _ = write!(text, "| {name} |");
        for value_bytes in VALUE_BYTES {
            for engine in Engine::BOTH {
                let turns = turns_of(turns, engine, value_bytes);
                let values: Vec<f64> =
                    turns.iter().filter_map(|turn| turn.pointer(place)?.as_f64()).collect();
                match values.is_empty() {
                    true => text.push_str(" – |"),
                    false => {
                        let _ = write!(text, " {:.2} |", median(values) / unit);
                    }
                }
            }
        }
        text.push('\n');
    }
    text.push_str("\nA write waits for one thread that serves 64 clients, and for its answer, while debt is worked off.");
    for value_bytes in VALUE_BYTES {
        let turns = turns_of(turns, Engine::Forest, value_bytes);
        let waits_us = turns.iter().filter_map(|turn| turn.pointer("/overwrite/waits/p999_us")?.as_f64());
        let p999_ms = median(waits_us.collect()) / 1e3;
        let met = verdict(p999_ms <= WRITE_P999_MS_AIM);
        let size = size(value_bytes);
        let _ =
            write!(text, " Holdfast, {size}: p99.9 {p999_ms:.1} ms, aim ≤ {WRITE_P999_MS_AIM} ms, {met}.");
    }
    text.push_str("\n\n");
    text
}

fn rows_table(turns: &[Value]) -> String {
    let mut text = String::from(
        "| row | value | engine | a second (low–high) | p50 µs | p99 µs | p99.9 µs | CPU µs |\n\
         |---|--:|---|--:|--:|--:|--:|--:|\n",
    );
    for name in row_names(turns) {
        for value_bytes in VALUE_BYTES {
            for engine in Engine::BOTH {
                let turns = turns_of(turns, engine, value_bytes);
                let rates = of_row(&turns, name, "per_second");
                if rates.is_empty() {
                    continue;
                }
                let over = |field| median(of_row(&turns, name, field));
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {:.0} ({:.0}–{:.0}) | {:.2} | {:.1} | {:.0} | {:.2} |",
                    size(value_bytes),
                    engine.name(),
                    over("per_second"),
                    rates.iter().copied().fold(f64::INFINITY, f64::min),
                    rates.iter().copied().fold(0.0, f64::max),
                    over("p50_us"),
                    over("p99_us"),
                    over("p999_us"),
                    over("cpu_us"),
                );
            }
        }
    }
    text
}

/// How rows become keys: processor time, and where it says something, reads of files and bytes.
fn layouts_table(layouts: &[Value]) -> String {
    let mut text = String::from(
        "\n| layout of rows, CPU µs an operation | (a) cells | (b) fragments | (c) hybrid | reads of files \
         | bytes on disk |\n|---|--:|--:|--:|---|---|\n",
    );
    for name in layout_names(layouts) {
        let over = |kind: Kind, field: &str| {
            let values = of_layout(layouts, kind, name, field);
            (!values.is_empty()).then(|| median(values))
        };
        let all = |field: &str| Kind::ALL.map(|kind| over(kind, field));
        let _ = write!(text, "| {name} |");
        for (us, upkeep_us) in all("us").iter().zip(all("upkeep_us")) {
            match (us, upkeep_us) {
                (Some(us), Some(upkeep_us)) => {
                    let _ = write!(text, " {us:.2} + {upkeep_us:.2} |");
                }
                (Some(us), None) => {
                    let _ = write!(text, " {us:.2} |");
                }
                _ => text.push_str(" |"),
            }
        }
        let _ = writeln!(text, " {} | {} |", joined(&all("disk_reads"), 2), joined(&all("disk_bytes"), 0));
    }
    text
}

fn layout_names(layouts: &[Value]) -> Vec<&str> {
    let figures = layouts.first().and_then(|layout| layout["figures"].as_array());
    figures.into_iter().flatten().filter_map(|figure| figure["name"].as_str()).collect()
}

fn of_layout(layouts: &[Value], kind: Kind, name: &str, field: &str) -> Vec<f64> {
    let of = layouts.iter().filter(|layout| layout["layout"] == kind.name());
    let figures = of.filter_map(|layout| layout["figures"].as_array()).flatten();
    figures.filter(|figure| figure["name"] == name).filter_map(|figure| figure[field].as_f64()).collect()
}

/// The three figures with slashes between; nothing if there are none.
fn joined(figures: &[Option<f64>], digits: usize) -> String {
    let figures: Option<Vec<f64>> = figures.iter().copied().collect();
    let shown =
        figures.map(|figures| figures.iter().map(|figure| format!("{figure:.digits$}")).collect::<Vec<_>>());
    shown.map(|shown| shown.join(" / ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn turn(engine: Engine, value_bytes: usize, rate: f64) -> Value {
        let cpu_us = if engine == Engine::Forest { 0.4 } else { 0.5 };
        let waits =
            json!({ "p50_us": 2.0, "p99_us": 3.0, "p999_us": 4.0, "per_second": rate, "cpu_us": cpu_us });
        let row = |name: &str| {
            let mut row = waits.clone();
            row["name"] = name.into();
            row
        };
        json!({
            "engine": engine.name(), "value_bytes": value_bytes,
            "rows": [row("read hit"), row(PARTITION_MISS)],
            "load": { "write_amplification": 2.5 },
        })
    }

    #[test]
    fn layouts_stand_side_by_side() {
        let layout = |kind: Kind, us: f64| {
            json!({ "layout": kind.name(), "figures": [
                { "name": "write", "us": us, "upkeep_us": 1.0, "disk_bytes": 10.0 },
                { "name": "read", "us": us, "disk_reads": 0.5 },
            ]})
        };
        let layouts = Kind::ALL.iter().zip([1.0, 2.0, 3.0]).map(|(kind, us)| layout(*kind, us)).collect();
        let table = tables(&Results { turns: Vec::new(), layouts });
        assert!(
            table.contains("| write | 1.00 + 1.00 | 2.00 + 1.00 | 3.00 + 1.00 |  | 10 / 10 / 10 |"),
            "{table}"
        );
        assert!(table.contains("| read | 1.00 | 2.00 | 3.00 | 0.50 / 0.50 / 0.50 |  |"), "{table}");
    }

    #[test]
    fn ratios_are_of_the_same_round_and_judged_by_their_bars() {
        // The second round is ten times as fast for both: the ratio stays.
        let turns = [
            turn(Engine::Forest, 1024, 120.0),
            turn(Engine::LsmTree, 1024, 100.0),
            turn(Engine::LsmTree, 1024, 1000.0),
            turn(Engine::Forest, 1024, 1200.0),
        ];
        let table = tables(&Results { turns: turns.to_vec(), layouts: Vec::new() });
        assert!(table.contains("| read hit | ≥ 1 | **1.20** (0.80) | pass | – |  |"), "{table}");
        assert!(table.contains("| partition miss | ≥ 1.5 | **1.20** (0.80) | **missed** |"), "{table}");
        assert!(table.contains("| bytes written ÷ bytes put, load | 2.50 | 2.50 | – | – |"), "{table}");
        let row = "| read hit | 1 KB | lsm-tree | 550 (100–1000) | 2.00 | 3.0 | 4 | 0.50 |";
        assert!(table.contains(row), "{table}");
    }
}
