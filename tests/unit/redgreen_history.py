"""A red-green ledger written by hand: what a session would have recorded, in as few words as possible."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.redgreen import events as e
from penstock.core.redgreen.closing import Step, next_step
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.gate import EditAsk, Licence, judge_edit
from penstock.core.redgreen.ledger import Ledger, evolve
from penstock.core.redgreen.policy import Mode, RedGreenLimits, RedGreenPolicy
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RunVerdict

SAME = e.Binding(test_sha="t1", control_sha="c1")


def named(name: str = "test_a", path: str = "tests/test_a.py") -> TestId:
    return TestId(runner="pytest", path=path, chain=(name,))


A, B, C = named("test_a"), named("test_b"), named("test_c")


class History:
    """A ledger and its records; time is the number of the record."""

    def __init__(self, mode: Mode = "strict", limits: RedGreenLimits | None = None, session: str = "s") -> None:
        self.ledger = Ledger()
        self.records: list[e.RedGreenRecord] = []
        self.policy = RedGreenPolicy(mode=mode, exempt_files=("docs/**",), limits=limits or RedGreenLimits())
        self.add(e.SessionOpened(session=session, version="1", policy=self.policy, tree="0"), e.TurnBegan(turn=1))

    def add(self, *events: e.RedGreenEvent) -> int:
        for event in events:
            record = e.RedGreenRecord(seq=self.ledger.seq + 1, at_ms=self.ledger.seq + 1, event=event)
            self.records.append(record)
            evolve(self.ledger, record)
        return self.ledger.seq

    def ran(
        self,
        test: TestId,
        verdict: RunVerdict,
        purpose: e.Purpose = "ask",
        *,
        executed: Sequence[str] = ("app/a.py",),
        imported: Sequence[str] = (),
        phantoms: Sequence[str] = (),
        hits: Sequence[str] = ("app/a.py",),
        binding: e.Binding = SAME,
    ) -> int:
        return self.add(
            e.TestRun(
                test=test,
                verdict=verdict,
                purpose=purpose,
                binding=binding,
                executed=tuple(executed),
                imported=tuple(imported),
                phantoms=tuple(phantoms),
                hits=tuple(hits),
            )
        )

    def spawned(self, purpose: e.Purpose, without: Sequence[e.FileEdit] = (), *, whole: bool = False) -> None:
        self.add(e.SpawnEnded(runner="pytest", purpose=purpose, tests=1, without=tuple(without), whole=whole))

    def applied(
        self, path: str = "app/a.py", test: TestId | None = A, allowance: e.Allowance = "red", *, is_new: bool = False
    ) -> e.FileEdit:
        """An edit that the gate let through, with its claim."""
        red = self.ledger.tests[test].red_seq if test else 0
        if test is not None:
            self.add(e.EditClaim(test=test, targets=(path,), basis="executed"))
        before = self.ledger.expected.get(path, None if is_new else Entry(digest="0"))
        after = Entry(digest=f"{self.ledger.seq}")
        change = e.PathChange(path=path, before=before, after=after)
        seq = self.add(e.EditApplied(tool="edit_file", changes=(change,), allowance=allowance, red=red, test=test))
        return e.FileEdit(edit=seq, path=path)

    def closing(self) -> None:
        self.add(e.TurnClosing(turn=self.ledger.turn.number))

    def closed(self) -> None:
        number = self.ledger.turn.number
        self.add(e.TurnClosed(turn=number), e.TurnBegan(turn=number + 1))

    def flushed(self, **verdicts: RunVerdict) -> None:
        """The flush of a closing turn said this of the tests named `a`, `b`, `c`."""
        for name, verdict in verdicts.items():
            self.ran(named(f"test_{name}"), verdict, "flush")
        self.spawned("flush", whole=True)

    def confirmed(self, **verdicts: RunVerdict) -> None:
        for name, verdict in verdicts.items():
            self.ran(named(f"test_{name}"), verdict, "confirm")
        self.spawned("confirm")

    def owed(self) -> Step:
        return next_step(self.ledger)

    def asked(
        self, *paths: str, test: TestId | None = None, binding: e.Binding = SAME, mode: Mode = "strict"
    ) -> Licence | e.Refusal:
        bindings = dict.fromkeys(self.ledger.red, binding)
        ask = EditAsk(tool="edit_file", paths=paths or ("app/a.py",), test=test, bindings=bindings, test_path="t.py")
        return judge_edit(self.ledger, ask, mode)


def code_of(verdict: Licence | e.Refusal) -> str:
    return verdict.code if isinstance(verdict, e.Refusal) else f"allowed:{verdict.allowance}"
