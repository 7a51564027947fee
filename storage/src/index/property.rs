//! The index against a naive scan: whatever the text and the needle, no block that holds the needle is ruled out, and
//! what is left after a check of each row is what the scan finds.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::blocks::BlockSet;
use super::build::IndexBuilder;
use super::probe::{Filters, IndexSource, narrow_any};
use super::words::Words;
use crate::error::StorageError;
use crate::read::Needle;

/// Rows of a block: few, so that a wrong answer is not hidden by a neighbour.
const BLOCK_ROWS: u32 = 2;

struct BuiltIndex {
    words: Arc<Words>,
    open_blocks: BlockSet,
    filters: Arc<Vec<u8>>,
    filter_ends: Vec<u32>,
}

impl BuiltIndex {
    fn of(texts: &[String]) -> Self {
        let mut builder = IndexBuilder::new(BLOCK_ROWS, 0);
        texts.iter().for_each(|text| builder.add(text));
        let built = builder.finish().unwrap();
        let mut open_blocks = BlockSet::none(built.tokens.ends.len() as u32);
        built.open_blocks.iter().for_each(|&block| open_blocks.insert(block));
        Self {
            words: Arc::new(Words::open(built.words).unwrap()),
            open_blocks,
            filters: Arc::new(built.tokens.bytes),
            filter_ends: built.tokens.ends,
        }
    }

    /// The rows of the blocks that are left.
    fn rows(&self, any: &[Needle], rows: usize) -> Vec<usize> {
        let mut blocks = BlockSet::none(self.filter_ends.len() as u32);
        (0..self.filter_ends.len() as u32).for_each(|block| blocks.insert(block));
        narrow_any(self, &mut blocks, any).unwrap();
        (0..rows).filter(|&row| blocks.contains(row as u32 / BLOCK_ROWS)).collect()
    }
}

impl IndexSource for BuiltIndex {
    fn words(&self) -> Result<Arc<Words>, StorageError> {
        Ok(Arc::clone(&self.words))
    }

    fn open_blocks(&self) -> &BlockSet {
        &self.open_blocks
    }

    fn filters(&self) -> Result<Filters<'_>, StorageError> {
        Ok(Filters { bytes: Arc::clone(&self.filters), start: 0, ends: self.filter_ends.as_slice().into() })
    }

    fn value_filters(&self, _: &str) -> Result<Filters<'_>, StorageError> {
        self.filters()
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> StorageError {
        StorageError::Refused(error.to_string())
    }
}

/// Unicode simple case folding, for the characters that are tried here.
fn fold(text: &str) -> String {
    let one = |c: char| match c {
        'ſ' => 's',
        '\u{212A}' => 'k',
        'ς' => 'σ',
        _ => {
            let mut lower = c.to_lowercase();
            lower.next().filter(|_| lower.next().is_none()).unwrap_or(c)
        }
    };
    text.chars().map(one).collect()
}

fn has(text: &str, needle: &Needle) -> bool {
    if needle.ignore_case { fold(text).contains(&needle.text) } else { text.contains(&needle.text) }
}

/// Words of several scripts and cases.
const WORDS: &[&str] = &[
    "timeout",
    "Timeout",
    "TIMEOUT",
    "time",
    "out",
    "connection",
    "k8s",
    "größe",
    "STRASSE",
    "ſtop",
    "\u{212A}elvin",
    "σίσυφος",
    "ΣΊΣΥΦΟΣ",
    "日本語",
    "мир",
    "é",
    "🦀",
    "İstanbul",
    "a",
    "ab",
    "x1",
    "v2beta1",
];

/// Pieces of log lines: words, identifiers, numbers, scripts, and whatever else.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(WORDS).prop_map(str::to_owned),
        2 => "[0-9]{1,14}",
        3 => "[0-9a-f]{4,40}",
        1 => "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}",
        2 => "[A-Za-z]{1,8}[0-9]{1,6}[a-z]{0,8}",
        1 => "[a-z]{60,70}",
        1 => "\\PC{0,12}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    let separator = select(&[" ", " ", "_", "-", "", "=", "/", "ß", ": "][..]);
    prop::collection::vec((piece(), separator), 0..7)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, separator)| piece + separator).collect())
}

/// Where a needle comes from: part of a text, or a piece that may be nowhere.
#[derive(Debug, Clone)]
enum Source {
    Part(Index, Index, Index),
    Piece(String),
}

fn source() -> impl Strategy<Value = (Source, bool)> {
    let part =
        (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(text, from, to)| Source::Part(text, from, to));
    (prop_oneof![4 => part, 1 => piece().prop_map(Source::Piece)], any::<bool>())
}

fn needle(source: &Source, ignore_case: bool, texts: &[String]) -> Needle {
    let text = match source {
        Source::Piece(piece) => piece.clone(),
        Source::Part(text, from, to) => {
            let chars: Vec<char> = text.get(texts).chars().collect();
            let (from, to) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
            chars.get(from.min(to)..from.max(to)).unwrap().iter().collect()
        }
    };
    Needle { text: if ignore_case { fold(&text) } else { text }, ignore_case }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_prune_leaves_holds_all_that_a_scan_finds(
        texts in prop::collection::vec(text(), 1..24),
        sources in prop::collection::vec(prop::collection::vec(source(), 1..3), 40),
    ) {
        let index = BuiltIndex::of(&texts);
        for sources in &sources {
            let any: Vec<Needle> = sources.iter().map(|(source, ignore)| needle(source, *ignore, &texts)).collect();
            let holds = |row: &usize| any.iter().any(|needle| has(&texts[*row], needle));
            let scanned: Vec<usize> = (0..texts.len()).filter(holds).collect();
            let left: Vec<usize> = index.rows(&any, texts.len()).into_iter().filter(holds).collect();
            prop_assert_eq!(left, scanned, "{:?}", any);
        }
    }
}

/// The property above holds of an index that rules nothing out, too: this one does.
#[test]
fn most_blocks_without_the_needle_are_ruled_out() {
    let texts: Vec<String> = (0..400_u32)
        .map(|row| {
            let id = xxhash_rust::xxh3::xxh3_128(&row.to_le_bytes());
            format!("request {id:032x} of {} ended", ["billing", "orders", "search", "login"][row as usize / 100])
        })
        .collect();
    let index = BuiltIndex::of(&texts);
    let left = |text: &str| index.rows(&[Needle { text: text.to_owned(), ignore_case: false }], texts.len()).len();
    assert_eq!(left(" billing "), 100);
    assert_eq!(left("billi"), 100);
    assert_eq!(left("nowhere"), 0);
    let ids: usize = texts.iter().step_by(10).map(|text| left(text.split(' ').nth(1).unwrap())).sum();
    assert!(ids < 40 * 2 * 2, "{ids} rows are left of 40 identifiers");
    let parts: usize = texts.iter().step_by(10).map(|text| left(text.get(12..28).unwrap())).sum();
    assert!(parts < 40 * 2 * 4, "{parts} rows are left of 40 parts of identifiers");
}
