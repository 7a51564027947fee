//! Times as senders write them, to nanoseconds since 1970.

/// The first nanosecond that is not taken: 2262-04-11, where 64 bits end.
const END_NS: i128 = i64::MAX as i128;

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by its size.
pub fn from_epoch(number: i64) -> Option<i64> {
    let scale: i128 = match number.unsigned_abs() {
        0..=99_999_999_999 => 1_000_000_000,
        100_000_000_000..=99_999_999_999_999 => 1_000_000,
        100_000_000_000_000..=99_999_999_999_999_999 => 1_000,
        _ => 1,
    };
    checked(i128::from(number) * scale)
}

/// Seconds since 1970 with a fraction, or as [`from_epoch`] if the number is larger than that.
pub fn from_epoch_f64(number: f64) -> Option<i64> {
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    if number >= 1e11 {
        return from_epoch(number as i64);
    }
    checked((number.trunc() as i128) * 1_000_000_000 + (number.fract() * 1e9).round() as i128)
}

fn checked(ns: i128) -> Option<i64> {
    (0..END_NS).contains(&ns).then_some(ns as i64)
}

/// RFC 3339 with any fraction and offset; a space instead of the `T` and a missing offset (UTC) are taken as well.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        b.get(from..to)?.iter().try_fold(0, |n, &c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| b.get(at).is_some_and(|c| wanted.contains(c));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0_i64;
    if is(at, b".,") {
        at += 1;
        let digits = b.get(at..)?.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        nanos = number(at, at + digits.min(9))? * 10_i64.pow(9 - digits.min(9) as u32);
        at += digits;
    }
    let offset_minutes = match b.get(at) {
        None => 0,
        Some(b'Z' | b'z') if b.len() == at + 1 => 0,
        Some(sign @ (b'+' | b'-')) => {
            let minutes_at = if is(at + 3, b":") { at + 4 } else { at + 3 };
            if b.len() != minutes_at + 2 {
                return None;
            }
            let minutes = number(at + 1, at + 3)? * 60 + number(minutes_at, minutes_at + 2)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        Some(_) => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    checked(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_in_all_its_forms() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2025-06-01T00:00:00.344239Z", Some(1_748_736_000_344_239_000)),
            ("2025-06-01 02:00:00.3+02:00", Some(1_748_736_000_300_000_000)),
            ("2025-05-31T19:30:00-0430", Some(1_748_736_000_000_000_000)),
            ("2024-02-29T23:59:60Z", Some(1_709_251_200_000_000_000)),
            ("2025-06-01T00:00:00.1234567891Z", Some(1_748_736_000_123_456_789)),
            ("2025-06-01T00:00:00", Some(1_748_736_000_000_000_000)),
            ("2025-02-29T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2300-01-01T00:00:00Z", None),
            ("2025-06-01T00:00:00.Z", None),
            ("2025-06-01T00:00:00Zjunk", None),
            ("not a time at all!!", None),
            ("", None),
        ] {
            assert_eq!(from_rfc3339(text), ns, "{text}");
        }
    }

    #[test]
    fn epochs_of_every_unit() {
        assert_eq!(from_epoch(1_748_736_000), Some(1_748_736_000_000_000_000));
        assert_eq!(from_epoch(1_748_736_000_344), Some(1_748_736_000_344_000_000));
        assert_eq!(from_epoch(1_748_736_000_344_239), Some(1_748_736_000_344_239_000));
        assert_eq!(from_epoch(1_748_736_000_344_239_001), Some(1_748_736_000_344_239_001));
        assert_eq!(from_epoch(-1), None);
        assert_eq!(from_epoch_f64(1_748_736_000.5), Some(1_748_736_000_500_000_000));
        assert_eq!(from_epoch_f64(f64::NAN), None);
    }
}
