//! How text is cut for the index, and how a needle is cut so that the index can decide about it.
//!
//! Text is lower-cased (ASCII; the two other characters that fold to an ASCII letter, `ſ` and the Kelvin sign,
//! count as `s` and `k`); every other non-ASCII byte separates. A *token* is a run of letters and digits. Its *words*
//! are the runs of letters in it. A token with a digit in it also has *keys* for the bloom filter: the hash of the whole
//! token if it is shorter than [`WHOLE_BYTES`], else the hashes of its minimizers. So any substring of [`WHOLE_BYTES`] bytes
//! or more of a long token can be looked up: it holds at least one full window, whose minimizer is a key of the token.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// Tokens shorter than this are looked up whole; any longer fragment contains a full minimizer window.
pub(crate) const WHOLE_BYTES: usize = KMER_BYTES + WINDOW - 1;
/// Bytes of a k-mer.
const KMER_BYTES: usize = 6;
/// K-mers in a window; the one with the least hash is the window's minimizer.
const WINDOW: usize = 6;
/// Words longer than this are not in the dictionary: their block takes every word.
pub(crate) const WORD_BYTES_MAX: usize = 64;
/// Words shorter than this are everywhere and decide nothing.
pub(crate) const WORD_BYTES_MIN: usize = 2;

/// What a byte of normalised text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Separator,
}

fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Separator,
    }
}

/// Brings text into the form that is indexed: same tokens, separators as spaces.
pub(crate) fn normalise(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte.is_ascii() {
            out.push(ASCII[usize::from(byte)]);
        } else if byte == 0xC5 && tail.first() == Some(&0xBF) {
            out.push(b's');
            rest = tail.get(1..).unwrap_or_default();
        } else if byte == 0xE2 && tail.starts_with(&[0x84, 0xAA]) {
            out.push(b'k');
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(b' ');
        }
    }
}

/// Lower-cased letters and digits; everything else a space.
const ASCII: [u8; 128] = {
    let mut table = [b' '; 128];
    let mut byte = 0;
    while byte < 128 {
        let lower = (byte as u8).to_ascii_lowercase();
        if lower.is_ascii_alphanumeric() {
            table[byte] = lower;
        }
        byte += 1;
    }
    table
};

/// A run of letters and digits in normalised text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) start: usize,
    pub(crate) has_digit: bool,
}

/// The tokens of normalised text, in order.
pub(crate) fn tokens(normal: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while normal.get(at).is_some_and(|&b| class(b) == Class::Separator) {
            at += 1;
        }
        let start = at;
        let mut has_digit = false;
        while let Some(&byte) = normal.get(at) {
            match class(byte) {
                Class::Separator => break,
                Class::Digit => has_digit = true,
                Class::Letter => {}
            }
            at += 1;
        }
        (at > start).then(|| Token { bytes: normal.get(start..at).unwrap_or_default(), start, has_digit })
    })
}

/// The runs of letters of a token, with where they begin in it.
pub(crate) fn words(token: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while token.get(at).is_some_and(|&b| class(b) != Class::Letter) {
            at += 1;
        }
        let start = at;
        while token.get(at).is_some_and(|&b| class(b) == Class::Letter) {
            at += 1;
        }
        (at > start).then(|| (start, token.get(start..at).unwrap_or_default()))
    })
}

/// The bloom filter keys of a whole token that has a digit.
pub(crate) fn token_keys(token: &[u8], mut take: impl FnMut(u64)) {
    if token.len() < WHOLE_BYTES {
        take(xxh3_64(token));
    } else {
        minimizers(token, take);
    }
}

/// The bloom filter keys of an attribute's value: three, because one alone is wrong too often where nothing else narrows.
pub(crate) fn value_keys(key: &str, value: &[u8]) -> [u64; 3] {
    let hash = xxh3_128_with_seed(value, xxh3_64(key.as_bytes()));
    let (low, high) = (hash as u64, (hash >> 64) as u64);
    [low, high, low.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(high)]
}

/// The minimizers of every full window of a fragment of at least [`WHOLE_BYTES`] bytes, without repeating neighbours.
pub(crate) fn minimizers(fragment: &[u8], mut take: impl FnMut(u64)) {
    let mut recent = [u64::MAX; WINDOW];
    let mut last = None;
    for (at, kmer) in fragment.windows(KMER_BYTES).enumerate() {
        recent[at % WINDOW] = kmer_hash(kmer);
        if at + 1 >= WINDOW {
            let least = recent.iter().copied().min().unwrap_or_default();
            if last != Some(least) {
                take(least);
                last = Some(least);
            }
        }
    }
}

/// Two rounds of multiply and fold: k-mers are six bytes, so one u64 holds them.
fn kmer_hash(kmer: &[u8]) -> u64 {
    let mut eight = [0; 8];
    for (to, from) in eight.iter_mut().zip(kmer) {
        *to = *from;
    }
    let mut hash = u64::from_le_bytes(eight).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    hash ^ (hash >> 29)
}

/// What a needle demands of a block. All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Demands {
    /// Words that occur as they are.
    pub(crate) exact: Vec<Vec<u8>>,
    /// Fragments that occur inside some word: the needle begins or ends within it.
    pub(crate) inside: Vec<Fragment>,
    /// Bloom filter keys.
    pub(crate) keys: Vec<u64>,
}

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) bytes: Vec<u8>,
    /// The word begins with it.
    pub(crate) at_start: bool,
    /// The word ends with it.
    pub(crate) at_end: bool,
}

/// Cuts a needle. What stands at its ends may go on beyond it in the text, what stands inside is whole.
pub(crate) fn demands(needle: &str) -> Demands {
    let mut normal = Vec::new();
    normalise(needle.as_bytes(), &mut normal);
    let mut demands = Demands::default();
    for token in tokens(&normal) {
        let whole = token.start > 0 && token.start + token.bytes.len() < normal.len();
        if token.has_digit && whole {
            token_keys(token.bytes, |key| demands.keys.push(key));
        } else if token.bytes.len() >= WHOLE_BYTES && token.has_digit {
            minimizers(token.bytes, |key| demands.keys.push(key));
        }
        for (at, word) in words(token.bytes) {
            if word.len() < WORD_BYTES_MIN || word.len() > WORD_BYTES_MAX {
                continue;
            }
            let at_start = token.start + at > 0;
            let at_end = token.start + at + word.len() < normal.len();
            if at_start && at_end {
                demands.exact.push(word.to_vec());
            } else {
                demands.inside.push(Fragment { bytes: word.to_vec(), at_start, at_end });
            }
        }
    }
    demands.keys.sort_unstable();
    demands.keys.dedup();
    demands.exact.sort();
    demands.exact.dedup();
    demands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(needle: &str) -> Vec<String> {
        demands(needle).exact.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect()
    }

    #[test]
    fn only_inner_runs_are_whole() {
        assert_eq!(exact("quota ledger gone"), ["ledger"]);
        assert_eq!(exact(" Quota1ledger-"), ["ledger", "quota"]);
        assert!(demands("ab").exact.is_empty());
        assert_eq!(demands("timeo").inside, [Fragment { bytes: b"timeo".to_vec(), at_start: false, at_end: false }]);
    }

    #[test]
    fn short_tokens_are_looked_up_only_whole() {
        assert!(demands("node-17").keys.is_empty());
        assert_eq!(demands(" node-17 ").keys, [xxh3_64(b"17")]);
    }

    #[test]
    fn a_long_letter_run_without_digit_has_no_keys() {
        // The token it is a part of may be letters only, and those have no keys.
        assert!(demands("abcdefghijklmnop").keys.is_empty());
    }

    #[test]
    fn every_long_fragment_shares_its_minimizers_with_the_token() {
        let token = b"5f0c7b1e93ad4d26b8e41c6a9e02d7f3";
        let mut all = Vec::new();
        minimizers(token, |key| all.push(key));
        for start in 0..token.len() {
            for end in start + WHOLE_BYTES..=token.len() {
                let mut some = 0;
                minimizers(&token[start..end], |key| {
                    some += 1;
                    assert!(all.contains(&key));
                });
                assert!(some > 0);
            }
        }
    }
}
