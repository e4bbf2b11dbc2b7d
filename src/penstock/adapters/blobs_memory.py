"""Content-addressed bytes in memory: for tests and simulation."""

from __future__ import annotations

from penstock.core.digest import Digest, digest_of_bytes


class MemoryBlobs:
    """`Blobs` in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def put(self, data: bytes) -> Digest:
        """See `Blobs`."""
        digest = digest_of_bytes(data)
        self._blobs[digest] = data
        return digest

    def get(self, digest: Digest) -> bytes:
        """See `Blobs`."""
        return self._blobs[digest]

    def has(self, digest: Digest) -> bool:
        """See `Blobs`."""
        return digest in self._blobs
