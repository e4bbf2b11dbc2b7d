"""`penstock stats`: what all that was recorded in this repository comes to."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print data instead of a table.")
def stats(as_json: bool) -> int:
    """Count over all red-green sessions of this repository: edits, refusals, hangs, reverts, pairs, runs of tests."""
    from penstock.cli.main import here
    from penstock.evidence.redgreen_stats import stats_of, stats_rows
    from penstock.wire.sessions import all_sessions

    found = stats_of(session.records() for session in all_sessions(here()))
    if as_json:
        from penstock.cli.terminal import print_json

        print_json({"red_green": found})
        return 0
    rows = list(stats_rows(found))
    width = max(len(name) for name, _ in rows)
    click.echo("\n".join(f"{name:<{width}}  {number}" for name, number in rows))
    return 0
