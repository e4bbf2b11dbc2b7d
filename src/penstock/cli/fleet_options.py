"""Options that several commands of the fleet have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def queen_options(command: F) -> F:
    """`--queen` and `--token-file`: which fleet."""
    return queen_option(token_option(command))


def queen_option(command: F) -> F:
    """Of a client."""
    told = "The queen to ask.  [env: PENSTOCK_QUEEN; default: http://127.0.0.1:8080]"
    return click.option("--queen", metavar="URL", help=told)(command)


def token_option(command: F) -> F:
    """The token that all programs of one fleet share."""
    told = "A file of mode 0600 with the token of this fleet.  [env: PENSTOCK_FLEET_TOKEN_FILE]"
    return click.option("--token-file", metavar="FILE", help=told)(command)


def home_option(command: F) -> F:
    """Where a program keeps its things."""
    told = "For models, logs, the registry.  [env: PENSTOCK_FLEET_HOME; default: ~/.local/share/penstock/fleet]"
    return click.option("--home", metavar="DIR", help=told)(command)


def limit_option(command: F) -> F:
    """Every other limit."""
    told = "Any other limit by its name, as in heartbeat_ms=500; an unknown name lists them. Repeatable."
    return click.option("--limit", "limits", metavar="NAME=N", multiple=True, help=told)(command)


def parent_options(command: F) -> F:
    """`--with-parent`: how whoever starts a program for itself sees that it does not outlive it."""
    command = click.option("--owner-fd", type=int, default=-1, hidden=True)(command)
    return click.option("--with-parent", is_flag=True, help="End when the process that started it ends.")(command)
