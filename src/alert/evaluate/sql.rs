//! SQL as a rule's expression: of each row the numeric column `value` is the value, and the other columns are labels.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use query::CancelOnDrop;
use query::promql::eval::Point;
use query::sql::{self, SqlLimits};

use super::{Reader, Sample};

/// The column that is the value.
const VALUE: &str = "value";

/// What a statement gives, as if it were run at a time.
///
/// # Errors
/// Why it gives nothing.
pub(super) async fn samples(reader: &Reader, statement: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
    let house = reader.app.house().map_err(|error| error.message)?;
    let snapshot = Arc::new(house.store.snapshot(&reader.tenant, None));
    let metrics = Arc::new(house.store.metrics(&reader.tenant));
    let budget = reader.budget()?;
    let _cancel = CancelOnDrop(Arc::clone(&budget));
    let limits = SqlLimits {
        memory_bytes: usize::try_from(reader.app.memory.query_bytes / 4).unwrap_or(usize::MAX),
        threads: house.engine.limits().threads,
    };
    let statement = at_time(statement, at_ms);
    let answer = sql::run(snapshot, metrics, &statement, &limits, &budget).await;
    let mut answer = answer.map_err(|error| error.to_string())?;
    if answer.schema.column_with_name(VALUE).is_none() {
        return Err("the statement has no column \"value\"".to_owned());
    }
    let mut samples = Vec::new();
    while let Some(batch) = answer.batches.next().await {
        add_rows(&batch.map_err(|error| sql::explain(error).to_string())?, &mut samples)?;
        if samples.len() > house.engine.limits().series_max {
            return Err(format!("the statement gives more than {} rows", house.engine.limits().series_max));
        }
    }
    Ok(samples)
}

fn add_rows(batch: &RecordBatch, samples: &mut Vec<Sample>) -> Result<(), String> {
    let schema = batch.schema();
    let (at, field) = schema.column_with_name(VALUE).ok_or("a batch without the column \"value\"")?;
    if !field.data_type().is_numeric() && !field.data_type().is_null() {
        return Err(format!("the column \"value\" is no number but {}", field.data_type()));
    }
    let values = cast(batch.column(at), &DataType::Float64).map_err(|error| error.to_string())?;
    let values = values.as_primitive::<Float64Type>();
    let options = FormatOptions::default();
    let mut columns = Vec::new();
    for (i, field) in schema.fields().iter().enumerate().filter(|(i, _)| *i != at) {
        let column = ArrayFormatter::try_new(batch.column(i), &options).map_err(|error| error.to_string())?;
        columns.push((field.name().clone(), column, batch.column(i)));
    }
    for row in (0..batch.num_rows()).filter(|&row| !values.is_null(row)) {
        let present = columns.iter().filter(|(_, _, array)| !array.is_null(row));
        let labels = present.map(|(name, column, _)| (name.as_str(), column.value(row).to_string()));
        let labels = labels.filter(|(_, text)| !text.is_empty());
        samples.push(Sample { labels: Arc::new(storage::Labels::new(labels)), point: Point::Float(values.value(row)) });
    }
    Ok(())
}

/// The statement with `now()` and `current_timestamp`, outside of texts, as of a time.
fn at_time(statement: &str, at_ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    let time = format!("TIMESTAMP '{}'", time.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
    let mut out = String::with_capacity(statement.len());
    for (i, part) in statement.split('\'').enumerate() {
        if i > 0 {
            out.push('\'');
        }
        if i % 2 == 1 {
            out.push_str(part);
            continue;
        }
        let lower = part.to_ascii_lowercase();
        let mut rest = 0;
        while let Some((start, length)) = next_now(&lower, rest) {
            out.push_str(part.get(rest..start).unwrap_or_default());
            out.push_str(&time);
            rest = start + length;
        }
        out.push_str(part.get(rest..).unwrap_or_default());
    }
    out
}

/// Where `now()` or `current_timestamp` comes next as a word of its own, and how long it is.
fn next_now(lower: &str, from: usize) -> Option<(usize, usize)> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'"');
    let next = |word: &str| {
        lower.get(from..)?.match_indices(word).map(|(at, _)| (from + at, word.len())).find(|&(at, length)| {
            let bytes = lower.as_bytes();
            !is_word(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && (word.ends_with(')') || !is_word(bytes.get(at + length)))
        })
    };
    [next("now()"), next("current_timestamp")].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::at_time;

    #[test]
    fn now_is_the_time_of_the_evaluation() {
        let at = |statement: &str| at_time(statement, 1_500);
        assert_eq!(
            at("select now() - x, NOW()"),
            "select TIMESTAMP '1970-01-01T00:00:01.500Z' - x, TIMESTAMP '1970-01-01T00:00:01.500Z'"
        );
        assert_eq!(
            at("select 'now()' , known() , current_timestamp_x"),
            "select 'now()' , known() , current_timestamp_x"
        );
        assert_eq!(at("select Current_Timestamp"), "select TIMESTAMP '1970-01-01T00:00:01.500Z'");
    }
}
