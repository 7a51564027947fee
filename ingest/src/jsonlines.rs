//! JSON lines: one object a line. Nested objects are flattened with dots and then named as everywhere; arrays are kept as
//! JSON text. A bad line is refused by its number; the others are taken.

use rustc_hash::FxHashMap;
use sonic_rs::{JsonType, JsonValueTrait, LazyValue};
use storage::{Level, LogBatchBuilder, NOT_OBSERVED, Value};

use crate::decoded::{Decoded, Refusal, RefusalReason};
use crate::level;
use crate::limits::Limits;
use crate::loki::hex;
use crate::names::{self, normalise};
use crate::time;

/// Fields that are taken for the time, the text and the stream where the sender does not say, best first.
const TIME_FIELDS: [&str; 8] = ["timestamp", "time", "@timestamp", "ts", "_time", "datetime", "eventTime", "date"];
const MESSAGE_FIELDS: [&str; 8] = ["message", "msg", "_msg", "log", "body", "text", "short_message", "event"];
const STREAM_FIELDS: [&str; 10] = [
    "service.name",
    "service_name",
    "service",
    "app",
    "application",
    "job",
    "k8s.namespace.name",
    "namespace",
    "container",
    "environment",
];

/// Which fields are special.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonLinesOptions {
    /// The record's time; guessed if not given.
    pub time_field: Option<String>,
    /// The record's text; guessed if not given. A line without it becomes the text itself.
    pub message_field: Option<String>,
    /// The fields that make up the stream; guessed if not given.
    pub stream_fields: Option<Vec<String>>,
}

/// Decodes a body. `now_ns` is the arrival time, for lines that have none.
pub fn decode(body: &[u8], options: &JsonLinesOptions, limits: &Limits, now_ns: i64) -> Decoded {
    let mut decoder = Decoder {
        builder: LogBatchBuilder::with_capacity(body.len() / 300, body.len() / 3),
        limits,
        now_ns,
        roles: FxHashMap::default(),
        options,
        streams: FxHashMap::default(),
        line: Line::default(),
        stream_key: Vec::new(),
    };
    let mut refused = Vec::new();
    for (line, number) in body.split(|&b| b == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if let Err((reason, message)) = decoder.line(line) {
            decoder.builder.abandon_record();
            refused.push(Refusal { position: number, reason, message });
        }
    }
    Decoded { batch: decoder.builder.build(), refused }
}

type Refused = (RefusalReason, String);

/// What a field is for; ranks tell the best of several guesses.
#[derive(Debug, Clone, Copy)]
struct Role {
    time: Option<u8>,
    message: Option<u8>,
    stream: Option<u8>,
    level_rank: Option<usize>,
    trace: bool,
    span: bool,
    key: u32,
}

/// A stream's number and the level that its labels tell, or why it is refused.
type KnownStream = Result<(u32, Option<Level>), String>;

struct Decoder<'l> {
    builder: LogBatchBuilder,
    limits: &'l Limits,
    now_ns: i64,
    /// Roles of flattened field names seen so far.
    roles: FxHashMap<String, Role>,
    options: &'l JsonLinesOptions,
    /// Streams by their packed labels.
    streams: FxHashMap<Vec<u8>, KnownStream>,
    line: Line,
    stream_key: Vec<u8>,
}

/// The line that is being read.
#[derive(Default)]
struct Line {
    time: Option<(u8, Result<i64, String>)>,
    message: Option<(u8, String)>,
    labels: Vec<(u8, String)>,
    level: Option<(usize, Option<Level>, String)>,
    count: usize,
}

impl Decoder<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), Refused> {
        if line.len() > self.limits.record_bytes_max {
            let (bytes, max) = (line.len(), self.limits.record_bytes_max);
            return Err((RefusalReason::RecordSize, format!("the line has {bytes} bytes, {max} are allowed")));
        }
        let text =
            std::str::from_utf8(line).map_err(|_| (RefusalReason::Malformed, "the line is no UTF-8".to_owned()))?;
        if line.first() != Some(&b'{') {
            return Err((RefusalReason::Malformed, "the line is no JSON object".to_owned()));
        }
        let mut current = std::mem::take(&mut self.line);
        current.time = None;
        current.message = None;
        current.labels.clear();
        current.level = None;
        current.count = 0;
        let done =
            self.object(text, "", self.limits.nesting_max, &mut current).and_then(|()| self.finish(text, &current));
        self.line = current;
        done
    }

    fn object(&mut self, json: &str, prefix: &str, nesting: usize, line: &mut Line) -> Result<(), Refused> {
        for entry in sonic_rs::to_object_iter(json) {
            let (key, value) = entry.map_err(|e| {
                (RefusalReason::Malformed, format!("JSON: {}", e.to_string().lines().next().unwrap_or_default()))
            })?;
            let kind = value.get_type();
            if kind == JsonType::Null {
                continue;
            }
            if prefix.is_empty() && kind != JsonType::Object {
                self.field(&key, &value, kind, line)?;
                continue;
            }
            let path = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
            if kind == JsonType::Object && nesting > 1 {
                self.object(value.as_raw_str(), &path, nesting - 1, line)?;
            } else {
                self.field(&path, &value, kind, line)?;
            }
        }
        Ok(())
    }

    fn role(&mut self, name: &str) -> Role {
        if let Some(role) = self.roles.get(name) {
            return *role;
        }
        let guess = |given: Option<&str>, list: &[&str]| match given {
            Some(given) => (given == name).then_some(0),
            None => list.iter().position(|n| *n == name).map(|at| at as u8),
        };
        let normal = normalise(name);
        let stream = match &self.options.stream_fields {
            Some(fields) => fields.iter().position(|f| f == name),
            None => STREAM_FIELDS.iter().position(|f| *f == name),
        };
        let role = Role {
            time: guess(self.options.time_field.as_deref(), &TIME_FIELDS),
            message: guess(self.options.message_field.as_deref(), &MESSAGE_FIELDS),
            stream: stream.map(|at| at.min(255) as u8),
            level_rank: level::rank(name),
            trace: normal == "trace_id",
            span: normal == "span_id",
            key: self.builder.key(&normal),
        };
        self.roles.insert(name.to_owned(), role);
        role
    }

    fn field(&mut self, name: &str, value: &LazyValue<'_>, kind: JsonType, line: &mut Line) -> Result<(), Refused> {
        let role = self.role(name);
        if let Some(rank) = role.time
            && line.time.as_ref().is_none_or(|(best, _)| rank < *best)
            && matches!(kind, JsonType::String | JsonType::Number)
        {
            line.time = Some((rank, read_time(value, kind)));
            return Ok(());
        }
        let owned;
        let text: &str = if kind == JsonType::String {
            match plain(value.as_raw_str()) {
                Some(plain) => plain,
                None => {
                    owned = value.as_str().map(str::to_owned).ok_or_else(|| {
                        (RefusalReason::Malformed, format!("JSON: the string in {name} cannot be read"))
                    })?;
                    &owned
                }
            }
        } else {
            value.as_raw_str()
        };
        if let Some(rank) = role.message
            && line.message.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            if let Some((_, worse)) = line.message.replace((rank, text.to_owned())) {
                // What was taken for the text before is a field after all.
                let key = self.builder.key("message_other");
                self.builder.attribute(key, Value::Str(&worse));
            }
            return Ok(());
        }
        if let Some(rank) = role.level_rank
            && line.level.as_ref().is_none_or(|(best, ..)| rank < *best)
        {
            let known = level::from_word(text);
            line.level = Some((rank, known, if known.is_some() { String::new() } else { text.to_owned() }));
        }
        if let Some(at) = role.stream {
            line.labels.push((at, text.to_owned()));
            return Ok(());
        }
        line.count += 1;
        self.attribute(role, value, kind, text);
        Ok(())
    }

    fn attribute(&mut self, role: Role, value: &LazyValue<'_>, kind: JsonType, text: &str) {
        let mut id = [0; 16];
        let value = match kind {
            JsonType::String if role.trace && hex(text, &mut id) => Value::Hex(&id),
            JsonType::String if role.span && hex(text, &mut id[..8]) => Value::Hex(&id[..8]),
            JsonType::String => Value::Str(text),
            JsonType::Boolean => Value::Bool(text == "true"),
            JsonType::Number => match text.parse::<i64>() {
                Ok(number) => Value::Int(number),
                // A number that a double cannot hold stays as it was written.
                Err(_) => match value.as_f64() {
                    Some(number) if text.len() <= 17 => Value::Double(number),
                    _ => Value::Str(text),
                },
            },
            JsonType::Object | JsonType::Array | JsonType::Null => Value::Json(text),
        };
        self.builder.attribute(role.key, value);
    }

    fn finish(&mut self, text: &str, line: &Line) -> Result<(), Refused> {
        if line.count > self.limits.attributes_max {
            let (count, max) = (line.count, self.limits.attributes_max);
            return Err((RefusalReason::AttributeCount, format!("the line has {count} fields, {max} are allowed")));
        }
        let time = match &line.time {
            None => self.now_ns,
            Some((_, Ok(time))) => *time,
            Some((_, Err(why))) => return Err((RefusalReason::Timestamp, why.clone())),
        };
        let (stream, stream_level) = self.stream(&line.labels).map_err(|why| (RefusalReason::Labels, why))?;
        let message = line.message.as_ref().map_or(text, |(_, message)| message);
        let said = line.level.as_ref().map(|(_, level, word)| (*level, word));
        let level = match (said, stream_level) {
            (_, Some(level)) | (Some((Some(level), _)), None) => level,
            (Some((None, word)), None) => {
                let key = self.builder.key("detected_level");
                self.builder.attribute(key, Value::Str(word));
                Level::Unknown
            }
            (None, None) => level::from_line(message),
        };
        self.builder.finish_record(stream, time, NOT_OBSERVED, level, message);
        Ok(())
    }

    fn stream(&mut self, labels: &[(u8, String)]) -> Result<(u32, Option<Level>), String> {
        let mut key = std::mem::take(&mut self.stream_key);
        key.clear();
        for (at, value) in labels {
            key.push(*at);
            key.extend_from_slice(&(value.len() as u32).to_le_bytes());
            key.extend_from_slice(value.as_bytes());
        }
        let found = match self.streams.get(&key) {
            Some(found) => found.clone(),
            None => {
                let name = |at: u8| match &self.options.stream_fields {
                    Some(fields) => fields.get(usize::from(at)).map(String::as_str),
                    None => STREAM_FIELDS.get(usize::from(at)).copied(),
                };
                let pairs: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(at, value)| Some((normalise(name(*at)?).into_owned(), value.clone())))
                    .collect();
                let named = pairs.iter().filter_map(|(n, v)| Some((level::rank(n)?, v))).min_by_key(|(rank, _)| *rank);
                let level = named.and_then(|(_, word)| level::from_word(word));
                let stream = names::stream(pairs, Vec::new(), self.limits);
                let new = stream.map(|stream| (self.builder.stream(stream), level));
                self.streams.insert(key.clone(), new.clone());
                new
            }
        };
        self.stream_key = key;
        found
    }
}

/// The content of a JSON string without escapes.
fn plain(raw: &str) -> Option<&str> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    (memchr::memchr(b'\\', inner.as_bytes()).is_none()).then_some(inner)
}

fn read_time(value: &LazyValue<'_>, kind: JsonType) -> Result<i64, String> {
    let raw = value.as_raw_str();
    let number = |text: &str| match text.parse::<i64>() {
        Ok(whole) => time::from_epoch(whole),
        Err(_) => text.parse::<f64>().ok().and_then(time::from_epoch_f64),
    };
    let read = match (kind, plain(raw)) {
        (JsonType::String, Some(text)) => time::from_rfc3339(text).or_else(|| number(text)),
        (JsonType::Number, _) => number(raw),
        _ => None,
    };
    read.ok_or_else(|| {
        let head: String = raw.chars().take(60).collect();
        format!("the time {head} is neither RFC 3339 nor a number since 1970, between 1970 and 2262")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, options: &JsonLinesOptions, shown: &[&str], refused: &[(usize, RefusalReason)]) {
        let decoded = decode(body.as_bytes(), options, &Limits::default(), 77);
        let batch = &decoded.batch;
        let got: Vec<String> = (0..batch.len())
            .map(|row| {
                let stream = &batch.streams()[batch.stream_indices()[row] as usize];
                let attributes: Vec<String> =
                    batch.attributes(row).map(|(k, v)| format!("{}={v}", batch.keys()[k as usize])).collect();
                let (time, level) = (batch.timestamps()[row], batch.level(row).as_str());
                format!("{} {time} {level} {} [{}]", stream.labels(), batch.message(row), attributes.join(","))
            })
            .collect();
        assert_eq!(got, shown);
        let got: Vec<_> = decoded.refused.iter().map(|r| (r.position, r.reason)).collect();
        assert_eq!(got, refused, "{:?}", decoded.refused);
    }

    #[test]
    fn fields_are_guessed() {
        check(
            "{\"ts\":5,\"msg\":\"a \\\"b\\\" fatal\",\"service\":\"s\",\"n\":{\"x\":{\"y\":[1, 2]}},\"f\":0.5,\"i\":-3,\"ok\":true,\"no\":null}\r\n\n",
            &JsonLinesOptions::default(),
            &[r#"{service="s", service_name="s"} 5000000000 fatal a "b" fatal [n_x_y=[1, 2],f=0.5,i=-3,ok=true]"#],
            &[],
        );
    }

    #[test]
    fn fields_are_given() {
        let options = JsonLinesOptions {
            time_field: Some("t".to_owned()),
            message_field: Some("m".to_owned()),
            stream_fields: Some(vec!["service.name".to_owned(), "k.v".to_owned()]),
        };
        check(
            "{\"t\":\"1970-01-01T00:00:01Z\",\"m\":\"x\",\"service.name\":\"a\",\"k\":{\"v\":\"w\"},\"severity\":\"ERROR\",\"time\":9}\n{\"m\":\"y\"}",
            &options,
            &[
                r#"{k_v="w", service_name="a"} 1000000000 error x [severity=ERROR,time=9]"#,
                r#"{service_name="unknown_service"} 77 unknown y []"#,
            ],
            &[],
        );
    }

    #[test]
    fn bad_lines_do_not_sink_good_ones() {
        use RefusalReason::{Malformed, Timestamp};
        check(
            "{\"msg\":\"1\"}\nnope\n{\"msg\":\n{\"msg\":\"x\",\"time\":\"soon\"}\n[1]\n{\"msg\":\"6\"}",
            &JsonLinesOptions::default(),
            &[
                r#"{service_name="unknown_service"} 77 unknown 1 []"#,
                r#"{service_name="unknown_service"} 77 unknown 6 []"#,
            ],
            &[(2, Malformed), (3, Malformed), (4, Timestamp), (5, Malformed)],
        );
    }
}
