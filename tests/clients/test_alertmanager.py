"""The same alerts to Debian's Alertmanager and to Farol: both tell the same, in the same order; amtool drives both."""
import datetime
import json
import pathlib
import subprocess
import sys
import time

import pytest
import requests

from conftest import Farol, free_port
from sink import Sink

DEBIAN = pathlib.Path(sys.prefix) / "debian" / "usr" / "bin"

# Each receiver is a case. Times are far enough apart that a busy machine does not change the order.
CONFIG = """
route:
  receiver: rest
  group_by: [alertname]
  group_wait: 1s
  group_interval: 3s
  repeat_interval: 1h
  routes:
  - {matchers: [case="grouped"], receiver: grouped, group_by: [job]}
  - {matchers: [case="each"], receiver: each, group_by: ['...']}
  - {matchers: [case="repeated"], receiver: repeated, group_interval: 2s, repeat_interval: 5s}
  - {matchers: [case="inhibited"], receiver: inhibited, group_by: [instance]}
  - {matchers: [case="muted"], receiver: muted, mute_time_intervals: [always]}
  - {matchers: [case="active"], receiver: active, active_time_intervals: [never]}
  - {matchers: [case="quiet"], receiver: quiet}
  - matchers: [case=~"both|one"]
    receiver: first
    continue: true
  - {matchers: [case!="one", case="both"], receiver: second}
receivers:
- name: rest
- {name: grouped, webhook_configs: [{url: 'SINK/grouped'}]}
- {name: each, webhook_configs: [{url: 'SINK/each'}]}
- {name: repeated, webhook_configs: [{url: 'SINK/repeated', send_resolved: false}]}
- {name: inhibited, webhook_configs: [{url: 'SINK/inhibited'}]}
- {name: muted, webhook_configs: [{url: 'SINK/muted'}]}
- {name: active, webhook_configs: [{url: 'SINK/active'}]}
- {name: quiet, webhook_configs: [{url: 'SINK/quiet', max_alerts: 2}]}
- {name: first, webhook_configs: [{url: 'SINK/first'}]}
- {name: second, webhook_configs: [{url: 'SINK/second'}]}
inhibit_rules:
- {source_matchers: [severity="critical"], target_matchers: [severity="warning"], equal: [instance]}
time_intervals:
- {name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}
- {name: never, time_intervals: [{years: ['1999']}]}
"""


def config(tmp_path, name, sink):
    path = tmp_path / f"{name}.yml"
    path.write_text(CONFIG.replace("SINK", f"{sink.url}/{name}"))
    return path


@pytest.fixture
def pair(tmp_path):
    """(sink, {name: base URL of its API})."""
    sink = Sink()
    port = free_port()
    arguments = [str(DEBIAN / "prometheus-alertmanager"), f"--config.file={config(tmp_path, 'alertmanager', sink)}",
                 f"--storage.path={tmp_path / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with open(tmp_path / "alertmanager.log", "ab") as log:
        reference = subprocess.Popen(arguments, stdout=log, stderr=log)
    farol = Farol(tmp_path)
    farol.arguments = ["--set", f"alerts.config={config(tmp_path, 'farol', sink)}"]
    farol.start()
    urls = {"alertmanager": f"http://127.0.0.1:{port}", "farol": f"{farol.url}/alertmanager"}
    for _ in range(300):
        try:
            if requests.get(f"{urls['alertmanager']}/-/ready", timeout=5).status_code == 200:
                break
        except requests.ConnectionError:
            time.sleep(0.1)
    yield sink, urls
    reference.kill()
    farol.stop()
    sink.stop()


def utc(seconds=0):
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).isoformat()


class Script:
    """Posts the same to both."""

    def __init__(self, urls):
        self.urls = urls
        self.begun = {}

    def alert(self, case, name, ended=False, **labels):
        labels = {"alertname": name, "case": case, **labels}
        key = json.dumps(labels, sort_keys=True)
        start = self.begun.setdefault(key, utc())
        alert = {"labels": labels, "annotations": {"summary": f"{name} of {case}"}, "startsAt": start}
        alert["endsAt"] = utc() if ended else utc(600)
        for url in self.urls.values():
            requests.post(f"{url}/api/v2/alerts", json=[alert], timeout=30).raise_for_status()


def told(bodies):
    """What matters of messages: whether it fires, which alerts stand in it and how, and what they have in common."""
    def one(body):
        alerts = sorted((a["status"], a["labels"]["alertname"], a["labels"].get("instance", "")) for a in body["alerts"])
        return body["status"], body["groupLabels"], body["commonLabels"], body["truncatedAlerts"], alerts, body["groupKey"]

    # Messages of different groups may overtake each other.
    return sorted((one(body) for body in bodies), key=lambda m: m[5])


def test_what_is_told_is_what_alertmanager_tells(pair):
    sink, urls = pair
    script = Script(urls)
    silence = {"matchers": [{"name": "alertname", "value": "Known", "isRegex": False}], "startsAt": utc(), "endsAt": utc(3600),
               "createdBy": "ann", "comment": "known"}
    for url in urls.values():
        assert requests.post(f"{url}/api/v2/silences", json=silence, timeout=30).status_code == 200
    # 0 s: groups of several, critical before warning, everything that is muted in some way.
    for name, job in [("A", "api"), ("B", "api"), ("C", "db")]:
        script.alert("grouped", name, job=job)
    for name in ["A", "B"]:
        script.alert("each", name)
    script.alert("repeated", "A")
    script.alert("inhibited", "Down", severity="critical", instance="i1")
    script.alert("inhibited", "Slow", severity="warning", instance="i1")
    script.alert("inhibited", "Slow", severity="warning", instance="i2")
    for case in ["muted", "active"]:
        script.alert(case, "A")
    for name in ["Known", "New"]:
        script.alert("quiet", name)
    for instance in ["1", "2", "3"]:
        script.alert("quiet", "Many", instance=instance)
    script.alert("both", "A")
    script.alert("one", "B")
    # Ended before the group's time: nobody hears of it.
    script.alert("grouped", "Brief", job="brief")
    script.alert("grouped", "Brief", job="brief", ended=True)
    time.sleep(2.5)
    # 2.5 s, after the first messages: one more in a group, one that ends; told at the next interval.
    script.alert("grouped", "D", job="api")
    script.alert("grouped", "C", job="db", ended=True)
    # What held it down has ended: it is told at its group's next interval.
    script.alert("inhibited", "Down", severity="critical", instance="i1", ended=True)
    time.sleep(3)
    # 5.5 s, after the second messages: all of a group end.
    for name in ["A", "B", "D"]:
        script.alert("grouped", name, job="api", ended=True)
    # The repeated group told at 1 s and 7 s, and would at 13 s.
    time.sleep(4.5)
    cases = ["grouped", "each", "repeated", "inhibited", "muted", "active", "quiet", "first", "second"]
    for case in cases:
        reference, own = (told(sink.received[f"/{name}/{case}"]) for name in ["alertmanager", "farol"])
        assert own == reference, case
    counts = {case: len(sink.received[f"/farol/{case}"]) for case in cases}
    assert counts == {"grouped": 5, "each": 2, "repeated": 2, "inhibited": 3, "muted": 0, "active": 0, "quiet": 2, "first": 2, "second": 1}


def test_both_apis_show_the_same(pair):
    _, urls = pair
    script = Script(urls)
    script.alert("grouped", "A", job="api")
    script.alert("inhibited", "Down", severity="critical", instance="i1")
    script.alert("inhibited", "Slow", severity="warning", instance="i1")
    time.sleep(1.5)

    def shown(url, path):
        def without(value):
            """Without times, and `mutedBy`, which later Alertmanagers have."""
            if isinstance(value, dict):
                return {k: without(v) for k, v in value.items() if k not in ("startsAt", "endsAt", "updatedAt", "mutedBy")}
            return [without(v) for v in value] if isinstance(value, list) else value

        answer = requests.get(f"{url}/api/v2/{path}", timeout=30)
        return answer.status_code, without(answer.json())

    for path in ["alerts", "alerts?filter=job=api", "alerts?inhibited=false", "alerts?receiver=inh.*", "alerts/groups",
                 "alerts?filter=job", "alerts/groups?filter=case=~%22in.*%22", "receivers", "silences"]:
        reference, own = (shown(urls[name], path) for name in ["alertmanager", "farol"])
        if reference[0] == 200:
            assert own == reference, path
        else:
            assert own[0] == reference[0], path

    def amtool(url, *arguments):
        done = subprocess.run([str(DEBIAN / "amtool"), f"--alertmanager.url={url}", *arguments], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    for url in urls.values():
        code, added, error = amtool(url, "silence", "add", "alertname=A", "--comment=known", "--author=ann", "--duration=1h")
        assert code == 0, error
        code, listed, _ = amtool(url, "silence", "query", "--quiet")
        assert (code, listed) == (0, added)
        assert amtool(url, "silence", "expire", added.strip())[0] == 0
        assert amtool(url, "silence", "query", "--quiet")[1] == ""
    lines = [amtool(url, "alert", "query", "-o", "extended", "--inhibited", "--active")[1].splitlines() for url in urls.values()]
    assert [line.split()[0] for line in lines[0]] == [line.split()[0] for line in lines[1]]
