//! Files that the operator keeps and names in the settings: certificates and keys. They lie outside
//! the data directory, are read whole, and are never written. They have their real half only.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The bytes of the file at `path`, at most `max_bytes`. Reads on a thread for blocking work: such
/// files may be on a network's disk.
///
/// # Errors
/// As the system says; a file that is no regular one, and one that is longer.
pub async fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_blocking(path, max_bytes));
    read.await.map_err(io::Error::other)?
}

fn read_blocking(path: PathBuf, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(&path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(&path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("longer than {max_bytes} bytes")));
    }
    Ok(bytes)
}
