//! A stream's labels as Loki's push protocol writes them: `{app="x", env="y"}`.

/// Reads the labels.
///
/// # Errors
/// What is wrong, and at which column.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parser = Parser { text, at: 0 };
    let mut labels = Vec::new();
    parser.space();
    parser.expect('{')?;
    loop {
        parser.space();
        if parser.take('}') {
            break;
        }
        let name = parser.name()?;
        parser.space();
        parser.expect('=')?;
        parser.space();
        labels.push((name, parser.value()?));
        parser.space();
        if parser.take('}') {
            break;
        }
        parser.expect(',')?;
    }
    parser.space();
    match parser.peek() {
        None => Ok(labels),
        Some(c) => Err(parser.error(&format!("unexpected character after the braces: {c:?}"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn space(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(c) => self.error(&format!("unexpected character inside braces: {c:?}")),
            None => self.error("unexpected end of input inside braces"),
        })
    }

    fn name(&mut self) -> Result<String, String> {
        if self.peek() == Some('"') {
            return self.value();
        }
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':') {
            if name.is_empty() && c.is_ascii_digit() {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        if name.is_empty() {
            self.expect('a')?;
        }
        Ok(name)
    }

    /// A quoted string with Go's escapes, or a raw one in backquotes.
    fn value(&mut self) -> Result<String, String> {
        if self.take('`') {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let (raw, _) = rest.split_once('`').ok_or_else(|| self.error("unterminated raw string"))?;
            self.at += raw.len() + 1;
            return Ok(raw.to_owned());
        }
        self.expect('"')?;
        let mut value = Vec::new();
        loop {
            let c = self.peek().ok_or_else(|| self.error("unterminated quoted string"))?;
            self.at += c.len_utf8();
            match c {
                '"' => return String::from_utf8(value).map_err(|_| self.error("the string is no UTF-8")),
                '\\' => self.escape(&mut value)?,
                '\n' => return Err(self.error("unterminated quoted string")),
                c => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), String> {
        let c = self.peek().ok_or_else(|| self.error("escape sequence not terminated"))?;
        self.at += c.len_utf8();
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '"' => b'"',
            '\'' => b'\'',
            'x' => {
                let code = self.digits(2, 16)?;
                value.push(code as u8);
                return Ok(());
            }
            '0'..='7' => {
                self.at -= 1;
                let code = self.digits(3, 8)?;
                value.push(u8::try_from(code).map_err(|_| self.error("octal escape above 255"))?);
                return Ok(());
            }
            'u' | 'U' => {
                let code = self.digits(if c == 'u' { 4 } else { 8 }, 16)?;
                let c = char::from_u32(code).ok_or_else(|| self.error("escape is no character"))?;
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            other => return Err(self.error(&format!("unknown escape sequence {other:?}"))),
        };
        value.push(simple);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Result<u32, String> {
        let digits =
            self.text.get(self.at..self.at + count).ok_or_else(|| self.error("escape sequence not terminated"))?;
        let code = u32::from_str_radix(digits, radix).map_err(|_| self.error("escape sequence with a wrong digit"))?;
        self.at += count;
        Ok(code)
    }

    fn error(&self, what: &str) -> String {
        let column = self.text.get(..self.at).map_or(0, |t| t.chars().count()) + 1;
        format!("1:{column}: parse error: {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read() {
        let check = |text: &str, labels: &[(&str, &str)]| {
            let got = parse(text);
            let got: Result<Vec<(&str, &str)>, _> =
                got.as_ref().map(|l| l.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect());
            assert_eq!(got, Ok(labels.to_vec()), "{text}");
        };
        check(r#"{a="1", b_2="x\"y\\\n\u00e9\x41"}"#, &[("a", "1"), ("b_2", "x\"y\\\né\u{41}")]);
        check(" { a = `raw\\` , } ", &[("a", "raw\\")]);
        check("{}", &[]);
        for bad in
            ["", "{", "{a}", "{a=1}", "{a=\"x}", "{a-b=\"1\"}", "{a=\"1\"} x", "{=\"1\"}", "{a=\"\\q\"}", "{1a=\"1\"}"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
