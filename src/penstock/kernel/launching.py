"""How runners start processes on the working tree: confined as the settings say, and never an orphan.

A runner sees paths as they are inside: `root` is the tree's own. What it must show to its process (a plugin, a list of
ids) it lays into a directory and asks `show` for the place that directory has inside.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from penstock.ports import Confinement, Mount, ProcessEnd, Processes, ProcessOrder, Sandbox

OUTPUT_BYTES_MAX = 20_000_000
PIPE_BYTES_MAX = 100_000_000


@dataclass(frozen=True)
class Ran:
    """A process tree that ended; nothing of it is left. `pipe`: what came over the inherited pipe."""

    end: ProcessEnd
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Shown:
    """A directory of ours, and the place it has for those inside."""

    at: str
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True)
class Launcher:
    """Starts processes in one working tree. `confinement` is the tree's; its `home` is shared by all of them."""

    processes: Processes
    sandbox: Sandbox
    confinement: Confinement
    scratch: Path
    """Directory of ours, outside the tree, for jobs; emptied as they end."""
    keeper: tuple[str, ...] = ()
    """Argument vector before that of a served process: keeps its tree together and dies with us."""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def top(self) -> Path:
        """The working tree on the host."""
        return Path(self.confinement.checkout.path)

    @property
    def root(self) -> str:
        """The working tree as those inside see it."""
        return self.confinement.checkout.at if self.is_confined else self.confinement.checkout.path

    def inside(self, directory: str) -> str:
        """The place, for those inside, of a directory of the tree."""
        return f"{self.root}/{directory}".rstrip("/")

    @property
    def is_confined(self) -> bool:
        """Whether those inside see nothing that is not mounted."""
        return self.sandbox.isolation().filesystem

    def show(self, directory: Path, name: str) -> Shown:
        """Make `directory` readable inside, read-only where that can be had."""
        if not self.is_confined:
            return Shown(at=str(directory))
        at = f"/penstock/{name}"
        return Shown(at=at, mounts=(Mount(source=str(directory), target=at),))

    def scratch_directory(self) -> Path:
        """A fresh directory for one job; `discard` it."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="job-", dir=self.scratch))

    def discard(self, directory: Path) -> None:
        """Delete what `scratch_directory` gave."""
        shutil.rmtree(directory, ignore_errors=True)

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        shown: Sequence[Shown] = (),
        cwd: str | None = None,
        stdin: bytes = b"",
        wall_ms: int = 60_000,
        pipe_env: str = "",
    ) -> Ran:
        """Run to the end, `cwd` (as seen inside) the root by default. `pipe_env`: as in `ProcessOrder`."""
        job = self.scratch_directory()
        try:
            order = ProcessOrder(
                command=self.sandbox.wrap(argv, self._confined(env, shown), cwd),
                job_dir=str(job),
                stdin=stdin,
                wall_ms=wall_ms,
                output_bytes_max=OUTPUT_BYTES_MAX,
                pipe_env=pipe_env,
                pipe_bytes_max=PIPE_BYTES_MAX,
            )
            end = await self.processes.run(order)
            return Ran(end=end, stdout=_read(job / "stdout"), stderr=_read(job / "stderr"))
        finally:
            self.discard(job)

    async def serve(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        shown: Sequence[Shown] = (),
        cwd: str | None = None,
    ) -> Served:
        """Start a process that stays, with a socket of its own: its number is in `PENSTOCK_SERVE_FD`.

        `cwd` as in `run`. Raises `OSError` where it cannot be started. Its output goes to files of ours, and it dies
        with us.
        """
        job = self.scratch_directory()
        ours, theirs = socket.socketpair()
        try:
            confined = self._confined({**(env or {}), "PENSTOCK_SERVE_FD": str(theirs.fileno())}, shown)
            confined = msgspec.structs.replace(confined, keep_fds=(*confined.keep_fds, theirs.fileno()))
            command = self.sandbox.wrap(argv, confined, cwd)
            with open(job / "stdout", "wb") as stdout, open(job / "stderr", "wb") as stderr:
                process = await asyncio.create_subprocess_exec(
                    *self.keeper,
                    *command.argv,
                    cwd=command.cwd,
                    env=command.env,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                    pass_fds=(theirs.fileno(),),
                )
        except OSError:
            ours.close()
            self.discard(job)
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=PIPE_BYTES_MAX)
        return Served(self, process, reader, writer, job)

    def _confined(self, env: Mapping[str, str] | None, shown: Sequence[Shown]) -> Confinement:
        confinement = self.confinement
        mounts = (*confinement.mounts, *(mount for each in shown for mount in each.mounts))
        merged = {**confinement.env, **self.env, **(env or {})}
        return msgspec.structs.replace(confinement, env=merged, mounts=mounts)


class Served:
    """A process that stays, and lines of bytes to and from it."""

    def __init__(
        self,
        launcher: Launcher,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        job: Path,
    ) -> None:
        self._launcher, self._process, self._job = launcher, process, job
        self.reader, self.writer = reader, writer

    @property
    def pid(self) -> int:
        """Of the keeper where there is one."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def ask(self, line: bytes, wall_ms: int) -> bytes:
        """Send one line and wait for one. Raises `TimeoutError`, and `ConnectionError` when it ended instead."""
        self.writer.write(line.rstrip(b"\n") + b"\n")
        await self.writer.drain()
        answer = await asyncio.wait_for(self.reader.readline(), wall_ms / 1_000)
        if not answer.endswith(b"\n"):
            raise ConnectionResetError("the served process ended before it answered")
        return answer

    def said(self) -> bytes:
        """The end of what it wrote to stderr."""
        return _read(self._job / "stderr")[-20_000:]

    async def close(self) -> None:
        """End it and all below it; idempotent."""
        self.writer.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 2)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        self._launcher.discard(self._job)


def make_nonce() -> str:
    """What tells our own plugin's lines from everybody else's."""
    return secrets.token_hex(16)


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - OUTPUT_BYTES_MAX))
            return file.read()
    except OSError:
        return b""
