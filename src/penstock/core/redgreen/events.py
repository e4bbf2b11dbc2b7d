"""The closed union of what a red-green ledger can hold: one log per session, beside the run's, in the same format.

The ledger is also the truth about the tree. Every write that was let through names what stood there and what stands
there now, and is durable before the file is touched: so after a crash the tree is made to be what the ledger says.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.core.digest import Digest
from penstock.core.events import Chained, Event
from penstock.core.policy import Frozen
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RunVerdict

Purpose = Literal["ask", "flush", "confirm", "control", "trial", "baseline", "verify"]
"""Why tests were run. `ask`: somebody wants to know. `flush`: the end of a turn. `confirm`: a red again, at once, on
the same tree. `control`: without any edit of the turn. `trial`: without some. `baseline`, `verify`: into and out of
refactor mode."""

Basis = Literal["executed", "phantom", "imported", "awaited"]
"""How a claimed test is known to concern its target: it ran it; it touched what does not exist yet; its file imports
it, which is recorded as the weaker `claim_by_import`; or the target is announced and does not exist yet, and whether
the test concerns it is asked at the end of the turn."""

Allowance = Literal["red", "free", "exempt", "refactor", "warn", "off"]
"""By what an edit was let through."""


class Binding(Frozen):
    """What a verdict depends on besides production code: it counts for as long as all of it is the same."""

    test_sha: Digest = ""
    """The test itself: its syntax tree, decorators, fixtures."""
    control_sha: Digest = ""
    """Every control file: conftest, runner configuration."""
    support_sha: Digest = ""
    """Other test files that the test ran."""


class Refusal(Frozen):
    """Why something was not let through, in a form that a model can act on. Deterministic."""

    code: str
    missing: str
    test: TestId | None = None
    last_verdict: RunVerdict | None = None
    next_command: str = ""
    budget_left: int | None = None
    """Edits that the red still licenses."""


class PathChange(Frozen):
    """One file of an edit; None: there is none."""

    path: str
    before: Entry | None
    after: Entry | None


class FileEdit(Frozen):
    """One file of one edit, named: the unit that is reverted."""

    edit: int
    """Seq of its `EditApplied`."""
    path: str


class PlanStep(Frozen):
    """One step of an agent's plan."""

    text: str
    test: TestId | None = None
    test_file_path: str = ""


class SessionOpened(Event, tag="session_opened"):
    """First record. `tree`: blob of the working tree at the start (object id by path)."""

    session: str
    version: str
    policy: RedGreenPolicy
    tree: Digest


class TurnBegan(Event, tag="turn_began"):
    turn: int


class TestRun(Event, tag="test_run"):
    """What one test did in one run."""

    __test__ = False
    test: TestId
    verdict: RunVerdict
    purpose: Purpose
    binding: Binding = Binding()
    tree_sha: Digest = ""
    command: str = ""
    duration_ms: int = 0
    exception: str = ""
    where: str = ""
    message: str = ""
    executed: tuple[str, ...] = ()
    """Files that the test itself ran, production code only."""
    imported: tuple[str, ...] = ()
    phantoms: tuple[str, ...] = ()
    hits: tuple[str, ...] = ()
    """Files edited in this turn of which the test ran at least one changed line."""
    output: Digest | None = None


class SpawnEnded(Event, tag="spawn_ended"):
    """One process that ran tests, after the `TestRun`s that it gave; all in one commit."""

    runner: str
    purpose: Purpose
    tests: int
    whole: bool = False
    """It ran the whole suite: what no test covers now is covered by none."""
    is_warm: bool = False
    note: str = ""
    duration_ms: int = 0
    without: tuple[FileEdit, ...] = ()
    """`control` and `trial`: the file edits that were taken away for it."""
    project: str = ""
    """Directory of the project whose tests they were; empty: the root."""


class EditClaim(Event, tag="edit_claim"):
    test: TestId
    targets: tuple[str, ...]
    basis: Basis
    is_inferred: bool = False
    """Exactly one red test covered the target, and nobody had to say so."""


class EditApplied(Event, tag="edit_applied"):
    """Durable before the files are written."""

    tool: str
    changes: tuple[PathChange, ...]
    allowance: Allowance
    red: int = 0
    """Seq of the authorising `TestRun`."""
    test: TestId | None = None


class EditRefused(Event, tag="edit_refused"):
    tool: str
    paths: tuple[str, ...]
    refusal: Refusal


class EditReverted(Event, tag="edit_reverted"):
    """Durable before the files are restored. `changes`: from what the edit left to what stood there before it."""

    edits: tuple[FileEdit, ...]
    why: Literal["regression", "claim_unrelated", "red_void", "not_written", "refactor_failed"]
    changes: tuple[PathChange, ...]
    because: tuple[TestId, ...] = ()
    message: str = ""


class TestMoved(Event, tag="test_moved"):
    """The same test under a new name: exactly one vanished and one appeared with this content. Claims follow."""

    __test__ = False
    was: TestId
    now: TestId
    test_sha: Digest


class UnclaimedWrite(Event, tag="unclaimed_write"):
    """Content changed with no edit that explains it: kept as a patch, then restored. `warn` mode records it only."""

    tool: str
    changes: tuple[PathChange, ...]
    patch: Digest
    is_restored: bool
    why: str = ""


class RefactorEntered(Event, tag="refactor_entered"):
    baseline: tuple[TestId, ...]
    tree: Digest
    """Blob of the working tree that a failure restores."""


class RefactorLeft(Event, tag="refactor_left"):
    is_green: bool
    why: str


class PlanSubmitted(Event, tag="plan_submitted"):
    steps: tuple[PlanStep, ...]


class TurnClosing(Event, tag="turn_closing"):
    """No more edits in this turn: the tests are owed. Stays so through a crash or an abort."""

    turn: int


class PairJudged(Event, tag="pair_judged"):
    """The changed lines that the test covers were broken on purpose. `is_weak`: more than half were not noticed."""

    test: TestId
    red: int
    green: int
    tried: int
    survivors: tuple[str, ...] = ()
    is_weak: bool = False
    note: str = ""


class TurnClosed(Event, tag="turn_closed"):
    turn: int


RedGreenEvent = (
    SessionOpened
    | TurnBegan
    | TestRun
    | SpawnEnded
    | EditClaim
    | EditApplied
    | EditRefused
    | EditReverted
    | TestMoved
    | UnclaimedWrite
    | RefactorEntered
    | RefactorLeft
    | PlanSubmitted
    | TurnClosing
    | PairJudged
    | TurnClosed
)


class RedGreenRecord(Chained):
    """One event in its place in a ledger."""

    event: RedGreenEvent


_decoder = msgspec.json.Decoder(RedGreenRecord)


def decode(data: bytes) -> RedGreenRecord:
    """The record of stored bytes. Raises `msgspec.ValidationError` on anything else."""
    return _decoder.decode(data)
