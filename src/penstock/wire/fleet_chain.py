"""A fleet for one purpose: a queen and a hive that are started for it, and end with it however that ends.

They are tied to this process (`--with-parent`, and a pipe that only this process writes to), and have sessions of their
own, so that Ctrl-C is for this process alone: it tells them to end when it has done with them.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.fleet.calling import Unreachable
from penstock.fleet.client import QueenClient
from penstock.fleet.errors import FleetError

START_S_MAX = 20.0
END_S_MAX = 40.0
"""For draining; then it is killed."""
LOOK_S = 0.02
ADDRESS = re.compile(rb"\S+(?: \S+)? at (http://\S+)\n")
TOLD_BYTES_MAX = 2_000


class NotStarted(Exception):
    """A program of the chain did not come up; the text has its last words."""


@dataclass(frozen=True)
class Chain:
    """Where its queen is, and where its programs write their logs."""

    url: str
    logs: Path


@asynccontextmanager
async def started_chain(home: str, token_file: str, hive: str) -> AsyncIterator[Chain]:
    """A queen and one hive, which has its models from `home`. Raises `NotStarted`."""
    async with AsyncExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-fleet-")))
        shared = ("--with-parent", *(("--token-file", token_file) if token_file else ()))
        queen = ("queen", "--port", "0", "--home", str(logs), *shared)
        url = await stack.enter_async_context(_started(queen, logs / "queen.log"))
        words = ("hive", "--name", hive, "--port", "0", "--ports", "any", "--queen", url, "--home", home, *shared)
        await stack.enter_async_context(_started(words, logs / "hive.log"))
        yield Chain(url, logs)


async def until_listed(client: QueenClient, hive: str, limit_s: float = START_S_MAX) -> bool:
    """Wait until the queen lists the hive as ready; False: not within the time."""
    try:
        async with asyncio.timeout(limit_s):
            while not await is_listed(client, hive):
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return False
    return True


async def is_listed(client: QueenClient, hive: str) -> bool:
    """Whether the queen hears it now."""
    try:
        return any(each.name == hive and each.state == "ready" for each in (await client.hives()).hives)
    except (FleetError, Unreachable):
        return False


@asynccontextmanager
async def _started(words: tuple[str, ...], log: Path) -> AsyncIterator[str]:
    """One program, and where it is reached."""
    owner, ours = os.pipe()
    try:
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "penstock.cli", *words, "--owner-fd", str(owner)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                pass_fds=(owner,),
                start_new_session=True,
            )
        os.close(owner)
        try:
            yield await _address(process, words[0], log)
        finally:
            await _end(process)
    finally:
        os.close(ours)


async def _address(process: asyncio.subprocess.Process, who: str, log: Path) -> str:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_S_MAX)
    except TimeoutError:
        line = b""
    found = ADDRESS.fullmatch(line)
    if found is None:
        raise NotStarted(f"the {who} did not start: {_last_words(log)}")
    return found[1].decode()


def _last_words(log: Path) -> str:
    said = log.read_bytes()[-TOLD_BYTES_MAX:].decode(errors="replace").strip()
    return said or "it said nothing"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Tell it to drain; kill it where it does not end, or where this is cancelled."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_S_MAX)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
