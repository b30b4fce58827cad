"""A scripted provider that speaks Anthropic's Messages, and the table that leads a gateway to it. It keeps what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY_VARIABLE, KEY = "NORTH_API_KEY", "sk-north-5f1c7e90aa41"
MODEL = "claude-of-the-north"


def event(name, **data):
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def message(blocks, stop="end_turn", usage=None):
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": blocks, "stop_reason": stop,
        "stop_sequence": None, "usage": usage or {"input_tokens": 12, "output_tokens": 7},
    }


def stream(blocks, stop="end_turn", usage=None):
    """The events of an answer of these blocks, each as (block to begin with, its deltas)."""
    usage = usage or {"input_tokens": 12, "output_tokens": 1}
    events = [event("message_start", message=message([], None, usage)), event("ping")]
    for index, (block, deltas) in enumerate(blocks):
        events.append(event("content_block_start", index=index, content_block=block))
        events += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(event("content_block_stop", index=index))
    events.append(event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 7}))
    return [*events, event("message_stop")]


def refusal(kind, said):
    return {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_1"}


class Provider:
    """Answers each request by the next script: (status, body) for a whole answer, a list of events for a stream."""

    def __init__(self):
        provider, self.scripts, self.asked = self, [], []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                provider.asked.append((self.path, dict(self.headers.items()), body))
                script = provider.scripts.pop(0)
                if isinstance(script, list):
                    self.send_response(200)
                    self.send_header("content-type", "text/event-stream")
                    self.send_header("connection", "close")
                    self.end_headers()
                    for piece in script:
                        self.wfile.write(piece.encode())
                        self.wfile.flush()
                    self.close_connection = True
                    return
                status, answer = script
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def says(self, *scripts):
        self.scripts += scripts
        return len(self.asked)

    def body(self, number=-1):
        return json.loads(self.asked[number][2])

    def headers(self, number=-1):
        return {name.lower(): value for name, value in self.asked[number][1].items()}

    def table(self, file):
        port = self.server.server_address[1]
        file.write_text(f"""
schema = 1
version = "test"

[providers.north]
name = "North"
base_url = "http://127.0.0.1:{port}/v1"
dialect = "anthropic-messages"
auth = "x-api-key"
api_key_env = "{KEY_VARIABLE}"
owner = "North"
jurisdiction = "US"
region = "US"
currency = "USD"
source = "invented for tests"

[[backends]]
provider = "north"
model = "jade"
upstream_model = "{MODEL}"
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
""")
        return file

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
