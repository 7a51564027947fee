//! Rows as small numbers: rows with the same number are the same to a query that looks at a few labels only.
//!
//! Filters and groupings of such a query are then worked out once for each distinct combination of values, not for
//! each row. Numbers stay the same over all parts that one thread reads.

use arrow::array::{Array, Int32Array, StringArray};
use rustc_hash::FxHashMap;
use storage::{Rows, Stream};

use super::interner::Interner;
use crate::metadata::{Column, LEVEL, OBSERVED, PATTERN, RowsView};

/// Combinations beyond which everything is forgotten, so that memory stays bounded.
const COMBINATIONS_MAX: usize = 1 << 21;
/// Labels that are columns of their own.
const FIXED: [&str; 3] = [LEVEL, OBSERVED, PATTERN];
/// A dictionary's value that was not looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// Numbers for the values of some labels.
#[derive(Debug)]
pub(super) struct Coder {
    names: Vec<String>,
    slots: Vec<Slot>,
    /// For each slot behind the first in use, the numbers of (number so far, the slot's value).
    pairs: Vec<FxHashMap<(u32, u32), u32>>,
    streams: Interner,
    combinations: usize,
    /// What the last stream said, and its number.
    said: (Vec<u8>, Option<u32>),
    scratch: Vec<u8>,
    column: Vec<u32>,
}

/// What one label, the level, the observed time or the pattern had as values.
#[derive(Debug, Default)]
struct Slot {
    /// Some rows had it; from then on it takes part in every number.
    in_use: bool,
    texts: Interner,
    /// The number of each text, where there are numbers among the values; without, they are counted from 1.
    text_codes: Vec<u32>,
    numbers: FxHashMap<(u8, u64), u32>,
    dictionary: Dictionary,
}

/// The numbers of a dictionary's values.
#[derive(Debug, Default)]
struct Dictionary {
    /// Holds on to the values, so that their place says which they are.
    values: Option<StringArray>,
    codes: Vec<u32>,
}

impl Coder {
    /// For queries that look at these labels.
    pub(super) fn new(names: Vec<String>) -> Self {
        let slots = (0..names.len() + FIXED.len()).map(|_| Slot::default()).collect();
        Self {
            pairs: (0..names.len() + FIXED.len()).map(|_| FxHashMap::default()).collect(),
            names,
            slots,
            streams: Interner::default(),
            combinations: 0,
            said: (Vec::new(), None),
            scratch: Vec::new(),
            column: Vec::new(),
        }
    }

    /// True if so many values came by that the numbers should begin anew.
    pub(super) fn is_full(&self) -> bool {
        self.combinations > COMBINATIONS_MAX
    }

    /// The number of what a stream says to the labels.
    pub(super) fn stream(&mut self, stream: &Stream) -> u32 {
        self.scratch.clear();
        for set in [stream.labels(), stream.resource()] {
            for (at, name) in self.names.iter().enumerate() {
                if let Some(value) = set.get_bytes(name) {
                    put_length(at + 1, &mut self.scratch);
                    put_length(value.len(), &mut self.scratch);
                    self.scratch.extend_from_slice(value);
                }
            }
            put_length(0, &mut self.scratch);
        }
        // Streams are sorted: neighbours often say the same.
        if let (said, Some(code)) = &self.said
            && *said == self.scratch
        {
            return *code;
        }
        let (code, is_new) = self.streams.intern(&self.scratch);
        self.combinations += usize::from(is_new);
        std::mem::swap(&mut self.said.0, &mut self.scratch);
        self.said.1 = Some(code);
        code
    }

    /// The numbers of the rows at `selected`, by what they have beside their stream; 0 has nothing. True if numbers that
    /// were given before have lost their meaning.
    pub(super) fn rows(&mut self, rows: &Rows, view: &RowsView<'_>, selected: &[u32], codes: &mut Vec<u32>) -> bool {
        codes.clear();
        let mut anew = false;
        let mut first = true;
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            let before = slot.texts.len() + slot.numbers.len();
            self.column.clear();
            let is_there = match self.names.get(at) {
                Some(name) => view.column(name).is_some_and(|column| {
                    slot.column(column, selected, &mut self.column);
                    true
                }),
                None => slot.fixed((rows, view), at - self.names.len(), &self.names, selected, &mut self.column),
            };
            self.combinations += slot.texts.len() + slot.numbers.len() - before;
            if is_there && !slot.in_use {
                slot.in_use = true;
                anew = true;
            }
            if !slot.in_use {
                continue;
            }
            self.column.resize(selected.len(), 0);
            if std::mem::take(&mut first) {
                std::mem::swap(codes, &mut self.column);
                continue;
            }
            let pairs = &mut self.pairs[at];
            let before = pairs.len();
            for (code, value) in codes.iter_mut().zip(&self.column) {
                let next = pairs.len() as u32 + 1;
                *code = if (*code, *value) == (0, 0) { 0 } else { *pairs.entry((*code, *value)).or_insert(next) };
            }
            self.combinations += pairs.len() - before;
        }
        codes.resize(selected.len(), 0);
        anew
    }
}

/// Appends a number as LEB128: short, so that what a stream says is, too.
fn put_length(mut number: usize, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

impl Slot {
    fn column(&mut self, column: &Column<'_>, selected: &[u32], codes: &mut Vec<u32>) {
        match column {
            Column::Dictionary { keys, values } => self.dictionary(keys, values, selected, codes),
            Column::Text(array) => self.each(array, selected, codes, |slot, at| slot.text(array.value(at).as_bytes())),
            Column::Bytes(array) => self.each(array, selected, codes, |slot, at| slot.text(array.value(at))),
            Column::Hex(array) => self.each(array, selected, codes, |slot, at| slot.text(array.value(at))),
            Column::Int(array) => self.each(array, selected, codes, |slot, at| slot.number(0, array.value(at) as u64)),
            Column::Double(array) => {
                self.each(array, selected, codes, |slot, at| slot.number(1, array.value(at).to_bits()));
            }
            Column::Bool(array) => self.each(array, selected, codes, |slot, at| slot.number(2, array.value(at).into())),
        }
    }

    /// The level, the observed time and the pattern, which are columns of their own.
    fn fixed(
        &mut self,
        (rows, view): (&Rows, &RowsView<'_>),
        which: usize,
        names: &[String],
        selected: &[u32],
        codes: &mut Vec<u32>,
    ) -> bool {
        let wanted = FIXED[which];
        if !names.iter().any(|name| name == wanted) {
            return false;
        }
        match (which, &rows.level, &rows.observed) {
            (0, Some(level), _) => {
                codes.extend(selected.iter().map(|at| u32::from(level.value(*at as usize)) + 1));
                true
            }
            (1, _, Some(observed)) => {
                self.each(observed, selected, codes, |slot, at| slot.number(0, observed.value(at) as u64));
                true
            }
            (2, ..) => view.pattern_column().is_some_and(|column| {
                self.column(column, selected, codes);
                true
            }),
            _ => false,
        }
    }

    fn each(
        &mut self,
        array: &dyn Array,
        selected: &[u32],
        codes: &mut Vec<u32>,
        code: impl Fn(&mut Self, usize) -> u32,
    ) {
        let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
            codes.extend(selected.iter().map(|&at| code(self, at as usize)));
            return;
        };
        if selected.len() == array.len() {
            // Going from value to value spares a guess for each row.
            codes.resize(array.len(), 0);
            nulls.valid_indices().for_each(|at| codes[at] = code(self, at));
            return;
        }
        codes.extend(selected.iter().map(|&at| if nulls.is_null(at as usize) { 0 } else { code(self, at as usize) }));
    }

    fn dictionary(&mut self, keys: &Int32Array, values: &StringArray, selected: &[u32], codes: &mut Vec<u32>) {
        let known = self.dictionary.values.as_ref().is_some_and(|known| is_same(known, values));
        if !known {
            self.dictionary.codes.clear();
            self.dictionary.codes.resize(values.len(), UNKNOWN);
            self.dictionary.values = Some(values.clone());
        }
        let no_nulls = keys.null_count() == 0;
        for &at in selected {
            let at = at as usize;
            if !no_nulls && keys.is_null(at) {
                codes.push(0);
                continue;
            }
            let key = keys.value(at) as usize;
            let mut code = self.dictionary.codes[key];
            if code == UNKNOWN {
                code = self.text(values.value(key).as_bytes());
                self.dictionary.codes[key] = code;
            }
            codes.push(code);
        }
    }

    fn text(&mut self, text: &[u8]) -> u32 {
        let (number, is_new) = self.texts.intern(text);
        if self.numbers.is_empty() {
            return number + 1;
        }
        if is_new {
            self.text_codes.push((self.texts.len() + self.numbers.len()) as u32);
        }
        self.text_codes[number as usize]
    }

    fn number(&mut self, kind: u8, bits: u64) -> u32 {
        if self.numbers.is_empty() {
            self.text_codes = (1..=self.texts.len() as u32).collect();
        }
        let next = (self.texts.len() + self.numbers.len()) as u32 + 1;
        *self.numbers.entry((kind, bits)).or_insert(next)
    }
}

/// Whether two arrays are the same values at the same place.
fn is_same(a: &StringArray, b: &StringArray) -> bool {
    a.len() == b.len()
        && a.values().as_ptr() == b.values().as_ptr()
        && a.offsets().inner().inner().as_ptr() == b.offsets().inner().inner().as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_of_a_label_have_different_numbers() {
        let mut slot = Slot::default();
        assert_eq!([slot.text(b"a"), slot.text(b"b"), slot.text(b"a")], [1, 2, 1]);
        assert_eq!([slot.number(0, 5), slot.text(b"b"), slot.text(b"c")], [3, 2, 4]);
        assert_eq!([slot.number(0, 5), slot.number(1, 5), slot.text(b"d"), slot.text(b"a")], [3, 5, 6, 1]);
    }
}
