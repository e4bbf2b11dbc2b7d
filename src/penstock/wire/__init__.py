"""The one place that reads settings and names concrete adapters.

What the command line calls is listed here; each is imported when it is called, so that nothing is paid for twice.
No name here is also that of a module beside: importing it would put the module in the name's place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.wire.demo import build_demo, how_to_go_on, serve_demo_model, what_to_look_at
    from penstock.wire.look import RunStatus, RunView, TicketReader, follow_ticket, open_run, status
    from penstock.wire.operator import command
    from penstock.wire.plan import explain, plan_run
    from penstock.wire.run import Ended, RunOptions, run_tickets

_HOMES = {
    "build_demo": "demo",
    "how_to_go_on": "demo",
    "serve_demo_model": "demo",
    "what_to_look_at": "demo",
    "RunStatus": "look",
    "RunView": "look",
    "TicketReader": "look",
    "follow_ticket": "look",
    "open_run": "look",
    "status": "look",
    "command": "operator",
    "explain": "plan",
    "plan_run": "plan",
    "Ended": "run",
    "RunOptions": "run",
    "run_tickets": "run",
}

__all__ = [
    "Ended",
    "RunOptions",
    "RunStatus",
    "RunView",
    "TicketReader",
    "build_demo",
    "command",
    "explain",
    "follow_ticket",
    "how_to_go_on",
    "open_run",
    "plan_run",
    "run_tickets",
    "serve_demo_model",
    "status",
    "what_to_look_at",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"penstock.wire.{_HOMES[name]}"), name)
