"""Structural reductions for one goal: a smaller net that reaches the goal if and only if the net does.

Berthelot, "Transformations and decompositions of nets", 1987; Murata, "Petri nets: properties, analysis and
applications", 1989; Bønneland, Dyhr, Jensen, Johannsen & Srba, "Stubborn versus structural reductions for
Petri nets", JLAMP 2019; Thierry-Mieg, "Structural reductions revisited", PETRI NETS 2020.

Every rule preserves whether a marking of the goal is reachable, nothing else: neither deadlocks that the goal
does not spell out nor the order of firings. Every transition of the smaller net stands for a sequence of
firings of the net, so that ``lift`` turns a run to the smaller goal into one to the goal. The rules are
applied until none does any more, each in time linear in the net (parallel places and dominated transitions:
quadratic in those that look alike). Agglomeration is refused where it makes more transitions than it
removes, unless few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from provenet.verify.plain.logic import Formula, Le, at_most, atoms_of, mapped, places_of
from provenet.verify.plain.net import PTNet

Applied = tuple[tuple[str, tuple[int, ...]], ...]
"""The rules in the order in which they were applied, each with the numbers of what it removed."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """A smaller net and goal.

    Attributes:
        net: The smaller net.
        goal: The goal on its places.
        rules: What was done: each rule with the places or transitions that it removed. Transitions made on
            the way are numbered on after the net's own.
    """

    net: PTNet
    goal: Formula
    rules: Applied
    _kept: tuple[int, ...]
    _made: Mapping[int, tuple[int, ...]]

    def lift(self, firings: Sequence[int]) -> tuple[int, ...]:
        """The firings of the net that firings of the smaller net stand for."""
        out: list[int] = []
        stack = [self._kept[t] for t in reversed(firings)]
        while stack:
            t = stack.pop()
            if t in self._made:
                stack.extend(reversed(self._made[t]))
            else:
                out.append(t)
        return tuple(out)


def reduced(net: PTNet, goal: Formula, *, rules: Sequence[str] | None = None, growth: int = 0) -> Reduction:
    """Make a net smaller for a goal.

    Args:
        net: The net.
        goal: What is to be reached.
        rules: Names of the rules to use; all of ``RULES`` by default.
        growth: An agglomeration may make so many transitions even if it removes fewer.
    """
    work = _Work(net, goal, growth)
    chosen = [RULES[name] for name in (RULES if rules is None else rules)]
    changed = True
    while changed:
        # Every rule in every round: what one removes is what the next one needs gone.
        changed = sum(rule(work) for rule in chosen) > 0
    return work.result()


class _Work:
    """A net and a goal while they get smaller; places and transitions keep their numbers."""

    def __init__(self, net: PTNet, goal: Formula, growth: int) -> None:
        self._net = net
        self.growth = growth
        self.tokens = dict(enumerate(net.initial))
        self.pre = {t: dict(arcs) for t, arcs in enumerate(net.pre)}
        self.post = {t: dict(arcs) for t, arcs in enumerate(net.post)}
        self.takers: dict[int, set[int]] = {p: set() for p in self.tokens}
        self.givers: dict[int, set[int]] = {p: set() for p in self.tokens}
        for t in self.pre:
            for p in self.pre[t]:
                self.takers[p].add(t)
            for p in self.post[t]:
                self.givers[p].add(t)
        self.made: dict[int, tuple[int, ...]] = {}
        self.applied: list[tuple[str, tuple[int, ...]]] = []
        self.goal = goal
        self.read = places_of(goal)

    def effect(self, t: int) -> dict[int, int]:
        change = dict(self.post[t])
        for p, w in self.pre[t].items():
            change[p] = change.get(p, 0) - w
        return {p: d for p, d in change.items() if d}

    def restate(self, goal: Formula) -> None:
        self.goal = goal
        self.read = places_of(goal)

    def drop_transition(self, t: int) -> None:
        for p in self.pre.pop(t):
            self.takers[p].discard(t)
        for p in self.post.pop(t):
            self.givers[p].discard(t)

    def drop_place(self, p: int) -> None:
        """Forget a place that neither the goal nor, any longer, an enabling depends on."""
        for t in self.takers.pop(p):
            del self.pre[t][p]
        for t in self.givers.pop(p):
            del self.post[t][p]
        del self.tokens[p]

    def add_sequence(self, first: int, then: int, p: int) -> None:
        """A transition that fires ``first`` and with its token in ``p`` at once ``then``."""
        pre, post = dict(self.pre[first]), dict(self.post[then])
        for q, w in self.pre[then].items():
            if q != p:
                pre[q] = pre.get(q, 0) + w
        for q, w in self.post[first].items():
            if q != p:
                post[q] = post.get(q, 0) + w
        t = len(self._net.transitions) + len(self.made)
        self.made[t] = (first, then)
        self.pre[t], self.post[t] = pre, post
        for q in pre:
            self.takers[q].add(t)
        for q in post:
            self.givers[q].add(t)

    def note(self, rule: str, what: Sequence[int]) -> bool:
        if what:
            self.applied.append((rule, tuple(what)))
        return bool(what)

    def result(self) -> Reduction:
        places = [p for p in self.tokens if self.takers[p] or self.givers[p] or p in self.read]
        number = {p: i for i, p in enumerate(places)}
        kept = tuple(self.pre)
        net = PTNet(
            places=tuple(self._net.places[p] for p in places),
            transitions=tuple(self._name(t) for t in kept),
            pre=tuple(tuple(sorted((number[p], w) for p, w in self.pre[t].items())) for t in kept),
            post=tuple(tuple(sorted((number[p], w) for p, w in self.post[t].items())) for t in kept),
            initial=tuple(self.tokens[p] for p in places),
            name=self._net.name,
        )
        goal = mapped(self.goal, lambda a: at_most({number[p]: c for p, c in a.terms}, a.bound))
        return Reduction(net, goal, tuple(self.applied), kept, dict(self.made))

    def _name(self, t: int) -> str:
        return self._net.transitions[t] if t not in self.made else f"sequence {t}"


def _never_marked(work: _Work) -> bool:
    """Transitions that need a place of a siphon that is empty at first are dead; its places stay empty."""
    marked = {p for p, n in work.tokens.items() if n}
    waiting = {t: sum(p not in marked for p in pre) for t, pre in work.pre.items()}
    able = [t for t, n in waiting.items() if not n]
    while able:
        for p in work.post[able.pop()]:
            if p not in marked:
                marked.add(p)
                for t in work.takers[p]:
                    waiting[t] -= 1
                    if not waiting[t]:
                        able.append(t)
    dead = [t for t, n in waiting.items() if n]
    for t in dead:
        work.drop_transition(t)
    return work.note("never marked", dead)


def _constant(work: _Work) -> bool:
    """Places that never lose a token: who needs no more than there is at first need not ask.

    Who needs more of a place that never changes is dead. What the goal says of such a place is a constant.
    """
    dead: list[int] = []
    gone: list[int] = []
    for p in list(work.tokens):
        changes = {t: work.post[t].get(p, 0) - work.pre[t].get(p, 0) for t in work.takers[p] | work.givers[p]}
        if any(d < 0 for d in changes.values()):
            continue
        for t in list(work.takers[p]):
            if work.pre[t][p] <= work.tokens[p]:
                del work.pre[t][p]
                work.takers[p].discard(t)
                work.givers[p].discard(t)
                work.post[t].pop(p, None)
                if changes[t]:
                    work.post[t][p] = changes[t]
                    work.givers[p].add(t)
        if any(changes.values()):
            continue
        for t in list(work.takers[p]):
            dead.append(t)
            work.drop_transition(t)
        value = work.tokens[p]
        if p in work.read:
            work.restate(mapped(work.goal, lambda a, p=p, v=value: _substituted(a, p, None, v)))  # type: ignore[misc]
        work.drop_place(p)
        gone.append(p)
    work.note("too few for ever", dead)
    return work.note("constant place", gone)


def _cone(work: _Work) -> bool:
    """Drop transitions that bring no marking nearer to the goal, and places that nobody asks for.

    A place is wanted fuller if the goal, or a useful transition, asks for tokens in it, and emptier if the
    goal asks for that. Useful is what fills a place wanted fuller or empties one wanted emptier. A run
    without its useless firings is still a run, and the goal still holds at its end.
    """
    fuller: set[int] = set()
    emptier: set[int] = set()
    todo: list[tuple[int, int]] = []
    useful: set[int] = set()

    def want(p: int, sign: int) -> None:
        wanted = fuller if sign > 0 else emptier
        if p not in wanted:
            wanted.add(p)
            todo.append((p, sign))

    for atom in atoms_of(work.goal):
        for p, c in atom.terms:
            want(p, -c)
    while todo:
        p, sign = todo.pop()
        for t in work.givers[p] if sign > 0 else work.takers[p]:
            if t not in useful and sign * (work.post[t].get(p, 0) - work.pre[t].get(p, 0)) > 0:
                useful.add(t)
                for q in work.pre[t]:
                    want(q, 1)
    useless = [t for t in work.pre if t not in useful]
    for t in useless:
        work.drop_transition(t)
    unread = [p for p in work.tokens if not work.takers[p] and p not in work.read]
    for p in unread:
        work.drop_place(p)
    found = work.note("useless for the goal", useless)
    return work.note("unread place", unread) or found


def _parallel(work: _Work) -> bool:
    """Of two places that every transition changes alike, one that never is what lacks is redundant.

    Their difference stays what it is at first, so a goal about one is a goal about the other.
    """
    alike: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
    effects = {t: work.effect(t) for t in work.pre}
    for p in work.tokens:
        column = ((t, effects[t].get(p, 0)) for t in work.takers[p] | work.givers[p])
        alike[frozenset((t, d) for t, d in column if d)].append(p)
    gone: list[int] = []
    for group in alike.values():
        left = list(group)
        for p in group:
            for q in left:
                more = work.tokens[p] - work.tokens[q] if q != p else -1
                if q != p and all(work.pre[t][p] <= work.pre[t].get(q, 0) + more for t in work.takers[p]):
                    if p in work.read:
                        work.restate(
                            mapped(work.goal, lambda a, p=p, q=q, m=more: _substituted(a, p, q, m))  # type: ignore[misc]
                        )
                    work.drop_place(p)
                    left.remove(p)
                    gone.append(p)
                    break
    return work.note("parallel place", gone)


def _dominated(work: _Work) -> bool:
    """A transition that changes nothing, or what another one changes that needs no more, is superfluous."""
    alike: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
    for t in work.pre:
        alike[frozenset(work.effect(t).items())].append(t)
    gone: list[int] = []
    for change, group in alike.items():
        left: list[int] = []
        for t in sorted(group, key=lambda t: sum(work.pre[t].values())):
            needs = work.pre[t]
            if not change or any(
                all(needs.get(p, 0) >= w for p, w in work.pre[other].items()) for other in left
            ):
                work.drop_transition(t)
                gone.append(t)
            else:
                left.append(t)
    return work.note("dominated transition", gone)


def _post_agglomeration(work: _Work) -> bool:
    """A token that others can take at any time is taken at once.

    The place is empty at first and the goal does not read it; whoever takes from it needs one token of it and
    nothing else, and one of the takers changes nothing that the goal reads. Taking earlier only fills other
    places earlier, and tokens left over are taken by that one.
    """
    gone: list[int] = []
    for p in list(work.tokens):
        givers, takers = work.givers[p], work.takers[p]
        if work.tokens[p] or p in work.read or not givers or not takers or givers & takers:
            continue
        if any(work.pre[t] != {p: 1} for t in takers) or any(work.post[t][p] != 1 for t in givers):
            continue
        if all(work.read & work.post[t].keys() for t in takers):
            continue
        if _agglomerate(work, p):
            gone.append(p)
    return work.note("post-agglomeration", gone)


def _pre_agglomeration(work: _Work) -> bool:
    """A token is put only when it is taken.

    The place is empty at first and the goal does not read it; whoever puts into it puts one token there and
    nothing elsewhere, and takes nothing that the goal reads; whoever takes from it takes one token. Putting
    later only leaves other places filled for longer, and what nobody takes need not be put.
    """
    gone: list[int] = []
    for p in list(work.tokens):
        givers, takers = work.givers[p], work.takers[p]
        if work.tokens[p] or p in work.read or not givers or not takers or givers & takers:
            continue
        if any(work.post[t] != {p: 1} for t in givers) or any(work.pre[t][p] != 1 for t in takers):
            continue
        if any(work.read & work.pre[t].keys() for t in givers):
            continue
        if _agglomerate(work, p):
            gone.append(p)
    return work.note("pre-agglomeration", gone)


def _agglomerate(work: _Work, p: int) -> bool:
    givers, takers = sorted(work.givers[p]), sorted(work.takers[p])
    if len(givers) * len(takers) > max(work.growth, len(givers) + len(takers)):
        return False
    for first in givers:
        for then in takers:
            work.add_sequence(first, then, p)
    for t in (*givers, *takers):
        work.drop_transition(t)
    work.drop_place(p)
    return True


def _substituted(atom: Le, p: int, by: int | None, value: int) -> Formula:
    """An atom with ``tokens(by) + value``, or ``value``, for ``tokens(p)``."""
    terms = dict(atom.terms)
    factor = terms.pop(p, 0)
    if by is not None:
        terms[by] = terms.get(by, 0) + factor
    return at_most(terms, atom.bound - factor * value)


RULES: Mapping[str, Callable[[_Work], bool]] = {
    "never marked": _never_marked,
    "constant": _constant,
    "cone": _cone,
    "parallel": _parallel,
    "dominated": _dominated,
    "post-agglomeration": _post_agglomeration,
    "pre-agglomeration": _pre_agglomeration,
}
"""The rules by name, in the order in which a round applies them."""
