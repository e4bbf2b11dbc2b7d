"""`penstock status`: where every ticket is, and what moves it next."""

from __future__ import annotations

import click


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print data instead of a table.")
def status(run: str | None, as_json: bool) -> int:
    """Where every ticket of the newest run (or of RUN) is and what moves it next."""
    import msgspec

    from penstock import wire
    from penstock.cli.main import here

    found = wire.status(here(), run)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return 0
    why = f" ({found.reason})" if found.reason else ""
    lines = [f"run {found.run}: {found.outcome}{why}, seq {found.seq}, trunk {found.trunk[:10]}"]
    width = max((len(t.id) for t in found.tickets), default=0)
    for ticket in found.tickets:
        then = f"  ->  {ticket.next}" if ticket.next else ""
        lines.append(f"  {ticket.id:<{width}}  {ticket.state:<9}  {ticket.reason}{then}")
    click.echo("\n".join(lines))
    return 0
