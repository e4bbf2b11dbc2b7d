"""Defects in the runners of compiled languages: what would let a test pass that did not."""

from __future__ import annotations

from tests.mutants.defect import Planted

VERDICTS = "tests/contract/test_runners.py::test_each_test_asked_for_gets_its_own_verdict"
STALE = "tests/contract/test_runners.py::test_a_change_of_the_same_size_within_a_second_is_seen"

PLANTED = (
    Planted(
        "cargo-proof",
        "a Rust test that left with 0 is green",
        "kernel/runners/cargo_runner.py",
        'if proof == f"ok {told.test}" and told.status == 0:',
        "if told.status == 0:",
        (f"{VERDICTS}[cargo-exits_early]", f"{VERDICTS}[cargo-forged_results]"),
    ),
    Planted(
        "cargo-stale",
        "a change that cargo cannot see gives the old verdict",
        "kernel/runners/cargo_project.py",
        "        return now[1] != was[1] and now[0] <= was[0]",
        "        return False",
        (f"{STALE}[cargo]",),
    ),
    Planted(
        "cargo-beside",
        "targets beside a broken one are not run",
        "kernel/runners/cargo_runner.py",
        "            if session.built.is_done or not good",
        "            if True or not good",
        (f"{VERDICTS}[cargo-broken_import]",),
    ),
    Planted(
        "rust-own-lines",
        "every test of a file that does not compile is red",
        "kernel/runners/rust_errors.py",
        "hits = [complaint for complaint in complaints if self._hits(complaint, own)]",
        "hits = list(complaints)",
        (f"{VERDICTS}[cargo-red_missing_target]", f"{VERDICTS}[cargo-vacuous]"),
    ),
    Planted(
        "rust-ours",
        "what is missing need not be ours",
        "kernel/runners/rust_errors.py",
        "strange = next((hit for hit, phantoms in zip(hits, found, strict=True) if not phantoms), None)",
        "strange = None",
        (f"{VERDICTS}[cargo-broken_import]", f"{VERDICTS}[cargo-syntax_error]"),
    ),
    Planted(
        "go-proof",
        "a Go test that left with 0 is judged by what it printed",
        "kernel/runners/go_runner.py",
        "    if told.proof is None:\n",
        "    if told.proof is None and told.status:\n",
        (f"{VERDICTS}[go-forged_results]",),
    ),
    Planted(
        "go-forged",
        "a Go test that says that it passed is believed",
        "kernel/runners/go_runner.py",
        '    if "FAIL" in said:\n',
        '    if "FAIL" in said - said:\n',
        (f"{VERDICTS}[go-forged_output]",),
    ),
    Planted(
        "go-own-lines",
        "every test of a package that does not build is red",
        "kernel/runners/go_errors.py",
        "hits = [c for c in complaints if c.path == self.path and self._hits(c, name)]",
        "hits = list(complaints)",
        (f"{VERDICTS}[go-red_missing_target]", f"{VERDICTS}[go-vacuous]"),
    ),
)
