"""The gateway in front of a real inference server: what llama.cpp sends is what the client gets and the books hold.

The model's words make no sense, but they are the same for the same seed, so an answer through the gateway can be compared with
the server's own.
"""

import json
import re
import urllib.request

import openai
import pytest
from books import booked_usage
from gateway import eventually, user
from openai import OpenAI

MODEL = "tiny-random"
HELLO = {"model": MODEL, "messages": user("Hello there"), "seed": 3, "max_tokens": 40}
BOUND = 4096


@pytest.fixture(scope="module")
def direct(local):
    """A client of the server itself."""
    with OpenAI(base_url=f"{local.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def last_booked(local, expected):
    """The newest row, once it is the expected one: rows follow the journal, so the answer may be here first."""
    return eventually(lambda: booked_usage(local.serve.data)[-1:] == [expected], 5, f"a last row of {expected}")


def test_an_answer_is_the_servers_own(local, direct):
    through, plain = (client.chat.completions.create(**HELLO) for client in (local.client, direct))
    assert through.choices[0] == plain.choices[0]
    assert through.choices[0].finish_reason == "length"
    assert (through.usage.prompt_tokens, through.usage.completion_tokens) == (plain.usage.prompt_tokens, 40)


def test_the_books_hold_the_servers_usage(local):
    usage = local.client.chat.completions.create(**{**HELLO, "max_tokens": 17}).usage
    assert usage.completion_tokens == 17
    assert last_booked(local, (usage.prompt_tokens, 17, "reported", "complete"))


def test_a_stream_is_the_servers_own_and_booked_by_its_usage(local, direct):
    body = {**HELLO, "max_tokens": 23, "stream": True}
    through = list(local.client.chat.completions.create(**body))
    plain = list(direct.chat.completions.create(**body, stream_options={"include_usage": True}))
    assert [chunk.choices[0].delta for chunk in through] == [chunk.choices[0].delta for chunk in plain[:-1]]
    assert all(chunk.usage is None for chunk in through)
    assert last_booked(local, (plain[-1].usage.prompt_tokens, 23, "reported", "complete"))


def test_a_client_that_asks_for_usage_gets_it_once(local):
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(local.client.chat.completions.create(**body))
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [40]
    assert chunks[-1].usage and not chunks[-1].choices


def test_text_outside_ascii_reaches_the_server_whole(local, direct):
    """The model's tokens are bytes: one lost or doubled would show in the count of the prompt."""
    body = {**HELLO, "messages": user("你好，世界 — ça va? 🦀")}
    through, plain = (client.chat.completions.create(**body) for client in (local.client, direct))
    assert through.usage.prompt_tokens == plain.usage.prompt_tokens
    assert through.choices[0] == plain.choices[0]


def test_logprobs_come_through(local):
    answer = local.client.chat.completions.create(**HELLO, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 40
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content


def test_a_stop_word_ends_the_answer(local):
    whole = local.client.chat.completions.create(**HELLO).choices[0].message.content
    cut = local.client.chat.completions.create(**HELLO, stop=[whole[9]]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == whole[: whole.index(whole[9])]


def test_a_schema_bounds_the_answer(local):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["cat", "dog"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["kind", "age"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "pet", "strict": True, "schema": schema}}
    answer = local.client.chat.completions.create(**{**HELLO, "max_tokens": 400}, response_format=form)
    pet = json.loads(answer.choices[0].message.content)
    assert pet["kind"] in ("cat", "dog") and 0 <= pet["age"] <= 99
    assert answer.choices[0].finish_reason == "stop"


def test_a_member_only_this_server_knows_reaches_it(local):
    grammar = {"grammar": 'root ::= ("yes" | "no") " " [0-9] [0-9]'}
    answer = local.client.chat.completions.create(**HELLO, extra_body=grammar)
    assert re.fullmatch(r"(yes|no) \d\d", answer.choices[0].message.content)


def test_the_servers_refusal_comes_through(local):
    with pytest.raises(openai.BadRequestError):
        local.client.chat.completions.create(**HELLO, extra_body={"grammar": "root ::= ("})


def generated(local):
    """How many tokens the server has generated since its start."""
    with urllib.request.urlopen(f"{local.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("llamacpp:tokens_predicted_total ")))


def idle(local):
    with urllib.request.urlopen(f"{local.url}/slots", timeout=10) as answer:
        return not any(slot["is_processing"] for slot in json.load(answer))


def test_closing_a_stream_stops_the_server(local):
    before = generated(local)
    stream = local.client.chat.completions.create(**{**HELLO, "max_tokens": BOUND}, stream=True)
    for _ in range(5):
        next(stream)
    stream.close()
    assert eventually(lambda: idle(local), 1, "an idle server")
    assert generated(local) - before < BOUND
    row = eventually(lambda: [row for row in booked_usage(local.serve.data) if row[3] == "abandoned"], 5, "an abandoned row")[-1]
    assert row[2] != "reported"
    assert 0 < row[1] < BOUND


def test_a_request_whose_money_is_bounded_gets_the_tables_output_bound(local):
    """The hold covers what the attempt can cost at most, so the bound is sent; the server's own default is far lower."""
    unbounded = {name: value for name, value in HELLO.items() if name != "max_tokens"}
    answer = local.client.chat.completions.create(
        **unbounded, stop=["\u0001"], extra_body={"tokenbroker": {"max_cost_usd": "0.01"}}
    )
    assert 256 < answer.usage.completion_tokens <= BOUND
