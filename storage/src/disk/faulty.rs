//! A disk in memory on which the power can go: what the crash tests run on.
//!
//! It keeps what is durable apart from what was only written. [`FaultyDisk::crash`] forgets what was not synced, or
//! keeps any part of it, as a seeded random generator says: for bytes a prefix of the writes with the last one torn,
//! for names (created, renamed, removed) a prefix of what happened in each folder. It also fails on order: see
//! [`Fault`]. Every decision follows from the seed and the order of the operations.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::random::Random;
use super::{DirEntry, Disk, DiskFile};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One operation fails with an I/O error. A write has then been done in part; a sync has made any part of the
    /// bytes durable and forgets that the others were not, as Linux does.
    Io,
    /// The next operations, this many, that need room fail as on a full disk. A write has been done in part.
    DiskFull(u32),
    /// This operation and all after it fail, until [`FaultyDisk::crash`]: the process is as good as killed.
    Stop,
}

/// A disk in memory; clones share it.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// Handles opened before the last crash are dead.
    generation: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    /// Per folder, what happened to its names since its last sync.
    pending_names: BTreeMap<PathBuf, Vec<NameChange>>,
    operations: u64,
    faults: Vec<(u64, Fault)>,
    full_for: u32,
    stopped: bool,
    capacity_bytes: Option<u64>,
    /// Inodes that cannot be read.
    unreadable: BTreeSet<u64>,
    /// The inode that is watched, and what was asked of it.
    watched: Option<(u64, Vec<Asked>)>,
}

/// What was asked of a file that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// These bytes will be read.
    Announced(Range<u64>),
    /// These bytes were read.
    Read(Range<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Debug)]
enum NameChange {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<DataChange>,
}

#[derive(Debug)]
enum DataChange {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug)]
struct FaultyFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    generation: u64,
}

/// What an operation does, as far as faults care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Room,
    NoRoom,
}

impl FaultyDisk {
    /// An empty disk; what a crash keeps follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                random: Random::seeded(seed),
                generation: 0,
                inodes: BTreeMap::new(),
                next_inode: 0,
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                pending_names: BTreeMap::new(),
                operations: 0,
                faults: Vec::new(),
                full_for: 0,
                stopped: false,
                capacity_bytes: None,
                unreadable: BTreeSet::new(),
                watched: None,
            })),
        }
    }

    /// From now on what is asked of the file at `path` is noted; answers what was noted before.
    pub fn watch(&self, path: &Path) -> Vec<Asked> {
        let state = &mut *self.lock();
        let before = state.watched.take().map(|(_, asked)| asked).unwrap_or_default();
        if let Some(Node::File(inode)) = state.names.get(path) {
            state.watched = Some((*inode, Vec::new()));
        }
        before
    }

    /// Cuts the power and puts it on again: un-synced bytes and names are gone or kept at random, open handles are
    /// dead, faults that were due are forgotten.
    pub fn crash(&self) {
        let state = &mut *self.lock();
        for (_, changes) in std::mem::take(&mut state.pending_names) {
            let kept = state.random.below(changes.len() as u64 + 1) as usize;
            for change in changes.iter().take(kept) {
                change.apply(&mut state.durable_names);
            }
        }
        let mut names = std::mem::take(&mut state.durable_names);
        let dirs: Vec<PathBuf> =
            names.iter().filter(|(_, node)| **node == Node::Dir).map(|(path, _)| path.clone()).collect();
        // Names come sorted, so that a folder is looked at before what is in it.
        let mut there: BTreeSet<PathBuf> = BTreeSet::new();
        for dir in dirs {
            if is_root(parent(&dir)) || there.contains(parent(&dir)) {
                there.insert(dir);
            }
        }
        names.retain(|path, _| is_root(parent(path)) || there.contains(parent(path)));
        let live: Vec<u64> = names.values().filter_map(|node| node.inode()).collect();
        state.inodes.retain(|inode, _| live.contains(inode));
        for inode in state.inodes.values_mut() {
            inode.crash(&mut state.random);
        }
        state.durable_names = names.clone();
        state.names = names;
        state.generation += 1;
        state.faults.clear();
        state.full_for = 0;
        state.stopped = false;
    }

    /// Lets `fault` happen at the `after`-th operation that changes something, counted from now; 0 is the next one.
    pub fn inject(&self, after: u64, fault: Fault) {
        let mut state = self.lock();
        let at = state.operations + after;
        state.faults.push((at, fault));
    }

    /// Kills the process: faults are forgotten, and everything that was written stays, synced or not.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.full_for = 0;
        state.stopped = false;
    }

    /// Limits what files may hold together; `None` takes the limit away.
    pub fn set_capacity_bytes(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// How many operations that change something were tried.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// True once a [`Fault::Stop`] has struck.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Changes what a file holds, behind the back of who wrote it; it is durable. False when there is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let state = &mut *self.lock();
        let Some(inode) = state.names.get(path).and_then(|node| node.inode()) else { return false };
        let Some(inode) = state.inodes.get_mut(&inode) else { return false };
        change(&mut inode.bytes);
        inode.durable.clone_from(&inode.bytes);
        inode.pending.clear();
        true
    }

    /// Lets every read of a file fail, under this and any later name. False when there is no such file.
    pub fn make_unreadable(&self, path: &Path) -> bool {
        let mut state = self.lock();
        let inode = state.names.get(path).and_then(|node| node.inode());
        inode.is_some_and(|inode| state.unreadable.insert(inode))
    }

    /// All files with their lengths, by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.lock();
        let len = |inode: &u64| state.inodes.get(inode).map_or(0, |inode| inode.bytes.len() as u64);
        state.names.iter().filter_map(|(path, node)| Some((path.clone(), len(&node.inode()?)))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step(Need::Room)?;
        let mut missing: Vec<&Path> =
            path.ancestors().filter(|dir| !is_root(dir) && state.names.get(*dir) != Some(&Node::Dir)).collect();
        missing.reverse();
        for dir in missing {
            if state.names.contains_key(dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            state.change_name(parent(dir), NameChange::Link(dir.to_owned(), Node::Dir));
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.step(Need::Room)?;
        state.expect_dir(parent(path))?;
        let inode = match state.names.get(path) {
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(inode)) => *inode,
            None => {
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.change_name(parent(path), NameChange::Link(path.to_owned(), Node::File(inode)));
                inode
            }
        };
        if let Some(there) = state.inodes.get_mut(&inode).filter(|inode| !inode.bytes.is_empty()) {
            there.change(DataChange::SetLen(0));
        }
        Ok(self.handle(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        match state.names.get(path) {
            Some(Node::File(inode)) => Ok(self.handle(&state, *inode)),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step(Need::NoRoom)?;
        state.expect_dir(parent(to))?;
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_name(parent(to), NameChange::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step(Need::NoRoom)?;
        match state.names.get(path) {
            Some(Node::File(_)) => state.change_name(parent(path), NameChange::Unlink(path.to_owned())),
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step(Need::NoRoom)?;
        state.expect_dir(path)?;
        if state.children(path).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change_name(parent(path), NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.lock();
        state.expect_dir(path)?;
        let entry = |(path, node): (&PathBuf, &Node)| {
            let bytes = node.inode().and_then(|inode| state.inodes.get(&inode)).map_or(0, |i| i.bytes.len() as u64);
            DirEntry { path: path.clone(), is_dir: *node == Node::Dir, bytes }
        };
        Ok(state.children(path).map(entry).collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.lock();
        state.step(Need::NoRoom)?;
        state.expect_dir(path)?;
        for change in state.pending_names.remove(path).unwrap_or_default() {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.lock().free_bytes().unwrap_or(u64::MAX / 2))
    }
}

impl FaultyDisk {
    fn handle(&self, state: &State, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { state: self.state.clone(), inode, generation: state.generation })
    }
}

impl State {
    /// Counts an operation that changes something and lets it fail if its time has come.
    fn step(&mut self, need: Need) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        if self.stopped {
            return Err(io::Error::other("the power is cut"));
        }
        while let Some(at) = self.faults.iter().position(|(at, _)| *at <= now) {
            match self.faults.swap_remove(at).1 {
                Fault::Io => return Err(io::Error::other("injected I/O error")),
                Fault::DiskFull(operations) => self.full_for += operations,
                Fault::Stop => {
                    self.stopped = true;
                    return Err(io::Error::other("the power is cut"));
                }
            }
        }
        if need == Need::Room && self.full_for > 0 {
            self.full_for -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn expect_dir(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None if is_root(path) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn children<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
        let below = self.names.range(path.to_owned()..).take_while(move |(name, _)| name.starts_with(path));
        below.filter(move |(name, _)| name.parent() == Some(path))
    }

    fn change_name(&mut self, dir: &Path, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.entry(dir.to_owned()).or_default().push(change);
    }

    fn free_bytes(&self) -> Option<u64> {
        let capacity = self.capacity_bytes?;
        let files = self.names.values().filter_map(|node| self.inodes.get(&node.inode()?));
        Some(capacity.saturating_sub(files.map(|inode| inode.bytes.len() as u64).sum()))
    }
}

impl FaultyFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation != self.generation {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        Ok(state)
    }

    fn with<T>(&self, look: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let state = self.lock()?;
        state.inodes.get(&self.inode).map(look).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl FaultyFile {
    fn note(&self, what: Asked) {
        if let Ok(mut state) = self.lock()
            && let Some((inode, asked)) = &mut state.watched
            && *inode == self.inode
        {
            asked.push(what);
        }
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|inode| inode.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.lock()?.unreadable.contains(&self.inode) {
            return Err(io::Error::other("the sector cannot be read"));
        }
        self.note(Asked::Read(offset..offset + buffer.len() as u64));
        self.with(|inode| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.bytes.len());
            let rest = inode.bytes.get(start..).unwrap_or_default();
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            n
        })
    }

    fn will_read(&self, bytes: &[Range<u64>]) {
        bytes.iter().cloned().map(Asked::Announced).for_each(|asked| self.note(asked));
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.lock()?;
        let free = state.free_bytes();
        let stopped = state.stopped;
        let outcome = state.step(Need::Room);
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let growth = (offset + bytes.len() as u64).saturating_sub(inode.bytes.len() as u64);
        let outcome = match free {
            Some(free) if outcome.is_ok() && growth > free => Err(io::ErrorKind::StorageFull.into()),
            _ => outcome,
        };
        // A write that fails has been done in part, but for those after the power went.
        let part = match (&outcome, stopped) {
            (Ok(()), _) => bytes,
            (Err(_), true) => &[],
            (Err(_), false) => &bytes[..state.random.below(bytes.len() as u64 + 1) as usize],
        };
        if !part.is_empty() {
            inode.change(DataChange::Write(offset, part.to_vec()));
        }
        outcome
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        state.step(Need::NoRoom)?;
        state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?.change(DataChange::SetLen(bytes));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.lock()?;
        let stopped = state.stopped;
        let outcome = state.step(Need::NoRoom);
        if stopped || state.stopped {
            return outcome;
        }
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        for change in std::mem::take(&mut inode.pending) {
            if outcome.is_ok() || state.random.below(2) == 0 {
                change.apply(&mut inode.durable);
            }
        }
        outcome
    }
}

impl Node {
    fn inode(&self) -> Option<u64> {
        match self {
            Self::Dir => None,
            Self::File(inode) => Some(*inode),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Link(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Inode {
    fn change(&mut self, change: DataChange) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    /// Keeps of the un-synced changes nothing, everything, or the first few with the last one torn.
    fn crash(&mut self, random: &mut Random) {
        let mut pending = std::mem::take(&mut self.pending);
        match random.below(4) {
            0 => pending.clear(),
            1 => {}
            torn => {
                pending.truncate(random.below(pending.len() as u64 + 1) as usize);
                if let Some(DataChange::Write(_, bytes)) = pending.last_mut() {
                    tear(bytes, random, torn == 2);
                }
            }
        }
        for change in &pending {
            change.apply(&mut self.durable);
        }
        self.bytes.clone_from(&self.durable);
    }
}

/// Cuts a write at any byte, or loses some of its sectors while the length is kept.
fn tear(bytes: &mut Vec<u8>, random: &mut Random, cut: bool) {
    if cut {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    } else {
        for sector in bytes.chunks_mut(512) {
            if random.below(2) == 0 {
                sector.fill(0);
            }
        }
    }
}

impl DataChange {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let start = *offset as usize;
                let end = start + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[start..end].copy_from_slice(bytes);
            }
            Self::SetLen(bytes) => to.resize(*bytes as usize, 0),
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(disk: &dyn Disk, path: &str) -> Vec<u8> {
        disk.open(Path::new(path)).unwrap().read_up_to(0, u64::MAX).unwrap()
    }

    fn written(disk: &FaultyDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.create(Path::new(path)).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_may_be_torn() {
        let mut lengths = BTreeSet::new();
        for seed in 0..200 {
            let disk = FaultyDisk::seeded(seed);
            disk.create_dir_durable(Path::new("/d")).unwrap();
            let file = written(&disk, "/d/a", b"safe");
            file.sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(4, b"perhaps").unwrap();
            disk.crash();
            assert!(file.len().is_err(), "a handle of before the crash must be dead");
            let bytes = read(&disk, "/d/a");
            assert!(bytes.starts_with(b"safe"), "seed {seed}: {bytes:?}");
            lengths.insert(bytes.len());
        }
        assert_eq!(lengths, (4..=11).collect(), "every tear is tried");
    }

    #[test]
    fn a_name_is_durable_only_with_its_folder() {
        let mut there = [0, 0];
        for seed in 0..100 {
            let disk = FaultyDisk::seeded(seed);
            disk.create_dir_durable(Path::new("/d")).unwrap();
            written(&disk, "/d/a", b"x").sync().unwrap();
            disk.crash();
            there[usize::from(disk.open(Path::new("/d/a")).is_ok())] += 1;
        }
        assert!(there[0] > 20 && there[1] > 20, "{there:?}");
    }

    #[test]
    fn a_removed_file_may_come_back_until_its_folder_is_synced() {
        let mut back = 0;
        for seed in 0..100 {
            let disk = FaultyDisk::seeded(seed);
            disk.create_dir_durable(Path::new("/d")).unwrap();
            written(&disk, "/d/a", b"x").sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            disk.remove(Path::new("/d/a")).unwrap();
            if seed % 2 == 0 {
                disk.sync_dir(Path::new("/d")).unwrap();
            }
            disk.crash();
            let there = disk.open(Path::new("/d/a")).is_ok();
            assert!(!there || seed % 2 == 1);
            back += usize::from(there);
        }
        assert!(back > 10, "{back}");
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let mut lost = 0;
        for seed in 0..100 {
            let disk = FaultyDisk::seeded(seed);
            disk.create_dir_durable(Path::new("/d")).unwrap();
            let file = written(&disk, "/d/a", b"x");
            disk.sync_dir(Path::new("/d")).unwrap();
            disk.inject(0, Fault::Io);
            file.sync().unwrap_err();
            file.sync().unwrap();
            disk.crash();
            lost += usize::from(read(&disk, "/d/a") != b"x");
        }
        assert!(lost > 20, "{lost}");
    }

    #[test]
    fn faults_strike_when_they_are_due() {
        let disk = FaultyDisk::seeded(1);
        disk.create_dir_durable(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/a")).unwrap();
        disk.inject(1, Fault::DiskFull(1));
        file.write_at(0, b"x").unwrap();
        assert_eq!(file.write_at(1, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_at(1, b"x").unwrap();
        disk.set_capacity_bytes(Some(3));
        assert_eq!(file.write_at(2, b"xx").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_capacity_bytes(None);
        disk.inject(0, Fault::Stop);
        file.write_at(2, b"x").unwrap_err();
        file.sync().unwrap_err();
        assert!(disk.is_stopped());
        disk.crash();
        disk.create_dir_all(Path::new("/e")).unwrap();
    }

    #[test]
    fn the_same_seed_gives_the_same_disk() {
        let run = |seed| {
            let disk = FaultyDisk::seeded(seed);
            disk.create_dir_durable(Path::new("/d")).unwrap();
            for name in ["/d/a", "/d/b", "/d/c"] {
                let file = written(&disk, name, &[7; 2000]);
                file.write_at(100, &[8; 3000]).unwrap();
            }
            disk.rename(Path::new("/d/a"), Path::new("/d/z")).unwrap();
            disk.crash();
            disk.files().into_iter().map(|(path, _)| (read(&disk, path.to_str().unwrap()), path)).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!((0..8).map(run).collect::<Vec<_>>(), (8..16).map(run).collect::<Vec<_>>());
    }
}
