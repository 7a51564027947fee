//! Go's `text/template`.

use std::collections::BTreeMap;

/// What a template sees.
pub trait Context {
    /// The fields of `.`.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// `__line__`.
    fn line(&self) -> &str;
    /// `__timestamp__`, nanoseconds since 1970.
    fn timestamp(&self) -> i64;
}

/// A template, ready to run.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads a template; `name` shows in errors.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((plain, action)) = rest.split_once("{{") {
            parts.push(Part::Text(plain.to_owned()));
            let (inside, tail) =
                action.split_once("}}").ok_or_else(|| format!("template: {name}:1: unclosed action"))?;
            let field = inside.trim().strip_prefix('.').filter(|f| !f.is_empty());
            let plain = |f: &&str| f.chars().all(|c| c == '_' || c.is_alphanumeric());
            let field = field
                .filter(plain)
                .ok_or_else(|| format!("template: {name}:1: {{{{{inside}}}}} is not supported yet"))?;
            parts.push(Part::Field(field.to_owned()));
            rest = tail;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|p| !matches!(p, Part::Text(t) if t.is_empty()));
        Ok(Self { parts })
    }

    /// The field, if the template is nothing but one.
    pub fn only_field(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Field(field)] => Some(field),
            _ => None,
        }
    }

    /// The fields that are read.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|p| if let Part::Field(f) = p { Some(f.as_str()) } else { None })
    }

    /// The text for `context`.
    ///
    /// # Errors
    /// When a function fails.
    pub fn render(&self, context: &dyn Context) -> Result<String, String> {
        Ok(self
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Field(field) => context.labels().get(field).map_or("", String::as_str),
            })
            .collect())
    }
}
