"""Content-addressed bytes in one SQLite file: thousands at once cost one flush, as a tree does that is looked at whole.

What is put is readable at once and durable after `flush`. Whoever names a digest in a log flushes first.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from penstock.core.digest import Digest, digest_of_bytes
from penstock.ports import Corrupt

SCHEMA = "create table if not exists blobs (digest text primary key, bytes blob not null) strict"


class SqliteBlobs:
    """`Blobs` in the file at `path`, which is made with its directory. One process at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path, self._is_open = path, False
        with _told(path):
            self._connection = apsw.Connection(str(path))
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "full")
            self._connection.execute(SCHEMA)

    def put(self, data: bytes) -> Digest:
        """See `Blobs`; durable after `flush`."""
        digest = digest_of_bytes(data)
        with _told(self._path):
            if not self._is_open:
                self._connection.execute("begin immediate")
                self._is_open = True
            self._connection.execute("insert or ignore into blobs values (?, ?)", (digest, data))
        return digest

    def flush(self) -> None:
        """Make all that was put durable."""
        if self._is_open:
            with _told(self._path):
                self._connection.execute("commit")
            self._is_open = False

    def get(self, digest: Digest) -> bytes:
        """See `Blobs`."""
        with _told(self._path):
            row = self._connection.execute("select bytes from blobs where digest = ?", (digest,)).fetchone()
        if row is None:
            raise KeyError(digest)
        data = bytes(row[0])
        if digest_of_bytes(data) != digest:
            raise Corrupt(f"{self._path}: the bytes of {digest} are not its own")
        return data

    def has(self, digest: Digest) -> bool:
        """See `Blobs`."""
        with _told(self._path):
            found = self._connection.execute("select 1 from blobs where digest = ?", (digest,)).fetchone()
        return found is not None

    def close(self) -> None:
        """Flush and release the file; idempotent."""
        self.flush()
        with _told(self._path):
            self._connection.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: damage is `Corrupt`, the rest what the disk did not do."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as wrong:
        raise Corrupt(f"{path}: {wrong}") from wrong
    except apsw.Error as wrong:
        number = errno.ENOSPC if isinstance(wrong, apsw.FullError) else errno.EIO
        raise OSError(number, str(wrong), str(path)) from wrong
