//! PromQL: text -> tree, by recursive descent.
//!
//! Flow: text -> tokens (`lexer`) -> tree (`expression`, `selector`, `modifier`, `duration`) -> the same tree with its
//! types checked (`check`). Promise: what Prometheus accepts with every feature flag set means here what it means
//! there, and what it refuses is refused in its words, of which the first count. Nesting and chains are bounded, so
//! that no query can exhaust the stack of what walks its tree.

mod check;
mod duration;
mod error;
mod expression;
mod lexer;
mod literal;
mod modifier;
mod selector;
mod token;

use self::lexer::lex;
use self::token::{Keyword, Kind, Token};
use super::ast::{BinaryOp, Expr, Matcher, Node, Span};

pub use self::check::value_type;
pub use self::error::ParseError;

/// More than any dashboard asks, and what a regular expression of many names may need.
const QUERY_BYTES_MAX: usize = 1 << 20;
/// How deep parentheses, calls and aggregations may nest.
const DEPTH_MAX: u32 = 100;
/// How many operators, signs and ranges a query may have. No tree is higher than this and [`DEPTH_MAX`] together, which
/// half of a thread's usual stack lasts for even in a debug build.
const CHAIN_MAX: u32 = 500;

/// Parses a query and checks its types.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let checked = || {
        let mut parser = Parser::new(text)?;
        if parser.peek() == Kind::End {
            return Err(ParseError::new(Span::default(), "no expression found in input"));
        }
        let mut expr = parser.expression()?;
        parser.expect(Kind::End)?;
        check::check(&mut expr, text)?;
        Ok(expr)
    };
    checked().map_err(|error: ParseError| error.within(text))
}

/// Parses a selector without modifiers, as `match[]` takes it. One that matches every series is no error here.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let parsed = || {
        let mut parser = Parser::new(text)?;
        let expr = parser.vector_selector()?;
        parser.expect(Kind::End)?;
        match expr.node {
            Node::Vector(selector) => Ok(selector.matchers),
            _ => Ok(Vec::new()),
        }
    };
    parsed().map_err(|error: ParseError| error.within(text))
}

/// Where the parser is, as far as messages about unexpected tokens name it.
#[derive(Debug, Clone, Copy, Default)]
struct Context {
    place: &'static str,
    expected: &'static str,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// What the lexer did not understand; of the last token.
    error: Option<ParseError>,
    at: usize,
    depth: u32,
    chained: u32,
    context: Context,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            let message = format!("the query is longer than {QUERY_BYTES_MAX} bytes");
            return Err(ParseError::new(Span::default(), message));
        }
        let lexed = lex(text);
        Ok(Self {
            text,
            tokens: lexed.tokens,
            error: lexed.error,
            at: 0,
            depth: 0,
            chained: 0,
            context: Context::default(),
        })
    }

    fn token(&self) -> Token {
        let end = Span { start: self.text.len(), end: self.text.len() };
        self.tokens.get(self.at).copied().unwrap_or(Token { kind: Kind::End, span: end })
    }

    fn peek(&self) -> Kind {
        self.token().kind
    }

    fn peek_second(&self) -> Kind {
        self.tokens.get(self.at + 1).map_or(Kind::End, |token| token.kind)
    }

    fn advance(&mut self) -> Token {
        let token = self.token();
        // The last one is never passed.
        if !matches!(token.kind, Kind::End | Kind::Invalid) {
            self.at += 1;
        }
        token
    }

    fn accept(&mut self, kind: Kind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.advance();
        }
        found
    }

    fn accept_word(&mut self, word: Keyword) -> bool {
        self.accept(Kind::Keyword(word))
    }

    fn expect(&mut self, kind: Kind) -> Result<Token, ParseError> {
        if self.peek() == kind { Ok(self.advance()) } else { Err(self.unexpected()) }
    }

    /// `+` or `-`: whether it is `-`.
    fn accept_sign(&mut self) -> Option<bool> {
        let negative = match self.peek() {
            Kind::Operator(BinaryOp::Add) => false,
            Kind::Operator(BinaryOp::Sub) => true,
            _ => return None,
        };
        self.advance();
        Some(negative)
    }

    fn text_of(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// From `start` to the end of the token before.
    fn span_from(&self, start: usize) -> Span {
        let end = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(start, |token| token.span.end);
        Span { start, end }
    }

    /// A refusal of the token at hand.
    fn unexpected(&self) -> ParseError {
        self.unexpected_in(self.context.place, self.context.expected)
    }

    fn unexpected_in(&self, place: &str, expected: &str) -> ParseError {
        let token = self.token();
        if let (Kind::Invalid, Some(error)) = (token.kind, &self.error) {
            return error.clone();
        }
        let mut message = format!("unexpected {}", token.kind.describe(self.text_of(token.span)));
        if !place.is_empty() {
            message = format!("{message} in {place}");
        }
        if !expected.is_empty() {
            message = format!("{message}, expected {expected}");
        }
        ParseError::new(token.span, message)
    }

    /// Runs `inner` where an unexpected token is one in `place`.
    fn within<T>(
        &mut self,
        place: &'static str,
        expected: &'static str,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let around = std::mem::replace(&mut self.context, Context { place, expected });
        let result = inner(self);
        self.context = around;
        result
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == DEPTH_MAX {
            let message = format!("the query is nested more than {DEPTH_MAX} levels deep");
            return Err(ParseError::new(self.token().span, message));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Counts one link of a chain, which stands at `span`.
    fn chain(&mut self, span: Span) -> Result<(), ParseError> {
        self.chained += 1;
        if self.chained > CHAIN_MAX {
            return Err(ParseError::new(span, format!("the query has more than {CHAIN_MAX} operators")));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
