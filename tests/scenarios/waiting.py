"""Waits for what is to come. The one place of the scenarios that looks again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_S = 30.0
LOOK_S = 0.01


def until(holds: Callable[[], Found], what: str = "it", limit_s: float = PATIENCE_S) -> Found:
    """What it gives, as soon as that is something."""
    deadline = time.monotonic() + limit_s
    waiting = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what}: never came to be within {limit_s:g} s"
        waiting.wait(LOOK_S)
    return found
