//! Mail: SMTP with STARTTLS, or with TLS from the first byte. Mails about one group are one thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{Common, Target, cut, template};
use crate::notify::config::yaml::fields;
use crate::notify::message::Message;
use crate::scrape::config::{Secret, Source, TlsYaml};

/// A line of a header may have 998 characters.
const SUBJECT_MAX: usize = 200;
const BODY_MAX: usize = 1_000_000;
const IMPLICIT_TLS_PORT: u16 = 465;

fields! {
    /// `email_configs`.
    struct EmailYaml {
        send_resolved: bool,
        to: String,
        from: String,
        hello: String,
        smarthost: String,
        auth_username: String,
        auth_password: Secret,
        auth_password_file: String,
        auth_secret: Secret,
        auth_secret_file: String,
        auth_identity: String,
        headers: BTreeMap<String, String>,
        html: String,
        text: String,
        require_tls: bool,
        tls_config: TlsYaml,
        force_implicit_tls: bool,
    }
}

/// Mails to somebody.
#[derive(Debug)]
pub(crate) struct Email {
    to: String,
    from: String,
    hello: String,
    host: String,
    port: u16,
    login: Option<(String, Source)>,
    headers: BTreeMap<String, String>,
    html: String,
    text: String,
    require_tls: bool,
    implicit_tls: bool,
    ca: Option<Source>,
    server_name: Option<String>,
    insecure: bool,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &EmailYaml, common: &Common<'_>) -> Result<Target, String> {
    let global = common.global;
    let or = |own: &Option<String>, global: &Option<String>| {
        own.clone().or_else(|| global.clone()).filter(|text| !text.is_empty())
    };
    let smarthost = or(&yaml.smarthost, &global.smtp_smarthost).ok_or("smarthost must be given, here or in global")?;
    let (host, port) = smarthost.rsplit_once(':').ok_or("smarthost: write it as host:port")?;
    let port: u16 = port.parse().map_err(|_| format!("smarthost: {port:?} is no port"))?;
    if yaml.auth_secret.is_some() || yaml.auth_secret_file.is_some() {
        return Err("auth_secret: CRAM-MD5 is not available; auth_password is".to_owned());
    }
    let password = common.secret(
        "auth_password",
        (yaml.auth_password.as_ref(), yaml.auth_password_file.as_deref()),
        (global.smtp_auth_password.as_ref(), global.smtp_auth_password_file.as_deref()),
    )?;
    let user = or(&yaml.auth_username, &global.smtp_auth_username);
    let tls = yaml.tls_config.as_ref().or(global.smtp_tls_config.as_ref());
    let implicit = yaml.force_implicit_tls.or(global.smtp_force_implicit_tls).unwrap_or(port == IMPLICIT_TLS_PORT);
    Ok(Target::Email(Box::new(Email {
        to: or(&yaml.to, &None).ok_or("to must be given")?,
        from: or(&yaml.from, &global.smtp_from).ok_or("from must be given, here or in global")?,
        hello: or(&yaml.hello, &global.smtp_hello).unwrap_or_else(|| "localhost".to_owned()),
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        login: user.zip(password),
        headers: yaml.headers.clone().unwrap_or_default(),
        html: template(yaml.html.as_ref(), r#"{{ template "email.default.html" . }}"#),
        text: template(yaml.text.as_ref(), r#"{{ template "email.default.text" . }}"#),
        require_tls: yaml.require_tls.or(global.smtp_require_tls).unwrap_or(true),
        implicit_tls: implicit,
        ca: tls.and_then(|tls| ca(tls, common)),
        server_name: tls.and_then(|tls| tls.server_name.clone()).filter(|name| !name.is_empty()),
        insecure: tls.and_then(|tls| tls.insecure_skip_verify).unwrap_or(false),
    })))
}

fn ca(tls: &TlsYaml, common: &Common<'_>) -> Option<Source> {
    let file = tls.ca_file.as_ref().filter(|file| !file.is_empty());
    let file = file.map(|file| Source::File(PathBuf::from(common.folder).join(file)));
    file.or_else(|| tls.ca.clone().map(Source::Plain))
}

impl Email {
    /// The mail.
    ///
    /// # Errors
    /// When a template fails, or an address is none.
    pub(crate) fn mail(&self, message: &Message<'_>) -> Result<lettre::Message, String> {
        let default_subject = r#"{{ template "email.default.subject" . }}"#;
        let named = |wanted: &str| self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let header = |name: &str, default: &str| {
            let text = named(name).map_or(default, |(_, value)| value.as_str());
            message.text(text).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let address = |name: &str, text: &str| -> Result<Mailboxes, String> {
            text.parse().map_err(|error| format!("{name}: {text:?} is no list of addresses: {error}"))
        };
        let from: Mailbox = header("From", &self.from)?.parse().map_err(|error| format!("from: {error}"))?;
        let domain = from.email.domain().to_owned();
        let mut builder = lettre::Message::builder()
            .from(from)
            .mailbox(lettre::message::header::To::from(address("to", &header("To", &self.to)?)?))
            .subject(cut(&header("Subject", default_subject)?, SUBJECT_MAX))
            .message_id(Some(format!("<{}@{domain}>", message.key)))
            .references(format!("<{}@{domain}>", message.group_id()))
            .date(message.now());
        for (name, value) in &self.headers {
            if ["from", "to", "subject", "date", "message-id"].contains(&name.to_lowercase().as_str()) {
                continue;
            }
            let value = message.text(value)?;
            let name = HeaderName::new_from_ascii(name.clone()).map_err(|_| format!("headers: {name:?} is no name"))?;
            builder = builder.raw_header(HeaderValue::new(name, value.trim().to_owned()));
        }
        let part = |kind: ContentType, body: String| SinglePart::builder().header(kind).body(body);
        let text = cut(message.text(&self.text)?.trim(), BODY_MAX);
        let html = cut(message.html(&self.html)?.trim(), BODY_MAX);
        let mail = match (text.is_empty(), html.is_empty()) {
            (false, false) => {
                let both = MultiPart::alternative().singlepart(part(ContentType::TEXT_PLAIN, text));
                builder.multipart(both.singlepart(part(ContentType::TEXT_HTML, html)))
            }
            (_, false) => builder.singlepart(part(ContentType::TEXT_HTML, html)),
            _ => builder.singlepart(part(ContentType::TEXT_PLAIN, text)),
        };
        mail.map_err(|error| error.to_string())
    }

    /// Sends a mail; what the server answered.
    ///
    /// # Errors
    /// What went wrong, with the server's code if it said one.
    pub(crate) async fn send(&self, mail: lettre::Message, timeout: Duration) -> Result<u16, (Option<u16>, String)> {
        let transport = self.transport(timeout).await.map_err(|why| (None, why))?;
        match transport.send(mail).await {
            Ok(response) => Ok(u16::from(response.code())),
            Err(error) => Err((error.status().map(u16::from), chain(&error))),
        }
    }

    async fn transport(&self, timeout: Duration) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
        let name = self.server_name.clone().unwrap_or_else(|| self.host.clone());
        let mut parameters = TlsParameters::builder(name).dangerous_accept_invalid_certs(self.insecure);
        if let Some(ca) = &self.ca {
            let pem = ca.read().await?;
            let certificate =
                Certificate::from_pem(pem.as_bytes()).map_err(|error| format!("tls_config: ca: {error}"))?;
            parameters = parameters.add_root_certificate(certificate);
        }
        let parameters = parameters.build().map_err(|error| format!("tls_config: {error}"))?;
        let tls = match (self.implicit_tls, self.require_tls) {
            (true, _) => Tls::Wrapper(parameters),
            (false, true) => Tls::Required(parameters),
            (false, false) => Tls::Opportunistic(parameters),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .hello_name(ClientId::Domain(self.hello.clone()))
            .timeout(Some(timeout))
            .tls(tls);
        if let Some((user, password)) = &self.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.read().await?));
        }
        Ok(builder.build())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{long_message, message, target};
    use super::*;

    #[test]
    fn a_mail_has_text_and_html() {
        let target = target(
            "email_configs: [{to: 'ops@example.org, b@example.org', from: farol@example.org, smarthost: 'mail:25',
             auth_username: u, auth_password: s3cret, headers: {X-Team: '{{ .GroupLabels.job }}'}}]",
        );
        let Target::Email(email) = &target else { panic!("{target:?}") };
        let mail = String::from_utf8(email.mail(&message()).unwrap().formatted()).unwrap();
        for part in [
            "To: ops@example.org, b@example.org\r\n",
            "From: farol@example.org\r\n",
            "X-Team: api\r\n",
            "References: <",
            "Message-ID: <key-1@example.org>",
            "text/plain",
            "text/html",
            "HighErrors",
        ] {
            assert!(mail.contains(part), "{part}: {mail}");
        }
        assert!(!format!("{target:?}").contains("s3cret"));
        let long = email.mail(&long_message()).unwrap().formatted();
        assert!(long.len() < 3_000_000);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |yaml: EmailYaml, part: &str| {
            let global = crate::notify::config::yaml::GlobalYaml::default();
            let common = Common::new(&global, std::path::Path::new("")).unwrap();
            let why = checked(&yaml, &common).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        let some = |text: &str| Some(text.to_owned());
        check(EmailYaml::default(), "smarthost must be given");
        check(EmailYaml { smarthost: some("mail"), ..EmailYaml::default() }, "host:port");
        check(EmailYaml { smarthost: some("mail:25"), from: some("a@b"), ..EmailYaml::default() }, "to must be given");
    }
}
