//! Intervals of time that come back: `time_intervals` of the configuration, and the recurrence of silences.
//!
//! Whether a moment is inside is decided on the clock of the interval's time zone, so that "from nine to five" stays so
//! when clocks are changed.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// An interval as it is written. What is not given is not asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are Alertmanager's")]
pub(crate) struct IntervalText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<Vec<TimesText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weekdays: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) days_of_month: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) months: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) years: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
}

/// From when to when of a day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are Alertmanager's")]
pub(crate) struct TimesText {
    pub(crate) start_time: String,
    pub(crate) end_time: String,
}

/// From one number to another, both included.
type Range = (i32, i32);

/// An interval, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interval {
    /// Minutes of the day, the last not included.
    times: Option<Vec<Range>>,
    days: Days,
    zone: Tz,
}

/// Days that come back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Days {
    /// 0 is Sunday.
    weekdays: Option<Vec<Range>>,
    /// Below 0 counts from the end of the month.
    days_of_month: Option<Vec<Range>>,
    months: Option<Vec<Range>>,
    years: Option<Vec<Range>>,
}

impl Interval {
    /// Reads an interval.
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub(crate) fn new(text: &IntervalText) -> Result<Self, String> {
        let times = text.times.as_ref().map(|times| times.iter().map(minutes_range).collect()).transpose()?;
        Ok(Self { times, days: Days::new(text)?, zone: zone(text.location.as_deref())? })
    }

    /// Whether a moment, in milliseconds since 1970, is inside.
    pub(crate) fn contains(&self, at_ms: i64) -> bool {
        let local = local(at_ms, self.zone);
        let minute = (local.hour() * 60 + local.minute()) as i32;
        let in_times = |times: &Vec<Range>| times.iter().any(|(start, end)| minute >= *start && minute < *end);
        self.times.as_ref().is_none_or(in_times) && self.days.contain(local.date_naive())
    }
}

impl Days {
    /// Reads the days of an interval.
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub(crate) fn new(text: &IntervalText) -> Result<Self, String> {
        let list = |name: &str, texts: &Option<Vec<String>>, read: fn(&str) -> Result<Range, String>| {
            let read = |text: &String| read(&text.trim().to_lowercase()).map_err(|why| format!("{name}: {why}"));
            texts.as_ref().map(|texts| texts.iter().map(read).collect::<Result<Vec<Range>, String>>()).transpose()
        };
        Ok(Self {
            weekdays: list("weekdays", &text.weekdays, |text| range(text, weekday))?,
            days_of_month: list("days_of_month", &text.days_of_month, days_of_month)?,
            months: list("months", &text.months, |text| range(text, month))?,
            years: list("years", &text.years, |text| range(text, |year| year.parse().ok()))?,
        })
    }

    /// Whether a day is one of them.
    pub(crate) fn contain(&self, day: NaiveDate) -> bool {
        let within = |ranges: &Option<Vec<Range>>, value: i32| {
            ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|(from, to)| value >= *from && value <= *to))
        };
        let last = i32::from(day.num_days_in_month());
        let in_month = |(from, to): &Range| {
            let from_start = |day: i32| if day < 0 { last + day + 1 } else { day };
            let (from, to) = (from_start(*from), from_start(*to).min(last));
            (from..=to).contains(&(day.day() as i32))
        };
        within(&self.weekdays, day.weekday().num_days_from_sunday() as i32)
            && self.days_of_month.as_ref().is_none_or(|ranges| ranges.iter().any(in_month))
            && within(&self.months, day.month() as i32)
            && within(&self.years, day.year())
    }
}

/// A time zone by name; UTC if there is none.
///
/// # Errors
/// When there is no such zone.
pub(crate) fn zone(name: Option<&str>) -> Result<Tz, String> {
    match name {
        None | Some("") => Ok(Tz::UTC),
        Some("Local") => Err("location: name the time zone, such as Europe/Berlin, instead of Local".to_owned()),
        Some(name) => name.parse().map_err(|_| format!("location: {name:?} is no time zone")),
    }
}

/// What a clock in a zone shows.
pub(crate) fn local(at_ms: i64, zone: Tz) -> DateTime<Tz> {
    let utc = DateTime::<Utc>::from_timestamp_millis(at_ms).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    utc.with_timezone(&zone)
}

/// When the clock of a zone shows so many minutes after midnight, in milliseconds since 1970. A time that is skipped when
/// clocks are changed is when it would have been without.
pub(crate) fn moment(day: NaiveDate, minute: i32, zone: Tz) -> Option<i64> {
    let naive = day.and_hms_opt(0, 0, 0)? + TimeDelta::minutes(i64::from(minute));
    let found = zone.from_local_datetime(&naive).earliest();
    found.map(|found| found.timestamp_millis()).or_else(|| {
        let before = zone.from_local_datetime(&(naive - TimeDelta::hours(3))).earliest()?;
        Some((before + TimeDelta::hours(3)).timestamp_millis())
    })
}

/// `09:30` in minutes after midnight; `24:00` is the end of the day.
///
/// # Errors
/// When it is no such time.
pub(crate) fn minutes(text: &str) -> Result<i32, String> {
    let bad = || format!("{text:?} is no time of a day: write it as 09:30, up to 24:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    let number = |text: &str, max: i32| -> Option<i32> {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && *number <= max)
    };
    let (hours, minutes) = (number(hours, 24).ok_or_else(bad)?, number(minutes, 59).ok_or_else(bad)?);
    Some(hours * 60 + minutes).filter(|minutes| *minutes <= 1440).ok_or_else(bad)
}

fn minutes_range(times: &TimesText) -> Result<Range, String> {
    if times.start_time.is_empty() || times.end_time.is_empty() {
        return Err("times: both start_time and end_time must be given".to_owned());
    }
    let read = |text: &str| minutes(text).map_err(|why| format!("times: {why}"));
    let (start, end) = (read(&times.start_time)?, read(&times.end_time)?);
    if start >= end {
        return Err(format!("times: start_time {} is not before end_time {}", times.start_time, times.end_time));
    }
    Ok((start, end))
}

fn range(text: &str, member: fn(&str) -> Option<i32>) -> Result<Range, String> {
    let read = |part: &str| member(part.trim()).ok_or_else(|| format!("{text:?} is none, nor a range of them"));
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let (from, to) = (read(from)?, read(to)?);
    if from > to { Err(format!("{text:?} ends before it begins")) } else { Ok((from, to)) }
}

fn weekday(text: &str) -> Option<i32> {
    WEEKDAYS.iter().position(|name| *name == text).map(|at| at as i32)
}

fn month(text: &str) -> Option<i32> {
    let by_name = MONTHS.iter().position(|name| *name == text).map(|at| at as i32 + 1);
    by_name.or_else(|| text.parse().ok().filter(|month| (1..=12).contains(month)))
}

fn days_of_month(text: &str) -> Result<Range, String> {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let read = |part: &str| -> Result<i32, String> {
        let day = part.trim().parse().ok().filter(|day: &i32| (1..=31).contains(&day.abs()));
        day.ok_or_else(|| format!("{part:?} is no day of a month: from 1 to 31, or from -31 to -1"))
    };
    let (from, to) = (read(from)?, read(to)?);
    if from < 0 && to > 0 {
        return Err(format!("{text:?}: a range that begins with a day below 0 must end with one"));
    }
    let in_shortest = |day: i32| if day < 0 { 28 + day } else { day };
    if in_shortest(from) > in_shortest(to) {
        return Err(format!("{text:?} ends before it begins"));
    }
    Ok((from, to))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn interval(yaml: &str) -> Result<Interval, String> {
        Interval::new(&serde_saphyr::from_str(yaml).unwrap())
    }

    #[track_caller]
    fn check(yaml: &str, at: &str, inside: bool) {
        let at_ms = DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis();
        assert_eq!(interval(yaml).unwrap().contains(at_ms), inside, "{yaml} at {at}");
    }

    #[test]
    fn moments_are_inside_or_not() {
        let office = "{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday']}";
        check(office, "2026-11-27T09:00:00Z", true);
        check(office, "2026-11-27T16:59:59Z", true);
        check(office, "2026-11-27T17:00:00Z", false);
        check(office, "2026-11-28T12:00:00Z", false);
        check("{}", "2026-11-28T12:00:00Z", true);
        check("{weekdays: []}", "2026-11-28T12:00:00Z", false);
        check("{months: ['november:12'], years: ['2025:2026']}", "2026-12-31T12:00:00Z", true);
        check("{months: ['november:12'], years: ['2025:2026']}", "2027-12-31T12:00:00Z", false);
        check("{days_of_month: ['-3:-1']}", "2026-02-26T00:00:00Z", true);
        check("{days_of_month: ['-3:-1']}", "2026-02-25T00:00:00Z", false);
        check("{days_of_month: ['31']}", "2026-02-28T00:00:00Z", false);
        check("{days_of_month: ['25:31']}", "2026-02-28T00:00:00Z", true);
    }

    /// Nine o'clock in Berlin is eight in winter and seven in summer elsewhere.
    #[test]
    fn zones_are_heeded() {
        let morning = "{times: [{start_time: '09:00', end_time: '10:00'}], location: Europe/Berlin}";
        check(morning, "2026-01-15T08:30:00Z", true);
        check(morning, "2026-07-15T08:30:00Z", false);
        check(morning, "2026-07-15T07:30:00Z", true);
    }

    #[test]
    fn mistakes_are_named() {
        for (yaml, part) in [
            ("{times: [{start_time: '10:00', end_time: '09:00'}]}", "not before"),
            ("{times: [{start_time: '9:00', end_time: '10:00'}]}", "\"9:00\" is no time"),
            ("{times: [{start_time: '23:00', end_time: '24:01'}]}", "24:01"),
            ("{weekdays: [freitag]}", "weekdays: \"freitag\""),
            ("{weekdays: ['friday:monday']}", "ends before"),
            ("{days_of_month: ['0']}", "days_of_month"),
            ("{days_of_month: ['-1:3']}", "below 0"),
            ("{months: ['13']}", "months"),
            ("{location: Mars/Base}", "Mars/Base"),
        ] {
            let why = interval(yaml).unwrap_err();
            assert!(why.contains(part), "{yaml}: {why}");
        }
    }

    #[test]
    fn a_skipped_hour_has_a_moment() {
        let berlin: Tz = "Europe/Berlin".parse().unwrap();
        let day = NaiveDate::from_ymd_opt(2026, 3, 29).unwrap();
        // 02:30 does not exist; without the change it would be 01:30 UTC.
        assert_eq!(moment(day, 150, berlin).unwrap(), moment(day, 60, Tz::UTC).unwrap() + 30 * 60_000);
        assert_eq!(local(moment(day, 540, berlin).unwrap(), berlin).hour(), 9);
    }
}
