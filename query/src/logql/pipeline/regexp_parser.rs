//! `| regexp`: named groups become labels.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::demand::Demand;
use super::row::Row;
use super::sanitize::label_name;
use crate::regexp::compile;

/// `| regexp`, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct RegexpParser {
    regex: Regex,
    /// Group number and label.
    groups: Vec<(usize, String)>,
}

impl RegexpParser {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let regex = compile(pattern).map_err(|error| error.to_string())?;
        let names = regex.capture_names().enumerate().filter_map(|(i, name)| Some((i, name?)));
        let groups: Vec<_> = names.map(|(i, name)| (i, label_name(name).into_owned())).collect();
        if groups.is_empty() {
            return Err("at least one named capture must be supplied".to_owned());
        }
        Ok(Self { regex, groups })
    }

    /// A group that took no part in the match becomes an empty label.
    pub(crate) fn process(&self, row: &mut Row<'_>, demand: &Demand) {
        row.with_line(|row, line, keep| {
            let Some(captures) = self.regex.captures(line.as_bytes()) else { return };
            for (group, name) in &self.groups {
                let name = row.parsed_name(Cow::Owned(name.clone()));
                // Unlike the other parsers this one runs also when nothing is wanted, as in Loki.
                if !demand.wants(&name) || row.was_made(&name) {
                    continue;
                }
                let value = captures.get(*group).and_then(|found| line.get(found.range())).unwrap_or_default();
                row.set(name, keep(value));
            }
        });
    }
}
