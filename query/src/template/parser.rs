//! Tokens -> trees.

use std::collections::BTreeMap;

use super::ast::{Branch, Command, Node, Number, Operand, OperandKind, Pipe, Source};
use super::builtin;
use super::lexer::{Placed, Token, tokens};
use super::signature::Signature;

/// How deep parentheses and blocks may nest.
const DEPTH_MAX: usize = 64;

/// The template itself, and those that it defines by name.
pub(super) type Trees = (Vec<Node>, BTreeMap<String, Vec<Node>>);

/// Reads a template that may call `functions` and finds `variables` set.
pub(super) fn parse(source: &Source, functions: &[&'static [Signature]], variables: &[&str]) -> Result<Trees, String> {
    let message = |line: usize, what: &str| format!("template: {}:{line}: {what}", source.name);
    let tokens = tokens(&source.text).map_err(|(line, what)| message(line, &what))?;
    let mut parser = Parser {
        functions,
        tokens,
        at: 0,
        depth: 0,
        loops: 0,
        variables: std::iter::once(&"$").chain(variables).map(|name| (*name).to_owned()).collect(),
        defined: BTreeMap::new(),
    };
    parser.template().map_err(|what| {
        let place = parser.tokens.get(parser.at.saturating_sub(1)).map_or(0, |placed| placed.place);
        message(source.line_and_column(place).0, &what)
    })
}

struct Parser<'f> {
    functions: &'f [&'static [Signature]],
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    loops: usize,
    /// Variables in scope.
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
#[derive(Debug, Clone, PartialEq)]
enum Stop {
    End,
    Else,
    /// `else if` or `else with`.
    ElseAgain(String),
    Eof,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |placed| &placed.token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |placed| placed.place)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    fn accept(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == wanted;
        if found {
            self.advance();
        }
        found
    }

    fn close(&mut self, context: &str) -> Result<(), String> {
        match self.advance() {
            Token::Close => Ok(()),
            other => Err(unexpected(&other, context)),
        }
    }

    fn template(&mut self) -> Result<Trees, String> {
        let (nodes, stop) = self.list()?;
        match stop {
            Stop::Eof => Ok((nodes, std::mem::take(&mut self.defined))),
            Stop::End => Err("unexpected {{end}}".to_owned()),
            Stop::Else | Stop::ElseAgain(_) => Err("unexpected {{else}}".to_owned()),
        }
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let mut nodes = Vec::new();
        let stop = loop {
            match self.advance() {
                Token::Text(text) => nodes.push(Node::Text(text)),
                Token::End => break Stop::Eof,
                _ => {
                    if let Some(stop) = self.action(&mut nodes)? {
                        break stop;
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, stop))
    }

    /// After `{{`.
    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Stop>, String> {
        let keyword = if let Token::Word(word) = self.peek() { word.clone() } else { String::new() };
        let scope = self.variables.len();
        match keyword.as_str() {
            "end" | "else" | "if" | "range" | "with" | "template" | "define" | "block" | "break" | "continue" => {
                self.advance();
            }
            _ => {
                let pipe = self.pipe("command")?;
                self.close("command")?;
                nodes.push(Node::Action(pipe));
                return Ok(None);
            }
        }
        match keyword.as_str() {
            "end" => {
                self.close("end")?;
                return Ok(Some(Stop::End));
            }
            "else" => {
                let again = match self.peek() {
                    Token::Word(word) if word == "if" || word == "with" => Some(word.clone()),
                    _ => None,
                };
                return Ok(Some(match again {
                    Some(word) => Stop::ElseAgain(word),
                    None => {
                        self.close("else")?;
                        Stop::Else
                    }
                }));
            }
            "if" => nodes.push(Node::If(self.branch("if")?)),
            "with" => nodes.push(Node::With(self.branch("with")?)),
            "range" => nodes.push(Node::Range(self.branch("range")?)),
            "break" | "continue" if self.loops == 0 => return Err(format!("{{{{{keyword}}}}} outside {{{{range}}}}")),
            "break" | "continue" => {
                self.close(&keyword)?;
                nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
            }
            "template" => {
                let (place, name) = (self.place(), self.name("template clause")?);
                let pipe = if *self.peek() == Token::Close { None } else { Some(self.pipe("template clause")?) };
                self.close("template clause")?;
                nodes.push(Node::Template { place, name, pipe });
            }
            define => self.definition(define == "block", nodes)?,
        }
        self.variables.truncate(scope);
        Ok(None)
    }

    fn name(&mut self, context: &str) -> Result<String, String> {
        match self.advance() {
            Token::Quoted(_, name) => Ok(name),
            other => Err(unexpected(&other, context)),
        }
    }

    /// `define`, or `block`, which also runs it in place.
    fn definition(&mut self, runs: bool, nodes: &mut Vec<Node>) -> Result<(), String> {
        let context = if runs { "block clause" } else { "define clause" };
        let (place, name) = (self.place(), self.name(context)?);
        let pipe = if runs { Some(self.pipe(context)?) } else { None };
        self.close(context)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (body, stop) = self.list()?;
        self.variables = outer;
        if stop != Stop::End {
            return Err(format!("unexpected EOF in {context}"));
        }
        self.defined.insert(name.clone(), body);
        if runs {
            nodes.push(Node::Template { place, name, pipe });
        }
        Ok(())
    }

    fn branch(&mut self, context: &str) -> Result<Branch, String> {
        let pipe = self.pipe(context)?;
        self.close(context)?;
        self.loops += usize::from(context == "range");
        let (then, stop) = self.list()?;
        self.loops -= usize::from(context == "range");
        let otherwise = match stop {
            Stop::End => None,
            Stop::Eof => return Err("unexpected EOF".to_owned()),
            Stop::Else => {
                let (nodes, stop) = self.list()?;
                match stop {
                    Stop::End => Some(nodes),
                    Stop::Eof => return Err("unexpected EOF".to_owned()),
                    _ => return Err("expected end; found {{else}}".to_owned()),
                }
            }
            // `{{else if}}` shares the `{{end}}`.
            Stop::ElseAgain(word) if word == context => {
                self.advance();
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err("nested too deeply".to_owned());
                }
                let inner = self.branch(context)?;
                self.depth -= 1;
                Some(vec![if context == "if" { Node::If(inner) } else { Node::With(inner) }])
            }
            Stop::ElseAgain(word) => return Err(format!("unexpected {{{{else {word}}}}} in {context}")),
        };
        Ok(Branch { pipe, then, otherwise })
    }

    /// Commands, after any declaration, up to `}}` or `)`, which is left.
    fn pipe(&mut self, context: &str) -> Result<Pipe, String> {
        let place = self.place();
        let (variables, assigns) = self.declaration(context)?;
        let mut commands = vec![self.command(context)?];
        while self.accept(&Token::Sign("|")) {
            commands.push(self.command(context)?);
        }
        for command in commands.iter().skip(1) {
            let first = command.arguments.first().map(|operand| &operand.kind);
            if matches!(
                first,
                Some(
                    OperandKind::Bool(_)
                        | OperandKind::Dot
                        | OperandKind::Nil
                        | OperandKind::Number(..)
                        | OperandKind::Text(..)
                )
            ) {
                return Err("non executable command in pipeline stage 2".to_owned());
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { place, variables, assigns, commands })
    }

    /// `$x :=`, `$x =`, or in `range` also `$i, $x :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), String> {
        let start = self.at;
        let mut names = Vec::new();
        while let Token::Variable(name) = self.peek().clone() {
            self.advance();
            names.push(name);
            match self.peek() {
                Token::Sign(sign @ (":=" | "=")) => {
                    let assigns = *sign == "=";
                    self.advance();
                    if let Some(unknown) = names.iter().find(|n| assigns && !self.variables.contains(*n)) {
                        return Err(format!("undefined variable {unknown:?}"));
                    }
                    return Ok((names, assigns));
                }
                Token::Sign(",") if context == "range" && names.len() < 2 => {
                    self.advance();
                }
                Token::Sign(",") => return Err(format!("too many declarations in {context}")),
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str) -> Result<Command, String> {
        let mut arguments = Vec::new();
        loop {
            match self.peek() {
                Token::Close | Token::Sign("|" | ")") => break,
                _ => {}
            }
            if arguments.len() > 64 {
                return Err("too many arguments".to_owned());
            }
            arguments.push(self.operand(context)?);
        }
        if arguments.is_empty() {
            return Err(if context == "command" {
                "missing value for command".to_owned()
            } else {
                format!("missing value for {context}")
            });
        }
        Ok(Command { arguments })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, String> {
        let place = self.place();
        let kind = match self.advance() {
            Token::Dot => OperandKind::Dot,
            Token::Field(name) => OperandKind::Field(vec![name]),
            Token::Variable(name) if self.variables.contains(&name) => OperandKind::Variable(name, Vec::new()),
            Token::Variable(name) => return Err(format!("undefined variable {name:?}")),
            Token::Quoted(written, text) => OperandKind::Text(written, text),
            Token::Number(text) => {
                let number = number(&text).ok_or_else(|| format!("bad number syntax: {text:?}"))?;
                OperandKind::Number(text, number)
            }
            Token::Word(word) => match word.as_str() {
                "nil" => OperandKind::Nil,
                "true" | "false" => OperandKind::Bool(word == "true"),
                name => self.function(name).ok_or_else(|| format!("function {name:?} not defined"))?,
            },
            Token::Sign("(") => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err("nested too deeply".to_owned());
                }
                let pipe = self.pipe("parenthesized pipeline")?;
                self.depth -= 1;
                match self.advance() {
                    Token::Sign(")") => OperandKind::Pipe(Box::new(pipe)),
                    other => return Err(unexpected(&other, "parenthesized pipeline")),
                }
            }
            other => return Err(unexpected(&other, context)),
        };
        self.fields(Operand { place, kind })
    }

    /// The caller's functions hide the language's own.
    fn function(&self, name: &str) -> Option<OperandKind> {
        let find = |signatures: &'static [Signature]| signatures.iter().find(|signature| signature.0 == name);
        let given = self.functions.iter().copied().find_map(find).map(|found| OperandKind::Function(found, false));
        given.or_else(|| find(builtin::SIGNATURES).map(|found| OperandKind::Function(found, true)))
    }

    /// Fields that follow without a space.
    fn fields(&mut self, operand: Operand) -> Result<Operand, String> {
        let mut names = Vec::new();
        while let Some(Placed { token: Token::Field(name), spaced: false, .. }) = self.tokens.get(self.at) {
            names.push(name.clone());
            self.at += 1;
        }
        if names.is_empty() {
            return Ok(operand);
        }
        let place = operand.place;
        let kind = match operand.kind {
            OperandKind::Field(mut all) => {
                all.append(&mut names);
                OperandKind::Field(all)
            }
            OperandKind::Variable(name, _) => OperandKind::Variable(name, names),
            OperandKind::Pipe(_) | OperandKind::Function(..) => OperandKind::Chain(Box::new(operand), names),
            _ => return Err(format!("unexpected . after term {:?}", operand.to_string())),
        };
        Ok(Operand { place, kind })
    }
}

fn unexpected(token: &Token, context: &str) -> String {
    let shown = match token {
        Token::End => "EOF".to_owned(),
        Token::Close => "\"}}\"".to_owned(),
        Token::Open => "\"{{\"".to_owned(),
        Token::Field(name) => format!("<.{name}>"),
        Token::Dot => "<.>".to_owned(),
        Token::Variable(name) | Token::Word(name) => format!("<{name}>"),
        Token::Number(text) | Token::Quoted(text, _) | Token::Text(text) => format!("{text:?}"),
        Token::Sign(sign) => format!("{sign:?}"),
    };
    format!("unexpected {shown} in {context}")
}

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase().replace('_', "");
    let radix = |prefix: &str, radix| lower.strip_prefix(prefix).and_then(|d| i64::from_str_radix(d, radix).ok());
    let octal = lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit());
    let int = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .or_else(|| if octal { i64::from_str_radix(&lower, 8).ok() } else { lower.parse().ok() });
    match int {
        Some(int) => Some(Number::Int(sign * int)),
        None => {
            let plain = lower.starts_with(|c: char| c.is_ascii_digit() || c == '.');
            let float: f64 = lower.parse().ok().filter(|_| plain)?;
            Some(Number::Float(f64::from(sign as i32) * float))
        }
    }
}
