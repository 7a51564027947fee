//! `| logfmt`, plain and with named keys.

use std::borrow::Cow;

use super::demand::Demand;
use super::error_kind::{LOGFMT, mark};
use super::row::Row;
use super::sanitize::label_name;
use crate::logql::ast::Logfmt;

/// `| logfmt`, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct LogfmtParser {
    strict: bool,
    keep_empty: bool,
    /// Label and key; empty takes all keys.
    wanted: Vec<(String, String)>,
}

impl LogfmtParser {
    pub(crate) fn new(logfmt: &Logfmt) -> Result<Self, String> {
        let wanted = |e: &crate::logql::ast::Extraction| {
            let key = parse_key(&e.expression)
                .map_err(|error| format!("cannot parse expression [{}]: {error}", e.expression))?;
            Ok((e.name.clone(), key))
        };
        let wanted = logfmt.extractions.iter().map(wanted).collect::<Result<_, String>>()?;
        Ok(Self { strict: logfmt.strict, keep_empty: logfmt.keep_empty, wanted })
    }

    pub(crate) fn process(&self, row: &mut Row<'_>, demand: &Demand) {
        if demand.is_met(row) {
            return;
        }
        let error = row.with_line(|row, line, keep| {
            if self.wanted.is_empty() { self.all(row, line, keep, demand) } else { self.some(row, line, keep, demand) }
        });
        if let (true, Some(error)) = (self.strict, error) {
            mark(row, demand, LOGFMT, Some(error));
        }
    }

    /// Every key becomes a label; of a key given twice, the first.
    fn all<'a, 'l>(
        &self,
        row: &mut Row<'a>,
        line: &'l str,
        keep: &dyn Fn(&'l str) -> Cow<'a, str>,
        demand: &Demand,
    ) -> Option<String> {
        let mut decoder = Decoder::new(line);
        while !decoder.is_at_end() {
            let Some((key, value)) = decoder.pair() else {
                if self.strict {
                    break;
                }
                continue;
            };
            let name = match label_name(key) {
                Cow::Borrowed(name) => keep(name),
                Cow::Owned(name) => Cow::Owned(name),
            };
            if name.is_empty() {
                continue;
            }
            let name = row.parsed_name(name);
            if !demand.wants(&name) || row.was_made(&name) || (value.is_empty() && !self.keep_empty) {
                continue;
            }
            row.set(name, kept(value, keep));
            if demand.is_met(row) {
                break;
            }
        }
        decoder.error
    }

    /// Only the named keys; those that are missing become empty labels; of a key given twice, the last.
    fn some<'a, 'l>(
        &self,
        row: &mut Row<'a>,
        line: &'l str,
        keep: &dyn Fn(&'l str) -> Cow<'a, str>,
        demand: &Demand,
    ) -> Option<String> {
        for (name, _) in &self.wanted {
            if !row.is_taken(name) {
                row.set(Cow::Owned(name.clone()), Cow::Borrowed(""));
            }
        }
        let mut decoder = Decoder::new(line);
        while !decoder.is_at_end() {
            let Some((key, value)) = decoder.pair() else {
                if self.strict {
                    break;
                }
                continue;
            };
            let key = label_name(key);
            // A key that is itself a label of the list, and not renamed, counts too.
            let label = self.wanted.iter().find(|(_, from)| *from == key).map(|(name, _)| name.as_str());
            let label =
                label.or_else(|| self.wanted.iter().find(|(name, _)| *name == key).map(|(name, _)| name.as_str()));
            let Some(label) = label else { continue };
            let taken = row.is_taken(label);
            let name = row.parsed_name(Cow::Owned(label.to_owned()));
            if taken && (row.was_made(&name) || !demand.wants(&name)) {
                break;
            }
            let value = if value.contains(char::REPLACEMENT_CHARACTER) { Cow::Borrowed("") } else { value };
            row.set(name, kept(value, keep));
            if demand.is_met(row) {
                break;
            }
        }
        decoder.error
    }
}

fn kept<'l, 'a>(value: Cow<'l, str>, keep: &dyn Fn(&'l str) -> Cow<'a, str>) -> Cow<'a, str> {
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Cow::Owned(value.replace(char::REPLACEMENT_CHARACTER, " "));
    }
    match value {
        Cow::Borrowed(value) => keep(value),
        Cow::Owned(value) => Cow::Owned(value),
    }
}

/// The key of `a="key"`: an identifier, or anything in double quotes.
fn parse_key(expression: &str) -> Result<String, String> {
    let text = expression.trim_matches([' ', '\t', '\n']);
    if let Some(quoted) = text.strip_prefix('"') {
        return Ok(quoted.split(['"', ']']).next().unwrap_or_default().to_owned());
    }
    let start = text.chars().next().ok_or("syntax error: unexpected $end, expecting STRING or KEY")?;
    let bad = text.chars().find(|&c| !(c.is_ascii_alphanumeric() || c == '_'));
    match bad.or((start.is_ascii_digit()).then_some(start)) {
        Some(c) => Err(format!("unexpected char {c}")),
        None => Ok(text.to_owned()),
    }
}

/// Reads `key=value` pairs; the first error is kept.
struct Decoder<'l> {
    line: &'l str,
    at: usize,
    error: Option<String>,
}

impl<'l> Decoder<'l> {
    fn new(line: &'l str) -> Self {
        Self { line, at: 0, error: None }
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    fn rest(&self) -> &'l [u8] {
        self.line.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn slice(&self, from: usize, to: usize) -> &'l str {
        self.line.get(from..to).unwrap_or_default()
    }

    fn fail(&mut self, what: &str) {
        self.error = Some(format!("logfmt syntax error at pos {} : {what}", self.at + 1));
    }

    /// The next pair; `None` at the end and where the text is malformed, then behind the malformed part.
    fn pair(&mut self) -> Option<(&'l str, Cow<'l, str>)> {
        match self.rest().iter().position(|&b| b > b' ') {
            Some(skipped) => self.at += skipped,
            None => {
                self.at = self.line.len();
                return None;
            }
        }
        let start = self.at;
        let end = self
            .rest()
            .iter()
            .position(|&b| b == b'=' || b == b'"' || b <= b' ')
            .map_or(self.line.len(), |n| start + n);
        self.at = end;
        let key = self.slice(start, end);
        let stop = self.line.as_bytes().get(end).copied();
        let bad_key = key.contains(char::REPLACEMENT_CHARACTER);
        match stop {
            Some(b'"') => return self.unexpected('"'),
            Some(b'=') if key.is_empty() => return self.unexpected('='),
            Some(b'=') => {}
            _ if bad_key => {
                self.fail("invalid key");
                return None;
            }
            _ => return Some((key, Cow::Borrowed(""))),
        }
        if bad_key {
            self.fail("invalid key");
            return self.skip_value();
        }
        self.at += 1;
        let value = self.value()?;
        Some((key, value))
    }

    fn value(&mut self) -> Option<Cow<'l, str>> {
        let start = self.at;
        match self.rest().first() {
            None => return Some(Cow::Borrowed("")),
            Some(&b) if b <= b' ' => return Some(Cow::Borrowed("")),
            Some(b'"') => return self.quoted(),
            Some(_) => {}
        }
        let end = self
            .rest()
            .iter()
            .position(|&b| b == b'=' || b == b'"' || b <= b' ')
            .map_or(self.line.len(), |n| start + n);
        self.at = end;
        match self.line.as_bytes().get(end) {
            Some(&b) if b == b'=' || b == b'"' => self.unexpected(char::from(b)),
            _ => Some(Cow::Borrowed(self.slice(start, end))),
        }
    }

    fn quoted(&mut self) -> Option<Cow<'l, str>> {
        let start = self.at + 1;
        let bytes = self.line.as_bytes();
        let (mut at, mut escaped) = (start, false);
        loop {
            match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                Some(n) if bytes[at + n] == b'"' => {
                    at += n;
                    break;
                }
                Some(n) => {
                    escaped = true;
                    at += n + 2;
                }
                None => {
                    self.at = self.line.len();
                    self.fail("unterminated quoted value");
                    return None;
                }
            }
        }
        self.at = at + 1;
        let inside = self.slice(start, at);
        if !escaped {
            return Some(Cow::Borrowed(inside));
        }
        let Some(value) = unquote(inside) else {
            self.fail("invalid quoted value");
            return None;
        };
        Some(Cow::Owned(value))
    }

    fn unexpected<T>(&mut self, c: char) -> Option<T> {
        self.fail(&format!("unexpected '{c}'"));
        self.skip_value()
    }

    fn skip_value<T>(&mut self) -> Option<T> {
        self.at = self.rest().iter().position(|&b| b <= b' ').map_or(self.line.len(), |n| self.at + n);
        None
    }
}

/// Resolves the escapes of a quoted value, as Go's JSON does, with `\'` allowed and lone surrogates replaced.
fn unquote(inside: &str) -> Option<String> {
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let c = escape.chars().next()?;
        let mut used = 1;
        match c {
            '"' | '\\' | '/' | '\'' => out.push(c),
            'b' => out.push('\x08'),
            'f' => out.push('\x0C'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let unit = |text: Option<&str>| u32::from_str_radix(text?, 16).ok();
                let high = unit(escape.get(1..5))?;
                used = 5;
                let low = unit(escape.get(5..).and_then(|t| t.strip_prefix("\\u")).and_then(|t| t.get(..4)));
                match (high, low) {
                    (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                        used = 11;
                        out.extend(char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)));
                    }
                    _ => out.push(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            _ => return None,
        }
        rest = escape.get(used..)?;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> (String, Option<String>) {
        let mut decoder = Decoder::new(line);
        let mut out = Vec::new();
        while !decoder.is_at_end() {
            if let Some((key, value)) = decoder.pair() {
                out.push(format!("{key}={value}"));
            }
        }
        (out.join("|"), decoder.error)
    }

    #[test]
    fn reads_pairs() {
        let check = |line: &str, found: &str, error: Option<&str>| {
            let error = error.map(|e| format!("logfmt syntax error at pos {e}"));
            assert_eq!(pairs(line), (found.to_owned(), error), "{line}");
        };
        check("a=1 b=x  c=\"d e\"\tf", "a=1|b=x|c=d e|f=", None);
        check(r#"a="x\"y\n\u00e9\\" b="#, "a=x\"y\né\\|b=", None);
        check("a= b=", "a=|b=", None);
        check("a=1=2 b=3", "b=3", Some("4 : unexpected '='"));
        check("a=x\"y b=3", "b=3", Some("4 : unexpected '\"'"));
        check("=x b=3", "b=3", Some("1 : unexpected '='"));
        check("\"x\" b=3", "b=3", Some("1 : unexpected '\"'"));
        check("a=\"x", "", Some("5 : unterminated quoted value"));
        check(r#"a="x\q" b=1"#, "b=1", Some("8 : invalid quoted value"));
        check("é=ü", "é=ü", None);
        check("", "", None);
        check("   ", "", None);
        check(r#"a="""#, "a=", None);
    }
}
