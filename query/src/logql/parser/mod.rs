//! Tokens -> syntax tree, by recursive descent.
//!
//! [`parse`] is the door. What can be wrong with a query is found here (syntax, matchers that would select
//! everything, aggregations with a wrong unwrap or parameter); what can be wrong with a single stage's text
//! (a template, a pattern) is found when a pipeline is built from it. Nesting and operator chains are bounded, so
//! that no query can exhaust the stack.

mod logs;
mod metrics;

use super::ast::{Expr, Matcher, MetricExpr};
use super::error::ParseError;
use super::lexer::{Place, Token, tokens};

/// As in Loki.
const QUERY_BYTES_MAX: usize = 131_072;
/// How deep parentheses and functions may nest.
const DEPTH_MAX: u32 = 100;
/// How many binary operators, and conditions of label filters, a query may chain.
const CHAIN_MAX: u32 = 1_000;

const NO_NARROWING_MATCHER: &str = "queries require at least one regexp or equality matcher that does not have an \
    empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// Parses and checks a query.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let expr = parse_unchecked(query)?;
    match &expr {
        Expr::Log(log) => check_matchers(&log.matchers)?,
        Expr::Metric(metric) => check_metric(metric)?,
    }
    Ok(expr)
}

/// Parses a query without asking for a matcher that narrows it: what `/series` and `/labels` take.
///
/// # Errors
/// What is wrong, and where.
pub fn parse_unchecked(query: &str) -> Result<Expr, ParseError> {
    if query.len() >= QUERY_BYTES_MAX {
        let message = format!("input size too long ({} > {QUERY_BYTES_MAX})", query.len());
        return Err(ParseError::whole(message));
    }
    let mut parser = Parser { tokens: tokens(query), at: 0, depth: 0, chained: 0 };
    if *parser.peek() == Token::End {
        return Err(ParseError::whole("syntax error: unexpected $end"));
    }
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("")),
    }
}

/// Parses a stream selector alone, `{app="x"}`.
///
/// # Errors
/// What is wrong, and where; anything after the selector is.
pub fn parse_matchers(query: &str) -> Result<Vec<Matcher>, ParseError> {
    match parse_unchecked(query)? {
        Expr::Log(log) if log.stages.is_empty() => Ok(log.matchers),
        _ => Err(ParseError::whole("only label matchers are supported")),
    }
}

fn check_matchers(matchers: &[Matcher]) -> Result<(), ParseError> {
    if matchers.iter().any(|m| !m.matches_empty()) { Ok(()) } else { Err(ParseError::whole(NO_NARROWING_MATCHER)) }
}

fn check_metric(metric: &MetricExpr) -> Result<(), ParseError> {
    let mut result = Ok(());
    metric.each_range(&mut |range| {
        if result.is_ok() {
            result = check_matchers(&range.log.matchers);
        }
    });
    result
}

pub(super) struct Parser {
    tokens: Vec<(Token, Place)>,
    at: usize,
    depth: u32,
    chained: u32,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> Place {
        self.tokens.get(self.at).or(self.tokens.last()).map_or((1, 1), |(_, place)| *place)
    }

    fn peek_is(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if *found == word)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        // The last token is never passed.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek_is(word);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), ParseError> {
        // Where an operand may go on, too much could follow to list it.
        let expected = if word == ")" { "" } else { word };
        if self.accept(word) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn identifier(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Token::Identifier(name) => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn text(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Token::Text(text) => {
                let text = text.clone();
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected("STRING")),
        }
    }

    /// A refusal of the token at hand.
    fn unexpected(&self, expected: &str) -> ParseError {
        let message = match self.peek() {
            Token::Invalid(what) => what.clone(),
            token if expected.is_empty() => format!("syntax error: unexpected {token}"),
            token => format!("syntax error: unexpected {token}, expecting {expected}"),
        };
        ParseError::at(self.place(), message)
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == DEPTH_MAX {
            return Err(ParseError::at(self.place(), "the query is nested too deeply"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Counts one operator of a chain.
    fn chain(&mut self) -> Result<(), ParseError> {
        self.chained += 1;
        if self.chained > CHAIN_MAX {
            return Err(ParseError::at(self.place(), format!("the query has more than {CHAIN_MAX} operators")));
        }
        Ok(())
    }

    /// `(a, b)`, may be empty.
    fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut labels = Vec::new();
        if self.accept(")") {
            return Ok(labels);
        }
        loop {
            labels.push(self.identifier()?);
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(labels)
    }
}

#[cfg(test)]
mod tests;
