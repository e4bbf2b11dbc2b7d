"""What the programs of the fleet are told on their command lines: a field of the same name for each option.

A command hands over what it was given, whole (`msgspec.convert`): an option without its field, or of another type, is
an error at the first start, so no list of arguments is written twice.
"""

from __future__ import annotations

import msgspec


class ProgramFlags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all of them have."""

    host: str
    port: int
    """0: any that is free."""
    home: str | None
    token_file: str | None
    with_parent: bool
    owner_fd: int
    """-1: nobody holds the other end of a pipe."""


class QueenFlags(ProgramFlags, frozen=True, kw_only=True):
    """Of `penstock queen`."""

    queue_max: int | None
    limits: tuple[str, ...]
    """Of `QueenPolicy`, as `name=number`."""
    verbose: bool


class HiveFlags(ProgramFlags, frozen=True, kw_only=True):
    """Of `penstock hive`."""

    name: str | None
    queen: str | None
    """`none`: a hive alone."""
    advertise: str
    ports: tuple[int, int]
    """First and last; both 0: whatever is free."""
    workers_max: int | None
    idle_s: int | None
    load_s: int | None
    limits: tuple[str, ...]
    """Of `HivePolicy`, and of `WorkerPolicy` with `worker.` before them, as `name=number`."""
    memory_bytes: int
    """In place of the machine's; 0: the machine's."""
    devices: tuple[str, ...]
    """Others than the CPU, as `name=bytes`; `none` alone: none is looked for."""
    no_template: bool
    """Each worker is a program of its own, and none is forked."""
    started_by: str
    verbose: bool


class WorkerFlags(ProgramFlags, frozen=True, kw_only=True):
    """Of `penstock worker` by hand."""

    model: str
    worker_id: str | None
    hive_url: str
