"""All vectors."""

from __future__ import annotations

from tests.bypass import writes
from tests.bypass.vector import Vector

VECTORS: tuple[Vector, ...] = (*writes.VECTORS,)
assert len({vector.name for vector in VECTORS}) == len(VECTORS)
