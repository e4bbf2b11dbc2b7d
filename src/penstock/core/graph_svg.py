"""The dependency graph as one self-contained SVG: no script, no font, no address; light and dark; read out aloud.

Colour is never the only sign of a state: its name is in the box.
"""

from __future__ import annotations

from html import escape

from penstock.core.graph import Graph, Node, Slot, brief, layers_of
from penstock.core.policy import Frozen

BOX_WIDTH, BOX_HEIGHT = 216, 58
COLUMN, ROW, LANE, MARGIN = 300, 78, 22, 24
"""Distances: between layers, between boxes, between passing edges, around everything."""
ID_CHARS, LABEL_CHARS = 24, 27
"""What fits into a box in most fonts; the id shares its line with the state."""

HUES = {
    "done": "#1a7f4b",
    "failed": "#c8313e",
    "canceled": "#7d828c",
    "held": "#b26a00",
    "backoff": "#b26a00",
    "working": "#2763d6",
    "verifying": "#2763d6",
    "landing": "#2763d6",
    "fixing": "#8a45c9",
    "ready": "#0e7c86",
    "waiting": "#7d828c",
}
"""Of the stripe and the word; each readable on white and on near-black."""

STYLE = """\
.penstock-graph{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color-scheme:light dark}
.penstock-graph .box{fill:#ffffff;stroke:#c9ced8;stroke-width:1.2}
.penstock-graph .id{fill:#14171c;font-size:13px;font-weight:650}
.penstock-graph .label{fill:#4d5562;font-size:12px}
.penstock-graph .state{font-size:11px;font-weight:600;text-anchor:end}
.penstock-graph .edge{fill:none;stroke:#9aa3b2;stroke-width:1.4}
.penstock-graph .tip{fill:#9aa3b2}
.penstock-graph .canceled .box,.penstock-graph .waiting .box{stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){
.penstock-graph .box{fill:#1b1f27;stroke:#3c4452}
.penstock-graph .id{fill:#eef1f6}
.penstock-graph .label{fill:#b4bcc9}
.penstock-graph .state{filter:brightness(1.7)}
.penstock-graph .edge{stroke:#6b7585}
.penstock-graph .tip{fill:#6b7585}
}
"""


class Spot(Frozen):
    """Where a slot is: its left edge and its vertical middle, and how wide it is."""

    x: float
    y: float
    width: float


def render_svg(graph: Graph, title: str = "Dependency graph") -> str:
    """The drawing, arrows pointing from what is needed to what waits. `title` names it for screen readers."""
    layers = layers_of(graph)
    spots, width, height = spots_of(layers)
    described = f"{counted(len(graph.nodes), 'ticket')}, {counted(len(graph.edges), 'dependency')}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="penstock-graph" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" style="max-width:100%;height:auto" '
        'role="img" aria-labelledby="penstock-graph-title penstock-graph-desc">\n',
        f'<title id="penstock-graph-title">{escape(title)}</title>\n',
        f'<desc id="penstock-graph-desc">{described}. {escape(in_words(graph))}</desc>\n',
        f"<style>\n{STYLE}</style>\n",
        '<defs><marker id="penstock-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>\n',
    ]
    parts += [draw_edge(number, edge, spots) for number, edge in enumerate(graph.edges)]
    parts += [draw_node(node, spots[Slot(id=node.id)]) for node in graph.nodes]
    return "".join([*parts, "</svg>\n"])


def spots_of(layers: tuple[tuple[Slot, ...], ...]) -> tuple[dict[Slot, Spot], float, float]:
    """Where each slot is, and the size of the whole; layers are centred on one line."""
    heights = [sum(LANE if slot.edge >= 0 else ROW for slot in layer) for layer in layers]
    tallest = max(heights, default=0)
    spots: dict[Slot, Spot] = {}
    for column, (layer, tall) in enumerate(zip(layers, heights, strict=True)):
        x, y = MARGIN + column * COLUMN, MARGIN + (tallest - tall) / 2
        for slot in layer:
            room = LANE if slot.edge >= 0 else ROW
            spots[slot] = Spot(x=x, y=y + room / 2, width=BOX_WIDTH)
            y += room
    width = 2 * MARGIN + max(0, len(layers) - 1) * COLUMN + BOX_WIDTH
    return spots, width, 2 * MARGIN + max(tallest, ROW)


def draw_edge(number: int, edge: tuple[str, str], spots: dict[Slot, Spot]) -> str:
    """A smooth line out of the needed box, level through every layer that it passes, into the waiting one."""
    needed, waiting = spots[Slot(id=edge[0])], spots[Slot(id=edge[1])]
    first = round((needed.x - MARGIN) / COLUMN) + 1
    last = round((waiting.x - MARGIN) / COLUMN)
    passed = (Slot(id=f"{layer}", edge=number) for layer in range(first, last))
    x, y = needed.x + needed.width, needed.y
    path = f"M{x:g} {y:g}"
    for spot in (*(spots[slot] for slot in passed if slot in spots), waiting):
        bend = (x + spot.x) / 2
        path += f"C{bend:g} {y:g} {bend:g} {spot.y:g} {spot.x:g} {spot.y:g}"
        x, y = spot.x, spot.y
        if spot is not waiting:
            x += spot.width
            path += f"H{x:g}"
    return f'<path class="edge" marker-end="url(#penstock-tip)" d="{path}"/>\n'


def draw_node(node: Node, spot: Spot) -> str:
    left, top = spot.x, spot.y - BOX_HEIGHT / 2
    hue = HUES.get(node.state, HUES["waiting"])
    state = ""
    if node.state:
        place = f'x="{left + BOX_WIDTH - 12:g}" y="{top + 23:g}"'
        state = f'<text class="state" {place} fill="{hue}">{escape(node.state)}</text>'
    room = ID_CHARS - len(node.state)
    return (
        f'<g class="{node.state if node.state in HUES else "unknown"}">'
        f"<title>{escape(brief(node.id))}: {escape(brief(node.label))}</title>"
        f'<rect class="box" x="{left:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/>'
        f'<rect x="{left:g}" y="{top + 10:g}" width="4" height="{BOX_HEIGHT - 20}" rx="2" fill="{hue}"/>'
        f'<text class="id" x="{left + 14:g}" y="{top + 23:g}">{escape(cut(node.id, room))}</text>{state}'
        f'<text class="label" x="{left + 14:g}" y="{top + 43:g}">{escape(cut(node.label, LABEL_CHARS))}</text>'
        "</g>\n"
    )


def cut(text: str, chars: int) -> str:
    line = brief(text)
    return line if len(line) <= chars else f"{line[: chars - 1]}…"


def in_words(graph: Graph) -> str:
    """The edges as sentences, for those who do not see them; the first hundred."""
    said = [f"{brief(b)} waits for {brief(a)}." for a, b in graph.edges[:100]]
    return " ".join(said)


def counted(count: int, word: str) -> str:
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{count} {word if count == 1 else plural}"
