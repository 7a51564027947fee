//! Running a template.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Context;
use super::ast::{Branch, Command, Node, Number, Operand, OperandKind, Pipe};
use super::functions;
use super::value::Value;

/// The longest text that one record's template may make.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// How deep templates may call each other.
const CALLS_MAX: usize = 64;

/// How a list of nodes ended.
enum Flow {
    On,
    Break,
    Continue,
}

/// What went wrong, and at which operand's place and text.
pub(super) struct Failure {
    pub(super) place: usize,
    pub(super) context: String,
    pub(super) message: String,
}

type Result<T> = std::result::Result<T, Box<Failure>>;

pub(super) struct Execution<'t> {
    pub(super) context: &'t dyn Context,
    pub(super) defined: &'t BTreeMap<String, Vec<Node>>,
    pub(super) out: String,
    variables: Vec<(&'t str, Value)>,
    calls: usize,
    /// Where the last operand was looked at.
    place: usize,
    shown: &'t dyn std::fmt::Display,
}

impl<'t> Execution<'t> {
    pub(super) fn new(context: &'t dyn Context, defined: &'t BTreeMap<String, Vec<Node>>) -> Self {
        Self {
            context,
            defined,
            out: String::new(),
            variables: vec![("$", Value::Labels)],
            calls: 0,
            place: 0,
            shown: &"",
        }
    }

    pub(super) fn run(&mut self, nodes: &'t [Node]) -> Result<()> {
        self.nodes(nodes, &Value::Labels).map(|_| ())
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Box::new(Failure { place: self.place, context: self.shown.to_string(), message: message.into() }))
    }

    fn at(&mut self, place: usize, shown: &'t dyn std::fmt::Display) {
        (self.place, self.shown) = (place, shown);
    }

    fn is_true(&self, value: &Value) -> bool {
        value.is_true(self.context.labels().len())
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            if self.out.len() > OUTPUT_BYTES_MAX {
                return self.fail("the text is too long");
            }
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        match &value {
                            Value::Nil => self.out.push_str("<no value>"),
                            Value::Text(text) => self.out.push_str(text),
                            other => self.out.push_str(&other.show(self.context.labels())),
                        }
                    }
                }
                Node::If(branch) => {
                    if let flow @ (Flow::Break | Flow::Continue) = self.choose(branch, dot, false)? {
                        return Ok(flow);
                    }
                }
                Node::With(branch) => {
                    if let flow @ (Flow::Break | Flow::Continue) = self.choose(branch, dot, true)? {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template { place, name, pipe } => self.call(*place, name, pipe.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    /// `if`, or `with`, which also sets the dot.
    fn choose(&mut self, branch: &'t Branch, dot: &Value, sets_dot: bool) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if self.is_true(&value) {
            self.nodes(&branch.then, if sets_dot { &value } else { dot })?
        } else {
            branch.otherwise.as_ref().map_or(Ok(Flow::On), |nodes| self.nodes(nodes, dot))?
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value) -> Result<()> {
        let scope = self.variables.len();
        let value = self.pipe_value(dot, &branch.pipe)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::Labels => {
                self.context.labels().iter().map(|(n, v)| (Value::text(n.as_str()), Value::text(v.as_str()))).collect()
            }
            Value::Map(map) => map.iter().map(|(name, value)| (Value::text(name.as_str()), value.clone())).collect(),
            Value::List(list) => (0..).zip(list.iter()).map(|(i, value)| (Value::Int(i), value.clone())).collect(),
            Value::Int(n) | Value::Long(n) => {
                (0..(*n).min(1_000_000)).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            Value::Nil => Vec::new(),
            other => return self.fail(format!("range can't iterate over {}", other.show(self.context.labels()))),
        };
        if let (true, Some(nodes)) = (items.is_empty(), &branch.otherwise) {
            self.nodes(nodes, dot)?;
        }
        for (key, item) in items {
            let inner = self.variables.len();
            let variables = &branch.pipe.variables;
            let values = if variables.len() == 2 { vec![key, item.clone()] } else { vec![item.clone()] };
            for (name, value) in variables.iter().zip(values) {
                self.set(name, value, branch.pipe.assigns);
            }
            let flow = self.nodes(&branch.then, &item)?;
            self.variables.truncate(inner);
            if let Flow::Break = flow {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn call(&mut self, place: usize, name: &'t String, pipe: Option<&'t Pipe>, dot: &Value) -> Result<()> {
        self.at(place, name);
        let Some(body) = self.defined.get(name) else { return self.fail(format!("template {name:?} not defined")) };
        if self.calls == CALLS_MAX {
            return self.fail(format!("exceeded maximum template depth ({CALLS_MAX})"));
        }
        let dot = pipe.map_or(Ok(Value::Nil), |pipe| self.pipe(dot, pipe))?;
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.calls += 1;
        self.nodes(body, &dot)?;
        self.calls -= 1;
        self.variables = outer;
        Ok(())
    }

    fn set(&mut self, name: &'t str, value: Value, assigns: bool) {
        match self.variables.iter_mut().rev().find(|(n, _)| assigns && *n == name) {
            Some(variable) => variable.1 = value,
            None => self.variables.push((name, value)),
        }
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value> {
        let value = self.pipe_value(dot, pipe)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn pipe_value(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value> {
        self.at(pipe.place, pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// The value of the command before is the last argument.
    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value> {
        let [first, arguments @ ..] = command.arguments.as_slice() else { return Ok(Value::Nil) };
        self.at(first.place, first);
        match &first.kind {
            OperandKind::Function(name) => self.function(dot, (first.place, command), name, arguments, last),
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
                self.at(first.place, first);
                self.fields(value, names, dot, arguments, last)
            }
            OperandKind::Field(names) => self.fields(dot.clone(), names, dot, arguments, last),
            OperandKind::Variable(name, names) if !names.is_empty() => {
                let value = self.variable(name);
                self.fields(value, names, dot, arguments, last)
            }
            _ if !arguments.is_empty() || last.is_some() => {
                self.fail(format!("can't give argument to non-function {first}"))
            }
            _ => self.operand(dot, first),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        call: (usize, &'t dyn std::fmt::Display),
        name: &str,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        if name == "and" || name == "or" {
            return self.short_circuit(dot, name == "or", arguments, last);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        let given = arguments.len() + usize::from(last.is_some());
        if let Err(message) = functions::check_count(name, given) {
            return self.fail(message);
        }
        for (i, argument) in arguments.iter().enumerate() {
            let value = self.operand(dot, argument)?;
            self.at(argument.place, argument);
            let is_constant = matches!(argument.kind, OperandKind::Number(..) | OperandKind::Text(..));
            match functions::convert(name, i, value, is_constant.then_some(argument)) {
                Ok(value) => values.push(value),
                Err(message) => return self.fail(message),
            }
        }
        if let Some(value) = last {
            match functions::convert(name, arguments.len(), value, None) {
                Ok(value) => values.push(value),
                Err(message) => return self.fail(message),
            }
        }
        self.at(call.0, call.1);
        match functions::call(name, &values, self.context) {
            Ok(value) => Ok(value),
            Err(message) => self.fail(format!("error calling {name}: {message}")),
        }
    }

    fn short_circuit(
        &mut self,
        dot: &Value,
        stops_at: bool,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = None;
        for argument in arguments {
            let found = self.operand(dot, argument)?;
            if self.is_true(&found) == stops_at {
                return Ok(found);
            }
            value = Some(found);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => self.fail("wrong number of args: want at least 1 got 0"),
        }
    }

    fn operand(&mut self, dot: &Value, operand: &'t Operand) -> Result<Value> {
        self.at(operand.place, operand);
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(value) => Value::Bool(*value),
            OperandKind::Number(_, Number::Int(value)) => Value::Int(*value),
            OperandKind::Number(_, Number::Float(value)) => Value::Float(*value),
            OperandKind::Text(_, text) => Value::text(text.as_str()),
            OperandKind::Field(names) => return self.fields(dot.clone(), names, dot, &[], None),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name);
                return self.fields(value, names, dot, &[], None);
            }
            OperandKind::Function(name) => return self.function(dot, (operand.place, operand), name, &[], None),
            OperandKind::Pipe(pipe) => return self.pipe(dot, pipe),
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
                self.at(operand.place, operand);
                return self.fields(value, names, dot, &[], None);
            }
        })
    }

    fn variable(&self, name: &str) -> Value {
        self.variables.iter().rev().find(|(n, _)| *n == name).map_or(Value::Nil, |(_, value)| value.clone())
    }

    /// Members of maps, and methods of times; arguments go to the last.
    fn fields(
        &mut self,
        mut value: Value,
        names: &'t [String],
        dot: &Value,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        let mut given = Vec::new();
        for argument in arguments {
            given.push(self.operand(dot, argument)?);
        }
        given.extend(last);
        for (i, name) in names.iter().enumerate() {
            let is_last = i + 1 == names.len();
            value = match &value {
                Value::Time(time) => match functions::time_method(time, name, if is_last { &given } else { &[] }) {
                    Ok(value) => value,
                    Err(message) => return self.fail(message),
                },
                _ if is_last && !given.is_empty() => {
                    return self.fail(format!("{name} is not a method but has arguments"));
                }
                Value::Labels => {
                    // A missing label is empty.
                    Value::Text(self.context.labels().get(name).map_or_else(|| Rc::from(""), |v| Rc::from(v.as_str())))
                }
                Value::Map(map) => map.get(name).cloned().unwrap_or(Value::Nil),
                Value::Nil => Value::Nil,
                other => return self.fail(format!("can't evaluate field {name} in type {}", other.type_name())),
            };
        }
        Ok(value)
    }
}
