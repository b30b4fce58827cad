"""The Dockerfile: what it says, whether its commands build the program from what `.dockerignore` lets in, and whether the program
works with the final stage's files alone."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

import image
from conftest import BASE_LIBRARIES, CA_BUNDLE
from container import Container, may_contain
from files import ROOT, toml

BOOKS = "srv/tokenbroker/tokenbroker-data"
KEY = "tb-" + "7" * 64
KEYED = {"TOKENBROKER__KEYS__TEAM__SHA256": hashlib.sha256(KEY.encode()).hexdigest()}

needs_root = pytest.mark.skipif(not may_contain(), reason="only root, where it may make namespaces, can become the image's user")


def final_stage():
    return image.stages()[-1]


# === what it says ===


def test_the_linter_has_nothing_to_say():
    subprocess.run([Path(sys.executable).with_name("hadolint"), "--no-color", ROOT / "Dockerfile"], check=True)


def test_base_images_name_one_version_and_rust_is_new_enough():
    build, final = image.stages()
    wanted = tuple(map(int, toml("Cargo.toml")["package"]["rust-version"].split(".")))
    found = re.fullmatch(r"rust:(\d+)\.(\d+)\.\d+-slim-(\w+)", build.image)
    assert found and (int(found[1]), int(found[2])) >= wanted
    # The same Debian release on both sides, or the program may ask for a younger C library than there is.
    assert {"bookworm": "debian12", "trixie": "debian13"}[found[3]] in final.image


def test_the_build_is_the_one_that_scripts_ship_makes():
    (_, made) = image.stages()[0].values("RUN")
    assert made.startswith("scripts/ship ") and "cargo" not in made
    assert "dist" in toml("Cargo.toml")["profile"]


def test_the_image_runs_serve_as_a_numbered_user_and_is_checked_without_a_shell():
    stage = final_stage()
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.value("USER"))
    assert json.loads(stage.value("ENTRYPOINT")) == ["/usr/local/bin/tokenbroker"]
    assert json.loads(stage.value("CMD")) == ["serve"]
    assert stage.value("STOPSIGNAL") == "SIGTERM"
    check = stage.value("HEALTHCHECK").split(" CMD ")[1]
    assert json.loads(check) == [*json.loads(stage.value("ENTRYPOINT")), "health"]


def test_ports_labels_and_volume_are_those_of_the_program():
    stage, server = final_stage(), toml("config/container/tokenbroker.toml")["server"]
    ports = {address.rpartition(":")[2] for address in (server["listen"], server["operations_listen"])}
    assert set(stage.value("EXPOSE").split()) == ports
    labels = image.pairs(stage.value("LABEL"))
    package = toml("Cargo.toml")["package"]
    told = [labels[f"org.opencontainers.image.{name}"] for name in ("title", "version", "licenses", "description")]
    assert told == [package["name"], package["version"], package["license"], package["description"]]
    assert json.loads(stage.value("VOLUME")) == [f"/{BOOKS}"]


def test_what_dockerignore_keeps_out():
    rules = ["*", "!src", "!config/one.toml", "src/secret", "!a*.toml"]
    inside = ["src/main.rs", "src/a/b.rs", "config/one.toml", "ab.toml"]
    outside = [".env", "config/two.toml", "config", "deep/src/x", "src/secret/key", "a/ab.toml"]
    assert [path for path in inside + outside if image.let_in(path, rules)] == inside


# === what it builds ===


def test_the_context_holds_nothing_but_what_the_image_needs(built):
    top = {path.name for path in built.context.iterdir()}
    assert top == {"Cargo.toml", "Cargo.lock", "LICENSE", "providers.toml", "src", "config", "scripts"}
    assert {path.name for path in (built.context / "scripts").iterdir()} == {"ship", "ship_counts.py", "ship_training.py"}
    config = built.context / "config"
    files = {str(path.relative_to(config)) for path in config.rglob("*") if path.is_file()}
    bills = {f"bills/{path.name}" for path in (ROOT / "config/bills").iterdir()}
    assert len(bills) >= 5 and files == {"container/tokenbroker.toml", *bills}


def test_the_program_asks_for_no_library_that_the_base_image_lacks(built):
    assert image.libraries(built.binary) <= BASE_LIBRARIES


def test_the_final_stage_has_these_files_and_no_others(built):
    files = {str(path.relative_to(built.root)) for path in built.root.rglob("*") if path.is_file()}
    ours = {path for path in files if not path.startswith(("lib", "usr/lib")) and path not in (CA_BUNDLE, "etc/passwd")}
    assert ours == {
        "usr/local/bin/tokenbroker",
        "srv/tokenbroker/LICENSE",
        "srv/tokenbroker/providers.toml",
        "etc/tokenbroker/tokenbroker.toml",
    }
    assert built.owners == {f"/{BOOKS}": final_stage().value("USER")}
    assert (built.root / BOOKS).is_dir()


# === whether it works ===


@pytest.fixture
def container(built, tmp_path):
    """The image with an empty volume."""
    books = tmp_path / "books"
    books.mkdir()
    user = final_stage().value("USER")
    shutil.chown(books, *map(int, user.split(":")))
    made = Container(built.root, final_stage().values("WORKDIR")[-1], user, {BOOKS: books}, built.variables)
    made.books = books
    yield made
    made.close()


@needs_root
def test_the_first_start_says_what_is_missing_and_what_to_do(container):
    first = container.run("serve")
    assert first.returncode == 3, first
    for part in ("0.0.0.0:8080 is not loopback and no key is configured", "[keys.NAME]", "tokenbroker keys new", "open = true"):
        assert part in first.stderr
    second = container.run("serve", environment=KEYED)
    assert second.returncode == 3, second
    for part in ("no provider is on: looked for", "DEEPSEEK_API_KEY", "NAME_FILE=", "tokenbroker demo"):
        assert part in second.stderr
    assert list(container.books.iterdir()) == []


@needs_root
def test_the_key_that_the_image_makes_lets_in_and_health_tells_how_it_is(container):
    made = json.loads(container.run("keys", "new", "team", "--json").stdout)
    nobody = container.run("health")
    assert nobody.returncode == 1 and "does not answer" in nobody.stderr, nobody

    keyed = {"TOKENBROKER__KEYS__TEAM__SHA256": made["sha256"], "DEEPSEEK_API_KEY": "nobody-is-asked"}
    gateway = container.serve(keyed)
    try:
        assert gateway.ready["operations"].endswith(":8079") and gateway.ready["api"].endswith(":8080")
        well = container.run("health")
        assert (well.returncode, well.stdout) == (0, "ready\n"), well
        assert container.ask("http://127.0.0.1:8080/v1/models")[0] == 401
        status, models = container.ask("http://127.0.0.1:8080/v1/models", key=made["key"])
        assert status == 200 and "deepseek" in models

        gateway.signal(signal.SIGSTOP)
        stuck = container.run("health", "--timeout-ms", "200")
        assert stuck.returncode == 1 and "within 200 ms" in stuck.stderr, stuck
        gateway.signal(signal.SIGCONT)

        gateway.signal(getattr(signal, final_stage().value("STOPSIGNAL")))
        code, log = gateway.end()
        assert code == 0 and "the books are closed" in log
    finally:
        gateway.kill()
    assert container.run("health").returncode == 1
    assert "ledger.sqlite3" in {path.name for path in container.books.iterdir()}


@needs_root
def test_books_of_another_user_are_told(container):
    os.chown(container.books, 0, 0)
    container.books.chmod(0o755)
    refused = container.run("serve", environment={**KEYED, "DEEPSEEK_API_KEY": "x"})
    assert refused.returncode == 1 and "the books cannot be opened (books.directory" in refused.stderr, refused


@needs_root
def test_the_demo_runs_in_the_image(container):
    shown = container.run("demo", "--once")
    assert shown.returncode == 0 and "[sandbox]" in shown.stdout, shown


# === certificates ===

# Answers any request with one chat completion, over TLS with the certificate of argv.
TLS_PROVIDER = """
import http.server, json, ssl, sys
class Provider(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "hello over TLS"}
        answer = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), Provider)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1])
server.socket = tls.wrap_socket(server.socket, server_side=True)
print("up", flush=True)
server.serve_forever()
"""

TABLE = """
schema = 1
version = "2026-11-22"
[providers.near]
name = "Near"
base_url = "https://127.0.0.1:8443/v1"
dialect = "openai-chat"
owner = "self"
jurisdiction = "local"
region = "local"
currency = "USD"
source = "test"
[[backends]]
provider = "near"
model = "m"
context_tokens = 8000
max_output_tokens = 1000
input = ["text"]
features = []
reasoning = "never"
languages = ["*"]
tokenizer = "o200k"
free = true
"""


@needs_root
def test_the_base_images_bundle_is_where_certificates_are_looked_for(built, container, tmp_path):
    """A provider with a certificate of an authority that only this test knows: believed when the authority stands in the bundle,
    not believed when it does not, so that it is this bundle that decides."""
    authority = trustme.CA()
    chain = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    (container.books / "table.toml").write_text(TABLE)
    (container.books / "table.toml").chmod(0o644)
    bundle = built.root / CA_BUNDLE
    public = bundle.read_bytes()
    provider = subprocess.Popen(
        container.beside([sys.executable, "-c", TLS_PROVIDER, str(chain)]), stdout=subprocess.PIPE, text=True
    )
    gateway = None
    try:
        assert provider.stdout.readline() == "up\n"
        for extra, status in ((b"", 502), (authority.cert_pem.bytes(), 200)):
            bundle.write_bytes(public + extra)
            gateway = container.serve({**KEYED, "TOKENBROKER__PROVIDERS_FILE__PATH": f"/{BOOKS}/table.toml"})
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            answer = container.ask("http://127.0.0.1:8080/v1/chat/completions", body, KEY)
            assert answer[0] == status, answer
            assert ("hello over TLS" in answer[1]) == (status == 200)
            gateway.signal(signal.SIGTERM)
            gateway.end()
    finally:
        bundle.write_bytes(public)
        provider.kill()
        provider.wait()
        provider.stdout.close()
        if gateway:
            gateway.kill()


@needs_root
def test_without_any_certificate_it_does_not_start(built, container):
    bundle, aside = built.root / CA_BUNDLE, built.root / "aside"
    bundle.rename(aside)
    try:
        refused = container.run("serve", environment={**KEYED, "DEEPSEEK_API_KEY": "x"})
    finally:
        aside.rename(bundle)
    assert refused.returncode == 1 and "certificate" in refused.stderr, refused
