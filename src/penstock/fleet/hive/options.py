"""What a hive is told at its start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.core.fleet.parties import Device
from penstock.core.fleet.policy import HivePolicy, WorkerPolicy
from penstock.fleet.hive.backends import why_not
from penstock.fleet.orders import Model
from penstock.ports import DeviceFinder, FoundDevices

COLD = (sys.executable, "-m", "penstock.cli", "worker")


@dataclass(frozen=True, kw_only=True)
class HiveOptions:
    """`models` is asked anew each time. `why_not`: why a model cannot be served here, empty where it can.

    `advertise`: the host that others are told, empty for the address that it listens at. `queen`: empty for a hive of
    its own. `parent_pid`: of the process that it is to end with, 0 for none. `memory_bytes`: in place of the machine's,
    0 for that. `devices`: memory of others than the CPU, by name. `finder`: asked for those where it is told of none.
    `found`: what it found. `keeper`: words before the command of a worker's child. `cold`: words that start a worker.
    """

    name: str
    home: Path
    models: Callable[[], Sequence[Model]]
    host: str = "127.0.0.1"
    port: int = 9200
    advertise: str = ""
    queen: str = ""
    token: str = field(default="", repr=False)
    policy: HivePolicy = field(default_factory=HivePolicy)
    worker_policy: WorkerPolicy = field(default_factory=WorkerPolicy)
    keeper: tuple[str, ...] = ()
    cold: tuple[str, ...] = COLD
    has_template: bool = True
    memory_bytes: int = 0
    devices: Mapping[str, int] = field(default_factory=dict)
    finder: DeviceFinder | None = None
    found: FoundDevices = field(default_factory=FoundDevices)
    parent_pid: int = 0
    shows_output: bool = False
    """What workers say goes to stderr as well."""
    started_by: str = ""
    """`ssh://user@host` where it was started so."""
    is_verbose: bool = False
    why_not: Callable[[Model], str] = why_not

    def beside(self) -> dict[str, Device]:
        """What there is beside the CPU, by kind and number, with the memory that was free before any worker came."""
        told = [Device(name=name, memory_total=size, memory_free=size) for name, size in self.devices.items()]
        return {device.name: device for device in sorted([*told, *self.found.devices], key=_by_number)}


def _by_number(device: Device) -> tuple[str, int]:
    kind = device.name.rstrip("0123456789")
    return kind, int(device.name.removeprefix(kind))
