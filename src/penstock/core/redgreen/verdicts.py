"""What one run of one test amounts to. Three reds authorise, only green discharges, everything else does neither."""

from __future__ import annotations

from typing import Literal, get_args

RunVerdict = Literal[
    "green",
    "red_assert",
    "red_exception",
    "red_missing_target",
    "unexpected_green",
    "vacuous",
    "not_run",
    "collect_error",
    "syntax_error",
    "setup_error",
    "teardown_error",
    "skipped",
    "xfail",
    "xpass",
    "timeout",
    "crash",
    "flaky",
    "runner_error",
]
RUN_VERDICTS: tuple[RunVerdict, ...] = get_args(RunVerdict)

RED: frozenset[RunVerdict] = frozenset({"red_assert", "red_exception", "red_missing_target"})
"""They authorise an edit."""
PASSING: frozenset[RunVerdict] = frozenset({"green", "unexpected_green"})
"""The test holds; only `green` discharges a red."""
OUR_FAULT: frozenset[RunVerdict] = frozenset({"runner_error", "timeout"})
"""The runner's or ours: never looks like a violation of the agent's."""

UNLOADED: frozenset[RunVerdict] = frozenset({"collect_error", "syntax_error", "setup_error"})
"""The test could not begin: right after edits that its own red licensed, they are what broke it."""

UNHEARD: frozenset[RunVerdict] = frozenset({"not_run", "crash", "timeout", "runner_error"})
"""The test did not come to its end: it may hide what another verdict would say."""

REASONS: dict[RunVerdict, str] = {
    "green": "it passes",
    "red_assert": "an assertion failed",
    "red_exception": "the code under test raised",
    "red_missing_target": "what it asks for does not exist yet",
    "unexpected_green": "it passes already, so it asks for nothing: make it fail first",
    "vacuous": "it fails whatever the code does: nothing of the code under test was touched",
    "not_run": "no test of that name was run",
    "collect_error": "its file cannot be loaded",
    "syntax_error": "its file, or one that it loads, is not valid source",
    "setup_error": "its set-up failed, so the test itself never ran",
    "teardown_error": "its tear-down failed",
    "skipped": "it was skipped",
    "xfail": "it is marked as expected to fail",
    "xpass": "it is marked as expected to fail, and passed",
    "timeout": "it did not end in time and was killed",
    "crash": "the test process died",
    "flaky": "it changes its mind on the same tree: make it deterministic",
    "runner_error": "the runner could not be run: not your fault, and no verdict",
}
