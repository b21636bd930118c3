//! `holdfast verify`: is everything in a data directory as it was written?

use std::io::Write;

use world::Disk;

use crate::{
    cli::Verify,
    exit::{Exit, Refusal},
    start::unusable,
};

/// Prints a line for each finding, as it is found, and a summary.
pub(crate) fn verify(options: &Verify) -> Result<(), Refusal> {
    let disk = Disk::existing(&options.data_dir).map_err(unusable)?;
    let _lock = disk.lock().map_err(unusable)?;
    // Whoever reads along may leave; the exit code still tells.
    let mut out = std::io::stdout().lock();
    let verified = fabric::verify(&disk, &mut |finding| drop(writeln!(out, "{finding}")))?;
    let fabric::Verified { files, bytes, trees, records, faults } = verified;
    let read = format!("{files} files, {bytes} bytes, {trees} trees, {records} records in the log");
    let _ = writeln!(out, "{read}: {faults} faults");
    if faults > 0 {
        return Err(Refusal::new(Exit::Data, format!("{} is damaged", options.data_dir.display())));
    }
    Ok(())
}
