"""A process that appends to a log and says what was acknowledged: for those who kill it, or let its disk fail.

`python -m tests.integration.log_writer PATH APPENDS [FILE_BYTES_MAX]`; each line it prints is one thing that happened:
`acknowledged SEQ`, or `failed ERRNO`, after which it opens the log again and goes on.
"""

import resource
import sys
from pathlib import Path

from penstock.adapters.log_sqlite import LogFailed, SqliteLog
from penstock.core.events import Record, WindowChanged


def record(seq: int) -> Record:
    """The only record that can be at `seq`: whatever else is found there was invented."""
    return Record(seq=seq, at_ms=seq, event=WindowChanged(size=seq * 7919 % 1_000, reason="x" * (seq * 31 % 2_000)))


def batch_after(seq: int) -> list[Record]:
    """What is appended after `seq`, in one go: 1 to 9 records."""
    return [record(n) for n in range(seq + 1, seq + 2 + seq * 5 % 9)]


def batch_ends(last: int) -> set[int]:
    """Every seq up to `last` that an append may end with."""
    ends = {0}
    while max(ends) < last:
        ends.add(batch_after(max(ends))[-1].seq)
    return ends


def open_log(path: Path) -> SqliteLog:
    """The log, made or taken over; the epoch is one more than there are lines in the file of epochs."""
    epochs = path.with_suffix(".epochs")
    with epochs.open("a") as file:
        file.write("\n")
    epoch = epochs.stat().st_size
    try:
        return SqliteLog.create(path, "a-run", epoch)
    except FileExistsError:
        return SqliteLog.open_writer(path, epoch)


def allow_file_bytes(count: int) -> None:
    """Let no file of this process grow beyond `count` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))


def must_stay_refused(log: SqliteLog, seq: int) -> None:
    """After a failure nothing is appended, though the disk may be well again."""
    try:
        log.append(batch_after(seq))
    except LogFailed:
        return
    print("appended after a failure", flush=True)


def main(path: Path, appends: int, file_bytes_max: int = resource.RLIM_INFINITY) -> None:
    """Append so often, through every failure."""
    log = open_log(path)
    allow_file_bytes(file_bytes_max)
    for _ in range(appends):
        seq, _ = log.head()
        batch = batch_after(seq)
        try:
            log.append(batch)
            print("acknowledged", batch[-1].seq, flush=True)
        except LogFailed as failure:
            print("failed", failure.errno, flush=True)
            allow_file_bytes(resource.RLIM_INFINITY)
            must_stay_refused(log, seq)
            log.close()
            log = open_log(path)
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
