//! What the API shows of targets.

use serde_json::json;

use super::*;
use crate::api::params::Params;
use crate::api::prometheus::targets;

#[tokio::test]
async fn targets_are_shown_as_prometheus_shows_them() {
    let server = Server::start("# HELP a A.\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n").await;
    let more = "  relabel_configs: [{source_labels: [__address__], regex: 'gone.*', action: drop}]\n- job_name: k\n  \
                static_configs: [{targets: ['gone:1']}]\n  \
                relabel_configs: [{source_labels: [__address__], regex: 'gone.*', action: drop}]\n";
    let scraping = Scraping::start(&job(server.address, more));
    scraping.wait("a 1").await;
    let manager = &scraping.manager;
    let params = |query: &str| Params::of_query(query).unwrap();
    assert_eq!(targets::scrape_pools(manager), json!({ "scrapePools": ["j", "k"] }));

    let mut shown = targets::targets(manager, &params(""));
    let active = &mut shown["activeTargets"][0];
    assert!(active["lastScrape"].as_str().unwrap().ends_with('Z'), "{active}");
    assert!(active["lastScrapeDuration"].as_f64().unwrap() > 0.0, "{active}");
    let global = active["globalUrl"].as_str().unwrap();
    assert!(global.ends_with(&format!(":{}/metrics", server.address.port())), "{global}");
    for varying in ["lastScrape", "lastScrapeDuration", "globalUrl"] {
        active[varying] = json!(null);
    }
    let address = server.address.to_string();
    let discovered = |address: &str, job: &str| {
        json!({
            "__address__": address, "__metrics_path__": "/metrics", "__scheme__": "http",
            "__scrape_interval__": "200ms", "__scrape_timeout__": "200ms",
            "__scrape_native_histograms__": "false", "__always_scrape_classic_histograms__": "false", "job": job,
        })
    };
    let mut own = discovered(&address, "j");
    own["instance"] = json!("i");
    assert_eq!(
        shown,
        json!({
            "activeTargets": [{
                "discoveredLabels": own, "labels": { "instance": "i", "job": "j" },
                "scrapePool": "j", "scrapeUrl": format!("http://{address}/metrics"), "globalUrl": null,
                "lastError": "", "lastScrape": null, "lastScrapeDuration": null, "health": "up",
                "scrapeInterval": "200ms", "scrapeTimeout": "200ms",
            }],
            "droppedTargets": [{ "discoveredLabels": discovered("gone:1", "k"), "scrapePool": "k" }],
            "droppedTargetCounts": { "j": 0, "k": 1 },
        })
    );
    let counts = |query: &str| {
        let shown = targets::targets(manager, &params(query));
        let count = |key: &str| shown[key].as_array().unwrap().len();
        (count("activeTargets"), count("droppedTargets"), shown["droppedTargetCounts"].is_null())
    };
    assert_eq!(counts("state=active"), (1, 0, true));
    assert_eq!(counts("state=Dropped"), (0, 1, false));
    assert_eq!(counts("state=any&scrapePool=j"), (1, 0, false));
    assert_eq!(counts("state=other"), (0, 0, true));

    let metadata = |query: &str| targets::metadata(manager, &params(query)).unwrap();
    let labels = json!({ "instance": "i", "job": "j" });
    assert_eq!(
        metadata(""),
        json!([
            { "target": labels, "metric": "a", "type": "counter", "help": "A.", "unit": "" },
            { "target": labels, "metric": "b", "type": "gauge", "help": "", "unit": "" },
        ])
    );
    let one = json!([{ "target": labels, "type": "counter", "help": "A.", "unit": "" }]);
    assert_eq!(metadata("metric=a&match_target={job=~\"j|x\"}"), one);
    assert_eq!(metadata("match_target={job=\"x\"}"), json!([]));
    assert_eq!(metadata("limit=0"), json!([]));
    for bad in ["limit=x", "match_target={"] {
        targets::metadata(manager, &params(bad)).unwrap_err();
    }
    scraping.stop().await;
}
