"""`penstock tickets`: the backlog, before any run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.ports import TicketText
    from penstock.wire.backlog import Backlog

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print data instead of a table.")


@click.group()
def tickets() -> None:
    """The backlog: what is wanted, and what waits for what."""


@tickets.command("list")
@AS_JSON
def list_(as_json: bool) -> int:
    """All tickets, one a line."""
    backlog = backlog_here()
    if as_json:
        print_json([entry(text) for text in backlog.tickets])
        return 0
    width = max(len(text.ticket.id) for text in backlog.tickets)
    for text in backlog.tickets:
        ticket = text.ticket
        needed = f"  <- {', '.join(ticket.depends_on)}" if ticket.depends_on else ""
        click.echo(f"{ticket.id:<{width}}  P{ticket.priority}  {ticket.kind:<8}  {ticket.title}{needed}")
    return 0


@tickets.command()
@click.argument("ticket")
@AS_JSON
def show(ticket: str, as_json: bool) -> int:
    """Everything that is known of TICKET."""
    text = find(backlog_here(), ticket)
    if as_json:
        print_json({**entry(text), "text": text.body})
        return 0
    for key, value in entry(text).items():
        if key not in ("body", "digest"):
            click.echo(f"{key}: {in_words(value)}")
    click.echo(f"\n{text.body}", nl=False)
    return 0


@tickets.command()
@click.argument("title")
@click.option("--id", "ticket_id", help="Its id; by default made from the title.")
@click.option("--depends-on", multiple=True, metavar="ID", help="A ticket that must be done before; repeatable.")
@click.option("--priority", type=click.IntRange(0, 4), help="0 most urgent to 4; default 2.")
@click.option("--kind", help="feature, fix, refactor, chore or docs; default feature.")
@click.option("--test", "tests", multiple=True, metavar="TEST", help="A test that must become green; repeatable.")
@click.option("--command", "commands", multiple=True, metavar="LINE", help="A command that must exit 0; repeatable.")
@click.option("--body", default="", help="What is wanted, in Markdown; `-` reads it from stdin.")
def add(
    title: str,
    ticket_id: str | None,
    depends_on: tuple[str, ...],
    priority: int | None,
    kind: str | None,
    tests: tuple[str, ...],
    commands: tuple[str, ...],
    body: str,
) -> int:
    """Write a new ticket file. It is refused, and not left behind, where it would not pass `check`."""
    from penstock.cli.main import here
    from penstock.wire.backlog import TicketDraft, add_ticket
    from penstock.wire.project import find_settings

    draft = TicketDraft(
        title=title,
        id=ticket_id or "",
        depends_on=depends_on,
        priority=priority,
        kind=kind,
        tests=tests,
        commands=commands,
        body=sys.stdin.read() if body == "-" else body,
    )
    click.echo(add_ticket(find_settings(here()), draft))
    return 0


@tickets.command()
@AS_JSON
def check(as_json: bool) -> int:
    """Tell everything that is wrong with settings and tickets. Exit 2 if anything is."""
    from penstock.ports import BadInput

    try:
        backlog = backlog_here()
    except BadInput as bad:
        if not as_json:
            raise
        print_json({"tickets": 0, "problems": list(bad.problems)})
        return 2
    if as_json:
        print_json({"tickets": len(backlog.tickets), "problems": []})
    else:
        click.echo(f"{len(backlog.tickets)} tickets, nothing wrong", err=True)
    return 0


@tickets.command()
@click.option("--format", "form", type=click.Choice(["text", "mermaid", "svg"]), default="text", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file, not to stdout.")
def graph(form: str, output: Path | None) -> int:
    """Draw what waits for what."""
    from penstock.core.graph import graph_of, render_mermaid, render_text
    from penstock.core.graph_svg import render_svg

    drawn = graph_of(text.ticket for text in backlog_here().tickets)
    render = {"text": render_text, "mermaid": render_mermaid, "svg": render_svg}[form]
    if output is None:
        click.echo(render(drawn), nl=False)
        return 0
    try:
        output.write_text(render(drawn), encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--output {output}: {error.strerror}") from None
    click.echo(f"wrote {output}", err=True)
    return 0


def backlog_here() -> Backlog:
    """Every ticket of the current directory's repository. Raises `BadInput` with every problem."""
    from penstock.cli.main import here
    from penstock.wire.backlog import read_backlog
    from penstock.wire.project import find_settings

    return read_backlog(find_settings(here()))


def find(backlog: Backlog, ticket: str) -> TicketText:
    """The ticket of that id; a usage error names the nearest."""
    from penstock.documents.fields import meant

    found = next((text for text in backlog.tickets if text.ticket.id == ticket), None)
    if found is None:
        ids = [text.ticket.id for text in backlog.tickets]
        raise click.UsageError(f"no ticket {ticket!r}; {meant(ticket, ids)}")
    return found


def entry(text: TicketText) -> dict[str, object]:
    """A ticket as data, defaults included."""
    import msgspec

    ticket = text.ticket
    return {name: msgspec.to_builtins(getattr(ticket, name)) for name in ticket.__struct_fields__ if name != "body"}


def in_words(value: object) -> str:
    match value:
        case list() | tuple():
            return ", ".join(map(in_words, value)) or "-"
        case dict():
            return ", ".join(f"{k} {v}" for k, v in value.items() if k != "type") or "-"
        case None:
            return "-"
        case _:
            return str(value)


def print_json(value: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
