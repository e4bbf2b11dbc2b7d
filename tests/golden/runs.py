"""Two runs whose reports are kept word for word: one without a fault, one with every kind of trouble."""

from __future__ import annotations

from penstock.core import events as e
from penstock.core.digest import digest_of_bytes
from penstock.core.tickets import CommandCriterion, TestCriterion
from penstock.core.verdicts import Counts
from tests.golden.told import Told, blob, oid, red, ticket

HOSTILE = "<script>alert('x')</script></style>\x1b[31mred\x1b[0m | `tick` **bold** @everyone #1 \u202egnp.exe"
OUTPUT = "E   assert 3 == 4\n\x1b[31mFAILED\x1b[0m tests/test_parse.py::test_sum <b>not bold</b>\n1 failed, 30 passed\n"
BODIES = {
    "MONEY": "Amounts must be kept in integer cents.\n\nFloats lose money: `0.1 + 0.2`.",
    "PARSE": f"Parse `1+2*3`. {HOSTILE}",
}
DIFF = """diff --git a/src/money.py b/src/money.py
--- a/src/money.py
+++ b/src/money.py
@@ -1,2 +1,2 @@
-def total(xs): return sum(xs)
+def total(xs): return sum(round(x * 100) for x in xs)  # </pre><script>
"""


def clean() -> list[e.Record]:
    """Three tickets, one after the other, nothing goes wrong."""
    told = Told(
        ticket("MONEY", "Keep amounts in cents", BODIES["MONEY"], priority=0),
        ticket("SPLIT", "Split a bill fairly", depends_on=("MONEY",)),
        ticket("DOCS", "Explain rounding", kind="docs", depends_on=("MONEY", "SPLIT")),
    )
    told.baseline()
    told.build("MONEY").pass_s(1).build("SPLIT")
    told.tell(e.WindowChanged(size=3, reason="SPLIT landed"))
    told.admit("DOCS").turn("DOCS", 15, lines=9)
    told.move("DOCS", "verifying", "build turn 1 of attempt 1 ended")
    told.candidate("DOCS", witness_tree="", witness_commit="", witness_files=(), lines=9, changes=())
    told.gate("DOCS", "lint", why="", seconds=1)
    told.gate("DOCS", "tests", counts=Counts(green=33), tests="6" * 64)
    told.land("DOCS")
    return told.conclude(reason="3 of 3 tickets done").seal().finish()


def troubled() -> list[e.Record]:
    """A red that is fixed, a crash, a conflict, a refusal for good, a person waited for, a trunk that others move."""
    told = Told(
        ticket(
            "PARSE",
            "Parse sums and products",
            BODIES["PARSE"],
            acceptance=(TestCriterion(test="tests/test_parse.py::test_sum"),),
        ),
        ticket("HACK", HOSTILE, kind="fix", acceptance=(CommandCriterion(command="grep -q '<done>' README"),)),
        ticket("VAGUE", "Make it nicer"),
        ticket("AFTER", "Print the parsed sum", depends_on=("VAGUE",)),
        ticket("DOOMED", "Needs what failed", depends_on=("HACK",)),
    )
    told.baseline({"tests/test_parse.py::test_sum": "red"})
    _fix_after_red(told)
    _crash_and_fail(told)
    told.tell(e.TrunkMoved(position=e.TrunkPosition(commit=oid("theirs"), tree=oid("their tree"))))
    told.trunk = e.TrunkPosition(commit=oid("theirs"), tree=oid("their tree"))
    _wait_for_a_person(told)
    waits = [
        e.WaitsFor(ticket="VAGUE", state="held", what="a person: penstock approve VAGUE --reason TEXT"),
        e.WaitsFor(ticket="AFTER", state="waiting", what="its dependencies: VAGUE"),
    ]
    told.conclude("stopped", 3, "waiting for a person: VAGUE", fails=(5,), open=waits)
    return told.seal().finish("stopped", 3)


def _fix_after_red(told: Told) -> None:
    test = "tests/test_parse.py::test_sum"
    told.admit("PARSE").turn("PARSE", 55)
    told.move("PARSE", "verifying", "build turn 1 of attempt 1 ended")
    told.candidate("PARSE")
    told.gate("PARSE", "lint", why="", seconds=1)
    failed = (red(test, f"assert 3 == 4 {HOSTILE}", "src/parse.py:12"),)
    seq = told.gate(
        "PARSE",
        "tests",
        verdict="fail",
        why="1 of 31 tests is red",
        counts=Counts(green=30, red=1),
        failed=failed,
        tests="7" * 64,
        asked={test: "red"},
        output=blob(OUTPUT),
    )
    told.tell(e.Refused(ticket="PARSE", kind="red", reason="tests (lands): 1 of 31 tests is red"))
    told.move("PARSE", "fixing", "tests: 1 of 31 tests is red", cause="gate_red", evidence=(seq,))
    told.tell(e.WindowChanged(size=1, reason="PARSE is red"))
    aside = ("src/unrelated.py",)
    sealed = e.LedgerSealed(
        session="PARSE/1.2",
        head="9" * 64,
        mode="strict",
        counts={"edits": 5, "refusals": 2, "pairs": 3, "weak": 1, "spawns": 9},
    )
    told.turn("PARSE", 30, role="fix", lines=4, set_aside=aside, claims=(HOSTILE,), ledger=sealed)
    reason = "set aside, a fix may not touch: src/unrelated.py"
    kept = "refs/penstock/salvage/r/PARSE/1-2"
    told.tell(e.Refused(ticket="PARSE", kind="expansion", reason=reason, paths=aside, salvage=kept))
    told.move("PARSE", "verifying", "fix turn 2 of attempt 1 ended", cause="expansion")
    told.candidate("PARSE")
    told.gate("PARSE", "lint", why="", seconds=1)
    told.gate("PARSE", "tests", counts=Counts(green=31), tests="8" * 64, asked={test: "green"})
    told.land("PARSE")


def _crash_and_fail(told: Told) -> None:
    told.admit("HACK").turn("HACK", 12, outcome="crashed", message="exit status 139", lines=0, changes=(), claims=())
    told.tell(e.AttemptEnded(ticket="HACK", attempt=1, reason="agent crashed", cause="agent_crash"))
    told.move("HACK", "backoff", "agent crashed: exit status 139", cause="agent_crash", due_ms=told.now_ms + 5_000)
    told.pass_s(5).tell(e.TimerFired(due_ms=told.now_ms))
    told.move("HACK", "working", "the retry is due")
    told.tell(e.AttemptStarted(ticket="HACK", attempt=2, base=told.trunk.commit))
    told.attempts["HACK"] = 2
    told.turn("HACK", 25, usage=e.Usage())
    told.move("HACK", "verifying", "build turn 1 of attempt 2 ended")
    weak = ("tests/test_base.py::test_all",)
    told.candidate("HACK", weakened=weak)
    reason = "weakens tests that judge it: tests/test_base.py::test_all"
    told.tell(e.Refused(ticket="HACK", kind="weakened", reason=reason, paths=weak))
    told.tell(e.AttemptEnded(ticket="HACK", attempt=2, reason="weakens existing tests", cause="gate_red"))
    told.move("HACK", "failed", "weakens existing tests (gate_red: no retry left after 0)", cause="gate_red")
    told.move("DOOMED", "canceled", "its dependency HACK is failed")


def _wait_for_a_person(told: Told) -> None:
    told.admit("VAGUE").turn("VAGUE", 20, lines=3)
    told.move("VAGUE", "verifying", "build turn 1 of attempt 1 ended")
    told.candidate("VAGUE", witness_tree="", witness_commit="", witness_files=())
    told.gate("VAGUE", "lint", why="", seconds=1)
    told.gate("VAGUE", "tests", verdict="broken", why="the runner left early", seconds=3, exit_status=139)
    told.gate("VAGUE", "tests", "control", verdict="broken", why="the runner left early", seconds=3, exit_status=139)
    told.move("VAGUE", "backoff", "tests cannot run on base either", cause="infra", due_ms=told.now_ms + 2_000)
    told.pass_s(2)
    told.move("VAGUE", "verifying", "the retry is due")
    told.gate("VAGUE", "tests", counts=Counts(green=31), tests="8" * 64)
    why = "nothing tells that the change does what was asked: add a test that fails without it"
    told.tell(e.TestQuarantined(test="tests/test_net.py::test_slow", gate="tests", reason="flips on base", seen=1))
    told.tell(e.Refused(ticket="VAGUE", kind="vacuous", reason=why))
    told.move("VAGUE", "held", why, frees="penstock approve VAGUE --reason TEXT")


def blobs() -> dict[str, bytes]:
    """What lies beside the logs."""
    texts = [*BODIES.values(), OUTPUT]
    return {digest_of_bytes(t.encode()): t.encode() for t in texts}


def diff_of(commit: str) -> str | None:
    """The same diff for whatever landed."""
    return DIFF
