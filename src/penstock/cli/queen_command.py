"""`penstock queen`: the one address of a fleet."""

from __future__ import annotations

import click

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
def queen(
    host: str,
    port: int,
    queue_max: int | None,
    limits: tuple[str, ...],
    home: str | None,
    token_file: str | None,
    with_parent: bool,
    owner_fd: int,
    verbose: bool,
) -> int:
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
    from penstock.wire.fleet import serve_queen

    return serve_queen(
        host=host,
        port=port,
        queue_max=queue_max,
        limits=limits,
        home=home,
        token_file=token_file,
        owner_fd=owner_fd,
        with_parent=with_parent,
        verbose=verbose,
    )
