"""`penstock hive`: the workers of one machine."""

from __future__ import annotations

import re

import click
import msgspec

from penstock.cli.fleet_options import home_option, limit_option, parent_options, queen_option, token_option

PORTS = re.compile(r"(?P<first>\d{1,5})-(?P<last>\d{1,5})", re.ASCII)


def take_ports(context: click.Context, option: click.Parameter, written: str) -> tuple[int, int]:
    """First and last of `8001-8099`; (0, 0) for `any`."""
    found = PORTS.fullmatch(written)
    first, last = (int(found["first"]), int(found["last"])) if found else (0, 0)
    if written != "any" and not 1_024 <= first <= last <= 65_535:
        raise click.BadParameter("write FIRST-LAST, both from 1024 to 65535, or `any`", context, option)
    return first, last


@click.command()
@click.option("--name", metavar="NAME", help="Of this machine in the fleet: a-z, 0-9 and -.  [default: its host name]")
@queen_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; any but loopback needs a token.")
@click.option("--port", type=click.IntRange(0, 65_535), default=9200, show_default=True, help="0: any that is free.")
@click.option("--advertise", metavar="HOST", default="", help="The name or address at which others reach this machine.")
@click.option(
    "--ports",
    callback=take_ports,
    metavar="RANGE",
    default="8001-8099",
    show_default=True,
    help="For workers; `any`: whatever is free.",
)
@click.option("--workers-max", type=click.IntRange(1, 1_024), help="Workers at a time.  [default: 32]")
@click.option(
    "--idle-s", type=click.IntRange(0, 604_800), help="End a worker unused for so long; 0: never.  [default: 300]"
)
@click.option("--load-s", type=click.IntRange(1, 86_400), help="Longest load without any progress.  [default: 300]")
@click.option(
    "--memory-bytes", type=click.IntRange(0), default=0, help="For all workers, in place of what the machine has free."
)
@click.option(
    "--device",
    "devices",
    metavar="NAME=BYTES",
    multiple=True,
    help="A device beside the CPU, with its memory, as in gpu0=24000000000; `none`: look for none. Repeatable.  "
    "[default: what nvidia-smi or rocm-smi says]",
)
@click.option(
    "--no-template",
    is_flag=True,
    help="Start each worker as a program of its own: slower, but no process is kept ready to be forked.",
)
@limit_option
@home_option
@token_option
@click.option("--token-stdin", is_flag=True, hidden=True)
@click.option("--started-by", default="", hidden=True)
@click.option("--detach", is_flag=True, help="Go on in the background, with the log in the home; returns once it runs.")
@parent_options
@click.option("--verbose", "-v", is_flag=True, help="Log every request.")
def hive(detach: bool, token_stdin: bool, **given: object) -> int:
    """Run the models of this machine for a queen, until Ctrl-C.

    Each loaded model is a process of its own, a worker. The hive starts them as the queen asks, watches them, and ends
    them when they hang, when nobody uses them, and when it ends itself: nothing is left behind.

    \b
      penstock models add tiny --path tiny.gguf     first: which models this machine has
      penstock hive                                 with a queen on this machine
      penstock hive --queen http://10.0.0.5:8080 --host 10.0.0.6 --token-file fleet.token
      penstock hive --queen none                    alone; workers by its own address

    Prints one line when it can be reached: `hive NAME at URL`. Logs are JSON lines on stderr. The first Ctrl-C (or
    TERM) lets what runs finish, the second ends at once.
    """
    from penstock.cli.fleet_calls import ending
    from penstock.wire.fleet import serve_hive
    from penstock.wire.fleet_flags import HiveFlags

    flags = msgspec.convert(given, HiveFlags)
    if detach:
        import sys

        from penstock.wire.fleet_detached import detach_hive

        return detach_hive(sys.argv[1:], name=flags.name, home=flags.home, token_stdin=token_stdin)
    with ending():
        return serve_hive(flags)
