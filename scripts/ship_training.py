"""What `scripts/ship` asks of a program, so that it runs through what requests run through: chat, Messages and Responses, whole and as
streams, short and long, in English and Chinese, as agents; of a gateway before pretend providers, and of one before that gateway.
"""
import asyncio
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORDS = "harbour ledger morning price window stone letter engine river market signal garden token copper winter paper".split()
HAN = "港口 账本 早晨 价格 窗户 石头 信件 机器 河流 市场 信号 花园 令牌 铜 冬天 纸张".split()
KEY = "tb-" + "5" * 64
# Where a request's own number goes: no two prompts are the same to their last letter.
NUMBER = "(NUMBER)"
# What each API's streams end with.
ENDS = {"/v1/chat/completions": (b"[DONE]",), "/v1/messages": (b"message_stop",), "/v1/responses": (b"response.completed", b"response.incomplete")}


def fail(why):
    sys.exit(f"scripts/ship: {why}")


def prose(rng, size, words=WORDS):
    between, end = ("", "。") if words is HAN else (" ", ". ")
    text = ""
    while len(text) < size:
        text += between.join(rng.choice(words) for _ in range(rng.randint(6, 14))).capitalize() + end
    return text[:size]


def tools(rng, wrap):
    schema = {"type": "object", "properties": {"path": {"type": "string"}, "query": {"type": "string"}}, "required": ["path"]}
    return [wrap(f"tool_{n}", prose(rng, 120), schema) for n in range(6)]


def chat_tool(name, description, schema):
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def messages_tool(name, description, schema):
    return {"name": name, "description": description, "input_schema": schema}


def responses_tool(name, description, schema):
    return {"type": "function", "name": name, "description": description, "parameters": schema}


def agent_chat(rng):
    """A conversation that has called tools for a while."""
    messages = [{"role": "system", "content": prose(rng, 3_000)}, {"role": "user", "content": prose(rng, 200)}]
    for n in range(20):
        call = {"id": f"call_{n}", "type": "function", "function": {"name": f"tool_{n % 6}", "arguments": json.dumps({"path": f"src/{n}.rs"})}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{n}", "content": "fn main() {\n\t" + prose(rng, 600) + "\n}\n"})
    messages[-1]["content"] += NUMBER
    return {"messages": messages, "tools": tools(rng, chat_tool)}


def agent_messages(rng):
    """The same in Messages, with its longest part marked for a cache."""
    messages = [{"role": "user", "content": prose(rng, 200)}]
    for n in range(8):
        call = {"type": "tool_use", "id": f"toolu_{n}", "name": f"tool_{n % 6}", "input": {"path": f"src/{n}.rs"}}
        messages.append({"role": "assistant", "content": [{"type": "text", "text": prose(rng, 60)}, call]})
        messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": prose(rng, 500) + NUMBER}]})
    system = [{"type": "text", "text": prose(rng, 2_000), "cache_control": {"type": "ephemeral"}}]
    return {"system": system, "messages": messages, "tools": tools(rng, messages_tool)}


def lessons(seed):
    """(path, body, weight): what clients ask, and how often of a hundred."""
    rng = random.Random(seed)
    said = lambda size, words=WORDS: [{"role": "user", "content": prose(rng, size, words) + NUMBER}]
    chat, messages, responses = ENDS
    few, many = {"max_tokens": 64}, {"max_tokens": 700}
    return [
        (chat, {"messages": said(700), **few}, 12),
        (chat, {"messages": said(400, HAN), **few}, 6),
        (chat, {"messages": said(1_500), **many}, 4),
        (chat, {"messages": said(700), **few, "stream": True}, 10),
        (chat, {"messages": said(400, HAN), **few, "stream": True}, 6),
        (chat, {"messages": said(24_000), **few}, 4),
        (chat, {**agent_chat(rng), **few}, 8),
        (chat, {**agent_chat(rng), **few, "stream": True, "stream_options": {"include_usage": True}}, 6),
        (messages, {"messages": said(700), **few}, 10),
        (messages, {"messages": said(400, HAN), **many}, 4),
        (messages, {"messages": said(700), **few, "stream": True}, 8),
        (messages, {**agent_messages(rng), **few, "stream": True}, 8),
        (responses, {"input": prose(rng, 700) + NUMBER, "max_output_tokens": 64}, 7),
        (responses, {"input": prose(rng, 700) + NUMBER, "max_output_tokens": 64, "stream": True, "tools": tools(rng, responses_tool)}, 7),
    ]


class Server:
    """A program of ours that says on standard output that it is ready."""

    def __init__(self, binary, arguments, environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOKENBROKER") and not name.endswith("_API_KEY")}
        self.child = subprocess.Popen([binary, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env={**clean, **environment})
        line = self.child.stdout.readline()
        self.ready = json.loads(line) if line else fail(f"did not start: {binary} {' '.join(map(str, arguments))}")

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = "a signal that it did not hear"
        if code != 0 and not failed:
            fail(f"{self.child.args[1]} ended with {code}")


CERTIFICATE = """[req]
distinguished_name = subject
x509_extensions = ours
prompt = no
[subject]
CN = localhost
[ours]
subjectAltName = DNS:localhost
basicConstraints = critical, CA:FALSE
"""


class Tunnel:
    """TLS before a gateway, since that is how providers are reached. Over HTTP/2 where `protocols` offers it."""

    def __init__(self, url, certificate, protocols):
        self.to = url.removeprefix("http://").rsplit(":", 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.set_alpn_protocols(protocols)
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self.carry, "127.0.0.1", 0, ssl=context))
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        threading.Thread(target=loop.run_forever, daemon=True).start()

    async def carry(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(*self.to)
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    @staticmethod
    async def pump(source, sink):
        try:
            while piece := await source.read(1 << 16):
                sink.write(piece)
                await sink.drain()
        except OSError:  # one of both sides has gone
            pass
        sink.close()


def self_signed(folder):
    """A certificate of this hour for localhost, with its key, in one file."""
    asked, key, certificate = (pathlib.Path(folder) / name for name in ("asked.cnf", "key.pem", "certificate.pem"))
    asked.write_text(CERTIFICATE)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-config", asked]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    both = pathlib.Path(folder) / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    return certificate, both


def gateway(binary, folder, name, table, environment, counted):
    """One with a key, a budget and a limit, as it is run."""
    path = pathlib.Path(folder) / f"{name}.toml"
    path.write_text(table)
    options = ["serve", "--json", "--providers", path, "--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0", "--data-dir", pathlib.Path(folder) / name]
    settings = {
        "LOG__LEVEL": "error",
        "KEYS__TRAINING__SHA256": hashlib.sha256(KEY.encode()).hexdigest(),
        "KEYS__TRAINING__BUDGET_USD": "1000000",
        "KEYS__TRAINING__REQUESTS_PER_MINUTE": "1000000",
    }
    ours = {f"TOKENBROKER__{name}": value for name, value in settings.items()}
    return Server(binary, options, {**environment, **ours, "LLVM_PROFILE_FILE": str(counted / "%p.profraw")})


def wrong_with(path, body, answer, told):
    """Why an answer is not what was asked for; nothing where it is."""
    if answer.status != 200 or not told:
        return f"{path}: {answer.status} {told[:300]!r}"
    if body.get("stream") and not any(end in told for end in ENDS[path]):
        return f"{path}: the stream ends with {told[-300:]!r}"
    return None


def ask(url, model, seed, requests, failures):
    """One client: its requests one after the other over one connection, in its own order."""
    taught = lessons(seed)
    coding = ("identity", "gzip", "br", "gzip, br")[seed % 4]
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "accept-encoding": coding}
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    drawn = random.Random(seed).choices(taught, [weight for *_, weight in taught], k=requests)
    for number, (path, body, _) in enumerate(drawn):
        text = json.dumps({"model": model, **body}, ensure_ascii=False).replace(NUMBER, f"({seed}-{number})")
        try:
            connection.request("POST", path, text.encode(), headers)
            answer = connection.getresponse()
            wrong = wrong_with(path, body, answer, answer.read())
        except (OSError, http.client.HTTPException) as error:
            wrong = f"{path}: {error!r}"
        if wrong:
            failures.append(f"{model} at {wrong}")
            break
    connection.close()


def crowd(url, model, requests, clients=8):
    """As many requests, by clients side by side."""
    failures = []
    threads = [threading.Thread(target=ask, args=(url, model, seed, requests // clients, failures)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        fail(f"{len(failures)} of {clients} clients had a request that failed, the first: {failures[0]}")


def train(binary, counted, requests):
    """Every API over chat; and, by a gateway before this gateway, over Messages and Responses, with TLS and the whole shipped table."""
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder) / "sandbox.toml"
        pretend = ["sandbox", "--fast", "--steady", "--json", "--write-table", table]
        # What the pretend providers run through is no lesson.
        with Server(binary, pretend, {"LLVM_PROFILE_FILE": os.devnull}):
            keys = dict.fromkeys(re.findall(r'^api_key_env = "(\w+)"', table.read_text(), re.MULTILINE), "sandbox")
            with gateway(binary, folder, "near", table.read_text(), keys, counted) as near:
                certificate, both = self_signed(folder)
                rows = [
                    FAR_ROWS.format(dialect=dialect, url=Tunnel(near.ready["api"], both, protocols).url, tokenizer=tokenizer)
                    for dialect, protocols, tokenizer in (
                        ("anthropic-messages", ["h2", "http/1.1"], "claude47_recon"),
                        ("openai-responses", ["http/1.1"], "qwen2_3"),
                    )
                ]
                far_table = (ROOT / "providers.toml").read_text() + "".join(rows)
                trusted = {"TOKENBROKER__UPSTREAM__CA_FILE": str(certificate), "TRAINING_API_KEY": KEY}
                with gateway(binary, folder, "far", far_table, trusted, counted) as far:
                    crowd(near.ready["api"], "auto", requests)
                    crowd(far.ready["api"], "over-anthropic-messages", requests // 2)
                    crowd(far.ready["api"], "over-openai-responses", requests // 2)


FAR_ROWS = '''
[providers.training-{dialect}]
name = "this gateway"
base_url = "{url}/v1"
dialect = "{dialect}"
api_key_env = "TRAINING_API_KEY"
owner = "scripts/ship"
jurisdiction = "local"
region = "local"
currency = "USD"
source = "scripts/ship"

[[backends]]
provider = "training-{dialect}"
model = "over-{dialect}"
upstream_model = "pearl-chat"
context_tokens = 1_000_000
max_output_tokens = 16_384
input = ["text"]
features = ["tools", "forced_tool"]
reasoning = "never"
languages = ["*"]
tokenizer = "{tokenizer}"
[[backends.prices]]
input = 0.5
output = 1.5
source = "scripts/ship"
'''
