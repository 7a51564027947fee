//! Answers as Loki writes them: JSON put together piece by piece, since an answer may hold a million lines.

use std::io::Write;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use query::logql::vector::Series;
use query::{Answer, LabelSet, LogStream, QueryStats, Steps};
use serde::Serialize;
use storage::Labels;

/// How many nanoseconds make a millisecond, in which points are told.
const MS: i64 = 1_000_000;

/// The header that says what a query looked at.
const FAROL_STATS: HeaderName = HeaderName::from_static("x-farol-stats");

/// How an answer is to be written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// Structured metadata and parsed labels are apart from the stream's.
    pub(super) categorized: bool,
    /// One point a series, not many.
    pub(super) instant: bool,
    /// When the time asked for ends, if points of its last millisecond and behind it are told at its end.
    pub(super) until: Option<i64>,
}

impl Shape {
    fn time(self, steps: &Steps, step: u32) -> i64 {
        let time = steps.time(step);
        self.until.filter(|until| time.saturating_add(MS) >= *until).unwrap_or(time)
    }
}

/// The whole answer to a query.
pub(super) fn respond(answer: &Answer, stats: &QueryStats, shape: Shape) -> Response {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":");
    match answer {
        Answer::Streams(streams) => {
            out.extend_from_slice(b"\"streams\",\"result\":");
            write_streams(&mut out, streams, shape.categorized);
            if shape.categorized {
                out.extend_from_slice(b",\"encodingFlags\":[\"categorize-labels\"]");
            }
        }
        Answer::Series { series, steps } if shape.instant => {
            out.extend_from_slice(b"\"vector\",\"result\":");
            list(&mut out, series.iter().filter(|one| !one.points.is_empty()), |out, one| {
                write_metric(out, &one.labels);
                out.extend_from_slice(b",\"value\":");
                let (step, value) = one.points[0];
                write_point(out, shape.time(steps, step), value);
                out.push(b'}');
            });
        }
        Answer::Series { series, steps } => {
            out.extend_from_slice(b"\"matrix\",\"result\":");
            write_matrix(&mut out, series, |step| shape.time(steps, step));
        }
        Answer::Scalar(value) => {
            out.extend_from_slice(b"\"scalar\",\"result\":");
            write_point(&mut out, 0, *value);
        }
    }
    out.extend_from_slice(b",\"stats\":");
    write_json(&mut out, &Stats::new(answer, stats));
    out.extend_from_slice(b"}}");
    let mut response = json(out);
    if let Ok(value) = HeaderValue::from_str(&explained(stats)) {
        response.headers_mut().insert(FAROL_STATS, value);
    }
    response
}

/// What a query looked at, for people.
fn explained(stats: &QueryStats) -> String {
    format!(
        "parts={} pruned={} rows_in_time={} rows_with_values={} rows_considered={} rows_decided={} rows_read={} \
         bytes_read={} rows_matched={} cache={} ms={:.3} cpu_ms={:.3}",
        stats.parts,
        stats.parts_pruned,
        stats.rows_in_time,
        stats.rows_with_values,
        stats.rows_considered,
        stats.rows_decided,
        stats.rows_read,
        stats.bytes_read,
        stats.rows_matched,
        if stats.cached { "hit" } else { "miss" },
        stats.nanos as f64 / 1e6,
        stats.cpu_nanos as f64 / 1e6
    )
}

/// A JSON body.
pub(super) fn json(body: Vec<u8>) -> Response {
    const JSON: [(HeaderName, HeaderValue); 1] =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"))];
    (JSON, body).into_response()
}

/// `{"status":"success","data":...}`.
pub(super) fn success(data: &impl Serialize) -> Response {
    #[derive(Serialize)]
    struct Success<'d, T> {
        status: &'static str,
        data: &'d T,
    }
    let mut out = Vec::new();
    write_json(&mut out, &Success { status: "success", data });
    json(out)
}

/// The streams of an answer or of a tail's message.
pub(super) fn write_streams(out: &mut Vec<u8>, streams: &[LogStream], categorized: bool) {
    list(out, streams, |out, stream| {
        out.extend_from_slice(b"{\"stream\":");
        write_json(out, &stream.labels);
        out.extend_from_slice(b",\"values\":");
        list(out, &stream.entries, |out, entry| {
            // Writing to memory does not fail.
            let _ = write!(out, "[\"{}\",", entry.timestamp);
            write_json(out, &entry.line);
            if categorized {
                out.extend_from_slice(b",{");
                let mut comma = false;
                for (name, set) in [("structuredMetadata", &entry.metadata), ("parsed", &entry.parsed)] {
                    if !set.is_empty() {
                        write_member(out, &mut comma, name, set);
                    }
                }
                out.push(b'}');
            }
            out.push(b']');
        });
        out.push(b'}');
    });
}

fn write_member(out: &mut Vec<u8>, comma: &mut bool, name: &str, set: &LabelSet) {
    if std::mem::replace(comma, true) {
        out.push(b',');
    }
    write_json(out, name);
    out.push(b':');
    write_json(out, set);
}

fn write_matrix(out: &mut Vec<u8>, series: &[Series], time: impl Fn(u32) -> i64) {
    list(out, series, |out, one| {
        write_metric(out, &one.labels);
        out.extend_from_slice(b",\"values\":");
        list(out, &one.points, |out, (step, value)| write_point(out, time(*step), *value));
        out.push(b'}');
    });
}

fn write_metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(b"{\"metric\":{");
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json(out, name);
        out.push(b':');
        write_json(out, value);
    }
    out.push(b'}');
}

/// Seconds with at most three decimals, and the number as text.
fn write_point(out: &mut Vec<u8>, time: i64, value: f64) {
    let ms = time.div_euclid(MS);
    let (seconds, rest) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    // Writing to memory does not fail.
    let _ = match rest {
        0 => write!(out, "[{seconds},\""),
        rest => write!(out, "[{},\"", (seconds as f64 * 1000.0 + rest as f64) / 1000.0),
    };
    let _ = match value {
        value if value.is_nan() => write!(out, "NaN"),
        value if value.is_infinite() => write!(out, "{}", if value > 0.0 { "+Inf" } else { "-Inf" }),
        value => write!(out, "{value}"),
    };
    out.extend_from_slice(b"\"]");
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Text and maps of text always have a JSON form.
fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}

/// What Loki says about a query, as far as it has a meaning here.
#[derive(Debug, Serialize)]
struct Stats {
    summary: Summary,
    querier: Querier,
    ingester: Ingester,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    bytes_processed_per_second: u64,
    lines_processed_per_second: u64,
    total_bytes_processed: u64,
    total_lines_processed: u64,
    total_post_filter_lines: u64,
    total_entries_returned: u64,
    exec_time: f64,
    queue_time: f64,
    subqueries: u64,
    splits: u64,
    shards: u64,
}

#[derive(Debug, Default, Serialize)]
struct Querier {
    store: StoreStats,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreStats {
    total_chunks_ref: u64,
    total_chunks_downloaded: u64,
    chunks_download_time: u64,
    chunk: ChunkStats,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChunkStats {
    head_chunk_bytes: u64,
    head_chunk_lines: u64,
    decompressed_bytes: u64,
    decompressed_lines: u64,
    compressed_bytes: u64,
    total_duplicates: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ingester {
    total_reached: u64,
    total_chunks_matched: u64,
    total_batches: u64,
    total_lines_sent: u64,
    store: StoreStats,
}

impl Stats {
    fn new(answer: &Answer, stats: &QueryStats) -> Self {
        let seconds = stats.nanos as f64 / 1e9;
        let per_second = |count: u64| if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 };
        let entries = match answer {
            Answer::Streams(streams) => streams.iter().map(|stream| stream.entries.len() as u64).sum(),
            Answer::Series { series, .. } => series.iter().map(|one| one.points.len() as u64).sum(),
            Answer::Scalar(_) => 1,
        };
        let chunk = ChunkStats {
            decompressed_bytes: stats.bytes_read,
            decompressed_lines: stats.rows_read,
            ..ChunkStats::default()
        };
        let store = StoreStats {
            total_chunks_ref: stats.parts,
            total_chunks_downloaded: stats.parts - stats.parts_pruned,
            chunk,
            ..StoreStats::default()
        };
        Self {
            summary: Summary {
                bytes_processed_per_second: per_second(stats.bytes_read),
                lines_processed_per_second: per_second(stats.rows_read),
                total_bytes_processed: stats.bytes_read,
                total_lines_processed: stats.rows_read,
                total_post_filter_lines: stats.rows_matched,
                total_entries_returned: entries,
                exec_time: seconds,
                queue_time: 0.0,
                subqueries: 1,
                splits: 0,
                shards: 0,
            },
            querier: Querier { store },
            ingester: Ingester::default(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn point(time: i64, value: f64) -> String {
        let mut out = Vec::new();
        write_point(&mut out, time, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn points_are_seconds_and_text() {
        assert_eq!(point(1_795_399_200_000_000_000, 0.1), "[1795399200,\"0.1\"]");
        assert_eq!(point(1_795_399_200_120_999_999, 3.0), "[1795399200.12,\"3\"]");
        assert_eq!(point(0, f64::INFINITY), "[0,\"+Inf\"]");
        assert_eq!(point(-1_500_000_000, f64::NAN), "[-1.5,\"NaN\"]");
        assert_eq!(point(0, 1e21), "[0,\"1000000000000000000000\"]");
    }

    #[test]
    fn streams_have_a_third_element_only_when_categorized() {
        let set = |name: &str| LabelSet::new(&mut [(name, "1")]);
        let entry = query::Entry { timestamp: 5, line: "a \"b\"".to_owned(), metadata: set("m"), parsed: set("p") };
        let streams = [LogStream { labels: set("s"), entries: vec![entry] }];
        let text = |categorized| {
            let mut out = Vec::new();
            write_streams(&mut out, &streams, categorized);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(false), r#"[{"stream":{"s":"1"},"values":[["5","a \"b\""]]}]"#);
        assert_eq!(
            text(true),
            r#"[{"stream":{"s":"1"},"values":[["5","a \"b\"",{"structuredMetadata":{"m":"1"},"parsed":{"p":"1"}}]]}]"#
        );
    }
}
