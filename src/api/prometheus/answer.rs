//! Answers as Prometheus writes them: JSON put together piece by piece, since an answer may hold millions of points.

use std::io::Write;

use ::query::number::format_float_api;
use ::query::promql::PromStats;
use ::query::promql::eval::{Point, Sample, SeriesPoints, Value};
use ::query::promql::histogram::write_json as write_histogram;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use storage::Labels;
use storage::metrics::Histogram;

/// How many warnings, and how many infos, an answer tells.
const NOTES_MAX: usize = 10;
/// The header that says what a query looked at.
const FAROL_STATS: HeaderName = HeaderName::from_static("x-farol-stats");

/// A JSON body.
pub(super) fn json(body: impl Into<Body>) -> Response {
    const JSON: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (JSON, body.into()).into_response()
}

/// `{"status":"success","data":...}`.
pub(super) fn success(data: &(impl Serialize + ?Sized)) -> Response {
    told(data, &[])
}

/// The same, with warnings.
pub(super) fn told(data: &(impl Serialize + ?Sized), warnings: &[String]) -> Response {
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":");
    write_json(&mut out, data);
    write_notes(&mut out, "warnings", "warning", warnings);
    out.push(b'}');
    json(out)
}

/// The answer to a query, as text.
pub(super) fn evaluated(
    value: &Value,
    with_stats: Option<&PromStats>,
    warnings: &[String],
    infos: &[String],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":");
    match value {
        Value::Scalar(time, number) => {
            out.extend_from_slice(b"\"scalar\",\"result\":");
            write_point(&mut out, *time, *number);
        }
        Value::String(time, text) => {
            out.extend_from_slice(b"\"string\",\"result\":[");
            write_time(&mut out, *time);
            out.push(b',');
            write_json(&mut out, text);
            out.push(b']');
        }
        Value::Vector(samples) => {
            out.extend_from_slice(b"\"vector\",\"result\":");
            list(&mut out, samples, write_sample);
        }
        Value::Matrix(series) => {
            out.extend_from_slice(b"\"matrix\",\"result\":");
            list(&mut out, series, write_series);
        }
    }
    if let Some(stats) = with_stats {
        out.extend_from_slice(b",\"stats\":");
        write_json(&mut out, &stats_json(stats));
    }
    out.push(b'}');
    write_notes(&mut out, "warnings", "warning", warnings);
    write_notes(&mut out, "infos", "info", infos);
    out.push(b'}');
    out
}

/// About how many bytes an answer takes as text.
pub(super) fn text_bytes(value: &Value) -> usize {
    let labels = |labels: &Labels| labels.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>();
    let point = |point: &Point| match point {
        Point::Float(_) => 32,
        Point::Histogram(histogram) => 64 + 8 * histogram.memory_bytes(),
    };
    match value {
        Value::Scalar(..) | Value::String(..) => 64,
        Value::Vector(samples) => samples.iter().map(|s| labels(&s.labels) + point(&s.point) + 32).sum(),
        Value::Matrix(series) => {
            let points = |one: &SeriesPoints| one.points.iter().map(|(_, p)| point(p)).sum::<usize>();
            series.iter().map(|one| labels(&one.labels) + points(one) + 32).sum()
        }
    }
}

/// Says in a header what a query looked at.
pub(super) fn explain(mut response: Response, stats: &PromStats) -> Response {
    let explained = format!(
        "segments={} series={} samples={} cache={} ms={:.3}",
        stats.segments,
        stats.series,
        stats.samples,
        if stats.cached { "hit" } else { "miss" },
        stats.nanos as f64 / 1e6
    );
    if let Ok(value) = HeaderValue::from_str(&explained) {
        response.headers_mut().insert(FAROL_STATS, value);
    }
    response
}

/// What Prometheus says about a query, as far as it has a meaning here.
fn stats_json(stats: &PromStats) -> serde_json::Value {
    let seconds = stats.nanos as f64 / 1e9;
    json!({
        "timings": {
            "evalTotalTime": seconds,
            "resultSortTime": 0,
            "queryPreparationTime": 0,
            "innerEvalTime": seconds,
            "execQueueTime": 0,
            "execTotalTime": seconds,
        },
        "samples": {
            "totalQueryableSamples": stats.samples,
            "samplesRead": stats.samples,
            "peakSamples": stats.samples,
        },
    })
}

fn write_notes(out: &mut Vec<u8>, member: &str, kind: &str, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    let mut told: Vec<&str> = notes.iter().take(NOTES_MAX).map(String::as_str).collect();
    let more = format!("{} more {kind} annotations omitted", notes.len().saturating_sub(NOTES_MAX));
    if notes.len() > NOTES_MAX {
        told.push(&more);
    }
    // Writing to memory does not fail.
    let _ = write!(out, ",\"{member}\":");
    write_json(out, &told);
}

fn write_sample(out: &mut Vec<u8>, sample: &Sample) {
    write_metric(out, &sample.labels);
    match &sample.point {
        Point::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            write_point(out, sample.time, *value);
        }
        Point::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            write_histogram_point(out, sample.time, histogram);
        }
    }
    out.push(b'}');
}

fn write_series(out: &mut Vec<u8>, series: &SeriesPoints) {
    write_metric(out, &series.labels);
    let floats = series.points.iter().filter_map(|(time, point)| match point {
        Point::Float(value) => Some((*time, *value)),
        Point::Histogram(_) => None,
    });
    let histograms = series.points.iter().filter_map(|(time, point)| match point {
        Point::Float(_) => None,
        Point::Histogram(histogram) => Some((*time, histogram)),
    });
    let mut floats = floats.peekable();
    if floats.peek().is_some() {
        out.extend_from_slice(b",\"values\":");
        list(out, floats, |out, (time, value)| write_point(out, time, value));
    }
    let mut histograms = histograms.peekable();
    if histograms.peek().is_some() {
        out.extend_from_slice(b",\"histograms\":");
        list(out, histograms, |out, (time, histogram)| write_histogram_point(out, time, histogram));
    }
    out.push(b'}');
}

fn write_metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(b"{\"metric\":");
    write_labels(out, labels);
}

/// Labels as an object.
pub(super) fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
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

fn write_point(out: &mut Vec<u8>, time: i64, value: f64) {
    out.push(b'[');
    write_time(out, time);
    out.extend_from_slice(b",\"");
    write_number(out, value);
    out.extend_from_slice(b"\"]");
}

/// Most values are small whole numbers, which need no search for the shortest text.
pub(super) fn write_number(out: &mut Vec<u8>, value: f64) {
    let whole = value as i64;
    // Writing to memory does not fail.
    let _ = if whole as f64 == value && whole.unsigned_abs() < (1 << 53) && (whole != 0 || value.is_sign_positive()) {
        write!(out, "{whole}")
    } else {
        out.write_all(format_float_api(value).as_bytes())
    };
}

fn write_histogram_point(out: &mut Vec<u8>, time: i64, histogram: &Histogram) {
    out.push(b'[');
    write_time(out, time);
    out.push(b',');
    let mut text = String::new();
    write_histogram(histogram, &mut text);
    out.extend_from_slice(text.as_bytes());
    out.push(b']');
}

/// Seconds, with three decimals unless they are whole.
pub(super) fn write_time(out: &mut Vec<u8>, ms: i64) {
    let (seconds, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let sign = if ms < 0 { "-" } else { "" };
    // Writing to memory does not fail.
    let _ = match rest {
        0 => write!(out, "{sign}{seconds}"),
        rest => write!(out, "{sign}{seconds}.{rest:03}"),
    };
}

/// A list, written item by item.
pub(super) fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Text, and maps of text, always have a JSON form.
pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn text(value: &Value) -> String {
        let whole = String::from_utf8(evaluated(value, None, &[], &[])).unwrap();
        let (_, rest) = whole.split_once("\"data\":").unwrap();
        rest.trim_end_matches('}').to_owned()
    }

    #[test]
    fn numbers_and_times_are_written_as_prometheus_does() {
        let scalar = |time, value| text(&Value::Scalar(time, value));
        let is = |pair: &str| format!("{{\"resultType\":\"scalar\",\"result\":{pair}");
        assert_eq!(scalar(1_500, 0.1), is("[1.500,\"0.1\"]"));
        assert_eq!(scalar(-1_005, -3.0), is("[-1.005,\"-3\"]"));
        assert_eq!(scalar(0, 1e21), is("[0,\"1e+21\"]"));
        assert_eq!(scalar(0, 1e20), is("[0,\"100000000000000000000\"]"));
        assert_eq!(scalar(0, 1.5e-7), is("[0,\"1.5e-07\"]"));
        assert_eq!(scalar(0, -0.0), is("[0,\"-0\"]"));
        assert_eq!(scalar(0, f64::NEG_INFINITY), is("[0,\"-Inf\"]"));
        assert_eq!(scalar(0, f64::NAN), is("[0,\"NaN\"]"));
    }

    #[test]
    fn series_keep_floats_and_histograms_apart() {
        let histogram = Histogram { count: 4.0, sum: 5.0, ..Histogram::default() };
        let points = vec![(1000, Point::Float(1.0)), (2000, Point::Histogram(Arc::new(histogram)))];
        let matrix = Value::Matrix(vec![SeriesPoints { labels: Arc::new(Labels::new([("a", "x\"y")])), points }]);
        assert_eq!(
            text(&matrix),
            r#"{"resultType":"matrix","result":[{"metric":{"a":"x\"y"},"values":[[1,"1"]],"histograms":[[2,{"count":"4","sum":"5"}]]}]"#
        );
        let string = Value::String(1, "a\nb".to_owned());
        assert_eq!(text(&string), r#"{"resultType":"string","result":[0.001,"a\nb"]"#);
    }

    #[test]
    fn ten_notes_are_told() {
        let notes: Vec<String> = (0..12).map(|n| format!("note {n}")).collect();
        let whole = String::from_utf8(evaluated(&Value::Vector(Vec::new()), None, &notes, &[])).unwrap();
        assert!(whole.ends_with(r#""note 9","2 more warning annotations omitted"]}"#), "{whole}");
        assert!(
            whole.starts_with(r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["note 0""#)
        );
    }
}
