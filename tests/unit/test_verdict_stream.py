"""The verdict pipe is written by whoever has it: what does not fit is dropped, and what is dropped proves nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.gates import verdict_stream
from penstock.adapters.gates.verdict_stream import VerdictStream, read_stream, suite_of
from penstock.core.comparison import SuiteRun, judge_suite
from penstock.core.digest import canonical
from penstock.core.verdicts import TestResults

NONCE = "n" * 32


def said(record: str, nonce: str = NONCE, process: int = 7, **fields: Any) -> bytes:
    return f"{nonce} {json.dumps({'t': record, 's': process, **fields})}\n".encode()


def result(id: str = "a", when: str = "call", outcome: str = "passed", **more: Any) -> bytes:
    fields: dict[str, Any] = {"file": "test_a.py", "kind": "other", "where": "", "message": "", "ms": 1} | more
    return said("result", id=id, when=when, outcome=outcome, **fields)


def phases(id: str = "a", call: str = "passed") -> list[bytes]:
    return [result(id, "setup"), result(id, "call", call), result(id, "teardown")]


OPEN = [said("loaded", pytest="9"), said("session", pytest="9", rootdir="/r")]
LISTED = [said("item", id="a", file="test_a.py"), said("collected", count=1)]
DONE = [said("finished", exit_status=0, count=1)]
HONEST = [*OPEN, *LISTED, *phases(), *DONE]


def read(lines: list[bytes]) -> VerdictStream:
    return read_stream(b"".join(lines), NONCE)


def suite(lines: list[bytes]) -> SuiteRun:
    return suite_of(read(lines), 0, lambda path: path.startswith("src/"))


def verdict(lines: list[bytes]) -> str:
    return judge_suite(suite(lines), None, ()).verdict


def test_an_honest_stream_is_believed() -> None:
    assert read(HONEST).ignored == 0
    assert suite(HONEST).results.complete
    assert verdict(HONEST) == "pass"


@pytest.mark.parametrize("left_out", range(len(HONEST)))
def test_without_any_one_of_its_lines_it_is_no_pass(left_out: int) -> None:
    lines = HONEST[:left_out] + HONEST[left_out + 1 :]
    assert (verdict(lines) == "pass") == (HONEST[left_out] == LISTED[1])  # the count is only there to be exceeded


@pytest.mark.parametrize(
    "line",
    [
        said("result", nonce="m" * 32, id="a"),
        b"{}\n",
        NONCE.encode() + b"\n",
        NONCE.encode() + b" {}\n",
        NONCE.encode() + b" \xff\xfe\n",
        NONCE.encode() + b" " + b"[" * 10_000 + b"\n",
        said("unknown"),
        said("result", id="a"),
        result(surprise=1),
        result("never announced"),
        result(outcome="splendid"),
        result(when="before"),
        result(ms=-1),
        result(ms=10**30),
        result(message="x" * verdict_stream.LINE_BYTES_MAX),
        result(where="x" * 3_000),
        said("item", id="late", file=""),
        said("item", id="x" * 2_001, file=""),
        said("finished", process=8, exit_status=0, count=1),
    ],
)
def test_what_does_not_fit_is_counted_and_changes_nothing(line: bytes) -> None:
    lines = [*OPEN, *LISTED, line, *phases(), *DONE]
    assert read(lines).ignored == 1
    assert suite(lines) == suite(HONEST)


def test_a_wrong_nonce_is_no_stream() -> None:
    assert not read_stream(b"".join(HONEST), "m" * 32).is_present


@pytest.mark.parametrize("order", [("failed", "passed"), ("passed", "failed")])
def test_the_worst_of_several_outcomes_counts(order: tuple[str, str]) -> None:
    lines = [*OPEN, *LISTED, *phases(call=order[0]), *phases(call=order[1]), *DONE]
    assert suite(lines).results.results[0].status == "red"


def test_a_line_without_its_end_is_not_read() -> None:
    assert verdict([*HONEST[:-1], HONEST[-1].rstrip(b"\n")]) == "broken"


def test_announcing_more_than_was_told_is_incomplete() -> None:
    assert verdict([*OPEN, LISTED[0], said("collected", count=600_000), *phases(), *DONE]) == "broken"


@pytest.mark.parametrize(
    ("where", "kind"), [("src/a.py:3", "exception"), ("tests/a.py:3", "other"), ("", "other"), ("src/a.py", "other")]
)
def test_an_exception_counts_where_production_raised_it(where: str, kind: str) -> None:
    red = result("a", "call", "failed", kind="exception", where=where)
    [seen] = suite([*OPEN, *LISTED, result("a", "setup"), red, result("a", "teardown"), *DONE]).results.results
    assert seen.kind == kind


def test_sessions_of_several_processes_are_one_run_and_each_must_end() -> None:
    other = [line.replace(b'"s": 7', b'"s": 8').replace(b'"id": "a"', b'"id": "b"') for line in HONEST]
    assert [r.id for r in suite([*HONEST, *other]).results.results] == ["a", "b"]
    assert verdict([*HONEST, *other]) == "pass"
    assert verdict([*HONEST, *other[:-1]]) == "broken"


LINES = st.sampled_from([*HONEST, *phases("b"), result(outcome="failed"), said("collect_error", file="x")])
NOISE = st.binary(max_size=60) | LINES.flatmap(lambda line: st.integers(0, len(line)).map(lambda n: line[:n]))


@given(st.lists(LINES | NOISE, max_size=30))
def test_no_bytes_raise_and_no_bytes_without_the_whole_story_pass(lines: list[bytes]) -> None:
    seen = suite(lines)
    assert isinstance(seen.results, TestResults)
    assert canonical(seen.results)
    if verdict(lines) == "pass":
        assert all(line in b"".join(lines) for line in HONEST if line != LISTED[1])


@given(st.text(max_size=40))
def test_any_text_survives_or_is_dropped(text: str) -> None:
    lines = [*OPEN, said("item", id=text, file=text), result(text, "setup", "failed", message=text), *DONE]
    assert canonical(suite(lines).results)


def test_lone_surrogates_are_dropped() -> None:
    line = NONCE.encode() + b' {"t":"item","s":7,"id":"\\ud800","file":""}\n'
    seen = suite([*OPEN, line, *DONE])
    assert canonical(seen.results)
