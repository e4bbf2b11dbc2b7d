"""Finds graphics cards by asking the program that comes with their driver.

| program | what is asked | what it says |
|---|---|---|
| `nvidia-smi` | `--query-gpu=index,memory.total,memory.free --format=csv,noheader,nounits` | a line a card, in MiB |
| `rocm-smi` | `--showmeminfo vram --json` | an object a card, in bytes, as text |

A driver in trouble makes these programs hang, for good where the kernel waits for the card: so each has a few seconds,
is killed with all that is below it, and is not waited for after that. Neither promises that its output stays as it is:
what cannot be read is a problem that is told, never a guess. Cards are called gpu0, gpu1... by the number that the
program gives them. Those that the environment hides (`CUDA_VISIBLE_DEVICES`, `HIP_VISIBLE_DEVICES`) are not there.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from penstock.core.fleet.parties import Device
from penstock.ports import FoundDevices

ASK_S_MAX = 5.0
DEATH_S_MAX = 0.5
"""For one that was killed."""
OUTPUT_BYTES_MAX = 1_048_576
CARDS_MAX = 100
PROBLEM_CHARS_MAX = 200
MIB = 1_048_576
NVIDIA = ("nvidia-smi", "--query-gpu=index,memory.total,memory.free", "--format=csv,noheader,nounits")
ROCM = ("rocm-smi", "--showmeminfo", "vram", "--json")
NUMBER = re.compile(r"[0-9]{1,2}", re.ASCII)
UUID = re.compile(r"GPU-[0-9A-Fa-f-]{1,64}", re.ASCII)
LINE = re.compile(r"(?P<index>[0-9]{1,2}), *(?P<total>[0-9]{1,9}), *(?P<free>[0-9]{1,9})", re.ASCII)
NO_MEMORY = re.compile(r"(?P<index>[0-9]{1,2}),.*\[.*\].*", re.ASCII)
"""A card that shares the machine's memory, or does not say: `[N/A]`, `[Not Supported]`."""
CARD = re.compile(r"card(?P<index>[0-9]{1,2})", re.ASCII)
TOTAL, USED = "vram total memory (b)", "vram total used memory (b)"
TELL = "tell it with --device gpu{index}=BYTES"


class _Failed(Exception):
    """One sentence."""


class SmiDevices:
    """`ports.DeviceFinder`. Cards of AMD are looked for where there are none of NVIDIA: both are called gpu0.

    `keeper`: words before a command, so that nothing of it outlives this process, which is `{parent}`.
    """

    def __init__(self, env: Mapping[str, str], keeper: Sequence[str] = (), ask_s_max: float = ASK_S_MAX) -> None:
        self._env, self._ask_s_max = env, ask_s_max
        self._keeper = tuple(word.replace("{parent}", str(os.getpid())) for word in keeper)

    def find(self) -> FoundDevices:
        """As the port."""
        problems: list[str] = []
        for ask in (self._nvidia, self._rocm):
            found = self._asked(ask)
            problems += found.problems
            if found.devices:
                return FoundDevices(devices=found.devices, problems=tuple(problems))
        return FoundDevices(problems=tuple(problems))

    def _asked(self, ask: Callable[[], FoundDevices]) -> FoundDevices:
        try:
            return ask()
        except _Failed as failed:
            return FoundDevices(problems=("".join(filter(str.isprintable, str(failed)))[:PROBLEM_CHARS_MAX],))

    def _nvidia(self) -> FoundDevices:
        shown = _shown(self._env.get("CUDA_VISIBLE_DEVICES"), (NUMBER, UUID), "CUDA_VISIBLE_DEVICES")
        if shown == () or not self._has(NVIDIA[0]):
            return FoundDevices()
        by_uuid = shown is not None and any(map(UUID.fullmatch, shown))
        said = self._said([*NVIDIA, *([f"--id={','.join(shown or ())}"] if by_uuid else [])])
        found = read_nvidia(said)
        return found if shown is None or by_uuid else _only(found, shown)

    def _rocm(self) -> FoundDevices:
        name = "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in self._env else "CUDA_VISIBLE_DEVICES"
        if not self._has(ROCM[0]) or (shown := _shown(self._env.get(name), (NUMBER,), name)) == ():
            return FoundDevices()
        if "ROCR_VISIBLE_DEVICES" in self._env:
            raise _Failed(f"ROCR_VISIBLE_DEVICES gives the cards other numbers: {TELL.format(index=0)}")
        found = read_rocm(self._said(ROCM))
        return found if shown is None else _only(found, shown)

    def _has(self, program: str) -> bool:
        return shutil.which(program, path=self._env.get("PATH", "")) is not None

    def _said(self, argv: Sequence[str]) -> str:
        """Its whole stdout. Raises `_Failed`."""
        program = shutil.which(argv[0], path=self._env.get("PATH", "")) or argv[0]
        try:
            process = subprocess.Popen(
                [*self._keeper, program, *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**self._env, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise _Failed(f"{argv[0]} cannot be started: {error.strerror}") from None
        assert process.stdout is not None
        with process.stdout as output:
            try:
                return _read(process, output.fileno(), argv[0], self._ask_s_max)
            finally:
                _end(process)


def read_nvidia(said: str) -> FoundDevices:
    """What `nvidia-smi` said. Raises `_Failed`."""
    devices: dict[str, Device] = {}
    problems: list[str] = []
    for line in filter(None, map(str.strip, said.splitlines())):
        if found := LINE.fullmatch(line):
            name, total, free = f"gpu{int(found['index'])}", int(found["total"]) * MIB, int(found["free"]) * MIB
            if name in devices or not 0 < total >= free:
                raise _Failed(f"nvidia-smi said what cannot be: {line}")
            devices[name] = Device(name=name, memory_total=total, memory_free=free)
        elif found := NO_MEMORY.fullmatch(line):
            problems.append(f"nvidia-smi says no memory of card {found['index']}: {TELL.format(index=found['index'])}")
        else:
            raise _Failed(f"nvidia-smi said what cannot be read: {line}")
    if not devices and not problems:
        raise _Failed("nvidia-smi named no card")
    return FoundDevices(devices=tuple(devices.values()), problems=tuple(problems[:CARDS_MAX]))


def read_rocm(said: str) -> FoundDevices:
    """What `rocm-smi` said; warnings may stand before it. Raises `_Failed`."""
    try:
        told = msgspec.json.decode(said[said.index("{") :], type=dict[str, dict[str, str]])
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise _Failed("rocm-smi said what cannot be read") from None
    devices = [_card(int(found["index"]), card) for name, card in told.items() if (found := CARD.fullmatch(name))]
    return FoundDevices(devices=tuple(sorted(devices, key=lambda device: int(device.name[3:]))))


def _card(index: int, card: Mapping[str, str]) -> Device:
    told = {name.lower(): value for name, value in card.items()}
    try:
        total, used = int(told[TOTAL]), int(told[USED])
    except (KeyError, ValueError):
        raise _Failed(f"rocm-smi says no memory of card {index}: {TELL.format(index=index)}") from None
    if not 0 < total >= used >= 0:
        raise _Failed(f"rocm-smi said what cannot be of card {index}")
    return Device(name=f"gpu{index}", memory_total=total, memory_free=total - used)


def _shown(said: str | None, forms: Sequence[re.Pattern[str]], name: str) -> tuple[str, ...] | None:
    """The cards that may be seen; None: all. As CUDA reads it: whatever comes after a word that is none is hidden."""
    if said is None:
        return None
    words: list[str] = []
    for word in map(str.strip, said.split(",")):
        if word.startswith("MIG-") and not words:
            raise _Failed(f"{name} names a part of a card: {TELL.format(index=0)}")
        if not any(form.fullmatch(word) for form in forms):
            break
        words.append(word)
    return tuple(words)


def _only(found: FoundDevices, shown: Sequence[str]) -> FoundDevices:
    names = {f"gpu{int(number)}" for number in shown}
    devices = tuple(device for device in found.devices if device.name in names)
    return FoundDevices(devices=devices, problems=found.problems)


def _read(process: subprocess.Popen[bytes], output: int, name: str, seconds: float) -> str:
    """Until it has ended, and well. Raises `_Failed`."""
    deadline, data = time.monotonic() + seconds, bytearray()
    while select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not (piece := os.read(output, 65_536)):
            break
        data += piece
        if len(data) > OUTPUT_BYTES_MAX:
            raise _Failed(f"{name} does not stop talking")
    try:
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _Failed(f"{name} did not answer within {seconds:g} s") from None
    said = data.decode(errors="replace")
    if status:
        first = next(filter(None, map(str.strip, said.splitlines())), "")
        raise _Failed(f"{name} exited with status {status}{': ' if first else ''}{first}")
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of it. Who waits for a card inside the kernel does not die before that answers."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(DEATH_S_MAX)
