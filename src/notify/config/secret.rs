//! Where secrets come from: the file itself, a file that it names, or a variable of the environment.

use std::path::Path;

use crate::scrape::config::{Secret, Source};

/// A secret that is given or stands in a file; not both. `${NAME}`, as the whole of it, is taken from the environment.
///
/// # Errors
/// When both are given, or the environment has no such variable. The message has no secret.
pub(crate) fn source(
    name: &str,
    given: Option<&Secret>,
    file: Option<&str>,
    folder: &Path,
) -> Result<Option<Source>, String> {
    let given = given.filter(|secret| !secret.reveal().is_empty());
    match (given, file.filter(|file| !file.is_empty())) {
        (Some(_), Some(_)) => Err(format!("at most one of {name} and {name}_file may be given")),
        (Some(secret), None) => from_environment(name, secret).map(Source::Given).map(Some),
        (None, Some(file)) => Ok(Some(Source::File(folder.join(file)))),
        (None, None) => Ok(None),
    }
}

fn from_environment(name: &str, secret: &Secret) -> Result<Secret, String> {
    let variable = secret.reveal().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match variable {
        None => Ok(secret.clone()),
        Some(variable) => std::env::var(variable)
            .map(Secret::from)
            .map_err(|_| format!("{name}: the environment has no variable {variable}")),
    }
}

/// A URL that may be secret, as [`source`]; one that is given must be a URL of HTTP.
///
/// # Errors
/// As [`source`]; and when it is no such URL. The message does not have it.
pub(crate) fn url_source(
    name: &str,
    given: Option<&Secret>,
    file: Option<&str>,
    folder: &Path,
) -> Result<Option<Source>, String> {
    let source = source(name, given, file, folder)?;
    if let Some(Source::Given(url)) = &source
        && !url.reveal().contains("{{")
    {
        check_url(name, url.reveal())?;
    }
    Ok(source)
}

/// Refuses what is no URL of HTTP.
///
/// # Errors
/// The name of the field, without its value: it may be secret.
pub(crate) fn check_url(name: &str, url: &str) -> Result<(), String> {
    let parsed = url::Url::parse(url).map_err(|error| format!("{name}: this is no URL: {error}"))?;
    let is_http = ["http", "https"].contains(&parsed.scheme()) && parsed.host_str().is_some();
    if is_http { Ok(()) } else { Err(format!("{name}: the URL must begin with http:// or https:// and name a host")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn given(text: &str) -> Option<Secret> {
        Some(Secret::from(text.to_owned()))
    }

    #[test]
    fn secrets_are_found_or_missed_without_being_told() {
        let here = Path::new("/etc/farol");
        let read = |secret: &str, file| source("api_key", given(secret).as_ref(), file, here);
        assert!(matches!(read("k", None).unwrap(), Some(Source::Given(secret)) if secret.reveal() == "k"));
        assert_eq!(read("", Some("key")).unwrap(), Some(Source::File("/etc/farol/key".into())));
        assert_eq!(read("", None).unwrap(), None);
        assert!(read("k-secret", Some("key")).unwrap_err().contains("at most one of api_key"));
        let why = read("${FAROL_TEST_NOT_THERE}", None).unwrap_err();
        assert!(why.contains("no variable FAROL_TEST_NOT_THERE"), "{why}");
        assert!(matches!(read("${PATH}", None).unwrap(), Some(Source::Given(secret)) if secret.reveal().contains('/')));
        let why = url_source("api_url", given("hooks.example/T/secret").as_ref(), None, here).unwrap_err();
        assert!(why.starts_with("api_url: ") && !why.contains("secret"), "{why}");
    }
}
