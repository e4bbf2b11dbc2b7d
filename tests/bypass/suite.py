"""All vectors."""

from __future__ import annotations

from tests.bypass import claims, paths, writes
from tests.bypass.vector import Vector

VECTORS: tuple[Vector, ...] = (*writes.VECTORS, *paths.VECTORS, *claims.VECTORS)
assert len({vector.name for vector in VECTORS}) == len(VECTORS)
