//! Admission: how many bytes of requests may be worked on at once. Above it, senders are told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in flight, shared by all doors.
#[derive(Debug)]
pub struct Admission {
    bytes: AtomicU64,
    bytes_max: u64,
}

/// Room for one request; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    bytes: u64,
}

/// There is no room; the sender should try again in a second or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight} bytes of requests are being worked on, {bytes_max} are allowed: try again in a second")]
pub struct Busy {
    /// Bytes in flight.
    pub in_flight: u64,
    /// The limit.
    pub bytes_max: u64,
}

impl Admission {
    /// Admits up to `bytes_max` bytes at once.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), bytes_max })
    }

    /// Room for a request of `bytes`; one larger than the limit is let in when it is alone.
    ///
    /// # Errors
    /// [`Busy`] without room.
    pub fn admit(self: &Arc<Self>, bytes: u64) -> Result<Permit, Busy> {
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let permit = Permit { admission: Arc::clone(self), bytes };
        if before > 0 && before.saturating_add(bytes) > self.bytes_max {
            return Err(Busy { in_flight: before, bytes_max: self.bytes_max });
        }
        Ok(permit)
    }

    /// Bytes in flight now.
    pub fn in_flight(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let admission = Admission::new(100);
        let large = admission.admit(500).unwrap();
        assert!(admission.admit(1).is_err());
        drop(large);
        let some = admission.admit(60).unwrap();
        assert!(admission.admit(60).is_err());
        drop(some);
        assert_eq!(admission.in_flight(), 0);
        admission.admit(60).unwrap();
    }
}
