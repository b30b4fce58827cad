"""Conversations that go on by an id: OpenAI's SDK at a gateway that keeps answers."""

import openai
import pytest

from gateway import Broker


@pytest.fixture(scope="module")
def keeping(tmp_path_factory):
    broker = Broker.start(tmp_path_factory.mktemp("keeping"), {"TOKENBROKER__LIMITS__STORED_RESPONSES_MIB": "8"})
    yield broker
    broker.stop()


def test_a_conversation_goes_on_by_its_last_answers_id(keeping):
    responses = keeping.client.responses
    first = responses.create(model="auto", input="Which river flows through Cologne? " * 20)
    second = responses.create(model="auto", input="And through Hamburg?", previous_response_id=first.id)
    alone = responses.create(model="auto", input="And through Hamburg?")
    # What was said and answered before is read, and paid, again.
    assert second.usage.input_tokens > alone.usage.input_tokens + first.usage.output_tokens + 100

    with responses.stream(model="auto", input="Thanks.", previous_response_id=second.id) as stream:
        third = stream.get_final_response()
    assert third.usage.input_tokens > second.usage.input_tokens + second.usage.output_tokens
    assert third.id != second.id


def test_an_answer_can_be_retrieved_and_deleted(keeping):
    responses = keeping.client.responses
    told = responses.create(model="auto", input="Say hello.")
    assert responses.retrieve(told.id).output_text == told.output_text
    responses.delete(told.id)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(told.id)
    with pytest.raises(openai.BadRequestError) as unknown:
        responses.create(model="auto", input="And?", previous_response_id=told.id)
    assert (unknown.value.code, unknown.value.param) == ("previous_response_not_found", "previous_response_id")


def test_what_is_not_to_be_stored_is_not(keeping):
    told = keeping.client.responses.create(model="auto", input="Say hello.", store=False)
    with pytest.raises(openai.NotFoundError):
        keeping.client.responses.retrieve(told.id)
