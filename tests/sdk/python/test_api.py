"""docs/api.md and /openapi.json are true: the document is valid, the examples run, and real answers fit its schemas."""

import gzip
import hashlib
import json
import re
import subprocess
import urllib.error
import urllib.request
from functools import cache

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import REPOSITORY, Broker, user

PAGE = (REPOSITORY / "docs/api.md").read_text()
ASK = {"model": "auto", "messages": user("Say hello."), "max_tokens": 32}


ADMIN = "tb-an-administrators-key"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """One with an administrator of prices."""
    admin = {"TOKENBROKER__ADMINS__ANN__SHA256": hashlib.sha256(ADMIN.encode()).hexdigest()}
    running = Broker.start(tmp_path_factory.mktemp("broker"), admin)
    yield running
    running.stop()


def send(broker, method, path, body=None, headers=None, operations=False):
    """Status, headers and bytes of an answer."""
    base = broker.serve.operations if operations else broker.serve.api
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"content-type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read()


@pytest.fixture(scope="module")
def document(broker):
    status, headers, body = send(broker, "GET", "/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(body)


def resolved(document, node):
    while "$ref" in node:
        path, node = node["$ref"].removeprefix("#/").split("/"), document
        for part in path:
            node = node[part]
    return node


def check(document, schema, value):
    """Says every way in which a value does not fit a schema of the document."""
    whole = {**schema, "components": document["components"]}
    wrong = [f"{error.json_path}: {error.message[:300]}" for error in Draft202012Validator(whole).iter_errors(value)]
    assert not wrong, wrong


def check_answer(document, path, method, status, headers, body):
    """An answer fits what is described for its path, method and status: body and headers."""
    responses = document["paths"][path][method]["responses"]
    described = resolved(document, responses.get(str(status), responses.get("default", {})))
    assert described, f"{method} {path} describes no {status}"
    for name, header in described.get("headers", {}).items():
        if name in headers:
            check(document, resolved(document, header)["schema"], headers[name])
    kind = headers["content-type"].split(";")[0]
    schema = described["content"][kind]["schema"]
    check(document, schema, json.loads(body) if kind == "application/json" else body.decode())


def test_the_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


FORM = {"content-type": "multipart/form-data; boundary=x"}


def form(model):
    """A file of sound for a model, as a form."""
    field = "--x\r\nContent-Disposition: form-data; name={}\r\n\r\n{}\r\n"
    return (field.format("model", model) + field.format("file; filename=a.mp3", "ID3") + "--x--\r\n").encode()


def requests():
    """Path as described, method, path as sent, body, headers, expected status."""
    chat, messages, route, vectors = "/v1/chat/completions", "/v1/messages", "/v1/route", "/v1/embeddings"
    text, rank = "/v1/completions", "/v1/rerank"
    image, speech, heard = "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions"
    responses, said = "/v1/responses", {"model": "auto", "input": "hi", "max_output_tokens": 64}
    told = {**ASK, "tokenbroker": {"dry_run": True}}
    wished = {**ASK, "tokenbroker": {"quality": "economy", "max_cost_usd": 0.5, "regions": None, "session": "s", "deadline_ms": 20000, "race": 2}}
    admin = {"authorization": f"Bearer {ADMIN}"}
    wish = {"backend": "deepseek/deepseek-flash", "figures": {"input": 1.5}, "why": "a test"}
    return [
        (chat, "post", chat, ASK, {}, 200),
        (chat, "post", chat, wished, {}, 200),
        (chat, "post", chat, {**ASK, "stream": True}, {}, 200),
        (chat, "post", chat, {**ASK, "tokenbroker": {"dry_run": True}}, {}, 200),
        (chat, "post", chat, ASK, {"x-tokenbroker-dry-run": "true", "x-tokenbroker-exclude": "openrouter"}, 200),
        (chat, "post", chat, gzip.compress(json.dumps(ASK).encode()), {"content-encoding": "gzip"}, 200),
        (chat, "post", chat, b"{", {}, 400),
        (chat, "post", chat, {"model": "auto"}, {}, 400),
        (chat, "post", chat, {**ASK, "tokenbroker": {"qualty": "x"}}, {}, 400),
        (chat, "post", chat, {**ASK, "tokenbroker": {"regions": ["nowhere"]}}, {}, 400),
        (chat, "post", chat, {**ASK, "model": "gtp-nine"}, {}, 404),
        (chat, "post", chat, ASK, {"content-type": "text/plain"}, 415),
        (chat, "post", chat, ASK, {"content-encoding": "zstd"}, 415),
        (chat, "post", chat, ASK, {"content-encoding": "br"}, 400),
        (chat, "post", chat, ASK, {"x-long": "x" * 70_000}, 431),
        (responses, "post", responses, said, {}, 200),
        (responses, "post", responses, {**said, "stream": True}, {}, 200),
        (responses, "post", responses, {**said, "tokenbroker": {"dry_run": True}}, {}, 200),
        (responses, "post", responses, {**said, "previous_response_id": "resp_1"}, {}, 400),
        (responses, "post", responses, {**said, "tools": [{"type": "web_search"}]}, {}, 400),
        (responses, "post", responses, {**said, "model": "gtp-nine"}, {}, 404),
        (f"{responses}/{{id}}", "get", f"{responses}/resp_1", None, {}, 404),
        (messages, "post", messages, told, {"anthropic-version": "2023-06-01"}, 200),
        (messages, "post", messages, ASK, {}, 200),
        (messages, "post", messages, {"model": "auto"}, {}, 400),
        (messages, "post", messages, {**ASK, "model": "gtp-nine"}, {}, 404),
        (messages, "post", messages, ASK, {"content-type": "text/plain"}, 415),
        (f"{messages}/count_tokens", "post", f"{messages}/count_tokens", {"model": "auto", "messages": user("hi")}, {}, 200),
        (f"{messages}/count_tokens", "post", f"{messages}/count_tokens", {"model": "auto"}, {}, 400),
        (vectors, "post", vectors, {"model": "pearl-chat", "input": ["hi"], "tokenbroker": {"dry_run": True}}, {}, 200),
        (vectors, "post", vectors, {"model": "pearl-chat", "input": "hi"}, {}, 400),
        (vectors, "post", vectors, {"model": "auto", "input": "hi"}, {}, 400),
        (vectors, "post", vectors, {"model": "gtp-nine", "input": [1, 2]}, {}, 404),
        (text, "post", text, {"model": "pearl-chat", "prompt": "hi", "max_tokens": 4, "tokenbroker": {"dry_run": True}}, {}, 200),
        (text, "post", text, {"model": "pearl-chat", "prompt": ["hi"], "stream": True}, {}, 400),
        (text, "post", text, {"model": "gtp-nine", "prompt": [1, 2]}, {}, 404),
        (rank, "post", rank, {"model": "pearl-chat", "query": "q", "documents": ["a", {"text": "b"}], "tokenbroker": {"dry_run": True}}, {}, 200),
        (rank, "post", rank, {"model": "pearl-chat", "documents": ["a"]}, {}, 400),
        (rank, "post", rank, {"model": "gtp-nine", "query": "q", "documents": ["a"]}, {}, 404),
        (image, "post", image, {"model": "pearl-chat", "prompt": "a cat", "size": "1024x1024", "n": 2, "tokenbroker": {"dry_run": True}}, {}, 200),
        (image, "post", image, {"model": "pearl-chat", "prompt": "a cat"}, {}, 400),
        (image, "post", image, {"model": "gtp-nine", "prompt": "a cat"}, {}, 404),
        (speech, "post", speech, {"model": "pearl-chat", "input": "hi", "voice": "alloy", "tokenbroker": {"dry_run": True}}, {}, 200),
        (speech, "post", speech, {"model": "pearl-chat", "voice": "alloy"}, {}, 400),
        (speech, "post", speech, {"model": "gtp-nine", "input": "hi", "voice": "alloy"}, {}, 404),
        (heard, "post", heard, form("pearl-chat"), {**FORM, "x-tokenbroker-dry-run": "true"}, 200),
        (heard, "post", heard, form("pearl-chat"), FORM, 400),
        (heard, "post", heard, form("gtp-nine"), FORM, 404),
        (heard, "post", heard, {"model": "pearl-chat"}, {}, 415),
        ("/v1/models", "get", "/v1/models", None, {"anthropic-version": "2023-06-01"}, 200),
        ("/v1/models/{id}", "get", "/v1/models/auto", None, {"x-api-key": "any"}, 200),
        ("/v1/models/{id}", "get", "/v1/models/gtp-nine", None, {"x-api-key": "any"}, 404),
        (route, "post", route, ASK, {}, 200),
        (route, "post", route, {**ASK, "tokenbroker": {"regions": ["nowhere"]}}, {}, 200),
        ("/v1/models", "get", "/v1/models", None, {}, 200),
        ("/v1/models/{id}", "get", "/v1/models/auto", None, {}, 200),
        ("/v1/models/{id}", "get", "/v1/models/nobody/serves-this", None, {}, 404),
        ("/openapi.json", "get", "/openapi.json", None, {}, 200),
        ("/healthz", "get", "/healthz", None, {}, 200),
        ("/readyz", "get", "/readyz", None, {}, 200),
        ("/", "get", "/", None, {}, 200),
        ("/feed", "get", "/feed?once&last=2", None, {}, 200),
        ("/feed", "get", "/feed?twice", None, {}, 400),
        ("/metrics", "get", "/metrics", None, {}, 200),
        ("/v1/usage", "get", "/v1/usage?group_by=day,model,provider,backend", None, {}, 200),
        ("/v1/usage", "get", "/v1/usage?grup_by=day", None, {}, 400),
        ("/usage", "get", "/usage?group_by=key", None, {}, 200),
        ("/v1/decisions/{id}", "get", "/v1/decisions/LAST", None, {}, 200),
        ("/v1/decisions/{id}", "get", "/v1/decisions/no-id", None, {}, 400),
        ("/v1/decisions/{id}", "get", "/v1/decisions/019aab00-0000-7000-8000-000000000000", None, {}, 404),
        ("/decisions/{id}", "get", "/decisions/LAST", None, {}, 200),
        ("/reload", "post", "/reload", None, {}, 200),
        ("/admin/prices", "get", "/admin/prices", None, {}, 401),
        ("/admin/prices", "get", "/admin/prices", None, admin, 200),
        ("/admin/prices/quarantine", "get", "/admin/prices/quarantine", None, admin, 200),
        ("/admin/prices/quarantine", "get", "/admin/prices/quarantine?fed=x", None, admin, 400),
        ("/admin/prices/history", "get", "/admin/prices/history", None, admin, 200),
        # The sandbox's table is the operator's own, which no administrator overrules.
        ("/admin/prices/propose", "post", "/admin/prices/propose", wish, admin, 422),
        ("/admin/prices/override", "post", "/admin/prices/override", {**wish, "until": "2030-01-01T00:00:00Z"}, admin, 422),
        ("/admin/prices/override", "post", "/admin/prices/override", {"whi": 1}, admin, 400),
        ("/admin/prices/approve", "post", "/admin/prices/approve", {"id": "none", "why": "a test"}, admin, 422),
        ("/admin/prices/reject", "post", "/admin/prices/reject", {"id": "none", "why": "a test"}, admin, 422),
        ("/admin/keys", "get", "/admin/keys", None, {}, 401),
        ("/admin/keys", "get", "/admin/keys", None, admin, 200),
        ("/admin/keys/history", "get", "/admin/keys/history", None, admin, 200),
        # Once there is one, nobody is let in without: none is made here.
        ("/admin/keys/new", "post", "/admin/keys/new", {"name": "bot", "settings": {"budgit": 1}, "why": "a test"}, admin, 422),
        ("/admin/keys/new", "post", "/admin/keys/new", {"name": "bot"}, admin, 400),
        ("/admin/keys/rotate", "post", "/admin/keys/rotate", {"name": "nobody", "why": "a test"}, admin, 422),
        ("/admin/keys/expire", "post", "/admin/keys/expire", {"name": "nobody", "why": "a test"}, admin, 422),
        ("/admin/keys/revoke", "post", "/admin/keys/revoke", {"name": "nobody", "why": "a test"}, admin, 422),
        ("/admin/budgets", "get", "/admin/budgets", None, admin, 200),
        ("/admin/budgets/history", "get", "/admin/budgets/history", None, admin, 200),
        ("/admin/budgets/set", "post", "/admin/budgets/set", {"of": "gateway", "window": "day", "usd": "1000", "why": "a test"}, admin, 200),
        ("/admin/budgets/set", "post", "/admin/budgets/set", {"of": "team", "name": "nobody", "window": "day", "usd": 1, "why": "a test"}, admin, 422),
        ("/admin/budgets/top-up", "post", "/admin/budgets/top-up", {"of": "gateway", "window": "day", "usd": 1.5, "why": "a test"}, admin, 200),
        ("/admin/budgets/lift", "post", "/admin/budgets/lift", {"of": "gateway", "window": "day", "why": "a test"}, admin, 200),
        ("/admin/budgets/clear", "post", "/admin/budgets/clear", {"of": "gateway", "window": "day", "why": "a test"}, admin, 200),
        ("/admin/prices/end", "post", "/admin/prices/end", {"backend": "nobody/serves-this", "why": "a test"}, admin, 422),
    ]


def test_every_described_path_is_asked_for(document):
    described = {(path, method) for path, item in document["paths"].items() for method in item if method in ("get", "post")}
    assert described == {(path, method) for path, method, *_ in requests()}


@pytest.mark.parametrize("request_", requests(), ids=lambda request: f"{request[1]} {request[2]} {request[5]}")
def test_requests_and_answers_fit_the_schemas(broker, document, request_):
    path, method, sent, body, headers, expected = request_
    if isinstance(body, dict) and expected == 200:
        content = document["paths"][path][method]["requestBody"]["content"]["application/json"]
        check(document, content["schema"], body)
    if "LAST" in sent:
        sent = sent.replace("LAST", send(broker, "POST", "/v1/chat/completions", ASK)[1]["x-tokenbroker-request-id"])
    listeners = document["paths"][path]["x-listeners"]
    for listener in listeners:
        status, got, answer = send(broker, method.upper(), sent, body, headers, listener == "operations")
        assert status == expected, answer
        check_answer(document, path, method, status, got, answer)


def test_the_schemas_can_be_missed(document):
    """A schema that takes everything would make the tests above worthless."""
    decision, error = (resolved(document, {"$ref": f"#/components/schemas/{name}"}) for name in ("Decision", "Error"))
    for schema, value in [(decision, {}), (error, {"error": {"message": "x", "type": "server_error", "param": None, "code": "made_up"}})]:
        with pytest.raises(AssertionError):
            check(document, schema, value)


def test_examples_of_the_document_fit_their_schemas(document):
    seen = 0
    for item in document["paths"].values():
        for operation in (item[method] for method in ("get", "post") if method in item):
            bodies = [operation.get("requestBody", {}), *(resolved(document, answer) for answer in operation["responses"].values())]
            for content in (kind for body in bodies for kind in body.get("content", {}).values()):
                if "example" in content:
                    check(document, content["schema"], content["example"])
                    seen += 1
    assert seen > 5


@cache
def curl_speaks_http2():
    return "HTTP2" in subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
def test_every_command_of_the_page_runs(broker, command):
    if "--http2" in command and not curl_speaks_http2():
        pytest.skip("this curl speaks no HTTP/2")
    here = command.replace("http://127.0.0.1:8080", broker.serve.api)
    assert here != command
    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", here], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert '"error"' not in ran.stdout, ran.stdout
    assert any(sign in ran.stdout for sign in ('"choices"', '"chosen"', '"object":"list"', '"total"', '"input_tokens"')), ran.stdout


def test_the_error_of_the_page_fits(document):
    shown = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL).group(1)
    check(document, resolved(document, {"$ref": "#/components/schemas/Error"}), json.loads(shown))
