//! How many rules are evaluated at once. Groups whose last run was slow have places of their own, so that however many of
//! them there are, the others find a place.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::watched::Running;

/// A rule of a group that takes longer than this on average is slow.
const SLOW: Duration = Duration::from_millis(500);

/// Places for rules.
#[derive(Debug)]
pub(super) struct Lanes {
    quick: Semaphore,
    slow: Semaphore,
}

/// Which places a group takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Quick,
    Slow,
}

impl Lanes {
    /// So many places for quick groups, and half as many for slow ones.
    pub(super) fn new(places: usize) -> Self {
        Self { quick: Semaphore::new(places), slow: Semaphore::new((places / 2).max(1)) }
    }

    /// Where a group belongs, by its last run.
    pub(super) fn of(&self, running: &Running) -> Lane {
        let rules = u32::try_from(running.rules.len()).unwrap_or(u32::MAX).max(1);
        if running.last_run().took / rules > SLOW { Lane::Slow } else { Lane::Quick }
    }

    /// A place, held until it is dropped.
    pub(super) async fn enter(&self, lane: Lane) -> Option<SemaphorePermit<'_>> {
        let places = match lane {
            Lane::Quick => &self.quick,
            Lane::Slow => &self.slow,
        };
        // They are never closed.
        places.acquire().await.ok()
    }
}
