//! What of alerts, groups and silences is asked for.

use regex::Regex;

use crate::api::params::Params;
use crate::error::ApiError;
use crate::notify::view::{AlertView, Named};
use crate::notify::{Labels, Matcher, all_match, parse_matchers};

/// Which alerts are shown.
#[derive(Debug)]
pub(super) struct Filter {
    matchers: Vec<Matcher>,
    receiver: Option<Regex>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
}

impl Filter {
    /// Reads a request's parameters.
    ///
    /// # Errors
    /// `BadRequest` when one is malformed.
    pub(super) fn new(params: &Params) -> Result<Self, ApiError> {
        let receiver = Some(params.get("receiver")).filter(|text| !text.is_empty());
        let receiver = receiver.map(|text| {
            let why =
                |_| ApiError::bad_request(format!("failed to parse receiver param: {text:?} is no regular expression"));
            Regex::new(&format!("^(?:{text})$")).map_err(why)
        });
        Ok(Self {
            matchers: matchers(params)?,
            receiver: receiver.transpose()?,
            active: flag(params, "active")?,
            silenced: flag(params, "silenced")?,
            inhibited: flag(params, "inhibited")?,
            muted: flag(params, "muted")?,
        })
    }

    /// Whether an alert is shown.
    pub(super) fn takes(&self, alert: &AlertView) -> bool {
        let status = &alert.status;
        all_match(&self.matchers, &alert.labels)
            && alert.receivers.iter().any(|receiver| self.takes_receiver(receiver))
            && (self.active || status.state != "active")
            && (self.silenced || status.silenced_by.is_empty())
            && (self.inhibited || status.inhibited_by.is_empty())
            && (self.muted || status.muted_by.is_empty())
    }

    /// Whether what a receiver is told is shown.
    pub(super) fn takes_receiver(&self, receiver: &Named) -> bool {
        self.receiver.as_ref().is_none_or(|wanted| wanted.is_match(&receiver.name))
    }
}

/// Every `filter` of a request.
///
/// # Errors
/// `BadRequest` when one is no matcher.
pub(super) fn matchers(params: &Params) -> Result<Vec<Matcher>, ApiError> {
    let mut matchers = Vec::new();
    for text in params.all("filter") {
        matchers.extend(parse_matchers(text).map_err(ApiError::bad_request)?);
    }
    Ok(matchers)
}

/// A parameter that is true unless it is said to be false.
///
/// # Errors
/// `BadRequest` when it is neither.
pub(super) fn flag(params: &Params, name: &str) -> Result<bool, ApiError> {
    match params.get(name) {
        "" | "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        other => Err(ApiError::bad_request(format!("{name} in query must be of type boolean: {other:?}"))),
    }
}

/// Whether a silence's own matchers are those that are asked for: each name with that value.
pub(super) fn is_about(matchers: &[Matcher], wanted: &[Matcher]) -> bool {
    let values: Labels = matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
    all_match(wanted, &values)
}
