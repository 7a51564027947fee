//! Alertmanager's configuration: what is read, and where mistakes are told to be.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use super::*;
use crate::notify::Labels;

const WHOLE: &str = r#"
global:
  resolve_timeout: 2m
  smtp_smarthost: 'mail.example:587'
  smtp_from: farol@example.org
  smtp_auth_username: u
  smtp_auth_password: S3CRET-smtp
  slack_api_url: 'https://hooks.slack.example/S3CRET-slack'
  opsgenie_api_key: S3CRET-opsgenie
  victorops_api_url: 'https://alert.victorops.com/'
  http_config: {follow_redirects: true, basic_auth: {username: u, password: S3CRET-http}}
route:
  receiver: default
  group_by: [alertname, cluster]
  group_wait: 10s
  routes:
    - match: {service: files}
      match_re: {team: '^(a|b)$'}
      receiver: mails
      continue: true
      mute_time_intervals: [nights]
      routes:
        - matchers: ['severity="critical"', 'x!~y']
          receiver: pager
          group_by: ['...']
          repeat_interval: 1h
    - matchers: ['{"ünïcode"=~"a.*", owner="db"}']
      active_time_intervals: [office]
receivers:
  - name: default
    slack_configs: [{channel: '#x'}]
  - name: mails
    email_configs: [{to: a@example.org, send_resolved: true}]
  - name: pager
    pagerduty_configs: [{routing_key: S3CRET-pd}]
    opsgenie_configs: [{}]
    webhook_configs: [{url: 'http://127.0.0.1/S3CRET-hook', headers: {X-Key: S3CRET-header}}]
    telegram_configs: [{bot_token: S3CRET-bot, chat_id: 1}]
    discord_configs: [{webhook_url: 'https://discord.example/S3CRET-discord'}]
    msteams_configs: [{webhook_url: 'https://teams.example/S3CRET-teams'}]
    googlechat_configs: [{webhook_url: 'https://chat.example/S3CRET-chat'}]
    mattermost_configs: [{webhook_url: 'https://mm.example/S3CRET-mm'}]
    rocketchat_configs: [{token: S3CRET-rocket, token_id: S3CRET-rocketid, channel: x}]
    ntfy_configs: [{topic: t, token: S3CRET-ntfy}]
inhibit_rules:
  - source_match: {severity: critical}
    target_matchers: [severity=~"warning|info"]
    equal: [alertname]
time_intervals:
  - name: office
    time_intervals: [{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday'], location: Europe/Berlin}]
mute_time_intervals:
  - name: nights
    time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}, {start_time: '00:00', end_time: '06:00'}]}]
"#;

fn parse(text: &str) -> Result<Config, NotifyConfigError> {
    Config::parse(text, Path::new("/etc/alertmanager.yml"))
}

fn routes(config: &Config, labels: &[(&str, &str)]) -> Vec<String> {
    let labels: Labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    config.route.of(&labels).into_iter().map(|route| format!("{} {}", route.receiver, route.key)).collect()
}

#[test]
fn a_whole_file_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.resolve_timeout_ms, 120_000);
    assert_eq!(routes(&config, &[]), ["default {}"]);
    assert_eq!(
        routes(&config, &[("service", "files"), ("team", "a"), ("owner", "db"), ("ünïcode", "ab")]),
        [r#"mails {}/{service="files",team=~"^(a|b)$"}"#, r#"default {}/{owner="db",ünïcode=~"a.*"}"#,]
    );
    let deep = [("service", "files"), ("team", "b"), ("severity", "critical")];
    assert_eq!(routes(&config, &deep), [r#"pager {}/{service="files",team=~"^(a|b)$"}/{severity="critical",x!~"y"}"#]);
    let pager = &config.route.routes[0].routes[0];
    assert_eq!((pager.group_wait_ms, pager.repeat_interval_ms), (10_000, 3_600_000));
    assert_eq!(pager.group_by, super::super::route::GroupBy::All);
    let names: Vec<&str> = config.receivers["pager"].integrations.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names[..3], ["webhook/0", "pagerduty/0", "opsgenie/0"]);
    assert!(!config.receivers["default"].integrations[0].send_resolved);
    assert!(config.receivers["mails"].integrations[0].send_resolved);
}

/// Neither the API's text nor what a log line could show has a secret.
#[test]
fn no_secret_is_shown() {
    let config = parse(WHOLE).unwrap();
    let shown = config.to_yaml();
    assert!(shown.contains("<secret>") && shown.contains("group_by"), "{shown}");
    assert!(!shown.contains("S3CRET"), "{shown}");
    assert!(!format!("{:?}", config.receivers).contains("S3CRET"));
    parse(&shown.replace("<secret>", "https://x.example/")).unwrap();
}

#[track_caller]
fn check(text: &str, part: &str) {
    let why = parse(text).unwrap_err().to_string();
    assert!(why.contains(part), "{why}");
    assert!(!why.contains("S3CRET"), "{why}");
    assert!(why.starts_with("/etc/alertmanager.yml"), "{why}");
}

#[test]
fn mistakes_have_a_place() {
    let with =
        |receiver: &str, route: &str| format!("route: {{receiver: a{route}}}\nreceivers:\n- name: a\n{receiver}");
    check("receivers: []\n", "no routes provided");
    check("route: {receiver: b}\nreceivers: [{name: a}]\n", ".yml:1:8: route: undefined receiver \"b\"");
    check(&with("", ", matchers: [a=b]"), "must not have matchers");
    check(&with("", ", routes: [{matchers: ['a=~(']}]"), "\"(\" is no regular expression");
    check(&with("", ", routes: [{mute_time_intervals: [x]}]"), "undefined time interval \"x\"");
    check(&with("", ", group_by: [a, a]"), "group_by");
    check(&with("", ", group_interval: 0s"), "group_interval cannot be zero");
    check(&with("  wechat_configs: [{api_secret: S3CRET}]\n", ""), ".yml:4:3: wechat_configs: Farol has no receiver");
    check(&with("  pigeon_configs: [{}]\n", ""), "pigeon_configs: there is no receiver of this kind");
    check(&with("  slack_configs: [{api_url: S3CRET}]\n", ""), ".yml:4:19: receiver \"a\": slack_configs[0]: api_url");
    check(&with("  slack_configs:\n  - colour: red\n", ""), ".yml:5:5: unknown field \"colour\"");
    check(
        &with("  webhook_configs: [{url: 'http://h', http_config: {proxy_url: 'http://S3CRET'}}]\n", ""),
        "proxy_url",
    );
    check(&with("  webhook_configs: [{url: '${FAROL_NOT_THERE}'}]\n", ""), "no variable FAROL_NOT_THERE");
    check(&with("- name: a\n", ""), "there twice");
}

#[test]
fn without_a_file_alerts_go_nowhere() {
    let config = Config::of_nobody();
    assert_eq!(routes(&config, &[("a", "b")]), ["farol-default {}"]);
    parse(&config.to_yaml()).unwrap();
}
