"""All vectors. Those about claims and the runner's own process meet it warm, as it is by default; the others cold."""

from __future__ import annotations

from dataclasses import replace

from tests.bypass import claims, forgeries, modes, paths, runners, times, writes
from tests.bypass.vector import Vector

WARM: tuple[Vector, ...] = tuple(replace(vector, warm=True) for vector in (*claims.VECTORS, *forgeries.VECTORS))
COLD: tuple[Vector, ...] = (
    *writes.VECTORS,
    *paths.VECTORS,
    *runners.VECTORS,
    *times.VECTORS,
    *modes.VECTORS,
)
VECTORS: tuple[Vector, ...] = (*COLD, *WARM)
assert len({vector.name for vector in VECTORS}) == len(VECTORS)
