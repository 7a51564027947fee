//! Rules that change labels, or drop what has them: Prometheus's relabelling.

use std::borrow::Cow;

use md5::{Digest, Md5};
use query::regexp::AnchoredRegex;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::config::RuleYaml;
use super::labels::{LabelMap, is_label_name};

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are Prometheus's")]
pub(crate) enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    const ALL: [(&'static str, Action); 11] = [
        ("replace", Action::Replace),
        ("keep", Action::Keep),
        ("drop", Action::Drop),
        ("keepequal", Action::KeepEqual),
        ("dropequal", Action::DropEqual),
        ("hashmod", Action::HashMod),
        ("labelmap", Action::LabelMap),
        ("labeldrop", Action::LabelDrop),
        ("labelkeep", Action::LabelKeep),
        ("lowercase", Action::Lowercase),
        ("uppercase", Action::Uppercase),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
        found.map(|(_, action)| action).ok_or_else(|| de::Error::custom(format!("unknown relabel action {text:?}")))
    }
}

/// A rule, checked and compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: AnchoredRegex,
    modulus: u64,
    target_label: String,
    replacement: String,
    /// Whether the target and the replacement are the same for every match.
    is_plain: bool,
    is_legacy: bool,
}

impl Rule {
    /// Checks and compiles a rule. `is_legacy`: label names are letters, digits and `_`.
    ///
    /// # Errors
    /// What does not fit together.
    pub(crate) fn new(yaml: &RuleYaml, is_legacy: bool) -> Result<Self, String> {
        let action = yaml.action.unwrap_or_default();
        let (name, target) = (action.name(), yaml.target_label.as_deref().unwrap_or_default());
        let is_other = |given: &Option<String>, default| given.as_ref().is_some_and(|given| given != default);
        let replaces = is_other(&yaml.replacement, REPLACEMENT);
        let joins = is_other(&yaml.separator, SEPARATOR) || yaml.modulus.is_some_and(|modulus| modulus != 0);
        match action {
            Action::HashMod if yaml.modulus.unwrap_or(0) == 0 => {
                return Err("relabel action hashmod needs a modulus that is not 0".to_owned());
            }
            Action::KeepEqual | Action::DropEqual if joins || replaces || is_other(&yaml.regex, REGEX) => {
                return Err(format!("relabel action {name} takes source_labels and target_label, and no other field"));
            }
            Action::LabelDrop | Action::LabelKeep
                if joins || replaces || yaml.source_labels.is_some() || !target.is_empty() =>
            {
                return Err(format!("relabel action {name} takes a regex, and no other field"));
            }
            Action::Lowercase | Action::Uppercase if replaces => {
                return Err(format!("relabel action {name} takes no replacement"));
            }
            _ => {}
        }
        let needs_target =
            !matches!(action, Action::Keep | Action::Drop | Action::LabelMap | Action::LabelDrop | Action::LabelKeep);
        if needs_target && target.is_empty() {
            return Err(format!("relabel action {name} needs a target_label"));
        }
        let is_template = action == Action::Replace && target.contains('$');
        if needs_target && !(is_label_name(target, is_legacy) || (is_template && is_legacy_template(target))) {
            return Err(format!("{target:?} is no label name: target_label of relabel action {name}"));
        }
        let replacement = yaml.replacement.as_deref().unwrap_or(REPLACEMENT);
        let names = is_label_name(replacement, is_legacy) || (is_legacy && is_legacy_template(replacement));
        if action == Action::LabelMap && !names {
            return Err(format!("{replacement:?} makes no label name: replacement of relabel action labelmap"));
        }
        let pattern = yaml.regex.as_deref().unwrap_or(REGEX);
        Ok(Self {
            action,
            source_labels: yaml.source_labels.clone().unwrap_or_default(),
            separator: yaml.separator.clone().unwrap_or_else(|| SEPARATOR.to_owned()),
            regex: AnchoredRegex::new(pattern).map_err(|error| format!("regex {pattern:?}: {error}"))?,
            modulus: yaml.modulus.unwrap_or(0),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            is_plain: !target.contains('$') && !replacement.contains('$'),
            is_legacy,
        })
    }

    fn apply(&self, labels: &mut LabelMap) -> bool {
        let joined = match self.source_labels.as_slice() {
            [one] => labels.get(one).to_owned(),
            many => many.iter().map(|name| labels.get(name)).collect::<Vec<_>>().join(&self.separator),
        };
        match self.action {
            Action::Keep => return self.regex.is_match(&joined),
            Action::Drop => return !self.regex.is_match(&joined),
            Action::KeepEqual => return labels.get(&self.target_label) == joined,
            Action::DropEqual => return labels.get(&self.target_label) != joined,
            Action::Replace => self.replace(labels, &joined),
            Action::Lowercase => labels.set(&self.target_label, joined.to_lowercase()),
            Action::Uppercase => labels.set(&self.target_label, joined.to_uppercase()),
            Action::HashMod => {
                let digest: [u8; 16] = Md5::digest(joined.as_bytes()).into();
                let [.., a, b, c, d, e, f, g, h] = digest;
                let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                labels.set(&self.target_label, (hash % self.modulus.max(1)).to_string());
            }
            Action::LabelMap => {
                let matching: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        Some((self.expand(&self.replacement, name)?.into_owned(), value.to_owned()))
                    })
                    .collect();
                for (name, value) in matching.into_iter().filter(|(name, _)| !name.is_empty()) {
                    labels.set(&name, value);
                }
            }
            Action::LabelDrop => labels.retain(|name| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut LabelMap, joined: &str) {
        if self.is_plain {
            if self.regex.is_match(joined) {
                labels.set(&self.target_label, self.replacement.as_str());
            }
            return;
        }
        let Some(target) = self.expand(&self.target_label, joined) else { return };
        if is_label_name(&target, self.is_legacy) {
            let value = self.expand(&self.replacement, joined).unwrap_or_default();
            labels.set(&target, value);
        }
    }

    /// A template filled from what the regex finds in `text`: `$1`, `$name`, `${name}`, `$$`; `None` without a match.
    fn expand<'t>(&self, template: &'t str, text: &str) -> Option<Cow<'t, str>> {
        if !template.contains('$') {
            return self.regex.is_match(text).then_some(Cow::Borrowed(template));
        }
        let captures = self.regex.captures(text)?;
        let mut filled = String::with_capacity(template.len() + text.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                filled.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = variable(after) else {
                filled.push('$');
                rest = after;
                continue;
            };
            let found = match name.parse::<usize>() {
                Ok(number) => captures.get(number),
                Err(_) => captures.name(name),
            };
            filled.push_str(found.and_then(|found| std::str::from_utf8(found.as_bytes()).ok()).unwrap_or_default());
            rest = after;
        }
        filled.push_str(rest);
        Some(Cow::Owned(filled))
    }
}

/// The name of a variable behind its `$`, and what comes after it.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (inner, is_braced) = text.strip_prefix('{').map_or((text, false), |inner| (inner, true));
    let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
    let (name, after) = inner.split_at(end);
    let after = if is_braced { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

/// Whether a template can only make label names of letters, digits and `_`, if its variables do.
fn is_legacy_template(template: &str) -> bool {
    let mut rest = template;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        let Some((_, after)) = variable(after) else { return false };
        plain.push('_');
        rest = after;
    }
    plain.push_str(rest);
    is_label_name(&plain, true)
}

/// Applies rules in order. False when one of them drops what has the labels.
pub(crate) fn apply(rules: &[Rule], labels: &mut LabelMap) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests;
