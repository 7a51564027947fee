//! Values that Prometheus writes as text: durations and sizes; and secrets, which are never shown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands in place of a secret.
const HIDDEN: &str = "<secret>";

/// A time as Prometheus writes it: `15s`, `1m30s`, `1d`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lapse(pub(crate) Duration);

impl Lapse {
    /// So many seconds.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Reads `15s`, `1m30s`, `500ms`, `0`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 7] = [
            ("y", 365 * 86_400_000),
            ("w", 7 * 86_400_000),
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ];
        let bad = || format!("{text:?} is no duration: write it as 15s, 1m30s or 500ms");
        if text == "0" {
            return Ok(Self::default());
        }
        if text.is_empty() {
            return Err(bad());
        }
        let (mut rest, mut units, mut total) = (text, UNITS.as_slice(), 0_u64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(bad)?;
            let number: u64 = number.parse().map_err(|_| bad())?;
            total = number.checked_mul(units[at].1).and_then(|ms| total.checked_add(ms)).ok_or_else(bad)?;
            (rest, units) = (tail, units.split_at(at + 1).1);
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        // Years and weeks only when nothing is left.
        for (unit, milliseconds, exact) in [
            ("y", 365 * 86_400_000, true),
            ("w", 7 * 86_400_000, true),
            ("d", 86_400_000, false),
            ("h", 3_600_000, false),
            ("m", 60_000, false),
            ("s", 1_000, false),
            ("ms", 1, false),
        ] {
            if left >= milliseconds && !(exact && left % milliseconds != 0) {
                write!(f, "{}{unit}", left / milliseconds)?;
                left %= milliseconds;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Lapse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Serialize for Lapse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A size in bytes as Prometheus writes it: `15MB`, which is 15 times 2^20.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl Bytes {
    const UNITS: [(&str, u64); 6] =
        [("E", 1 << 60), ("P", 1 << 50), ("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

    fn parse(text: &str) -> Option<Self> {
        let end = text.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: f64 = number.parse().ok()?;
        let unit = unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit);
        let factor = match unit {
            "" => 1,
            unit => Self::UNITS.into_iter().find(|(name, _)| *name == unit)?.1,
        };
        Some(Self((number * factor as f64) as u64))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no size: write it as 15MB or 512KB")))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = Self::UNITS.into_iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) => serializer.collect_str(&format_args!("{}{unit}iB", self.0 / factor)),
            None => serializer.collect_str(&format_args!("{}B", self.0)),
        }
    }
}

/// What nobody may see: it can be read, compared and used, but not shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The secret itself, to be sent.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, milliseconds, again) in [
            ("15s", 15_000, "15s"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("500ms", 500, "500ms"),
            ("0", 0, "0s"),
            ("7d", 604_800_000, "1w"),
            ("8d", 691_200_000, "8d"),
            ("1y", 31_536_000_000, "1y"),
        ] {
            let lapse = Lapse::parse(text).unwrap();
            assert_eq!((lapse.0.as_millis(), lapse.to_string().as_str()), (milliseconds, again));
        }
        for text in ["", "5", "s", "1s1m", "1.5s", "-1s", "99999999999999y"] {
            Lapse::parse(text).unwrap_err();
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("15MB", 15 << 20), ("1KiB", 1024), ("7", 7), ("1.5GB", 3 << 29), ("0", 0)] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes::parse("5XB"), None);
    }
}
