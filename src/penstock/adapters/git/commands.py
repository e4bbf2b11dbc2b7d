"""Runs git as a program that nobody else has configured.

A repository is code: its configuration names programs that ordinary git commands start (hooks, filters, text
conversion, merge drivers, monitors, pagers). Two things keep that code from running here. No git command of ours is
ever pointed at a directory that an agent could write; and every command gets this environment and nothing of the
user's, so that the only configuration left is that of the repository itself, with the dangerous keys overruled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

WALL_S_MAX = 120.0
OUTPUT_BYTES_MAX = 512 * 1024 * 1024
MESSAGE_CHARS_MAX = 2_000
ULIMIT_BLOCK_BYTES = 512
EVERY_STATUS = tuple(range(-64, 256))

HARDENED_CONFIG: dict[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.untrackedCache": "false",
    "core.safecrlf": "false",
    "checkout.workers": "2",
    "checkout.thresholdForParallelism": "1000",
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "commit.gpgSign": "false",
    "log.showSignature": "false",
    "diff.noprefix": "false",
    "diff.mnemonicPrefix": "false",
    "diff.renames": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.prune": "false",
    "fetch.writeCommitGraph": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "init.defaultBranch": "work",
    "safe.directory": "*",
}

_SWITCHES = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}


def config_environment(config: Mapping[str, str]) -> dict[str, str]:
    """Settings as environment variables: they overrule the repository's own."""
    numbered = list(enumerate(config.items()))
    keys = {f"GIT_CONFIG_KEY_{n}": key for n, (key, _) in numbered}
    values = {f"GIT_CONFIG_VALUE_{n}": value for n, (_, value) in numbered}
    return {"GIT_CONFIG_COUNT": str(len(config)), **keys, **values}


HARDENED_ENVIRONMENT: dict[str, str] = {**_SWITCHES, **config_environment(HARDENED_CONFIG)}
"""What every git command of ours has in common, inside a sandbox too."""


def outside_environment() -> dict[str, str]:
    """The hardened environment for a command that runs on the host."""
    return {"PATH": os.environ.get("PATH", os.defpath), **HARDENED_ENVIRONMENT}


def users_environment() -> dict[str, str]:
    """The user's own environment and configuration, for questions about the user's own settings; no hooks."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    switches = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_EDITOR": "false", "LC_ALL": "C"}
    quiet = config_environment({"core.hooksPath": "/dev/null", "core.fsmonitor": "false"})
    return {**own, **switches, **quiet}


@dataclass(frozen=True)
class GitEnd:
    """How a git command ended."""

    status: int
    stdout: bytes
    stderr: str
    is_cut: bool = False
    """It wrote more than it may: killed, and `stdout` is what came before."""

    @property
    def text(self) -> str:
        """Standard output as text without its last newline; bytes that are no UTF-8 as surrogates."""
        return as_text(self.stdout).rstrip("\n")


class GitFailed(OSError):
    """Git could not do it; the text is what it said."""


def as_text(data: bytes) -> str:
    """Bytes of git as text; bytes that are no UTF-8 become surrogates, so that nothing is lost."""
    return data.decode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    """A path as it goes into records: bytes that are no UTF-8 appear as `\\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Git:
    """Git, on one repository. `place` are the arguments that say which."""

    def __init__(self, *place: str, environment: Mapping[str, str] | None = None) -> None:
        self._place = place
        self._environment = dict(environment if environment is not None else outside_environment())

    def __call__(self, *arguments: str) -> tuple[str, ...]:
        """The argument vector of one command."""
        return ("git", *self._place, *arguments)

    async def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (0,),
        wall_s: float = WALL_S_MAX,
        file_bytes_max: int = 0,
    ) -> GitEnd:
        """Run to the end. Raises `GitFailed` on a status not in `ok`, on a time-out and on a flood.

        `file_bytes_max`: no file that it writes grows beyond it; 0 is no bound.
        """
        environment = {**self._environment, **(env or {})}
        argv = self(*arguments)
        if file_bytes_max:
            argv = ("sh", "-c", 'ulimit -f "$0" && exec "$@"', str(file_bytes_max // ULIMIT_BLOCK_BYTES), *argv)
        end = await run_bounded(argv, stdin, environment, wall_s, OUTPUT_BYTES_MAX)
        if end.is_cut:
            raise GitFailed(f"git {arguments[0]}: wrote more than {OUTPUT_BYTES_MAX} bytes")
        if end.status not in ok:
            said = end.stderr.strip() or f"exit status {end.status}"
            raise GitFailed(f"git {arguments[0]}: {said[-MESSAGE_CHARS_MAX:]}")
        return end

    async def head_of(self, *arguments: str, bytes_max: int) -> bytes:
        """The first bytes of what a command writes; it is stopped there."""
        end = await run_bounded(self(*arguments), b"", self._environment, WALL_S_MAX, bytes_max)
        return end.stdout

    async def ask(self, *arguments: str) -> str:
        """Standard output of a command that may fail: empty then."""
        end = await self.run(*arguments, ok=EVERY_STATUS)
        return end.text if end.status == 0 else ""


def at_git_dir(path: Path | str) -> Git:
    """Hardened git on the repository whose git directory is `path`."""
    return Git(f"--git-dir={path}")


async def run_bounded(
    argv: tuple[str, ...], stdin: bytes, env: Mapping[str, str], wall_s: float, output_bytes_max: int
) -> GitEnd:
    """Run `argv` in a session of its own; its process group is gone when this returns, whatever happens."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise GitFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(wall_s):
            return await _converse(process, stdin, output_bytes_max)
    except TimeoutError:
        raise GitFailed(f"{' '.join(argv[:3])}: took longer than {wall_s:g} s") from None
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _converse(process: asyncio.subprocess.Process, stdin: bytes, output_bytes_max: int) -> GitEnd:
    assert process.stdout is not None and process.stderr is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(process.stdin, stdin))
        errors = group.create_task(_read_dropping(process.stderr, 64 * 1024))
        output = bytearray()
        while len(output) <= output_bytes_max and (chunk := await process.stdout.read(1 << 16)):
            output += chunk
        if is_cut := len(output) > output_bytes_max:
            _kill(process)
    status = await process.wait()
    return GitEnd(status, bytes(output[:output_bytes_max]), errors.result().decode("utf-8", "replace"), is_cut)


async def _feed(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    if stream is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _read_dropping(stream: asyncio.StreamReader, bytes_max: int) -> bytes:
    """The first `bytes_max` bytes; what follows is read and dropped, so that the writer does not wait."""
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: bytes_max - len(kept)]
    return bytes(kept)
