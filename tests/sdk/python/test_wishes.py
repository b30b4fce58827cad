"""What a client may wish beyond the model: each wish in the body (an SDK's `extra_body`) and as a header, to the same effect."""

from decimal import Decimal

import openai
import pytest

from gateway import user

LONG = "Keep this in mind. " * 200


def in_body(**wishes):
    return {"extra_body": {"tokenbroker": wishes}}


def in_headers(**wishes):
    """The same wishes as headers: lists with commas, truth in words."""

    def text(value):
        return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)

    return {"extra_headers": {f"x-tokenbroker-{name.replace('_', '-')}": text(value) for name, value in wishes.items()}}


@pytest.fixture(params=[in_body, in_headers], ids=["body", "header"])
def wish(request):
    return request.param


def provider(headers):
    return headers["x-tokenbroker-backend"].split("/")[0]


def dearest(broker):
    """The backend that the table makes pay most for one token of output."""

    def output(row):
        if row.get("free"):
            return Decimal(0)
        return row["prices"][0]["output"] / broker.prices.per_usd[broker.prices.providers[row["provider"]]["currency"]]

    return max(broker.prices.backends, key=output)


def test_a_wished_quality_is_kept(broker, wish):
    for tier, least in {"standard": 40, "premium": 65}.items():
        _, row, _ = broker.forwarded(**wish(quality=tier))
        assert broker.prices.backend(row["provider"], row["model"])["quality"]["score"] >= least


def test_a_wished_maximum_cost_refuses_what_is_dearer(broker, wish):
    row = dearest(broker)
    name = f"{row['provider']}/{row['model']}"
    before = broker.seen
    with pytest.raises(openai.BadRequestError) as refusal:
        broker.ask(model=name, max_tokens=100, **wish(max_cost_usd="0.000000001"))
    assert refusal.value.code == "no_adequate_backend"
    assert broker.seen == before
    _, headers = broker.ask(model=name, max_tokens=100, **wish(max_cost_usd="0.02"))
    assert Decimal(0) < Decimal(headers["x-tokenbroker-cost-usd"]) <= Decimal("0.02")


def test_wished_regions_are_kept(broker, wish):
    _, row, _ = broker.forwarded(**wish(regions=["EU"]))
    assert row["provider"] == "sandbox-fjord"
    _, row, _ = broker.forwarded(**wish(regions=["EU", "CN"]))
    assert broker.prices.providers[row["provider"]]["region"] in ("EU", "CN")


def test_only_a_wished_provider_is_used(broker, wish):
    names = sorted(broker.prices.providers)
    assert len(names) >= 5
    for name in names:
        _, row, _ = broker.forwarded(**wish(providers=[name]))
        assert row["provider"] == name


def test_an_excluded_provider_is_not_used(broker, wish):
    left = sorted(broker.prices.providers)
    excluded = []
    while len(left) > 1:
        _, row, _ = broker.forwarded(**(wish(exclude=excluded) if excluded else {}))
        assert row["provider"] in left
        left.remove(row["provider"])
        excluded.append(row["provider"])


def test_a_wished_session_stays_where_its_prompt_is_cached(broker, wish):
    session = f"thread-{wish.__name__}"
    talk = [{"role": "system", "content": f"{session}: {LONG}"}, *user("first")]
    wishes = wish(session=session, exclude=["sandbox-flaky", "sandbox-local"])
    _, first, answer = broker.forwarded(messages=talk, **wishes)
    talk += [{"role": "assistant", "content": answer.choices[0].message.content}, *user("second")]
    _, second, answer = broker.forwarded(messages=talk, **wishes)
    assert second["provider"] == first["provider"]
    assert second["cached_tokens"] > 0
    assert answer.usage.prompt_tokens_details.cached_tokens == second["cached_tokens"]


def test_a_wished_deadline_is_kept(broker, faults, wish):
    faults("stall_before_headers", provider="sandbox-local")
    with pytest.raises(openai.InternalServerError) as refusal:
        broker.ask(model="local-mini", **wish(deadline_ms=100))
    assert (refusal.value.status_code, refusal.value.code) == (504, "upstream_timeout")


def test_a_wished_race_asks_several_and_pays_for_all(broker, faults, wish):
    # None may win before the other was asked.
    faults("slow", latency_ms=100)
    before = broker.seen
    answer, headers = broker.ask(**wish(race=2, exclude=["sandbox-local"]))
    assert answer.choices[0].message.content
    rows = broker.since(before)
    assert len(rows) == len({(row["provider"], row["model"]) for row in rows}) == 2
    attempts = broker.booked(headers)
    assert {attempt["provider"] for attempt in attempts} == {row["provider"] for row in rows}
    assert sum(attempt["ending"] == "complete" for attempt in attempts) == 1
    # Both have a price, and the one that lost had begun.
    assert all(attempt["cost_pico_usd"] > 0 for attempt in attempts)


def test_a_dry_run_decides_and_sends_nothing(broker, wish):
    before = broker.seen
    raw = broker.client.chat.completions.with_raw_response.create(model="auto", messages=user("hello"), **wish(dry_run=True))
    decision = raw.http_response.json()
    assert decision["chosen"]["backend"] == raw.headers["x-tokenbroker-backend"]
    assert decision["candidates"] and decision["rejected"] == []
    assert broker.seen == before
    _, headers = broker.ask()
    assert headers["x-tokenbroker-backend"] == decision["chosen"]["backend"]


def test_a_wish_that_does_not_exist_is_refused(broker):
    for wishes in (in_body(chepest=True), in_headers(chepest=True)):
        with pytest.raises(openai.BadRequestError) as refusal:
            broker.ask(**wishes)
        assert refusal.value.code == "unknown_parameter"
        assert "chepest" in refusal.value.message


def test_wishes_are_not_forwarded(broker):
    sent, _, _ = broker.forwarded(**in_body(quality="standard", session="s-1"), user="mine")
    assert "tokenbroker" not in sent
    assert sent["user"] == "mine"


def test_the_route_endpoint_decides_and_sends_nothing(broker):
    before = broker.seen
    decision = broker.client.post("/route", body={"model": "auto", "messages": user("hello")}, cast_to=object)
    assert decision["chosen"]["expected_usd"]
    assert broker.seen == before
