//! What templates compute with.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::logql::units::format_go_duration;
use crate::number::format_float_general;

use super::time::Time;

/// The longest text that showing a value makes.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 20;
/// The most values, and the deepest nesting, of a list or map that a template builds.
const BUILT_VALUES_MAX: usize = 10_000;
const BUILT_DEPTH_MAX: usize = 32;

/// A value. Maps and lists come from the caller, or from functions such as `fromJson`.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing: shown as `<no value>`.
    Nil,
    /// True or false.
    Bool(bool),
    /// Go's `int`.
    Int(i64),
    /// Go's `int64`, which is another type: what arithmetic answers.
    Long(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Rc<str>),
    /// A text that is not escaped where a template makes HTML.
    Html(Rc<str>),
    /// A moment.
    Time(Time),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// The labels, which are the context's.
    Labels,
    /// Texts by name; a name that is not there is empty.
    Texts(Rc<BTreeMap<String, String>>),
    /// Values by name; a name that is not there is nothing.
    Map(Rc<BTreeMap<String, Value>>),
    /// Values in order.
    List(Rc<Vec<Value>>),
    /// What the caller defines: fields, methods, and its own way to be shown.
    Object(Rc<dyn Object>),
}

/// A value of the caller's: a struct, or a map or list with methods.
pub trait Object: fmt::Debug {
    /// What messages call the type, as in `template.KV`; parameters ask for it.
    fn type_name(&self) -> &str;
    /// The field of this name, or what the method answers. Nothing if there is neither.
    fn member(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>>;
    /// The map or list that `range`, `len`, `index` and `if` see; nothing for a struct, which is always true.
    fn content(&self) -> Value {
        Value::Nil
    }
    /// As `%v` prints it.
    fn show(&self) -> String;
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Values in order.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(Rc::new(items.into_iter().collect()))
    }

    /// A caller's value.
    pub fn object(object: impl Object + 'static) -> Self {
        Self::Object(Rc::new(object))
    }

    /// What Go calls the type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Long(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Html(_) => "template.HTML",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Labels | Self::Texts(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::List(_) => "[]interface {}",
            Self::Object(object) => object.type_name(),
        }
    }

    /// Not zero, not empty. Labels count as there are any.
    pub(super) fn is_true(&self, labels: usize) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Long(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Html(text) => !text.is_empty(),
            Self::Time(_) => true,
            Self::Labels => labels > 0,
            Self::Texts(map) => !map.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Object(object) => match object.content() {
                Self::Nil => true,
                content => content.is_true(labels),
            },
        }
    }

    /// The plain map or list of an object that is one; every other value as it is.
    pub(super) fn plain(&self) -> Self {
        match self {
            Self::Object(object) => match object.content() {
                Self::Nil => self.clone(),
                content => content,
            },
            other => other.clone(),
        }
    }

    /// As `%v` prints it; what is far too long is cut.
    pub(super) fn show(&self, labels: &BTreeMap<String, String>) -> String {
        match self {
            Self::Text(text) | Self::Html(text) => text.to_string(),
            other => {
                let mut out = String::new();
                other.show_into(&mut out, labels);
                out
            }
        }
    }

    fn show_into(&self, out: &mut String, labels: &BTreeMap<String, String>) {
        if out.len() > TEXT_BYTES_MAX {
            return;
        }
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) | Self::Long(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&format_float_general(*value)),
            Self::Text(text) | Self::Html(text) => out.push_str(text),
            Self::Time(time) => out.push_str(&time.show()),
            Self::Duration(ns) => out.push_str(&format_go_duration(*ns)),
            Self::Labels => show_texts(labels, out),
            Self::Texts(map) => show_texts(map, out),
            Self::Map(map) => {
                out.push_str("map[");
                for (i, (name, value)) in map.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { " " });
                    out.push_str(name);
                    out.push(':');
                    value.show_into(out, labels);
                }
                out.push(']');
            }
            Self::List(list) => {
                out.push('[');
                for (i, value) in list.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { " " });
                    value.show_into(out, labels);
                }
                out.push(']');
            }
            Self::Object(object) => out.push_str(&object.show()),
        }
    }

    /// The bytes of text in it that are seen at a glance: what looking at the value costs.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) | Self::Html(text) => text.len(),
            Self::List(list) => list.len() * size_of::<Self>(),
            Self::Map(map) => map.len() * size_of::<Self>(),
            _ => 0,
        }
    }
}

fn show_texts(map: &BTreeMap<String, String>, out: &mut String) {
    out.push_str("map[");
    for (i, (name, value)) in map.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { " " });
        out.push_str(name);
        out.push(':');
        out.push_str(value);
    }
    out.push(']');
}

/// Refuses to build a list or map of `values` when it would be too large or nested too deeply: showing one
/// that holds itself twice, over and over, would never end.
///
/// # Errors
/// What is too large, for a message.
pub fn check_built(values: &[Value]) -> Result<(), String> {
    let mut left = BUILT_VALUES_MAX;
    values.iter().try_for_each(|value| check_nested(value, BUILT_DEPTH_MAX, &mut left))
}

fn check_nested(value: &Value, depth: usize, left: &mut usize) -> Result<(), String> {
    *left = left.checked_sub(1).ok_or_else(|| format!("more than {BUILT_VALUES_MAX} values"))?;
    let deeper = || depth.checked_sub(1).ok_or_else(|| format!("nested deeper than {BUILT_DEPTH_MAX}"));
    match value {
        Value::Map(map) => {
            let depth = deeper()?;
            map.values().try_for_each(|value| check_nested(value, depth, left))
        }
        Value::List(list) => {
            let depth = deeper()?;
            list.iter().try_for_each(|value| check_nested(value, depth, left))
        }
        _ => Ok(()),
    }
}

/// A struct: fields by name, and nothing else.
#[derive(Debug)]
pub struct Struct {
    type_name: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Struct {
    /// A struct as a value; the fields in the order in which they are shown.
    pub fn value(type_name: &'static str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
        Value::object(Self { type_name, fields: fields.into_iter().collect() })
    }
}

impl Object for Struct {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn member(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let (_, value) = self.fields.iter().find(|(field, _)| *field == name)?;
        Some(match arguments {
            [] => Ok(value.clone()),
            _ => Err(format!("{name} has arguments but cannot be invoked as function")),
        })
    }

    fn show(&self) -> String {
        let none = BTreeMap::new();
        let fields: Vec<_> = self.fields.iter().map(|(_, value)| value.show(&none)).collect();
        format!("{{{}}}", fields.join(" "))
    }
}

/// A JSON text as values; nothing if it is malformed.
pub(super) fn from_json(text: &str) -> Value {
    serde_json::from_str(text).map_or(Value::Nil, |json: serde_json::Value| convert(&json))
}

fn convert(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Value::text(text.as_str()),
        serde_json::Value::Array(items) => Value::list(items.iter().map(convert)),
        serde_json::Value::Object(members) => {
            Value::Map(Rc::new(members.iter().map(|(name, value)| (name.clone(), convert(value))).collect()))
        }
    }
}
