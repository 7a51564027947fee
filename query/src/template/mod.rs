//! Go's `text/template`, with the functions that Loki gives to `line_format` and `label_format`.
//!
//! The language is whole: pipelines, variables, `if`, `range`, `with`, `define`, `block`, trimming, comments. A
//! template is read once and run for each record; what it computes with are texts, numbers, times, and maps and
//! lists from JSON. Everything is bounded: nesting, calls, and the length of what is made.

mod ast;
mod decimal;
mod exec;
mod functions;
mod lexer;
mod parser;
mod printf;
mod strings;
mod time;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use ast::{Node, OperandKind};

/// What a template sees.
pub trait Context {
    /// The fields of `.`.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// `__line__`.
    fn line(&self) -> &str;
    /// `__timestamp__`, nanoseconds since 1970.
    fn timestamp(&self) -> i64;
    /// `now`, nanoseconds since 1970.
    fn now(&self) -> i64;
}

/// A template, ready to run.
#[derive(Debug, Clone)]
pub struct Template {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    text: String,
    nodes: Vec<Node>,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Template {
    /// Reads a template; `name` shows in messages.
    ///
    /// # Errors
    /// When it is malformed, in Go's words.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let (nodes, defined) = parser::parse(name, text)?;
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), text: text.to_owned(), nodes, defined }) })
    }

    /// The field, if the template is nothing but one.
    pub fn only_field(&self) -> Option<&str> {
        let [Node::Action(pipe)] = self.inner.nodes.as_slice() else { return None };
        let ([command], []) = (pipe.commands.as_slice(), pipe.variables.as_slice()) else { return None };
        let [operand] = command.arguments.as_slice() else { return None };
        match &operand.kind {
            OperandKind::Field(names) if names.len() == 1 => names.first().map(String::as_str),
            _ => None,
        }
    }

    /// The fields that are read by name.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let mut names = Vec::new();
        ast::each_field(&self.inner.nodes, &mut |name| names.push(name));
        for nodes in self.inner.defined.values() {
            ast::each_field(nodes, &mut |name| names.push(name));
        }
        names.into_iter()
    }

    /// The text for `context`.
    ///
    /// # Errors
    /// When a function fails or a value is of the wrong type, in Go's words.
    pub fn render(&self, context: &dyn Context) -> Result<String, String> {
        let mut execution = exec::Execution::new(context, &self.inner.defined);
        match execution.run(&self.inner.nodes) {
            Ok(()) => Ok(execution.out),
            Err(failure) => Err(self.message(&failure)),
        }
    }

    fn message(&self, failure: &exec::Failure) -> String {
        let before = self.inner.text.get(..failure.place).unwrap_or_default();
        let column = before.rfind('\n').map_or(failure.place, |newline| failure.place - newline - 1);
        let line = 1 + before.matches('\n').count();
        let name = &self.inner.name;
        format!("template: {name}:{line}:{column}: executing {name:?} at <{}>: {}", failure.context, failure.message)
    }
}

#[cfg(test)]
mod tests;
