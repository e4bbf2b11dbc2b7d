"""Between a run and the repository's ledger: what is read first, and what is written back at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from penstock.adapters.ledger_file import GateHealth, Ledger
from penstock.core import events as e
from penstock.core.policy import FAILURE_CLASSES, FailureClass
from penstock.core.state import State, TicketRun
from penstock.core.tables import TERMINAL
from penstock.core.tickets import Ticket


def ledger_input(ledger: Ledger, tickets: Sequence[Ticket]) -> e.LedgerRead:
    """What earlier runs know of these tickets' revisions."""
    revisions = [t.digest for t in tickets]
    ids = {t.id for t in tickets}
    return e.LedgerRead(
        attempts={d: ledger.attempts[d] for d in revisions if d in ledger.attempts},
        retries={d: _known(ledger.retries[d]) for d in revisions if d in ledger.retries},
        quarantined=ledger.quarantined,
        work={d: ledger.work[d] for d in revisions if d in ledger.work},
        approvals=tuple(a for a in ledger.approvals if a.ticket in ids),
    )


def _known(counts: dict[str, int]) -> dict[FailureClass, int]:
    return {cause: counts[cause] for cause in FAILURE_CLASSES if cause in counts}


def ledger_of(state: State) -> Ledger:
    """What this run adds: its counters, and work that a person or the next run can go on from."""
    runs = [run for run in state.tickets.values() if run.state != "done"]
    return Ledger(
        attempts={run.ticket.digest: run.attempt for run in runs if run.attempt},
        retries={run.ticket.digest: {str(k): n for k, n in run.retries.items()} for run in runs if run.retries},
        quarantined=tuple(sorted(state.quarantined)),
        gates=_health(state),
        work={run.ticket.digest: _work(run) for run in runs if run.state not in TERMINAL and run.head},
    )


def _work(run: TicketRun) -> e.WorkLeft:
    return e.WorkLeft(ticket=run.ticket.id, head=run.head, base=run.base, lines=run.head_lines)


def _health(state: State) -> dict[str, GateHealth]:
    seen = Counter((evidence.gate, evidence.verdict) for evidence in state.evidence.values())
    gates = sorted({gate for gate, _ in seen})
    return {
        gate: GateHealth(passed=seen[gate, "pass"], failed=seen[gate, "fail"], broken=seen[gate, "broken"])
        for gate in gates
    }
