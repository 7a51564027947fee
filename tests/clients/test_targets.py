"""What each service is sent, against what its documentation asks for: once short, once far longer than it takes."""
import datetime
import email
import email.policy
import json
import ssl
import time

import pytest
import requests
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from conftest import Farol, free_port
from sink import Sink

CONFIG = """
route: {{receiver: all, group_by: [alertname], group_wait: 200ms, group_interval: 1s}}
receivers:
- name: all
  slack_configs:
  - {{send_resolved: true, api_url: '{url}/slack/hook', channel: '#ops'}}
  - {{send_resolved: true, app_token: xoxb-S3CRET, app_url: '{url}/slack/api/chat.postMessage', channel: C1, update_message: true}}
  discord_configs: [{{webhook_url: '{url}/discord'}}]
  msteamsv2_configs: [{{webhook_url: '{url}/teams'}}]
  googlechat_configs: [{{webhook_url: '{url}/google?key=k&token=t'}}]
  mattermost_configs: [{{send_resolved: true, webhook_url: '{url}/mattermost'}}]
  rocketchat_configs: [{{send_resolved: true, api_url: '{url}/rocket', token_id: id, token: S3CRET, channel: '#ops'}}]
  telegram_configs: [{{api_url: '{url}/telegram', bot_token: '123:S3CRET', chat_id: -42}}]
  pagerduty_configs: [{{url: '{url}/pagerduty', routing_key: S3CRET}}]
  opsgenie_configs: [{{api_url: '{url}/opsgenie/', api_key: S3CRET}}]
  ntfy_configs: [{{url: '{url}/ntfy', topic: ops, token: S3CRET}}]
  webhook_configs:
  - {{url: '{url}/webhook'}}
  - {{url: '{url}/own', method: PUT, headers: {{X-Key: S3CRET, X-Status: '{{{{ .Status }}}}'}}, body: '{{"n": {{{{ len .Alerts }}}}}}'}}
  email_configs:
  - {{send_resolved: true, to: 'team@example.org', from: 'farol@example.org', smarthost: '127.0.0.1:{smtp}', auth_username: u, auth_password: S3CRET, tls_config: {{ca_file: '{ca}', server_name: localhost}}}}
"""
SERVICES = ["/slack/hook", "/slack/api", "/discord", "/teams", "/google", "/mattermost", "/rocket", "/telegram", "/pagerduty", "/opsgenie",
            "/ntfy", "/webhook", "/own"]


class Mails:
    def __init__(self):
        self.got = []

    async def handle_DATA(self, server, session, envelope):
        self.got.append((session.ssl is not None, envelope))
        return "250 OK"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(sink, mails, Farol) after one short and one very long alert."""
    tmp_path = tmp_path_factory.mktemp("targets")
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    mails, port = Mails(), free_port()

    def login(server, session, envelope, mechanism, data):
        return AuthResult(success=data.login == b"u" and data.password == b"S3CRET")

    smtp = Controller(mails, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True, auth_required=True, authenticator=login)
    smtp.start()
    sink = Sink()
    sink.answers = {
        "/slack/api/chat.postMessage": (200, {"ok": True, "channel": "C1", "ts": "17.1"}),
        "/slack/api/chat.update": (200, {"ok": True, "channel": "C1", "ts": "17.1"}),
        "/discord": (204, None),
        "/teams": (202, None),
        "/rocket/api/v1/chat.postMessage": (200, {"success": True}),
        "/telegram/bot123:S3CRET/sendMessage": (200, {"ok": True, "result": {"message_id": 1}}),
        "/pagerduty": (202, {"status": "success", "message": "Event processed", "dedup_key": "k"}),
        "/opsgenie/v2/alerts": (202, {"result": "Request will be processed", "requestId": "r"}),
    }
    (tmp_path / "am.yml").write_text(CONFIG.format(url=sink.url, smtp=port, ca=ca))
    farol = Farol(tmp_path)
    farol.arguments = ["--set", f"alerts.config={tmp_path / 'am.yml'}", "--set", "external_url=https://farol.example"]
    farol.start()
    now = datetime.datetime.now(datetime.UTC)

    def post(ended):
        ends = (now if ended else now + datetime.timedelta(hours=1)).isoformat()
        alerts = [{"labels": {"alertname": name, "severity": "critical", "n": str(n)}, "startsAt": (now - datetime.timedelta(minutes=1)).isoformat(),
                   "endsAt": ends, "generatorURL": "https://prometheus.example/graph?g0.expr=up",
                   "annotations": {"summary": f"<b>&{name}* 'é'", "description": text, "runbook_url": "https://runbooks.example/x"}}
                  for name, text, count in [("Short", "all of it", 1), ("Long", "ß<&>_*`\\" * 9000, 40)] for n in range(count)]
        requests.post(f"{farol.url}/alertmanager/api/v2/alerts", json=alerts, timeout=60).raise_for_status()

    def wait(each):
        end = time.monotonic() + 90
        while True:
            counts = {service: sum(len(came) for path, came in list(sink.requests.items()) if path.startswith(service)) for service in SERVICES}
            if min(*counts.values(), len(mails.got)) >= each:
                return
            assert time.monotonic() < end, (farol.entries('{source="farol_alerts"} | outcome="failed"')[-3:], counts, len(mails.got))
            time.sleep(0.1)

    post(False)
    wait(2)
    post(True)
    wait(4)
    time.sleep(1)
    yield sink, mails, farol
    farol.stop()
    smtp.stop()
    sink.stop()


def bodies(sink, path):
    return [json.loads(raw) for _, _, raw in sink.requests[path]]


def test_slack_takes_it(told):
    sink, _, _ = told
    for body in bodies(sink, "/slack/hook"):
        assert body["channel"] == "#ops" and body["attachments"], body
        for attachment in body["attachments"]:
            assert attachment["fallback"] and len(attachment.get("text", "")) <= 40_000 and attachment["color"] in ("danger", "good")
            for text in [attachment["title"], attachment["text"], attachment["fallback"]]:
                assert "<b>" not in text and "&lt;b&gt;&amp;" in text
    posted = sink.requests["/slack/api/chat.postMessage"]
    assert all(headers["Authorization"] == "Bearer xoxb-S3CRET" and headers["Content-Type"].startswith("application/json") for _, headers, _ in posted)
    firing, follow = [b for b in bodies(sink, "/slack/api/chat.postMessage") if "thread_ts" not in b], [b for b in bodies(sink, "/slack/api/chat.postMessage") if "thread_ts" in b]
    assert len(firing) == 2 and all(b["thread_ts"] == "17.1" for b in follow)
    updates = bodies(sink, "/slack/api/chat.update")
    assert len(updates) == 2 and all(b["ts"] == "17.1" and b["channel"] == "C1" for b in updates)


def test_discord_takes_it(told):
    for body in bodies(told[0], "/discord"):
        assert len(body.get("content", "")) <= 2000 and 1 <= len(body["embeds"]) <= 10
        total = 0
        for embed in body["embeds"]:
            assert 0 < len(embed["title"]) <= 256 and 0 < len(embed["description"]) <= 4096 and 0 <= embed["color"] <= 0xFFFFFF
            total += len(embed["title"]) + len(embed["description"])
        assert total <= 6000


def test_teams_takes_it(told):
    for _, headers, raw in told[0].requests["/teams"]:
        assert len(raw) <= 28 * 1024 and headers["Content-Type"].startswith("application/json")
        body = json.loads(raw)
        assert body["type"] == "message" and len(body["attachments"]) == 1
        attachment = body["attachments"][0]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        card = attachment["content"]
        assert card["type"] == "AdaptiveCard" and card["version"] in ("1.2", "1.3", "1.4") and card["body"]
        assert all(part["type"] in ("TextBlock", "Container", "FactSet") for part in card["body"])


def test_google_chat_takes_it(told):
    paths = [path for path in told[0].requests if path.startswith("/google")]
    assert paths and all("key=k&token=t" in path and "messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD" in path for path in paths)
    for body in (body for path in paths for body in bodies(told[0], path)):
        assert 0 < len(body["text"]) <= 4096 and body["thread"]["threadKey"]


def test_mattermost_and_rocket_chat_take_it(told):
    for body in bodies(told[0], "/mattermost"):
        assert len(json.dumps(body, ensure_ascii=False)) <= 2 * 16_383 and body["attachments"][0]["fallback"]
        assert len(body["attachments"][0]["text"]) <= 7_600
    for _, headers, raw in told[0].requests["/rocket/api/v1/chat.postMessage"]:
        assert (headers["X-User-Id"], headers["X-Auth-Token"]) == ("id", "S3CRET")
        body = json.loads(raw)
        assert body["channel"] == "#ops" and len(body["attachments"][0]["text"]) <= 5_000


def test_telegram_takes_it(told):
    for body in bodies(told[0], "/telegram/bot123:S3CRET/sendMessage"):
        assert str(body["chat_id"]) == "-42" and 0 < len(body["text"]) <= 4096 and body["parse_mode"] == "HTML"
        # Cut or not, tags are closed and nothing else is a tag.
        text = body["text"]
        for tag in ["b", "a", "code", "pre", "i"]:
            opened = text.count(f"<{tag}>") + text.count(f"<{tag} ")
            assert opened == text.count(f"</{tag}>"), (tag, text)
        assert "<&>" not in text


def test_pagerduty_takes_it(told):
    events = bodies(told[0], "/pagerduty")
    for event in events:
        assert event["routing_key"] == "S3CRET" and 0 < len(event["dedup_key"]) <= 255
        assert event["event_action"] in ("trigger", "resolve")
        payload = event["payload"]
        assert 0 < len(payload["summary"]) <= 1024 and payload["source"]
        assert payload["severity"] in ("critical", "error", "warning", "info")
        assert len(json.dumps(event)) <= 512_000
    keys = {event["dedup_key"] for event in events}
    assert len(keys) == 2
    for key in keys:
        actions = [e["event_action"] for e in events if e["dedup_key"] == key]
        assert actions[0] == "trigger" and actions[-1] == "resolve"


def test_opsgenie_takes_it(told):
    made = told[0].requests["/opsgenie/v2/alerts"]
    for _, headers, raw in made:
        assert headers["Authorization"] == "GenieKey S3CRET"
        alert = json.loads(raw)
        assert 0 < len(alert["message"]) <= 130 and len(alert["description"]) <= 15_000 and len(alert["alias"]) <= 512
    closes = [path for path in told[0].requests if "/close" in path]
    assert len(closes) == 2 and all("identifierType=alias" in path for path in closes)


def test_ntfy_takes_it(told):
    path = next(path for path in told[0].requests if path.startswith("/ntfy"))
    for _, headers, raw in told[0].requests[path]:
        assert headers["Authorization"] == "Bearer S3CRET"
        body = json.loads(raw)
        assert body["topic"] == "ops" and 0 < len(body["message"].encode()) <= 4096 and body["title"]
        assert 1 <= int(body.get("priority", 3)) <= 5


def test_webhooks_take_it(told):
    for body in bodies(told[0], "/webhook"):
        assert body["version"] == "4" and body["status"] in ("firing", "resolved") and body["groupKey"] and body["receiver"] == "all"
        assert all(set(a) >= {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"} for a in body["alerts"])
    own = told[0].requests["/own"]
    assert {method for method, _, _ in own} == {"PUT"} and all(h["X-Key"] == "S3CRET" for _, h, _ in own)
    assert {(h["X-Status"], json.loads(raw)["n"]) for _, h, raw in own} >= {("firing", 1), ("firing", 40)}


def test_mail_comes_encrypted_and_whole(told):
    for encrypted, envelope in told[1].got:
        assert encrypted and envelope.mail_from == "farol@example.org" and envelope.rcpt_tos == ["team@example.org"]
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert message["Subject"].startswith("[") and message["Message-Id"] and message["Date"]
        assert message.get_body(("html",)) is not None
        assert max(len(line) for line in envelope.content.split(b"\r\n")) <= 998


def test_no_secret_is_told(told):
    _, _, farol = told
    pages = [requests.get(f"{farol.url}{path}", timeout=60).text for path in
             ["/metrics", "/alertmanager/api/v2/status", "/api/v1/status/config", "/api/v1/status/flags", "/farol/api/v1/rules"]]
    history = [line for _, values in farol.entries('{source="farol_alerts"}') for line in values[1:]]
    for text in [*pages, json.dumps(history), farol.log.read_text()]:
        assert "S3CRET" not in text
