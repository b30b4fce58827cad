"""What `tokenbroker export` writes, read back by the program that most people read Parquet with: the same cells in every form, amounts to
the last digit, and sums that are those of the books."""

import csv
import datetime
import json
import subprocess
from decimal import Decimal

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest

from books import PICO, query
from gateway import binary

ASKED = 12


@pytest.fixture(scope="module")
def exported(broker, tmp_path_factory):
    """The rows in each form, after some requests have ended."""
    ids = []
    for n in range(ASKED):
        _, headers = broker.ask(f"question {n}, with a \"quote\", a comma\nand a line", extra_headers={"x-tokenbroker-session": f"s,{n % 3}"})
        ids.append(headers["x-tokenbroker-request-id"])
        broker.booked(headers)
    folder = tmp_path_factory.mktemp("export")

    def export(form):
        path = folder / f"rows.{form}"
        command = [binary(), "export", "--data-dir", str(broker.serve.data), "--format", form, "--output", str(path)]
        subprocess.run(command, check=True, timeout=60)
        return path

    table = pyarrow.parquet.read_table(export("parquet"))
    with export("csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in export("json").read_text().splitlines()]
    return table, rows, lines, ids


def test_every_form_has_the_same_cells(exported):
    table, rows, lines, ids = exported
    parquet = table.to_pylist()
    assert len(parquet) == len(rows) == len(lines) >= ASKED
    assert {row["tokenbroker.request.id"] for row in rows} >= set(ids)
    for columns, cells, line in zip(parquet, rows, lines, strict=True):
        assert list(columns) == list(cells)
        for name, value in columns.items():
            match value:
                case None:
                    assert cells[name] == "" and name not in line
                case bool():
                    assert cells[name] == str(value).lower() and line[name] is value
                case datetime.datetime():
                    assert datetime.datetime.fromisoformat(cells[name]) == value and line[name] == cells[name]
                case Decimal():
                    assert Decimal(cells[name]) == value and line[name] == cells[name]
                case _:
                    assert cells[name] == str(value) and line[name] == value


def test_types_are_what_they_are_called(exported):
    schema = exported[0].schema
    assert schema.field("tokenbroker.cost_usd").type == pyarrow.decimal128(38, 12)
    assert schema.field("tokenbroker.attempt.started_at").type == pyarrow.timestamp("us", tz="UTC")
    assert schema.field("gen_ai.usage.input_tokens").type == pyarrow.int64()
    assert schema.field("tokenbroker.request.stream").type == pyarrow.bool_()


def test_sums_are_those_of_the_books(broker, exported):
    table = exported[0]
    (row,) = query(broker.serve.data, "SELECT sum(cost_pico_usd) AS cost, sum(output) AS output, count(*) AS attempts FROM attempts")
    assert pyarrow.compute.sum(table["tokenbroker.cost_usd"]).as_py() == Decimal(row["cost"]) * PICO
    assert pyarrow.compute.sum(table["gen_ai.usage.output_tokens"]).as_py() == row["output"]
    assert table.num_rows - table["tokenbroker.attempt.number"].null_count == row["attempts"]
