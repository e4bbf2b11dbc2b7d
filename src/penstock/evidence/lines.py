"""Parts of a report that more than one page of it needs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.events import LedgerSealed
from penstock.core.policy import BudgetCaps, Spend
from penstock.evidence.history import GateStory
from penstock.evidence.schema import Amount, EvidenceLine, RedGreenLine, TestLine


def amount_of(values: Spend | BudgetCaps) -> Amount:
    """The same fields, as a report writes them."""
    return Amount(
        tokens=values.tokens,
        micro_dollars=values.micro_dollars,
        agent_ms=values.agent_ms,
        gate_ms=values.gate_ms,
    )


def evidence_line(run: GateStory) -> EvidenceLine:
    """One gate run as a report writes it."""
    seen = run.seen
    return EvidenceLine(
        seq=run.seq,
        at_ms=run.at_ms,
        gate=seen.gate,
        look=seen.look,
        verdict=seen.verdict,
        why=seen.why,
        base=seen.base_tree or "",
        tree=seen.tree,
        commit=seen.commit,
        gate_digest=seen.gate_digest,
        control_digest=seen.control_digest,
        env_digest=seen.env_digest,
        duration_ms=seen.duration_ms,
        exit_status=seen.exit_status,
        counts=None if seen.counts is None else msgspec.structs.asdict(seen.counts),
        failed=tuple(
            TestLine(id=t.id, status=t.status, kind=t.kind, where=t.where, message=t.message) for t in seen.failed
        ),
        missing=seen.missing,
        telling=seen.telling,
        tests=seen.tests,
        output=seen.output,
        isolation=seen.isolation,
        forgeable=seen.forgeable,
    )


def red_green_line(seals: Sequence[LedgerSealed]) -> RedGreenLine | None:
    """What the ledgers of a ticket's turns come to; None where there is none."""
    if not seals:
        return None

    def total(name: str) -> int:
        return sum(seal.counts.get(name, 0) for seal in seals)

    return RedGreenLine(
        modes=tuple(dict.fromkeys(seal.mode for seal in seals)),
        turns=len(seals),
        edits=total("edits"),
        refusals=total("refusals"),
        pairs=total("pairs"),
        weak=total("weak"),
        reverts=total("reverts"),
        timeouts=total("timeouts"),
        unclaimed=sum(seal.violations for seal in seals),
    )
