"""Guards of the red-green gate turned off: a known way round it is open then."""

from __future__ import annotations

from tests.mutants.defect import Planted

BYPASS = "tests/bypass/test_bypass.py::test_no_way_round"


def seen_by(*vectors: str) -> tuple[str, ...]:
    return tuple(f"{BYPASS}[{vector}]" for vector in vectors)


GATE = "core/redgreen/gate.py"
CLOSING = "core/redgreen/closing.py"
LEDGER = "core/redgreen/ledger.py"
SESSION = "kernel/session.py"
WEAKNESS = "kernel/weakness.py"
REFACTORING = "kernel/refactoring.py"

PLANTED = (
    Planted(
        "gate-binding",
        "a red licenses edits although its test changed",
        GATE,
        "    if not changed:\n        return None\n",
        "    return None\n",
        seen_by("claim: a test weakened between red and edit"),
    ),
    Planted(
        "gate-claim",
        "a red licenses edits of files that it does not concern",
        GATE,
        "beyond = [path for path in guarded if _basis(ask, life, path) is None]",
        "beyond: list[str] = []",
        seen_by("claim: a red of something else"),
    ),
    Planted(
        "gate-edits-per-red",
        "one red licenses edits without end",
        GATE,
        "    if left <= 0:\n",
        "    if False:\n",
        seen_by("claim: more edits than one red gives"),
    ),
    Planted(
        "gate-protected",
        "protected files are production code like any other",
        GATE,
        'protected = [path for path in ask.paths if kinds[path] == "protected"]',
        "protected: list[str] = []",
        seen_by("mode: refactor mode for what is protected"),
    ),
    Planted(
        "gate-refactor-edits",
        "refactor mode has no end",
        GATE,
        "if refactor.edits >= limits.refactor_edits_max:",
        "if False:",
        seen_by("mode: refactor mode without an end"),
    ),
    Planted(
        "gate-closing",
        "what is written while the closing's tests run is licensed",
        GATE,
        "    if ledger.turn.is_closing:\n",
        "    if False:\n",
        seen_by("time: a test that writes as the turn ends"),
    ),
    Planted(
        "teardown-is-red",
        "a failing tear-down is a red",
        "core/redgreen/verdicts.py",
        'frozenset({"red_assert", "red_exception", "red_missing_target"})',
        'frozenset({"red_assert", "red_exception", "red_missing_target", "teardown_error"})',
        seen_by("claim: a red of a teardown"),
    ),
    Planted(
        "close-void",
        "edits stand whose test vanished or changed",
        CLOSING,
        "steps = (_flush, _confirm, _control, _attribute, _void, _unrelated, _mutate)",
        "steps = (_flush, _confirm, _control, _attribute, _unrelated, _mutate)",
        seen_by("claim: after red, the test is deleted"),
    ),
    Planted(
        "close-regression",
        "what broke stays broken",
        CLOSING,
        "steps = (_flush, _confirm, _control, _attribute, _void, _unrelated, _mutate)",
        "steps = (_flush, _confirm, _void, _unrelated, _mutate)",
        seen_by("claim: a break that another test sees"),
    ),
    Planted(
        "close-hits",
        "edits stand of which their test ran no line",
        CLOSING,
        "        return tuple(edit for edit in standing if edit.path not in run.hits)",
        "        return ()",
        seen_by("claim: a line that the test never runs"),
    ),
    Planted(
        "ledger-same-red",
        "any green discharges a red",
        LEDGER,
        "is_same = life.red is not None and life.red.binding == event.binding",
        "is_same = life.red is not None",
        seen_by("claim: after red, the test asserts less"),
    ),
    Planted(
        "ledger-flaky",
        "a red that is green at once is a red",
        "kernel/runs.py",
        "return _flaky(run) if second in PASSING else run",
        "return run",
        seen_by("claim: a red that changes its mind"),
    ),
    Planted(
        "own-red",
        "a test's red licenses what the test wrote",
        "kernel/runs.py",
        'project, again)] if again else []\n            session.settle("run_tests")\n',
        "project, again)] if again else []\n",
        seen_by("time: a test that writes production code"),
    ),
    Planted(
        "unclaimed",
        "an unclaimed write is recorded and stays",
        SESSION,
        "        if is_strict:\n",
        "        if False:\n",
        seen_by("write: sed in place"),
    ),
    Planted(
        "writers-name",
        "files of the writer's own name stay",
        SESSION,
        "if any(isinstance(problem, LeftAside) for problem in scan.problems):",
        "if False:",
        seen_by("write: a file of the writer's own name"),
    ),
    Planted(
        "data-files",
        "a snapshot may be updated after the red",
        "kernel/bindings.py",
        "support = dict.fromkeys((*ran, *self._data_files()))",
        "support = dict.fromkeys(ran)",
        seen_by("claim: after red, a snapshot is updated"),
    ),
    Planted(
        "refactor-left",
        "a turn ends inside refactor mode",
        "kernel/closing.py",
        "if session.ledger.refactor is not None and not session.ledger.turn.is_closing:",
        "if False:",
        seen_by("mode: refactor mode never left"),
    ),
    Planted(
        "refactor-tests",
        "refactor mode may be left with weaker tests",
        REFACTORING,
        "if (was.test_sha, was.control_sha) != (now.test_sha, now.control_sha):",
        "if False:",
        seen_by("mode: refactor mode left with weaker tests"),
    ),
    Planted(
        "weak-thinned",
        "other tests may be thinned out unseen",
        WEAKNESS,
        "    if others:\n",
        "    if False:\n",
        seen_by("claim: a break whose test is deleted"),
    ),
    Planted(
        "weak-speaks",
        "production code may play the runner unseen",
        WEAKNESS,
        "if SPEAKS_OF_RUNNER.search(source) and not (began and SPEAKS_OF_RUNNER.search(began)):",
        "if False:",
        seen_by("forge: a report by the plugin's own pipe"),
    ),
    Planted(
        "weak-unguarded",
        "code may be kept where nothing is guarded",
        WEAKNESS,
        "    if fresh:\n",
        "    if False:\n",
        seen_by("forge: production code in an ignored directory"),
    ),
    Planted(
        "weak-texts",
        "code may be kept in documents",
        WEAKNESS,
        "if RUNS_TEXTS.search(source) and not (began and RUNS_TEXTS.search(began)):",
        "if False:",
        seen_by("forge: production code in an exempt file"),
    ),
    Planted(
        "unjudged-is-clean",
        "what nobody could look at is not told",
        "kernel/closing.py",
        'lines += [f"- could not be judged: {problem}" for problem in self.settled.problems]',
        "lines += []",
        seen_by("write: a file deeper than anybody looks"),
    ),
    Planted(
        "weak-disturbed",
        "tests may change the tree that they judge",
        WEAKNESS,
        "    if session.ledger.turn.disturbed:\n",
        "    if False:\n",
        seen_by("time: a test that repairs the code while it runs"),
    ),
    Planted(
        "weak-environment",
        "an interpreter of the agent's own is believed",
        WEAKNESS,
        "if path.lstat().st_ctime_ns > opened_ms * 1_000_000]",
        "if False]",
        seen_by("runner: an interpreter of its own"),
    ),
    Planted(
        "weak-unheard",
        "tests that did not come to their end are forgotten",
        LEDGER,
        "            turn.unheard[event.test] = None\n",
        "            pass\n",
        seen_by("forge: a test that ends the process before others run"),
    ),
)
