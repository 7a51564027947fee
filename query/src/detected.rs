//! What is in lines without anybody having said so: fields that `json` or `logfmt` would find, and structured metadata,
//! with their types. For pickers of fields, over a sample of lines.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use storage::Labels;

use crate::log_query::LogStream;
use crate::logql::pipeline::{
    Category, ERROR_DETAILS_LABEL, ERROR_LABEL, NoMetadata, PRESERVE_ERROR_LABEL, Pipeline, Row, append_name,
};
use crate::logql::units::{parse_bytes, parse_go_duration};
use crate::logql::{Logfmt, ParseError, Stage};

/// A field that lines have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetectedField {
    /// `int`, `float`, `boolean`, `duration`, `bytes` or `string`.
    pub kind: &'static str,
    /// The parsers that find it; none for structured metadata.
    pub parsers: Vec<&'static str>,
    /// Where it lies in a line that is JSON.
    pub json_path: Option<Vec<String>>,
    /// Its values.
    pub values: HashSet<String>,
}

/// Finds fields in the lines of categorized streams.
#[derive(Debug)]
pub struct Detector {
    json: Pipeline,
    logfmt: Pipeline,
    fields: BTreeMap<String, DetectedField>,
}

impl Detector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// Never: the parsers have no text that could be malformed.
    pub fn new() -> Result<Self, ParseError> {
        let logfmt = Logfmt { strict: false, keep_empty: false, extractions: Vec::new() };
        Ok(Self {
            json: Pipeline::new(&[Stage::Json(Vec::new())])?,
            logfmt: Pipeline::new(&[Stage::Logfmt(logfmt)])?,
            fields: BTreeMap::new(),
        })
    }

    /// Looks at streams as a categorizing query answers them.
    pub fn look_at(&mut self, streams: &[LogStream]) {
        // The last value decides the type: in Loki's order, streams go by their labels.
        let mut sorted: Vec<&LogStream> = streams.iter().collect();
        sorted.sort_by(|a, b| a.labels.cmp_pairs(&b.labels));
        for stream in sorted {
            let labels = Labels::new(stream.labels.iter());
            for entry in &stream.entries {
                for (name, value) in entry.metadata.iter() {
                    self.found(name, value, None, None);
                }
                for (name, value) in entry.parsed.iter() {
                    self.found(name, value, None, None);
                }
                self.parse(&labels, &entry.line);
            }
        }
    }

    /// Everything found, by name.
    pub fn fields(&self) -> &BTreeMap<String, DetectedField> {
        &self.fields
    }

    fn parse(&mut self, labels: &Labels, line: &str) {
        let parsed = |pipeline: &Pipeline| {
            let mut row = Row::new(&NoMetadata);
            row.start(0, labels, 0, line);
            if !pipeline.run(&mut row) || row.error().is_some() {
                return None;
            }
            let mut found: Vec<(String, String)> = Vec::new();
            row.each(|category, name, value| {
                if category == Category::Parsed {
                    found.push((name.to_owned(), value.to_owned()));
                }
            });
            Some(found)
        };
        let (parser, found) = match parsed(&self.json) {
            Some(found) => ("json", found),
            None => match parsed(&self.logfmt) {
                Some(found) => ("logfmt", found),
                None => return,
            },
        };
        let paths = if parser == "json" { json_paths(line) } else { BTreeMap::new() };
        for (name, value) in found {
            let path = paths.get(name.strip_suffix("_extracted").unwrap_or(&name)).or_else(|| paths.get(&name));
            self.found(&name, &value, Some(parser), path);
        }
    }

    fn found(&mut self, name: &str, value: &str, parser: Option<&'static str>, path: Option<&Vec<String>>) {
        if [ERROR_LABEL, ERROR_DETAILS_LABEL, PRESERVE_ERROR_LABEL].contains(&name) {
            return;
        }
        if !self.fields.contains_key(name) {
            self.fields.insert(name.to_owned(), DetectedField::default());
        }
        let Some(field) = self.fields.get_mut(name) else { return };
        field.kind = kind_of(value);
        field.parsers.extend(parser.filter(|parser| !field.parsers.contains(parser)));
        if let Some(path) = path {
            field.json_path = Some(path.clone());
        }
        if !field.values.contains(value) {
            field.values.insert(value.to_owned());
        }
    }
}

/// Loki's order of guesses.
fn kind_of(value: &str) -> &'static str {
    let is_bool =
        matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False");
    if value.parse::<i64>().is_ok() {
        "int"
    } else if value.parse::<f64>().is_ok() {
        "float"
    } else if is_bool {
        "boolean"
    } else if parse_go_duration(value).is_ok() {
        "duration"
    } else if parse_bytes(value).is_ok() {
        "bytes"
    } else {
        "string"
    }
}

/// For each label that `json` makes of a line, where its value lies.
fn json_paths(line: &str) -> BTreeMap<String, Vec<String>> {
    fn walk(value: &Value, path: &mut Vec<String>, paths: &mut BTreeMap<String, Vec<String>>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    path.push(name.clone());
                    walk(value, path, paths);
                    path.pop();
                }
            }
            _ => {
                let mut name = String::new();
                for (at, key) in path.iter().enumerate() {
                    if at > 0 {
                        name.push('_');
                    }
                    append_name(&mut name, key);
                }
                paths.insert(name, path.clone());
            }
        }
    }
    let mut paths = BTreeMap::new();
    // As the parser, what comes behind the object is passed over.
    if let Some(Ok(value)) = serde_json::Deserializer::from_str(line).into_iter::<Value>().next() {
        walk(&value, &mut Vec::new(), &mut paths);
    }
    paths
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::LabelSet;
    use crate::log_query::Entry;

    #[test]
    fn fields_have_types_and_parsers() {
        let entry = |line: &str| Entry {
            timestamp: 0,
            line: line.to_owned(),
            metadata: LabelSet::new(&mut [("trace_id", "abc")]),
            parsed: LabelSet::default(),
        };
        let entries = vec![
            entry(r#"{"user": {"id": 7}, "took": "1.5s", "app": "x", "ok": true}"#),
            entry("size=10KiB level=info took=2s"),
            entry("plain text"),
        ];
        let mut detector = Detector::new().unwrap();
        detector.look_at(&[LogStream { labels: LabelSet::new(&mut [("app", "a")]), entries }]);
        let field = |name: &str| {
            let field = &detector.fields()[name];
            (field.kind, field.parsers.clone(), field.json_path.clone(), field.values.len())
        };
        assert_eq!(field("trace_id"), ("string", vec![], None, 1));
        assert_eq!(field("user_id"), ("int", vec!["json"], Some(vec!["user".into(), "id".into()]), 1));
        assert_eq!(field("took"), ("duration", vec!["json", "logfmt"], Some(vec!["took".into()]), 2));
        assert_eq!(field("app_extracted").1, ["json"]);
        assert_eq!(field("size"), ("bytes", vec!["logfmt"], None, 1));
        assert_eq!(field("ok").0, "boolean");
    }
}
