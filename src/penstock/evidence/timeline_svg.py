"""The run as swim lanes: one for trunk, one a ticket; turns above, gates below, the ticket's state as a thin line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from penstock.evidence.markup import Html, el, join
from penstock.evidence.schema import EnvLine, EvidenceLine, Report, TicketLine, TurnLine
from penstock.evidence.timeline import shorten
from penstock.evidence.words import duration, short

WIDTH, LEFT, RIGHT, TOP = 1096, 132, 16, 26
ROW, GAP, BAR_MIN = 13, 13, 2.5
LANES_MAX = 150
TICKS_MAX = 9
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800)


@dataclass(frozen=True)
class Bar:
    """Something that took time."""

    begin_ms: int
    end_ms: int
    kind: str
    """CSS class."""
    title: str


@dataclass(frozen=True)
class Scale:
    """Milliseconds to the horizontal."""

    begin_ms: int
    end_ms: int

    def x(self, at_ms: int) -> float:
        share = (at_ms - self.begin_ms) / max(1, self.end_ms - self.begin_ms)
        return LEFT + max(0.0, min(1.0, share)) * (WIDTH - LEFT - RIGHT)


@dataclass(frozen=True)
class Lane:
    """One line of the picture. `rows` are bars that do not overlap."""

    name: str
    anchor: str
    rows: tuple[tuple[Bar, ...], ...]
    states: tuple[Bar, ...]
    landings: tuple[tuple[int, str], ...]

    @property
    def height(self) -> int:
        return ROW * max(1, len(self.rows)) + GAP


def render_timeline(report: Report, anchors: dict[str, str]) -> Html:
    """The picture; `anchors` are the places of the tickets in the page."""
    tickets = report.tickets[:LANES_MAX]
    lanes = [_trunk_lane(report), *(_lane(report, t, anchors[t.id]) for t in tickets)]
    scale = Scale(report.started_ms, max(report.ended_ms, report.started_ms + 1))
    height = TOP + sum(lane.height for lane in lanes) + 6
    return el(
        "svg",
        _axis(scale, height),
        _lanes(lanes, scale),
        viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH,
        height=height,
        role="img",
        aria_label=f"Timeline of {len(tickets)} tickets over {duration(report.ended_ms - report.started_ms)}",
        class_="timeline",
    )


# --- lanes ----------------------------------------------------------------------------------------------------------


def _trunk_lane(report: Report) -> Lane:
    at_ms = {line.seq: line.at_ms for line in report.timeline}
    moves = [(at_ms.get(m.seq, report.ended_ms), m) for m in report.trunk.moves]
    landings = tuple((at, f"{m.ticket or 'somebody else'} moved trunk to {short(m.commit)}") for at, m in moves)
    bars = [*(_gate_bar(seen) for seen in report.baseline), *(_env_bar(env) for env in report.environments)]
    return Lane("trunk", "", _pack(bars), (), landings)


def _lane(report: Report, ticket: TicketLine, anchor: str) -> Lane:
    turns = _pack(_turn_bar(report, turn) for turn in ticket.turns)
    gates = _pack(_gate_bar(seen) for seen in (*ticket.evidence, *ticket.looks, *ticket.earlier))
    done = [m.at_ms for m in ticket.moves if m.to == "done" and ticket.landed_seq is not None]
    landings = tuple((at, f"{ticket.id} landed as {short(ticket.commit)}") for at in done)
    return Lane(ticket.id, anchor, (*turns, *gates), tuple(_states(report, ticket)), landings)


def _turn_bar(report: Report, turn: TurnLine) -> Bar:
    end = report.ended_ms if turn.seq is None else turn.began_ms + turn.duration_ms
    kind = turn.role if turn.outcome in ("ended", "in flight") else "crashed"
    title = f"{turn.role} turn {turn.turn} of attempt {turn.attempt}: {turn.outcome}, {turn.lines} lines"
    return Bar(turn.began_ms, end, f"turn {kind}", f"{title}, {duration(turn.duration_ms)}")


def _gate_bar(seen: EvidenceLine) -> Bar:
    title = f"{seen.gate} ({seen.look}) {seen.verdict}: {seen.why} ({duration(seen.duration_ms)}, seq {seen.seq})"
    return Bar(seen.at_ms - seen.duration_ms, seen.at_ms, f"gate v-{seen.verdict}", title)


def _env_bar(env: EnvLine) -> Bar:
    title = f"environment {env.name} {'built' if env.ok else f'failed: {env.message}'} ({duration(env.duration_ms)})"
    return Bar(env.at_ms - env.duration_ms, env.at_ms, "env" if env.ok else "gate v-fail", title)


def _states(report: Report, ticket: TicketLine) -> Iterator[Bar]:
    ends = [*(m.at_ms for m in ticket.moves[1:]), report.ended_ms]
    for move, end in zip(ticket.moves, ends, strict=False):
        if move.to not in ("done", "failed", "canceled"):
            yield Bar(move.at_ms, end, f"state s-{move.to}", f"{move.to}: {shorten(move.reason, 120)}")


def _pack(bars: Iterable[Bar]) -> tuple[tuple[Bar, ...], ...]:
    """Rows of bars that do not overlap, first come, first row."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda b: (b.begin_ms, b.end_ms)):
        row = next((r for r in rows if r[-1].end_ms <= bar.begin_ms), None)
        if row is None:
            rows.append([bar])
        else:
            row.append(bar)
    return tuple(tuple(row) for row in rows)


# --- drawing --------------------------------------------------------------------------------------------------------


def _axis(scale: Scale, height: int) -> Iterator[Html]:
    span_s = (scale.end_ms - scale.begin_ms) / 1000
    step = next((s for s in STEPS_S if span_s / s <= TICKS_MAX), STEPS_S[-1])
    for second in range(0, int(span_s) + 1, step):
        x = scale.x(scale.begin_ms + second * 1000)
        yield el("line", x1=x, x2=x, y1=TOP - 6, y2=height, class_="tick")
        yield el(
            "text", _tick(second), x=x, y=TOP - 11, class_="axis", text_anchor="start" if second == 0 else "middle"
        )


def _tick(second: int) -> str:
    hours, rest = divmod(second, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def _lanes(lanes: Sequence[Lane], scale: Scale) -> Iterator[Html]:
    y = TOP
    for n, lane in enumerate(lanes):
        if n % 2 == 0:
            yield el("rect", x=0, y=y, width=WIDTH, height=lane.height, class_="stripe")
        yield _label(lane, y)
        yield from _bars(lane, y, scale)
        y += lane.height


def _label(lane: Lane, y: int) -> Html:
    text = el("text", shorten(lane.name, 17), x=10, y=y + lane.height / 2 + 4, class_="lane")
    return el("a", text, href=f"#{lane.anchor}") if lane.anchor else text


def _bars(lane: Lane, y: int, scale: Scale) -> Iterator[Html]:
    bottom = y + lane.height - 5
    for bar in lane.states:
        yield _rect(bar, bottom, 3, scale)
    for n, row in enumerate(lane.rows):
        for bar in row:
            yield _rect(bar, y + 4 + n * ROW, ROW - 3, scale)
    for at_ms, title in lane.landings:
        x, middle = scale.x(at_ms), bottom + 1.5
        points = f"{x - 5:.1f},{middle} {x:.1f},{middle - 5} {x + 5:.1f},{middle} {x:.1f},{middle + 5}"
        yield el("polygon", el("title", title), points=points, class_="landing")


def _rect(bar: Bar, y: float, height: float, scale: Scale) -> Html:
    x = scale.x(bar.begin_ms)
    width = max(BAR_MIN, scale.x(bar.end_ms) - x - 0.5)
    return el("rect", el("title", bar.title), x=x, y=y, width=width, height=height, rx=2, class_=bar.kind)


def render_legend() -> Html:
    """What the colours mean."""
    kinds = (
        ("turn build", "builder turn"),
        ("turn fix", "fix turn"),
        ("turn crashed", "turn that did not end well"),
        ("gate v-pass", "gate passes"),
        ("gate v-fail", "fails"),
        ("gate v-broken", "broken, flaky or pending"),
        ("env", "environment built"),
        ("landing", "landed"),
    )
    return el("ul", (_key(kind, text) for kind, text in kinds), class_="legend")


def _key(kind: str, text: str) -> Html:
    shape = el("rect", x=0, y=0, width=12, height=12, rx=2, class_=kind)
    if kind == "landing":
        shape = el("polygon", points="0,6 6,0 12,6 6,12", class_=kind)
    return el("li", el("svg", shape, width=12, height=12, aria_hidden="true"), join(" ", text))
