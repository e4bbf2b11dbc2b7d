"""What binds evidence to a test: its content. A first form, by whole files where nothing finer is known."""

from __future__ import annotations

from penstock.core.digest import Digest, digest_of_bytes
from penstock.core.policy import Frozen
from penstock.core.redgreen.test_id import TestId
from penstock.core.weakening import fingerprints


class Annotations(Frozen):
    """Names that comments give to tests: slug by the chain of the test."""

    slugs: dict[tuple[str, ...], str] = {}
    problems: tuple[str, ...] = ()


def test_sha(test: TestId, source: bytes) -> Digest:
    """Digest of the test; empty where it is not in `source`."""
    if not test.path.endswith(".py"):
        return digest_of_bytes(b" ".join(source.split()))
    prints = fingerprints(source) or {}
    found = prints.get("::".join(test.chain))
    return digest_of_bytes(found.encode()) if found is not None else ""


def annotations_in(runner: str, source: bytes, path: str) -> Annotations:
    """Annotations of a test file."""
    return Annotations()
