//! Names of metrics, units and labels as Prometheus has them, after the OpenTelemetry specification's "Prometheus and
//! OpenMetrics Compatibility" and Prometheus's `otlptranslator`, whose defaults are kept: of several underscores in a
//! label's name none is dropped, and one underscore at its start gets `key` before it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How names are brought over; the words are those of Prometheus's `translation_strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TranslationStrategy {
    /// What is no letter, digit, underscore or colon becomes `_`; units and `_total` are added.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Names stay as they are; units and `_total` are added.
    NoUTF8EscapingWithSuffixes,
    /// As the first, but nothing is added.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl TranslationStrategy {
    pub(super) fn escapes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }

    fn adds_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUTF8EscapingWithSuffixes)
    }
}

/// What a metric's name says of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    Counter,
    Gauge,
    Other,
}

const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const UNITS_AFTER_PER: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// A metric's name.
///
/// # Errors
/// Why there is none.
pub(super) fn metric(name: &str, unit: &str, kind: NameKind, strategy: TranslationStrategy) -> Result<String, String> {
    let translated = match (strategy.escapes(), strategy.adds_suffixes()) {
        (true, true) => escaped_with_suffixes(name, unit, kind),
        (true, false) => not_digit_first(join(name, |c| is_good(c) || c == '_')),
        (false, true) => with_suffixes(name, unit, kind),
        (false, false) => name.to_owned(),
    };
    let says_nothing = strategy.escapes() && translated != name && translated.bytes().all(|b| b == b'_');
    if translated.is_empty() || says_nothing {
        return Err(format!("the metric name {:?} cannot be brought over", head(name)));
    }
    Ok(translated)
}

/// What the metadata say of the unit.
pub(super) fn unit(unit: &str) -> String {
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let whole = if !main.is_empty() && !per.is_empty() { format!("{main}_{per}") } else { main + &per };
    let whole = whole.strip_prefix('_').unwrap_or(&whole);
    whole.strip_suffix('_').unwrap_or(whole).to_owned()
}

/// A label's name.
///
/// # Errors
/// Why there is none.
pub(super) fn label(name: &str, strategy: TranslationStrategy) -> Result<Cow<'_, str>, String> {
    if name.is_empty() {
        return Err("the name of an attribute is empty".to_owned());
    }
    if !strategy.escapes() {
        return Ok(Cow::Borrowed(name));
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut escaped = match name.chars().all(is_good) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.chars().map(|c| if is_good(c) { c } else { '_' }).collect()),
    };
    if escaped.bytes().all(|b| b == b'_') {
        return Err(format!("the attribute {:?} gives no label name", head(name)));
    }
    if escaped.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        escaped = Cow::Owned(format!("key_{escaped}"));
    } else if escaped.starts_with('_') && !escaped.starts_with("__") {
        escaped = Cow::Owned(format!("key{escaped}"));
    }
    Ok(escaped)
}

fn escaped_with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let mut tokens: Vec<&str> = name.split(|c| !is_good(c)).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let mut main = if tokens.contains(&main.as_str()) { "" } else { main.as_str() };
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if tokens.contains(&per) { "" } else { per };
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|suffix| !suffix.is_empty()));
    let at_the_end = match kind {
        NameKind::Counter => Some("total"),
        // Counters of things often have the unit 1 too, but they are no ratios.
        NameKind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(suffix) = at_the_end {
        tokens.retain(|token| *token != suffix);
        tokens.push(suffix);
    }
    not_digit_first(tokens.join("_"))
}

/// Adds suffixes to a name that stays as it is, but for those that it has already.
fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let at_the_end = match kind {
        NameKind::Counter => "total",
        NameKind::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    let (main, per) = unit_suffixes(unit);
    let mut name = without_suffix(without_suffix(name, at_the_end), &per).to_owned();
    if name.ends_with(main.as_ref()) {
        // It says its unit already.
    } else {
        name = format!("{name}_{main}");
    }
    for suffix in [per.as_ref(), at_the_end] {
        if !suffix.is_empty() {
            name = format!("{name}_{suffix}");
        }
    }
    name
}

/// Without a suffix and the character before it, unless nothing would be left.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    if suffix.is_empty() {
        return name;
    }
    let Some(rest) = name.strip_suffix(suffix) else { return name };
    let mut rest_chars = rest.chars();
    rest_chars.next_back();
    if rest_chars.as_str().is_empty() { name } else { rest_chars.as_str() }
}

/// Of `By/s`: `bytes` and `per_second`.
fn unit_suffixes(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let known = |unit: &str, units: &[(&'static str, &'static str)]| {
        units.iter().find(|(short, _)| *short == unit).map(|(_, long)| *long)
    };
    let is_annotation = |unit: &str| unit.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if is_annotation(main) { "" } else { known(main, &UNITS).unwrap_or(main) };
    let per = match is_annotation(per) || per.is_empty() {
        true => Cow::Borrowed(""),
        false => Cow::Owned(format!("per_{}", known(per, &UNITS_AFTER_PER).unwrap_or(per))),
    };
    (Cow::Borrowed(main), per)
}

fn clean_unit(unit: &str) -> String {
    let mut clean = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_good(c) {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean.strip_prefix('_').map(str::to_owned).unwrap_or(clean)
}

fn is_good(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn join(name: &str, is_good: impl Fn(char) -> bool) -> String {
    name.split(|c| !is_good(c)).filter(|token| !token.is_empty()).collect::<Vec<_>>().join("_")
}

fn not_digit_first(name: String) -> String {
    if name.as_bytes().first().is_some_and(u8::is_ascii_digit) { format!("_{name}") } else { name }
}

fn head(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Counter, Gauge, Other};
    use TranslationStrategy::{
        NoTranslation, NoUTF8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes,
    };

    #[test]
    fn names_of_metrics() {
        for (name, unit, kind, strategy, wanted) in [
            ("requests", "", Counter, UnderscoreEscapingWithSuffixes, "requests_total"),
            ("requests_total", "", Counter, UnderscoreEscapingWithSuffixes, "requests_total"),
            ("total.requests", "", Counter, UnderscoreEscapingWithSuffixes, "requests_total"),
            ("cpu_usage", "1", Gauge, UnderscoreEscapingWithSuffixes, "cpu_usage_ratio"),
            ("items", "1", Counter, UnderscoreEscapingWithSuffixes, "items_total"),
            ("http.server.duration", "s", Other, UnderscoreEscapingWithSuffixes, "http_server_duration_seconds"),
            ("response_time_seconds", "s", Other, UnderscoreEscapingWithSuffixes, "response_time_seconds"),
            ("requests", "1/s", Other, UnderscoreEscapingWithSuffixes, "requests_per_second"),
            ("throughput", "By/s", Gauge, UnderscoreEscapingWithSuffixes, "throughput_bytes_per_second"),
            ("in_flight", "{requests}", Gauge, UnderscoreEscapingWithSuffixes, "in_flight"),
            ("x", "By/{request}", Gauge, UnderscoreEscapingWithSuffixes, "x_bytes"),
            ("1st.of__many", "", Gauge, UnderscoreEscapingWithSuffixes, "_1st_of_many"),
            ("m", "u@w#s/c", Gauge, UnderscoreEscapingWithSuffixes, "m_u_w_s_per_c"),
            ("a.b__c", "s", Counter, UnderscoreEscapingWithoutSuffixes, "a_b__c"),
            ("1a", "s", Counter, UnderscoreEscapingWithoutSuffixes, "_1a"),
            ("a.bé", "s", Counter, NoTranslation, "a.bé"),
            ("a.b", "By", Counter, NoUTF8EscapingWithSuffixes, "a.b_bytes_total"),
            ("cpu.seconds.total", "s", Counter, NoUTF8EscapingWithSuffixes, "cpu.seconds_total"),
            ("r", "By/s", Counter, NoUTF8EscapingWithSuffixes, "r_bytes_per_second_total"),
            ("use.ratio", "1", Gauge, NoUTF8EscapingWithSuffixes, "use_ratio"),
            ("aétotal", "", Counter, NoUTF8EscapingWithSuffixes, "a_total"),
            ("___", "", Gauge, UnderscoreEscapingWithoutSuffixes, "___"),
        ] {
            assert_eq!(metric(name, unit, kind, strategy).as_deref(), Ok(wanted), "{name} {unit}");
        }
        for (name, strategy) in
            [("@#", UnderscoreEscapingWithSuffixes), ("", NoTranslation), ("@_#", UnderscoreEscapingWithoutSuffixes)]
        {
            assert!(metric(name, "", Gauge, strategy).is_err(), "{name}");
        }
    }

    #[test]
    fn names_of_labels_and_units() {
        for (name, wanted) in [
            ("http.method", Ok("http_method")),
            ("ok__1", Ok("ok__1")),
            ("1st", Ok("key_1st")),
            ("_x", Ok("key_x")),
            ("__x__", Ok("__x__")),
            ("é", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(label(name, UnderscoreEscapingWithSuffixes).as_deref().map_err(|_| ()), wanted, "{name}");
        }
        assert_eq!(label("_é", NoTranslation).as_deref(), Ok("_é"));
        for (otlp, wanted) in
            [("s", "seconds"), ("1", ""), ("By/s", "bytes_per_second"), ("1/s", "per_second"), ("{x}", "")]
        {
            assert_eq!(unit(otlp), wanted);
        }
    }
}
