"""The command line. Bodies of commands are imported when they run, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import IO, Any

import click

from penstock import __version__

COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("penstock.cli.init_command", "init", "Write a penstock.toml that works for this repository."),
    "run": ("penstock.cli.run_command", "run", "Work on the tickets and land what is proven."),
    "status": ("penstock.cli.status_command", "status", "Where every ticket is and what moves it next."),
    "tickets": ("penstock.cli.tickets_command", "tickets", "The backlog: list, show, add, check, graph."),
    "cancel": ("penstock.cli.operator_command", "cancel", "Cancel a ticket of the run."),
    "approve": ("penstock.cli.operator_command", "approve", "Vouch for the exact tree that a held ticket has."),
    "pause": ("penstock.cli.operator_command", "pause", "Start nothing new until `resume`."),
    "resume": ("penstock.cli.operator_command", "resume", "Go on after `pause`."),
    "raise-budget": ("penstock.cli.operator_command", "raise_budget", "Add to the budget of the run or of a ticket."),
    "logs": ("penstock.cli.logs_command", "logs", "What happened to a ticket, and what its agent printed."),
    "report": ("penstock.cli.report_command", "report", "The evidence report of a run."),
    "gate": ("penstock.cli.gate_command", "gate", "The red-green gate round this working tree: start, status, stop."),
    "mcp": ("penstock.cli.mcp_command", "mcp", "Offer the tools of the gate to an agent program over MCP."),
    "hook": ("penstock.cli.hook_command", "hook", "Put the gate before the tools of an agent's command line."),
    "plan": ("penstock.cli.plan_command", "plan", "The plan of the agent here: a dot per step; `set` hands one in."),
    "refactor": ("penstock.cli.refactor_command", "refactor", "Edit between two greens: enter, leave, status."),
    "events": ("penstock.cli.events_command", "events", "What was recorded: pairs of red and green, every event."),
    "stats": ("penstock.cli.stats_command", "stats", "What all sessions of this repository come to, in numbers."),
    "queen": ("penstock.cli.queen_command", "queen", "Serve the models of all hives at one address."),
    "hive": ("penstock.cli.hive_command", "hive", "Run the models of this machine, as workers, for a queen."),
    "worker": ("penstock.cli.worker_command", "worker", "Serve one model by hand; hives start their own."),
    "infer": ("penstock.cli.infer_command", "infer", "Ask a model of the fleet, and print its answer as it comes."),
    "workers": ("penstock.cli.workers_command", "workers", "The workers of the fleet: list, show, spawn, end, logs."),
    "hives": ("penstock.cli.hives_command", "hives", "The machines of the fleet: list, add over SSH, remove."),
    "models": ("penstock.cli.models_command", "models", "The models of this machine: list, add, pull, check, remove."),
    "doctor": ("penstock.cli.doctor_command", "doctor", "What is missing or unsafe, each with its fix."),
    "demo": ("penstock.cli.demo_command", "demo", "Run the bundled example, for real, with scripted agents."),
    "completion": ("penstock.cli.completion_command", "completion", "Print shell completion for bash, zsh or fish."),
}


class Failing(click.ClickException):
    """Ends the command with an exit code of its own: 6 refused, 7 unavailable."""

    def __init__(self, message: str, exit_code: int, fix: str = "") -> None:
        super().__init__(message + (f"\n    fix: {fix}" if fix else ""))
        self.code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """On stderr."""
        click.echo(f"error: {self.message}", file=file, err=True)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their one-line help is here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near and isinstance(error, click.NoSuchCommand):
                raise click.UsageError(f"no command {args[0]!r}; did you mean {near[0]!r}?", ctx) from None
            raise


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 everything done, 1 some tickets failed or canceled, 2 usage or configuration, "
    "3 stopped by budget or operator, 4 integrity, 5 wedged, 6 refused by the fleet, 7 nobody there can serve it, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="penstock")
@click.option("-C", "directory", metavar="DIR", type=click.Path(file_okay=False), help="Run as if started in DIR.")
def cli(directory: str | None) -> None:
    """Penstock runs coding agents on tickets and lets through only what is proven."""
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise click.UsageError(f"-C {directory}: {error.strerror}") from None


def main() -> None:
    """Entry point: what a user can mend is told without a traceback, on stderr, with the exit code of its kind."""
    from penstock.ports import AlreadyRunning, BadInput, Corrupt, Fenced

    try:
        sys.exit(cli.main(standalone_mode=False, prog_name="penstock"))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.code if isinstance(error, Failing) else 2)
    except BadInput as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(2)
    except AlreadyRunning as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Corrupt, Fenced) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(4)
    except OSError as error:
        click.echo(f"error: {error}: nothing is lost; `penstock run` continues once this is mended", err=True)
        sys.exit(4)


def here() -> Path:
    """The directory that commands work in."""
    return Path.cwd()
