"""Which parts of the operator's machine a confined process needs to read, so that commands mean what they mean outside.

The system lies in /usr. What else is on PATH comes from version managers and virtual environments, and mostly lies in
the operator's HOME, next to secrets. So HOME is never shown as a whole, nor a hidden directory of it unless it is known
to hold toolchains only; otherwise just the directory on PATH is shown, and what the links in it lead to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
TOOL_HOMES = {".asdf", ".bun", ".deno", ".goenv", ".nodenv", ".nvm", ".pyenv", ".rbenv", ".rustup", ".volta"}
"""Hidden directories of a HOME that hold toolchains and nothing secret."""
MARKS_OF_A_PREFIX = ("lib", "lib64", "libexec", "pyvenv.cfg", "versions")
LINKS_MAX = 500


def search_path(environ: Mapping[str, str], system: Sequence[str] = SYSTEM_PATH) -> tuple[str, ...]:
    """The operator's PATH with the system's own directories last, without what is not there."""
    entries = [entry for entry in environ.get("PATH", "").split(os.pathsep) if is_own(entry)]
    return (*dict.fromkeys(entry for entry in entries if os.path.isdir(entry)), *system)


def readable_places(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What tools on PATH, and this very interpreter, need to read outside the system: sorted, none inside another."""
    home = environ.get("HOME", "")
    found = {sys.prefix, sys.base_prefix}
    for entry in search_path(environ, system=()):
        found |= {place_of(entry, home), *ends_of_links(entry, home)}
    if os.path.isdir(rustup := rustup_home(environ)):
        found.add(rustup)
    found |= {behind for place in tuple(found) for behind in interpreter_behind(place)}
    return without_nested(sorted(place for place in found if is_own(place) and os.path.exists(place)))


def rustup_home(environ: Mapping[str, str]) -> str:
    """Where rustup keeps its toolchains."""
    return environ.get("RUSTUP_HOME") or os.path.join(environ.get("HOME") or "/", ".rustup")


def is_own(path: str) -> bool:
    """Whether `path` is absolute and lies outside the system's directories."""
    return path.startswith("/") and path != "/" and not any(is_within(path, system) for system in SYSTEM)


def is_within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def place_of(path: str, home: str) -> str:
    """The smallest place that makes the file or directory `path` work: its tool's home, its prefix, or itself."""
    inside = os.path.relpath(path, home).split("/") if home and is_within(path, home) else []
    if inside and inside[0] in TOOL_HOMES:
        return os.path.join(home, inside[0])
    parts = path.split("/")
    for name in ("bin", "sbin", "shims", "node_modules"):
        if name in parts[:-1] or parts[-1] == name:
            last = len(parts) - 1 - parts[::-1].index(name)
            prefix = "/".join(parts[: last - (name == "node_modules" and parts[last - 1] == "lib")])
            if may_show(prefix, home):
                return prefix
    return path


def may_show(prefix: str, home: str) -> bool:
    """Whether `prefix` looks like one, and holds neither HOME nor a user's settings."""
    if not is_own(prefix) or (home and is_within(home, prefix)):
        return False
    inside = os.path.relpath(prefix, home).split("/") if home and is_within(prefix, home) else []
    is_hidden_top = len(inside) == 1 and inside[0].startswith(".") and inside[0] not in {".venv", *TOOL_HOMES}
    return not is_hidden_top and any(os.path.exists(os.path.join(prefix, mark)) for mark in MARKS_OF_A_PREFIX)


def ends_of_links(directory: str, home: str) -> Iterator[str]:
    """Places that the links in a directory on PATH lead to."""
    with os.scandir(directory) as entries:
        links = [entry.path for entry in entries if entry.is_symlink()]
    for link in sorted(links)[:LINKS_MAX]:
        target = os.path.realpath(link)
        if os.path.exists(target) and is_own(target):
            yield place_of(target, home)


def interpreter_behind(prefix: str) -> Iterator[str]:
    """For a virtual environment: the prefix of the interpreter that it was made with."""
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), encoding="utf-8") as file:
            lines = [line.partition("=") for line in file]
    except (OSError, UnicodeDecodeError):
        return
    for key, _, value in lines:
        if key.strip() == "home":
            yield os.path.dirname(os.path.realpath(value.strip()))


def without_nested(places: Sequence[str]) -> tuple[str, ...]:
    """Sorted places without those that lie in another."""
    kept: list[str] = []
    for place in places:
        if not any(is_within(place, other) for other in kept):
            kept.append(place)
    return tuple(kept)
