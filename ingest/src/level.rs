//! How severe a record is, found as Loki's `discover_log_levels` finds it: in a label or attribute that says so, in OTLP's
//! severity number, in a JSON or logfmt field of the line, or in the first word of the line that names a level.

use storage::Level;

/// Labels, attributes and line fields that name a level, best first.
pub(crate) const LEVEL_NAMES: [&str; 13] = [
    "level",
    "LEVEL",
    "Level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// Place of a name in [`LEVEL_NAMES`].
pub(crate) fn rank(name: &str) -> Option<usize> {
    match name.as_bytes().first() {
        Some(b'l' | b'L' | b's' | b'S') => LEVEL_NAMES.iter().position(|n| *n == name),
        _ => None,
    }
}

/// The level that a word means, in any case.
pub fn from_word(word: &str) -> Option<Level> {
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    if word.len() > 11 {
        None
    } else if is(&["info", "inf", "information"]) {
        Some(Level::Info)
    } else if is(&["debug", "dbg"]) {
        Some(Level::Debug)
    } else if is(&["warn", "wrn", "warning"]) {
        Some(Level::Warn)
    } else if is(&["error", "err"]) {
        Some(Level::Error)
    } else if is(&["trace", "trc"]) {
        Some(Level::Trace)
    } else if is(&["critical"]) {
        Some(Level::Critical)
    } else if is(&["fatal"]) {
        Some(Level::Fatal)
    } else {
        None
    }
}

/// The level of an OTLP severity number.
pub(crate) fn from_otlp(number: i64) -> Level {
    match number {
        1..=4 => Level::Trace,
        5..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warn,
        17..=20 => Level::Error,
        21..=24 => Level::Fatal,
        _ => Level::Unknown,
    }
}

/// The level that a line itself shows.
pub fn from_line(line: &str) -> Level {
    let bytes = line.as_bytes();
    let said = if looks_like_json(line) {
        json_field(line, 0)
    } else if memchr::memchr(b'=', bytes).is_some() {
        logfmt_field(bytes).and_then(|word| std::str::from_utf8(word).ok().and_then(from_word))
    } else {
        None
    };
    said.unwrap_or_else(|| from_words(bytes))
}

fn looks_like_json(line: &str) -> bool {
    let first = line.trim_start().as_bytes().first();
    first == Some(&b'{') && line.trim_end().ends_with('}')
}

/// The first string field of an object, or of an object in it, that has a level's name.
fn json_field(json: &str, depth: usize) -> Option<Level> {
    use sonic_rs::JsonValueTrait;
    for entry in sonic_rs::to_object_iter(json) {
        let (key, value) = entry.ok()?;
        if value.is_str() {
            let key: &str = &key;
            if LEVEL_NAMES.contains(&key) || key == "log.level" {
                return value.as_str().and_then(from_word);
            }
        } else if value.is_object()
            && depth == 0
            && let Some(found) = json_field(value.as_raw_str(), 1)
        {
            return Some(found);
        }
    }
    None
}

/// The value of the logfmt key that ranks best among the level names.
fn logfmt_field(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    let mut best: Option<(usize, &[u8])> = None;
    loop {
        let start = rest.iter().position(|&b| b > b' ')?;
        rest = rest.get(start..)?;
        let key_end = rest.iter().position(|&b| b <= b' ' || b == b'=' || b == b'"').unwrap_or(rest.len());
        let (key, after) = rest.split_at(key_end);
        let value;
        match after.first() {
            Some(b'=') if !key.is_empty() => (value, rest) = logfmt_value(after.get(1..)?)?,
            Some(b'=' | b'"') => break,
            _ => {
                rest = after;
                if rest.is_empty() {
                    break;
                }
                continue;
            }
        }
        let rank = LEVEL_NAMES.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(key));
        if let Some(rank) = rank
            && best.is_none_or(|(r, _)| rank < r)
        {
            if rank == 0 {
                return Some(value);
            }
            best = Some((rank, value));
        }
        if rest.is_empty() {
            break;
        }
    }
    best.map(|(_, value)| value)
}

/// A value, without its quotes, and what comes after it; `None` where it cannot be read.
fn logfmt_value(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if rest.first() != Some(&b'"') {
        let end = rest.iter().position(|&b| b <= b' ' || b == b'=' || b == b'"').unwrap_or(rest.len());
        return match rest.get(end) {
            Some(b'=' | b'"') => None,
            _ => Some(rest.split_at(end)),
        };
    }
    let mut at = 1;
    loop {
        match rest.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some((rest.get(1..at)?, rest.get(at + 1..)?)),
            _ => at += 1,
        }
    }
}

/// Words that name a level in running text.
const WORDS: [(&[u8], Level); 9] = [
    (b"info", Level::Info),
    (b"error", Level::Error),
    (b"err", Level::Error),
    (b"warning", Level::Warn),
    (b"warn", Level::Warn),
    (b"debug", Level::Debug),
    (b"trace", Level::Trace),
    (b"fatal", Level::Fatal),
    (b"critical", Level::Critical),
];

/// Characters that a level's word may stand after, and before.
const LEFT: [bool; 256] = table(b" \t\n[({\"'=|");
const RIGHT: [bool; 256] = table(b" \t\n[](){}:,!\"'=|");

const fn table(characters: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < characters.len() {
        table[characters[at] as usize] = true;
        at += 1;
    }
    table
}

/// The first word of the line that names a level.
fn from_words(line: &[u8]) -> Level {
    let mut at_word = true;
    for (at, &byte) in line.iter().enumerate() {
        if at_word && matches!(byte | 0x20, b'i' | b'e' | b'w' | b'd' | b't' | b'f' | b'c') {
            let rest = line.get(at..).unwrap_or_default();
            for (word, level) in WORDS {
                let head = rest.get(..word.len()).unwrap_or_default();
                if head.eq_ignore_ascii_case(word) && rest.get(word.len()).is_none_or(|&b| RIGHT[usize::from(b)]) {
                    return level;
                }
            }
        }
        at_word = LEFT[usize::from(byte)];
    }
    Level::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_their_level() {
        for (line, level) in [
            ("ERROR alpha: code=3", Level::Error),
            ("warning: disk 3% full", Level::Warn),
            ("connection accepted", Level::Unknown),
            ("misc:error here", Level::Unknown),
            ("[debug] x", Level::Debug),
            ("terror of errors", Level::Unknown),
            (r#"{"msg":"an error","level":"info"}"#, Level::Info),
            (r#"{"a":{"lvl":"WRN"}}"#, Level::Warn),
            (r#"{"m":"x fatal y","a":{"b":{"level":"info"}}}"#, Level::Fatal),
            (r#"{"level":5} "#, Level::Unknown),
            ("ts=1 severity=debug level=\"error\" x", Level::Error),
            ("ts=1 SEVERITY=debug", Level::Debug),
            ("level=odd then an info", Level::Info),
            ("a==b level=info", Level::Info),
            ("", Level::Unknown),
        ] {
            assert_eq!(from_line(line), level, "{line}");
        }
    }
}
