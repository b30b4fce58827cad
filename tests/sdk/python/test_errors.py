"""What goes wrong comes back as the SDK's own exception for it, with a body in OpenAI's shape."""

import hashlib
import json
import urllib.error
import urllib.request

import openai
import pytest

from gateway import Broker, user


def post(broker, body, path="/v1/chat/completions", content_type="application/json", method="POST"):
    """A request that no SDK would send, as status and parsed body."""
    request = urllib.request.Request(broker.serve.api + path, data=body, method=method, headers={"content-type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def assert_openai_shape(body):
    assert body.keys() == {"error"}
    assert {"message", "type", "param", "code"} <= body["error"].keys()
    assert body["error"]["message"]


def test_an_unknown_model_is_not_found_and_near_names_are_told(broker):
    known = max((model.id for model in broker.client.models.list() if "/" not in model.id), key=len)
    with pytest.raises(openai.NotFoundError) as refusal:
        broker.client.chat.completions.create(model=known[:-1] + "~", messages=user("hello"))
    assert refusal.value.code == "model_not_found"
    assert known in refusal.value.message


def test_malformed_json_is_refused_with_its_position(broker):
    status, body = post(broker, b'{"model": "auto",\n "messages": [}')
    assert status == 400
    assert_openai_shape(body)
    assert "line 2" in body["error"]["message"]


@pytest.mark.parametrize(
    "body", [{"model": "auto"}, {"messages": [{"role": "user", "content": "x"}]}, {"model": "auto", "messages": "x"}, []]
)
def test_a_body_of_the_wrong_shape_is_refused(broker, body):
    status, answer = post(broker, json.dumps(body).encode())
    assert status == 400
    assert_openai_shape(answer)


def test_a_bad_parameter_is_a_bad_request(broker):
    with pytest.raises(openai.BadRequestError):
        broker.client.chat.completions.create(model="auto", messages=user("x"), max_tokens="many")


def test_unknown_paths_and_methods_answer_in_openais_shape(broker):
    for status, path, method in [(404, "/v1/nonsense", "POST"), (405, "/v1/chat/completions", "PUT")]:
        answered, body = post(broker, b"{}", path=path, method=method)
        assert answered == status
        assert_openai_shape(body)


def test_a_body_that_is_not_json_by_its_header_is_refused(broker):
    status, body = post(broker, b"hello", content_type="text/plain")
    assert status == 415
    assert_openai_shape(body)


def test_an_endpoint_that_is_not_served_says_so(broker):
    with pytest.raises(openai.APIStatusError) as refusal:
        broker.client.embeddings.create(model="auto", input="x")
    assert refusal.value.status_code == 501


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A gateway with one key; its configuration knows only the hash."""
    environment = {"TOKENBROKER__KEYS__TESTER__SHA256": hashlib.sha256(b"tb-right").hexdigest()}
    running = Broker.start(tmp_path_factory.mktemp("guarded"), environment)
    yield running
    running.stop()


def test_a_wrong_key_is_an_authentication_error(guarded):
    before = len(guarded.sandbox.served())
    with guarded.serve.client("tb-wrong") as client, pytest.raises(openai.AuthenticationError) as refusal:
        client.chat.completions.create(model="auto", messages=user("hello"))
    assert refusal.value.code == "invalid_api_key"
    assert "tb-wrong" not in str(refusal.value)
    assert len(guarded.sandbox.served()) == before


def test_the_right_key_is_let_in(guarded):
    with guarded.serve.client("tb-right") as client:
        assert client.chat.completions.create(model="auto", messages=user("hello")).choices
