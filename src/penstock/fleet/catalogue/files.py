"""The files of models: which belong together, what they hold, how much memory they want."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from penstock.fleet.catalogue.gguf import Metadata, NotGguf, read_gguf

SUFFIX = ".gguf"
PIECE_BYTES = 4_194_304
NAME_CHARS_MAX = 200
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.ASCII)
"""llama.cpp splits a large model into parts, and loads them all by the name of the first."""
Progress = Callable[[int, int], None]
"""Hears bytes done, and of how many."""


class Unusable(Exception):
    """A file that no model can be made of. `fix`: what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


def parts_of(path: Path) -> list[Path]:
    """The file, or all parts of the model whose first part it is. Raises `Unusable`."""
    named = PART.fullmatch(path.name)
    if named is None:
        return [path]
    if int(named["number"]) != 1:
        raise Unusable("is a later part of a model", f"give the first: {named['stem']}-00001-of-{named['count']}.gguf")
    count = range(1, int(named["count"]) + 1)
    parts = [path.with_name(f"{named['stem']}-{n:05}-of-{named['count']}.gguf") for n in count]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise Unusable(f"{len(missing)} of {len(parts)} parts are missing", f"get {missing[0]} too")
    return parts


def bytes_of(path: Path) -> int:
    """Of all parts together. Raises `Unusable` where one is not a file that can be read."""
    return sum(_size(part) for part in parts_of(path))


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except OSError as error:
        fix = "mend the link" if path.is_symlink() else "give the path of a file that is there"
        raise Unusable(f"cannot be read: {error.strerror}", fix) from None
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("is a folder" if stat.S_ISDIR(found.st_mode) else "is no regular file", "give a file")
    if not os.access(path, os.R_OK):
        raise Unusable("may not be read", f"let the user who runs this read it: chmod u+r {path.name}")
    return found.st_size


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """Of all parts, one after another. Raises `Unusable`."""
    total, digest, done = bytes_of(path), hashlib.sha256(), 0
    for piece in _pieces(parts_of(path)):
        digest.update(piece)
        done += len(piece)
        if progress is not None:
            progress(done, total)
    return digest.hexdigest()


def _pieces(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise Unusable(f"cannot be read: {error.strerror}", "see whether its disk is well") from None


def metadata_of(path: Path) -> Metadata:
    """Of a GGUF file; with parts, of the first. Raises `Unusable`."""
    size = _size(path)
    try:
        with path.open("rb") as file:
            return read_gguf(file, size)
    except NotGguf as error:
        raise Unusable(error.message, error.fix) from None
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}", "see whether its disk is well") from None


def memory_wanted(size: int, metadata: Metadata | None, context: int, slots: int) -> int:
    """Bytes: the weights and a fifth more, and the KV cache of every slot's whole context."""
    cache = metadata.cache_bytes_per_token * context * slots if metadata else 0
    return -(-size * 6 // 5) + cache


def model_name(file: Path) -> str:
    """What a model is called after its file: without the suffix and the number of the part."""
    named = PART.fullmatch(file.name)
    stem = named["stem"] if named else file.name.removesuffix(SUFFIX)
    return re.sub(r"[^A-Za-z0-9._@+-]+|\.{2,}", "-", stem).strip("._-@+")[:128]


def file_name(model: str) -> str:
    """Where a model that was downloaded lies, in the folder of models: one plain name, whatever the model is called."""
    quoted = quote(model, safe=":@+")
    if len(quoted) > NAME_CHARS_MAX:
        quoted = f"{quoted[:100]}-{hashlib.sha256(model.encode()).hexdigest()[:32]}"
    return quoted + SUFFIX
