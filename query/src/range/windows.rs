//! Which steps a line counts for.

use storage::TimeRange;

/// The times at which a metric query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first, in nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds between two; above zero.
    pub step: i64,
    /// How many; at least one.
    pub count: u32,
}

impl Steps {
    /// The one step of an instant query.
    pub fn instant(time: i64) -> Self {
        Self { start: time, step: 1, count: 1 }
    }

    /// From `start` to `end`, both inside.
    pub fn range(start: i64, end: i64, step: i64) -> Self {
        let count = (i128::from(end) - i128::from(start)) / i128::from(step.max(1)) + 1;
        Self { start, step: step.max(1), count: u32::try_from(count.max(1)).unwrap_or(u32::MAX) }
    }

    /// The time of a step.
    pub fn time(&self, step: u32) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::from(step)))
    }

    fn last(&self) -> i64 {
        self.time(self.count - 1)
    }
}

/// The windows `(t - range - offset, t - offset]` of all steps `t`.
///
/// Lines mostly come in time order, so the steps of the last time that was asked about are kept together with the
/// times for which they stay the same.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    start: i128,
    step: i128,
    count: i128,
    range: i128,
    offset: i128,
    /// First and last time of which `known_steps` holds, both inside.
    known: (i64, i64),
    known_steps: Option<(u32, u32)>,
}

impl Windows {
    pub(super) fn new(steps: &Steps, range: i64, offset: i64) -> Self {
        // An instant query's step is free to choose; with this one the step and the window change together.
        let step = if steps.count == 1 { range.max(1) } else { steps.step };
        Self {
            start: steps.start.into(),
            step: step.into(),
            count: steps.count.into(),
            range: range.into(),
            offset: offset.into(),
            known: (1, 0),
            known_steps: None,
        }
    }

    /// First and last step that a line of that time counts for, if any.
    #[inline]
    pub(super) fn steps_of(&mut self, time: i64) -> Option<(u32, u32)> {
        if time < self.known.0 || time > self.known.1 {
            self.find(time);
        }
        self.known_steps
    }

    /// The last time that counts for the same steps as the one that was asked about last.
    pub(super) fn until(&self) -> i64 {
        self.known.1
    }

    /// The steps, if all times from `first` to `last` count for the same.
    pub(super) fn steps_of_all(&mut self, first: i64, last: i64) -> Option<Option<(u32, u32)>> {
        let steps = self.steps_of(first);
        (last <= self.known.1).then_some(steps)
    }

    fn find(&mut self, time: i64) {
        // Counted from the first step: i is the first step at or behind the line, j the last whose window reaches it.
        let at = i128::from(time) + self.offset - self.start;
        let first = ceil_div(at, self.step);
        let end = ceil_div(at + self.range, self.step);
        let from = (self.step * (first - 1)).max(self.step * (end - 1) - self.range) + 1;
        let to = (self.step * first).min(self.step * end - self.range);
        let clamp = |at: i128| (at - self.offset + self.start).clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.known = (clamp(from), clamp(to));
        let (first, last) = (first.max(0), (end - 1).min(self.count - 1));
        self.known_steps = (first <= last).then_some((first as u32, last as u32));
    }
}

/// All times that some window can reach.
pub(crate) fn reach(steps: &Steps, range: i64, offset: i64) -> TimeRange {
    let start = steps.start.saturating_sub(offset).saturating_sub(range).saturating_add(1);
    start..steps.last().saturating_sub(offset).saturating_add(1)
}

fn ceil_div(a: i128, b: i128) -> i128 {
    a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_are_those_whose_window_holds_the_time(
            start in -50_i64..50, step in 1_i64..20, count in 1_u32..12, range in 1_i64..60, offset in -30_i64..30,
            times in prop::collection::vec(-200_i64..300, 1..40),
        ) {
            let steps = Steps { start, step, count };
            let mut windows = Windows::new(&steps, range, offset);
            let naive = |time: i64| {
                let fits = |s: &u32| {
                    let at = steps.time(*s);
                    time > at - range - offset && time <= at - offset
                };
                let all: Vec<u32> = (0..count).filter(fits).collect();
                Some((*all.first()?, *all.last()?))
            };
            for &time in &times {
                prop_assert_eq!(windows.steps_of(time), naive(time));
                prop_assert!(naive(time).is_none() || reach(&steps, range, offset).contains(&time));
                if let Some(all) = windows.clone().steps_of_all(time, time + 7) {
                    prop_assert!((time..=time + 7).all(|t| naive(t) == all));
                }
            }
        }
    }
}
