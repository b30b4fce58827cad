"""The prices of scripts/table: from the price rows and the history of the facts to dated rows of the table.

A row of the table is a dict of its members in their order; the cells of one whose price depends on the length of input or
output or on thinking are its member `cells`, a batch price its member `batch`. A *ladder* is the same before a provider's rules
are applied: cells with bounds under the table's names and figures under those of the facts.

What no source tells is left out, never guessed: a price before a step whose tiers are unknown is told up to the first edge of
the price after it, a price with thinking on that is unknown beyond an edge ends there.
"""

from decimal import ROUND_CEILING, Decimal

FIGURES = {"input": "input", "cached_input": "cache_read", "cache_write": "cache_write", "cache_write_long": "cache_write_long",
           "output": "output"}
# Ways to buy that a request cannot ask for here.
UNSOLD = ["fast", "flex", "ultrafast"]
BOUNDS = ["input_above", "input_to", "output_above", "output_to", "thinking"]


class Refused(Exception):
    """The facts or the overlay cannot be used as they are."""


class Raw(str):
    """Text that stands in the file without quotes: a date, an instant, a figure."""


def number(value):
    """A figure without trailing zeros and without an exponent."""
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# ---- ladders ------------------------------------------------------------------------------------------------------------


def rung(figures, above=None, to=None):
    """One cell: the whole request is priced by the one its input falls into."""
    bounds = {"input_above": above or None, "input_to": to}
    return bounds | {name: figures.get(name) for name in ("input", "cached_input", "cache_write", "output")}


def ladder(figures, tiers):
    """The cells of a price with tiers by the length of the input."""
    edges = [tier["above_input_tokens"] for tier in tiers or []]
    if edges != sorted(set(edges)):
        raise Refused(f"tiers do not ascend: {edges}")
    steps = [figures, *(tiers or [])]
    return [rung(step, above, to) for step, above, to in zip(steps, [None, *edges], [*edges, None])]


def matrix_cell(cell):
    known = {"input_tokens_from", "input_tokens_to", "output_tokens_from", "output_tokens_to", "thinking",
             "input", "cached_input", "cache_write", "output"}
    if set(cell) - known:
        raise Refused(f"a cell of a matrix has the unknown members {sorted(set(cell) - known)}")
    made = rung(cell, cell["input_tokens_from"], cell.get("input_tokens_to"))
    return made | {"output_above": cell.get("output_tokens_from") or None, "output_to": cell.get("output_tokens_to"),
                   "thinking": cell.get("thinking")}


def cells_of(price):
    """Every cell of a price row, in the order in which the first that fits holds."""
    if unknown := set(price.get("modes") or {}) - {"thinking", "batch", *UNSOLD}:
        raise Refused(f"a price has modes that nobody judged: {sorted(unknown)}")
    if price.get("matrix"):
        return [matrix_cell(cell) for cell in price["matrix"]]
    plain = ladder(price, price.get("tiers"))
    thinking = (price.get("modes") or {}).get("thinking")
    if not thinking:
        return plain
    dear = ladder(thinking, thinking.get("tiers"))
    if len(dear) == 1 and len(plain) > 1:
        # A flat price with thinking on beside tiers without: nothing is told beyond the first edge.
        dear[0]["input_to"] = plain[0]["input_to"]
    if dear == plain:
        return plain
    return [cell | {"thinking": False} for cell in plain] + [cell | {"thinking": True} for cell in dear]


def settled(cells, site, long_multiple=None):
    """The cells by the provider's rules, and the reasons in words. Cache prices that are not believed are left out, so that
    such tokens cost what input costs."""
    made, notes = [], []
    for cell in cells:
        cell = dict(cell)
        notes += settle_caches(cell, site)
        if long_multiple and cell["cache_write"] is not None:
            cell["cache_write_long"] = cell["input"] * long_multiple
        made.append(cell)
    return made, list(dict.fromkeys(notes))


def settle_caches(cell, site):
    notes, share = [], site.get("implicit_cache_read")
    if cell["cache_write"] == 0:
        cell["cache_write"] = None
        notes.append("The catalogue says that writing to the cache costs nothing, which is not believed: it costs input here.")
    elif cell["cache_write"] is not None and cell["cache_write"] < cell["input"]:
        cell["cache_write"] = None
        notes.append("The catalogue has cache writes below the price of input, which is not believed: they cost input here.")
    if share and cell["cached_input"] is not None and cell["cached_input"] < cell["input"] * Decimal(share):
        cell["cached_input"] = cell["input"] * Decimal(share)
        notes.append(site["implicit_cache_note"])
    return notes


def members(cells):
    """Cells as members of a row: flat figures where one cell prices everything."""
    named = [{name: cell[name] for name in BOUNDS if cell.get(name) is not None}
             | {FIGURES[name]: cell[name] for name in FIGURES if cell.get(name) is not None} for cell in cells]
    return named[0] if len(named) == 1 and not set(named[0]) & set(BOUNDS) else {"cells": named}


# ---- rows ---------------------------------------------------------------------------------------------------------------


def is_free(price):
    return price["input"] == 0 and price["output"] == 0


def head(currency, at=None, schedule=None, **more):
    """What stands before the figures of a row."""
    row = {"from": Raw(at)} if at else {}
    row |= {"currency": currency} if currency else {}
    return row | (schedule or {}) | more


def source_words(overlay, source, basis=None):
    words = overlay["sources"].get(source)
    if words is None:
        raise Refused(f"the overlay has no words for the source {source!r}")
    begun = overlay["beginnings"].get(basis)
    return f"{words}; {begun}" if begun else words


def schedule_of(price, ruled, overlay):
    """The calendar of a price, and the instant that counts; checked against the windows of the facts."""
    told = price.get("time_windows")
    if not told:
        return {}
    name = ruled.get("calendar")
    calendar = overlay["calendars"].get(name)
    if calendar is None:
        raise Refused(f"a price depends on the hour ({told.get('same_in_local')}) and the overlay names no calendar for it")
    local = f"{calendar['zone']} " + " and ".join(f"{window['from']}-{window['to']}" for window in calendar["windows"])
    agree = local == told["same_in_local"] and len(told["windows"]) == len(calendar["windows"]) and all(
        Decimal(window["times"]) == fact["multiplier"] and window.get("days", "all") == fact.get("days", "all")
        for window, fact in zip(calendar["windows"], told["windows"]))
    excluded = told.get("excluded_dates_calendar")
    if not agree or (overlay["holidays"].get(calendar.get("holidays"), {}).get("facts") != excluded):
        raise Refused(f"the calendar {name!r} is not what the facts say: {told}")
    return {"calendar": name} | ({"billed_at": ruled["billed_at"]} if "billed_at" in ruled else {})


def batch_of(price, site):
    """The batch price, where one is sold."""
    batch = (price.get("modes") or {}).get("batch")
    if not batch:
        return {}
    cells, _ = settled(ladder(batch, batch.get("tiers")), site, price.get("cache_write_1h_multiple_of_input"))
    return {"batch": members(cells)}


# ---- history ------------------------------------------------------------------------------------------------------------


def is_gap(before, after):
    """A catalogue that lacked the price, or that of cached reads, and then had it: no change of the vendor's."""
    lacked = before["cached_input"] is None and after["cached_input"] is not None
    same = before["input"] == after["input"] and before["output"] == after["output"]
    return not before["input"] or before["output"] is None or (same and lacked)


def no_step(earlier, later):
    """Whether two ladders differ in nothing that both tell."""
    bounds = lambda cells: [(cell["input_above"], cell["input_to"]) for cell in cells]
    agree = lambda one, other: one["input"] == other["input"] and one["output"] == other["output"] and (
        one["cached_input"] in (None, other["cached_input"]))
    return bounds(earlier) == bounds(later) and all(map(agree, earlier, later))


def steps_of(model, price, facts, overlay):
    """What history tells before the price in force, oldest first, each with its beginning, currency and ladder; and how the one
    in force begins. A change that is none only makes the price after it older."""
    key = (model["provider"], model["id"])
    site, begins = overlay["providers"][key[0]], overlay["models"].get("/".join(key), {}).get("begins")
    now = {"at": begins["at"], "basis": None, "words": begins["words"]} if begins else {
        "at": price.get("effective_from"), "basis": price.get("basis")}
    if price.get("matrix") or is_free(price) or not now["at"]:
        return [], now
    changes = sorted((c for c in facts["changes"] if (c["provider"], c["model"]) == key and c["effective_from"] <= now["at"]),
                     key=lambda change: change["effective_from"])
    if not changes or (not begins and any(c["currency"] != price["currency"] for c in changes)):
        return [], now
    judged = lambda figures, tiers=None: settled(ladder(figures, tiers), site)[0]
    rows = [{"at": c["effective_from"], "basis": c["basis"], "source": c["source"], "currency": c["currency"],
             "cells": judged(c["after"], c.get("tiers_after"))} for c in changes]
    last = now | {"currency": price["currency"], "cells": judged(price, price.get("tiers"))}
    if rows[-1]["at"] == now["at"]:
        rows.pop()
    chain = [last]
    for row in reversed(rows):
        later = chain[0]
        if later["currency"] == row["currency"] and no_step(row["cells"], later["cells"]):
            later["at"], later["basis"] = row["at"], row["basis"]
        else:
            chain.insert(0, row)
    now = now | {"at": last["at"], "basis": last["basis"]}
    return before_all(changes[0], chain[0], judged, overlay) + chain[:-1], now


def before_all(change, first, judged, overlay):
    """The price before the first change, where it is known and differs. Its tiers are not told: it ends at the first edge."""
    before = change["before"]
    if is_gap(before, change["after"]) or doubtful(change, overlay):
        return []
    cells, after = judged(before), judged(change["after"])[0]
    told = ("input", "cached_input", "output")
    if all(cells[0][name] == after[name] for name in told):
        return []
    edge = first["cells"][0]["input_to"] if first["currency"] == change["currency"] else None
    cells[0]["input_to"] = edge
    return [{"at": None, "basis": None, "source": change["source"], "currency": change["currency"], "cells": cells}]


def doubtful(change, overlay):
    return any((no["provider"], no["model"]) == (change["provider"], change["model"]) for no in overlay["no_changes"])


def past_row(step, price, currency, ruled, overlay):
    """A row of the table for a step of history."""
    thinking = (price.get("modes") or {}).get("thinking")
    cells = [cell | {"thinking": False} for cell in step["cells"]] if thinking else step["cells"]
    windows = price.get("time_windows")
    within = windows and step["at"] and step["at"] >= windows["applies_from"]
    row = head(step["currency"] if step["currency"] != currency else None, step["at"],
               schedule_of(price, ruled, overlay) if within else None)
    return row | {"source": source_words(overlay, step["source"], step["basis"])} | members(cells)


def written_out(row):
    """A row that the overlay writes out, with its instants as they stand in the table."""
    return {name: Raw(value) if name in ("from", "until") else value for name, value in row.items()}


def price_rows(model, price, currency, facts, overlay):
    """All rows of a model, oldest first, and the reasons in words."""
    site, ruled = overlay["providers"][model["provider"]], overlay["models"].get(f"{model['provider']}/{model['id']}", {})
    steps, now = steps_of(model, price, facts, overlay)
    rows = [written_out(row) for row in ruled.get("before", [])]
    rows += [past_row(step, price, currency, ruled, overlay) for step in steps]
    source = source_words(overlay, price["source"], now["basis"] if now["at"] else None)
    source += f"; {now['words']}" if "words" in now else ""
    row = head(None if price["currency"] == currency else price["currency"], now["at"], schedule_of(price, ruled, overlay))
    if is_free(price):
        return [*rows, row | {"free": True, "source": source}], []
    cells, notes = settled(cells_of(price), site, price.get("cache_write_1h_multiple_of_input"))
    if steps and steps[0]["at"] is None and steps[0]["cells"][0]["input_to"]:
        notes.append("Of the first price below, the tiers are not known: it is told up to the first edge of the next one only.")
    return [*rows, row | {"source": source} | members(cells) | batch_of(price, site)], notes


# ---- what happened ------------------------------------------------------------------------------------------------------


def price_changes(name, facts, overlay):
    """How a provider's prices moved, as the history counts it; changes that are none do not count."""
    told = facts["volatility"].get(name)
    if told is None:
        return {}
    none = [c for c in facts["changes"] if c["provider"] == name and doubtful(c, overlay) and c["before"]["input"]]
    up = sum(c["after"]["input"] > c["before"]["input"] for c in none)
    down = sum(c["after"]["input"] < c["before"]["input"] for c in none)
    return {"models": told["models_tracked"], "rises": told["hikes"] + told["mixed"] - up,
            "cuts": told["cuts"] + told["mixed"] - down, "largest_rise_percent": whole_up(told["largest_hike_pct"]),
            "source": f"model-prices as counted in prices.json, {facts['generated']}"}


def whole_up(percent):
    return int(Decimal(percent).to_integral_value(ROUND_CEILING))


def is_complete(event):
    after = event["after"] or {}
    return "input" in after and "output" in after


def annotations(facts, overlay):
    """What the history tells without a full price, for people to read; of the rest, that it stands in a row."""
    told = {tuple(name) for past in overlay["past"] for name in past["events"]}
    told |= {tuple(name) for ruled in overlay["models"].values() for name in ruled.get("events", [])}
    changed = {(c["provider"], c["model"], c["effective_from"][:7]) for c in facts["changes"]}
    made = []
    for event in facts["events"]:
        key, model = (event["provider"], event["date"], event["model"]), event["model"].split(" (")[0]
        if not is_complete(event):
            made.append({"date": event["date"], "provider": event["provider"], "model": event["model"],
                         "text": event_text(event), "source": f"{event['source']} ({event['confidence']})"})
        elif key not in told and (event["provider"], model, event["date"][:7]) not in changed:
            raise Refused(f"a complete row of the history stands nowhere: {' '.join(key)}")
    unknown = told - {(event["provider"], event["date"], event["model"]) for event in facts["events"]}
    if unknown:
        raise Refused(f"the overlay names events that are not among the facts: {sorted(unknown)}")
    return made


def event_text(event):
    unit = {"per_1M_tokens": "per million tokens", "per_1K_tokens": "per thousand tokens"}.get(event["unit"], "")
    figures = lambda side: ", ".join(f"{name} {number(value)}" for name, value in (event[side] or {}).items())
    parts = [" -> ".join(filter(None, (figures("before"), figures("after"))))]
    parts[0] += f" {event['currency']} {unit}".rstrip() if parts[0] and unit else ""
    parts += [f"{number(event['change_pct'])} %"] if event["change_pct"] is not None else []
    return "; ".join(filter(None, [*parts, event.get("note")])) or "no figure"


def holidays(overlay, facts):
    """The holiday calendars: the days off are facts, the days worked instead and the first day are the overlay's."""
    made = {}
    for name, judged in overlay["holidays"].items():
        told = facts["calendars"].get(judged["facts"])
        if told is None:
            raise Refused(f"the facts have no calendar {judged['facts']!r}")
        if min(told["dates"]) < judged["first"] or max(told["dates"]) > told["covers_through"]:
            raise Refused(f"the calendar {judged['facts']!r} has days outside of its validity")
        day = lambda text: Raw(text)
        made[name] = {"first": Raw(judged["first"]), "last": Raw(told["covers_through"]),
                      "days_off": [day(date) for date in told["dates"]],
                      "make_up_days": [day(date) for date in judged["make_up_days"]], "source": judged["source"]}
    return made
