//! The real half of [`super::Disk`]: files of the operating system.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use super::{DiskError, LOCK_FILE};

/// The directory all names are relative to.
#[derive(Debug)]
pub(super) struct Root(PathBuf);

#[derive(Debug)]
pub(super) struct RealFile {
    file: fs::File,
    /// Its path, for errors.
    shown: String,
}

impl Root {
    /// Opens the directory, making what is missing of its path and syncing each parent, for a
    /// directory that a power cut takes back takes everything in it along.
    pub(super) fn open(path: PathBuf) -> Result<Root, DiskError> {
        let shown = path.display().to_string();
        let fail = |error: &io::Error| DiskError::from_io("make directory", &shown, error);
        if path.is_dir() {
            return Ok(Root(path));
        }
        let mut missing: Vec<&Path> = Vec::new();
        for ancestor in path.ancestors().filter(|a| !a.as_os_str().is_empty()) {
            if ancestor.is_dir() {
                break;
            }
            missing.push(ancestor);
        }
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !directory.is_dir() => {
                    return Err(fail(&error));
                }
                _ => {}
            }
            let parent = directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_directory(parent).map_err(|error| fail(&error))?;
        }
        Ok(Root(path))
    }

    /// Opens the directory, which is there.
    pub(super) fn existing(path: PathBuf) -> Result<Root, DiskError> {
        if path.is_dir() {
            Ok(Root(path))
        } else {
            Err(DiskError::NotFound { path: path.display().to_string() })
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn at(&self, name: &str) -> (PathBuf, String) {
        let path = self.0.join(name);
        let shown = path.display().to_string();
        (path, shown)
    }

    pub(super) fn make_folder(&self, name: &str) -> Result<(), DiskError> {
        let (path, shown) = self.at(name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(DiskError::from_io("make folder", &shown, &error)),
        }
        self.sync_folder("")
    }

    pub(super) fn create(&self, name: &str, len: u64) -> Result<RealFile, DiskError> {
        let (path, shown) = self.at(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| DiskError::from_io("create", &shown, &error))?;
        if let Err(error) = allocate(&file, len) {
            // Nobody may find a file that is shorter than it promises.
            let _ = fs::remove_file(&path);
            return Err(DiskError::from_io("create", &shown, &error));
        }
        Ok(RealFile { file, shown })
    }

    pub(super) fn open_file(&self, name: &str) -> Result<RealFile, DiskError> {
        let (path, shown) = self.at(name);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| DiskError::from_io("open", &shown, &error))?;
        Ok(RealFile { file, shown })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let ((from, shown), (to, _)) = (self.at(from), self.at(to));
        fs::rename(from, to).map_err(|error| DiskError::from_io("rename", &shown, &error))
    }

    pub(super) fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let ((from, from_shown), (to, to_shown)) = (self.at(from), self.at(to));
        fs::hard_link(from, to).map_err(|error| {
            // What is missing is the file, what exists is its other name.
            let shown = if error.kind() == io::ErrorKind::AlreadyExists { &to_shown } else { &from_shown };
            DiskError::from_io("link", shown, &error)
        })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DiskError> {
        let (path, shown) = self.at(name);
        fs::remove_file(path).map_err(|error| DiskError::from_io("remove", &shown, &error))
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let (path, shown) = self.at(folder);
        let fail = |error: io::Error| DiskError::from_io("list", &shown, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if entry.file_type().map_err(fail)?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        let (path, shown) = self.at(folder);
        sync_directory(&path).map_err(|error| DiskError::from_io("sync", &shown, &error))
    }

    /// An advisory `flock`, which the kernel lets go of when the process ends, however it ends;
    /// a file that says "locked" would outlive a `kill -9`.
    pub(super) fn lock(&self) -> Result<fs::File, DiskError> {
        let (path, shown) = self.at(LOCK_FILE);
        let fail = |error: &io::Error| DiskError::from_io("lock", &shown, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(|error| fail(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Ten digits are any process id; whoever wrote more is not asked.
                let read = file.take(10).read_to_string(&mut holder);
                let holder = read.ok().and_then(|_| holder.trim().parse().ok());
                return Err(DiskError::Locked { path: shown, holder });
            }
            Err(TryLockError::Error(error)) => return Err(fail(&error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| fail(&error))?;
        Ok(file)
    }
}

impl RealFile {
    pub(super) fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(|error| self.failed("read", &error))?.len())
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.failed("read", &error))
    }

    /// See [`super::File::read_now`]. A short count is a read that would wait for the rest, or the
    /// end of the file; file systems that do not know the flag always "would wait".
    #[allow(unsafe_code, reason = "std has no preadv2")]
    pub(super) fn read_now(&self, buffer: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        let Ok(at) = libc::off_t::try_from(offset) else { return Ok(false) };
        let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        loop {
            // SAFETY: the descriptor is open for as long as `self` is borrowed, and `part` is all of
            // `buffer`, which nobody else has meanwhile.
            let count = unsafe { libc::preadv2(self.file.as_raw_fd(), &part, 1, at, libc::RWF_NOWAIT) };
            if let Ok(count) = usize::try_from(count) {
                return Ok(count == buffer.len());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(false),
                _ => return Err(self.failed("read", &error)),
            }
        }
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed("write", &error))
    }

    pub(super) fn write_zeros(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        write_zeros(&self.file, offset, len).map_err(|error| self.failed("write", &error))
    }

    pub(super) fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| self.failed("sync", &error))
    }

    fn failed(&self, op: &'static str, error: &io::Error) -> DiskError {
        DiskError::from_io(op, &self.shown, error)
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Takes room for `len` bytes. A file system without `fallocate` gets zeros written instead:
/// only making the file long would promise room that is not there.
#[allow(unsafe_code, reason = "std has no fallocate")]
fn allocate(file: &fs::File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let size = libc::off_t::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    loop {
        // SAFETY: the descriptor is open for as long as `file` is borrowed.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return write_zeros(file, 0, len),
            _ => return Err(error),
        }
    }
}

fn write_zeros(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    let mut done = 0;
    while done < len {
        let part = &ZEROS[..(ZEROS.len() as u64).min(len - done) as usize];
        file.write_all_at(part, offset + done)?;
        done += part.len() as u64;
    }
    Ok(())
}
