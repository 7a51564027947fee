//! The rounds of a target: samples, reports, what ended, and labels that conflict.

use super::*;

#[tokio::test]
async fn samples_come_with_reports_and_end_when_they_are_gone() {
    let server = Server::start("# HELP a A.\n# TYPE a counter\na{x=\"1\"} 1\nb 2\n").await;
    let scraping = Scraping::start(&job(server.address, ""));
    let first = scraping.wait("a{x=1} 1").await;
    assert_eq!(without_reports(&first), ["a{x=1} 1", "b 2"]);
    for report in
        ["up 1", "scrape_samples_scraped 2", "scrape_samples_post_metric_relabeling 2", "scrape_series_added 2"]
    {
        assert!(first.iter().any(|line| line == report), "{report}: {first:?}");
    }
    assert!(first.iter().any(|line| line.starts_with("scrape_duration_seconds ")), "{first:?}");
    let second = scraping.wait("a{x=1} 1").await;
    assert!(second.contains(&"scrape_series_added 0".to_owned()), "{second:?}");

    server.set("a{x=\"1\"} 3\n");
    let gone = scraping.wait("a{x=1} 3").await;
    assert_eq!(without_reports(&gone), ["a{x=1} 3", "b stale"]);
    let after = scraping.wait("a{x=1} 3").await;
    assert_eq!(without_reports(&after), ["a{x=1} 3"]);

    server.change(|answers| answers.status = StatusCode::INTERNAL_SERVER_ERROR);
    let down = scraping.wait("up 0").await;
    assert_eq!(without_reports(&down), ["a{x=1} stale"]);
    assert!(down.contains(&"scrape_samples_scraped 0".to_owned()), "{down:?}");
    let still = scraping.wait("up 0").await;
    assert!(without_reports(&still).is_empty(), "ended once: {still:?}");
    let status = scraping.manager.targets()[0].seen.active[0].status();
    assert_eq!(status.last_error, "server returned HTTP status 500 Internal Server Error");

    server.change(|answers| answers.status = StatusCode::OK);
    let up = scraping.wait("up 1").await;
    assert_eq!(without_reports(&up), ["a{x=1} 3"]);
    scraping.stop().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_counts_for_nothing() {
    let server = Server::start("a 1\nb 2\n").await;
    let scraping = Scraping::start(&job(server.address, ""));
    scraping.wait("a 1").await;
    server.set("a 1\nc 4\nnot a line\n");
    let bad = scraping.wait("up 0").await;
    assert_eq!(without_reports(&bad), ["a stale", "b stale"]);
    assert!(bad.contains(&"scrape_samples_scraped 2".to_owned()), "{bad:?}");
    let error = error_of(&scraping.manager);
    assert!(error.starts_with("line 3: \"a\" is no number: \"not a line\""), "{error}");
    server.set("");
    let empty = scraping.wait("up 1").await;
    assert!(without_reports(&empty).is_empty(), "{empty:?}");
    scraping.stop().await;
}

#[tokio::test]
async fn labels_of_the_target_win_or_give_way() {
    let body = "a{job=\"theirs\",instance=\"\",exported_job=\"taken\"} 1\n";
    let server = Server::start(body).await;
    let ours = Scraping::start(&job(server.address, ""));
    let lines = ours.wait("a").await;
    assert_eq!(without_reports(&lines), ["a{exported_exported_job=theirs,exported_job=taken} 1"]);
    ours.stop().await;
    let theirs = Scraping::start(&job(server.address, "  honor_labels: true\n"));
    let lines = theirs.wait("a").await;
    assert_eq!(without_reports(&lines), ["a{exported_job=taken,job=theirs} 1"]);
    theirs.stop().await;
}

#[tokio::test]
async fn rules_change_and_drop_series() {
    let server = Server::start("keep_1{x=\"a\"} 1\nkeep_2{x=\"a\"} 2\ndrop_1 3\n").await;
    let rules = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'drop.*', action: drop}\n  \
                 - {source_labels: [x], target_label: y}\n  - {regex: x, action: labeldrop}\n";
    let scraping = Scraping::start(&job(server.address, rules));
    for _ in 0..2 {
        let lines = scraping.wait("keep").await;
        assert_eq!(without_reports(&lines), ["keep_1{y=a} 1", "keep_2{y=a} 2"]);
        assert!(lines.contains(&"scrape_samples_scraped 3".to_owned()), "{lines:?}");
        assert!(lines.contains(&"scrape_samples_post_metric_relabeling 2".to_owned()), "{lines:?}");
    }
    scraping.stop().await;
}

/// The first of two samples of a series at one time stays, also when rules make two series one.
#[tokio::test]
async fn a_series_has_one_sample_at_a_time() {
    let server = Server::start("a 1\na 2\nb{x=\"1\"} 3\nb{x=\"2\"} 4\n").await;
    let rules = "  metric_relabel_configs: [{regex: x, action: labeldrop}]\n";
    let scraping = Scraping::start(&job(server.address, rules));
    for _ in 0..2 {
        let lines = scraping.wait("a").await;
        assert_eq!(without_reports(&lines), ["a 1", "b 3"]);
        assert!(lines.contains(&"up 1".to_owned()), "{lines:?}");
    }
    scraping.stop().await;
}

#[tokio::test]
async fn times_of_the_target_are_kept_or_not() {
    let server = Server::start("a 1 1000\nb 2\nfar 3 99999999999999\n").await;
    let times = |scraping: &Scraping| {
        let batches = scraping.batches.lock().unwrap();
        let batch = batches.iter().find(|batch| lines(batch).iter().any(|line| line.starts_with("a 1")))?;
        Some(batch.samples().map(|(_, time, _)| time).collect::<Vec<_>>())
    };
    for (honor, is_kept) in [("true", true), ("false", false)] {
        let scraping = Scraping::start(&job(server.address, &format!("  honor_timestamps: {honor}\n")));
        scraping.until(|_| times(&scraping).is_some()).await;
        let times = times(&scraping).unwrap();
        assert_eq!(times.contains(&1000), is_kept, "{times:?}");
        assert_eq!(times.len(), if is_kept { 7 } else { 8 }, "what is too far ahead is dropped: {times:?}");
        scraping.stop().await;
    }
    // A series with times of its own ends only when that is asked for.
    for (more, ends) in [("", false), ("  track_timestamps_staleness: true\n", true)] {
        server.set("a 1 1000\nb 2\n");
        let scraping = Scraping::start(&job(server.address, more));
        scraping.wait("a 1").await;
        server.set("");
        let lines = scraping.wait("b stale").await;
        assert_eq!(lines.contains(&"a stale".to_owned()), ends, "{lines:?}");
        scraping.stop().await;
    }
}

#[tokio::test]
async fn open_metrics_brings_starts_and_exemplars() {
    let server = Server::start(
        "# TYPE a counter\na_total 1 # {trace_id=\"t\"} 1 5\na_created 3\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\n# EOF\n",
    )
    .await;
    server.change(|answers| answers.headers = vec![("content-type", "application/openmetrics-text".to_owned())]);
    let scraping = Scraping::start(&job(server.address, ""));
    scraping.until(|_| !scraping.batches.lock().unwrap().is_empty()).await;
    let batch = scraping.batches.lock().unwrap()[0].clone();
    assert_eq!(lines(&batch)[..2], ["a_total 1", "h_bucket{le=1.0} 2"]);
    assert_eq!(batch.starts()[0], 3000);
    assert_eq!((batch.exemplars()[0].timestamp, batch.exemplars()[0].labels.get("trace_id")), (5000, Some("t")));
    let said: Vec<_> = batch.metadata().iter().map(|said| said.name.as_str()).collect();
    assert_eq!(said[..3], ["a", "h", "up"]);
    scraping.stop().await;
}

/// What the store refuses is lost, but nothing stops.
#[tokio::test]
async fn a_sink_that_fails_does_not_stop_the_rounds() {
    let server = Server::start("a 1\n").await;
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let sink: Sink = Arc::new(move |_| {
        *counted.lock().unwrap() += 1;
        Box::pin(async { Err("full".to_owned()) })
    });
    let shutdown = CancellationToken::new();
    let own = "127.0.0.1:7600".parse().unwrap();
    let config = config(&job(server.address, ""));
    let manager = ScrapeManager::start(config, own, sink, Arc::new(SystemClock), shutdown.clone());
    let waiting = async {
        while *calls.lock().unwrap() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    shutdown.cancel();
    manager.ended().await;
}
