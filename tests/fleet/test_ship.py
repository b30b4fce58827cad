"""`scripts/ship`: what a counting program counted is read rightly, and the training asks nothing that fails."""

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
import types

import pytest

from files import ROOT

PROGRAM = """
#[inline(never)]
fn asked(n: u64) -> u64 { if n < 2 { n } else { asked(n - 1) + asked(n - 2) } }
#[inline(never)]
fn never(n: u64) -> u64 { n.pow(3) + asked(n) }
fn main() {
    let n = 10 * std::env::args().count() as u64;
    println!("{}", if n > 50 { never(n) } else { asked(n) });
}
"""


@pytest.fixture(scope="module")
def ship():
    sys.path.insert(0, str(ROOT / "scripts"))
    loader = importlib.machinery.SourceFileLoader("ship", str(ROOT / "scripts/ship"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("ship", loader))
    loader.exec_module(module)
    return module


def rustc(folder, *flags):
    source = folder / "program.rs"
    source.write_text(PROGRAM)
    command = ["rustc", "-O", "-Ccodegen-units=1", *flags, source]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


@pytest.fixture(scope="module")
def counted(ship, tmp_path_factory):
    """A program that counts, run twice: what it left behind."""
    folder = tmp_path_factory.mktemp("counted")
    rustc(folder, f"-Cprofile-generate={folder}", ship.COUNTERS_ONLY, "-o", folder / "counting")
    for run in ("first", "second"):
        subprocess.run([folder / "counting"], check=True, env={"LLVM_PROFILE_FILE": str(folder / f"{run}.profraw")}, stdout=subprocess.DEVNULL)
    return sorted(folder.glob("*.profraw"))


def functions(text):
    """The counters by name, of llvm-profdata's text form."""
    blocks = [block.split("\n") for block in text.decode().removeprefix(":ir\n").strip().split("\n\n")]
    return {name: [int(count) for count in counters] for name, _shape, _many, *counters in blocks}


def test_counters_are_those_of_all_runs(ship, counted):
    one, _ = ship.ship_counts.as_text(counted[:1])
    both, ran = ship.ship_counts.as_text(counted)
    (asked,) = [counters for name, counters in functions(one).items() if "asked" in name]
    (never,) = [counters for name, counters in functions(one).items() if "never" in name]
    # asked(10) is 177 calls: 89 of a number below two, 88 of two more each.
    assert sorted(asked) in ([88, 89], [88, 177], [89, 177]) and sum(never) == 0
    assert {name: [2 * count for count in counters] for name, counters in functions(one).items()} == functions(both)
    assert 0 < ran < len(functions(both))


def test_the_compiler_takes_them(ship, counted, tmp_path):
    text, _ = ship.ship_counts.as_text(counted)
    (tmp_path / "counts.txt").write_bytes(text)
    subprocess.run([ship.profdata(), "merge", "--output", tmp_path / "counts.profdata", tmp_path / "counts.txt"], check=True)
    use = f"-Cprofile-use={tmp_path / 'counts.profdata'}"
    assert rustc(tmp_path, use, ship.COUNTERS_ONLY, "--emit=llvm-ir", "-o", tmp_path / "program.ll") == ""
    code = (tmp_path / "program.ll").read_text()
    (number,) = re.findall(r"^define .*asked.*!prof !(\d+)", code, re.MULTILINE)
    (entries,) = re.findall(rf'^!{number} = !{{!"function_entry_count", i64 (\d+)}}', code, re.MULTILINE)
    # asked(10) is 177 calls, of which some may have become a loop; there were two runs.
    assert 100 < int(entries) <= 354


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: b"", "damaged"),
        (lambda data: data[:100], "damaged"),
        (lambda data: b"\0" + data[1:], "damaged"),
        (lambda data: data[: len(data) // 2], "damaged.*foreign.profraw is not whole"),
        (lambda data: data[:-16], "damaged.*foreign.profraw is not whole"),
        (lambda data: data[:8] + b"\x09" + data[9:], "version 0x100000000000009, not 0x10000000000000a"),
    ],
)
def test_foreign_counts_are_refused_in_words(ship, counted, tmp_path, damage, told):
    (tmp_path / "foreign.profraw").write_bytes(damage(counted[0].read_bytes()))
    with pytest.raises(SystemExit, match=told):
        ship.ship_counts.as_text([tmp_path / "foreign.profraw"])


def test_an_answer_that_breaks_off_is_no_answer(ship):
    answered = types.SimpleNamespace(status=200)
    for path, (end, *_) in ship.ship_training.ENDS.items():
        assert ship.ship_training.wrong_with(path, {"stream": True}, answered, b"data: x " + end) is None
        assert "the stream ends with" in ship.ship_training.wrong_with(path, {"stream": True}, answered, b"event: error")
        assert "429" in ship.ship_training.wrong_with(path, {}, types.SimpleNamespace(status=429), b"slowly")


def test_the_training_asks_nothing_that_fails(binary):
    run = subprocess.run([ROOT / "scripts/ship", "--train", binary, "--requests", "400"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout == "", run


def test_a_program_that_does_not_start_is_told():
    run = subprocess.run([ROOT / "scripts/ship", "--train", "/bin/false", "--requests", "8"], capture_output=True, text=True)
    assert run.returncode == 1 and "scripts/ship: did not start: /bin/false sandbox" in run.stderr, run
