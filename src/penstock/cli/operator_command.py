"""The operator's hand on a run: each command is an input in its log."""

from __future__ import annotations

import click


def _send(event: object) -> int:
    from penstock import wire
    from penstock.cli.main import here

    click.echo(wire.command(here(), event), err=True)  # type: ignore[arg-type]
    return 0


def _who() -> str:
    import getpass

    return getpass.getuser()


@click.command()
@click.argument("ticket")
@click.option("--reason", default="", help="Why; it is kept in the log.")
def cancel(ticket: str, reason: str) -> int:
    """Cancel TICKET of the live or unfinished run; its work is kept under a salvage ref."""
    from penstock.core.events import CancelAsked

    return _send(CancelAsked(ticket=ticket, who=_who(), reason=reason))


@click.command()
@click.argument("ticket")
@click.option("--gate", default=None, help="The gate that waits for a person; all of them by default.")
@click.option("--reason", required=True, help="Why this may land; it is kept in the log and in the report.")
def approve(ticket: str, gate: str | None, reason: str) -> int:
    """Vouch for the exact tree that the held TICKET has now. Void when that tree changes; never replaces a red gate."""
    from penstock.core.events import Approved

    return _send(Approved(ticket=ticket, gate=gate, who=_who(), reason=reason))


@click.command()
def pause() -> int:
    """Start nothing new; what runs may end."""
    from penstock.core.events import PauseAsked

    return _send(PauseAsked(who=_who()))


@click.command()
def resume() -> int:
    """Go on after `pause`."""
    from penstock.core.events import ResumeAsked

    return _send(ResumeAsked(who=_who()))


@click.command()
@click.option("--tokens", type=click.IntRange(min=0), default=0)
@click.option("--dollars", type=click.FloatRange(min=0), default=0.0)
@click.option("--agent-minutes", type=click.IntRange(min=0), default=0)
@click.option("--gate-minutes", type=click.IntRange(min=0), default=0)
@click.option("--ticket", default=None, help="Raise the budget of one ticket instead of the run's.")
def raise_budget(tokens: int, dollars: float, agent_minutes: int, gate_minutes: int, ticket: str | None) -> int:
    """Add to the budget of the live run, or of one of its tickets."""
    from penstock.core.events import BudgetRaised
    from penstock.core.policy import Spend

    add = Spend(
        tokens=tokens,
        micro_dollars=round(dollars * 1_000_000),
        agent_ms=agent_minutes * 60_000,
        gate_ms=gate_minutes * 60_000,
    )
    if add == Spend():
        raise click.UsageError("nothing to add: give --tokens, --dollars, --agent-minutes or --gate-minutes")
    return _send(BudgetRaised(who=_who(), add=add, ticket=ticket))
