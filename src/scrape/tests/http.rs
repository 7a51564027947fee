//! How a target is asked: headers, passwords, packing, redirects, HTTPS, and time.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn header(server: &Server, name: &str) -> Option<String> {
    let (_, headers) = server.asked().into_iter().next_back()?;
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_target_is_told_what_it_may_answer() {
    let server = Server::start("a 1\n").await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"packed 2\n").unwrap();
    let packed = packed.finish().unwrap();
    server.change(|answers| {
        answers.headers.push(("content-encoding", "gzip".to_owned()));
        answers.body = packed;
    });
    let more = "  metrics_path: /m x\n  params: {module: [a b, c]}\n";
    let scraping = Scraping::start(&job(server.address, more));
    scraping.wait("packed 2").await;
    scraping.stop().await;
    let (uri, headers) = server.asked().into_iter().next_back().unwrap();
    assert_eq!(uri.to_string(), "/m%20x?module=a+b&module=c");
    let get = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    assert!(get("accept").starts_with("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"));
    assert_eq!((get("accept-encoding"), get("x-prometheus-scrape-timeout-seconds")), ("gzip", "0.2"));
    assert!(get("user-agent").starts_with("Farol/"));
}

#[tokio::test]
async fn who_asks_is_said() {
    let server = Server::start("a 1\n").await;
    server.change(|answers| answers.status = StatusCode::UNAUTHORIZED);
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "one\n").unwrap();
    let more = format!("  basic_auth: {{username: me, password_file: '{}'}}\n", password.display());
    let scraping = Scraping::start(&job(server.address, &more));
    scraping.wait("up 0").await;
    let error = error_of(&scraping.manager);
    assert_eq!(error, "server returned HTTP status 401 Unauthorized");
    assert_eq!(header(&server, "authorization"), Some(format!("Basic {}", BASE64_STANDARD.encode("me:one"))));
    // The file is read again for every scrape.
    std::fs::write(&password, "two").unwrap();
    let wanted = Some(format!("Basic {}", BASE64_STANDARD.encode("me:two")));
    scraping.until(|_| header(&server, "authorization") == wanted).await;
    std::fs::remove_file(&password).unwrap();
    scraping.until(|manager| error_of(manager).starts_with("read ")).await;
    scraping.stop().await;
    for (more, wanted) in [
        ("  bearer_token: s3cret\n", "Bearer s3cret"),
        ("  authorization: {type: Token, credentials: s3cret}\n", "Token s3cret"),
    ] {
        let scraping = Scraping::start(&job(server.address, more));
        scraping.until(|_| header(&server, "authorization").as_deref() == Some(wanted)).await;
        scraping.stop().await;
    }
    let scraping = Scraping::start(&job(server.address, "  http_headers: {X-Key: {secrets: [k]}}\n"));
    scraping.until(|_| header(&server, "x-key").as_deref() == Some("k")).await;
    scraping.stop().await;
}

#[tokio::test]
async fn redirects_are_followed_without_telling_who_asks() {
    let (here, there) = (Server::start("").await, Server::start("there 1\n").await);
    here.change(|answers| {
        answers.status = StatusCode::FOUND;
        answers.headers = vec![("location", format!("http://{}/elsewhere", there.address))];
    });
    let scraping = Scraping::start(&job(here.address, "  bearer_token: s3cret\n"));
    scraping.wait("there 1").await;
    scraping.stop().await;
    assert_eq!(header(&here, "authorization").as_deref(), Some("Bearer s3cret"));
    assert_eq!(header(&there, "authorization"), None);
    let scraping = Scraping::start(&job(here.address, "  follow_redirects: false\n"));
    scraping.wait("up 0").await;
    let error = error_of(&scraping.manager);
    assert_eq!(error, "server returned HTTP status 302 Found");
    scraping.stop().await;
    here.change(|answers| answers.headers = vec![("location", "/again".to_owned())]);
    let scraping = Scraping::start(&job(here.address, ""));
    scraping.until(|m| error_of(m).ends_with("stopped after 10 redirects")).await;
    scraping.stop().await;
}

#[tokio::test]
async fn a_target_without_a_content_type_needs_a_fallback() {
    let server = Server::start("a 1\n").await;
    server.change(|answers| answers.headers.clear());
    let scraping = Scraping::start(&job(server.address, ""));
    scraping.wait("up 0").await;
    let error = error_of(&scraping.manager);
    assert!(error.starts_with("the target does not say its Content-Type"), "{error}");
    scraping.stop().await;
    let scraping = Scraping::start(&job(server.address, "  fallback_scrape_protocol: PrometheusText0.0.4\n"));
    scraping.wait("a 1").await;
    scraping.stop().await;
}

#[tokio::test]
async fn a_target_that_is_slow_or_not_there_is_down() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scraping = Scraping::start(&job(silent.local_addr().unwrap(), ""));
    scraping.wait("up 0").await;
    let error = error_of(&scraping.manager);
    assert!(error.ends_with("no answer within 200ms"), "{error}");
    scraping.stop().await;
    let address = silent.local_addr().unwrap();
    drop(silent);
    let scraping = Scraping::start(&job(address, ""));
    scraping.until(|m| error_of(m).contains("Connection refused")).await;
    scraping.stop().await;
}

/// A server over HTTPS whose certificate is for `farol.test`; the certificate of who signed it.
async fn secure(body: &'static str) -> (SocketAddr, String) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["farol.test".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let router = Router::new().fallback(move || async move { ([("content-type", "text/plain")], body) });
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    (address, authority.pem())
}

#[tokio::test]
async fn https_checks_the_other_side() {
    let (address, authority) = secure("a 1\n").await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "nothing").unwrap();
    let job = |tls: &str| job(address, &format!("  scheme: https\n  tls_config: {tls}\n"));
    let named = format!("{{ca_file: '{}', server_name: farol.test}}", ca.display());
    let scraping = Scraping::start(&job(&named));
    scraping.wait("up 0").await;
    let error = error_of(&scraping.manager);
    assert_eq!(error, "tls_config: ca: there is no certificate in PEM form");
    // The file changes while it runs.
    std::fs::write(&ca, &authority).unwrap();
    scraping.wait("a 1").await;
    scraping.stop().await;

    let scraping = Scraping::start(&job("{insecure_skip_verify: true}"));
    scraping.wait("a 1").await;
    scraping.stop().await;

    for tls in ["{}".to_owned(), format!("{{ca_file: '{}'}}", ca.display())] {
        let scraping = Scraping::start(&job(&tls));
        scraping.until(|m| error_of(m).contains("invalid peer certificate")).await;
        scraping.stop().await;
    }
}
