"""The dependency graph in the page, drawn as `penstock tickets graph` draws it; each box leads to its ticket."""

from __future__ import annotations

from penstock.core.graph import Graph, Node, Slot, layers_of
from penstock.core.graph_svg import STYLE, draw_edge, draw_node, in_words, spots_of
from penstock.evidence.markup import Html, el
from penstock.evidence.schema import Report

NODES_MAX = 200
SHRUNK_WIDTH_MAX = 1_500
"""Wider pictures scroll: shrunk into the page they could not be read."""
GRAPH_STYLE = Html(STYLE)
"""Goes into the style sheet of the page."""
TIP = Html(
    '<defs><marker id="penstock-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
)


def render_graph(report: Report, anchors: dict[str, str]) -> Html | None:
    """The picture, None where there is nothing to see: no dependency, or too many tickets."""
    graph = _graph(report)
    if not graph.edges or len(graph.nodes) > NODES_MAX:
        return None
    spots, width, height = spots_of(layers_of(graph))
    edges = (Html(draw_edge(number, edge, spots)) for number, edge in enumerate(graph.edges))
    nodes = (
        el("a", Html(draw_node(node, spots[Slot(id=node.id)])), href=f"#{anchors[node.id]}") for node in graph.nodes
    )
    return el(
        "svg",
        TIP,
        edges,
        nodes,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=in_words(graph),
        class_="penstock-graph fits" if width <= SHRUNK_WIDTH_MAX else "penstock-graph",
    )


def _graph(report: Report) -> Graph:
    known = {ticket.id for ticket in report.tickets}
    return Graph(
        nodes=tuple(Node(id=t.id, label=t.title, state=t.state) for t in report.tickets),
        edges=tuple((d, t.id) for t in report.tickets for d in t.depends_on if d in known and d != t.id),
    )
