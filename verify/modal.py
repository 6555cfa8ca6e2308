"""CTL* on the state graph of a net with data, in three values.

An abstract state stands for many markings, so a formula gets two sets of states: those all of whose markings
satisfy it, and those of which some marking may (Bruns & Godefroid, "Model checking partial state spaces",
CAV 1999; on modal transition systems, Larsen & Thomsen, LICS 1988). Every run is a path of the graph: so what
no path does, no run does. What some run surely does rests on certain steps (``hope``), and on this: from each
marking some run goes on, so what all paths do, some run does.

**Runs.** A marking that lets nothing fire ends a run; an abstract state may end one unless some firing is
certain there. Among ``all`` maximal runs nothing more is asked. A ``fair`` run is one as ``responds`` and
``eventually`` have it: it is over in a final marking; people's choices and events may stay away, so it may
also end where nothing else can fire; and what is possible again and again by itself, with the same values of
the fields that the graph keeps, happens again and again. In the graph: a path that comes to a state for ever
takes each firing that is certain there for ever (a Streett condition; the components that allow it are found
by taking states away, Emerson & Lei, "Modalities for model checking", 1987).

A path formula becomes an automaton (``provenet.verify.plain.engines.buchi``), whose product with the graph is
searched for an accepting component. A run that ended stays in its last marking, for LTL; for ``EX`` and
``AX`` of CTL it has no next one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from provenet.nets.net import Net
from provenet.nets.requirements import Runs
from provenet.verify.context import Context
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import certainty_of, from_outside, is_final_state, unconditional
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import Formula, Le
from provenet.verify.plain.net import PTNet
from provenet.verify.product import Late, Product, Skeleton

_OFTEN = 32
"""How many states there may be between two looks at the clock, with solvers."""


def vocabulary(net: Net) -> PTNet:
    """What formulas about a net with data are about: its places, and whether a transition can fire.

    That is told by a place of its own, which holds a token where the transition can fire.
    """
    places = [p.name for p in net.places]
    flags: list[str] = []
    for t in net.transitions:
        name = f"fireable({t.name})"
        while name in places or name in flags:
            name += " "
        flags.append(name)
    return PTNet(
        places=(*places, *flags),
        transitions=tuple(t.name for t in net.transitions),
        pre=tuple(((len(places) + i, 1),) for i in range(len(flags))),
        post=tuple(() for _ in flags),
        initial=(0,) * (len(places) + len(flags)),
        name=net.name,
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which states satisfy a formula, a byte for each.

    Attributes:
        surely: All their markings do.
        maybe: No marking of the others does.
    """

    surely: bytes
    maybe: bytes


def is_next(path: tl.Temporal) -> TypeGuard[tl.X]:
    """Whether a path formula is about the next marking alone, which CTL reads in its own way."""
    return isinstance(path, tl.X) and tl.is_state(path.of)


class Model:
    """A state graph, as temporal formulas see it.

    Args:
        ctx: The net.
        graph: Its state graph. Of one that was cut short, nothing is sure but what single states show.
        words: What formulas are about; see ``vocabulary``.
        runs: Which runs count.
        linear: Read ``A X p`` as LTL does: a run that ended stays.
    """

    def __init__(self, ctx: Context, graph: Graph, words: PTNet, runs: Runs, *, linear: bool = False) -> None:
        self.ctx, self.graph, self.words, self.runs, self.linear = ctx, graph, words, runs, linear
        self.count = len(graph.states)
        net = ctx.net
        self._certainty = certainty_of(ctx, graph)
        self._places = len(net.places)
        self.alone = frozenset(t.name for t in net.transitions if not from_outside(t))
        self.everyone = frozenset(t.name for t in net.transitions)
        self.usable = self.alone if runs == "fair" else self.everyone
        """What happens without a person or an event, where those may stay away."""
        self._anywhere = [True] * self.count
        self._marks: list[Counter[str]] | None = None
        self._known: dict[tl.Temporal, Bounds] = {}
        self._nows: dict[Formula, Bounds] = {}
        self._maybe: dict[tuple[tl.Temporal, bool], bytes] = {}
        self._surely: dict[tl.Temporal, bytes] = {}
        self._groups: dict[int, list[frozenset[tuple[str, int]]]] = {}
        self._letters: dict[tuple[tl.Temporal, ...], list[tuple[int, ...]]] = {}
        dead = logic.deadlock(words)
        self._dead, self._alive = dead, logic.negation(dead)
        over = runs == "fair"
        self.over = bytes(over and is_final_state(graph, s) for s in self._states())
        """Where the case is over."""
        self.may_end = bytes(bool(self.over[s]) or not self._can(s, self.usable) for s in self._states())
        """Where a run may end."""

    # the graph

    def out(self, state: int, *, helped: bool) -> Iterator[tuple[Edge, int]]:
        """How runs go on from a state: with a person's or an event's help, or without."""
        if not self.over[state]:
            for edge, target in self.graph.edges[state]:
                if helped or edge.transition in self.usable:
                    yield edge, target

    def groups(self, state: int) -> list[frozenset[tuple[str, int]]]:
        """Of each of these sets of firings, with their targets, one happens again and again.

        On a fair run that comes to the state again and again.
        """
        found = self._groups.get(state)
        if found is None:
            found = self._groups[state] = list(self._fairly(state)) if self.runs == "fair" else []
        return found

    def _fairly(self, state: int) -> Iterator[frozenset[tuple[str, int]]]:
        if self.over[state]:
            return
        certainty, net = self._certainty, self.ctx.net
        moves = certainty.moves[state]
        for edge, targets in moves.certain:
            if edge.transition in self.alone and certainty.fits(edge.transition):
                firings = [(edge.transition, target) for target in targets]
                # Which answers of the outside meet a condition is not known; the others all come.
                if unconditional(net, net.transition(edge.transition)):
                    yield from (frozenset({f}) for f in firings)
                else:
                    yield frozenset(firings)
        for cluster in moves.clusters:
            mine = [f for f in cluster if f[0].transition in self.alone and certainty.fits(f[0].transition)]
            if mine and certainty.covers(tuple([edge for edge, _ in mine])):
                yield frozenset((edge.transition, target) for edge, targets in mine for target in targets)

    def _can(self, state: int, usable: frozenset[str]) -> bool:
        return self._certainty.can(state, self._anywhere, usable)

    # state formulas

    def bounds(self, formula: tl.Temporal) -> Bounds:
        """Where a simplified state formula holds.

        Raises:
            Late: The time is up.
            TooLarge: A path formula is too large.
        """
        found = self._known.get(formula)
        if found is None:
            found = self._known[formula] = self._worked_out(formula)
        return found

    def _worked_out(self, formula: tl.Temporal) -> Bounds:
        match formula:
            case tl.Now(of):
                return self._now(of)
            case tl.Both(parts):
                return _all([self.bounds(part) for part in parts])
            case tl.Either(parts):
                return _any([self.bounds(part) for part in parts])
            case tl.E(path):
                return self._some(path)
            case tl.A(path):
                opposite = self._some(tl.simplified(path, negated=True))
                return Bounds(_not(opposite.maybe), _not(opposite.surely))
        raise ValueError("not simplified")

    def _some(self, path: tl.Temporal) -> Bounds:
        """On some run."""
        if not is_next(path) or self.linear:
            return Bounds(self.surely_some(path), self.maybe_some(path))
        if not self.graph.complete:
            return Bounds(bytes(self.count), bytes([1]) * self.count)
        inner = self.bounds(path.of)
        good = [bool(k) for k in inner.surely]
        return Bounds(
            bytes(not o and self._certainty.can(s, good, self.everyone) for s, o in enumerate(self.over)),
            bytes(any(inner.maybe[to] for _, to in self.out(s, helped=True)) for s in self._states()),
        )

    def _now(self, of: Formula) -> Bounds:
        found = self._nows.get(of)
        if found is None:
            found = self._nows[of] = self._here(of)
        return found

    def _here(self, of: Formula) -> Bounds:
        if of == self._dead and of != logic.TRUE:
            may = bytes(not self._can(s, self.everyone) for s in self._states())
            if not self.graph.complete:
                return Bounds(bytes(self.count), may)
            return Bounds(bytes(not out for out in self.graph.edges), may)
        if of == self._alive and of != logic.FALSE:
            opposite = self._now(self._dead)
            return Bounds(_not(opposite.maybe), _not(opposite.surely))
        match of:
            case Le(terms, bound):
                least, most = [0] * self.count, [0] * self.count
                for index, factor in terms:
                    low, high = self._tokens(index)
                    if factor < 0:
                        low, high = high, low
                    least = [n + factor * k for n, k in zip(least, low, strict=True)]
                    most = [n + factor * k for n, k in zip(most, high, strict=True)]
                return Bounds(bytes(n <= bound for n in most), bytes(n <= bound for n in least))
            case logic.And(parts):
                return _all([self._now(part) for part in parts], self.count)
            case logic.Or(parts):
                return _any([self._now(part) for part in parts], self.count)

    def _tokens(self, index: int) -> tuple[Sequence[int], Sequence[int]]:
        """How many tokens a place holds, at least and at most, state by state."""
        if index < self._places:
            if self._marks is None:
                place_of = self.graph.space.place_of
                self._marks = [Counter(place_of[token] for token in state) for state in self.graph.states]
            name = self.words.places[index]
            here = [marks[name] for marks in self._marks]
            return here, here
        name = self.words.transitions[index - self._places]
        surely = bytes(self._can(s, frozenset({name})) for s in self._states())
        if not self.graph.complete:
            return surely, bytes([1]) * self.count
        return surely, bytes(any(e.transition == name for e, _ in out) for out in self.graph.edges)

    # path formulas

    def maybe_some(self, path: tl.Temporal, *, helped: bool = True) -> bytes:
        """The states from which some path satisfies a simplified path formula, as LTL reads it."""
        key = (path, helped)
        if key not in self._maybe:
            if not self.graph.complete:
                self._maybe[key] = bytes([1]) * self.count
            else:
                product = Product(self, Skeleton.of(path), range(self.count), helped=helped)
                self._maybe[key] = product.hopeful()
        return self._maybe[key]

    def surely_some(self, path: tl.Temporal) -> bytes:
        """States from all of whose markings some run satisfies a simplified path formula."""
        if path not in self._surely:
            self._surely[path] = self._some_run(path)
        return self._surely[path]

    def all_alone(self, path: tl.Temporal) -> bytes:
        """States from which all runs that nobody helps satisfy a simplified path formula; there is one."""
        if path == tl.TRULY:
            return bytes([1]) * self.count
        return _not(self.maybe_some(tl.simplified(path, negated=True), helped=self.runs == "all"))

    def _some_run(self, path: tl.Temporal) -> bytes:
        if not self.graph.complete:
            return bytes(self.count)
        found = bytearray(self.all_alone(path))
        match path:
            case tl.F(of) if tl.is_state(of):
                return self._led(found, bytes([1]) * self.count)
            case tl.U(before, goal) if tl.is_state(before) and tl.is_state(goal):
                return self._led(found, self.bounds(before).surely)
            case tl.G(hold) | tl.R(_, hold) if tl.is_state(hold) and (
                isinstance(path, tl.G) or tl.is_state(path.release)
            ):
                held = self.bounds(hold).surely
                found = bytearray(self._led(found, held))
                return self._stays(found, held) if self.runs == "all" else bytes(found)
        return bytes(found)

    def _led(self, good: bytearray, through: bytes) -> bytes:
        """The states from which certain steps lead to good ones, through some."""
        wanted = [bool(k) for k in good]
        work = [s for s, k in enumerate(wanted) if k]
        while work:
            self.hurry()
            for before, _ in self._certainty.back[work.pop()]:
                if (
                    not wanted[before]
                    and through[before]
                    and not self.over[before]
                    and self._certainty.can(before, wanted, self.everyone)
                ):
                    wanted[before] = True
                    work.append(before)
        return bytes(wanted)

    def _stays(self, good: bytearray, held: bytes) -> bytes:
        """The states in which some run can surely stay for ever, or until a good one."""
        kept = [bool(k) or bool(g) for k, g in zip(held, good, strict=True)]
        work = [s for s, k in enumerate(kept) if k]
        while work:
            self.hurry()
            state = work.pop()
            if kept[state] and not good[state] and not self._certainty.can(state, kept, self.everyone):
                kept[state] = False
                work += [before for before, _ in self._certainty.back[state]]
        return bytes(kept)

    def letters(self, parts: Sequence[tl.Temporal], *, surely: bool = False) -> list[tuple[int, ...]]:
        """For each state, which of some state formulas may hold there, or surely do."""
        key = (tl.Now(logic.TRUE if surely else logic.FALSE), *parts)
        if key not in self._letters:
            columns = [self.bounds(p).surely if surely else self.bounds(p).maybe for p in parts]
            self._letters[key] = list(zip(*columns, strict=True)) if columns else [()] * self.count
        return self._letters[key]

    def _states(self) -> Iterator[int]:
        """All states, as long as there is time."""
        for state in range(self.count):
            if state % _OFTEN == 0:
                self.hurry()
            yield state

    def hurry(self) -> None:
        """Stop where the time is up.

        Raises:
            Late: It is.
        """
        if time.monotonic() > self.ctx.deadline:
            raise Late("the time was over before the state graph was gone through")


def _not(some: bytes) -> bytes:
    return bytes(1 - k for k in some)


def _all(parts: Sequence[Bounds], count: int = 0) -> Bounds:
    if not parts:
        return Bounds(bytes([1]) * count, bytes([1]) * count)
    return Bounds(
        bytes(map(min, *(p.surely for p in parts))) if len(parts) > 1 else parts[0].surely,
        bytes(map(min, *(p.maybe for p in parts))) if len(parts) > 1 else parts[0].maybe,
    )


def _any(parts: Sequence[Bounds], count: int = 0) -> Bounds:
    if not parts:
        return Bounds(bytes(count), bytes(count))
    return Bounds(
        bytes(map(max, *(p.surely for p in parts))) if len(parts) > 1 else parts[0].surely,
        bytes(map(max, *(p.maybe for p in parts))) if len(parts) > 1 else parts[0].maybe,
    )
