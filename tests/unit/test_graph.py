"""The dependency graph drawn: the same backlog the same way, nothing untrusted gets out of its place."""

import re
import xml.etree.ElementTree as ET
from random import Random

import pytest

from penstock.core.graph import Graph, Node, graph_of, layers_of, render_mermaid, render_text
from penstock.core.graph_svg import HUES, render_svg
from penstock.core.tickets import Ticket

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '"]; click t0 "javascript:alert(1)" <script>alert(1)</script> & `x` \x1b[2J\n%% #'


def graph(edges: str, *alone: str, label: str = "") -> Graph:
    """`a>b c>b`: b waits for a and c."""
    pairs = tuple((a, b) for a, _, b in (e.partition(">") for e in edges.split()))
    ids = dict.fromkeys([id for pair in pairs for id in pair] + list(alone))
    return Graph(nodes=tuple(Node(id=id, label=label or f"title of {id}") for id in ids), edges=pairs)


def layer_of(drawn: Graph) -> dict[str, int]:
    return {s.id: n for n, layer in enumerate(layers_of(drawn)) for s in layer if s.edge < 0}


def crossings(drawn: Graph) -> int:
    """Pairs of neighbouring-layer edges that cross, of a graph without long edges."""
    place = {s.id: (n, p) for n, layer in enumerate(layers_of(drawn)) for p, s in enumerate(layer)}
    found = 0
    for number, (a, b) in enumerate(drawn.edges):
        for c, d in drawn.edges[number + 1 :]:
            same_gap = place[a][0] == place[c][0]
            found += same_gap and (place[a][1] - place[c][1]) * (place[b][1] - place[d][1]) < 0
    return found


def test_a_ticket_lies_one_layer_after_the_last_that_it_waits_for() -> None:
    assert layer_of(graph("a>b b>d a>d c>d", "e")) == {"a": 0, "b": 1, "c": 0, "d": 2, "e": 0}


def test_a_long_edge_keeps_a_place_in_every_layer_that_it_passes() -> None:
    drawn = graph("a>b b>c c>d a>d")
    passing = [[s.edge for s in layer if s.edge >= 0] for layer in layers_of(drawn)]
    assert passing == [[], [3], [3], []]


def test_sweeps_untangle_what_can_be_untangled() -> None:
    assert crossings(graph("a>z b>y c>x", "x", "y", "z")) == 0
    assert crossings(graph("a>q a>s b>p b>r", "p", "q", "r", "s")) == 0


def test_a_cycle_is_drawn_all_the_same() -> None:
    assert set(layer_of(graph("a>b b>c c>a c>d"))) == {"a", "b", "c", "d"}


def test_every_generated_graph_points_forward_and_is_drawn_twice_alike() -> None:
    chance = Random(7)
    for _ in range(60):
        count = chance.randint(1, 25)
        edges = " ".join(f"n{a}>n{b}" for b in range(count) for a in range(b) if chance.random() < 0.2)
        drawn = graph(edges, *(f"n{n}" for n in range(count)))
        layer = layer_of(drawn)
        assert len(layer) == count
        assert all(layer[a] < layer[b] for a, b in drawn.edges)
        assert render_svg(drawn) == render_svg(drawn)


def test_graph_of_tickets_leaves_out_what_is_elsewhere() -> None:
    tickets = [
        Ticket(id="a", title="A", body="", digest="", source="", depends_on=("done-long-ago",)),
        Ticket(id="b", title="B", body="", digest="", source="", depends_on=("a", "b")),
    ]
    drawn = graph_of(tickets, {"a": "done"})
    assert drawn.edges == (("a", "b"),)
    assert [(n.id, n.label, n.state) for n in drawn.nodes] == [("a", "A", "done"), ("b", "B", "")]


def test_text() -> None:
    drawn = Graph(
        nodes=(
            Node(id="emit", label="Emit", state="waiting"),
            Node(id="lex", label="Lex it", state="done"),
            Node(id="parse", label="Parse", state="fixing"),
        ),
        edges=(("lex", "emit"), ("parse", "emit"), ("lex", "parse")),
    )
    assert render_text(drawn) == (
        "  1  lex    done     Lex it\n  2  parse  fixing   Parse  <- lex\n  3  emit   waiting  Emit  <- lex, parse\n"
    )
    assert render_text(graph("", "a")) == "  1  a  title of a\n"


def test_mermaid() -> None:
    assert render_mermaid(graph("a>b")) == ('flowchart LR\n  t0["a: title of a"]\n  t1["b: title of b"]\n  t0 --> t1\n')


def test_an_untrusted_title_stays_in_its_place() -> None:
    drawn = graph("a>b", label=EVIL)
    mermaid = render_mermaid(drawn)
    assert len(mermaid.splitlines()) == 4
    assert all(re.fullmatch(r'  t\d\["[^"<>`&%]*"\]', line) for line in mermaid.splitlines()[1:3])
    for rendered in (mermaid, render_text(drawn), render_svg(drawn)):
        assert "\x1b" not in rendered
    names = {element.tag for element in ET.fromstring(render_svg(drawn)).iter()}
    assert f"{SVG}script" not in names
    assert f"{SVG}g" in names


@pytest.mark.parametrize("state", ["", *HUES, "unheard-of"])
def test_svg_says_everything_in_words_too(state: str) -> None:
    drawn = Graph(nodes=(Node(id="a", label="Ä & B", state=state), Node(id="b", label="B")), edges=(("a", "b"),))
    root = ET.fromstring(render_svg(drawn, "Backlog"))
    assert root.get("role") == "img"
    texts = [element.text or "" for element in root.iter()]
    assert "Backlog" in texts
    assert "2 tickets, 1 dependency. b waits for a." in texts
    assert "a: Ä & B" in texts
    assert not state or state in texts
    assert len([e for e in root.iter(f"{SVG}path") if e.get("class") == "edge"]) == 1


def test_svg_needs_nothing_from_elsewhere() -> None:
    text = render_svg(graph("a>b"))
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme:dark" in text


def test_boxes_do_not_overlap() -> None:
    root = ET.fromstring(render_svg(graph("a>b a>c a>d b>e c>e d>e a>e")))
    boxes = [
        (float(r.get("x", "")), float(r.get("y", "")), float(r.get("width", "")), float(r.get("height", "")))
        for r in root.iter(f"{SVG}rect")
        if r.get("class") == "box"
    ]
    assert len(boxes) == 5
    for number, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[number + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_nothing_is_drawn_as_nothing() -> None:
    assert render_text(Graph(nodes=(), edges=())) == ""
    assert ET.fromstring(render_svg(Graph(nodes=(), edges=()))).tag == f"{SVG}svg"
