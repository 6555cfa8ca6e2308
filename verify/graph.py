"""The abstract state graph: breadth-first exploration of markings of partial tokens.

Every concrete run of the net is a path of the graph (see ``abstraction``), so what no path does, no run does.
An abstract firing whose guard is known to hold, for whatever was forgotten, is ``certain``; others are only
possible. Paths found here are candidates for traces and are confirmed by ``provenet.verify.trace``.

A state is the sorted tuple of its tokens' numbers; a (place, partial value) pair gets its number when it
first occurs. Firings are cached by the numbers that they take, so that most of the work is integers. Breadth
first: the first path to a state is a shortest one.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, TypeAlias

from provenet.nets.net import Net, Transition
from provenet.nets.schema import UNIT_VALUE, UnitType
from provenet.verify.abstraction import ANY, Masks, Partial, compile_partial

State: TypeAlias = tuple[int, ...]

_FEW = 40

_WIDTH = 100
"""Tokens and firings that there is room for, for each state that may be explored."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An abstract firing, the same for every state that it fires in.

    Attributes:
        transition: Name of the transition.
        takes: Numbers of the tokens it takes, in the order of the arcs.
        reads: Numbers of the tokens it reads.
        puts: Numbers of the tokens it puts, in the order of the arcs.
        certain: Its guard is known to hold.
        outside: Index of the choice of values from outside; firings that differ only in it are the outside's
            choice.
    """

    transition: str
    takes: State
    reads: State
    puts: State
    certain: bool
    outside: int


@dataclass(slots=True)
class Graph:
    """An explored graph.

    Attributes:
        space: What it was explored in.
        states: The states, in the order found; the first ``roots`` are initial.
        roots: How many initial states there are.
        edges: For each state its outgoing edges with their target states' indices.
        parent: For each state the (state, edge) that first reached it; ``None`` for initial ones.
        complete: Whether everything reachable was explored.
        reason: Why not, where it was not.
        cut: What ended the exploration early; empty where nothing did.
    """

    space: Space
    states: list[State] = field(default_factory=list)
    roots: int = 0
    edges: list[list[tuple[Edge, int]]] = field(default_factory=list)
    parent: list[tuple[int, Edge] | None] = field(default_factory=list)
    complete: bool = True
    reason: str = ""
    cut: Literal["", "states", "time"] = ""
    _firings: dict[str, list[tuple[int, Edge]]] | None = None

    def firings(self, transition: str) -> list[tuple[int, Edge]]:
        """The first few states in which a transition fires, with one of its edges there."""
        if self._firings is None:
            self._firings = {}
            for state, edges in enumerate(self.edges):
                for edge, _ in edges:
                    here = self._firings.setdefault(edge.transition, [])
                    if len(here) < _FEW and (not here or here[-1][0] != state):
                        here.append((state, edge))
        return self._firings.get(transition, [])

    def path(self, state: int) -> list[Edge]:
        """A shortest path from an initial state."""
        edges: list[Edge] = []
        at = self.parent[state]
        while at is not None:
            edges.append(at[1])
            at = self.parent[at[0]]
        return edges[::-1]

    def leading_to(self, wanted: Iterable[int], *, avoiding: AbstractSet[str] = frozenset()) -> set[int]:
        """The states from which some path, without the transitions to avoid, reaches one of ``wanted``."""
        back: list[list[int]] = [[] for _ in self.states]
        for state, edges in enumerate(self.edges):
            for edge, target in edges:
                if edge.transition not in avoiding:
                    back[target].append(state)
        seen = set(wanted)
        work = list(seen)
        while work:
            for before in back[work.pop()]:
                if before not in seen:
                    seen.add(before)
                    work.append(before)
        return seen

    def detour(self, path: Sequence[Edge], avoided: frozenset[str]) -> list[Edge] | None:
        """A shortest path to the end of another one (state and last firing) that avoids some transitions."""
        if not path:
            return None
        *before, last = path
        end = self._walk(before)
        if end is None:
            return None
        came: dict[int, tuple[int, Edge] | None] = dict.fromkeys(range(self.roots))
        queue = deque(came)
        while queue:
            at = queue.popleft()
            if at == end:
                edges: list[Edge] = [last]
                back = came[at]
                while back is not None:
                    edges.append(back[1])
                    back = came[back[0]]
                return edges[::-1]
            for edge, target in self.edges[at]:
                if target not in came and edge.transition not in avoided:
                    came[target] = (at, edge)
                    queue.append(target)
        return None

    def _walk(self, path: Sequence[Edge]) -> int | None:
        """The state that a path leads to."""
        for root in range(self.roots):
            at: int | None = root
            for edge in path:
                at = next((t for e, t in self.edges[at] if e is edge), None) if at is not None else None
            if at is not None:
                return at
        return None

    def count(self, state: int, place: str) -> int:
        """How many tokens a place holds in a state."""
        return sum(1 for token in self.states[state] if self.space.place_of[token] == place)


class Space:
    """The abstract firing rule of a net under some masks.

    Args:
        net: The net.
        masks: Which fields to keep.
    """

    def __init__(self, net: Net, masks: Masks) -> None:
        self.net, self.masks = net, masks
        self.place_of: list[str] = []
        self.value_of: list[Any] = []
        self._number: dict[tuple[str, Any], int] = {}
        self._steps = [_Step(self, t) for t in net.transitions]
        self._by_place: dict[str, list[_Step]] = {}
        self._sources: list[_Step] = []
        self.one_way = frozenset(s.transition.name for s in self._steps if len(s.outside) == 1)
        """The transitions that leave the outside no choice that is kept."""
        # Most transitions need one token: what they can do with it does not depend on the rest of the state.
        self._lone: dict[str, list[_Step]] = {}
        self._lone_edges: dict[int, list[tuple[_Step, Edge]]] = {}
        for step in self._steps:
            if step.first is None:
                self._sources.append(step)
            elif len(step.takes) + len(step.reads) == 1:
                self._lone.setdefault(step.first, []).append(step)
            else:
                self._by_place.setdefault(step.first, []).append(step)

    def number(self, place: str, value: Any) -> int:
        """The number of a token."""
        key = (place, value)
        found = self._number.get(key)
        if found is None:
            found = self._number[key] = len(self.place_of)
            self.place_of.append(place)
            self.value_of.append(value)
        return found

    def initial(self) -> list[State]:
        """The initial states: one for each choice of kept fields of the case's input."""
        fixed = [
            self.number(place, self.masks.project(place, token))
            for place, tokens in self.net.initial
            for token in tokens
        ]
        choices = [
            [
                self.number(e.place, self.masks.project(e.place, v))
                for v in self.masks.entry_values(e.place)
                if e.where is None
                or compile_partial(e.where, {"it": self.net.place(e.place).type})({"it": v}) is not False
            ]
            for e in self.net.entries
        ]
        return list(dict.fromkeys(tuple(sorted([*fixed, *chosen])) for chosen in product(*choices)))

    def successors(self, state: State) -> Iterator[tuple[Edge, State]]:
        """All abstract firings in a state, with the states that they lead to."""
        by_place: dict[str, list[int]] = {}
        last = -1
        for token in state:
            by_place.setdefault(self.place_of[token], []).append(token)
            if token != last:  # the state is sorted: alike tokens stand together
                last = token
                for step, edge in self._lone_edges.get(token) or self._alone(token):
                    target = step.apply(self, state, edge)
                    if target is not None:
                        yield edge, target
        for step in self._sources:
            yield from step.fire(self, state, by_place)
        for place in by_place:
            for step in self._by_place.get(place, ()):
                yield from step.fire(self, state, by_place)

    def _alone(self, token: int) -> list[tuple[_Step, Edge]]:
        """What transitions that need one token can do with this one."""
        found = self._lone_edges[token] = [
            (step, edge)
            for step in self._lone.get(self.place_of[token], ())
            for edge in (step.edges(self, (token,), ()) if step.takes else step.edges(self, (), (token,)))
        ]
        return found

    def explore(self, *, most: int = 200_000, deadline: float | None = None) -> Graph:
        """Explore breadth first.

        Args:
            most: Most states.
            deadline: ``time.monotonic()`` value to stop at.
        """
        graph = Graph(self)
        index: dict[State, int] = {}
        room = most * _WIDTH

        def add(state: State, parent: tuple[int, Edge] | None) -> int:
            nonlocal room
            found = index.get(state)
            if found is None:
                found = index[state] = len(graph.states)
                graph.states.append(state)
                graph.parent.append(parent)
                graph.edges.append([])
                queue.append(found)
                room -= len(state)
            return found

        queue: deque[int] = deque()
        for state in self.initial():
            add(state, None)
        graph.roots = len(graph.states)
        firings = 0
        while queue and not graph.cut:
            at = queue.popleft()
            out = graph.edges[at]
            if len(graph.states) > most:
                graph.cut, graph.reason = "states", f"more than {most:,} abstract states"
                break
            for edge, target in self.successors(graph.states[at]):
                number = index.get(target)
                out.append((edge, add(target, (at, edge)) if number is None else number))
                firings += 1
                if firings % 256 == 0 and deadline is not None and time.monotonic() > deadline:
                    graph.cut = "time"
                    graph.reason = f"time is up after {len(graph.states):,} abstract states"
                    break
                if firings > room:  # few states can hold very many tokens
                    graph.cut = "states"
                    graph.reason = f"no room for what {len(graph.states):,} abstract states hold"
                    break
        graph.complete = not graph.cut
        return graph


class _Step:
    """One transition, compiled for partial values.

    It knows no space, so that spaces are freed without the cycle collector.
    """

    def __init__(self, space: Space, t: Transition) -> None:
        net = space.net
        self.transition = t
        scope = net.scope(t)
        bound = {n: o for n, o in scope.items() if n not in {f.var for f in t.fresh}}
        # One slot for each token: (place, variable or None); black tokens of weighted arcs get a slot each.
        self.takes = [(a.place, a.var) for a in t.takes for _ in range(a.weight)]
        self.reads = [(a.place, a.var) for a in t.reads for _ in range(a.weight)]
        self.apart = len({place for place, _ in self.takes + self.reads}) == len(self.takes) + len(self.reads)
        self.first = self.takes[0][0] if self.takes else self.reads[0][0] if self.reads else None
        self.guard: Partial | None = None if t.guard is None else compile_partial(t.guard, bound)
        self.ensures: Partial | None = None if t.ensures is None else compile_partial(t.ensures, scope)
        self.puts = [
            (p.place, None if p.expr is None else compile_partial(p.expr, scope), p.weight) for p in t.puts
        ]
        self.resets = frozenset(t.resets)
        self.limits = {p.place: limit for p in t.puts if (limit := net.place(p.place).capacity) is not None}
        self.plain = not self.resets and not self.limits
        outside = [space.masks.fresh_values(t.name, f.var, f.type) for f in t.fresh]
        self.outside = [
            dict(zip((f.var for f in t.fresh), chosen, strict=True)) for chosen in product(*outside)
        ]
        self._cache: dict[tuple[State, State], tuple[Edge, ...]] = {}

    def fire(
        self, space: Space, state: State, by_place: Mapping[str, list[int]]
    ) -> Iterator[tuple[Edge, State]]:
        for taken, read in self._choices(by_place):
            key = (taken, read)
            edges = self._cache.get(key)
            if edges is None:
                edges = self._cache[key] = tuple(self.edges(space, taken, read))
            for edge in edges:
                target = self.apply(space, state, edge)
                if target is not None:
                    yield edge, target

    def _choices(self, by_place: Mapping[str, list[int]]) -> Iterator[tuple[State, State]]:
        """Distinct choices of tokens for the slots; no token fills two slots."""
        slots = self.takes + self.reads
        if len(slots) == 1:
            place = slots[0][0]
            for token in dict.fromkeys(by_place.get(place, ())):
                yield ((token,), ()) if self.takes else ((), (token,))
            return
        if any(place not in by_place for place, _ in slots):
            return
        n = len(self.takes)
        if self.apart:
            for chosen in product(*(dict.fromkeys(by_place[place]) for place, _ in slots)):
                yield chosen[:n], chosen[n:]
            return
        for chosen in self._chosen(slots, {place: Counter(by_place[place]) for place, _ in slots}):
            yield chosen[:n], chosen[n:]

    def _chosen(
        self, slots: list[tuple[str, str | None]], left: Mapping[str, Counter[int]]
    ) -> Iterator[State]:
        """Choices by number: which of several alike tokens is taken makes no difference."""

        def extend(at: int, used: State) -> Iterator[State]:
            if at == len(slots):
                yield used
                return
            place, var = slots[at]
            # Which tokens fill the slots without a name does not matter: fill those in ascending order only.
            same = [k for k in range(at) if slots[k] == slots[at]]
            least = used[same[-1]] if var is None and same else 0
            here = left[place]
            for token in here:
                if token >= least and here[token] > 0:
                    here[token] -= 1
                    yield from extend(at + 1, (*used, token))
                    here[token] += 1

        return extend(0, ())

    def edges(self, space: Space, taken: State, read: State) -> Iterator[Edge]:
        """The abstract firings with these tokens, one for each choice of outside values."""
        binding = {
            var: space.value_of[token]
            for (_, var), token in zip(self.takes + self.reads, taken + read, strict=True)
            if var is not None
        }
        holds = True if self.guard is None else self.guard(binding)
        if holds is False:
            return
        for number, outside in enumerate(self.outside):
            env = binding | outside
            if self.ensures is not None and self.ensures(env) is False:
                continue
            puts = []
            for place, build, weight in self.puts:
                value = UNIT_VALUE if build is None else build(env)
                puts += [self._keep(space, place, value)] * weight
            yield Edge(self.transition.name, taken, read, tuple(puts), holds is True, number)

    def _keep(self, space: Space, place: str, value: Any) -> int:
        if isinstance(space.net.place(place).type, UnitType):
            return space.number(place, ANY)
        return space.number(place, space.masks.project(place, value))

    def apply(self, space: Space, state: State, edge: Edge) -> State | None:
        """The state after a firing; ``None`` where a capacity forbids it."""
        if self.plain:
            rest = [*state, *edge.puts]
            for token in edge.takes:
                rest.remove(token)
            rest.sort()
            return tuple(rest)
        rest = list(state)
        for token in edge.takes:
            rest.remove(token)
        if self.resets:
            place_of, resets = space.place_of, self.resets
            rest = [token for token in rest if place_of[token] not in resets]
        rest += edge.puts
        if self.limits:
            places = [space.place_of[token] for token in rest]
            if any(places.count(place) > limit for place, limit in self.limits.items()):
                return None
        rest.sort()
        return tuple(rest)
