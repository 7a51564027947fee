//! What lines look like, as the patterns API, LogQL and SQL tell it.

use serde_json::{Value, json};

use crate::harness::{Folder, Server};

const MINUTE: u64 = 60_000_000_000;

fn push(server: &Server, stream: &Value, entries: &[(u64, String)]) {
    let values: Vec<Value> = entries.iter().map(|(time, line)| json!([time.to_string(), line])).collect();
    let body = json!({"streams": [{"stream": stream, "values": values}]});
    assert_eq!(server.post_json("/loki/api/v1/push", &[], &body).status, 204);
}

/// Pattern, level, and lines by the start of their minute.
type Shown = Vec<(String, String, Vec<(u64, u64)>)>;

fn shown(server: &Server, from: u64, to: u64) -> Shown {
    let (from, to) = (from.to_string(), to.to_string());
    let asked = [("query", r#"{app="web"}"#), ("start", &from), ("end", &to), ("step", "60s")];
    let answer = server.get("/loki/api/v1/patterns", &asked).ok().json();
    assert_eq!(answer["status"], "success");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let samples = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let data = answer["data"].as_array().unwrap().iter();
    data.map(|one| (text(&one["pattern"]), text(&one["level"]), samples(&one["samples"]))).collect()
}

#[test]
fn lines_are_counted_by_their_pattern() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let login = |i: u64| (i * MINUTE / 10, format!("user u{i} has logged in from 10.0.0.{i} level=info"));
    let logins: Vec<(u64, String)> = (0..20).map(login).collect();
    push(&server, &json!({"app": "web"}), &logins);
    let slow = |i: u64| (i * MINUTE / 4, format!("request {i} took {}ms level=warn", i * 7));
    push(&server, &json!({"app": "web"}), &(0..8).map(slow).collect::<Vec<_>>());
    push(&server, &json!({"app": "own", "pattern": "mine"}), &[(1, "its stream has the label".to_owned())]);
    push(&server, &json!({"app": "parsed"}), &[(1, r#"{"pattern":"theirs","n":1}"#.to_owned())]);

    let (login, slow) = ("user <_> has logged in from <_> level=info", "request <_> took <_> level=warn");
    for _ in 0..2 {
        let found = shown(&server, 0, 2 * MINUTE - 1);
        assert_eq!(
            found,
            [
                (login.to_owned(), "info".to_owned(), vec![(0, 10), (60, 10)]),
                (slow.to_owned(), "warn".to_owned(), vec![(0, 4), (60, 4)]),
            ]
        );
        assert_eq!(shown(&server, MINUTE, 2 * MINUTE - 1)[1].2, [(60, 4)]);
        // The pattern finds its lines again, as a filter of text and as a label.
        assert_eq!(server.lines(&format!(r#"{{app="web"}} |> "{login}""#)).len(), 20);
        assert_eq!(server.lines(&format!(r#"{{app="web"}} | pattern="{slow}""#)).len(), 8);
        assert_eq!(server.lines(&format!(r#"{{app="web"}} | logfmt | pattern!="{slow}""#)).len(), 20);
        assert_eq!(server.lines(r#"{app="web"} | pattern="" "#).len(), 0);
        assert_eq!(server.lines(r#"{app="web"} |= "u7" | line_format "{{.pattern}}""#), [login]);
        // Labels of that name are stronger.
        assert_eq!(server.lines(r#"{app="own"} | pattern="mine""#).len(), 1);
        assert_eq!(server.lines(r#"{app="parsed"} | json | pattern="theirs""#).len(), 1);
        let asked = [("query", r#"sum by (pattern) (count_over_time({app=~".+"}[1h]))"#), ("time", "200")];
        let answer = server.get("/loki/api/v1/query", &asked).ok().json();
        let mut counts: Vec<(String, String)> = answer["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["metric"]["pattern"].to_string(), one["value"][1].as_str().unwrap().to_owned()))
            .collect();
        counts.sort();
        let quoted = |text: &str| format!("{text:?}");
        let expected = [("mine", "1"), (slow, "8"), (login, "20"), (r#"{"pattern":"theirs","n":<_>}"#, "1")];
        let mut expected: Vec<_> = expected.map(|(text, count)| (quoted(text), count.to_owned())).into();
        expected.sort();
        assert_eq!(counts, expected);
        // A log query does not show it.
        let asked = [("query", r#"{app="web"}"#), ("start", "0"), ("end", "9999999999999")];
        assert!(!server.get("/loki/api/v1/query_range", &asked).ok().json().to_string().contains("<_>"));
        let sql =
            json!({"query": "select pattern, count(*) as n from logs where app = 'web' group by pattern order by n"});
        let rows = server.post_json("/farol/api/v1/sql", &[("Accept", "application/json")], &sql).ok().json();
        assert_eq!(rows, json!([{"pattern": slow, "n": 8}, {"pattern": login, "n": 20}]));
        server.flush();
    }
    let refused = server.get("/loki/api/v1/patterns", &[("query", "sum(rate({app=\"web\"}[1m]))")]);
    assert_eq!(refused.status, 400);
    server.stop(&[]);
}
