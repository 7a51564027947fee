"""Starts the binary named by FAROL_BINARY on a temporary data folder."""
import os
import socket
import subprocess
import time

import pytest
import requests


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Farol:
    """A running server and the command-line tool beside it."""

    def __init__(self, folder):
        self.binary = os.environ["FAROL_BINARY"]
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.http, self.otlp_http, self.otlp_grpc = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.arguments = []
        self.process = None

    def start(self):
        arguments = [self.binary, "serve", "--data", str(self.data), "--http", f"127.0.0.1:{self.http}"]
        arguments += ["--otlp-http", f"127.0.0.1:{self.otlp_http}", "--otlp-grpc", f"127.0.0.1:{self.otlp_grpc}"]
        arguments += self.arguments
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if requests.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return self
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        raise AssertionError("not ready: " + self.log.read_text())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()

    def run(self, *arguments, **options):
        return subprocess.run([self.binary, *arguments], capture_output=True, text=True, timeout=120, **options)

    def flush(self):
        requests.post(f"{self.url}/farol/api/v1/admin/flush?compact=true", timeout=120).raise_for_status()

    def entries(self, query, **parameters):
        """(labels, [time, line, ...]) of every match over all time, oldest first."""
        p = {"query": query, "start": "0", "end": str(4 * 10**18), "limit": "5000", "direction": "forward", **parameters}
        r = requests.get(f"{self.url}/loki/api/v1/query_range", p, timeout=60)
        assert r.status_code == 200, r.text
        found = [(s["stream"], v) for s in r.json()["data"]["result"] for v in s["values"]]
        return sorted(found, key=lambda e: int(e[1][0]))


@pytest.fixture
def farol(tmp_path):
    server = Farol(tmp_path).start()
    yield server
    if server.process.poll() is None:
        server.stop()
