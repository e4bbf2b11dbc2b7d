"""Random sessions through the real core: S23 and its neighbours hold after every event, and a fold is a fold."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.redgreen import events as e
from penstock.core.redgreen.closing import CloseStep, MutateStep, RevertStep, RunStep, next_step
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.gate import EditAsk, Licence, judge_edit
from penstock.core.redgreen.ledger import Ledger, evolve, fold
from penstock.core.redgreen.pairs import pair_red_green
from penstock.core.redgreen.policy import RedGreenLimits, RedGreenPolicy
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RED, RunVerdict

TESTS = tuple(TestId(runner="pytest", path=f"tests/test_{n}.py", chain=("test",)) for n in "abc")
PATHS = ("app/a.py", "app/b.py", "tests/test_a.py", "docs/x.md", "penstock.toml")
VERDICTS: tuple[RunVerdict, ...] = (
    "green",
    "red_assert",
    "red_missing_target",
    "skipped",
    "timeout",
    "flaky",
    "not_run",
)
LIMITS = RedGreenLimits(edits_per_red_max=2, reds_per_test_max=2, reverts_per_test_max=1, attribution_runs_max=2)
STEPS_MAX = 60

tests = st.sampled_from(TESTS)
paths = st.sampled_from(PATHS)
verdicts = st.sampled_from(VERDICTS)
bindings = st.sampled_from([e.Binding(test_sha="1"), e.Binding(test_sha="2")])
concerns = st.sets(st.sampled_from(PATHS[:2])).map(sorted).map(tuple)


@dataclass
class Session:
    """A gate over a pretended tree. What a run says is drawn; what is recorded is what a session would record."""

    data: st.DataObject
    ledger: Ledger = field(default_factory=Ledger)
    records: list[e.RedGreenRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        policy = RedGreenPolicy(mode="strict", exempt_files=("docs/**",), limits=LIMITS)
        self.add(e.SessionOpened(session="s", version="1", policy=policy, tree="0"), e.TurnBegan(turn=1))

    def add(self, *events: e.RedGreenEvent) -> None:
        for event in events:
            record = e.RedGreenRecord(seq=self.ledger.seq + 1, at_ms=0, event=event)
            self.records.append(record)
            evolve(self.ledger, record)
            check_indexes(self.ledger)

    def run(self, test: TestId, purpose: e.Purpose) -> None:
        verdict, found = self.data.draw(verdicts), self.data.draw(concerns)
        if purpose == "confirm" and verdict == "green":
            verdict = "flaky"
        binding = self.data.draw(bindings)
        self.add(e.TestRun(test=test, verdict=verdict, purpose=purpose, binding=binding, executed=found, hits=found))

    def edit(self) -> None:
        path, test = self.data.draw(paths), self.data.draw(st.none() | tests)
        now = {t: self.data.draw(bindings) for t in self.ledger.red}
        ask = EditAsk(tool="edit_file", paths=(path,), test=test, bindings=now)
        verdict = judge_edit(self.ledger, ask, "strict")
        if not isinstance(verdict, Licence):
            self.add(e.EditRefused(tool="edit_file", paths=(path,), refusal=verdict))
            return
        before = self.ledger.expected.get(path, Entry(digest="0"))
        change = e.PathChange(path=path, before=before, after=Entry(digest=str(self.ledger.seq)))
        applied = e.EditApplied(
            tool="edit_file", changes=(change,), allowance=verdict.allowance, red=verdict.red, test=verdict.test
        )
        self.add(*verdict.claims, applied)

    def close(self) -> None:
        """The whole end of a turn; it ends, whatever the runs say."""
        self.add(e.TurnClosing(turn=self.ledger.turn.number))
        for _ in range(STEPS_MAX):
            step = next_step(self.ledger)
            if isinstance(step, CloseStep):
                break
            self.perform(step)
        else:
            raise AssertionError("the turn does not end")
        number = self.ledger.turn.number
        self.add(e.TurnClosed(turn=number), e.TurnBegan(turn=number + 1))

    def perform(self, step: RunStep | RevertStep | MutateStep) -> None:
        match step:
            case RunStep():
                for test in TESTS if step.whole else step.tests:
                    self.run(test, step.purpose)
                without = step.without
                spawn = e.SpawnEnded(runner="pytest", purpose=step.purpose, tests=1, whole=step.whole, without=without)
                self.add(spawn)
            case RevertStep():
                befores = {edit.path: self.ledger.turn.file_edits[edit].before for edit in reversed(step.edits)}
                changes = tuple(e.PathChange(path=p, before=None, after=b) for p, b in befores.items())
                self.add(e.EditReverted(edits=step.edits, why=step.why, changes=changes, because=step.because))
            case MutateStep():
                life = self.ledger.tests[step.test]
                green = self.ledger.turn.greens[step.test]
                self.add(e.PairJudged(test=step.test, red=life.red_seq, green=green, tried=0))


def check_indexes(ledger: Ledger) -> None:
    """S21 of the red-green ledger: the index of reds is what the lives say."""
    assert set(ledger.red) == {test for test, life in ledger.tests.items() if life.red is not None}


def check_edits(records: list[e.RedGreenRecord]) -> int:
    """S23: each edit has a red and a claim of it in force before it, or is free or exempt by its kind."""
    checked = 0
    last: dict[TestId, tuple[int, RunVerdict]] = {}
    claims: dict[TestId, tuple[int, tuple[str, ...]]] = {}
    for record in records:
        match record.event:
            case e.TestRun(purpose="ask" | "flush") as run if run.verdict not in ("timeout",):
                last[run.test] = (record.seq, run.verdict)
            case e.EditClaim(test=test, targets=targets):
                claims[test] = (record.seq, targets)
            case e.EditApplied(allowance="red", test=TestId() as test, red=red) as edit:
                seq, verdict = last[test]
                claimed, targets = claims[test]
                assert verdict in RED and seq == red < claimed < record.seq
                assert {change.path for change in edit.changes} <= set(targets)
                checked += 1
            case e.EditApplied() as edit:
                assert edit.allowance in ("free", "exempt")
                assert not any(change.path.startswith("app/") for change in edit.changes)
            case _:
                pass
    return checked


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_S23_no_edit_is_applied_without_a_red_and_a_claim_in_force(data: st.DataObject) -> None:
    session = Session(data)
    for _ in range(data.draw(st.integers(1, 14))):
        match data.draw(st.sampled_from(["ask", "edit", "edit", "close"])):
            case "ask":
                session.run(data.draw(tests), "ask")
            case "edit":
                session.edit()
            case _:
                session.close()
    check_edits(session.records)
    assert fold(session.records) == session.ledger
    seqs = {record.seq: record.event for record in session.records}
    for pair in pair_red_green(session.records):
        assert pair.red < min(pair.edits) and max(pair.edits) < pair.green
        red, green = seqs[pair.red], seqs[pair.green]
        assert isinstance(red, e.TestRun) and isinstance(green, e.TestRun)
        assert red.verdict in RED and green.verdict == "green"


def test_the_walk_meets_its_premise() -> None:
    """A law about edits that no walk ever applies would hold for nothing."""
    applied: list[int] = []

    @settings(max_examples=80, deadline=None, derandomize=True)
    @given(st.data())
    def walk(data: st.DataObject) -> None:
        session = Session(data)
        session.run(TESTS[0], "ask")
        session.edit()
        session.close()
        applied.append(check_edits(session.records))

    walk()
    assert sum(applied) > 3
