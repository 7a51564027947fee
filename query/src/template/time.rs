//! Times, and Go's layouts: `2006-01-02T15:04:05.000Z07:00`.
//!
//! The server has no local time zone: where Go's templates say local, it is UTC.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

/// A moment, and the zone that it is shown in.
#[derive(Debug, Clone, PartialEq)]
pub struct Time {
    /// Nanoseconds since 1970.
    pub ns: i64,
    /// Seconds east of UTC.
    pub offset: i32,
    /// The zone's short name.
    pub zone: String,
}

impl Time {
    /// A moment in UTC.
    pub fn utc(ns: i64) -> Self {
        Self { ns, offset: 0, zone: "UTC".to_owned() }
    }

    /// Go's zero time, the year 1, which nanoseconds do not reach: the least of them stands for it.
    pub(super) fn zero() -> Self {
        Self::utc(i64::MIN)
    }

    pub(super) fn civil(&self) -> NaiveDateTime {
        if self.ns == i64::MIN {
            return NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or_default().and_time(chrono::NaiveTime::MIN);
        }
        let utc = chrono::DateTime::from_timestamp_nanos(self.ns).naive_utc();
        utc.checked_add_signed(chrono::TimeDelta::seconds(i64::from(self.offset))).unwrap_or(utc)
    }

    /// As Go prints it.
    pub fn show(&self) -> String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    /// In a Go layout.
    pub fn format(&self, layout: &str) -> String {
        let civil = self.civil();
        let mut out = String::with_capacity(layout.len() + 10);
        let mut rest = layout;
        while let Some(c) = rest.chars().next() {
            let Some((part, tail)) = part(rest) else {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                continue;
            };
            self.format_part(part, &civil, &mut out);
            rest = tail;
        }
        out
    }

    fn format_part(&self, part: Part, civil: &NaiveDateTime, out: &mut String) {
        let hour12 = match civil.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let text = match part {
            Part::LongMonth => civil.format("%B").to_string(),
            Part::Month => civil.format("%b").to_string(),
            Part::NumMonth => civil.month().to_string(),
            Part::ZeroMonth => format!("{:02}", civil.month()),
            Part::LongWeekday => civil.format("%A").to_string(),
            Part::Weekday => civil.format("%a").to_string(),
            Part::Day => civil.day().to_string(),
            Part::UnderDay => format!("{:2}", civil.day()),
            Part::ZeroDay => format!("{:02}", civil.day()),
            Part::UnderYearDay => format!("{:3}", civil.ordinal()),
            Part::ZeroYearDay => format!("{:03}", civil.ordinal()),
            Part::Hour => format!("{:02}", civil.hour()),
            Part::Hour12 => hour12.to_string(),
            Part::ZeroHour12 => format!("{hour12:02}"),
            Part::Minute => civil.minute().to_string(),
            Part::ZeroMinute => format!("{:02}", civil.minute()),
            Part::Second => civil.second().to_string(),
            Part::ZeroSecond => format!("{:02}", civil.second()),
            Part::LongYear => format!("{:04}", civil.year()),
            Part::Year => format!("{:02}", civil.year().rem_euclid(100)),
            Part::UpperPm => if civil.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
            Part::LowerPm => if civil.hour() >= 12 { "pm" } else { "am" }.to_owned(),
            Part::Zone => self.zone.clone(),
            Part::Offset { z: true, .. } if self.offset == 0 => "Z".to_owned(),
            Part::Offset { colon, seconds, hours_only, .. } => {
                let (sign, n) = (if self.offset < 0 { '-' } else { '+' }, self.offset.unsigned_abs());
                let (h, m, s) = (n / 3600, n / 60 % 60, n % 60);
                let colon = if colon { ":" } else { "" };
                match (hours_only, seconds) {
                    (true, _) => format!("{sign}{h:02}"),
                    (false, false) => format!("{sign}{h:02}{colon}{m:02}"),
                    (false, true) => format!("{sign}{h:02}{colon}{m:02}{colon}{s:02}"),
                }
            }
            Part::Fraction { separator, digits, trims } => {
                let all = format!("{:09}", civil.nanosecond());
                let digits = all.get(..digits).unwrap_or(&all);
                let digits = if trims { digits.trim_end_matches('0') } else { digits };
                if digits.is_empty() { String::new() } else { format!("{separator}{digits}") }
            }
        };
        out.push_str(&text);
    }

    /// The same clock time so many years, months and days later; a day that the month does not have counts on.
    pub(super) fn add_date(&self, years: i64, months: i64, days: i64) -> Option<Self> {
        let civil = self.civil();
        let month = i64::from(civil.year())
            .checked_add(years)?
            .checked_mul(12)?
            .checked_add(i64::from(civil.month0()))?
            .checked_add(months)?;
        let first = NaiveDate::from_ymd_opt(
            i32::try_from(month.div_euclid(12)).ok()?,
            u32::try_from(month.rem_euclid(12)).ok()? + 1,
            1,
        )?;
        let days = days.checked_add(i64::from(civil.day0()))?;
        let date = first.checked_add_signed(chrono::TimeDelta::try_days(days)?)?;
        let offset = chrono::TimeDelta::seconds(i64::from(self.offset));
        let ns = date.and_time(civil.time()).checked_sub_signed(offset)?.and_utc().timestamp_nanos_opt()?;
        Some(Self { ns, ..self.clone() })
    }

    /// Reads a time in a Go layout; without an offset in the text, `local` says the zone of a civil time.
    pub(super) fn parse(layout: &str, text: &str, local: impl Fn(NaiveDateTime) -> (i32, String)) -> Option<Self> {
        let mut read = Read { year: 0, month: 1, day: 1, ..Read::default() };
        let (mut layout, mut rest) = (layout, text);
        while let Some(c) = layout.chars().next() {
            match part(layout) {
                Some((part, tail)) => {
                    rest = read.part(part, rest)?;
                    layout = tail;
                    // A fraction may follow the seconds although the layout has none.
                    if matches!(part, Part::Second | Part::ZeroSecond) && !starts_with_fraction(layout) {
                        rest = read.optional_fraction(rest);
                    }
                }
                None => {
                    rest = rest.strip_prefix(c)?;
                    layout = layout.get(c.len_utf8()..)?;
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        read.finish(local)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    Zone,
    Offset { z: bool, colon: bool, seconds: bool, hours_only: bool },
    Fraction { separator: char, digits: usize, trims: bool },
}

const fn offset(z: bool, colon: bool, seconds: bool, hours_only: bool) -> Part {
    Part::Offset { z, colon, seconds, hours_only }
}

/// Longer ones before those that they start with.
const PARTS: [(&str, Part); 34] = [
    ("January", Part::LongMonth),
    ("Jan", Part::Month),
    ("Monday", Part::LongWeekday),
    ("Mon", Part::Weekday),
    ("MST", Part::Zone),
    ("2006", Part::LongYear),
    ("002", Part::ZeroYearDay),
    ("01", Part::ZeroMonth),
    ("02", Part::ZeroDay),
    ("03", Part::ZeroHour12),
    ("04", Part::ZeroMinute),
    ("05", Part::ZeroSecond),
    ("06", Part::Year),
    ("15", Part::Hour),
    ("1", Part::NumMonth),
    ("2", Part::Day),
    ("__2", Part::UnderYearDay),
    ("_2006", Part::LongYear),
    ("_2", Part::UnderDay),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
    ("PM", Part::UpperPm),
    ("pm", Part::LowerPm),
    ("-07:00:00", offset(false, true, true, false)),
    ("-07:00", offset(false, true, false, false)),
    ("-070000", offset(false, false, true, false)),
    ("-0700", offset(false, false, false, false)),
    ("-07", offset(false, false, false, true)),
    ("Z07:00:00", offset(true, true, true, false)),
    ("Z07:00", offset(true, true, false, false)),
    ("Z070000", offset(true, false, true, false)),
    ("Z0700", offset(true, false, false, false)),
    ("Z07", offset(true, false, false, true)),
];

fn part(layout: &str) -> Option<(Part, &str)> {
    let first = layout.chars().next()?;
    if first == '.' || first == ',' {
        let tail = layout.get(1..)?;
        let digit = tail.chars().next().filter(|c| matches!(c, '0' | '9'))?;
        let digits = tail.chars().take_while(|&c| c == digit).count();
        let after = tail.get(digits..)?;
        let ends = !after.starts_with(|c: char| c.is_ascii_digit());
        return ends
            .then_some((Part::Fraction { separator: first, digits: digits.min(9), trims: digit == '9' }, after));
    }
    let found = PARTS.iter().find(|(text, _)| layout.starts_with(text))?;
    let tail = layout.get(found.0.len()..)?;
    // `Jan` and `Mon` inside other words are plain text.
    if matches!(found.1, Part::Month | Part::Weekday) && tail.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    Some((found.1, tail))
}

fn starts_with_fraction(layout: &str) -> bool {
    matches!(part(layout), Some((Part::Fraction { .. }, _)))
}

#[derive(Default)]
struct Read {
    year: i32,
    month: u32,
    day: u32,
    year_day: Option<u32>,
    hour: u32,
    pm: Option<bool>,
    minute: u32,
    second: u32,
    nanosecond: u32,
    offset: Option<i32>,
    zone: Option<String>,
}

impl Read {
    /// Takes one part off the text; answers the rest.
    fn part<'t>(&mut self, part: Part, text: &'t str) -> Option<&'t str> {
        match part {
            Part::LongMonth | Part::Month => {
                let (at, rest) = name(text, &MONTHS, part == Part::LongMonth)?;
                self.month = at as u32 + 1;
                return Some(rest);
            }
            Part::LongWeekday | Part::Weekday => return Some(name(text, &WEEKDAYS, part == Part::LongWeekday)?.1),
            Part::UpperPm | Part::LowerPm => {
                let (word, rest) = text.split_at_checked(2)?;
                self.pm = Some(match word.to_ascii_uppercase().as_str() {
                    "PM" => true,
                    "AM" => false,
                    _ => return None,
                });
                return Some(rest);
            }
            Part::Zone => {
                let end = text.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(text.len());
                self.zone = Some(text.get(..end).filter(|z| z.len() >= 3)?.to_owned());
                return text.get(end..);
            }
            Part::Offset { z, colon, seconds, hours_only } => return self.offset(z, colon, seconds, hours_only, text),
            Part::Fraction { digits, trims: false, .. } => {
                let (fraction, rest) = text.get(1..)?.split_at_checked(digits)?;
                self.nanosecond = format!("{fraction:0<9}").parse().ok()?;
                return Some(rest);
            }
            Part::Fraction { .. } => return Some(self.optional_fraction(text)),
            _ => {}
        }
        let (low, high) = match part {
            Part::LongYear => (4, 4),
            Part::ZeroYearDay | Part::UnderYearDay => (3, 3),
            Part::NumMonth | Part::Day | Part::UnderDay | Part::Hour12 | Part::Minute | Part::Second => (1, 2),
            _ => (2, 2),
        };
        let text =
            if matches!(part, Part::UnderDay | Part::UnderYearDay) { text.trim_start_matches(' ') } else { text };
        let digits = text.bytes().take(high).take_while(u8::is_ascii_digit).count();
        let low = if part == Part::UnderYearDay { 1 } else { low };
        let number: u32 = text.get(..digits).filter(|_| digits >= low)?.parse().ok()?;
        match part {
            Part::LongYear => self.year = number as i32,
            Part::Year => self.year = number as i32 + if number >= 69 { 1900 } else { 2000 },
            Part::NumMonth | Part::ZeroMonth => self.month = number,
            Part::Day | Part::UnderDay | Part::ZeroDay => self.day = number,
            Part::UnderYearDay | Part::ZeroYearDay => self.year_day = Some(number),
            Part::Hour | Part::Hour12 | Part::ZeroHour12 => self.hour = number,
            Part::Minute | Part::ZeroMinute => self.minute = number,
            _ => self.second = number,
        }
        text.get(digits..)
    }

    fn optional_fraction<'t>(&mut self, text: &'t str) -> &'t str {
        let Some(tail) = text.strip_prefix(['.', ',']) else { return text };
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let (fraction, rest) = tail.split_at(digits);
        if fraction.is_empty() {
            return text;
        }
        let nine: String = format!("{fraction:0<9}").chars().take(9).collect();
        self.nanosecond = nine.parse().unwrap_or_default();
        rest
    }

    fn offset<'t>(&mut self, z: bool, colon: bool, seconds: bool, hours_only: bool, text: &'t str) -> Option<&'t str> {
        if let (true, Some(rest)) = (z, text.strip_prefix('Z')) {
            self.offset = Some(0);
            return Some(rest);
        }
        let sign = match text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let mut rest = text.get(1..)?;
        let mut total = 0;
        for (i, unit) in [3600, 60, 1].into_iter().enumerate() {
            if (i > 0 && hours_only) || (i == 2 && !seconds) {
                break;
            }
            if i > 0 && colon {
                rest = rest.strip_prefix(':')?;
            }
            let (number, tail) = rest.split_at_checked(2)?;
            total += number.parse::<u8>().ok().map(i32::from)? * unit;
            rest = tail;
        }
        self.offset = Some(sign * total);
        Some(rest)
    }

    fn finish(self, local: impl Fn(NaiveDateTime) -> (i32, String)) -> Option<Time> {
        let hour = match self.pm {
            Some(_) if self.hour > 12 => return None,
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = match self.year_day {
            Some(day) => NaiveDate::from_yo_opt(self.year, day)?,
            None => NaiveDate::from_ymd_opt(self.year, self.month, self.day)?,
        };
        let civil = date.and_hms_nano_opt(hour, self.minute, self.second, self.nanosecond)?;
        let (offset, zone) = match (self.offset, self.zone) {
            (Some(0), _) => (0, "UTC".to_owned()),
            (Some(offset), zone) => (offset, zone.unwrap_or_default()),
            (None, Some(zone)) if zone == "UTC" => (0, zone),
            (None, _) => local(civil),
        };
        let utc = civil.and_utc() - chrono::TimeDelta::seconds(i64::from(offset));
        Some(Time { ns: utc.timestamp_nanos_opt()?, offset, zone })
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A name in any case, whole or its first three letters.
fn name<'t>(text: &'t str, names: &[&str], long: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let wanted = if long { name } else { name.get(..3)? };
        let (head, rest) = text.split_at_checked(wanted.len())?;
        head.eq_ignore_ascii_case(wanted).then_some((at, rest))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// 2024-02-03 04:05:06.078 UTC, a Saturday.
    const MOMENT: i64 = 1_706_933_106_078_000_000;

    #[test]
    fn formats_in_go_layouts() {
        let check = |layout: &str, text: &str| assert_eq!(Time::utc(MOMENT).format(layout), text, "{layout}");
        check("2006-01-02T15:04:05.000Z07:00", "2024-02-03T04:05:06.078Z");
        check("2006-01-02T15:04:05.999999999-07:00", "2024-02-03T04:05:06.078+00:00");
        check("Mon, 02 Jan 2006 15:04:05 MST", "Sat, 03 Feb 2024 04:05:06 UTC");
        check("Monday January _2 3:04PM pm 06 1/2 002", "Saturday February  3 4:05AM am 24 2/3 034");
        check("15h4m5s,000 Month", "04h5m6s,078 Month");
        let east = Time { ns: MOMENT, offset: 5 * 3600 + 1800, zone: "IST".to_owned() };
        assert_eq!(east.format("15:04 -0700 Z07:00 MST -07"), "09:35 +0530 +05:30 IST +05");
        assert_eq!(Time::utc(MOMENT).show(), "2024-02-03 04:05:06.078 +0000 UTC");
    }

    #[test]
    fn parses_go_layouts() {
        let local = |_| (3600, "CET".to_owned());
        let check = |layout: &str, text: &str, ns: Option<i64>| {
            assert_eq!(Time::parse(layout, text, local).map(|t| t.ns), ns, "{text}");
        };
        check("2006-01-02T15:04:05Z07:00", "2024-02-03T04:05:06.078Z", Some(MOMENT));
        check("2006-01-02 15:04:05.000", "2024-02-03 05:05:06.078", Some(MOMENT));
        check("Jan _2 2006 3:04:05PM -0700", "feb  3 2024 9:05:06AM +0500", Some(MOMENT - 78_000_000));
        check("2006-01-02", "2024-02-30", None);
        check("2006-01-02", "2024-02-03x", None);
        check("2006", "24", None);
        check("15:04", "99:00", None);
    }
}
