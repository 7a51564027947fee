//! The functions of the language itself, which every template has.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::printf::{sprint, sprintf, sprintln};
use super::signature::Kind::{Any, Text};
use super::signature::{Arguments, Signature};
use super::strings::{self, text_of};
use super::value::Value;

type Labels = BTreeMap<String, String>;

pub(super) const SIGNATURES: &[Signature] = &[
    ("and", &[Any], Some(Any)),
    ("or", &[Any], Some(Any)),
    ("not", &[Any], None),
    ("len", &[Any], None),
    ("index", &[Any], Some(Any)),
    ("slice", &[Any], Some(Any)),
    ("print", &[], Some(Any)),
    ("println", &[], Some(Any)),
    ("printf", &[Text], Some(Any)),
    ("html", &[], Some(Any)),
    ("js", &[], Some(Any)),
    ("urlquery", &[], Some(Any)),
    ("eq", &[Any], Some(Any)),
    ("ne", &[Any, Any], None),
    ("lt", &[Any, Any], None),
    ("le", &[Any, Any], None),
    ("gt", &[Any, Any], None),
    ("ge", &[Any, Any], None),
    ("call", &[Any], Some(Any)),
];

/// Calls a function; nothing if it is not one of these. `and` and `or` are the executor's.
pub(super) fn call(name: &str, values: &[Value], labels: &Labels) -> Option<Result<Value, String>> {
    let a = Arguments(values);
    Some(Ok(match name {
        "print" => Value::text(sprint(values, labels)),
        "println" => Value::text(sprintln(values, labels)),
        "printf" => Value::text(sprintf(a.text(0), values.get(1..).unwrap_or_default(), labels)),
        "html" => Value::text(strings::html(&sprint(values, labels))),
        "js" => Value::text(strings::js(&sprint(values, labels))),
        "urlquery" => Value::text(strings::url_encode(&sprint(values, labels))),
        "not" => Value::Bool(!a.any(0).is_true(labels.len())),
        "len" => return Some(length(&a.any(0).plain(), labels.len())),
        "index" => return Some(index(values, labels)),
        "slice" => return Some(slice(values)),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => return Some(compare(name, values).map(Value::Bool)),
        "call" => return Some(Err(format!("non-function of type {}", a.any(0).type_name()))),
        _ => return None,
    }))
}

fn length(value: &Value, labels: usize) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) | Value::Html(text) => text.len(),
        Value::Texts(map) => map.len(),
        Value::Map(map) => map.len(),
        Value::List(list) => list.len(),
        Value::Labels => labels,
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(length as i64))
}

fn index(values: &[Value], labels: &Labels) -> Result<Value, String> {
    let [first, keys @ ..] = values else { return Ok(Value::Nil) };
    let mut value = first.clone();
    for key in keys {
        value = match (&value.plain(), key) {
            (Value::Labels, Value::Text(name)) => Value::text(labels.get(&**name).map_or("", String::as_str)),
            (Value::Texts(map), Value::Text(name)) => Value::text(map.get(&**name).map_or("", String::as_str)),
            (Value::Map(map), Value::Text(name)) => map.get(&**name).cloned().unwrap_or(Value::Nil),
            (Value::List(list), Value::Int(at) | Value::Long(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| list.get(at));
                found.cloned().ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::Text(text), Value::Int(at) | Value::Long(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
                found.map(|b| Value::Int(i64::from(*b))).ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (Value::Labels | Value::Texts(_) | Value::Map(_), other) => {
                return Err(format!("value has type {}; should be string", other.type_name()));
            }
            (Value::List(_) | Value::Text(_), other) => {
                return Err(format!("cannot index slice/array with type {}", other.type_name()));
            }
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(values: &[Value]) -> Result<Value, String> {
    let [value, bounds @ ..] = values else { return Ok(Value::Nil) };
    let value = &value.plain();
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut ends = [0, length];
    for (end, bound) in ends.iter_mut().zip(bounds) {
        let (Value::Int(at) | Value::Long(at)) = bound else {
            return Err(format!("cannot index slice/array with type {}", bound.type_name()));
        };
        *end =
            usize::try_from(*at).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {at}"))?;
    }
    let [start, end] = ends;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match value {
        Value::Text(text) => Value::text(text_of(text.as_bytes().get(start..end).unwrap_or_default())),
        Value::List(list) => Value::List(Rc::new(list.get(start..end).unwrap_or_default().to_vec())),
        _ => Value::Nil,
    })
}

fn compare(name: &str, values: &[Value]) -> Result<bool, String> {
    let [first, others @ ..] = values else { return Ok(false) };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    if name == "eq" || name == "ne" {
        for other in others {
            let equal = match (first, other) {
                (Value::Nil, other) | (other, Value::Nil) => matches!(other, Value::Nil),
                _ => ordering(first, other)? == Some(std::cmp::Ordering::Equal),
            };
            if equal {
                return Ok(name == "eq");
            }
        }
        return Ok(name == "ne");
    }
    if matches!(first, Value::Bool(_)) {
        return Err("invalid type for comparison".to_owned());
    }
    let order = ordering(first, others.first().unwrap_or(&Value::Nil))?;
    Ok(match name {
        "lt" => order.is_some_and(std::cmp::Ordering::is_lt),
        "le" => order.is_some_and(std::cmp::Ordering::is_le),
        "gt" => order.is_some_and(std::cmp::Ordering::is_gt),
        _ => order.is_some_and(std::cmp::Ordering::is_ge),
    })
}

fn ordering(a: &Value, b: &Value) -> Result<Option<std::cmp::Ordering>, String> {
    match (a, b) {
        (Value::Int(a) | Value::Long(a), Value::Int(b) | Value::Long(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Duration(a), Value::Duration(b) | Value::Int(b) | Value::Long(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(a) | Value::Long(a), Value::Duration(b)) => Ok(Some(a.cmp(b))),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(_) | Value::Int(_) | Value::Long(_) | Value::Float(_) | Value::Text(_), _)
            if matches!(b, Value::Bool(_) | Value::Int(_) | Value::Long(_) | Value::Float(_) | Value::Text(_)) =>
        {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}
