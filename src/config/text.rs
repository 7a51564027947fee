//! Values as people write them: sizes (`128MiB`), spans of time (`30d`), addresses, and the word `off`.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written as `64KiB`, `128MiB`, `2GiB`, `1TiB` (or `KB`, `MB`, ... for powers of 1,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// A span of time, written as `250ms`, `30s`, `5m`, `2h`, `30d`, `2w`, `100y`, or several of them: `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// A value, or the word `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrOff<T> {
    /// There is none.
    Off,
    /// This one.
    Set(T),
}

/// A value, or the word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrAuto<T> {
    /// Farol chooses.
    Auto,
    /// This one.
    Set(T),
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(String);

/// Names, written with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

/// Where to listen: an IP address and a port.
pub(crate) type Address = SocketAddr;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Nanoseconds; a year is 365 days, as in Prometheus.
const SPAN_UNITS: [(&str, u64); 10] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

/// The units in which a span is written, longest first.
const SPAN_DISPLAY: [(&str, u64); 9] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Splits `12.5MiB rest` into the number and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest.trim_start()))
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write it like 64KiB, 128MiB or 2GiB");
        let (value, unit) = number(text.trim()).ok_or_else(wrong)?;
        if unit.is_empty() {
            return text.trim().parse().map(Size).map_err(|_| wrong());
        }
        let (_, scale) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        let bytes = value * *scale as f64;
        if bytes > i64::MAX as f64 { Err(format!("{text:?} is too large")) } else { Ok(Size(bytes as u64)) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |scale: u64| self.0 >= scale && self.0.is_multiple_of(scale);
        match SIZE_UNITS.iter().find(|(name, scale)| name.ends_with("iB") && fits(*scale)) {
            Some((name, scale)) => write!(f, "{}{name}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of time: write it like 30s, 5m, 2h, 30d or 1h30m");
        if text.trim() == "0" {
            return Ok(Span(Duration::ZERO));
        }
        let (mut rest, mut total) = (text.trim(), 0.0_f64);
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (value, after) = number(rest).ok_or_else(wrong)?;
            let (unit, scale) = SPAN_UNITS.iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(wrong)?;
            total += value * *scale as f64;
            rest = after.strip_prefix(unit).unwrap_or_default().trim_start();
        }
        if total > i64::MAX as f64 {
            return Err(format!("{text:?} is too long: at most 292y"));
        }
        Ok(Span(Duration::from_nanos(total as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in SPAN_DISPLAY {
            // Weeks and years only when nothing is left over: 30d is better read than 4w2d.
            if (unit == "w" || unit == "y") && !left.is_multiple_of(scale) {
                continue;
            }
            if left >= scale {
                write!(f, "{}{unit}", left / scale)?;
                left %= scale;
            }
        }
        Ok(())
    }
}

impl FilePath {
    /// For the system.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("the name of the file is empty".to_owned()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        text.parse().map(Self::Set).map_err(|e| format!("{e}, or off"))
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Set(value) => value.fmt(f),
        }
    }
}

impl<T> OrOff<T> {
    /// The value, if it is not off.
    pub(crate) fn set(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for OrAuto<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Set).map_err(|e| format!("{e}, or auto"))
    }
}

impl<T: fmt::Display> fmt::Display for OrAuto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Set(value) => value.fmt(f),
        }
    }
}

/// Reads a value from its text; a bare number is read as text too (`size = 1048576`).
struct TextVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! serde_as_text {
    ($type:ty $(, $generic:ident)?) => {
        impl$(<$generic: fmt::Display>)? Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de $(, $generic: FromStr<Err: fmt::Display>)?> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextVisitor(std::marker::PhantomData))
            }
        }
    };
}

serde_as_text!(Size);
serde_as_text!(Span);
serde_as_text!(Names);
serde_as_text!(OrOff<T>, T);
serde_as_text!(OrAuto<T>, T);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[track_caller]
    fn size(text: &str, bytes: u64, shown: &str) {
        let size: Size = text.parse().unwrap();
        assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
    }

    #[track_caller]
    fn span(text: &str, ms: u64, shown: &str) {
        let span: Span = text.parse().unwrap();
        assert_eq!((span.0, span.to_string().as_str()), (Duration::from_millis(ms), shown));
    }

    #[test]
    fn sizes_are_read_and_shown() {
        size("128MiB", 128 << 20, "128MiB");
        size("2 GiB", 2 << 30, "2GiB");
        size("1.5kib", 1536, "1536B");
        size("10MB", 10_000_000, "10000000B");
        size("7", 7, "7B");
        for wrong in ["", "MiB", "1XB", "-1MiB", "1.2", "99999999TiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_are_read_and_shown() {
        span("250ms", 250, "250ms");
        span("1h30m", 5_400_000, "1h30m");
        span("30d", 30 * 86_400_000, "30d");
        span("14d", 14 * 86_400_000, "2w");
        span("100y", 100 * 365 * 86_400_000, "100y");
        span("0", 0, "0s");
        span("1.5s", 1500, "1s500ms");
        for wrong in ["", "5", "h", "5x", "-5m", "300y"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn off_is_a_value() {
        assert_eq!("off".parse::<OrOff<Address>>().unwrap(), OrOff::Off);
        assert_eq!("127.0.0.1:1".parse::<OrOff<Address>>().unwrap().to_string(), "127.0.0.1:1");
        assert!("nowhere".parse::<OrOff<Address>>().unwrap_err().contains("or off"));
    }
}
