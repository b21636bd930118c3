//! What the kernel says about a process: processor time, memory, threads.

use std::{collections::BTreeMap, fs, process::Command};

use crate::Outcome;

/// Kernel clock ticks a second in `/proc`: the same in every Linux ABI (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Processor time, in microseconds. The kernel tells it in steps of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In the program.
    pub user_us: u64,
    /// In the kernel on its behalf; over loopback that includes part of the other side's network.
    pub system_us: u64,
}

impl Cpu {
    /// Both.
    pub fn total_us(self) -> u64 {
        self.user_us + self.system_us
    }

    /// What was used since `before`.
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu { user_us: self.user_us - before.user_us, system_us: self.system_us - before.system_us }
    }
}

/// Processor time that process `pid` has used, all threads, those that have ended included.
pub fn cpu(pid: u32) -> Outcome<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_cpu(&stat).ok_or_else(|| format!("/proc/{pid}/stat is not as proc(5) says").into())
}

/// Processor time of the living threads of `pid`, in microseconds, by their names. Threads of a
/// pool, whose names differ in a number at the end, are added up.
pub fn threads_us(pid: u32) -> Outcome<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = task?.path();
        // A thread may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(folder.join("stat")) else { continue };
        if let (Some(name), Some(cpu)) = (parse_name(&stat), parse_cpu(&stat)) {
            *threads.entry(name.to_owned()).or_default() += cpu.total_us();
        }
    }
    Ok(threads)
}

/// The second field of a `stat` line without the number of a thread in its pool.
fn parse_name(stat: &str) -> Option<&str> {
    let name = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?;
    let pool = name.trim_end_matches(|c: char| c.is_ascii_digit() || "-#:/ ".contains(c));
    Some(if pool.is_empty() { name } else { pool })
}

/// Fields 14 and 15 of a `stat` line. The second field, the program's name, may hold spaces and
/// brackets, so counting begins after its last bracket.
fn parse_cpu(stat: &str) -> Option<Cpu> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let tick_us = 1_000_000 / TICKS_PER_SECOND;
    Some(Cpu { user_us: user * tick_us, system_us: system * tick_us })
}

/// Memory and threads of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Resident memory now, in bytes (`VmRSS`).
    pub resident_bytes: u64,
    /// The most it ever was, in bytes (`VmHWM`).
    pub peak_bytes: u64,
    /// Threads now.
    pub threads: u64,
}

/// Memory and threads of process `pid`.
pub fn size(pid: u32) -> Outcome<Size> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_size(&status).ok_or_else(|| format!("/proc/{pid}/status is not as proc(5) says").into())
}

fn parse_size(status: &str) -> Option<Size> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Size {
        resident_bytes: field("VmRSS:")? * 1024,
        peak_bytes: field("VmHWM:")? * 1024,
        threads: field("Threads:")?,
    })
}

/// Sends `signal` (`TERM`, `STOP`, `CONT`) to the one process `pid`.
pub fn signal(pid: u32, signal: &str) -> Outcome<()> {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status()?;
    if status.success() { Ok(()) } else { Err(format!("kill -{signal} {pid} failed").into()) }
}

/// The number of cores of this machine, whatever this process is bound to.
pub fn cores() -> usize {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpus.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// Binds every thread of `pid`, and those and the processes they will start, to `cores`
/// (`1`, `0-3`).
pub fn pin(pid: u32, cores: &str) -> Outcome<()> {
    let output = Command::new("taskset").args(["-acp", cores, &pid.to_string()]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("taskset could not bind {pid}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// The first line that `program` prints, on either stream; empty if it can't be run.
pub fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a ) b-12) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 1";
        assert_eq!(parse_cpu(stat), Some(Cpu { user_us: 1_500_000, system_us: 500_000 }));
        assert_eq!(parse_name(stat), Some("a ) b"));
        assert_eq!(parse_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_time() {
        let size = size(std::process::id()).unwrap();
        assert!(size.threads >= 1 && size.peak_bytes >= size.resident_bytes && size.resident_bytes > 100_000);
        cpu(std::process::id()).unwrap();
        assert!(!threads_us(std::process::id()).unwrap().is_empty());
    }
}
