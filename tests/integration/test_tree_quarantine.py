"""What an unclaimed write left can be had back from its patch alone."""

import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.adapters.blobs_memory import MemoryBlobs
from penstock.kernel.tree.entry import Change, Entry, Unreadable, diff
from penstock.kernel.tree.quarantine import BadPatch, to_patch, unpack
from penstock.kernel.tree.scanner import ScanLimits, TreeScanner
from penstock.kernel.tree.writer import TreeWriter
from tests.integration.tree_world import digest, entry, lay, seen_plainly

BEFORE: dict[str, bytes | str] = {"edited": b"old", "gone": b"\0\xff", "mode": b"same", "kind": b"a file"}


def write_unclaimed(top: Path) -> None:
    (top / "edited").write_bytes(b"\0new\xff\r\n")
    (top / "gone").unlink()
    (top / "mode").chmod(0o755)
    (top / "kind").unlink()
    lay(top, {"kind": "../else\udcffwhere", "new\n\udcfe": b"", "a/b": b"x" * 100_000})


def test_a_patch_is_enough_to_have_it_back(tmp_path: Path) -> None:
    top, elsewhere = lay(tmp_path / "top", BEFORE), lay(tmp_path / "elsewhere", BEFORE)
    blobs = MemoryBlobs()
    scanner = TreeScanner(top, blobs=blobs)
    before = scanner.scan().readable
    write_unclaimed(top)
    files = unpack(to_patch(diff(before, scanner.scan().entries), blobs))
    kept = MemoryBlobs()
    for file in files:
        if file.content is not None:
            kept.put(file.content)
    restored = TreeWriter(elsewhere, kept).restore({file.path: (file.before, file.left) for file in files})
    assert restored.refused == ()
    assert seen_plainly(elsewhere) == seen_plainly(top)
    assert [file.missing for file in files] == [""] * 6


def test_a_person_can_read_it(tmp_path: Path) -> None:
    top = lay(tmp_path, {"new\n\udcfe": b"text"})
    blobs = MemoryBlobs()
    (file,) = json.loads(to_patch(diff({}, TreeScanner(top, blobs=blobs).scan().entries), blobs))["files"]
    assert file["name"] == "new\\n\\xfe"
    assert file["how"] == "added"
    assert file["content"] == "dGV4dA=="


def test_what_has_no_content_says_why(tmp_path: Path) -> None:
    lay(tmp_path, {"large": b"xx", "small": b"x"})
    blobs = MemoryBlobs()
    scan = TreeScanner(tmp_path, blobs=blobs, limits=ScanLimits(kept_bytes_max=1)).scan()
    changes = (
        *diff({}, scan.entries),
        Change(path="closed", how="unreadable", before=entry(b"x"), after=Unreadable(path="closed", why="Denied")),
        Change(path="pipe", how="added", after=Entry(kind="other", mode=0o600)),
    )
    files = unpack(to_patch(changes, blobs))
    assert {file.name: (file.content, file.missing) for file in files} == {
        "large": (None, f"its content was not kept: '{digest(b'xx')}'"),
        "small": (b"x", ""),
        "closed": (None, "it could not be read: Denied"),
        "pipe": (None, ""),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [("eHg=", "eXk="), ('"format": 1', '"format": 2'), ('"format": 1', '"form": 1'), ('"how"', '"why"'), ("{", "[")],
)
def test_a_damaged_patch_is_refused(tmp_path: Path, old: str, new: str) -> None:
    blobs = MemoryBlobs()
    text = to_patch(diff({}, TreeScanner(lay(tmp_path, {"a": b"xx"}), blobs=blobs).scan().entries), blobs).decode()
    assert old in text
    with pytest.raises(BadPatch):
        unpack(text.replace(old, new).encode())


NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, ord("/")} & {*name} and name.strip(b"."))


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(NAMES, st.tuples(st.binary(max_size=300), st.integers(0o400, 0o777)), max_size=4))
def test_any_name_and_any_bytes_are_carried(files: dict[bytes, tuple[bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name, (data, mode) in files.items():
            file = Path(place, os_name(name))
            file.write_bytes(data)
            file.chmod(mode)
        blobs = MemoryBlobs()
        scan = TreeScanner(Path(place), ignore=(), blobs=blobs).scan()
        found = unpack(to_patch(diff({}, scan.entries), blobs))
    assert {file.path_bytes: (file.content, file.mode) for file in found} == files
    assert {file.path: file.left for file in found} == scan.entries
    assert msgspec.json.encode([file.name for file in found])


def os_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
