"""How names are spelled, which paths the writer takes, and the names that are its own.

A name on disk is any bytes, and a path of ours goes into ledgers, prompts and JSON, so it is proper text: bytes that
are no UTF-8 are spelled `\\xff`, and where that would be ambiguous a backslash is doubled. Every name has one spelling,
and only that one is taken: others would be a second way to the same file.
"""

from __future__ import annotations

import os
import re
import secrets
import unicodedata

PATH_CHARS_MAX = 4_000
PARTS_MAX = 100
ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|\\)")
ASIDE = re.compile(r"\.penstock-aside-[0-9a-f]{16}")


class BadPath(ValueError):
    """Not a path that may be written; the text says why."""


def new_aside() -> str:
    """A fresh name for what is written beside the file that it is to replace."""
    return f".penstock-aside-{secrets.token_hex(8)}"


def is_aside(name: str) -> bool:
    """Whether `name` is one that `new_aside` gives."""
    return ASIDE.fullmatch(name) is not None


def spelled(name: str) -> str:
    """A name, as the system gives it, in proper text: `\\udcff` as `\\xff`."""
    is_text = name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)
    if is_text and "\\x" not in name:
        return name
    return os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")


def unspelled(part: str) -> str:
    """The name that is spelled so. Raises `BadPath` where none is."""
    try:
        name = os.fsdecode(os.fsencode(ESCAPED.sub(_meant, part))) if "\\x" in part else part
        is_spelled_so = "/" not in name and spelled(name) == part
    except UnicodeEncodeError as error:
        raise BadPath("holds characters that no file name has") from error
    if not is_spelled_so:
        raise BadPath(r"not the one spelling of a name: \\ and \x are for bytes that are no UTF-8")
    return name


def _meant(escape: re.Match[str]) -> str:
    return chr(0xDC00 + int(escape[1], 16)) if escape[1] else "\\"


def on_disk(path: str) -> bytes:
    """The bytes of a path. Raises `BadPath` where it is spelled wrongly."""
    return os.fsencode("/".join(map(unspelled, path.split("/"))))


def from_disk(path: bytes) -> str:
    """The path with these bytes."""
    return "/".join(map(spelled, os.fsdecode(path).split("/")))


def plain_parts(path: str) -> list[str]:
    """The names on the way. Raises `BadPath` where one leads elsewhere, into git, or to names of ours."""
    if not path or "\0" in path or len(path) > PATH_CHARS_MAX or path.count("/") >= PARTS_MAX:
        raise BadPath(f"empty, with a NUL, or longer than {PATH_CHARS_MAX} characters or {PARTS_MAX} parts")
    names = list(map(unspelled, path.split("/")))
    for name in names:
        if name in ("", ".", ".."):
            raise BadPath("absolute, or with an empty, `.` or `..` part")
        if is_git(name):
            raise BadPath("inside a git directory")
        if is_aside(name):
            raise BadPath("a name of the writer's own")
    return names


def is_git(name: str) -> bool:
    """Whether some file system takes `name` for `.git`: by case, by what it ignores, or by a short name."""
    bare = "".join(c for c in name if unicodedata.category(c) != "Cf")
    bare = unicodedata.normalize("NFKC", bare).casefold().partition(":")[0].rstrip(" .")
    return bare in (".git", "git~1")
