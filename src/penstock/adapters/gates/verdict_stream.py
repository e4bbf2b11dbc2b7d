"""Reads what came over the verdict pipe: lines of `NONCE JSON`, as hostile input.

Whoever writes may lie about each line, so nothing is believed that does not fit: a line without the nonce, over a cap,
of an unknown kind or for a test that was not announced is counted and dropped. Of several outcomes for one phase the
worst counts, so that a forged green cannot cover a red that was told; a phase that was not told makes the run
incomplete. Sessions are told apart by their process: a command may run pytest more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec

from penstock.core.comparison import SuiteRun, Unloadable
from penstock.core.policy import Frozen
from penstock.core.verdicts import RedKind, TestResult, TestResults, TestStatus

LINE_BYTES_MAX = 32_768
LINES_MAX = 3_000_000
ID_CHARS_MAX = 2_000
TEXT_CHARS_MAX = 2_200
MESSAGE_CHARS_MAX = 400
RESULTS_MAX = 500_000
MS_MAX = 10**9
UNLOADABLE_MAX = 1_000
SESSIONS_MAX = 1_000

Phase = Literal["setup", "call", "teardown"]
Outcome = Literal["passed", "skipped", "xfailed", "xpassed", "failed", "crashed"]
WORSE: tuple[Outcome, ...] = get_args(Outcome)
"""From the best to the worst: what counts of several is the one furthest to the right."""

INTERRUPTED, INTERNAL_ERROR, USAGE_ERROR = 2, 3, 4


class Said(Frozen, tag_field="t"):
    """Base of all lines. `s`: the process whose session it is."""

    s: int


class Loaded(Said, tag="loaded"):
    pytest: str


class Session(Said, tag="session"):
    pytest: str
    rootdir: str


class Item(Said, tag="item"):
    id: str
    file: str


class Collected(Said, tag="collected"):
    count: int


class CollectError(Said, tag="collect_error"):
    file: str
    line: int
    exception: str
    names: tuple[str, ...]
    message: str


class Result(Said, tag="result"):
    id: str
    file: str
    when: Phase
    outcome: Outcome
    kind: RedKind
    where: str
    message: str
    ms: int


class Finished(Said, tag="finished"):
    exit_status: int
    count: int


Line = Loaded | Session | Item | Collected | CollectError | Result | Finished

_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


@dataclass
class Told:
    """One pytest process, as far as it told."""

    began: bool = False
    collected: int | None = None
    finished: Finished | None = None
    items: dict[str, str] = field(default_factory=dict)
    phases: dict[str, dict[Phase, Result]] = field(default_factory=dict)
    unloadable: dict[str, Unloadable] = field(default_factory=dict)


@dataclass
class VerdictStream:
    """All that was told. `ignored` counts lines that were not believed."""

    sessions: dict[int, Told] = field(default_factory=dict)
    announced: int = 0
    ignored: int = 0

    @property
    def is_present(self) -> bool:
        """Did a pytest of the command load the plugin?"""
        return bool(self.sessions)


def read_stream(pipe: bytes, nonce: str) -> VerdictStream:
    """Read every line of the pipe. Raises nothing, whatever the bytes."""
    stream = VerdictStream()
    for line in _lines(pipe):
        said = _decode(line, nonce.encode() + b" ")
        if said is None or not _believe(stream, said):
            stream.ignored += 1
    return stream


def _lines(pipe: bytes) -> Iterator[bytes]:
    start = 0
    for _ in range(LINES_MAX):
        end = pipe.find(b"\n", start)
        if end < 0:
            return
        yield pipe[start : min(end, start + LINE_BYTES_MAX + 1)]
        start = end + 1


def _decode(line: bytes, prefix: bytes) -> Line | None:
    if not line.startswith(prefix) or len(line) > LINE_BYTES_MAX:
        return None
    try:
        return _decoder.decode(line[len(prefix) :])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _believe(stream: VerdictStream, said: Line) -> bool:
    told = stream.sessions.get(said.s)
    if isinstance(said, Loaded):
        if len(stream.sessions) >= SESSIONS_MAX:
            return False
        stream.sessions.setdefault(said.s, Told())
        return True
    if told is None:
        return False
    if isinstance(said, Session):
        told.began = True
        return True
    return told.began and _add(stream, told, said)


def _add(stream: VerdictStream, told: Told, said: Item | Collected | CollectError | Result | Finished) -> bool:
    match said:
        case Item():
            stream.announced += 1
            if told.collected is not None or stream.announced > RESULTS_MAX:
                return False
            if len(said.id) > ID_CHARS_MAX or len(said.file) > TEXT_CHARS_MAX:
                return False
            told.items.setdefault(said.id, said.file)
        case Collected():
            told.collected = max(told.collected or 0, said.count, len(told.items))
        case CollectError():
            if len(told.unloadable) >= UNLOADABLE_MAX or len(said.file) > TEXT_CHARS_MAX:
                return False
            told.unloadable.setdefault(said.file, _unloadable(said))
        case Result():
            return _add_result(told, said)
        case Finished():
            told.finished = told.finished or said
    return True


def _add_result(told: Told, said: Result) -> bool:
    if said.id not in told.items or max(len(said.file), len(said.where)) > TEXT_CHARS_MAX or not 0 <= said.ms <= MS_MAX:
        return False
    phases = told.phases.setdefault(said.id, {})
    before = phases.get(said.when)
    if before is None or WORSE.index(said.outcome) > WORSE.index(before.outcome):
        phases[said.when] = said
    return True


def _unloadable(said: CollectError) -> Unloadable:
    return Unloadable(
        file=said.file,
        line=max(0, said.line),
        names=tuple(n for n in said.names[:20] if len(n) <= TEXT_CHARS_MAX),
        message=said.message[:MESSAGE_CHARS_MAX],
    )


# --- what it amounts to ---------------------------------------------------------------------------------------------


def suite_of(stream: VerdictStream, exit_status: int, is_production: Callable[[str], bool]) -> SuiteRun:
    """All sessions as one run. `is_production` classifies paths: an exception tells where production code raised it."""
    results: dict[str, TestResult] = {}
    unloadable: dict[str, Unloadable] = {}
    for told in stream.sessions.values():
        for id, phases in told.phases.items():
            result = _result_of(id, told.items[id], phases, is_production)
            if result is not None and (id not in results or results[id].status == "green"):
                results[id] = result
        unloadable |= told.unloadable
    collected = sum(max(t.collected or 0, len(t.items)) for t in stream.sessions.values())
    unfinished = sum(max(t.collected or 0, len(t.items)) - _ended(t) for t in stream.sessions.values())
    began = [told for told in stream.sessions.values() if told.began]
    left = next((why for t in began if (why := _why_left(t, exit_status))), "")
    if not began:
        left = f"pytest ended before its session began (exit status {exit_status})"
    return SuiteRun(
        results=TestResults(
            runner="pytest", complete=not left and unfinished <= 0, results=tuple(results[id] for id in sorted(results))
        ),
        collected=collected,
        unloadable=tuple(unloadable[file] for file in sorted(unloadable)),
        left=left,
        exit_status=exit_status,
    )


def _why_left(told: Told, exit_status: int) -> str:
    if told.finished is None:
        return f"left before its session ended (exit status {exit_status})"
    status = told.finished.exit_status
    if status == INTERRUPTED and not told.unloadable:
        return "pytest was interrupted"
    return {INTERNAL_ERROR: "pytest had an internal error", USAGE_ERROR: "pytest was called wrongly"}.get(status, "")


def _ended(told: Told) -> int:
    """Tests with a last word: a tear-down, or a crash."""
    return sum("teardown" in p or _worst(p).outcome == "crashed" for p in told.phases.values())


def _worst(phases: dict[Phase, Result]) -> Result:
    return max(phases.values(), key=lambda r: WORSE.index(r.outcome))


def _result_of(
    id: str, file: str, phases: dict[Phase, Result], is_production: Callable[[str], bool]
) -> TestResult | None:
    """The phases as one result; None where the test did not end."""
    worst = _worst(phases)
    if "teardown" not in phases and worst.outcome not in ("failed", "crashed"):
        return None
    status = _status(phases, worst)
    is_red = status in ("red", "error")
    kind: RedKind = worst.kind if is_red else "other"
    if kind == "exception" and not is_production(worst.where.rpartition(":")[0]):
        kind = "other"
    return TestResult(
        id=id,
        status=status,
        file=file or worst.file,
        kind=kind,
        where=worst.where if is_red else "",
        message=worst.message[:MESSAGE_CHARS_MAX],
        duration_ms=sum(r.ms for r in phases.values()),
    )


def _status(phases: dict[Phase, Result], worst: Result) -> TestStatus:
    match worst.outcome:
        case "failed":
            return "red" if worst.when == "call" else "error"
        case "crashed":
            return "error"
        case "skipped":
            return "skipped"
        case "xfailed":
            return "xfail"
        case "xpassed":
            return "xpass"
        case "passed":
            return "green" if len(phases) == len(get_args(Phase)) else "error"
