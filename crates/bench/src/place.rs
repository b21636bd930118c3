//! Where things lie: peers, data and logs under `target/`, recorded results under `bench/`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}

/// The folder of a fetched peer.
pub fn peer(name: &str) -> PathBuf {
    root().join("target/peers").join(name)
}

/// The data folder of a server under load; emptied before every start.
pub fn data(server: &str) -> PathBuf {
    root().join("target/bench/data").join(server)
}

/// The file that takes what a server prints.
pub fn log(server: &str) -> PathBuf {
    root().join("target/bench/logs").join(format!("{server}.log"))
}

/// Makes `folder`, without what was in it.
pub fn emptied(folder: &Path) -> io::Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder)
}

/// Removes `folder` if it is there.
pub fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
