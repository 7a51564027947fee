//! One record on its way through a pipeline: its line, and its labels as the stages change them.
//!
//! Nothing is copied that does not change: stream labels, metadata and parsed values stay where they are and are
//! referred to. One [`Row`] serves all records that live as long, one after the other.

use std::borrow::Cow;

use storage::Labels;

use crate::metadata::PATTERN;

/// What records have beside stream labels (resource attributes, attributes, `detected_level`), looked up on demand.
/// Record numbers are the implementor's own; values are as queries see them.
pub trait Metadata<'a> {
    /// The value of `name` in a record.
    fn get(&self, record: usize, name: &str) -> Option<Cow<'a, str>>;

    /// The pattern of a record's line, where it is known.
    fn pattern(&self, _record: usize) -> Option<Cow<'a, str>> {
        None
    }

    /// Calls `visit` with all names and values of a record, each name once.
    fn each(&self, record: usize, visit: &mut dyn FnMut(&'a str, Cow<'a, str>));
}

/// Records without metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetadata;

impl<'a> Metadata<'a> for NoMetadata {
    fn get(&self, _: usize, _: &str) -> Option<Cow<'a, str>> {
        None
    }

    fn each(&self, _: usize, _: &mut dyn FnMut(&'a str, Cow<'a, str>)) {}
}

/// Where a label comes from; `categorize-labels` answers them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Category {
    Stream,
    Metadata,
    Parsed,
}

/// What a label's name gets when a parser finds a name that the stream or the metadata has already.
pub const DUPLICATE_SUFFIX: &str = "_extracted";
/// The label that says what went wrong with a record.
pub const ERROR_LABEL: &str = "__error__";
/// The label that says it in detail.
pub const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// Set beside an error that the query asks about, so that a metric query lets it pass.
pub const PRESERVE_ERROR_LABEL: &str = "__preserve_error__";

/// A label that a stage made.
#[derive(Debug)]
struct Made<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    /// Taken away again; a parser does not make it a second time.
    gone: bool,
}

/// A record that is being processed.
pub struct Row<'a> {
    metadata: &'a dyn Metadata<'a>,
    record: usize,
    stream: &'a Labels,
    timestamp: i64,
    now: i64,
    pub(super) line: Cow<'a, str>,
    made: Vec<Made<'a>>,
    /// Names that the record came with and that were taken away.
    hidden: Vec<Cow<'a, str>>,
    error: Option<&'static str>,
    error_details: Option<String>,
}

static NO_LABELS: std::sync::LazyLock<Labels> = std::sync::LazyLock::new(Labels::default);

impl<'a> Row<'a> {
    /// A row to be filled by [`Self::start`].
    pub fn new(metadata: &'a dyn Metadata<'a>) -> Self {
        Self {
            metadata,
            record: 0,
            stream: &NO_LABELS,
            timestamp: 0,
            now: 0,
            line: Cow::Borrowed(""),
            made: Vec::new(),
            hidden: Vec::new(),
            error: None,
            error_details: None,
        }
    }

    /// Says what time it is, in nanoseconds since 1970, for templates that ask.
    #[must_use]
    pub fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    /// Takes the next record: its number in the metadata, its stream's labels, its time in nanoseconds, its text.
    pub fn start(&mut self, record: usize, stream: &'a Labels, timestamp: i64, line: &'a str) {
        self.record = record;
        self.stream = stream;
        self.timestamp = timestamp;
        self.line = Cow::Borrowed(line);
        self.made.clear();
        self.hidden.clear();
        self.error = None;
        self.error_details = None;
    }

    /// The text, as the stages left it.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The text, without a copy where it is still the record's own.
    pub fn into_line(&mut self) -> Cow<'a, str> {
        std::mem::take(&mut self.line)
    }

    /// Runs a parser on the line. What it keeps of a line that is still the record's own is not copied.
    pub(super) fn with_line<R>(
        &mut self,
        parse: impl for<'l> FnOnce(&mut Self, &'l str, &dyn Fn(&'l str) -> Cow<'a, str>) -> R,
    ) -> R {
        match std::mem::take(&mut self.line) {
            Cow::Borrowed(line) => {
                self.line = Cow::Borrowed(line);
                parse(self, line, &|part: &'a str| Cow::Borrowed(part))
            }
            Cow::Owned(line) => {
                let result = parse(self, &line, &|part: &str| Cow::Owned(part.to_owned()));
                self.line = Cow::Owned(line);
                result
            }
        }
    }

    /// Nanoseconds since 1970.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// True while the labels are what the record came with.
    pub fn is_untouched(&self) -> bool {
        self.made.is_empty() && self.hidden.is_empty() && self.error.is_none() && self.error_details.is_none()
    }

    /// A label's value; empty stream labels count as missing. Errors are not labels here.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        if let Some(made) = self.made(name) {
            return Some(Cow::Borrowed(&made.value));
        }
        if self.is_hidden(name) {
            return None;
        }
        match self.metadata_value(name) {
            Some(value) => Some(value),
            None => match self.stream.get(name).filter(|value| !value.is_empty()) {
                Some(value) => Some(Cow::Borrowed(value)),
                None if name == PATTERN => self.metadata.pattern(self.record),
                None => None,
            },
        }
    }

    /// What a label filter sees: missing is empty, and `__error__` is there.
    pub(super) fn filter_value(&self, name: &str) -> Cow<'_, str> {
        if name == ERROR_LABEL {
            return Cow::Borrowed(self.error.unwrap_or_default());
        }
        self.get(name).unwrap_or_default()
    }

    fn made(&self, name: &str) -> Option<&Made<'a>> {
        self.made.iter().find(|made| made.name == name && !made.gone)
    }

    fn is_hidden(&self, name: &str) -> bool {
        !self.hidden.is_empty() && self.hidden.iter().any(|hidden| hidden == name)
    }

    /// Metadata whose name the stream has too shows with [`DUPLICATE_SUFFIX`].
    fn metadata_value(&self, name: &str) -> Option<Cow<'a, str>> {
        if self.stream.get(name).is_none()
            && let Some(value) = self.metadata.get(self.record, name)
        {
            return Some(value);
        }
        let stem = name.strip_suffix(DUPLICATE_SUFFIX)?;
        self.stream.get(stem)?;
        self.metadata.get(self.record, stem)
    }

    /// The name under which a parser shows what it found as `name`.
    pub(super) fn parsed_name<'n>(&self, name: Cow<'n, str>) -> Cow<'n, str> {
        if self.is_taken(&name) { Cow::Owned(format!("{name}{DUPLICATE_SUFFIX}")) } else { name }
    }

    /// Whether stream or metadata have the name. What was dropped from the stream still counts.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.stream.get(name).is_some() || (!self.is_hidden(name) && self.metadata_value(name).is_some())
    }

    /// Whether a parser or formatter made the label before, even if it was dropped since.
    pub(super) fn was_made(&self, name: &str) -> bool {
        self.made.iter().any(|made| made.name == name)
    }

    /// Sets a label as parsed.
    pub(super) fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match self.made.iter_mut().find(|made| made.name == name) {
            Some(made) => {
                made.value = value;
                made.gone = false;
            }
            None => self.made.push(Made { name, value, gone: false }),
        }
    }

    /// Takes a label away, wherever it is from.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(made) = self.made.iter_mut().find(|made| made.name == name) {
            made.gone = true;
        }
        if !self.is_hidden(name) {
            self.hidden.push(Cow::Owned(name.to_owned()));
        }
    }

    /// The kind of error, if one happened.
    pub fn error(&self) -> Option<&'static str> {
        self.error
    }

    /// What the error says.
    pub fn error_details(&self) -> Option<&str> {
        self.error_details.as_deref()
    }

    pub(super) fn set_error(&mut self, error: &'static str, details: Option<String>) {
        self.error = Some(error);
        if details.is_some() {
            self.error_details = details;
        }
    }

    pub(super) fn clear_error(&mut self) {
        self.error = None;
    }

    pub(super) fn clear_error_details(&mut self) {
        self.error_details = None;
    }

    /// Calls `visit` with every label, in no particular order, errors among them as parsed ones.
    pub fn each(&self, mut visit: impl FnMut(Category, &str, &str)) {
        for (name, value) in self.stream.iter() {
            if !self.is_hidden(name) && self.made(name).is_none() {
                visit(Category::Stream, name, value);
            }
        }
        self.metadata.each(self.record, &mut |name, value| {
            if name == ERROR_LABEL || name == ERROR_DETAILS_LABEL {
                return;
            }
            let name = match self.stream.get(name) {
                Some(_) => Cow::Owned(format!("{name}{DUPLICATE_SUFFIX}")),
                None => Cow::Borrowed(name),
            };
            if !self.is_hidden(&name) && self.made(&name).is_none() {
                visit(Category::Metadata, &name, &value);
            }
        });
        for made in self.made.iter().filter(|made| !made.gone) {
            visit(Category::Parsed, &made.name, &made.value);
        }
        if let Some(error) = self.error {
            visit(Category::Parsed, ERROR_LABEL, error);
        }
        if let Some(details) = &self.error_details {
            visit(Category::Parsed, ERROR_DETAILS_LABEL, details);
        }
    }

    /// All labels.
    pub fn labels(&self) -> Labels {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.each(|_, name, value| pairs.push((name.to_owned(), value.to_owned())));
        Labels::new(pairs)
    }

    /// The labels by which samples of this row are grouped. A row with an error keeps all of its labels.
    pub fn grouped_labels(&self, by: &GroupBy) -> Labels {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.each_grouped(by, |name, value| pairs.push((name.to_owned(), value.to_owned())));
        Labels::new(pairs)
    }

    fn each_grouped(&self, by: &GroupBy, mut visit: impl FnMut(&str, &str)) {
        match by {
            _ if self.error.is_some() => self.each(|_, name, value| visit(name, value)),
            GroupBy::Nothing => {}
            GroupBy::All => self.each(|_, name, value| visit(name, value)),
            GroupBy::By(names) => {
                for name in names {
                    if let Some(value) = self.get(name) {
                        visit(name, &value);
                    }
                }
            }
            GroupBy::Without(names) => self.each(|_, name, value| {
                // As in Loki, a label that is left over by `without` is gone if it is empty.
                if !names.iter().any(|n| n == name) && name != ERROR_DETAILS_LABEL && !value.is_empty() {
                    visit(name, value);
                }
            }),
        }
    }
}

/// How samples are grouped into series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GroupBy {
    /// By all labels.
    #[default]
    All,
    /// Into one series without labels.
    Nothing,
    /// By these labels.
    By(Vec<String>),
    /// By all but these labels.
    Without(Vec<String>),
}
