"""`penstock events`: what ledgers hold, for people and as JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.wire.sessions import Session


@click.group()
def events() -> None:
    """What was recorded, event by event."""


@events.command(name="red-green")
@click.option("--session", default="", metavar="NAME", help="A gate's session, or a turn's: TICKET/ATTEMPT.TURN.")
@click.option("--run", default="", metavar="RUN", help="The turns of this run.")
@click.option("--ticket", default="", metavar="ID", help="The turns of this ticket, of the newest run that has some.")
@click.option("--jsonl", is_flag=True, help="Print JSON Lines instead of a table.")
@click.option("--pairs/--all", "only_pairs", default=True, help="Pairs of red and green (default), or every event.")
def red_green(session: str, run: str, ticket: str, jsonl: bool, only_pairs: bool) -> int:
    """Which failing test asked for which edits, and which green answered: of the newest session here, or as chosen.

    The chain of each ledger is checked while it is read: exit 4 where it was damaged.
    """
    from penstock.cli.main import here
    from penstock.wire.sessions import chosen_sessions

    found = chosen_sessions(here(), session, run, ticket)
    if jsonl:
        _print_lines(found, only_pairs)
    elif only_pairs:
        _print_pairs(found)
    else:
        _print_events(found)
    return 0


def _print_lines(sessions: Sequence[Session], only_pairs: bool) -> None:
    import msgspec

    for session in sessions:
        for row in session.pair_rows() if only_pairs else session.event_rows():
            click.echo(msgspec.json.encode(row))


def _print_pairs(sessions: Sequence[Session]) -> None:
    from penstock.cli.terminal import open_stdout, print_table
    from penstock.core.redgreen.pairs import pair_red_green
    from penstock.core.redgreen.test_id import spell
    from penstock.evidence.redgreen_words import weakness

    rows = [
        (
            session.name,
            spell(pair.test),
            str(pair.red),
            ", ".join(map(str, pair.edits)),
            ", ".join(pair.paths),
            str(pair.green),
            weakness(pair),
        )
        for session in sessions
        for pair in pair_red_green(session.records())
    ]
    if not rows:
        click.echo(f"no pair of red and green in {', '.join(s.name for s in sessions)}; see --all", err=True)
        return
    print_table(open_stdout(), ("session", "test", "red", "edits", "files", "green", ""), rows)


def _print_events(sessions: Sequence[Session]) -> None:
    from datetime import datetime

    from penstock.cli.terminal import open_stdout, print_table
    from penstock.evidence.redgreen_words import said

    console = open_stdout()
    for session in sessions:
        click.echo(f"{session.name}{session.run and f' of {session.run}'}")
        rows = [
            (str(record.seq), f"{datetime.fromtimestamp(record.at_ms / 1000):%H:%M:%S}", said(record.event))
            for record in session.records()
        ]
        print_table(console, ("seq", "at", "event"), rows)
