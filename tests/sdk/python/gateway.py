"""Starts the real binaries that the client tests talk to: the sandbox of pretend providers, and the gateway in front of them.

Both listen on ports that the system chose and say so in one JSON line on standard output, so a test never waits a fixed time and
two runs never meet. Everything they write lies in a temporary folder. The gateway is a black box here: these tests know its
command line and its HTTP interface, and nothing of its files but the books, which `books.py` reads.
"""

import json
import os
import re
import select
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from books import Prices, booked_attempts
from http_provider import KEY
from openai import AsyncOpenAI, OpenAI

REPOSITORY = Path(__file__).resolve().parents[3]
READY_SECONDS = 30
STOP_SECONDS = 20
# A stuck request should fail its test, not the whole run.
CLIENT_SECONDS = 60


def binary():
    path = Path(os.environ.get("TOKENBROKER_BIN", REPOSITORY / "target/release/tokenbroker"))
    path = path if path.is_absolute() else REPOSITORY / path
    if not path.is_file():
        raise FileNotFoundError(f"no gateway to test at {path}: build it with `cargo build --release`, or set TOKENBROKER_BIN")
    return str(path)


def clean_environment(extra):
    """The caller's environment without anything that configures a gateway or a provider, then what the test wants."""
    foreign = [name for name in os.environ if name.startswith("TOKENBROKER") or name.endswith("_API_KEY")]
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, **extra}


def eventually(look, seconds, what):
    """What `look` returns as soon as it is true. The pause bounds how often it looks, not how long a test takes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


def provider_keys(table):
    """A value for every key that the table names: the pretend providers take any."""
    names = re.findall(r'^api_key_env = "(\w+)"', Path(table).read_text(), re.MULTILINE)
    return dict.fromkeys(names, KEY)


class Process:
    """A server of ours that says on standard output when it is ready, and logs to a file of its own."""

    def __init__(self, name, command, folder, environment=None):
        self.log = Path(folder) / f"{name}.log"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=clean_environment(environment or {}),
            )
        try:
            self.ready = json.loads(self._first_line())
        except BaseException:
            self.kill()
            raise

    def _first_line(self):
        deadline, line = time.monotonic() + READY_SECONDS, b""
        out = self.child.stdout.fileno()
        while not line.endswith(b"\n"):
            waiting, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(out, 4096) if waiting else b""
            if not piece:
                raise RuntimeError(f"{self.log.stem} did not get ready; it printed {line!r} and logged:\n{self.log_tail()}")
            line += piece
        return line

    def log_tail(self, lines=80):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def terminate(self):
        """Asks for an orderly end; `wait` tells how it went."""
        self.child.send_signal(signal.SIGTERM)

    def wait(self, seconds=STOP_SECONDS):
        return self.child.wait(seconds)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdout.close()


class Sandbox(Process):
    """The pretend providers. They answer at once and never fail by chance: what a test needs slow or broken, it orders."""

    def __init__(self, folder):
        self.table = Path(folder) / "providers.toml"
        command = [binary(), "sandbox", "--json", "--fast", "--steady", "--write-table", str(self.table)]
        super().__init__("sandbox", command, folder)
        self.control = self.ready["control"]

    def _control(self, path, method="GET", body=None):
        raw = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.control}{path}", raw, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def served(self):
        """One entry per upstream request, oldest first, as it stands now: those that still run have no `ending`."""
        return [json.loads(line) for line in self._control("/served").decode().splitlines() if line]

    def body(self, row):
        """What a provider received, to the byte."""
        return self._control(f"/served/{row['id']}/body")

    def order(self, fault, provider="*", count=None, **parameters):
        """Has a provider do something wrong, for `count` requests or until `lift`."""
        self._control("/faults", "POST", {"provider": provider, "fault": fault, "count": count, **parameters})

    def lift(self):
        self._control("/faults", "DELETE")


class Serve(Process):
    """The gateway over a providers table. The same folder twice means the same books."""

    def __init__(self, folder, table, environment=None):
        self.data = Path(folder) / "data"
        command = [binary(), "serve", "--providers", str(table), "--data-dir", str(self.data), "--json"]
        command += ["--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"]
        super().__init__("serve", command, folder, {**provider_keys(table), **(environment or {})})
        self.api, self.operations = self.ready["api"], self.ready["operations"]

    def client(self, key="any", **options):
        """A client that never retries: a test wants to see the first answer."""
        return OpenAI(base_url=f"{self.api}/v1", api_key=key, max_retries=0, timeout=CLIENT_SECONDS, **options)

    def async_client(self, key="any", **options):
        return AsyncOpenAI(base_url=f"{self.api}/v1", api_key=key, max_retries=0, timeout=CLIENT_SECONDS, **options)


@dataclass
class Broker:
    """A gateway and the sandbox behind it."""

    sandbox: Sandbox
    serve: Serve
    client: OpenAI = field(init=False)

    def __post_init__(self):
        self.client = self.serve.client()

    @classmethod
    def start(cls, folder, environment=None):
        sandbox = Sandbox(folder)
        try:
            return cls(sandbox, Serve(folder, sandbox.table, environment))
        except BaseException:
            sandbox.kill()
            raise

    @property
    def processes(self):
        return [self.serve, self.sandbox]

    def stop(self):
        self.client.close()
        self.serve.kill()
        self.sandbox.kill()

    def ask(self, text="hello", **more):
        """One short chat through `auto`, as the answer and its headers."""
        raw = self.client.chat.completions.with_raw_response.create(**{"model": "auto", "messages": user(text), **more})
        return raw.parse(), raw.headers

    def since(self, before):
        """What was asked of providers after the first `before` requests, once all of it has ended."""

        def look():
            rows = self.sandbox.served()[before:]
            return rows if rows and all(row["ending"] for row in rows) else None

        return eventually(look, 10, "the end of the upstream requests")

    @property
    def seen(self):
        return len(self.sandbox.served())

    def forwarded(self, **more):
        """What a provider received for one chat, with its row, and the answer."""
        before = self.seen
        answer, _ = self.ask(**more)
        (row,) = self.since(before)
        return json.loads(self.sandbox.body(row)), row, answer

    def booked(self, headers):
        """The attempts in the books of the request that answered with these headers."""
        wanted = headers["x-tokenbroker-request-id"]
        return eventually(lambda: booked_attempts(self.serve.data, wanted), 10, f"request {wanted} in the books")

    @cached_property
    def prices(self):
        return Prices(self.sandbox.table)


def long_answer(tokens):
    """Options for an answer of that length."""
    return {"max_tokens": 4 * tokens, "extra_body": {"sandbox": {"output_tokens": tokens}}}


def user(text):
    return [{"role": "user", "content": text}]
