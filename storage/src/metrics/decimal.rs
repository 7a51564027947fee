//! Doubles as whole numbers. Most samples are decimal fractions of few digits, and neighbours of a series are near each
//! other: as `base + digits * factor`, divided by a power of ten, they need a few bits each, and come back bit for bit.
//!
//! After the idea of ALP (Afroozeh, Kuffo, Boncz: "ALP: Adaptive Lossless floating-Point Compression", 2023).

/// Whole numbers below it are doubles without loss.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;
/// Most digits after the point that are tried.
const SCALE_MAX: usize = 14;
/// Of so many values one may be no decimal.
const EXCEPTION_SHARE: usize = 8;
/// Digits go on from series to series while they are below this.
const RUNNING_MAX: i64 = 1 << 48;

const POWERS: [f64; SCALE_MAX + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// How the values of a series are whole numbers: `value = (base + digits * factor) / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) base: i64,
    pub(crate) factor: i64,
    pub(crate) scale: u8,
}

impl Decimal {
    /// The values of a series whose digits are `digits`.
    pub(crate) fn values(self, digits: &[i64], values: &mut Vec<f64>) {
        let Self { base, factor, scale } = self;
        let whole = |&d: &i64| base.wrapping_add(d.wrapping_mul(factor)) as f64;
        match scale {
            0 => values.extend(digits.iter().map(whole)),
            scale => {
                let power = POWERS[usize::from(scale)];
                values.extend(digits.iter().map(|d| whole(d) / power));
            }
        }
    }
}

/// Finds how `values` are decimals and appends their digits; a value that is none gets the digits of the one before it,
/// and its index goes to `exceptions`. The digits go on from `last`, so that nothing jumps where series meet. `None`, with
/// nothing appended, when too many values are no decimals.
pub(crate) fn digits_of(
    values: &[f64],
    last: i64,
    digits: &mut Vec<i64>,
    exceptions: &mut Vec<u32>,
) -> Option<Decimal> {
    let begun = digits.len();
    let scale = scale_of(values)?;
    let power = POWERS[scale];
    let mut previous = None;
    let mut factor = 0_u64;
    let mut first = None;
    for (at, &value) in values.iter().enumerate() {
        match whole(value, power) {
            Some(number) => {
                let step = previous.map_or(0, |previous: i64| number.abs_diff(previous));
                factor = if factor == 1 || step == 0 { factor } else { gcd(factor, step) };
                previous = Some(number);
                first.get_or_insert(number);
                digits.push(number);
            }
            None => {
                exceptions.push(at as u32);
                digits.push(i64::MIN);
            }
        }
    }
    let first = first.unwrap_or_default();
    let factor = i64::try_from(factor.max(1)).unwrap_or(1);
    // Bounds keep `base + digits * factor` far from the ends of its range.
    let last =
        if last.abs() < RUNNING_MAX && last.checked_mul(factor).is_some_and(|p| p.abs() < 1 << 60) { last } else { 0 };
    let mut known = last;
    for number in &mut digits[begun..] {
        if *number != i64::MIN {
            known = last + (*number - first) / factor;
        }
        *number = known;
    }
    Some(Decimal { base: first - last * factor, factor, scale: scale as u8 })
}

/// The least scale at which the values are whole; `None` when too many are at none.
fn scale_of(values: &[f64]) -> Option<usize> {
    let (mut scale, mut failed) = (0, 0);
    let allowed = values.len() / EXCEPTION_SHARE;
    for &value in values {
        if whole(value, POWERS[scale]).is_some() {
            continue;
        }
        match (scale + 1..=SCALE_MAX).find(|&more| whole(value, POWERS[more]).is_some()) {
            Some(more) => scale = more,
            None => failed += 1,
        }
        if failed > allowed {
            return None;
        }
    }
    // A large value that was whole at a small scale need not be at a larger one.
    let lost = values.iter().filter(|&&value| whole(value, POWERS[scale]).is_none()).count();
    (lost <= allowed).then_some(scale)
}

/// The value as so many units of `1 / power`, if it comes back from them bit for bit.
#[inline]
fn whole(value: f64, power: f64) -> Option<i64> {
    let number = (value * power).round_ties_even();
    let comes_back = number.abs() < WHOLE_MAX && (number as i64 as f64 / power).to_bits() == value.to_bits();
    comes_back.then_some(number as i64)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value_of(decimal: Decimal, digits: i64) -> f64 {
        let mut values = Vec::new();
        decimal.values(&[digits], &mut values);
        values[0]
    }

    fn check(values: &[f64], last: i64, is_decimal: bool) {
        let (mut digits, mut exceptions) = (vec![7], Vec::new());
        let decimal = digits_of(values, last, &mut digits, &mut exceptions);
        assert_eq!(decimal.is_some(), is_decimal, "{values:?}");
        let Some(decimal) = decimal else { return assert_eq!(digits, [7]) };
        assert_eq!(digits.len(), values.len() + 1);
        for (at, (&value, &digits)) in values.iter().zip(&digits[1..]).enumerate() {
            if !exceptions.contains(&(at as u32)) {
                assert_eq!(value_of(decimal, digits).to_bits(), value.to_bits(), "{values:?} at {at}");
            }
        }
    }

    #[test]
    fn decimals_come_back() {
        check(&[0.1, 0.25, -3.0, 1e6], 0, true);
        check(&[4096.0, 8192.0, 4096.0 * 77.0], 123, true);
        check(&[f64::NAN; 3], 0, false);
        check(&[1.0 / 3.0, 2.0 / 3.0, 0.123_456_789_012_345_67], 0, false);
        check(&[], 5, true);
        check(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, f64::NAN], 0, true);
        check(&[9_007_199_254_740_991.0, 0.01], 0, false);
        let (mut digits, mut exceptions) = (Vec::new(), Vec::new());
        let decimal = digits_of(&[100_001.0, 100_001.0 + 4096.0, 100_001.0 + 8192.0], 40, &mut digits, &mut exceptions);
        assert_eq!(decimal.unwrap().factor, 4096);
        assert_eq!(digits, [40, 41, 42]);
    }

    proptest! {
        #[test]
        fn any_values_come_back(
            whole in prop::collection::vec(-1_000_000_000_000_i64..1_000_000_000_000, 0..40),
            scale in 0..10_usize,
            any in any::<f64>(),
            last in any::<i64>(),
        ) {
            let mut values: Vec<f64> = whole.iter().map(|&n| n as f64 / POWERS[scale]).collect();
            check(&values, last, true);
            values.push(-0.0);
            values.push(any);
            let (mut digits, mut exceptions) = (Vec::new(), Vec::new());
            if let Some(decimal) = digits_of(&values, last, &mut digits, &mut exceptions) {
                for (at, &value) in values.iter().enumerate() {
                    prop_assert!(exceptions.contains(&(at as u32)) || value_of(decimal, digits[at]).to_bits() == value.to_bits());
                }
            }
        }
    }
}
