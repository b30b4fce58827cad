"""`tokenbroker prices cost` against the collected facts: every price of the shipped table, and its dated history.

The amounts are worked out here from prices.json alone, exactly and by code that shares nothing with the program that makes the
table. Where the table deliberately says something else than the facts do, that is named below, with the reason. One process
answers all lines.
"""

import json
import random
import re
import subprocess
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import cache

import pytest
from gateway import REPOSITORY, binary, clean_environment

PRICES = REPOSITORY.parent / "shared/facts/prices.json"
TABLE = REPOSITORY / "providers.toml"
pytestmark = pytest.mark.skipif(not PRICES.is_file(), reason=f"not present: {PRICES}")

BEIJING = timezone(timedelta(hours=8))
# Every price of the facts is in force on this day (a Saturday, no holiday), and no hour of it is special at DeepSeek.
SATURDAY = datetime(2026, 11, 28, 12, 0, 0, tzinfo=BEIJING)
SEED = 20261122

# ---- what the table says otherwise, on purpose ---------------------------------------------------------------------------

# "Writing costs nothing" is not believed (price-doubts.md): it costs input.
FREE_WRITES = {
    *(f"zai/glm-{name}" for name in "5.3 5.3-flash 5.3-flashx 5.2 5.1 5 5-turbo 4.7 4.7-flashx 4.6 4.5-air".split()),
    "alibaba/glm-5.2",
    "siliconflow/zai-org/GLM-5.1",
}
# Nor is a write below the price of input.
CHEAP_WRITES = {"minimax/MiniMax-M2.7-highspeed", "minimax-cn/MiniMax-M2.7-highspeed"}
# Rows of this site mix cache discounts that exclude each other: implicit reads cost a fifth of input, and nothing less stands,
# in its history neither. These are the rows in force that it changes.
IMPLICIT_SITE = "alibaba/"
IMPLICIT_READS = {
    *(f"alibaba/qwen3.{name}" for name in "8-max 8-flash 6-plus 6-flash 5-plus 5-flash".split()),
    "alibaba/kimi-k3",
}
# With thinking on there is a price for the first tier only.
NO_THINKING_ABOVE = {"alibaba/qwen3-vl-plus": 32_000}
# Changes of the history that are none: gaps of a catalogue, and one model's price under another's name.
NO_CHANGE = {
    *(f"openai/gpt-{name}" for name in "4o 4o-mini 4.1 4.1-mini 4.1-nano 5 5-mini 5-nano".split()),
    *(f"amazon-bedrock/amazon.nova-{name}-v1:0" for name in "pro lite micro 2-lite".split()),
    *(f"mistral/{name}" for name in "devstral-2512 mistral-large-2512 mistral-medium-2604 mistral-small-2603".split()),
    *(f"alibaba/{name}" for name in "qwen3.8-27b qwen3-max qwen-max qwen-plus qwen-flash qwen-turbo qwen3-coder-plus".split()),
    *(f"alibaba/{name}" for name in "qwen3-coder-flash qwen3-vl-plus qwen3.5-plus".split()),
    "moonshotai/kimi-k2.5",
    "zai/glm-5",
    "zai/glm-5.2",
    "anthropic/claude-haiku-4-5",
}
# The steps of these are told in dollars; the price in yuan stands from the last of them.
STEPS_IN_DOLLARS = {
    "deepseek/deepseek-v4-pro": "2026-08-16T16:00:00Z",
    "deepseek/deepseek-v4-flash": "2026-09-10T04:00:00Z",
    "xiaomi/mimo-v2.5-pro": "2026-06-29T23:31:44Z",
    "xiaomi/mimo-v2.5": "2026-06-29T23:31:44Z",
}


# ---- the facts ----------------------------------------------------------------------------------------------------------


@cache
def facts():
    return json.loads(PRICES.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)


def key_of(model):
    return f"{model['provider']}/{model['id']}"


@cache
def models():
    """The models of the facts that have a row in the table, by their key."""
    blocks = TABLE.read_text(encoding="utf-8").split("[[backends]]")[1:]
    heads = [block.split("[[backends.prices]]")[0] for block in blocks]
    member = lambda head, name: next(iter(re.findall(rf'^{name} = "(.*)"$', head, re.M)), None)
    sold = {f"{member(head, 'provider')}/{member(head, 'upstream_model') or member(head, 'model')}" for head in heads}
    return {key_of(model): model for model in facts()["models"] if key_of(model) in sold and model["prices"]}


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# ---- the vendor's bill, by the facts ------------------------------------------------------------------------------------


class NoPrice(Exception):
    """The vendor sells no such thing, or nobody knows for how much."""


def row_for(price, usage, key):
    """The one row of figures that prices this whole request."""
    total, output, thinking = usage["input_tokens"], usage["output_tokens"], usage.get("thinking", False)
    modes = price.get("modes") or {}
    if usage.get("batch"):
        if "batch" not in modes:
            raise NoPrice("batch")
        return by_tier(modes["batch"], total)
    if price.get("matrix"):
        for cell in price["matrix"]:
            length = within(total, cell["input_tokens_from"], cell["input_tokens_to"])
            answer = within(output, cell.get("output_tokens_from"), cell.get("output_tokens_to"))
            if length and answer and cell.get("thinking") in (None, thinking):
                return cell
        raise NoPrice("beyond the last cell")
    if thinking and "thinking" in modes:
        if total > NO_THINKING_ABOVE.get(key, total):
            raise NoPrice("thinking above the first tier")
        return by_tier(modes["thinking"], total)
    return by_tier(price, total)


def within(count, above, to):
    return (not above or count > above) and (to is None or count <= to)


def by_tier(price, total):
    row = price
    for tier in price.get("tiers") or []:
        if total > tier["above_input_tokens"]:
            row = tier
    return row


def bill(price, usage, key):
    """The amount by a price row of the facts."""
    row = row_for(price, usage, key)
    rate = row["input"]
    read, write = row.get("cached_input"), row.get("cache_write")
    read, write = rate if read is None else read, rate if write is None else write
    if key in FREE_WRITES | CHEAP_WRITES:
        write = rate
    if key.startswith(IMPLICIT_SITE) and row.get("cached_input") is not None:
        read = max(read, rate / 5)
    cached, written = usage.get("cached_input_tokens", 0), usage.get("cache_write_tokens", 0)
    fresh = usage["input_tokens"] - cached - written
    amount = fresh * rate + cached * read + written * write + usage["output_tokens"] * row["output"]
    return amount * times(price, usage) / 1_000_000


def times(price, usage):
    """What the hour multiplies the price by; the facts count in UTC and the days of Beijing."""
    schedule = price.get("time_windows")
    if not schedule:
        return Decimal(1)
    at = instant(usage["completed" if "completion" in schedule.get("billed_by", "") else "arrived"])
    excluded = schedule.get("excluded_dates_calendar")
    if excluded and at.astimezone(BEIJING).date().isoformat() in facts()["calendars"][excluded]["dates"]:
        return Decimal(1)
    clock, day = at.astimezone(timezone.utc).strftime("%H:%M:%S"), at.astimezone(BEIJING).strftime("%a").lower()
    for window in schedule["windows"]:
        end = "24:00:00" if window["end"] == "00:00" else f"{window['end']}:00"
        if f"{window['start']}:00" <= clock < end and (window["days"] == "all" or day in window["days"]):
            return window["multiplier"]
    return Decimal(1)


# ---- asking -------------------------------------------------------------------------------------------------------------


def line(key, at=SATURDAY, arrived=None, **usage):
    provider, model = key.split("/", 1)
    stamp = lambda moment: moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    usage = {"input_tokens": 0, "output_tokens": 0} | usage
    return {"provider": provider, "model": model, "arrived": stamp(arrived or at), "completed": stamp(at)} | usage


def ask(lines):
    """What the command says of every line, in their order."""
    numbered = [{"id": str(place)} | line for place, line in enumerate(lines)]
    run = subprocess.run(
        [binary(), "prices", "cost", "--providers", str(TABLE)],
        input="".join(json.dumps(line) + "\n" for line in numbered),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=clean_environment({}),
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    answers = [json.loads(answer) for answer in run.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [line["id"] for line in numbered]
    return answers


def check(cases):
    """Every line costs what is expected of it: (line, currency, amount), and no amount where there is no price."""
    assert cases, "nothing was compared"
    answers, wrong = ask([line for line, _, _ in cases]), []
    for (asked, currency, amount), answer in zip(cases, answers):
        if amount is None:
            fine = "error" in answer and "amount" not in answer
        else:
            fine = answer.get("currency") == currency and Decimal(answer.get("amount", "-1")) == amount
        if not fine:
            wrong.append(f"{asked}\n   expected {currency} {amount}\n   answered {answer}")
    assert not wrong, f"{len(wrong)} of {len(cases)} differ\n" + "\n".join(wrong[:20])


def expected(key, price, asked):
    try:
        return asked, price["currency"], bill(price, asked, key)
    except NoPrice:
        return asked, price["currency"], None


def edges_of(price):
    edges = {int(tier["above_input_tokens"]) for tier in price.get("tiers") or []}
    for mode in (price.get("modes") or {}).values():
        edges |= {int(tier["above_input_tokens"]) for tier in mode.get("tiers") or []}
    return edges | {int(cell["input_tokens_to"]) for cell in price.get("matrix") or [] if cell["input_tokens_to"]}


def usages(price, dice):
    """Lengths on both sides of every edge, short and long answers, and every kind of token."""
    lengths = {1, 1_000, dice.randrange(2, 30_000)} | {edge + step for edge in edges_of(price) for step in (-1, 0, 1, 1_000)}
    for length in sorted(lengths):
        for output in (0, 200, 201, dice.randrange(1, 50_000)):
            cached = dice.choice([0, dice.randrange(length + 1)])
            written = dice.choice([0, dice.randrange(length - cached + 1)])
            yield {
                "input_tokens": length,
                "cached_input_tokens": cached,
                "cache_write_tokens": written,
                "output_tokens": output,
                "reasoning_tokens": dice.randrange(output + 1),
            }


# ---- the prices in force ------------------------------------------------------------------------------------------------


def test_every_backend_costs_what_its_vendor_bills():
    dice, cases = random.Random(SEED), []
    for key, model in models().items():
        price = model["prices"][0]
        for usage in usages(price, dice):
            for mode in ({}, {"thinking": True}, {"batch": True}):
                cases.append(expected(key, price, line(key, **usage, **mode)))
    assert len({case[0]["provider"] + case[0]["model"] for case in cases}) >= 200
    check(cases)


def test_the_exceptions_are_what_they_are_said_to_be():
    """An exception whose fact has gone would hide a mistake."""
    prices = {key: model["prices"][0] for key, model in models().items()}
    paid = {key: price for key, price in prices.items() if price["input"]}
    assert {key for key, price in paid.items() if price.get("cache_write") == 0} == FREE_WRITES
    assert {key for key, price in paid.items() if 0 < (price.get("cache_write") or 0) < price["input"]} == CHEAP_WRITES
    reads = {key: price for key, price in prices.items() if price.get("cached_input") is not None}
    cheap = {key for key, price in reads.items() if price["cached_input"] * 5 < price["input"]}
    assert {key for key in cheap if key.startswith(IMPLICIT_SITE)} == IMPLICIT_READS
    assert all(prices[key]["tiers"] and not prices[key]["modes"]["thinking"].get("tiers") for key in NO_THINKING_ABOVE)


def test_hours_are_told_to_the_second():
    moments = [
        datetime(2026, month, day, hour, minute, second, tzinfo=BEIJING)
        for month, day in [(10, 1), (10, 9), (10, 10), (10, 12), (11, 21), (11, 22), (11, 23), (12, 31)]
        for hour, minute, second in [
            *((hour, 59, 59) for hour in (7, 8, 11, 13, 17, 21, 23)),
            *((hour, 0, 0) for hour in (0, 8, 9, 12, 14, 18, 22)),
            (10, 0, 0),
        ]
    ]
    # Every holiday since the hours began, the day before it and the day after it.
    holidays = [datetime.fromisoformat(f"{day}T10:00:00+08:00") for day in facts()["calendars"]["cn_public_holidays"]["dates"]]
    moments += [day + timedelta(days=step) for day in holidays if day.month > 8 for step in (-1, 0, 1)]
    usage = {"input_tokens": 1_000_000, "cached_input_tokens": 400_000, "output_tokens": 1_000}
    cases = []
    for key in [key for key, model in models().items() if model["prices"][0].get("time_windows")]:
        for at in moments:
            for arrived in (at, at - timedelta(seconds=1), at - timedelta(hours=2)):
                cases.append(expected(key, models()[key]["prices"][0], line(key, at, arrived, **usage)))
    check(cases)


def test_the_example_of_the_rule():
    """By hand: 0.6 x 2 + 0.4 x 0.04 + 0.001 x 8."""
    at = datetime(2026, 11, 23, 10, 0, 0, tzinfo=BEIJING)
    usage = {"input_tokens": 1_000_000, "cached_input_tokens": 400_000, "output_tokens": 1_000}
    check([(line("deepseek/deepseek-flash", at, **usage), "CNY", Decimal("1.224"))])


# ---- history ------------------------------------------------------------------------------------------------------------


def changes_of(key):
    mine = [c for c in facts()["history"]["id_level_changes"] if f"{c['provider']}/{c['model']}" == key]
    return sorted(mine, key=lambda change: change["effective_from"])


def past_price(change, side, tiers=None):
    return change[side] | {"currency": change["currency"], "tiers": tiers}


def is_told(before, after):
    """A change of the vendor's whose price before is known, and not a catalogue that had not looked yet."""
    lacked = before["cached_input"] is None and after["cached_input"] is not None
    same = before["input"] == after["input"] and before["output"] == after["output"]
    return bool(before["input"]) and before != after and not (same and lacked)


def test_every_step_of_the_history_is_billed_from_its_instant():
    cases = []
    for key, model in models().items():
        price, changes = model["prices"][0], changes_of(key)
        if not changes or price["currency"] != changes[0]["currency"] and key not in STEPS_IN_DOLLARS:
            continue
        end = instant(STEPS_IN_DOLLARS.get(key) or price["effective_from"])
        steps = [change for change in changes if instant(change["effective_from"]) < end]
        for step, after in zip(steps, [*steps[1:], None]):
            row = past_price(step, "after", step.get("tiers_after"))
            since, until = instant(step["effective_from"]), instant(after["effective_from"]) if after else end
            if (price.get("time_windows") or {}).get("applies_from", "9") <= step["effective_from"]:
                row["time_windows"] = price["time_windows"]
            for at in (since, since + timedelta(days=1, hours=3), until - timedelta(seconds=1)):
                for length in (1_000, *(edge + more for edge in edges_of(row) for more in (0, 1))):
                    usage = {"input_tokens": length, "output_tokens": 500}
                    known = after is None or after["before"]["cached_input"] is not None
                    if step["after"]["cached_input"] is not None and known:
                        usage["cached_input_tokens"] = length // 2
                    cases.append(expected(key, row, line(key, at, **usage)))
        first = changes[0]
        if key in NO_CHANGE or not is_told(first["before"], first["after"]):
            continue
        usage = {"input_tokens": 10_000, "output_tokens": 700}
        if first["before"]["cached_input"] is not None:
            usage["cached_input_tokens"] = 4_000
        moment = instant(first["effective_from"]) - timedelta(seconds=1)
        row = past_price(first, "before")
        # A step of cached reads alone that the table's rule for this site levels out has no price before.
        if bill(row, usage, key) != bill(past_price(first, "after"), usage, key):
            cases.append(expected(key, row, line(key, moment, **usage)))
    check(cases)


def test_a_price_begins_at_its_instant():
    cases, usage = [], {"input_tokens": 20_000, "cached_input_tokens": 5_000, "output_tokens": 700}
    for key, model in models().items():
        price = model["prices"][0]
        begins = STEPS_IN_DOLLARS.get(key) or price.get("effective_from")
        if begins is None:
            continue
        for more in ({}, {"thinking": True}):
            cases.append(expected(key, price, line(key, instant(begins), **usage, **more)))
        if not changes_of(key) and key not in STEPS_IN_DOLLARS:
            cases.append((line(key, instant(begins) - timedelta(seconds=1), **usage), None, None))
    assert len(cases) >= 300
    check(cases)


def test_a_gap_of_a_catalogue_is_no_price():
    usage = {"input_tokens": 1_000, "output_tokens": 10}
    long_ago = datetime(2025, 1, 1, tzinfo=BEIJING)
    check([(line(key, long_ago, **usage), None, None) for key in sorted(NO_CHANGE & set(models()))])


def test_the_steps_of_deepseek_by_hand():
    """Amounts worked out from the vendor's lists: 1,000,000 input of which half is cached, 1,000,000 output."""
    usage = {"input_tokens": 1_000_000, "cached_input_tokens": 500_000, "output_tokens": 1_000_000}
    utc = lambda *parts: datetime(*parts, tzinfo=timezone.utc)
    pro, flash, chat, reasoner = (f"deepseek/deepseek-{name}" for name in "v4-pro v4-flash chat reasoner".split())
    rows = [
        (pro, utc(2026, 5, 1), "USD", "4.4225"),  # 0.5 x 1.74 + 0.5 x 0.145 + 3.48
        (pro, utc(2026, 8, 16, 15, 59, 59), "USD", "1.0893125"),  # 0.5 x 0.435 + 0.5 x 0.003625 + 0.87
        (pro, utc(2026, 8, 16, 16), "CNY", "15.825"),  # 0.5 x 4.5 + 0.5 x 0.15 + 13.5
        (pro, utc(2026, 8, 17, 1), "CNY", "31.65"),  # twice that: Monday, 09:00 in Beijing
        (flash, utc(2026, 5, 1), "USD", "0.364"),
        (flash, utc(2026, 6, 1), "USD", "0.3514"),
        (flash, utc(2026, 8, 16, 16), "USD", "0.7735"),
        (flash, utc(2026, 9, 10, 3, 59, 59), "USD", "1.547"),  # Thursday, 11:59:59 in Beijing
        (flash, utc(2026, 9, 10, 4), "CNY", "4.51"),
        ("deepseek/deepseek-flash", utc(2026, 9, 10, 4), "CNY", "4.51"),
        (chat, utc(2025, 2, 26, 16, 29, 59), "USD", "1.27"),
        (chat, utc(2025, 2, 26, 16, 30), "USD", "0.635"),
        (chat, utc(2025, 2, 27, 0, 29, 59), "USD", "0.635"),
        (chat, utc(2025, 2, 27, 0, 30), "USD", "1.27"),
        (chat, utc(2025, 9, 5, 16, 30), "USD", "2.25"),
        (chat, utc(2025, 9, 30), "USD", "0.7"),
        (reasoner, utc(2025, 3, 1, 17), "USD", "0.685"),
        (reasoner, utc(2025, 3, 1, 12), "USD", "2.74"),
        (reasoner, utc(2025, 9, 30), "USD", "0.7"),
    ]
    check([(line(key, at, **usage), currency, Decimal(amount)) for key, at, currency, amount in rows])


def test_the_free_models_and_the_launch_offer_by_hand():
    usage = {"input_tokens": 2_000_000, "output_tokens": 1_000_000}
    cases = []
    for event in facts()["history"]["events"]:
        if event["provider"] != "baidu":
            continue
        before = event["before"]["input"] * 2 + event["before"]["output"]
        # Under the name of the notice, and under that of the backend where there is one.
        for key in {f"baidu/{event['model']}"} | {f"baidu/{event['model'].lower()}"} & set(models()):
            midnight = datetime(2024, 5, 21, tzinfo=BEIJING)
            cases.append((line(key, midnight - timedelta(seconds=1), **usage), "CNY", before))
            cases.append((line(key, midnight, **usage), "CNY", Decimal(0)))
    offer, ended = "zhipuai/glm-5.3-flash", datetime(2026, 9, 10, tzinfo=BEIJING)
    cases.append((line(offer, ended - timedelta(seconds=1), **usage), "CNY", Decimal("2.2")))
    cases.append((line(offer, ended, **usage), "CNY", Decimal("4.4")))
    assert len(cases) == 18
    check(cases)
