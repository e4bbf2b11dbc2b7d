"""A process that has imported all that is installed and none of the project, and forks for each run.

It holds the project's own pytest with its plugins, and the third-party modules that the tree's files import; never the
project and never a `conftest.py`, which are read anew in each fork. It has one thread, since only one survives a fork.
What a fork leaves behind is adopted and killed before the answer is given, so a hung test costs its deadline and no
more. A run is refused as `stale` when what was imported may be no longer what is installed or configured.

The forks get the pipe, never the socket: only this process speaks with whoever asks.
"""

from __future__ import annotations

import ast
import base64
import ctypes
import gc
import json
import os
import re
import select
import signal
import site
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from .entry import carry_out, load_session, take_environment
from .mutants import Planted, plans, read_lines
from .places import Pipe, Tree

PR_SET_CHILD_SUBREAPER = 36
SCANNED_FILES_MAX = 3_000
OUTPUT_BYTES_MAX = 200_000
MUTANT_WALL_S = 1.0
"""A mutant that takes longer, and `SLOWER_MAX` times as long as the sound code, hangs, and so is noticed."""
SLOWER_MAX = 5
SETTINGS = re.compile(
    r"(pyproject\.toml|setup\.(py|cfg)|pytest\.(ini|toml)|\.pytest\.(ini|toml)|tox\.ini|Pipfile|.*\.lock|requirements.*)"
)
_IMPORT = re.compile(r"^(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+\(?([\w, \t\n]*)|import[ \t]+([^\n#;]+))", re.MULTILINE)


class Ended(NamedTuple):
    """A fork that is no more, and nobody below it."""

    pipe: bytes
    output: bytes
    status: int
    is_killed: bool
    ms: int


def main() -> None:
    """Serve until the other end closes."""
    told = take_environment()
    with socket.socket(fileno=int(told["PENSTOCK_SERVE_FD"])) as connection:
        connection.set_inheritable(False)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        server: Server | None = None
        for line in connection.makefile("rb"):
            request = json.loads(line)
            if request["do"] == "open":
                server = Server(request, connection)
                answer = server.opened()
            else:
                assert server is not None
                answer = server.answer(request)
            connection.sendall(json.dumps(answer).encode("ascii") + b"\n")


class Server:
    """What is imported, and the forks."""

    def __init__(self, request: Mapping[str, Any], connection: socket.socket) -> None:
        self._connection = connection
        self._tree = Tree(request["root"], request["project"])
        self._path = list(sys.path)
        sys.path[:] = [path for path in sys.path if not self._tree.has_directory(path or os.getcwd())]
        self._seen = self._look()
        self._session = load_session(request["runner"])
        self._session.warm_up(self._tree)
        self._imported = preload(self._tree)
        gc.collect()
        gc.freeze()

    def opened(self) -> dict[str, Any]:
        """Whether it can be forked."""
        ours = [name for name, module in list(sys.modules.items()) if self._tree.file_of(module)]
        why = ""
        if ours:
            why = f"an installed package imports {ours[0]}, which is the project's own"
        elif threading.active_count() > 1:
            names = ", ".join(thread.name for thread in threading.enumerate()[1:])
            why = f"an installed package starts a thread when it is imported: {names}"
        return {"why": why, "imported": self._imported}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """To one request: what a fork told, `stale`, or mutants."""
        if self._look() != self._seen:
            return {"stale": "what is installed or configured has changed"}
        if request["do"] == "mutate":
            return self._mutate(request)
        ended = self._run(request["order"], request["nonce"], request["wall_ms"] / 1_000)
        return {
            "pipe": ended.pipe.decode("ascii", "replace"),
            "output": base64.b64encode(ended.output).decode("ascii"),
            "status": ended.status,
            "is_killed": ended.is_killed,
            "ms": ended.ms,
        }

    def _look(self) -> list[Any]:
        """What a fork inherits, as far as files tell."""
        named = [
            (each, name)
            for each in self._tree.directories()
            for name in sorted(os.listdir(each))
            if SETTINGS.fullmatch(name)
        ]
        places = [os.path.join(each, name) for each, name in named]
        user = site.getusersitepackages() if site.ENABLE_USER_SITE else ""
        installed = [*site.getsitepackages(), user, sys.executable, os.path.join(sys.prefix, "pyvenv.cfg")]
        return [_stamp(place) for place in (*places, *installed)]

    # --- forks ------------------------------------------------------------------------------------------------------

    def _run(self, order: Mapping[str, Any], nonce: str, wall_s: float, planted: Any = None) -> Ended:
        def work(fd: int) -> None:
            sys.path[:] = self._path
            carry_out(order, Pipe(fd, nonce), planted)

        return self._forked(work, wall_s)

    def _forked(self, work: Callable[[int], None], wall_s: float) -> Ended:
        begun = time.monotonic()
        read_end, write_end = os.pipe()
        with tempfile.TemporaryFile() as output:
            pid = os.fork()
            if pid == 0:
                self._become(output.fileno(), read_end)
                _leave_after(work, write_end)
            os.close(write_end)
            pipe, status, is_killed = _attend(pid, read_end, begun + wall_s)
            os.close(read_end)
            kill_children()
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - OUTPUT_BYTES_MAX))
            return Ended(pipe, output.read(), status, is_killed, round((time.monotonic() - begun) * 1_000))

    def _become(self, output: int, read_end: int) -> None:
        """A process of its own session that holds nothing of ours but the pipe."""
        os.setsid()
        os.close(read_end)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._connection.fileno(), inheritable=False)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)

    # --- planted defects --------------------------------------------------------------------------------------------

    def _mutate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + request["wall_ms"] / 1_000
        planned = self._planned(request["lines"])
        sound = self._tried(request, request["wall_ms"] / 1_000)
        hang_s = max(MUTANT_WALL_S, SLOWER_MAX * sound["ms"] / 1_000)
        tried: list[dict[str, Any]] = []
        for plan in planned[: request["mutants_max"]]:
            left_s = max(0.0, deadline - time.monotonic())
            seen = self._tried(request, min(left_s, hang_s), {plan.path: plan.planted()})
            if seen["is_killed"] and left_s < hang_s:
                break
            tried.append({"path": plan.path, "line": plan.line, "what": plan.what, **seen})
        return {"mutants": tried, "planned": len(planned), "sound": sound}

    def _tried(self, request: Mapping[str, Any], wall_s: float, planted: Any = None) -> dict[str, Any]:
        ended = self._run(request["order"], request["nonce"], wall_s, planted)
        return {"pipe": ended.pipe.decode("ascii", "replace"), "is_killed": ended.is_killed, "ms": ended.ms}

    def _planned(self, lines: Mapping[str, str]) -> list[Planted]:
        found = [plan for path in sorted(lines) for plan in self._plans_of(path, read_lines(lines[path]))]
        return _one_per_line_first(found)

    def _plans_of(self, path: str, lines: frozenset[int]) -> list[Planted]:
        try:
            with open(os.path.join(self._tree.root, path), "rb") as file:
                return list(plans(path, ast.parse(file.read()), lines))
        except (OSError, SyntaxError, ValueError):
            return []


def _one_per_line_first(found: Iterable[Planted]) -> list[Planted]:
    """The first mutant of each line, then the second of each, and so on."""
    turns: dict[tuple[str, int], int] = {}
    ranked = []
    for plan in found:
        turn = turns[plan.path, plan.line] = turns.get((plan.path, plan.line), -1) + 1
        ranked.append((turn, plan))
    return [plan for _, plan in sorted(ranked, key=lambda each: each[0])]


def _stamp(place: str) -> Any:
    try:
        status = os.stat(place)
    except OSError:
        return None
    return place, status.st_mtime_ns, status.st_size, status.st_ino


def _leave_after(work: Callable[[int], None], fd: int) -> None:
    try:
        work(fd)
    finally:
        sys.excepthook(*sys.exc_info())
        os._exit(70)


def _attend(pid: int, pipe: int, deadline: float) -> tuple[bytes, int, bool]:
    """Read until the fork has ended, or kill it: what it told, its status, and whether it was killed."""
    told = bytearray()
    os.set_blocking(pipe, False)
    pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    poll = select.poll()
    for fd in (pipe, pidfd):
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    is_killed = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        told += _drained(pipe)
        if ended:
            break
        left = deadline - time.monotonic()
        if left <= 0 and not is_killed:
            is_killed = True
            os.kill(pid, signal.SIGKILL)
        for fd, _ in poll.poll(max(1, min(1_000 if pidfd >= 0 else 10, int(left * 1_000) + 1))):
            if fd == pipe:
                chunk = _drained(pipe)
                told += chunk
                if not chunk:
                    poll.unregister(pipe)
    told += _drained(pipe)
    if pidfd >= 0:
        os.close(pidfd)
    return bytes(told), os.waitstatus_to_exitcode(status), is_killed


def _drained(pipe: int) -> bytes:
    told = bytearray()
    with suppress(BlockingIOError):
        while chunk := os.read(pipe, 1 << 16):
            told += chunk
    return bytes(told)


def kill_children() -> None:
    """Kill until there is nobody to wait for: the children of the killed become ours, and their turn comes."""
    with suppress(ChildProcessError):
        while True:
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    own = os.getpid()
    try:
        with open(f"/proc/self/task/{own}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return list(_children_by_search(own))


def _children_by_search(own: int) -> Iterator[int]:
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{int(name)}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[1]) == own:
                yield int(name)


# --- what is imported beforehand ------------------------------------------------------------------------------------


def preload(tree: Tree) -> list[str]:
    """Import what files of the tree import from outside it; gives the names of the packages."""
    wanted = wanted_imports(tree)
    tops = {name.partition(".")[0] for name in wanted}
    outside = {top for top in sorted(tops) if _is_outside(tree, top)}
    for name in sorted(wanted):
        if name.partition(".")[0] in outside:
            with suppress(Exception, SystemExit):
                module = import_module(name)
                for each in sorted(wanted[name]):
                    if not hasattr(module, each) and hasattr(module, "__path__"):
                        import_module(f"{name}.{each}")
    return sorted(outside)


def wanted_imports(tree: Tree) -> dict[str, set[str]]:
    """Modules that files of the tree import at their left margin, and names taken from each."""
    wanted: dict[str, set[str]] = {}
    for path in _python_files(tree):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            for source, names, plain in _IMPORT.findall(file.read()):
                if source and not source.startswith("."):
                    wanted.setdefault(source, set()).update(re.findall(r"\w+", names))
                for each in plain.split(","):
                    if found := re.match(r"\s*([\w.]+)", each):
                        wanted.setdefault(found[1], set())
    return wanted


def _python_files(tree: Tree) -> Iterator[str]:
    count = 0
    for directory, inner, names in os.walk(tree.project):
        inner[:] = sorted(each for each in inner if tree.has_directory(os.path.join(directory, each)))
        for name in names:
            if name.endswith(".py") and count < SCANNED_FILES_MAX:
                count += 1
                yield os.path.join(directory, name)


def _is_outside(tree: Tree, top: str) -> bool:
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None or top in ("__main__", "__future__"):
        return False
    places = [spec.origin or "", *(os.path.join(path, "x") for path in spec.submodule_search_locations or ())]
    return not any(tree.relative(place) for place in places)
