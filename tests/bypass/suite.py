"""All vectors."""

from __future__ import annotations

from tests.bypass import claims, forgeries, modes, paths, runners, times, writes
from tests.bypass.vector import Vector

VECTORS: tuple[Vector, ...] = (
    *writes.VECTORS,
    *paths.VECTORS,
    *claims.VECTORS,
    *forgeries.VECTORS,
    *runners.VECTORS,
    *times.VECTORS,
    *modes.VECTORS,
)
assert len({vector.name for vector in VECTORS}) == len(VECTORS)
