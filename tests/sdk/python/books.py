"""Reads what the gateway has booked, from its SQLite file, without disturbing the gateway that writes it, and works out what
should stand there: the pretend provider's own count times the table's prices."""

import sqlite3
import tomllib
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

# The one place in these tests that knows the shape of the books.
FILE = "ledger.sqlite3"
BOOKED_USAGE = """
    SELECT fresh_input + cache_read + cache_write, output, provenance, ending FROM attempts ORDER BY request, number
"""
PICO = Decimal(10) ** -12


def query(data, text, *values):
    """The rows of a query as mappings; none before the file exists."""
    files = sorted(data.rglob(FILE))
    if not files:
        return []
    books = sqlite3.connect(f"{files[0].as_uri()}?mode=ro", uri=True, timeout=5)
    books.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in books.execute(text, values)]
    finally:
        books.close()


def booked_usage(data):
    """(input tokens, output tokens, provenance, ending) of every booked attempt, oldest first; empty before the file exists."""
    return [tuple(row.values()) for row in query(data, BOOKED_USAGE)]


def booked_requests(data, since):
    """Every ended request that arrived after `since` (microseconds since 1970), oldest first."""
    return query(data, "SELECT * FROM requests WHERE arrived_at_us >= ? ORDER BY id", since)


def booked_attempts(data, request_id):
    """The attempts of a request, by the id that the client was told; empty until the request is in the books."""
    key = bytes.fromhex(request_id.replace("-", ""))
    if not query(data, "SELECT id FROM requests WHERE id = ?", key):
        return []
    return query(data, "SELECT * FROM attempts WHERE request = ? ORDER BY number", key)


def usd(pico):
    return Decimal(pico) * PICO


class Prices:
    """What the table says that tokens cost."""

    def __init__(self, table):
        document = tomllib.loads(Path(table).read_text(), parse_float=Decimal)
        self.providers, self.backends = document["providers"], document["backends"]
        self.per_usd = {row["currency"]: Decimal(row["per_usd"]) for row in document["fx"]} | {"USD": Decimal(1)}

    def backend(self, provider, model):
        """A row, by the name that the provider knows the model by."""
        names = [row for row in self.backends if row["provider"] == provider]
        return next(row for row in names if row.get("upstream_model", row["model"]) == model)

    def cost(self, served):
        """What one served request costs in dollars, to the last digit that the books keep."""
        row = self.backend(served["provider"], served["model"])
        if row.get("free"):
            return Decimal(0)
        (price,) = row["prices"]
        fresh, cached = served["input_tokens"] - served["cached_tokens"], served["cached_tokens"]
        million = fresh * price["input"] + cached * price.get("cache_read", price["input"])
        million += served["output_tokens"] * price["output"]
        amount = Decimal(million) / 10**6 / self.per_usd[self.providers[served["provider"]]["currency"]]
        return amount.quantize(PICO, ROUND_HALF_EVEN)
