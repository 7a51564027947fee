//! Every line that a log query finds, however many, in time order and in constant memory: page after page, each of which
//! begins where the one before ended.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use storage::Snapshot;

use crate::budget::Budget;
use crate::engine::{Answer, Engine, Request};
use crate::error::QueryError;
use crate::formats::Format;
use crate::log_query::{Direction, LogQuery};

/// Lines of a page: each page looks at the times of all segments that it reaches anew.
const PAGE_LINES: usize = 50_000;

/// An export that goes on where it stopped.
pub struct Export {
    query: LogQuery,
    schema: SchemaRef,
    as_text: bool,
    done: bool,
}

impl Export {
    /// Of what `query` finds; its limit counts for nothing.
    pub fn new(query: LogQuery, format: Format) -> Self {
        // CSV has no maps.
        let as_text = format == Format::Csv;
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let labels = if as_text { DataType::Utf8 } else { map_type() };
        let schema = Schema::new(vec![
            Field::new("timestamp", time, false),
            Field::new("message", DataType::Utf8, false),
            Field::new("labels", labels, false),
        ]);
        Self {
            query: LogQuery { categorize: false, interval: 0, ..query },
            schema: Arc::new(schema),
            as_text,
            done: false,
        }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next lines; `None` at the end. Blocks.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn next_page(
        &mut self,
        engine: &Engine,
        snapshot: &Snapshot,
        budget: &Arc<Budget>,
        now: i64,
    ) -> Result<Option<RecordBatch>, QueryError> {
        let mut limit = PAGE_LINES;
        while !self.done {
            let request = Request::Logs(LogQuery { limit, ..self.query.clone() });
            let (Answer::Streams(streams), _) = engine.run(snapshot, &request, budget, now)? else { break };
            let mut lines: Vec<(i64, usize, usize)> = Vec::new();
            for (at, stream) in streams.iter().enumerate() {
                lines.extend(stream.entries.iter().enumerate().map(|(nth, entry)| (entry.timestamp, at, nth)));
            }
            match self.query.direction {
                Direction::Forward => lines.sort_by_key(|line| line.0),
                Direction::Backward => lines.sort_by_key(|line| !line.0),
            }
            if lines.len() < limit {
                self.done = true;
            } else if let Some(&(last, ..)) = lines.last() {
                // There may be more lines of the last time: it goes to the next page, whole.
                let kept = lines.iter().position(|line| line.0 == last).unwrap_or(0);
                if kept == 0 {
                    limit *= 2;
                    continue;
                }
                lines.truncate(kept);
                match self.query.direction {
                    Direction::Forward => self.query.time.start = last,
                    Direction::Backward => self.query.time.end = last.saturating_add(1),
                }
            }
            if lines.is_empty() {
                break;
            }
            let rows = lines.iter().map(|&(_, at, nth)| (&streams[at].labels, &streams[at].entries[nth]));
            let batch = self.batch(&rows.collect::<Vec<_>>());
            return batch.map(Some).map_err(|e| QueryError::BadQuery(format!("the lines cannot be put together: {e}")));
        }
        Ok(None)
    }

    fn batch(&self, rows: &[(&crate::LabelSet, &crate::Entry)]) -> Result<RecordBatch, ArrowError> {
        let times: TimestampNanosecondArray = rows.iter().map(|(_, entry)| Some(entry.timestamp)).collect();
        let lines = StringArray::from_iter_values(rows.iter().map(|(_, entry)| entry.line.as_str()));
        let labels: ArrayRef = if self.as_text {
            let text = |labels: &crate::LabelSet| serde_json::to_string(labels).unwrap_or_default();
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(labels, _)| text(labels))))
        } else {
            let mut map = MapBuilder::new(Some(map_names()), StringBuilder::new(), StringBuilder::new());
            for (labels, _) in rows {
                for (name, value) in labels.iter() {
                    map.keys().append_value(name);
                    map.values().append_value(value);
                }
                map.append(true)?;
            }
            Arc::new(map.finish())
        };
        let arrays: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(lines), labels];
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

fn map_names() -> MapFieldNames {
    MapFieldNames { entry: "entries".to_owned(), key: "keys".to_owned(), value: "values".to_owned() }
}

fn map_type() -> DataType {
    let names = map_names();
    let entries = DataType::Struct(
        vec![Field::new(names.key, DataType::Utf8, false), Field::new(names.value, DataType::Utf8, true)].into(),
    );
    DataType::Map(Arc::new(Field::new(names.entry, entries, false)), false)
}
