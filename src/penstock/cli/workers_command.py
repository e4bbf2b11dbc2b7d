"""`penstock workers`: who works, for which model, where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock.cli.fleet_options import queen_options

if TYPE_CHECKING:
    from penstock.fleet.schema import WorkerInfo

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print data instead of a table.")
HEAD = ("worker", "hive", "model", "state", "slots", "memory", "pid", "why")


@click.group(invoke_without_command=True)
@click.option(
    "--watch",
    "is_watched",
    is_flag=True,
    help="The whole fleet as it changes, until Ctrl-C; over restarts of the queen.",
)
@queen_options
@click.pass_context
def workers(context: click.Context, is_watched: bool, queen: str | None, token_file: str | None) -> int:
    """The workers of the fleet. Without a command: `list`."""
    context.obj = (queen, token_file)
    if context.invoked_subcommand is not None:
        return 0
    if not is_watched:
        code: int = context.invoke(list_, as_json=False, queen=None, token_file=None)
        return code
    from penstock.cli.fleet_calls import asked
    from penstock.cli.fleet_watch import watch

    asked(queen, token_file, watch)
    return 0


@workers.command("list")
@AS_JSON
@queen_options
@click.pass_obj
def list_(obj: tuple[str | None, str | None], as_json: bool, queen: str | None, token_file: str | None) -> int:
    """All of them, those that failed too."""
    from penstock.cli.terminal import open_stdout, print_json, print_table

    found = _workers(queen or obj[0], token_file or obj[1])
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no worker: one is started when somebody asks, or by `penstock workers spawn MODEL`", err=True)
    else:
        print_table(open_stdout(), HEAD, [_cells(worker) for worker in found])
    return 0


@workers.command()
@click.argument("worker")
@AS_JSON
@queen_options
@click.pass_obj
def show(
    obj: tuple[str | None, str | None], worker: str, as_json: bool, queen: str | None, token_file: str | None
) -> int:
    """Everything that is known of WORKER. Exit 6 where it is not known."""
    import msgspec

    from penstock.cli.terminal import print_json
    from penstock.evidence.words import plain

    found = _found(_workers(queen or obj[0], token_file or obj[1]), worker)
    if as_json:
        print_json(found)
        return 0
    for key, value in msgspec.to_builtins(found).items():
        if value not in ("", None):
            click.echo(f"{key}: {plain(str(value))}")
    return 0


@workers.command()
@click.argument("worker")
@queen_options
@click.pass_obj
def end(obj: tuple[str | None, str | None], worker: str, queen: str | None, token_file: str | None) -> int:
    """Let WORKER finish what it does, and end it. What is asked for next starts a new one."""
    from penstock.cli.fleet_calls import asked

    asked(queen or obj[0], token_file or obj[1], lambda client: client.end(worker))
    click.echo(f"{worker} ends", err=True)
    return 0


@workers.command()
@click.argument("model")
@click.option("--wait", is_flag=True, help="Until it is loaded.")
@queen_options
@click.pass_obj
def spawn(obj: tuple[str | None, str | None], model: str, wait: bool, queen: str | None, token_file: str | None) -> int:
    """Start a worker of MODEL before anybody asks. Prints its id."""
    from penstock.cli.fleet_calls import asked
    from penstock.fleet.schema import SpawnRequest

    spawned = asked(
        queen or obj[0], token_file or obj[1], lambda client: client.spawn(SpawnRequest(model=model, wait=wait))
    )
    click.echo(spawned.worker_id)
    click.echo(f"{spawned.state} at {spawned.url}", err=True)
    return 0


@workers.command()
@click.argument("worker")
@click.option("--follow", "-f", is_flag=True, help="Go on as it is written, until it has ended, or Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(0, 10_000), default=100, show_default=True)
@queen_options
@click.pass_obj
def logs(
    obj: tuple[str | None, str | None],
    worker: str,
    follow: bool,
    lines: int,
    queen: str | None,
    token_file: str | None,
) -> int:
    """What WORKER printed, on whichever machine; also when it has ended. Exit 6 where no log of it is left."""
    from penstock.cli.fleet_calls import asked
    from penstock.cli.log_screen import show_log
    from penstock.core.fleet.names import is_worker
    from penstock.fleet.schema import LogQuery

    if not is_worker(worker):
        raise click.BadParameter("letters, digits, _ and - make a worker's id", param_hint="WORKER")
    wanted = LogQuery(lines=lines, follow=follow)
    asked(queen or obj[0], token_file or obj[1], lambda client: show_log(client.log(worker, wanted)))
    return 0


def _workers(queen: str | None, token_file: str | None) -> tuple[WorkerInfo, ...]:
    from penstock.cli.fleet_calls import asked

    return asked(queen, token_file, lambda client: client.workers()).workers


def _found(found: tuple[WorkerInfo, ...], worker: str) -> WorkerInfo:
    from penstock.cli.main import Failing

    for each in found:
        if each.worker_id == worker:
            return each
    raise Failing("no worker is called so", 6, "see `penstock workers list`")


def _place(worker: WorkerInfo) -> str:
    """What it takes, and of which card."""
    from penstock.cli.fleet_view import size

    taken = size(worker.memory_bytes) if worker.memory_bytes else "-"
    return taken if worker.device == "cpu" else f"{taken} on {worker.device}"


def _cells(worker: WorkerInfo) -> tuple[str, ...]:
    return (
        worker.worker_id,
        worker.hive,
        worker.model,
        worker.state,
        f"{worker.busy}/{worker.slots}",
        _place(worker),
        str(worker.pid or "-"),
        f"{worker.code} {worker.message}".strip(),
    )
