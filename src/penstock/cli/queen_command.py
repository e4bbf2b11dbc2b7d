"""`penstock queen`: the one address of a fleet."""

from __future__ import annotations

import click
import msgspec

from penstock.cli.fleet_options import home_option, limit_option, parent_options, token_option


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; any but loopback needs a token.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0: any that is free.")
@click.option(
    "--queue-max", type=click.IntRange(0, 100_000), help="Requests that may wait for one model.  [default: 64]"
)
@limit_option
@home_option
@token_option
@parent_options
@click.option("--verbose", "-v", is_flag=True, help="Log every request.")
def queen(**given: object) -> int:
    """Serve the models of all hives at one address, until Ctrl-C.

    The queen knows the hives, sends each request to a worker that has its model, lets a hive start one where none has,
    and lets requests wait in turn. Programs speak to it as they speak to OpenAI: its base URL ends in /v1.

    \b
      penstock queen                       here
      penstock hive                        on each machine with models, with --queen URL
      penstock infer --model NAME ...      from anywhere

    Prints one line when it can be reached: `queen at URL`. Logs are JSON lines on stderr. The first Ctrl-C (or TERM)
    lets what runs finish, the second ends at once. What is loaded stays loaded: workers belong to their hives.
    """
    from penstock.cli.main import Failing
    from penstock.fleet.queen.holding import HomeTaken
    from penstock.wire.fleet import serve_queen
    from penstock.wire.fleet_flags import QueenFlags

    try:
        return serve_queen(msgspec.convert(given, QueenFlags))
    except HomeTaken as error:
        raise Failing(str(error), 6, error.fix) from None
