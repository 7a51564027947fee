//! Idempotency keys of batches that are not yet in the catalog: in flight, or in the memtable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::error::StorageError;

/// The keys, by hash.
#[derive(Debug, Default)]
pub(super) struct Keys(Arc<Mutex<HashMap<u128, Use>>>);

#[derive(Debug)]
enum Use {
    /// A batch with this key is on its way; rung when its outcome is known.
    InFlight(Arc<Notify>),
    /// Durable, and not yet known to the catalog.
    Stored,
}

/// What became of an attempt to take a key.
enum Taken {
    Stored,
    InFlight(tokio::sync::futures::OwnedNotified),
    Free(ClaimGuard),
}

/// Whose a key is.
#[derive(Debug)]
pub(super) enum Claim {
    /// A batch with it is stored.
    Seen,
    /// The caller's.
    Mine(ClaimGuard),
}

/// A key in flight. Dropped without [`ClaimGuard::stored`], it is free again.
#[derive(Debug)]
pub(super) struct ClaimGuard {
    keys: Arc<Mutex<HashMap<u128, Use>>>,
    hash: u128,
    done: Arc<Notify>,
    stored: bool,
}

impl Keys {
    /// Takes the key, or waits until it is clear whether whoever has it stored its batch.
    pub(super) async fn claim(&self, hash: u128, catalog: &Catalog) -> Result<Claim, StorageError> {
        let guard = loop {
            match self.take(hash) {
                Taken::Stored => return Ok(Claim::Seen),
                Taken::InFlight(done) => done.await,
                Taken::Free(guard) => break guard,
            }
        };
        // A key leaves this table only after its catalog commit, so it is in one of the two.
        Ok(match catalog.key_seen(hash).await? {
            Some(_) => Claim::Seen,
            None => Claim::Mine(guard),
        })
    }

    fn take(&self, hash: u128) -> Taken {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&hash) {
            Some(Use::Stored) => Taken::Stored,
            Some(Use::InFlight(done)) => Taken::InFlight(Arc::clone(done).notified_owned()),
            None => {
                let done = Arc::new(Notify::new());
                keys.insert(hash, Use::InFlight(Arc::clone(&done)));
                Taken::Free(ClaimGuard { keys: Arc::clone(&self.0), hash, done, stored: false })
            }
        }
    }

    /// The catalog has these now.
    pub(super) fn committed(&self, hashes: impl Iterator<Item = u128>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in hashes {
            keys.remove(&hash);
        }
    }
}

impl ClaimGuard {
    /// The batch is durable.
    pub(super) fn stored(mut self) {
        self.stored = true;
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stored {
            keys.insert(self.hash, Use::Stored);
        } else {
            keys.remove(&self.hash);
        }
        drop(keys);
        self.done.notify_waiters();
    }
}
