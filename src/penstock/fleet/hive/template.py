"""A process that has imported all that a worker needs, and forks one when it is asked to: `python -m ... FD HIVE_PID`.

A worker is forked twice: its parent ends at once, so that the hive, which adopts orphans, becomes its parent. The hive
can then wait for it, hear of its end, and outlive this process, or replace it, at no worker's cost. Whoever forks it
opens the pidfd, as long as nobody else can have waited for it, and hands it to the hive. Orders that have come
meanwhile are the same one's to fork: of many at once, each costs little more than one fork.

    hive ──(order, listening socket, owner pipe, log pipe)──► template ─fork─► between ─fork─► worker
      ◄──────────────(pid, pidfd)───────────────────────────────────────────── ends

It has one thread: what another one would hold at a fork, the child would hold for ever.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple, NoReturn

import msgspec

from penstock.core.policy import Frozen
from penstock.fleet import processes
from penstock.fleet.orders import WorkerOrder

ORDER_BYTES_MAX = 262_144
DESCRIPTORS = 3
"""Of an order: the listening socket, the owner pipe, the log pipe."""
TOGETHER_MAX = 8
"""Workers of one process between: the first waits until the last is forked."""
WARM = (
    "penstock.fleet.worker.run",
    "penstock.fleet.worker.scripted",
    "penstock.fleet.worker.llama",
    "penstock.fleet.worker.upstream",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.lifespan.off",
    "uvloop",
    "encodings.idna",
)
"""What a worker imports, sooner or later. What is not there is not needed."""


class Forked(Frozen):
    """What the hive hears: a worker is there, or why not; at first, with no id, that forks can be asked for."""

    worker_id: str = ""
    pid: int = 0
    problem: str = ""


def main(arguments: list[str]) -> None:
    """Serve until the hive has gone."""
    control = socket.socket(fileno=int(arguments[0]))
    hive_pid = int(arguments[1])
    processes.name_process("penstock template")
    processes.die_with_parent(hive_pid)
    for name in WARM:
        _warm(name)
    _start_once()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()
    _tell(control, Forked(), [])
    while (order := _next(control)) is not None:
        _serve(control, hive_pid, order)


def _warm(name: str) -> None:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"penstock template: {error}\n")


def _start_once() -> None:
    from penstock.fleet.worker.run import warm_up

    warm_up()


class _Order(NamedTuple):
    """What is asked for, and what the worker is to have."""

    order: WorkerOrder
    descriptors: list[int]

    def close(self) -> None:
        """They are the worker's alone: not this process's, nor the next one's that it forks."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _next(control: socket.socket) -> _Order | None:
    """None: the hive has gone."""
    data, descriptors, _, _ = socket.recv_fds(control, ORDER_BYTES_MAX, DESCRIPTORS)
    return _Order(msgspec.json.decode(data, type=WorkerOrder), descriptors) if data else None


def _serve(control: socket.socket, hive_pid: int, order: _Order) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        between = os.fork()
    except OSError as error:
        _refuse(control, order, error)
    else:
        if between == 0:
            _be_between(control, hive_pid, order)
        os.waitpid(between, 0)
    order.close()


def _be_between(control: socket.socket, hive_pid: int, first: _Order) -> NoReturn:
    between = os.getpid()
    _fork_worker(control, hive_pid, between, first)
    for _ in range(1, TOGETHER_MAX):
        has_more, _, _ = select.select([control], [], [], 0)
        if not has_more or (order := _next(control)) is None:
            break
        _fork_worker(control, hive_pid, between, order)
    os._exit(0)


def _fork_worker(control: socket.socket, hive_pid: int, between: int, order: _Order) -> None:
    try:
        worker = os.fork()
    except OSError as error:
        _refuse(control, order, error)
    else:
        if worker == 0:
            _be_worker(control, hive_pid, between, order)
        pidfd = os.pidfd_open(worker)
        _tell(control, Forked(worker_id=order.order.worker_id, pid=worker), [pidfd])
        os.close(pidfd)
    order.close()


def _refuse(control: socket.socket, order: _Order, error: OSError) -> None:
    _tell(control, Forked(worker_id=order.order.worker_id, problem=str(error)), [])


def _be_worker(control: socket.socket, hive_pid: int, between: int, given: _Order) -> NoReturn:
    """Never returns into the code of the template."""
    status = 1
    try:
        control.close()
        os.setsid()
        _await_orphaned(between)
        processes.die_with_parent(hive_pid)
        listening, owner, output = given.descriptors
        _redirect(output)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        gc.enable()
        order = msgspec.structs.replace(given.order, listen_fd=listening, owner_fd=owner, parent_pid=hive_pid)
        status = _run(order)
    except BaseException:  # the supervisor of this process: what it says goes to the log, the status to the hive
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _await_orphaned(parent: int) -> None:
    """Until the parent has ended: whoever adopts us then is who we are to die with."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(parent)
        while os.getppid() == parent:
            select.select([pidfd], [], [])
        os.close(pidfd)


def _run(order: WorkerOrder) -> int:
    from penstock.fleet.worker.run import run_worker

    return run_worker(order, socket.socket(fileno=order.listen_fd))


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)


def _tell(control: socket.socket, told: Forked, descriptors: list[int]) -> None:
    socket.send_fds(control, [msgspec.json.encode(told)], descriptors)


if __name__ == "__main__":
    main(sys.argv[1:])
