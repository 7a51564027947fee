//! Where things are in the data folder.

use std::path::{Path, PathBuf};

use crate::segment::Signal;
use crate::tenant::Tenant;

/// Nanoseconds of a UTC day.
pub(crate) const DAY_NS: i64 = 86_400_000_000_000;

/// The UTC day of a time, as days since 1970.
pub(crate) fn day_of(time_ns: i64) -> i32 {
    time_ns.div_euclid(DAY_NS) as i32
}

/// The UTC day of a time in milliseconds, as days since 1970.
pub(crate) fn day_of_ms(time_ms: i64) -> i32 {
    time_ms.div_euclid(DAY_NS / 1_000_000).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// The folder of a tenant's segments of a day: `segments/<tenant>/<logs or metrics>/<YYYY-MM-DD>`.
pub(crate) fn segment_folder(data: &Path, tenant: &Tenant, signal: Signal, day: i32) -> PathBuf {
    data.join("segments").join(tenant.as_str()).join(signal.as_str()).join(date(day))
}

/// A segment's files without their extension.
pub(crate) fn segment_path(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id:016}"))
}

/// The date of a day, as `YYYY-MM-DD` (Howard Hinnant's `civil_from_days`).
pub(crate) fn date(day: i32) -> String {
    let shifted = i64::from(day) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(day_of(1_748_736_000_000_000_000)), "2025-06-01");
        assert_eq!(date(day_of(-1)), "1969-12-31");
        assert_eq!(date(19_782), "2024-02-29");
    }
}
