"""CTL* by plain definitions, over the markings of ``explicit``.

A path formula is decided by guessing, for each temporal operator, whether it holds next (the closure of
Lichtenstein & Pnueli, POPL 1985), not by the automata of ``provenet.verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, TypeAlias

from provenet.nets.net import Choice, Signal
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import Formula, Le
from tests.verify.explicit import Explicit

Guess: TypeAlias = tuple[bool, ...]
Node: TypeAlias = tuple[int, bool, Guess]  # marking, whether the run has ended there, what holds next


class Judge:
    """Which markings of a net satisfy formulas.

    Args:
        seen: Its markings, all of them.
        runs: ``fair`` or ``all``.
        linear: Read ``A X p`` as LTL does.
    """

    def __init__(self, seen: Explicit, runs: str, *, linear: bool) -> None:
        assert seen.complete
        self.seen, self.fair, self.linear = seen, runs == "fair", linear
        self.names = [p.name for p in seen.net.places]
        self.moves: list[list[int]] = []  # where runs go on to
        self.must: list[set[int]] = []  # what a fair run does for ever where it comes for ever
        self.ends: list[bool] = []
        for at, steps in enumerate(seen.steps):
            over = self.fair and seen.is_final(at)
            alone = {s.target for s in steps if self._alone(s.transition)}
            self.moves.append([] if over else sorted({s.target for s in steps}))
            self.must.append(alone if self.fair and not over else set())
            self.ends.append(over or not (alone if self.fair else steps))

    def holds(self, formula: tl.Temporal) -> bool:
        """Whether a formula holds wherever a case starts."""
        good = self.satisfying(formula)
        return all(r in good for r in self.seen.roots)

    def satisfying(self, formula: tl.Temporal) -> set[int]:
        """The markings that satisfy a state formula."""
        every = set(range(len(self.seen.markings)))
        match formula:
            case tl.Now(of):
                return {at for at in every if self._now(of, at)}
            case tl.Not(of):
                return every - self.satisfying(of)
            case tl.Both(parts):
                return every.intersection(*map(self.satisfying, parts))
            case tl.Either(parts):
                return set().union(*map(self.satisfying, parts))
            case tl.E(path):
                return self._some(path)
            case tl.A(path):
                return every - self._some(tl.Not(path))
        raise AssertionError(formula)

    def _now(self, of: Formula, at: int) -> bool:
        match of:
            case Le(terms, bound):
                return sum(c * self._tokens(i, at) for i, c in terms) <= bound
            case logic.And(parts):
                return all(self._now(p, at) for p in parts)
            case logic.Or(parts):
                return any(self._now(p, at) for p in parts)

    def _tokens(self, index: int, at: int) -> int:
        if index < len(self.names):
            return self.seen.markings[at].count(self.names[index])
        name = self.seen.net.transitions[index - len(self.names)].name
        return int(any(s.transition == name for s in self.seen.steps[at]))

    def _alone(self, name: str) -> bool:
        return not isinstance(self.seen.net.transition(name).trigger, Choice | Signal)

    # paths

    def _some(self, path: tl.Temporal) -> set[int]:
        """The markings from which some run satisfies a path formula."""
        if (
            not self.linear
        ):  # X of CTL is the one right after a quantifier, and E goes over | as A goes over &
            match path:
                case tl.Either(parts):
                    return set().union(*map(self._some, parts))
                case tl.Not(tl.Both(parts)):
                    return set().union(*(self._some(tl.Not(p)) for p in parts))
                case tl.Not(tl.Not(of)):
                    return self._some(of)
        negated = isinstance(path, tl.Not)
        inner = path.of if isinstance(path, tl.Not) else path
        if isinstance(inner, tl.X) and tl.is_state(inner.of) and not self.linear:
            good = self.satisfying(inner.of)
            return {at for at, to in enumerate(self.moves) if any((t in good) != negated for t in to)}
        states: dict[tl.Temporal, set[int]] = {}
        operators: list[tl.Temporal] = []
        _parts(path, states, operators, self.satisfying)

        def value(f: tl.Temporal, at: int, guess: Guess) -> bool:
            if f in states:
                return at in states[f]
            match f:
                case tl.Not(of):
                    return not value(of, at, guess)
                case tl.Both(parts):
                    return all(value(p, at, guess) for p in parts)
                case tl.Either(parts):
                    return any(value(p, at, guess) for p in parts)
            then = guess[operators.index(f)]
            match f:
                case tl.X():
                    return then
                case tl.F(of):
                    return value(of, at, guess) or then
                case tl.G(of):
                    return value(of, at, guess) and then
                case tl.U(a, b):
                    return value(b, at, guess) or (value(a, at, guess) and then)
                case tl.R(a, b):
                    return value(b, at, guess) and (value(a, at, guess) or then)
            raise AssertionError(f)

        def promised(f: tl.Temporal, at: int, guess: Guess) -> bool:
            """What the operator says of the next marking."""
            return value(f.of if isinstance(f, tl.X) else f, at, guess)

        def kept(f: tl.Temporal, at: int, guess: Guess) -> bool:
            """Whether a promise is not put off here."""
            match f:
                case tl.F(of) | tl.U(_, of):
                    return value(of, at, guess) or not value(f, at, guess)
                case tl.G(of) | tl.R(_, of):
                    return not value(of, at, guess) or value(f, at, guess)
            return True

        guesses = list(product((False, True), repeat=len(operators)))
        after: dict[Node, list[Node]] = {}
        by_promise: dict[int, dict[Guess, list[Guess]]] = {}
        for at in range(len(self.moves)):
            here = by_promise[at] = {}
            for g in guesses:
                here.setdefault(tuple(promised(f, at, g) for f in operators), []).append(g)
        for at, to in enumerate(self.moves):
            for g in guesses:
                after[at, False, g] = [(t, False, h) for t in to for h in by_promise[t].get(g, ())]
                after[at, True, g] = []
                if self.ends[at]:
                    stays = [(at, True, h) for h in by_promise[at].get(g, ())]
                    after[at, False, g] += stays
                    after[at, True, g] = stays

        def accepts(component: set[Node]) -> bool:
            return all(any(kept(f, n[0], n[2]) for n in component) for f in operators)

        lasting = set(self._lasting(set(after), after, accepts))
        before: dict[Node, list[Node]] = {}
        for n, to_ in after.items():
            for t_ in to_:
                before.setdefault(t_, []).append(n)
        work = list(lasting)
        while work:
            for n in before.get(work.pop(), ()):
                if n not in lasting:
                    lasting.add(n)
                    work.append(n)
        return {n[0] for n in lasting if not n[1] and value(path, n[0], n[2])}

    def _lasting(
        self, nodes: set[Node], after: Mapping[Node, list[Node]], accepts: Callable[[set[Node]], bool]
    ) -> Iterator[Node]:
        """Nodes of components in which an accepted fair run can stay."""
        for component in _components(nodes, after):
            inner = [(n, t) for n in component for t in after[n] if t in component]
            if not inner or not accepts(component):
                continue
            done: dict[int, set[int]] = {}
            for n, t in inner:
                if not t[1]:
                    done.setdefault(n[0], set()).add(t[0])
            wrong = {n for n in component if not n[1] and self.must[n[0]] - done.get(n[0], set())}
            if wrong:
                yield from self._lasting(component - wrong, after, accepts)
            else:
                yield from component


def _parts(
    path: tl.Temporal,
    states: dict[tl.Temporal, set[int]],
    operators: list[tl.Temporal],
    satisfying: Callable[[tl.Temporal], set[int]],
) -> None:
    if tl.is_state(path):
        states[path] = satisfying(path)
        return
    match path:
        case tl.Not(of):
            _parts(of, states, operators, satisfying)
            return
        case tl.Both(parts) | tl.Either(parts):
            for p in parts:
                _parts(p, states, operators, satisfying)
            return
        case tl.X(of) | tl.F(of) | tl.G(of):
            _parts(of, states, operators, satisfying)
        case tl.U(a, b) | tl.R(a, b):
            _parts(a, states, operators, satisfying)
            _parts(b, states, operators, satisfying)
    if path not in operators:
        operators.append(path)


def _components(nodes: Iterable[Any], after: Mapping[Any, list[Any]]) -> Iterator[set[Any]]:
    """Strongly connected components by going forwards and backwards from a node."""
    back: dict[Any, list[Any]] = {}
    for n, to in after.items():
        for t in to:
            back.setdefault(t, []).append(n)
    work = [set(nodes)]
    while work:
        left = work.pop()
        if not left:
            continue
        start = next(iter(left))
        ahead = _reach(start, after, left)
        behind = _reach(start, back, left)
        yield ahead & behind
        work += [ahead - behind, behind - ahead, left - ahead - behind]


def _reach(start: Any, after: Mapping[Any, list[Any]], inside: set[Any]) -> set[Any]:
    seen, work = {start}, [start]
    while work:
        for n in after.get(work.pop(), ()):
            if n in inside and n not in seen:
                seen.add(n)
                work.append(n)
    return seen
