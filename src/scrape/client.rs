//! Asks targets and lists of targets over HTTP, and tells receivers of alerts: one pool of connections a job or receiver.
//!
//! Bounded by time and by size, also after unpacking. Passwords, tokens and certificates that stand in files are read when
//! they are needed, so that they can change. Errors show none of them.

use std::error::Error;
use std::io::Read as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;

use super::config::{Authorization, HttpSettings, TlsSettings};
use super::tls;

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// As in Go's client.
const REDIRECTS_MAX: usize = 10;
/// So much of the answer to what was told is read.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// A connection that nobody uses is closed after so long.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// A client with one set of settings.
#[derive(Debug)]
pub(crate) struct HttpClient {
    settings: HttpSettings,
    /// The connections, and when the files changed that they were made with.
    pool: Mutex<Option<(Vec<Option<SystemTime>>, Pool)>>,
    /// The connections without TLS, if nothing is set of it: the machine's certificates are not read for them.
    plain: OnceLock<Pool>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// Where.
    pub(crate) url: &'a str,
    /// Besides those of the settings.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    /// Whether the answer may be packed.
    pub(crate) gzip: bool,
    /// The longest answer, unpacked.
    pub(crate) body_bytes_max: u64,
    /// Until the last byte.
    pub(crate) timeout: Duration,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of the body; empty when it was not said.
    pub(crate) content_type: String,
    /// Unpacked.
    pub(crate) body: Bytes,
}

/// What is told, and whom.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    /// How.
    pub(crate) method: Method,
    /// Where; it may be secret, and no error has it.
    pub(crate) url: &'a str,
    /// Besides those of the settings; they may be secret.
    pub(crate) headers: &'a [(String, String)],
    /// What.
    pub(crate) body: Bytes,
    /// Until the last byte of the answer.
    pub(crate) timeout: Duration,
}

/// What was answered, whatever the status.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, or its beginning.
    pub(crate) body: Bytes,
}

/// Why nothing came that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// The answer is too long.
    #[error("body size limit exceeded: more than {0} bytes")]
    BodySize(u64),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<String> for AskError {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

impl HttpClient {
    /// A client; it connects, and reads files, when it is used.
    pub(crate) fn new(settings: HttpSettings) -> Self {
        Self { settings, pool: Mutex::new(None), plain: OnceLock::new() }
    }

    /// Asks for a URL and reads the whole answer, which must be a 200.
    ///
    /// # Errors
    /// When that does not work out in time and within the size.
    pub(crate) async fn get(&self, asked: &Asked<'_>) -> Result<Answer, AskError> {
        let answered = tokio::time::timeout(asked.timeout, self.get_in_time(asked)).await;
        answered.unwrap_or_else(|_| Err(format!("Get {:?}: no answer within {:?}", asked.url, asked.timeout).into()))
    }

    /// Tells somebody something, and reads the answer, of the body at most [`REPLY_BYTES_MAX`].
    ///
    /// # Errors
    /// When there is no answer in time. The message does not have the URL.
    pub(crate) async fn send(&self, told: &Told<'_>) -> Result<Reply, String> {
        let answered = tokio::time::timeout(told.timeout, self.send_in_time(told)).await;
        answered.unwrap_or_else(|_| Err(format!("no answer within {:?}", told.timeout)))
    }

    async fn send_in_time(&self, told: &Told<'_>) -> Result<Reply, String> {
        let mut request = Request::new(Full::new(told.body.clone()));
        *request.uri_mut() = told.url.parse().map_err(|_| "this is no URL".to_owned())?;
        let pool = self.pool(request.uri()).await?;
        *request.method_mut() = told.method.clone();
        let asked =
            Asked { url: "", headers: &[], gzip: false, body_bytes_max: REPLY_BYTES_MAX as u64, timeout: told.timeout };
        let mut headers = self.headers(&asked, true).await?;
        for (name, value) in told.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
            let value = HeaderValue::from_str(value);
            let mut value = value.map_err(|_| format!("the value of header {name} cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        *request.headers_mut() = headers;
        let response = pool.request(request).await.map_err(|error| chain(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = response.into_body();
        let mut collected = BytesMut::new();
        while collected.len() < REPLY_BYTES_MAX
            && let Some(frame) = body.frame().await
        {
            // A status is an answer, even if what follows breaks off.
            let Ok(frame) = frame else { break };
            collected.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        collected.truncate(REPLY_BYTES_MAX);
        Ok(Reply { status, headers, body: collected.freeze() })
    }

    async fn get_in_time(&self, asked: &Asked<'_>) -> Result<Answer, AskError> {
        let mut url = url::Url::parse(asked.url).map_err(|error| format!("{:?} is no URL: {error}", asked.url))?;
        let home = url.origin();
        for _ in 0..=REDIRECTS_MAX {
            let uri: Uri = url.as_str().parse().map_err(|error| format!("{:?} is no URL: {error}", asked.url))?;
            let pool = self.pool(&uri).await?;
            let mut request = Request::new(Full::default());
            *request.uri_mut() = uri;
            // Whoever is named by a redirect is not told who asks.
            *request.headers_mut() = self.headers(asked, url.origin() == home).await?;
            let response = pool.request(request).await;
            let response = response.map_err(|error| format!("Get {:?}: {}", asked.url, chain(&error)))?;
            match self.redirect(&response, &url) {
                Some(next) => url = next,
                None => return read(response, asked).await,
            }
        }
        Err(format!("Get {:?}: stopped after {REDIRECTS_MAX} redirects", asked.url).into())
    }

    fn redirect(&self, response: &Response<Incoming>, from: &url::Url) -> Option<url::Url> {
        let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        if !self.settings.follow_redirects || !is_redirect {
            return None;
        }
        let next = from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
        ["http", "https"].contains(&next.scheme()).then_some(next)
    }

    async fn headers(&self, asked: &Asked<'_>, is_home: bool) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let mut put = |name: &str, value: &str, is_secret: bool| {
            let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
            let mut value =
                HeaderValue::from_str(value).map_err(|_| format!("the value of header {name} cannot be sent"))?;
            value.set_sensitive(is_secret);
            headers.append(name, value);
            Ok::<(), String>(())
        };
        put(USER_AGENT.as_str(), concat!("Farol/", env!("CARGO_PKG_VERSION")), false)?;
        put(ACCEPT_ENCODING.as_str(), if asked.gzip { "gzip" } else { "identity" }, false)?;
        for (name, value) in asked.headers {
            put(name, value, false)?;
        }
        if is_home {
            for (name, source) in &self.settings.headers {
                put(name, &source.read().await?, true)?;
            }
            if let Some(authorization) = &self.settings.authorization {
                put(AUTHORIZATION.as_str(), &authorization_header(authorization).await?, true)?;
            }
        }
        Ok(headers)
    }

    async fn pool(&self, uri: &Uri) -> Result<Pool, String> {
        if uri.scheme() == Some(&Scheme::HTTP) && self.settings.tls == TlsSettings::default() {
            if let Some(pool) = self.plain.get() {
                return Ok(pool.clone());
            }
            let new = self.connect(tls::trusts_nobody()?)?;
            return Ok(self.plain.get_or_init(|| new).clone());
        }
        let changed = tls::changed(&self.settings.tls).await;
        let mut pool = self.pool.lock().await;
        if let Some((made_with, pool)) = pool.as_ref()
            && *made_with == changed
        {
            return Ok(pool.clone());
        }
        let config = tls::client_config(&self.settings.tls).await;
        let new = config.and_then(|config| self.connect(config)).map_err(|why| format!("tls_config: {why}"))?;
        *pool = Some((changed, new.clone()));
        Ok(new)
    }

    fn connect(&self, config: ClientConfig) -> Result<Pool, String> {
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let builder = match &self.settings.tls.server_name {
            Some(name) => {
                let name = ServerName::try_from(name.clone()).map_err(|_| format!("{name:?} is no server name"))?;
                builder.with_server_name_resolver(FixedServerNameResolver::new(name))
            }
            None => builder,
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let builder = builder.enable_http1();
        let connector = if self.settings.http2 {
            builder.enable_http2().wrap_connector(http)
        } else {
            builder.wrap_connector(http)
        };
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector))
    }
}

async fn authorization_header(authorization: &Authorization) -> Result<String, String> {
    Ok(match authorization {
        Authorization::Basic { user, password } => {
            let pair = format!("{}:{}", user.read().await?, password.read().await?);
            format!("Basic {}", BASE64_STANDARD.encode(pair))
        }
        Authorization::Other { scheme, credentials } => format!("{scheme} {}", credentials.read().await?),
    })
}

async fn read(response: Response<Incoming>, asked: &Asked<'_>) -> Result<Answer, AskError> {
    if response.status() != StatusCode::OK {
        return Err(format!("server returned HTTP status {}", response.status()).into());
    }
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let is_packed = header(CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip"));
    let mut body = response.into_body();
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("Get {:?}: {}", asked.url, chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        collected.extend_from_slice(&data);
        if collected.len() as u64 > asked.body_bytes_max {
            return Err(AskError::BodySize(asked.body_bytes_max));
        }
    }
    let collected = collected.freeze();
    let body = if is_packed { unpack(collected, asked.body_bytes_max).await? } else { collected };
    Ok(Answer { content_type, body })
}

async fn unpack(packed: Bytes, bytes_max: u64) -> Result<Bytes, AskError> {
    let unpacked = tokio::task::spawn_blocking(move || {
        let mut unpacked = Vec::with_capacity(packed.len().saturating_mul(4));
        MultiGzDecoder::new(packed.as_ref()).take(bytes_max.saturating_add(1)).read_to_end(&mut unpacked)?;
        Ok::<_, std::io::Error>(unpacked)
    });
    let unpacked = unpacked.await.map_err(|error| error.to_string())?.map_err(|error| format!("gzip: {error}"))?;
    if unpacked.len() as u64 > bytes_max {
        return Err(AskError::BodySize(bytes_max));
    }
    Ok(unpacked.into())
}

/// An error with all that lies behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
