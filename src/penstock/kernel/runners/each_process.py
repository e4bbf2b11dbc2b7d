"""One process for each test of a compiled binary: how `cargo test` and `go test` do so, and what comes back.

Harnesses of compiled languages run many tests in one process, which one test can leave, hang or fill with lines that
look like verdicts. So the tool is told to start `each/penstock_each.py` in place of each binary; it starts the binary
once for each test asked for. The tool itself is started once.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.launching import Launcher, Ran, Shown, make_nonce
from penstock.kernel.runner import MESSAGE_CHARS_MAX, OUTPUT_BYTES_MAX, Lines, TestOutcome
from penstock.ports import Mount, ProcessEnd

EACH = Path(__file__).parent / "each"
PIPE_ENV = "PENSTOCK_EACH_FD"


class Told(msgspec.Struct, frozen=True):
    """One line of `penstock_each.py`. `proof` None: the harness did not come to its end."""

    nonce: str
    kind: Literal["found", "begun", "ended"]
    binary: str
    place: str
    """The binary's working directory."""
    tests: tuple[str, ...] = ()
    test: str = ""
    status: int = 0
    stdout: str = ""
    stderr: str = ""
    proof: str | None = None
    duration_ms: int = 0


class EachOrder(msgspec.Struct, frozen=True):
    """`asked`: names by root source (cargo) or directory (go); None: every test of every binary."""

    nonce: str
    technology: Literal["cargo", "go"]
    asked: dict[str, list[str]] | None
    list_only: bool = False


@dataclass(frozen=True)
class Reading:
    """What one test's process says of it."""

    verdict: RunVerdict
    exception: str = ""
    where: str = ""
    message: str = ""
    phantoms: tuple[str, ...] = ()


@dataclass(frozen=True)
class EachRun:
    """A run of the tool: how it ended, and what was told of the binaries that it started."""

    ran: Ran
    told: tuple[Told, ...] = ()

    @property
    def found(self) -> tuple[Told, ...]:
        """The binaries that were started."""
        return tuple(each for each in self.told if each.kind == "found")

    @property
    def ended(self) -> tuple[Told, ...]:
        """The tests that ended."""
        return tuple(each for each in self.told if each.kind == "ended")


@dataclass
class EachProcess:
    """Starts the tool with our script in its hands. `warm`: a directory of ours that the tool keeps its builds in."""

    launcher: Launcher
    warm: Path | None = None
    _is_own: bool = field(default=False, init=False)

    def warm_directory(self) -> Path:
        """Made at first use, outside the tree."""
        if self.warm is None:
            self.warm, self._is_own = self.launcher.scratch_directory(), True
        self.warm.mkdir(parents=True, exist_ok=True)
        return self.warm

    @property
    def warm_inside(self) -> str:
        """Its place for those inside."""
        return "/penstock/warm" if self.launcher.is_confined else str(self.warm_directory())

    def close(self) -> None:
        """Discard the builds, unless they were lent to us."""
        if self._is_own and self.warm is not None:
            shutil.rmtree(self.warm, ignore_errors=True)
            self.warm = None

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, wall_ms: int) -> Ran:
        """Run the tool alone."""
        return await self.launcher.run(argv, env=env, cwd=cwd, shown=(self._shown_warm(),), wall_ms=max(1, wall_ms))

    async def run_each(
        self, argv: Sequence[str], order: EachOrder, *, env: Mapping[str, str], cwd: str, wall_ms: int
    ) -> EachRun:
        """Run the tool; in its `argv`, `EACH` (`EACH_JSON`: as a list) stands for our script and its order."""
        job = self.launcher.scratch_directory()
        try:
            shutil.copy(EACH / "penstock_each.py", job)
            (job / "order.json").write_bytes(msgspec.json.encode(order))
            shown = self.launcher.show(job, "each")
            script = [sys.executable, "-I", "-S", f"{shown.at}/penstock_each.py", f"{shown.at}/order.json"]
            ran = await self.launcher.run(
                [item.replace("EACH_JSON", json.dumps(script)).replace("EACH", shlex.join(script)) for item in argv],
                env=env,
                cwd=cwd,
                shown=(shown, self._shown_warm()),
                wall_ms=max(1, wall_ms),
                pipe_env=PIPE_ENV,
            )
            return EachRun(ran, told_in(ran.end.pipe, order.nonce))
        finally:
            self.launcher.discard(job)

    def _shown_warm(self) -> Shown:
        warm = str(self.warm_directory())
        if not self.launcher.is_confined:
            return Shown(at=warm)
        return Shown(at=self.warm_inside, mounts=(Mount(source=warm, target=self.warm_inside, writable=True),))


def told_in(pipe: bytes, nonce: str) -> tuple[Told, ...]:
    """The lines that are ours."""
    told: list[Told] = []
    for line in pipe.splitlines():
        with suppress(msgspec.DecodeError):
            each = msgspec.json.decode(line, type=Told)
            told += [each] if each.nonce == nonce else []
    return tuple(told)


def order_for(
    technology: Literal["cargo", "go"], asked: dict[str, list[str]] | None, *, list_only: bool = False
) -> EachOrder:
    """An order with a nonce of its own."""
    return EachOrder(nonce=make_nonce(), technology=technology, asked=asked, list_only=list_only)


def fate(end: ProcessEnd) -> Reading:
    """What becomes of tests without a last word."""
    match end.outcome:
        case "timeout" | "stalled":
            return Reading("timeout", message=end.message)
        case "not_started" | "flood":
            return Reading("runner_error", message=end.message)
        case "exited" | "signaled":
            return Reading("not_run", message="no test of that name was run")


def outcome_of(
    test: TestId,
    reading: Reading,
    *,
    duration_ms: int = 0,
    imported: tuple[str, ...] = (),
    executed: Lines | None = None,
) -> TestOutcome:
    """The outcome of one test."""
    return TestOutcome(
        test=test,
        verdict=reading.verdict,
        exception=reading.exception,
        where=reading.where,
        message=reading.message.strip()[:MESSAGE_CHARS_MAX],
        duration_ms=duration_ms,
        executed=executed or {},
        imported=imported,
        phantoms=reading.phantoms,
    )


def shown_output(run: EachRun) -> bytes:
    """The end of what the tool and the tests printed."""
    texts = [run.ran.stderr, *(f"{each.stdout}{each.stderr}".encode() for each in run.ended)]
    return b"\n".join(texts)[-OUTPUT_BYTES_MAX:]


SEVERITY: tuple[RunVerdict, ...] = ("green", "skipped", "not_run", "red_missing_target", "red_exception", "red_assert")


def worst(readings: Sequence[Reading]) -> Reading:
    """Of several words on one test the worst: what no list knows is worse than every red."""
    order = {verdict: index for index, verdict in enumerate(SEVERITY)}
    return max(readings, key=lambda reading: order.get(reading.verdict, len(SEVERITY)))


def relative_to(path: str, root: str) -> str | None:
    """`path` from the root, None where it lies elsewhere."""
    clean = os.path.normpath(os.path.join(root, path))
    return clean[len(root.rstrip("/")) + 1 :] if clean.startswith(root.rstrip("/") + "/") else None
