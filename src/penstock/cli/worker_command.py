"""`penstock worker`: one model, one process. Hives start it with `--order-fd`, so nothing is imported in vain."""

from __future__ import annotations

import click
import msgspec


@click.command()
@click.option("--order-fd", type=int, hidden=True)
@click.option("--model", "-m", metavar="NAME", help="Of the catalogue: see `penstock models`.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; any but loopback needs a token.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, show_default=True, help="0: any that is free.")
@click.option("--worker-id", metavar="ID", help="Letters, digits, _ and -.  [default: made]")
@click.option("--hive-url", metavar="URL", default="", help="A hive to be told when it is ready.")
@click.option("--home", metavar="DIR", help="Where models.json lies.  [env: PENSTOCK_FLEET_HOME]")
@click.option("--token-file", metavar="FILE", help="The token of this fleet.  [env: PENSTOCK_FLEET_TOKEN_FILE]")
@click.option("--owner-fd", type=int, default=-1, hidden=True)
@click.option("--with-parent", is_flag=True, help="End when the process that started it ends.")
def worker(order_fd: int | None, **given: object) -> int:
    """Load one model and serve it, until Ctrl-C. A hive does this for you: this is for trying out.

    \b
      penstock worker --model tiny
      curl http://127.0.0.1:PORT/v1/inference -d '{"prompt": "Once upon a time"}'

    Prints one line when it can be reached: `worker ID at URL`; it may still be loading then: see /v1/ready.
    """
    if order_fd is not None:
        from penstock.fleet.worker.program import main_from_order

        return main_from_order(order_fd)
    if given["model"] is None:
        raise click.UsageError("which model? give --model NAME; `penstock models list` has them")
    from penstock.wire.fleet import serve_worker
    from penstock.wire.fleet_flags import WorkerFlags

    return serve_worker(msgspec.convert(given, WorkerFlags))
