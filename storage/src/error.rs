//! Why storage failed: code branches on the variant, people read the message.

use std::io;
use std::path::PathBuf;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused; `action` says what was tried.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", "sync".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No room on the disk. What was accepted before is safe; the caller may try again once there is room.
    #[error("the disk that holds {} is full: free some room; writing goes on by itself", path.display())]
    DiskFull {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Memory for data that waits to be written is used up: the sender should try again in a moment.
    #[error("too much data is waiting to be written ({waiting_bytes} of {limit_bytes} bytes): try again in a second")]
    Overloaded {
        /// Bytes that wait.
        waiting_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The data folder cannot be used as it is; the message says what to do.
    #[error("{0}")]
    Refused(String),
    /// The catalog's database failed.
    #[error("catalog {}: {source}", path.display())]
    Catalog {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// Farol is stopping and takes nothing more.
    #[error("the server is stopping: send it again to the next one")]
    Closed,
}

impl StorageError {
    /// The same error for another one who waited for the same write.
    pub(crate) fn repeat(&self) -> Self {
        match self {
            Self::Io { action, path, source } => {
                let source = io::Error::new(source.kind(), source.to_string());
                Self::Io { action, path: path.clone(), source }
            }
            Self::DiskFull { path } => Self::DiskFull { path: path.clone() },
            Self::Overloaded { waiting_bytes, limit_bytes } => {
                Self::Overloaded { waiting_bytes: *waiting_bytes, limit_bytes: *limit_bytes }
            }
            Self::Closed => Self::Closed,
            other => Self::Refused(other.to_string()),
        }
    }
}
