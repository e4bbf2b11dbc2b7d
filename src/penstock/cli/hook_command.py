"""`penstock hook`: the gate in front of other agents' tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from penstock.kernel.hooks.installing import Agent, Scope
    from penstock.wire.hooks import Seen

AGENT = click.Choice(["claude", "codex", "cursor", "openhands"])
WHERE = click.option(
    "--user/--project", "for_user", default=False, help="In your own settings, or (default) in this repository's."
)


@click.group(
    epilog="A hook asks the gate of its working tree before each tool of the agent; it refuses where none answers. "
    "Cursor was tried with its own hook runner, not in a whole turn. Gemini CLI and opencode have no hook here.",
)
def hook() -> None:
    """Put the red-green gate in front of the tools of another agent."""


@hook.command()
@click.argument("agent", type=AGENT)
@WHERE
def install(agent: str, for_user: bool) -> int:
    """Put the hooks into AGENT's settings, and try them. All that is there stays."""
    from penstock.cli.main import here
    from penstock.wire.hooks import install_hooks

    change, seen = install_hooks(cast("Agent", agent), _scope(for_user), here())
    if change.events:
        click.echo(f"{change.path}: hooks for {', '.join(change.events)}")
    else:
        click.echo(f"{change.path}: nothing to change")
    for note in change.notes:
        click.echo(f"note: {note}", err=True)
    return _tell_problems(seen, only_trials=True)


@hook.command()
@click.argument("agent", type=AGENT)
@WHERE
def uninstall(agent: str, for_user: bool) -> int:
    """Take the hooks out of AGENT's settings again."""
    from penstock.cli.main import here
    from penstock.wire.hooks import uninstall_hooks

    change = uninstall_hooks(cast("Agent", agent), _scope(for_user), here())
    done = f"took out {', '.join(change.events)}" if change.events else "nothing of ours is there"
    click.echo(f"{change.path}: {done}")
    return 0


@hook.command()
@click.option("--json", "as_json", is_flag=True, help="Print data instead of lines.")
def status(as_json: bool) -> int:
    """Which hooks are installed, and whether they are seen to refuse. Exit 1 if one cannot be relied on."""
    from penstock.cli.main import here
    from penstock.wire.hooks import seen_hooks

    found = list(seen_hooks(here()))
    if as_json:
        _print_json(found)
    elif not found:
        click.echo("no hooks are installed: penstock hook install AGENT", err=True)
    for seen in found if not as_json else ():
        click.echo(f"{seen.agent} ({seen.scope}): {seen.status.path}: {'; '.join(seen.problems) or 'refuses'}")
    return 1 if any(seen.problems for seen in found) else 0


def _client_of(agent: str) -> click.Command:
    @click.command(
        agent,
        help=f"Be the hook of {agent}: its JSON on stdin, the gate's answer in its words on stdout.",
        short_help=f"Be the hook of {agent}; its settings run this.",
    )
    def client() -> None:
        from penstock.wire.hooks import attend

        attend(cast("Agent", agent))

    return client


for _agent in AGENT.choices:
    hook.add_command(_client_of(_agent))


def _scope(for_user: bool) -> Scope:
    return "user" if for_user else "project"


def _tell_problems(seen: Seen, only_trials: bool) -> int:
    for problem in seen.problems:
        click.echo(f"{seen.agent}: {problem}", err=True)
    failed = any(trial.failure for trial in seen.trials)
    return 1 if failed or (seen.problems and not only_trials) else 0


def _print_json(found: list[Seen]) -> None:
    import msgspec

    rows = [
        {
            "agent": seen.agent,
            "scope": seen.scope,
            "file": str(seen.status.path),
            "state": seen.status.state,
            "problems": list(seen.problems),
        }
        for seen in found
    ]
    click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
