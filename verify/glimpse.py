"""A glimpse of a state graph that is too large to explore: enough of it to see every transition fire.

First breadth first, but only on from states with a token that was not seen before, and once more from those
in which two tokens lie together that never did: as many states as there are tokens, or pairs of them, at
most (Lipovetzky & Geffner, "Width and serialization of classical planning problems", ECAI 2012). Then, for
each transition that was not seen, a search that goes for it: of the states that are known, on from the one
from which the tokens it needs are nearest, as if tokens were never used up (the additive heuristic; Bonet &
Geffner, "Planning as heuristic search", Artificial Intelligence 129, 2001).

What is seen here is a path of the abstraction, no more: whether some run takes it is for others to find
out. What is not seen may be there all the same.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from typing import Literal

from provenet.nets.net import Net, Transition
from provenet.verify.graph import Edge, Graph, Space, State
from provenet.verify.questions import inputs_of

_BROAD = 3_000
"""Most states from which it goes on in breadth."""

_SOUGHT = 1_000
"""Most states that are looked at for one transition."""

_FAR = 10**9


def glimpse(space: Space, *, deadline: float | None = None) -> Graph:
    """A part of the graph of a space; it is never complete.

    Args:
        space: The space.
        deadline: ``time.monotonic()`` value to stop at.
    """
    found = _Glimpse(space, deadline)
    found.look_around(1)
    found.look_around(2)
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
        self.fired: set[str] = set()
        self._index: dict[State, int] = {}
        self._followed: set[int] = set()
        self._distance = _Distance(space.net)
        for state in space.initial():
            self._add(state, None)
        self.graph.roots = len(self.graph.states)

    def look_around(self, width: Literal[1, 2]) -> None:
        """Explore in breadth, from states with a new token, or with a new pair of them."""
        seen: set[tuple[int, int]] = set()
        queue = list(range(self.graph.roots))
        for at in queue:
            if len(queue) > _BROAD or self._late():
                return
            self._follow(at)
            for edge, target in self.graph.edges[at]:
                # Only with what was just put may there be something that was not there before.
                beside = self.graph.states[target] if width == 2 else ()
                new = {(min(a, b), max(a, b)) for a in edge.puts for b in (*beside, a)} - seen
                if new:
                    seen |= new
                    queue.append(target)

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
            self._follow(at)
            for _, target in self.graph.edges[at]:
                far = _FAR if target in seen else distance.of(self._marked(target), t)
                if far < _FAR:
                    heapq.heappush(heap, (far, target))

    def _follow(self, at: int) -> None:
        """Note all firings of a state."""
        if at in self._followed:
            return
        self._followed.add(at)
        for edge, state in self.space.successors(self.graph.states[at]):
            target = self._index.get(state)
            if target is None:
                target = self._add(state, (at, edge))
            self.graph.edges[at].append((edge, target))
            self.fired.add(edge.transition)

    def _add(self, state: State, parent: tuple[int, Edge] | None) -> int:
        number = self._index[state] = len(self.graph.states)
        self.graph.states.append(state)
        self.graph.parent.append(parent)
        self.graph.edges.append([])
        return number

    def _marked(self, at: int) -> frozenset[str]:
        return frozenset(self.space.place_of[token] for token in self.graph.states[at])

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline


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
