"""`penstock refactor`: edits without a failing test, between two greens of the same tests."""

from __future__ import annotations

import click


@click.group()
def refactor() -> None:
    """Refactor mode of the gate: edits are free while it lasts, and all of them go back unless the tests stay green."""


@refactor.command()
def enter() -> int:
    """Begin: every test must be green now. Exit 1 where that is refused."""
    return _call("enter_refactor")


@refactor.command()
def leave() -> int:
    """End: the same tests must be green, else the tree is put back as it was. Exit 1 where they are not."""
    return _call("leave_refactor")


@refactor.command()
@click.option("--json", "as_json", is_flag=True, help="Print data instead of a line.")
def status(as_json: bool) -> int:
    """Whether it is on, and what is left of it. Exit 1 where no gate is there."""
    import asyncio

    from penstock.cli.main import here
    from penstock.wire.refactor import refactor_here

    seen = asyncio.run(refactor_here(here()))
    if seen is None:
        click.echo("no gate guards this tree; `penstock gate start` starts one", err=True)
        return 1
    if as_json:
        from penstock.cli.terminal import print_json

        print_json(seen)
    else:
        click.echo(str(seen))
    return 0


def _call(tool: str) -> int:
    import asyncio

    from penstock.cli.main import here
    from penstock.wire.refactor import call_refactor

    answer = asyncio.run(call_refactor(here(), tool))
    click.echo(answer.text, err=answer.is_error)
    return 1 if answer.is_error else 0
