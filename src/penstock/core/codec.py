"""Events to stored bytes and back, and the hash chain over those bytes.

The chain is over what is stored, never over what a later version would write: `head(n) = sha256(head(n-1) | bytes(n))`.
"""

from __future__ import annotations

import hashlib

import msgspec

from penstock.core.digest import Digest
from penstock.core.events import Chained, Record

FORMAT = 1
"""Version of the stored records; a log with a higher one is refused, naming both."""

GENESIS: Digest = "0" * 64

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Record)


def encode(record: Chained) -> bytes:
    """Stored bytes of a record: JSON, fixed key order."""
    return _encoder.encode(record)


def decode(data: bytes) -> Record:
    """The record of stored bytes. Raises `msgspec.ValidationError` on anything else."""
    return _decoder.decode(data)


def link(previous: Digest, data: bytes) -> Digest:
    """Head of the chain after `data`."""
    return hashlib.sha256(bytes.fromhex(previous) + data).hexdigest()
