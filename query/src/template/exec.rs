//! Running a template.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Context;
use super::ast::{Body, Branch, Command, Node, Number, Operand, OperandKind, Pipe};
use super::signature::{Signature, check_count, convert};
use super::value::{TEXT_BYTES_MAX, Value};
use super::{builtin, method, strings};

/// The longest text that a template may make.
const OUTPUT_BYTES_MAX: usize = TEXT_BYTES_MAX;
/// How deep templates may call each other.
const CALLS_MAX: usize = 64;
/// How deep blocks and parentheses may be open at once, through all calls: each takes some of the stack.
const DEPTH_MAX: usize = 200;
/// How much a run may do: a step is an action, an argument, a turn of a loop, or some bytes that a function sees.
const STEPS_MAX: usize = 1_000_000;
const STEP_BYTES: usize = 256;

/// How a list of nodes ended.
enum Flow {
    On,
    Break,
    Continue,
}

type Defined = BTreeMap<String, Arc<Body>>;

/// The text that `body` makes.
///
/// # Errors
/// What went wrong, at which line, byte and operand, in Go's words.
pub(super) fn run(body: &Body, defined: &Defined, context: &dyn Context, escapes: bool) -> Result<String, String> {
    let dot = context.dot();
    let mut variables = vec![("$", dot.clone())];
    variables.extend(context.variables());
    let mut execution = Execution {
        context,
        defined,
        out: String::new(),
        escapes,
        variables,
        calls: 0,
        depth: 0,
        steps: 0,
        body,
        name: &body.source.name,
        place: 0,
        shown: &"",
    };
    execution.nodes(&body.nodes, &dot).map_err(String::from)?;
    Ok(execution.out)
}

/// Messages are rare, and results many: they go in a box.
type Result<T, E = Box<str>> = std::result::Result<T, E>;

struct Execution<'t> {
    context: &'t dyn Context,
    defined: &'t Defined,
    out: String,
    /// Values that are shown are escaped for HTML.
    escapes: bool,
    variables: Vec<(&'t str, Value)>,
    calls: usize,
    /// Lists of nodes and parentheses that are open.
    depth: usize,
    steps: usize,
    /// The template that runs, and its name.
    body: &'t Body,
    name: &'t str,
    /// Where the last operand was looked at.
    place: usize,
    shown: &'t dyn std::fmt::Display,
}

impl<'t> Execution<'t> {
    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        let source = &self.body.source;
        let (line, column) = source.line_and_column(self.place);
        let message = format!(
            "template: {}:{line}:{column}: executing {:?} at <{}>: {message}",
            source.name, self.name, self.shown
        );
        Err(message.into_boxed_str())
    }

    fn at(&mut self, place: usize, shown: &'t dyn std::fmt::Display) {
        (self.place, self.shown) = (place, shown);
    }

    fn step(&mut self, count: usize) -> Result<()> {
        self.steps += count;
        if self.steps > STEPS_MAX { self.fail("the template does too much") } else { Ok(()) }
    }

    fn is_true(&self, value: &Value) -> bool {
        value.is_true(self.context.labels().len())
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.fail("nested too deeply") } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        self.deeper()?;
        let flow = self.each_node(nodes, dot)?;
        self.depth -= 1;
        Ok(flow)
    }

    fn each_node(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            if self.out.len() > OUTPUT_BYTES_MAX {
                return self.fail("the text is too long");
            }
            self.step(1)?;
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        self.show(&value);
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
                Node::Template { place, name, pipe } => self.template(*place, name, pipe.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn show(&mut self, value: &Value) {
        match value {
            Value::Nil if self.escapes => {}
            Value::Nil => self.out.push_str("<no value>"),
            Value::Html(text) => self.out.push_str(text),
            other if self.escapes => self.out.push_str(&strings::html(&other.show(self.context.labels()))),
            Value::Text(text) => self.out.push_str(text),
            other => self.out.push_str(&other.show(self.context.labels())),
        }
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
        let value = self.pipe_value(dot, &branch.pipe)?.plain();
        let key = |name: &String| Value::text(name.as_str());
        let some = match &value {
            Value::Labels => {
                let pairs = self.context.labels().iter().map(|(name, value)| (key(name), Value::text(value.as_str())));
                self.turns(branch, pairs)?
            }
            Value::Texts(map) => {
                self.turns(branch, map.iter().map(|(name, value)| (key(name), Value::text(value.as_str()))))?
            }
            Value::Map(map) => self.turns(branch, map.iter().map(|(name, value)| (key(name), value.clone())))?,
            Value::List(list) => self.turns(branch, (0..).map(Value::Int).zip(list.iter().cloned()))?,
            Value::Int(count) | Value::Long(count) => {
                self.turns(branch, (0..*count).map(|i| (Value::Int(i), Value::Int(i))))?
            }
            Value::Nil => false,
            other => {
                let shown = other.show(self.context.labels());
                return self.fail(format!("range can't iterate over {shown}"));
            }
        };
        if let (false, Some(nodes)) = (some, &branch.otherwise) {
            self.nodes(nodes, dot)?;
        }
        self.variables.truncate(scope);
        Ok(())
    }

    /// Runs the body of a `range` for each item; false if there is none.
    fn turns(&mut self, branch: &'t Branch, items: impl Iterator<Item = (Value, Value)>) -> Result<bool> {
        let pipe = &branch.pipe;
        let mut some = false;
        for (key, item) in items {
            some = true;
            self.step(1)?;
            let inner = self.variables.len();
            match pipe.variables.as_slice() {
                [] => {}
                [name] => self.set(name, item.clone(), pipe.assigns),
                [first, second, ..] => {
                    self.set(first, key, pipe.assigns);
                    self.set(second, item.clone(), pipe.assigns);
                }
            }
            let flow = self.nodes(&branch.then, &item)?;
            self.variables.truncate(inner);
            if let Flow::Break = flow {
                break;
            }
        }
        Ok(some)
    }

    fn template(&mut self, place: usize, name: &'t String, pipe: Option<&'t Pipe>, dot: &Value) -> Result<()> {
        self.at(place, name);
        let Some(body) = self.defined.get(name) else { return self.fail(format!("template {name:?} not defined")) };
        if self.calls == CALLS_MAX {
            return self.fail(format!("exceeded maximum template depth ({CALLS_MAX})"));
        }
        let dot = pipe.map_or(Ok(Value::Nil), |pipe| self.pipe(dot, pipe))?;
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let caller = (self.body, self.name);
        (self.body, self.name) = (body, name);
        self.calls += 1;
        self.nodes(&body.nodes, &dot)?;
        self.calls -= 1;
        (self.body, self.name) = caller;
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
            OperandKind::Function(signature, own) => {
                let call = Call { signature, own: *own, place: first.place, shown: command };
                self.function(dot, &call, arguments, last)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
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
        call: &Call<'t>,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        let name = call.signature.0;
        if call.own && (name == "and" || name == "or") {
            return self.short_circuit(dot, name == "or", arguments, last);
        }
        if let Err(message) = check_count(call.signature, arguments.len() + usize::from(last.is_some())) {
            return self.fail(message);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        let mut weight = 0;
        for (i, argument) in arguments.iter().enumerate() {
            let value = self.operand(dot, argument)?;
            weight += value.weight();
            match convert(call.signature, i, value, Some(argument)) {
                Ok(value) => values.push(value),
                Err(message) => return self.fail(message),
            }
        }
        if let Some(value) = last {
            weight += value.weight();
            match convert(call.signature, arguments.len(), value, None) {
                Ok(value) => values.push(value),
                Err(message) => return self.fail(message),
            }
        }
        self.step(1 + weight / STEP_BYTES)?;
        let own = if call.own { builtin::call(name, &values, self.context.labels()) } else { None };
        match own.unwrap_or_else(|| self.context.call(name, &values)) {
            Ok(value) if value.weight() > TEXT_BYTES_MAX => {
                self.at(call.place, call.shown);
                self.fail(format!("error calling {name}: the text is too long"))
            }
            Ok(value) => {
                self.step(value.weight() / STEP_BYTES)?;
                Ok(value)
            }
            Err(message) => {
                self.at(call.place, call.shown);
                self.fail(format!("error calling {name}: {message}"))
            }
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
        self.step(1)?;
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
            OperandKind::Function(signature, own) => {
                let call = Call { signature, own: *own, place: operand.place, shown: operand };
                return self.function(dot, &call, &[], None);
            }
            OperandKind::Pipe(pipe) => {
                self.deeper()?;
                let value = self.pipe(dot, pipe)?;
                self.depth -= 1;
                value
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
                return self.fields(value, names, dot, &[], None);
            }
        })
    }

    fn variable(&self, name: &str) -> Value {
        self.variables.iter().rev().find(|(n, _)| *n == name).map_or(Value::Nil, |(_, value)| value.clone())
    }

    /// Members of maps and objects, and methods; arguments go to the last.
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
        self.step(names.len() + given.iter().map(Value::weight).sum::<usize>() / STEP_BYTES)?;
        for (i, name) in names.iter().enumerate() {
            let given = if i + 1 == names.len() { given.as_slice() } else { &[] };
            value = match self.member(&value, name, given) {
                Ok(value) => value,
                Err(message) => return self.fail(message),
            };
        }
        Ok(value)
    }

    fn member(&self, value: &Value, name: &str, given: &[Value]) -> Result<Value, String> {
        match value {
            Value::Time(time) => return method::of_time(time, name, given),
            Value::Duration(ns) => return method::of_duration(*ns, name, given),
            Value::Object(object) => {
                if let Some(result) = object.member(name, given) {
                    return result.map_err(|message| format!("error calling {name}: {message}"));
                }
            }
            _ => {}
        }
        if !given.is_empty() {
            return Err(format!("{name} is not a method but has arguments"));
        }
        // A missing label is empty.
        let text = |map: &BTreeMap<String, String>| {
            Value::Text(map.get(name).map_or_else(|| Rc::from(""), |v| Rc::from(v.as_str())))
        };
        Ok(match &value.plain() {
            Value::Labels => text(self.context.labels()),
            Value::Texts(map) => text(map),
            Value::Map(map) => map.get(name).cloned().unwrap_or(Value::Nil),
            Value::Nil => Value::Nil,
            _ => return Err(format!("can't evaluate field {name} in type {}", value.type_name())),
        })
    }
}

/// A call of a function: what it takes, whether it is the language's own, and how messages show it.
struct Call<'t> {
    signature: &'static Signature,
    own: bool,
    place: usize,
    shown: &'t dyn std::fmt::Display,
}
