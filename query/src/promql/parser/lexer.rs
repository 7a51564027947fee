//! Text -> tokens.
//!
//! What a character means depends on where it stands: between braces there are no keywords, and between brackets
//! only durations and their arithmetic. The whole text is read at once; where that cannot go on, the last token is
//! [`Kind::Invalid`] and the error is kept, so that the parser reports whatever comes first.

use super::error::ParseError;
use super::token::{Keyword, Kind, QueryWord, Token, word};
use crate::logql::units::quote;
use crate::promql::ast::{BinaryOp, Span};

/// The tokens of a text.
pub(super) struct Lexed {
    /// The last is [`Kind::End`] or [`Kind::Invalid`].
    pub(super) tokens: Vec<Token>,
    /// What is wrong with [`Kind::Invalid`].
    pub(super) error: Option<ParseError>,
}

pub(super) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer {
        text,
        at: 0,
        start: 0,
        mode: Mode::Expression,
        parens: 0,
        bracket: None,
        tokens: Vec::with_capacity(text.len() / 4 + 1),
    };
    let error = loop {
        match lexer.step() {
            Ok(true) => {}
            Ok(false) => break None,
            Err(message) => {
                let span = Span { start: lexer.start, end: text.len() };
                lexer.tokens.push(Token { kind: Kind::Invalid, span });
                break Some(ParseError::new(span, message));
            }
        }
    };
    Lexed { tokens: lexer.tokens, error }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Expression,
    /// Between `{` and `}`.
    Braces,
    /// After `[`, as long as no number was read.
    Brackets,
}

/// What was read since `[`.
#[derive(Clone, Copy, Default)]
struct Bracket {
    colon: bool,
    duration: bool,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the token at hand begins.
    start: usize,
    mode: Mode,
    /// How many parentheses are open.
    parens: usize,
    /// Set between `[` and `]`.
    bracket: Option<Bracket>,
    tokens: Vec<Token>,
}

/// Whether there is more to read; or what is wrong with the token that begins at `start`.
type Step = Result<bool, String>;

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, valid: impl Fn(char) -> bool) -> bool {
        let found = self.peek().is_some_and(valid);
        if found {
            self.next();
        }
        found
    }

    fn skip_while(&mut self, valid: impl Fn(char) -> bool) {
        while self.accept(&valid) {}
    }

    fn taken(&self) -> &str {
        self.text.get(self.start..self.at).unwrap_or_default()
    }

    fn emit(&mut self, kind: Kind) -> Step {
        self.tokens.push(Token { kind, span: Span { start: self.start, end: self.at } });
        self.start = self.at;
        Ok(true)
    }

    /// Emits `long` if `c` comes next, else `short`.
    fn either(&mut self, c: char, long: Kind, short: Kind) -> Step {
        let kind = if self.accept(|next| next == c) { long } else { short };
        self.emit(kind)
    }

    fn step(&mut self) -> Step {
        self.start = self.at;
        if self.mode != Mode::Brackets && self.peek() == Some('#') {
            self.skip_while(|c| c != '\n' && c != '\r');
            return Ok(true);
        }
        if self.accept(is_space) {
            self.skip_while(is_space);
            return Ok(true);
        }
        match self.mode {
            Mode::Expression => self.expression(),
            Mode::Braces => self.braces(),
            Mode::Brackets => self.brackets(),
        }
    }

    fn expression(&mut self) -> Step {
        use BinaryOp as B;
        let Some(c) = self.next() else { return self.end() };
        match c {
            ',' => self.emit(Kind::Comma),
            '*' => self.emit(Kind::Operator(B::Mul)),
            '/' => self.emit(Kind::Operator(B::Div)),
            '%' => self.emit(Kind::Operator(B::Mod)),
            '+' => self.emit(Kind::Operator(B::Add)),
            '-' => self.emit(Kind::Operator(B::Sub)),
            '^' => self.emit(Kind::Operator(B::Pow)),
            '@' => self.emit(Kind::At),
            '=' if self.peek() == Some('~') => Err("unexpected character after '=': '~'".to_owned()),
            '=' => self.either('=', Kind::Operator(B::Eq), Kind::Equal),
            '!' => match self.next() {
                Some('=') => self.emit(Kind::Operator(B::Ne)),
                other => Err(format!("unexpected character after '!': {}", quote_char(other))),
            },
            '<' if self.peek() == Some('=') => self.either('=', Kind::Operator(B::Le), Kind::Operator(B::Lt)),
            '<' => self.either('/', Kind::Operator(B::TrimUpper), Kind::Operator(B::Lt)),
            '>' if self.peek() == Some('=') => self.either('=', Kind::Operator(B::Ge), Kind::Operator(B::Gt)),
            '>' => self.either('/', Kind::Operator(B::TrimLower), Kind::Operator(B::Gt)),
            '(' => self.left_paren(),
            ')' => self.right_paren(),
            '{' => {
                self.mode = Mode::Braces;
                self.emit(Kind::LeftBrace)
            }
            '[' if self.bracket.is_some() => Err("unexpected left bracket '['".to_owned()),
            '[' => {
                self.bracket = Some(Bracket::default());
                self.mode = Mode::Brackets;
                self.emit(Kind::LeftBracket)
            }
            ']' if self.bracket.is_none() => Err("unexpected right bracket ']'".to_owned()),
            ']' => self.right_bracket(),
            '"' | '\'' => self.quoted(c),
            '`' => self.raw(),
            c if c.is_ascii_digit() => self.number_or_duration(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(),
            c if is_alpha(c) || c == ':' => match self.bracket {
                None => self.name(),
                Some(bracket) => self.name_in_brackets(c, bracket),
            },
            c => Err(format!("unexpected character: {}", quote_char(Some(c)))),
        }
    }

    fn end(&mut self) -> Step {
        if self.parens != 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.bracket.is_some() {
            return Err("unclosed left bracket".to_owned());
        }
        self.emit(Kind::End)?;
        Ok(false)
    }

    fn left_paren(&mut self) -> Step {
        self.parens += 1;
        self.emit(Kind::LeftParen)
    }

    fn right_paren(&mut self) -> Step {
        let Some(parens) = self.parens.checked_sub(1) else {
            self.start = self.at;
            return Err("unexpected right parenthesis ')'".to_owned());
        };
        self.parens = parens;
        self.emit(Kind::RightParen)
    }

    fn right_bracket(&mut self) -> Step {
        self.bracket = None;
        self.mode = Mode::Expression;
        self.emit(Kind::RightBracket)
    }

    fn braces(&mut self) -> Step {
        let Some(c) = self.next() else { return Err("unexpected end of input inside braces".to_owned()) };
        match c {
            c if is_alpha(c) => {
                self.skip_while(is_alphanumeric);
                self.emit(Kind::Identifier)
            }
            ',' => self.emit(Kind::Comma),
            '"' | '\'' => self.quoted(c),
            '`' => self.raw(),
            '=' => self.either('~', Kind::Regex, Kind::Equal),
            '!' => match self.next() {
                Some('~') => self.emit(Kind::NotRegex),
                Some('=') => self.emit(Kind::Operator(BinaryOp::Ne)),
                other => Err(format!("unexpected character after '!' inside braces: {}", quote_char(other))),
            },
            '{' => Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.mode = Mode::Expression;
                self.emit(Kind::RightBrace)
            }
            c => Err(format!("unexpected character inside braces: {}", quote_char(Some(c)))),
        }
    }

    fn brackets(&mut self) -> Step {
        use BinaryOp as B;
        let bracket = self.bracket.unwrap_or_default();
        let Some(c) = self.next() else { return Err("unexpected end of input in duration expression".to_owned()) };
        match c {
            ']' => self.right_bracket(),
            ':' => {
                let wrong = match bracket {
                    Bracket { duration: false, .. } => "unexpected colon before duration in duration expression",
                    Bracket { colon: true, .. } => "unexpected repeated colon in duration expression",
                    _ => {
                        self.bracket = Some(Bracket { colon: true, ..bracket });
                        return self.emit(Kind::Colon);
                    }
                };
                self.start = self.at;
                Err(wrong.to_owned())
            }
            '(' => self.left_paren(),
            ')' => self.right_paren(),
            '+' => self.emit(Kind::Operator(B::Add)),
            '-' => self.emit(Kind::Operator(B::Sub)),
            '*' => self.emit(Kind::Operator(B::Mul)),
            '/' => self.emit(Kind::Operator(B::Div)),
            '%' => self.emit(Kind::Operator(B::Mod)),
            '^' => self.emit(Kind::Operator(B::Pow)),
            ',' => self.emit(Kind::Comma),
            c if c.is_ascii_digit() => self.number_or_duration(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(),
            c => match self.duration_word(c) {
                Some(kind) => self.emit(kind),
                None => Err(format!("unexpected character in duration expression: {}", quote_char(Some(c)))),
            },
        }
    }

    /// After the first number between brackets.
    fn name_in_brackets(&mut self, c: char, bracket: Bracket) -> Step {
        if c == ':' {
            if bracket.colon {
                return Err("unexpected colon ':'".to_owned());
            }
            self.bracket = Some(Bracket { colon: true, ..bracket });
            return self.emit(Kind::Colon);
        }
        match self.duration_word(c) {
            Some(kind) => self.emit(kind),
            None => Err(format!("unexpected character: {}, expected ':'", quote_char(Some(c)))),
        }
    }

    /// `step`, `range`, `max_of`, `min_of`, whose first character is read; nothing is consumed of other words.
    fn duration_word(&mut self, first: char) -> Option<Kind> {
        if !is_alpha(first) {
            return None;
        }
        let from = self.at;
        self.skip_while(is_alpha);
        match word(self.taken()) {
            Some(kind @ Kind::Query(QueryWord::Step | QueryWord::Range | QueryWord::MaxOf | QueryWord::MinOf)) => {
                self.bracket.get_or_insert_default().duration = true;
                Some(kind)
            }
            _ => {
                self.at = from;
                None
            }
        }
    }

    /// A name or a keyword, whose first character is read.
    fn name(&mut self) -> Step {
        self.skip_while(|c| is_alphanumeric(c) || c == ':');
        let kind = match word(self.taken()) {
            // They are new, and metrics may be called that.
            Some(Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)) if !self.paren_follows() => {
                Kind::Identifier
            }
            Some(kind) => kind,
            None if self.taken().contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        };
        self.emit(kind)
    }

    fn paren_follows(&self) -> bool {
        self.text.get(self.at..).is_some_and(|rest| rest.trim_start_matches(is_space).starts_with('('))
    }

    /// The opening quote is read.
    fn quoted(&mut self, quote: char) -> Step {
        loop {
            match self.next() {
                Some('\\') => self.escape(quote)?,
                // What was no UTF-8 arrives here as this.
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some(c) if c == quote => return self.emit(Kind::Text),
                Some(_) => {}
            }
        }
    }

    /// The opening quote is read.
    fn raw(&mut self) -> Step {
        loop {
            match self.next() {
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                None => return Err("unterminated raw string".to_owned()),
                Some('`') => return self.emit(Kind::Text),
                Some(_) => {}
            }
        }
    }

    /// The backslash is read.
    fn escape(&mut self, quote: char) -> Result<(), String> {
        let unterminated = || "escape sequence not terminated".to_owned();
        let c = self.peek().ok_or_else(unterminated)?;
        let (digits, radix, max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => (0, 8, 0),
            c if c == quote => (0, 8, 0),
            '0'..='7' => (3, 8, 255),
            'x' => (2, 16, 255),
            'u' => (4, 16, 0x10_FFFF),
            'U' => (8, 16, 0x10_FFFF),
            c => return Err(format!("unknown escape sequence {}", name_char(c))),
        };
        if radix == 16 || digits == 0 {
            self.next();
        }
        let mut code = 0_u32;
        for _ in 0..digits {
            let c = self.next().ok_or_else(unterminated)?;
            let digit = c.to_digit(radix);
            let digit = digit.ok_or_else(|| format!("illegal character {} in escape sequence", name_char(c)))?;
            code = code * radix + digit;
        }
        if code > max || (0xD800..0xE000).contains(&code) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    /// The first digit, or the dot before it, is read.
    fn number_or_duration(&mut self) -> Step {
        self.at = self.start;
        self.mode = Mode::Expression;
        if let Some(bracket) = &mut self.bracket {
            bracket.duration = true;
        }
        if self.scan_number() {
            return self.emit(Kind::Number);
        }
        if self.scan_duration() {
            return self.emit(Kind::Duration);
        }
        Err(format!("bad number or duration syntax: {}", quote(self.taken())))
    }

    /// Reads on as long as it looks like a number. False if it is none, and what was read then may begin a duration.
    fn scan_number(&mut self) -> bool {
        let hex = self.accept(|c| c == '0') && self.accept(|c| c == 'x' || c == 'X');
        if hex {
            self.accept(|c| c == '_');
        }
        let digit = |c: char| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.accept(|c| c == '.');
        self.accept(digit);
        let (mut dot, mut exponent) = (false, false);
        loop {
            match self.peek() {
                Some('.') => {
                    self.next();
                    if dot || hex || self.accept(|c| c == '_' || c == '.') {
                        return false;
                    }
                    dot = true;
                }
                Some('e' | 'E') => {
                    self.next();
                    if exponent {
                        return false;
                    }
                    exponent = true;
                    self.accept(|c| c == '+' || c == '-');
                    if self.accept(|c| "._eE".contains(c)) || self.peek().is_none() {
                        return false;
                    }
                }
                Some('_') => {
                    self.next();
                    if self.accept(|c| "._eE".contains(c)) || self.peek().is_none() {
                        return false;
                    }
                }
                Some(c) if digit(c) => self.skip_while(digit),
                next => return !next.is_some_and(is_alphanumeric),
            }
        }
    }

    /// The first number is read. Which units there are, and in which order, is found out when it is evaluated.
    fn scan_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.skip_while(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        !self.accept(is_alphanumeric)
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Go's `%q` of a character; the end of the text is none.
fn quote_char(c: Option<char>) -> String {
    match c {
        Some('\'') => r"'\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(c) => format!("'{}'", quote(c.encode_utf8(&mut [0; 4])).trim_matches('"')),
        None => format!("'{}'", char::REPLACEMENT_CHARACTER),
    }
}

/// Go's `%#U`: `U+0063 'c'`.
fn name_char(c: char) -> String {
    if c.is_control() {
        return format!("U+{:04X}", u32::from(c));
    }
    format!("U+{:04X} '{c}'", u32::from(c))
}
