//! One process a data folder, one format version a data folder.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{Disk, RealDisk};
use crate::error::StorageError;

/// The version of the data folder that this build reads and writes.
pub const FOLDER_VERSION: u32 = 1;

/// How long to wait for the lock: the threads of a process that has ended already may take a moment to let go of it.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How often to look in that time.
const WAIT: Duration = Duration::from_millis(20);

/// The lock on a data folder; let go when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Locks the folder (made if it is missing) and checks its version; a new folder gets the current one. Blocks for up to two
/// seconds while another process has it.
///
/// # Errors
/// `Refused` when another process keeps it, or when another version wrote it: it is left as it is. `Io` when it cannot
/// be made or read.
pub fn lock_folder(data: &Path) -> Result<FolderLock, StorageError> {
    // With the names of those above it that are made as well: a folder that a power cut takes away keeps no promise.
    RealDisk.create_dir_durable(data).map_err(|e| StorageError::io("make folder", data, e))?;
    check_version(data)?;
    let path = data.join("LOCK");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| StorageError::io("open", &path, e))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < WAIT_MAX => thread::sleep(WAIT),
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StorageError::Refused(format!(
                    "another process is using the data folder {}: stop it, or give this one a folder of its own (--data)",
                    data.display()
                )));
            }
            Err(fs::TryLockError::Error(e)) => return Err(StorageError::io("lock", &path, e)),
        }
    }
    let version = data.join("VERSION");
    if !version.exists() {
        let text = format!("{FOLDER_VERSION}\n");
        let temporary = data.join("VERSION.new");
        let write = || {
            fs::write(&temporary, text)?;
            File::open(&temporary)?.sync_all()?;
            fs::rename(&temporary, &version)?;
            File::open(data)?.sync_all()
        };
        write().map_err(|e| StorageError::io("write", &version, e))?;
    }
    Ok(FolderLock { _file: file })
}

/// Locks a folder that must be a data folder already; nothing in it is changed.
///
/// # Errors
/// As [`lock_folder`], and `Refused` when it is no data folder.
pub fn lock_existing(data: &Path) -> Result<FolderLock, StorageError> {
    if !data.join("VERSION").exists() {
        return Err(StorageError::Refused(format!("{} is no data folder: it has no file VERSION", data.display())));
    }
    lock_folder(data)
}

fn check_version(data: &Path) -> Result<(), StorageError> {
    let path = data.join("VERSION");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == FOLDER_VERSION.to_string() => Ok(()),
        Ok(text) => Err(StorageError::Refused(format!(
            "the data folder {} has format version {:?}, this Farol reads version {FOLDER_VERSION}: use the Farol that wrote it, or another folder",
            data.display(),
            text.trim()
        ))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StorageError::io("read", &path, e)),
    }
}
