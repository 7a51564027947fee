//! What is read, what is refused and how, and that no secret shows.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use super::*;

fn parse(text: &str) -> Result<ScrapeConfig, String> {
    ScrapeConfig::parse(text, Path::new("/etc/farol/scrape.yml")).map_err(|error| error.to_string())
}

const WHOLE: &str = r#"
global:
  scrape_interval: 20s
  evaluation_interval: 30s
  external_labels: {region: eu, price: $$1}
  sample_limit: 1500
scrape_configs:
- job_name: plain
  static_configs:
  - targets: ["localhost:9090", "localhost:9191"]
    labels: {my: label, n: 1}
- job_name: whole
  scrape_interval: 50s
  scrape_timeout: 5s
  scheme: https
  metrics_path: /my_path
  honor_labels: yes
  honor_timestamps: false
  track_timestamps_staleness: true
  enable_compression: false
  follow_redirects: false
  params: {module: [http_2xx], x: ["1", "2"]}
  scrape_protocols: [PrometheusProto, PrometheusText0.0.4]
  fallback_scrape_protocol: PrometheusText0.0.4
  scrape_native_histograms: true
  scrape_classic_histograms: true
  extra_scrape_metrics: true
  body_size_limit: 10MB
  sample_limit: 1000
  basic_auth: {username: admin, password: "multi\nline hunter2"}
  tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: /k.pem, server_name: s, insecure_skip_verify: true, min_version: TLS13}
  http_headers: {X-Key: {values: [a], secrets: [hunter3]}}
  file_sd_configs:
  - files: [targets/*.yml, /abs/x.json]
    refresh_interval: 10m
  http_sd_configs:
  - url: http://sd/targets
    authorization: {credentials: hunter4}
  relabel_configs:
  - {source_labels: [job], target_label: job, regex: (.*)some, replacement: "foo-${1}"}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: "expensive.*", action: drop}
"#;

#[test]
fn settings_are_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.external_labels, [("region", "eu"), ("price", "$1")].into_iter().collect());
    let [plain, whole] = config.jobs.as_slice() else { panic!("two jobs") };
    assert_eq!((plain.interval.to_string(), plain.timeout.to_string()), ("20s".to_owned(), "10s".to_owned()));
    assert_eq!((plain.limits.samples, whole.limits.samples, whole.limits.body_size), (1500, 1000, 10 << 20));
    assert_eq!(plain.static_groups[0].labels, [("my", "label"), ("n", "1")].into_iter().collect());
    assert!(plain.honor_timestamps && !plain.honor_labels && plain.enable_compression && !plain.histograms.native);
    assert_eq!(
        plain.accept(),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    );
    assert!(
        whole.honor_labels && !whole.honor_timestamps && whole.track_timestamps_staleness && !whole.enable_compression
    );
    assert!(whole.histograms.native && whole.histograms.always_classic && whole.extra_metrics);
    assert_eq!(whole.protocols, [Protocol::Proto, Protocol::Text0]);
    assert_eq!(whole.file_discovery[0].files, [Path::new("/etc/farol/targets/*.yml"), Path::new("/abs/x.json")]);
    assert_eq!(whole.file_discovery[0].refresh_interval, Duration::from_secs(600));
    assert_eq!(whole.http_discovery[0].refresh_interval, Duration::from_secs(60));
    let tls = &whole.http.tls;
    assert_eq!(tls.ca, Some(Source::File("/etc/farol/ca.pem".into())));
    assert!(tls.insecure_skip_verify && tls.only_13 && !whole.http.follow_redirects);
    assert_eq!((whole.relabel.len(), whole.metric_relabel.len()), (1, 1));
}

#[test]
fn secrets_do_not_show() {
    let config = parse(WHOLE).unwrap();
    for shown in [config.to_yaml(), format!("{config:?}")] {
        assert!(!shown.contains("hunter"), "{shown}");
    }
    let yaml = config.to_yaml();
    assert!(yaml.contains("<secret>") && yaml.contains("scrape_interval: 20s"), "{yaml}");
    // What is shown can be read, so that people can go on from it.
    parse(&yaml).unwrap();
    for text in [
        "scrape_configs: [{job_name: a, basic_auth: hunter2}]",
        "scrape_configs: [{job_name: a, basic_auth: {password: [hunter2]}}]",
        "scrape_configs: [{job_name: a, basic_auth: {pasword: hunter2}}]",
        "scrape_configs: [{job_name: a, bearer_token: hunter2, bearer_token_file: x}]",
        "scrape_configs: [{job_name: a, http_sd_configs: [{url: 'http://me:hunter2@x/'}]}]",
        "scrape_configs: [{job_name: a, authorization: {credentials: hunter2, type: Basic}}]",
    ] {
        let error = parse(text).unwrap_err();
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let job = |rest: &str| format!("scrape_configs:\n- job_name: a\n  {rest}\n");
    for (text, error) in [
        ("scrap_configs: []".to_owned(), "/etc/farol/scrape.yml:1:1: unknown field \"scrap_configs\""),
        (job("sample_limits: 1"), "/etc/farol/scrape.yml:3:3: unknown field \"sample_limits\""),
        (
            job("kubernetes_sd_configs: [{role: pod}]"),
            "/etc/farol/scrape.yml:3:3: kubernetes_sd_configs: this way of disc",
        ),
        (job("oauth2: {}"), "/etc/farol/scrape.yml:3:3: oauth2: Prometheus has this setting, Farol does not"),
        ("alerting: {}".to_owned(), "/etc/farol/scrape.yml:1:1: alerting: only global, scrape_configs"),
        (job("relabel_configs: [{action: explode}]"), "/etc/farol/scrape.yml:3:30: unknown relabel action \"explode\""),
        (
            job("relabel_configs: [{action: hashmod, target_label: x}]"),
            "/etc/farol/scrape.yml: job \"a\": relabel_configs[0]: r",
        ),
        (job("relabel_configs: [null]"), "/etc/farol/scrape.yml: job \"a\": relabel_configs[0] is empty"),
        (job("scrape_interval: 5"), "/etc/farol/scrape.yml:3:20: \"5\" is no duration"),
        (job("scrape_timeout: 2m"), "/etc/farol/scrape.yml: job \"a\": scrape_timeout (2m) is greater than"),
        (
            job("scrape_protocols: [Foo]"),
            "/etc/farol/scrape.yml: job \"a\": scrape_protocols: unknown protocol \"Foo\"",
        ),
        (job("scrape_protocols: []"), "/etc/farol/scrape.yml: job \"a\": scrape_protocols is empty"),
        (job("body_size_limit: big"), "/etc/farol/scrape.yml:3:20: \"big\" is no size"),
        (
            job("static_configs: [{targets: ['http://x/']}]"),
            "/etc/farol/scrape.yml: job \"a\": static_configs[0]: \"http",
        ),
        (job("file_sd_configs: [{files: [x.txt]}]"), "/etc/farol/scrape.yml: job \"a\": file_sd_configs[0]: "),
        (
            job("http_sd_configs: [{url: 'ftp://x'}]"),
            "/etc/farol/scrape.yml: job \"a\": http_sd_configs[0]: the scheme",
        ),
        (
            job("bearer_token: x\n  basic_auth: {username: y}"),
            "/etc/farol/scrape.yml: job \"a\": at most one of basic_auth",
        ),
        (job("tls_config: {cert_file: x}"), "/etc/farol/scrape.yml: job \"a\": tls_config: a certificate and its key"),
        (job("job_name: b"), "/etc/farol/scrape.yml:3:3: duplicate mapping key"),
        (
            "scrape_configs: [{job_name: a}, {job_name: a}]".to_owned(),
            "/etc/farol/scrape.yml: job \"a\" is there twice",
        ),
        ("scrape_configs: [{scheme: http}]".to_owned(), "/etc/farol/scrape.yml: scrape_configs[0]: job_name is empty"),
        ("scrape_configs: [null]".to_owned(), "/etc/farol/scrape.yml: scrape_configs[0] is empty"),
        ("global: {external_labels: {'': x}}".to_owned(), "/etc/farol/scrape.yml: global: \"\" in external_labels"),
    ] {
        let got = parse(&text).unwrap_err();
        assert!(got.starts_with(error), "{got}\n{error}");
    }
}

#[test]
fn other_files_bring_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "main.yml",
        "scrape_config_files: ['more*.yml']\nscrape_configs: [{job_name: a}]\nglobal: {scrape_interval: 7s}",
    );
    write("more1.yml", "scrape_configs: [{job_name: b, bearer_token_file: t}]");
    let config = ScrapeConfig::load(&folder.path().join("main.yml")).unwrap();
    assert_eq!(config.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(config.jobs[1].interval, Lapse::seconds(7));
    write("more2.yml", "scrape_configs: [{job_name: a}]");
    let error = ScrapeConfig::load(&folder.path().join("main.yml")).unwrap_err().to_string();
    assert!(error.ends_with("more2.yml: job \"a\" is there twice"), "{error}");
    ScrapeConfig::load(Path::new("/none/at/all.yml")).unwrap_err();
}

#[test]
fn without_settings_it_scrapes_itself() {
    for (own, target) in [("0.0.0.0:7600", "127.0.0.1:7600"), ("127.0.0.1:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2")] {
        let config = ScrapeConfig::of_itself(own.parse().unwrap());
        assert_eq!(config.jobs[0].name, "farol");
        assert_eq!(config.jobs[0].static_groups[0].targets, [target]);
    }
}

#[test]
fn an_empty_file_is_no_job() {
    for text in ["", "global:", "scrape_configs:\n", "# nothing\n"] {
        assert!(parse(text).unwrap().jobs.is_empty(), "{text:?}");
    }
}
