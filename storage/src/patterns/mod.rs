//! Patterns: what lines look like without their values, as `user <_> has logged in`.
//!
//! [`PatternMiner`] takes lines and says of each what its *form* is: its text with a wildcard for every word that looks like
//! a value. Forms that differ in what turns out to be a value become one *pattern*. Promise: the texts between the
//! wildcards of a line's pattern are in the line, in that order; memory is bounded whatever the lines are.
//!
//! The syntax is that of Loki's pattern filters: `|> "user <_> has logged in"`.

mod form;
mod group;
mod table;
mod vocabulary;

use std::sync::Arc;

use arrow::array::{DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use hashbrown::HashTable;

use self::form::FormMaker;
use self::vocabulary::{Vocabulary, hash};

pub(crate) use self::table::StoredPatterns;
pub use self::table::{PatternTable, Verdict};

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
    forms: Forms,
    vocabulary: Vocabulary,
}

/// A form that came by.
#[derive(Debug)]
struct Form {
    text: Box<str>,
    lines: u64,
    /// Not all of its lines is in it.
    open: bool,
}

impl PatternMiner {
    /// Takes a line; the number of its form.
    pub fn line(&mut self, line: &str) -> u32 {
        let (form, is_whole) = self.maker.form(line, &mut self.vocabulary);
        self.forms.count(form, 1, !is_whole)
    }

    /// Takes a pattern that was found elsewhere in `lines` lines; the number of its form.
    pub fn pattern(&mut self, pattern: &str, lines: u64) -> u32 {
        self.forms.count(pattern.as_bytes(), lines, true)
    }

    /// The patterns of all forms.
    pub fn finish(mut self) -> Patterns {
        let forms: Vec<(&str, u64)> = self.forms.all.iter().map(|form| (form.text.as_ref(), form.lines)).collect();
        let (mut of_form, mut texts) = group::group(&forms, &mut self.vocabulary);
        let mut found: Vec<(u64, bool, usize)> = (0..texts.len()).map(|pattern| (0, false, pattern)).collect();
        for (form, pattern) in self.forms.all.iter().zip(&of_form) {
            let found = &mut found[*pattern as usize];
            found.0 += form.lines;
            found.1 |= form.open;
        }
        // Small numbers pack best.
        found.sort_unstable_by_key(|(lines, _, pattern)| (std::cmp::Reverse(*lines), *pattern));
        let mut place: Vec<u32> = vec![0; texts.len()];
        (0..).zip(&found).for_each(|(at, (_, _, pattern))| place[*pattern] = at);
        of_form.iter_mut().for_each(|pattern| *pattern = place[*pattern as usize]);
        let stored = StoredPatterns {
            patterns: found.iter().map(|(_, _, pattern)| std::mem::take(&mut texts[*pattern])).collect(),
            rows: found.iter().map(|(lines, _, _)| u32::try_from(*lines).unwrap_or(u32::MAX)).collect(),
            open: (0..).zip(&found).filter(|(_, (_, open, _))| *open).map(|(at, _)| at).collect(),
            words: self.vocabulary.text().map(str::to_owned),
        };
        Patterns { of_form, stored }
    }
}

/// What a [`PatternMiner`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// By number of form.
    of_form: Vec<u32>,
    stored: StoredPatterns,
}

impl Patterns {
    /// The pattern of a form, by the number that the miner gave it; below [`Self::texts`]' length.
    pub fn of_form(&self, form: u32) -> usize {
        self.of_form.get(form as usize).copied().unwrap_or_default() as usize
    }

    /// The distinct patterns, the most frequent first.
    pub fn texts(&self) -> &[String] {
        &self.stored.patterns
    }

    /// What an index file keeps.
    pub(crate) fn into_stored(self) -> StoredPatterns {
        self.stored
    }

    /// The patterns of rows with these forms.
    pub(crate) fn column(&self, forms: &[u32]) -> DictionaryArray<Int32Type> {
        let keys = forms.iter().map(|form| self.of_form(*form) as i32);
        let texts = StringArray::from_iter_values(self.texts());
        DictionaryArray::new(Int32Array::from_iter_values(keys), Arc::new(texts))
    }
}

/// The forms that came by, each with a number.
#[derive(Debug, Default)]
struct Forms {
    all: Vec<Form>,
    numbers: HashTable<u32>,
}

impl Forms {
    /// Counts lines of a form.
    fn count(&mut self, form: &[u8], lines: u64, open: bool) -> u32 {
        let hash = hash(form);
        let all = &self.all;
        if let Some(&number) = self.numbers.find(hash, |at| all[*at as usize].text.as_bytes() == form) {
            let known = &mut self.all[number as usize];
            known.lines += lines;
            known.open |= open;
            return number;
        }
        let text = match self.all.len() {
            FORMS_MAX.. if form.len() > SHORT_FORM_BYTES && !form.ends_with(WILDCARD.as_bytes()) => {
                let text = String::from_utf8_lossy(form);
                let start = text.get(..text.floor_char_boundary(SHORT_FORM_BYTES)).unwrap_or_default();
                // A wildcard that is cut in two would be text.
                let start = start.trim_end_matches("<_").trim_end_matches('<');
                let short = format!("{start}{WILDCARD}").replace("<_><_>", WILDCARD);
                return self.count(short.as_bytes(), lines, true);
            }
            SHORT_FORMS_MAX.. if form != ANYTHING.as_bytes() => return self.count(ANYTHING.as_bytes(), lines, true),
            _ => String::from_utf8_lossy(form).into_owned().into_boxed_str(),
        };
        let number = self.all.len() as u32;
        self.all.push(Form { text, lines, open });
        let all = &self.all;
        self.numbers.insert_unique(hash, number, |at| self::hash(all[*at as usize].text.as_bytes()));
        number
    }
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

    proptest! {
        #[test]
        fn verdicts_hold_for_every_line(
            lines in prop::collection::vec(
                prop::collection::vec((
                    prop::sample::select(vec![
                        "alpha", "beta", "alphabeta", "gamma", "x1alpha", "/usr/beta", "12", "deadbeef12", "seconds", "Jan",
                        "né", "ann", "bob", "cid", "dan", "eve", "fay", "(7)", "a.gamma:80", "<_>",
                    ]),
                    prop::sample::select(vec![" ", "=", ": ", ", ", " - ", "-", ""]),
                ), 0..6).prop_map(|words| words.into_iter().flat_map(|(word, gap)| [word, gap]).collect::<String>()),
                1..60,
            ),
            needles in prop::collection::vec("alpha|beta|lph|gamma|alpha=beta|beta: gamma|ann|an|seconds|ec|x1|bob - |, alpha| eve|sr", 1..5),
        ) {
            let mut miner = PatternMiner::default();
            let forms: Vec<u32> = lines.iter().map(|line| miner.line(line)).collect();
            let patterns = miner.finish();
            let numbers: Vec<usize> = forms.iter().map(|form| patterns.of_form(*form)).collect();
            let table = PatternTable::new(patterns.into_stored());
            for needle in needles {
                let verdicts = table.verdicts(&needle);
                for (line, number) in lines.iter().zip(&numbers) {
                    let right = match verdicts[*number] {
                        Verdict::Never => !line.contains(&needle),
                        Verdict::Perhaps => true,
                        Verdict::Always => line.contains(&needle),
                    };
                    prop_assert!(right, "{:?} of {:?} in {:?}", verdicts[*number], needle, line);
                }
            }
        }
    }

    #[test]
    fn patterns_decide_words_that_no_value_has() {
        let mut miner = PatternMiner::default();
        for i in 0..50 {
            miner.line(&format!("user u{i} has logged in from host{i}.example.org"));
            miner.line(&format!("disk {i} is full"));
        }
        let table = PatternTable::new(miner.finish().into_stored());
        assert_eq!(table.rows(), [50, 50]);
        let verdicts = |needle: &str| table.verdicts(needle);
        assert!(verdicts("logged").contains(&Verdict::Always));
        assert!(verdicts("logged").contains(&Verdict::Never));
        assert!(verdicts("nowhere").iter().all(|v| *v == Verdict::Never));
        assert!(verdicts("example").iter().all(|v| *v == Verdict::Perhaps));
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
        let forms = miner.forms.all.len();
        assert!(forms <= SHORT_FORMS_MAX + 1);
        assert_eq!(miner.forms.all.iter().map(|form| form.lines).sum::<u64>(), 100_000);
        let patterns = miner.finish();
        assert!((0..forms as u32).all(|form| patterns.of_form(form) < patterns.texts().len()));
    }
}
