//! A batch of metrics as the journal keeps it. Labels of neighbouring series are alike: of each only what differs from the
//! one before is written, which costs a comparison and makes compression needless. FORMAT.md ("Batches of metrics")
//! has the layout.

use crate::labels::{Labels, labels_of};
use crate::metrics::batch::{Exemplar, HistogramSample, MetricBatch, MetricKind, MetricMetadata, SeriesId};
use crate::metrics::bytes::{Reader, put_f64, put_text, put_varint, put_zigzag};
use crate::metrics::histogram::Histogram;

/// Version of the layout.
const VERSION: u8 = 1;
/// The samples belong to the series one by one, in order.
const ONE_EACH: u8 = 1;
/// Samples say when their counting began.
const STARTS: u8 = 2;

/// Appends the batch.
pub(crate) fn encode(batch: &MetricBatch, bytes: &mut Vec<u8>) {
    bytes.reserve(batch.series_count() * 16 + batch.values.len() * 12 + 64);
    let one_each = batch.series.len() == batch.ids.len() && batch.series.iter().zip(0..).all(|(&s, at)| s == at);
    let starts = !batch.starts.is_empty();
    bytes.push(VERSION);
    bytes.push(if one_each { ONE_EACH } else { 0 } | if starts { STARTS } else { 0 });
    put_series(bytes, batch);
    put_varint(bytes, batch.values.len() as u64);
    if !one_each {
        put_deltas(bytes, batch.series.iter().map(|&s| i64::from(s)));
    }
    put_deltas(bytes, batch.timestamps.iter().copied());
    batch.values.iter().for_each(|&value| put_f64(bytes, value));
    if starts {
        put_deltas(bytes, batch.starts.iter().copied());
    }
    put_varint(bytes, batch.histograms.len() as u64);
    let mut packed = Vec::new();
    for sample in &batch.histograms {
        put_varint(bytes, u64::from(sample.series));
        put_zigzag(bytes, sample.timestamp);
        put_zigzag(bytes, sample.start);
        packed.clear();
        sample.histogram.encode(&mut packed);
        put_varint(bytes, packed.len() as u64);
        bytes.extend_from_slice(&packed);
    }
    put_varint(bytes, batch.exemplars.len() as u64);
    for exemplar in &batch.exemplars {
        put_varint(bytes, u64::from(exemplar.series));
        put_exemplar(bytes, exemplar.timestamp, exemplar.value, &exemplar.labels);
    }
    put_varint(bytes, batch.metadata.len() as u64);
    for metadata in &batch.metadata {
        bytes.push(metadata.kind as u8);
        [&metadata.name, &metadata.help, &metadata.unit].into_iter().for_each(|text| put_text(bytes, text));
    }
}

/// Labels, each front- and back-coded against the one before.
fn put_series(bytes: &mut Vec<u8>, batch: &MetricBatch) {
    put_varint(bytes, batch.ids.len() as u64);
    let mut last: &[u8] = &[];
    for index in 0..batch.ids.len() {
        let labels = batch.series(index).label_bytes;
        put_like(bytes, last, labels);
        last = labels;
    }
}

/// Appends what of `this` differs from `last`.
pub(super) fn put_like(bytes: &mut Vec<u8>, last: &[u8], this: &[u8]) {
    let prefix = alike(last, this);
    let room = last.len().min(this.len()) - prefix;
    let suffix = last.iter().rev().zip(this.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let middle = &this[prefix..this.len() - suffix];
    put_varint(bytes, prefix as u64);
    put_varint(bytes, suffix as u64);
    put_varint(bytes, middle.len() as u64);
    bytes.extend_from_slice(middle);
}

/// Appends to `all` what [`put_like`] wrote against `all[last..]`.
pub(super) fn take_like(reader: &mut Reader<'_>, all: &mut Vec<u8>, last: usize) -> Option<()> {
    let end = all.len();
    let (prefix, suffix) = (usize::try_from(reader.varint()?).ok()?, usize::try_from(reader.varint()?).ok()?);
    let middle = usize::try_from(reader.varint()?).ok()?;
    let middle = reader.take(middle)?;
    if prefix.checked_add(suffix)? > end - last {
        return None;
    }
    all.extend_from_within(last..last + prefix);
    all.extend_from_slice(middle);
    all.extend_from_within(end - suffix..end);
    Some(())
}

/// How many bytes are the same at the start.
fn alike(a: &[u8], b: &[u8]) -> usize {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).take_while(|(a, b)| a == b).count() * 8;
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}

fn put_deltas(bytes: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut last = 0;
    for number in numbers {
        put_zigzag(bytes, number.wrapping_sub(last));
        last = number;
    }
}

fn deltas(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let mut last = 0_i64;
    let one = |_| {
        last = last.wrapping_add(reader.zigzag()?);
        Some(last)
    };
    (0..count).map(one).collect()
}

/// Appends an exemplar, but for its series.
pub(super) fn put_exemplar(bytes: &mut Vec<u8>, timestamp: i64, value: f64, labels: &Labels) {
    put_zigzag(bytes, timestamp);
    put_f64(bytes, value);
    put_varint(bytes, labels.len() as u64);
    for (name, value) in labels.iter() {
        put_text(bytes, name);
        put_text(bytes, value);
    }
}

/// The reverse of [`put_exemplar`].
pub(super) fn exemplar(reader: &mut Reader<'_>) -> Option<(i64, f64, Labels)> {
    let (timestamp, value) = (reader.zigzag()?, reader.f64()?);
    let pairs: Option<Vec<(&str, &str)>> =
        (0..reader.count(2)?).map(|_| Some((reader.text()?, reader.text()?))).collect();
    Some((timestamp, value, Labels::new(pairs?)))
}

/// The reverse of [`encode`].
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<MetricBatch, String> {
    let mut reader = Reader::new(bytes);
    match reader.byte() {
        Some(VERSION) => {}
        version => return Err(format!("metrics batch version {version:?}, this Farol reads {VERSION}")),
    }
    let batch = read(&mut reader).ok_or("the metrics batch is cut short or damaged")?;
    if !reader.is_empty() {
        return Err("the metrics batch is longer than what is in it".to_owned());
    }
    Ok(batch)
}

fn read(reader: &mut Reader<'_>) -> Option<MetricBatch> {
    let mut batch = MetricBatch::default();
    let flags = reader.byte()?;
    let mut last = 0;
    for _ in 0..reader.count(3)? {
        let start = batch.label_bytes.len();
        take_like(reader, &mut batch.label_bytes, last)?;
        last = start;
        let labels = &batch.label_bytes[start..];
        if labels_of(labels).map(|(n, v)| n.len() + v.len()).sum::<usize>() > labels.len() {
            return None;
        }
        batch.ids.push(SeriesId::of(labels));
        batch.label_end.push(u32::try_from(batch.label_bytes.len()).ok()?);
    }
    let count = reader.count(9)?;
    let is_series = |&s: &u32| (s as usize) < batch.ids.len();
    batch.series = match flags & ONE_EACH != 0 {
        true => (0..u32::try_from(count).ok()?).collect(),
        false => deltas(reader, count)?.into_iter().map(|s| u32::try_from(s).ok()).collect::<Option<_>>()?,
    };
    batch.timestamps = deltas(reader, count)?;
    batch.values = (0..count).map(|_| reader.f64()).collect::<Option<_>>()?;
    if flags & STARTS != 0 {
        batch.starts = deltas(reader, count)?;
    }
    for _ in 0..reader.count(4)? {
        let series = u32::try_from(reader.varint()?).ok()?;
        let (timestamp, start) = (reader.zigzag()?, reader.zigzag()?);
        let length = usize::try_from(reader.varint()?).ok()?;
        let histogram = Histogram::decode(reader.take(length)?)?;
        batch.histograms.push(HistogramSample { series, timestamp, start, histogram });
    }
    for _ in 0..reader.count(11)? {
        let series = u32::try_from(reader.varint()?).ok()?;
        let (timestamp, value, labels) = exemplar(reader)?;
        batch.exemplars.push(Exemplar { series, timestamp, value, labels });
    }
    for _ in 0..reader.count(4)? {
        let kind = MetricKind::from_u8(reader.byte()?);
        let (name, help, unit) = (reader.text()?.to_owned(), reader.text()?.to_owned(), reader.text()?.to_owned());
        batch.metadata.push(MetricMetadata { name, kind, help, unit });
    }
    let others = batch.histograms.iter().map(|h| h.series).chain(batch.exemplars.iter().map(|e| e.series));
    let whole = batch.series.iter().all(is_series) && others.into_iter().all(|s| is_series(&s));
    whole.then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::builder::MetricBatchBuilder;

    #[test]
    fn batches_come_back_and_damage_is_seen() {
        let mut builder = MetricBatchBuilder::default();
        let a = builder.series([("__name__", "up"), ("instance", "10.0.0.1:9100"), ("job", "x")].into_iter());
        let b = builder.series([("__name__", "up"), ("instance", "10.0.0.2:9100"), ("job", "x")].into_iter());
        builder.sample(a, 1_000, 1.5);
        builder.sample(b, -7, f64::from_bits(crate::metrics::STALE_NAN_BITS));
        builder.sample_since(a, 2_000, f64::NEG_INFINITY, 500);
        builder.histogram(b, 3_000, 0, Histogram { count: 2.0, zero_count: 2.0, ..Histogram::default() });
        builder.exemplar(a, 1_500, 0.1, Labels::new([("trace_id", "abc")]));
        builder.metadata("up", MetricKind::Gauge, "whether it is up", "");
        let batch = builder.finish();
        let mut bytes = Vec::new();
        encode(&batch, &mut bytes);
        let back = decode(&bytes);
        assert!(back.is_ok_and(|back| {
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            bits(&back.values) == bits(&batch.values)
                && back.label_bytes == batch.label_bytes
                && back.ids == batch.ids
                && (back.series, back.timestamps, back.starts) == (batch.series, batch.timestamps, batch.starts)
                && (back.histograms, back.exemplars, back.metadata)
                    == (batch.histograms, batch.exemplars, batch.metadata)
        }));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
