//! The functions that Prometheus gives to the labels and annotations of rules, and the data that they see.
//!
//! A text is read with [`read`], and filled for one result of the rule's expression with [`Filling`]. What `query` asks
//! goes to the caller's [`Querier`].

mod host;
mod humanize;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::signature::Kind::{self, Any, Text};
use super::signature::{Arguments, Signature};
use super::strings::{title_words, url_encode};
use super::value::{Object, Value, check_built};
use super::{Context, Library, Template, Time};
use crate::logql::units::parse_prometheus_duration;
use crate::regexp::compile;

const SAMPLE: Kind = Kind::Object("*template.sample");
const RESULT: Kind = Kind::Object("template.queryResult");

/// Prometheus's functions.
pub const FUNCTIONS: &[Signature] = &[
    ("query", &[Text], None),
    ("first", &[RESULT], None),
    ("label", &[Text, SAMPLE], None),
    ("value", &[SAMPLE], None),
    ("strvalue", &[SAMPLE], None),
    ("sortByLabel", &[Text, RESULT], None),
    ("args", &[], Some(Any)),
    ("reReplaceAll", &[Text, Text, Text], None),
    ("match", &[Text, Text], None),
    ("safeHtml", &[Text], None),
    ("title", &[Text], None),
    ("toUpper", &[Text], None),
    ("toLower", &[Text], None),
    ("graphLink", &[Text], None),
    ("tableLink", &[Text], None),
    ("stripPort", &[Text], None),
    ("stripDomain", &[Text], None),
    ("humanize", &[Any], None),
    ("humanize1024", &[Any], None),
    ("humanizeDuration", &[Any], None),
    ("humanizePercentage", &[Any], None),
    ("humanizeTimestamp", &[Any], None),
    ("toTime", &[Any], None),
    ("toDuration", &[Any], None),
    ("now", &[], None),
    ("pathPrefix", &[], None),
    ("externalURL", &[], None),
    ("parseDuration", &[Text], None),
    ("urlQueryEscape", &[Text], None),
];

const VARIABLES: &[&str] = &["$labels", "$externalLabels", "$externalURL", "$value"];

/// The value of a sample: a number, or a histogram as text.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// A number.
    Float(f64),
    /// A histogram as PromQL prints it.
    Histogram(String),
}

/// What a query answers: labels and a value.
#[derive(Debug, Clone, PartialEq)]
pub struct QueriedSample {
    /// Its labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: Number,
}

/// Who answers `query`.
pub trait Querier {
    /// The instant vector that an expression gives at the time of the evaluation.
    ///
    /// # Errors
    /// Why it cannot be answered.
    fn query(&self, expr: &str) -> Result<Vec<QueriedSample>, String>;
}

/// What a label or annotation is filled with.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// `$labels`: those of the expression's result.
    pub labels: BTreeMap<String, String>,
    /// `$externalLabels`.
    pub external_labels: BTreeMap<String, String>,
    /// `$externalURL`.
    pub external_url: String,
    /// `$value`.
    pub value: Number,
    /// When the rule is evaluated, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Reads a template of a label or annotation; `name` shows in messages.
///
/// # Errors
/// When it is malformed, in Go's words.
pub fn read(name: &str, text: &str) -> Result<Template, String> {
    Template::parse_with(name, text, &[FUNCTIONS], VARIABLES, &Library::default())
}

/// Fills a text. One without `{{` is what it is.
///
/// # Errors
/// When it is malformed or fails, in Go's words.
pub fn expand(name: &str, text: &str, data: &Data, querier: &dyn Querier) -> Result<String, String> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let template = read(name, text).map_err(|why| format!("error parsing template {name}: {why}"))?;
    let filled = template.render(&Filling { data, querier });
    filled.map_err(|why| format!("error executing template {name}: {why}"))
}

/// A template's surroundings: data, and who answers queries.
pub struct Filling<'f> {
    /// The data.
    pub data: &'f Data,
    /// For `query`.
    pub querier: &'f dyn Querier,
}

impl std::fmt::Debug for Filling<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filling").field("data", self.data).finish_non_exhaustive()
    }
}

impl Filling<'_> {
    fn fields(&self) -> [(&'static str, Value); 4] {
        let data = self.data;
        [
            ("Labels", Value::Labels),
            ("ExternalLabels", Value::Texts(Rc::new(data.external_labels.clone()))),
            ("ExternalURL", Value::text(data.external_url.as_str())),
            ("Value", number(&data.value)),
        ]
    }
}

impl Context for Filling<'_> {
    fn dot(&self) -> Value {
        super::Struct::value(
            "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
            self.fields(),
        )
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.data.labels
    }

    fn variables(&self) -> Vec<(&'static str, Value)> {
        VARIABLES.iter().copied().zip(self.fields().map(|(_, value)| value)).collect()
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        call(name, arguments, self)
    }
}

fn number(number: &Number) -> Value {
    match number {
        Number::Float(value) => Value::Float(*value),
        Number::Histogram(text) => Value::text(text.as_str()),
    }
}

/// One sample of a query's result.
#[derive(Debug)]
struct Sample {
    labels: Rc<BTreeMap<String, String>>,
    value: Value,
}

impl Object for Sample {
    fn type_name(&self) -> &str {
        "*template.sample"
    }

    fn member(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let value = match name {
            "Labels" => Value::Texts(Rc::clone(&self.labels)),
            "Value" => self.value.clone(),
            _ => return None,
        };
        Some(if arguments.is_empty() { Ok(value) } else { Err("not a function".to_owned()) })
    }

    fn show(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        format!("{{map[{}] {}}}", labels.join(" "), self.value.show(&BTreeMap::new()))
    }
}

/// A query's result: a list of samples.
#[derive(Debug)]
struct Samples(Rc<Vec<Value>>);

impl Object for Samples {
    fn type_name(&self) -> &str {
        "template.queryResult"
    }

    fn member(&self, _: &str, _: &[Value]) -> Option<Result<Value, String>> {
        None
    }

    fn content(&self) -> Value {
        Value::List(Rc::clone(&self.0))
    }

    fn show(&self) -> String {
        self.content().show(&BTreeMap::new())
    }
}

fn samples(found: Vec<QueriedSample>) -> Value {
    let one =
        |sample: QueriedSample| Value::object(Sample { labels: Rc::new(sample.labels), value: number(&sample.value) });
    Value::object(Samples(Rc::new(found.into_iter().map(one).collect())))
}

/// A label of a sample; empty if it has none of that name.
fn label(sample: &Value, name: &str) -> String {
    let Value::Object(sample) = sample else { return String::new() };
    match sample.member("Labels", &[]) {
        Some(Ok(Value::Texts(labels))) => labels.get(name).cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

fn items(result: &Value) -> Rc<Vec<Value>> {
    if let Value::List(items) = result.plain() { items } else { Rc::default() }
}

fn call(name: &str, values: &[Value], filling: &Filling<'_>) -> Result<Value, String> {
    let a = Arguments(values);
    let (first, second) = (a.text(0), a.text(1));
    Ok(match name {
        "query" => samples(filling.querier.query(first)?),
        "first" => items(a.any(0)).first().cloned().ok_or("first() called on vector with no elements")?,
        "label" => Value::text(label(a.any(1), first)),
        "strvalue" => Value::text(label(a.any(0), "__value__")),
        "value" => match a.object(0).and_then(|sample| sample.member("Value", &[])) {
            Some(value) => value?,
            None => Value::Nil,
        },
        "sortByLabel" => {
            let mut sorted = items(a.any(1)).to_vec();
            sorted.sort_by_cached_key(|sample| label(sample, first));
            Value::object(Samples(Rc::new(sorted)))
        }
        "args" => {
            check_built(values)?;
            Value::Map(Rc::new((0..).map(|i: usize| format!("arg{i}")).zip(values.iter().cloned()).collect()))
        }
        "reReplaceAll" => {
            let regex = compile(first).map_err(|error| error.to_string())?;
            let replaced = regex.replace_all(a.text(2).as_bytes(), second.as_bytes());
            Value::text(String::from_utf8_lossy(&replaced).into_owned())
        }
        "match" => Value::Bool(compile(first).map_err(|error| error.to_string())?.is_match(second.as_bytes())),
        "safeHtml" => Value::Html(first.into()),
        "title" => Value::text(title_words(first)),
        "toUpper" => Value::text(first.to_uppercase()),
        "toLower" => Value::text(first.to_lowercase()),
        "graphLink" => Value::text(format!("/graph?g0.expr={}&g0.tab=0", url_encode(first))),
        "tableLink" => Value::text(format!("/graph?g0.expr={}&g0.tab=1", url_encode(first))),
        "stripPort" => Value::text(host::strip_port(first)),
        "stripDomain" => Value::text(host::strip_domain(first)),
        "humanize" => Value::text(humanize::si(humanize::number(a.any(0))?)),
        "humanize1024" => Value::text(humanize::binary(humanize::number(a.any(0))?)),
        "humanizeDuration" => Value::text(humanize::duration(humanize::number(a.any(0))?)),
        "humanizePercentage" => Value::text(humanize::percentage(humanize::number(a.any(0))?)),
        "humanizeTimestamp" => Value::text(humanize::timestamp(humanize::number(a.any(0))?)?),
        "toTime" => Value::Time(humanize::time(humanize::number(a.any(0))?)?),
        "toDuration" => Value::Duration((humanize::number(a.any(0))? * 1e9) as i64),
        "now" => Value::Float(filling.data.at_ms as f64 / 1e3),
        "pathPrefix" => Value::text(host::path(&filling.data.external_url)),
        "externalURL" => Value::text(filling.data.external_url.as_str()),
        "parseDuration" => {
            let (sign, text) = first.strip_prefix('-').map_or((1.0, first), |text| (-1.0, text));
            Value::Float(sign * parse_prometheus_duration(text)? as f64 / 1e9)
        }
        "urlQueryEscape" => Value::text(url_encode(first)),
        other => return Err(format!("{other:?} is not a defined function")),
    })
}

#[cfg(test)]
mod tests;
