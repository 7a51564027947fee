//! Floats as text, as Go writes them; and how they compare.

use storage::metrics::is_stale;

/// Go's `FormatFloat(x, 'f', -1, 64)`: how Loki and Prometheus write a sample's value. Never an exponent; `NaN`,
/// `+Inf`, `-Inf`.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// Go's `%v`, the shortest `%g`: with an exponent below 1e-4 and from 1e6 on.
pub fn format_float_general(value: f64) -> String {
    let plain = format_float(value);
    if !value.is_finite() || value == 0.0 {
        return plain;
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return plain };
    let Ok(exponent) = exponent.parse::<i32>() else { return plain };
    if (-4..6).contains(&exponent) {
        return plain;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// How Prometheus's HTTP API writes a number: with an exponent below 1e-6 and from 1e21 on.
pub fn format_float_api(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        return format_float_general(value);
    }
    format_float(value)
}

/// Whether two numbers differ by less than their sum times `epsilon`. All NaN are equal, but the stale marker equals
/// only itself.
pub fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain() {
        let check = |value: f64, text: &str| assert_eq!(format_float(value), text);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(0.1, "0.1");
        check(1e21, "1000000000000000000000");
        check(1e-7, "0.0000001");
        check(-2.5, "-2.5");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(1.0 / 3.0, "0.3333333333333333");
    }

    #[test]
    fn general() {
        let check = |value: f64, text: &str| assert_eq!(format_float_general(value), text);
        check(5.0, "5");
        check(123_456_789.0, "1.23456789e+08");
        check(100_000.0, "100000");
        check(1_000_000.0, "1e+06");
        check(1e-5, "1e-05");
        check(0.0001, "0.0001");
        check(-1.5e100, "-1.5e+100");
    }
}
