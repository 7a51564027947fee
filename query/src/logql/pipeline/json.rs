//! `| json`, `| json a="b.c[0]"` and `| unpack`.

use std::borrow::Cow;

use super::demand::Demand;
use super::error_kind::{JSON, mark};
use super::json_scan::{
    JsonError, JsonValue, Walk, each_member, element_start, member_start, text_of, unescape, value,
};
use super::row::Row;
use super::sanitize::{append, label_name};
use crate::logql::ast::Extraction;

/// Objects deeper than this are not looked into.
const DEPTH_MAX: usize = 128;

/// `| json`: every scalar becomes a label; names of nested ones are joined with `_`; arrays and nulls are left out.
pub(crate) fn parse_all(row: &mut Row<'_>, demand: &Demand) {
    if demand.is_met(row) {
        return;
    }
    let result = row.with_line(|row, line, keep| {
        let mut parser = Members { row, demand, keep, prefix: String::new(), depth: 0 };
        parser.object(line)
    });
    if let Err(error) = result {
        mark(row, demand, JSON, Some(error.as_str().to_owned()));
    }
}

/// How a slice of the line becomes a label's value.
type Keep<'k, 'l, 'a> = &'k dyn Fn(&'l str) -> Cow<'a, str>;

struct Members<'r, 'a, 'k, 'l> {
    row: &'r mut Row<'a>,
    demand: &'r Demand,
    keep: Keep<'k, 'l, 'a>,
    /// Name of the object that is being walked.
    prefix: String,
    depth: usize,
}

impl<'a, 'l> Members<'_, 'a, '_, 'l> {
    fn object(&mut self, text: &'l str) -> Result<Walk, JsonError> {
        each_member(text, &mut |key, value| self.member(key, value))
    }

    fn member(&mut self, key: Cow<'l, str>, value: JsonValue<'l>) -> Result<Walk, JsonError> {
        match value {
            JsonValue::Object(inner) => return self.nested(&key, inner),
            JsonValue::String(raw) => self.scalar(key, raw, true),
            JsonValue::Number(raw) | JsonValue::Boolean(raw) => self.scalar(key, raw, false),
            JsonValue::Null | JsonValue::Array(_) => {}
        }
        Ok(if self.demand.is_met(self.row) { Walk::Stop } else { Walk::On })
    }

    fn nested(&mut self, key: &str, inner: &'l str) -> Result<Walk, JsonError> {
        let length = self.enter(key);
        self.depth += 1;
        let wanted = self.depth <= DEPTH_MAX && self.demand.wants_prefix(&self.prefix);
        let result = if wanted { self.object(inner) } else { Ok(Walk::On) };
        self.depth -= 1;
        self.prefix.truncate(length);
        result
    }

    /// Appends a key to the prefix; answers the length before.
    fn enter(&mut self, key: &str) -> usize {
        let length = self.prefix.len();
        if !key.trim().is_empty() {
            if !self.prefix.is_empty() {
                self.prefix.push('_');
            }
            append(&mut self.prefix, key);
        }
        length
    }

    fn scalar(&mut self, key: Cow<'l, str>, raw: &'l str, is_string: bool) {
        let name = if self.depth == 0 {
            match key {
                Cow::Borrowed(key) => match label_name(key) {
                    Cow::Borrowed(name) => (self.keep)(name),
                    Cow::Owned(name) => Cow::Owned(name),
                },
                Cow::Owned(key) => Cow::Owned(label_name(&key).into_owned()),
            }
        } else {
            let length = self.enter(&key);
            let name = self.prefix.clone();
            self.prefix.truncate(length);
            Cow::Owned(name)
        };
        if name.is_empty() {
            return;
        }
        let name = self.row.parsed_name(name);
        if !self.demand.wants(&name) || self.row.was_made(&name) {
            return;
        }
        let value = if is_string { kept_text(raw, self.keep) } else { (self.keep)(raw) };
        self.row.set(name, value);
    }
}

fn kept_text<'l, 'a>(raw: &'l str, keep: Keep<'_, 'l, 'a>) -> Cow<'a, str> {
    match text_of(raw) {
        Cow::Borrowed(text) => keep(text),
        Cow::Owned(text) => Cow::Owned(text),
    }
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `| json a="b.c[0]"`: named places in the line.
#[derive(Debug, Clone)]
pub(crate) struct JsonExpressions {
    places: Vec<(String, Vec<Step>)>,
}

impl JsonExpressions {
    pub(crate) fn new(extractions: &[Extraction]) -> Result<Self, String> {
        let place = |e: &Extraction| {
            let steps = parse_path(&e.expression)
                .map_err(|error| format!("cannot parse expression [{}]: {error}", e.expression))?;
            Ok((e.name.clone(), steps))
        };
        Ok(Self { places: extractions.iter().map(place).collect::<Result<_, String>>()? })
    }

    /// A place that the line does not have becomes an empty label.
    pub(crate) fn process(&self, row: &mut Row<'_>, demand: &Demand) {
        if row.line().is_empty() || demand.is_met(row) {
            return;
        }
        if !row.line().starts_with(['"', '{', '[']) {
            mark(row, demand, JSON, None);
            return;
        }
        row.with_line(|row, line, keep| {
            let mut missing = false;
            for (name, steps) in &self.places {
                let found = match find(line, steps) {
                    Ok(Some(found)) => found,
                    Ok(None) => {
                        missing = true;
                        continue;
                    }
                    Err(error) => {
                        missing = true;
                        mark(row, demand, JSON, Some(error.as_str().to_owned()));
                        continue;
                    }
                };
                let value = match found {
                    JsonValue::Null => Cow::Borrowed(""),
                    JsonValue::Object(raw) => keep(raw),
                    JsonValue::String(raw) | JsonValue::Array(raw) => kept_text(raw, keep),
                    JsonValue::Number(raw) | JsonValue::Boolean(raw) => keep(raw),
                };
                let name = row.parsed_name(Cow::Owned(name.clone()));
                row.set(name, value);
            }
            if missing {
                for (name, _) in &self.places {
                    if row.get(name).is_none() {
                        row.set(Cow::Owned(name.clone()), Cow::Borrowed(""));
                    }
                }
            }
        });
    }
}

/// The value at a place; an error if it is there and malformed.
fn find<'l>(line: &'l str, steps: &[Step]) -> Result<Option<JsonValue<'l>>, JsonError> {
    let mut at = 0;
    for step in steps {
        let next = match step {
            Step::Key(key) => member_start(line, at, key),
            Step::Index(index) => element_start(line, at, *index),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    value(line, at).map(|(found, _)| Some(found))
}

/// `a.b[0]["c d"]`.
fn parse_path(expression: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = expression.trim_start_matches([' ', '\t', '\n']);
    let mut after_dot = true;
    while let Some(c) = rest.chars().next() {
        if c == '[' {
            let (step, tail) = bracket(rest)?;
            steps.push(step);
            rest = tail;
            after_dot = false;
        } else if c == '.' && !steps.is_empty() && !after_dot {
            after_dot = true;
            rest = rest.get(1..).unwrap_or_default();
        } else if (c.is_ascii_alphabetic() || c == '_') && after_dot {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (field, tail) = rest.split_at(end);
            steps.push(Step::Key(field.to_owned()));
            rest = tail;
            after_dot = false;
        } else {
            return Err(format!("unexpected char {c}"));
        }
        rest = rest.trim_start_matches([' ', '\t', '\n']);
    }
    if after_dot { Err("syntax error: unexpected $end".to_owned()) } else { Ok(steps) }
}

fn bracket(text: &str) -> Result<(Step, &str), String> {
    let inside = text.get(1..).unwrap_or_default().trim_start_matches([' ', '\t', '\n']);
    let (step, tail) = if let Some(quoted) = inside.strip_prefix('"') {
        let (key, tail) = quoted.split_once('"').ok_or("syntax error: unexpected $end")?;
        (Step::Key(key.to_owned()), tail)
    } else {
        let end = inside.find(|c: char| !c.is_ascii_digit()).unwrap_or(inside.len());
        let (digits, tail) = inside.split_at(end);
        if tail.starts_with('.') {
            return Err("cannot use float as array index".to_owned());
        }
        let index = digits.parse().map_err(|_| format!("invalid array index in {text}"))?;
        (Step::Index(index), tail)
    };
    let tail = tail.trim_start_matches([' ', '\t', '\n']).strip_prefix(']').ok_or("syntax error: expecting ]")?;
    Ok((step, tail))
}

/// `| unpack`: a line that was packed has its labels and, as `_entry`, its text in a JSON object of strings.
pub(crate) fn unpack(row: &mut Row<'_>, demand: &Demand) {
    if row.line().is_empty() || demand.is_met(row) {
        return;
    }
    if !row.line().starts_with('{') {
        mark(row, demand, JSON, Some("expecting json object(6), but it is not".to_owned()));
        return;
    }
    let result = row.with_line(|row, line, keep| {
        let mut entry = None;
        let mut labels = Vec::new();
        each_member(line, &mut |key, value| {
            let JsonValue::String(raw) = value else { return Ok(Walk::On) };
            if key == "_entry" {
                entry = Some(if raw.contains('\\') {
                    Cow::Owned(unescape(raw).ok_or(JsonError::Escape)?)
                } else {
                    keep(raw)
                });
                return Ok(Walk::On);
            }
            let name = row.parsed_name(Cow::Borrowed(&*key));
            if demand.wants(&name) && !row.was_made(&name) {
                labels.push((label_name(&name).into_owned(), kept_text(raw, keep)));
            }
            Ok(Walk::On)
        })?;
        if entry.is_some() {
            for (name, value) in labels {
                row.set(Cow::Owned(name), value);
            }
        }
        Ok(entry)
    });
    match result {
        Ok(Some(entry)) => row.line = entry,
        Ok(None) => {}
        Err(error) => mark(row, demand, JSON, Some(JsonError::as_str(error).to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path: &str, line: &str, found: Option<JsonValue<'_>>| {
            assert_eq!(find(line, &parse_path(path).unwrap()), Ok(found), "{path} in {line}");
        };
        let line = r#"{"a":{"b":[1,{"c d":"x"}]},"n":null,"a":2}"#;
        check("a.b[0]", line, Some(JsonValue::Number("1")));
        check(r#"a.b[1]["c d"]"#, line, Some(JsonValue::String("x")));
        check(r#"["a"].b"#, line, Some(JsonValue::Array(r#"[1,{"c d":"x"}]"#)));
        check("n", line, Some(JsonValue::Null));
        check("a.b[7]", line, None);
        check("z", line, None);
        check("[1]", "[1,2]", Some(JsonValue::Number("2")));
        check("a", r#"{"b":{"a":2},"a":1,"c":"cut"#, Some(JsonValue::Number("1")));
        check("a.b", r#"{"a":{"b":"x","#, Some(JsonValue::String("x")));
        check("[3]", "[1,2]", None);
        check("[0]", "[]", None);
        assert_eq!(find(r#"{"a":NaN}"#, &parse_path("a").unwrap()), Err(JsonError::UnknownValue));
        for bad in ["", "a.", ".a", "a..b", "a[", "a[1.5]", "a[x]", "a b", "a-b", "a[\"x", "1"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }
}
