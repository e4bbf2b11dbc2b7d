"""Records to chained rows and back: what every log does to its bytes, whatever keeps them.

The chain is `codec.link`'s, on raw digests: a log appends and reads in this loop, so it is kept tight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from penstock.core import codec
from penstock.core.digest import Digest
from penstock.core.events import Chained
from penstock.core.policy import Frozen

R = TypeVar("R", bound=Chained)

Row = tuple[int, bytes, bytes]
"""Seq, stored bytes of the record, and the raw head of the chain after them."""


class Tip(Frozen):
    """Where a log ends: what the next record continues."""

    seq: int = 0
    at_ms: int = 0
    head: Digest = codec.GENESIS


def extend(tip: Tip, records: Sequence[Chained]) -> tuple[list[Row], Tip]:
    """Rows that continue `tip`, and the tip after them. `ValueError` where a seq or time does not continue."""
    if not records:
        return [], tip
    seqs, times = [record.seq for record in records], [record.at_ms for record in records]
    if seqs != list(range(tip.seq + 1, tip.seq + 1 + len(seqs))) or times != sorted([tip.at_ms, *times])[1:]:
        raise _not_continuing(tip, records)
    stored = list(map(codec.encode, records))
    heads = _heads(bytes.fromhex(tip.head), stored)
    return list(zip(seqs, stored, heads, strict=True)), Tip(seq=seqs[-1], at_ms=times[-1], head=heads[-1].hex())


def _heads(head: bytes, stored: Iterable[bytes]) -> list[bytes]:
    fresh, heads = hashlib.sha256().copy, []  # a copy costs less than another one
    for data in stored:
        link = fresh()
        link.update(head + data)
        head = link.digest()
        heads.append(head)
    return heads


def _not_continuing(tip: Tip, records: Sequence[Chained]) -> ValueError:
    last, at_ms = tip.seq, tip.at_ms
    for record in records:
        if record.seq != last + 1:
            return ValueError(f"record {record.seq} does not follow record {last}")
        if record.at_ms < at_ms:
            return ValueError(f"record {record.seq} is at {record.at_ms} ms, before {at_ms} ms of record {last}")
        last, at_ms = record.seq, record.at_ms
    raise AssertionError("they continue")


def follow(
    seq: int, head: Digest, rows: Iterable[Row], end: tuple[int, Digest], decode: Callable[[bytes], R]
) -> Iterator[R]:
    """The records of `rows`, which continue (`seq`, `head`) and stop at `end`.

    `ValueError` at the first that does not: it says what is wrong, and where the longest valid prefix ends.
    """
    last, raw_head = seq, bytes.fromhex(head)
    for seq, data, stored_head in rows:
        if seq != last + 1:
            raise broken(last, f"record {last + 1} is missing")
        if seq > end[0]:
            raise broken(last, f"record {seq} is beyond the end of the log")
        raw_head = hashlib.sha256(raw_head + data).digest()
        if raw_head != stored_head:
            raise broken(last, f"record {seq} does not chain")
        yield _decode(seq, data, decode)
        last = seq
    if last < end[0]:
        raise broken(last, f"record {last + 1} is missing, and all after it")
    if raw_head.hex() != end[1]:
        raise broken(last - 1, f"record {last} is not the one the log ended with")


def _decode(seq: int, data: bytes, decode: Callable[[bytes], R]) -> R:
    try:
        record = decode(data)
    except ValueError as wrong:  # msgspec's own, and bytes that are no UTF-8
        raise broken(seq - 1, f"record {seq} cannot be read ({wrong})") from wrong
    if record.seq != seq:
        raise broken(seq - 1, f"record {seq} says that it is record {record.seq}")
    return record


def broken(valid: int, what: str) -> ValueError:
    """What to raise at the first row that is not the log's: `what`, and how far it was valid."""
    prefix = f"the longest valid prefix is records 1 to {valid}" if valid else "no record is valid"
    return ValueError(f"{what}; {prefix}")
