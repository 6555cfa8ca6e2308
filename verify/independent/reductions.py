"""Structural reductions, gone through again: a goal can be reached in the smaller net if it can in the net.

A certificate names the steps in order: a rule, and the numbers of the places or transitions that it removes.
The side condition of each is looked at in the net as it is by then, and the step is done; only the one
direction that a proof needs is argued for, below each rule. (Berthelot, 1987; Murata, 1989.)
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provenet.verify.independent.counting import Goal, Plain
from provenet.verify.independent.errors import NotHere, Refused


def smaller(net: Plain, goal: Goal, steps: Any, *, deadline: float) -> tuple[Plain, Goal]:
    """The net and the goal after the steps of a certificate.

    Raises:
        Refused: A step's side condition does not hold.
        NotHere: A step goes by a rule that is not known here, or time is up.
    """
    work = _Work(
        dict(enumerate(net.initial)),
        {t: dict(arcs) for t, arcs in enumerate(net.pre)},
        {t: dict(arcs) for t, arcs in enumerate(net.post)},
        _renamed(goal, lambda p: (p, 0)),
        len(net.transitions),
    )
    for rule, gone in steps:
        by = RULES.get(rule)
        if by is None:
            raise NotHere(f"the reduction {str(rule)[:60]!r} is only known to the engines")
        if time.monotonic() > deadline:
            raise NotHere("the time is up")
        work.ask_less()
        for what in by(work, gone):
            raise Refused(f"the reduction {rule!r} does not hold of number {str(what)[:20]}")
    return work.result(net)


@dataclass(slots=True)
class _Work:
    """A net and a goal while they get smaller; places and transitions keep their numbers."""

    tokens: dict[int, int]
    pre: dict[int, dict[int, int]]
    post: dict[int, dict[int, int]]
    goal: Goal
    numbered: int

    def effect(self, t: int) -> dict[int, int]:
        change = dict(self.post[t])
        for p, n in self.pre[t].items():
            change[p] = change.get(p, 0) - n
        return {p: n for p, n in change.items() if n}

    def effects(self) -> dict[int, dict[int, int]]:
        return {t: self.effect(t) for t in self.pre}

    def read(self) -> set[int]:
        """The places that the goal speaks about."""
        return {p for terms in _atoms(self.goal) for p, _ in terms}

    def drop_transition(self, t: int) -> None:
        del self.pre[t], self.post[t]

    def drop_place(self, p: int) -> None:
        del self.tokens[p]
        for arcs in (*self.pre.values(), *self.post.values()):
            arcs.pop(p, None)

    def ask_less(self) -> None:
        """Who needs no more than there is at first of a place that never loses a token, need not ask."""
        effects = self.effects()
        losing = {p for change in effects.values() for p, n in change.items() if n < 0}
        for t, pre in self.pre.items():
            for p in [p for p, n in pre.items() if p not in losing and n <= self.tokens[p]]:
                del pre[p]
                self.post[t].pop(p, None)
                if p in effects[t]:
                    self.post[t][p] = effects[t][p]

    def result(self, net: Plain) -> tuple[Plain, Goal]:
        number = {p: i for i, p in enumerate(self.tokens)}
        small = Plain(
            tuple(net.places[p] for p in number),
            tuple(net.transitions[t] if t < len(net.transitions) else f"sequence {t}" for t in self.pre),
            tuple({number[p]: n for p, n in arcs.items()} for arcs in self.pre.values()),
            tuple({number[p]: n for p, n in arcs.items()} for arcs in self.post.values()),
            tuple(self.tokens.values()),
            (),
        )
        return small, _renamed(self.goal, lambda p: (number[p], 0))


def _atoms(goal: Goal) -> Iterator[tuple[tuple[int, int], ...]]:
    if goal[0] == "<=":
        yield goal[1]
    else:
        for part in goal[1]:
            yield from _atoms(part)


def _renamed(goal: Goal, by: Callable[[int], tuple[int | None, int]]) -> Goal:
    """A goal with another place's tokens and a number, or a number alone, for the tokens of each place.

    What no marking, or every marking, meets is folded away: it reads nothing any more.
    """
    if goal[0] != "<=":
        over = _FALSE if goal[0] == "and" else _TRUE
        parts = [part for part in (_renamed(part, by) for part in goal[1]) if part != (goal[0], ())]
        return over if over in parts else (goal[0], tuple(parts))
    terms: dict[int, int] = defaultdict(int)
    bound = goal[2]
    for p, factor in goal[1]:
        place, more = by(p)
        bound -= factor * more
        if place is not None:
            terms[place] += factor
    kept = tuple((p, n) for p, n in terms.items() if n)
    if all(n > 0 for _, n in kept) and bound < 0:
        return _FALSE
    return _TRUE if all(n < 0 for _, n in kept) and bound >= 0 else ("<=", kept, bound)


_TRUE: Goal = ("and", ())
_FALSE: Goal = ("or", ())


# the rules: each removes what it is given, and yields a number of which its side condition does not hold


def _never_marked(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """What needs a token that nothing can put before it never fires."""
    marked = {p for p, n in work.tokens.items() if n}
    size = -1
    while len(marked) != size:
        size = len(marked)
        for t, pre in work.pre.items():
            if marked >= pre.keys():
                marked |= work.post[t].keys()
    for t in gone:
        if marked >= work.pre[t].keys():
            yield t
        work.drop_transition(t)


def _too_few(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """What needs more than there is at first of a place that never gains a token never fires."""
    growing = {p for change in work.effects().values() for p, n in change.items() if n > 0}
    for t in gone:
        if not any(n > work.tokens[p] for p, n in work.pre[t].items() if p not in growing):
            yield t
        work.drop_transition(t)


def _constant(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """A place that nothing changes and that has enough for all holds what it holds at first."""
    changed = {p for change in work.effects().values() for p in change}
    for p in gone:
        if p in changed or any(pre.get(p, 0) > work.tokens[p] for pre in work.pre.values()):
            yield p
        work.goal = _renamed(work.goal, lambda q, p=p: (None, work.tokens[p]) if q == p else (q, 0))  # type: ignore[misc]
        work.drop_place(p)


def _useless(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """Firings that move nothing to where the goal, or a useful firing, wants it can be left out of a run."""
    moving: dict[tuple[int, int], list[int]] = defaultdict(list)
    for t, change in work.effects().items():
        for p, n in change.items():
            moving[p, 1 if n > 0 else -1].append(t)
    todo = [(p, -1 if n > 0 else 1) for terms in _atoms(work.goal) for p, n in terms]
    wanted, useful = set(todo), set[int]()
    while todo:
        for t in moving[todo.pop()]:
            if t not in useful:
                useful.add(t)
                new = {(p, 1) for p in work.pre[t]} - wanted
                wanted |= new
                todo.extend(new)
    for t in gone:
        if t in useful:
            yield t
        work.drop_transition(t)


def _unread(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """Nobody asks how many tokens there are."""
    asked = work.read().union(*(pre.keys() for pre in work.pre.values()))
    for p in gone:
        if p in asked:
            yield p
        work.drop_place(p)


def _parallel(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """Of two places that all firings change alike, one never is what lacks, and differs by a constant."""
    columns: dict[int, dict[int, int]] = {p: {} for p in work.tokens}
    for t, change in work.effects().items():
        for p, n in change.items():
            columns[p][t] = n
    alike: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
    for p, column in columns.items():
        alike[frozenset(column.items())].append(p)
    for p in gone:
        group = alike[frozenset(columns[p].items())]
        other = next((q for q in group if q != p and _never_lacks(work, p, q)), None)
        if other is None:
            yield p
            return
        more = work.tokens[p] - work.tokens[other]
        work.goal = _renamed(work.goal, lambda r, p=p, q=other, m=more: (q, m) if r == p else (r, 0))  # type: ignore[misc]
        work.drop_place(p)
        group.remove(p)


def _never_lacks(work: _Work, p: int, q: int) -> bool:
    more = work.tokens[p] - work.tokens[q]
    return all(pre[p] <= pre.get(q, 0) + more for pre in work.pre.values() if p in pre)


def _dominated(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """What changes nothing, or what another one changes that needs no more, can be left out or replaced."""
    alike: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
    effects = {t: frozenset(change.items()) for t, change in work.effects().items()}
    for t, effect in effects.items():
        alike[effect].append(t)
    for t in gone:
        others = [u for u in alike[effects[t]] if u != t]
        if effects[t] and not any(_needs_no_more(work.pre[u], work.pre[t]) for u in others):
            yield t
        alike[effects[t]].remove(t)
        work.drop_transition(t)


def _needs_no_more(one: Mapping[int, int], other: Mapping[int, int]) -> bool:
    return all(other.get(p, 0) >= n for p, n in one.items())


def _taken_at_once(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """A token that others can take at any time is taken at once.

    Whoever takes it needs nothing else, so every taking can be moved to just after the putting; what is left
    over is taken by one of them that changes nothing that the goal reads.
    """
    read = work.read()
    for p in gone:
        givers, takers = _around(work, p)
        harmless = any(not read & work.post[t].keys() for t in takers)
        if p in read or not harmless or any(work.pre[t] != {p: 1} for t in takers):
            yield p
        if any(work.post[t][p] != 1 for t in givers):
            yield p
        _agglomerate(work, p, givers, takers)


def _put_when_taken(work: _Work, gone: Iterable[int]) -> Iterator[int]:
    """A token is put only when it is taken.

    Whoever puts it puts nothing else, so every putting can be moved to just before the taking; what nobody
    takes is not put at all, which leaves more tokens in places that the goal does not read.
    """
    read = work.read()
    for p in gone:
        givers, takers = _around(work, p)
        if p in read or any(work.post[t] != {p: 1} or read & work.pre[t].keys() for t in givers):
            yield p
        if any(work.pre[t][p] != 1 for t in takers):
            yield p
        _agglomerate(work, p, givers, takers)


def _around(work: _Work, p: int) -> tuple[list[int], list[int]]:
    """Who puts into a place and who takes from it: others, and it is empty at first."""
    givers = sorted(t for t, post in work.post.items() if p in post)
    takers = sorted(t for t, pre in work.pre.items() if p in pre)
    if work.tokens[p] or set(givers) & set(takers):
        raise Refused(f"the place with number {p} is not empty at first, or something takes and puts it")
    return givers, takers


def _agglomerate(work: _Work, p: int, givers: Iterable[int], takers: list[int]) -> None:
    for first in givers:
        for then in takers:
            pre, post = dict(work.pre[first]), dict(work.post[then])
            for arcs, more in ((pre, work.pre[then]), (post, work.post[first])):
                for q, n in more.items():
                    if q != p:
                        arcs[q] = arcs.get(q, 0) + n
            work.pre[work.numbered], work.post[work.numbered] = pre, post
            work.numbered += 1
    for t in (*givers, *takers):
        work.drop_transition(t)
    work.drop_place(p)


RULES: Mapping[str, Callable[[_Work, Iterable[int]], Iterator[int]]] = {
    "never marked": _never_marked,
    "too few for ever": _too_few,
    "constant place": _constant,
    "useless for the goal": _useless,
    "unread place": _unread,
    "parallel place": _parallel,
    "dominated transition": _dominated,
    "post-agglomeration": _taken_at_once,
    "pre-agglomeration": _put_when_taken,
}
