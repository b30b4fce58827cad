"""What a client may wish beyond the model: each wish in the body (an SDK's `extra_body`) and as a header, to the same effect."""

from decimal import Decimal

import openai
import pytest

from gateway import Broker, user

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


def refused(broker, code, **request):
    """What an SDK's user is told of a request that nobody may answer; nobody was asked."""
    before = broker.seen
    with pytest.raises(openai.BadRequestError) as refusal:
        broker.ask(**request)
    assert (refusal.value.status_code, refusal.value.code) == (400, code)
    assert broker.seen == before
    return refusal.value


def decide(broker, **wishes):
    """The decision on a request, by a dry run."""
    raw = broker.client.chat.completions.with_raw_response.create(model="auto", messages=user("hello"), **wishes)
    return raw.http_response.json()


def fits(broker, **wishes):
    """The providers that would do, and the rules that left others out."""
    decision = decide(broker, **wishes)
    return {row["provider"] for row in decision["candidates"]}, {row["rule"] for row in decision["rejected"]}


def those(broker, known):
    """The providers of the table of which that is known."""
    return {name for name, facts in broker.prices.providers.items() if known(facts)}


def test_wished_jurisdictions_are_kept(broker, wish):
    _, row, _ = broker.forwarded(**wish(jurisdictions=["EU"]))
    assert row["provider"] == "sandbox-fjord"
    wanted = those(broker, lambda facts: facts["jurisdiction"] in ("EU", "CN"))
    assert fits(broker, **wish(jurisdictions=["EU", "CN"], dry_run=True)) == (wanted, {"outside_jurisdictions"})
    told = refused(broker, "no_adequate_backend", **wish(jurisdictions=["CH"]))
    assert f"outside_jurisdictions={len(broker.prices.backends)}" in told.message


def test_data_that_may_not_train_goes_where_nobody_trains(broker, wish):
    wanted = those(broker, lambda facts: facts.get("trains_on_data") is False)
    assert fits(broker, **wish(may_train=False, dry_run=True)) == (wanted, {"trains_on_data"})
    assert fits(broker, **wish(may_train=True, dry_run=True)) == (set(broker.prices.providers), set())
    # One that trains, and one that does not say.
    for name in ("sandbox-lotus", "sandbox-flaky"):
        told = refused(broker, "no_adequate_backend", **wish(may_train=False, providers=[name]))
        assert "trains_on_data" in told.message


def test_a_wished_retention_is_kept(broker, wish):
    def within(days):
        return those(broker, lambda facts: facts.get("retention") == "none" or 0 < facts.get("retention_days", 0) <= days)

    everybody = [fits(broker, **wish(max_retention_days=days, dry_run=True)) for days in (0, 30, 365)]
    assert everybody == [(within(days), {"retains_data"}) for days in (0, 30, 365)]
    assert len({frozenset(names) for names, _ in everybody}) == 3
    _, row, _ = broker.forwarded(**wish(max_retention_days=0, exclude=["sandbox-local"]))
    assert row["provider"] == "sandbox-fjord"
    # One that keeps everything, and one that does not say.
    for name in ("sandbox-lotus", "sandbox-flaky"):
        refused(broker, "no_adequate_backend", **wish(max_retention_days=36500, providers=[name]))


def test_only_registered_models_are_used_if_wished(broker, wish):
    wanted = those(broker, lambda facts: facts.get("registered"))
    assert fits(broker, **wish(registered=True, dry_run=True)) == (wanted, {"not_registered"})
    _, row, _ = broker.forwarded(**wish(registered=True))
    assert row["provider"] in wanted
    refused(broker, "no_adequate_backend", **wish(registered=True, providers=["sandbox-fjord"]))


def test_a_wished_tag_is_summed_up(broker, wish):
    tag = "run:body" if wish is in_body else "run:header"
    broker.ask(**wish(tags=[tag, "sdk"]))
    lines = broker.client.get("/usage?group_by=tag", cast_to=object)["data"]
    assert {tag, "sdk"} <= {line["tag"] for line in lines}


def test_a_wished_price_per_million_is_not_exceeded(broker, wish):
    row = dearest(broker)
    name = f"{row['provider']}/{row['model']}"
    told = refused(broker, "no_adequate_backend", model=name, **wish(max_price_per_million_usd="0.9"))
    assert "price_above_max=1" in told.message
    _, headers = broker.ask(model=name, **wish(max_price_per_million_usd=100))
    assert headers["x-tokenbroker-backend"] == name
    decision = decide(broker, **wish(max_price_per_million_usd=0.5, dry_run=True))
    for found in decision["candidates"]:
        tokens = found["tokens"]["input"] + found["tokens"]["output"]
        assert Decimal(found["expected_usd"]) * 1_000_000 <= Decimal("0.5") * tokens
    assert {row["rule"] for row in decision["rejected"]} == {"price_above_max"}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A gateway of its own, since it learns who is slow."""
    running = Broker.start(tmp_path_factory.mktemp("uneven"))
    running.sandbox.order("slow", provider="sandbox-fjord", latency_ms=400)
    # One quick answer is no proof yet: a backend of which little is known counts as middling.
    for _ in range(5):
        running.ask(**in_body(providers=["sandbox-summit"]))
    yield running
    running.stop()


def test_a_preference_decides_among_the_adequate(uneven, wish):
    both = ["sandbox-fjord", "sandbox-summit"]
    for preference, name in {"cheapest": "sandbox-fjord", "fastest": "sandbox-summit"}.items():
        _, headers = uneven.ask(**wish(prefer=preference, providers=both))
        assert provider(headers) == name
        assert headers["x-tokenbroker-decision"].startswith(preference)
    told = {p: decide(uneven, **wish(prefer=p, providers=both, dry_run=True)) for p in ("cheapest", "balanced")}
    waits = {p: [Decimal(found["premiums"]["wait_usd"]) for found in told[p]["candidates"]] for p in told}
    assert [told[p]["prefer"] for p in told] == list(told)
    assert set(waits["cheapest"]) == {Decimal(0)}
    assert all(wait > 0 for wait in waits["balanced"])


def test_a_clients_own_wishes_hold_until_a_request_says_otherwise(broker):
    mine = broker.client.with_options(default_headers={"x-tokenbroker-jurisdictions": "EU", "x-tokenbroker-prefer": "fastest"})

    def decision(**wishes):
        raw = mine.chat.completions.with_raw_response.create(model="auto", messages=user("hello"), **wishes)
        return raw.http_response.json()

    for_one = [decision(**in_body(dry_run=True)), decision(**in_body(dry_run=True, prefer="cheapest", jurisdictions=["CN"]))]
    assert [told["prefer"] for told in for_one] == ["fastest", "cheapest"]
    assert [{row["jurisdiction"] for row in told["candidates"]} for told in for_one] == [{"EU"}, {"CN"}]
    raw = mine.chat.completions.with_raw_response.create(model="auto", messages=user("hello"), stream=True)
    assert provider(raw.headers) == "sandbox-fjord"
    assert [chunk for chunk in raw.parse()]


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


# For each wish a value that it does not take, and what it says it takes.
WRONG = {
    "quality": ("best", "one of economy, standard, premium"),
    "max_cost_usd": ("a cent", "dollars of zero or more"),
    "regions": (["E U"], "a list of at most 64 names"),
    "providers": (["deep/seek"], "a list of at most 64 names"),
    "exclude": (["open router"], "a list of at most 64 names"),
    "session": ("s" * 257, "a text of 1 to 256 bytes"),
    "deadline_ms": (0, "whole milliseconds from 1 to 3600000"),
    "race": (5, "a whole number from 1 to 4"),
    "dry_run": ("perhaps", "true or false"),
    "jurisdictions": (["the EU"], "a list of at most 64 names"),
    "may_train": ("never", "true or false"),
    "max_retention_days": (-1, "whole days from 0 to 36500"),
    "registered": ("yes", "true or false"),
    "prefer": ("quickest", "one of cheapest, balanced, fastest"),
    "max_price_per_million_usd": ("-0.5", "dollars of zero or more"),
    "tags": (["a b"], "a list of at most 8 tags"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_wish_of_a_wrong_value_is_refused_by_its_name(broker, wish, name, stream):
    value, accepted = WRONG[name]
    told = refused(broker, "invalid_value", stream=stream, **wish(**{name: value}))
    assert told.param == (f"tokenbroker.{name}" if wish is in_body else f"x-tokenbroker-{name.replace('_', '-')}")
    assert f"`{told.param}` must be {accepted}" in told.message
    assert told.type == "invalid_request_error"


def test_wishes_are_not_forwarded(broker):
    sent, _, _ = broker.forwarded(**in_body(quality="standard", session="s-1"), user="mine")
    assert "tokenbroker" not in sent
    assert sent["user"] == "mine"


def test_the_route_endpoint_decides_and_sends_nothing(broker):
    before = broker.seen
    decision = broker.client.post("/route", body={"model": "auto", "messages": user("hello")}, cast_to=object)
    assert decision["chosen"]["expected_usd"]
    assert broker.seen == before
