//! Targets that come and go, and settings that change.

use super::*;

fn hashes(manager: &ScrapeManager) -> Vec<String> {
    manager
        .targets()
        .iter()
        .flat_map(|pool| pool.seen.active.iter().map(|t| t.public.get("instance").to_owned()))
        .collect()
}

#[tokio::test]
async fn files_bring_targets_and_take_them_away() {
    let server = Server::start("a 1\n").await;
    let folder = tempfile::tempdir().unwrap();
    let (json, yaml) = (folder.path().join("one.json"), folder.path().join("two.yml"));
    let group = |instance: &str| {
        format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"instance\": \"{instance}\"}}}}]", server.address)
    };
    std::fs::write(&json, group("i")).unwrap();
    let text = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: j\n  file_sd_configs: [{{files: ['{0}/*.json', '{0}/*.yml']}}]\n",
        folder.path().display()
    );
    let scraping = Scraping::start(&text);
    scraping.wait("a 1").await;
    let target = Arc::clone(&scraping.manager.targets()[0].seen.active[0]);
    assert_eq!(target.discovered().get("__meta_filepath"), json.display().to_string());

    std::fs::write(&yaml, format!("- targets: ['{}']\n  labels: {{instance: k}}\n", server.address)).unwrap();
    scraping.until(|manager| hashes(manager) == ["i", "k"]).await;
    // A file that cannot be read changes nothing.
    std::fs::write(&yaml, "- targets: [").unwrap();
    std::fs::write(&json, group("l")).unwrap();
    scraping.until(|manager| hashes(manager) == ["l", "k"]).await;
    // What is gone is marked as ended, with its reports.
    let ended = scraping.wait("up stale").await;
    assert!(
        ended.contains(&"a stale".to_owned()) && ended.contains(&"scrape_series_added stale".to_owned()),
        "{ended:?}"
    );
    std::fs::remove_file(&yaml).unwrap();
    scraping.until(|manager| hashes(manager) == ["l"]).await;
    scraping.stop().await;
}

#[tokio::test]
async fn urls_bring_targets() {
    let server = Server::start("a 1\n").await;
    let list =
        Server::start(&format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"instance\": \"i\"}}}}]", server.address))
            .await;
    list.change(|answers| answers.headers = vec![("content-type", "application/json; charset=utf-8".to_owned())]);
    let text = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: j\n  http_sd_configs: [{{url: 'http://{}/x', refresh_interval: 50ms, bearer_token: t}}]\n",
        list.address
    );
    let scraping = Scraping::start(&text);
    scraping.wait("a 1").await;
    let (_, headers) = list.asked().into_iter().next().unwrap();
    assert_eq!(headers.get("authorization").unwrap(), "Bearer t");
    assert_eq!(headers.get("x-prometheus-refresh-interval-seconds").unwrap(), "0.05");
    let url = format!("http://{}/x", list.address);
    assert_eq!(scraping.manager.targets()[0].seen.active[0].discovered().get("__meta_url"), url);
    // An answer that is none changes nothing; an empty list does.
    list.set("{}");
    let asked = list.asked().len();
    scraping.until(|_| list.asked().len() > asked + 1).await;
    assert_eq!(hashes(&scraping.manager), ["i"]);
    list.set("[]");
    scraping.until(|manager| hashes(manager).is_empty()).await;
    scraping.stop().await;
}

#[tokio::test]
async fn rules_make_and_drop_targets() {
    let server = Server::start("a 1\n").await;
    let text = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: j\n  keep_dropped_targets: 1\n  static_configs:\n  \
         - {{targets: [x, 'y/z', drop-1, drop-2, drop-3], labels: {{env: test}}}}\n  relabel_configs:\n  \
         - {{source_labels: [__address__], regex: 'drop.*', action: drop}}\n  \
         - {{source_labels: [__address__], target_label: instance}}\n  \
         - {{source_labels: [__address__], regex: x, target_label: __address__, replacement: '{}'}}\n  \
         - {{target_label: __param_module, replacement: m}}\n  - {{target_label: __metrics_path__, replacement: /p}}\n",
        server.address
    );
    let scraping = Scraping::start(&text);
    scraping.wait("a{env=test,instance=x} 1").await;
    let seen = scraping.manager.targets().remove(0).seen;
    assert_eq!((seen.active.len(), seen.dropped.len(), seen.dropped_count), (1, 1, 3));
    assert_eq!(seen.active[0].url, format!("http://{}/p?module=m", server.address));
    scraping.stop().await;
}

#[tokio::test]
async fn new_settings_leave_the_rest_alone() {
    let (one, two) = (Server::start("a 1\nb 1\n").await, Server::start("c 1\n").await);
    let text = |more: &str, address: SocketAddr| {
        let other = format!("- job_name: other\n  static_configs: [{{targets: ['{address}']}}]\n");
        job(one.address, more) + &other
    };
    let scraping = Scraping::start(&text("", two.address));
    scraping.wait("a 1").await;
    scraping.wait("c{").await;
    let before = scraping.manager.targets();
    // Another path: the same series go on, and what is not there any more ends.
    let rules =
        "  metrics_path: /other\n  metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]\n";
    scraping.manager.reload(config(&text(rules, two.address))).await;
    scraping.take();
    let lines = scraping.wait("a 1").await;
    assert_eq!(without_reports(&lines), ["a 1", "b stale"]);
    let after = scraping.manager.targets();
    assert!(Arc::ptr_eq(&before[1].seen.active[0], &after[1].seen.active[0]), "the other job goes on");
    assert!(!Arc::ptr_eq(&before[0].seen.active[0], &after[0].seen.active[0]));
    // The same target with other limits keeps what is known of it.
    let limits = format!("{rules}  sample_limit: 1000\n");
    scraping.manager.reload(config(&text(&limits, two.address))).await;
    scraping
        .until(|manager| manager.targets()[0].seen.active.first().is_some_and(|t| t.status().last_scrape_ns.is_some()))
        .await;
    // A job that is gone ends.
    scraping.manager.reload(config("scrape_configs: []")).await;
    assert!(scraping.manager.scrape_pools().is_empty());
    let ended = scraping.wait("c{instance").await;
    let ended = if ended.iter().any(|line| line.ends_with("stale")) {
        ended
    } else {
        scraping.wait_for(|lines| lines.iter().any(|line| line.starts_with("c{") && line.ends_with("stale"))).await
    };
    assert!(ended.iter().any(|line| line.starts_with("up{") && line.ends_with("stale")), "{ended:?}");
    scraping.stop().await;
}

/// The end of the server is no end of the series: the next start goes on.
#[tokio::test]
async fn nothing_is_marked_when_the_server_ends() {
    let server = Server::start("a 1\n").await;
    let scraping = Scraping::start(&job(server.address, ""));
    scraping.wait("a 1").await;
    let batches = Arc::clone(&scraping.batches);
    scraping.stop().await;
    let all: Vec<String> = batches.lock().unwrap().iter().flat_map(lines).collect();
    assert!(!all.iter().any(|line| line.ends_with("stale")), "{all:?}");
}
