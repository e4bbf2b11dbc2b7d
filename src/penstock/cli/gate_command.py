"""`penstock gate`: the daemon that guards a working tree, for hooks, MCP clients and people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.group()
def gate() -> None:
    """The gate round this working tree: production code changes only when a failing test asks for it."""


@gate.command()
@click.option("--ready-fd", type=int, default=None, hidden=True)
def serve(ready_fd: int | None) -> int:
    """Guard this tree in the foreground, until Ctrl-C."""
    from penstock.cli.main import here
    from penstock.wire.gate_daemon import serve_gate

    serve_gate(here(), ready_fd)
    return 0


@gate.command()
def start() -> int:
    """Guard this tree in the background; it ends by itself when nobody asks for half an hour."""
    import asyncio

    from penstock.cli.main import here
    from penstock.wire.gate_client import connect
    from penstock.wire.gate_place import policy_in_force

    wanted = policy_in_force(here()).policy.mode

    async def begin() -> tuple[str, str]:
        client = await connect(here())
        said = await client.ask({"op": "status"})
        await client.close()
        return said["mode"], said["session"]

    mode, session = asyncio.run(begin())
    click.echo(f"the gate guards this tree: mode {mode}, session {session}", err=True)
    if mode != wanted:
        click.echo(f"error: it was started in mode {mode}, not {wanted}: `penstock gate stop` first", err=True)
    return 0 if mode == wanted else 2


@gate.command()
@click.option("--json", "as_json", is_flag=True, help="Print data instead of lines.")
def status(as_json: bool) -> int:
    """What the gate has seen so far. Exit 1 where none is there."""
    said = _ask({"op": "status"})
    if said is None:
        click.echo("no gate guards this tree; `penstock gate start` starts one", err=True)
        return 1
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(said), indent=2).decode())
        return 0
    counts = ", ".join(f"{number} {name}" for name, number in said["counts"].items()) or "nothing yet"
    click.echo(f"session {said['session']}, mode {said['mode']}, turn {said['turn']}")
    click.echo(f"seen: {counts}; {said['violations']} unclaimed writes")
    for line in said["plan"]:
        click.echo(line)
    return 0


@gate.command()
def stop() -> int:
    """End the gate; an open turn is closed first."""
    import asyncio

    from penstock.cli.main import here
    from penstock.wire.gate_client import stop_gate

    was_there = asyncio.run(stop_gate(here()))
    click.echo("the gate has ended" if was_there else "no gate guards this tree", err=True)
    return 0


@gate.command()
@click.argument("seq", type=int, required=False)
@click.option("--into", type=click.Path(path_type=Path), help="A new directory for the files of SEQ.")
def kept(seq: int | None, into: Path | None) -> int:
    """What was taken back in the newest session; with SEQ and --into, have its files again, outside of the tree."""
    from penstock.cli.main import here
    from penstock.wire.gate_records import taken_back, write_taken_back

    writes = taken_back(here())
    if seq is None:
        for write in writes:
            click.echo(
                f"{write.seq:>6}  {', '.join(file.name for file in write.files)}  ({write.why}, by {write.tool})"
            )
        return 0
    found = next((write for write in writes if write.seq == seq), None)
    if found is None or into is None:
        raise click.UsageError("say which: SEQ as `penstock gate kept` lists it, and --into a new directory")
    if into.exists():
        raise click.UsageError(f"{into} exists: name a new directory")
    for path in write_taken_back(found, into):
        click.echo(str(path))
    return 0


def _ask(question: dict[str, str]) -> dict[str, Any] | None:
    import asyncio

    from penstock.cli.main import here
    from penstock.wire.gate_client import connect

    async def ask() -> dict[str, Any] | None:
        try:
            client = await connect(here(), starts=False)
        except ConnectionRefusedError:
            return None
        said = await client.ask(question)
        await client.close()
        return said

    return asyncio.run(ask())
