//! Times, durations, limits and selectors as Prometheus's API takes them.

use ::query::promql::ast::Matcher;
use ::query::promql::parser::parse_selector;
use chrono::DateTime;

use super::error::PromError;
use crate::api::params::{Params, parse_span};

/// The earliest time as Go clients write it.
const FIRST_TIME: &str = "-292273086-05-16T16:47:06Z";
/// The latest one.
const LAST_TIME: &str = "+292277025-08-18T07:12:54.999999999Z";
/// No time is further from 1970 than this, in milliseconds: sums of times and ranges stay whole numbers.
const TIME_MS_MAX: i64 = 1 << 60;
const SECOND_NS: f64 = 1e9;

/// A time in milliseconds since 1970, or the default when it is not given.
pub(super) fn time(params: &Params, name: &str, default: i64) -> Result<i64, PromError> {
    match params.get(name) {
        "" => Ok(default),
        text => {
            let why = |why| PromError::parameter(name, format!("invalid time value for '{name}': {why}"));
            parse_time(text).map_err(why)
        }
    }
}

/// A time that must be given.
pub(super) fn wanted_time(params: &Params, name: &str) -> Result<i64, PromError> {
    parse_time(params.get(name)).map_err(|why| PromError::parameter(name, why))
}

/// From when to when label and series requests look, in milliseconds, both inside.
pub(super) fn bounds(params: &Params) -> Result<(i64, i64), PromError> {
    Ok((time(params, "start", -TIME_MS_MAX)?, time(params, "end", TIME_MS_MAX)?))
}

fn parse_time(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds.trunc() * 1000.0) + (seconds.fract() * 1000.0).round();
        return if ms.abs() <= TIME_MS_MAX as f64 { Ok(ms as i64) } else { Err(wrong()) };
    }
    match text {
        FIRST_TIME => Ok(-TIME_MS_MAX),
        LAST_TIME => Ok(TIME_MS_MAX),
        text => DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).map_err(|_| wrong()),
    }
}

/// A duration in nanoseconds: seconds, or as PromQL writes it.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * SECOND_NS;
        return if ns.abs() <= i64::MAX as f64 {
            Ok(ns as i64)
        } else {
            Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"))
        };
    }
    parse_span(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

/// A duration in nanoseconds, if it is given.
pub(super) fn duration(params: &Params, name: &str) -> Result<Option<i64>, PromError> {
    match params.get(name) {
        "" => Ok(None),
        text => parse_duration(text).map(Some).map_err(|why| PromError::parameter(name, why)),
    }
}

/// `limit`: how many to answer; none is `usize::MAX`.
pub(super) fn limit(params: &Params) -> Result<usize, PromError> {
    let text = params.get("limit");
    if text.is_empty() {
        return Ok(usize::MAX);
    }
    match text.parse::<i64>() {
        Ok(0) => Ok(usize::MAX),
        Ok(limit) => usize::try_from(limit).map_err(|_| PromError::parameter("limit", "limit must be non-negative")),
        Err(_) => Err(PromError::parameter("limit", format!("{text:?} is no whole number"))),
    }
}

/// Every `match[]`.
pub(super) fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, PromError> {
    let one = |text: &str| {
        let matchers = parse_selector(text).map_err(|error| PromError::parameter("match[]", error))?;
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(PromError::parameter("match[]", "match[] must contain at least one non-empty matcher"));
        }
        Ok(matchers)
    };
    params.all("match[]").map(one).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of_query(query).unwrap()
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let read = |text: &str| time(&params(&format!("time={text}")), "time", 7).ok();
        assert_eq!(read(""), Some(7));
        assert_eq!(read("1795399200"), Some(1_795_399_200_000));
        assert_eq!(read("1795399200.1239"), Some(1_795_399_200_124));
        assert_eq!(read("-1.5"), Some(-1500));
        assert_eq!(read("1e3"), Some(1_000_000));
        assert_eq!(read("2026-11-23T03:00:00.25%2B01:00"), Some(1_795_399_200_250));
        assert_eq!(read("-292273086-05-16T16:47:06Z"), Some(-TIME_MS_MAX));
        assert_eq!(read("%2B292277025-08-18T07:12:54.999999999Z"), Some(TIME_MS_MAX));
        for wrong in ["soon", "NaN", "1e300", "2026-11-23"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_seconds_or_promqls() {
        assert_eq!(parse_duration("15"), Ok(15_000_000_000));
        assert_eq!(parse_duration("0.5"), Ok(500_000_000));
        assert_eq!(parse_duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse_duration("-2"), Ok(-2_000_000_000));
        for wrong in ["", "x", "1e300", "NaN"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn selectors_must_select_something() {
        assert_eq!(selectors(&params("match[]=up&match[]={a=\"b\"}")).unwrap().len(), 2);
        assert!(selectors(&params("match[]={a=~\".*\"}")).is_err());
        assert!(selectors(&params("match[]={")).is_err());
        assert_eq!(limit(&params("limit=0")).unwrap(), usize::MAX);
        assert_eq!(limit(&params("limit=3")).unwrap(), 3);
        assert!(limit(&params("limit=-1")).is_err() && limit(&params("limit=x")).is_err());
    }
}
