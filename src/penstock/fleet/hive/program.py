"""The program `penstock hive`, for the command that is in front of it."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from penstock import __version__
from penstock.fleet import processes
from penstock.fleet.app import App
from penstock.fleet.calling import Caller
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.endpoints import Answers
from penstock.fleet.hive.hive import Hive
from penstock.fleet.hive.kept import Kept, found, keep, restore
from penstock.fleet.hive.options import HiveOptions
from penstock.fleet.hive.reporting import Reporter
from penstock.fleet.hive.upgrading import (
    SETTLE_S_MAX,
    TICK_S,
    become_successor,
    hear_signals,
    hold_signals,
    settle,
    why_not,
)
from penstock.fleet.logs import Log, quiet_uvicorn
from penstock.fleet.measures import Measures
from penstock.fleet.schema import API_VERSION, HiveReport
from penstock.fleet.serving import Server, bound, serve, url_of
from penstock.ports import BadInput, FoundDevices, Problem

new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with suppress(ImportError):
    from uvloop import new_event_loop as new_loop

SWEEP_S = 1.0
Say = Callable[[str], None]


def run_hive(options: HiveOptions, say: Say | None = None) -> int:
    """Serve until it was told to end: 0. From the main thread of a process of its own, for it adopts and kills orphans.

    Says one line when it can be reached. Raises `BadInput`; `FleetError` where the queen does not have it, or has
    another in its place.
    """
    if not processes.LINUX:
        raise BadInput([Problem(file="", line=0, field="", message="a hive needs Linux (pidfd, prctl)", fix="")])
    if options.parent_pid:
        processes.die_with_parent(options.parent_pid)
    processes.adopt_orphans()
    kept = found(os.environ)
    options = with_devices(options, kept)
    listening = _listening(options, kept)
    processes.name_process(f"penstock hive {options.name}")
    quiet_uvicorn()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_run(options, listening, kept, say or _say))


def with_devices(options: HiveOptions, kept: Kept | None) -> HiveOptions:
    """With what there is beside the CPU, where it was told of nothing: as its predecessor found it, else looked for.

    A successor does not look: what its workers hold would not be free, and would be counted twice.
    """
    if options.devices or options.finder is None:
        return options
    there = FoundDevices(devices=kept.devices, problems=kept.problems) if kept else options.finder.find()
    return replace(options, found=there)


async def _run(options: HiveOptions, listening: socket.socket, kept: Kept | None, say: Say) -> int:
    return await _Program(options, listening, kept, say).run()


def _listening(options: HiveOptions, kept: Kept | None) -> socket.socket:
    return bound(options.host, options.port, options.token) if kept is None else socket.socket(fileno=kept.listen_fd)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class _Program:
    """The parts, put together. `kept`: what a predecessor in this process left."""

    def __init__(self, options: HiveOptions, listening: socket.socket, kept: Kept | None, say: Say) -> None:
        self._options, self._listening, self._kept, self._say_line = options, listening, kept, say
        self._log = Log(f"hive {options.name}", verbose=options.is_verbose)
        self._instance = kept.instance if kept else secrets.token_hex(8)
        self._url = url_of(listening, options.advertise)
        self._handed_over = os.dup(listening.fileno())
        """The server closes its own when it accepts no more."""
        self._had_terminal = _has_terminal()
        self._overtaken: FleetError | None = None
        self._upgrading: asyncio.Task[None] | None = None
        self._tell_devices()
        measures = Measures("hive")
        self._reporter = Reporter(options.queen, options.token, self._log, self._report, self._note_overtaken)
        self._hive = Hive(options, url_of(listening), self._log, measures, self._reporter.changed)
        self._answers = Answers(self._hive, self._reporter.now, self._end)
        app = App("Penstock hive", self._answers.endpoints(), self._log, measures, options.token)
        self._app = _Counted(app)
        self._server = Server(self._app, self._ready, self._drain, cut=self._hive.cut)
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Until the end."""
        if self._kept is not None:
            self._reporter.epoch, self._reporter.number = self._kept.epoch, self._kept.number
            restore(self._kept, self._hive)
        try:
            await serve(self._server, self._listening)
        finally:
            await self._close()
        if self._overtaken is not None:
            raise self._overtaken
        return 0

    def _tell_devices(self) -> None:
        there = self._options.found
        if there.devices and self._kept is None:
            self._log.info("devices", found={each.name: each.memory_total for each in there.devices})
        if there.problems:
            self._log.warning("devices may be missing", why="; ".join(there.problems))

    async def _ready(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="hive", initializer=hold_signals))
        hear_signals()
        self._hive.spawner.open()
        self._tasks = [asyncio.ensure_future(self._reporter.run()), asyncio.ensure_future(self._keep_clean())]
        self._log.info("serving", url=self._url, pid=os.getpid(), instance=self._instance, resumed=bool(self._kept))
        if self._kept is None:
            self._say_line(f"hive {self._options.name} at {self._url}")
        await Caller(self._url).close()  # the first one loads its library: that costs no spawn
        gc.collect()
        gc.freeze()  # else a collection walks all modules, whenever many workers start

    async def _drain(self) -> None:
        await self._hive.drain()
        await self._reporter.say_last()

    async def _close(self) -> None:
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hive.close()
        os.close(self._handed_over)
        self._log.info("ended")

    async def _keep_clean(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._hive.forget_old()
            await self._hive.ending.sweep()

    def _end(self) -> None:
        """Drain, once; another time is no second signal."""
        if not self._hive.is_draining:
            self._hive.stop_spawning()
            self._server.drain()

    def _note_overtaken(self, error: FleetError) -> None:
        self._log.error("the queen does not have this hive; it ends", code=error.code, why=error.message)
        self._overtaken = error
        self._end()

    def _report(self, epoch: int, number: int) -> HiveReport:
        options, hive = self._options, self._hive
        return HiveReport(
            name=options.name,
            url=self._url,
            instance=self._instance,
            epoch=epoch,
            number=number,
            version=__version__,
            api_version=API_VERSION,
            state="draining" if hive.is_draining else "ready",
            devices=hive.devices(),
            problems=options.found.problems,
            offers=hive.offers(),
            workers=hive.infos(),
            workers_max=options.policy.workers_max,
            ports=hive.ports_left(),
            started_by=options.started_by,
        )

    # --- upgrade ----------------------------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        """Become the program that lies there now. Where the terminal has gone, it is the end that is meant."""
        if self._had_terminal and not _has_terminal():
            self._server.end()
        elif self._upgrading is None and not self._hive.is_draining:
            self._upgrading = asyncio.ensure_future(self._upgrade())

    async def _upgrade(self) -> None:
        self._log.info("upgrade")
        if why := await why_not(self._now(), self._hive):
            self._log.error("no upgrade: the new program does not go on", why=why)
        elif not await settle(self._hive):
            self._log.error("no upgrade: workers are being started for too long")
        elif not self._hive.is_draining:
            await self._hand_over()
        self._upgrading = None

    async def _hand_over(self) -> None:
        """Accept no more, answer what was asked, and go. What was heard before the signals were held is heeded."""
        hold_signals()
        for accepting in self._server.servers:
            accepting.close()
        self._answers.logs.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S_MAX / 3):
                while self._app.active:
                    await asyncio.sleep(TICK_S)
        await settle(self._hive)
        await asyncio.sleep(TICK_S)
        if self._hive.is_draining:
            hear_signals()
            return
        for each in self._tasks:
            each.cancel()
        self._hive.spawner.close()
        self._log.info("handing over", workers=len(self._hive.roster.live()))
        try:
            become_successor(self._now())
        except OSError as error:
            self._log.error("the exec failed; it ends", why=str(error))
            hear_signals()
            self._server.drain()

    def _now(self) -> Kept:
        return keep(self._hive, self._instance, self._reporter.epoch, self._reporter.number, self._handed_over)


class _Counted:
    """An application, and how many requests it answers just now."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.active -= 1


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
