"""What goes wrong comes back as the SDK's own exception for it, with a body in OpenAI's shape."""

import hashlib
import json
import urllib.error
import urllib.request
from decimal import Decimal

import openai
import pytest

from books import usd
from gateway import Broker, eventually, long_answer, user


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
        broker.client.moderations.create(input="x")
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


@pytest.fixture
def own(tmp_path):
    """Starts gateways whose health, budget or limits the test spoils."""
    started = []

    def start(**settings):
        started.append(Broker.start(tmp_path, {f"TOKENBROKER__{name}": value for name, value in settings.items()}))
        return started[-1]

    yield start
    for running in started:
        running.stop()


class Counting:
    """A client that retries twice, counts the answers it gets and calls back at each."""

    def __init__(self, broker, key="any", seen=lambda _: None):
        self.answers = []

        def note(response):
            self.answers.append(response)
            seen(response)

        http_client = openai.DefaultHttpxClient(event_hooks={"response": [note]})
        self.client = broker.serve.client(key, http_client=http_client).with_options(max_retries=2)

    def ask(self, **body):
        return self.client.chat.completions.create(**{"model": "auto", "messages": user("hello"), **body})


def test_a_spent_budget_is_told_and_not_retried(own):
    broker = own(
        KEYS__TESTER__SHA256=hashlib.sha256(b"tb-right").hexdigest(),
        KEYS__TESTER__BUDGET_USD="0.000001",
        KEYS__TESTER__EXCLUDE_PROVIDERS='["sandbox-local"]',
    )
    counting = Counting(broker, "tb-right")
    with pytest.raises(openai.APIStatusError) as refusal:
        counting.ask(max_tokens=500)
    assert (refusal.value.status_code, refusal.value.code) == (402, "insufficient_quota")
    assert refusal.value.body["type"] == "insufficient_quota"
    assert Decimal(refusal.value.body["tokenbroker"]["limit_usd"]) == Decimal("0.000001")
    assert len(counting.answers) == 1
    assert broker.seen == 0


def test_a_request_that_fits_no_model_is_refused_with_the_reason(broker):
    with pytest.raises(openai.BadRequestError) as refusal:
        broker.ask("All work and no play. " * 10_000, model="lotus-lite")
    assert refusal.value.code == "context_length_exceeded"


def test_a_body_that_is_too_large_is_refused(broker):
    with pytest.raises(openai.APIStatusError) as refusal:
        broker.ask("x" * (9 << 20))
    assert (refusal.value.status_code, refusal.value.code) == (413, "request_too_large")


def test_a_providers_own_refusal_comes_through_in_its_words(own):
    broker = own()
    broker.sandbox.order("status", status=400, type="invalid_request_error", code="odd_thing", message="no such luck", count=1)
    counting = Counting(broker)
    with pytest.raises(openai.BadRequestError) as refusal:
        counting.ask()
    assert refusal.value.code == "odd_thing"
    assert "no such luck" in refusal.value.message
    assert len(counting.answers) == broker.seen == 1


def test_a_failing_provider_is_not_seen_by_the_client(own):
    broker = own()
    winner = broker.ask()[1]["x-tokenbroker-backend"].split("/")[0]
    broker.sandbox.order("status", provider=winner, status=503)
    for stream in (False, True):
        before = broker.seen
        raw = broker.client.chat.completions.with_raw_response.create(model="auto", messages=user("hello"), stream=stream)
        answer = raw.parse()
        text = "".join(c.choices[0].delta.content or "" for c in answer) if stream else answer.choices[0].message.content
        assert text.startswith("[sandbox]")
        first, second = broker.since(before)
        assert (first["provider"], first["status"], second["status"]) == (winner, 503, 200)
        assert raw.headers["x-tokenbroker-backend"].startswith(second["provider"])
        attempts = broker.booked(raw.headers)
        assert [attempt["http_status"] for attempt in attempts] == [503, 200]
        assert [usd(attempt["cost_pico_usd"]) for attempt in attempts] == [0, broker.prices.cost(second)]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"fault": "cut_mid_stream"}, 502, "upstream_error"),
        ({"fault": "status", "status": 500}, 503, "upstream_unavailable"),
        ({"fault": "status", "status": 429, "type": "rate_limit_error"}, 503, "upstream_unavailable"),
        ({"fault": "stall_before_headers"}, 504, "upstream_timeout"),
    ],
)
def test_when_every_provider_fails_the_sdk_does_not_try_again(own, fault, status, code):
    broker = own(TIMEOUTS__TOTAL_MS="500")
    broker.sandbox.order(**fault)
    counting = Counting(broker)
    with pytest.raises(openai.InternalServerError) as failure:
        counting.ask()
    assert (failure.value.status_code, failure.value.code) == (status, code)
    causes = failure.value.body["tokenbroker"]["attempts"]
    assert len(causes) == broker.seen > 1
    # The gateway has tried others already.
    assert [answer.headers["x-should-retry"] for answer in counting.answers] == ["false"]


def test_a_full_gateway_is_asked_again_by_the_sdk(own):
    broker = own(LIMITS__MAX_CONCURRENT_REQUESTS="1")
    broker.sandbox.order("slow", token_ms=5)
    holder = broker.client.chat.completions.create(model="auto", messages=user("A story."), stream=True, **long_answer(600))
    next(holder)
    counting = Counting(broker, seen=lambda _: holder.close())
    eventually(lambda: len(broker.sandbox.served()) == 1, 5, "the stream that holds the place")
    assert counting.ask().choices
    first, *_, last = counting.answers
    assert (first.status_code, first.headers["x-should-retry"]) == (503, "true")
    assert int(first.headers["retry-after"]) >= 1
    assert last.status_code == 200


@pytest.mark.parametrize("fault", ["cut_mid_stream", "error_in_stream", "bad_json"])
def test_a_stream_that_breaks_is_an_exception(own, fault):
    """An answer without its end must not look whole. What is no JSON, the SDK itself stumbles over."""
    broker = own()
    broker.sandbox.order(fault)
    before = broker.seen
    raw = broker.client.chat.completions.with_raw_response.create(model="local-mini", messages=user("A story."), stream=True)
    got = []
    with pytest.raises(ValueError if fault == "bad_json" else openai.APIError):
        got.extend(chunk.choices[0] for chunk in raw.parse())
    (row,) = broker.since(before)
    (attempt,) = broker.booked(raw.headers)
    assert attempt["provenance"] != "reported" and attempt["ending"] != "complete"
    assert attempt["output"] > 0 and row["output_tokens"] > 0


def test_a_stream_that_breaks_has_given_what_came_before(own):
    broker = own()
    broker.sandbox.order("cut_mid_stream", after=4)
    got = []
    with pytest.raises(openai.APIError) as failure:
        got.extend(broker.client.chat.completions.create(model="local-mini", messages=user("A story."), stream=True))
    assert not isinstance(failure.value, openai.APIStatusError)
    assert failure.value.code in ("upstream_truncated", "upstream_broken")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in got).startswith("[sandbo")
    assert not any(chunk.choices[0].finish_reason for chunk in got)
