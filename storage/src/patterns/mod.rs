//! Patterns: what lines look like without their values, as `user <_> has logged in`.
//!
//! [`PatternMiner`] takes lines and says of each what its *form* is: its text with a wildcard for every word that looks like
//! a value. Forms that differ in what turns out to be a value become one *pattern*. Promise: the texts between the
//! wildcards of a line's pattern are in the line, in that order; memory is bounded whatever the lines are.
//!
//! The syntax is that of Loki's pattern filters: `|> "user <_> has logged in"`.

mod form;
mod group;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::{DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use self::form::FormMaker;

/// Stands for a value in a pattern.
pub const WILDCARD: &str = "<_>";
/// The pattern of a line when there are too many to tell apart.
const ANYTHING: &str = WILDCARD;
/// Forms beyond this are told apart by their first bytes only.
const FORMS_MAX: usize = 8_192;
/// Forms beyond this are [`ANYTHING`].
const SHORT_FORMS_MAX: usize = 2 * FORMS_MAX;
/// The first bytes of a form.
const SHORT_FORM_BYTES: usize = 24;

/// Finds the patterns of lines.
#[derive(Debug, Default)]
pub struct PatternMiner {
    maker: FormMaker,
    forms: Vec<(Box<str>, u64)>,
    numbers: HashTable<u32>,
}

impl PatternMiner {
    /// Takes a line; the number of its form.
    pub fn line(&mut self, line: &str) -> u32 {
        let form = self.maker.form(line);
        let number = number_of(&mut self.numbers, &mut self.forms, form);
        self.forms[number as usize].1 += 1;
        number
    }

    /// Takes a pattern that was found elsewhere in `count` lines; the number of its form.
    pub fn pattern(&mut self, pattern: &str, count: u64) -> u32 {
        let number = number_of(&mut self.numbers, &mut self.forms, pattern.as_bytes());
        self.forms[number as usize].1 += count;
        number
    }

    /// The patterns of all forms.
    pub fn finish(&self) -> Patterns {
        let forms: Vec<(&str, u64)> = self.forms.iter().map(|(form, count)| (form.as_ref(), *count)).collect();
        let (mut of_form, mut texts) = group::group(&forms);
        let mut lines: Vec<(u64, usize)> = (0..texts.len()).map(|pattern| (0, pattern)).collect();
        for ((_, count), pattern) in forms.iter().zip(&of_form) {
            lines[*pattern as usize].0 += count;
        }
        // Small numbers pack best.
        lines.sort_unstable_by_key(|(count, pattern)| (std::cmp::Reverse(*count), *pattern));
        let mut place: Vec<u32> = vec![0; texts.len()];
        (0..).zip(&lines).for_each(|(at, (_, pattern))| place[*pattern] = at);
        of_form.iter_mut().for_each(|pattern| *pattern = place[*pattern as usize]);
        texts = lines.iter().map(|(_, pattern)| std::mem::take(&mut texts[*pattern])).collect();
        Patterns { of_form, texts }
    }
}

/// What a [`PatternMiner`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// By number of form.
    of_form: Vec<u32>,
    texts: Vec<String>,
}

impl Patterns {
    /// The pattern of a form, by the number that the miner gave it; below [`Self::texts`]' length.
    pub fn of_form(&self, form: u32) -> usize {
        self.of_form.get(form as usize).copied().unwrap_or_default() as usize
    }

    /// The distinct patterns, the most frequent first.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The distinct patterns, the most frequent first.
    pub(crate) fn into_texts(self) -> Vec<String> {
        self.texts
    }

    /// The patterns of rows with these forms.
    pub(crate) fn column(&self, forms: &[u32]) -> DictionaryArray<Int32Type> {
        let keys = forms.iter().map(|form| self.of_form(*form) as i32);
        let texts = StringArray::from_iter_values(&self.texts);
        DictionaryArray::new(Int32Array::from_iter_values(keys), Arc::new(texts))
    }
}

fn number_of(numbers: &mut HashTable<u32>, forms: &mut Vec<(Box<str>, u64)>, form: &[u8]) -> u32 {
    let hash = hash(form);
    if let Some(number) = numbers.find(hash, |at| forms[*at as usize].0.as_bytes() == form) {
        return *number;
    }
    let text = match forms.len() {
        FORMS_MAX.. if form.len() > SHORT_FORM_BYTES && !form.ends_with(WILDCARD.as_bytes()) => {
            let text = String::from_utf8_lossy(form);
            let start = text.get(..text.floor_char_boundary(SHORT_FORM_BYTES)).unwrap_or_default();
            // A wildcard that is cut in two would be text.
            let start = start.trim_end_matches("<_").trim_end_matches('<');
            let short = format!("{start}{WILDCARD}").replace("<_><_>", WILDCARD);
            return number_of(numbers, forms, short.as_bytes());
        }
        SHORT_FORMS_MAX.. if form != ANYTHING.as_bytes() => {
            return number_of(numbers, forms, ANYTHING.as_bytes());
        }
        _ => String::from_utf8_lossy(form).into_owned().into_boxed_str(),
    };
    let number = forms.len() as u32;
    forms.push((text, 0));
    numbers.insert_unique(hash, number, |at| self::hash(forms[*at as usize].0.as_bytes()));
    number
}

fn hash(form: &[u8]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(form);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(lines: &[String]) -> Vec<String> {
        let mut miner = PatternMiner::default();
        let forms: Vec<u32> = lines.iter().map(|line| miner.line(line)).collect();
        let patterns = miner.finish();
        forms.into_iter().map(|form| patterns.texts()[patterns.of_form(form)].clone()).collect()
    }

    /// Whether the pattern's texts are in the line in their order, with something for each wildcard.
    fn fits(pattern: &str, line: &str) -> bool {
        let mut rest = line;
        pattern.split(WILDCARD).enumerate().all(|(nth, text)| {
            let found = if nth == 0 { rest.starts_with(text).then_some(0) } else { rest.find(text) };
            found.is_some_and(|at| {
                rest = rest.get(at + text.len()..).unwrap_or_default();
                true
            })
        })
    }

    proptest! {
        #[test]
        fn a_line_has_the_texts_of_its_pattern(
            lines in prop::collection::vec("([a-c]{1,2}|[0-9]{1,3}|/x|é|[ =:,()\"<>_-]{1,2}|Jan|KB|a\\.b:7){0,9}", 1..40),
        ) {
            for (line, pattern) in lines.iter().zip(patterns(&lines)) {
                prop_assert!(fits(&pattern, line), "{pattern:?} {line:?}");
            }
        }
    }

    #[test]
    fn the_order_of_lines_does_not_matter() {
        let lines: Vec<String> =
            (0..300).map(|i| format!("job {} of {} is {}", i, ["ann", "bob"][i % 2], i % 3)).collect();
        let mut sorted = patterns(&lines);
        let mut reversed: Vec<String> = lines.clone();
        reversed.reverse();
        let mut other = patterns(&reversed);
        sorted.sort();
        other.sort();
        assert_eq!(sorted, other);
    }

    #[test]
    fn memory_is_bounded() {
        let mut miner = PatternMiner::default();
        let word = |n: u32| n.to_string().bytes().map(|digit| char::from(b'g' + digit - b'0')).collect::<String>();
        for n in 0..100_000 {
            miner.line(&format!("{} {} {}", word(n), word(n / 3), word(n / 7)));
        }
        assert!(miner.forms.len() <= SHORT_FORMS_MAX + 1);
        assert_eq!(miner.forms.iter().map(|(_, count)| count).sum::<u64>(), 100_000);
        let patterns = miner.finish();
        assert!((0..miner.forms.len() as u32).all(|form| patterns.of_form(form) < patterns.texts().len()));
    }
}
