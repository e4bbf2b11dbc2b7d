"""What a red-green ledger says, folded. Owned by its caller and changed in place, as the run's state is.

A test's red is *in force* from the `TestRun` that gave it until it is green, or until a later run of it says something
else; whether what it depends on is still the same, the gate asks. Edits that it licensed stay *open* until it is green:
only then is the pair whole. Everything that a verdict needs is kept by id and by path, so that a question costs what it
concerns, not what exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import OUR_FAULT, PASSING, RED, UNHEARD, UNLOADED, RunVerdict


@dataclass
class TestLife:
    """One test id, as far as the ledger knows it."""

    __test__ = False
    last: e.TestRun | None = None
    """What was seen last on the tree as it is; None: never, or not since its edits were reverted."""
    red: e.TestRun | None = None
    """The authorising red in force."""
    red_seq: int = 0
    claim: e.EditClaim | None = None
    """The newest claim after that red."""
    edits_used: int = 0
    """Edits that this red licensed."""
    open_edits: dict[e.FileEdit, None] = field(default_factory=dict)
    """File edits under this test, in order, that wait for its green."""
    reds_after_edits: int = 0
    """How often it was red again although it had licensed edits, since it was last green."""
    reverts: int = 0
    """How often edits were reverted because of it."""
    is_weak: bool = False


@dataclass
class TurnState:
    """The turn that is open, or being closed."""

    number: int = 0
    is_closing: bool = False
    file_edits: dict[e.FileEdit, e.PathChange] = field(default_factory=dict)
    """Production edits of this turn that stand, in order."""
    claimed: dict[TestId, None] = field(default_factory=dict)
    seen: dict[tuple[e.Purpose, TestId], e.TestRun] = field(default_factory=dict)
    """What each run of the closing said of each test: the last word counts."""
    spawned: list[e.SpawnEnded] = field(default_factory=list)
    judged: dict[TestId, None] = field(default_factory=dict)
    """Pairs whose lines were mutated."""
    greens: dict[TestId, int] = field(default_factory=dict)
    """Tests that were discharged by the flush, with the seq of the green."""
    blamed: bool = False
    """Regressions were answered by a revert."""
    unheard: dict[TestId, None] = field(default_factory=dict)
    """Tests that the flush was to run and that did not come to their end, where they had before."""
    disturbed: dict[str, None] = field(default_factory=dict)
    """Files that were written while the tests of the closing ran: what they saw was another tree."""
    freed: dict[str, Entry | None] = field(default_factory=dict)
    """Files that were written freely in this turn, as they stood before it."""


@dataclass
class Refactor:
    """Refactor mode, while it lasts."""

    entered_ms: int
    baseline: tuple[TestId, ...]
    tree: str
    edits: int = 0


@dataclass
class Counts:
    """For the seal of a ledger and for `stats`."""

    edits: int = 0
    refusals: int = 0
    reverts: int = 0
    unclaimed: int = 0
    spawns: int = 0
    timeouts: int = 0
    pairs: int = 0
    weak: int = 0
    overturned: int = 0
    """Refusals of a path that an edit reached later in the same session."""


@dataclass
class Ledger:
    """The folded ledger of one session."""

    session: str = ""
    policy: RedGreenPolicy = field(default_factory=RedGreenPolicy)
    seq: int = 0
    now_ms: int = 0
    tree: str = ""
    """Blob of the working tree that the session began with."""
    tests: dict[TestId, TestLife] = field(default_factory=dict)
    red: dict[TestId, None] = field(default_factory=dict)
    """Tests with a red in force, in order: an index of `tests`."""
    covers: dict[str, dict[TestId, None]] = field(default_factory=dict)
    """Tests that ran or need a file, as their last run saw it: an index of `tests`."""
    has_suite: bool = False
    """The whole suite was run: a file without covering tests has none."""
    expected: dict[str, Entry | None] = field(default_factory=dict)
    """What must stand at each path that was written since the session began; None: nothing."""
    written: dict[str, int] = field(default_factory=dict)
    """Seq of what wrote a path last and stands."""
    turn: TurnState = field(default_factory=TurnState)
    unjudged: dict[e.FileEdit, e.PathChange] = field(default_factory=dict)
    """Edits of the last turn of which its flush did not hear everything: the next one answers for them too."""
    refactor: Refactor | None = None
    plan: tuple[e.PlanStep, ...] = ()
    refused: dict[str, None] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def life(self, test: TestId) -> TestLife:
        """The test's life, begun where it is new."""
        return self.tests.setdefault(test, TestLife())

    @property
    def is_open(self) -> bool:
        """Whether edits were let through that nothing has judged yet."""
        return bool(self.turn.file_edits) or self.turn.is_closing or self.refactor is not None

    def verdict(self, test: TestId) -> RunVerdict | None:
        """What was seen of it last; None where nothing was."""
        life = self.tests.get(test)
        return life.last.verdict if life and life.last else None


def evolve(ledger: Ledger, record: e.RedGreenRecord) -> None:
    """Fold `record` into `ledger`; a gap in seq is a bug."""
    assert record.seq == ledger.seq + 1, f"record {record.seq} after {ledger.seq}"
    ledger.seq, ledger.now_ms = record.seq, max(ledger.now_ms, record.at_ms)
    event = record.event
    match event:
        case e.SessionOpened():
            ledger.session, ledger.policy, ledger.tree = event.session, event.policy, event.tree
        case e.TurnBegan():
            ledger.turn = TurnState(number=event.turn, file_edits=dict(ledger.unjudged))
        case e.TestRun():
            _run(ledger, event)
        case e.SpawnEnded():
            _spawn(ledger, event)
        case e.EditClaim():
            ledger.life(event.test).claim = event
            ledger.turn.claimed[event.test] = None
        case e.EditApplied():
            _apply(ledger, event)
        case e.EditRefused():
            ledger.counts.refusals += 1
            ledger.refused.update(dict.fromkeys(event.paths))
        case e.EditReverted():
            _revert(ledger, event)
        case e.TestMoved():
            _move(ledger, event)
        case e.UnclaimedWrite():
            ledger.counts.unclaimed += 1
            if ledger.turn.is_closing:
                ledger.turn.disturbed.update(dict.fromkeys(change.path for change in event.changes))
            if not event.is_restored:
                ledger.expected.update((change.path, change.after) for change in event.changes)
                ledger.written.update((change.path, ledger.seq) for change in event.changes)
        case e.RefactorEntered():
            ledger.refactor = Refactor(ledger.now_ms, event.baseline, event.tree)
        case e.RefactorLeft():
            ledger.refactor = None
        case e.PlanSubmitted():
            ledger.plan = event.steps
        case e.TurnClosing():
            ledger.turn.is_closing = True
        case e.PairJudged():
            _judge(ledger, event)
        case e.TurnClosed():
            ledger.unjudged = dict(ledger.turn.file_edits) if ledger.turn.unheard else {}
            ledger.turn = TurnState(number=event.turn)
        case _:
            assert_never(event)


def fold(records: Iterable[e.RedGreenRecord]) -> Ledger:
    """The ledger that `records` make, from the first on."""
    ledger = Ledger()
    for record in records:
        evolve(ledger, record)
    return ledger


# --- runs -----------------------------------------------------------------------------------------------------------


def _run(ledger: Ledger, event: e.TestRun) -> None:
    life, turn = ledger.life(event.test), ledger.turn
    if turn.is_closing:
        turn.seen[(event.purpose, event.test)] = event
        if event.purpose == "flush" and event.verdict in UNHEARD and ledger.verdict(event.test) not in UNHEARD:
            turn.unheard[event.test] = None
    if event.purpose in ("control", "trial"):
        return  # that was another tree
    if event.verdict == "timeout":
        ledger.counts.timeouts += 1
    if event.purpose == "confirm" and event.verdict != "flaky":
        return  # the red stands as it was told
    _cover(ledger, event, life.last)
    if event.purpose == "flush" and event.verdict == "not_run":
        ledger.has_suite = False  # it may have been deleted: the next closing runs what is there
    life.last = event
    if event.verdict in RED:
        _turn_red(ledger, life, event)
    elif event.verdict == "green":
        _turn_green(ledger, life, event)
    elif event.verdict not in OUR_FAULT and not _is_half_done(ledger, life, event):
        _lose_red(ledger, event.test)


def _is_half_done(ledger: Ledger, life: TestLife, event: e.TestRun) -> bool:
    """Whether edits since its red, under it or another, keep the same test from being loaded: they can be mended."""
    if life.red is None or event.purpose != "ask" or event.verdict not in UNLOADED:
        return False
    if not life.edits_used and not any(edit.edit > life.red_seq for edit in ledger.turn.file_edits):
        return False
    was, now = life.red.binding, event.binding
    return (was.test_sha, was.control_sha) == (now.test_sha, now.control_sha)


def _cover(ledger: Ledger, event: e.TestRun, before: e.TestRun | None) -> None:
    if event.verdict not in PASSING and event.verdict not in RED and event.verdict != "not_run":
        return  # it saw nothing, or not all
    for path in files_of(before) if before else ():
        ledger.covers.get(path, {}).pop(event.test, None)
    for path in files_of(event):
        ledger.covers.setdefault(path, {})[event.test] = None


def files_of(run: e.TestRun) -> tuple[str, ...]:
    """Files that the test concerns, as that run saw it."""
    return tuple(dict.fromkeys((*run.executed, *run.phantoms, *run.imported)))


def _turn_red(ledger: Ledger, life: TestLife, event: e.TestRun) -> None:
    if life.edits_used and life.red is not None:
        life.reds_after_edits += 1
    life.red, life.red_seq, life.claim, life.edits_used = event, ledger.seq, None, 0
    ledger.red[event.test] = None


def _turn_green(ledger: Ledger, life: TestLife, event: e.TestRun) -> None:
    """A discharge, where a red of the very same test is in force. Otherwise its edits stay open, and are void."""
    is_same = life.red is not None and life.red.binding == event.binding
    if is_same and ledger.turn.is_closing:
        ledger.turn.greens[event.test] = ledger.seq
    if is_same or life.red is None:
        life.reds_after_edits = 0
    if is_same and not ledger.turn.is_closing:
        return  # seen in mid-turn: the flush decides
    if not is_same:
        _lose_red(ledger, event.test)


def _lose_red(ledger: Ledger, test: TestId) -> None:
    life = ledger.life(test)
    life.red, life.claim, life.edits_used = None, None, 0
    ledger.red.pop(test, None)


def _spawn(ledger: Ledger, event: e.SpawnEnded) -> None:
    ledger.counts.spawns += 1
    is_heard = event.whole and event.tests > 0 and not ledger.turn.unheard
    ledger.has_suite = ledger.has_suite or (is_heard and event.purpose in ("ask", "flush", "baseline"))
    if ledger.turn.is_closing:
        ledger.turn.spawned.append(event)


# --- edits ----------------------------------------------------------------------------------------------------------


def _apply(ledger: Ledger, event: e.EditApplied) -> None:
    turn = ledger.turn
    ledger.counts.edits += 1
    for change in event.changes:
        ledger.expected[change.path] = change.after
        ledger.written[change.path] = ledger.seq
        if event.allowance == "red":
            ledger.counts.overturned += ledger.refused.pop(change.path, 0) is None
    if event.allowance == "refactor" and ledger.refactor is not None:
        ledger.refactor.edits += 1
    if event.allowance in ("free", "exempt", "refactor"):
        for change in event.changes if event.allowance == "free" else ():
            turn.freed.setdefault(change.path, change.before)
        return
    for change in event.changes:
        turn.file_edits[e.FileEdit(edit=ledger.seq, path=change.path)] = change
    if event.test is not None:
        life = ledger.life(event.test)
        life.edits_used += 1
        life.open_edits.update((e.FileEdit(edit=ledger.seq, path=c.path), None) for c in event.changes)
        turn.claimed[event.test] = None


def _revert(ledger: Ledger, event: e.EditReverted) -> None:
    turn, gone = ledger.turn, set(event.edits)
    ledger.counts.reverts += 1
    for change in event.changes:
        ledger.expected[change.path] = change.after
    for edit in event.edits:
        turn.file_edits.pop(edit, None)
    for test in event.because:
        ledger.life(test).reverts += 1
    touched = [test for test, life in ledger.tests.items() if gone & life.open_edits.keys()]
    for test in touched:
        life = ledger.tests[test]
        for edit in event.edits:
            life.open_edits.pop(edit, None)
        turn.greens.pop(test, None)
        _lose_red(ledger, test)
        life.last = None
    for test in _seen_with(ledger, event.edits):
        _lose_red(ledger, test)
        ledger.tests[test].last = None
    turn.blamed = turn.blamed or event.why == "regression"


def _seen_with(ledger: Ledger, edits: tuple[e.FileEdit, ...]) -> list[TestId]:
    """Tests whose red was seen on a tree with these edits in it: that tree has gone, and the red with it."""
    first = min((edit.edit for edit in edits), default=ledger.seq)
    paths = {edit.path for edit in edits}
    lives = ((test, ledger.tests[test]) for test in ledger.red)
    return [t for t, life in lives if life.red and life.red_seq > first and not paths.isdisjoint(files_of(life.red))]


def _judge(ledger: Ledger, event: e.PairJudged) -> None:
    """The pair is whole: what was open under it is settled, and the red is used up."""
    life = ledger.life(event.test)
    ledger.counts.pairs += 1
    ledger.counts.weak += event.is_weak
    life.is_weak = event.is_weak
    life.open_edits.clear()
    life.reds_after_edits = 0
    ledger.turn.judged[event.test] = None
    _lose_red(ledger, event.test)


def _move(ledger: Ledger, event: e.TestMoved) -> None:
    life = ledger.tests.pop(event.was, None)
    if life is None:
        return
    ledger.tests[event.now] = life
    for index in (ledger.red, ledger.turn.claimed, *ledger.covers.values()):
        if event.was in index:
            del index[event.was]
            index[event.now] = None
