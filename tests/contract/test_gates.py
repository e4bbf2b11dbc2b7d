"""What every implementation of `Gates` holds to: one run, one piece of evidence, and no evidence is never a pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.core.verdicts import Look
from tests.integration.gate_bench import Bench

TREE = {"value": "1\n", "tell": "cat value\n"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("gates"))
    yield bench
    bench.discard()


@pytest.mark.parametrize("look", ["base", "lands", "judge", "control", "criterion"])
@pytest.mark.parametrize(
    ("command", "verdict", "why"),
    [
        ("true", "pass", "exit status 0"),
        ("exit 1", "fail", "exit status 1"),
        ("exit 77", "fail", "exit status 77"),
        ("no-such-command", "broken", "the command was not found (exit status 127)"),
        ("./value", "broken", "the command cannot be executed (exit status 126)"),
        ("kill -9 $$", "broken", "was killed by signal 9"),
    ],
)
def test_without_per_test_results_the_exit_status_decides(
    bench: Bench, look: Look, command: str, verdict: str, why: str
) -> None:
    evidence = bench.see(TREE, command, look)
    assert (evidence.verdict, evidence.counts, evidence.tests) == (verdict, None, None)
    assert why in evidence.why


@pytest.mark.parametrize(("command", "verdict"), [("true", "fail"), ("false", "pass"), ("no-such-command", "broken")])
def test_as_a_witness_it_is_asked_whether_it_is_red(bench: Bench, command: str, verdict: str) -> None:
    assert bench.see(TREE, command, "witness").verdict == verdict


@pytest.mark.parametrize("look", ["lands", "witness", "criterion"])
def test_a_command_without_end_is_broken(bench: Bench, look: Look) -> None:
    evidence = bench.see(TREE, "while :; do :; done", look, spec={"timeout_ms": 300})
    assert (evidence.verdict, evidence.why[:22]) == ("broken", "timed out after 300 ms")


def test_evidence_says_what_was_seen_on_what(bench: Bench) -> None:
    order: dict[str, Any] = {"env_digest": "e" * 64, "against_tree": "b" * 40, "ask": ("x",)}
    evidence = bench.see(TREE, "echo out; echo err >&2; exit 3", **order)
    assert (evidence.gate, evidence.look, evidence.tree, evidence.commit) == ("unit", "lands", "t" * 40, "c" * 40)
    assert (evidence.gate_digest, evidence.env_digest, evidence.base_tree) == ("d" * 64, "e" * 64, "b" * 40)
    assert (evidence.exit_status, evidence.isolation, evidence.forgeable) == (3, "none", False)
    assert evidence.asked == {"x": "absent"}
    assert bench.output(evidence) == "out\n\n--- stderr ---\nerr\n"


def test_long_output_keeps_its_head_and_its_tail(bench: Bench) -> None:
    output = bench.output(bench.see(TREE, "echo first; yes | head -c 1000000; echo last"))
    assert output.startswith("first\n")
    assert output.endswith("last\n")
    assert len(output) < 270_000
    assert "bytes left out" in output


# --- differential ---------------------------------------------------------------------------------------------------

TWICE: dict[str, Any] = {"spec": {"oracle": "differential"}}


@pytest.mark.parametrize(
    ("here", "there", "verdict", "why"),
    [
        (TREE, TREE, "pass", "equals the output of base"),
        (TREE, TREE | {"value": "2\n"}, "fail", "differs from the output of base"),
        (TREE | {"tell": "cat value; exit 1\n"}, TREE, "fail", "exit status 1, on base 0"),
        (TREE | {"tell": "exit 1\n"}, TREE | {"tell": "exit 1\n"}, "pass", "equals the output of base"),
        (TREE, TREE | {"tell": "kill -9 $$\n"}, "broken", "base cannot be compared with: was killed by signal 9"),
        (TREE, TREE | {"tell": "nothing\n"}, "broken", "base cannot be compared with: the command was not found"),
        (TREE | {"tell": "kill -9 $$\n"}, TREE, "broken", "was killed by signal 9"),
    ],
)
def test_differential_compares_with_base(
    bench: Bench, here: dict[str, str], there: dict[str, str], verdict: str, why: str
) -> None:
    evidence = bench.see(here, "sh tell", base_files=there, **TWICE)
    assert evidence.verdict == verdict
    assert why in evidence.why


def test_differential_shows_the_difference(bench: Bench) -> None:
    output = bench.output(bench.see(TREE, "sh tell", base_files=TREE | {"value": "2\n"}, **TWICE))
    assert "--- base\n+++ candidate\n@@ -1 +1 @@\n-2\n+1" in output


def test_differential_needs_a_base(bench: Bench) -> None:
    assert bench.see(TREE, "sh tell", **TWICE).verdict == "broken"


# --- snapshot -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "golden", "verdict", "why"),
    [
        ("sh tell", b"1\n", "pass", "equals the golden output"),
        ("sh tell", b"2\n", "fail", "differs from the golden output"),
        ("sh tell", b"1", "fail", "differs from the golden output"),
        ("sh tell; exit 1", b"1\n", "fail", "exit status 1"),
        ("nothing", b"", "broken", "the command was not found"),
        ("sh tell", None, "pending", "no golden output on base"),
    ],
)
def test_snapshot_compares_with_the_golden_output(
    bench: Bench, command: str, golden: bytes | None, verdict: str, why: str
) -> None:
    evidence = bench.see(TREE, command, golden=golden, spec={"oracle": "snapshot"})
    assert evidence.verdict == verdict
    assert why in evidence.why


def test_a_criterion_is_its_own_command_whatever_the_oracle(bench: Bench) -> None:
    assert bench.see(TREE, "sh tell", "criterion", spec={"oracle": "snapshot"}).verdict == "pass"
