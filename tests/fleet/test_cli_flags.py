"""What a command of the fleet is given has a field of the same name and type where it is used."""

from __future__ import annotations

import click
import msgspec
import pytest

from penstock.cli.hive_command import hive
from penstock.cli.queen_command import queen
from penstock.cli.worker_command import worker
from penstock.wire.fleet_flags import HiveFlags, ProgramFlags, QueenFlags, WorkerFlags

PROGRAMS = [
    (queen, QueenFlags, []),
    (hive, HiveFlags, ["--device", "gpu0=24000000000", "--idle-s", "60", "--limit", "heartbeat_ms=500"]),
    (hive, HiveFlags, ["--ports", "any", "--workers-max", "3", "--name", "mill", "--queen", "none"]),
    (worker, WorkerFlags, ["--model", "tiny", "--worker-id", "w-1"]),
]
OF_THE_COMMAND = {"detach", "token_stdin", "order_fd"}


@pytest.mark.parametrize(("command", "kind", "words"), PROGRAMS)
def test_every_option_is_taken_with_its_type(
    command: click.Command, kind: type[ProgramFlags], words: list[str]
) -> None:
    given = command.make_context("program", list(words)).params
    flags = msgspec.convert({name: given[name] for name in given if name not in OF_THE_COMMAND}, kind)
    assert msgspec.structs.asdict(flags) == {name: given[name] for name in kind.__struct_fields__}
