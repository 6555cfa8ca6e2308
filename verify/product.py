"""The product of a state graph and a Büchi automaton: the paths that a formula may accept.

Couvreur, "On-the-fly verification of linear temporal logic", FM 1999, for the automata; components that allow
a fair run are found by taking away the states that lack a firing which must happen there (Emerson & Lei,
"Modalities for model checking", 1987). Which firings those are, and what may hold in a state, says the model
(``provenet.verify.modal``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from provenet.verify.graph import Edge
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.engines.buchi import Automaton, automaton
from provenet.verify.plain.logic import Formula, Le

if TYPE_CHECKING:
    from provenet.verify.modal import Model

_LOOK = 2_048
"""How many states there may be between two looks at the clock."""

_MOST_NODES = 1_000_000


class Late(Exception):
    """The time is up, or there is no room."""


@dataclass(slots=True)
class Skeleton:
    """A path formula whose state formulas have numbers.

    Attributes:
        path: The formula; where it holds that state formula ``k`` does, it says ``place k >= 1``.
        parts: The state formulas.
    """

    path: tl.Temporal
    parts: list[tl.Temporal] = field(default_factory=list)

    @classmethod
    def of(cls, path: tl.Temporal) -> Skeleton:
        """The skeleton of a simplified path formula."""
        made = cls(path)
        made.path = tl.simplified(made._part(path))
        return made

    def _part(self, path: tl.Temporal) -> tl.Temporal:
        if path in (tl.TRULY, tl.FALSELY):
            return path
        if tl.is_state(path):
            if path not in self.parts:
                self.parts.append(path)
            return tl.Now(Le(((self.parts.index(path), -1),), -1))
        match path:
            case tl.Both(parts) | tl.Either(parts):
                return type(path)(tuple(map(self._part, parts)))
            case tl.X(of) | tl.F(of) | tl.G(of):
                return type(path)(self._part(of))
            case tl.U(a, b) | tl.R(a, b):
                return type(path)(self._part(a), self._part(b))
        raise ValueError("not simplified")

    def meant(self, path: tl.Temporal) -> tl.Temporal:
        """What a formula over the numbers says, with the state formulas in their places."""

        def here(of: Formula) -> tl.Temporal:
            match of:
                case Le(((k, _),), _):
                    return self.parts[k]
                case logic.And(parts):
                    return tl.both(list(map(here, parts)))
                case logic.Or(parts):
                    return tl.either(list(map(here, parts)))
            raise ValueError("not of this skeleton")

        match path:
            case tl.Now(of):
                return here(of)
            case tl.Both(parts):
                return tl.both(list(map(self.meant, parts)))
            case tl.Either(parts):
                return tl.either(list(map(self.meant, parts)))
            case tl.X(of) | tl.F(of) | tl.G(of):
                return tl.simplified(type(path)(self.meant(of)))
            case tl.U(a, b) | tl.R(a, b):
                return tl.simplified(type(path)(self.meant(a), self.meant(b)))
        raise ValueError("not of this skeleton")


Node: TypeAlias = int
"""A state of a product, by number."""


class Product:
    """The paths of a graph that an automaton may accept, breadth first from some states.

    Args:
        model: The graph.
        skeleton: The path formula.
        roots: Where paths begin.
        helped: Whether people and events may come.

    Raises:
        Late: The time is up.
        TooLarge: The automaton is too large.
    """

    def __init__(
        self, model: Model, skeleton: Skeleton, roots: Iterable[int], *, helped: bool = True
    ) -> None:
        self.model = model
        self.skeleton = skeleton
        self.made: Automaton = automaton(skeleton.path)
        self.state: list[int] = []
        """Of each node, the state of the graph."""
        self.ended: list[bool] = []
        self.parent: list[tuple[Node, Edge | None] | None] = []
        self.after: list[list[tuple[Node, int, Edge | None]]] = []
        """What follows: the node, the marks carried, and the firing; ``None`` where a run has ended."""
        self.sinks: list[Node] = []
        self._of: list[int] = []
        self._number: dict[tuple[int, int, bool], Node] = {}
        self._accepting: list[frozenset[Node]] | None = None
        self._explore(roots, helped)

    def _add(self, state: int, q: int, *, ended: bool, parent: tuple[Node, Edge | None] | None) -> Node:
        key = (state, q, ended)
        found = self._number.get(key)
        if found is None:
            found = self._number[key] = len(self.state)
            self.state.append(state)
            self.ended.append(ended)
            self._of.append(q)
            self.parent.append(parent)
            self.after.append([])
            if q == self.made.sink:
                self.sinks.append(found)
        return found

    def _explore(self, roots: Iterable[int], helped: bool) -> None:  # noqa: FBT001
        model, moves = self.model, self.made.moves
        letters = model.letters(self.skeleton.parts)
        ways: dict[tuple[int, tuple[int, ...]], list[tuple[int, int]]] = {}
        if not moves or not moves[0]:
            return
        for root in roots:
            self._add(root, 0, ended=False, parent=None)
        at = 0
        while at < len(self.state):
            if at % _LOOK == 0:
                model.hurry()
                if len(self.state) > _MOST_NODES:
                    raise Late(f"more than {_MOST_NODES:,} states of the graph and the automaton together")
            state, q, ended, out = self.state[at], self._of[at], self.ended[at], self.after[at]
            node = at
            at += 1
            if q == self.made.sink:
                continue
            key = (q, letters[state])
            if key not in ways:
                ways[key] = [
                    (m.to, sum(1 << k for k in m.marks))
                    for m in moves[q]
                    if all(logic.holds(self.made.atoms[a], letters[state]) for a in m.need)
                ]
            here = ways[key]
            if not ended:
                for edge, target in model.out(state, helped=helped):
                    for to, marks in here:
                        out.append((self._add(target, to, ended=False, parent=(node, edge)), marks, edge))
            if ended or model.may_end[state]:
                for to, marks in here:
                    out.append((self._add(state, to, ended=True, parent=(node, None)), marks, None))

    def accepting(self) -> list[frozenset[Node]]:
        """The components in which an accepted run may stay for ever, sinks aside."""
        if self._accepting is None:
            self._accepting = list(self._components())
        return self._accepting

    def _components(self) -> Iterator[frozenset[Node]]:
        every = (1 << self.made.marks) - 1
        work: list[Iterable[Node]] = [range(len(self.state))]
        while work:
            for component in strongly_connected(self.after, work.pop()):
                self.model.hurry()
                inside = frozenset(component)
                marks, moving = 0, False
                happens: dict[int, set[tuple[str, int]]] = {self.state[n]: set() for n in component}
                for n in component:
                    for to, carried, edge in self.after[n]:
                        if to in inside:
                            marks |= carried
                            moving = True
                            if edge is not None:
                                happens[self.state[n]].add((edge.transition, self.state[to]))
                if not moving or marks != every:
                    continue
                unfair = (
                    set()
                    if self.ended[component[0]]
                    else {s for s, did in happens.items() if any(not g & did for g in self.model.groups(s))}
                )
                if unfair:
                    work.append([n for n in component if self.state[n] not in unfair])
                else:
                    yield inside

    def hopeful(self) -> bytes:
        """The states of the graph from which a path may be accepted."""
        back: list[list[Node]] = [[] for _ in self.state]
        for node, out in enumerate(self.after):
            for to, _, _ in out:
                back[to].append(node)
        good = {*self.sinks}.union(*self.accepting())
        work = list(good)
        while work:
            for before in back[work.pop()]:
                if before not in good:
                    good.add(before)
                    work.append(before)
        found = bytearray(self.model.count)
        for node in good:
            if self._of[node] == 0 and not self.ended[node]:
                found[self.state[node]] = 1
        return bytes(found)

    def way(self, node: Node) -> tuple[list[Edge], list[int]]:
        """A shortest way to a node: its firings, and the states of the graph that it passes."""
        edges: list[Edge] = []
        states = [self.state[node]]
        at = self.parent[node]
        while at is not None:
            if at[1] is not None:
                edges.append(at[1])
                states.append(self.state[at[0]])
            at = self.parent[at[0]]
        return edges[::-1], states[::-1]

    def around(self, node: Node, inside: frozenset[Node]) -> tuple[list[Edge], list[int]] | None:
        """Firings from a node of a component back to it that carry every mark, with the states passed."""
        missing = (1 << self.made.marks) - 1
        edges: list[Edge] = []
        states = [self.state[node]]
        at = node
        while missing or at != node or not edges:
            leg = self._leg(at, inside, missing, node)
            if leg is None:
                return None
            for to, marks, edge in leg:
                assert edge is not None
                missing &= ~marks
                edges.append(edge)
                states.append(self.state[to])
                at = to
        return edges, states

    def _leg(
        self, start: Node, inside: frozenset[Node], missing: int, home: Node
    ) -> list[tuple[Node, int, Edge | None]] | None:
        """A shortest way to carry a mark that is missing; where none is, home."""
        came: dict[Node, tuple[Node, tuple[Node, int, Edge | None]]] = {}
        queue = deque([start])
        seen = {start}
        while queue:
            at = queue.popleft()
            for step in self.after[at]:
                to, marks, edge = step
                if to not in inside or edge is None:
                    continue
                if marks & missing if missing else to == home:
                    leg = [step]
                    while at != start:
                        at, before = came[at]
                        leg.append(before)
                    return leg[::-1]
                if to not in seen:
                    seen.add(to)
                    came[to] = (at, step)
                    queue.append(to)
        return None


def strongly_connected(
    after: Sequence[Sequence[tuple[Node, int, Edge | None]]], nodes: Iterable[Node]
) -> Iterator[list[Node]]:
    """The strongly connected components of the subgraph of some nodes (Tarjan, 1972)."""
    inside = set(nodes)
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    waiting: set[Node] = set()
    for root in inside:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        waiting.add(root)
        calls = [(root, iter(after[root]))]
        while calls:
            node, rest = calls[-1]
            for to, _, _ in rest:
                if to not in inside:
                    continue
                if to not in index:
                    index[to] = low[to] = len(index)
                    stack.append(to)
                    waiting.add(to)
                    calls.append((to, iter(after[to])))
                    break
                if to in waiting:
                    low[node] = min(low[node], index[to])
            else:
                calls.pop()
                if calls:
                    low[calls[-1][0]] = min(low[calls[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        waiting.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    yield component
