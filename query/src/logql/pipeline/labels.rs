//! `| keep`, `| drop`, `| label_format`.

use std::borrow::Cow;

use super::error_kind::TEMPLATE;
use super::row::{ERROR_DETAILS_LABEL, ERROR_LABEL, PRESERVE_ERROR_LABEL, Row};
use crate::logql::ast::{LabelChoice, LabelFormat, LabelFormatValue};
use crate::template::{Template, loki};

/// `| drop`.
pub(crate) fn drop_labels(row: &mut Row<'_>, choices: &[LabelChoice]) {
    for choice in choices {
        let name = match choice {
            LabelChoice::Name(name) => name.as_str(),
            LabelChoice::Matches(matcher) => &matcher.name,
        };
        let matches = |value: &str| match choice {
            LabelChoice::Name(_) => true,
            LabelChoice::Matches(matcher) => matcher.matches(value),
        };
        match name {
            ERROR_LABEL if matches(row.error().unwrap_or_default()) => row.clear_error(),
            ERROR_DETAILS_LABEL if matches(row.error_details().unwrap_or_default()) => row.clear_error_details(),
            ERROR_LABEL | ERROR_DETAILS_LABEL => {}
            name => {
                let remove = row.get(name).is_some_and(|value| matches(&value));
                if remove {
                    row.remove(name);
                }
            }
        }
    }
}

/// `| keep`; errors stay.
pub(crate) fn keep_labels(row: &mut Row<'_>, choices: &[LabelChoice]) {
    let mut gone = Vec::new();
    row.each(|_, name, value| {
        let special = matches!(name, ERROR_LABEL | ERROR_DETAILS_LABEL | PRESERVE_ERROR_LABEL);
        let kept = choices.iter().any(|choice| match choice {
            LabelChoice::Name(wanted) => wanted == name,
            LabelChoice::Matches(matcher) => *matcher.name == *name && matcher.matches(value),
        });
        if !special && !kept {
            gone.push(name.to_owned());
        }
    });
    for name in gone {
        row.remove(&name);
    }
}

/// `| label_format`, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct LabelFormatter {
    formats: Vec<(String, Source)>,
}

#[derive(Debug, Clone)]
enum Source {
    Label(String),
    Template(Template),
}

impl LabelFormatter {
    pub(crate) fn new(formats: &[LabelFormat]) -> Result<Self, String> {
        let mut ready: Vec<(String, Source)> = Vec::new();
        for format in formats {
            let name = &format.name;
            if name == ERROR_LABEL {
                return Err(format!("{name} cannot be formatted"));
            }
            if ready.iter().any(|(other, _)| other == name) {
                return Err(format!("multiple label name '{name}' not allowed in a single format operation"));
            }
            let source = match &format.value {
                LabelFormatValue::Rename(source) => Source::Label(source.clone()),
                LabelFormatValue::Template(text) => Source::Template(
                    Template::parse("label", text, &[loki::FUNCTIONS])
                        .map_err(|error| format!("invalid template for label '{name}': {error}"))?,
                ),
            };
            ready.push((name.clone(), source));
        }
        Ok(Self { formats: ready })
    }

    /// Templates see the labels as they were before the first template of the stage ran.
    pub(crate) fn process(&self, row: &mut Row<'_>) {
        let mut seen = None;
        for (name, source) in &self.formats {
            match source {
                Source::Label(source) => {
                    let value = row.get(source).map(Cow::into_owned);
                    if let Some(value) = value {
                        row.set(Cow::Owned(name.clone()), Cow::Owned(value));
                        row.remove(source);
                    }
                }
                Source::Template(template) => {
                    let seen = seen.get_or_insert_with(|| super::format_line::Seen::of(row));
                    match template.render(seen) {
                        Ok(text) => row.set(Cow::Owned(name.clone()), Cow::Owned(text)),
                        Err(error) => row.set_error(TEMPLATE, Some(error)),
                    }
                }
            }
        }
    }

    /// Calls `visit` with each label that is read.
    pub(crate) fn each_name<'f>(&'f self, visit: &mut impl FnMut(&'f str)) {
        for (_, source) in &self.formats {
            match source {
                Source::Label(name) => visit(name),
                Source::Template(template) => template.fields().for_each(&mut *visit),
            }
        }
    }
}
