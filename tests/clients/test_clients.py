"""Real clients: the OpenTelemetry SDK, DuckDB, WebSocket, and Farol's own command line."""
import asyncio
import glob
import gzip
import json
import logging

import duckdb
import pyarrow.ipc
import pytest
import requests
import websockets
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import Compression, OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource


def send_with_sdk(exporter, service, lines):
    provider = LoggerProvider(resource=Resource.create({"service.name": service, "host.name": "box-1"}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.getLogger(service)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = LoggingHandler(logger_provider=provider)
    logger.addHandler(handler)
    for line in lines:
        logger.error(line, extra={"order.id": 17, "ratio": 0.5, "vip": True})
    provider.shutdown()
    logger.removeHandler(handler)


@pytest.mark.parametrize("door", ["http", "http-gzip", "grpc"])
def test_the_opentelemetry_sdk_sends_and_a_kill_loses_nothing(farol, door):
    if door == "grpc":
        exporter = GrpcExporter(endpoint=f"127.0.0.1:{farol.otlp_grpc}", insecure=True)
    else:
        how = Compression.Gzip if door == "http-gzip" else Compression.NoCompression
        exporter = HttpExporter(endpoint=f"http://127.0.0.1:{farol.otlp_http}/v1/logs", compression=how)
    lines = [f"payment {i} failed" for i in range(1500)]
    send_with_sdk(exporter, "shop-" + door, lines)
    farol.kill()
    farol.start()
    found = farol.entries('{service_name="shop-%s"}' % door)
    assert [v[1] for _, v in found] == lines
    labels = found[0][0]
    assert labels["order_id"] == "17" and labels["vip"] == "true" and labels["ratio"] == "0.5"
    assert labels["host_name"] == "box-1" and labels["detected_level"] == "error"


def test_duckdb_reads_a_segment(farol):
    lines = [{"time": 1_700_000_000_000 + i, "message": f"line {i}", "service": "duck", "code": 200 + i % 3} for i in range(3000)]
    body = "\n".join(json.dumps(x) for x in lines)
    r = requests.post(f"{farol.url}/farol/api/v1/ingest/jsonlines?stream_fields=service", gzip.compress(body.encode()),
                      headers={"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}, timeout=60)
    assert r.status_code // 100 == 2, r.text
    farol.flush()
    segments = glob.glob(f"{farol.data}/segments/*/logs/**/*.parquet", recursive=True)
    assert segments
    rows = duckdb.sql(f"select code, count(*) from read_parquet({segments!r}) where service = 'duck' group by code order by code").fetchall()
    assert rows == [(200, 1000), (201, 1000), (202, 1000)]
    first = duckdb.sql(f"select epoch_ms(min(timestamp)) from read_parquet({segments!r})").fetchall()[0][0]
    assert first == 1_700_000_000_000


def test_duckdb_reads_samples(farol):
    start = 1_700_000_000_000
    points = [{"timeUnixNano": str((start + i * 15_000) * 10**6), "asDouble": i / 10 if i % 50 else 1 / 3,
               "attributes": [{"key": "host", "value": {"stringValue": f"h{i % 2}"}}]} for i in range(200)]
    metric = {"name": "temperature", "gauge": {"dataPoints": points}}
    body = {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"scope": {}, "metrics": [metric]}]}]}
    r = requests.post(f"{farol.url}/v1/metrics", json=body, timeout=60)
    assert r.status_code == 200, r.text
    farol.flush()
    segments = glob.glob(f"{farol.data}/segments/default/metrics/2023-11-14/*.parquet")
    assert len(segments) == 1
    samples = f"""
        select s.labels, r.timestamp, coalesce(r.value, (s.base + r.digits * s.factor)::double / 10 ** s.scale) as value
        from '{segments[0]}' r
        join (select series, labels, base, factor, scale from '{segments[0]}' where labels is not null) s using (series)
        where r.histogram is null"""
    found = duckdb.sql(f"select labels, epoch_ms(timestamp), value from ({samples}) order by 2").fetchall()
    found = [(json.loads(labels), time, value) for labels, time, value in found]
    found = [(labels["host"], time, value) for labels, time, value in found if labels["__name__"] == "temperature"]
    assert found == [(f"h{i % 2}", start + i * 15_000, p["asDouble"]) for i, p in enumerate(points)]
    query = "select labels['host'] as host, count(*) as n, max(value) as m from metrics where name = 'temperature' group by 1 order by 1"
    r = requests.post(f"{farol.url}/farol/api/v1/sql", json={"query": query}, timeout=60)
    assert r.json() == [{"host": "h0", "n": 100, "m": 19.8}, {"host": "h1", "n": 100, "m": 19.9}], r.text


def test_sql_answers_in_every_format(farol):
    body = {"streams": [{"stream": {"app": "sql"}, "values": [[str(i), f"line {i}", {"n": str(i)}] for i in range(1, 101)]}]}
    assert requests.post(f"{farol.url}/loki/api/v1/push", json=body, timeout=60).status_code == 204

    def sql(query, accept):
        r = requests.post(f"{farol.url}/farol/api/v1/sql", json={"query": query}, headers={"Accept": accept}, timeout=60)
        assert r.status_code == 200, r.text
        return r

    query = "select app, count(*) as n from logs where message like '%1%' group by app"
    assert sql(query, "application/json").json() == [{"app": "sql", "n": 20}]
    assert sql(query, "text/csv").text.splitlines() == ["app,n", "sql,20"]
    table = pyarrow.ipc.open_stream(sql(query, "application/vnd.apache.arrow.stream").content).read_all()
    assert table.column("n").to_pylist() == [20]
    parquet = sql("select message from logs order by timestamp", "application/vnd.apache.parquet").content
    path = farol.data.parent / "answer.parquet"
    path.write_bytes(parquet)
    assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(100,)]
    for bad in ["selec 1", "drop table logs", "copy logs to '/tmp/x'", "select nothing from logs"]:
        r = requests.post(f"{farol.url}/farol/api/v1/sql", json={"query": bad}, timeout=60)
        assert r.status_code == 400, (bad, r.status_code, r.text)


def test_export_streams_every_match(farol):
    for part in range(4):
        values = [[str(part * 3000 + i), f"line {part * 3000 + i}"] for i in range(3000)]
        body = {"streams": [{"stream": {"app": "export", "part": str(part)}, "values": values}]}
        assert requests.post(f"{farol.url}/loki/api/v1/push", json=body, timeout=60).status_code == 204
        if part == 1:
            farol.flush()

    def export(direction, accept):
        p = {"query": '{app="export"}', "start": "0", "end": "1000000", "direction": direction}
        r = requests.get(f"{farol.url}/farol/api/v1/export", p, headers={"Accept": accept}, timeout=60)
        assert r.status_code == 200, r.text
        return r

    wanted = [f"line {i}" for i in range(12000)]
    forward = [json.loads(x)["message"] for x in export("forward", "application/x-ndjson").text.splitlines()]
    assert forward == wanted
    backward = [json.loads(x)["message"] for x in export("backward", "application/x-ndjson").text.splitlines()]
    assert backward == wanted[::-1]
    assert len(export("forward", "text/csv").text.splitlines()) == 12001
    path = farol.data.parent / "export.parquet"
    path.write_bytes(export("forward", "application/vnd.apache.parquet").content)
    assert duckdb.sql(f"select count(*), count(distinct message) from '{path}'").fetchall() == [(12000, 12000)]


def test_tail_sees_new_lines(farol):
    async def follow():
        url = f"ws://127.0.0.1:{farol.http}/loki/api/v1/tail?query=" + "%7Bapp%3D%22tail%22%7D%20%7C%3D%20%22yes%22"
        async with websockets.connect(url) as socket:
            body = {"streams": [{"stream": {"app": "tail"}, "values": [[str(10**18), "no"], [str(10**18 + 1), "yes"]]}]}
            await asyncio.to_thread(lambda: requests.post(f"{farol.url}/loki/api/v1/push", json=body, timeout=60).raise_for_status())
            return json.loads(await asyncio.wait_for(socket.recv(), 30))

    seen = asyncio.run(follow())
    assert [v[1] for s in seen["streams"] for v in s["values"]] == ["yes"]


def test_the_command_line_imports_and_queries(farol, tmp_path):
    plain = tmp_path / "dpkg.log"
    plain.write_text("".join(f"2026-11-2{i % 3} 10:00:{i % 60:02} status installed package-{i}:amd64 1.{i}\n" for i in range(2500)))
    packed = tmp_path / "app.ndjson.gz"
    packed.write_bytes(gzip.compress(b"".join(
        json.dumps({"time": f"2026-11-20T10:00:{i % 60:02}Z", "level": "error", "msg": f"job {i}", "code": i}).encode() + b"\n" for i in range(500))))
    done = farol.run("import", "--server", farol.url, "--label", "source=files", str(plain), str(packed))
    assert done.returncode == 0, done.stdout + done.stderr
    answer = farol.run("query", "--server", farol.url, "--from", "2026-11-01T00:00:00Z", "--to", "2026-12-01T00:00:00Z",
                       "--limit", "5000", "--output", "json", '{source="files"} |= "package-2499"')
    assert answer.returncode == 0, answer.stderr
    lines = [json.loads(x) for x in answer.stdout.splitlines()]
    assert len(lines) == 1 and "package-2499:amd64" in json.dumps(lines[0])
    counted = farol.run("query", "--server", farol.url, "--from", "2026-11-01T00:00:00Z", "--to", "2026-12-01T00:00:00Z",
                        "--limit", "5000", '{source="files"} | detected_level="error"')
    assert len(counted.stdout.splitlines()) == 500, counted.stdout[:500]
