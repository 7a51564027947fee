//! The disk, as journal, segments and data folder see it. State arrives by argument: code that writes takes a
//! [`Disk`], so that a seeded test can cut the power at any operation ([`FaultyDisk`]).
//!
//! What every implementation promises is what POSIX promises, no more: bytes survive a crash once
//! [`DiskFile::sync`] has returned, and a created, renamed or removed name survives once [`Disk::sync_dir`] of its
//! folder has. A sync that failed says nothing about what is on disk, and must not be tried again as if a second
//! success covered the first failure.

mod faulty;
mod random;

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use faulty::{Asked, Fault, FaultyDisk};
#[cfg(test)]
pub(crate) use random::Random;
use rustix::fs::Advice;

use crate::error::StorageError;

/// A file system. Paths are absolute or relative to the process; nothing is interpreted.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file, for reading and writing; one that was there is emptied.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there, for reading and, where that is allowed, writing.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` when it is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name; one that had that name is replaced.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Handles that are open stay readable.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` when it is not there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// What a folder holds, by name.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` when it is not there.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the names of a folder durable: what was created, renamed or removed in it.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that can still be written on the file system that holds `path`.
    ///
    /// # Errors
    /// What the operating system says.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Makes a folder below `root`, which is there, and all in between, and makes their names durable: also of those
    /// that were there, because whoever made them may have failed, or been killed, before it got to that.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_below(&self, root: &Path, path: &Path) -> io::Result<()> {
        self.create_dir_all(path)?;
        let mut parents: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).collect();
        parents.reverse();
        parents.into_iter().try_for_each(|dir| self.sync_dir(dir))
    }

    /// Makes a folder and those above it, and makes their names durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_durable(&self, path: &Path) -> io::Result<()> {
        let is_there = |dir: &&Path| self.list(dir).is_ok();
        let levels: Vec<&Path> = path.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        let missing = levels.iter().position(is_there).unwrap_or(levels.len());
        self.create_dir_all(path)?;
        // Of what was there already the last two are synced too: the process that made them may have been killed before
        // it got to that. Above those it may not be allowed to.
        for (i, dir) in levels.iter().enumerate().take(missing + 2).rev() {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            match self.sync_dir(parent.unwrap_or(Path::new("."))) {
                Err(e) if i < missing || (i == 0 && e.kind() != io::ErrorKind::PermissionDenied) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// An open file. Offsets are explicit, so that many threads may read one handle.
#[allow(clippy::len_without_is_empty, reason = "a file, not a collection")]
pub trait DiskFile: Debug + Send + Sync {
    /// How many bytes the file has.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes from `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    ///
    /// # Errors
    /// What the operating system says; `StorageFull` without room.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes the bytes of the file durable (fdatasync).
    ///
    /// # Errors
    /// What the operating system says. What was written since the last success may be lost then, whatever a later
    /// sync returns.
    fn sync(&self) -> io::Result<()>;

    /// Says that these bytes will be read soon, so that the system can begin to fetch all of them at once.
    fn will_read(&self, _bytes: &[Range<u64>]) {}

    /// Says that nobody will want what lies behind the bytes that are read, unless [`Self::will_read`] says so.
    fn reads_are_scattered(&self) {}

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter, else what the operating system says.
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    buffer = buffer.get_mut(n..).unwrap_or_default();
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }

    /// Reads `bytes` bytes from `offset`, or fewer where the file ends before.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_up_to(&self, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let there = self.len()?.saturating_sub(offset).min(bytes);
        let mut buffer = vec![0; usize::try_from(there).map_err(|_| io::ErrorKind::OutOfMemory)?];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(offset + filled as u64, rest)? {
                0 => break,
                n => filled += n,
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }
}

/// The first `bytes` bytes of a file, for reading: what was appended behind them does not count.
pub fn first_bytes(file: Arc<dyn DiskFile>, bytes: u64) -> Arc<dyn DiskFile> {
    Arc::new(FirstBytes { file, bytes })
}

#[derive(Debug)]
struct FirstBytes {
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

impl DiskFile for FirstBytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.min(self.bytes))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        self.file.read_at(offset, buffer.get_mut(..wanted).unwrap_or_default())
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn set_len(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn will_read(&self, bytes: &[Range<u64>]) {
        self.file.will_read(bytes);
    }

    fn reads_are_scattered(&self) {
        self.file.reads_are_scattered();
    }
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The folder's path with the name.
    pub path: PathBuf,
    /// True for a folder.
    pub is_dir: bool,
    /// Bytes of a file; 0 for a folder.
    pub bytes: u64,
}

impl StorageError {
    /// What became of an operation on `path`: a full disk (or quota) is told apart, as it passes.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let read_only = |e: io::Error| match e.kind() {
            // Who only looks (`farol verify`) need not be allowed to write.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => File::open(path),
            _ => Err(e),
        };
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path).or_else(read_only)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A file can go between the listing and the look at it: it is not there any more, that is all.
            match entry.metadata() {
                Ok(meta) => {
                    let bytes = if meta.is_dir() { 0 } else { meta.len() };
                    entries.push(DirEntry { path: entry.path(), is_dir: meta.is_dir(), bytes });
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn will_read(&self, bytes: &[Range<u64>]) {
        for range in bytes {
            // Advice: without it reads are slower, no more.
            let length = NonZeroU64::new(range.end.saturating_sub(range.start));
            let _ = rustix::fs::fadvise(&self.0, range.start, length, Advice::WillNeed);
        }
    }

    fn reads_are_scattered(&self) {
        let _ = rustix::fs::fadvise(&self.0, 0, None, Advice::Random);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What journal and segments rely on, the same for every implementation.
    fn conforms(disk: &dyn Disk, root: &Path) {
        let dir = root.join("a/b");
        disk.create_dir_durable(&dir).unwrap();
        disk.create_dir_durable(&dir).unwrap();
        let (one, two) = (dir.join("one"), dir.join("two"));
        assert_eq!(disk.open(&one).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = disk.create(&one).unwrap();
        file.write_at(0, b"hello").unwrap();
        file.write_at(7, b"you").unwrap();
        file.sync().unwrap();
        assert_eq!(file.read_up_to(0, u64::MAX).unwrap(), b"hello\0\0you");
        assert_eq!(file.read_up_to(8, 1).unwrap(), b"o");
        assert_eq!(file.read_up_to(99, 1).unwrap(), b"");
        let mut exact = [0; 4];
        disk.open(&one).unwrap().read_exact_at(1, &mut exact).unwrap();
        assert_eq!(&exact, b"ello");
        assert_eq!(file.read_exact_at(8, &mut exact).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(3).unwrap();
        assert_eq!(file.len().unwrap(), 3);
        disk.create(&two).unwrap();
        disk.rename(&one, &two).unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.list(&dir).unwrap(), [DirEntry { path: two.clone(), is_dir: false, bytes: 3 }]);
        let listed = disk.list(&root.join("a")).unwrap();
        assert_eq!(listed, [DirEntry { path: dir.clone(), is_dir: true, bytes: 0 }]);
        assert!(disk.remove_dir(&dir).is_err());
        let reader = disk.open(&two).unwrap();
        disk.remove(&two).unwrap();
        assert_eq!(reader.read_up_to(0, 9).unwrap(), b"hel");
        assert_eq!(disk.remove(&two).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.remove_dir(&dir).unwrap();
        assert_eq!(disk.list(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.create(&two).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(disk.free_bytes(root).unwrap() > 0);
    }

    #[test]
    fn the_real_disk_conforms() {
        let root = tempfile::tempdir().unwrap();
        conforms(&RealDisk, root.path());
    }

    #[test]
    fn the_faulty_disk_conforms() {
        let disk = FaultyDisk::seeded(1);
        disk.create_dir_durable(Path::new("/root")).unwrap();
        conforms(&disk, Path::new("/root"));
    }

    #[test]
    fn what_lies_behind_the_first_bytes_is_not_seen() {
        let disk = FaultyDisk::seeded(1);
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/a")).unwrap();
        file.write_at(0, b"hello").unwrap();
        let view = first_bytes(file.clone(), 3);
        assert_eq!((view.len().unwrap(), view.read_up_to(0, 9).unwrap()), (3, b"hel".to_vec()));
        assert_eq!(view.read_up_to(2, 9).unwrap(), b"l");
        assert_eq!(view.read_at(3, &mut [0; 4]).unwrap(), 0);
        assert_eq!(first_bytes(file, 9).read_up_to(0, 9).unwrap(), b"hello");
    }

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let path = Path::new("/data/x");
        let full = StorageError::io("write", path, io::ErrorKind::StorageFull.into());
        assert!(matches!(full, StorageError::DiskFull { .. }));
        let other = StorageError::io("write", path, io::ErrorKind::PermissionDenied.into());
        assert_eq!(other.to_string(), "write /data/x: permission denied");
    }
}
