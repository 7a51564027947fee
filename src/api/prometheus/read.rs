//! `/api/v1/read`: remote read. Samples as they are, or as a stream of chunks, whichever the client takes.

mod messages;
mod xor;

use std::sync::Arc;

use ::query::promql::ast::{MatchOp, Matcher};
use ::query::promql::source::label_matchers;
use ::query::{Budget, QueryError};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use prost::Message;
use storage::Labels;
use storage::metrics::{Histogram, MetricSnapshot, Samples, Span};

use self::messages::{
    BucketSpan, Chunk, ChunkedReadResponse, ChunkedSeries, Label, Query, QueryResult, ReadRequest, ReadResponse,
    Sample, TimeSeries,
};
use super::error::PromError;
use super::with_metrics;
use crate::api::push::body;
use crate::app::App;
use crate::tenant;

/// Largest request, packed and unpacked.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Series that are read together.
const SERIES_AT_A_TIME: usize = 64;
/// Samples of a chunk, as Prometheus makes them.
const CHUNK_SAMPLES: usize = 120;
/// A message of the stream is sent when it has this much.
const FRAME_BYTES: usize = 1 << 20;
/// `STREAMED_XOR_CHUNKS`.
const STREAMED: i32 = 1;
const XOR: i32 = 1;

/// A series with its samples.
type Found = (Arc<Labels>, Samples);

/// `/api/v1/read`.
pub(crate) async fn read(State(app): State<App>, request: Request) -> Result<Response, PromError> {
    let (parts, body) = request.into_parts();
    let tenant = tenant::of(&parts.headers)?;
    let packed = body::collect(body, &parts.headers, REQUEST_BYTES_MAX, app.config.ingest.body_timeout.0).await?;
    let request = unpack(&packed)?;
    let is_streamed =
        request.accepted_response_types.iter().find(|kind| [0, STREAMED].contains(kind)) == Some(&STREAMED);
    let queries = request.queries.iter().map(wanted).collect::<Result<Vec<_>, _>>()?;
    let budget = app.house()?.engine.budget();
    let held = Arc::clone(&budget);
    with_metrics(&app, tenant, budget, move |_, snapshot, budget| {
        let found = queries.iter().map(|query| select(snapshot, query, budget)).collect::<Result<Vec<_>, _>>()?;
        // Histograms travel as they are.
        let any_histogram = found.iter().flatten().any(|(_, samples)| !samples.histograms.is_empty());
        if is_streamed && !any_histogram {
            return Ok(streamed(found, held));
        }
        let results = found.iter().map(|series| QueryResult { timeseries: series.iter().map(plain).collect() });
        let message = ReadResponse { results: results.collect() }.encode_to_vec();
        budget.take(message.len() as u64)?;
        let packed = snap::raw::Encoder::new().compress_vec(&message);
        let packed =
            packed.map_err(|e| PromError::bad_data(format!("the answer cannot be packed: {e}: ask for less")))?;
        let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
        Ok((headers, packed).into_response())
    })
    .await
}

fn unpack(packed: &[u8]) -> Result<ReadRequest, PromError> {
    let wrong = |why: String| PromError::bad_data(format!("the body is no snappy-packed ReadRequest: {why}"));
    let length = snap::raw::decompress_len(packed).map_err(|e| wrong(e.to_string()))?;
    if length > REQUEST_BYTES_MAX {
        return Err(wrong(format!("{length} bytes are too many")));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| wrong(e.to_string()))?;
    ReadRequest::decode(bytes.as_slice()).map_err(|e| wrong(e.to_string()))
}

/// What a query asks for: matchers, and from when to when.
struct Wanted {
    matchers: Vec<Matcher>,
    start: i64,
    end: i64,
}

fn wanted(query: &Query) -> Result<Wanted, PromError> {
    let matcher = |matcher: &messages::LabelMatcher| {
        let op = match matcher.kind {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            kind => return Err(PromError::bad_data(format!("there is no matcher of type {kind}"))),
        };
        Matcher::new(&*matcher.name, op, &*matcher.value).map_err(|e| PromError::bad_data(e.to_string()))
    };
    let matchers = query.matchers.iter().map(matcher).collect::<Result<_, _>>()?;
    Ok(Wanted { matchers, start: query.start_ms, end: query.end_ms })
}

fn select(snapshot: &MetricSnapshot, query: &Wanted, budget: &Budget) -> Result<Vec<Found>, PromError> {
    let selection = snapshot.select(&label_matchers(&query.matchers), query.start, query.end)?;
    let all = selection.labels();
    let mut found = Vec::new();
    for from in (0..all.len()).step_by(SERIES_AT_A_TIME) {
        budget.check()?;
        selection.read(from..all.len().min(from + SERIES_AT_A_TIME), |at, samples| {
            if !samples.is_empty() {
                let histograms: usize = samples.histograms.iter().map(|(_, h)| h.memory_bytes() + 128).sum();
                budget.take((samples.len() * 24 + histograms + 256) as u64)?;
                found.push((Arc::clone(&all[at]), samples.clone()));
            }
            Ok::<(), QueryError>(())
        })?;
    }
    Ok(found)
}

fn labels(labels: &Labels) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

fn plain((of, samples): &Found) -> TimeSeries {
    let mut series = TimeSeries { labels: labels(of), samples: Vec::new(), histograms: Vec::new() };
    let mut histograms = samples.histograms.iter().peekable();
    for (row, (&timestamp, &value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
        match histograms.next_if(|(at, _)| *at as usize == row) {
            Some((_, histogram)) => series.histograms.push(native(histogram, timestamp)),
            None => series.samples.push(Sample { value, timestamp }),
        }
    }
    series
}

fn native(histogram: &Histogram, timestamp: i64) -> messages::Histogram {
    let spans = |spans: &[Span]| spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect();
    messages::Histogram {
        count_float: histogram.count,
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count_float: histogram.zero_count,
        negative_spans: spans(&histogram.negative_spans),
        negative_counts: histogram.negative_buckets.clone(),
        positive_spans: spans(&histogram.positive_spans),
        positive_counts: histogram.positive_buckets.clone(),
        reset_hint: histogram.reset_hint as i32,
        timestamp,
        custom_values: histogram.custom_values.clone(),
    }
}

/// The answer as a stream of messages; memory is held until it is sent.
fn streamed(found: Vec<Vec<Found>>, held: Arc<Budget>) -> Response {
    let queries = found.into_iter().enumerate().flat_map(|(query, series)| series.into_iter().map(move |s| (query, s)));
    let mut queries = queries.peekable();
    let frames = std::iter::from_fn(move || {
        let _held = &held;
        let (query, _) = queries.peek()?;
        let query = *query;
        let mut message = ChunkedReadResponse { chunked_series: Vec::new(), query_index: query as i64 };
        let mut bytes = 0;
        while bytes < FRAME_BYTES
            && let Some((_, series)) = queries.next_if(|(of, _)| *of == query)
        {
            let series = chunked(&series);
            bytes += series.encoded_len();
            message.chunked_series.push(series);
        }
        Some(Ok::<Bytes, std::convert::Infallible>(frame(&message.encode_to_vec())))
    });
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(stream::iter(frames))).into_response()
}

fn chunked((of, samples): &Found) -> ChunkedSeries {
    let runs = samples.timestamps.chunks(CHUNK_SAMPLES).zip(samples.values.chunks(CHUNK_SAMPLES));
    let chunks = runs.map(|(times, values)| Chunk {
        min_time_ms: times.first().copied().unwrap_or_default(),
        max_time_ms: times.last().copied().unwrap_or_default(),
        kind: XOR,
        data: xor::pack(times, values),
    });
    ChunkedSeries { labels: labels(of), chunks: chunks.collect() }
}

/// Length as a varint, Castagnoli checksum, message.
fn frame(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 14);
    let mut length = message.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(&crc32c::crc32c(message).to_be_bytes());
    out.extend_from_slice(message);
    out.into()
}
