"""The log of a run in one SQLite file: WAL, every commit flushed, one writer, any number of readers.

One row per record, with the head of the chain after it; one row of `meta`, which says where the log ends and
which epoch writes it. An append is one transaction that first moves that end from where this writer left it,
under its own epoch: the fence, the compare-and-swap and the guard against a cut tail are one statement.

A failed commit is in doubt, not undone: its bytes may have reached the file before the flush failed, and SQLite
may find them whole after a crash. So a writer that failed once appends nothing more; opening the log again tells
what is there.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NoReturn, Self, TypeVar

import apsw
import msgspec

from penstock import durable
from penstock.core import codec
from penstock.core.chain import Row, Tip, broken, extend, follow
from penstock.core.digest import Digest, digest_of_bytes
from penstock.core.events import Chained, Record
from penstock.core.policy import Frozen
from penstock.core.redgreen import events as redgreen
from penstock.ports import BadInput, Corrupt, Fenced, Problem

SCHEMA = """
create table records (seq integer primary key, bytes blob not null, head blob not null) strict;
create table meta (
    id integer primary key check (id = 1),
    format integer not null, run text not null, epoch integer not null,
    seq integer not null, head blob not null
) strict;
"""
BUSY_MS_MAX = 5_000
PAGE_ROWS = 4_096
"""Read at a time, so that a slow reader holds no old version of the file back."""
INSERT_ROWS = 25
"""Written by one statement: fewer calls into SQLite than one for each."""

DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.ConstraintError)
ERRNO = {apsw.FullError: errno.ENOSPC, apsw.ReadOnlyError: errno.EROFS, apsw.BusyError: errno.EBUSY}


class LogFailed(OSError):
    """The disk did not do it: full, unwritable, unreadable. Open the log again to know where it ends."""


class Snapshot(Frozen):
    """The file beside the log: a cache of the folded state."""

    seq: int
    head: Digest
    code: Digest
    digest: Digest
    """Of `state`."""
    state: bytes


def is_safe(sqlite: str) -> bool:
    """Whether this SQLite is free of the WAL-reset fault (3.7.0 to 3.51.2), which loses commits."""
    version = tuple(int(part) for part in sqlite.split("."))
    return not (3, 7, 0) <= version <= (3, 51, 2)


R = TypeVar("R", bound=Chained)


class _InOneFile(Generic[R]):
    """`ChainedLog` in one file, by `create`, `open_writer` or `open_reader`. Any thread may use it."""

    def __init__(self, path: Path, connection: apsw.Connection, epoch: int | None) -> None:
        self._path, self._connection, self._epoch = path, connection, epoch
        self._naming = Naming(path)
        self._tip = Tip()
        self._is_in_doubt = False

    @classmethod
    def create(cls, path: Path, run: str, epoch: int) -> Self:
        """Make the log of `run` and open it for writing. `FileExistsError` where there is one already."""
        if path.exists():
            raise FileExistsError(errno.EEXIST, "there is a log already", str(path))
        durable.write_whole(path, _empty_log(run))
        return cls.open_writer(path, epoch)

    @classmethod
    def open_writer(cls, path: Path, epoch: int) -> Self:
        """Take the log over: no earlier writer appends any more.

        Raises `Fenced` unless `epoch` is greater than every earlier writer's, `BadInput` where there is no log or
        one of a later format, `Corrupt` where its end is damaged.
        """
        log = cls(path, _connect(path, apsw.SQLITE_OPEN_READWRITE), epoch)
        with contextlib.ExitStack() as undo:
            undo.callback(log.close)
            log._refuse_format()
            log._take_over(epoch)
            log._tip = log._read_tip()
            undo.pop_all()
        return log

    @classmethod
    def open_reader(cls, path: Path) -> Self:
        """Look on, whether a writer lives or not. Raises `BadInput` as `open_writer` does."""
        log = cls(path, _connect(path, apsw.SQLITE_OPEN_READONLY), None)
        with contextlib.ExitStack() as undo:
            undo.callback(log.close)
            log._refuse_format()
            undo.pop_all()
        return log

    def append(self, records: Sequence[R]) -> Digest:
        """See `EventLog`. `LogFailed` when the disk did not do it: from then on until it is opened again."""
        if self._is_in_doubt:
            raise LogFailed(errno.EIO, "an append failed before; open the log again", str(self._path))
        rows, tip = extend(self._tip, records)
        if rows:
            try:
                self._commit(rows, tip)
            except LogFailed:
                self._is_in_doubt = True
                raise
        self._tip = tip
        return tip.head

    def read(self, after: int = 0) -> Iterator[R]:
        """See `EventLog`. Gives the records that were there when reading began."""
        seq, head, last_row = self._end()
        if after >= max(seq, last_row):
            return
        start = self._head_at(after)
        if start is None:
            self._refuse()
        try:
            yield from follow(after, start, self._rows(after, max(seq, last_row)), (seq, head), self._decode)
        except ValueError as wrong:
            raise Corrupt(f"{self._path}: {wrong}") from wrong

    def head(self) -> tuple[int, Digest]:
        """See `EventLog`. Raises `Corrupt` where the last record is not the one the log ended with."""
        seq, head, last_row = self._end()
        if last_row != seq or self._head_at(seq) != head:
            self._refuse()
        return seq, head

    def last(self) -> R | None:
        """The last record, None in an empty log: tells whether the run is finished."""
        seq, _ = self.head()
        return next(self.read(seq - 1)) if seq else None

    def run(self) -> str:
        """The id of the run, as it was when the log was made."""
        return str(self._one("select run from meta")[0])

    def close(self) -> None:
        """See `EventLog`."""
        with self._naming:
            self._connection.close()

    def _commit(self, rows: list[Row], tip: Tip) -> None:
        moved = (tip.seq, rows[-1][2], self._epoch, self._tip.seq)
        with self._naming, self._connection as connection:
            connection.execute("update meta set seq = ?, head = ? where epoch = ? and seq = ?", moved)
            if not connection.changes():
                raise Fenced(f"{self._path}: another writer took the log over from epoch {self._epoch}")
            for first in range(0, len(rows), INSERT_ROWS):
                some = rows[first : first + INSERT_ROWS]
                values = tuple(itertools.chain.from_iterable(some))
                connection.execute(f"insert into records values (?, ?, ?){', (?, ?, ?)' * (len(some) - 1)}", values)

    def _take_over(self, epoch: int) -> None:
        with self._naming, self._connection as connection:
            connection.execute("update meta set epoch = ? where epoch < ?", (epoch, epoch))
            if not connection.changes():
                raise Fenced(f"{self._path}: epoch {epoch} is not after the epoch of an earlier writer")

    def _read_tip(self) -> Tip:
        seq, head = self.head()
        last = self.last()
        return Tip(seq=seq, at_ms=last.at_ms, head=head) if last else Tip()

    def _refuse_format(self) -> None:
        (found,) = self._one("select format from meta")
        if found > codec.FORMAT:
            message = f"written in format {found}; this version of penstock reads up to {codec.FORMAT}"
            raise _bad(self._path, "format", message, "use the penstock that wrote it, or a later one")

    def _end(self) -> tuple[int, Digest, int]:
        """Seq and head that the log ended with, and the seq of the last row that is there."""
        seq, head, last_row = self._one("select seq, head, (select max(seq) from records) from meta")
        return seq, head.hex(), last_row or 0

    def _head_at(self, seq: int) -> Digest | None:
        if seq == 0:
            return codec.GENESIS
        (head,) = self._one("select (select head from records where seq = ?)", (seq,))
        return None if head is None else str(head.hex())

    def _rows(self, after: int, last: int) -> Iterator[Row]:
        while page := self._page(after, last):
            yield from page
            after = page[-1][0]

    def _page(self, after: int, last: int) -> list[Row]:
        """Some rows after `after`, all taken at once: a reading that lies open would hide what is appended."""
        query = "select seq, bytes, head from records where seq > ? and seq <= ? order by seq limit ?"
        page: list[Row] = []
        try:
            with self._naming:
                for row in self._connection.execute(query, (after, last, PAGE_ROWS)):
                    page.append(row)
        except Corrupt as wrong:
            if not page:
                raise broken(after, f"record {after + 1} cannot be read ({wrong.__cause__})") from wrong
        return page

    def _one(self, query: str, values: tuple[int, ...] = ()) -> tuple[Any, ...]:
        with self._naming:
            row = self._connection.execute(query, values).fetchone()
        if row is None:
            raise Corrupt(f"{self._path}: it does not say where it ends; no record is valid")
        return tuple(row)

    def _refuse(self) -> NoReturn:
        for _ in self.read():
            pass
        raise Corrupt(f"{self._path}: its records and its end do not belong together")

    @staticmethod
    def _decode(data: bytes) -> R:
        raise NotImplementedError


class SqliteLog(_InOneFile[Record]):
    """`EventLog` in one file: the log of a run. A snapshot lies beside it."""

    _decode = staticmethod(codec.decode)

    def save_snapshot(self, seq: int, code: Digest, state: bytes) -> None:
        """See `EventLog`. A disk that does not take it is no failure: it is a cache."""
        head = self._head_at(seq)
        assert head is not None, f"record {seq} is not in the log"
        snapshot = Snapshot(seq=seq, head=head, code=code, digest=digest_of_bytes(state), state=state)
        with contextlib.suppress(OSError):
            durable.write_whole(self._snapshot_file, msgspec.msgpack.encode(snapshot))

    def load_snapshot(self, code: Digest) -> tuple[int, bytes] | None:
        """See `EventLog`. None where it is damaged, of other code, or not of this log."""
        try:
            snapshot = msgspec.msgpack.decode(self._snapshot_file.read_bytes(), type=Snapshot)
        except (OSError, ValueError):
            return None
        is_whole = digest_of_bytes(snapshot.state) == snapshot.digest
        is_ours = snapshot.code == code and snapshot.head == self._head_at(snapshot.seq)
        return (snapshot.seq, snapshot.state) if is_whole and is_ours else None

    @property
    def _snapshot_file(self) -> Path:
        return self._path.with_suffix(".snapshot")


class SqliteLedger(_InOneFile[redgreen.RedGreenRecord]):
    """A red-green ledger in one file."""

    _decode = staticmethod(redgreen.decode)


def _connect(path: Path, flags: int) -> apsw.Connection:
    version = apsw.sqlite_lib_version()
    if not is_safe(version):
        message = f"SQLite {version} can lose commits"
        raise _bad(Path(apsw.__file__), "version", message, "install apsw 3.51.3 or later")
    if not path.exists():
        raise _bad(path, "", "there is no log", "")
    with Naming(path):
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(BUSY_MS_MAX)
        connection.transaction_mode = "IMMEDIATE"
        if flags & apsw.SQLITE_OPEN_READONLY:
            connection.pragma("wal_autocheckpoint", 0)
        else:
            connection.pragma("synchronous", "full")
    return connection


def _empty_log(run: str) -> bytes:
    """The file of a log without records: put in place whole, so that no crash leaves a part of one."""
    with contextlib.closing(apsw.Connection(":memory:")) as connection:
        connection.execute(SCHEMA)
        genesis = bytes.fromhex(codec.GENESIS)
        connection.execute("insert into meta values (1, ?, ?, 0, 0, ?)", (codec.FORMAT, run, genesis))
        file = bytearray(connection.serialize("main"))
    file[18:20] = b"\2\2"  # SQLite's mark of a file in WAL mode, which a database in memory cannot have
    return bytes(file)


class Naming:
    """Tells SQLite's errors as ours: damage is `Corrupt`, what the disk did not do is `LogFailed`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, wrong: BaseException | None, trace: object) -> None:
        if isinstance(wrong, DAMAGE):
            raise Corrupt(f"{self._path}: {wrong}; no record can be told valid") from wrong
        if isinstance(wrong, apsw.Error):
            number = ERRNO.get(type(wrong), errno.EIO)
            raise LogFailed(number, f"{os.strerror(number)} ({wrong})", str(self._path)) from wrong


def _bad(path: Path, field: str, message: str, fix: str) -> BadInput:
    return BadInput([Problem(file=str(path), line=0, field=field, message=message, fix=fix)])
