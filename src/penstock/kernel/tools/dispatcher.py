"""The one place that tools are called at. A call is decoded, performed under the session's lock, and answered in words.

A refusal is an answer like any other: it says what is missing and what comes next. What went wrong in the world (a file
that is no text, a runner that is not there) is an error in words too; the caller's own mistakes name their field.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.core.redgreen import events as e
from penstock.core.redgreen.gate import refusal_text
from penstock.core.redgreen.pairs import plan_of, plan_problems
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.redgreen.verdicts import PASSING, REASONS, RED
from penstock.kernel import refactoring
from penstock.kernel.closing import TurnEnd, end_turn
from penstock.kernel.names import TestNames, UnknownTest
from penstock.kernel.runs import Asked, TestDesk
from penstock.kernel.session import Applied, GateSession, NotConfigured, Settled, Write
from penstock.kernel.tools import arguments as a
from penstock.kernel.tools.editing import Edited, NotEdited, Replacement, copied, moved, replaced, written
from penstock.kernel.tools.looking import list_files, read_lines, search_lines

OUTPUT_CHARS_MAX = 20_000


@dataclass(frozen=True)
class Answer:
    """What a tool says. `data`: the same for programs."""

    text: str
    is_error: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """One tool: its name, what it is for, and the type of its arguments."""

    name: str
    description: str
    takes: type[a.Arguments]
    is_mutator: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments, in one piece."""
        _, components = msgspec.json.schema_components([self.takes], ref_template="#/$defs/{name}")
        defs = dict(components)
        own = defs.pop(self.takes.__name__)
        return {**own, "$defs": defs} if defs else own


TOOLS: tuple[Tool, ...] = (
    Tool("list_files", "List the files of the working tree, or of a directory in it.", a.ListFiles),
    Tool("read_file", "Read lines of a text file, numbered.", a.ReadFile),
    Tool("search", "Search the lines of all text files with a regular expression.", a.Search),
    Tool("edit_file", "Replace text in a file. Production code needs a red test that asks for it.", a.EditFile, True),
    Tool("multi_edit", "Replace text in several places or files, all or none.", a.MultiEdit, True),
    Tool("write_file", "Write a whole file. Writing tests is free.", a.WriteFile, True),
    Tool("move_file", "Move a file.", a.MoveFile, True),
    Tool("copy_file", "Copy a file.", a.CopyFile, True),
    Tool("delete_file", "Delete a file.", a.DeleteFile, True),
    Tool("shell", "Run a command. What it changes in production code is judged like any edit.", a.Shell, True),
    Tool("run_tests", "Run tests and see each one's own verdict. A red one can then be claimed.", a.RunTests),
    Tool("claim", "Claim a red test for edits of files that it concerns.", a.Claim),
    Tool("plan", "Say what you are going to do, step by step, each with its test.", a.Plan),
    Tool("enter_refactor", "Edit without a red test, between two greens of the same tests.", a.Nothing),
    Tool("leave_refactor", "End refactor mode: the tests must be green, else all goes back.", a.Nothing),
    Tool(
        "end_turn", "Run the tests that the turn concerns: what is green is proven, what broke is reverted.", a.Nothing
    ),
)
BY_NAME: dict[str, Tool] = {tool.name: tool for tool in TOOLS}


class Dispatcher:
    """Calls tools on one session. Calls from several doors wait for each other."""

    def __init__(self, session: GateSession, desk: TestDesk) -> None:
        self.session, self.desk = session, desk
        self.lock = asyncio.Lock()
        self.names = TestNames(session)
        self._handlers: dict[str, Callable[[Any], Awaitable[Answer]]] = {
            "list_files": self._list,
            "read_file": self._read,
            "search": self._search,
            "edit_file": self._edit,
            "multi_edit": self._multi_edit,
            "write_file": self._write,
            "move_file": self._move,
            "copy_file": self._copy,
            "delete_file": self._delete,
            "shell": self._shell,
            "run_tests": self._run_tests,
            "claim": self._claim,
            "plan": self._plan,
            "enter_refactor": self._enter_refactor,
            "leave_refactor": self._leave_refactor,
            "end_turn": self._end_turn,
        }
        assert self._handlers.keys() == BY_NAME.keys()

    async def call(self, name: str, arguments: object) -> Answer:
        """Call a tool by name with decoded JSON arguments. Never raises for what a caller can get wrong."""
        tool = BY_NAME.get(name)
        if tool is None:
            return Answer(f"no tool {name!r}; there are: {', '.join(BY_NAME)}", is_error=True)
        try:
            taken = msgspec.convert(arguments, tool.takes)
        except msgspec.ValidationError as wrong:
            return Answer(f"{name}: {wrong}", is_error=True)
        async with self.lock:
            try:
                return await self._handlers[name](taken)
            except (UnknownTest, NotConfigured, NotEdited) as wrong:
                return Answer(f"{name}: {wrong}", is_error=True)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _list(self, taken: a.ListFiles) -> Answer:
        self.session.settle("list_files")
        return Answer(list_files(self.session.expected, taken.path))

    async def _read(self, taken: a.ReadFile) -> Answer:
        return Answer(read_lines(self.session.world.launcher.top, taken.path, taken.first_line, taken.lines))

    async def _search(self, taken: a.Search) -> Answer:
        self.session.settle("search")
        return Answer(search_lines(self.session, taken.pattern, taken.path))

    # --- mutators ---------------------------------------------------------------------------------------------------

    async def _edit(self, taken: a.EditFile) -> Answer:
        one = Replacement(taken.path, taken.old, taken.new, taken.all)
        return await self._make("edit_file", replaced(self._top, [one]), taken.test)

    async def _multi_edit(self, taken: a.MultiEdit) -> Answer:
        wanted = [Replacement(edit.path, edit.old, edit.new, edit.all) for edit in taken.edits]
        return await self._make("multi_edit", replaced(self._top, wanted), taken.test)

    async def _write(self, taken: a.WriteFile) -> Answer:
        return await self._make("write_file", written(self._top, taken.path, taken.content), taken.test)

    async def _move(self, taken: a.MoveFile) -> Answer:
        return await self._make("move_file", moved(self.session, taken.source, taken.target), taken.test)

    async def _copy(self, taken: a.CopyFile) -> Answer:
        return await self._make("copy_file", copied(self.session, taken.source, taken.target), taken.test)

    async def _delete(self, taken: a.DeleteFile) -> Answer:
        if taken.path not in self.session.expected:
            return Answer(f"{taken.path}: there is no such file", is_error=True)
        return await self._make("delete_file", [Write(taken.path, None)], taken.test)

    @property
    def _top(self) -> Any:
        return self.session.world.launcher.top

    async def _make(self, tool: str, writes: Edited, test: object) -> Answer:
        asked = (await self.names.one(test)) if test is not None else None
        done = self.session.edit(tool, writes, asked)
        paths = ", ".join(write.path for write in writes)
        if isinstance(done, e.Refusal):
            return refused(done)
        return Answer(f"done: {paths}{_by(done)}", data={"seq": done.seq, "allowance": done.licence.allowance})

    async def _shell(self, taken: a.Shell) -> Answer:
        self.session.settle("shell")
        launcher = self.session.world.launcher
        ran = await launcher.run(("sh", "-c", taken.command), wall_ms=taken.timeout_s * 1_000)
        settled = self.session.settle("shell", afresh=False)
        status = ran.end.exit_status if ran.end.outcome in ("exited", "signaled") else ran.end.outcome
        output = _middle((ran.stdout + ran.stderr).decode(errors="replace"), OUTPUT_CHARS_MAX)
        told = [f"exit status {status}", *settled_words(settled), output]
        taken_back = bool(settled.unclaimed)
        return Answer("\n".join(part for part in told if part), is_error=taken_back, data={"exit_status": status})

    # --- tests ------------------------------------------------------------------------------------------------------

    async def _run_tests(self, taken: a.RunTests) -> Answer:
        tests, files = await self.names.several(taken.tests)
        runs = await self.desk.ask(Asked(tests=tests, files=files))
        if not runs:
            return Answer("no test was found there", is_error=True)
        return Answer("\n".join(map(run_words, runs)), data={"runs": [_run_data(run) for run in runs]})

    async def _claim(self, taken: a.Claim) -> Answer:
        test = await self.names.one(taken.test)
        verdict = self.session.claim(test, taken.paths)
        if isinstance(verdict, e.Refusal):
            return refused(verdict)
        basis = " (claim_by_import)" if verdict.basis == "imported" else ""
        return Answer(f"claimed {spell(test)} for {', '.join(verdict.targets)}{basis}")

    async def _plan(self, taken: a.Plan) -> Answer:
        steps = tuple([self._step(number, step) for number, step in enumerate(taken.steps, 1)])
        problems = plan_problems(steps)
        if problems:
            return Answer("\n".join(problems), is_error=True)
        self.session.append(e.PlanSubmitted(steps=steps))
        return Answer("\n".join(plan_lines(self.session)), data={"steps": len(steps)})

    def _step(self, number: int, step: a.Step) -> e.PlanStep:
        try:
            test = self.names.named(step.test_id, step.test_file_path) if step.test_id is not None else None
        except UnknownTest as wrong:
            raise UnknownTest(f"step {number}: {wrong}") from wrong
        return e.PlanStep(text=step.text, test=test, test_file_path=step.test_file_path)

    async def _enter_refactor(self, taken: a.Nothing) -> Answer:
        done = await refactoring.enter_refactor(self.session, self.desk)
        if isinstance(done, e.Refusal):
            return refused(done)
        return Answer(f"refactor mode is on: {len(done.baseline)} green tests must stay green")

    async def _leave_refactor(self, taken: a.Nothing) -> Answer:
        done = await refactoring.leave_refactor(self.session, self.desk)
        if isinstance(done, e.Refusal):
            return refused(done)
        if done.is_green:
            return Answer("refactor mode is off: everything that was green is green")
        return Answer(f"refactor mode is off, and everything is as it was before: {done.why}", is_error=True)

    async def _end_turn(self, taken: a.Nothing) -> Answer:
        end = await end_turn(self.session, self.desk)
        return Answer(end.words(), is_error=not end.is_clean, data=turn_data(end))


# --- words ----------------------------------------------------------------------------------------------------------


def refused(refusal: e.Refusal) -> Answer:
    """The answer that a refusal is."""
    told = msgspec.to_builtins(refusal)
    return Answer(refusal_text(refusal), is_error=True, data={"refusal": told})


def _by(done: Applied) -> str:
    licence = done.licence
    if licence.allowance == "red" and licence.test is not None:
        return f" (for {spell(licence.test)})"
    if licence.would_refuse is not None:
        return f" (warning: {refusal_text(licence.would_refuse)})"
    return ""


def run_words(run: e.TestRun) -> str:
    """One run for the model."""
    where = f" at {run.where}" if run.where else ""
    said = run.message or REASONS[run.verdict]
    line = f"{spell(run.test)}: {run.verdict}" + ("" if run.verdict == "green" else f"{where}: {said}")
    if run.verdict in RED:
        files = [*run.executed, *run.phantoms] or list(run.imported)
        return f"{line} [concerns {', '.join(files[:6])}]" if files else line
    return line


def _run_data(run: e.TestRun) -> dict[str, Any]:
    return {"test": run.test.wire, "verdict": run.verdict, "passes": run.verdict in PASSING}


def settled_words(settled: Settled) -> list[str]:
    """What a scan found that the caller must know."""
    lines = [
        f"{change.path}: {'taken back' if write.is_restored else 'recorded'}, no red test asks for it ({write.why})"
        for write in settled.unclaimed
        for change in write.changes
    ]
    return [*lines, *settled.problems]


def turn_data(end: TurnEnd) -> dict[str, Any]:
    """The end of a turn for programs."""
    return {
        "turn": end.turn,
        "green": [run.test.wire for run in end.runs if run.purpose == "flush" and run.verdict in PASSING],
        "red": [run.test.wire for run in end.runs if run.purpose == "flush" and run.verdict in RED],
        "reverted": [change.path for revert in end.reverts for change in revert.changes],
        "pairs": [{"test": pair.test.wire, "weak": pair.is_weak} for pair in end.pairs],
    }


def plan_lines(session: GateSession) -> Sequence[str]:
    """The plan with one dot per step."""
    return [str(line) for line in plan_of(session.ledger)]


def _middle(text: str, most: int) -> str:
    """`text` with its middle cut out where it is too long."""
    text = text.rstrip()
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - most} characters left out ...\n{text[-half:]}"


__all__ = ["BY_NAME", "TOOLS", "Answer", "Dispatcher", "TestId", "Tool"]
