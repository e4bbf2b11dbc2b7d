"""What a gate saw: verdicts, per-test outcomes, evidence. Pure values."""

from __future__ import annotations

from typing import Literal

from penstock.core.digest import Digest
from penstock.core.policy import Frozen

Verdict = Literal["pass", "fail", "broken", "flaky", "pending"]

Look = Literal["base", "lands", "judge", "witness", "control", "criterion"]
"""Which tree a gate run looks at, and what it is asked.

`base`: trunk before work. `lands`: the candidate as it is. `judge`: base's tests and control files over the
candidate's production code. `witness`: the candidate's tests over base's production code. `control`: base again, to
find out who is to blame. `criterion`: an ad-hoc command of a ticket.
"""

TestStatus = Literal["green", "red", "error", "skipped", "xfail", "xpass", "absent"]
"""Of one test id in one run; `green` is set-up, call and tear-down all passed. `error`: set-up, tear-down or import."""

RedKind = Literal["assertion", "missing_target", "exception", "other"]
"""How a test is red. Only the first three can tell; `exception` tells only when it was raised in production code."""


class FailedTest(Frozen):
    """One test that is not green, for people and for the fix prompt."""

    id: str
    status: TestStatus
    kind: RedKind = "other"
    where: str = ""
    """`path:line` of the deepest frame inside the repository."""
    message: str = ""
    """At most 400 characters."""


class Counts(Frozen):
    """How many tests had which status."""

    green: int = 0
    red: int = 0
    error: int = 0
    skipped: int = 0
    xfail: int = 0
    xpass: int = 0


class Evidence(Frozen):
    """What one gate run saw, on exactly which tree. Never a claim: only Penstock makes these."""

    gate: str
    look: Look
    tree: str
    """Git tree id of the checkout the gate ran on."""
    commit: str
    verdict: Verdict
    why: str = ""
    """One line for people: `2 of 120 tests are red`."""
    gate_digest: Digest = ""
    control_digest: Digest = ""
    """Over the control files of the checkout."""
    env_digest: Digest = ""
    base_tree: str | None = None
    """The tree it was compared with, for looks and oracles that read one."""
    exit_status: int | None = None
    duration_ms: int = 0
    counts: Counts | None = None
    """None: no per-test results, the exit status alone decided."""
    tests: Digest | None = None
    """Blob of all per-test results (`TestResults`), None without a per-test runner."""
    failed: tuple[FailedTest, ...] = ()
    """The first 20 that are not green."""
    missing: tuple[str, ...] = ()
    """The first 20 ids green on base and not green here."""
    telling: tuple[str, ...] = ()
    """`witness`: the first 50 new tests that are red here and green on the candidate."""
    asked: dict[str, TestStatus] = {}
    """Status of each test id that a ticket names."""
    output: Digest | None = None
    """Blob of the output, trimmed to its cap."""
    isolation: str = "none"
    forgeable: bool = False
    """True where the judged process wrote the report that was read."""


class TestResult(Frozen):
    """One test id in one run."""

    __test__ = False
    id: str
    status: TestStatus
    file: str = ""
    kind: RedKind = "other"
    where: str = ""
    message: str = ""
    duration_ms: int = 0


class TestResults(Frozen):
    """All per-test results of one run: the content of an evidence's `tests` blob."""

    __test__ = False
    runner: str
    complete: bool
    """The runner said that its session ended; False means that the process left early."""
    results: tuple[TestResult, ...] = ()
