"""Which paths the writer takes, and the names that are its own."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata

PATH_BYTES_MAX = 4_000
PARTS_MAX = 100
ASIDE = re.compile(r"\.penstock-aside-[0-9a-f]{16}")


class BadPath(ValueError):
    """Not a path that may be written; the text says why."""


def new_aside() -> str:
    """A fresh name for what is written beside the file that it is to replace."""
    return f".penstock-aside-{secrets.token_hex(8)}"


def is_aside(name: str) -> bool:
    """Whether `name` is one that `new_aside` gives."""
    return ASIDE.fullmatch(name) is not None


def plain_parts(path: str) -> list[str]:
    """The parts of a relative path. Raises `BadPath` where one leads elsewhere, into git, or to names of ours."""
    parts = path.split("/")
    if not path or "\0" in path or len(parts) > PARTS_MAX or len(_encoded(path)) > PATH_BYTES_MAX:
        raise BadPath(f"empty, with a NUL, or longer than {PATH_BYTES_MAX} bytes or {PARTS_MAX} parts")
    for part in parts:
        if part in ("", ".", ".."):
            raise BadPath("absolute, or with an empty, `.` or `..` part")
        if is_git(part):
            raise BadPath("inside a git directory")
        if is_aside(part):
            raise BadPath("a name of the writer's own")
    return parts


def is_git(part: str) -> bool:
    """Whether some file system takes `part` for `.git`: by case, by what it ignores, or by a short name."""
    bare = "".join(c for c in part if unicodedata.category(c) != "Cf")
    bare = unicodedata.normalize("NFKC", bare).casefold().partition(":")[0].rstrip(" .")
    return bare in (".git", "git~1")


def _encoded(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise BadPath("holds characters that no file name has") from error
