//! Sums that keep what rounding drops: Kahan's summation as Neumaier improved it.

/// Adds `value` to `sum`; what rounding drops goes to `compensation`, which is added to the sum at the very end. An
/// infinite sum has no compensation.
#[inline]
pub fn increment(value: f64, sum: &mut f64, compensation: &mut f64) {
    let total = *sum + value;
    if total.is_infinite() {
        *compensation = 0.0;
    } else if sum.abs() >= value.abs() {
        *compensation += (*sum - total) + value;
    } else {
        *compensation += (value - total) + *sum;
    }
    *sum = total;
}
