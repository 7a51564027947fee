//! What functions take: their parameters' types, checked before a call in Go's words.

use std::rc::Rc;

use super::ast::{Operand, OperandKind};
use super::time::Time;
use super::value::{Object, Value};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A text.
    Text,
    /// Go's `int`.
    Int,
    /// Go's `float64`.
    Float,
    /// A moment.
    Time,
    /// A length of time.
    Duration,
    /// An object that calls its type so.
    Object(&'static str),
    /// Whatever is given; the function looks for itself.
    Any,
}

/// A function's name, its parameters, and what may follow them any number of times.
pub type Signature = (&'static str, &'static [Kind], Option<Kind>);

/// Refuses a wrong number of arguments.
pub(super) fn check_count((name, parameters, more): &Signature, given: usize) -> Result<(), String> {
    let wanted = parameters.len();
    match more {
        None if given != wanted => Err(format!("wrong number of args for {name}: want {wanted} got {given}")),
        Some(_) if given < wanted => {
            Err(format!("wrong number of args for {name}: want at least {wanted} got {given}"))
        }
        _ => Ok(()),
    }
}

/// The value as the parameter takes it; a constant number fits any type that can hold it.
pub(super) fn convert(
    (_, parameters, more): &Signature,
    at: usize,
    value: Value,
    operand: Option<&Operand>,
) -> Result<Value, String> {
    let kind = parameters.get(at).copied().or(*more).unwrap_or(Kind::Any);
    let expected = match kind {
        Kind::Any => return Ok(value),
        Kind::Text => "string",
        Kind::Int => "int",
        Kind::Float => "float64",
        Kind::Time => "time.Time",
        Kind::Duration => "time.Duration",
        Kind::Object(name) => name,
    };
    let constant = operand.filter(|operand| matches!(operand.kind, OperandKind::Number(..) | OperandKind::Text(..)));
    match (kind, value) {
        (Kind::Text, value @ Value::Text(_))
        | (Kind::Int, value @ Value::Int(_))
        | (Kind::Float, value @ Value::Float(_))
        | (Kind::Duration, value @ Value::Duration(_))
        | (Kind::Time, value @ Value::Time(_)) => Ok(value),
        (Kind::Object(name), Value::Object(object)) if object.type_name() == name => Ok(Value::Object(object)),
        (Kind::Int, Value::Float(float)) if constant.is_some() && float.fract() == 0.0 => Ok(Value::Int(float as i64)),
        (Kind::Float, Value::Int(int)) if constant.is_some() => Ok(Value::Float(int as f64)),
        (_, Value::Nil) => Err(format!("invalid value; expected {expected}")),
        (_, value) => Err(match constant {
            Some(operand) => {
                let expected = match kind {
                    Kind::Int => "integer",
                    Kind::Float => "float",
                    _ => expected,
                };
                format!("expected {expected}; found {operand}")
            }
            None => format!("wrong type for value; expected {expected}; got {}", value.type_name()),
        }),
    }
}

/// Arguments of a call, which have the types of the function's parameters.
#[derive(Debug)]
pub struct Arguments<'v>(pub &'v [Value]);

impl Arguments<'_> {
    /// A parameter of [`Kind::Text`].
    pub fn text(&self, at: usize) -> &str {
        if let Some(Value::Text(text)) = self.0.get(at) { text } else { "" }
    }

    /// A parameter of [`Kind::Int`].
    pub fn int(&self, at: usize) -> i64 {
        if let Some(Value::Int(int) | Value::Long(int)) = self.0.get(at) { *int } else { 0 }
    }

    /// A parameter of [`Kind::Time`].
    pub fn time(&self, at: usize) -> &Time {
        const EPOCH: &Time = &Time { ns: 0, offset: 0, zone: String::new() };
        if let Some(Value::Time(time)) = self.0.get(at) { time } else { EPOCH }
    }

    /// A parameter of [`Kind::Object`].
    pub fn object(&self, at: usize) -> Option<&Rc<dyn Object>> {
        if let Some(Value::Object(object)) = self.0.get(at) { Some(object) } else { None }
    }

    /// Any parameter.
    pub fn any(&self, at: usize) -> &Value {
        self.0.get(at).unwrap_or(&Value::Nil)
    }
}
