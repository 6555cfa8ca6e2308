"""A glimpse of a state graph that is too large to explore: enough of it to see every transition fire.

First a part of the graph: in each state the firings of one part of the net, and those of transitions that
were hardly seen. Then, for each transition that was not, a search that goes for it: of the states that
wait, the one from which the tokens it needs are nearest, as if tokens were never used up (the additive
heuristic of planning; Bonet & Geffner, "Planning as heuristic search", Artificial Intelligence 129, 2001).

What is seen here is a path of the abstraction, no more: whether some run takes it is for others to find
out. What is not seen may be there all the same.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping

from provenet.nets.net import Net, Transition
from provenet.verify.graph import Edge, Graph, Space, State
from provenet.verify.questions import inputs_of

_OFTEN_ENOUGH = 3
"""How often a transition is followed wherever it fires."""

_BROAD = 2_000
"""States of the part that is explored broadly."""

_SOUGHT = 2_000
"""States that are looked at for one transition."""

_FAR = 10**9


def glimpse(space: Space, *, deadline: float | None = None) -> Graph:
    """A part of the graph of a space; it is never complete.

    Args:
        space: The space.
        deadline: ``time.monotonic()`` value to stop at.
    """
    found = _Glimpse(space, deadline)
    found.look_around()
    for t in space.net.transitions:
        if t.name not in found.fired:
            found.go_for(t)
    found.graph.complete = False
    found.graph.cut, found.graph.reason = "states", "only a part was looked at"
    return found.graph


class _Glimpse:
    """A graph under construction."""

    def __init__(self, space: Space, deadline: float | None) -> None:
        self.space, self.deadline = space, deadline
        self.graph = Graph(space)
        self.fired: Counter[str] = Counter()
        self._index: dict[State, int] = {}
        self._distance = _Distance(space.net)
        for state in space.initial():
            self._add(state, None)
        self.graph.roots = len(self.graph.states)

    def look_around(self) -> None:
        """Explore broadly, and stop early."""
        queue = list(range(self.graph.roots))
        for at in queue:
            if len(queue) > _BROAD or self._late():
                return
            firings = [*self.space.successors(self.graph.states[at])]
            queue += self._follow(at, self._chosen(firings))

    def go_for(self, t: Transition) -> None:
        """Look for a state in which a transition fires, nearest first."""
        distance, states = self._distance, self.graph.states
        heap = [(far, at) for at in range(len(states)) if (far := distance.of(self._marked(at), t)) < _FAR]
        heapq.heapify(heap)
        seen: set[int] = set()
        while heap and len(seen) < _SOUGHT and t.name not in self.fired and not self._late():
            _, at = heapq.heappop(heap)
            if at in seen:
                continue
            seen.add(at)
            self._follow(at, [*self.space.successors(states[at])])
            for _, target in self.graph.edges[at]:
                far = _FAR if target in seen else distance.of(self._marked(target), t)
                if far < _FAR:
                    heapq.heappush(heap, (far, target))

    def _follow(self, at: int, firings: list[tuple[Edge, State]]) -> list[int]:
        """Note firings of a state; the states that are new."""
        new, known = [], {(id(edge), target) for edge, target in self.graph.edges[at]}
        for edge, state in firings:
            target = self._index.get(state)
            if target is None:
                target = self._add(state, (at, edge))
                new.append(target)
            if (id(edge), target) not in known:
                self.graph.edges[at].append((edge, target))
                self.fired[edge.transition] += 1
        return new

    def _add(self, state: State, parent: tuple[int, Edge] | None) -> int:
        number = self._index[state] = len(self.graph.states)
        self.graph.states.append(state)
        self.graph.parent.append(parent)
        self.graph.edges.append([])
        return number

    def _chosen(self, firings: list[tuple[Edge, State]]) -> list[tuple[Edge, State]]:
        """The firings of one part of the net that lead on, and those of what was hardly seen.

        Firings that take a common token stand in each other's way: they are one part. The others happen
        elsewhere and may wait. Where a part leads to nothing new, the next one goes on.
        """
        chosen: list[tuple[Edge, State]] = []
        for part in sorted(_parts(firings), key=len):
            chosen += part
            if any(target not in self._index for _, target in part):
                break
        rare = (f for f in firings if self.fired[f[0].transition] < _OFTEN_ENOUGH and f not in chosen)
        return [*chosen, *rare]

    def _marked(self, at: int) -> frozenset[str]:
        return frozenset(self.space.place_of[token] for token in self.graph.states[at])

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline


def _parts(firings: list[tuple[Edge, State]]) -> list[list[tuple[Edge, State]]]:
    parts: list[tuple[set[int], list[tuple[Edge, State]]]] = []
    for firing in firings:
        tokens, together, apart = {*firing[0].takes}, [firing], []
        for part in parts:
            if tokens.isdisjoint(part[0]):
                apart.append(part)
            else:
                tokens |= part[0]
                together = part[1] + together
        parts = [*apart, (tokens, together)]
    return [together for _, together in parts]


class _Distance:
    """How many firings it takes to mark what a transition needs, if tokens were never used up."""

    def __init__(self, net: Net) -> None:
        self._needs = {t.name: frozenset(a.place for a in inputs_of(t)) for t in net.transitions}
        self._puts = {t.name: frozenset(p.place for p in t.puts) for t in net.transitions}
        self._using: dict[str, list[str]] = {}
        for name, places in self._needs.items():
            for place in places:
                self._using.setdefault(place, []).append(name)
        self._sources = [name for name, places in self._needs.items() if not places]
        self._known: dict[frozenset[str], Mapping[str, int]] = {}

    def of(self, marked: frozenset[str], t: Transition) -> int:
        """The distance from where some places are marked; very large where there is no way."""
        costs = self._known.get(marked)
        if costs is None:
            costs = self._known[marked] = self._costs(marked)
        return sum(costs.get(place, _FAR) for place in self._needs[t.name])

    def _costs(self, marked: frozenset[str]) -> Mapping[str, int]:
        costs = dict.fromkeys(marked, 0)
        work = [*self._sources, *(name for place in marked for name in self._using.get(place, ()))]
        while work:
            later: list[str] = []
            for name in dict.fromkeys(work):
                needed = [costs.get(place) for place in self._needs[name]]
                if None in needed:
                    continue
                cost = 1 + sum(n for n in needed if n is not None)
                for place in self._puts[name]:
                    if cost < costs.get(place, _FAR):
                        costs[place] = cost
                        later += self._using.get(place, ())
            work = later
        return costs
