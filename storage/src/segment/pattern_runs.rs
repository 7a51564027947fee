//! How many rows of each run have each pattern: what counting by what patterns decide needs, without reading a row.

use super::runs::{put, take};
use crate::patterns::Verdict;
use crate::read::Run;

/// For each pattern, the runs that have it, and in how many rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatternRuns {
    /// For each pattern, where its entries end.
    ends: Vec<u32>,
    /// (run, rows), ascending by run within a pattern.
    entries: Vec<(u32, u32)>,
}

/// Of each run, how many rows the patterns decide, and how many they leave open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Rows that every verdict lets pass.
    pub passing: Vec<u32>,
    /// Rows that must be read.
    pub open: Vec<u32>,
}

impl PatternRuns {
    /// Counts the rows of `runs`, which cover all of `numbers`, the patterns' numbers by row, below `patterns`.
    pub(crate) fn count(runs: &[Run], numbers: &[i32], patterns: usize) -> Self {
        let mut rows: Vec<u32> = vec![0; patterns];
        let mut touched: Vec<u32> = Vec::new();
        let mut by_run: Vec<(u32, u32, u32)> = Vec::new();
        let mut counts: Vec<u32> = vec![0; patterns];
        for (run, at) in runs.iter().zip(0..) {
            for &number in numbers.get(run.rows.start as usize..run.rows.end as usize).unwrap_or_default() {
                let Some(count) = rows.get_mut(number as usize) else { continue };
                if *count == 0 {
                    touched.push(number as u32);
                }
                *count += 1;
            }
            for pattern in touched.drain(..) {
                by_run.push((pattern, at, std::mem::take(&mut rows[pattern as usize])));
                counts[pattern as usize] += 1;
            }
        }
        let mut ends = counts;
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total;
        }
        // Runs come in ascending order, so each pattern's do.
        let mut next: Vec<u32> = std::iter::once(0).chain(ends.iter().copied()).collect();
        let mut entries = vec![(0, 0); by_run.len()];
        for (pattern, run, count) in by_run {
            let at = &mut next[pattern as usize];
            entries[*at as usize] = (run, count);
            *at += 1;
        }
        Self { ends, entries }
    }

    /// Packs: count of patterns; for each, how many runs, then for each run its number minus the one before, and its rows;
    /// all as variable-length integers.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * 3);
        put(&mut out, self.ends.len() as u64);
        for pattern in 0..self.ends.len() {
            let entries = self.of(pattern);
            put(&mut out, entries.len() as u64);
            let mut before = 0;
            for &(run, _) in entries {
                put(&mut out, u64::from(run - before));
                before = run;
            }
            entries.iter().for_each(|(_, rows)| put(&mut out, u64::from(*rows)));
        }
        out
    }

    /// The reverse of [`Self::pack`]; `None` if the bytes do not hold counts of so many patterns and runs.
    pub(crate) fn unpack(bytes: &[u8], patterns: usize, runs: usize) -> Option<Self> {
        let mut rest = bytes;
        if take(&mut rest)? != patterns as u64 {
            return None;
        }
        let mut unpacked = Self { ends: Vec::with_capacity(patterns), entries: Vec::with_capacity(bytes.len() / 2) };
        for _ in 0..patterns {
            let count = usize::try_from(take(&mut rest)?).ok().filter(|count| *count <= runs)?;
            let start = unpacked.entries.len();
            let mut run = 0_u32;
            for _ in 0..count {
                run = run.checked_add(u32::try_from(take(&mut rest)?).ok()?).filter(|run| (*run as usize) < runs)?;
                unpacked.entries.push((run, 0));
            }
            for entry in unpacked.entries.get_mut(start..)? {
                entry.1 = u32::try_from(take(&mut rest)?).ok()?;
            }
            unpacked.ends.push(unpacked.entries.len() as u32);
        }
        rest.is_empty().then_some(unpacked)
    }

    /// What `verdicts`, one for each pattern, say of `runs`, which are those that were counted.
    pub fn decide(&self, verdicts: &[Verdict], runs: &[Run]) -> Decided {
        let entries = |wanted: Verdict| {
            let of_verdict = verdicts.iter().enumerate().filter(move |(_, verdict)| **verdict == wanted);
            of_verdict.flat_map(|(pattern, _)| self.of(pattern))
        };
        let count = |wanted: Verdict| -> usize { entries(wanted).count() };
        let mut open = vec![0; runs.len()];
        let add = |to: &mut Vec<u32>, (run, rows): &(u32, u32)| {
            if let Some(to) = to.get_mut(*run as usize) {
                *to += rows;
            }
        };
        entries(Verdict::Perhaps).for_each(|entry| add(&mut open, entry));
        let mut passing;
        if count(Verdict::Always) <= count(Verdict::Never) {
            passing = vec![0; runs.len()];
            entries(Verdict::Always).for_each(|entry| add(&mut passing, entry));
        } else {
            let mut others = open.clone();
            entries(Verdict::Never).for_each(|entry| add(&mut others, entry));
            passing = runs
                .iter()
                .zip(others)
                .map(|(run, others)| (run.rows.end - run.rows.start).saturating_sub(others))
                .collect();
        }
        Decided { passing, open }
    }

    fn of(&self, pattern: usize) -> &[(u32, u32)] {
        let end = |pattern: usize| self.ends.get(pattern).map_or(0, |end| *end as usize);
        self.entries.get(pattern.checked_sub(1).map_or(0, end)..end(pattern)).unwrap_or_default()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.ends.len() * 4 + self.entries.len() * 8
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_decided_as_if_each_row_was_looked_at(
            lengths in prop::collection::vec(1_u32..30, 0..12),
            numbers in prop::collection::vec(0_i32..5, 360),
            verdicts in prop::collection::vec(select(vec![Verdict::Never, Verdict::Perhaps, Verdict::Always]), 5),
        ) {
            let mut end = 0;
            let runs: Vec<Run> = lengths.iter().map(|length| {
                end += length;
                Run { stream: 0, rows: end - length..end, first: 0, last: 0, message_bytes: 0 }
            }).collect();
            let numbers = &numbers[..end as usize];
            let counted = PatternRuns::count(&runs, numbers, 5);
            let packed = counted.pack();
            prop_assert_eq!(PatternRuns::unpack(&packed, 5, runs.len()).unwrap(), counted.clone());
            prop_assert_eq!(PatternRuns::unpack(&packed, 4, runs.len()), None);
            let rows = |run: &Run, wanted: Verdict| {
                let of_run = &numbers[run.rows.start as usize..run.rows.end as usize];
                of_run.iter().filter(|number| verdicts[**number as usize] == wanted).count() as u32
            };
            let decided = counted.decide(&verdicts, &runs);
            for (at, run) in runs.iter().enumerate() {
                prop_assert_eq!(decided.passing[at], rows(run, Verdict::Always));
                prop_assert_eq!(decided.open[at], rows(run, Verdict::Perhaps));
            }
        }

        #[test]
        fn bytes_that_are_no_counts_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(counts) = PatternRuns::unpack(&bytes, 3, 4) {
                prop_assert_eq!(counts.ends.len(), 3);
                prop_assert!(counts.entries.iter().all(|(run, _)| *run < 4));
            }
        }
    }
}
