//! How a target, or a list of targets, is asked for: checked, with paths resolved.

use std::path::{Path, PathBuf};

use super::text::Secret;
use super::yaml::{AuthorizationYaml, BasicAuthYaml, HttpClientYaml, TlsYaml};

/// How an HTTP client talks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct HttpSettings {
    /// Who asks.
    pub(crate) authorization: Option<Authorization>,
    /// How HTTPS is spoken.
    pub(crate) tls: TlsSettings,
    /// Whether an answer that names another place is followed.
    pub(crate) follow_redirects: bool,
    /// Whether HTTP/2 is offered with HTTPS.
    pub(crate) http2: bool,
    /// Headers of every request.
    pub(crate) headers: Vec<(String, Source)>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Authorization {
    /// A user and a password.
    Basic {
        /// The user.
        user: Source,
        /// The password.
        password: Source,
    },
    /// A scheme such as `Bearer`, and what goes with it.
    Other {
        /// The scheme.
        scheme: String,
        /// What goes with it.
        credentials: Source,
    },
}

/// A text that may stand in a file, which is read whenever it is needed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The text itself.
    Given(Secret),
    /// The text that anybody may see.
    Plain(String),
    /// The file that holds it.
    File(PathBuf),
}

impl Source {
    /// The text; of a file without the spaces around it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn read(&self) -> Result<String, String> {
        match self {
            Self::Given(secret) => Ok(secret.reveal().to_owned()),
            Self::Plain(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                text.map(|text| text.trim().to_owned()).map_err(|error| format!("read {}: {error}", path.display()))
            }
        }
    }
}

/// How HTTPS is spoken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TlsSettings {
    /// Who is trusted; the machine's own list when nothing is given.
    pub(crate) ca: Option<Source>,
    /// The client's certificate and key.
    pub(crate) identity: Option<(Source, Source)>,
    /// The name that the server's certificate must have, if not that of the address.
    pub(crate) server_name: Option<String>,
    /// Nobody's certificate is looked at.
    pub(crate) insecure_skip_verify: bool,
    /// TLS 1.3 and nothing before it.
    pub(crate) only_13: bool,
    /// TLS 1.2 and nothing after it.
    pub(crate) only_12: bool,
}

impl HttpSettings {
    /// Checks the settings. Relative paths begin at `folder`.
    ///
    /// # Errors
    /// What does not fit together.
    pub(crate) fn new(yaml: &HttpClientYaml, folder: &Path) -> Result<Self, String> {
        let bearer = either("bearer_token", yaml.bearer_token.as_ref(), yaml.bearer_token_file.as_deref(), folder)?;
        let ways = [yaml.basic_auth.is_some(), yaml.authorization.is_some(), bearer.is_some()];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err("at most one of basic_auth, authorization and bearer_token may be given".to_owned());
        }
        let authorization = match (&yaml.basic_auth, &yaml.authorization) {
            (Some(basic), _) => Some(basic_auth(basic, folder)?),
            (None, Some(given)) => Some(other_authorization(given, folder)?),
            (None, None) => bearer.map(|credentials| Authorization::Other { scheme: "Bearer".to_owned(), credentials }),
        };
        let mut headers = Vec::new();
        for (name, header) in yaml.http_headers.iter().flatten() {
            let reserved = ["authorization", "host", "content-length", "accept-encoding", "user-agent", "accept"];
            if reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
                return Err(format!("http_headers: {name:?} cannot be set here"));
            }
            let values = header.values.iter().flatten().map(|value| Source::Plain(value.clone()));
            let secrets = header.secrets.iter().flatten().map(|secret| Source::Given(secret.clone()));
            let files = header.files.iter().flatten().map(|file| Source::File(folder.join(file)));
            headers.extend(values.chain(secrets).chain(files).map(|source| (name.clone(), source)));
        }
        Ok(Self {
            authorization,
            tls: yaml.tls_config.as_ref().map_or_else(|| Ok(TlsSettings::default()), |yaml| tls(yaml, folder))?,
            follow_redirects: yaml.follow_redirects.unwrap_or(true),
            http2: yaml.enable_http2.unwrap_or(true),
            headers,
        })
    }
}

/// A value, or the file that holds it; not both.
fn either(name: &str, given: Option<&Secret>, file: Option<&str>, folder: &Path) -> Result<Option<Source>, String> {
    match (given, file.filter(|file| !file.is_empty())) {
        (Some(_), Some(_)) => Err(format!("at most one of {name} and {name}_file may be given")),
        (Some(secret), None) => Ok(Some(Source::Given(secret.clone()))),
        (None, Some(file)) => Ok(Some(Source::File(folder.join(file)))),
        (None, None) => Ok(None),
    }
}

fn basic_auth(yaml: &BasicAuthYaml, folder: &Path) -> Result<Authorization, String> {
    let user = match (&yaml.username, &yaml.username_file) {
        (Some(_), Some(_)) => {
            return Err("basic_auth: at most one of username and username_file may be given".to_owned());
        }
        (_, Some(file)) => Source::File(folder.join(file)),
        (user, None) => Source::Plain(user.clone().unwrap_or_default()),
    };
    let password = either("password", yaml.password.as_ref(), yaml.password_file.as_deref(), folder);
    let password = password.map_err(|why| format!("basic_auth: {why}"))?;
    Ok(Authorization::Basic { user, password: password.unwrap_or_else(|| Source::Given(Secret::default())) })
}

fn other_authorization(yaml: &AuthorizationYaml, folder: &Path) -> Result<Authorization, String> {
    let scheme = yaml.scheme.as_deref().map_or("Bearer", str::trim).to_owned();
    if scheme.eq_ignore_ascii_case("basic") {
        return Err("authorization: the type cannot be \"basic\": use basic_auth".to_owned());
    }
    let credentials = either("credentials", yaml.credentials.as_ref(), yaml.credentials_file.as_deref(), folder)
        .map_err(|why| format!("authorization: {why}"))?
        .ok_or("authorization: credentials or credentials_file must be given")?;
    Ok(Authorization::Other { scheme, credentials })
}

fn tls(yaml: &TlsYaml, folder: &Path) -> Result<TlsSettings, String> {
    let public = |name: &str, given: &Option<String>, file: &Option<String>| match (given, file) {
        (Some(_), Some(_)) => Err(format!("tls_config: at most one of {name} and {name}_file may be given")),
        (Some(text), None) => Ok(Some(Source::Plain(text.clone()))),
        (None, Some(file)) if !file.is_empty() => Ok(Some(Source::File(folder.join(file)))),
        (None, _) => Ok(None),
    };
    let cert = public("cert", &yaml.cert, &yaml.cert_file)?;
    let key = either("key", yaml.key.as_ref(), yaml.key_file.as_deref(), folder)
        .map_err(|why| format!("tls_config: {why}"))?;
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err("tls_config: a certificate and its key must be given together".to_owned()),
    };
    let version = |name: &str, given: &Option<String>| match given.as_deref() {
        None | Some("") => Ok(None),
        Some("TLS10" | "TLS11" | "TLS12") => Ok(Some(12)),
        Some("TLS13") => Ok(Some(13)),
        Some(other) => Err(format!("tls_config: {name} is TLS12 or TLS13, not {other:?}")),
    };
    let (min, max) = (version("min_version", &yaml.min_version)?, version("max_version", &yaml.max_version)?);
    if yaml.max_version.as_deref().is_some_and(|max| max == "TLS10" || max == "TLS11") || min > max.or(Some(13)) {
        return Err(
            "tls_config: there is no version between min_version and max_version; TLS12 is the least".to_owned()
        );
    }
    Ok(TlsSettings {
        ca: public("ca", &yaml.ca, &yaml.ca_file)?,
        identity,
        server_name: yaml.server_name.clone().filter(|name| !name.is_empty()),
        insecure_skip_verify: yaml.insecure_skip_verify.unwrap_or(false),
        only_13: min == Some(13),
        only_12: max == Some(12),
    })
}
