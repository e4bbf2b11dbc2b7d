"""vitest (4.x) as the project has installed it: in one spawn, or by a server that keeps vite and vitest loaded.

The server forgets everything that it transformed before each run, and runs tests in fresh processes, so what it gives
is never stale. What it cannot forget is what vite itself has loaded: configuration, plugins, packages. It is started
anew when any of these change, and is not used where the configuration names a global set-up, which vitest runs once.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from penstock.core.redgreen.test_id import RunnerName
from penstock.kernel.launching import Launcher, Served, make_nonce
from penstock.kernel.project import upward
from penstock.kernel.runners.javascript import Reading, parse
from penstock.kernel.runners.javascript_modules import needs, read_text
from penstock.kernel.runners.javascript_spawn import SIDE, Heard, JavaScriptRunner, Wanted, failure_of

FIXED_NAMES = frozenset(
    {
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "pnpm-lock.yaml",
        "pnpm-workspace.yaml",
        "yarn.lock",
        "bun.lock",
        "bun.lockb",
    }
)
FIXED_STEMS = ("vite.config.", "vitest.config.", "vitest.workspace.", "tsconfig", "jsconfig", ".env")
INSTALLED = ("node_modules/.package-lock.json", "node_modules/.modules.yaml", "node_modules/vitest/package.json")
SKIPPED = frozenset({"node_modules", ".git"})
FOLDERS_MAX = 20_000
RECORDS_MAX = 1_000_000


class VitestRunner(JavaScriptRunner):
    """Runs tests of vitest, in child processes of the one that reports."""

    runner: RunnerName = "vitest"
    program = "vitest_server.mjs"


class WarmVitestRunner(VitestRunner):
    """The same, by a server; where that cannot be had, cold, and the report's note says why."""

    def __init__(self, launcher: Launcher, node: Sequence[str] = ("node",), directory: str = "") -> None:
        super().__init__(launcher, node, directory)
        self._served: Served | None = None
        self._basis = b""
        self._turn = asyncio.Lock()

    @property
    def served(self) -> Served | None:
        """The server, if there is one now."""
        return self._served

    async def close(self) -> None:
        """End the server."""
        async with self._turn:
            await self._stop()

    async def _hear(self, wanted: Wanted, wall_ms: int) -> Heard:
        async with self._turn:
            begun = time.monotonic()
            heard, why = await self._ask(wanted, wall_ms)
            if heard is not None:
                return heard
            left_ms = max(1, wall_ms - round((time.monotonic() - begun) * 1_000))
            cold = await self._spawn(wanted, left_ms)
            return Heard(cold.reading, cold.output, cold.timed_out, cold.failure, note=f"cold: {why}")

    async def _ask(self, wanted: Wanted, wall_ms: int) -> tuple[Heard | None, str]:
        """What the server told, or why it could not be asked."""
        basis = fixed_basis(self._launcher.top, self._node[0], self._directory)
        if basis is None:
            await self._stop()
            return None, "the configuration names a global set-up, which a server would run only once"
        why = await self._prepare(basis)
        if self._served is None:
            return None, why
        nonce, reading = make_nonce(), self._reading()
        try:
            line = self._line(nonce, wanted)
            await asyncio.wait_for(_listen(self._served, nonce, line, reading), wall_ms / 1_000)
        except TimeoutError:
            await self._stop()
            return Heard(reading, bytes(reading.output), timed_out=True, is_warm=True, note=why), ""
        except (OSError, ValueError) as error:
            said = self._served.said().decode(errors="replace").strip()
            await self._stop()
            return None, f"the server ended: {error!r} {said[-200:]}"
        failure = failure_of(reading, "", b"")
        return Heard(reading, bytes(reading.output), failure=failure, is_warm=True, note=why), ""

    async def _prepare(self, basis: bytes) -> str:
        """Have a server that was started on this basis; not empty: there was none."""
        if self._served is not None and self._served.is_alive and basis == self._basis:
            return ""
        why = "the server was started" if self._served is None else "the server was started anew"
        await self._stop()
        shown = self._launcher.show(SIDE, "javascript")
        try:
            cwd = self._launcher.inside(self._directory)
            argv = (*self._node, f"{shown.at}/{self.program}")
            self._served = await self._launcher.serve(argv, shown=(shown,), cwd=cwd)
        except OSError as error:
            return f"no server: {error}"
        self._basis = basis
        return why

    async def _stop(self) -> None:
        served, self._served = self._served, None
        if served is not None:
            with suppress(OSError):
                await served.close()


async def _listen(served: Served, nonce: str, line: bytes, reading: Reading) -> None:
    """Send the order and take in records until the last one. Raises `ConnectionResetError` where it never comes."""
    served.writer.write(line)
    await served.writer.drain()
    for _ in range(RECORDS_MAX):
        said = await served.reader.readline()
        if not said.endswith(b"\n"):
            break
        for told in parse(nonce, said):
            reading.take(told)
        if reading.end is not None:
            return
    raise ConnectionResetError("it ended before it answered")


# --- what a server stands on ----------------------------------------------------------------------------------------


def fixed_basis(top: Path, node: str, project: str = "") -> bytes | None:
    """Digest of all that the server of a project reads only once; None where a server cannot be right."""
    digest = hashlib.sha256(_trace_of(node).encode())
    installed = (os.path.join(each, name) for each in upward(project) for name in INSTALLED)
    for path in sorted({*_fixed_files(top, project), *installed}):
        text = _bytes_of(top / path)
        if b"globalSetup" in text and "config" in path:
            return None
        digest.update(f"{path}\0{len(text)}\0".encode() + text)
    return digest.digest()


def _fixed_files(top: Path, project: str) -> Iterator[str]:
    """Configuration in the project and above it, and what it imports."""
    places = (os.walk(top / each) for each in upward(project) if each != project)
    above = (next(place, ("", [], [])) for place in places)
    for count, (folder, folders, names) in enumerate(itertools.chain(above, os.walk(top / project))):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in names:
            if name in FIXED_NAMES or name.startswith(FIXED_STEMS):
                path = os.path.relpath(os.path.join(folder, name), top)
                yield path
                yield from needs(top, path) if name.startswith(("vite.", "vitest.")) else ()
        if count == FOLDERS_MAX:
            break


def _bytes_of(path: Path) -> bytes:
    return read_text(path).encode()


def _trace_of(node: str) -> str:
    found = os.path.realpath(shutil.which(node) or node)
    try:
        status = os.stat(found)
    except OSError:
        return found
    return f"{found} {status.st_size} {status.st_mtime_ns}"
