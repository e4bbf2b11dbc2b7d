"""`penstock doctor`: what is missing or unsafe, each with its fix."""

from __future__ import annotations

import click

MARKS = {"ok": "ok  ", "warn": "WARN", "bad": "BAD "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print data instead of lines.")
def doctor(as_json: bool) -> int:
    """Look at the machine, the repository, penstock.toml, the tickets and the fleet, where one is used.

    Exit 2 if `penstock run` cannot work.
    """
    import msgspec

    from penstock.cli.main import here
    from penstock.wire.doctor import examine

    findings = examine(here())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        for finding in findings:
            click.echo(f"{MARKS[finding.level]}  {finding.what}")
            if finding.fix and finding.level != "ok":
                click.echo(f"      fix: {finding.fix}")
    return 2 if any(f.level == "bad" for f in findings) else 0
