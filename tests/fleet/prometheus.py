"""A real Prometheus that scrapes a real gateway, and what is read of PromQL without evaluating it."""

import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from files import ROOT

SECONDS = 40
# Where scripts/fleet unpacks Debian's package.
PROGRAMS = Path(os.environ.get("PROMETHEUS_BIN", "/usr/bin"))


def promtool(*arguments, **options):
    return subprocess.run([PROGRAMS / "promtool", *arguments], capture_output=True, text=True, **options)


def get(url, body=None, method=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(what, look):
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.05)
    return found


class Ours:
    """A server of ours that says where it listens in one line of JSON."""

    def __init__(self, binary, *arguments, folder, environment=None):
        self.log = (folder / f"{arguments[0]}.log").open("w+")
        self.child = subprocess.Popen(
            [binary, *arguments, "--json"], cwd=folder, env=environment or {}, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        line = self.child.stdout.readline()
        assert line, Path(self.log.name).read_text()
        self.ready = json.loads(line)

    def close(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        self.log.close()


class Market:
    """The pretend providers, a gateway in front of them, and clients that go on asking."""

    EXCLUDED = ["sandbox-local"]

    def __init__(self, binary, folder):
        table = folder / "providers.toml"
        self.sandbox = Ours(binary, "sandbox", "--fast", "--write-table", str(table), folder=folder)
        # The pretend table's version is no date, and so has no age.
        table.write_text(re.sub(r'^version = ".*"$', 'version = "2026-11-01"', table.read_text(), count=1, flags=re.MULTILINE))
        variables = dict.fromkeys(re.findall(r'^api_key_env = "(\w+)"', table.read_text(), re.MULTILINE), "any")
        variables |= {
            "TOKENBROKER__SERVER__LISTEN": "127.0.0.1:0",
            "TOKENBROKER__SERVER__OPERATIONS_LISTEN": "127.0.0.1:0",
            "TOKENBROKER__PROVIDERS_FILE__PATH": str(table),
            "TOKENBROKER__BOOKS__DIRECTORY": str(folder / "books"),
            "TOKENBROKER__ROUTING__BASELINE": "sandbox-summit/summit-max",
            # Enough for each kind of failure to move on.
            "TOKENBROKER__RETRIES__SHARE_PERCENT": "100",
        }
        self.gateway = Ours(binary, "serve", folder=folder, environment=variables)
        self.metrics_url = self.gateway.ready["operations"] + "/metrics"
        self.stopped = threading.Event()
        self.clients = threading.Thread(target=self._ask)
        self.clients.start()

    def _ask(self):
        chat, faults = self.gateway.ready["api"] + "/v1/chat/completions", self.sandbox.ready["control"] + "/faults"
        number = 0
        while not self.stopped.wait(0.01):
            number += 1
            if number % 10 == 0:
                get(faults, {"provider": "*", "fault": "status", "status": 503, "count": 1})
            if number % 15 == 0:
                get(chat, {"model": "no-such-model", "messages": []})
            # A long common beginning is what prompt caches are for.
            text = "You are a careful clerk. " * 200 + f"Count to {number}."
            get(chat, {
                "model": "auto",
                "stream": number % 2 == 0,
                "messages": [{"role": "user", "content": text}],
                "tokenbroker": {"exclude": self.EXCLUDED},
            })

    def close(self):
        self.stopped.set()
        self.clients.join()
        self.gateway.close()
        self.sandbox.close()


class Prometheus:
    """Debian's Prometheus with our configuration, but for where the gateway is and how often it looks."""

    def __init__(self, folder, target):
        config = yaml.safe_load((ROOT / "config/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / "config" / name) for name in config["rule_files"]]
        (job,) = config["scrape_configs"]
        (listed,) = job["static_configs"]
        listed["targets"] = [target]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = (folder / "prometheus.log").open("w+")
        self.child = subprocess.Popen(
            [PROGRAMS / "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             "--web.listen-address=127.0.0.1:0", "--log.level=info"],
            stdout=subprocess.DEVNULL, stderr=self.log,
        )
        self.url = until("Prometheus' address", self._address)
        until("Prometheus", lambda: self._ready())

    def _address(self):
        """The port that it took: its log tells the one it was given, the kernel the one it has."""
        assert self.child.poll() is None, Path(self.log.name).read_text()
        ports = listening(self.child.pid)
        return ports and f"http://127.0.0.1:{ports[0]}"

    def _ready(self):
        try:
            return get(self.url + "/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, expression):
        """The samples of an instant query; an expression that it refuses fails the test."""
        status, body = get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", f"{expression}\n{body}"
        return answer["data"]["result"]

    def close(self):
        self.child.terminate()
        self.child.wait()
        self.log.close()


def listening(pid):
    """The ports on which a process listens for IPv4, from /proc."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in sockets]


# === reading PromQL ===

METRIC = re.compile(r"\b(?:tokenbroker|process)_\w+|\bup\b")
# What Prometheus adds to every sample.
ADDED = {"job", "instance"}


def metrics_in(expression):
    return set(METRIC.findall(re.sub(r'"[^"]*"|\bby \([^)]*\)', "", expression)))


def labels_in(expression):
    """Label names of matchers and of `by`."""
    matchers = {name for braces in re.findall(r"\{([^}]*)\}", expression) for name in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces)}
    grouped = {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in names.split(",")}
    return matchers | grouped


def legend_labels(legend):
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", legend))
