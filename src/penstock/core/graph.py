"""The dependency graph as something to look at: who waits for whom, in layers, as text or Mermaid.

A ticket lies one layer after the last of those it waits for. Within a layer a few sweeps move each ticket towards the
middle of its neighbours, which leaves few crossings. Everything is decided by the order of the tickets: the same
backlog is drawn the same way, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from penstock.core.policy import Frozen
from penstock.core.tickets import Ticket

SWEEPS = 4
ROUTED_STEPS_MAX = 5_000
"""Long edges are led around boxes up to so many steps in all; beyond, they go straight."""
LABEL_CHARS_MAX = 60


class Node(Frozen):
    """One ticket. `state` is empty where no run has looked at it yet."""

    id: str
    label: str
    state: str = ""


class Graph(Frozen):
    """Nodes, and edges as `(needed, waiting)` pairs of their ids."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


class Slot(Frozen):
    """A place in a layer: a node, or a step of a long edge (`edge` is its number in `Graph.edges`)."""

    id: str = ""
    edge: int = -1


def graph_of(tickets: Iterable[Ticket], states: Mapping[str, str] | None = None) -> Graph:
    """The graph of tickets; dependencies on tickets that are not among them are left out."""
    tickets = list(tickets)
    ids = {t.id for t in tickets}
    return Graph(
        nodes=tuple(Node(id=t.id, label=t.title, state=(states or {}).get(t.id, "")) for t in tickets),
        edges=tuple((d, t.id) for t in tickets for d in t.depends_on if d in ids and d != t.id),
    )


# --- layout ---------------------------------------------------------------------------------------------------------


def layers_of(graph: Graph) -> tuple[tuple[Slot, ...], ...]:
    """Layers from those that wait for nobody on, each in drawing order."""
    depth = depths(graph)
    layers: list[list[Slot]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph.nodes:
        layers[depth[node.id]].append(Slot(id=node.id))
    routed = sum(max(0, depth[b] - depth[a] - 1) for a, b in graph.edges) <= ROUTED_STEPS_MAX
    links: list[tuple[Slot, Slot]] = []
    for number, (needed, waiting) in enumerate(graph.edges):
        step = Slot(id=needed)
        for layer in range(depth[needed] + 1, depth[waiting]) if routed else ():
            passing = Slot(id=f"{layer}", edge=number)
            layers[layer].append(passing)
            links.append((step, passing))
            step = passing
        links.append((step, Slot(id=waiting)))
    return tuple(map(tuple, untangled(layers, links)))


def depths(graph: Graph) -> dict[str, int]:
    """Layer of each node. A cycle (refused when tickets are read) is cut where it is met first."""
    needs: dict[str, list[str]] = {n.id: [] for n in graph.nodes}
    waits: dict[str, list[str]] = {n.id: [] for n in graph.nodes}
    for needed, waiting in graph.edges:
        needs[waiting].append(needed)
        waits[needed].append(waiting)
    open_needs = {id: len(set(needed)) for id, needed in needs.items()}
    depth: dict[str, int] = {}
    queue = [id for id, count in open_needs.items() if not count]
    rest = iter(open_needs)
    while len(depth) < len(open_needs):
        if not queue:
            queue = [next(id for id in rest if id not in depth)]
        following: list[str] = []
        for id in queue:
            depth[id] = max((depth[n] + 1 for n in needs[id] if n in depth), default=0)
            for other in dict.fromkeys(waits[id]):
                open_needs[other] -= 1
                if not open_needs[other] and other not in depth:
                    following.append(other)
        queue = following
    return depth


def untangled(layers: list[list[Slot]], links: Sequence[tuple[Slot, Slot]]) -> list[list[Slot]]:
    """The layers, each ordered by where the neighbours of its slots are."""
    before: dict[Slot, list[Slot]] = {}
    after: dict[Slot, list[Slot]] = {}
    for a, b in links:
        before.setdefault(b, []).append(a)
        after.setdefault(a, []).append(b)
    place = {slot: float(n) for layer in layers for n, slot in enumerate(layer)}
    for sweep in range(SWEEPS):
        is_forward = sweep % 2 == 0
        neighbours = before if is_forward else after
        for layer in layers if is_forward else reversed(layers):
            middle = {slot: middle_of(slot, neighbours, place) for slot in layer}
            layer.sort(key=lambda slot: middle[slot])
            place.update((slot, float(n)) for n, slot in enumerate(layer))
    return layers


def middle_of(slot: Slot, neighbours: Mapping[Slot, Sequence[Slot]], place: Mapping[Slot, float]) -> float:
    near = neighbours.get(slot, ())
    return sum(place[n] for n in near) / len(near) if near else place[slot]


# --- text and Mermaid -----------------------------------------------------------------------------------------------


def render_text(graph: Graph) -> str:
    """One line a ticket, layer by layer, with what it waits for."""
    nodes = {n.id: n for n in graph.nodes}
    width = max((len(id) for id in nodes), default=0)
    state_width = max((len(n.state) for n in graph.nodes), default=0)
    needs: dict[str, list[str]] = {}
    for needed, waiting in graph.edges:
        needs.setdefault(waiting, []).append(needed)
    lines: list[str] = []
    for number, layer in enumerate(layers_of(graph), start=1):
        for slot in layer:
            if slot.edge >= 0:
                continue
            node = nodes[slot.id]
            state = f"{node.state:<{state_width}}  " if state_width else ""
            arrow = f"  <- {', '.join(needs[node.id])}" if node.id in needs else ""
            lines.append(f"{number:>3}  {node.id:<{width}}  {state}{brief(node.label)}{arrow}")
    return "".join(f"{line}\n" for line in lines)


def render_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart; titles are untrusted and cannot leave their quotes."""
    names = {node.id: f"t{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        text = f"{node.id}: {brief(node.label)}" + (f" ({node.state})" if node.state else "")
        lines.append(f'  {names[node.id]}["{mermaid_text(text)}"]')
    lines += [f"  {names[a]} --> {names[b]}" for a, b in graph.edges]
    return "".join(f"{line}\n" for line in lines)


def mermaid_text(text: str) -> str:
    """Everything that Mermaid or the HTML behind it could take for its own, as an entity."""
    return "".join(c if c.isalnum() or c in " .,:-_/()" else f"#{ord(c)};" for c in text)


def brief(text: str) -> str:
    """One line of at most 60 characters, nothing in it that a terminal obeys."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LABEL_CHARS_MAX else f"{line[: LABEL_CHARS_MAX - 1]}…"
