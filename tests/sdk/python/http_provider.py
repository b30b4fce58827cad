"""A provider over HTTP for tests, and the table that leads a gateway to such. What it answers is for whoever inherits from it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a gateway under test has as its key of any provider (gateway.py, ../node/gateway.mjs).
KEY = "sandbox"


class HttpProvider:
    """Listens on a port that the system chose."""

    def __init__(self):
        # A stream was left before its end.
        self.cut = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.tell(provider.answer(self.path, headers, body))

            def do_GET(self):
                self.tell((200, provider.log()))

            def tell(self, script):
                if not isinstance(script, tuple):
                    return self.stream(script)
                status, answer, *kind = script
                raw = answer if kind else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", *kind or ["application/json"])
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                # What is announced longer than it is breaks off.
                self.close_connection |= self.wfile.write(raw) < len(raw)

            def stream(self, events):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    for event in events:
                        self.wfile.write(event.encode())
                        self.wfile.flush()
                except ConnectionError:
                    provider.cut = True

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, headers, body):
        """The script for a request: (status, body) for a whole answer, with its content type where it is bytes, or the events of a stream."""
        raise NotImplementedError

    def log(self):
        """What a test in another process is told of it."""
        raise NotImplementedError

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def write_table(file, *rows):
    """A providers table of a backend for each provider: its id, the provider, and what differs between them."""
    sections = [ROW.format(id=name, url=provider.url, **more) for name, provider, more in rows]
    file.write_text("\n".join(['schema = 1\nversion = "test"', *sections]))
    return file


ROW = """
[providers.{id}]
name = "{id}"
base_url = "{url}"
dialect = "{dialect}"
auth = "{auth}"
api_key_env = "NORTH_API_KEY"
owner = "{id}"
jurisdiction = "US"
region = "US"
currency = "USD"
source = "invented for tests"
quirks = {{ {quirks} }}

[[backends]]
provider = "{id}"
model = "{model}"
upstream_model = "{upstream_model}"
context_tokens = 200_000
max_output_tokens = 64_000
input = ["text", "image", "file"]
features = ["tools", "forced_tool", "json_schema"]
reasoning = "switchable"
languages = ["*"]
tokenizer = "claude47_recon"

[[backends.prices]]
input = 1
output = 2
cache_read = 0.1
cache_write = 1.25
source = "invented for tests"
"""
