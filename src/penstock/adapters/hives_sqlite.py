"""What a queen remembers of hives, in one SQLite file: WAL, every commit flushed.

A file that cannot be read is set aside, with its journal, and begun anew: what was in it, the hives say again. What
the disk does not do is an `OSError`; the next call tries it again, from the beginning.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import msgspec

from penstock.core.fleet.known import KnownHive

FORMAT = 1
"""Kept as `user_version`."""
SCHEMA = f"""
create table hives (
    name text primary key, url text not null, instance text not null, epoch integer not null,
    seen_at_ms integer not null, version text not null, capabilities text not null, started_by text not null
) strict, without rowid;
pragma user_version = {FORMAT};
"""
BUSY_MS_MAX = 2_000
COLUMNS = tuple(field.name for field in msgspec.structs.fields(KnownHive))
DAMAGE = (apsw.CorruptError, apsw.NotADBError)
ERRNO = {apsw.FullError: errno.ENOSPC, apsw.ReadOnlyError: errno.EROFS, apsw.BusyError: errno.EBUSY}
SET_ASIDE_MAX = 100


class _Damaged(Exception):
    pass


class SqliteHives:
    """`HiveRegistry` in the file at `path`, which is made where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None
        self.set_aside = ""
        """Where a file was put that could not be read."""
        with contextlib.suppress(OSError):
            self._open()

    def rows(self) -> Sequence[KnownHive]:
        """See `HiveRegistry`."""
        with self._using() as connection:
            query = f"select {', '.join(COLUMNS)} from hives order by name"
            return [KnownHive(**dict(zip(COLUMNS, row, strict=True))) for row in connection.execute(query)]

    def save(self, row: KnownHive) -> None:
        """See `HiveRegistry`."""
        places = ", ".join("?" * len(COLUMNS))
        with self._using() as connection, connection:
            connection.execute(f"insert or replace into hives values ({places})", msgspec.structs.astuple(row))

    def close(self) -> None:
        """See `HiveRegistry`."""
        if self._connection is not None:
            with contextlib.suppress(apsw.Error):
                self._connection.close()
        self._connection = None

    @contextlib.contextmanager
    def _using(self) -> Iterator[apsw.Connection]:
        try:
            with self._naming():
                yield self._connection or self._open()
        except OSError:
            self.close()
            raise
        except _Damaged:
            self.close()
            self._put_aside()
            raise OSError(errno.EIO, "the registry was damaged, and is begun anew", str(self._path)) from None

    def _open(self) -> apsw.Connection:
        """Raises `OSError`."""
        try:
            self._connection = self._opened()
        except _Damaged:
            self._put_aside()
            try:
                self._connection = self._opened()
            except _Damaged as error:
                raise OSError(errno.EIO, str(error), str(self._path)) from None
        return self._connection

    def _opened(self) -> apsw.Connection:
        with self._naming(), contextlib.ExitStack() as undo:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
            undo.callback(connection.close)
            connection.set_busy_timeout(BUSY_MS_MAX)
            connection.transaction_mode = "IMMEDIATE"
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            self._make(connection)
            undo.pop_all()
            return connection

    def _make(self, connection: apsw.Connection) -> None:
        with connection:
            found = connection.pragma("user_version")
            if found == 0:
                connection.execute(SCHEMA)
            elif found != FORMAT:
                raise _Damaged(f"{self._path}: written in format {found}, this version of penstock knows {FORMAT}")
        connection.execute(f"select {', '.join(COLUMNS)} from hives limit 1").fetchall()
        if connection.pragma("quick_check") != "ok":
            raise _Damaged(f"{self._path}: damaged")

    def _put_aside(self) -> None:
        number = next(n for n in range(1, SET_ASIDE_MAX) if not self._aside(n).exists() or n == SET_ASIDE_MAX - 1)
        aside = self._aside(number)
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self._path}{ending}", f"{aside}{ending}")
        self.set_aside = str(aside)

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.damaged-{number}")

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as wrong:
            raise _Damaged(f"{self._path}: {wrong}") from None
        except apsw.SQLError as wrong:  # another schema
            raise _Damaged(f"{self._path}: {wrong}") from None
        except apsw.Error as wrong:
            number = ERRNO.get(type(wrong), errno.EIO)
            raise OSError(number, f"{os.strerror(number)} ({wrong})", str(self._path)) from None
