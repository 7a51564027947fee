//! Templates of messages: Go's language with Alertmanager's functions and data, and what Farol knows besides.
//!
//! The names that Alertmanager defines are there (`slack.default.title` and so on), so that templates which run them go on
//! working; what they say is Farol's own, so that a message explains itself.

mod functions;
mod objects;

use std::collections::BTreeMap;
use std::path::PathBuf;

use query::template::{Context, Library, Template, Value};

use super::data::Data;

const BUILT_IN: &str = include_str!("template/default.tmpl");
const LABELS: &BTreeMap<String, String> = &BTreeMap::new();

/// Templates by name, the built-in ones and those of files.
#[derive(Debug)]
pub(crate) struct Templates {
    library: Library,
}

impl Templates {
    /// The built-in templates.
    pub(crate) fn built_in() -> Self {
        let mut library = Library::default();
        if let Err(why) = library.add("default.tmpl", BUILT_IN, functions::ALL) {
            tracing::error!("the built-in templates cannot be read: {why}");
        }
        Self { library }
    }

    /// The built-in templates, and those of files: of two with one name the later counts.
    ///
    /// # Errors
    /// When one is malformed: in which file and line.
    pub(crate) fn new<'a>(files: impl Iterator<Item = &'a (PathBuf, String)>) -> Result<Self, String> {
        let mut templates = Self::built_in();
        for (path, text) in files {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let added = templates.library.add(&name, text, functions::ALL);
            added.map_err(|why| format!("{}: {why}", path.display()))?;
        }
        Ok(templates)
    }

    /// A template, filled.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn text(&self, template: &str, data: &Data, now_ms: i64) -> Result<String, String> {
        self.read(template)?.render(&Filling { data, now_ms })
    }

    /// A template, filled, with values escaped for HTML.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn html(&self, template: &str, data: &Data, now_ms: i64) -> Result<String, String> {
        self.read(template)?.render_html(&Filling { data, now_ms })
    }

    /// Reads a template that may run those by name.
    ///
    /// # Errors
    /// When it is malformed.
    pub(crate) fn read(&self, template: &str) -> Result<Template, String> {
        Template::parse_in("", template, functions::ALL, &self.library)
    }
}

/// What a template runs with.
struct Filling<'a> {
    data: &'a Data,
    now_ms: i64,
}

impl Context for Filling<'_> {
    fn dot(&self) -> Value {
        objects::data(self.data)
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        LABELS
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        functions::call(name, arguments, self.now_ms)
    }
}

#[cfg(test)]
mod tests;
