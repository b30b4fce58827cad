"""The matrix of ../README.md is true: each row names tests that exist, each test stands in a row, and each model name, wish and
header of the project's README is in it."""

import ast
import re
from pathlib import Path

from gateway import REPOSITORY

SDK = Path(__file__).parents[1]
NODE_TITLE = re.compile(r'^(?:test|bothForms)\("([^"]+)"', re.MULTILINE)
# A test in a cell: its file in code, then its words.
NAMED = re.compile(r"^`([\w./-]+)` (.+)$")


def python_tests(folder):
    """The tests of a folder as (file name, words)."""
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield file.name, node.name.removeprefix("test_").replace("_", " ")


def node_tests():
    for file in sorted((SDK / "node").glob("*.test.mjs")):
        for title in NODE_TITLE.findall(file.read_text()):
            yield file.name, title


def cells(text, width):
    """The rows of the tables of that many columns, without headings and rows that group others."""
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line] for line in lines]
    return [row for row in rows if len(row) == width and not row[0].startswith(("---", "**")) and NAMED.match(row[1])]


def named(cell, same=None):
    """(file name, words) of a cell; `the same` are the words of the cell before."""
    file, words = NAMED.match(cell).groups()
    return Path(file).name, same if words == "the same" else words


def matrix():
    """Every test that a row names."""
    text = (SDK / "README.md").read_text()
    for _, python, node in cells(text, 3):
        first = named(python)
        yield first
        if node != "–":
            yield named(node, same=first[1])
    yield from (named(test) for _, test in cells(text, 2))


# Of no SDK: this file, the interface as docs/api.md and /openapi.json describe it, what the command line answers on prices, and
# exported rows as pyarrow reads them.
OF_NO_SDK = [Path(__file__), *(SDK / f"python/test_{name}.py" for name in ("api", "price_facts", "export"))]


def written():
    python = {*python_tests(SDK / "python"), *python_tests(SDK / "llamaindex")}
    own = python.difference(*map(python_tests_of, OF_NO_SDK))
    return own | set(node_tests())


def python_tests_of(file):
    return ((name, words) for name, words in python_tests(file.parent) if name == file.name)


def test_each_row_names_tests_that_exist():
    rows = list(matrix())
    assert len(rows) > 100
    there = written() | set(python_tests(SDK.parent / "local"))
    assert [row for row in rows if row not in there] == []


def test_each_test_stands_in_a_row():
    assert sorted(written() - set(matrix())) == []


def test_what_the_readme_offers_a_client_is_in_the_matrix():
    readme = (REPOSITORY / "README.md").read_text()
    section = readme[: readme.index("## Running it")]
    firsts = [line.split(" | ")[0].strip("| ") for line in section.splitlines() if line.startswith("| ")]
    wishes = [wish for first in firsts for wish in re.findall(r'`"(\w+)":', first)]
    models = [name for first in firsts if '"' not in first for name in re.findall(r"`([^`]+)`", first)]
    headers = re.findall(r"`(x-tokenbroker-[\w-]+)`", section)
    assert len(wishes) == 15 and len(models) >= 6 and len(headers) >= 19
    claims = " ".join(row[0] for row in cells((SDK / "README.md").read_text(), 3))
    quoted = set(re.findall(r"[\w:/.-]+", " ".join(re.findall(r"`([^`]+)`", claims))))
    missing = [word for word in [*wishes, *headers, *(name for name in models if "[" not in name)] if word not in quoted]
    assert missing == []
