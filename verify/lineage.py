"""Refuting by slicing: follow the token that breaks a promise back; then let the rest of the net catch up.

Spacer is slow to refute (10 s for 50 chained contracts); a broken promise is usually the story of one token.
So a question is first traced backwards along single tokens: which transition put it, from which token, under
which guard. Each step adds its condition to the solver, and stories that cannot be are cut off at once. A
story that reaches the case's input is then embedded in the state graph: the shortest path on which these
firings happen in this order to this token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush

import z3

from provenet.nets.net import Net, Put, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, Type
from provenet.verify.abstraction import Path, sources
from provenet.verify.graph import Edge, Graph
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, Ghost, Question, carrier, inputs_of
from provenet.verify.smt import Encoding, SymValue

_MOST_VISITS = 3
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Story:
    """How one token came to be taken.

    Attributes:
        start: The place where the token lay when the case started.
        steps: The firings that passed it on: place it was taken from, transition, place it was put into;
            ``""`` for the last, asked one.
    """

    start: str
    steps: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class _Partial:
    """A story known from some place on to its end."""

    place: str
    token: SymValue
    steps: tuple[tuple[str, str, str], ...]
    conditions: tuple[z3.BoolRef, ...]
    matters: frozenset[Path]


class Storyteller:
    """Tells stories of tokens that break a promise, shortest first.

    Args:
        net: The net.
        encoding: How types become sorts.
        timeout_ms: Limit for each question to the solver.
    """

    def __init__(self, net: Net, encoding: Encoding, *, timeout_ms: int = 2_000) -> None:
        self.net, self.encoding = net, encoding
        self._timeout = timeout_ms
        self._producers: dict[str, list[tuple[Transition, Put]]] = {}
        for t in net.transitions:
            for put in t.puts:
                self._producers.setdefault(put.place, []).append((t, put))
        self._entries = {e.place: e for e in net.entries}
        self._initial = dict(net.initial)
        self._count = 0
        self._cut = False
        self.exhausted = False
        """Whether the last telling ended because there was nothing more to tell."""

    def stories(self, question: Question, ghost: Ghost | None, *, most: int = 600) -> Iterator[Story]:
        """Stories after which a question's transition can fire, its condition true, as one token tells them.

        Args:
            question: The question.
            ghost: The ghost that its condition speaks about.
            most: Most steps to try.
        """
        enc = self.encoding
        t = self.net.transition(question.transition)
        was_set = z3.Bool("story.set")
        was_value = None if ghost is None else enc.fresh("story.value", ghost.type)
        self.exhausted = self._cut = False
        first = self._asked(t, question, ghost, was_set, was_value)
        if first is None:
            self.exhausted = carrier(t, None) is not None
            return
        distance = self._distances()
        queue = [(distance.get(first.place, _LONGEST), 0, first)]
        ticket = 0
        while queue and most > 0:
            _, _, here = heappop(queue)
            start = self._starts(here, was_set)
            if start is not None:
                yield start
            if len(here.steps) >= _LONGEST:
                self._cut = True
                continue
            for producer, put in self._producers.get(here.place, ()):
                most -= 1
                before = self._back(here, producer, put, ghost, was_set, was_value)
                if before is not None and before.place in distance:
                    ticket += 1
                    heappush(queue, (len(before.steps) + distance[before.place], ticket, before))
        self.exhausted = not queue and not self._cut

    def _distances(self) -> dict[str, int]:
        """Fewest firings from the start of a case to each place, by single tokens.

        What is left to tell, at least (A*).
        """
        passes: dict[str, set[str]] = {}
        for place, producers in self._producers.items():
            for t, _ in producers:
                for arc in inputs_of(t):
                    passes.setdefault(arc.place, set()).add(place)
        out = dict.fromkeys([*self._entries, *self._initial], 0)
        queue = deque(out)
        while queue:
            at = queue.popleft()
            for place in sorted(passes.get(at, ())):
                if place not in out:
                    out[place] = out[at] + 1
                    queue.append(place)
        return out

    def _asked(
        self,
        t: Transition,
        question: Question,
        ghost: Ghost | None,
        was_set: z3.BoolRef,
        was_value: SymValue | None,
    ) -> _Partial | None:
        var = carrier(t, None)
        env, scope, conditions = self._firing(t, requires=question.assumes_requires)
        if ghost is not None and was_value is not None:
            env = {**env, GHOST_SET: was_set, GHOST_VALUE: was_value}
            scope = {**scope, GHOST_SET: BOOL, GHOST_VALUE: ghost.type}
        conditions.append(self.encoding.encode_bool(question.condition, env, scope))
        if var is None or not self._possible(conditions):
            return None
        place = next(a.place for a in inputs_of(t) if a.var == var)
        matters = frozenset(path for v, path in sources(question.condition, ()) if v == var)
        return _Partial(place, env[var], ((place, t.name, ""),), tuple(conditions), matters)

    def _back(
        self,
        here: _Partial,
        t: Transition,
        put: Put,
        ghost: Ghost | None,
        was_set: z3.BoolRef,
        was_value: SymValue | None,
    ) -> _Partial | None:
        """The story with one more firing before it; ``None`` where that cannot be."""
        if sum(name == t.name for _, name, _ in here.steps) >= _MOST_VISITS:
            self._cut = True
            return None
        enc = self.encoding
        env, scope, conditions = self._firing(t)
        of = self.net.place(put.place).type
        if put.expr is not None:
            conditions.append(enc.equal(enc.encode(put.expr, env, scope, like=of), here.token))
        if ghost is not None and was_value is not None and t.name in ghost.sets:
            value = enc.encode(ghost.sets[t.name], env, scope)
            conditions += [was_set, enc.equal(value, was_value)]
        conditions = [*here.conditions, *conditions]
        if not self._possible(conditions):
            return None
        var, matters = self._source(t, put, here.matters)
        place = next((a.place for a in inputs_of(t) if var is None or a.var == var), None)
        if place is None:
            return None
        token: SymValue = env[var] if var is not None else ()
        return _Partial(place, token, ((place, t.name, put.place), *here.steps), tuple(conditions), matters)

    def _source(
        self, t: Transition, put: Put, matters: frozenset[Path]
    ) -> tuple[str | None, frozenset[Path]]:
        """The input token that most of what matters of a put token comes from, and what matters of it."""
        wanted: dict[str, set[Path]] = {}
        inputs = {a.var for a in inputs_of(t)}
        if put.expr is not None:
            for path in matters:
                for var, source in sources(put.expr, path):
                    if var in inputs:
                        wanted.setdefault(var, set()).add(source)
        if not wanted:
            return carrier(t, put), frozenset()
        var = max(wanted, key=lambda v: (len(wanted[v]), v == carrier(t, put)))
        return var, frozenset(wanted[var])

    def _starts(self, here: _Partial, was_set: z3.BoolRef) -> Story | None:
        """The story, where its token may have been there from the start."""
        enc = self.encoding
        of = self.net.place(here.place).type
        setting = any(z3.eq(c, was_set) for c in here.conditions)
        unset = [] if setting else [z3.Not(was_set)]
        entry = self._entries.get(here.place)
        if entry is not None:
            conditions = [enc.inhabits(here.token, of)]
            if entry.where is not None:
                conditions.append(enc.encode_bool(entry.where, {"it": here.token}, {"it": of}))
            if self._possible([*here.conditions, *conditions, *unset]):
                return Story(here.place, here.steps)
        for token in self._initial.get(here.place, ()):
            same = enc.equal(here.token, enc.constant(token, of))
            if self._possible([*here.conditions, same, *unset]):
                return Story(here.place, here.steps)
        return None

    def _firing(
        self, t: Transition, *, requires: bool = True
    ) -> tuple[dict[str, SymValue], Mapping[str, Type], list[z3.BoolRef]]:
        enc, scope = self.encoding, self.net.scope(t)
        self._count += 1
        env = {v: enc.fresh(f"s{self._count}.{v}", of) for v, of in scope.items()}
        conditions = [enc.inhabits(env[f.var], f.type) for f in t.fresh]
        wanted = (t.guard, t.ensures, t.requires if requires else None)
        conditions += [enc.encode_bool(e, env, scope) for e in wanted if e is not None]
        return env, scope, conditions

    def _possible(self, conditions: Sequence[z3.BoolRef]) -> bool:
        return bool(self.encoding.check(conditions, self._timeout) != z3.unsat)


def embed(graph: Graph, story: Story) -> list[Edge] | None:
    """A shortest path of the graph on which a story happens; ``None`` where there is none."""
    net = graph.space.net
    steps = story.steps
    came: dict[tuple[int, int], tuple[tuple[int, int], Edge] | None] = {}
    queue: deque[tuple[int, int]] = deque()
    for root in range(graph.roots):
        came[root, 0] = None
        queue.append((root, 0))
    while queue:
        here = queue.popleft()
        state, done = here
        if done == len(steps):
            path = []
            back = came[here]
            while back is not None:
                path.append(back[1])
                back = came[back[0]]
            return path[::-1]
        place, wanted, _ = steps[done]
        for edge, target in graph.edges[state]:
            if edge.transition == wanted:
                key = (target, done + 1)
            elif _touches(net.transition(edge.transition), place):
                continue
            else:
                key = (target, done)
            if key not in came:
                came[key] = (here, edge)
                queue.append(key)
    return None


def _touches(t: Transition, place: str) -> bool:
    return place in t.resets or any(a.place == place for a in t.takes)
