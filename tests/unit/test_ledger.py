"""The ledger: no run resets a counter, and a damaged file is refused, not overwritten."""

import stat
from pathlib import Path

import pytest

from penstock.adapters.ledger_file import GateHealth, Ledger, LedgerFile, merge
from penstock.ports import BadInput

A, B = "a" * 64, "b" * 64
FULL = Ledger(
    attempts={A: 2},
    retries={A: {"gate_red": 3}},
    quarantined=("tests/test_a.py::test_flips",),
    gates={"unit": GateHealth(passed=5, failed=2, broken=1)},
)


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerFile:
    return LedgerFile(tmp_path / "ledger.json")


def test_there_is_none_at_first(ledger: LedgerFile) -> None:
    assert ledger.read() == Ledger()


def test_it_is_read_as_written_and_for_its_owner_only(ledger: LedgerFile, tmp_path: Path) -> None:
    ledger.write(FULL)
    assert ledger.read() == FULL
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_gate_health_is_stored_under_the_words_of_a_verdict(ledger: LedgerFile, tmp_path: Path) -> None:
    ledger.write(FULL)
    assert b'"unit":{"pass":5,"fail":2,"broken":1}' in (tmp_path / "ledger.json").read_bytes()


def test_adding_keeps_the_higher_of_each_counter(ledger: LedgerFile) -> None:
    ledger.write(FULL)
    run = Ledger(
        attempts={A: 1, B: 1},
        retries={A: {"gate_red": 1, "conflict": 1}, B: {"flaky": 1}},
        quarantined=("tests/test_b.py::test_flips",),
        gates={"unit": GateHealth(passed=9), "lint": GateHealth(failed=1)},
    )
    whole = Ledger(
        attempts={A: 2, B: 1},
        retries={A: {"gate_red": 3, "conflict": 1}, B: {"flaky": 1}},
        quarantined=("tests/test_a.py::test_flips", "tests/test_b.py::test_flips"),
        gates={"lint": GateHealth(failed=1), "unit": GateHealth(passed=9, failed=2, broken=1)},
    )
    assert ledger.add(run) == whole
    assert ledger.read() == whole


def test_merging_is_symmetric_and_again_changes_nothing() -> None:
    other = Ledger(attempts={A: 9, B: 1}, gates={"unit": GateHealth(broken=4)})
    assert merge(FULL, other) == merge(other, FULL)
    assert merge(merge(FULL, other), other) == merge(FULL, other)
    assert merge(FULL, Ledger()) == FULL


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format":1,"attempts":{"a":"two"}}',
        b'{"format":1,"x":1}',
        b'{"format":1,"attempts":{"\xff":1}}',
    ],
)
def test_a_damaged_ledger_is_refused_and_left_as_it_is(ledger: LedgerFile, tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "ledger.json"
    file.write_bytes(damage)
    with pytest.raises(BadInput) as refusal:
        ledger.add(FULL)
    (problem,) = refusal.value.problems
    assert problem.file == str(file)
    assert f"mv {file} {file}.damaged" in problem.fix
    assert file.read_bytes() == damage


def test_a_later_format_is_refused_naming_both(ledger: LedgerFile, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_bytes(b'{"format":2,"unheard_of":1}')
    with pytest.raises(BadInput, match="format 2, this penstock reads up to 1"):
        ledger.read()
