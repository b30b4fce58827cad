"""Reads what the gateway has booked, from its SQLite file, without disturbing the gateway that writes it."""

import sqlite3

# The one place in these tests that knows the shape of the books.
FILE = "ledger.sqlite3"
BOOKED_USAGE = """
    SELECT fresh_input + cache_read + cache_write, output, provenance, ending FROM attempts ORDER BY request, number
"""


def booked_usage(data):
    """(input tokens, output tokens, provenance, ending) of every booked attempt, oldest first; empty before the file exists."""
    files = sorted(data.rglob(FILE))
    if not files:
        return []
    books = sqlite3.connect(f"{files[0].as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return books.execute(BOOKED_USAGE).fetchall()
    finally:
        books.close()
