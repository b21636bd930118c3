//! The disk's own speed, taken beside every figure: no durable write can be faster.

use std::{
    fs::OpenOptions,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::Instant,
};

use crate::Outcome;

/// Bytes of one probe write: a small record.
const RECORD_BYTES: usize = 256;
/// Probes that count.
const PROBES: usize = 200;
/// Probes before those.
const WARM_UP: usize = 20;

/// The median time, in microseconds, of a 256-byte write and its fdatasync, one after another
/// into a file written before, in `folder`. Overwriting keeps the file's size, and with it the
/// file system's journal, out of the figure: the same work a preallocated log gives the disk.
pub fn p50_us(folder: &Path) -> Outcome<f64> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("fdatasync.probe");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    file.write_all(&vec![0; RECORD_BYTES * (WARM_UP + PROBES)])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times_ns = Vec::with_capacity(PROBES);
    for probe in 0..WARM_UP + PROBES {
        let started = Instant::now();
        file.write_all(&[1; RECORD_BYTES])?;
        file.sync_data()?;
        if probe >= WARM_UP {
            times_ns.push(started.elapsed().as_nanos() as u64);
        }
    }
    std::fs::remove_file(&path)?;
    times_ns.sort_unstable();
    Ok(times_ns[PROBES / 2] as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn a_probe_takes_time_and_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("fsync-probe-{}", std::process::id()));
        assert!(super::p50_us(&folder).unwrap() > 0.0);
        std::fs::remove_dir(&folder).unwrap();
    }
}
