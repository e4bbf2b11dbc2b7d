"""The scanner sees every change, whatever it was made to look like, and reads only what it must."""

import json
import mmap
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.kernel.tree.entry import Change, Entry, Unreadable, diff, shown
from penstock.kernel.tree.scanner import (
    DISTRUST_NS,
    SECOND_NS,
    LeftAside,
    ScanLimits,
    TooLarge,
    TreeScanner,
    is_racy,
)
from tests.integration.tree_world import (
    AskedBlobs,
    digest,
    entry,
    lay,
    link,
    seen_plainly,
    unprivileged,
    wait_until_trusted,
)

ODD = ("with space", "new\nline", "quote'\"", "ünïcode", "-dash", "tab\t", "a" * 255)
ODDER = ("\udcff\udcfe", "back\\slash", "\\x41", "\udcff\\x")


def changes(before: dict[str, Entry], scanner: TreeScanner) -> list[tuple[str, str]]:
    return [(change.path, change.how) for change in diff(before, scanner.scan().entries)]


def test_it_sees_what_is_there(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"a.py": b"a", "deep/er/b.bin": b"\0\xff", "empty": b"", "link": "a.py", "loop": ".", "gone": "no/where"},
    )
    (tmp_path / "a.py").chmod(0o755)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "nothing").mkdir()
    scan = TreeScanner(tmp_path).scan()
    assert scan.problems == ()
    assert scan.entries == {
        "a.py": entry(b"a", 0o755),
        "deep/er/b.bin": entry(b"\0\xff"),
        "empty": entry(b""),
        "link": link(b"a.py"),
        "loop": link(b"."),
        "gone": link(b"no/where"),
        "pipe": Entry(kind="other", mode=0o600),
    }
    assert scan.entries == seen_plainly(tmp_path)


@pytest.mark.parametrize("name", [*ODD, *ODDER], ids=lambda name: ascii(name)[:20])
def test_any_name_is_a_name(tmp_path: Path, name: str) -> None:
    lay(tmp_path, {f"{name}/{name}": name.encode("utf-8", "surrogateescape")})
    entries = TreeScanner(tmp_path).scan().entries
    assert entries == seen_plainly(tmp_path)
    (path,) = entries
    assert json.loads(json.dumps(path, ensure_ascii=False).encode()) == path
    assert shown(path).isprintable()


def test_what_stands_still_is_read_once(tmp_path: Path) -> None:
    lay(tmp_path, {"a": b"1", "b/c": b"2", "link": "a"})
    wait_until_trusted()
    blobs = AskedBlobs()
    scanner = TreeScanner(tmp_path, blobs=blobs)
    first = scanner.scan()
    assert len(blobs.asked) == 3
    assert [blobs.get(digest(data)) for data in (b"1", b"2", b"a")] == [b"1", b"2", b"a"]
    assert scanner.scan() == first
    assert len(blobs.asked) == 3
    assert scanner.scan(afresh=True) == first
    assert len(blobs.asked) == 6


def test_what_changed_just_now_is_not_trusted(tmp_path: Path) -> None:
    lay(tmp_path, {"a": b"1"})
    blobs = AskedBlobs()
    scanner = TreeScanner(tmp_path, blobs=blobs)
    scanner.scan()
    scanner.scan()
    assert len(blobs.asked) == 2
    wait_until_trusted()
    scanner.scan()
    scanner.scan()
    assert len(blobs.asked) == 3


def test_whole_seconds_are_trusted_later() -> None:
    def stamp(changed_ns: int) -> tuple[int, int, int, int, int, int]:
        return (1, 1, 1, 1, changed_ns, 1)

    odd, whole = 10**18 + 1, 10**18
    assert is_racy(stamp(odd), odd + DISTRUST_NS - 1)
    assert not is_racy(stamp(odd), odd + DISTRUST_NS)
    assert is_racy(stamp(whole), whole + 2 * SECOND_NS)
    assert not is_racy(stamp(whole), whole + 3 * SECOND_NS)
    assert is_racy((1, 1, 1, odd, 1, 1), odd)


def test_no_flip_of_the_same_size_is_missed(tmp_path: Path) -> None:
    file = tmp_path / "flag.py"
    file.write_bytes(b"x = 0")
    scanner = TreeScanner(tmp_path)
    for turn in range(1_000):
        data = b"x = %d" % (turn % 2)
        with file.open("r+b") as same:
            same.write(data)
        os.utime(file, ns=(0, 0))
        assert scanner.scan().entries == {"flag.py": entry(data)}


def rewrite(file: Path, data: bytes) -> None:
    before = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_twin(file: Path, data: bytes) -> None:
    before, twin = file.stat(), file.with_name("twin")
    twin.write_bytes(data)
    os.utime(twin, ns=(before.st_atime_ns, before.st_mtime_ns))
    twin.replace(file)


def through_another_name(file: Path, data: bytes) -> None:
    other = file.parent.parent / "other"
    os.link(file, other)
    rewrite(other, data)


@pytest.mark.parametrize("edit", [rewrite, replace_by_twin, through_another_name])
def test_an_edit_that_sets_the_time_back_is_seen(tmp_path: Path, edit: Callable[[Path, bytes], None]) -> None:
    top = lay(tmp_path / "top", {"a": b"old"})
    wait_until_trusted()
    scanner = TreeScanner(top)
    before = scanner.scan().readable
    edit(top / "a", b"new")
    assert diff(before, scanner.scan().entries) == (
        Change(path="a", how="modified", before=entry(b"old"), after=entry(b"new")),
    )


def test_directories_that_change_places_are_seen(tmp_path: Path) -> None:
    lay(tmp_path, {"one/a": b"1", "two/a": b"2", "one/same": b"=", "two/same": b"="})
    wait_until_trusted()
    scanner = TreeScanner(tmp_path)
    before = scanner.scan().readable
    for old, new in (("one", "aside"), ("two", "one"), ("aside", "two")):
        (tmp_path / old).rename(tmp_path / new)
    assert changes(before, scanner) == [("one/a", "modified"), ("two/a", "modified")]


def test_a_directory_that_became_a_link_is_a_link(tmp_path: Path) -> None:
    lay(tmp_path / "outside", {"a": b"secret"})
    top = lay(tmp_path / "top", {"d/a": b"a"})
    wait_until_trusted()
    blobs = AskedBlobs()
    scanner = TreeScanner(top, blobs=blobs)
    before = scanner.scan().readable
    (top / "d/a").unlink()
    (top / "d").rmdir()
    (top / "d").symlink_to("../outside")
    assert changes(before, scanner) == [("d", "added"), ("d/a", "deleted")]
    assert not blobs.has(digest(b"secret"))


def test_kinds_and_modes_are_told_apart(tmp_path: Path) -> None:
    lay(tmp_path, {"file": b"target", "mode": b"x", "gone": b"x", "link": "one"})
    scanner = TreeScanner(tmp_path)
    before = scanner.scan().readable
    for name in ("file", "gone", "link"):
        (tmp_path / name).unlink()
    (tmp_path / "file").symlink_to("target")
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "mode").chmod(0o4755)
    (tmp_path / "new").write_bytes(b"")
    expected = [("file", "kind"), ("gone", "deleted"), ("link", "modified"), ("mode", "mode"), ("new", "added")]
    assert changes(before, scanner) == expected


def test_pipes_and_sockets_are_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    here = os.open(".", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(tmp_path)
        listening.bind("socket")
        os.fchdir(here)
    os.close(here)
    (tmp_path / "socket").chmod(0o600)
    other = Entry(kind="other", mode=0o600)
    assert TreeScanner(tmp_path).scan().entries == {"pipe": other, "socket": other}


def test_large_content_is_known_and_not_kept(tmp_path: Path) -> None:
    lay(tmp_path, {"large": b"x" * 101, "fits": b"x" * 100})
    wait_until_trusted()
    blobs = AskedBlobs()
    scanner = TreeScanner(tmp_path, blobs=blobs, limits=ScanLimits(kept_bytes_max=100))
    for _ in range(2):
        scan = scanner.scan()
        assert scan.entries["large"] == entry(b"x" * 101)
        assert scan.problems == (TooLarge(path="large", size_bytes=101),)
    assert not blobs.has(digest(b"x" * 101))
    assert blobs.has(digest(b"x" * 100))


def test_huge_files_are_not_read_and_not_gone(tmp_path: Path) -> None:
    lay(tmp_path, {"huge": b"x", "small": b"y"})
    scanner = TreeScanner(tmp_path)
    before = scanner.scan().readable
    os.truncate(tmp_path / "huge", 1 << 40)
    scan = scanner.scan()
    assert changes(before, scanner) == [("huge", "unreadable")]
    assert scan.problems == (Unreadable(path="huge", why="larger than 1000000000 bytes"),)


def test_what_may_not_be_read_is_unreadable_and_never_deleted() -> None:
    with unprivileged() as top:
        lay(top, {"a": b"1", "d/b": b"2", "d/e/c": b"3", "x/f": b"4", "l": b"5"})
        scanner = TreeScanner(top)
        before = scanner.scan().readable
        (top / "a").chmod(0)
        (top / "d").chmod(0)
        (top / "x").chmod(0o600)
        (top / "l").unlink()
        scan = scanner.scan()
        assert scan.problems == tuple(Unreadable(path=path, why="Permission denied") for path in ("a", "d", "x/f"))
        found = [(change.path, change.how) for change in diff(before, scan.entries)]
        gone = [("l", "deleted")]
        unreadable = [(path, "unreadable") for path in ("a", "d", "d/b", "d/e/c", "x/f")]
        assert found == sorted(unreadable + gone)
        for path, mode in (("a", 0o644), ("d", 0o755), ("x", 0o755)):
            (top / path).chmod(mode)
        assert changes(before, scanner) == gone


def test_a_tree_that_is_not_there_is_unreadable_as_a_whole(tmp_path: Path) -> None:
    top = lay(tmp_path / "top", {"a/b": b"1", "c": b"2"})
    scanner = TreeScanner(top)
    before = scanner.scan().readable
    top.rename(tmp_path / "elsewhere")
    assert changes(before, scanner) == [("", "unreadable"), ("a/b", "unreadable"), ("c", "unreadable")]


def test_a_file_that_does_not_stop_changing_is_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "busy"
    file.write_bytes(b"")
    os.truncate(file, 40_000_000)
    stop = threading.Event()

    def write_on() -> None:
        with file.open("r+b", buffering=0) as busy:
            while not stop.is_set():
                os.pwrite(busy.fileno(), os.urandom(1), 0)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        found = [TreeScanner(tmp_path).scan().entries["busy"] for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert Unreadable(path="busy", why="it changes while it is read") in found


def test_ignored_is_what_was_declared(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            ".git/config": b"",
            "sub/.git": b"",
            "a/node_modules/x.js": b"",
            "b/__pycache__/x.pyc": b"",
            "c/node_modules": b"a file",
            ".gitignore": b"*\n",
            ".GIT/x": b"",
            "build/x": b"",
        },
    )
    ours = {"c/node_modules", ".gitignore", ".GIT/x", "build/x"}
    assert set(TreeScanner(tmp_path).scan().entries) == ours
    assert set(TreeScanner(tmp_path, ignore=("build/", ".git")).scan().entries) > ours - {"build/x"}
    only = TreeScanner(tmp_path, ignore=lambda path: not path.startswith("b"))
    assert set(only.scan().entries) == set(only.scan().entries) == {"b/__pycache__/x.pyc", "build/x"}


def test_files_left_aside_are_named_and_forged_directories_seen(tmp_path: Path) -> None:
    aside = f".penstock-aside-{'0' * 16}"
    lay(tmp_path, {f"a/{aside}": b"", f"{aside}/hidden.py": b"", f"{aside}x": b""})
    scan = TreeScanner(tmp_path).scan()
    assert scan.problems == (LeftAside(path=f"a/{aside}"),)
    assert set(scan.entries) == {f"{aside}/hidden.py", f"{aside}x"}


def test_a_tree_has_limits(tmp_path: Path) -> None:
    lay(tmp_path, {"a/1": b"", "a/2": b"", "a/b/3": b"", "a/b/c/4": b""})
    deep = TreeScanner(tmp_path, limits=ScanLimits(depth_max=2)).scan()
    assert deep.problems == (Unreadable(path="a/b/c", why="deeper than 2 directories"),)
    many = TreeScanner(tmp_path, limits=ScanLimits(files_max=1)).scan()
    assert many.problems == (Unreadable(path="a/b", why="the tree has more than 1 files"),)


def test_a_mapped_file_is_seen_afresh(tmp_path: Path) -> None:
    file = tmp_path / "mapped"
    file.write_bytes(b"0" * mmap.PAGESIZE)
    scanner = TreeScanner(tmp_path)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[0:1] = b"1"
        wait_until_trusted()
        scanner.scan()
        mapped[0:1] = b"2"
    assert scanner.scan(afresh=True).entries == {"mapped": entry(b"2" + b"0" * (mmap.PAGESIZE - 1))}


NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "e/a", "e/d/a"])
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.sampled_from([b"1", b"2", b"22"])),
    st.tuples(st.just("remove"), NAMES, st.just(b"")),
    st.tuples(st.just("rename"), NAMES, NAMES.map(os.fsencode)),
    st.tuples(st.just("link"), NAMES, st.sampled_from([b"a", b"b", b".."])),
    st.tuples(st.just("mode"), NAMES, st.sampled_from([b"6", b"7"])),
    st.tuples(st.just("move"), st.sampled_from(["d", "e", "e/d"]), st.sampled_from([b"d", b"e", b"f"])),
)


def step(top: Path, what: str, path: str, more: bytes) -> None:
    """One thing that a command can do; what cannot be done is not."""
    place = top / path
    try:
        match what:
            case "write":
                place.parent.mkdir(parents=True, exist_ok=True)
                rewrite(place, more) if place.exists() else place.write_bytes(more)
            case "remove":
                place.unlink()
            case "link":
                place.symlink_to(os.fsdecode(more))
            case "mode":
                place.chmod(int(more) * 0o100 + 0o44, follow_symlinks=True)
            case _:
                place.rename(top / os.fsdecode(more))
    except OSError:
        pass


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(STEPS, max_size=4), min_size=1, max_size=6))
def test_scanning_again_finds_what_a_fresh_look_finds(turns: list[list[tuple[str, str, bytes]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        top = lay(Path(place) / "top", {"a": b"1", "d/a": b"1", "e/d/a": b"2"})
        scanner = TreeScanner(top)
        before = scanner.scan().readable
        for turn in turns:
            for what in turn:
                step(top, *what)
            scan = scanner.scan()
            assert scan.entries == seen_plainly(top)
            changed = {change.path: change.after for change in diff(before, scan.entries)}
            kept = {path: found for path, found in before.items() if path not in changed}
            assert kept | {path: found for path, found in changed.items() if found} == scan.entries
            before = scan.readable
