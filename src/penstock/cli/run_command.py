"""`penstock run`: the main job."""

from __future__ import annotations

import click


@click.command()
@click.argument("tickets", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Show what would start, in which order; start nothing.")
@click.option("--explain", is_flag=True, help="Print the policy in force and where each value came from.")
@click.option("--seed", type=int, default=None, help="Seed of every draw; printed in the log, taken back here.")
@click.option("--new", is_flag=True, help="Start a new run even if an unfinished one could be continued.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, only the summary.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON when the run ends.")
def run(
    tickets: tuple[str, ...],
    dry_run: bool,
    explain: bool,
    seed: int | None,
    new: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Work on the tickets and land what is proven.

    Continues an unfinished run, also after a crash; else starts one. Ctrl-C drains (exit 3), a second Ctrl-C stops at
    once (exit 130). Name tickets to work on those and what they depend on.
    """

    from penstock import wire
    from penstock.cli.main import here
    from penstock.cli.progress import open_progress

    if explain:
        for key, value, source in wire.explain(here()):
            click.echo(f"{key} = {value}  # {source}")
        return 0
    if dry_run:
        for text in wire.plan_run(here(), tickets):
            click.echo(text)
        return 0
    options = wire.RunOptions(tickets=tickets, seed=seed, new=new)
    progress = open_progress(quiet or as_json)
    try:
        ended = wire.run_tickets(here(), options, progress)
    finally:
        progress.close()
    click.echo(ended.summary, err=True)
    if as_json:
        click.echo(ended.report_json)
    return ended.exit_code
