//! Loki's push protocol: `logproto.PushRequest` as snappy-packed protobuf, and its JSON form.
//!
//! As in Loki, a stream whose labels cannot be read sinks the whole request; a record beyond a limit is refused alone.

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::{Level, LogBatchBuilder, NOT_OBSERVED, Value};

use crate::decoded::{DecodeError, DecodeErrorKind, Decoded, Refusal, RefusalReason};
use crate::level;
use crate::limits::Limits;
use crate::names::{self, normalise};
use crate::protobuf::{Fields, Wire};
use crate::selector;
use crate::snappy;

/// Decodes the protobuf form. The body is snappy's raw format, whatever its content encoding says.
///
/// # Errors
/// `Malformed` when it is no such message, `TooLarge` when it unpacks to too much, `Empty` without a stream.
pub fn decode_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    let message = snappy::unpack(body, limits)?;
    let mut push = Push::new(limits, message.len());
    let mut any = false;
    let mut fields = Fields::of(&message);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            any = true;
            push_stream(&mut push, value.bytes()?)?;
        }
    }
    push.finish(any)
}

fn push_stream<'a>(push: &mut Push<'a, '_>, message: &'a [u8]) -> Result<(), DecodeError> {
    let mut labels: &[u8] = b"";
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            labels = value.bytes()?;
        }
    }
    let text =
        std::str::from_utf8(labels).map_err(|_| DecodeError::malformed("couldn't parse labels: they are no UTF-8"))?;
    let pairs = selector::parse(text).map_err(|e| DecodeError::malformed(format!("couldn't parse labels: {e}")))?;
    push.begin_stream(pairs);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        if field == 2 {
            push_entry(push, value.bytes()?)?;
        }
    }
    Ok(())
}

fn push_entry<'a>(push: &mut Push<'a, '_>, message: &'a [u8]) -> Result<(), DecodeError> {
    let mut time = Ok(0);
    let mut line: &[u8] = b"";
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => time = timestamp(value.bytes()?)?,
            2 => line = value.bytes()?,
            3 => {
                let (mut name, mut content): (&[u8], &[u8]) = (b"", b"");
                let mut pair = Fields::of(value.bytes()?);
                while let Some((field, value)) = pair.next()? {
                    match field {
                        1 => name = value.bytes()?,
                        2 => content = value.bytes()?,
                        _ => {}
                    }
                }
                push.metadata(name, content);
            }
            _ => {}
        }
    }
    push.end_entry(time, line);
    Ok(())
}

/// `google.protobuf.Timestamp`; the inner error is a time that is not taken.
fn timestamp(message: &[u8]) -> Result<Result<i64, String>, DecodeError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Wire::Varint(n)) => seconds = n as i64,
            (2, Wire::Varint(n)) => nanos = n as i32 as i64,
            _ => {}
        }
    }
    let ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Ok(in_range(ns))
}

fn in_range(ns: i128) -> Result<i64, String> {
    i64::try_from(ns)
        .ok()
        .filter(|&ns| ns >= 0)
        .ok_or_else(|| format!("the time {ns} ns is not between 1970-01-01 and 2262-04-11"))
}

#[derive(Deserialize)]
struct JsonPush<'a> {
    #[serde(borrow, default)]
    streams: Vec<JsonStream<'a>>,
}

#[derive(Deserialize)]
struct JsonStream<'a> {
    #[serde(default)]
    stream: serde_json::Map<String, serde_json::Value>,
    #[serde(borrow, default)]
    values: Vec<Vec<&'a RawValue>>,
}

/// Decodes the JSON form.
///
/// # Errors
/// `Malformed` when it is no such document, `Empty` without a stream.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::malformed("EOF"));
    }
    let text = std::str::from_utf8(body).map_err(|e| DecodeError::malformed(format!("JSON: {e}")))?;
    if !text.trim_start().starts_with('{') {
        return Err(DecodeError::malformed("JSON: the request must be an object"));
    }
    let bad = |e: serde_json::Error| DecodeError::malformed(format!("JSON: {e}"));
    let document: JsonPush<'_> = serde_json::from_str(text).map_err(bad)?;
    let mut push = Push::new(limits, body.len());
    let any = !document.streams.is_empty();
    for stream in &document.streams {
        let mut labels = Vec::with_capacity(stream.stream.len());
        for (name, value) in &stream.stream {
            if normalise(name) != name.as_str() {
                return Err(DecodeError::malformed(format!("couldn't parse labels: {name:?} is no label name")));
            }
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            labels.push((name.clone(), value));
        }
        push.begin_stream(labels);
        for value in &stream.values {
            json_entry(&mut push, value)?;
        }
    }
    push.finish(any)
}

fn json_entry(push: &mut Push<'_, '_>, value: &[&RawValue]) -> Result<(), DecodeError> {
    let [time, line, rest @ ..] = value else {
        return Err(DecodeError::malformed("JSON: an entry of \"values\" needs a time and a line"));
    };
    let text = |raw: &RawValue, what: &str| -> Result<String, DecodeError> {
        serde_json::from_str(raw.get())
            .map_err(|_| DecodeError::malformed(format!("JSON: {what} must be a string, not {}", head(raw.get()))))
    };
    let time = text(time, "the time of an entry")?;
    let ns: i128 = time.parse().map_err(|_| {
        DecodeError::malformed(format!("JSON: the time {:?} must be nanoseconds since 1970", head(&time)))
    })?;
    let line = text(line, "the line of an entry")?;
    if let [metadata, ..] = rest {
        let pairs: FxHashMap<String, String> = serde_json::from_str(metadata.get()).map_err(|_| {
            DecodeError::malformed(format!(
                "JSON: structured metadata must be an object of strings, not {}",
                head(metadata.get())
            ))
        })?;
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort();
        for (name, content) in &pairs {
            push.metadata_text(name, content);
        }
    }
    push.end_entry(in_range(ns), line.as_bytes());
    Ok(())
}

fn head(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A request on its way into a batch.
struct Push<'a, 'l> {
    builder: LogBatchBuilder,
    refused: Vec<Refusal>,
    limits: &'l Limits,
    /// Names of metadata as they come.
    names: FxHashMap<&'a [u8], Name>,
    /// The stream that is being read, or why it is refused.
    stream: Result<u32, String>,
    /// The level that the stream's labels name.
    stream_level: Option<Said>,
    position: usize,
    entry: Entry,
}

/// What is known of an entry before its line.
#[derive(Default)]
struct Entry {
    count: usize,
    bytes: usize,
    /// The best level that its metadata names, with its rank.
    level: Option<(usize, Said)>,
    severity_number: Option<i64>,
    has_detected_level: bool,
}

/// A name of metadata: its key, and what is special about it.
#[derive(Clone, Copy)]
struct Name {
    key: u32,
    level_rank: Option<usize>,
    kind: NameKind,
}

#[derive(Clone, Copy, PartialEq)]
enum NameKind {
    Plain,
    TraceId,
    SpanId,
    SeverityNumber,
    DetectedLevel,
}

/// A level that was said: one that is known, or another word.
#[derive(Clone)]
enum Said {
    Level(Level),
    Word(String),
}

impl Said {
    fn of(word: &str) -> Self {
        level::from_word(word).map_or_else(|| Self::Word(word.to_owned()), Self::Level)
    }
}

impl<'a, 'l> Push<'a, 'l> {
    fn new(limits: &'l Limits, bytes: usize) -> Self {
        Self {
            builder: LogBatchBuilder::with_capacity(bytes / 200, bytes / 2),
            refused: Vec::new(),
            limits,
            names: FxHashMap::default(),
            stream: Err(String::new()),
            stream_level: None,
            position: 0,
            entry: Entry::default(),
        }
    }

    fn begin_stream(&mut self, labels: Vec<(String, String)>) {
        let named = labels.iter().filter_map(|(n, v)| Some((level::rank(n)?, v))).min_by_key(|(rank, _)| *rank);
        self.stream_level = named.filter(|(_, v)| !v.is_empty()).map(|(_, value)| Said::of(value));
        self.stream = names::stream(labels, Vec::new(), self.limits).map(|stream| self.builder.stream(stream));
    }

    fn name(&mut self, name: &str) -> Name {
        let normal = normalise(name);
        let kind = match normal.as_ref() {
            "trace_id" => NameKind::TraceId,
            "span_id" => NameKind::SpanId,
            "severity_number" => NameKind::SeverityNumber,
            "detected_level" => NameKind::DetectedLevel,
            _ => NameKind::Plain,
        };
        Name { key: self.builder.key(&normal), level_rank: level::rank(name), kind }
    }

    fn metadata(&mut self, name: &'a [u8], content: &[u8]) {
        let known = match self.names.get(name) {
            Some(&known) => known,
            None => {
                let new = self.name(&String::from_utf8_lossy(name));
                self.names.insert(name, new);
                new
            }
        };
        match std::str::from_utf8(content) {
            Ok(content) => self.put(known, name.len(), content),
            Err(_) => self.put(known, name.len(), &String::from_utf8_lossy(content)),
        }
    }

    fn metadata_text(&mut self, name: &str, content: &str) {
        let known = self.name(name);
        self.put(known, name.len(), content);
    }

    fn put(&mut self, name: Name, name_bytes: usize, content: &str) {
        self.entry.count += 1;
        self.entry.bytes += name_bytes + content.len();
        if let Some(rank) = name.level_rank
            && self.entry.level.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            self.entry.level = Some((rank, Said::of(content)));
        }
        match name.kind {
            NameKind::TraceId if put_hex::<16>(&mut self.builder, name.key, content) => return,
            NameKind::SpanId if put_hex::<8>(&mut self.builder, name.key, content) => return,
            NameKind::SeverityNumber => self.entry.severity_number = content.parse().ok(),
            NameKind::DetectedLevel => {
                self.entry.has_detected_level = true;
                let known = level::from_word(content);
                return self.builder.attribute(name.key, Value::Str(known.map_or(content, |level| level.as_str())));
            }
            _ => {}
        }
        self.builder.attribute(name.key, Value::Str(content));
    }

    fn end_entry(&mut self, time: Result<i64, String>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let entry = std::mem::take(&mut self.entry);
        match self.check(&entry, time, &line) {
            Ok((stream, time)) => {
                let level = self.level(&entry, &line);
                self.builder.finish_record(stream, time, NOT_OBSERVED, level, &line);
            }
            Err((reason, message)) => {
                self.builder.abandon_record();
                self.refused.push(Refusal { position: self.position, reason, message });
            }
        }
        self.position += 1;
    }

    fn check(
        &self,
        entry: &Entry,
        time: Result<i64, String>,
        line: &str,
    ) -> Result<(u32, i64), (RefusalReason, String)> {
        let stream = self.stream.clone().map_err(|why| (RefusalReason::Labels, why))?;
        let time = time.map_err(|why| (RefusalReason::Timestamp, why))?;
        let bytes = entry.bytes + line.len();
        if bytes > self.limits.record_bytes_max {
            let why = format!("the entry has {bytes} bytes, {} are allowed", self.limits.record_bytes_max);
            return Err((RefusalReason::RecordSize, why));
        }
        if entry.count > self.limits.attributes_max {
            let (count, max) = (entry.count, self.limits.attributes_max);
            return Err((
                RefusalReason::AttributeCount,
                format!("the entry has {count} structured metadata labels, {max} are allowed"),
            ));
        }
        Ok((stream, time))
    }

    fn level(&mut self, entry: &Entry, line: &str) -> Level {
        if entry.has_detected_level {
            return Level::Unknown;
        }
        match self.stream_level.as_ref().or(entry.level.as_ref().map(|(_, said)| said)) {
            Some(Said::Level(level)) => *level,
            Some(Said::Word(word)) => {
                let key = self.builder.key("detected_level");
                self.builder.attribute(key, Value::Str(word));
                Level::Unknown
            }
            None => entry.severity_number.map_or_else(|| level::from_line(line), level::from_otlp),
        }
    }

    fn finish(self, any: bool) -> Result<Decoded, DecodeError> {
        if !any {
            return Err(DecodeError {
                kind: DecodeErrorKind::Empty,
                message: "error at least one valid stream is required for ingestion".to_owned(),
            });
        }
        Ok(Decoded { batch: self.builder.build(), refused: self.refused })
    }
}

/// Adds an identifier of `N` bytes if the text is just that, in lower-case hex; so nothing is lost.
fn put_hex<const N: usize>(builder: &mut LogBatchBuilder, key: u32, text: &str) -> bool {
    let mut id = [0; N];
    if !hex(text, &mut id) {
        return false;
    }
    builder.attribute(key, Value::Hex(&id));
    true
}

/// Reads lower-case hex digits, just as many as fit.
pub(crate) fn hex(text: &str, out: &mut [u8]) -> bool {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    text.len() == out.len() * 2
        && text.as_bytes().chunks_exact(2).zip(out).all(|(two, byte)| match (digit(two[0]), digit(two[1])) {
            (Some(high), Some(low)) => {
                *byte = high << 4 | low;
                true
            }
            _ => false,
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(decoded: &Decoded) -> Vec<String> {
        let batch = &decoded.batch;
        (0..batch.len())
            .map(|row| {
                let stream = &batch.streams()[batch.stream_indices()[row] as usize];
                let attributes: Vec<String> =
                    batch.attributes(row).map(|(k, v)| format!("{}={v}", batch.keys()[k as usize])).collect();
                let (time, level) = (batch.timestamps()[row], batch.level(row).as_str());
                format!("{} {time} {level} {:?} {}", stream.labels(), batch.message(row), attributes.join(","))
            })
            .collect()
    }

    #[test]
    fn json_with_metadata() {
        let body = r#"{"streams":[{"stream":{"app":"a"},"values":[["5","x",{"trace_id":"5b8efff798038103d269b633813fc60c","lvl":"WARN"}],["6","an error"]]},
            {"stream":{"level":"odd"},"values":[["7",""]]}],"extra":1}"#;
        let decoded = decode_json(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(
            shown(&decoded),
            [
                r#"{app="a", service_name="a"} 5 warn "x" lvl=WARN,trace_id=5b8efff798038103d269b633813fc60c"#,
                r#"{app="a", service_name="a"} 6 error "an error" "#,
                r#"{level="odd", service_name="unknown_service"} 7 unknown "" detected_level=odd"#,
            ]
        );
    }

    #[test]
    fn bad_json_is_refused_whole_and_bad_entries_alone() {
        for body in [
            "",
            "[]",
            "{\"streams\":[",
            r#"{"streams":[{"stream":{"a-b":"x"},"values":[]}]}"#,
            r#"{"streams":[{"stream":{},"values":[[5,"x"]]}]}"#,
            r#"{"streams":[{"stream":{},"values":[["soon","x"]]}]}"#,
            r#"{"streams":[{"stream":{},"values":[["5",5]]}]}"#,
            r#"{"streams":[{"stream":{},"values":[["5","x",{"a":1}]]}]}"#,
        ] {
            assert_eq!(
                decode_json(body.as_bytes(), &Limits::default()).unwrap_err().kind,
                DecodeErrorKind::Malformed,
                "{body}"
            );
        }
        assert_eq!(decode_json(b"{}", &Limits::default()).unwrap_err().kind, DecodeErrorKind::Empty);
        let limits = Limits { record_bytes_max: 10, ..Limits::default() };
        let body = r#"{"streams":[{"stream":{"a":"b"},"values":[["-5","x"],["5","xxxxxxxxxxxxx"],["6","ok"]]}]}"#;
        let decoded = decode_json(body.as_bytes(), &limits).unwrap();
        assert_eq!(decoded.batch.len(), 1);
        let reasons: Vec<_> = decoded.refused.iter().map(|r| (r.position, r.reason)).collect();
        assert_eq!(reasons, [(0, RefusalReason::Timestamp), (1, RefusalReason::RecordSize)]);
    }

    #[test]
    fn protobuf_and_what_is_no_protobuf() {
        let field = |number: u8, content: &[u8]| {
            let mut out = vec![number << 3 | 2, content.len() as u8];
            out.extend_from_slice(content);
            out
        };
        let mut entry = field(1, &[8, 5, 16, 7]);
        entry.extend(field(2, b"line"));
        entry.extend(field(3, &[field(1, b"m.x"), field(2, b"v")].concat()));
        let stream = field(1, &[field(1, b"{app=\"a\"}"), field(2, &entry)].concat());
        let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
        let decoded = decode_protobuf(&pack(&stream), &Limits::default()).unwrap();
        assert_eq!(shown(&decoded), [r#"{app="a", service_name="a"} 5000000007 unknown "line" m_x=v"#]);
        for bad in [&b""[..], b"\x00\x01garbage", &pack(b"\xff\xff\xffgarbage"), &pack(&field(1, &field(1, b"{a=")))] {
            assert_eq!(decode_protobuf(bad, &Limits::default()).unwrap_err().kind, DecodeErrorKind::Malformed);
        }
        let small = Limits { body_bytes_max: 10, ..Limits::default() };
        assert_eq!(decode_protobuf(&pack(&stream), &small).unwrap_err().kind, DecodeErrorKind::TooLarge);
    }
}
