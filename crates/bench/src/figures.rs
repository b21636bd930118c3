//! From runs to figures: the median of the rounds, and ratios between servers.

use serde_json::{Value, json};

use crate::{
    load::{Cell, Sample},
    process::Size,
    server::Kind,
};

/// One turn of one server.
#[derive(Clone, Debug)]
pub struct Run {
    /// The server.
    pub server: Kind,
    /// The load.
    pub cell: Cell,
    /// The round, from 0.
    pub round: usize,
    /// What was measured.
    pub sample: Sample,
    /// The server's size at the end.
    pub size: Size,
    /// The disk's own speed just before, microseconds.
    pub fdatasync_p50_us: f64,
}

impl Run {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.sample.operations as f64 / self.sample.seconds
    }

    /// `total` over the run, per operation.
    pub(crate) fn each(&self, total: u64) -> f64 {
        total as f64 / (self.sample.operations.max(1)) as f64
    }

    /// One line to watch a run by.
    pub fn line(&self, work: &str) -> String {
        let Run { sample, cell, .. } = self;
        let error =
            sample.first_error.as_ref().map(|error| format!(", first error: {error}")).unwrap_or_default();
        format!(
            "round {} · {work} · {} in flight · {}: {:.0}/s, p50 {:.0} µs, p99 {:.0} µs, server {:.1} µs, \
             client {:.1} µs, {} errors{error}",
            self.round + 1,
            cell.in_flight,
            self.server.name(),
            self.rate(),
            sample.p50_us,
            sample.p99_us,
            self.each(sample.steady_server_cpu_us()),
            self.each(sample.client_cpu_us),
            sample.errors,
        )
    }

    /// Everything that was measured.
    pub fn json(&self) -> Value {
        let sample = &self.sample;
        json!({
            "server": self.server.name(),
            "work": self.cell.work.name(),
            "in_flight": self.cell.in_flight,
            "round": self.round + 1,
            "seconds": sample.seconds,
            "operations": sample.operations,
            "errors": sample.errors,
            "first_error": sample.first_error,
            "p50_us": sample.p50_us,
            "p99_us": sample.p99_us,
            "p999_us": sample.p999_us,
            "max_us": sample.max_us,
            "server_user_us": sample.server_cpu.user_us,
            "server_system_us": sample.server_cpu.system_us,
            "server_threads_us": sample.server_threads_us,
            "client_cpu_us": sample.client_cpu_us,
            "fsyncs": sample.fsyncs,
            "resident_bytes": self.size.resident_bytes,
            "peak_bytes": self.size.peak_bytes,
            "fdatasync_p50_us": self.fdatasync_p50_us,
        })
    }
}

/// What the rounds of one server at one load come to: medians, but for errors (their sum) and
/// memory (the last).
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The server.
    pub server: Kind,
    /// The load.
    pub cell: Cell,
    /// Operations a second.
    pub rate: f64,
    /// The slowest round's.
    pub rate_low: f64,
    /// The quickest round's.
    pub rate_high: f64,
    /// Microseconds.
    pub p50_us: f64,
    /// Microseconds.
    pub p99_us: f64,
    /// Server processor time an operation, without a JVM's compiler, microseconds.
    pub server_cpu_us: f64,
    /// Client processor time an operation, microseconds.
    pub client_cpu_us: f64,
    /// Fsyncs an operation, if the server counts them.
    pub fsyncs: Option<f64>,
    /// Bytes.
    pub resident_bytes: u64,
    /// Operations that failed, all rounds.
    pub errors: u64,
    /// The disk's own speed, microseconds.
    pub fdatasync_p50_us: f64,
}

/// The figure of `server` at `cell`; `None` if there was no such run.
pub fn figure(runs: &[Run], server: Kind, cell: Cell) -> Option<Figure> {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.server == server && run.cell == cell).collect();
    let last = runs.last()?;
    let over = |value: &dyn Fn(&Run) -> f64| median(runs.iter().map(|run| value(run)).collect());
    let rates = || runs.iter().map(|run| run.rate());
    Some(Figure {
        server,
        cell,
        rate: over(&Run::rate),
        rate_low: rates().fold(f64::INFINITY, f64::min),
        rate_high: rates().fold(0.0, f64::max),
        p50_us: over(&|run| run.sample.p50_us),
        p99_us: over(&|run| run.sample.p99_us),
        server_cpu_us: over(&|run| run.each(run.sample.steady_server_cpu_us())),
        client_cpu_us: over(&|run| run.each(run.sample.client_cpu_us)),
        fsyncs: last.sample.fsyncs.map(|_| over(&|run| run.each(run.sample.fsyncs.unwrap_or(0)))),
        resident_bytes: last.size.resident_bytes,
        errors: runs.iter().map(|run| run.sample.errors).sum(),
        fdatasync_p50_us: over(&|run| run.fdatasync_p50_us),
    })
}

/// The value in the middle, or between the two in the middle; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{load::Work, process::Cpu};

    /// A run whose figures all follow from its rate and its cost.
    pub(crate) fn run(server: Kind, cell: Cell, round: usize, rate: u64, cpu_us: u64) -> Run {
        let sample = Sample {
            seconds: 1.0,
            operations: rate,
            errors: 1,
            first_error: Some("late".to_owned()),
            p50_us: 1000.0,
            p99_us: 2000.0,
            p999_us: 3000.0,
            max_us: 4000.0,
            server_cpu: Cpu { user_us: cpu_us * rate / 4, system_us: cpu_us * rate - cpu_us * rate / 4 },
            server_threads_us: [("door".to_owned(), cpu_us * rate), ("log".to_owned(), rate)].into(),
            client_cpu_us: 7 * rate,
            fsyncs: (server == Kind::Holdfast).then_some(rate / 2),
        };
        let size = Size { resident_bytes: 30 << 20, peak_bytes: 40 << 20, threads: 4 };
        Run { server, cell, round, sample, size, fdatasync_p50_us: 120.0 }
    }

    #[test]
    fn a_figure_is_the_median_of_its_rounds() {
        let cell = Cell { work: Work::Write, in_flight: 1 };
        let other = Cell { work: Work::Read, in_flight: 1 };
        let runs = [
            run(Kind::Holdfast, cell, 0, 100, 5),
            run(Kind::ZooKeeper, cell, 0, 1, 1),
            run(Kind::Holdfast, other, 0, 1, 1),
            run(Kind::Holdfast, cell, 1, 300, 9),
            run(Kind::Holdfast, cell, 2, 200, 4),
        ];
        let figure = figure(&runs, Kind::Holdfast, cell).unwrap();
        assert_eq!((figure.rate, figure.rate_low, figure.rate_high), (200.0, 100.0, 300.0));
        assert_eq!((figure.server_cpu_us, figure.fsyncs, figure.errors), (5.0, Some(0.5), 3));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
