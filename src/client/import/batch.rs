//! Lines on their way to the server: gathered into requests, as Loki push (text) or JSON lines.

use prost::Message;

use super::recognise;

/// Text in one request, far below the server's cap.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A request that is being filled.
pub(crate) trait Batch {
    /// Adds a line.
    fn add(&mut self, line: &str, number: u64);
    /// How many lines are in.
    fn lines(&self) -> usize;
    /// True when no more should be added.
    fn is_full(&self) -> bool;
    /// The request, and an empty batch from here on.
    fn take(&mut self) -> Request;
}

/// A request as it is sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) path: String,
    /// `Content-Type`.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// How many lines are in.
    pub(crate) lines: usize,
    /// For each line of the body, its number in the file.
    pub(crate) numbers: Vec<u64>,
}

/// `logproto.PushRequest`.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Text lines of one stream.
pub(crate) struct TextBatch {
    stream: PushStream,
    bytes: usize,
    lines_max: usize,
    multiline: bool,
    present: recognise::Present<chrono::Local>,
    /// For lines that name no time: that of the line before.
    last_time: i64,
    /// Lines in which a time was found.
    pub(crate) with_time: u64,
}

impl TextBatch {
    /// `default_time` is for lines before the first that names a time.
    pub(crate) fn new(labels: &[(String, String)], default_time: i64, now: i64, options: (usize, bool)) -> Self {
        let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
        let labels = format!("{{{}}}", pairs.join(", "));
        Self {
            stream: PushStream { labels, entries: Vec::new() },
            bytes: 0,
            lines_max: options.0,
            multiline: options.1,
            present: recognise::Present { now, zone: chrono::Local },
            last_time: default_time,
            with_time: 0,
        }
    }
}

impl Batch for TextBatch {
    fn add(&mut self, line: &str, _number: u64) {
        self.bytes += line.len();
        if self.multiline
            && line.starts_with([' ', '\t'])
            && let Some(last) = self.stream.entries.last_mut()
        {
            last.line.push('\n');
            last.line.push_str(line);
            return;
        }
        if let Some(time) = recognise::time(line, &self.present) {
            self.last_time = time;
            self.with_time += 1;
        }
        let level = recognise::level(line)
            .map(|level| LabelPair { name: "detected_level".to_owned(), value: level.to_owned() });
        self.stream.entries.push(Entry {
            timestamp: Some(Timestamp {
                seconds: self.last_time.div_euclid(1_000_000_000),
                nanos: self.last_time.rem_euclid(1_000_000_000) as i32,
            }),
            line: line.to_owned(),
            structured_metadata: level.into_iter().collect(),
        });
    }

    fn lines(&self) -> usize {
        self.stream.entries.len()
    }

    fn is_full(&self) -> bool {
        self.lines() >= self.lines_max || self.bytes >= BATCH_BYTES_MAX
    }

    fn take(&mut self) -> Request {
        self.bytes = 0;
        let lines = self.lines();
        let stream =
            PushStream { labels: self.stream.labels.clone(), entries: std::mem::take(&mut self.stream.entries) };
        let message = PushRequest { streams: vec![stream] }.encode_to_vec();
        // Only inputs of over 4 GiB cannot be compressed.
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default();
        let path = "/loki/api/v1/push".to_owned();
        Request { path, content_type: "application/x-protobuf", body, lines, numbers: Vec::new() }
    }
}

/// JSON objects, with the labels put into each.
pub(crate) struct JsonBatch {
    path: String,
    /// `"filename":"...","job":"..."`
    labels: String,
    body: Vec<u8>,
    numbers: Vec<u64>,
    lines_max: usize,
}

impl JsonBatch {
    /// A batch whose records get these labels.
    pub(crate) fn new(labels: &[(String, String)], lines_max: usize) -> Self {
        let names: Vec<String> = labels.iter().map(|(name, _)| super::super::http::escape(name)).collect();
        let path = format!("/farol/api/v1/ingest/jsonlines?stream_fields={}", names.join(","));
        let pairs: Vec<String> =
            labels.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
        Self { path, labels: pairs.join(","), body: Vec::new(), numbers: Vec::new(), lines_max }
    }
}

impl Batch for JsonBatch {
    fn add(&mut self, line: &str, number: u64) {
        if line.trim().is_empty() {
            return;
        }
        match line.trim_start().strip_prefix('{') {
            Some(rest) => {
                let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
                self.body.extend_from_slice(format!("{{{}{comma}", self.labels).as_bytes());
                self.body.extend_from_slice(rest.as_bytes());
            }
            // The server says what is wrong with it.
            None => self.body.extend_from_slice(line.as_bytes()),
        }
        self.body.push(b'\n');
        self.numbers.push(number);
    }

    fn lines(&self) -> usize {
        self.numbers.len()
    }

    fn is_full(&self) -> bool {
        self.lines() >= self.lines_max || self.body.len() >= BATCH_BYTES_MAX
    }

    fn take(&mut self) -> Request {
        let numbers = std::mem::take(&mut self.numbers);
        let (path, body) = (self.path.clone(), std::mem::take(&mut self.body));
        Request { path, content_type: "application/x-ndjson", body, lines: numbers.len(), numbers }
    }
}

/// As JSON and LogQL both read it.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn labels() -> Vec<(String, String)> {
        vec![("job".to_owned(), "a \"b\"".to_owned()), ("env".to_owned(), "ü".to_owned())]
    }

    #[test]
    fn text_becomes_a_loki_push() {
        let mut batch = TextBatch::new(&labels(), 5_000_000_007, 0, (10, true));
        batch.add("no time", 1);
        batch.add("1795399200.5 ERROR broke", 2);
        batch.add("  at here", 3);
        batch.add("next", 4);
        assert_eq!((batch.lines(), batch.with_time), (3, 1));
        let request = batch.take();
        assert_eq!((batch.lines(), request.lines), (0, 3));
        let message = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        let stream = PushRequest::decode(message.as_slice()).unwrap().streams.remove(0);
        assert_eq!(stream.labels, r#"{job="a \"b\"", env="ü"}"#);
        let [first, second, third] = stream.entries.as_slice() else { panic!("{:?}", stream.entries) };
        assert_eq!(first.timestamp, Some(Timestamp { seconds: 5, nanos: 7 }));
        assert_eq!(second.timestamp, Some(Timestamp { seconds: 1_795_399_200, nanos: 500_000_000 }));
        assert_eq!(second.line, "1795399200.5 ERROR broke\n  at here");
        assert_eq!(second.structured_metadata[0].value, "error");
        assert_eq!(third.timestamp, second.timestamp);
    }

    #[test]
    fn json_lines_get_the_labels() {
        let mut batch = JsonBatch::new(&labels(), 2);
        batch.add(r#" {"msg": 1}"#, 1);
        batch.add("", 2);
        assert!(!batch.is_full());
        batch.add("{ }", 3);
        assert!(batch.is_full());
        let request = batch.take();
        let text = String::from_utf8(request.body).unwrap();
        assert_eq!(
            text,
            "{\"job\":\"a \\\"b\\\"\",\"env\":\"ü\",\"msg\": 1}\n{\"job\":\"a \\\"b\\\"\",\"env\":\"ü\" }\n"
        );
        assert_eq!((request.lines, request.numbers), (2, vec![1, 3]));
        assert_eq!(request.path, "/farol/api/v1/ingest/jsonlines?stream_fields=job,env");
    }
}
