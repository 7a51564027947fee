//! Texts that every match of a regex contains.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind};
use storage::Needle;

use crate::regexp::translate;

use super::{ALTERNATIVES_MAX, Clause, any_of};

/// How many texts an expression may stand for to be followed text by text.
const EXACT_MAX: usize = 32;
/// The longest such text, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A text to look for. With `ignore_case` it is folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) text: String,
    pub(super) ignore_case: bool,
}

impl Literal {
    pub(super) fn exact(text: &str) -> Self {
        Self { text: text.to_owned(), ignore_case: false }
    }

    pub(super) fn into_needle(self) -> Needle {
        Needle { text: self.text, ignore_case: self.ignore_case }
    }

    /// This text and then another. If one ignores case, the whole does, which only widens it.
    fn then(&self, next: &Self) -> Self {
        let ignore_case = self.ignore_case || next.ignore_case;
        let folded =
            |l: &Self| if ignore_case && !l.ignore_case { l.text.chars().map(fold).collect() } else { l.text.clone() };
        Self { text: folded(self) + &folded(next), ignore_case }
    }
}

/// Simple case folding: characters that a case-insensitive comparison takes for the same have the same fold.
pub fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    if let Ok(at) = FOLDED_OTHERWISE.binary_search_by_key(&c, |(from, _)| *from) {
        return FOLDED_OTHERWISE[at].1;
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Where Unicode's simple case folding is not the lower case (CaseFolding.txt, status C and S; Cherokee, which folds
/// to upper case, is the same either way).
const FOLDED_OTHERWISE: [(char, char); 25] = [
    ('\u{B5}', '\u{3BC}'),
    ('\u{17F}', 's'),
    ('\u{345}', '\u{3B9}'),
    ('\u{3C2}', '\u{3C3}'),
    ('\u{3D0}', '\u{3B2}'),
    ('\u{3D1}', '\u{3B8}'),
    ('\u{3D5}', '\u{3C6}'),
    ('\u{3D6}', '\u{3C0}'),
    ('\u{3F0}', '\u{3BA}'),
    ('\u{3F1}', '\u{3C1}'),
    ('\u{3F5}', '\u{3B5}'),
    ('\u{1C80}', '\u{432}'),
    ('\u{1C81}', '\u{434}'),
    ('\u{1C82}', '\u{43E}'),
    ('\u{1C83}', '\u{441}'),
    ('\u{1C84}', '\u{442}'),
    ('\u{1C85}', '\u{442}'),
    ('\u{1C86}', '\u{44A}'),
    ('\u{1C87}', '\u{463}'),
    ('\u{1C88}', '\u{A64B}'),
    ('\u{1E9B}', '\u{1E61}'),
    ('\u{1FBE}', '\u{3B9}'),
    ('\u{1FD3}', '\u{390}'),
    ('\u{1FE3}', '\u{3B0}'),
    ('\u{FB05}', '\u{FB06}'),
];

/// What the text of every match contains, in conjunctive form; nothing if the pattern is malformed.
pub(super) fn clauses(pattern: &str) -> Vec<Clause> {
    let hir = translate(pattern).ok().and_then(|translated| regex_syntax::parse(&translated).ok());
    hir.map_or(Vec::new(), |hir| Found::of(&hir).into_clauses())
}

/// What is known of the texts that an expression matches.
struct Found {
    /// All of them, when they are few.
    exact: Option<Vec<Literal>>,
    /// What they contain, otherwise.
    must: Vec<Clause>,
}

impl Found {
    fn exactly(texts: Vec<Literal>) -> Self {
        Self { exact: Some(texts), must: Vec::new() }
    }

    fn nothing() -> Self {
        Self { exact: None, must: Vec::new() }
    }

    fn into_clauses(self) -> Vec<Clause> {
        let mut clauses = self.must;
        clauses.extend(self.exact.and_then(clause));
        clauses
    }

    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::exactly(vec![Literal::exact("")]),
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => Self::exactly(vec![Literal::exact(text)]),
                Err(_) => Self::nothing(),
            },
            HirKind::Class(Class::Unicode(class)) => Self::of_class(class),
            HirKind::Class(Class::Bytes(_)) => Self::nothing(),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
                (0, Some(1)) => Self::optional(Self::of(&repetition.sub)),
                (0, _) => Self::nothing(),
                (1, Some(1)) => Self::of(&repetition.sub),
                (n, Some(m)) if n == m && n <= 8 => Self::concat(std::iter::repeat_n(&*repetition.sub, n as usize)),
                _ => Self { exact: None, must: Self::of(&repetition.sub).into_clauses() },
            },
            HirKind::Concat(parts) => Self::concat(parts.iter()),
            HirKind::Alternation(branches) => Self::alternation(branches),
        }
    }

    /// A class is a text if its characters differ in case only; a few characters are as many texts.
    fn of_class(class: &ClassUnicode) -> Self {
        let count: u64 =
            class.iter().map(|r| u64::from(u32::from(r.end())) - u64::from(u32::from(r.start())) + 1).sum();
        if count > 6 {
            return Self::nothing();
        }
        let chars: Vec<char> = class.iter().flat_map(|r| r.start()..=r.end()).collect();
        match chars.as_slice() {
            [] => Self::nothing(),
            [one] => Self::exactly(vec![Literal::exact(&one.to_string())]),
            [first, rest @ ..] if rest.iter().all(|&c| fold(c) == fold(*first)) => {
                Self::exactly(vec![Literal { text: fold(*first).to_string(), ignore_case: true }])
            }
            many => Self::exactly(many.iter().map(|c| Literal::exact(&c.to_string())).collect()),
        }
    }

    fn optional(inner: Self) -> Self {
        match inner.exact {
            Some(mut texts) if texts.len() < EXACT_MAX => {
                texts.push(Literal::exact(""));
                Self::exactly(texts)
            }
            _ => Self::nothing(),
        }
    }

    fn concat<'h>(parts: impl Iterator<Item = &'h Hir>) -> Self {
        let mut run = vec![Literal::exact("")];
        let (mut must, mut whole) = (Vec::new(), true);
        for part in parts {
            let found = Self::of(part);
            let fits = found.exact.as_ref().is_some_and(|texts| {
                let longest = |texts: &[Literal]| texts.iter().map(|l| l.text.len()).max().unwrap_or_default();
                run.len() * texts.len() <= EXACT_MAX && longest(&run) + longest(texts) <= TEXT_BYTES_MAX
            });
            if let (true, Some(texts)) = (fits, &found.exact) {
                run = run.iter().flat_map(|head| texts.iter().map(move |tail| head.then(tail))).collect();
                continue;
            }
            whole = false;
            must.extend(clause(std::mem::replace(&mut run, vec![Literal::exact("")])));
            match found.exact {
                // Too many to go on from here as one run: a new run starts with these.
                Some(texts) => run = texts,
                None => must.extend(found.must),
            }
        }
        if whole {
            return Self::exactly(run);
        }
        must.extend(clause(run));
        Self { exact: None, must }
    }

    fn alternation(branches: &[Hir]) -> Self {
        let found: Vec<Self> = branches.iter().map(Self::of).collect();
        let count: usize = found.iter().map(|f| f.exact.as_ref().map_or(EXACT_MAX + 1, Vec::len)).sum();
        if count <= EXACT_MAX {
            return Self::exactly(found.into_iter().filter_map(|f| f.exact).flatten().collect());
        }
        Self { exact: None, must: any_of(found.into_iter().map(Self::into_clauses).collect()) }
    }
}

/// Texts of which one must be there, if that says anything.
fn clause(mut texts: Vec<Literal>) -> Option<Clause> {
    if texts.iter().any(|l| l.text.is_empty()) {
        return None;
    }
    // A text that contains another of the list adds nothing to it.
    let all = texts.clone();
    let redundant = |l: &Literal| {
        all.iter().any(|o| o.ignore_case == l.ignore_case && o.text != l.text && l.text.contains(&o.text))
    };
    texts.retain(|l| !redundant(l));
    texts.dedup();
    (texts.len() <= ALTERNATIVES_MAX).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fold` and the regex engine agree on which characters are the same.
    #[test]
    fn folds_as_the_regex_engine_does() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_alphabetic() || c.is_lowercase() || c.is_uppercase()) {
            let mut same = ClassUnicode::new([regex_syntax::hir::ClassUnicodeRange::new(c, c)]);
            same.case_fold_simple();
            for other in same.iter().flat_map(|r| r.start()..=r.end()) {
                assert_eq!(fold(other), fold(c), "{c:?} and {other:?}");
            }
        }
    }
}
