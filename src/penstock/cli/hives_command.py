"""`penstock hives`: the machines of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock.cli.fleet_options import queen_options

if TYPE_CHECKING:
    from penstock.fleet.schema import HiveInfo

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print data instead of a table.")
Given = tuple[str | None, str | None]
"""Queen and token file, before the command's own."""
HEAD = ("hive", "state", "seen", "workers", "models", "devices", "version", "address", "started by")


@click.group(invoke_without_command=True)
@queen_options
@click.pass_context
def hives(context: click.Context, queen: str | None, token_file: str | None) -> int:
    """The machines of the fleet. Without a command: `list`."""
    context.obj = (queen, token_file)
    if context.invoked_subcommand is None:
        code: int = context.invoke(list_, as_json=False, queen=None, token_file=None)
        return code
    return 0


@hives.command("list")
@AS_JSON
@queen_options
@click.pass_obj
def list_(obj: Given, as_json: bool, queen: str | None, token_file: str | None) -> int:
    """All hives that the queen knows, those too that are not heard."""
    from penstock.cli.fleet_calls import asked
    from penstock.cli.terminal import open_stdout, print_json, print_table
    from penstock.evidence.words import plain

    found = asked(queen or obj[0], token_file or obj[1], lambda client: client.hives()).hives
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no hive: start `penstock hive` on a machine with models, or `penstock hives add` it", err=True)
    else:
        rows = [
            (
                hive.name,
                hive.state,
                "never" if hive.seen_ms is None else f"{hive.seen_ms / 1_000:.1f} s ago",
                str(hive.workers),
                " ".join(hive.models) or "-",
                _devices(hive),
                hive.version or "-",
                hive.url,
                hive.started_by or "by hand",
            )
            for hive in found
        ]
        print_table(open_stdout(), HEAD, rows)
        for hive in found:
            for problem in hive.problems:
                click.echo(f"{plain(hive.name)}: {plain(problem)}", err=True)
    return 0


def _devices(hive: HiveInfo) -> str:
    """`gpu0 24.6 GB gpu1 24.6 GB`: all but the CPU."""
    from penstock.cli.fleet_view import size

    beside = (device for device in hive.devices if device.name != "cpu")
    return " ".join(f"{device.name} {size(device.memory_total)}" for device in beside) or "-"


@hives.command()
@click.argument("name")
@click.option("--ssh", "place", required=True, metavar="[USER@]HOST[:PORT]", help="Where to log in.")
@click.option("--key", default="", metavar="FILE", help="The private key.  [default: as ssh does]")
@click.option(
    "--accept-new-host-key", is_flag=True, help="Believe a machine that was never met. A changed key never is."
)
@click.option("--command", default="penstock", show_default=True, help="What Penstock is called there; may be a path.")
@click.option(
    "--queen-url", default="", metavar="URL", help="The queen, as that machine reaches it.  [default: --queen]"
)
@click.option(
    "--address", default="", metavar="HOST", help="That machine, as the queen reaches it.  [default: as ssh does]"
)
@click.option("--remote-home", default="", metavar="DIR", help="The fleet's home there.  [default: of that user]")
@click.option("--port", type=click.IntRange(0, 65_535), default=9200, show_default=True, help="Of the hive there.")
@click.option(
    "--ports", default="8001-8099", show_default=True, metavar="FIRST-LAST", help="For its workers, or `any`."
)
@click.option(
    "--timeout-s", type=click.IntRange(1, 600), default=10, show_default=True, help="To connect; tried 3 times."
)
@click.option("--ssh-config", default="", metavar="FILE", help="In place of ~/.ssh/config.")
@queen_options
@click.pass_obj
def add(
    obj: Given,
    name: str,
    place: str,
    key: str,
    accept_new_host_key: bool,
    command: str,
    queen_url: str,
    address: str,
    remote_home: str,
    port: int,
    ports: str,
    timeout_s: int,
    ssh_config: str,
    queen: str | None,
    token_file: str | None,
) -> int:
    """Start a hive on another machine over SSH, as NAME. It goes on when this command ends.

    Uses the system's ssh, with your keys, agent and ~/.ssh/config; asks nothing. Host keys are checked. Penstock must
    be installed there. The token of the fleet goes over the encrypted connection, never as an argument.

    \b
      penstock hives add gpu1 --ssh ada@gpu1.example.org --queen http://10.0.0.5:8080

    Nothing is saved unless the queen lists the hive. Exit codes: 2 bad input, 6 refused, 7 it cannot be reached.
    """
    import os
    import shlex

    from penstock.cli.fleet_calls import ending
    from penstock.cli.main import Failing
    from penstock.fleet.choices import choose
    from penstock.wire.fleet_hives import NotAdded, Wanted, add_hive, open_shell, read_place

    wanted = Wanted(
        name=name,
        place=read_place(place, key, accept_new_host_key),
        command=tuple(shlex.split(command)),
        queen_url=queen_url,
        address=address,
        home=remote_home,
        port=port,
        ports=ports,
    )
    chosen = choose(os.environ, queen=queen or obj[0], token_file=token_file or obj[1])
    with ending():
        try:
            url = add_hive(chosen, wanted, open_shell(ssh_config, timeout_s), lambda said: click.echo(said, err=True))
        except NotAdded as error:
            raise Failing(str(error), error.exit_code, error.fix) from None
    click.echo(f"hive {name} at {url}")
    return 0


@hives.command()
@click.argument("name")
@click.option("--drain", is_flag=True, help="Let what runs there finish, and end it, if it is alive.")
@queen_options
@click.pass_obj
def remove(obj: Given, name: str, drain: bool, queen: str | None, token_file: str | None) -> int:
    """Forget the hive NAME. One that is alive ends by that, with its workers: so it wants --drain."""
    import asyncio
    import os

    from penstock.cli.fleet_calls import asked, ending
    from penstock.cli.main import Failing
    from penstock.fleet.choices import choose
    from penstock.wire.fleet_hives import drain_hive

    queen, token_file = queen or obj[0], token_file or obj[1]
    known = {hive.name: hive for hive in asked(queen, token_file, lambda client: client.hives()).hives}
    if name not in known:
        raise Failing(f"no hive is called {name!r}", 6, "see `penstock hives list`")
    if known[name].state != "lost":
        if not drain:
            raise Failing(f"hive {name} is alive, with its workers", 6, "--drain lets it finish, and ends it")
        chosen = choose(os.environ, queen=queen, token_file=token_file)
        with ending():
            asyncio.run(drain_hive(chosen, known[name].url))
    asked(queen, token_file, lambda client: client.remove_hive(name))
    click.echo(f"removed {name}", err=True)
    return 0
