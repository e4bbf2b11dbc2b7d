"""Tables on stdout: as wide as the terminal, and unbroken where they go into a file or another program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.evidence.words import plain

UNBROKEN_COLUMNS = 10_000


def open_stdout() -> Console:
    """The console of stdout. Colour as its own conventions say (NO_COLOR, TERM=dumb, no terminal: none)."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = UNBROKEN_COLUMNS
    return console


def print_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns with a heading each; what is in them is shown as it is."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(" ".join(plain(cell).split())) for cell in row))
    print_lines(console, table)


def print_lines(console: Console, shown: RenderableType) -> None:
    """Without the spaces that tables end their lines with."""
    import click

    with console.capture() as capture:
        console.print(shown)
    lines = capture.get().splitlines()
    click.echo("\n".join(line.rstrip() for line in lines), color=True)


def print_json(value: Any) -> None:
    """Data for programs, for people to read too."""
    import click
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
