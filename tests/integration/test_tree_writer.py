"""Files come back byte for byte, and nothing is written, or lost, anywhere else."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.adapters.blobs_memory import MemoryBlobs
from penstock.kernel.tree.entry import Entry, Unreadable, diff
from penstock.kernel.tree.names import BadPath, from_disk, on_disk
from penstock.kernel.tree.scanner import TreeScanner
from penstock.kernel.tree.writer import PathRefused, Reason, Restored, TreeWriter
from penstock.ports import Corrupt
from tests.integration.tree_world import digest, entry, lay, link, seen_plainly, unprivileged

Content = tuple[str, bytes, int]


class World:
    """A tree and its writer; `blobs` knows what `kept` was given."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.blobs = MemoryBlobs()
        self.writer = TreeWriter(top, self.blobs)

    def kept(self, data: bytes, mode: int = 0o644) -> Entry:
        self.blobs.put(data)
        return entry(data, mode)

    def kept_link(self, text: bytes) -> Entry:
        self.blobs.put(text)
        return link(text)

    def refused(self, path: str, entry: Entry) -> Reason:
        """Why `path` is refused; nothing else is different after it."""
        before = everything(self.top.parent)
        refusal = self.writer.put(path, entry)
        assert refusal is not None
        assert refusal.path == path
        assert everything(self.top.parent) == before
        return refusal.why


def everything(place: Path) -> dict[str, object]:
    """Files and directories, empty ones too."""
    folders = {f"{folder}/": None for folder, _, _ in os.walk(place)}
    return {**seen_plainly(place), **folders}


@pytest.fixture
def world(tmp_path: Path) -> World:
    top = tmp_path / "top"
    top.mkdir()
    return World(top)


NAME = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"\0" not in name and b"/" not in name and name.strip(b".")
)
PATHS = st.lists(NAME.map(os.fsdecode), min_size=1, max_size=3).map("/".join)
FILES = st.tuples(st.just("file"), st.binary(max_size=200), st.integers(0o400, 0o777))
LINKS = st.tuples(
    st.just("symlink"), st.binary(min_size=1, max_size=50).filter(lambda b: b"\0" not in b), st.just(0o777)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(PATHS, st.one_of(FILES, LINKS), max_size=4), st.dictionaries(PATHS, FILES, max_size=3))
def test_what_was_lost_comes_back_byte_for_byte(files: dict[str, Content], later: dict[str, Content]) -> None:
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        lay_loosely(top, files)
        blobs = MemoryBlobs()
        scanner = TreeScanner(top, ignore=(), blobs=blobs)
        writer = TreeWriter(top, blobs)
        before = scanner.scan().readable
        for path in list(files)[::2]:
            if (top / path).is_symlink() or (top / path).is_file():
                (top / path).unlink()
        lay_loosely(top, later)
        changes = diff(before, scanner.scan().entries)
        batch = {c.path: (c.after if isinstance(c.after, Entry) else None, c.before) for c in changes}
        assert writer.restore(batch) == Restored(restored=tuple(sorted(batch)))
        assert seen_plainly(top) == before == scanner.scan().entries


def lay_loosely(top: Path, files: dict[str, Content]) -> None:
    """Those of the files that do not stand in each other's way."""
    for path, (kind, data, mode) in files.items():
        place = top / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "symlink":
                os.symlink(data, os.fsencode(place))
            elif not place.is_symlink():
                place.write_bytes(data)
                place.chmod(mode)
        except OSError:
            continue


ELSEWHERE = ("", "/etc/x", "../x", "a/../x", "a/./x", "a//x", "a/")
NO_NAMES = ("x\0y", "\ud800", "\udcff", "a" * 4_001, "/".join("a" * 101))
SPELLED_WRONG = (r"a\x41", r"a\x2fb", r"\xc3\xbc", r"\x00", r"\xFF", r"\x2e.", "\\xff\\")
GITS = (
    ".git",
    ".git/hooks/x",
    "sub/.git",
    ".GIT/x",
    ".giT",
    ".git.",
    ".git ",
    "git~1/x",
    ".g\u200cit/x",
    ".git::$DATA",
)
OURS = (f".penstock-aside-{'0' * 16}", f"a/.penstock-aside-{'f' * 16}/x")


@pytest.mark.parametrize(
    "path", [*ELSEWHERE, *NO_NAMES, *SPELLED_WRONG, *GITS, *OURS], ids=lambda path: ascii(path)[:30]
)
def test_paths_that_lead_elsewhere_are_refused(world: World, path: str) -> None:
    assert world.refused(path, world.kept(b"x")) == "bad_path"
    assert (refusal := world.writer.remove(path)) and refusal.why == "bad_path"
    restored = world.writer.restore({path: (None, world.kept(b"x"))})
    assert [refusal.why for refusal in restored.refused] == ["bad_path"]
    with pytest.raises(BadPath):
        world.writer.look(path)


SPELLINGS = {"\udcff": r"\xff", "\udcff\\x": r"\xff\\x", r"\x41": r"\\x41", "a\\b": r"a\b", r"\\": r"\\", "ü": "ü"}


@pytest.mark.parametrize(("name", "path"), SPELLINGS.items(), ids=ascii)
def test_every_name_has_one_spelling(world: World, name: str, path: str) -> None:
    assert world.writer.put(path, world.kept(b"x")) is None
    assert os.listdir(world.top) == [name]
    assert world.writer.look(path) == entry(b"x")


@given(st.binary(min_size=1).filter(lambda name: b"/" not in name), st.binary())
def test_names_and_spellings_match(name: bytes, other: bytes) -> None:
    path = from_disk(name)
    assert path.encode()
    assert on_disk(path) == name
    assert (from_disk(other) == path) == (other == name)


@pytest.mark.parametrize("path", [".gitignore", ".github/x", "..x", "git", "x.git", "...", ".penstock-aside-0"])
def test_paths_that_only_look_like_it_are_fine(world: World, path: str) -> None:
    assert world.writer.put(path, world.kept(b"x")) is None
    assert world.writer.look(path) == entry(b"x")


def test_nothing_is_written_through_a_link(world: World) -> None:
    lay(world.top.parent, {"outside/a": b"1", "top/inside/a": b"2"})
    lay(world.top, {"out": "../outside", "in": "inside", "file": b"", "dangling": "../outside/new"})
    new = world.kept(b"new")
    assert world.refused("out/a", new) == "through_symlink"
    assert world.refused("in/a", new) == "through_symlink"
    assert world.refused("in/b/c", new) == "through_symlink"
    assert world.refused("file/a", new) == "through_file"
    for path in ("out/a", "in/a", "file/a"):
        assert world.writer.look(path) is None
    refusal = world.writer.remove("out/a")
    assert refusal == PathRefused(path="out/a", why="through_symlink", detail="out")
    assert world.writer.put("dangling", new) is None
    assert (world.top / "dangling").read_bytes() == b"new"
    assert sorted(os.listdir(world.top.parent / "outside")) == ["a"]


def test_a_hard_link_keeps_its_other_names(world: World) -> None:
    other = world.top.parent / "other"
    other.write_bytes(b"old")
    os.link(other, world.top / "a")
    assert world.writer.put("a", world.kept(b"new", 0o600)) is None
    assert seen_plainly(world.top.parent) == {"other": entry(b"old"), "top/a": entry(b"new", 0o600)}


def test_directories_make_way_only_when_they_hold_nothing(world: World) -> None:
    lay(world.top, {"full/deep/a": b"", "hollow/x/y/z": b""})
    (world.top / "hollow/x/y/z").unlink()
    (world.top / "hollow/w").mkdir()
    new = world.kept(b"new")
    assert world.refused("full", new) == "directory_in_the_way"
    assert world.writer.put("hollow", new) is None
    assert (world.top / "hollow").read_bytes() == b"new"
    assert world.writer.remove("full") == PathRefused(path="full", why="directory_in_the_way")


def test_what_is_no_file_is_replaced_and_not_made(world: World) -> None:
    os.mkfifo(world.top / "pipe")
    assert world.refused("pipe", Entry(kind="other", mode=0o600)) == "not_a_file"
    assert world.writer.put("pipe", world.kept(b"new")) is None
    assert world.writer.put("link", world.kept_link(b"../any\xff")) is None
    assert seen_plainly(world.top) == {"pipe": entry(b"new"), "link": link(b"../any\xff")}


@pytest.mark.parametrize("text", [b"", b"a\0b"])
def test_a_link_that_cannot_be_is_refused(world: World, text: bytes) -> None:
    assert world.refused("new/link", world.kept_link(text)) == "failed"


def test_content_that_is_missing_is_refused_before_anything_is_touched(world: World) -> None:
    lay(world.top, {"a": b"old"})
    assert world.refused("a", entry(b"never kept")) == "content_missing"
    assert world.refused("new/a", entry(b"never kept")) == "content_missing"


def test_permissions_are_respected_and_named() -> None:
    with unprivileged() as place:
        (place / "top").mkdir()
        world = World(place / "top")
        lay(world.top, {"read_only": b"old", "closed/a": b"old", "half/way/a": b"old"})
        (world.top / "read_only").chmod(0o400)
        (world.top / "closed").chmod(0o500)
        new = world.kept(b"new", 0o444)
        assert world.writer.put("read_only", new) is None
        assert world.writer.look("read_only") == new
        assert world.refused("closed/a", new) == "denied"
        assert world.refused("closed/b/c/d", new) == "denied"
        assert (refusal := world.writer.remove("closed/a")) and refusal.why == "denied"
        assert world.writer.look("closed/a") == entry(b"old")


def test_what_may_not_be_read_is_left_alone() -> None:
    with unprivileged() as place:
        (place / "top").mkdir()
        world = World(place / "top")
        lay(world.top, {"a": b"old", "d/b": b"old"})
        (world.top / "a").chmod(0)
        (world.top / "d").chmod(0)
        assert world.writer.look("a") == Unreadable(path="a", why="Permission denied")
        assert world.writer.look("d/b") == Unreadable(path="d/b", why="Permission denied")
        old = entry(b"old")
        restored = world.writer.restore({"a": (old, None), "d/b": (None, world.kept(b"new")), "d/c": (None, None)})
        assert [(refusal.path, refusal.why) for refusal in restored.refused] == [
            ("a", "unreadable"),
            ("d/b", "denied"),
            ("d/c", "denied"),
        ]
        (world.top / "a").chmod(0o644)
        (world.top / "d").chmod(0o755)
        assert seen_plainly(world.top) == {"a": old, "d/b": old}


def test_a_batch_is_restored_in_part(world: World) -> None:
    lay(
        world.top,
        {"edited": b"new", "since": b"newer", "gone": b"x", "added": b"+", "added_since": b"++", "same": b"="},
    )
    (world.top / "gone").unlink()
    old, new = world.kept(b"old", 0o755), entry(b"new")
    restored = world.writer.restore(
        {
            "edited": (new, old),
            "since": (new, old),
            "gone": (new, old),
            "deleted/deep": (None, old),
            "added": (entry(b"+"), None),
            "added_since": (entry(b"+"), None),
            "same": (new, entry(b"=")),
            "missing": (None, entry(b"never kept")),
            "mode": (None, None),
        }
    )
    assert restored.restored == ("added", "deleted/deep", "edited", "mode", "same")
    assert [(refusal.path, refusal.why) for refusal in restored.refused] == [
        ("added_since", "changed"),
        ("gone", "changed"),
        ("missing", "content_missing"),
        ("since", "changed"),
    ]
    assert seen_plainly(world.top) == {
        "edited": old,
        "since": entry(b"newer"),
        "added_since": entry(b"++"),
        "same": entry(b"="),
        "deleted/deep": old,
    }


def test_a_mode_and_a_kind_are_changes_too(world: World) -> None:
    lay(world.top, {"mode": b"same", "kind": "same"})
    (world.top / "mode").chmod(0o755)
    same = world.kept(b"same")
    batch = {"mode": (same, same), "kind": (same, same)}
    assert world.writer.restore(batch | {"mode": (entry(b"same", 0o700), same)}).restored == ()
    assert world.writer.restore({"mode": (entry(b"same", 0o755), same), "kind": (link(b"same"), same)}).refused == ()
    assert seen_plainly(world.top) == {"mode": same, "kind": same}


def test_files_and_directories_trade_places(world: World) -> None:
    lay(world.top, {"was_file/a/b": b"1", "was_file/c": b"1", "was_directory": b"2", "was_linked": ".."})
    file, inner = world.kept(b"file"), world.kept(b"inner")
    batch: dict[str, tuple[Entry | None, Entry | None]] = {
        "was_file": (None, file),
        "was_file/a/b": (entry(b"1"), None),
        "was_file/c": (entry(b"1"), None),
        "was_directory": (entry(b"2"), None),
        "was_directory/x/y": (None, inner),
        "was_linked": (link(b".."), None),
        "was_linked/z": (None, inner),
    }
    for _ in range(2):  # a restore that was cut short is begun again
        assert world.writer.restore(batch).restored == tuple(sorted(batch))
        assert seen_plainly(world.top) == {"was_file": file, "was_directory/x/y": inner, "was_linked/z": inner}


def test_directories_that_were_emptied_go_and_others_stay(world: World) -> None:
    lay(world.top, {"new/er/a": b"", "kept/a": b"", "kept/b": b""})
    world.writer.restore({path: (entry(b""), None) for path in ("new/er/a", "kept/a")})
    assert sorted(os.listdir(world.top)) == ["kept"]
    assert world.writer.remove("kept/b") is None
    assert sorted(os.listdir(world.top)) == ["kept"]


def test_what_is_gone_already_is_removed_unless_it_was_expected(world: World) -> None:
    assert world.writer.remove("a") is world.writer.remove("no/where") is world.writer.remove("no/where", None) is None
    for path in ("a", "no/where"):
        assert (refusal := world.writer.remove(path, entry(b""))) and refusal.why == "changed"
        assert (refusal := world.writer.put(path, world.kept(b""), entry(b"x"))) and refusal.why == "changed"
    assert everything(world.top) == {f"{world.top}/": None}


def test_the_sweep_takes_what_is_ours_and_nothing_else(world: World) -> None:
    aside = f".penstock-aside-{'0a' * 8}"
    lay(world.top.parent, {"outside/" + aside: b""})
    lay(world.top, {aside: b"", f"a/b/{aside}": "x", f"{aside[:-1]}g": b"", f"d/{aside}/x": b"", f".git/{aside}": b""})
    lay(world.top, {"out": "../outside"})
    assert world.writer.sweep() == (aside, f"a/b/{aside}")
    assert world.writer.sweep() == ()
    assert set(seen_plainly(world.top)) == {f"{aside[:-1]}g", f"d/{aside}/x", f".git/{aside}", "out"}
    assert os.listdir(world.top.parent / "outside") == [aside]


def test_damage_in_the_store_is_content_missing(world: World) -> None:
    class Damaged(MemoryBlobs):
        def get(self, digest: str) -> bytes:
            raise Corrupt(digest)

    refusal = TreeWriter(world.top, Damaged()).put("a", entry(b"x"))
    assert refusal == PathRefused(path="a", why="content_missing", detail=f"no content with digest {digest(b'x')}")
