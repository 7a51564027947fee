//! Go's regular expressions (RE2 syntax) on top of the `regex` crate.
//!
//! LogQL and PromQL mean Go's syntax. Both engines are linear-time and leftmost-first, so a pattern only needs to be
//! rewritten, in one pass ([`translate`]), where the two read the same text differently:
//!
//! | pattern | Go | Rust | here |
//! | --- | --- | --- | --- |
//! | `\d \w \s \b` | ASCII | Unicode | written out as ASCII; `\s` has no `\v` |
//! | `\Q...\E` | literal text | unknown | escaped |
//! | `[a[b]`, `[a&&b]` | plain characters | nested classes, intersection | escaped |
//! | `a{`, `{x}`, `{,5}` | plain characters | error | escaped |
//! | `\<`, `\_`, `\"` | plain characters | word start, error | escaped |
//! | `\101` | octal | error | `\x{41}` |
//! | `\p{^Greek}` | negated | error | `\P{Greek}` |
//! | `a**`, `a{1001}` | error | accepted | error |
//! | `(?x)`, `(?u)`, `(?R)` | error | flags | error |
//! | `\C`, `\Z`, `\1`, `(?=a)` | error | error | error |
//!
//! Texts are UTF-8 here, so Go's rules for invalid bytes do not arise.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use regex::bytes::{Captures, Regex, RegexBuilder};

/// Why a pattern is refused, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexError(String);

/// The most memory one compiled pattern may take, in bytes.
const COMPILED_BYTES_MAX: usize = 32 << 20;
/// Go's limit on `{n,m}`.
const REPEAT_MAX: u32 = 1000;

/// Compiles a pattern that may match anywhere in a text.
///
/// # Errors
/// When Go would refuse the pattern, or it is too large when compiled.
pub fn compile(pattern: &str) -> Result<Regex, RegexError> {
    build(&translate(pattern)?)
}

fn build(translated: &str) -> Result<Regex, RegexError> {
    RegexBuilder::new(translated).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => RegexError("expression too large".to_owned()),
        other => RegexError(last_line(&other.to_string())),
    })
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The text that a pattern stands for, if it is nothing but a text.
pub fn literal_of(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(&translate(pattern).ok()?).ok()?;
    match hir.kind() {
        regex_syntax::hir::HirKind::Empty => Some(String::new()),
        regex_syntax::hir::HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        _ => None,
    }
}

/// A regex that must match a whole label value.
#[derive(Debug, Clone)]
pub struct AnchoredRegex {
    /// What is compiled: at once where that decides, else when somebody asks for it.
    source: String,
    compiled: OnceLock<Option<Regex>>,
    /// When the pattern is a plain alternation of texts: these, sorted.
    exact: Option<Arc<[String]>>,
    /// When any text matches that is at least so long: `.*` and `.+`, where `.` is any byte.
    any_from: Option<usize>,
    /// What every text that matches begins with.
    prefix: Box<str>,
}

/// The longest alternation that is compared text by text.
const EXACT_VALUES_MAX: usize = 10_000;

impl AnchoredRegex {
    /// As stream selectors read it: `.` matches a newline too.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Self::with_flags(pattern, "s")
    }

    /// As pipelines read it: `.` does not match a newline.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn single_line(pattern: &str) -> Result<Self, RegexError> {
        Self::with_flags(pattern, "")
    }

    fn with_flags(pattern: &str, flags: &str) -> Result<Self, RegexError> {
        let translated = translate(pattern)?;
        let hir = regex_syntax::parse(&translated).ok();
        let exact = hir.as_ref().and_then(exact_texts).map(Into::into);
        let prefix = hir.as_ref().map(|hir| prefix_of(hir).0).unwrap_or_default().into();
        let any_from = match translated.as_str() {
            ".*" if flags == "s" => Some(0),
            ".+" if flags == "s" => Some(1),
            _ => None,
        };
        let source = format!("^(?{flags}:{translated})$");
        let compiled = OnceLock::new();
        if exact.is_none() && any_from.is_none() {
            // It is empty as yet.
            let _ = compiled.set(Some(build(&source)?));
        }
        Ok(Self { source, compiled, exact, any_from, prefix })
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match (&self.exact, self.any_from) {
            (_, Some(length)) => text.len() >= length,
            (Some(texts), None) => texts.binary_search_by(|t| t.as_str().cmp(text)).is_ok(),
            (None, None) => self.compiled().is_some_and(|regex| regex.is_match(text.as_bytes())),
        }
    }

    /// What the groups of the pattern find in `text`, if the whole of it matches.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.compiled()?.captures(text.as_bytes())
    }

    fn compiled(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| build(&self.source).ok()).as_ref()
    }

    /// All texts that match, sorted, when the pattern is a plain alternation.
    pub fn exact_values(&self) -> Option<Vec<&str>> {
        Some(self.exact.as_ref()?.iter().map(String::as_str).collect())
    }

    /// What every text that matches begins with; may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// What every text that matches begins with, and whether that is all of it.
fn prefix_of(hir: &regex_syntax::hir::Hir) -> (String, bool) {
    use regex_syntax::hir::HirKind;
    match hir.kind() {
        HirKind::Empty => (String::new(), true),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => (text.to_owned(), true),
            Err(_) => (String::new(), false),
        },
        HirKind::Capture(capture) => prefix_of(&capture.sub),
        HirKind::Concat(parts) => {
            let mut all = String::new();
            for part in parts {
                let (prefix, is_all) = prefix_of(part);
                all.push_str(&prefix);
                if !is_all {
                    return (all, false);
                }
            }
            (all, true)
        }
        _ => (String::new(), false),
    }
}

/// The texts that an expression matches, if they are few and no case folding or repetition is involved.
fn exact_texts(hir: &regex_syntax::hir::Hir) -> Option<Vec<String>> {
    let mut texts = expand(hir)?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

fn expand(hir: &regex_syntax::hir::Hir) -> Option<Vec<String>> {
    use regex_syntax::hir::{Class, HirKind};
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => expand(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let chars: u32 = class.iter().map(|r| u32::from(r.end()) - u32::from(r.start()) + 1).sum();
            (chars <= 64).then(|| class.iter().flat_map(|r| r.start()..=r.end()).map(String::from).collect())
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(expand(branch)?);
                if all.len() > EXACT_VALUES_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let tails = expand(part)?;
                if all.len() * tails.len() > EXACT_VALUES_MAX {
                    return None;
                }
                all = all.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
            }
            Some(all)
        }
        _ => None,
    }
}

/// Rewrites a pattern of Go's syntax into one of the `regex` crate's that means the same.
///
/// # Errors
/// When Go would refuse the pattern. Some errors (unknown classes, bad ranges) are left to the `regex` crate.
pub fn translate(pattern: &str) -> Result<String, RegexError> {
    let mut translator = Translator { pattern, at: 0, out: String::with_capacity(pattern.len() + 16) };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
}

impl<'a> Translator<'a> {
    fn rest(&self) -> &'a str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn fail<T>(&self, what: &str, from: usize) -> Result<T, RegexError> {
        let part = self.pattern.get(from..self.at).unwrap_or_default();
        Err(RegexError(format!("{what}: `{part}`")))
    }

    fn literal(&mut self, c: char) {
        if regex_syntax::is_meta_character(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    fn run(&mut self) -> Result<(), RegexError> {
        let mut open = 0_usize;
        // What a repetition would repeat: nothing, an expression, or another repetition.
        let (mut can_repeat, mut repeated) = (false, false);
        while let Some(c) = self.next() {
            let from = self.at - c.len_utf8();
            let mut atom = true;
            match c {
                '\\' => atom = self.escape(from)?,
                '[' => self.class(from)?,
                '(' => {
                    open += usize::from(self.group(from)?);
                    atom = false;
                }
                ')' if open == 0 => return Err(RegexError(format!("unexpected ): `{}`", self.pattern))),
                ')' => {
                    open -= 1;
                    self.out.push(')');
                }
                '|' => {
                    self.out.push('|');
                    atom = false;
                }
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.repetition(from, can_repeat, repeated)?;
                    repeated = true;
                    continue;
                }
                '{' => match self.counts() {
                    Some((low, high)) => {
                        if low > REPEAT_MAX || high.is_some_and(|high| high > REPEAT_MAX || high < low) {
                            return self.fail("invalid repeat count", from);
                        }
                        self.out.push_str(self.pattern.get(from..self.at).unwrap_or_default());
                        self.repetition(from, can_repeat, repeated)?;
                        repeated = true;
                        continue;
                    }
                    None => self.out.push_str("\\{"),
                },
                '}' => self.out.push_str("\\}"),
                '.' | '^' | '$' => self.out.push(c),
                ']' => self.out.push_str("\\]"),
                other => self.literal(other),
            }
            (can_repeat, repeated) = (atom, false);
        }
        if open > 0 {
            return Err(RegexError(format!("missing closing ): `{}`", self.pattern)));
        }
        Ok(())
    }

    /// After a repetition operator: the lazy mark, and what Go refuses.
    fn repetition(&mut self, from: usize, can_repeat: bool, repeated: bool) -> Result<(), RegexError> {
        if !can_repeat {
            return self.fail("missing argument to repetition operator", from);
        }
        if self.skip("?") {
            self.out.push('?');
        }
        if repeated {
            return self.fail("invalid nested repetition operator", from);
        }
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else is plain text and nothing is consumed.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let (inside, _) = self.rest().split_once('}')?;
        let number = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
            if plain && !text.is_empty() { Some(text.parse().unwrap_or(u32::MAX)) } else { None }
        };
        let counts = match inside.split_once(',') {
            None => {
                let low = number(inside)?;
                (low, Some(low))
            }
            Some((low, "")) => (number(low)?, None),
            Some((low, high)) => (number(low)?, Some(number(high)?)),
        };
        self.at += inside.len() + 1;
        Some(counts)
    }

    /// After `(`. True if a group was opened, false if it was a flag setting alone.
    fn group(&mut self, from: usize) -> Result<bool, RegexError> {
        if !self.skip("?") {
            self.out.push('(');
            return Ok(true);
        }
        if self.skip("P<") || (!self.rest().starts_with("<=") && !self.rest().starts_with("<!") && self.skip("<")) {
            let name: String = self.rest().chars().take_while(|&c| c != '>').collect();
            self.at += name.len();
            let valid = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            if !self.skip(">") || !valid {
                return self.fail("invalid named capture", from);
            }
            let _ = write!(self.out, "(?P<{name}>");
            return Ok(true);
        }
        self.out.push_str("(?");
        while let Some(c) = self.next() {
            match c {
                'i' | 'm' | 's' | 'U' | '-' => self.out.push(c),
                ':' | ')' => {
                    if self.out.ends_with('-') {
                        break;
                    }
                    self.out.push(c);
                    // `(?)` is no setting at all for Rust.
                    if self.out.ends_with("(?)") {
                        self.out.truncate(self.out.len() - 3);
                    }
                    return Ok(c == ':');
                }
                _ => break,
            }
        }
        self.fail("invalid or unsupported Perl syntax", from)
    }

    /// After `\` outside a class. True if what follows can be repeated.
    fn escape(&mut self, from: usize) -> Result<bool, RegexError> {
        if self.skip("Q") {
            let text = self.rest().split("\\E").next().unwrap_or_default();
            self.at += text.len();
            self.skip("\\E");
            text.chars().for_each(|c| self.literal(c));
            return Ok(!text.is_empty());
        }
        let Some(c) = self.next() else {
            return Err(RegexError("trailing backslash at end of expression: ``".to_owned()));
        };
        match c {
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
            }
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            _ => match perl_class(c) {
                Some((negated, ranges)) => {
                    let _ = write!(self.out, "[{}{ranges}]", if negated { "^" } else { "" });
                }
                None if c == 'p' || c == 'P' => self.unicode_class(c, from)?,
                None => {
                    let c = self.escaped_char(c, from)?;
                    self.literal_or_hex(c);
                }
            },
        }
        Ok(true)
    }

    /// A character that came from an escape: control characters stay visible in messages.
    fn literal_or_hex(&mut self, c: char) {
        if c.is_control() {
            let _ = write!(self.out, "\\x{{{:X}}}", u32::from(c));
        } else {
            self.literal(c);
        }
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`.
    fn unicode_class(&mut self, kind: char, from: usize) -> Result<(), RegexError> {
        let (mut negated, name) = match self.next() {
            Some('{') => {
                let name: String = self.rest().chars().take_while(|&c| c != '}').collect();
                self.at += name.len();
                if !self.skip("}") {
                    return self.fail("invalid character class range", from);
                }
                (kind == 'P', name)
            }
            Some(c) => (kind == 'P', c.to_string()),
            None => return self.fail("invalid character class range", from),
        };
        let plain = name.strip_prefix('^');
        negated ^= plain.is_some();
        let name = plain.unwrap_or(&name);
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name.is_empty() {
            return self.fail("invalid character class range", from);
        }
        // Go's `Any` is every character, as is Rust's.
        let _ = write!(self.out, "\\{}{{{name}}}", if negated { 'P' } else { 'p' });
        Ok(())
    }

    /// The character that `\c` stands for.
    fn escaped_char(&mut self, c: char, from: usize) -> Result<char, RegexError> {
        let digits = |s: &mut Self, max: usize, radix: u32| {
            let text: String = s.rest().chars().take(max).take_while(|c| c.is_digit(radix)).collect();
            s.at += text.len();
            text
        };
        match c {
            '0'..='7' => {
                let more = digits(self, 2, 8);
                if c != '0' && more.is_empty() {
                    return self.fail("invalid escape sequence", from);
                }
                let value = u32::from_str_radix(&format!("{c}{more}"), 8).ok().and_then(char::from_u32);
                value.map_or_else(|| self.fail("invalid escape sequence", from), Ok)
            }
            'x' => {
                let braced = self.skip("{");
                let text = digits(self, if braced { 8 } else { 2 }, 16);
                if (braced && !self.skip("}")) || (!braced && text.len() != 2) {
                    return self.fail("invalid escape sequence", from);
                }
                let value = u32::from_str_radix(&text, 16).ok().and_then(char::from_u32);
                value.map_or_else(|| self.fail("invalid escape sequence", from), Ok)
            }
            'a' => Ok('\x07'),
            'f' => Ok('\x0C'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0B'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => self.fail("invalid escape sequence", from),
        }
    }

    /// After `[`.
    fn class(&mut self, from: usize) -> Result<(), RegexError> {
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let item_from = self.at;
            let Some(c) = self.next() else {
                self.at = self.pattern.len();
                return self.fail("missing closing ]", from);
            };
            match c {
                ']' if !first => break,
                '[' if self.rest().starts_with(':') && self.rest().contains(":]") => {
                    let end = self.rest().find(":]").unwrap_or_default() + 2;
                    let name = self.rest().get(..end).unwrap_or_default();
                    self.at += end;
                    if !POSIX_CLASSES.contains(&name.trim_matches([':', '^', ']'])) {
                        return self.fail("invalid character class range", item_from);
                    }
                    let _ = write!(self.out, "[{name}");
                }
                '\\' if self.class_escape(item_from)? => {}
                _ => self.class_range(c, item_from)?,
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// After `\` in a class: true if it was a class such as `\d` and is written; false with nothing consumed else.
    fn class_escape(&mut self, from: usize) -> Result<bool, RegexError> {
        let Some(c) = self.rest().chars().next() else { return Ok(false) };
        if let Some((negated, ranges)) = perl_class(c) {
            self.at += 1;
            if negated {
                let _ = write!(self.out, "[^{ranges}]");
            } else {
                self.out.push_str(ranges);
            }
            return Ok(true);
        }
        if c == 'p' || c == 'P' {
            self.at += 1;
            self.unicode_class(c, from)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// One character or a range `a-z`, whose first character is already consumed.
    fn class_range(&mut self, first: char, from: usize) -> Result<(), RegexError> {
        let low = self.class_char(first, from)?;
        let mut ahead = self.rest().chars();
        let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
        if !is_range {
            let _ = write!(self.out, "\\x{{{:X}}}", u32::from(low));
            return Ok(());
        }
        self.skip("-");
        let Some(c) = self.next() else { return self.fail("missing closing ]", from) };
        let high = self.class_char(c, from)?;
        if high < low {
            return self.fail("invalid character class range", from);
        }
        let _ = write!(self.out, "\\x{{{:X}}}-\\x{{{:X}}}", u32::from(low), u32::from(high));
        Ok(())
    }

    fn class_char(&mut self, c: char, from: usize) -> Result<char, RegexError> {
        if c != '\\' {
            return Ok(c);
        }
        match self.next() {
            Some(c) => self.escaped_char(c, from),
            None => Err(RegexError("trailing backslash at end of expression: ``".to_owned())),
        }
    }
}

/// The names between `[:` and `:]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Go's Perl classes: whether negated, and the ranges.
fn perl_class(c: char) -> Option<(bool, &'static str)> {
    Some(match c {
        'd' => (false, "0-9"),
        'D' => (true, "0-9"),
        's' => (false, "\\t\\n\\x0C\\r "),
        'S' => (true, "\\t\\n\\x0C\\r "),
        'w' => (false, "0-9A-Za-z_"),
        'W' => (true, "0-9A-Za-z_"),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[track_caller]
    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text.as_bytes())
    }

    #[track_caller]
    fn refused(pattern: &str) {
        assert!(compile(pattern).is_err(), "{pattern} was accepted");
    }

    #[test]
    fn reads_patterns_as_go_does() {
        assert!(matches(r"^\d+$", "123") && !matches(r"^\d+$", "١٢٣"));
        assert!(matches(r"^\w$", "a") && !matches(r"^\w$", "é") && matches(r"^\W$", "é"));
        assert!(!matches(r"^\s$", "\u{b}") && matches(r"^[\s]$", "\t") && !matches(r"[\S]", " \t"));
        assert!(matches(r"\bé", "xé") && !matches(r"\bx", ""));
        assert!(matches(r"^\Qa.b*\E+$", "a.b**") && !matches(r"^\Qa.b\E$", "axb"));
        assert!(matches(r"^\Qa", "a") && matches(r"\Q[\E", "["));
        assert!(matches("^[a[b]+$", "[a[b") && matches("^[a&&b]+$", "&a&b") && matches("^[]a]+$", "]a"));
        assert!(matches("^[^]a]+$", "bc") && matches("^[a-]+$", "a-") && matches("^[--/]+$", "-./"));
        assert!(matches("^a{$", "a{") && matches("^{x}$", "{x}") && matches("^a{,5}$", "a{,5}"));
        assert!(matches("^a{2}$", "aa") && matches("^a{2,}$", "aaa") && !matches("^a{2,3}$", "aaaa"));
        assert!(matches(r#"^\<\_\"\-$"#, "<_\"-"));
        assert!(matches(r"^\101\x42\x{43}$", "ABC"));
        assert!(matches(r"^\p{Greek}\P{Greek}\p{^Greek}\pL$", "αaaa"));
        assert!(matches(r"^[\p{Greek}\d]+$", "α1") && matches(r"^[[:alpha:][:digit:]_]+$", "a_1"));
        assert!(matches(r"^[[:word:]]+$", "a_1") && matches("^[[:^space:]]+$", "a"));
        assert!(matches("(?i)K", "k") && matches("(?s)a.b", "a\nb") && !matches("a.b", "a\nb"));
        assert!(matches("(?m)^b$", "a\nb\nc") && !matches("^b$", "a\nb\nc"));
        assert!(matches("^(?P<a>x)(?<b>y)(?:z)(|q)()$", "xyz"));
        assert!(matches("^a|b$|(?i:X)", "x") && matches("]}", "]}") && matches("^é+$", "éé"));
        assert!(matches("(?)a", "a") && matches(r"\x{1F680}", "🚀"));
    }

    #[test]
    fn refuses_what_go_refuses() {
        for pattern in [
            "(",
            ")",
            "a)",
            "[",
            "[a",
            "*",
            "+a",
            "a**",
            "a*+",
            "a{1001}",
            "a{3,2}",
            r"\C",
            r"\Z",
            r"\1",
            r"\8",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?x)a",
            "(?u)a",
            "(?R)a",
            "(?P<a)",
            "(?P<>a)",
            "(?P<a>x)(?P<a>y)",
            r"\",
            r"[\",
            "[b-a]",
            r"\p{Nonsense}",
            r"\p",
            r"\x1",
            r"\x{110000}",
            r"\e",
            r"[[:nonsense:]]",
            "(?i-)",
            "|*",
        ] {
            refused(pattern);
        }
    }

    #[test]
    fn anchors_label_regexes() {
        let check = |pattern: &str, text: &str| AnchoredRegex::new(pattern).unwrap().is_match(text);
        assert!(check("a|b", "b") && !check("a|b", "ab") && !check("a", "a\n"));
        assert!(check("a.*", "a\nb") && check("", "") && !check("", "x"));
        assert!(!AnchoredRegex::single_line("a.*").unwrap().is_match("a\nb"));
        assert_eq!(
            AnchoredRegex::new("web|w(x|y)|z[12]").unwrap().exact_values().unwrap(),
            ["web", "wx", "wy", "z1", "z2"]
        );
        assert!(AnchoredRegex::new("a.*").unwrap().exact_values().is_none());
        assert!(check("(?i)web", "WEB"));
        let prefix = |pattern: &str| AnchoredRegex::new(pattern).unwrap().prefix().to_owned();
        assert_eq!(prefix("web-(a.*|b)"), "web-");
        assert_eq!(prefix("(web)x?y"), "web");
        assert_eq!(prefix("(?i)web"), "");
        assert_eq!(prefix("web.*|db.*"), "");
    }
}
