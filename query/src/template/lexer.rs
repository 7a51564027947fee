//! The text of a template -> texts and the tokens of its actions.

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Plain text between actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// `.name`, without the dot.
    Field(String),
    Dot,
    /// `$` or `$name`.
    Variable(String),
    /// A function's name, a keyword, `true`, `false` or `nil`.
    Word(String),
    Number(String),
    /// As written with its quotes, and what it says.
    Quoted(String, String),
    /// One of `( ) | , = :=`.
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) place: usize,
    /// White space comes before.
    pub(super) spaced: bool,
}

/// All tokens, the last of which is the end.
///
/// # Errors
/// The line, from 1, and what is wrong.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, (usize, String)> {
    let mut lexer = Lexer { text, at: 0, out: Vec::new() };
    lexer.run().map_err(|message| (1 + text.get(..lexer.at).unwrap_or_default().matches('\n').count(), message))?;
    Ok(lexer.out)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    out: Vec<Placed>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, token: Token, place: usize, spaced: bool) {
        self.out.push(Placed { token, place, spaced });
    }

    fn run(&mut self) -> Result<(), String> {
        let mut trim_left = false;
        loop {
            let start = self.at;
            let rest = self.rest();
            let open = rest.find("{{");
            let mut plain = rest.get(..open.unwrap_or(rest.len())).unwrap_or_default();
            self.at += plain.len();
            if trim_left {
                plain = plain.trim_start_matches(is_space);
            }
            let trims =
                self.rest().starts_with("{{- ") || self.rest().starts_with("{{-\n") || self.rest().starts_with("{{-\t");
            if trims {
                plain = plain.trim_end_matches(is_space);
            }
            if !plain.is_empty() {
                self.push(Token::Text(plain.to_owned()), start, false);
            }
            if open.is_none() {
                self.push(Token::End, self.at, false);
                return Ok(());
            }
            let place = self.at;
            self.at += 2 + 2 * usize::from(trims);
            if self.rest().starts_with("/*") {
                trim_left = self.comment()?;
                continue;
            }
            self.push(Token::Open, place, false);
            trim_left = self.action()?;
        }
    }

    /// A comment, up to behind its `}}`; true if what follows is to be trimmed.
    fn comment(&mut self) -> Result<bool, String> {
        let end = self.rest().find("*/").ok_or("unclosed comment")?;
        self.at += end + 2;
        let trims = self.rest().starts_with(" -}}");
        self.at += 2 * usize::from(trims);
        if !self.rest().starts_with("}}") {
            return Err("comment ends before closing delimiter".to_owned());
        }
        self.at += 2;
        Ok(trims)
    }

    /// The tokens up to and with `}}`; true if what follows is to be trimmed.
    fn action(&mut self) -> Result<bool, String> {
        let mut parentheses = 0_usize;
        loop {
            let rest = self.rest();
            let space = rest.len() - rest.trim_start_matches(is_space).len();
            self.at += space;
            let (rest, place, spaced) = (self.rest(), self.at, space > 0);
            let trims = spaced && rest.starts_with("-}}");
            if trims || rest.starts_with("}}") {
                if parentheses > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.at += if trims { 3 } else { 2 };
                self.push(Token::Close, place, spaced);
                return Ok(trims);
            }
            let token = self.token(rest, &mut parentheses)?;
            self.push(token, place, spaced);
        }
    }

    fn token(&mut self, rest: &'t str, parentheses: &mut usize) -> Result<Token, String> {
        let c = rest.chars().next().ok_or("unclosed action")?;
        let next = rest.chars().nth(1);
        let digit_follows = next.is_some_and(|c| c.is_ascii_digit());
        Ok(match c {
            '(' => {
                *parentheses += 1;
                self.sign("(")
            }
            ')' => {
                *parentheses = parentheses.checked_sub(1).ok_or("unexpected right paren")?;
                self.sign(")")
            }
            '|' => self.sign("|"),
            ',' => self.sign(","),
            '=' => self.sign("="),
            ':' if next == Some('=') => self.sign(":="),
            '"' | '`' => self.quoted(c)?,
            '\'' => self.character()?,
            '.' if !digit_follows => {
                let name = word(rest.get(1..).unwrap_or_default());
                self.at += 1 + name.len();
                if name.is_empty() { Token::Dot } else { Token::Field(name.to_owned()) }
            }
            '$' => {
                let name = word(rest.get(1..).unwrap_or_default());
                self.at += 1 + name.len();
                Token::Variable(format!("${name}"))
            }
            '+' | '-' | '.' | '0'..='9' => {
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '-')))
                    .unwrap_or(rest.len());
                // A sign belongs to the number only at its start and behind an exponent.
                let bytes = rest.as_bytes();
                let belongs = |i: usize| {
                    i == 0 || !matches!(bytes[i], b'+' | b'-') || matches!(bytes[i - 1], b'e' | b'E' | b'p' | b'P')
                };
                let end = (0..end).find(|&i| !belongs(i)).unwrap_or(end);
                self.at += end;
                Token::Number(rest.get(..end).unwrap_or_default().to_owned())
            }
            c if c == '_' || c.is_alphabetic() => {
                let name = word(rest);
                self.at += name.len();
                Token::Word(name.to_owned())
            }
            other if other.is_ascii_graphic() => return Err(format!("unexpected \"{other}\" in command")),
            other => return Err(format!("unrecognized character in action: U+{:04X}", u32::from(other))),
        })
    }

    fn sign(&mut self, sign: &'static str) -> Token {
        self.at += sign.len();
        Token::Sign(sign)
    }

    fn quoted(&mut self, quote: char) -> Result<Token, String> {
        let rest = self.rest();
        let unterminated = if quote == '"' { "unterminated quoted string" } else { "unterminated raw quoted string" };
        if quote == '`' {
            let end = rest.get(1..).and_then(|r| r.find('`')).ok_or(unterminated)?;
            self.at += end + 2;
            let inside = rest.get(1..=end).unwrap_or_default();
            return Ok(Token::Quoted(format!("`{inside}`"), inside.replace('\r', "")));
        }
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find_map(|(i, c)| {
            let closes = (c == '"' && !escaped).then_some(Some(i));
            let broken = (c == '\n').then_some(None);
            escaped = c == '\\' && !escaped;
            closes.or(broken)
        });
        let end = end.flatten().ok_or(unterminated)?;
        self.at += end + 1;
        let written = rest.get(..=end).unwrap_or_default();
        let inside = unescape(rest.get(1..end).unwrap_or_default(), '"').ok_or("invalid syntax")?;
        Ok(Token::Quoted(written.to_owned(), inside))
    }

    /// `'x'` is a number.
    fn character(&mut self) -> Result<Token, String> {
        let rest = self.rest().get(1..).unwrap_or_default();
        let body = rest.strip_prefix('\\').map_or(rest, |tail| tail.get(1..).unwrap_or_default());
        let end = rest.len() - body.len() + body.find('\'').ok_or("unterminated character constant")?;
        let text = unescape(rest.get(..end).unwrap_or_default(), '\'').unwrap_or_default();
        let mut chars = text.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return Err("malformed character constant".to_owned());
        };
        self.at += end + 2;
        Ok(Token::Number(u32::from(c).to_string()))
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Resolves Go's escapes.
fn unescape(text: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, tail)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let c = tail.chars().next()?;
        let code = |from: usize, to: usize, radix| u32::from_str_radix(tail.get(from..to)?, radix).ok();
        let mut used = c.len_utf8();
        match c {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            c if c == quote => bytes.push(c as u8),
            'x' => {
                bytes.push(u8::try_from(code(1, 3, 16)?).ok()?);
                used = 3;
            }
            '0'..='7' => {
                bytes.push(u8::try_from(code(0, 3, 8)?).ok()?);
                used = 3;
            }
            'u' | 'U' => {
                let end = if c == 'u' { 5 } else { 9 };
                bytes.extend_from_slice(char::from_u32(code(1, end, 16)?)?.to_string().as_bytes());
                used = end;
            }
            _ => return None,
        }
        rest = tail.get(used..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}
