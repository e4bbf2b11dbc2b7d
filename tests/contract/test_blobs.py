"""What every store of blobs gives, and what the files promise beyond it."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.adapters.blobs_files import FileBlobs
from penstock.adapters.blobs_memory import MemoryBlobs
from penstock.adapters.blobs_sqlite import SqliteBlobs
from penstock.core.digest import digest_of_bytes
from penstock.ports import Blobs, Corrupt

MISSING = "0" * 64


MAKERS: dict[str, Callable[[Path], Blobs]] = {
    "files": lambda directory: FileBlobs(directory / "blobs"),
    "sqlite": lambda directory: SqliteBlobs(directory / "blobs.sqlite"),
    "memory": lambda directory: MemoryBlobs(),
}


@pytest.fixture(params=MAKERS)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    blobs = MAKERS[request.param](tmp_path)
    yield blobs
    if isinstance(blobs, SqliteBlobs):
        blobs.close()


def test_what_was_flushed_is_there_for_the_next_who_opens_the_file(tmp_path: Path) -> None:
    first = SqliteBlobs(tmp_path / "blobs.sqlite")
    kept = first.put(b"kept")
    first.flush()
    lost = first.put(b"not flushed")
    second = SqliteBlobs(tmp_path / "blobs.sqlite")
    assert (second.has(kept), second.has(lost)) == (True, False)
    second.close()
    first.close()


@pytest.mark.parametrize("data", [b"", b"text\n", bytes(range(256)), b"x" * 3_000_000], ids=len)
def test_what_was_put_is_got_by_its_digest(blobs: Blobs, data: bytes) -> None:
    digest = blobs.put(data)
    assert digest == digest_of_bytes(data)
    assert blobs.has(digest)
    assert blobs.get(digest) == data


def test_putting_again_changes_nothing(blobs: Blobs) -> None:
    assert blobs.put(b"same") == blobs.put(b"same")
    assert blobs.get(blobs.put(b"other")) == b"other"
    assert blobs.get(digest_of_bytes(b"same")) == b"same"


@pytest.mark.parametrize("digest", [MISSING, "", "../secret", MISSING.upper() + "\n", "AB" * 32])
def test_what_is_not_there_is_a_key_error(blobs: Blobs, digest: str) -> None:
    assert not blobs.has(digest)
    with pytest.raises(KeyError):
        blobs.get(digest)


def file_of(directory: Path) -> Path:
    (file,) = (path for path in directory.rglob("*") if path.is_file())
    return file


def test_files_are_named_by_digest_and_for_their_owner_only(tmp_path: Path) -> None:
    digest = FileBlobs(tmp_path / "blobs").put(b"private")
    file = file_of(tmp_path)
    assert file == tmp_path / "blobs" / digest[:2] / digest[2:]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_another_process_finds_them(tmp_path: Path) -> None:
    digest = FileBlobs(tmp_path).put(b"kept")
    assert FileBlobs(tmp_path).get(digest) == b"kept"


@pytest.mark.parametrize("damage", [b"", b"whol", b"Whole", b"whole and more"])
def test_damage_is_seen_and_mended_by_putting_again(tmp_path: Path, damage: bytes) -> None:
    blobs = FileBlobs(tmp_path)
    digest = blobs.put(b"whole")
    file_of(tmp_path).write_bytes(damage)
    with pytest.raises(Corrupt, match=digest[2:]):
        blobs.get(digest)
    blobs.put(b"whole")
    assert blobs.get(digest) == b"whole"


def test_names_that_leave_the_directory_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    blobs = FileBlobs(tmp_path / "blobs")
    blobs.put(b"any")
    assert (tmp_path / "blobs" / ".." / "secret").is_file()
    assert not blobs.has("../secret")
