"""An HTTP server that keeps what is sent to it, by path, and answers as the services do."""
import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Sink:
    """`received[path]` has the JSON bodies in the order they came, `requests[path]` (method, headers, body as sent)."""

    def __init__(self):
        self.received = defaultdict(list)
        self.requests = defaultdict(list)
        # Path to (status, body), where it is not 200 and nothing.
        self.answers = {}
        lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def take(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    sink.requests[self.path].append((self.command, self.headers, raw))
                    try:
                        sink.received[self.path].append(json.loads(raw))
                    except ValueError:
                        pass
                status, body = sink.answers.get(self.path.split("?")[0], (200, {}))
                body = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(0 if status == 204 else len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            do_POST = do_PUT = take

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, path, passes=lambda _: True, patience=90):
        """The first body at `path` that passes."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = [body for body in list(self.received[path]) if passes(body)]
            if found:
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"{path}: {self.received[path]}; came: {list(self.requests)}")

    def stop(self):
        self.server.shutdown()
