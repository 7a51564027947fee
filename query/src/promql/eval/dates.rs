//! Parts of dates, in UTC.

use chrono::{DateTime, Datelike, Timelike};

/// The functions of a date.
pub(super) fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "days_in_month" => |t| of(t, |date| f64::from(days_in_month(date.year(), date.month()))),
        "day_of_month" => |t| of(t, |date| f64::from(date.day())),
        "day_of_week" => |t| of(t, |date| f64::from(date.weekday().num_days_from_sunday())),
        "day_of_year" => |t| of(t, |date| f64::from(date.ordinal())),
        "hour" => |t| of(t, |date| f64::from(date.hour())),
        "minute" => |t| of(t, |date| f64::from(date.minute())),
        "month" => |t| of(t, |date| f64::from(date.month())),
        "year" => |t| of(t, |date| f64::from(date.year())),
        _ => return None,
    })
}

fn of(seconds: f64, part: fn(DateTime<chrono::Utc>) -> f64) -> f64 {
    DateTime::from_timestamp(seconds as i64, 0).map_or(f64::NAN, part)
}

fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}
