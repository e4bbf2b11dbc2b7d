"""A log in memory, of the same stored bytes: for tests and simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from penstock.core import codec
from penstock.core.chain import Row, Tip, extend, follow
from penstock.core.digest import Digest
from penstock.core.events import Chained, Record
from penstock.core.redgreen import events as redgreen
from penstock.ports import Corrupt, Fenced


@dataclass
class MemoryStore:
    """What outlives a writer: the next one opens a `MemoryLog` over the same store with a greater epoch."""

    rows: list[Row] = field(default_factory=list)
    tip: Tip = field(default_factory=Tip)
    epoch: int = 0
    snapshot: tuple[int, Digest, Digest, bytes] | None = None
    """Seq, head at it, digest of the code, state."""


R = TypeVar("R", bound=Chained)


class _InMemory(Generic[R]):
    """`ChainedLog` over a `MemoryStore`. `Fenced` unless its epoch is greater than every earlier writer's."""

    def __init__(self, store: MemoryStore, epoch: int) -> None:
        if epoch <= store.epoch:
            raise Fenced(f"epoch {epoch} is not after epoch {store.epoch}")
        store.epoch = epoch
        self._store, self._epoch = store, epoch

    def append(self, records: Sequence[R]) -> Digest:
        """See `EventLog`."""
        if self._store.epoch != self._epoch:
            raise Fenced(f"epoch {self._store.epoch} took the log over from epoch {self._epoch}")
        rows, tip = extend(self._store.tip, records)
        self._store.rows += rows
        self._store.tip = tip
        return tip.head

    def read(self, after: int = 0) -> Iterator[R]:
        """See `EventLog`. Gives the records that were there when reading began."""
        tip = self._store.tip
        if after >= tip.seq:
            return
        rows = self._store.rows[after : tip.seq]
        try:
            yield from follow(after, self._head_at(after), rows, (tip.seq, tip.head), self._decode)
        except ValueError as wrong:
            raise Corrupt(f"log in memory: {wrong}") from wrong

    def head(self) -> tuple[int, Digest]:
        """See `EventLog`."""
        return self._store.tip.seq, self._store.tip.head

    def close(self) -> None:
        """Nothing to release."""

    def _head_at(self, seq: int) -> Digest:
        return self._store.rows[seq - 1][2].hex() if seq else codec.GENESIS

    @staticmethod
    def _decode(data: bytes) -> R:
        raise NotImplementedError


class MemoryLog(_InMemory[Record]):
    """`EventLog` over a `MemoryStore`."""

    _decode = staticmethod(codec.decode)

    def save_snapshot(self, seq: int, code: Digest, state: bytes) -> None:
        """See `EventLog`."""
        self._store.snapshot = (seq, self._head_at(seq), code, state)

    def load_snapshot(self, code: Digest) -> tuple[int, bytes] | None:
        """See `EventLog`."""
        if self._store.snapshot is None:
            return None
        seq, _, made_by, state = self._store.snapshot
        return (seq, state) if made_by == code else None


class MemoryLedger(_InMemory[redgreen.RedGreenRecord]):
    """A red-green ledger over a `MemoryStore`."""

    _decode = staticmethod(redgreen.decode)
