//! Results as tables for people and as JSON for later, and where they are kept.

use std::{fmt::Write as _, fs};

use serde_json::{Value, json};

use crate::{
    Outcome,
    figures::{Figure, Run, figure},
    link::Echoes,
    load::{Bars, Load},
    options::{Options, Suite},
    peers, place,
    process::{cores, first_line},
    server::Kind,
    start::Start,
    waist::Cost,
};

/// Idle memory that is promised, in MB of a million bytes.
pub const IDLE_MB_BAR: f64 = 40.0;
/// Time to ready on an empty folder that is promised, milliseconds.
pub const READY_MS_BAR: f64 = 300.0;
/// Processor time of an echo of 256 B between two nodes that is aimed at with 64 in flight, microseconds.
const ECHO_US_BAR: f64 = 8.0;
/// Cost of the waist that is aimed at, nanoseconds an operation.
pub const WAIST_NS_BAR: f64 = 1000.0;

/// The tables of a suite of turns: first what it shows, then what it is made of.
pub fn load_tables<L: Load>(runs: &[Run], kinds: &[Kind]) -> String {
    let of = |kind: Kind| L::CELLS.iter().filter_map(move |cell| figure(runs, kind, *cell));
    let mut text = String::new();
    let peers: Vec<Kind> = kinds.iter().copied().filter(|kind| *kind != Kind::Holdfast).collect();
    if kinds.contains(&Kind::Holdfast) && !peers.is_empty() {
        text.push_str(
            "| Holdfast ÷ peer | in flight | peer | server CPU an op | op/s | p50 | p99 | fdatasync p50 | bars |\n\
             |---|--:|---|--:|--:|--:|--:|--:|---|\n",
        );
        for ours in of(Kind::Holdfast) {
            for theirs in peers.iter().filter_map(|peer| figure(runs, *peer, ours.cell)) {
                text.push_str(&ratio_row(L::work_name(ours.cell.work), L::BARS, &ours, &theirs));
            }
        }
        text.push('\n');
    }
    text.push_str(
        "| work | in flight | server | op/s (low–high) | p50 µs | p99 µs | server CPU µs/op | client CPU µs/op \
         | fsyncs/op | resident MB | errors | fdatasync p50 µs |\n\
         |---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for &cell in L::CELLS {
        for figure in kinds.iter().filter_map(|kind| figure(runs, *kind, cell)) {
            text.push_str(&figure_row(L::work_name(cell.work), &figure));
        }
    }
    text + &threads_table::<L>(runs, kinds)
}

/// The profile of the last round.
fn threads_table<L: Load>(runs: &[Run], kinds: &[Kind]) -> String {
    let mut text = String::from(
        "\n| where the server CPU goes, last round | in flight | server | in the kernel | µs/op by thread name |\n\
         |---|--:|---|--:|---|\n",
    );
    for &cell in L::CELLS {
        let last = |kind: &Kind| runs.iter().rev().find(|run| run.server == *kind && run.cell == cell);
        for run in kinds.iter().filter_map(last) {
            text.push_str(&threads_row(L::work_name(cell.work), run));
        }
    }
    text
}

/// How many thread names a row tells.
const THREADS_TOLD: usize = 5;

fn threads_row(work: &str, run: &Run) -> String {
    let cpu = run.sample.server_cpu;
    let mut threads: Vec<(&String, &u64)> = run.sample.server_threads_us.iter().collect();
    threads.sort_by_key(|(_, used_us)| std::cmp::Reverse(**used_us));
    let told: Vec<String> = threads
        .iter()
        .take(THREADS_TOLD)
        .map(|(name, used_us)| format!("{name} {:.1}", run.each(**used_us)))
        .collect();
    format!(
        "| {work} | {} | {} | {:.0} % | {} |\n",
        run.cell.in_flight,
        run.server.name(),
        100.0 * cpu.system_us as f64 / cpu.total_us().max(1) as f64,
        told.join(", "),
    )
}

fn ratio_row(work: &str, bars: Bars, ours: &Figure, theirs: &Figure) -> String {
    let in_flight = ours.cell.in_flight;
    let share = ours.server_cpu_us / theirs.server_cpu_us;
    let (p50, p99) = (ours.p50_us / theirs.p50_us, ours.p99_us / theirs.p99_us);
    let bar = |name: &str, bar: f64, share: f64| format!("{name} ≤ {bar} {}", verdict(share <= bar));
    let mut told = vec![bar("CPU", bars.cpu, share)];
    told.extend(bars.p50_at_one.filter(|_| in_flight == 1).map(|most| bar("p50", most, p50)));
    told.extend(bars.p99_at.filter(|at| in_flight == at.0).map(|at| bar("p99", at.1, p99)));
    format!(
        "| {work} | {in_flight} | {} | **{share:.2}** | {:.2} | {p50:.2} | {p99:.2} | {:.0} µs | {} |\n",
        theirs.server.name(),
        ours.rate / theirs.rate,
        f64::midpoint(ours.fdatasync_p50_us, theirs.fdatasync_p50_us),
        told.join(", "),
    )
}

fn figure_row(work: &str, figure: &Figure) -> String {
    format!(
        "| {work} | {} | {} | {:.0} ({:.0}–{:.0}) | {:.0} | {:.0} | {:.1} | {:.1} | {} | {:.0} | {} | {:.0} |\n",
        figure.cell.in_flight,
        figure.server.name(),
        figure.rate,
        figure.rate_low,
        figure.rate_high,
        figure.p50_us,
        figure.p99_us,
        figure.server_cpu_us,
        figure.client_cpu_us,
        figure.fsyncs.map_or("–".to_owned(), |fsyncs| format!("{fsyncs:.3}")),
        megabytes(figure.resident_bytes),
        figure.errors,
        figure.fdatasync_p50_us,
    )
}

/// The table of the suite `start`.
pub fn start_table(starts: &[Start]) -> String {
    let mut text = String::from(
        "| server | ready after ms, median (slowest; starts) | idle resident MB | idle CPU ms/s | threads \
         | bars | fdatasync p50 µs |\n|---|--:|--:|--:|--:|---|--:|\n",
    );
    for start in starts {
        let ready_ms = crate::figures::median(start.ready_after_ms.clone());
        let slowest_ms = start.ready_after_ms.iter().copied().fold(0.0, f64::max);
        let resident_mb = megabytes(start.idle.resident_bytes);
        let bars = match start.server {
            Kind::Holdfast => format!(
                "ready ≤ {READY_MS_BAR:.0} ms {}, memory ≤ {IDLE_MB_BAR:.0} MB {}",
                verdict(ready_ms <= READY_MS_BAR),
                verdict(resident_mb <= IDLE_MB_BAR)
            ),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "| {} | {ready_ms:.0} ({slowest_ms:.0}; {}) | {resident_mb:.1} | {:.1} | {} | {bars} | {:.0} |",
            start.server.name(),
            start.ready_after_ms.len(),
            start.idle_cpu_us_per_second / 1000.0,
            start.idle.threads,
            start.fdatasync_p50_us,
        );
    }
    text
}

/// The table of the suite `waist`.
pub fn waist_table(costs: &[Cost]) -> String {
    let mut text = String::from(
        "| request | waist ns/op | bar ≤ 1,000 | through the waist | making and dropping the request |\n\
         |---|--:|---|--:|--:|\n",
    );
    for cost in costs {
        let _ = writeln!(
            text,
            "| {} | **{:.0}** | {} | {:.0} | {:.0} |",
            cost.what,
            cost.waist_ns(),
            verdict(cost.waist_ns() <= WAIST_NS_BAR),
            cost.through_ns,
            cost.request_ns,
        );
    }
    text
}

/// The table of the suite `link`.
pub fn link_table(loads: &[Echoes]) -> String {
    let mut text = String::from(
        "| in flight | CPU an echo µs | bar ≤ 8 at 64 | echoes/s | p50 µs | p99 µs | snapshots beside them MB/s |\n\
         |--:|--:|---|--:|--:|--:|--:|\n",
    );
    for load in loads {
        let Echoes { in_flight, with_bulk, cpu_us, rate, p50_us, p99_us, bulk_mb } = load;
        let cpu = if *with_bulk { String::new() } else { format!("**{cpu_us:.1}**") };
        let bar = if *in_flight == 64 && !with_bulk { verdict(*cpu_us <= ECHO_US_BAR) } else { "" };
        let bulk = if *with_bulk { format!("{bulk_mb:.0}") } else { String::new() };
        let _ = writeln!(
            text,
            "| {in_flight} | {cpu} | {bar} | {rate:.0} | {p50_us:.0} | {p99_us:.0} | {bulk} |"
        );
    }
    text
}

/// What a table says of a bar.
pub(crate) fn verdict(passed: bool) -> &'static str {
    if passed { "pass" } else { "**missed**" }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What was measured on, and how: kept with every result.
pub fn circumstances(suite: Suite, options: &Options) -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    json!({
        "taken_at": first_line("date", &["-u", "+%FT%TZ"]),
        "commit": first_line("git", &["describe", "--always", "--dirty"]),
        "cpu": model.map_or("", |(_, name)| name),
        "cores": cores(),
        "memory": memory.lines().next().unwrap_or_default(),
        "kernel": first_line("uname", &["-sr"]),
        "load_before": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "rustc": first_line("rustc", &["--version"]),
        "java": peers::runtime(),
        "rounds": options.rounds_of(suite),
        "quick": options.quick,
        "seconds": suite.is_timed().then_some(options.seconds),
        "warm_up_seconds": options.warm_up_seconds,
        "first_warm_up_seconds": options.first_warm_up_seconds,
        "pinned": options.pin,
    })
}

/// One line that says what a table was taken on.
fn caption(circumstances: &Value) -> String {
    let text = |name: &str| circumstances[name].as_str().unwrap_or_default().to_owned();
    format!(
        "Taken {} at {}; {} × {}, {}, {}; load before {}; {} round(s){}{}{}.\n\n",
        text("taken_at"),
        text("commit"),
        circumstances["cores"],
        text("cpu"),
        text("kernel"),
        text("memory").split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        text("load_before").split(' ').next().unwrap_or_default(),
        circumstances["rounds"],
        circumstances["seconds"].as_u64().map(|seconds| format!(" of {seconds} s")).unwrap_or_default(),
        if circumstances["quick"] == true { ", quick: only whether it works" } else { "" },
        if circumstances["pinned"] == true { ", server and client pinned to a core each" } else { "" },
    )
}

/// Prints `table`, and keeps it with its raw figures: under `target/`, or, if results are to be
/// recorded, under `bench/results/` and in the README.
pub fn keep(suite: Suite, options: &Options, circumstances: &Value, raw: Value, table: &str) -> Outcome<()> {
    let text = caption(circumstances) + table;
    println!("\n## {}\n\n{text}", suite.name());
    let folder = match &options.record {
        Some(name) => {
            place::root().join(format!("bench/results/{}-{name}", first_line("date", &["-u", "+%F"])))
        }
        None => place::root().join("target/bench/results"),
    };
    fs::create_dir_all(&folder)?;
    let whole = json!({ "suite": suite.name(), "circumstances": circumstances, "results": raw });
    fs::write(folder.join(format!("{}.json", suite.name())), serde_json::to_string_pretty(&whole)? + "\n")?;
    fs::write(folder.join(format!("{}.md", suite.name())), &text)?;
    if options.record.is_some() {
        let readme = place::root().join("bench/README.md");
        let page = replace_section(&fs::read_to_string(&readme)?, suite.name(), &text)?;
        fs::write(readme, page)?;
    }
    Ok(())
}

/// `page` with `text` between the marks of `section`.
fn replace_section(page: &str, section: &str, text: &str) -> Outcome<String> {
    let (begin, end) = (format!("<!-- begin {section} -->\n"), format!("<!-- end {section} -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| format!("the page has no marks for {section}"))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{cql::Cql, figures::tests::run};

    #[test]
    fn a_table_says_the_ratio_and_whether_the_bar_is_kept() {
        let cell = Cql::CELLS[0];
        let runs = [
            run(Kind::Holdfast, cell, 0, 200, 10),
            run(Kind::CassandraBatch, cell, 0, 100, 40),
            run(Kind::CassandraPeriodic, cell, 0, 400, 16),
        ];
        let table =
            load_tables::<Cql>(&runs, &[Kind::Holdfast, Kind::CassandraBatch, Kind::CassandraPeriodic]);
        let row = |server: &str, first: &str| {
            let marked = format!("| {server} |");
            table.lines().find(|line| line.starts_with(first) && line.contains(&marked)).unwrap().to_owned()
        };
        assert!(
            row("cassandra-batch", "| write")
                .contains("**0.25** | 2.00 | 1.00 | 1.00 | 120 µs | CPU ≤ 0.5 pass |")
        );
        assert!(
            row("cassandra-periodic", "| write")
                .contains("**0.62** | 0.50 | 1.00 | 1.00 | 120 µs | CPU ≤ 0.5 **missed** |")
        );
        assert!(
            row("holdfast", "| write")
                .contains("200 (200–200) | 1000 | 2000 | 10.0 | 7.0 | 0.500 | 31 | 1 | 120")
        );
        assert!(table.contains("| write 1 KB | 1 | holdfast | 75 % | door 10.0, log 1.0 |"));
        let peers_only = load_tables::<Cql>(&runs, &[Kind::CassandraBatch]);
        assert!(!peers_only.contains("÷") && peers_only.contains("| – |"));
    }

    #[test]
    fn a_section_is_replaced_and_the_rest_left() {
        let page = "a\n<!-- begin cql -->\nold\n<!-- end cql -->\nb\n<!-- begin log -->\n<!-- end log -->\n";
        let replaced = replace_section(page, "cql", "new\n").unwrap();
        assert_eq!(replaced, page.replace("old", "new"));
        assert!(replace_section(page, "waist", "x").is_err());
    }
}
