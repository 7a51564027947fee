//! Changes of many groups in few transactions: while one is being written, those that come meanwhile wait and go together
//! in the next. A transaction costs a sync of the disk, and thousands of rules may change state in the same minute.

use std::sync::Arc;

use storage::{DocumentChange, StorageError, Store};
use tokio::sync::{mpsc, oneshot};

/// So many groups may wait for a transaction.
const QUEUE: usize = 1024;
/// And so many changes go together.
const TOGETHER_MAX: usize = 4096;

struct Waiting {
    changes: Vec<DocumentChange>,
    answer: oneshot::Sender<Result<(), String>>,
}

/// Commits changes.
#[derive(Debug, Clone)]
pub(crate) struct Committer(mpsc::Sender<Waiting>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

impl Committer {
    /// Starts. It ends when the last handle to it is dropped.
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let (sender, mut queue) = mpsc::channel::<Waiting>(QUEUE);
        tokio::spawn(async move {
            while let Some(first) = queue.recv().await {
                let mut together = vec![first];
                let mut count = together[0].changes.len();
                while count < TOGETHER_MAX
                    && let Ok(next) = queue.try_recv()
                {
                    count += next.changes.len();
                    together.push(next);
                }
                apply(&store, together).await;
            }
        });
        Self(sender)
    }

    /// Makes all changes or none; on disk when it returns.
    ///
    /// # Errors
    /// Why none was made.
    pub(crate) async fn commit(&self, changes: Vec<DocumentChange>) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        let (answer, outcome) = oneshot::channel();
        let stopped = || "the server stops".to_owned();
        self.0.send(Waiting { changes, answer }).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

async fn apply(store: &Store, together: Vec<Waiting>) {
    let mut changes = Vec::new();
    let mut answers = Vec::new();
    for waiting in together {
        changes.extend(waiting.changes);
        answers.push(waiting.answer);
    }
    let outcome = store.apply_documents(&changes).await.map_err(|error: StorageError| error.to_string());
    for answer in answers {
        // Whoever does not wait any more does not want to know.
        let _ = answer.send(outcome.clone());
    }
}
