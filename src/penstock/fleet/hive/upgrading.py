"""The hive becomes its own successor: an exec of the same command in the same process.

The children stay its children, the sockets stay open, and requests go on: they are between queen and workers. Before
that the new program is asked whether it starts, and whether it can read what it would be left. Nobody can connect to
the old one from then on; who does waits in the backlog for the new one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import msgspec

from penstock.fleet.hive.hive import Hive
from penstock.fleet.hive.kept import Kept, lay_down, read
from penstock.fleet.serving import SIGNALS

CHECK_S_MAX = 30.0
SETTLE_S_MAX = 6.0
"""For spawns that are being forked, and requests that are being answered. Who waits for a load is cut off."""
TICK_S = 0.01
HELD_BACK = (*SIGNALS, signal.SIGHUP)
CHECK = "from penstock.fleet.hive import program, upgrading; upgrading.check()"


async def why_not(kept: Kept, hive: Hive) -> str:
    """Why the new program would not go on with `kept`; empty where it would."""
    checking = subprocess.Popen(
        [sys.executable, "-c", CHECK], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    hive.visitors.add(checking.pid)
    try:
        _, said = await asyncio.to_thread(checking.communicate, msgspec.json.encode(kept), CHECK_S_MAX)
    except subprocess.TimeoutExpired:
        checking.kill()
        return f"it does not start within {CHECK_S_MAX:.0f} s"
    finally:
        await asyncio.to_thread(checking.wait)
        hive.visitors.discard(checking.pid)
    return said.decode(errors="replace").strip()[-500:] or "it fails" if checking.returncode else ""


def check() -> None:
    """In the new program: read what it would be left."""
    read(sys.stdin.buffer.read())


async def settle(hive: Hive) -> bool:
    """Wait until nothing is being forked; False where that takes too long."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while any(worker.is_ours and worker.child is None for worker in hive.roster.live()):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(TICK_S)
    return True


def become_successor(kept: Kept) -> None:
    """Does not return. Signals were held back, and are the successor's. Raises `OSError`."""
    lay_down(kept, os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def hold_signals() -> None:
    """Not to be heard by this thread. While another hears them, a signal may be lost with the mind that it was for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)


def hear_signals() -> None:
    """What was held back comes now: the handlers are there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
