//! Lists of ranges of rows: ascending, none empty.

use std::ops::Range;

/// How many rows ranges have.
pub(crate) fn rows_in(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
}

/// Ranges in order, those that touch as one.
pub(crate) fn united(ranges: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut sorted: Vec<Range<u32>> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut united: Vec<Range<u32>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match united.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}

/// What lies in both; all ascending, none empty.
pub fn within(ranges: &[Range<u32>], others: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut out = Vec::with_capacity(ranges.len());
    for range in ranges {
        let from = others.partition_point(|other| other.end <= range.start);
        for other in others.get(from..).unwrap_or_default().iter().take_while(|other| other.start < range.end) {
            out.push(range.start.max(other.start)..range.end.min(other.end));
        }
    }
    out
}

/// What lies in `ranges` alone; all ascending.
pub(crate) fn without(ranges: &[Range<u32>], others: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut out = Vec::new();
    for range in ranges {
        let mut start = range.start;
        let from = others.partition_point(|other| other.end <= range.start);
        for other in others.get(from..).unwrap_or_default().iter().take_while(|other| other.start < range.end) {
            if start < other.start {
                out.push(start..other.start);
            }
            start = other.end;
        }
        if start < range.end {
            out.push(start..range.end);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of one range")]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_united_and_cut() {
        assert_eq!(united(&[7..9, 1..3, 4..4, 3..5]), [1..5, 7..9]);
        assert_eq!(within(&[0..4, 6..9], &[2..7, 8..20]), [2..4, 6..7, 8..9]);
        assert_eq!(without(&[0..10, 20..22], &[0..1, 3..5, 9..21]), [1..3, 5..9, 21..22]);
        assert_eq!(without(&[0..3], &[]), [0..3]);
        assert_eq!(rows_in(&[0..3, 7..8]), 4);
    }
}
