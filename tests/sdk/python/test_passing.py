"""What the gateway does not act on reaches the provider as it was written, and what the provider says comes back so."""

import base64
import json

import openai
import pytest

from gateway import user

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG pretend pixel").decode()
TEXT = 'Ünïcödé — 你好，世界 🦀👩\u200d🚀 "quoted" \\ back\tslash\n\u2028 \u0000 مرحبا'


def test_what_the_gateway_does_not_know_reaches_the_provider(broker):
    known = {
        "seed": 7,
        "stop": ["\n\n"],
        "temperature": 0.25,
        "top_p": 0.9,
        "presence_penalty": -0.5,
        "logit_bias": {"50256": -100},
        "metadata": {"team": "red"},
        "user": "somebody",
        "service_tier": "flex",
        "store": False,
    }
    unknown = {"x_vendor": {"deep": [1, 2.50, None, "ü"]}, "top_k": 40}
    sent, _, _ = broker.forwarded(**known, extra_body=unknown)
    assert {name: sent.get(name) for name in [*known, *unknown]} == {**known, **unknown}


def test_text_outside_ascii_comes_whole_to_the_provider(broker):
    sent, _, _ = broker.forwarded(messages=user(TEXT))
    assert sent["messages"] == user(TEXT)
    answer, _ = broker.ask("用中文写一首诗。")
    assert any("\u4e00" <= character <= "\u9fff" for character in answer.choices[0].message.content)


def test_a_large_prompt_is_answered_by_a_model_that_can_hold_it(broker):
    text = "All work and no play. " * 20_000
    sent, row, answer = broker.forwarded(messages=user(text))
    assert sent["messages"][0]["content"] == text
    assert row["model"] == "pearl-long"
    assert answer.usage.prompt_tokens == row["input_tokens"] > 100_000


def test_an_image_goes_to_a_model_that_sees(broker):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    messages = [{"role": "user", "content": parts}]
    sent, row, answer = broker.forwarded(messages=messages)
    assert sent["messages"] == messages
    assert "image" in broker.prices.backend(row["provider"], row["model"])["input"]
    assert answer.choices[0].message.content
    with pytest.raises(openai.BadRequestError) as refusal:
        broker.ask(model="local-mini", messages=messages)
    assert refusal.value.code == "no_adequate_backend"


def test_either_name_of_the_output_bound_holds(broker):
    """Each provider reads one name of it: the gateway sends that one."""
    for name in ("max_tokens", "max_completion_tokens"):
        for model, wanted in {"summit-mini": "max_completion_tokens", "pearl-long": "max_tokens"}.items():
            sent, row, answer = broker.forwarded(model=model, **{name: 9})
            assert sent[wanted] == 9
            assert len({"max_tokens", "max_completion_tokens"} & sent.keys()) == 1
            assert answer.choices[0].finish_reason == "length"
            assert answer.usage.completion_tokens == row["output_tokens"] == 9


def test_a_developer_message_is_a_system_message_where_the_provider_knows_no_other(broker):
    messages = [{"role": "developer", "content": "Be brief."}, *user("hello")]
    roles = {}
    for model in ("summit-mini", "pearl-long"):
        sent, _, _ = broker.forwarded(model=model, messages=messages)
        roles[model] = sent["messages"][0]["role"]
    assert roles == {"summit-mini": "developer", "pearl-long": "system"}


def test_many_choices_come_whole_and_streamed(broker):
    sent, row, answer = broker.forwarded(n=3)
    assert sent["n"] == len({choice.message.content for choice in answer.choices}) == 3
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == row["output_tokens"]
    texts = ["", "", ""]
    for chunk in broker.client.chat.completions.create(model=row["model"], messages=user("hello"), n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices]


def test_a_stop_word_ends_the_answer(broker):
    whole, _ = broker.ask("A story.", model="local-mini")
    text = whole.choices[0].message.content
    cut, _ = broker.ask("A story.", model="local-mini", stop=["."])
    assert cut.choices[0].message.content == text[: text.index(".")]
    assert cut.choices[0].finish_reason == "stop"


def test_log_probabilities_come_whole_and_streamed(broker):
    sent, row, answer = broker.forwarded(logprobs=True, top_logprobs=2)
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert len(tokens) == row["output_tokens"] and all(len(token.top_logprobs) == 2 for token in tokens)
    chunks = broker.client.chat.completions.create(
        model=row["model"], messages=user("hello"), logprobs=True, top_logprobs=2, stream=True
    )
    streamed = [token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
    assert [token.token for token in streamed] == [token.token for token in tokens]


def test_a_models_reasoning_comes_through_and_is_paid_for(broker):
    sent, row, answer = broker.forwarded(model="summit-max", reasoning_effort="high")
    assert sent["reasoning_effort"] == "high"
    # Not in OpenAI's types: the SDK hands on what it does not know.
    thought = answer.choices[0].message.reasoning_content
    assert thought.startswith("[sandbox] Pretending to think.")
    assert 0 < answer.usage.completion_tokens_details.reasoning_tokens < row["output_tokens"]
    pieces = broker.client.chat.completions.create(model="summit-max", messages=user("hello"), reasoning_effort="high", stream=True)
    assert "".join(getattr(piece.choices[0].delta, "reasoning_content", None) or "" for piece in pieces) == thought


def test_reasoning_can_be_put_off(broker):
    sent, _, answer = broker.forwarded(model="sandbox-pearl/pearl-chat", extra_body={"thinking": {"type": "disabled"}})
    # The pretend provider knows another word for it.
    assert (sent["reasoning_effort"], "thinking" in sent) == ("none", False)
    assert not hasattr(answer.choices[0].message, "reasoning_content")
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_the_bytes_that_are_sent_are_the_clients_own(broker):
    """Order, spaces and digits of a number are kept: nothing is parsed and written anew."""
    body = '{"model": "local-mini" ,"messages":[{"role":"user","content":"h\\u00e9"}],  "x": 1.50e+00}'
    before = broker.seen
    broker.client.post("/chat/completions", content=body.encode(), cast_to=object, options={"headers": {"content-type": "application/json"}})
    (row,) = broker.since(before)
    sent = broker.sandbox.body(row).decode()
    assert json.loads(sent)["x"] == 1.5
    assert '"messages":[{"role":"user","content":"h\\u00e9"}],  "x": 1.50e+00}' in sent
