"""The net as a graph: a networkx view, and the plain maps that structural algorithms start from.

Nodes are pairs, ``("place", name)`` and ``("transition", name)``, since a place and a transition may share
a name. A read arc counts as going both ways in ``preset`` and ``postset``, as in the literature on
contextual nets; a reset arc leads from the place to the transition, with no weight of its own.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from provenet.nets.net import Net
from provenet.nets.quick import dataclass

if TYPE_CHECKING:
    import networkx as nx

Node: TypeAlias = tuple[Literal["place", "transition"], str]
Weights: TypeAlias = dict[str, int]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The P/T net beneath a net: what its transitions do to the number of tokens, whatever the tokens say.

    Each map goes from a transition to its places with weights; parallel arcs are added up.

    Attributes:
        takes: Tokens consumed.
        reads: Tokens needed besides those consumed, and left.
        puts: Tokens produced.
        resets: Places emptied.
    """

    takes: dict[str, Weights] = field(default_factory=dict)
    reads: dict[str, Weights] = field(default_factory=dict)
    puts: dict[str, Weights] = field(default_factory=dict)
    resets: dict[str, frozenset[str]] = field(default_factory=dict)

    def effect(self, transition: str) -> Weights:
        """Change of each place's number of tokens; zeros are left out, and so are places that it empties."""
        change = dict(self.puts[transition])
        for place, weight in self.takes[transition].items():
            change[place] = change.get(place, 0) - weight
        return {p: n for p, n in change.items() if n and p not in self.resets[transition]}


def incidence(net: Net) -> Skeleton:
    """The skeleton of a net as sparse maps, transitions in the net's order."""
    skeleton = Skeleton()
    for t in net.transitions:
        for arcs, table in ((t.takes, skeleton.takes), (t.reads, skeleton.reads), (t.puts, skeleton.puts)):
            weights = table.setdefault(t.name, {})
            for arc in arcs:
                weights[arc.place] = weights.get(arc.place, 0) + arc.weight
        skeleton.resets[t.name] = frozenset(t.resets)
    return skeleton


def preset(net: Net) -> dict[Node, frozenset[Node]]:
    """For every node, the nodes with an arc into it."""
    before, _ = _flow(net)
    return {node: frozenset(found) for node, found in before.items()}


def postset(net: Net) -> dict[Node, frozenset[Node]]:
    """For every node, the nodes that it has an arc into."""
    _, after = _flow(net)
    return {node: frozenset(found) for node, found in after.items()}


def to_networkx(net: Net) -> nx.MultiDiGraph:
    """The net as a bipartite multigraph.

    Nodes carry ``kind`` and ``label``; places also ``type``, ``capacity``, ``tokens`` (initially),
    ``entry``; transitions also ``role`` and ``contract``. Edges carry ``kind`` (``take``, ``read``,
    ``reset``, ``put``), ``weight`` and ``var``. A read arc is one edge, from the place to the transition.
    """
    import networkx as nx

    graph = nx.MultiDiGraph(name=net.name)
    tokens = {place: len(values) for place, values in net.initial}
    entries = {e.place for e in net.entries}
    for p in net.places:
        attributes: dict[str, Any] = {
            "label": p.label or p.name,
            "type": str(p.type),
            "capacity": p.capacity,
            "tokens": tokens.get(p.name, 0),
            "entry": p.name in entries,
        }
        graph.add_node(("place", p.name), kind="place", bipartite=0, **attributes)
    for t in net.transitions:
        node = ("transition", t.name)
        attributes = {"label": t.label or t.name, "role": t.role.value, "contract": t.contract}
        graph.add_node(node, kind="transition", bipartite=1, **attributes)
        for kind, arcs in (("take", t.takes), ("read", t.reads)):
            for arc in arcs:
                graph.add_edge(("place", arc.place), node, kind=kind, weight=arc.weight, var=arc.var)
        for place in t.resets:
            graph.add_edge(("place", place), node, kind="reset", weight=0, var=None)
        for put in t.puts:
            graph.add_edge(node, ("place", put.place), kind="put", weight=put.weight, var=None)
    return graph


def _flow(net: Net) -> tuple[dict[Node, set[Node]], dict[Node, set[Node]]]:
    before: dict[Node, set[Node]] = {("place", p.name): set() for p in net.places}
    before |= {("transition", t.name): set() for t in net.transitions}
    after: dict[Node, set[Node]] = {node: set() for node in before}
    for t in net.transitions:
        node: Node = ("transition", t.name)
        inputs = [*(a.place for a in t.takes), *(a.place for a in t.reads), *t.resets]
        outputs = [*(a.place for a in t.puts), *(a.place for a in t.reads)]
        for place in inputs:
            before[node].add(("place", place))
            after["place", place].add(node)
        for place in outputs:
            after[node].add(("place", place))
            before["place", place].add(node)
    return before, after
