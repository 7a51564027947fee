//! The form of a line: its text with [`WILDCARD`] for what looks like a value.
//!
//! A line is cut into words at white space and ``=:,;()[]{}"'<>|``. A word stands for a value if it has a digit, is a path
//! from the root, is long and all hex digits, or is a host before its port. Names of days and months beside a value, and
//! units behind one, belong to it. Neighbouring values with nothing but space, a comma or a dash between them are one.

use super::WILDCARD;
use super::vocabulary::Vocabulary;

/// Words beyond this are one value.
const WORDS_MAX: usize = 128;
/// Bytes of a line beyond this are a value.
const LINE_BYTES_MAX: usize = 4096;
/// Letters `a` to `f` alone make a value from this length on.
const HEX_BYTES_MIN: usize = 8;

const SPACE: u8 = 1;
const MARK: u8 = 2;
const DIGIT: u8 = 4;
/// Neither a digit nor a letter that hex digits have.
const NOT_HEX: u8 = 8;
const DOT: u8 = 16;
/// Not in a host's name.
const NOT_HOST: u8 = 32;
const SEPARATOR: u8 = SPACE | MARK;

/// What each byte is.
const CLASS: [u8; 256] = {
    let mut class = [NOT_HEX | NOT_HOST; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        class[byte] = match b {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C => SPACE,
            b'=' | b':' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'"' | b'\'' | b'<' | b'>' | b'|' => {
                MARK
            }
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => 0,
            b'.' => DOT | NOT_HEX,
            b'g'..=b'z' | b'G'..=b'Z' | b'-' | b'_' => NOT_HEX,
            _ => NOT_HEX | NOT_HOST,
        };
        byte += 1;
    }
    class
};

/// A word of a line.
#[derive(Debug, Clone, Copy)]
struct Word {
    start: u32,
    end: u32,
    kind: Kind,
    /// It has a dot and could be a host's name.
    host: bool,
    /// It has letters that hex digits do not have.
    has_words: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Value,
    /// The name of a day or a month.
    Date,
    Unit,
}

/// Makes forms; keeps its room between lines.
#[derive(Debug, Default)]
pub(crate) struct FormMaker {
    words: Vec<Word>,
    form: Vec<u8>,
}

impl FormMaker {
    /// The form of a line, as UTF-8, and whether all of the line is in it; the words of its values go into `vocabulary`.
    pub(crate) fn form(&mut self, line: &str, vocabulary: &mut Vocabulary) -> (&[u8], bool) {
        let line = line.trim_ascii_end();
        let cut = line.floor_char_boundary(LINE_BYTES_MAX);
        let (head, mut is_cut) = (line.as_bytes().get(..cut).unwrap_or_default(), cut < line.len());
        self.words.clear();
        let mut at = 0;
        while let Some(word) = next_word(head, &mut at) {
            if self.words.len() == WORDS_MAX {
                is_cut = true;
                break;
            }
            self.words.push(word);
        }
        self.mark_neighbours(head);
        self.write(head, is_cut, vocabulary);
        (&self.form, !is_cut)
    }

    /// Dates and hosts are values because of what stands beside them.
    fn mark_neighbours(&mut self, line: &[u8]) {
        for at in 0..self.words.len() {
            let word = self.words[at];
            let beside = |value: usize| self.words.get(value).is_some_and(|word| word.kind == Kind::Value);
            let is_value = match word.kind {
                Kind::Date => {
                    let after = self.words[at..].iter().find(|word| word.kind != Kind::Date);
                    at > 0 && beside(at - 1) || after.is_some_and(|word| word.kind == Kind::Value)
                }
                Kind::Text => word.host && self.is_before_port(line, at),
                Kind::Value | Kind::Unit => false,
            };
            if is_value {
                self.words[at].kind = Kind::Value;
            }
        }
    }

    /// Whether `:` and a number follow directly.
    fn is_before_port(&self, line: &[u8], at: usize) -> bool {
        self.words.get(at + 1).is_some_and(|port| {
            let digits = line.get(port.start as usize..port.end as usize).unwrap_or_default();
            port.start == self.words[at].end + 1
                && line.get(port.start as usize - 1) == Some(&b':')
                && digits.iter().all(u8::is_ascii_digit)
        })
    }

    fn write(&mut self, line: &[u8], is_cut: bool, vocabulary: &mut Vocabulary) {
        self.form.clear();
        let mut end = 0;
        let mut after_value = false;
        for at in 0..self.words.len() {
            let word = self.words[at];
            let (start, word_end) = (word.start as usize, word.end as usize);
            let gap = line.get(end..start).unwrap_or_default();
            let only_space = gap.iter().all(|&byte| CLASS[byte as usize] == SPACE);
            let joins = match word.kind {
                Kind::Value => {
                    after_value
                        && (only_space
                            || is_joint(gap)
                            || at > 0 && self.words[at - 1].host && self.is_before_port(line, at - 1))
                }
                Kind::Unit => after_value && only_space,
                Kind::Text | Kind::Date => false,
            };
            if word.has_words && (joins || word.kind == Kind::Value) {
                vocabulary.add(line.get(start..word_end).unwrap_or_default());
            }
            if !joins {
                self.form.extend_from_slice(gap);
                if word.kind == Kind::Value {
                    // A dash between two values joins them.
                    let dashed = self.form.strip_suffix(b"- ").or_else(|| self.form.strip_suffix(b"-"));
                    match dashed.map(<[u8]>::trim_ascii_end).filter(|before| before.ends_with(WILDCARD.as_bytes())) {
                        Some(before) => {
                            let length = before.len();
                            self.form.truncate(length);
                        }
                        None => self.form.extend_from_slice(WILDCARD.as_bytes()),
                    }
                } else {
                    self.form.extend_from_slice(line.get(start..word_end).unwrap_or_default());
                }
                after_value = word.kind == Kind::Value;
            }
            end = word_end;
        }
        if is_cut {
            if !self.form.ends_with(WILDCARD.as_bytes()) {
                self.form.extend_from_slice(WILDCARD.as_bytes());
            }
        } else {
            self.form.extend_from_slice(line.get(end..).unwrap_or_default());
        }
    }
}

/// White space around one comma.
fn is_joint(gap: &[u8]) -> bool {
    gap.trim_ascii() == b","
}

fn next_word(line: &[u8], at: &mut usize) -> Option<Word> {
    let rest = line.get(*at..)?;
    // What was a value in a form is one again.
    let skipped = rest.iter().position(|&byte| CLASS[byte as usize] & SEPARATOR == 0)?;
    let start = *at + skipped;
    if start > 0 && line.get(start - 1..start + 2) == Some(WILDCARD.as_bytes()) {
        *at = start + 2;
        return Some(Word {
            start: start as u32 - 1,
            end: start as u32 + 2,
            kind: Kind::Value,
            host: false,
            has_words: false,
        });
    }
    let mut seen = 0;
    let mut end = start;
    for &byte in line.get(start..)? {
        let class = CLASS[byte as usize];
        if class & SEPARATOR != 0 {
            break;
        }
        seen |= class;
        end += 1;
    }
    *at = end;
    let word = line.get(start..end)?;
    let kind = if seen & DIGIT != 0
        || word.first() == Some(&b'/') && word.len() > 1
        || seen & NOT_HEX == 0 && word.len() >= HEX_BYTES_MIN
    {
        Kind::Value
    } else if word.len() <= 7 {
        short_kind(word)
    } else {
        Kind::Text
    };
    let host = seen & DOT != 0 && seen & NOT_HOST == 0;
    Some(Word { start: start as u32, end: end as u32, kind, host, has_words: seen & NOT_HEX != 0 })
}

fn short_kind(word: &[u8]) -> Kind {
    match word {
        b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun" | b"Jan" | b"Feb" | b"Mar" | b"Apr" | b"May"
        | b"Jun" | b"Jul" | b"Aug" | b"Sep" | b"Oct" | b"Nov" | b"Dec" => Kind::Date,
        b"ns" | b"us" | b"ms" | b"s" | b"sec" | b"secs" | b"second" | b"seconds" | b"min" | b"mins" | b"minutes"
        | b"h" | b"hours" | b"B" | b"kB" | b"KB" | b"MB" | b"GB" | b"TB" | b"KiB" | b"MiB" | b"GiB" => Kind::Unit,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(line: &str) -> String {
        String::from_utf8_lossy(FormMaker::default().form(line, &mut Vocabulary::default()).0).into_owned()
    }

    #[test]
    fn values_become_wildcards() {
        for (line, expected) in [
            ("user u17 has logged in", "user <_> has logged in"),
            ("GET /index.html took 12 ms", "GET <_> took <_>"),
            ("took 12ms, then 1.5 KB sent", "took <_>, then <_> sent"),
            ("uid=0 euid=0 tty=NODEVssh", "uid=<_> euid=<_> tty=NODEVssh"),
            ("peer 10.0.0.1, 10.0.0.2 - 10.0.0.3 left", "peer <_> left"),
            ("proxy.example.org:5070 close", "<_> close"),
            ("com.example.Main: started", "com.example.Main: started"),
            ("at Fri Jun 17 07:07:00 2005", "at <_>:<_>:<_>"),
            ("on Sun we rest", "on Sun we rest"),
            ("id deadbeefcafe of a facade", "id <_> of a facade"),
            ("{\"took\": 12, \"msg\": \"é is 2nd\"}", "{\"took\": <_>, \"msg\": \"é is <_>\"}"),
            ("", ""),
            ("  \n", ""),
            (" - ", " -"),
            ("a <_> b", "a <_> b"),
        ] {
            assert_eq!(form(line), expected, "{line}");
            assert_eq!(form(expected), expected, "a form is its own form");
        }
    }

    #[test]
    fn long_lines_are_cut() {
        assert!(form(&"word ".repeat(1_000)).len() < WORDS_MAX * 5 + 10);
        assert!(form(&"é".repeat(10_000)).len() < LINE_BYTES_MAX + 10);
    }
}
