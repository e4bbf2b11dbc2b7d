"""What all red-green sessions of a repository come to, in numbers."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator

from penstock.core.policy import Frozen
from penstock.core.redgreen import events as e
from penstock.core.redgreen.ledger import Counts, fold
from penstock.evidence.words import brief


class Spawns(Frozen, omit_defaults=False):
    """Processes that ran tests. `p50_ms`: None where there was none."""

    number: int = 0
    p50_ms: int | None = None


class RedGreenStats(Frozen, omit_defaults=False):
    """Counted over whole ledgers."""

    sessions: int = 0
    edits: int = 0
    refusals: int = 0
    refusals_by_code: dict[str, int] = {}
    refusals_overturned: int = 0
    """Refusals of a path that an edit reached later in the same session."""
    timeouts: int = 0
    reverts: int = 0
    reverts_by_why: dict[str, int] = {}
    unclaimed_writes: int = 0
    pairs: int = 0
    weak_pairs: int = 0
    spawns_warm: Spawns = Spawns()
    spawns_cold: Spawns = Spawns()


def stats_of(sessions: Iterable[tuple[e.RedGreenRecord, ...]]) -> RedGreenStats:
    """The statistics of these ledgers, each from its first record on."""
    counts: list[Counts] = []
    codes: Counter[str] = Counter()
    whys: Counter[str] = Counter()
    spans: dict[bool, list[int]] = {True: [], False: []}
    for records in sessions:
        counts.append(fold(records).counts)
        for record in records:
            match record.event:
                case e.EditRefused(refusal=refusal):
                    codes[refusal.code] += 1
                case e.EditReverted(why=why):
                    whys[why] += 1
                case e.SpawnEnded(is_warm=is_warm, duration_ms=duration_ms):
                    spans[is_warm].append(duration_ms)
                case _:
                    pass
    return RedGreenStats(
        sessions=len(counts),
        edits=sum(c.edits for c in counts),
        refusals=sum(c.refusals for c in counts),
        refusals_by_code=_most_first(codes),
        refusals_overturned=sum(c.overturned for c in counts),
        timeouts=sum(c.timeouts for c in counts),
        reverts=sum(c.reverts for c in counts),
        reverts_by_why=_most_first(whys),
        unclaimed_writes=sum(c.unclaimed for c in counts),
        pairs=sum(c.pairs for c in counts),
        weak_pairs=sum(c.weak for c in counts),
        spawns_warm=_spawns(spans[True]),
        spawns_cold=_spawns(spans[False]),
    )


def stats_rows(stats: RedGreenStats) -> Iterator[tuple[str, str]]:
    """Name and number, as people read them."""
    yield "sessions", f"{stats.sessions:,}"
    yield "edits", f"{stats.edits:,}"
    yield "refusals", f"{stats.refusals:,}{_in_brackets(stats.refusals_by_code)}"
    yield "refusals overturned", f"{stats.refusals_overturned:,}"
    yield "hangs (timeouts)", f"{stats.timeouts:,}"
    yield "reverts", f"{stats.reverts:,}{_in_brackets(stats.reverts_by_why)}"
    yield "unclaimed writes", f"{stats.unclaimed_writes:,}"
    yield "pairs", f"{stats.pairs:,}"
    yield "weak pairs", f"{stats.weak_pairs:,}"
    yield "spawns, warm", _spawns_words(stats.spawns_warm)
    yield "spawns, cold", _spawns_words(stats.spawns_cold)


def _most_first(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _spawns(spans: list[int]) -> Spawns:
    return Spawns(number=len(spans), p50_ms=round(statistics.median(spans)) if spans else None)


def _spawns_words(spawns: Spawns) -> str:
    if spawns.p50_ms is None:
        return "0"
    return f"{spawns.number:,} (p50 {brief(spawns.p50_ms)})"


def _in_brackets(numbers: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {number:,}' for name, number in numbers.items())})" if numbers else ""
