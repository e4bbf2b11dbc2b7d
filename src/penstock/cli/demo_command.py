"""`penstock demo`: the bundled example, run for real."""

from __future__ import annotations

from pathlib import Path

import click

SCENARIOS = ("main", "trouble", "wedge", "redgreen", "fleet")


@click.command()
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=None, help="Where to put the repository.")
@click.option("--scenario", type=click.Choice(SCENARIOS), default="main", show_default=True)
@click.option("--sandbox", type=click.Choice(["auto", "bubblewrap", "none"]), default="auto", show_default=True)
@click.option("--build-only", is_flag=True, help="Lay out the repository and stop.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, only the summary.")
def demo(directory: Path | None, scenario: str, sandbox: str, build_only: bool, quiet: bool) -> int:
    """Run the bundled example for real: real git, real processes, real pytest gates, scripted agents.

    In `redgreen` the built-in agent works, on a scripted model; in `fleet` that model is served by a queen, a hive and
    a worker, which end with the demo. Needs no key and no network. Says whether agents and gates are confined, and
    where the report is.
    """
    import tempfile

    from penstock import wire

    place = directory or Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    if build_only:
        click.echo(wire.build_demo(place, scenario, sandbox), err=True)
        click.echo(wire.how_to_go_on(place, scenario), err=True)
        return 0
    with wire.serve_demo_model(scenario) as base_url:
        click.echo(wire.build_demo(place, scenario, sandbox, base_url), err=True)
        exit_code = _run(place, quiet)
    for line in wire.what_to_look_at(place, scenario):
        click.echo(line, err=True)
    return exit_code


def _run(place: Path, quiet: bool) -> int:
    from penstock import wire
    from penstock.cli.progress import open_progress

    progress = open_progress(quiet)
    try:
        ended = wire.run_tickets(place, wire.RunOptions(seed=1), progress)
    finally:
        progress.close()
    click.echo(ended.summary, err=True)
    return ended.exit_code
