//! What can go wrong with a record on its way; the record stays, marked with `__error__`.

use std::borrow::Cow;

use super::demand::Demand;
use super::row::{PRESERVE_ERROR_LABEL, Row};

pub(crate) const JSON: &str = "JSONParserErr";
pub(crate) const LOGFMT: &str = "LogfmtParserErr";
pub(crate) const LABEL_FILTER: &str = "LabelFilterErr";
pub(crate) const TEMPLATE: &str = "TemplateFormatErr";
pub(crate) const SAMPLE: &str = "SampleExtractionErr";

/// Marks a row with the error of a parser.
pub(crate) fn mark(row: &mut Row<'_>, demand: &Demand, kind: &'static str, details: Option<String>) {
    row.set_error(kind, details);
    if demand.keeps_errors() {
        row.set(Cow::Borrowed(PRESERVE_ERROR_LABEL), Cow::Borrowed("true"));
    }
}
