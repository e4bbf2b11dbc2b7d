"""A log as it comes, on a terminal: whole lines, and nothing that a terminal would obey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import click

LINE_BYTES_MAX = 65_536


async def show_log(pieces: AsyncIterator[bytes]) -> None:
    """Print it, line by line. Raises `Failing` where it broke off; what came is printed."""
    from penstock.cli.main import Failing
    from penstock.fleet.client import Broken
    from penstock.fleet.inferring import FAILED

    rest = b""
    try:
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                _print(line)
            while len(rest) > LINE_BYTES_MAX:
                _print(rest[:LINE_BYTES_MAX])
                rest = rest[LINE_BYTES_MAX:]
    except Broken as broken:
        raise Failing(str(broken), FAILED, "ask again: `penstock workers list` says what is there") from None
    finally:
        if rest:
            _print(rest)


def _print(line: bytes) -> None:
    from penstock.evidence.words import plain

    click.echo(plain(line.decode(errors="replace")))
