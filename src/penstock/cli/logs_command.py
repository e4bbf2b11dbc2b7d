"""`penstock logs TICKET`: what happened to it, and what its agent and its gates printed."""

from __future__ import annotations

import click


@click.command()
@click.argument("ticket")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until the ticket is done.")
@click.option("--output/--no-output", default=True, help="Also print what agents and red gates printed.")
@click.option("--run", default=None, help="Another run than the newest.")
def logs(ticket: str, follow: bool, output: bool, run: str | None) -> int:
    """What happened to TICKET, and what its agent and its red gates printed."""
    import time

    from penstock import wire
    from penstock.cli.main import here

    reader = wire.follow_ticket(here(), run, ticket, output=output)
    for text in reader.new_lines():
        click.echo(text)
    while follow and not reader.ended:
        time.sleep(0.3)
        for text in reader.new_lines():
            click.echo(text)
    return 0
