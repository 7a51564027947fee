//! The two text formats, read in place: what is not escaped borrows from the body.
//!
//! OpenMetrics differs from Prometheus's older format in that it allows no free spaces, no free comments and no empty
//! lines, says units, has exemplars, counts time in seconds, and ends in `# EOF`.

use std::borrow::Cow;

use storage::metrics::MetricKind;

use super::created::Starts;
use super::{Entry, ExposedExemplar, ExpositionError, NAME, Sample, SampleValue, exemplar_of, number, twin};

type Pair<'b> = (Cow<'b, str>, Cow<'b, str>);

/// How much of a bad line is shown.
const SHOWN_BYTES_MAX: usize = 120;

#[derive(Debug)]
pub(super) struct TextParser<'b> {
    body: &'b [u8],
    at: usize,
    /// Where the line begins that is being read.
    start: usize,
    open_metrics: bool,
    ended: bool,
    /// Of the last `# TYPE` line.
    family: &'b str,
    kind: MetricKind,
    labels: Vec<Pair<'b>>,
    exemplars: Vec<ExposedExemplar>,
    /// When countings began, in OpenMetrics.
    starts: Option<Starts>,
    /// How many lines end before which byte.
    counted: (usize, usize),
}

/// A sample before it borrows from the parser.
struct Line {
    value: f64,
    timestamp: Option<i64>,
}

impl<'b> TextParser<'b> {
    pub(super) fn new(body: &'b [u8], open_metrics: bool) -> Self {
        Self {
            body,
            at: 0,
            start: 0,
            open_metrics,
            ended: false,
            family: "",
            kind: MetricKind::Unknown,
            labels: Vec::new(),
            exemplars: Vec::new(),
            starts: None,
            counted: (0, 0),
        }
    }

    pub(super) fn set_starts(&mut self, starts: Starts) {
        self.starts = Some(starts);
    }

    /// The metric that the last `# TYPE` line was about, and what it is.
    pub(super) fn family(&self) -> (&'b str, MetricKind) {
        (self.family, self.kind)
    }

    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ExpositionError> {
        loop {
            self.start = self.at;
            if self.ended {
                return Ok(None);
            }
            if !self.open_metrics {
                self.skip_spaces();
            }
            match self.peek() {
                None if self.open_metrics => return Err(self.fatal("the data does not end with # EOF")),
                None => return Ok(None),
                Some(b'\n') if !self.open_metrics => self.at += 1,
                Some(b'#') => {
                    if let Some(entry) = self.comment().map_err(|why| self.bad(&why))? {
                        return Ok(Some(entry));
                    }
                }
                Some(_) => {
                    let line = self.sample().map_err(|why| self.bad(&why))?;
                    let start = match &self.starts {
                        Some(starts) if starts.is_about_start(self.kind, &self.labels) => continue,
                        Some(starts) => starts.of(self.family, self.kind, &self.labels),
                        None => 0,
                    };
                    return Ok(Some(Entry::Sample(Sample {
                        labels: &self.labels,
                        value: SampleValue::Float(line.value),
                        timestamp: line.timestamp,
                        start,
                        exemplars: &self.exemplars,
                    })));
                }
            }
        }
    }

    pub(super) fn skip_line(&mut self) {
        if self.at > self.start && self.body.get(self.at - 1) == Some(&b'\n') {
            return;
        }
        let rest = self.body.get(self.at..).unwrap_or_default();
        self.at = memchr::memchr(b'\n', rest).map_or(self.body.len(), |end| self.at + end + 1);
    }

    pub(super) fn line(&mut self) -> usize {
        let (lines, counted) = self.counted;
        let new = self.body.get(counted..self.start).unwrap_or_default();
        self.counted = (lines + memchr::memchr_iter(b'\n', new).count(), self.start);
        self.counted.0 + 1
    }

    fn bad(&mut self, why: &str) -> ExpositionError {
        let rest = self.body.get(self.start..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let shown = String::from_utf8_lossy(rest.get(..end.min(SHOWN_BYTES_MAX)).unwrap_or_default());
        let dots = if end > SHOWN_BYTES_MAX { "..." } else { "" };
        let message = format!("{why}: {:?}{dots}", shown.trim_end_matches(char::REPLACEMENT_CHARACTER));
        ExpositionError { what: "line", position: self.line(), message, fatal: false }
    }

    fn fatal(&mut self, why: &str) -> ExpositionError {
        ExpositionError { what: "line", position: self.line(), message: why.to_owned(), fatal: true }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    fn eat_text(&mut self, text: &[u8]) -> bool {
        let eaten = self.body.get(self.at..).is_some_and(|rest| rest.starts_with(text));
        self.at += if eaten { text.len() } else { 0 };
        eaten
    }

    fn skip_spaces(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// Spaces, where the older format allows them.
    fn free_spaces(&mut self) {
        if !self.open_metrics {
            self.skip_spaces();
        }
    }

    fn take_while(&mut self, good: impl Fn(u8) -> bool) -> &'b [u8] {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let taken = rest.iter().position(|&byte| !good(byte)).unwrap_or(rest.len());
        self.at += taken;
        rest.get(..taken).unwrap_or_default()
    }

    /// Up to the end of the line, which is passed over.
    fn rest_of_line(&mut self) -> &'b [u8] {
        let rest = self.take_while(|byte| byte != b'\n');
        self.eat(b'\n');
        rest
    }

    fn end_of_line(&mut self) -> Result<(), String> {
        if self.eat(b'\n') || (!self.open_metrics && self.peek().is_none()) {
            return Ok(());
        }
        Err(if self.peek().is_none() {
            "the data does not end with # EOF".to_owned()
        } else {
            format!("expected the end of the line, got {}", self.shown())
        })
    }

    /// What stands where something else was expected.
    fn shown(&self) -> String {
        match self.peek() {
            None => "the end".to_owned(),
            Some(b'\n') => "the end of the line".to_owned(),
            Some(byte) => format!("{:?}", char::from(byte)),
        }
    }

    /// `# HELP`, `# TYPE`, `# UNIT`, `# EOF`, or what is passed over.
    fn comment(&mut self) -> Result<Option<Entry<'b>>, String> {
        self.at += 1;
        if self.open_metrics {
            if self.eat_text(b" EOF") {
                self.eat(b'\n');
                self.ended = true;
                return if self.peek().is_none() { Ok(None) } else { Err("there is data after # EOF".to_owned()) };
            }
            let Some(word) = [" HELP ", " TYPE ", " UNIT "].into_iter().find(|w| self.eat_text(w.as_bytes())) else {
                return Err("a comment of OpenMetrics is # HELP, # TYPE, # UNIT or # EOF".to_owned());
            };
            return self.said(word.trim()).map(Some);
        }
        let spaces = self.take_while(|byte| byte == b' ' || byte == b'\t');
        let word = ["HELP", "TYPE"].into_iter().find(|w| !spaces.is_empty() && self.eat_text(w.as_bytes()));
        match word {
            Some(word) if matches!(self.peek(), Some(b' ' | b'\t')) => {
                self.skip_spaces();
                self.said(word).map(Some)
            }
            _ => {
                self.rest_of_line();
                Ok(None)
            }
        }
    }

    fn said(&mut self, word: &str) -> Result<Entry<'b>, String> {
        let name = match self.peek() {
            Some(b'"') => match self.quoted(true)? {
                Cow::Borrowed(name) => name,
                Cow::Owned(_) => return Err(format!("the name after {word} has an escape in it")),
            },
            _ => self.name(b":_"),
        };
        if name.is_empty() {
            return Err(format!("expected a metric name after {word}, got {}", self.shown()));
        }
        if !matches!(self.peek(), Some(b' ' | b'\t'))
            && (self.open_metrics || !matches!(self.peek(), None | Some(b'\n')))
        {
            return Err(format!("expected text after the metric name in {word}, got {}", self.shown()));
        }
        let text = self.rest_of_line();
        let text = std::str::from_utf8(text.get(1..).unwrap_or_default())
            .map_err(|_| format!("the text of {word} is not UTF-8"))?;
        Ok(match word {
            "HELP" => Entry::Help { name, help: unescape(text, self.open_metrics) },
            "TYPE" => {
                self.kind = kind(text, self.open_metrics).ok_or_else(|| format!("{text:?} is no metric type"))?;
                self.family = name;
                Entry::Kind { name, kind: self.kind }
            }
            _ => {
                let suffix = name.strip_suffix(text);
                if !text.is_empty() && !suffix.is_some_and(|before| before.ends_with('_')) {
                    return Err(format!("the unit {text:?} is not a suffix of the metric {name:?}"));
                }
                Entry::Unit { name, unit: text }
            }
        })
    }

    /// A name without quotes; empty when there is none.
    fn name(&mut self, beside_letters: &'static [u8]) -> &'b str {
        let first = |b: u8| b.is_ascii_alphabetic() || beside_letters.contains(&b);
        if !self.peek().is_some_and(first) {
            return "";
        }
        let name = self.take_while(|b| first(b) || b.is_ascii_digit());
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// A text in quotes, with its escapes resolved.
    fn quoted(&mut self, lines: bool) -> Result<Cow<'b, str>, String> {
        let opened = self.at;
        self.at += 1;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            match memchr::memchr3(b'"', b'\\', b'\n', rest).map(|found| (found, rest.get(found))) {
                Some((found, Some(b'"'))) => {
                    self.at += found + 1;
                    break;
                }
                Some((found, Some(b'\\'))) if rest.get(found + 1).is_some_and(|&b| lines || b != b'\n') => {
                    self.at += found + 2;
                }
                Some((found, Some(b'\n'))) if lines => self.at += found + 1,
                _ => {
                    // A line goes on behind what was never closed.
                    self.at = opened;
                    return Err("a quote is not closed".to_owned());
                }
            }
        }
        let inner = self.body.get(opened + 1..self.at - 1).unwrap_or_default();
        let text = std::str::from_utf8(inner).map_err(|_| "a text in quotes is not UTF-8".to_owned())?;
        Ok(unescape(text, true))
    }

    fn sample(&mut self) -> Result<Line, String> {
        self.labels.clear();
        self.exemplars.clear();
        let name = self.name(b":_");
        if !name.is_empty() {
            self.labels.push((Cow::Borrowed(NAME), Cow::Borrowed(name)));
            self.free_spaces();
        } else if self.peek() != Some(b'{') {
            return Err(format!("expected a metric name, got {}", self.shown()));
        }
        if self.eat(b'{') {
            let mut labels = std::mem::take(&mut self.labels);
            let read = self.braces(&mut labels, true);
            self.labels = labels;
            read?;
        }
        if self.labels.first().is_none_or(|(name, _)| name != NAME) {
            return Err("the metric has no name".to_owned());
        }
        if let Some(name) = twin(&self.labels) {
            return Err(format!("the label name {name:?} is there twice"));
        }
        self.normalise_bounds();
        let value = self.value("the metric")?;
        let timestamp = if self.open_metrics { self.seconds()? } else { self.milliseconds()? };
        if self.open_metrics && self.eat_text(b" # {") {
            self.exemplar()?;
        }
        self.end_of_line()?;
        Ok(Line { value, timestamp })
    }

    /// What stands between braces, of which the first is read.
    fn braces(&mut self, labels: &mut Vec<Pair<'b>>, is_series: bool) -> Result<(), String> {
        loop {
            self.free_spaces();
            if self.eat(b'}') {
                return Ok(());
            }
            let is_quoted = self.peek() == Some(b'"');
            let name = if is_quoted { self.quoted(true)? } else { Cow::Borrowed(self.name(b"_")) };
            if name.is_empty() && !is_quoted {
                return Err(format!("expected a label name, got {}", self.shown()));
            }
            self.free_spaces();
            if is_quoted && is_series && matches!(self.peek(), Some(b',' | b'}')) {
                if labels.first().is_some_and(|(name, _)| name == NAME) {
                    return Err("the metric has two names".to_owned());
                }
                if name.is_empty() {
                    return Err("the metric has no name".to_owned());
                }
                labels.insert(0, (Cow::Borrowed(NAME), name));
                self.eat(b',');
                continue;
            }
            if name.is_empty() {
                return Err("a label name is empty".to_owned());
            }
            if !self.eat(b'=') {
                return Err(format!("expected = after the label name {name:?}, got {}", self.shown()));
            }
            self.free_spaces();
            if self.peek() != Some(b'"') {
                return Err(format!("expected the value of label {name:?} in quotes, got {}", self.shown()));
            }
            let value = self.quoted(!self.open_metrics)?;
            labels.push((name, value));
            self.free_spaces();
            if !self.eat(b',') && self.open_metrics && self.peek() != Some(b'}') {
                return Err(format!("expected a comma or a closing brace, got {}", self.shown()));
            }
        }
    }

    /// `le="1"` and `le="1.0"` are one bucket.
    fn normalise_bounds(&mut self) {
        let bound = match self.kind {
            MetricKind::Histogram => "le",
            MetricKind::Summary => "quantile",
            _ => return,
        };
        if let Some((_, value)) = self.labels.iter_mut().find(|(name, _)| name == bound)
            && let Some(number) = number::float(value.as_bytes())
        {
            let normal = number::open_metrics(number);
            if *value != normal {
                *value = Cow::Owned(normal);
            }
        }
    }

    fn value(&mut self, after: &str) -> Result<f64, String> {
        if self.open_metrics {
            if !self.eat(b' ') {
                return Err(format!("expected a space and a value after {after}, got {}", self.shown()));
            }
        } else {
            self.skip_spaces();
        }
        let open_metrics = self.open_metrics;
        let text = self.take_while(|b| b != b' ' && b != b'\n' && (open_metrics || (b != b'\t' && b != b'{')));
        if text.is_empty() {
            return Err(format!("expected a value after {after}, got {}", self.shown()));
        }
        number::float(text).ok_or_else(|| format!("{:?} is no number", String::from_utf8_lossy(text)))
    }

    /// The time of the older format: whole milliseconds.
    fn milliseconds(&mut self) -> Result<Option<i64>, String> {
        self.skip_spaces();
        let digits = self.take_while(|b| b.is_ascii_digit());
        self.skip_spaces();
        if digits.is_empty() {
            return Ok(None);
        }
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        digits.parse().map(Some).map_err(|_| format!("the time {digits} is too large"))
    }

    /// The time of OpenMetrics: seconds, with a point.
    fn seconds(&mut self) -> Result<Option<i64>, String> {
        let is_time = self.peek() == Some(b' ') && !self.body.get(self.at..).unwrap_or_default().starts_with(b" # {");
        if !is_time {
            return Ok(None);
        }
        self.at += 1;
        let text = self.take_while(|b| b != b' ' && b != b'\n');
        let seconds = number::float(text).filter(|seconds| seconds.is_finite());
        let seconds = seconds.ok_or_else(|| format!("{:?} is no time", String::from_utf8_lossy(text)))?;
        Ok(Some((seconds * 1000.0) as i64))
    }

    fn exemplar(&mut self) -> Result<(), String> {
        let mut labels = Vec::new();
        self.braces(&mut labels, false)?;
        let value = self.value("the labels of the exemplar")?;
        let timestamp = self.seconds()?;
        self.exemplars.extend(exemplar_of(&labels, value, timestamp));
        Ok(())
    }
}

fn kind(text: &str, open_metrics: bool) -> Option<MetricKind> {
    if text == "untyped" {
        return (!open_metrics).then_some(MetricKind::Unknown);
    }
    let kind = MetricKind::ALL.into_iter().find(|kind| kind.as_str() == text)?;
    let older = [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram, MetricKind::Summary];
    (open_metrics || older.contains(&kind)).then_some(kind)
}

/// `\\`, `\n` and, where quotes count, `\"`; other escapes stay as they are.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}
