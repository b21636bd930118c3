//! The workspace's own text files, read once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 4] = [".git", "target", "holdfast-data", ".venv"];

/// A text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Whether its owner may run it.
    pub(crate) executable: bool,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate it belongs to.
    pub(crate) fn krate(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Lines of code with their numbers from 1: comments taken off, tests left out. By the house's
    /// habit a file's tests are its last item, under `#[cfg(test)]`, or a file named `tests.rs`.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let lines = self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        lines
            .enumerate()
            .filter(move |_| !tests)
            .map(|(at, line)| (at + 1, line.split_once("//").map_or(line, |(code, _)| code)))
            .filter(|(_, code)| !code.trim().is_empty())
    }
}

/// Every text file of the workspace, by path.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads all of it.
    pub(crate) fn read(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree { root: root.to_owned(), files: Vec::new() };
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let path = entry.path();
                let kind = entry.file_type()?;
                if kind.is_dir() && !FOREIGN.iter().any(|name| entry.file_name() == *name) {
                    folders.push(path);
                } else if kind.is_file() {
                    tree.files.extend(read_file(root, &path)?);
                }
            }
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Names of the crates, in order.
    pub(crate) fn crates(&self) -> Vec<&str> {
        let manifests = self.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
        manifests.filter_map(File::krate).collect()
    }
}

/// `None` for a file that is no text.
fn read_file(root: &Path, path: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(text) = String::from_utf8(fs::read(path)?) else { return Ok(None) };
    let executable = fs::metadata(path)?.permissions().mode() & 0o100 != 0;
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    Ok(Some(File { path, text, executable }))
}
