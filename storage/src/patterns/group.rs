//! Forms that differ in a value only become one pattern.
//!
//! In the manner of Brain (Yu et al., "Brain: Log Parsing With Bidirectional Parallel Tree", 2023): words that stand at
//! the same places equally often belong to one statement of a program. Forms of as many words are put together by the
//! largest such set of words that they have; where they differ in the other words, few different words at a place mean
//! several statements, many mean a value.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::WILDCARD;
use super::vocabulary::Vocabulary;

/// So many different words at a place are words of as many statements; more are values. The first word names the
/// statement however many there are.
const BRANCHES_MAX: usize = 5;
/// The word that stands for any value.
const VALUE: u32 = 0;

/// A form cut into words, and what stands before, between and behind them.
#[derive(Debug)]
struct Pieces {
    words: Vec<u32>,
    /// One more than words.
    gaps: Vec<u32>,
    count: u64,
}

/// Groups forms, each with how often it came. Answers for each form the number of its pattern, and the patterns' texts.
/// The same forms give the same answer, in whatever order they come. Words that turn out to be values go into
/// `vocabulary`.
pub(super) fn group(forms: &[(&str, u64)], vocabulary: &mut Vocabulary) -> (Vec<u32>, Vec<String>) {
    let mut texts = Texts::default();
    let pieces: Vec<Pieces> = forms.iter().map(|(form, count)| pieces(form, *count, &mut texts)).collect();
    let mut found: HashMap<String, u32, FxBuildHasher> = HashMap::default();
    let mut patterns: Vec<String> = Vec::new();
    let mut of_form = vec![0; forms.len()];
    let mut take = |members: &[u32]| {
        let text = generalise(&pieces, members, &texts, vocabulary);
        let number = *found.entry(text).or_insert_with_key(|text| {
            patterns.push(text.clone());
            patterns.len() as u32 - 1
        });
        members.iter().for_each(|member| of_form[*member as usize] = number);
    };
    let all: Vec<u32> = (0..pieces.len() as u32).collect();
    let ends_are_empty = |form: &Pieces| [form.gaps.first() == Some(&0), form.gaps.last() == Some(&0)];
    for alike in split(&all, |form| {
        let form = &pieces[form as usize];
        (form.words.len(), ends_are_empty(form))
    }) {
        for rooted in by_root(&pieces, &alike) {
            branch(&pieces, &rooted, &mut take);
        }
    }
    (of_form, patterns)
}

/// Parts of `members` with the same key, in the order of their first members.
fn split<K: Hash + Eq>(members: &[u32], key: impl Fn(u32) -> K) -> Vec<Vec<u32>> {
    let mut place: FxHashMap<K, usize> = FxHashMap::default();
    let mut parts: Vec<Vec<u32>> = Vec::new();
    for &member in members {
        let at = *place.entry(key(member)).or_insert(parts.len());
        if at == parts.len() {
            parts.push(Vec::new());
        }
        parts[at].push(member);
    }
    parts
}

/// Forms of as many words, apart by the largest set of words that come equally often.
fn by_root(pieces: &[Pieces], members: &[u32]) -> Vec<Vec<u32>> {
    let mut count: FxHashMap<(u32, u32), u64> = FxHashMap::default();
    for &member in members {
        let form = &pieces[member as usize];
        for (place, &word) in (0..).zip(&form.words) {
            if word != VALUE {
                *count.entry((place, word)).or_default() += form.count;
            }
        }
    }
    let of = |place: u32, word: u32| count.get(&(place, word)).copied().unwrap_or_default();
    split(members, |member| {
        let words = || (0..).zip(&pieces[member as usize].words).filter(|(_, word)| **word != VALUE);
        let mut counts: Vec<u64> = words().map(|(place, &word)| of(place, word)).collect();
        counts.sort_unstable();
        let largest = counts.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).and_then(|same| same.first());
        let root = words().filter(|(place, word)| Some(&of(*place, **word)) == largest);
        root.map(|(place, &word)| (place, word)).collect::<Vec<_>>()
    })
}

/// Splits forms where a place has few different words, and takes what is left as one pattern.
fn branch(pieces: &[Pieces], members: &[u32], take: &mut impl FnMut(&[u32])) {
    let places = members.first().map_or(0, |first| pieces[*first as usize].words.len());
    let fewest = (0..places).filter_map(|place| Some((different(pieces, members, place)?, place))).min();
    match fewest.filter(|_| members.len() > 1) {
        Some((_, place)) => {
            for part in split(members, |member| pieces[member as usize].words[place]) {
                branch(pieces, &part, take);
            }
        }
        None => take(members),
    }
}

/// How many different words there are at a place, if they are of several statements.
fn different(pieces: &[Pieces], members: &[u32], place: usize) -> Option<usize> {
    let mut seen: Vec<u32> = Vec::new();
    let mut all: Option<rustc_hash::FxHashSet<u32>> = None;
    for &member in members {
        let word = pieces[member as usize].words[place];
        if word == VALUE {
            return None;
        }
        if let Some(all) = &mut all {
            all.insert(word);
        } else if !seen.contains(&word) {
            if seen.len() == BRANCHES_MAX && place > 0 {
                return None;
            }
            seen.push(word);
            if seen.len() > BRANCHES_MAX {
                all = Some(seen.iter().copied().collect());
            }
        }
    }
    Some(all.map_or(seen.len(), |all| all.len())).filter(|different| *different > 1)
}

/// The text that all members have: words and what is between them where it is the same, else [`WILDCARD`].
fn generalise(pieces: &[Pieces], members: &[u32], texts: &Texts<'_>, vocabulary: &mut Vocabulary) -> String {
    let Some(first) = members.first().map(|first| &pieces[*first as usize]) else { return String::new() };
    let same = |of: &dyn Fn(&Pieces) -> u32| {
        let one = of(first);
        members.iter().all(|member| of(&pieces[*member as usize]) == one).then_some(one)
    };
    let mut pattern = String::new();
    let mut put = |text: Option<&str>| match text {
        Some(text) if text == WILDCARD => wildcard(&mut pattern),
        // A gap can begin with one.
        Some(text) if pattern.ends_with(WILDCARD) && text.starts_with(WILDCARD) => {
            pattern.push_str(text.strip_prefix(WILDCARD).unwrap_or(text));
        }
        Some(text) => pattern.push_str(text),
        None => wildcard(&mut pattern),
    };
    for place in 0..first.gaps.len() {
        let gap = same(&|form| form.gaps[place]);
        put(gap.map(|gap| texts.get(gap)));
        if gap.is_none() {
            members
                .iter()
                .for_each(|member| vocabulary.add(texts.get(pieces[*member as usize].gaps[place]).as_bytes()));
        }
        if place < first.words.len() {
            let word = same(&|form| form.words[place]);
            put(Some(word.filter(|word| *word != VALUE).map_or(WILDCARD, |word| texts.get(word))));
            if word.is_none() {
                let words = members.iter().map(|member| pieces[*member as usize].words[place]);
                words.filter(|word| *word != VALUE).for_each(|word| vocabulary.add(texts.get(word).as_bytes()));
            }
        }
    }
    pattern
}

fn wildcard(pattern: &mut String) {
    if !pattern.ends_with(WILDCARD) {
        pattern.push_str(WILDCARD);
    }
}

/// Numbers for texts; 0 is the empty one.
#[derive(Debug)]
struct Texts<'f> {
    numbers: FxHashMap<&'f str, u32>,
    texts: Vec<&'f str>,
}

impl Default for Texts<'_> {
    fn default() -> Self {
        Self { numbers: [("", 0)].into_iter().collect(), texts: vec![""] }
    }
}

impl<'f> Texts<'f> {
    fn number(&mut self, text: &'f str) -> u32 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u32 - 1
        })
    }

    fn get(&self, number: u32) -> &'f str {
        self.texts.get(number as usize).copied().unwrap_or_default()
    }
}

/// Cuts a form. A value alone in parentheses is a gloss and counts to the gap, for other lines leave it out.
fn pieces<'f>(form: &'f str, count: u64, texts: &mut Texts<'f>) -> Pieces {
    let mut pieces = Pieces { words: Vec::new(), gaps: Vec::new(), count };
    let (mut at, mut gap_start) = (0, 0);
    let text = |from: usize, to: usize| form.get(from..to).unwrap_or_default();
    while let Some((start, end)) = word(form, at) {
        let (before, word, after) = (text(gap_start, start), text(start, end), text(end, form.len()));
        let is_value = word == WILDCARD;
        let is_gloss = is_value && before.ends_with('(') && after.starts_with(')');
        let continues = is_value
            && pieces.words.last() == Some(&VALUE)
            && before.contains(WILDCARD)
            && before.trim_end().ends_with(')');
        at = end;
        if is_gloss || continues {
            continue;
        }
        pieces.gaps.push(texts.number(before));
        pieces.words.push(if is_value { VALUE } else { texts.number(word) });
        gap_start = end;
    }
    pieces.gaps.push(texts.number(text(gap_start, form.len())));
    pieces
}

/// The next word at or behind `from`, as a range.
fn word(form: &str, from: usize) -> Option<(usize, usize)> {
    let separator = |byte: u8| byte.is_ascii_whitespace() || br#"=:,;()[]{}"'<>|"#.contains(&byte);
    let bytes = form.as_bytes();
    let start = from + bytes.get(from..)?.iter().position(|&byte| !separator(byte))?;
    if start > from && form.get(start - 1..start + 2) == Some(WILDCARD) {
        return Some((start - 1, start + 2));
    }
    let end = bytes.get(start..)?.iter().position(|&byte| separator(byte)).map_or(bytes.len(), |length| start + length);
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(forms: &[(&str, u64)]) -> Vec<String> {
        let (of_form, patterns) = group(forms, &mut Vocabulary::default());
        of_form.into_iter().map(|pattern| patterns[pattern as usize].clone()).collect()
    }

    #[test]
    fn few_words_are_statements_and_many_are_values() {
        let states = [("VM <_> is up", 5), ("VM <_> is down", 7)];
        assert_eq!(texts(&states), ["VM <_> is up", "VM <_> is down"]);
        let users: Vec<String> =
            ["ann", "bob", "cid", "dan", "eve", "fay", "gus"].map(|u| format!("hello {u} again")).into();
        let forms: Vec<(&str, u64)> = users.iter().map(|user| (user.as_str(), 1)).collect();
        assert!(texts(&forms).iter().all(|pattern| pattern == "hello <_> again"));
    }

    #[test]
    fn what_is_between_words_may_differ() {
        let forms = [("sent <_> (<_>) bytes", 3), ("sent <_> bytes", 9)];
        assert_eq!(texts(&forms), ["sent <_> bytes", "sent <_> bytes"].map(|_| "sent <_>bytes".to_owned()));
    }

    #[test]
    fn strange_forms() {
        assert_eq!(texts(&[("", 1), ("<_>", 1), ("()", 1), ("(<_>)", 2), ("é", 1)]).len(), 5);
    }
}
