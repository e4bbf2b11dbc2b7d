"""Content digests and the one canonical encoding that they are taken over."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

Digest = str
"""Lower-case hexadecimal SHA-256 of stored bytes."""

_encoder = msgspec.json.Encoder(order="deterministic")


def digest_of_bytes(data: bytes) -> Digest:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    """`value` as JSON with a fixed key order: equal values give equal bytes."""
    return _encoder.encode(value)


def digest_of(value: Any) -> Digest:
    """Digest of the canonical encoding of `value`."""
    return digest_of_bytes(canonical(value))


def draw(seed: int, salt: str, purpose: str, count: int, below: int) -> int:
    """A keyed draw in `0 <= n < below`: a function of its arguments, not a stream."""
    if below <= 0:
        return 0
    key = f"{seed}/{salt}/{purpose}/{count}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % below
