"""The bundled example, laid out for the sandbox that this machine can give."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.demo.build import build


def build_demo(place: Path, scenario: str, sandbox: str = "auto") -> str:
    """Lay the scenario out in `place`; says where it is and how its agents and gates are confined."""
    mode: Literal["bubblewrap", "none"] = "none" if sandbox == "none" else "bubblewrap"
    why = "asked for"
    if sandbox == "auto":
        answer = BubblewrapSandbox().probe()
        mode, why = ("none", answer) if isinstance(answer, str) else ("bubblewrap", "found to work here")
    top = build(place, scenario, mode)
    confined = "confined by bubblewrap" if mode == "bubblewrap" else "NOT confined"
    return f"demo {scenario} in {top}: agents and gates are {confined} ({why})"
