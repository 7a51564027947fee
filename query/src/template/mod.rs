//! Go's `text/template`, as log queries, rules and notifications use it.
//!
//! The language is whole: pipelines, variables, `if`, `range`, `with`, `define`, `block`, trimming, comments. A
//! template is read once, with the names of the functions that it may call, and run many times, each time for a
//! [`Context`]: what `.` is, and who answers the functions. Loki's functions are in [`loki`].
//!
//! Everything is bounded: nesting, calls, steps, and the length of what is made.

mod ast;
mod builtin;
mod decimal;
mod exec;
mod lexer;
pub mod loki;
mod method;
mod parser;
mod printf;
pub mod prometheus;
mod signature;
mod strings;
mod time;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use ast::{Body, Node, OperandKind, Source};

pub use signature::{Arguments, Kind, Signature};
pub use time::Time;
pub use value::{Object, Struct, Value, check_built};

/// What a template runs with.
pub trait Context {
    /// `.` and `$`.
    fn dot(&self) -> Value;
    /// The labels that [`Value::Labels`] stands for.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// What the variables hold that the template was read with.
    fn variables(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
    /// Calls one of the functions that the template was read with, with arguments as its signature says.
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String>;
}

/// Templates by name, which others may run with `{{template "name"}}`.
#[derive(Debug, Clone, Default)]
pub struct Library {
    defined: BTreeMap<String, Arc<Body>>,
}

impl Library {
    /// Reads a text: what it defines, and under `name` itself. Of two with one name the later counts.
    ///
    /// # Errors
    /// When it is malformed, in Go's words.
    pub fn add(&mut self, name: &str, text: &str, functions: &[&'static [Signature]]) -> Result<(), String> {
        let template = Template::parse_in(name, text, functions, self)?;
        self.defined.clone_from(&template.inner.defined);
        self.defined.insert(name.to_owned(), Arc::clone(&template.inner.body));
        Ok(())
    }
}

/// A template, ready to run.
#[derive(Debug, Clone)]
pub struct Template {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    body: Arc<Body>,
    defined: BTreeMap<String, Arc<Body>>,
}

impl Template {
    /// Reads a template; `name` shows in messages.
    ///
    /// # Errors
    /// When it is malformed, in Go's words.
    pub fn parse(name: &str, text: &str, functions: &[&'static [Signature]]) -> Result<Self, String> {
        Self::parse_in(name, text, functions, &Library::default())
    }

    /// Reads a template that may run those of a library.
    ///
    /// # Errors
    /// When it is malformed, in Go's words.
    pub fn parse_in(
        name: &str,
        text: &str,
        functions: &[&'static [Signature]],
        library: &Library,
    ) -> Result<Self, String> {
        Self::parse_with(name, text, functions, &[], library)
    }

    /// Reads a template that finds variables set; [`Context::variables`] says to what.
    ///
    /// # Errors
    /// When it is malformed, in Go's words.
    pub fn parse_with(
        name: &str,
        text: &str,
        functions: &[&'static [Signature]],
        variables: &[&str],
        library: &Library,
    ) -> Result<Self, String> {
        let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
        let (nodes, own) = parser::parse(&source, functions, variables)?;
        let mut defined = library.defined.clone();
        for (name, nodes) in own {
            defined.insert(name, Arc::new(Body { source: Arc::clone(&source), nodes }));
        }
        Ok(Self { inner: Arc::new(Inner { body: Arc::new(Body { source, nodes }), defined }) })
    }

    /// The field, if the template is nothing but one.
    pub fn only_field(&self) -> Option<&str> {
        let [Node::Action(pipe)] = self.inner.body.nodes.as_slice() else { return None };
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
        ast::each_field(&self.inner.body.nodes, &mut |name| names.push(name));
        for body in self.inner.defined.values() {
            ast::each_field(&body.nodes, &mut |name| names.push(name));
        }
        names.into_iter()
    }

    /// The text for `context`.
    ///
    /// # Errors
    /// When a function fails, a value is of the wrong type, or a bound is passed, in Go's words.
    pub fn render(&self, context: &dyn Context) -> Result<String, String> {
        exec::run(&self.inner.body, &self.inner.defined, context, false)
    }

    /// The same with values escaped for HTML, but those that are [`Value::Html`].
    ///
    /// # Errors
    /// As for [`Template::render`].
    pub fn render_html(&self, context: &dyn Context) -> Result<String, String> {
        exec::run(&self.inner.body, &self.inner.defined, context, true)
    }
}

#[cfg(test)]
mod tests;
