"""How long a request may take: `deadline_ms` of its body or the header `x-deadline-ms`; the smaller of both."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.fleet.schema import DEADLINE_MS_MAX, FieldProblem

DEADLINE_HEADER = "x-deadline-ms"


def in_header(headers: Mapping[str, str]) -> list[FieldProblem]:
    """What is wrong with the header."""
    given = headers.get(DEADLINE_HEADER, "")
    if not given or (given.isascii() and given.isdigit() and len(given) < 10 and 0 < int(given) <= DEADLINE_MS_MAX):
        return []
    return [FieldProblem(field=DEADLINE_HEADER, message=f"is no whole number of 1 to {DEADLINE_MS_MAX}")]


def deadline_of(headers: Mapping[str, str], in_body_ms: int | None = None) -> int | None:
    """Milliseconds from now; None where none is named. `headers`: they were looked at."""
    given = headers.get(DEADLINE_HEADER, "")
    named = [ms for ms in (in_body_ms, int(given) if given else None) if ms is not None]
    return min(named, default=None)
