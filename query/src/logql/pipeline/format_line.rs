//! `| line_format` and `| decolorize`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::error_kind::TEMPLATE;
use super::row::Row;
use crate::template::{Context, Template, Value, loki};

/// What a template sees of a row.
pub(crate) struct Seen {
    labels: BTreeMap<String, String>,
    line: String,
    timestamp: i64,
    now: i64,
}

impl Seen {
    pub(crate) fn of(row: &Row<'_>) -> Self {
        let mut labels = BTreeMap::new();
        row.each(|_, name, value| {
            labels.insert(name.to_owned(), value.to_owned());
        });
        Self { labels, line: row.line().to_owned(), timestamp: row.timestamp(), now: row.now() }
    }
}

impl Context for Seen {
    fn dot(&self) -> Value {
        Value::Labels
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        loki::call(name, arguments, self)
    }
}

impl loki::Record for Seen {
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    fn line(&self) -> &str {
        &self.line
    }

    fn timestamp(&self) -> i64 {
        self.timestamp
    }

    fn now(&self) -> i64 {
        self.now
    }
}

/// Makes the line from a template; when that fails, the line stays and the row is marked.
pub(crate) fn format_line(row: &mut Row<'_>, template: &Template) {
    if let Some(field) = template.only_field() {
        row.line = Cow::Owned(row.get(field).map(Cow::into_owned).unwrap_or_default());
        return;
    }
    match template.render(&Seen::of(row)) {
        Ok(text) => row.line = Cow::Owned(text),
        Err(error) => row.set_error(TEMPLATE, Some(error)),
    }
}

/// What Loki takes for an ANSI escape sequence.
static ANSI: LazyLock<Regex> = LazyLock::new(|| {
    let sequence = "[\u{1B}\u{9B}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\u{7})\
        |(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";
    #[allow(clippy::unwrap_used, reason = "a constant pattern, covered by a test")]
    Regex::new(sequence).unwrap()
});

/// Takes colour codes out of the line.
pub(crate) fn decolorize(row: &mut Row<'_>) {
    if !row.line().contains(['\u{1B}', '\u{9B}']) {
        return;
    }
    if let Cow::Owned(plain) = ANSI.replace_all(row.line(), "") {
        row.line = Cow::Owned(plain);
    }
}
