"""The six clauses of the done proof, recomputed from the records and compared with what the run said of itself.

Clauses 1 to 5 are about the records that the report covers. Clause 6 is about the sealed log as a whole: only a reader
of it can tell, so it is never in the sealed bytes, and a report of a log without a seal has five clauses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from penstock import __version__
from penstock.core import codec
from penstock.core import events as e
from penstock.core.digest import Digest, digest_of_bytes
from penstock.evidence.closing import Closing
from penstock.evidence.history import TERMINAL, History
from penstock.evidence.schema import ClauseLine, Proof, Seal

Heads = Callable[[int], Digest]
"""Head of the chain at a seq, as the log stores it."""
Seals = Callable[[int], bytes]
"""The sealed report over the first n records, made anew."""
Kept = Callable[[Digest], bytes | None]
"""Bytes that were kept under a digest."""
NAMED_MAX = 20


def head_after(records: Sequence[e.Record]) -> Digest:
    """Head of the chain after these records, over their bytes as this version writes them."""
    head = codec.GENESIS
    for record in records:
        head = codec.link(head, codec.encode(record))
    return head


def prove(history: History, closings: dict[str, Closing], seal: Seal | None) -> Proof:
    """The proof over the history, with clause 6 where there is a seal to read."""
    clauses = [_compare(clause, history) for clause in _recompute(history, closings)]
    if seal is not None:
        text = "the report covers every record, and nothing stands between it and the end"
        clauses.append(ClauseLine(n=6, text=text, holds=seal.holds, witness=seal.witness))
    objections = tuple(history.oddities[:NAMED_MAX])
    return Proof(holds=_holds(clauses, objections), clauses=tuple(clauses), objections=objections)


def _holds(clauses: Sequence[ClauseLine], objections: Sequence[str]) -> bool | None:
    if objections or not all(c.holds and c.claimed is not False for c in clauses):
        return False
    return True if len(clauses) == 6 else None


# --- clauses 1 to 5 -------------------------------------------------------------------------------------------------


def _recompute(history: History, closings: dict[str, Closing]) -> list[ClauseLine]:
    states = {name: story.state for name, story in history.tickets.items()}
    runnable = [name for name, state in states.items() if state in ("ready", "working", "fixing")]
    retries = [name for name, state in states.items() if state == "backoff"]
    return [
        _clause(history, 1, "nothing is runnable", runnable, "no ticket is ready, working or fixing"),
        _clause(history, 2, "nothing is in flight", history.in_flight(), _ended(history)),
        _clause(history, 3, "no retry is scheduled", retries, "no ticket is in backoff"),
        _clause(history, 4, "no dependency is newly unblocked", _unblocked(history), "no waiting ticket may move"),
        _clause(history, 5, "every ticket is done, failed or canceled", _unproven(history, closings), _closed(history)),
    ]


def _clause(history: History, n: int, text: str, against: Sequence[str], witness: str) -> ClauseLine:
    named = "; ".join(against[:NAMED_MAX])
    more = f" and {len(against) - NAMED_MAX} more" if len(against) > NAMED_MAX else ""
    return ClauseLine(
        n=n,
        text=text,
        holds=not against,
        witness=f"seq {len(history.records)}: {named + more if against else witness}",
    )


def _ended(history: History) -> str:
    return f"all {len(history.jobs)} jobs have an end"


def _unblocked(history: History) -> list[str]:
    """Waiting tickets that their dependencies do not hold back any more."""
    found = []
    for name, story in history.tickets.items():
        if story.state == "waiting":
            needed = [history.tickets[d].state if d in history.tickets else "unknown" for d in story.ticket.depends_on]
            if all(s == "done" for s in needed) or any(s in ("failed", "canceled") for s in needed):
                found.append(name)
    return found


def _unproven(history: History, closings: dict[str, Closing]) -> list[str]:
    still_open = [f"{name} is {s.state}" for name, s in history.tickets.items() if s.state not in TERMINAL]
    if not history.tickets:
        still_open.append("there is no ticket")
    return still_open + [text for closing in closings.values() for text in closing.objections]


def _closed(history: History) -> str:
    states: list[str] = [story.state for story in history.tickets.values()]
    counts = {state: states.count(state) for state in TERMINAL}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{told}; what is done has its evidence on exactly the tree that landed"


def _compare(clause: ClauseLine, history: History) -> ClauseLine:
    """Hold the clause against what the run said of itself."""
    said = history.concluded.what.clauses if history.concluded else ()
    claim = next((c for c in said if c.n == clause.n), None)
    if claim is None:
        witness, holds = f"{clause.witness}; the run did not conclude with this clause", False
    else:
        witness, holds = clause.witness, clause.holds
        if claim.holds != clause.holds:
            witness += f"; the run says the contrary: {claim.witness}"
    return ClauseLine(
        n=clause.n,
        text=clause.text,
        holds=holds,
        witness=witness,
        claimed=None if claim is None else claim.holds,
    )


# --- clause 6 -------------------------------------------------------------------------------------------------------


def read_seal(records: Sequence[e.Record], sealed: Seals, heads: Heads | None, kept: Kept | None = None) -> Seal | None:
    """What clause 6 is about, and whether it holds; None where the log has no seal.

    The report is made anew and must be what was sealed, to the byte. Another version of Penstock may put the same
    story into other bytes: then the report that was kept must have the sealed digest and tell the same story.
    """
    at = next((i for i, r in enumerate(records) if isinstance(r.event, e.ReportSealed)), None)
    if at is None:
        return None
    event = records[at].event
    assert isinstance(event, e.ReportSealed)
    wrong = _wrong_place(records, at, event) or _wrong_content(records, at, event, sealed, heads, kept)
    witness = wrong or (
        f"the report over 1..{event.n} ({event.digest[:12]}) is record {event.n + 1}, "
        f"the end of the run is record {event.n + 2}, the last"
    )
    return Seal(n=event.n, head=event.head, digest=event.digest, holds=not wrong, witness=witness)


def _wrong_place(records: Sequence[e.Record], at: int, event: e.ReportSealed) -> str:
    seq = records[at].seq
    if event.n != seq - 1 or event.n != at:
        return f"the report covers 1..{event.n}, but is sealed by record {seq}"
    after = records[at + 1 :]
    if not after:
        return f"record {seq} seals the report, and the run did not finish"
    last = after[0]
    if not isinstance(last.event, e.RunFinished):
        return f"record {last.seq} is {type(last.event).__name__}: it stands between the seal and the end"
    if len(after) > 1:
        return f"record {after[1].seq} is {type(after[1].event).__name__}: it stands after the end"
    said = [r.event for r in records[:at] if isinstance(r.event, e.RunConcluded)]
    if not said:
        return "nothing concluded the run before its report was sealed"
    if (said[-1].outcome, said[-1].exit_code) != (last.event.outcome, last.event.exit_code):
        return f"the run concluded as {said[-1].outcome}, but record {last.seq} says {last.event.outcome}"
    return ""


def _wrong_content(
    records: Sequence[e.Record],
    at: int,
    event: e.ReportSealed,
    sealed: Seals,
    heads: Heads | None,
    kept: Kept | None,
) -> str:
    head = heads(event.n) if heads is not None else head_after(records[:at])
    if head != event.head:
        return f"the head at {event.n} is {head[:12]}, and the seal names {event.head[:12]}"
    anew = sealed(event.n)
    digest = digest_of_bytes(anew)
    if digest == event.digest:
        return ""
    old = kept(event.digest) if kept is not None else None
    if old is not None and digest_of_bytes(old) == event.digest and story_of(old) == story_of(anew):
        return ""
    writers = {r.event.version for r in records[:at] if isinstance(r.event, e.RunStarted | e.RunResumed)}
    other = "" if writers <= {__version__} else f" (sealed by {', '.join(sorted(writers))}, read by {__version__})"
    return f"the report over 1..{event.n} has digest {digest[:12]}, and the seal names {event.digest[:12]}{other}"


def story_of(report: bytes) -> object:
    """What a report of any version says of the log: what it covers, how it ended, and what became of each ticket."""
    said = msgspec.json.decode(report)
    tickets = [[t.get(name) for name in ("id", "state", "commit", "tree")] for t in said["tickets"]]
    clauses = [[c.get(name) for name in ("n", "holds")] for c in said["proof"]["clauses"]]
    trunk = [said["trunk"].get(name) for name in ("before", "after")]
    return [said["run"], said["outcome"], said["exit_code"], said["covers"], trunk, tickets, clauses]
