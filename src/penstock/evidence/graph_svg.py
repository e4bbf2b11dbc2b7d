"""The dependency graph as inline SVG: what comes first stands left, and a box has the colour of its ticket's state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.evidence.markup import Html, el
from penstock.evidence.schema import Report, TicketLine
from penstock.evidence.timeline import shorten

BOX_W, BOX_H, GAP_X, GAP_Y, PAD = 178, 44, 54, 14, 8
NODES_MAX = 200


@dataclass(frozen=True)
class Box:
    """A ticket in its place."""

    ticket: TicketLine
    x: int
    y: int


def render_graph(report: Report, anchors: dict[str, str]) -> Html | None:
    """The picture, None where there is nothing to see: no dependency, or too many tickets."""
    tickets = report.tickets
    if len(tickets) > NODES_MAX or not any(t.depends_on for t in tickets):
        return None
    boxes = _place(_columns(tickets))
    width = max(b.x for b in boxes.values()) + BOX_W + PAD
    height = max(b.y for b in boxes.values()) + BOX_H + PAD
    return el(
        "svg",
        (edge for box in boxes.values() for edge in _edges(box, boxes)),
        (_draw(box, anchors[name]) for name, box in boxes.items()),
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=f"Dependency graph of {len(tickets)} tickets",
        class_="graph",
    )


def _columns(tickets: Sequence[TicketLine]) -> list[list[TicketLine]]:
    """Tickets by their distance from those that wait for nothing; what hangs together stands close."""
    known = {t.id: t for t in tickets}
    depth = dict.fromkeys(known, 0)
    for _ in tickets:
        before = dict(depth)
        for ticket in tickets:
            needed = [depth[d] + 1 for d in ticket.depends_on if d in known]
            depth[ticket.id] = min(max([0, *needed]), len(tickets) - 1)
        if depth == before:
            break
    columns = [[t for t in tickets if depth[t.id] == n] for n in range(max(depth.values()) + 1)]
    place: dict[str, float] = {}
    for column in columns:
        column.sort(key=lambda t: _middle(t, place))
        place |= {t.id: float(n) for n, t in enumerate(column)}
    return columns


def _middle(ticket: TicketLine, place: dict[str, float]) -> float:
    rows = [place[d] for d in ticket.depends_on if d in place]
    return sum(rows) / len(rows) if rows else 0.0


def _place(columns: Sequence[Sequence[TicketLine]]) -> dict[str, Box]:
    tallest = max(len(column) for column in columns)
    boxes: dict[str, Box] = {}
    for n, column in enumerate(columns):
        top = PAD + (tallest - len(column)) * (BOX_H + GAP_Y) // 2
        for row, ticket in enumerate(column):
            boxes[ticket.id] = Box(ticket, PAD + n * (BOX_W + GAP_X), top + row * (BOX_H + GAP_Y))
    return boxes


def _edges(box: Box, boxes: dict[str, Box]) -> Iterator[Html]:
    for name in box.ticket.depends_on:
        if name in boxes:
            x1, y1 = boxes[name].x + BOX_W, boxes[name].y + BOX_H // 2
            x2, y2 = box.x, box.y + BOX_H // 2
            bend = max(24, (x2 - x1) // 2)
            yield el("path", d=f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2 - 5} {y2}", class_="edge")
            yield el("path", d=f"M{x2 - 6} {y2 - 4} L{x2} {y2} L{x2 - 6} {y2 + 4} Z", class_="arrow")


def _draw(box: Box, anchor: str) -> Html:
    ticket, x, y = box.ticket, box.x, box.y
    return el(
        "a",
        el("title", f"{ticket.id}: {ticket.title} ({ticket.state})"),
        el("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=7, class_=f"node s-{ticket.state}"),
        el("rect", x=x, y=y, width=5, height=BOX_H, rx=2, class_=f"edge-of s-{ticket.state}"),
        el("text", shorten(ticket.id, 14), x=x + 14, y=y + 18, class_="id"),
        el("text", ticket.state, x=x + BOX_W - 9, y=y + 18, class_="state-of", text_anchor="end"),
        el("text", shorten(ticket.title, 27), x=x + 14, y=y + 34, class_="title"),
        href=f"#{anchor}",
    )
