"""What a client may wish beyond the model, through the SDK's `extra_body`."""

import contextlib
from decimal import Decimal

import openai
import pytest


def wish(**wishes):
    return {"extra_body": {"tokenbroker": wishes}}


def providers(broker):
    """The providers that the sandbox's table names, by way of the backends a client can ask for."""
    return sorted({model.id.split("/", 1)[0] for model in broker.client.models.list() if "/" in model.id})


def test_only_the_wished_provider_is_used(broker):
    assert len(providers(broker)) >= 5
    for provider in providers(broker):
        # Dry, because some of the pretend providers fail now and then.
        _, headers = broker.ask("hello", **wish(providers=[provider], dry_run=True))
        assert headers["x-tokenbroker-backend"].split("/", 1)[0] == provider


def test_an_excluded_provider_is_not_used(broker):
    _, headers = broker.ask("hello")
    winner = headers["x-tokenbroker-backend"].split("/", 1)[0]
    _, headers = broker.ask("hello", **wish(exclude=[winner]))
    assert headers["x-tokenbroker-backend"].split("/", 1)[0] != winner


def test_a_dry_run_decides_and_sends_nothing(broker):
    before = len(broker.sandbox.served())
    _, headers = broker.ask("hello", **wish(dry_run=True))
    chosen = headers["x-tokenbroker-backend"]
    assert len(broker.sandbox.served()) == before
    _, headers = broker.ask("hello")
    assert headers["x-tokenbroker-backend"] == chosen


def test_the_route_endpoint_decides_and_sends_nothing(broker):
    before = len(broker.sandbox.served())
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    decision = broker.client.post("/route", body=body, cast_to=object)
    assert isinstance(decision, dict) and decision
    assert len(broker.sandbox.served()) == before


def test_a_request_dearer_than_its_wish_is_refused(broker):
    """Asked of a backend that costs something: a free one may answer under any bound."""
    dearest = max(answered(broker), key=cost)
    assert cost(dearest) > 0
    before = len(broker.sandbox.served())
    with pytest.raises(openai.APIStatusError) as refusal:
        broker.ask("hello", model=dearest["x-tokenbroker-backend"], **wish(max_cost_usd="0.000000000001"))
    assert 400 <= refusal.value.status_code < 500
    assert len(broker.sandbox.served()) == before


def cost(headers):
    return Decimal(headers["x-tokenbroker-cost-usd"])


def answered(broker):
    """The headers of an answer by each provider that is up."""
    for provider in providers(broker):
        with contextlib.suppress(openai.InternalServerError):
            yield broker.ask("hello", **wish(providers=[provider]))[1]


def test_a_wish_that_does_not_exist_is_refused(broker):
    with pytest.raises(openai.BadRequestError) as refusal:
        broker.ask("hello", **wish(chepest=True))
    assert "chepest" in refusal.value.message


def test_a_session_and_a_quality_can_be_wished(broker):
    answer, _ = broker.ask("hello", **wish(session="s-1", quality="economy"))
    assert answer.choices[0].message.content.startswith("[sandbox]")
