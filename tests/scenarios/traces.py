"""What a fleet leaves behind: processes and ports.

Everything that a fleet starts has the folder of its scenario as working directory, or in its environment. A port is
known by the number that the kernel gave to its socket: whoever has the same port later is not taken for it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from penstock.fleet.processes import Process, identify

SOCKET = re.compile(r"socket:\[(\d+)\]")
LISTENS = "0A"


def living_in(root: Path) -> list[Process]:
    """Processes of that folder; zombies are none."""
    found = (identify(int(name)) for name in os.listdir("/proc") if name.isdigit() and _is_of(name, root))
    return [process for process in found if process is not None and process.pid != os.getpid()]


def command_of(pid: int) -> str:
    """As `ps` shows it; empty where it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def told(processes: list[Process]) -> list[str]:
    """For a message."""
    return [f"{process.pid}: {command_of(process.pid)}" for process in processes]


def _is_of(name: str, root: Path) -> bool:
    try:
        if Path(os.readlink(f"/proc/{name}/cwd")).is_relative_to(root):
            return True
        with open(f"/proc/{name}/environ", "rb") as file:
            return f"PENSTOCK_FLEET_HOME={root}".encode() in file.read()
    except OSError:
        return False


@dataclass
class Traces:
    """Of one folder. `sockets`: those that were seen to listen, with their ports."""

    root: Path
    sockets: dict[int, int] = field(default_factory=dict)

    def note(self) -> None:
        """Look which ports its processes listen at."""
        ports = listening()
        held = {inode for process in living_in(self.root) for inode in _sockets_of(process.pid)}
        self.sockets |= {inode: port for inode, port in ports.items() if inode in held}

    def leave_out(self, living: list[Process]) -> None:
        """Who may go on, with the ports that it listens at."""
        for process in living:
            for inode in _sockets_of(process.pid):
                self.sockets.pop(inode, None)

    def left(self) -> list[str]:
        """Processes and ports that are there still."""
        ports = [f"port {self.sockets[inode]}" for inode in listening() if inode in self.sockets]
        return told(living_in(self.root)) + ports


def listening() -> dict[int, int]:
    """Ports that somebody listens at, by the number of the socket."""
    found: dict[int, int] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS:
                found[int(words[9])] = int(words[1].rpartition(":")[2], 16)
    return found


def _sockets_of(pid: int) -> list[int]:
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if match := SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{fd}")):
                found.append(int(match[1]))
    except OSError:
        pass
    return found
