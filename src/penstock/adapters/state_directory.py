"""What Penstock keeps in a repository, and who may write it: `.git/penstock/`.

```
lock         held by the one live writer; names its process
epoch        the fence: how often the lock was taken, never less than before
ledger.json  what all runs of the repository have learned
store.git    objects and refs of ours
blobs/  envs/  clones/
runs/RUN/    log.sqlite  jobs/  control.sock
```
The lock is the kernel's: it ends with the process that holds it, however that ends, and never otherwise. No child keeps
it, because its descriptor is closed on exec. The epoch fences a writer that thinks that it still holds it.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock import durable
from penstock.ports import AlreadyRunning, BadInput, Problem


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def log(self) -> Path:
        """The log; its snapshot and SQLite's own files lie beside it."""
        return self.path / "log.sqlite"

    @property
    def jobs(self) -> Path:
        """One directory per job."""
        return self.path / "jobs"

    @property
    def control(self) -> Path:
        """The socket that operator commands come by."""
        return self.path / "control.sock"


class StateDirectory:
    """`.git/penstock/`, given the repository's common git directory. Nothing is made before it is acquired."""

    def __init__(self, git_common_dir: Path) -> None:
        self.path = git_common_dir / "penstock"
        self.store = self.path / "store.git"
        self.blobs = self.path / "blobs"
        self.envs = self.path / "envs"
        self.clones = self.path / "clones"
        self.ledger = self.path / "ledger.json"
        self._runs = self.path / "runs"
        self._lock_file = self.path / "lock"
        self._epoch_file = self.path / "epoch"
        self._lock: int | None = None

    def acquire(self) -> int:
        """Become the one writer until `release` or the end of this process; gives the new epoch, durable.

        Raises `AlreadyRunning` naming who holds it, `BadInput` where the epoch cannot be read.
        """
        assert self._lock is None, "acquired already"
        for directory in (self.path, self._runs, self.blobs, self.envs, self.clones):
            directory.mkdir(mode=0o700, exist_ok=True)
        self._lock = self._take_lock()
        try:
            epoch = self._read_epoch() + 1
            durable.write_whole(self._epoch_file, f"{epoch}\n".encode())
        except (OSError, BadInput):
            self.release()
            raise
        return epoch

    def release(self) -> None:
        """Let the next writer in; idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def make_run(self, now_ms: int) -> RunDirectory:
        """A directory for a new run, which is named by the time it begins (UTC)."""
        assert self._lock is not None, "only the writer begins a run"
        begun = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC).strftime("%Y%m%d-%H%M%S")
        taken = sum(1 for run in self.runs() if run.run.startswith(begun))
        made = RunDirectory(self._runs / (f"{begun}-{taken + 1:02}" if taken else begun))
        made.path.mkdir(mode=0o700)
        made.jobs.mkdir(mode=0o700)
        durable.flush_names(self._runs)
        return made

    def runs(self) -> list[RunDirectory]:
        """All runs, newest first."""
        if not self._runs.is_dir():
            return []
        return [RunDirectory(path) for path in sorted(self._runs.iterdir(), reverse=True) if path.is_dir()]

    def newest_run(self, is_wanted: Callable[[RunDirectory], bool]) -> RunDirectory | None:
        """The newest run that is wanted: one whose log says that it has not finished."""
        return next(filter(is_wanted, self.runs()), None)

    def _take_lock(self) -> int:
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 200).decode(errors="replace").strip() or "which has not said its name yet"
            os.close(lock)
            raise AlreadyRunning(f"another penstock run holds this repository: {holder}") from None
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()}, since {since}\n".encode(), 0)
        return lock

    def _read_epoch(self) -> int:
        try:
            return int(self._epoch_file.read_bytes())
        except FileNotFoundError:
            return 0
        except ValueError:
            fix = "write into it a number above the epoch of every run so far, for example 1000000"
            problem = Problem(file=str(self._epoch_file), line=0, field="", message="this is no number", fix=fix)
            raise BadInput([problem]) from None
