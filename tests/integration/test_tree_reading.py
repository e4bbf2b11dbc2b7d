"""The edit tools get text, and an edit changes nothing but what it says."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.tree.entry import Entry
from penstock.kernel.tree.reading import TEXT_BYTES_MAX, NotText, TextFile, decoded, read_text
from tests.integration.tree_world import entry, lay, unprivileged

MARK = b"\xef\xbb\xbf"


def text_of(top: Path, data: bytes) -> TextFile:
    lay(top, {"a.py": data})
    found = read_text(top, "a.py")
    assert isinstance(found, TextFile)
    assert found.entry == entry(data)
    return found


@pytest.mark.parametrize(
    ("data", "text", "edited"),
    [
        (b"a\nb\n", "a\nb\n", b"X\nb\n"),
        (b"a\r\nb\r\n", "a\nb\n", b"X\r\nb\r\n"),
        (MARK + b"a\r\nb", "a\nb", MARK + b"X\r\nb"),
        (MARK + b"a\n", "a\n", MARK + b"X\n"),
        (b"a\r\nb\n", "a\r\nb\n", b"X\r\nb\n"),
        (b"a\rb\r\n", "a\rb\r\n", b"X\rb\r\n"),
        (b"", "", b""),
        ("a ü€𝄞".encode(), "a ü€𝄞", "X ü€𝄞".encode()),
        (b"a" * TEXT_BYTES_MAX, "a" * TEXT_BYTES_MAX, b"X" * TEXT_BYTES_MAX),
    ],
    ids=["plain", "crlf", "mark and crlf", "mark", "mixed", "lone cr", "empty", "wide", "largest"],
)
def test_an_edit_keeps_the_rest(tmp_path: Path, data: bytes, text: str, edited: bytes) -> None:
    found = text_of(tmp_path, data)
    assert found.text == text
    assert found.encoded(text.replace("a", "X")) == edited
    assert found.encoded(text) == data


def test_new_lines_get_the_files_own_ends(tmp_path: Path) -> None:
    found = text_of(tmp_path, b"a\r\n")
    assert found.encoded("a\nb\nc\r\n") == b"a\r\nb\r\nc\r\n"


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", MARK, "ü".encode()])).map(b"".join))
def test_what_is_not_edited_comes_out_as_it_was(data: bytes) -> None:
    found = decoded("a", Entry(), data)
    assert isinstance(found, TextFile)
    assert found.encoded(found.text) == data


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("binary", "binary"),
        ("latin", "not_utf8"),
        ("large", "too_large"),
        ("link", "symlink"),
        ("linked/a", "symlink"),
        ("pipe", "not_a_file"),
        ("d", "directory"),
        ("nothing", "absent"),
        ("no/thing", "absent"),
        ("d/a/b", "absent"),
        ("../outside", "bad_path"),
        (".git/config", "bad_path"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    top = lay(tmp_path / "top", {"binary": b"a\0b", "latin": b"\xe4\n", "large": b"a" * (TEXT_BYTES_MAX + 1)})
    lay(top, {"link": "d/a", "linked": "d", "d/a": b"a", ".git/config": b""})
    os.mkfifo(top / "pipe")
    found = read_text(top, path)
    assert isinstance(found, NotText)
    assert (found.path, found.why) == (path, why)


def test_the_place_of_the_fault_is_told(tmp_path: Path) -> None:
    lay(tmp_path, {"a": MARK + b"ab\xff"})
    assert read_text(tmp_path, "a") == NotText(path="a", why="not_utf8", detail="at byte 5")


def test_what_may_not_be_read_is_not_absent() -> None:
    with unprivileged() as top:
        lay(top, {"a": b"", "d/a": b""})
        (top / "a").chmod(0)
        (top / "d").chmod(0)
        for path in ("a", "d/a"):
            assert read_text(top, path) == NotText(path=path, why="unreadable", detail="Permission denied")
