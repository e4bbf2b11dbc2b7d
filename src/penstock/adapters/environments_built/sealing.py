"""Sealed environments on disk: `NAME-DIGEST/tree/PATH` and `manifest.json`, complete or not there at all.

What is taken over was made by code that nobody vouches for. Outside the sandbox, where it is moved and later mounted
from, a symbolic link in it would lead anywhere on this machine: so no part of a path that we name may be one.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from penstock import durable
from penstock.core.digest import Digest
from penstock.core.policy import EnvSpec

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
TRUSTED = stat.S_ISUID | stat.S_ISGID


class NotMade(Exception):
    """The set-up did not make what its section promises; the text says which path."""


class SealedEnvironment:
    """The place of one environment under `directory`, whether or not it is there yet."""

    def __init__(self, directory: Path, spec: EnvSpec, digest: Digest) -> None:
        self._spec = spec
        self._digest = digest
        self._place = directory / f"{spec.name}-{digest}"

    def is_there(self) -> bool:
        """Whether it is complete."""
        return self._place.is_dir()

    def at(self, path: str) -> Path:
        """Where the sealed content of `path` lies."""
        return self._place / "tree" / path

    def take(self, checkout: Path) -> None:
        """Move the promised paths out of `checkout` and seal them, durably. Raises `NotMade`."""
        partial = self._place.with_name(self._place.name + ".partial")
        discard(partial)
        for path in self._spec.paths:
            require_directory(checkout, path)
            (partial / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(checkout / path, partial / "tree" / path)
        for path in self._spec.scratch:
            (partial / "tree" / path).mkdir(parents=True, exist_ok=True)
            require_directory(partial / "tree", path)
        self._write_manifest(partial)
        change_modes(partial, clear=WRITABLE | TRUSTED)
        os.sync()  # one call for its thousands of files
        partial.rename(self._place)
        durable.flush_names(self._place.parent)

    def _write_manifest(self, partial: Path) -> None:
        manifest = {
            "env": self._spec.name,
            "digest": self._digest,
            "setup": self._spec.setup,
            "paths": {path: measure(partial / "tree" / path) for path in self._spec.paths},
        }
        (partial / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))

    def copy(self, path: str, target: Path) -> None:
        """A writable copy of `path`."""
        discard(target)
        shutil.copytree(self.at(path), target, symlinks=True)
        change_modes(target, add=stat.S_IWUSR)


def require_directory(root: Path, path: str) -> None:
    """Raise `NotMade` unless `path` is a directory below `root`, with no symbolic link on the way."""
    place = root
    for part in Path(path).parts:
        place /= part
        if place.is_symlink():
            raise NotMade(f"the set-up made a symbolic link of {place.relative_to(root)}, which must be a directory")
        if part == ".." or not place.is_dir():
            raise NotMade(f"the set-up did not make the directory {path}")


def measure(directory: Path) -> dict[str, int]:
    """Number and total size in bytes of the files below."""
    sizes = [os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(directory) for name in names]
    return {"files": len(sizes), "bytes": sum(sizes)}


def change_modes(root: Path, clear: int = 0, add: int = 0) -> None:
    """Clear and add permission bits of everything below `root` and of itself, links excepted."""
    for path in _everything(root):
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if not os.path.islink(path):
            os.chmod(path, mode & ~clear | add)


def _everything(root: Path) -> Iterator[str]:
    for place, directories, files in os.walk(root, topdown=False):
        yield from (os.path.join(place, name) for name in (*directories, *files))
    yield str(root)


def discard(place: Path) -> None:
    """Delete, sealed or not."""
    if place.is_dir():
        for directory, _, _ in os.walk(place):
            os.chmod(directory, 0o700)
        shutil.rmtree(place)


def tail(path: Path, lines: int) -> Sequence[str]:
    """The last lines of a file, at most 64 kB."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - (1 << 16)))
        return file.read().decode("utf-8", "replace").splitlines()[-lines:]
