//! The serialised form of a [`LogBatch`]: what a journal frame holds, before compression.
//!
//! Column after column, numbers as LEB128 varints; FORMAT.md ("Batch") gives the bytes. Promise: [`decode`] of
//! [`encode`] gives the same batch; [`decode`] of any other bytes gives an error, never a panic, and never holds
//! more memory than a small multiple of its input: every count is checked against the bytes that are left before
//! room is made for it.

use std::sync::Arc;

use crate::batch::{Attribute, LogBatch, Stream, ValueKind};
use crate::labels::Labels;

/// First byte of every serialised batch.
const VERSION: u8 = 1;

/// Why bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a batch at byte {offset}: {reason}")]
pub struct BatchError {
    /// Where, counted from the first byte of the batch.
    pub offset: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// Appends the serialised form of `batch` to `out`.
pub fn encode(batch: &LogBatch, out: &mut Vec<u8>) {
    let text_bytes = batch.messages.len() + batch.text.len() + batch.bytes.len();
    out.reserve(text_bytes + batch.len() * 16 + batch.attributes.len() * 4 + 1024);
    out.push(VERSION);
    put_all(
        out,
        [
            batch.len(),
            batch.streams.len(),
            batch.keys.len(),
            batch.attributes.len(),
            batch.messages.len(),
            batch.text.len(),
            batch.bytes.len(),
        ]
        .map(|n| n as u64),
    );
    for stream in &batch.streams {
        put_labels(out, stream.labels());
        put_labels(out, stream.resource());
    }
    for key in &batch.keys {
        put_text(out, key);
    }
    put_all(out, batch.stream.iter().map(|&stream| u64::from(stream)));
    put_deltas(out, &batch.timestamp);
    put_deltas(out, &batch.observed);
    out.extend_from_slice(&batch.level);
    put_ends(out, &batch.message_end);
    put_ends(out, &batch.attribute_end);
    put_attributes(out, batch);
    out.extend_from_slice(batch.messages.as_bytes());
}

/// Reads a batch back; `bytes` must hold it and nothing else.
///
/// # Errors
/// When the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Result<LogBatch, BatchError> {
    let mut input = Input { bytes, at: 0 };
    if input.byte()? != VERSION {
        return input.refuse("the version is not known");
    }
    // Each of these takes at least so many bytes further on.
    let records = input.count(6)?;
    let streams = input.count(2)?;
    let keys = input.count(1)?;
    let attributes = input.count(2)?;
    let [messages, text, blob] = [input.count(1)?, input.count(1)?, input.count(1)?];
    let mut batch = LogBatch {
        streams: (0..streams).map(|_| input.stream()).collect::<Result<_, _>>()?,
        keys: (0..keys).map(|_| input.text().map(Arc::from)).collect::<Result<_, _>>()?,
        stream: (0..records).map(|_| input.index(streams)).collect::<Result<_, _>>()?,
        timestamp: input.deltas(records)?,
        observed: input.deltas(records)?,
        level: input.take(records)?.to_vec(),
        message_end: input.ends(records, messages)?,
        attribute_end: input.ends(records, attributes)?,
        attributes: Vec::with_capacity(attributes),
        text: String::new(),
        bytes: Vec::new(),
        messages: String::new(),
    };
    input.attributes(&mut batch, attributes, text, blob)?;
    batch.messages = input.utf8(messages)?.to_owned();
    if batch.message_end.iter().any(|&end| !batch.messages.is_char_boundary(end as usize)) {
        return input.refuse("a message ends inside a character");
    }
    if input.at != bytes.len() {
        return input.refuse("bytes are left over");
    }
    Ok(batch)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_all(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        put(out, number);
    }
}

/// Small numbers for those near zero, of either sign.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn put_deltas(out: &mut Vec<u8>, numbers: &[i64]) {
    let mut before = 0_i64;
    for &number in numbers {
        put(out, zigzag(number.wrapping_sub(before)));
        before = number;
    }
}

fn put_ends(out: &mut Vec<u8>, ends: &[u32]) {
    let mut before = 0;
    for &end in ends {
        put(out, u64::from(end - before));
        before = end;
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put(out, labels.len() as u64);
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

/// Key and kind in one number, then the value: numbers in place, the lengths of text and bytes; text and bytes
/// themselves follow together, in the order of their attributes.
fn put_attributes(out: &mut Vec<u8>, batch: &LogBatch) {
    for at in &batch.attributes {
        put(out, u64::from(at.key) << 3 | at.kind as u64);
        let bits = u64::from(at.a) | u64::from(at.b) << 32;
        match at.kind {
            ValueKind::Int => put(out, zigzag(bits as i64)),
            ValueKind::Double => out.extend_from_slice(&bits.to_le_bytes()),
            ValueKind::Bool => out.push(u8::from(bits != 0)),
            ValueKind::Str | ValueKind::Json | ValueKind::Bytes | ValueKind::Hex => put(out, u64::from(at.b)),
        }
    }
    out.extend_from_slice(batch.text.as_bytes());
    out.extend_from_slice(&batch.bytes);
}

/// What is left to decode.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn refuse<T>(&self, reason: &'static str) -> Result<T, BatchError> {
        Err(BatchError { offset: self.at, reason })
    }

    fn byte(&mut self) -> Result<u8, BatchError> {
        let Some(&byte) = self.bytes.get(self.at) else { return self.refuse("the end comes too early") };
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], BatchError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..bytes) else { return self.refuse("the end comes too early") };
        self.at += bytes;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, BatchError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let overflows = shift == 63 && byte > 1;
                return if overflows { self.refuse("a number is too large") } else { Ok(number) };
            }
        }
        self.refuse("a number is too long")
    }

    /// How many of something follow, each of which takes at least `bytes_each`.
    fn count(&mut self, bytes_each: usize) -> Result<usize, BatchError> {
        let count = self.number()?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left / bytes_each && u32::try_from(count).is_ok() => Ok(count),
            _ => self.refuse("a count promises more than there is"),
        }
    }

    fn index(&mut self, below: usize) -> Result<u32, BatchError> {
        match u32::try_from(self.number()?) {
            Ok(index) if (index as usize) < below => Ok(index),
            _ => self.refuse("an index points beyond its table"),
        }
    }

    fn utf8(&mut self, bytes: usize) -> Result<&'a str, BatchError> {
        let taken = self.take(bytes)?;
        std::str::from_utf8(taken).or_else(|_| self.refuse("text is not UTF-8"))
    }

    fn text(&mut self) -> Result<&'a str, BatchError> {
        let bytes = self.count(1)?;
        self.utf8(bytes)
    }

    fn labels(&mut self) -> Result<Labels, BatchError> {
        let count = self.count(2)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, value) = (self.text()?, self.text()?);
            // Ascending, as they were written; this also keeps the sorting from going quadratic.
            if pairs.last().is_some_and(|&(before, _)| before >= name) {
                return self.refuse("names are out of order");
            }
            pairs.push((name, value));
        }
        Ok(Labels::new(pairs))
    }

    fn stream(&mut self) -> Result<Arc<Stream>, BatchError> {
        let (labels, resource) = (self.labels()?, self.labels()?);
        Ok(Arc::new(Stream::new(labels, resource)))
    }

    fn deltas(&mut self, count: usize) -> Result<Vec<i64>, BatchError> {
        let mut numbers = Vec::with_capacity(count);
        let mut before = 0_i64;
        for _ in 0..count {
            before = before.wrapping_add(unzigzag(self.number()?));
            numbers.push(before);
        }
        Ok(numbers)
    }

    /// `count` lengths, as ends, the last of which must be `total`.
    fn ends(&mut self, count: usize, total: usize) -> Result<Vec<u32>, BatchError> {
        let mut ends = Vec::with_capacity(count);
        let mut end = 0_u64;
        for _ in 0..count {
            end = end.saturating_add(self.number()?);
            if end > total as u64 {
                return self.refuse("a length reaches beyond its buffer");
            }
            ends.push(end as u32);
        }
        if end == total as u64 { Ok(ends) } else { self.refuse("lengths do not fill their buffer") }
    }

    fn attributes(&mut self, batch: &mut LogBatch, count: usize, text: usize, blob: usize) -> Result<(), BatchError> {
        let (mut text_at, mut blob_at) = (0_usize, 0_usize);
        for _ in 0..count {
            let tag = self.number()?;
            let Ok(key) = u32::try_from(tag >> 3) else { return self.refuse("a key is not known") };
            if key as usize >= batch.keys.len() {
                return self.refuse("a key is not known");
            }
            let Some(kind) = kind_of((tag & 7) as u8) else { return self.refuse("a kind is not known") };
            let (a, b) = match kind {
                ValueKind::Int => halves(unzigzag(self.number()?) as u64),
                ValueKind::Double => halves(self.double_bits()?),
                ValueKind::Bool => (u32::from(self.byte()? != 0), 0),
                ValueKind::Str | ValueKind::Json => self.span(&mut text_at, text)?,
                ValueKind::Bytes | ValueKind::Hex => self.span(&mut blob_at, blob)?,
            };
            batch.attributes.push(Attribute { key, kind, a, b });
        }
        if text_at != text || blob_at != blob {
            return self.refuse("values do not fill their buffer");
        }
        batch.text = self.utf8(text)?.to_owned();
        batch.bytes = self.take(blob)?.to_vec();
        let torn = |at: &Attribute| {
            matches!(at.kind, ValueKind::Str | ValueKind::Json) && !batch.text.is_char_boundary(at.a as usize)
        };
        if batch.attributes.iter().any(torn) { self.refuse("a value starts inside a character") } else { Ok(()) }
    }

    fn double_bits(&mut self) -> Result<u64, BatchError> {
        let mut bits = [0; 8];
        bits.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bits))
    }

    /// Start and length of the next value in a buffer of `total` bytes.
    fn span(&mut self, at: &mut usize, total: usize) -> Result<(u32, u32), BatchError> {
        let length = self.number()?;
        if length > (total - *at) as u64 {
            return self.refuse("a value reaches beyond its buffer");
        }
        let start = *at as u32;
        *at += length as usize;
        Ok((start, length as u32))
    }
}

fn halves(bits: u64) -> (u32, u32) {
    (bits as u32, (bits >> 32) as u32)
}

fn kind_of(number: u8) -> Option<ValueKind> {
    use ValueKind::{Bool, Bytes, Double, Hex, Int, Json, Str};
    [Str, Int, Double, Bool, Bytes, Hex, Json].get(usize::from(number)).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Level, LogBatchBuilder, Value};

    #[derive(Debug, Clone)]
    enum Given {
        Str(String),
        Int(i64),
        Double(u64),
        Bool(bool),
        Bytes(Vec<u8>),
        Hex(Vec<u8>),
        Json(String),
    }

    fn given() -> impl Strategy<Value = Given> {
        prop_oneof![
            ".{0,20}".prop_map(Given::Str),
            any::<i64>().prop_map(Given::Int),
            any::<u64>().prop_map(Given::Double),
            any::<bool>().prop_map(Given::Bool),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Given::Bytes),
            prop::collection::vec(any::<u8>(), 1..17).prop_map(Given::Hex),
            ".{0,20}".prop_map(Given::Json),
        ]
    }

    fn batches() -> impl Strategy<Value = LogBatch> {
        let record = (
            0_u8..4,
            any::<i64>(),
            prop_oneof![Just(i64::MIN), any::<i64>()],
            0_u8..8,
            ".{0,40}",
            prop::collection::vec((0_u8..5, given()), 0..6),
        );
        prop::collection::vec(record, 0..20).prop_map(|records| {
            let mut builder = LogBatchBuilder::default();
            for (stream, timestamp, observed, level, message, attributes) in &records {
                let resource = (0..*stream).map(|i| (format!("r{i}"), "é".repeat(usize::from(i))));
                let stream =
                    builder.stream(Stream::new(Labels::new([("app", format!("a{stream}"))]), Labels::new(resource)));
                for (key, value) in attributes {
                    let key = builder.key(&format!("key{key}"));
                    let value = match value {
                        Given::Str(s) => Value::Str(s),
                        Given::Int(i) => Value::Int(*i),
                        Given::Double(bits) => Value::Double(f64::from_bits(*bits)),
                        Given::Bool(b) => Value::Bool(*b),
                        Given::Bytes(b) => Value::Bytes(b),
                        Given::Hex(b) => Value::Hex(b),
                        Given::Json(s) => Value::Json(s),
                    };
                    builder.attribute(key, value);
                }
                builder.finish_record(stream, *timestamp, *observed, Level::from_u8(*level), message);
            }
            builder.build()
        })
    }

    fn bytes_of(batch: &LogBatch) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(batch, &mut bytes);
        bytes
    }

    /// Reads every value, so that an offset that lies outside would panic.
    fn text_of(batch: &LogBatch) -> Vec<String> {
        let record = |i: usize| {
            let attributes: Vec<String> = batch
                .attributes(i)
                .map(|(key, value)| match value {
                    Value::Double(d) => format!("{key} double {:x}", d.to_bits()),
                    other => format!("{key} {other:?}"),
                })
                .collect();
            let stream = &batch.streams()[batch.stream_indices()[i] as usize];
            let times = (batch.timestamps()[i], batch.observed()[i]);
            format!("{:?} {times:?} {:?} {:?} {attributes:?}", stream.id(), batch.level(i), batch.message(i))
        };
        (0..batch.len()).map(record).collect()
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(batch in batches()) {
            let back = decode(&bytes_of(&batch)).unwrap();
            prop_assert_eq!(text_of(&back), text_of(&batch));
            prop_assert_eq!(back.streams(), batch.streams());
            prop_assert_eq!(back.keys(), batch.keys());
        }

        #[test]
        fn any_bytes_give_a_batch_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Ok(batch) = decode(&bytes) {
                text_of(&batch);
            }
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(batch) = decode(&bytes) {
                text_of(&batch);
            }
        }

        #[test]
        fn a_changed_batch_gives_a_batch_or_an_error(
            batch in batches(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = bytes_of(&batch);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(batch) = decode(&bytes) {
                text_of(&batch);
            }
            bytes.truncate(cut.index(bytes.len()));
            if let Ok(batch) = decode(&bytes) {
                text_of(&batch);
            }
        }
    }

    #[test]
    fn a_cut_batch_is_an_error_at_every_byte() {
        let mut builder = LogBatchBuilder::default();
        let stream = builder.stream(Stream::new(Labels::new([("app", "a")]), Labels::default()));
        let key = builder.key("user");
        builder.attribute(key, Value::Str("ü"));
        builder.attribute(key, Value::Hex(&[1; 16]));
        builder.finish_record(stream, 1, 2, Level::Info, "héllo");
        let bytes = bytes_of(&builder.build());
        for cut in 0..bytes.len() {
            decode(&bytes[..cut]).unwrap_err();
        }
        decode(&[bytes.as_slice(), b"x"].concat()).unwrap_err();
    }

    #[test]
    fn a_count_is_not_believed_before_it_is_checked() {
        // 2^32 - 1 records in a handful of bytes.
        let bytes = [VERSION, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0];
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error.reason, "a count promises more than there is");
    }
}
