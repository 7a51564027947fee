//! The writer thread: takes all that waits, one write and one sync for all of it, then the memtable, then the answers.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::keys::ClaimGuard;
use super::{Published, Shared, Waiting};
use crate::catalog::KeyUse;
use crate::error::StorageError;
use crate::journal::{Batch, EncodedFrame, Journal};
use crate::tenant::Tenant;

/// Appends that share one sync.
const GROUP_MAX: usize = 1024;
/// Room that is left for the catalog when the disk fills up.
const CATALOG_ROOM_BYTES: u64 = 4 << 20;
/// A flush is begun early when less than this is left beyond what it needs.
const EARLY_FLUSH_BYTES: u64 = 8 << 20;

/// What the writer thread is asked to do, in order.
#[derive(Debug)]
pub(super) enum Job {
    Append(Append),
    /// The active memtable becomes a frozen one.
    Freeze(oneshot::Sender<()>),
    /// Frames up to this sequence are in committed segments.
    Release(u64),
    Stop(oneshot::Sender<()>),
    /// Waits, so that a test can say what is written together.
    #[cfg(test)]
    Hold(std::sync::mpsc::Receiver<()>),
}

/// A batch to be stored.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) frame: EncodedFrame,
    pub(super) tenant: Tenant,
    pub(super) batch: Batch,
    pub(super) key: Option<KeyUse>,
    pub(super) claim: Option<ClaimGuard>,
    pub(super) answer: oneshot::Sender<Result<(), StorageError>>,
    pub(super) _waiting: Waiting,
}

/// Starts the thread.
pub(super) fn spawn(
    shared: Arc<Shared>,
    journal: Journal,
    queue: mpsc::Receiver<Job>,
) -> Result<std::thread::JoinHandle<()>, StorageError> {
    let path = shared.config.data.clone();
    std::thread::Builder::new()
        .name("farol-journal".to_owned())
        .spawn(move || Writer { shared, journal, queue }.run())
        .map_err(|e| StorageError::Io { action: "start the writer thread for", path, source: e })
}

struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    queue: mpsc::Receiver<Job>,
}

impl Writer {
    fn run(mut self) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| self.queue.blocking_recv()) {
            match job {
                Job::Append(first) => {
                    let mut group = vec![first];
                    while group.len() < GROUP_MAX {
                        match self.queue.try_recv() {
                            Ok(Job::Append(append)) => group.push(append),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append(group);
                }
                Job::Freeze(answer) => {
                    let mut state = self.shared.write_state();
                    state.freeze();
                    self.shared.observe_memory(&state);
                    drop(state);
                    let _ = answer.send(());
                }
                Job::Release(up_to) => {
                    if let Err(e) = self.journal.release(up_to) {
                        tracing::warn!(error = %e, "journal files that are not needed any more cannot be deleted yet");
                    }
                    self.shared.journal_bytes.store(self.journal.bytes(), Ordering::Relaxed);
                    self.shared.stats.journal_bytes.store(self.journal.bytes(), Ordering::Relaxed);
                }
                #[cfg(test)]
                Job::Hold(go) => {
                    let _ = go.recv();
                }
                Job::Stop(answer) => {
                    let _ = answer.send(());
                    return;
                }
            }
        }
    }

    /// The promise of [`super::Store::append`], in order: room, journal, memtable, answer.
    fn append(&mut self, group: Vec<Append>) {
        if let Err(e) = self.room(&group) {
            return refuse(group, &e);
        }
        let begun = Instant::now();
        let first = self.journal.next_sequence();
        let (frames, mut rest): (Vec<EncodedFrame>, Vec<Entry>) = group.into_iter().map(Entry::split).unzip();
        let written = self.journal.append(frames);
        let stats = &self.shared.stats;
        stats.journal_sync.observe(begun.elapsed());
        stats.journal_bytes.store(self.journal.bytes(), Ordering::Relaxed);
        self.shared.journal_bytes.store(self.journal.bytes(), Ordering::Relaxed);
        if let Err(e) = written {
            stats.journal_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = %e, "the journal cannot be written: batches are refused");
            return rest.into_iter().for_each(|entry| entry.refuse(&e));
        }
        let mut state = self.shared.write_state();
        let now_ns = self.shared.clock.now_ns();
        for (entry, sequence) in rest.iter_mut().zip(first..) {
            state.active.insert(sequence, &entry.tenant, &entry.batch, entry.key, now_ns);
            state.last_sequence = sequence;
            // Before the lock is let go: a flush takes the key out again once the catalog has it.
            if let Some(claim) = entry.claim.take() {
                claim.stored();
            }
        }
        if state.active.bytes() >= self.shared.config.memtable_bytes && state.frozen.is_empty() {
            state.freeze();
            self.shared.work.notify_one();
        }
        self.shared.observe_memory(&state);
        drop(state);
        for (entry, sequence) in rest.into_iter().zip(first..) {
            stats.batches.fetch_add(1, Ordering::Relaxed);
            stats.count_accepted(&entry.tenant, &entry.batch);
            entry.acknowledge(&self.shared, sequence);
        }
    }

    /// Waits for room in the memtable and makes sure of room on the disk: what is in the journal must still fit into
    /// segments after this.
    fn room(&self, group: &[Append]) -> Result<(), StorageError> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.config.wait_max;
        let mut guard = shared.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waiting_bytes = {
                let mut state = shared.write_state();
                if state.active.bytes() < shared.config.memtable_bytes {
                    break;
                }
                if state.frozen.is_empty() {
                    state.freeze();
                    shared.work.notify_one();
                    break;
                }
                state.active.bytes() as u64 + state.frozen.iter().map(|m| m.bytes() as u64).sum::<u64>()
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shared.closing.load(Ordering::SeqCst) {
                shared.stats.overloaded.fetch_add(group.len() as u64, Ordering::Relaxed);
                let limit_bytes = 2 * shared.config.memtable_bytes as u64;
                return Err(StorageError::Overloaded { waiting_bytes, limit_bytes });
            }
            shared.work.notify_one();
            guard = shared.room.1.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(guard);
        let path = &shared.config.data;
        let free = shared.disk.free_bytes(path).map_err(|e: io::Error| StorageError::io("look at", path, e))?;
        let group_bytes: u64 = group.iter().map(|append| append.frame.len() as u64).sum();
        let needed = self.journal.bytes() + 2 * group_bytes + CATALOG_ROOM_BYTES;
        if free < needed + EARLY_FLUSH_BYTES {
            let mut state = shared.write_state();
            if state.frozen.is_empty() {
                state.freeze();
            }
            drop(state);
            shared.work.notify_one();
        }
        if free < needed {
            shared.stats.disk_full.fetch_add(group.len() as u64, Ordering::Relaxed);
            return Err(StorageError::DiskFull { path: path.clone() });
        }
        Ok(())
    }
}

/// What is left of an append once its frame is with the journal.
struct Entry {
    tenant: Tenant,
    batch: Batch,
    key: Option<KeyUse>,
    claim: Option<ClaimGuard>,
    answer: oneshot::Sender<Result<(), StorageError>>,
    _waiting: Waiting,
}

impl Entry {
    fn split(append: Append) -> (EncodedFrame, Self) {
        let Append { frame, tenant, batch, key, claim, answer, _waiting } = append;
        (frame, Self { tenant, batch, key, claim, answer, _waiting })
    }

    fn acknowledge(self, shared: &Shared, sequence: u64) {
        // Whoever asked may have gone away; the batch is stored all the same.
        let _ = self.answer.send(Ok(()));
        let Batch::Logs(batch) = self.batch else { return };
        let mut tails = shared.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(&self.tenant)
            && tail.send(Published { sequence, batch }).is_err()
        {
            tails.remove(&self.tenant);
        }
    }

    fn refuse(self, error: &StorageError) {
        let _ = self.answer.send(Err(error.repeat()));
    }
}

fn refuse(group: Vec<Append>, error: &StorageError) {
    for append in group {
        Entry::split(append).1.refuse(error);
    }
}
