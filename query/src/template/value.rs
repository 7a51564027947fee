//! What templates compute with.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::number::format_float_general;

use super::time::Time;

/// A value. Maps and lists come from `fromJson`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing: shown as `<no value>`.
    Nil,
    Bool(bool),
    /// Go's `int`.
    Int(i64),
    /// Go's `int64`, which is another type: what arithmetic answers.
    Long(i64),
    Float(f64),
    Text(Rc<str>),
    Time(Time),
    /// The labels, which are the context's.
    Labels,
    Map(Rc<BTreeMap<String, Value>>),
    List(Rc<Vec<Value>>),
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// What Go calls the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Long(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::Labels => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::List(_) => "[]interface {}",
        }
    }

    /// Not zero, not empty. Labels count as there are any.
    pub(super) fn is_true(&self, labels: usize) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Long(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Time(_) => true,
            Self::Labels => labels > 0,
            Self::Map(map) => !map.is_empty(),
            Self::List(list) => !list.is_empty(),
        }
    }

    /// As `%v` prints it.
    pub(super) fn show(&self, labels: &BTreeMap<String, String>) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) | Self::Long(value) => value.to_string(),
            Self::Float(value) => format_float_general(*value),
            Self::Text(text) => text.to_string(),
            Self::Time(time) => time.show(),
            Self::Labels => {
                let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Map(map) => {
                let pairs: Vec<_> = map.iter().map(|(name, value)| format!("{name}:{}", value.show(labels))).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::List(list) => {
                let items: Vec<_> = list.iter().map(|value| value.show(labels)).collect();
                format!("[{}]", items.join(" "))
            }
        }
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
        serde_json::Value::Array(items) => Value::List(Rc::new(items.iter().map(convert).collect())),
        serde_json::Value::Object(members) => {
            Value::Map(Rc::new(members.iter().map(|(name, value)| (name.clone(), convert(value))).collect()))
        }
    }
}
