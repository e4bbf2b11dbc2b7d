"""The programs of the fleet, with what they are given: tokens, homes, adapters. Called by the command line."""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from msgspec.structs import replace

from penstock.adapters import keeper
from penstock.core.fleet.names import is_device, is_hive
from penstock.core.fleet.policy import HivePolicy, QueenPolicy, WorkerPolicy
from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.choices import choose
from penstock.fleet.first_parent import PARENT_PID
from penstock.fleet.limits import limited, split
from penstock.fleet.processes import name_process, open_many, tie_to_parent
from penstock.ports import BadInput, Problem
from penstock.wire.fleet_flags import HiveFlags, QueenFlags, WorkerFlags

KEEPER = (sys.executable, "-I", "-S", os.path.abspath(keeper.__file__), "{parent}", "--")
NO_DEVICES = "none"
WORKER = (sys.executable, "-m", "penstock.cli", "worker")


def serve_queen(flags: QueenFlags) -> int:
    """Until it was told to end. Raises `BadInput`."""
    from penstock.adapters.hives_sqlite import SqliteHives
    from penstock.fleet.queen.program import QueenOptions, run_queen

    chosen = choose(os.environ, home=flags.home, token_file=flags.token_file)
    policy = limited(QueenPolicy(), flags.limits)
    if flags.queue_max is not None:
        policy = replace(policy, queue_per_model_max=flags.queue_max)
    tie(flags.with_parent, flags.owner_fd)
    token = chosen.token(os.environ)
    options = QueenOptions(Path(chosen.home), flags.host, flags.port, token, policy, flags.verbose)
    name_process("penstock queen")
    open_many()
    return run_queen(options, SqliteHives(options.home / "registry.db"))


def serve_hive(flags: HiveFlags) -> int:
    """Until it was told to end. Raises `BadInput`, `FleetError`, `Unreachable`."""
    from penstock.adapters.devices_smi import SmiDevices
    from penstock.fleet.hive.options import HiveOptions
    from penstock.fleet.hive.program import run_hive

    is_alone = flags.queen == "none"
    queen = None if is_alone else flags.queen
    chosen = choose(os.environ, queen=queen, home=flags.home, token_file=flags.token_file)
    of_hive, of_worker = split(flags.limits, "worker.")
    options = HiveOptions(
        name=hive_name(flags.name),
        home=Path(chosen.home),
        models=Catalogue(Path(chosen.home), say).models,
        host=flags.host,
        port=flags.port,
        advertise=advertised(flags.advertise),
        queen="" if is_alone else chosen.queen,
        token=chosen.token(os.environ),
        policy=hive_policy(limited(HivePolicy(), of_hive), flags),
        worker_policy=limited(WorkerPolicy(), of_worker, "worker."),
        memory_bytes=flags.memory_bytes,
        devices=device_memory(flags.devices),
        finder=None if flags.devices else SmiDevices(os.environ, KEEPER),
        keeper=KEEPER,
        cold=WORKER,
        parent_pid=PARENT_PID if flags.with_parent else 0,
        has_template=not flags.no_template,
        started_by=flags.started_by,
        is_verbose=flags.verbose,
    )
    tie(False, flags.owner_fd)
    open_many()
    return run_hive(options)


def serve_worker(flags: WorkerFlags) -> int:
    """Until it was told to end. Raises `BadInput`."""
    from penstock.fleet.worker.program import main_by_hand

    chosen = choose(os.environ, home=flags.home, token_file=flags.token_file)
    found = Catalogue(Path(chosen.home), say).find(flags.model)
    if found is None:
        refuse("--model", "no model is called so", "see `penstock models list`, and `penstock models add`")
    tie(False, flags.owner_fd)
    return main_by_hand(
        found,
        worker_id=flags.worker_id or f"w-{secrets.token_hex(4)}",
        host=flags.host,
        port=flags.port,
        hive_url=flags.hive_url,
        nonce=os.environ.get("PENSTOCK_WORKER_NONCE", ""),
        token=chosen.token(os.environ),
        parent_pid=PARENT_PID if flags.with_parent else 0,
        keeper=KEEPER,
    )


def tie(with_parent: bool, owner_fd: int) -> None:
    """End with the parent, and with whoever holds the other end of the pipe. `first_parent` says which parent."""
    if with_parent or owner_fd >= 0:
        tie_to_parent(PARENT_PID if with_parent else 0, owner_fd)


def hive_name(written: str | None) -> str:
    """The name that was given, else the machine's own, as a DNS label. Raises `BadInput`."""
    if written is None:
        label = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower())[:63].strip("-")
        return label or "hive"
    if not is_hive(written):
        refuse("--name", "is no name of a hive", "a-z, 0-9 and - inside, at most 63")
    return written


def hive_policy(policy: HivePolicy, flags: HiveFlags) -> HivePolicy:
    """`policy`, with what the flags of their own say."""
    given: dict[str, int] = {"port_first": flags.ports[0], "port_last": flags.ports[1]}
    if flags.workers_max is not None:
        given["workers_max"] = flags.workers_max
    if flags.idle_s is not None:
        given["idle_ms_max"] = flags.idle_s * 1_000
    if flags.load_s is not None:
        given["load_ms_max"] = flags.load_s * 1_000
    return replace(policy, **given)


def device_memory(written: Sequence[str]) -> dict[str, int]:
    """Bytes by device, of `gpu0=24000000000`; nothing of `none` alone. Raises `BadInput`."""
    found: dict[str, int] = {}
    for said in () if tuple(written) == (NO_DEVICES,) else written:
        name, _, size = said.partition("=")
        if not (is_device(name) and name != "cpu" and size.isascii() and size.isdigit() and len(size) < 16):
            refuse("--device", "is no device with its memory", "write it as gpu0=24000000000, in bytes, or none alone")
        found[name] = int(size)
    return found


def advertised(host: str) -> str:
    """The name to tell others; empty: where it listens. Raises `BadInput`."""
    if host and not re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", host, re.ASCII):
        refuse("--advertise", "is no name and no address of a machine", "as in 10.0.0.6, or gpu.example.org")
    return host


def say(line: str) -> None:
    """Something that a person should know."""
    sys.stderr.write(line + "\n")


def refuse(flag: str, message: str, fix: str) -> NoReturn:
    """What the user wrote cannot be."""
    raise BadInput([Problem(file=flag, line=0, field="", message=message, fix=fix)])
