"""Starts workers: by a fork of the template process, or cold where there is none.

Whatever the new process is to have is handed over as open descriptors: its socket, which listens already; the owner
pipe, whose other end only we hold; the log pipe; and, cold, its order. So no secret stands among its arguments, and no
other process can have its port in between.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import msgspec

from penstock.fleet import processes
from penstock.fleet.hive.child import Child, Held
from penstock.fleet.hive.template import ORDER_BYTES_MAX, Forked
from penstock.fleet.hive.worker_log import WorkerLog
from penstock.fleet.logs import Log
from penstock.fleet.orders import WorkerOrder

WARM_S_MAX = 10.0
"""From the start of the template to its first word."""
FORK_S_MAX = 3.0
RETRY_S = 1.0
TEMPLATE = "penstock.fleet.hive.template"


class NoTemplate(Exception):
    """Nothing can be forked now."""


class Spawner:
    """`cold`: the words that start a worker, before `--order-fd N`."""

    def __init__(self, cold: tuple[str, ...], log: Log, *, has_template: bool) -> None:
        self._cold, self._log = cold, log
        self._template = Template(log) if has_template else None

    def open(self) -> None:
        """Start the template. On the main thread."""
        if self._template is not None:
            self._template.open()

    def close(self) -> None:
        """No more forks; what was forked lives on. Idempotent."""
        if self._template is not None:
            self._template.close()

    def pids(self) -> set[int]:
        """Children of ours that are no workers."""
        return self._template.pids() if self._template is not None else set()

    def hear(self) -> None:
        """Take what the template has said already."""
        if self._template is not None:
            self._template.hear()

    async def spawn(self, order: WorkerOrder, listening: socket.socket, log: WorkerLog) -> Child:
        """The worker's process. Raises `OSError`. Our copy of the socket is closed: it would accept for a dead one."""
        owner_read, owner_write = os.pipe()
        log_read, log_write = os.pipe()
        with ExitStack() as kept, ExitStack() as theirs:
            for ours in (owner_write, log_read):
                kept.callback(os.close, ours)
            for given in (owner_read, log_write):
                theirs.callback(os.close, given)
            theirs.callback(listening.close)
            pid, pidfd, is_cold = await self._start(order, [listening.fileno(), owner_read, log_write])
            kept.pop_all()
        return Child(Held(pid=pid, pidfd=pidfd, owner_fd=owner_write, log_fd=log_read, is_cold=is_cold), log)

    async def _start(self, order: WorkerOrder, descriptors: list[int]) -> tuple[int, int, bool]:
        if self._template is not None:
            try:
                return (*await self._template.fork(order, descriptors), False)
            except NoTemplate as error:
                self._log.warning("spawning cold", worker_id=order.worker_id, why=str(error))
        return (*self._start_cold(order, descriptors), True)

    def _start_cold(self, order: WorkerOrder, descriptors: list[int]) -> tuple[int, int]:
        listening, owner, output = descriptors
        told = msgspec.structs.replace(order, listen_fd=listening, owner_fd=owner, parent_pid=os.getpid())
        order_fd = _as_file(msgspec.json.encode(told))
        try:
            started = subprocess.Popen(
                [*self._cold, "--order-fd", str(order_fd)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[listening, owner, order_fd],
                preexec_fn=processes.tied_before_exec(os.getpid()),
            )
        finally:
            os.close(order_fd)
        return _ours(started), os.pidfd_open(started.pid)


class Template:
    """The template process, as the hive sees it. When it dies it is started anew."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._process: Child | None = None
        self._control: socket.socket | None = None
        self._warm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked: dict[str, asyncio.Future[tuple[int, int]]] = {}
        self._unclaimed: set[int] = set()
        self._is_closed = False
        self._again: asyncio.TimerHandle | None = None

    def pids(self) -> set[int]:
        """Of the template, and of what it forked that nobody has taken over yet."""
        return self._unclaimed | ({self._process.pid} if self._process is not None else set())

    def open(self) -> None:
        """Start it; where that fails, later."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", TEMPLATE, str(theirs.fileno()), str(os.getpid())]
        try:
            started = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                preexec_fn=processes.tied_before_exec(os.getpid()),
            )
        except OSError as error:
            ours.close()
            self._lose(str(error))
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = ours
        pid = _ours(started)
        held = Held(pid=pid, pidfd=os.pidfd_open(pid), owner_fd=-1, log_fd=-1, is_cold=True)
        self._process = Child(held)
        self._process.ended.add_done_callback(lambda ended: self._lose(f"it ended with {ended.result()}"))
        asyncio.get_running_loop().add_reader(ours.fileno(), self.hear)

    def close(self) -> None:
        """End it; idempotent."""
        self._is_closed = True
        if self._again is not None:
            self._again.cancel()
        self._kill()
        self._drop("the hive ends")

    async def fork(self, order: WorkerOrder, descriptors: list[int]) -> tuple[int, int]:
        """Number and pidfd of a new worker, a child of ours. Raises `NoTemplate`, `OSError`."""
        if self._control is not None:
            await asyncio.wait({self._warm}, timeout=WARM_S_MAX)
        if self._control is None or not self._warm.done():
            raise NoTemplate("there is no template")
        asked = asyncio.get_running_loop().create_future()
        self._asked[order.worker_id] = asked
        try:
            data = msgspec.json.encode(order)
            assert len(data) < ORDER_BYTES_MAX
            socket.send_fds(self._control, [data], descriptors)
            pid, pidfd = await asyncio.wait_for(asked, FORK_S_MAX)
        except (OSError, TimeoutError) as error:
            self._kill()
            raise NoTemplate(f"the template does not fork: {error!r}") from None
        finally:
            self._asked.pop(order.worker_id, None)
        self._unclaimed.discard(pid)
        return pid, pidfd

    def _kill(self) -> None:
        if self._process is not None:
            self._process.send(signal.SIGKILL)

    def hear(self) -> None:
        """Take every message that is there."""
        while self._control is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, ORDER_BYTES_MAX, 1)
            except BlockingIOError:
                return
            except ConnectionError:
                data, descriptors = b"", []
            if not data:
                self._drop("it hung up")
                return
            self._take(msgspec.json.decode(data, type=Forked), descriptors)

    def _take(self, told: Forked, descriptors: list[int]) -> None:
        if not told.worker_id:
            if not self._warm.done():
                self._log.info("the template is there", pid=self._process.pid if self._process else 0)
                self._warm.set_result(None)
            return
        asked = self._asked.pop(told.worker_id, None)
        if asked is None or asked.done():
            for pidfd in descriptors:  # nobody waits for it any more
                processes.send(pidfd, signal.SIGKILL)
                os.close(pidfd)
        elif told.problem:
            asked.set_exception(NoTemplate(told.problem))
        else:
            self._unclaimed.add(told.pid)
            asked.set_result((told.pid, descriptors[0]))

    def _lose(self, why: str) -> None:
        self._drop(why)
        self._process = None
        if not self._is_closed:
            self._log.warning("the template is started anew", why=why)
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self.open)

    def _drop(self, why: str) -> None:
        """Say to whoever waits that nothing comes."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        was_awaited, self._warm = self._warm, asyncio.get_running_loop().create_future()
        if not was_awaited.done():
            was_awaited.set_result(None)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(NoTemplate(why))
        self._asked.clear()


def _as_file(data: bytes) -> int:
    """A descriptor to read `data` from."""
    fd = os.memfd_create("order")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _ours(started: subprocess.Popen[bytes]) -> int:
    """Its number; nobody but us waits for it, and `subprocess` does not warn of that."""
    started.returncode = 0
    return started.pid
