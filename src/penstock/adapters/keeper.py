"""Keeps a process tree together: `python -I -S keeper.py PARENT -- COMMAND ARGUMENT...`.

A daemon that leaves its session escapes its process group, but not its subreaper: whoever is orphaned below becomes a
child of this process. So nothing is left exactly when this process has no children, which `waitpid` tells without a
race. When the command ends, or PARENT dies, everything that is left is killed; then this exits with the command's
status, 128 + signal where a signal ended it. If this process is itself killed outright, its command dies with it;
what the command had already orphaned would stay.

Its start is paid for by every process tree, so it imports next to nothing: `typing` would double it.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # `signal` itself makes enumerations of these, for 10 ms
import ctypes
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TERMINATED = 128 + signal.SIGTERM


def main(arguments: list[str]) -> NoReturn:
    """Run the command that `arguments` name, and exit as it does."""
    parent, separator, *command = arguments
    assert separator == "--" and command
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, end_everything)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # comes first where we stood still when PARENT died
        signal.signal(signal.SIGHUP, end_everything)
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        os._exit(TERMINATED)
    child = os.fork()
    if child == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        become(command)
    status = wait_for(child)
    kill_children()
    os._exit(status)


def become(command: list[str]) -> NoReturn:
    """Turn into the command; 126 or 127 where there is no such thing, as a shell would."""
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def wait_for(child: int) -> int:
    """Exit status of `child`, the orphans that end before it reaped on the way."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def kill_children() -> None:
    """Kill until there is nobody to wait for: the children of the killed become ours, and their turn comes."""
    try:
        while True:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def children() -> list[int]:
    """Ids of our children: none of them can be used again before we have waited for it."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(name) == os.getpid()]


def parent_of(pid: str) -> int:
    """Id of the parent of `pid`, 0 where the process has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def end_everything(_signal: int, _frame: object) -> NoReturn:
    """Our parent is dead or wants us to end: nobody below outlives that."""
    kill_children()
    os._exit(TERMINATED)


if __name__ == "__main__":
    main(sys.argv[1:])
