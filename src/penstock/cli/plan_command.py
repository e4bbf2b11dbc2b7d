"""`penstock plan`: what an agent is going to do here, step by step, and how far each step is."""

from __future__ import annotations

from typing import BinaryIO

import click


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print data instead of the card.")
@click.pass_context
def plan(ctx: click.Context, as_json: bool) -> int:
    """The plan in force in this working tree, a dot per step. Exit 1 where there is none."""
    if ctx.invoked_subcommand is not None:
        return 0
    return _show(as_json)


@plan.command(name="set")
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="Print data instead of the card.")
def set_plan(file: BinaryIO, as_json: bool) -> int:
    """Hand in a plan: a YAML or JSON list of steps {text, test_id, test_file_path}.

    The gate of this working tree takes it, and is started where none is there. A step with a test_id needs the
    test_file_path that the test is or will be in.
    """
    import asyncio

    from penstock.cli.main import here
    from penstock.documents.document import TEXT_BYTES_MAX
    from penstock.wire.plan_card import read_steps, submit_plan

    steps = read_steps(file.read(TEXT_BYTES_MAX + 1), file.name)
    asyncio.run(submit_plan(here(), steps))
    return _show(as_json)


def _show(as_json: bool) -> int:
    from penstock.cli.main import here
    from penstock.wire.plan_card import plan_here

    seen, lines = plan_here(here())
    if as_json:
        from penstock.cli.terminal import print_json

        print_json(seen)
    elif lines:
        from penstock.cli.terminal import open_stdout, print_lines
        from penstock.evidence.plan_card import plan_card

        console = open_stdout()
        print_lines(console, plan_card(lines, console.width))
    else:
        click.echo("no plan here; hand one in: penstock plan set FILE", err=True)
    return 0 if lines else 1
