//! Finds the time and the level in a line of a log, where it is in one of the usual forms. Pure: the time zone and
//! the present arrive by argument.

use std::sync::LazyLock;

use chrono::{Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use regex::{Captures, Regex};

/// A time stands near the beginning of a line, or it is part of what the line says.
const TIME_BYTES: usize = 120;
/// So does the level.
const LEVEL_BYTES: usize = 160;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// `2026-11-23T15:17:01.5Z`, `2026-11-23 15:17:01,123`, `2026/11/23 15:17:01`, with or without an offset.
static ISO: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"\b(\d{4})[-/](\d{2})[-/](\d{2})[T ]{1,2}(\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?\s?(Z|[+-]\d{2}:?\d{2})?")
});
/// `Nov 23 16:00:01`, optionally after `<34>`.
static SYSLOG: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^(?:<\d{1,3}>)?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?",
    )
});
/// `[23/Nov/2026:16:00:01 +0000]` of nginx and Apache.
static ACCESS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\[(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-]\d{4})\]"));
/// `[Mon Nov 23 16:00:01.123 2026]` of Apache's error log.
static CTIME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))? (\d{4})\b"));
/// `I1123 16:00:01.123456` of glog and klog.
static GLOG: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[IWEF](\d{2})(\d{2}) (\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?"));
/// Seconds since 1970 with a fraction, or milli-, micro- or nanoseconds: at the beginning of a line, or in
/// `audit(1364481363.243:24287)`.
static EPOCH: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?:^\[?|\baudit\()(1\d{9})(?:\.(\d{1,9})|(\d{3}|\d{6}|\d{9}))?(?:[\s\]:,]|$)"));
/// A level by its word: in upper case, in brackets, or as the value of a key.
static LEVEL: LazyLock<Regex> = LazyLock::new(|| {
    const WORDS: &str =
        "trace|debug|info|information|notice|warn|warning|error|err|crit|critical|alert|fatal|emerg|emergency|panic";
    regex(&format!(
        r#"\b({upper})\b|[\[<(]({WORDS}|{title})[\]>):]|\b(?:level|lvl|severity)"?\s?[=:]\s?"?({WORDS}|{upper}|{title})\b|^(?:\S+\s+)?([IWEF])\d{{4}} "#,
        upper = WORDS.to_uppercase(),
        title = "Trace|Debug|Info|Information|Notice|Warn|Warning|Error|Critical|Alert|Fatal|Emergency|Panic",
    ))
});

#[allow(clippy::expect_used, reason = "the patterns are constants, and tests use each")]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// When a line does not say it: the present and the zone of local times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present<Z> {
    /// Nanoseconds since 1970.
    pub(crate) now: i64,
    /// The zone of times that name none.
    pub(crate) zone: Z,
}

/// The time of a line in nanoseconds since 1970, if there is one in a form that is known.
pub(crate) fn time<Z: TimeZone>(line: &str, present: &Present<Z>) -> Option<i64> {
    let head = head(line, TIME_BYTES);
    iso(head, present)
        .or_else(|| syslog(head, present))
        .or_else(|| access(head))
        .or_else(|| ctime(head, present))
        .or_else(|| glog(head, present))
        .or_else(|| epoch(head))
}

/// The level that a line names, in Loki's words.
pub(crate) fn level(line: &str) -> Option<&'static str> {
    let found = LEVEL.captures(head(line, LEVEL_BYTES))?;
    let word = found.iter().skip(1).flatten().next()?.as_str().to_ascii_lowercase();
    Some(match word.as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" | "information" | "notice" | "i" => "info",
        "warn" | "warning" | "w" => "warn",
        "error" | "err" | "e" => "error",
        "crit" | "critical" | "alert" => "critical",
        "fatal" | "emerg" | "emergency" | "panic" | "f" => "fatal",
        _ => return None,
    })
}

#[allow(clippy::string_slice, reason = "floor_char_boundary")]
fn head(line: &str, bytes: usize) -> &str {
    &line[..line.floor_char_boundary(bytes)]
}

fn iso<Z: TimeZone>(line: &str, present: &Present<Z>) -> Option<i64> {
    let found = ISO.captures(line)?;
    let local = local(&found, [1, 2, 3], [4, 5, 6], 7)?;
    match found.get(8).map(|zone| zone.as_str()) {
        None => in_zone(local, &present.zone),
        Some(text) => in_zone(local, &offset(text)?),
    }
}

fn syslog<Z: TimeZone>(line: &str, present: &Present<Z>) -> Option<i64> {
    let found = SYSLOG.captures(line)?;
    let (month, day) = (month(&found[1])?, number(&found, 2)?);
    without_year(month, day, clock(&found, [3, 4, 5], 6)?, present)
}

fn glog<Z: TimeZone>(line: &str, present: &Present<Z>) -> Option<i64> {
    let found = GLOG.captures(line)?;
    without_year(number(&found, 1)?, number(&found, 2)?, clock(&found, [3, 4, 5], 6)?, present)
}

fn access(line: &str) -> Option<i64> {
    let found = ACCESS.captures(line)?;
    let date = NaiveDate::from_ymd_opt(number(&found, 3)? as i32, month(&found[2])?, number(&found, 1)?)?;
    in_zone(date.and_time(clock(&found, [4, 5, 6], usize::MAX)?), &offset(&found[7])?)
}

fn ctime<Z: TimeZone>(line: &str, present: &Present<Z>) -> Option<i64> {
    let found = CTIME.captures(line)?;
    let date = NaiveDate::from_ymd_opt(number(&found, 7)? as i32, month(&found[1])?, number(&found, 2)?)?;
    in_zone(date.and_time(clock(&found, [3, 4, 5], 6)?), &present.zone)
}

fn epoch(line: &str) -> Option<i64> {
    let found = EPOCH.captures(line)?;
    let seconds: i64 = found[1].parse().ok()?;
    let fraction = found.get(2).or_else(|| found.get(3)).map_or("", |digits| digits.as_str());
    Some(seconds * 1_000_000_000 + i64::from(nanoseconds(fraction)))
}

/// A date without a year: this year's, or last year's when it would lie in the future.
fn without_year<Z: TimeZone>(month: u32, day: u32, time: NaiveTime, present: &Present<Z>) -> Option<i64> {
    let today = present.zone.timestamp_nanos(present.now).naive_local();
    let this_year = NaiveDate::from_ymd_opt(today.year(), month, day).map(|date| date.and_time(time));
    let tomorrow = today.checked_add_days(Days::new(1))?;
    let best = match this_year {
        Some(time) if time <= tomorrow => time,
        _ => NaiveDate::from_ymd_opt(today.year() - 1, month, day)?.and_time(time),
    };
    in_zone(best, &present.zone)
}

fn in_zone<Z: TimeZone>(local: NaiveDateTime, zone: &Z) -> Option<i64> {
    zone.from_local_datetime(&local).earliest()?.timestamp_nanos_opt()
}

fn local(found: &Captures<'_>, date: [usize; 3], time: [usize; 3], fraction: usize) -> Option<NaiveDateTime> {
    let [year, month, day] = date.map(|group| number(found, group));
    Some(NaiveDate::from_ymd_opt(year? as i32, month?, day?)?.and_time(clock(found, time, fraction)?))
}

fn clock(found: &Captures<'_>, groups: [usize; 3], fraction: usize) -> Option<NaiveTime> {
    let [hour, minute, second] = groups.map(|group| number(found, group));
    let fraction = found.get(fraction).map_or("", |digits| digits.as_str());
    NaiveTime::from_hms_nano_opt(hour?, minute?, second?, nanoseconds(fraction))
}

fn number(found: &Captures<'_>, group: usize) -> Option<u32> {
    found.get(group)?.as_str().parse().ok()
}

/// `123` after a decimal point is 123,000,000 ns.
fn nanoseconds(fraction: &str) -> u32 {
    fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
}

fn month(name: &str) -> Option<u32> {
    let at = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(month))?;
    Some(at as u32 + 1)
}

/// `Z`, `+0100`, `-05:30`.
fn offset(text: &str) -> Option<FixedOffset> {
    if text == "Z" {
        return FixedOffset::east_opt(0);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    FixedOffset::east_opt(if text.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use chrono::DateTime;

    use super::*;

    /// Local times are UTC+1 here; it is the evening of 2026-11-23.
    fn present() -> Present<FixedOffset> {
        let now = DateTime::parse_from_rfc3339("2026-11-23T17:00:00Z").unwrap().timestamp_nanos_opt().unwrap();
        Present { now, zone: FixedOffset::east_opt(3600).unwrap() }
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let expected = DateTime::parse_from_rfc3339(expected).unwrap().timestamp_nanos_opt();
        assert_eq!(time(line, &present()), expected, "{line}");
    }

    #[test]
    fn times_are_found() {
        check("2026-11-23T15:17:01.123456789Z up", "2026-11-23T15:17:01.123456789Z");
        check("2026-11-23T15:17:01+02:00 up", "2026-11-23T13:17:01Z");
        check("2026-11-23 15:17:01,5 -0500 up", "2026-11-23T20:17:01.5Z");
        check("2026-11-23 15:17:01 status installed libc6:amd64", "2026-11-23T14:17:01Z");
        check("Log started: 2026-11-23  15:17:01", "2026-11-23T14:17:01Z");
        check("2026/11/23 15:17:01 [error] 12#12: *1 open()", "2026-11-23T14:17:01Z");
        check("Nov 23 16:00:01 host CRON[1]: (root) CMD", "2026-11-23T15:00:01Z");
        check("<34>Nov  3 16:00:01.25 host su:", "2026-11-03T15:00:01.25Z");
        check("Dec 31 23:59:59 host x", "2025-12-31T22:59:59Z");
        check("10.0.0.1 - - [23/Nov/2026:16:00:01 +0000] \"GET / HTTP/1.1\" 200 5", "2026-11-23T16:00:01Z");
        check("[Mon Nov 23 16:00:01.5 2026] [core:error] x", "2026-11-23T15:00:01.5Z");
        check("I1123 16:00:01.000001   1 main.go:5] x", "2026-11-23T15:00:01.000001Z");
        check("1795399200 x", "2026-11-23T02:00:00Z");
        check("1795399200.25 x", "2026-11-23T02:00:00.25Z");
        check("1795399200123", "2026-11-23T02:00:00.123Z");
        check("1795399200000000007 x", "2026-11-23T02:00:00.000000007Z");
        check("type=SYSCALL msg=audit(1795399200.243:24287): arch=c000003e", "2026-11-23T02:00:00.243Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in ["", "no time", "2026-13-45 99:99:99", "12345 x", "id 1795399200", "Nov 31 10:00:00 x", "ünï ✗"]
        {
            assert_eq!(time(line, &present()), None, "{line}");
        }
    }

    #[test]
    fn levels_are_found() {
        for (line, expected) in [
            ("2026-11-23 ERROR it broke", Some("error")),
            ("[warn] 12#12: x", Some("warn")),
            ("ts=1 level=debug msg=x", Some("debug")),
            (r#"{"level": "Warning", "msg": 1}"#, Some("warn")),
            ("<Notice>: x", Some("info")),
            ("E1123 16:00:01.000001 1 main.go:5] x", Some("error")),
            ("CRITICAL x", Some("critical")),
            ("PANIC: x", Some("fatal")),
            ("an error occurred", None),
            ("the information desk", None),
            ("", None),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }
}
