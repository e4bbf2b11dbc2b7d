"""The program `penstock worker`, for the command that is in front of it.

    main_from_order(fd)          a hive spawned it: the order is the JSON on `fd`, up to its end
    main_by_hand(order, ...)     a person started it; prints `worker ID at URL` once it can be reached

Both give the exit code: 0 drained, 1 failed. Raise `BadInput` where an order or an address is not sound.
"""

from __future__ import annotations

import os
import socket
import sys

import msgspec

from penstock.core.fleet.names import is_worker
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.serving import bound
from penstock.fleet.worker.run import run_worker
from penstock.ports import BadInput, Problem


def main_from_order(order_fd: int) -> int:
    """Its descriptor is read and closed; the listening socket is `order.listen_fd`, inherited."""
    try:
        with os.fdopen(order_fd, "rb") as stream:
            order = msgspec.json.decode(stream.read(), type=WorkerOrder)
        listening = socket.socket(fileno=order.listen_fd)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise _bad("--order-fd", f"is no order of a hive: {error}") from None
    return run_worker(order, listening)


def main_by_hand(
    model: Model,
    *,
    worker_id: str,
    host: str = "127.0.0.1",
    port: int = 0,
    hive_url: str = "",
    nonce: str = "",
    token: str = "",
    parent_pid: int = 0,
    keeper: tuple[str, ...] = (),
) -> int:
    """`hive_url`: empty for a worker that tells nobody. `parent_pid`: not 0 for one that ends with its parent."""
    if not is_worker(worker_id):
        raise _bad("--worker-id", "is letters, digits, `_` and `-`, at most 64")
    with bound(host, port, token) as listening:
        order = WorkerOrder(
            worker_id=worker_id,
            model=model,
            listen_fd=listening.fileno(),
            hive_url=hive_url,
            nonce=nonce,
            token=token,
            parent_pid=parent_pid,
            keeper=keeper,
        )
        return run_worker(order, listening, lambda url: _say(f"worker {worker_id} at {url}"))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _bad(field: str, message: str) -> BadInput:
    return BadInput([Problem(file="", line=0, field=field, message=message, fix="")])
