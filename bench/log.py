"""How near the log comes to the store below it: durable appends per second, and reading.

Both write the same rows in the same transactions, to files in the same directory, turn by turn, so that a noisy disk
is noisy for both. The store alone gets its rows ready made: no encoding, no chain. The figure is the ratio.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import reduce
from pathlib import Path

import apsw
import msgspec

from penstock.adapters.log_sqlite import SqliteLog
from penstock.core.chain import Row, Tip, extend
from penstock.core.events import Record, TicketMoved

APPENDS = {1: 1_000, 10: 600, 100: 300}
"""How many appends are timed, by the number of records in each."""
TURNS = 7
READ_RECORDS = 100_000


def record(seq: int) -> Record:
    """A decision of about 300 stored bytes."""
    event = TicketMoved(ticket=f"T-{seq % 97}", to="verifying", reason="because " * 24, cause="gate_red")
    return Record(seq=seq, at_ms=1_700_000_000_000 + seq, event=event)


def rate(count: int, work: Callable[[], object]) -> float:
    """`count` things per second, by doing them once."""
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def exhaust(things: Iterable[object]) -> None:
    """Take them all and keep none."""
    deque(things, maxlen=0)


def append_by_log(path: Path, batches: list[list[Record]]) -> float:
    """Records per second, from events to durable."""
    with closing(SqliteLog.create(path, "bench", 1)) as log:
        return rate(sum(map(len, batches)), lambda: exhaust(map(log.append, batches)))


def append_by_store(path: Path, batches: list[list[Row]]) -> float:
    """The same rows in the same transactions, by nothing but the store."""
    SqliteLog.create(path, "bench", 1).close()
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("synchronous", "full")
        connection.transaction_mode = "IMMEDIATE"

        def append(rows: list[Row]) -> None:
            with connection:
                connection.execute("update meta set seq = ?, head = ?", (rows[-1][0], rows[-1][2]))
                connection.executemany("insert into records values (?, ?, ?)", rows)

        return rate(sum(map(len, batches)), lambda: exhaust(map(append, batches)))


def in_batches(count: int, size: int) -> Iterator[list[Record]]:
    """`count` batches of `size` records."""
    for first in range(1, count * size, size):
        yield [record(seq) for seq in range(first, first + size)]


def measure_appends(directory: Path, size: int) -> dict[str, float]:
    """Median rates of both, and the median of the ratios, for appends of `size` records."""
    batches = list(in_batches(APPENDS[size], size))
    rows, _ = extend(Tip(), [record for batch in batches for record in batch])
    ready = [rows[first : first + size] for first in range(0, len(rows), size)]
    gc.freeze()  # what is prepared here is no part of what is measured
    log, store = [], []
    for turn in range(TURNS):
        store.append(append_by_store(directory / f"store-{size}-{turn}", ready))
        log.append(append_by_log(directory / f"log-{size}-{turn}", batches))
    ratios = [ours / theirs for ours, theirs in zip(log, store, strict=True)]
    return {
        f"log_appends_{size}_per_s": statistics.median(log),
        f"store_appends_{size}_per_s": statistics.median(store),
        f"ratio_{size}": statistics.median(ratios),
    }


def measure_reading(directory: Path) -> dict[str, float]:
    """Records per second: rows alone; read, chain checked and decoded; and folded by a small function too."""
    path = directory / "read"
    with closing(SqliteLog.create(path, "bench", 1)) as log:
        log.append([record(seq) for seq in range(1, READ_RECORDS + 1)])
        scan = "select seq, bytes, head from records"
        with closing(apsw.Connection(str(path))) as store:
            scanned = rate(READ_RECORDS, lambda: exhaust(store.execute(scan)))
        read = rate(READ_RECORDS, lambda: exhaust(log.read()))
        folded = rate(READ_RECORDS, lambda: reduce(fold, log.read(), dict[str, int]()))
    return {"store_scan_per_s": scanned, "log_read_per_s": read, "log_fold_per_s": folded}


def fold(state: dict[str, int], record: Record) -> dict[str, int]:
    """How often each ticket moved."""
    if isinstance(record.event, TicketMoved):
        state[record.event.ticket] = state.get(record.event.ticket, 0) + 1
    return state


def measure() -> dict[str, float]:
    """All figures by name: rates per second, and ratios of the log's rate to the store's own."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as directory:
        found: dict[str, float] = {}
        for size in APPENDS:
            found |= measure_appends(Path(directory), size)
        return {name: round(value, 3) for name, value in (found | measure_reading(Path(directory))).items()}


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(measure())) + b"\n")
