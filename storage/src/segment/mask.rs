//! Rows of a segment that deletions took: hidden from every reader, by cutting them out of its runs and of what is read.

use std::ops::Range;

use super::reader::Segment;
use crate::error::StorageError;
use crate::ranges::{rows_in, united, without};
use crate::read::{Projection, Run};

impl Segment {
    /// Hides rows, `masked` in any order: no query sees them. Reads the runs that they are of.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when these runs cannot be read.
    pub(crate) fn mask(&mut self, masked: &[Range<u32>]) -> Result<(), StorageError> {
        let masked = united(masked);
        let mut runs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let present = without(std::slice::from_ref(&run.rows), &masked);
            if present.first() == Some(&run.rows) {
                runs.push(run.clone());
                continue;
            }
            if !present.is_empty() {
                self.cut(run, &present, &mut runs)?;
            }
        }
        self.present = without(&self.present, &masked);
        self.runs = runs;
        Ok(())
    }

    /// The pieces of a run that are left.
    fn cut(&self, run: &Run, present: &[Range<u32>], out: &mut Vec<Run>) -> Result<(), StorageError> {
        let projection = Projection { message: true, ..Projection::default() };
        let mut rows: Vec<(i64, u64)> = Vec::with_capacity((run.rows.end - run.rows.start) as usize);
        for piece in self.read(std::slice::from_ref(&run.rows), &projection)? {
            let piece = piece?;
            let message_bytes = |at: usize| piece.message.as_ref().map_or(0, |message| message.value_length(at) as u64);
            rows.extend(piece.timestamp.values().iter().enumerate().map(|(at, time)| (*time, message_bytes(at))));
        }
        for left in present {
            let of_left = rows.get((left.start - run.rows.start) as usize..(left.end - run.rows.start) as usize);
            let of_left = of_left.unwrap_or_default();
            let (first, last) = (of_left.first().map_or(0, |row| row.0), of_left.last().map_or(0, |row| row.0));
            let message_bytes = of_left.iter().map(|row| row.1).sum();
            out.push(Run { stream: run.stream, rows: left.clone(), first, last, message_bytes });
        }
        Ok(())
    }

    /// The rows that are there.
    pub(crate) fn present(&self) -> &[Range<u32>] {
        &self.present
    }

    /// Whether rows are hidden.
    pub(crate) fn is_masked(&self) -> bool {
        rows_in(&self.present) != u64::from(self.meta().rows)
    }
}
