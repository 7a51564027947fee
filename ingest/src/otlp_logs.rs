//! OTLP logs, protobuf: `ExportLogsServiceRequest` (opentelemetry-proto 1.x), walked in place.
//!
//! What becomes of what follows Loki's OTLP rules: resource attributes of a list become stream labels, the others and the
//! scope's and record's attributes structured metadata, with normalised names; nested maps are flattened with `_`, arrays
//! become JSON text.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use storage::{Level, LogBatchBuilder, NOT_OBSERVED, Value};

use crate::decoded::{DecodeError, Decoded, Refusal, RefusalReason};
use crate::level;
use crate::limits::Limits;
use crate::names::{self, normalise};
use crate::otlp_any::{Any, each_pair, pair};
use crate::protobuf::{Fields, Wire};

/// Decodes a request. `now_ns` is the arrival time, for records that have none.
///
/// # Errors
/// `Malformed` when the body is no such message; then nothing of it is taken.
pub fn decode(body: &[u8], limits: &Limits, now_ns: i64) -> Result<Decoded, DecodeError> {
    let mut decoder = Decoder {
        builder: LogBatchBuilder::with_capacity(body.len() / 200, body.len() / 2),
        refused: Vec::new(),
        limits,
        now_ns,
        keys: FxHashMap::default(),
        position: 0,
        count: 0,
        bytes: 0,
        message: String::new(),
        path: String::new(),
    };
    let mut fields = Fields::of(body);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            decoder.resource_logs(value.bytes()?)?;
        }
    }
    Ok(Decoded { batch: decoder.builder.build(), refused: decoder.refused })
}

/// The scope of records, to be put on each of them.
#[derive(Default)]
struct Scope<'a> {
    attributes: Vec<(&'a [u8], Any<'a>)>,
    name: &'a [u8],
    version: &'a [u8],
    dropped: u64,
}

struct Decoder<'a, 'l> {
    builder: LogBatchBuilder,
    refused: Vec<Refusal>,
    limits: &'l Limits,
    now_ns: i64,
    /// Keys as they come, without a prefix: their index, and whether they name a level.
    keys: FxHashMap<&'a [u8], u32>,
    position: usize,
    /// Attributes and bytes of the record being built.
    count: usize,
    bytes: usize,
    message: String,
    path: String,
}

/// The fields of a record that are no attributes.
#[derive(Default)]
struct Record<'a> {
    time: i64,
    observed: i64,
    severity_number: i64,
    severity_text: &'a [u8],
    body: Option<Any<'a>>,
    dropped: u64,
    flags: u64,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
}

impl<'a> Decoder<'a, '_> {
    fn resource_logs(&mut self, message: &'a [u8]) -> Result<(), DecodeError> {
        // The resource may come after the records on the wire.
        let mut resource: &[u8] = b"";
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 1 {
                resource = value.bytes()?;
            }
        }
        let stream = self.stream(resource)?;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 2 {
                self.scope_logs(&stream, value.bytes()?)?;
            }
        }
        Ok(())
    }

    /// The stream of a resource, with the level that its attributes name; or why it cannot be one.
    #[allow(clippy::type_complexity, reason = "an outcome and a detail for one caller")]
    fn stream(&mut self, resource: &[u8]) -> Result<Result<(u32, Option<String>), String>, DecodeError> {
        let (mut labels, mut others) = (Vec::new(), Vec::new());
        let nesting = self.limits.nesting_max;
        each_pair(resource, 1, |key, value| {
            let key = String::from_utf8_lossy(key);
            let to = if names::INDEX_ATTRIBUTES.contains(&key.as_ref()) { &mut labels } else { &mut others };
            flatten(&normalise(&key), value, nesting, &mut |name, value| {
                to.push((name.to_owned(), value.text(nesting)?.into_owned()));
                Ok(())
            })
        })?;
        let named = |pairs: &[(String, String)]| {
            let best = pairs.iter().filter_map(|(n, v)| Some((level::rank(n)?, v))).min_by_key(|(rank, _)| *rank);
            best.map(|(_, value)| value.clone())
        };
        let level = named(&labels).or_else(|| named(&others));
        Ok(names::stream(labels, others, self.limits).map(|stream| (self.builder.stream(stream), level)))
    }

    fn scope_logs(
        &mut self,
        stream: &Result<(u32, Option<String>), String>,
        message: &'a [u8],
    ) -> Result<(), DecodeError> {
        let mut scope = Scope::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 1 {
                scope = read_scope(value.bytes()?)?;
            }
        }
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field != 2 {
                continue;
            }
            let taken = match stream {
                Ok((stream, level)) => self.record(*stream, level.as_deref(), &scope, value.bytes()?)?,
                Err(why) => Err((RefusalReason::Labels, why.clone())),
            };
            if let Err((reason, message)) = taken {
                self.builder.abandon_record();
                self.refused.push(Refusal { position: self.position, reason, message });
            }
            self.position += 1;
        }
        Ok(())
    }

    fn record(
        &mut self,
        stream: u32,
        stream_level: Option<&str>,
        scope: &Scope<'a>,
        message: &'a [u8],
    ) -> Result<Result<(), (RefusalReason, String)>, DecodeError> {
        (self.count, self.bytes) = (0, 0);
        let mut record = Record::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => record.time = time(value)?,
                2 => record.severity_number = value.number()? as i32 as i64,
                3 => record.severity_text = value.bytes()?,
                5 => record.body = Some(Any::read(value.bytes()?)?),
                6 => {
                    let (key, any) = pair(value.bytes()?)?;
                    self.attribute(key, any)?;
                }
                7 => record.dropped = value.number()?,
                8 => record.flags = value.number()?,
                9 => record.trace_id = identifier(value, 16, "trace_id")?,
                10 => record.span_id = identifier(value, 8, "span_id")?,
                11 => record.observed = time(value)?,
                12 => record.event_name = value.bytes()?,
                _ => {}
            }
        }
        for &(key, any) in &scope.attributes {
            self.attribute(key, any)?;
        }
        self.own_fields(&record, scope);
        let timestamp = [record.time, record.observed, self.now_ns].into_iter().find(|&t| t != 0).unwrap_or_default();
        if timestamp < 0 {
            let why = "its time is after 2262-04-11, where nanoseconds no longer fit into 64 bits".to_owned();
            return Ok(Err((RefusalReason::Timestamp, why)));
        }
        let observed = if record.time != 0 && record.observed > 0 { record.observed } else { NOT_OBSERVED };
        let mut text = std::mem::take(&mut self.message);
        text.clear();
        if let Some(body) = record.body {
            match body {
                Any::Str(bytes) => match std::str::from_utf8(bytes) {
                    Ok(s) => text.push_str(s),
                    Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
                },
                other => text.push_str(&other.text(self.limits.nesting_max)?),
            }
        }
        let outcome = self.limits_of(&text).map(|()| {
            let level = self.level(stream_level, &record, &text);
            self.builder.finish_record(stream, timestamp, observed, level, &text);
        });
        self.message = text;
        Ok(outcome)
    }

    fn limits_of(&self, text: &str) -> Result<(), (RefusalReason, String)> {
        let bytes = self.bytes + text.len();
        if bytes > self.limits.record_bytes_max {
            let why = format!("the record has {bytes} bytes, {} are allowed", self.limits.record_bytes_max);
            return Err((RefusalReason::RecordSize, why));
        }
        if self.count > self.limits.attributes_max {
            let why = format!("the record has {} attributes, {} are allowed", self.count, self.limits.attributes_max);
            return Err((RefusalReason::AttributeCount, why));
        }
        Ok(())
    }

    /// Loki's order: stream labels, metadata that names a level (`severity_text` is among it), the severity number,
    /// the line.
    fn level(&mut self, stream_level: Option<&str>, record: &Record<'_>, text: &str) -> Level {
        let said = match stream_level {
            Some(word) => Some(Cow::Borrowed(word)),
            None if !record.severity_text.is_empty() => Some(String::from_utf8_lossy(record.severity_text)),
            None => None,
        };
        if let Some(word) = said {
            return level::from_word(&word).unwrap_or_else(|| {
                let key = self.builder.key("detected_level");
                self.builder.attribute(key, Value::Str(&word));
                Level::Unknown
            });
        }
        if record.severity_number != 0 { level::from_otlp(record.severity_number) } else { level::from_line(text) }
    }

    fn own_fields(&mut self, record: &Record<'a>, scope: &Scope<'a>) {
        for (key, text) in [
            ("scope_name", scope.name),
            ("scope_version", scope.version),
            ("severity_text", record.severity_text),
            ("event_name", record.event_name),
        ] {
            if !text.is_empty() {
                let text = String::from_utf8_lossy(text);
                self.put(key, Value::Str(&text));
            }
        }
        for (key, number) in [
            ("scope_dropped_attributes_count", scope.dropped as i64),
            ("severity_number", record.severity_number),
            ("dropped_attributes_count", record.dropped as i64),
            ("flags", record.flags as i64),
        ] {
            if number != 0 {
                self.put(key, Value::Int(number));
            }
        }
        for (key, id) in [("trace_id", record.trace_id), ("span_id", record.span_id)] {
            if id.iter().any(|&b| b != 0) {
                self.put(key, Value::Hex(id));
            }
        }
    }

    fn put(&mut self, key: &'static str, value: Value<'_>) {
        let key = match self.keys.get(key.as_bytes()) {
            Some(&key) => key,
            None => {
                let index = self.builder.key(key);
                self.keys.insert(key.as_bytes(), index);
                index
            }
        };
        self.builder.attribute(key, value);
    }

    fn attribute(&mut self, key: &'a [u8], any: Any<'a>) -> Result<(), DecodeError> {
        self.bytes += key.len();
        if let Any::Map(_) = any {
            let mut path = std::mem::take(&mut self.path);
            path.clear();
            path.push_str(&normalise(&String::from_utf8_lossy(key)));
            let nesting = self.limits.nesting_max;
            let done = flatten(&path, any, nesting, &mut |name, value| {
                let key = self.builder.key(name);
                self.value(key, value)
            });
            self.path = path;
            return done;
        }
        let index = match self.keys.get(key) {
            Some(&index) => index,
            None => {
                let index = self.builder.key(&normalise(&String::from_utf8_lossy(key)));
                self.keys.insert(key, index);
                index
            }
        };
        self.value(index, any)
    }

    fn value(&mut self, key: u32, any: Any<'_>) -> Result<(), DecodeError> {
        self.count += 1;
        self.bytes += 8;
        match any {
            Any::Empty => self.builder.attribute(key, Value::Str("")),
            Any::Str(bytes) => {
                self.bytes += bytes.len();
                self.builder.attribute(key, Value::Str(&String::from_utf8_lossy(bytes)));
            }
            Any::Bool(b) => self.builder.attribute(key, Value::Bool(b)),
            Any::Int(i) => self.builder.attribute(key, Value::Int(i)),
            Any::Double(d) => self.builder.attribute(key, Value::Double(d)),
            Any::Bytes(bytes) => {
                self.bytes += bytes.len();
                self.builder.attribute(key, Value::Bytes(bytes));
            }
            Any::Array(_) | Any::Map(_) => {
                let json = any.text(self.limits.nesting_max)?;
                self.bytes += json.len();
                self.builder.attribute(key, Value::Json(&json));
            }
        }
        Ok(())
    }
}

/// Calls `take` with a value, or with what is in a map, under names put together with `_`.
fn flatten<'a>(
    name: &str,
    value: Any<'a>,
    nesting: usize,
    take: &mut dyn FnMut(&str, Any<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    match value {
        Any::Map(packed) if nesting > 1 => each_pair(packed, 1, |key, value| {
            let inner = format!("{name}_{}", normalise(&String::from_utf8_lossy(key)));
            flatten(&inner, value, nesting - 1, take)
        }),
        other => take(name, other),
    }
}

fn read_scope(message: &[u8]) -> Result<Scope<'_>, DecodeError> {
    let mut scope = Scope::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => scope.name = value.bytes()?,
            2 => scope.version = value.bytes()?,
            3 => scope.attributes.push(pair(value.bytes()?)?),
            4 => scope.dropped = value.number()?,
            _ => {}
        }
    }
    Ok(scope)
}

/// Nanoseconds; what does not fit into 63 bits comes out negative.
fn time(value: Wire<'_>) -> Result<i64, DecodeError> {
    Ok(i64::try_from(value.number()?).unwrap_or(-1))
}

fn identifier<'a>(value: Wire<'a>, bytes: usize, name: &str) -> Result<&'a [u8], DecodeError> {
    let id = value.bytes()?;
    if id.is_empty() || id.len() == bytes {
        return Ok(id);
    }
    Err(DecodeError::malformed(format!("{name} has {} bytes, it must have {bytes} or none", id.len())))
}
