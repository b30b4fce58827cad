"""Reads what the gateway has booked, from its SQLite file, without disturbing the gateway that writes it."""

import sqlite3

# The one place in these tests that knows the shape of the books.
BOOKED_USAGE = "SELECT input_tokens, output_tokens, provenance FROM attempts ORDER BY rowid"


def booked_usage(data):
    """(input tokens, output tokens, provenance) of every settled attempt, oldest first; empty before the file exists."""
    files = sorted(data.rglob("*.db"))
    if not files:
        return []
    books = sqlite3.connect(f"{files[0].as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return books.execute(BOOKED_USAGE).fetchall()
    finally:
        books.close()
