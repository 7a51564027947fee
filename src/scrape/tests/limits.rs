//! What is beyond a limit fails the whole scrape.

use super::*;

/// A job with a limit that its target keeps, then breaks: the error, and the report.
async fn check(more: &str, good: &str, bad: &str, error: &str) {
    let server = Server::start(good).await;
    let scraping = Scraping::start(&job(server.address, &format!("  extra_scrape_metrics: true\n{more}")));
    scraping.wait("up 1").await;
    server.set(bad);
    let down = scraping.wait("up 0").await;
    assert_eq!(without_reports(&down), ["a stale"], "{more}");
    let got = error_of(&scraping.manager);
    assert!(got.starts_with(error), "{got}");
    server.set(good);
    let up = scraping.wait("up 1").await;
    assert_eq!(without_reports(&up), ["a 1"]);
    scraping.stop().await;
}

#[tokio::test]
async fn samples() {
    check("  sample_limit: 2\n", "a 1\n", "a 1\nb 2\nc 3\nd 4\n", "sample limit exceeded").await;
    // Those that a rule drops do not count.
    let rules = "  sample_limit: 1\n  metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]\n";
    check(rules, "a 1\nb 2\n", "a 1\nb 2\nc 3\n", "sample limit exceeded").await;
}

#[tokio::test]
async fn labels() {
    check(
        "  label_limit: 3\n",
        "a 1\n",
        "a{x=\"1\"} 1\n",
        "label_limit exceeded (metric: a, number of labels: 4, limit: 3)",
    )
    .await;
    let bad = "a{long_name=\"1\"} 1\n";
    check("  label_name_length_limit: 8\n", "a 1\n", bad, "label_name_length_limit exceeded (metric: a, label name: l")
        .await;
    let bad = "a{x=\"123456\"} 1\n";
    check("  label_value_length_limit: 5\n", "a 1\n", bad, "label_value_length_limit exceeded (metric: a").await;
}

#[tokio::test]
async fn bodies() {
    let long = format!("a 1\n{}", "# long\n".repeat(200));
    check("  body_size_limit: 1KB\n", "a 1\n", &long, "body size limit exceeded").await;
    let server = Server::start(&long).await;
    let more = "  body_size_limit: 1KB\n  extra_scrape_metrics: true\n  sample_limit: 7\n";
    let scraping = Scraping::start(&job(server.address, more));
    let lines = scraping.wait("up 0").await;
    for report in ["scrape_body_size_bytes -1", "scrape_sample_limit 7", "scrape_timeout_seconds 0.2"] {
        assert!(lines.iter().any(|line| line == report), "{lines:?}");
    }
    scraping.stop().await;
}

#[tokio::test]
async fn targets() {
    let server = Server::start("a 1\n").await;
    let port = server.address.port();
    let both = format!("  - {{targets: ['127.0.0.1:{port}', 'localhost:{port}']}}\n");
    let yaml = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: j\n  target_limit: 1\n  static_configs:\n{both}"
    );
    let scraping = Scraping::start(&yaml);
    let lines =
        scraping.wait_for(|lines| lines.iter().any(|line| line.starts_with("up{") && line.ends_with(" 0"))).await;
    assert!(!lines.iter().any(|line| line.starts_with('a')), "{lines:?}");
    let targets = scraping.manager.targets();
    scraping.until(|manager| manager.targets()[0].seen.active.iter().all(|t| !t.status().last_error.is_empty())).await;
    for target in &targets[0].seen.active {
        assert_eq!(target.status().last_error, "target_limit exceeded (number of targets: 2, limit: 1)");
    }
    assert!(server.asked().is_empty());
    scraping.stop().await;
}
