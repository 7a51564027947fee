//! What happened to alerts, as records in the tenant's own log stream `{source="farol_alerts"}`: history is a LogQL or SQL
//! query. Every record has the structured metadata `event` (`state`, `evaluation`, `notification`, ...) and what belongs
//! to it.

use storage::{Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, StorageError, Store, Stream, Tenant, Value};

/// The value of the label `source` of the stream.
pub(crate) const SOURCE: &str = "farol_alerts";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// When, in nanoseconds since 1970.
    pub(crate) time_ns: i64,
    /// How bad it is.
    pub(crate) level: Level,
    /// What happened, for people.
    pub(crate) message: String,
    /// What happened, for queries; those that are empty are left out.
    pub(crate) fields: Vec<(&'static str, Field)>,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i64),
}

/// Keeps records; they are on disk and can be found when it returns. Records that were kept before under the same key are
/// not kept again.
///
/// # Errors
/// As [`Store::append`].
pub(crate) async fn append(
    store: &Store,
    tenant: &Tenant,
    records: &[Record],
    key: Option<&str>,
) -> Result<(), StorageError> {
    if records.is_empty() {
        return Ok(());
    }
    store.append(tenant, batch(records), key).await.map(|_| ())
}

fn batch(records: &[Record]) -> LogBatch {
    let bytes = records.iter().map(|record| record.message.len()).sum();
    let mut builder = LogBatchBuilder::with_capacity(records.len(), bytes);
    let labels = Labels::of_sorted([("source", SOURCE)].into_iter());
    let stream = builder.stream(Stream::new(labels, Labels::default()));
    for record in records {
        for (name, field) in &record.fields {
            let key = builder.key(name);
            match field {
                Field::Text(text) if text.is_empty() => {}
                Field::Text(text) => builder.attribute(key, Value::Str(text)),
                // As text, so that the field has one kind in every segment.
                Field::Number(number) => builder.attribute(key, Value::Str(&number.to_string())),
                Field::Integer(number) => builder.attribute(key, Value::Int(*number)),
            }
        }
        builder.finish_record(stream, record.time_ns, NOT_OBSERVED, record.level, &record.message);
    }
    builder.build()
}

/// Records that wait to be kept; more are not taken, and that is told.
const WAITING_MAX: usize = 4096;

/// Takes records from who cannot wait until they are kept.
#[derive(Debug, Clone)]
pub(crate) struct Spool(tokio::sync::mpsc::Sender<(Tenant, Record)>);

impl Spool {
    /// Starts. It ends when the last handle to it is dropped, and all is kept.
    pub(crate) fn start(store: std::sync::Arc<Store>) -> Self {
        let (sender, mut queue) = tokio::sync::mpsc::channel::<(Tenant, Record)>(WAITING_MAX);
        tokio::spawn(async move {
            let mut together = Vec::new();
            while queue.recv_many(&mut together, WAITING_MAX).await > 0 {
                let mut by_tenant: std::collections::BTreeMap<Tenant, Vec<Record>> = std::collections::BTreeMap::new();
                for (tenant, record) in together.drain(..) {
                    by_tenant.entry(tenant).or_default().push(record);
                }
                for (tenant, records) in by_tenant {
                    if let Err(error) = append(&store, &tenant, &records, None).await {
                        tracing::error!("the history of alerts lacks {} records: {error}", records.len());
                    }
                }
            }
        });
        Self(sender)
    }

    /// Takes a record.
    pub(crate) fn push(&self, tenant: &Tenant, record: Record) {
        if self.0.try_send((tenant.clone(), record)).is_err() {
            tracing::error!("the history of alerts lacks a record: too many wait to be kept");
        }
    }
}
