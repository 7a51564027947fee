"""From an application's SDK to the team's chat: logs and metrics by OpenTelemetry, a rule over each, a webhook."""
import logging

import requests
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from conftest import Farol
from sink import Sink

LOGQL = """
name: logs
interval: 1s
rules:
- alert: PaymentsFail
  expr: sum by (service_name) (count_over_time({service_name="checkout"} |= "payment failed" [10s])) > 2
  labels: {severity: page}
  annotations: {summary: "{{ $labels.service_name }}: {{ $value }} payments failed", runbook_url: "https://runbooks.example/payments"}
"""
PROMQL = """
groups:
- name: metrics
  interval: 1s
  rules:
  - alert: QueueLong
    expr: max by (service) (queue_length{job="checkout"}) > 100
    annotations: {summary: "{{ $value }} wait"}
"""


def test_an_alert_fires_and_resolves_from_end_to_end(tmp_path):
    sink = Sink()
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "metrics.yml").write_text(PROMQL)
    (tmp_path / "alertmanager.yml").write_text(
        "route: {receiver: team, group_wait: 200ms, group_interval: 1s}\n"
        f"receivers: [{{name: team, webhook_configs: [{{url: '{sink.url}/team'}}], slack_configs: [{{api_url: '{sink.url}/slack', channel: '#ops'}}]}}]\n")
    farol = Farol(tmp_path)
    farol.arguments = ["--set", f"rules.folder={tmp_path / 'rules'}", "--set", f"alerts.config={tmp_path / 'alertmanager.yml'}",
                       "--set", "external_url=https://farol.example"]
    farol.start()
    r = requests.post(f"{farol.url}/loki/api/v1/rules/team", LOGQL, headers={"Content-Type": "application/yaml"}, timeout=60)
    assert r.status_code == 202, r.text

    resource = Resource.create({"service.name": "checkout", "service.instance.id": "1"})
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"http://127.0.0.1:{farol.otlp_http}/v1/logs")))
    logger = logging.getLogger("checkout")
    logger.propagate = False
    handler = LoggingHandler(logger_provider=logs)
    logger.addHandler(handler)
    exporter = OTLPMetricExporter(endpoint=f"127.0.0.1:{farol.otlp_grpc}", insecure=True)
    metrics = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=500)])
    length = metrics.get_meter("shop").create_gauge("queue.length")
    length.set(250, {"service": "payments"})
    for order in range(5):
        logger.error("payment failed for order %s", order)
    logs.force_flush()

    def of(name, status):
        return lambda body: any(a["status"] == status and a["labels"]["alertname"] == name for a in body["alerts"])

    fired = sink.wait_for("/team", of("PaymentsFail", "firing"))
    alert = next(a for a in fired["alerts"] if a["labels"]["alertname"] == "PaymentsFail")
    assert alert["labels"] == {"alertname": "PaymentsFail", "service_name": "checkout", "severity": "page"}
    assert alert["annotations"]["summary"] == "checkout: 5 payments failed"
    assert alert["generatorURL"].startswith("https://farol.example/")
    queue = sink.wait_for("/team", of("QueueLong", "firing"))
    assert any(a["annotations"].get("summary") == "250 wait" for a in queue["alerts"]), queue
    # The chat's message explains itself: the value, the expression, the lines, the runbook.
    message = sink.wait_for("/slack", lambda body: "PaymentsFail" in str(body))
    for told in ["payment failed for order 4", "&gt; 2", "https://runbooks.example/payments", "https://farol.example/"]:
        assert told in str(message), (told, message)

    length.set(3, {"service": "payments"})
    sink.wait_for("/team", of("PaymentsFail", "resolved"))
    sink.wait_for("/team", of("QueueLong", "resolved"))
    metrics.shutdown()
    logs.shutdown()
    logger.removeHandler(handler)
    deliveries = farol.entries('{source="farol_alerts"} | event="notification" | outcome="delivered"')
    assert len(deliveries) >= 4, deliveries
    farol.stop()
    sink.stop()
