//! Commits that go wrong to order, in tests of what comes of them. Elsewhere this is nothing.

use super::Settled;
use crate::error::StorageError;

/// What goes wrong.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// The next commit fails, and nothing is committed.
    Fails,
    /// The next commit is reported to have failed, although everything is committed.
    IsReportedToFail,
}

/// What is to go wrong next.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    next: std::sync::Mutex<Option<CommitFault>>,
    /// Commits stay in the write-ahead log while this is set.
    #[cfg(test)]
    unsettled: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
impl Faults {
    /// Orders a fault.
    pub(crate) fn order(&self, fault: CommitFault) {
        *self.next.lock().unwrap() = Some(fault);
    }

    /// Keeps commits in the write-ahead log, or does not any more.
    pub(crate) fn keep_unsettled(&self, keep: bool) {
        self.unsettled.store(keep, std::sync::atomic::Ordering::SeqCst);
    }

    fn strike(&self, fault: CommitFault) -> Result<(), StorageError> {
        let mut next = self.next.lock().unwrap();
        match *next == Some(fault) {
            true => {
                *next = None;
                Err(StorageError::Refused("a commit fails to order".to_owned()))
            }
            false => Ok(()),
        }
    }

    pub(super) fn before_commit(&self) -> Result<(), StorageError> {
        self.strike(CommitFault::Fails)
    }

    pub(super) fn after_commit(&self) -> Result<(), StorageError> {
        self.strike(CommitFault::IsReportedToFail)
    }

    pub(super) fn instead_of_settling(&self) -> Option<Settled> {
        self.unsettled.load(std::sync::atomic::Ordering::SeqCst).then_some(Settled::NotYet)
    }
}

#[cfg(not(test))]
#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "nothing goes wrong outside of tests")]
impl Faults {
    pub(super) fn before_commit(&self) -> Result<(), StorageError> {
        Ok(())
    }

    pub(super) fn after_commit(&self) -> Result<(), StorageError> {
        Ok(())
    }

    pub(super) fn instead_of_settling(&self) -> Option<Settled> {
        None
    }
}
