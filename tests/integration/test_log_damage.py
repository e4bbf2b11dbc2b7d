"""A log in SQLite whose file was edited, cut or torn says so, and how far it is valid."""

import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from penstock.adapters.log_sqlite import LogFailed, SqliteLog, is_safe
from penstock.core import codec
from penstock.core.events import Record, WindowChanged
from penstock.ports import BadInput, Corrupt

CODE = "c" * 64
COUNT = 9


def records(first: int, last: int) -> list[Record]:
    return [Record(seq=n, at_ms=n, event=WindowChanged(size=n, reason="grows")) for n in range(first, last + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed log of `COUNT` records."""
    path = tmp_path / "log.sqlite"
    log = SqliteLog.create(path, "a-run", 1)
    log.append(records(1, COUNT))
    log.close()
    return path


def edit(path: Path, statement: str, *values: bytes | int) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement, values)
    assert connection.total_changes()
    connection.close()


def read(path: Path) -> list[Record]:
    log = SqliteLog.open_reader(path)
    try:
        return list(log.read())
    finally:
        log.close()


def rechained(path: Path, seq: int, data: bytes) -> None:
    """Put `data` in place of record `seq` and let everything after it chain, as a thorough forger would."""
    log = SqliteLog.open_reader(path)
    stored = [codec.encode(record) for record in log.read()]
    log.close()
    head = codec.GENESIS
    for n, old in enumerate(stored, 1):
        new = data if n == seq else old
        head = codec.link(head, new)
        edit(path, "update records set bytes = ?, head = ? where seq = ?", new, bytes.fromhex(head), n)
    edit(path, "update meta set head = ?", bytes.fromhex(head))


ALL = "update records set seq = seq + 1 where seq = 9"
DAMAGES: dict[str, tuple[str, str, str]] = {
    "an edited byte": (
        "update records set bytes = cast(replace(cast(bytes as text), 'grows', 'grown') as blob) where seq = 4",
        "record 4 does not chain",
        "records 1 to 3",
    ),
    "an edited head": (
        "update records set head = zeroblob(32) where seq = 4",
        "record 4 does not chain",
        "records 1 to 3",
    ),
    "swapped heads": (
        "update records set head = (select head from records as other where other.seq = 11 - records.seq)"
        " where seq in (5, 6)",
        "record 5 does not chain",
        "records 1 to 4",
    ),
    "a missing record": ("delete from records where seq = 4", "record 4 is missing", "records 1 to 3"),
    "a missing first record": ("delete from records where seq = 1", "record 1 is missing", "no record is valid"),
    "a cut tail": ("delete from records where seq > 6", "record 7 is missing, and all after it", "records 1 to 6"),
    "nothing left": ("delete from records", "record 1 is missing", "no record is valid"),
    "a moved last record": (ALL, "record 9 is missing", "records 1 to 8"),
    "an added record": ("insert into records select 10, bytes, head from records where seq = 9", "record 10", "1 to 9"),
    "an end set back": ("update meta set seq = 6", "record 7 is beyond the end", "records 1 to 6"),
    "an end of another head": ("update meta set head = zeroblob(32)", "record 9 is not the one", "records 1 to 8"),
    "no end": ("delete from meta", "does not say where it ends", "no record is valid"),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_damage_is_seen_and_the_valid_prefix_named(path: Path, damage: str) -> None:
    statement, what, prefix = DAMAGES[damage]
    assert read(path) == records(1, COUNT)
    edit(path, statement)
    with pytest.raises(Corrupt, match=what) as seen:
        read(path)
    assert prefix in str(seen.value)
    assert str(path) in str(seen.value)


@pytest.mark.parametrize("damage", ["a cut tail", "nothing left", "an end set back", "an added record", "no end"])
def test_nobody_writes_on_where_the_end_is_damaged(path: Path, damage: str) -> None:
    edit(path, DAMAGES[damage][0])
    with pytest.raises(Corrupt, match=DAMAGES[damage][2]):
        SqliteLog.open_writer(path, 2)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"seq":4,"at_ms":4,"event":{"type":"unheard_of"}}', "record 4 cannot be read"),
        (b'{"seq":4,"at_ms":4,"event":{"type":"window_changed","size":4,"reason":"\xff"}}', "record 4 cannot be read"),
        (codec.encode(records(5, 5)[0]), "record 4 says that it is record 5"),
    ],
)
def test_what_chains_but_is_no_record_is_damage_too(path: Path, data: bytes, what: str) -> None:
    rechained(path, 4, data)
    with pytest.raises(Corrupt, match=f"{what}.*records 1 to 3"):
        read(path)


def test_a_valid_record_in_its_place_would_be_read(path: Path) -> None:
    other = Record(seq=4, at_ms=4, event=WindowChanged(size=4, reason="forged"))
    rechained(path, 4, codec.encode(other))
    assert read(path) == [*records(1, 3), other, *records(5, COUNT)]


def test_reading_on_behind_a_missing_record_names_it(path: Path) -> None:
    edit(path, "delete from records where seq = 4")
    log = SqliteLog.open_reader(path)
    assert list(log.read(5)) == records(6, COUNT)
    with pytest.raises(Corrupt, match="record 4 is missing"):
        list(log.read(4))
    log.close()


@pytest.mark.parametrize("content", [b"", b"no database" * 1_000, b"SQLite format 3\0" + b"\xff" * 8_192])
def test_what_is_no_database_is_damage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.sqlite"
    path.write_bytes(content)
    for opened in (SqliteLog.open_reader, lambda path: SqliteLog.open_writer(path, 1)):
        with pytest.raises(Corrupt, match=r"log\.sqlite"):
            opened(path)
    assert path.read_bytes() == content


def overwrite(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def test_bytes_overwritten_in_the_file_never_give_another_log(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = SqliteLog.create(path, "a-run", 1)
    whole = records(1, 400)
    log.append(whole)
    log.close()
    size, seen = path.stat().st_size, 0
    for draw in range(60):
        chance = random.Random(draw)
        damaged = tmp_path / f"damaged-{draw}.sqlite"
        shutil.copy(path, damaged)
        overwrite(damaged, chance.randrange(100, size - 64), chance.randbytes(64))
        try:
            assert read(damaged) == whole, draw
        except (Corrupt, BadInput, LogFailed):
            seen += 1
    assert seen > 20


def test_a_torn_write_ahead_file_gives_whole_appends_only(tmp_path: Path) -> None:
    """What a machine leaves that dies while the tail of the file is written: cut short, or old bytes in its place."""
    path = tmp_path / "log.sqlite"
    log = SqliteLog.create(path, "a-run", 1)
    for first in range(1, 200, 10):
        log.append(records(first, first + 9))
    ends, tail = set(), (tmp_path / "log.sqlite-wal").read_bytes()
    for draw in range(40):
        chance = random.Random(draw)
        cut = chance.randrange(len(tail))
        torn = tmp_path / f"torn-{draw}.sqlite"
        shutil.copy(path, torn)
        rest = b"" if draw % 2 else chance.randbytes(len(tail) - cut)
        (tmp_path / f"torn-{draw}.sqlite-wal").write_bytes(tail[:cut] + rest)
        end = whole_appends(torn)
        ends.add(end)
    log.close()
    assert len(ends) > 5


def whole_appends(path: Path) -> int:
    """Where the torn log ends: at the end of an append, and a writer can go on there."""
    seen = read(path)
    assert seen == records(1, len(seen))
    assert len(seen) % 10 == 0
    log = SqliteLog.open_writer(path, 2)
    log.append(records(len(seen) + 1, len(seen) + 1))
    log.close()
    return len(seen)


# --- formats, files, snapshots --------------------------------------------------------------------------------------


def opening(path: Path) -> list[Callable[[], SqliteLog]]:
    return [lambda: SqliteLog.open_reader(path), lambda: SqliteLog.open_writer(path, 2)]


def test_a_later_format_is_refused_naming_both(path: Path) -> None:
    edit(path, "update meta set format = 7")
    for opened in opening(path):
        with pytest.raises(BadInput) as refusal:
            opened()
        (problem,) = refusal.value.problems
        assert problem.file == str(path)
        assert problem.message == f"written in format 7; this version of penstock reads up to {codec.FORMAT}"
        assert problem.fix


def test_where_there_is_no_log_nothing_is_made(tmp_path: Path) -> None:
    for opened in opening(tmp_path / "log.sqlite"):
        with pytest.raises(BadInput, match="there is no log"):
            opened()
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_never_made_over_another(path: Path) -> None:
    with pytest.raises(FileExistsError):
        SqliteLog.create(path, "another-run", 2)
    assert read(path) == records(1, COUNT)


def test_an_empty_log_is_in_wal_mode_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    SqliteLog.create(path, "a-run", 1).close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    log = SqliteLog.open_reader(path)
    assert log.run() == "a-run"
    assert list(log.read()) == []
    log.close()


def test_its_files_are_for_their_owner_only(path: Path) -> None:
    log = SqliteLog.open_writer(path, 2)
    log.append(records(COUNT + 1, COUNT + 1))
    log.save_snapshot(3, CODE, b"state")
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["log.snapshot", "log.sqlite", "log.sqlite-shm", "log.sqlite-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    log.close()


def test_a_reader_sees_what_a_live_writer_appends(path: Path) -> None:
    reader, writer = SqliteLog.open_reader(path), SqliteLog.open_writer(path, 2)
    begun = reader.read()
    assert next(begun) == records(1, 1)[0]
    writer.append(records(COUNT + 1, COUNT + 5))
    assert reader.head() == writer.head()
    assert list(reader.read(COUNT)) == records(COUNT + 1, COUNT + 5)
    assert list(begun) == records(2, COUNT)
    assert reader.last() == records(COUNT + 5, COUNT + 5)[0]
    writer.close()
    assert reader.head()[0] == COUNT + 5
    reader.close()


def test_the_last_record_of_an_empty_log_is_none(tmp_path: Path) -> None:
    log = SqliteLog.create(tmp_path / "log.sqlite", "a-run", 1)
    assert log.last() is None
    log.close()


def test_a_snapshot_of_another_log_or_a_damaged_one_is_none(path: Path) -> None:
    log = SqliteLog.open_writer(path, 2)
    log.save_snapshot(COUNT, CODE, b"state")
    assert log.load_snapshot(CODE) == (COUNT, b"state")
    snapshot = path.with_suffix(".snapshot")
    good = snapshot.read_bytes()
    for damaged in (b"", good[:-1], good.replace(b"state", b"stale"), b"\xff" + good[1:]):
        snapshot.write_bytes(damaged)
        assert log.load_snapshot(CODE) is None, damaged
    snapshot.write_bytes(good)
    assert log.load_snapshot(CODE) == (COUNT, b"state")
    log.close()
    edit(path, "update records set head = zeroblob(32) where seq = ?", COUNT)
    reader = SqliteLog.open_reader(path)
    assert reader.load_snapshot(CODE) is None
    reader.close()


def test_deleting_the_snapshot_changes_nothing(path: Path) -> None:
    log = SqliteLog.open_writer(path, 2)
    log.save_snapshot(3, CODE, b"state")
    path.with_suffix(".snapshot").unlink()
    assert log.load_snapshot(CODE) is None
    assert list(log.read()) == records(1, COUNT)
    log.close()


@pytest.mark.parametrize(
    ("version", "safe"),
    [("3.6.23", True), ("3.7.0", False), ("3.40.1", False), ("3.51.2", False), ("3.51.3", True), ("3.54.1", True)],
)
def test_versions_of_sqlite_that_lose_commits_are_known(version: str, safe: bool) -> None:
    assert is_safe(version) is safe


def test_the_sqlite_in_use_is_safe() -> None:
    assert is_safe(apsw.sqlite_lib_version())
