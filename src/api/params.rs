//! Parameters of a query, from the URL and, for POST, from the form in the body; both as Loki reads them.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};

use crate::api::push::body;
use crate::app::App;
use crate::config::Span;
use crate::error::ApiError;

/// Largest form; queries are short.
const FORM_BYTES_MAX: usize = 1 << 20;
/// How far back a query looks that does not say.
const DEFAULT_SINCE_NS: i64 = 3_600_000_000_000;
/// Lines in an answer when the query does not say.
const DEFAULT_LIMIT: usize = 100;
/// A step that is not given is this part of the time.
const DEFAULT_STEPS: i64 = 250;
const SECOND_NS: i64 = 1_000_000_000;

/// The parameters of a request, in order; those of the form before those of the URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// From when to when, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Inside.
    pub(crate) start: i64,
    /// The end, as the client gave it.
    pub(crate) end: i64,
}

/// Whether whoever asks takes an answer that was kept: not with `Cache-Control: no-store`.
pub(crate) fn may_keep(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    !values.flat_map(|value| value.split(',')).any(|one| matches!(one.trim(), "no-store" | "no-cache"))
}

impl FromRequest<App> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut params = Self::default();
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|name| name.starts_with("application/x-www-form-urlencoded")) {
            let timeout = app.config.ingest.body_timeout.0;
            let form = body::collect(body, &parts.headers, FORM_BYTES_MAX, timeout).await?;
            params.parse(&form)?;
        }
        params.parse(parts.uri.query().unwrap_or_default().as_bytes())?;
        Ok(params)
    }
}

impl Params {
    /// Parameters of a URL's query part.
    ///
    /// # Errors
    /// `BadRequest` when an escape is malformed.
    pub(crate) fn of_query(query: &str) -> Result<Self, ApiError> {
        let mut params = Self::default();
        params.parse(query.as_bytes())?;
        Ok(params)
    }

    fn parse(&mut self, encoded: &[u8]) -> Result<(), ApiError> {
        for pair in encoded.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
            self.0.push((unescape(name)?, unescape(value)?));
        }
        Ok(())
    }

    /// The first value of a name; empty when it is not there, as Go has it.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every value of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `start`, `end` and `since`; without them the last hour.
    ///
    /// # Errors
    /// `BadRequest` that names the parameter.
    pub(crate) fn bounds(&self, now: i64) -> Result<Bounds, ApiError> {
        let wrong = |name: &'static str| {
            move |why: String| ApiError::bad_request(format!("could not parse '{name}' parameter: {why}"))
        };
        let since = match self.get("since") {
            "" => DEFAULT_SINCE_NS,
            text => parse_span(text).map_err(wrong("since"))?,
        };
        let end = parse_time(self.get("end"), now).map_err(wrong("end"))?;
        let start = parse_time(self.get("start"), end.min(now).saturating_sub(since)).map_err(wrong("start"))?;
        Ok(Bounds { start, end })
    }

    /// [`Self::bounds`] that are in order.
    ///
    /// # Errors
    /// `BadRequest`.
    pub(crate) fn ordered_bounds(&self, now: i64) -> Result<Bounds, ApiError> {
        let bounds = self.bounds(now)?;
        if bounds.end < bounds.start {
            return Err(ApiError::bad_request("end timestamp must not be before or equal to start time"));
        }
        Ok(bounds)
    }

    /// `time`, else now.
    ///
    /// # Errors
    /// `BadRequest`.
    pub(crate) fn time(&self, now: i64) -> Result<i64, ApiError> {
        parse_time(self.get("time"), now).map_err(ApiError::bad_request)
    }

    /// `limit`, at most `max`.
    ///
    /// # Errors
    /// `BadRequest`.
    pub(crate) fn limit(&self, max: usize) -> Result<usize, ApiError> {
        let limit = self.number("limit", DEFAULT_LIMIT as i64)?;
        if limit <= 0 {
            return Err(ApiError::bad_request("limit must be a positive value"));
        }
        let limit = limit as usize;
        if limit > max {
            return Err(ApiError::bad_request(format!(
                "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max}): ask for \
                 less, or use /farol/api/v1/export"
            )));
        }
        Ok(limit)
    }

    /// A whole number, or the default when it is not given.
    ///
    /// # Errors
    /// `BadRequest`.
    pub(crate) fn number(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        match self.get(name) {
            "" => Ok(default),
            text => text.parse().map_err(|_| ApiError::bad_request(format!("{name}: {text:?} is no whole number"))),
        }
    }

    /// `direction`: true for oldest first.
    ///
    /// # Errors
    /// `BadRequest`.
    pub(crate) fn forward(&self) -> Result<bool, ApiError> {
        match self.get("direction") {
            "" => Ok(false),
            text if text.eq_ignore_ascii_case("backward") => Ok(false),
            text if text.eq_ignore_ascii_case("forward") => Ok(true),
            text => Err(ApiError::bad_request(format!("invalid direction '{text}'"))),
        }
    }

    /// `step` in nanoseconds; else a 250th of the time, in whole seconds, at least one.
    ///
    /// # Errors
    /// `BadRequest` when it is not positive, or makes more than `points_max` points.
    pub(crate) fn step(&self, bounds: Bounds, points_max: usize) -> Result<i64, ApiError> {
        let length = bounds.end.saturating_sub(bounds.start);
        let step = match self.get("step") {
            "" => (length / SECOND_NS / DEFAULT_STEPS).max(1) * SECOND_NS,
            text => parse_seconds_or_span(text)?,
        };
        if step <= 0 {
            return Err(ApiError::bad_request(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        if length / step > points_max as i64 {
            return Err(ApiError::bad_request(format!(
                "exceeded maximum resolution of {points_max} points per time series. Try increasing the value of the \
                 step parameter"
            )));
        }
        Ok(step)
    }

    /// `interval` in nanoseconds: lines of an answer lie at least that far apart; 0 when it is not given.
    ///
    /// # Errors
    /// `BadRequest`.
    pub(crate) fn interval(&self) -> Result<i64, ApiError> {
        match self.get("interval") {
            "" => Ok(0),
            text => match parse_seconds_or_span(text)? {
                interval if interval < 0 => Err(ApiError::bad_request("interval must be >= 0")),
                interval => Ok(interval),
            },
        }
    }
}

/// Decodes `%41` and `+`.
fn unescape(encoded: &[u8]) -> Result<String, ApiError> {
    let wrong = || ApiError::bad_request(format!("invalid URL escape in {:?}", String::from_utf8_lossy(encoded)));
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let [high, low, after @ ..] = rest else { return Err(wrong()) };
                let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(wrong);
                decoded.push((digit(high)? * 16 + digit(low)?) as u8);
                rest = after;
            }
            byte => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| wrong())
}

/// A time in nanoseconds since 1970: seconds (up to 10 digits, or with a point), nanoseconds, or RFC 3339.
pub(crate) fn parse_time(text: &str, default: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(default);
    }
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        // Milliseconds at most: a double holds no more of a time of today.
        let (whole, part) = (seconds.trunc(), (seconds.fract() * 1000.0).round() / 1000.0);
        return Ok((whole as i64).saturating_mul(SECOND_NS).saturating_add((part * SECOND_NS as f64) as i64));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(if text.len() <= 10 { number.saturating_mul(SECOND_NS) } else { number });
    }
    let time = chrono::DateTime::parse_from_rfc3339(text)
        .map_err(|_| format!("{text:?} is no time: give seconds or nanoseconds since 1970, or RFC 3339"))?;
    time.timestamp_nanos_opt().ok_or_else(|| format!("{text:?} is out of range: 1677 to 2262"))
}

/// A span of time as Prometheus writes it, in nanoseconds.
pub(crate) fn parse_span(text: &str) -> Result<i64, String> {
    let span: Span = text.parse().map_err(|_| format!("not a valid duration string: {text:?}"))?;
    i64::try_from(span.0.as_nanos()).map_err(|_| format!("duration out of range: {text:?}"))
}

fn parse_seconds_or_span(text: &str) -> Result<i64, ApiError> {
    let wrong = || ApiError::bad_request(format!("cannot parse {text:?} to a valid duration"));
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 9.2e9 => Ok((seconds * SECOND_NS as f64) as i64),
        Ok(_) => Err(wrong()),
        Err(_) => parse_span(text).map_err(|_| wrong()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_399_200 * SECOND_NS;

    fn params(query: &str) -> Params {
        Params::of_query(query).unwrap()
    }

    #[track_caller]
    fn time(text: &str, expected: i64) {
        assert_eq!(parse_time(text, 7), Ok(expected), "{text}");
    }

    #[test]
    fn times_are_read_as_loki_does() {
        time("", 7);
        time("1795399200", NOW);
        time("1795399200.5", NOW + SECOND_NS / 2);
        time("1795399200.123456", NOW + 123_000_000);
        time("1795399200000000001", NOW + 1);
        time("2026-11-23T02:00:00Z", NOW);
        time("2026-11-23T03:00:00.000000001+01:00", NOW + 1);
        time("0", 0);
        time("-5", -5 * SECOND_NS);
        assert!(parse_time("notatime", 0).is_err());
        assert!(parse_time("9999-01-01T00:00:00Z", 0).is_err());
    }

    #[test]
    fn bounds_default_to_the_last_hour() {
        let hour = DEFAULT_SINCE_NS;
        assert_eq!(params("").bounds(NOW).unwrap(), Bounds { start: NOW - hour, end: NOW });
        assert_eq!(params("since=15m").bounds(NOW).unwrap().start, NOW - hour / 4);
        // An end in the future: since counts from now.
        let future = params("end=1795399300").bounds(NOW).unwrap();
        assert_eq!((future.start, future.end), (NOW - hour, NOW + 100 * SECOND_NS));
        let message = params("since=banana").bounds(NOW).unwrap_err().message;
        assert_eq!(message, "could not parse 'since' parameter: not a valid duration string: \"banana\"");
        assert!(params("start=20&end=10").ordered_bounds(NOW).is_err());
        assert!(params("start=10&end=10").ordered_bounds(NOW).is_ok());
    }

    #[test]
    fn steps_default_to_a_250th() {
        let bounds = Bounds { start: 0, end: 3600 * SECOND_NS };
        assert_eq!(params("").step(bounds, 11_000).unwrap(), 14 * SECOND_NS);
        assert_eq!(params("").step(Bounds { start: 0, end: 5 }, 11_000).unwrap(), SECOND_NS);
        assert_eq!(params("step=0.5").step(bounds, 11_000).unwrap(), SECOND_NS / 2);
        assert_eq!(params("step=1m").step(bounds, 11_000).unwrap(), 60 * SECOND_NS);
        for wrong in ["step=0", "step=-1", "step=abc", "step=0.0001", "step=inf", "step=NaN"] {
            assert!(params(wrong).step(bounds, 11_000).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_and_directions_are_checked() {
        assert_eq!(params("").limit(5000).unwrap(), 100);
        assert_eq!(params("limit=5000").limit(5000).unwrap(), 5000);
        for wrong in ["limit=0", "limit=-1", "limit=abc", "limit=5001"] {
            assert!(params(wrong).limit(5000).is_err(), "{wrong}");
        }
        assert!(!params("").forward().unwrap());
        assert!(params("direction=FORWARD").forward().unwrap());
        assert!(params("direction=sideways").forward().is_err());
        assert_eq!(params("interval=10s").interval().unwrap(), 10 * SECOND_NS);
        assert!(params("interval=-5s").interval().is_err());
    }

    #[test]
    fn forms_are_decoded() {
        let form = params("query=%7Bapp%3D%22a+b%22%7D&match[]=x&match%5B%5D=y&empty&=&a=%C3%BC");
        assert_eq!(form.get("query"), "{app=\"a b\"}");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!((form.get("empty"), form.get("nosuch"), form.get("a")), ("", "", "ü"));
        assert!(Params::of_query("a=%4").is_err());
        assert!(Params::of_query("a=%zz").is_err());
        assert!(Params::of_query("a=%ff").is_err());
    }
}
