"""The list of models and single entries of it."""

import openai
import pytest

from gateway import Broker, user

# The scale of the sandbox's table: standard begins at 40, premium at 65.
FLOORS = {"economy": 0, "standard": 40, "premium": 65}


def test_every_listed_model_can_be_retrieved(broker):
    listed = list(broker.client.models.list())
    assert {"auto", "auto:economy", "auto:standard", "auto:premium"} <= {model.id for model in listed}
    assert len({model.id for model in listed}) == len(listed)
    for model in listed:
        assert model.object == "model"
        assert broker.client.models.retrieve(model.id).id == model.id


def test_a_model_that_is_not_there_is_not_found(broker):
    with pytest.raises(openai.NotFoundError):
        broker.client.models.retrieve("no-such-model")


def test_a_backend_by_its_full_name_is_the_one_that_answers(broker):
    _, first = broker.ask("hello")
    name = first["x-tokenbroker-backend"]
    provider = broker.sandbox.served()[-1]["provider"]
    answer, headers = broker.ask("hello again", model=name)
    assert headers["x-tokenbroker-backend"] == name
    assert broker.sandbox.served()[-1]["provider"] == provider
    assert answer.choices[0].message.content.startswith("[sandbox]")


def quality(broker, headers):
    provider, model = headers["x-tokenbroker-backend"].split("/")
    rows = broker.prices.backends
    return next(row["quality"]["score"] for row in rows if (row["provider"], row["model"]) == (provider, model))


def test_auto_is_answered_by_the_backend_that_the_decision_names(broker):
    sent, row, answer = broker.forwarded()
    assert answer.choices[0].message.content
    decision = broker.client.post("/route", body={"model": "auto", "messages": user("hello")}, cast_to=object)
    assert decision["chosen"]["provider"] == row["provider"]
    assert sent["model"] == row["model"] != "auto"


def test_a_tier_is_a_floor_under_the_quality(broker):
    for tier, floor in FLOORS.items():
        answer, headers = broker.ask(model=f"auto:{tier}")
        assert answer.choices[0].message.content
        assert quality(broker, headers) >= floor


def test_a_model_is_served_by_the_cheapest_backend_that_has_it(broker):
    sent, row, _ = broker.forwarded(model="pearl-chat")
    decision = broker.client.post("/route", body={"model": "pearl-chat", "messages": user("hello")}, cast_to=object)
    assert {candidate["model"] for candidate in decision["candidates"]} == {"pearl-chat"}
    assert len(decision["candidates"]) == 2
    assert decision["chosen"] == min(decision["candidates"], key=lambda candidate: float(candidate["score_usd"]))
    assert row["provider"] == decision["chosen"]["provider"]
    # The reseller knows the model by a name of its own.
    assert sent["model"] == row["model"] == {"sandbox-flaky": "pearl-chat-r", "sandbox-pearl": "pearl-chat"}[row["provider"]]


def test_an_alias_stands_for_its_target(tmp_path):
    aliases = {"TOKENBROKER__ALIASES__CAREFUL": "auto:premium", "TOKENBROKER__ALIASES__HOUSE": "sandbox-fjord/fjord-small"}
    own = Broker.start(tmp_path, aliases)
    try:
        assert {"careful", "house"} <= {model.id for model in own.client.models.list()}
        assert own.ask(model="house")[1]["x-tokenbroker-backend"] == "sandbox-fjord/fjord-small"
        assert quality(own, own.ask(model="careful")[1]) >= FLOORS["premium"]
    finally:
        own.stop()
