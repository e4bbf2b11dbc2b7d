"""What all runs of a repository have learned, in one file: a run reads it first and adds to it, so none resets it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock import durable
from penstock.core.digest import Digest, canonical
from penstock.core.events import Approved, WorkLeft
from penstock.core.policy import Frozen
from penstock.ports import BadInput, Problem

FORMAT = 1


class GateHealth(Frozen):
    """How often a gate ended how, over all runs."""

    passed: int = msgspec.field(default=0, name="pass")
    failed: int = msgspec.field(default=0, name="fail")
    broken: int = 0

    def at_least(self, other: GateHealth) -> GateHealth:
        """The higher of each counter."""
        return GateHealth(
            passed=max(self.passed, other.passed),
            failed=max(self.failed, other.failed),
            broken=max(self.broken, other.broken),
        )


class Ledger(Frozen, omit_defaults=False):
    """Counters per ticket revision digest, quarantined test ids, and the health of the gates by name."""

    format: int = FORMAT
    attempts: dict[Digest, int] = {}
    retries: dict[Digest, dict[str, int]] = {}
    """Per revision and failure class."""
    quarantined: tuple[str, ...] = ()
    gates: dict[str, GateHealth] = {}
    work: dict[Digest, WorkLeft] = {}
    """Per revision: work that was neither landed nor refused. The newest run's word replaces all before it."""
    approvals: tuple[Approved, ...] = ()
    """What people vouched for while no run was alive; the next run reads them."""


class LedgerHead(msgspec.Struct):
    """What every format of the ledger says first."""

    format: int


def merge(one: Ledger, other: Ledger) -> Ledger:
    """The higher of each counter: a run that counted on from `one` never lowers it."""
    revisions = sorted({*one.retries, *other.retries})
    gates = sorted({*one.gates, *other.gates})
    none = GateHealth()
    return Ledger(
        attempts=_at_least(one.attempts, other.attempts),
        retries={r: _at_least(one.retries.get(r, {}), other.retries.get(r, {})) for r in revisions},
        quarantined=tuple(sorted({*one.quarantined, *other.quarantined})),
        gates={g: one.gates.get(g, none).at_least(other.gates.get(g, none)) for g in gates},
        work=other.work,
        approvals=other.approvals,
    )


def _at_least(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in sorted({*one, *other})}


class LedgerFile:
    """The ledger at a path. Only the writer that holds the repository writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Ledger:
        """The ledger; empty where there is none yet. Raises `BadInput` where it cannot be read."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return Ledger()
        try:
            found = msgspec.json.decode(data, type=LedgerHead).format
            if found > FORMAT:
                raise self._bad(f"format {found}, this penstock reads up to {FORMAT}", "use a later penstock")
            return msgspec.json.decode(data, type=Ledger)
        except (ValueError, RecursionError) as wrong:
            fix = f"keep it aside, all counters then start anew: mv {self._path} {self._path}.damaged"
            raise self._bad(f"the ledger is damaged: {wrong}", fix) from wrong

    def write(self, ledger: Ledger) -> None:
        """Replace the ledger, durably and whole."""
        durable.write_whole(self._path, canonical(ledger) + b"\n")

    def add(self, ledger: Ledger) -> Ledger:
        """Merge into what is there, and give the whole."""
        merged = merge(self.read(), ledger)
        self.write(merged)
        return merged

    def _bad(self, message: str, fix: str) -> BadInput:
        return BadInput([Problem(file=str(self._path), line=0, field="", message=message, fix=fix)])
