"""The list of models and single entries of it."""

import openai
import pytest

from gateway import user


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


@pytest.mark.parametrize("tier", ["economy", "standard", "premium"])
def test_every_tier_is_served(broker, tier):
    answer = broker.client.chat.completions.create(model=f"auto:{tier}", messages=user("hello"))
    assert answer.choices[0].message.content
