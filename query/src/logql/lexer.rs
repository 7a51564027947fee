//! Text -> tokens with their places.
//!
//! As Loki's: keywords in any case; a function's name is one only before `(` or a grouping; numbers with a unit are
//! durations or sizes; `#`, `//` and `/* */` start comments. An error becomes a token, so that the parser reports
//! whatever comes first.

use std::fmt;

use super::ast::{RangeOp, VectorOp};
use super::units::{parse_bytes, parse_duration, parse_prometheus_duration};

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Keyword, function that is no aggregation, operator or bracket; in lower case.
    Word(&'static str),
    RangeOp(RangeOp),
    VectorOp(VectorOp),
    Identifier(String),
    Text(String),
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    Bytes(u64),
    /// `[5m]`, in nanoseconds.
    Range(i64),
    /// `--strict`, `--keep-empty`.
    Flag(&'static str),
    /// What is wrong with the text here.
    Invalid(String),
    End,
}

/// As Loki's messages name tokens.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::RangeOp(op) => f.write_str(op.as_str()),
            Self::VectorOp(op) => f.write_str(op.as_str()),
            Self::Identifier(_) => f.write_str("IDENTIFIER"),
            Self::Text(_) => f.write_str("STRING"),
            Self::Number(_) => f.write_str("NUMBER"),
            Self::Duration(_) => f.write_str("DURATION"),
            Self::Bytes(_) => f.write_str("BYTES"),
            Self::Range(_) => f.write_str("RANGE"),
            Self::Flag(_) => f.write_str("FUNCTION_FLAG"),
            Self::Invalid(what) => f.write_str(what),
            Self::End => f.write_str("$end"),
        }
    }
}

/// Line and column, from 1.
pub(crate) type Place = (u32, u32);

/// All tokens of a query, the last of which is [`Token::End`] or [`Token::Invalid`].
pub(crate) fn tokens(text: &str) -> Vec<(Token, Place)> {
    let mut lexer = Lexer { text, at: 0, line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        let found = lexer.next_token();
        let last = matches!(found.0, Token::End | Token::Invalid(_));
        tokens.push(found);
        if last {
            return tokens;
        }
    }
}

const KEYWORDS: [&str; 22] = [
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "decolorize",
    "drop",
    "keep",
    "unwrap",
];
const FUNCTIONS: [&str; 6] = ["vector", "label_replace", "ip", "bytes", "duration", "duration_seconds"];
/// Longest first.
const OPERATORS: [&str; 28] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "|", "=", ">", "<", "{", "}", "(", ")", ",", ".", "+",
    "-", "*", "/", "%", "^", "]", "[",
];

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.at += taken.len();
        for c in taken.chars() {
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        taken
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest().find(|c| !keep(c)).unwrap_or(self.rest().len());
        self.advance(end)
    }

    fn next_token(&mut self) -> (Token, Place) {
        if let Err(error) = self.skip_space() {
            return ((Token::Invalid(error)), (self.line, self.column));
        }
        let place = (self.line, self.column);
        let token = match self.peek() {
            None => Token::End,
            Some(c) if c == '_' || c.is_alphabetic() => self.word(),
            Some(c) if c.is_ascii_digit() => self.number(),
            Some('.') if self.rest().chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => self.number(),
            Some('"') => self.quoted().map_or_else(|error| Token::Invalid(error.to_owned()), Token::Text),
            Some('`') => self.raw(),
            Some('[') => self.range(),
            Some('-') => self.minus(),
            Some(_) => self.operator(),
        };
        (token, place)
    }

    fn skip_space(&mut self) -> Result<(), String> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{FEFF}'));
            if self.rest().starts_with('#') || self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                let end = self.rest().find("*/").ok_or("comment not terminated")?;
                self.advance(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Token {
        let word = self.take_while(|c| c == '_' || c.is_alphanumeric());
        let lower = word.to_lowercase();
        if let Some(function) = function(&lower) {
            return if self.is_call() { function } else { Token::Identifier(word.to_owned()) };
        }
        match KEYWORDS.iter().find(|k| **k == lower) {
            // Also a label, which Loki cannot name: the parser of that name has its text behind it.
            Some(&"pattern") if !self.rest().trim_start().starts_with(['"', '`']) => Token::Identifier(word.to_owned()),
            Some(keyword) => Token::Word(keyword),
            None => Token::Identifier(word.to_owned()),
        }
    }

    /// Whether `(`, or `by (` or `without (`, comes next.
    fn is_call(&self) -> bool {
        let rest = self.rest().trim_start();
        let lower: String = rest.chars().take(7).collect::<String>().to_lowercase();
        let after = |n: usize| rest.get(n..).is_some_and(|tail| tail.trim_start().starts_with('('));
        rest.starts_with('(') || (lower.starts_with("by") && after(2)) || (lower == "without" && after(7))
    }

    fn number(&mut self) -> Token {
        let start = self.at;
        let number = match self.scan_number() {
            Ok(number) => number,
            Err(error) => return Token::Invalid(error.to_owned()),
        };
        let suffix = |units: &str| {
            let rest = self.rest();
            let end = rest.find(|c: char| !(c.is_numeric() || c == '.' || units.contains(c))).unwrap_or(rest.len());
            (end > 0).then_some(end)
        };
        let (duration, bytes) = (suffix("nuµmshdwy"), suffix("BikKMGTP"));
        let with = |end: usize| self.text.get(start..self.at + end).unwrap_or_default();
        if let Some((end, found)) = duration.and_then(|end| Some((end, parse_duration(with(end))?))) {
            self.advance(end);
            return Token::Duration(found);
        }
        if let Some((end, found)) = bytes.and_then(|end| Some((end, parse_bytes(with(end)).ok()?))) {
            self.advance(end);
            return Token::Bytes(found);
        }
        Token::Number(number.to_owned())
    }

    /// A number as Go's scanner delimits it: decimal, hexadecimal, with fraction and exponent.
    fn scan_number(&mut self) -> Result<&'a str, &'static str> {
        let start = self.at;
        let digit = |c: char| c.is_ascii_digit() || c == '_';
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.advance(2);
            self.take_while(|c| c.is_ascii_hexdigit() || c == '_' || c == '.');
        } else {
            self.take_while(digit);
            if self.peek() == Some('.') {
                self.advance(1);
                self.take_while(digit);
            }
        }
        let hex = self.text.get(start..).is_some_and(|t| t.starts_with("0x") || t.starts_with("0X"));
        if self.peek().is_some_and(|c| matches!(c, 'e' | 'E') && !hex || matches!(c, 'p' | 'P') && hex) {
            self.advance(1);
            if matches!(self.peek(), Some('+' | '-')) {
                self.advance(1);
            }
            if self.take_while(digit).is_empty() {
                return Err("exponent has no digits");
            }
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn minus(&mut self) -> Token {
        let rest = self.rest();
        if rest.starts_with("--") {
            let end = rest.find(|c: char| !(c.is_alphabetic() || c == '-')).unwrap_or(rest.len());
            for flag in ["--strict", "--keep-empty"] {
                if rest.get(..end) == Some(flag) {
                    self.advance(end);
                    return Token::Flag(flag);
                }
            }
        }
        let tail = rest.get(1..).unwrap_or_default();
        let end = tail.find(|c: char| !(c.is_numeric() || c == '.' || "nuµmshdwy".contains(c))).unwrap_or(tail.len());
        if tail.starts_with(|c: char| c.is_ascii_digit())
            && let Some(duration) = rest.get(..end + 1).and_then(parse_duration)
            && end > 1
        {
            self.advance(end + 1);
            return Token::Duration(duration);
        }
        self.operator()
    }

    fn range(&mut self) -> Token {
        self.advance(1);
        let Some(end) = self.rest().find(']') else {
            self.advance(self.rest().len());
            return Token::Invalid("missing closing ']' in duration".to_owned());
        };
        let inside = self.advance(end);
        match parse_prometheus_duration(inside) {
            Ok(range) => {
                self.advance(1);
                Token::Range(range)
            }
            Err(error) => Token::Invalid(error),
        }
    }

    fn raw(&mut self) -> Token {
        self.advance(1);
        match self.rest().find('`') {
            Some(end) => {
                let text = self.advance(end).replace('\r', "");
                self.advance(1);
                Token::Text(text)
            }
            None => Token::Invalid("literal not terminated".to_owned()),
        }
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        self.advance(1);
        let mut bytes = Vec::new();
        loop {
            let plain = self.take_while(|c| !matches!(c, '"' | '\\' | '\n'));
            bytes.extend_from_slice(plain.as_bytes());
            match self.peek() {
                Some('"') => {
                    self.advance(1);
                    return String::from_utf8(bytes).map_err(|_| "invalid UTF-8 in string");
                }
                Some('\\') => {
                    self.advance(1);
                    self.escape(&mut bytes)?;
                }
                _ => return Err("literal not terminated"),
            }
        }
    }

    /// After a backslash.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
        const INVALID: &str = "invalid char escape";
        let c = self.peek().ok_or("literal not terminated")?;
        let (digits, radix) = match c {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => (3, 8),
            _ => {
                bytes.push(match c {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 11,
                    '\\' => b'\\',
                    '"' => b'"',
                    _ => return Err(INVALID),
                });
                self.advance(1);
                return Ok(());
            }
        };
        if radix == 16 {
            self.advance(1);
        }
        let text: String = self.rest().chars().take(digits).take_while(|c| c.is_digit(radix)).collect();
        if text.len() < digits {
            return Err(INVALID);
        }
        self.advance(digits);
        let code = u32::from_str_radix(&text, radix).map_err(|_| INVALID)?;
        if matches!(c, 'u' | 'U') {
            let found = char::from_u32(code).ok_or("escape is invalid Unicode code point")?;
            bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(code).map_err(|_| INVALID)?);
        }
        Ok(())
    }

    fn operator(&mut self) -> Token {
        match OPERATORS.iter().find(|operator| self.rest().starts_with(**operator)) {
            Some(operator) => {
                self.advance(operator.len());
                Token::Word(operator)
            }
            None => {
                let c = self.peek().unwrap_or_default();
                Token::Invalid(format!("syntax error: unexpected character {c:?}"))
            }
        }
    }
}

fn function(lower: &str) -> Option<Token> {
    if let Some(op) = RangeOp::from_name(lower) {
        return Some(Token::RangeOp(op));
    }
    if let Some(op) = VectorOp::from_name(lower) {
        return Some(Token::VectorOp(op));
    }
    FUNCTIONS.iter().find(|f| **f == lower).map(|f| Token::Word(f))
}
