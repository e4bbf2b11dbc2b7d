"""What every log gives, whatever keeps it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Protocol

import pytest

from penstock.adapters.log_memory import MemoryLog, MemoryStore
from penstock.adapters.log_sqlite import SqliteLog
from penstock.core import codec
from penstock.core.events import Record, TicketMoved, WindowChanged
from penstock.ports import EventLog, Fenced

CODE = "c" * 64
OTHER_CODE = "d" * 64


class Logs(Protocol):
    """One log, and the writers that take it over one after the other."""

    def writer(self, epoch: int) -> EventLog: ...


class MemoryLogs:
    def __init__(self, directory: Path) -> None:
        self.store = MemoryStore()

    def writer(self, epoch: int) -> EventLog:
        return MemoryLog(self.store, epoch)


class SqliteLogs:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "log.sqlite"

    def writer(self, epoch: int) -> EventLog:
        if self.path.exists():
            return SqliteLog.open_writer(self.path, epoch)
        return SqliteLog.create(self.path, "a-run", epoch)


@pytest.fixture(params=[MemoryLogs, SqliteLogs])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Logs:
    made: Logs = request.param(tmp_path)
    return made


@pytest.fixture
def log(logs: Logs) -> Iterator[EventLog]:
    log = logs.writer(1)
    yield log
    log.close()


def record(seq: int, at_ms: int = 1_000) -> Record:
    return Record(seq=seq, at_ms=at_ms, event=WindowChanged(size=seq, reason="grows"))


def records(first: int, last: int) -> list[Record]:
    return [record(seq) for seq in range(first, last + 1)]


def test_an_empty_log_has_nothing_and_the_genesis_head(log: EventLog) -> None:
    assert list(log.read()) == []
    assert log.head() == (0, codec.GENESIS)


def test_what_was_appended_is_read_in_order(log: EventLog) -> None:
    log.append(records(1, 3))
    log.append([record(4)])
    assert list(log.read()) == records(1, 4)


def test_the_head_is_the_chain_over_the_stored_bytes(log: EventLog) -> None:
    expected = reduce(codec.link, map(codec.encode, records(1, 5)), codec.GENESIS)
    log.append(records(1, 2))
    assert log.append(records(3, 5)) == expected
    assert log.head() == (5, expected)


def test_appending_nothing_changes_nothing(log: EventLog) -> None:
    assert log.append([]) == codec.GENESIS
    head = log.append(records(1, 2))
    assert log.append([]) == head
    assert list(log.read()) == records(1, 2)


@pytest.mark.parametrize("after", [0, 1, 4, 5, 6])
def test_reading_begins_after_a_seq(log: EventLog, after: int) -> None:
    log.append(records(1, 5))
    assert list(log.read(after)) == records(after + 1, 5)


@pytest.mark.parametrize("wrong", [[record(3)], [record(1)], [record(2), record(4)], [record(2), record(2)]])
def test_a_seq_that_does_not_continue_is_refused_and_nothing_happens(log: EventLog, wrong: list[Record]) -> None:
    head = log.append([record(1)])
    with pytest.raises(ValueError, match="does not follow"):
        log.append(wrong)
    assert log.head() == (1, head)
    log.append([record(2)])
    assert list(log.read()) == records(1, 2)


@pytest.mark.parametrize("wrong", [[record(2, at_ms=999)], [record(2, at_ms=1_001), record(3, at_ms=1_000)]])
def test_time_that_goes_back_is_refused_and_nothing_happens(log: EventLog, wrong: list[Record]) -> None:
    log.append([record(1, at_ms=1_000)])
    with pytest.raises(ValueError, match="before"):
        log.append(wrong)
    assert list(log.read()) == [record(1)]


def test_the_next_writer_continues_seq_time_and_chain(logs: Logs) -> None:
    first = logs.writer(1)
    first.append(records(1, 2))
    first.close()
    second = logs.writer(2)
    with pytest.raises(ValueError, match="does not follow"):
        second.append([record(1)])
    with pytest.raises(ValueError, match="before"):
        second.append([record(3, at_ms=999)])
    head = second.append([record(3)])
    assert head == reduce(codec.link, map(codec.encode, records(1, 3)), codec.GENESIS)
    second.close()


def test_a_writer_that_was_taken_over_appends_nothing_more(logs: Logs) -> None:
    old = logs.writer(1)
    old.append([record(1)])
    new = logs.writer(2)
    for _ in range(2):
        with pytest.raises(Fenced):
            old.append([record(2)])
    new.append([record(2, at_ms=2_000)])
    with pytest.raises(Fenced):
        old.append([record(2)])
    assert list(new.read()) == [record(1), record(2, at_ms=2_000)]
    old.close()
    new.close()


@pytest.mark.parametrize("epoch", [6, 7])
def test_a_writer_must_come_after_every_earlier_one(logs: Logs, epoch: int) -> None:
    log = logs.writer(7)
    with pytest.raises(Fenced):
        logs.writer(epoch)
    log.append([record(1)])
    log.close()


def test_what_is_appended_while_somebody_reads_comes_with_the_next_reading(log: EventLog) -> None:
    log.append(records(1, 3))
    reading = log.read()
    assert next(reading) == record(1)
    log.append([record(4)])
    assert list(reading) == records(2, 3)
    assert list(log.read(3)) == [record(4)]


def test_another_thread_than_the_maker_may_append(log: EventLog) -> None:
    with ThreadPoolExecutor(1) as thread:
        head = thread.submit(log.append, records(1, 2)).result()
    assert log.head() == (2, head)


def test_many_and_large_records(log: EventLog) -> None:
    many = records(1, 10_000)
    large = Record(seq=10_001, at_ms=1_000, event=TicketMoved(ticket="t", to="held", reason="ä" * 1_000_000))
    log.append(many)
    log.append([large])
    assert list(log.read()) == [*many, large]
    assert list(log.read(9_999)) == [many[-1], large]


def test_closing_again_does_nothing(logs: Logs) -> None:
    log = logs.writer(1)
    log.append(records(1, 5))
    log.close()
    log.close()
    assert list(logs.writer(2).read()) == records(1, 5)


def test_a_snapshot_is_found_by_the_code_that_made_it(log: EventLog) -> None:
    log.append(records(1, 5))
    assert log.load_snapshot(CODE) is None
    log.save_snapshot(3, CODE, b"\0state")
    assert log.load_snapshot(CODE) == (3, b"\0state")
    assert log.load_snapshot(OTHER_CODE) is None


def test_the_newest_snapshot_is_found(logs: Logs) -> None:
    log = logs.writer(1)
    log.append(records(1, 5))
    log.save_snapshot(3, CODE, b"old")
    log.save_snapshot(5, CODE, b"new")
    log.close()
    assert logs.writer(2).load_snapshot(CODE) == (5, b"new")
