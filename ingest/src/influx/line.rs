//! Lines of the line protocol, one after the other.

use std::borrow::Cow;

/// A tag's name and value.
type Tag<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// What a line says.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) measurement: Cow<'a, [u8]>,
    pub(super) tags: Vec<Tag<'a>>,
    /// Names and numbers; a field of text that is no number has none.
    pub(super) fields: Vec<(Cow<'a, [u8]>, Option<f64>)>,
    pub(super) time: Option<i64>,
}

/// Characters of a line that an error shows.
const SHOWN_CHARS: usize = 200;

/// The lines of a body that are not empty and no comments.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    body: &'a [u8],
    at: usize,
    /// Where lines were counted to, and how many end before it.
    counted: (usize, usize),
}

impl<'a> Lines<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { body, at: 0, counted: (0, 0) }
    }

    /// The next line with its number, or why it cannot be read.
    pub(super) fn next(&mut self) -> Option<(usize, Result<Line<'a>, String>)> {
        loop {
            while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
                self.at += 1;
            }
            match self.peek()? {
                b'#' => self.skip_line(),
                _ => break,
            }
        }
        let start = self.at;
        let (counted, ends) = self.counted;
        let ends = ends + self.body[counted..start].iter().filter(|&&byte| byte == b'\n').count();
        self.counted = (start, ends);
        let line = self.line().map_err(|why| {
            self.skip_line();
            let whole = String::from_utf8_lossy(self.body[start..self.at].trim_ascii_end()).into_owned();
            let shown: String = whole.chars().take(SHOWN_CHARS).collect();
            format!("unable to parse '{shown}': {why}")
        });
        Some((ends + 1, line))
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Steps over this byte, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_line(&mut self) {
        let rest = &self.body[self.at..];
        self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    }

    fn line(&mut self) -> Result<Line<'a>, &'static str> {
        let mut line = Line { measurement: self.text(b", ", b", "), ..Line::default() };
        if line.measurement.is_empty() {
            return Err("missing measurement");
        }
        while self.take(b',') {
            line.tags.push(self.tag()?);
        }
        self.skip_spaces();
        loop {
            line.fields.push(self.field()?);
            if !self.take(b',') {
                break;
            }
        }
        self.skip_spaces();
        let time = self.text(b" ", b"");
        if !time.is_empty() {
            let digits = std::str::from_utf8(&time).ok();
            line.time = Some(digits.and_then(|digits| digits.parse().ok()).ok_or("bad timestamp")?);
        }
        self.skip_spaces();
        match self.peek() {
            None | Some(b'\n' | b'\r') => Ok(line),
            Some(_) => Err("bad timestamp"),
        }
    }

    fn tag(&mut self) -> Result<Tag<'a>, &'static str> {
        let name = self.text(b",= ", b",= ");
        if name.is_empty() {
            return Err("missing tag key");
        }
        if !self.take(b'=') {
            return Err("missing tag value");
        }
        let value = self.text(b",= ", b",= ");
        if self.peek() == Some(b'=') { Err("invalid tag format") } else { Ok((name, value)) }
    }

    fn field(&mut self) -> Result<(Cow<'a, [u8]>, Option<f64>), &'static str> {
        if matches!(self.peek(), None | Some(b'\n' | b'\r')) {
            return Err("missing fields");
        }
        let name = self.text(b",= ", b",= ");
        if name.is_empty() {
            return Err("missing field key");
        }
        if !self.take(b'=') {
            return Err("missing field value");
        }
        let value = if self.take(b'"') { self.quoted()? } else { Some(number(&self.text(b", ", b""))?) };
        match self.peek() {
            None | Some(b',' | b' ' | b'\n' | b'\r') => Ok((name, value)),
            Some(_) => Err("invalid field format"),
        }
    }

    /// The number that a text holds. Lines may end inside of it.
    fn quoted(&mut self) -> Result<Option<f64>, &'static str> {
        let start = self.at;
        loop {
            match self.peek().ok_or("unbalanced quotes")? {
                b'"' => break,
                b'\\' => self.at = (self.at + 2).min(self.body.len()),
                _ => self.at += 1,
            }
        }
        let text = &self.body[start..self.at];
        self.at += 1;
        Ok(number(text).ok())
    }

    fn skip_spaces(&mut self) {
        while self.take(b' ') {}
    }

    /// Up to one of `stops` or the end of the line. A backslash before one of `escaped` makes it a letter like others.
    fn text(&mut self, stops: &[u8], escaped: &[u8]) -> Cow<'a, [u8]> {
        let body = self.body;
        let mut start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        while let Some(byte) = self.peek() {
            if byte == b'\\' && body.get(self.at + 1).is_some_and(|next| escaped.contains(next)) {
                unescaped.get_or_insert_default().extend_from_slice(&body[start..self.at]);
                start = self.at + 1;
                self.at += 2;
                continue;
            }
            if stops.contains(&byte) || matches!(byte, b'\n' | b'\r') {
                break;
            }
            self.at += 1;
        }
        let rest = &body[start..self.at];
        match unescaped {
            None => Cow::Borrowed(rest),
            Some(mut text) => {
                text.extend_from_slice(rest);
                Cow::Owned(text)
            }
        }
    }
}

/// Numbers, whole ones with `i` or `u` behind them, and booleans.
fn number(text: &[u8]) -> Result<f64, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "invalid number")?;
    let is_true = matches!(text, "t" | "T" | "true" | "True" | "TRUE");
    if is_true || matches!(text, "f" | "F" | "false" | "False" | "FALSE") {
        return Ok(f64::from(u8::from(is_true)));
    }
    if let Some(digits) = text.strip_suffix('i') {
        return digits.parse::<i64>().map(|n| n as f64).map_err(|_| "invalid number");
    }
    if let Some(digits) = text.strip_suffix('u') {
        return digits.parse::<u64>().map(|n| n as f64).map_err(|_| "invalid number");
    }
    // Nothing like `inf`, and no `nan`.
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|_| is_plain).ok_or(if text.is_empty() { "missing field value" } else { "invalid number" })
}
