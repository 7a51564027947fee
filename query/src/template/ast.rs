//! Templates as trees. Places are byte offsets into the text, for messages.

use std::fmt;
use std::sync::Arc;

use super::signature::Signature;

/// A text that templates come from.
#[derive(Debug)]
pub(super) struct Source {
    /// Shown in messages.
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// The line, from 1, and the byte in it, from 0.
    pub(super) fn line_and_column(&self, place: usize) -> (usize, usize) {
        let before = self.text.get(..place).unwrap_or_default();
        let column = before.rfind('\n').map_or(place, |newline| place - newline - 1);
        (1 + before.matches('\n').count(), column)
    }
}

/// A template: the text itself, or what `define` names.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) source: Arc<Source>,
    pub(super) nodes: Vec<Node>,
}

/// Something between texts and actions.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    Range(Branch),
    With(Branch),
    /// `{{template "name" pipe}}`.
    Template {
        place: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// `if`, `range` and `with`.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Option<Vec<Node>>,
}

/// `$x, $y := a b | c d`.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) place: usize,
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) arguments: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) place: usize,
    pub(super) kind: OperandKind,
}

#[derive(Debug, Clone)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    /// Its text, and what it is.
    Number(String, Number),
    /// As written with its quotes, and what it says.
    Text(String, String),
    /// `.a.b`.
    Field(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    /// What it takes, and whether it is one of the language's own.
    Function(&'static Signature, bool),
    Pipe(Box<Pipe>),
    /// `(pipe).a.b`.
    Chain(Box<Operand>, Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

/// As Go's messages show it.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[String]| names.iter().try_for_each(|n| write!(f, ".{n}"));
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Number(text, _) | OperandKind::Text(text, _) => f.write_str(text),
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Function((name, ..), _) => f.write_str(name),
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
            OperandKind::Chain(inner, names) => {
                write!(f, "{inner}")?;
                fields(f, names)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

/// Calls `visit` with every field name that is read, whichever value it is read from.
pub(super) fn each_field<'n>(nodes: &'n [Node], visit: &mut dyn FnMut(&'n str)) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Action(pipe) => pipe_fields(pipe, visit),
            Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| pipe_fields(pipe, visit)),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                pipe_fields(&branch.pipe, visit);
                each_field(&branch.then, visit);
                branch.otherwise.iter().for_each(|nodes| each_field(nodes, visit));
            }
        }
    }
}

fn pipe_fields<'n>(pipe: &'n Pipe, visit: &mut dyn FnMut(&'n str)) {
    pipe.commands.iter().flat_map(|command| &command.arguments).for_each(|operand| operand_fields(operand, visit));
}

fn operand_fields<'n>(operand: &'n Operand, visit: &mut dyn FnMut(&'n str)) {
    match &operand.kind {
        OperandKind::Field(names) => names.iter().for_each(|name| visit(name)),
        OperandKind::Pipe(pipe) => pipe_fields(pipe, visit),
        OperandKind::Chain(inner, names) => {
            operand_fields(inner, visit);
            names.iter().for_each(|name| visit(name));
        }
        // `$` is the whole of the labels.
        OperandKind::Variable(name, names) if name == "$" => names.iter().for_each(|name| visit(name)),
        _ => {}
    }
}
