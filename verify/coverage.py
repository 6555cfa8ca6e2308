"""Seeing every transition fire.

A transition whose abstract firing is certain, in a state that some run reaches, fires in some run; and the
state that it leads to is reached as well. So certain steps from the initial states cover most of a net for
nothing. For each transition left, a path of the state graph has its data solved for and is replayed; the
states on its way are reached then, and certain steps go on from there. Where an earlier run was seen on that
path, its marking there is at hand, and only the rest of the path is solved for and fired.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from provenet.nets.marking import Marking
from provenet.nets.net import Net
from provenet.nets.quick import dataclass
from provenet.nets.schema import UnitType
from provenet.verify.abstraction import ANY
from provenet.verify.context import Context, Proved, Refuted
from provenet.verify.graph import Edge, Graph, State
from provenet.verify.hope import Certainty, certainty_of
from provenet.verify.questions import Question, inputs_of
from provenet.verify.verdict import Trace


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which transitions fire in some run.

    Attributes:
        runs: How many replayed runs it took, besides the certain steps.
        dead: Transitions that no run fires.
        unknown: Transitions for which neither was found.
    """

    runs: int
    dead: tuple[str, ...]
    unknown: tuple[str, ...]


def fire_everything(ctx: Context, graph: Graph) -> Coverage:
    """Show for every transition that some run fires it, or that none does.

    Args:
        ctx: The net.
        graph: A state graph of it; where it is not complete, what does not fire in it may fire all the same.
    """
    net = ctx.net
    first = {t.name: found[0] for t in net.transitions if (found := graph.firings(t.name))}
    unseen = [t.name for t in net.transitions if t.name not in first]
    dead = _Dead(net, unseen if graph.complete else ())
    reached = _Reached(certainty_of(ctx, graph))
    for root in range(graph.roots):
        # What a case may start with is a condition too; where some value meets it, the state is reached.
        if (
            isinstance(ctx.realizer.realize(graph.space, [], timeout_ms=ctx.remaining_ms()), Trace)
            and graph.roots == 1
        ):
            reached.add(root)
    runs = 0
    unknown = []

    def doubtful(path: Sequence[Edge]) -> list[str]:
        """Some firings on a path that no run is known to fire, the last ones first."""
        names = [e.transition for e in reversed(path) if e.transition not in reached.fired]
        return list(dict.fromkeys(names))[:_MOST_DOUBTFUL]

    def look_for_dead(names: Iterable[str]) -> None:
        """Whether facts rule out some firings."""
        for name in names:
            guard = net.transition(name).guard
            if guard is not None and name not in dead.names and ctx.facts_forbid([Question(name, guard)]):
                dead.add(name)

    def gone_on(before: Marking, rest: Sequence[Edge]) -> bool:
        """Whether the rest of a path was fired from a marking that a run was seen in."""
        markings = ctx.realizer.onward(graph.space, before, rest, timeout_ms=ctx.remaining_ms())
        if markings is None:
            return False
        reached.fired |= {e.transition for e in rest}
        for marking in markings:
            reached.visit(marking)
        return True

    # The deepest first: a run that gets there passes many states on its way.
    for name in sorted(first, key=lambda n: (-first[n][0], n)):
        if name in reached.fired or name in dead.names:
            continue
        if any(gone_on(before, [*rest, first[name][1]]) for before, rest in reached.since(first[name][0])):
            runs += 1
            continue
        path = [*graph.path(first[name][0]), first[name][1]]
        if len(path) > _LONG:
            look_for_dead(doubtful(path))
            if name in dead.names:
                continue
        answer = ctx.fires(name)
        guard = net.transition(name).guard
        if isinstance(answer, Refuted):
            runs += 1
            reached.fired |= {s.transition for s in answer.trace.steps}
            for marking in ctx.realizer.markings(answer.trace):
                reached.visit(marking)
            continue
        look_for_dead(doubtful(path))
        if name in dead.names:
            continue
        if guard is not None and isinstance(ctx.never_fires([Question(name, guard)]), Proved):
            dead.add(name)
        else:
            unknown.append(name)
    if not graph.complete:
        look_for_dead([name for name in unseen if name not in reached.fired])
        unknown += unseen
    left = [n for n in unknown if n not in reached.fired and n not in dead.names]
    return Coverage(runs, tuple(t.name for t in net.transitions if t.name in dead.names), tuple(left))


_LONG = 40
"""Steps from which on a path costs more to solve than facts cost to ask for."""

_MOST_DOUBTFUL = 3

_RESUMED = 3
"""Markings on the way to a firing from which it is tried to go on."""


class _Dead:
    """Transitions that no run fires, closed under what follows: nothing else puts what they alone would."""

    def __init__(self, net: Net, names: Iterable[str]) -> None:
        self.names: set[str] = set()
        self._puts = {t.name: [p.place for p in t.puts] for t in net.transitions}
        self._sources: dict[str, set[str]] = {}
        self._needing: dict[str, list[str]] = {}
        for t in net.transitions:
            for put in t.puts:
                self._sources.setdefault(put.place, set()).add(t.name)
            for arc in inputs_of(t):
                self._needing.setdefault(arc.place, []).append(t.name)
        self._marked = {place for place, tokens in net.initial if tokens} | {e.place for e in net.entries}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """No run fires this one."""
        work = [name]
        while work:
            at = work.pop()
            if at in self.names:
                continue
            self.names.add(at)
            for place in self._puts[at]:
                self._sources[place].discard(at)
                if not self._sources[place] and place not in self._marked:
                    work += self._needing.get(place, ())


class _Reached:
    """The states that runs are known to reach, closed under certain steps."""

    def __init__(self, certainty: Certainty) -> None:
        self._certainty = certainty
        self._index: dict[State, int] = {s: i for i, s in enumerate(certainty.graph.states)}
        self._states: set[int] = set()
        self._seen: dict[int, Marking] = {}
        self._asking = {t.name for t in certainty.ctx.net.transitions if t.fresh}
        self.fired: set[str] = set()
        """The transitions that some run is known to fire."""

    def visit(self, marking: Marking) -> None:
        """A run was seen in a marking."""
        state = self._index.get(abstract(self._certainty.graph, marking))
        if state is not None:
            self._seen.setdefault(state, marking)
            self.add(state)

    def since(self, state: int) -> Iterator[tuple[Marking, list[Edge]]]:
        """Markings that runs were seen in on the way to a state, each with the way from there.

        The last one; then the last ones from which something comes from outside that may be chosen anew. Not
        the whole way: for that, the case's input is better left open.
        """
        parent = self._certainty.graph.parent
        rest: list[Edge] = []
        tries = 0
        while tries < _RESUMED and (came := parent[state]) is not None:
            if state in self._seen and (tries == 0 or (rest and rest[-1].transition in self._asking)):
                tries += 1
                yield self._seen[state], rest[::-1]
            rest.append(came[1])
            state = came[0]

    def add(self, state: int) -> None:
        """A run reaches some marking of a state."""
        work = [state]
        while work:
            here = work.pop()
            if here in self._states:
                continue
            self._states.add(here)
            for edge, targets in self._certainty.moves[here].certain:
                if self._certainty.fits(edge.transition):
                    self.fired.add(edge.transition)
                    # With several, which of them the outside can choose is not known.
                    work += targets if len(targets) == 1 else ()


def abstract(graph: Graph, marking: Marking) -> State:
    """The state of a graph that stands for a marking."""
    space, net = graph.space, graph.space.net
    return tuple(
        sorted(
            space.number(place, ANY if _is_black(net, place) else space.masks.project(place, token))
            for place, tokens in marking.items()
            for token in tokens
        )
    )


def _is_black(net: Net, place: str) -> bool:
    return isinstance(net.place(place).type, UnitType)
