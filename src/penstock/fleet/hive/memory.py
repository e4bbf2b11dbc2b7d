"""How much memory there is for models, and how much one takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from fractions import Fraction

import msgspec

from penstock.core.fleet.parties import Device
from penstock.fleet.errors import FleetError
from penstock.fleet.measures import Measures
from penstock.fleet.orders import Model

ROOM = Fraction(12, 10)
"""Of a model's file: weights, and what is kept for its slots."""
CPU = "cpu"


def required_bytes(model: Model) -> int:
    """What a worker of it takes; 0 where that is not known."""
    if model.memory_bytes or model.backend != "llama":
        return model.memory_bytes
    return int(_file_bytes(model) * ROOM)


def _file_bytes(model: Model) -> int:
    try:
        return os.path.getsize(model.path)
    except OSError:
        return model.bytes


def cpu_device(limit_bytes: int, held: Iterable[int], coming: Iterable[int]) -> Device:
    """The memory of this machine. `limit_bytes`: in place of what it has, 0 for none.

    `held`: what each live worker was given; `coming`: those of them that have not taken theirs yet.
    """
    if limit_bytes:
        return Device(name=CPU, memory_total=limit_bytes, memory_free=max(0, limit_bytes - sum(held)))
    total, available = _meminfo()
    return Device(name=CPU, memory_total=total, memory_free=max(0, min(available - sum(coming), total - sum(held))))


def left_of(device: Device, held: Iterable[int]) -> Device:
    """A device as it was before any worker came. `held`: what each live worker on it was given."""
    return msgspec.structs.replace(device, memory_free=max(0, device.memory_free - sum(held)))


def refuse_too_large(required: int, device: Device) -> None:
    """Raise `FleetError` where there is no room."""
    if required > device.memory_free:
        message = f"the model needs {required} bytes, {device.name} has {device.memory_free} free"
        details = {"device": device.name, "required_bytes": required, "available_bytes": device.memory_free}
        raise FleetError("INSUFFICIENT_MEMORY", message, details)


def show_memory(measures: Measures, names: Iterable[str], read: Callable[[str], Device]) -> None:
    """Have each device measured: all its memory, and what is free of it, read when it is asked for."""
    shown = measures.gauge("memory_bytes", "Memory of a device, all of it and what is free.", ("device", "kind"))
    for name in names:
        shown.labels(name, "total").set_function(lambda name=name: read(name).memory_total)  # type: ignore[misc]
        shown.labels(name, "free").set_function(lambda name=name: read(name).memory_free)  # type: ignore[misc]


def _meminfo() -> tuple[int, int]:
    """Bytes: all, and what can be had without swapping."""
    found: dict[str, int] = {}
    with open("/proc/meminfo") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0]) * 1_024
    return found["MemTotal"], found["MemAvailable"]
