//! Numbers as Go reads and writes them.

/// The NaN that Prometheus stores for every NaN that it is shown; its stale marker is another one.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// A number as `strconv.ParseFloat` reads it, without the forms of newer versions (`0x1p-2`, `1_000`).
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']);
    let first = unsigned.unwrap_or(text).bytes().next()?.to_ascii_lowercase();
    if first == b'n' && unsigned.is_some() {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // What is too large for a double is an error there, not infinity.
    if value.is_infinite() && first != b'i' {
        return None;
    }
    Some(canonical(value))
}

/// The one NaN for every NaN.
pub(super) fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NAN_BITS) } else { value }
}

/// The canonical form of the values of `le` and `quantile`: `1` is `1.0`, a million is `1e+06`.
pub(super) fn open_metrics(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Where Go's `%g` turns to exponents when it writes as few digits as it can.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", Some(1.0)),
            ("-1.5e3", Some(-1500.0)),
            (".5", Some(0.5)),
            ("+Inf", Some(f64::INFINITY)),
            ("-infinity", Some(f64::NEG_INFINITY)),
            ("1e400", None),
            ("0x10", None),
            ("1_000", None),
            ("-NaN", None),
            ("", None),
            ("1e", None),
        ] {
            assert_eq!(float(text.as_bytes()), value, "{text}");
        }
        assert_eq!(float(b"nan").map(f64::to_bits), Some(NAN_BITS));
    }

    #[test]
    fn numbers_are_written_as_open_metrics_has_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (0.99, "0.99"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(open_metrics(value), text);
        }
    }
}
