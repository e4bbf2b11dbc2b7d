"""Any program as an agent: the prompt on its stdin, the clone as its working directory, judged by its diff alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never

import msgspec

from penstock.adapters.agents.report_file import Said, read_report
from penstock.ports import (
    AgentReport,
    Confinement,
    Mount,
    ProcessEnd,
    Processes,
    ProcessIdentity,
    ProcessOrder,
    Sandbox,
    TurnBrief,
)

REPORT_ENV = "PENSTOCK_AGENT_REPORT"
"""Names the file that the program may append its report to; see `report_file`."""
REPORT_AT = "/run/penstock/agent"
"""Where the report's directory appears inside a sandbox."""

EX_TEMPFAIL, EX_NOPERM = 75, 77
NOT_RUNNABLE = (126, 127)
"""A shell's word for a program that cannot be executed or found: nobody worked, so no attempt is used."""
"""Exit statuses of sysexits.h: the provider could not just now, the provider will not."""
STDERR_BYTES_MAX = 2_000
STDERR_LINES_MAX = 8


class CommandAgent:
    """`ports.Agent`: runs `command` once per turn. A text is a shell's command line, a sequence an argument vector."""

    def __init__(self, command: str | Sequence[str], *, sandbox: Sandbox, processes: Processes) -> None:
        self._argv = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        self._sandbox = sandbox
        self._processes = processes

    async def turn(
        self,
        brief: TurnBrief,
        confinement: Confinement,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> AgentReport:
        """One turn in the confinement's clone. Cancelling ends its whole process tree."""
        said = Path(brief.job_dir, "agent")
        said.mkdir()
        end = await self._processes.run(self._order(brief, confinement, said), started)
        return report_of(end, read_report(said / "report.jsonl"), Path(brief.job_dir, "stderr"))

    def _order(self, brief: TurnBrief, confinement: Confinement, said: Path) -> ProcessOrder:
        at = REPORT_AT if self._sandbox.isolation().filesystem else str(said)
        confined = msgspec.structs.replace(
            confinement,
            mounts=(*confinement.mounts, Mount(source=str(said), target=at, writable=True)),
            env={**confinement.env, REPORT_ENV: f"{at}/report.jsonl"},
        )
        return ProcessOrder(
            command=self._sandbox.wrap(self._argv, confined),
            job_dir=brief.job_dir,
            stdin=brief.prompt.encode(),
            wall_ms=brief.order.wall_ms,
            stall_ms=brief.order.stall_ms,
            output_bytes_max=brief.output_bytes_max,
            watch=(confinement.checkout.path, str(said)),
        )


def report_of(end: ProcessEnd, said: Said, stderr: Path) -> AgentReport:
    """How the turn ended: what was seen of the process outranks what it says."""
    report = AgentReport(
        outcome="ended",
        exit_status=end.exit_status,
        usage=said.usage,
        claims=said.claims,
        duration_ms=end.duration_ms,
        message=f"{said.refused} lines of its report were refused" if said.refused else "",
    )
    match end.outcome:
        case "exited":
            return _exited(report, said, stderr)
        case "signaled":
            message = _joined(f"ended by signal {(end.exit_status or 128) - 128}", _last_lines(stderr))
            return msgspec.structs.replace(report, outcome="crashed", message=message)
        case "timeout" | "stalled" | "flood":
            return msgspec.structs.replace(report, outcome=end.outcome, message=end.message)
        case "not_started":
            return msgspec.structs.replace(report, outcome="infra", message=end.message)
        case _:
            assert_never(end.outcome)


def _exited(report: AgentReport, said: Said, stderr: Path) -> AgentReport:
    if said.failure is not None:
        kind = "refused" if said.failure.kind == "agent_refused" else said.failure.kind
        wait = said.failure.retry_after_ms if kind == "provider_transient" else 0
        return msgspec.structs.replace(report, outcome=kind, message=said.failure.message, retry_after_ms=wait)
    status = report.exit_status
    if status == 0:
        return report
    message = _joined(f"exit status {status}", _last_lines(stderr))
    if status == EX_TEMPFAIL:
        return msgspec.structs.replace(report, outcome="provider_transient", message=message)
    if status == EX_NOPERM:
        return msgspec.structs.replace(report, outcome="provider_terminal", message=message)
    outcome = "infra" if status in NOT_RUNNABLE else "crashed"
    return msgspec.structs.replace(report, outcome=outcome, message=message)


def _joined(what: str, words: str) -> str:
    return f"{what}: {words}" if words else what


def _last_lines(stderr: Path) -> str:
    """The end of its error output, as far as it can be shown."""
    try:
        with stderr.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - STDERR_BYTES_MAX))
            text = file.read(STDERR_BYTES_MAX).decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()][-STDERR_LINES_MAX:]
    return "\n".join("".join(c if c.isprintable() or c == "\t" else "?" for c in line) for line in lines)
