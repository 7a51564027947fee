//! Golden bodies in all three formats, what is refused, and that nothing makes the parser panic.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use storage::metrics::labels_of;

use super::*;

const FORMS: HistogramForms = HistogramForms { native: true, always_classic: false };

fn shown(parser: &mut Parser<'_>) -> Result<Vec<String>, ExpositionError> {
    let mut shown = Vec::new();
    while let Some(entry) = parser.next_entry()? {
        shown.push(match entry {
            Entry::Kind { name, kind } => format!("kind {name} {}", kind.as_str()),
            Entry::Help { name, help } => format!("help {name} {help:?}"),
            Entry::Unit { name, unit } => format!("unit {name} {unit}"),
            Entry::Sample(sample) => {
                let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
                let mut line = labels.join(",");
                match &sample.value {
                    SampleValue::Float(value) => line.push_str(&format!(" {value}")),
                    SampleValue::Histogram(h) => line.push_str(&format!(
                        " count={} sum={} zero={} schema={} + {:?} {:?} - {:?} {:?}",
                        h.count,
                        h.sum,
                        h.zero_count,
                        h.schema,
                        h.positive_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
                        h.positive_buckets,
                        h.negative_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
                        h.negative_buckets,
                    )),
                }
                if let Some(time) = sample.timestamp {
                    line.push_str(&format!(" @{time}"));
                }
                if sample.start != 0 {
                    line.push_str(&format!(" since {}", sample.start));
                }
                for exemplar in sample.exemplars {
                    line.push_str(&format!(" # {} {} {:?}", exemplar.labels, exemplar.value, exemplar.timestamp));
                }
                line
            }
        });
    }
    Ok(shown)
}

fn check(format: Format, body: &str, wanted: &[&str]) {
    let got = shown(&mut Parser::new(body.as_bytes(), format, FORMS)).map_err(|e| e.to_string());
    assert_eq!(got, Ok(wanted.iter().map(|&w| w.to_owned()).collect()), "{body}");
}

fn refused(format: Format, body: &[u8], wanted: &str) {
    let error = shown(&mut Parser::new(body, format, FORMS)).unwrap_err().to_string();
    assert!(error.starts_with(wanted), "{:?}: {error}", String::from_utf8_lossy(body));
}

#[test]
fn the_older_text_format() {
    check(
        Format::Text,
        "# HELP rpc_seconds How long: \\\\ and\\nso on \\x\n\
         # TYPE rpc_seconds summary\n\
         rpc_seconds{quantile=\"1\"} 4.77e+03\n\
         rpc_seconds { quantile = \"0.5\" , job=\"a\\\"b\\\\c\\nd\" , } NaN 1700000000123\n\
         rpc_seconds_sum 1 \n\
         \n\
         #comment\n\
         # any comment\n\
         # HELPFUL too\n\
         \t up{}\t-Inf\t5\n\
         # TYPE h histogram\n\
         h_bucket{le=\"1000000\"}2\n\
         # TYPE u untyped\n\
         {\"a.b\",\"c d\"=\"e\" f=\"line\nbreak\"} 1",
        &[
            "help rpc_seconds \"How long: \\\\ and\\nso on \\\\x\"",
            "kind rpc_seconds summary",
            "__name__=rpc_seconds,quantile=1.0 4770",
            "__name__=rpc_seconds,quantile=0.5,job=a\"b\\c\nd NaN @1700000000123",
            "__name__=rpc_seconds_sum 1",
            "__name__=up -inf @5",
            "kind h histogram",
            "__name__=h_bucket,le=1e+06 2",
            "kind u unknown",
            "__name__=a.b,c d=e,f=line\nbreak 1",
        ],
    );
    check(Format::Text, "", &[]);
    check(Format::Text, "# HELP x\n", &["help x \"\""]);
}

#[test]
fn open_metrics() {
    check(
        Format::OpenMetrics,
        "# TYPE job_seconds histogram\n\
         # UNIT job_seconds seconds\n\
         # HELP job_seconds A \\\"quoted\\\" text\n\
         job_seconds_bucket{le=\"1\"} 3 # {trace_id=\"x\"} 0.5 1.5\n\
         job_seconds_bucket{le=\"+Inf\"} 4 1520872607.123 # {} 2\n\
         job_seconds_count 4\n\
         job_seconds_created 1520430000.123\n\
         # TYPE jobs counter\n\
         jobs_total{a=\"1\"} 5 # {\"trace.id\"=\"y\"} 1\n\
         jobs_created{a=\"1\"} 7\n\
         jobs_total{a=\"2\"} 6\n\
         # TYPE g gauge\n\
         g_created 9\n\
         # TYPE \"my.info\" info\n\
         {\"my.info_info\",\"v.x\"=\"1\"} 1\n\
         # EOF\n",
        &[
            "kind job_seconds histogram",
            "unit job_seconds seconds",
            "help job_seconds \"A \\\"quoted\\\" text\"",
            "__name__=job_seconds_bucket,le=1.0 3 since 1520430000123 # {trace_id=\"x\"} 0.5 Some(1500)",
            "__name__=job_seconds_bucket,le=+Inf 4 @1520872607123 since 1520430000123 # {} 2 None",
            "__name__=job_seconds_count 4 since 1520430000123",
            "kind jobs counter",
            "__name__=jobs_total,a=1 5 since 7000 # {trace.id=\"y\"} 1 None",
            "__name__=jobs_total,a=2 6",
            "kind g gauge",
            "__name__=g_created 9",
            "kind my.info info",
            "__name__=my.info_info,v.x=1 1",
        ],
    );
    check(Format::OpenMetrics, "# EOF", &[]);
}

#[test]
fn what_cannot_be_read_says_where_and_why() {
    for (body, wanted) in [
        ("a\n", "line 1: expected a value after the metric, got the end of the line: \"a\""),
        ("ok 1\n\na 1 z\n", "line 3: expected the end of the line, got 'z'"),
        ("a{b=\"c\n 1\n", "line 1: a quote is not closed"),
        ("a{b='c'} 1\n", "line 1: expected the value of label \"b\" in quotes, got '\\''"),
        ("a{b=\"c\" 1\n", "line 1: expected a label name, got '1'"),
        ("a{\"b\"} 1\n", "line 1: the metric has two names"),
        ("{a=\"b\"} 1\n", "line 1: the metric has no name"),
        ("a{b=\"1\",b=\"2\"} 1\n", "line 1: the label name \"b\" is there twice"),
        ("a{__name__=\"b\"} 1\n", "line 1: the label name \"__name__\" is there twice"),
        ("a 0x1p-2\n", "line 1: \"0x1p-2\" is no number"),
        ("a 1 99999999999999999999\n", "line 1: the time 99999999999999999999 is too large"),
        ("# TYPE a info\n", "line 1: \"info\" is no metric type"),
        ("# TYPE 1\n", "line 1: expected a metric name after TYPE, got '1'"),
        ("9 1\n", "line 1: expected a metric name, got '9'"),
    ] {
        refused(Format::Text, body.as_bytes(), wanted);
    }
    for (body, wanted) in [
        ("a 1\n", "line 2: the data does not end with # EOF"),
        ("", "line 1: the data does not end with # EOF"),
        ("# EOF\na 1\n", "line 1: there is data after # EOF"),
        ("a  1\n# EOF\n", "line 1: expected a value after the metric, got ' '"),
        ("a{b=\"1\", c=\"2\"} 1\n# EOF\n", "line 1: expected a label name, got ' '"),
        ("# a comment\n# EOF\n", "line 1: a comment of OpenMetrics is"),
        ("\n# EOF\n", "line 1: expected a metric name, got the end of the line"),
        ("# UNIT a seconds\n# EOF\n", "line 1: the unit \"seconds\" is not a suffix of the metric \"a\""),
        ("a 1 NaN\n# EOF\n", "line 1: \"NaN\" is no time"),
        ("a 1 # {b} 1\n# EOF\n", "line 1: expected = after the label name \"b\""),
        ("# TYPE a untyped\n# EOF\n", "line 1: \"untyped\" is no metric type"),
        ("# TYPE a gauge ", "line 1: \"gauge \" is no metric type"),
    ] {
        refused(Format::OpenMetrics, body.as_bytes(), wanted);
    }
    refused(Format::Text, b"a{b=\"\xff\"} 1\n", "line 1: a text in quotes is not UTF-8");
    refused(Format::Text, b"# HELP a \xff\n", "line 1: the text of HELP is not UTF-8");
}

/// Writes protobuf by hand, so that the tests share no code with what they test.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u8, mut number: u64) -> Self {
        self.0.push(field << 3);
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    fn double(mut self, field: u8, number: f64) -> Self {
        self.0.push(field << 3 | 1);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// Fields from 16 on need two bytes, lengths from 128 on too.
    fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        let tag = u32::from(field) << 3 | 2;
        let mut put = |mut number: u32| {
            while number >= 0x80 {
                self.0.push(number as u8 | 0x80);
                number >>= 7;
            }
            self.0.push(number as u8);
        };
        put(tag);
        put(bytes.len() as u32);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u8, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }

    fn delimited(&self) -> Vec<u8> {
        let framed = Message::default().bytes(0, &self.0).0;
        framed[1..].to_vec()
    }
}

fn message() -> Message {
    Message::default()
}

fn label(name: &str, value: &str) -> Message {
    message().bytes(1, name.as_bytes()).bytes(2, value.as_bytes())
}

fn family(name: &str, kind: u64) -> Message {
    message().bytes(1, name.as_bytes()).bytes(2, b"Help.").number(3, kind)
}

fn histogram_family() -> Message {
    let exemplar = message().message(1, &label("trace_id", "t")).double(2, 0.3).message(3, &message().number(1, 9));
    let native = message()
        .number(1, 7)
        .double(2, 2.5)
        .message(3, &message().number(1, 4).double(2, 1.0))
        .number(5, 6)
        .double(6, 0.001)
        .number(7, 1)
        .message(9, &message().number(1, 0).number(2, 1))
        .bytes(10, &[2])
        .message(12, &message().number(1, 4).number(2, 0))
        .message(12, &message().number(1, 3).number(2, 2))
        .number(13, 4)
        .number(13, 2)
        .message(15, &message().number(1, 8).number(2, 500_000_000))
        .message(16, &exemplar);
    family("h", 4).message(4, &message().message(1, &label("a", "b")).message(7, &native))
}

#[test]
fn protobuf() {
    let counter = message().double(1, 3.0).message(3, &message().number(1, 2));
    let summary = message().number(1, 2).double(2, 5.0).message(3, &message().double(1, 1.0).double(2, 9.0));
    let classic = message()
        .number(1, 5)
        .double(2, 1.5)
        .message(3, &message().number(1, 4).double(2, 0.5).message(3, &message().double(2, 0.1)));
    let body = [
        family("c_total", 0).bytes(5, b"bytes").message(4, &message().message(3, &counter).number(6, 77)).delimited(),
        family("empty", 1).delimited(),
        family("s", 2).message(4, &message().message(1, &label("l", "")).message(4, &summary)).delimited(),
        family("k", 4).message(4, &message().message(7, &classic)).delimited(),
        histogram_family().delimited(),
    ]
    .concat();
    let got = shown(&mut Parser::new(&body, Format::Protobuf, FORMS)).unwrap();
    assert_eq!(
        got,
        [
            "help c_total \"Help.\"",
            "kind c_total counter",
            "unit c_total bytes",
            "__name__=c_total 3 @77 since 2000",
            "help s \"Help.\"",
            "kind s summary",
            "__name__=s_count,l= 2",
            "__name__=s_sum,l= 5",
            "__name__=s,l=,quantile=1.0 9",
            "help k \"Help.\"",
            "kind k histogram",
            "__name__=k_count 5",
            "__name__=k_sum 1.5",
            "__name__=k_bucket,le=0.5 4 # {} 0.1 None",
            "__name__=k_bucket,le=+Inf 5",
            "help h \"Help.\"",
            "kind h histogram",
            "__name__=h,a=b count=7 sum=2.5 zero=1 schema=3 + [(0, 2)] [2.0, 3.0] - [(0, 1)] [1.0] since 8500 \
             # {trace_id=\"t\"} 0.3 Some(9000)",
        ]
    );
    let both = HistogramForms { native: true, always_classic: true };
    let got = shown(&mut Parser::new(&histogram_family().delimited(), Format::Protobuf, both)).unwrap();
    assert_eq!(got.len(), 2 + 1 + 4, "{got:?}");
    let classic = HistogramForms { native: false, always_classic: false };
    let got = shown(&mut Parser::new(&histogram_family().delimited(), Format::Protobuf, classic)).unwrap();
    assert_eq!(got[2], "__name__=h_count,a=b 7 since 8500");
}

#[test]
fn protobuf_that_cannot_be_read() {
    let whole = histogram_family().delimited();
    refused(Format::Protobuf, &whole[..whole.len() - 1], "metric family 1: the message is cut off");
    let spans = message().message(12, &message().number(2, 3)).bytes(13, &[2]);
    let uneven = family("u", 4).message(4, &message().message(7, &spans)).delimited();
    refused(Format::Protobuf, &uneven, "metric family 1: \"u\": the positive spans need 3 buckets, there are 1");
    let unknown = family("t", 9).message(4, &message()).delimited();
    refused(Format::Protobuf, &unknown, "metric family 1: the metric type 9 is not known");
    let body = [unknown, whole].concat();
    let decoded = decode(&body, Format::Protobuf, &[], &Limits::default(), 0).unwrap();
    assert_eq!((decoded.batch.histograms().len(), decoded.refused.len()), (1, 1));
}

#[test]
fn what_is_pushed_is_refused_line_by_line() {
    let limits = Limits { series_labels_max: 1, series_label_value_bytes_max: 4, ..Limits::default() };
    let body = "# HELP a A.\n# TYPE a counter\na 1\nb{\n# TYPE z nope\nc 1 1\nd{x=\"1\",y=\"2\"} 1\ne{x=\"12345\"} 1\n\
                f 1 9999999999999999\ng{x=\"\"} 2\n";
    let decoded = decode(body.as_bytes(), Format::Text, &[], &limits, 5_999_999).unwrap();
    let batch = &decoded.batch;
    let got: Vec<String> = batch
        .samples()
        .map(|(series, time, value)| {
            let labels: Vec<_> = labels_of(batch.series(series as usize).label_bytes).collect();
            format!("{labels:?} {time} {value}")
        })
        .collect();
    assert_eq!(got, [r#"[("__name__", "a")] 5 1"#, r#"[("__name__", "c")] 1 1"#, r#"[("__name__", "g")] 5 2"#]);
    let refused: Vec<_> = decoded.refused.iter().map(|r| (r.position, r.reason.as_str())).collect();
    assert_eq!(
        refused,
        [(4, "malformed"), (5, "malformed"), (7, "labels"), (8, "labels"), (9, "timestamp")],
        "{:?}",
        decoded.refused
    );
    let about = &batch.metadata()[0];
    assert_eq!((about.name.as_str(), about.kind, about.help.as_str()), ("a", MetricKind::Counter, "A."));
    let cut = decode(b"a 1\n", Format::OpenMetrics, &[], &limits, 0).unwrap_err();
    assert_eq!(cut.message, "line 2: the data does not end with # EOF");
}

#[test]
fn many_labels_and_long_exemplars() {
    let labels: Vec<String> = (0..100).map(|i| format!("l{i}=\"x\"")).collect();
    let long = "x".repeat(200);
    let body =
        format!("a{{{}}} 1 # {{t=\"{long}\"}} 1\nb{{{},l7=\"y\"}} 1\n# EOF\n", labels.join(","), labels.join(","));
    let limits = Limits { series_labels_max: 100, ..Limits::default() };
    let decoded = decode(body.as_bytes(), Format::OpenMetrics, &[], &limits, 0).unwrap();
    assert_eq!((decoded.batch.len(), decoded.batch.exemplars().len()), (1, 0));
    assert!(decoded.refused[0].message.starts_with("the label name \"l7\" is there twice"), "{:?}", decoded.refused);
}

#[test]
fn content_types_name_formats() {
    for (content_type, format) in [
        ("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text)),
        ("Text/Plain", Some(Format::Text)),
        ("application/openmetrics-text;version=1.0.0", Some(Format::OpenMetrics)),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", Some(Format::Protobuf)),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(Format::of_content_type(content_type), format, "{content_type}");
    }
}

/// Pieces of which bodies are made that are nearly right.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("# TYPE a histogram\n"),
        Just("# HELP a b\n"),
        Just("a_bucket"),
        Just("{le=\"1\"}"),
        Just("{"),
        Just("}"),
        Just("\""),
        Just("\\"),
        Just(" "),
        Just("\n"),
        Just(" 1"),
        Just(" # {x=\"y\"} 1 1\n"),
        Just("a_created 1\n"),
        Just("# EOF\n"),
        Just("é"),
        Just("\0"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

#[test]
fn labels_of_the_request_win() {
    let more = [("job".to_owned(), "batch".to_owned()), ("env".to_owned(), "x".to_owned())];
    let decoded = decode(b"a{job=\"own\",z=\"1\"} 1 5\n", Format::Text, &more, &Limits::default(), 0).unwrap();
    assert_eq!(crate::shown::lines(&decoded.batch), ["a{env=x,job=batch,z=1} 1 @5"]);
}

proptest! {
    #[test]
    fn nothing_makes_the_parser_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in pieces()) {
        for body in [bytes.as_slice(), text.as_bytes()] {
            for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
                if let Ok(decoded) = decode(body, format, &[], &Limits::default(), 0) {
                    prop_assert!(decoded.batch.len() + decoded.refused.len() <= body.len() + 1);
                }
            }
        }
    }

    /// What is written by the rules is read back.
    #[test]
    fn what_is_written_is_read(value in any::<f64>(), label in "[^\\\\\"\n]{0,20}", time in 0_i64..4_000_000_000_000) {
        let body = format!("x{{l=\"{label}\"}} {value} {time}\n");
        let decoded = decode(body.as_bytes(), Format::Text, &[], &Limits::default(), 0).unwrap();
        let (_, got_time, got) = decoded.batch.samples().next().unwrap();
        prop_assert!(got == value || (got.is_nan() && value.is_nan()));
        prop_assert_eq!(got_time, time);
    }
}
