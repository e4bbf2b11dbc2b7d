"""No way round the gate that is known works, and each of them would work if there were no gate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.bypass.suite import VECTORS
from tests.bypass.vector import Vector, tried

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    "vector", VECTORS, ids=lambda vector: f"{vector.family}: {vector.name}".encode("ascii", "replace").decode()
)
def test_no_way_round(vector: Vector, tmp_path: Path) -> None:
    assert asyncio.run(tried(vector, tmp_path)).why == ""


def test_there_are_enough_of_every_family() -> None:
    families = [vector.family for vector in VECTORS]
    assert len(VECTORS) >= 60
    assert {"write", "forge", "runner", "claim", "time", "path", "mode"} == set(families)
