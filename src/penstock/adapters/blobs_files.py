"""Content-addressed files: the bytes with digest `abcdef...` are in `ab/cdef...`."""

from __future__ import annotations

import re
from pathlib import Path

from penstock import durable
from penstock.core.digest import Digest, digest_of_bytes
from penstock.ports import Corrupt

DIGEST = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """`Blobs` under a directory, which is made with the first of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data: bytes) -> Digest:
        """See `Blobs`. Mends what was damaged."""
        digest = digest_of_bytes(data)
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._read(path) == data:
            durable.flush_names(path.parent)  # whoever wrote it may have died before its name was durable
        else:
            durable.write_whole(path, data)
        durable.flush_names(self._directory)
        return digest

    def get(self, digest: Digest) -> bytes:
        """See `Blobs`."""
        data = self._read(self._path(digest)) if DIGEST.fullmatch(digest) else None
        if data is None:
            raise KeyError(digest)
        if digest_of_bytes(data) != digest:
            raise Corrupt(f"{self._path(digest)}: its bytes are not those of its name")
        return data

    def has(self, digest: Digest) -> bool:
        """See `Blobs`."""
        return bool(DIGEST.fullmatch(digest)) and self._path(digest).is_file()

    def _path(self, digest: Digest) -> Path:
        return self._directory / digest[:2] / digest[2:]

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
