//! A batch: the records of one request, in columns, with the streams they come from.
//!
//! Every protocol decoder ends in a [`LogBatch`], and everything behind it knows no protocol. A batch is
//! built once with [`LogBatchBuilder`] and never changes: the journal writes it, the memtable keeps it,
//! a flush turns it into a segment. Invariant: every offset lies inside its buffer and text is UTF-8.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128;

use crate::labels::Labels;

/// Hash of a stream's labels and resource: the same for the same set, on every machine and in every version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u128);

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where records come from. `labels` are what LogQL selects by (`{app="x"}`); `resource` are the other
/// attributes that all records of the stream share (OTLP resource attributes that are no index label),
/// which LogQL sees as structured metadata. Streams order by labels, then resource: neighbours in a
/// segment are alike, and compress well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    labels: Labels,
    resource: Labels,
    id: StreamId,
}

impl Stream {
    /// A stream of these labels and resource attributes.
    pub fn new(labels: Labels, resource: Labels) -> Self {
        let mut bytes = Vec::with_capacity(256);
        for set in [&labels, &resource] {
            for (name, value) in set.iter() {
                for part in [name, value] {
                    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                    bytes.extend_from_slice(part.as_bytes());
                }
            }
            bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        }
        Self { id: StreamId(xxh3_128(&bytes)), labels, resource }
    }

    /// What LogQL selects by.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Attributes that every record of the stream has beside its labels.
    pub fn resource(&self) -> &Labels {
        &self.resource
    }

    /// Whether it has a label or resource attribute of that name.
    pub fn has_name(&self, name: &str) -> bool {
        self.labels.get(name).is_some() || self.resource.get(name).is_some()
    }

    /// The hash of both.
    pub fn id(&self) -> StreamId {
        self.id
    }
}

/// How severe a record is, as Loki's `detected_level` names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    #[default]
    Unknown = 0,
    Trace = 1,
    Debug = 2,
    Info = 3,
    Warn = 4,
    Error = 5,
    Critical = 6,
    Fatal = 7,
}

impl Level {
    /// Every level, by number.
    pub const ALL: [Level; 8] = [
        Level::Unknown,
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Critical,
        Level::Fatal,
    ];

    /// Loki's word for it.
    pub fn as_str(self) -> &'static str {
        ["unknown", "trace", "debug", "info", "warn", "error", "critical", "fatal"][self as usize]
    }

    /// The level of a stored number; unknown numbers are [`Level::Unknown`].
    pub fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }
}

/// One attribute's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Str(&'a str),
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// Bytes; shown as base64, as OTLP/JSON does.
    Bytes(&'a [u8]),
    /// An identifier of 1 to 32 bytes that is written as lower-case hex (trace and span ids).
    Hex(&'a [u8]),
    /// An array or a map, as JSON text.
    Json(&'a str),
}

impl Value<'_> {
    /// What kind it is.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::Str(_) => ValueKind::Str,
            Self::Int(_) => ValueKind::Int,
            Self::Double(_) => ValueKind::Double,
            Self::Bool(_) => ValueKind::Bool,
            Self::Bytes(_) => ValueKind::Bytes,
            Self::Hex(_) => ValueKind::Hex,
            Self::Json(_) => ValueKind::Json,
        }
    }
}

/// The value as queries see it: text as it is, numbers in decimal (doubles in the fewest digits that come back the
/// same), bytes in base64, identifiers in lower-case hex.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(s) | Self::Json(s) => f.write_str(s),
            Self::Int(i) => write!(f, "{i}"),
            Self::Double(d) => fmt_double(*d, f),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Bytes(bytes) => f.write_str(&base64(bytes)),
            Self::Hex(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// As Go's `strconv.FormatFloat(d, 'f', -1, 64)`.
fn fmt_double(d: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if d.is_nan() {
        f.write_str("NaN")
    } else if d.is_infinite() {
        f.write_str(if d > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(f, "{d}")
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= three.len() { char::from(DIGITS[six as usize]) } else { '=' });
        }
    }
    out
}

/// What kind of [`Value`] an attribute holds; the number is what the journal stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "as in Value")]
pub enum ValueKind {
    Str = 0,
    Int = 1,
    Double = 2,
    Bool = 3,
    Bytes = 4,
    Hex = 5,
    Json = 6,
}

/// One attribute of one record: its key, and where its value lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute {
    /// Index into [`LogBatch::keys`].
    pub(crate) key: u32,
    pub(crate) kind: ValueKind,
    /// `Str` and `Json`: start and length in `text`; `Bytes` and `Hex`: in `bytes`; else low and high half of the bits.
    pub(crate) a: u32,
    pub(crate) b: u32,
}

/// No observed time was given.
pub const NOT_OBSERVED: i64 = i64::MIN;

/// The records of one request.
#[derive(Debug, Clone, Default)]
pub struct LogBatch {
    pub(crate) streams: Vec<Arc<Stream>>,
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) stream: Vec<u32>,
    pub(crate) timestamp: Vec<i64>,
    pub(crate) observed: Vec<i64>,
    pub(crate) level: Vec<u8>,
    pub(crate) message_end: Vec<u32>,
    pub(crate) messages: String,
    pub(crate) attribute_end: Vec<u32>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
}

impl LogBatch {
    /// How many records.
    pub fn len(&self) -> usize {
        self.timestamp.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.timestamp.is_empty()
    }

    /// The distinct streams of the batch.
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// The distinct attribute keys of the batch.
    pub fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// For each record, its stream as an index into [`Self::streams`].
    pub fn stream_indices(&self) -> &[u32] {
        &self.stream
    }

    /// For each record, nanoseconds since 1970.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamp
    }

    /// For each record, when it was observed, in nanoseconds since 1970, or [`NOT_OBSERVED`].
    pub fn observed(&self) -> &[i64] {
        &self.observed
    }

    /// The level of a record.
    pub fn level(&self, record: usize) -> Level {
        Level::from_u8(self.level[record])
    }

    /// The text of a record.
    #[allow(clippy::string_slice, reason = "message ends lie on character boundaries by construction")]
    pub fn message(&self, record: usize) -> &str {
        let start = if record == 0 { 0 } else { self.message_end[record - 1] as usize };
        &self.messages[start..self.message_end[record] as usize]
    }

    /// The attributes of a record, as (index into [`Self::keys`], value), in the order they came.
    pub fn attributes(&self, record: usize) -> impl Iterator<Item = (u32, Value<'_>)> {
        let start = if record == 0 { 0 } else { self.attribute_end[record - 1] as usize };
        self.attributes[start..self.attribute_end[record] as usize].iter().map(|at| (at.key, self.value(at)))
    }

    #[allow(clippy::string_slice, reason = "value ends lie on character boundaries by construction")]
    pub(crate) fn value(&self, at: &Attribute) -> Value<'_> {
        let span = || at.a as usize..at.a as usize + at.b as usize;
        let bits = || u64::from(at.a) | u64::from(at.b) << 32;
        match at.kind {
            ValueKind::Str => Value::Str(&self.text[span()]),
            ValueKind::Json => Value::Json(&self.text[span()]),
            ValueKind::Bytes => Value::Bytes(&self.bytes[span()]),
            ValueKind::Hex => Value::Hex(&self.bytes[span()]),
            ValueKind::Int => Value::Int(bits() as i64),
            ValueKind::Double => Value::Double(f64::from_bits(bits())),
            ValueKind::Bool => Value::Bool(bits() != 0),
        }
    }

    /// About how much memory the batch holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.messages.capacity()
            + self.text.capacity()
            + self.bytes.capacity()
            + self.attributes.capacity() * size_of::<Attribute>()
            + self.timestamp.capacity() * 8
            + self.observed.capacity() * 8
            + (self.stream.capacity() + self.message_end.capacity() + self.attribute_end.capacity()) * 4
            + self.level.capacity()
            + (self.streams.capacity() + self.keys.capacity()) * 16
    }
}

/// Puts a [`LogBatch`] together, record by record: [`Self::attribute`] any number of times, then
/// [`Self::finish_record`]; [`Self::abandon_record`] takes back the attributes of a record that is refused.
#[derive(Debug, Default)]
pub struct LogBatchBuilder {
    batch: LogBatch,
    stream_of: FxHashMap<StreamId, u32>,
    key_of: FxHashMap<Arc<str>, u32>,
}

impl LogBatchBuilder {
    /// An empty builder with room for about `records` records and `message_bytes` of text.
    pub fn with_capacity(records: usize, message_bytes: usize) -> Self {
        let mut new = Self::default();
        new.batch.timestamp.reserve(records);
        new.batch.observed.reserve(records);
        new.batch.stream.reserve(records);
        new.batch.level.reserve(records);
        new.batch.message_end.reserve(records);
        new.batch.attribute_end.reserve(records);
        new.batch.messages.reserve(message_bytes);
        new
    }

    /// The index of a stream, the same for the same stream.
    pub fn stream(&mut self, stream: Stream) -> u32 {
        let next = self.batch.streams.len() as u32;
        *self.stream_of.entry(stream.id()).or_insert_with(|| {
            self.batch.streams.push(Arc::new(stream));
            next
        })
    }

    /// The index of an attribute key, the same for the same key. Keys are stored as given: the caller
    /// brings them into the form that queries use.
    pub fn key(&mut self, key: &str) -> u32 {
        if let Some(&at) = self.key_of.get(key) {
            return at;
        }
        let at = self.batch.keys.len() as u32;
        let key: Arc<str> = key.into();
        self.batch.keys.push(Arc::clone(&key));
        self.key_of.insert(key, at);
        at
    }

    /// Adds an attribute to the record that is being built.
    pub fn attribute(&mut self, key: u32, value: Value<'_>) {
        let batch = &mut self.batch;
        let (kind, a, b) = match value {
            Value::Str(s) | Value::Json(s) => {
                let start = batch.text.len() as u32;
                batch.text.push_str(s);
                let kind = if matches!(value, Value::Str(_)) { ValueKind::Str } else { ValueKind::Json };
                (kind, start, s.len() as u32)
            }
            Value::Bytes(s) | Value::Hex(s) => {
                let start = batch.bytes.len() as u32;
                batch.bytes.extend_from_slice(s);
                let kind = if matches!(value, Value::Bytes(_)) { ValueKind::Bytes } else { ValueKind::Hex };
                (kind, start, s.len() as u32)
            }
            Value::Int(i) => (ValueKind::Int, i as u32, (i as u64 >> 32) as u32),
            Value::Double(d) => (ValueKind::Double, d.to_bits() as u32, (d.to_bits() >> 32) as u32),
            Value::Bool(x) => (ValueKind::Bool, u32::from(x), 0),
        };
        batch.attributes.push(Attribute { key, kind, a, b });
    }

    /// Ends the record that is being built. Times in nanoseconds since 1970; `observed` may be [`NOT_OBSERVED`].
    pub fn finish_record(&mut self, stream: u32, timestamp: i64, observed: i64, level: Level, message: &str) {
        let batch = &mut self.batch;
        batch.stream.push(stream);
        batch.timestamp.push(timestamp);
        batch.observed.push(observed);
        batch.level.push(level as u8);
        batch.messages.push_str(message);
        batch.message_end.push(batch.messages.len() as u32);
        batch.attribute_end.push(batch.attributes.len() as u32);
    }

    /// Forgets the attributes of the record that is being built.
    pub fn abandon_record(&mut self) {
        let batch = &mut self.batch;
        let keep = batch.attribute_end.last().map_or(0, |&end| end as usize);
        for at in batch.attributes.drain(keep..).rev() {
            match at.kind {
                ValueKind::Str | ValueKind::Json => batch.text.truncate(at.a as usize),
                ValueKind::Bytes | ValueKind::Hex => batch.bytes.truncate(at.a as usize),
                ValueKind::Int | ValueKind::Double | ValueKind::Bool => {}
            }
        }
    }

    /// Adds all records of another batch.
    pub fn append(&mut self, other: &LogBatch) {
        let streams: Vec<u32> = other.streams.iter().map(|s| self.shared_stream(s)).collect();
        let keys: Vec<u32> = other.keys.iter().map(|k| self.key(k)).collect();
        let batch = &mut self.batch;
        let (text, bytes) = (batch.text.len() as u32, batch.bytes.len() as u32);
        let (messages, attributes) = (batch.messages.len() as u32, batch.attributes.len() as u32);
        batch.attributes.extend(other.attributes.iter().map(|at| {
            let shift = match at.kind {
                ValueKind::Str | ValueKind::Json => text,
                ValueKind::Bytes | ValueKind::Hex => bytes,
                ValueKind::Int | ValueKind::Double | ValueKind::Bool => 0,
            };
            Attribute { key: keys[at.key as usize], a: at.a + shift, ..*at }
        }));
        batch.text.push_str(&other.text);
        batch.bytes.extend_from_slice(&other.bytes);
        batch.messages.push_str(&other.messages);
        batch.message_end.extend(other.message_end.iter().map(|end| end + messages));
        batch.attribute_end.extend(other.attribute_end.iter().map(|end| end + attributes));
        batch.stream.extend(other.stream.iter().map(|&s| streams[s as usize]));
        batch.timestamp.extend_from_slice(&other.timestamp);
        batch.observed.extend_from_slice(&other.observed);
        batch.level.extend_from_slice(&other.level);
    }

    fn shared_stream(&mut self, stream: &Arc<Stream>) -> u32 {
        let next = self.batch.streams.len() as u32;
        *self.stream_of.entry(stream.id()).or_insert_with(|| {
            self.batch.streams.push(Arc::clone(stream));
            next
        })
    }

    /// How many records are finished.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// True without a finished record.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The batch, without room to spare: it stays in memory until it is flushed.
    pub fn build(mut self) -> LogBatch {
        let batch = &mut self.batch;
        batch.messages.shrink_to_fit();
        batch.text.shrink_to_fit();
        batch.bytes.shrink_to_fit();
        batch.attributes.shrink_to_fit();
        self.batch
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_record_leaves_nothing_behind() {
        let mut builder = LogBatchBuilder::default();
        let stream = builder.stream(Stream::new(Labels::new([("app", "a")]), Labels::default()));
        let key = builder.key("user");
        builder.attribute(key, Value::Str("kept"));
        builder.attribute(key, Value::Int(-7));
        builder.finish_record(stream, 1, NOT_OBSERVED, Level::Info, "first");
        builder.attribute(key, Value::Str("gone"));
        builder.attribute(key, Value::Hex(&[1, 2]));
        builder.abandon_record();
        builder.attribute(key, Value::Double(0.5));
        builder.finish_record(stream, 2, 3, Level::Warn, "second");
        let batch = builder.build();
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.attributes(0).collect::<Vec<_>>(), [(0, Value::Str("kept")), (0, Value::Int(-7))]);
        assert_eq!(batch.attributes(1).collect::<Vec<_>>(), [(0, Value::Double(0.5))]);
        assert_eq!((batch.message(0), batch.message(1)), ("first", "second"));
        assert_eq!(batch.text, "kept");
        assert!(batch.bytes.is_empty());
    }

    #[test]
    fn a_stream_is_its_labels_and_its_resource() {
        let a = Stream::new(Labels::new([("a", "1"), ("b", "2")]), Labels::default());
        let b = Stream::new(Labels::new([("b", "2"), ("a", "1")]), Labels::default());
        let c = Stream::new(Labels::new([("a", "1")]), Labels::new([("b", "2")]));
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
        assert_eq!(a.labels().to_string(), r#"{a="1", b="2"}"#);
    }
}
