"""Nets as numbers: counting arguments, the state equation, and going through all markings again.

Plain Python on dictionaries and tuples, slow and short. What it refuses or proves is told as it goes: a
function returns the obligations that are left for a solver, or raises.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from provenet.nets.net import Net
from provenet.nets.schema import UnitType
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.smtlib import Obligation

Marking: TypeAlias = tuple[int, ...]
Goal: TypeAlias = tuple[Any, ...]
"""``("<=", ((place, factor), ...), bound)``, ``("and", parts)`` or ``("or", parts)``."""

MOST_MARKINGS = 300_000


# weights


def weights_of(data: Any, known: Iterable[str], what: str) -> dict[str, int]:
    """Whole numbers by name, from a certificate.

    Raises:
        Refused: They are none, or name what the net does not have.
    """
    names = set(known)
    if not isinstance(data, Mapping) or not all(type(n) is int for n in data.values()):
        raise Refused(f"the certificate's {what} are no whole numbers by name")
    strange = sorted(str(name) for name in data if name not in names)
    if strange:
        raise Refused(f"the certificate's {what} name {strange[0]!r}, which the net does not have")
    return dict(data)


def counted(net: Net, data: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int], dict[str, int], int]:
    """A counting argument, gone through: weights, what a firing may add, what it must remove, the start.

    The weighted number of tokens starts at the last; each firing changes it by at most plus - minus.

    Raises:
        Refused: Some firing changes it otherwise.
    """
    weights = weights_of(data.get("weights"), (p.name for p in net.places), "weights")
    names = [t.name for t in net.transitions]
    plus, minus = (weights_of(data.get(key), names, "firings") for key in ("plus", "minus"))
    if any(w <= 0 for w in weights.values()) or any(n < 0 for n in (*plus.values(), *minus.values())):
        raise Refused("a weight of the counting argument is not positive")
    for t in net.transitions:
        rise = sum(weights.get(p.place, 0) * p.weight for p in t.puts)
        rise -= sum(weights.get(a.place, 0) * a.weight for a in t.takes)
        if rise > plus.get(t.name, 0) - minus.get(t.name, 0):
            raise Refused(f"the counting argument does not hold: {t.name!r} changes the sum by {rise}")
    start = sum(weights.get(place, 0) * len(tokens) for place, tokens in net.initial)
    start += sum(weights.get(e.place, 0) for e in net.entries)
    return weights, plus, minus, start


# plain nets


@dataclass(frozen=True, slots=True)
class Plain:
    """A place/transition net; by number, what each transition needs and what it leaves, read arcs in both."""

    places: tuple[str, ...]
    transitions: tuple[str, ...]
    pre: tuple[dict[int, int], ...]
    post: tuple[dict[int, int], ...]
    initial: Marking
    finals: tuple[Marking, ...]

    def after(self, marking: Marking, t: int) -> Marking | None:
        """The marking after a firing; ``None`` where it is not enabled."""
        if any(marking[p] < n for p, n in self.pre[t].items()):
            return None
        out = list(marking)
        for p, n in self.pre[t].items():
            out[p] -= n
        for p, n in self.post[t].items():
            out[p] += n
        return tuple(out)

    def effect(self, t: int) -> dict[int, int]:
        """What a firing changes."""
        change = Counter(self.post[t])
        change.subtract(self.pre[t])
        return {p: n for p, n in change.items() if n}


def plain(net: Net) -> Plain:
    """The numbers of a net that looks at no data.

    Raises:
        NotHere: It does, or has what a place/transition net does not have.
    """
    if any(not isinstance(p.type, UnitType) or p.capacity is not None for p in net.places) or net.resting:
        raise NotHere("the net holds data, a capacity or resting places: its markings are no plain numbers")
    number = {p.name: i for i, p in enumerate(net.places)}
    pre, post = [], []
    for t in net.transitions:
        if t.resets or any(c is not None for c in (t.guard, t.ensures, t.requires)):
            raise NotHere(f"{t.name!r} has a condition or resets places: no plain transition")
        needs: Counter[int] = Counter()
        leaves: Counter[int] = Counter()
        for a in t.takes:
            needs[number[a.place]] += a.weight
        for p in t.puts:
            leaves[number[p.place]] += p.weight
        for r in t.reads:
            needs[number[r.place]] += r.weight
            leaves[number[r.place]] += r.weight
        pre.append(dict(needs))
        post.append(dict(leaves))
    initial = Counter({place: len(tokens) for place, tokens in net.initial})
    initial.update(e.place for e in net.entries)
    finals = []
    for final in net.finals:
        counts = [0] * len(number)
        for place, n in final:
            counts[number[place]] += n
        finals.append(tuple(counts))
    return Plain(
        tuple(number),
        tuple(t.name for t in net.transitions),
        tuple(pre),
        tuple(post),
        tuple(initial[p] for p in number),
        tuple(finals),
    )


def holds(goal: Goal, marking: Sequence[int]) -> bool:
    """Whether a marking meets a goal."""
    if goal[0] == "<=":
        return bool(sum(c * marking[p] for p, c in goal[1]) <= goal[2])
    return (all if goal[0] == "and" else any)(holds(part, marking) for part in goal[1])


def enabled(net: Plain, t: int) -> Goal:
    """A transition is enabled."""
    return ("and", tuple(("<=", ((p, -1),), -n) for p, n in net.pre[t].items()))


def deadlock(net: Plain) -> Goal:
    """Nothing is enabled, and the marking is no declared final one."""
    stuck = [("or", tuple(("<=", ((p, 1),), n - 1) for p, n in pre.items())) for pre in net.pre]
    for final in net.finals:
        ways = [("<=", ((p, 1),), n - 1) for p, n in enumerate(final)]
        ways += [("<=", ((p, -1),), -n - 1) for p, n in enumerate(final)]
        stuck.append(("or", tuple(ways)))
    return ("and", tuple(stuck))


def crowded(net: Plain, k: int) -> Goal:
    """Some place holds more than ``k`` tokens."""
    return ("or", tuple(("<=", ((p, -1),), -k - 1) for p in range(len(net.places))))


def completed(net: Plain) -> Goal:
    """A run has completed: in a final marking; without one, where only ends of the net are marked."""
    if net.finals:
        return ("or", tuple(_exactly(enumerate(final)) for final in net.finals))
    taken = {p for pre in net.pre for p in pre}
    ends = sorted({p for post in net.post for p in post} - taken)
    others = [(p, 0) for p in range(len(net.places)) if p not in ends]
    return ("and", (("<=", tuple((p, -1) for p in ends), -1), _exactly(others)))


def _exactly(counts: Iterable[tuple[int, int]]) -> Goal:
    each = [(("<=", ((p, 1),), n), ("<=", ((p, -1),), -n)) for p, n in counts]
    return ("and", tuple(part for both in each for part in both))


# the state equation


def equation(net: Plain, goal: Goal, data: Mapping[str, Any]) -> Iterator[Obligation]:
    """What is left to show, once the traps and sets of a certificate have been gone through.

    For some numbers of firings, none negative, the marking is the initial one plus their effects; a trap that
    is marked at first is marked; what takes from a set that is empty at first fires only if something else
    puts into it. (Murata, 1989; Esparza & Melzer, 2000.) The goal solves none of these equations.

    Raises:
        Refused: A set of the certificate is not what it is said to be.
    """
    if data.get("numbers") not in ("real", "whole"):
        raise Refused("the certificate does not say which numbers of firings it excludes")
    sort = "Real" if data["numbers"] == "real" else "Int"
    traps = [_places(net, names) for names in _lists(data.get("traps"))]
    empty = [_places(net, names) for names in _lists(data.get("empty"))]
    dead = _numbers(net.transitions, data.get("dead"))
    constraints: list[str] = []
    for trap in traps:
        if not any(net.initial[p] for p in trap):
            raise Refused("a trap of the certificate is not marked at first")
        for t, (pre, post) in enumerate(zip(net.pre, net.post, strict=True)):
            if trap & pre.keys() and not trap & post.keys():
                raise Refused(f"no trap: {net.transitions[t]!r} takes from it and puts nothing back")
        constraints.append(_atleast([f"m{p}" for p in sorted(trap)]))
    for places in empty:
        if any(net.initial[p] for p in places):
            raise Refused("a set of the certificate that is to be empty at first is marked")
        takers = {t for t, pre in enumerate(net.pre) if places & pre.keys()}
        feeders = {t for t, post in enumerate(net.post) if places & post.keys()} - takers
        alone = " ".join(f"(= x{t} 0)" for t in sorted(takers))
        fed = _atleast([f"x{t}" for t in sorted(feeders)]) if feeders else "false"
        constraints.append(f"(or (and true {alone}) {fed})")
    for done, t in enumerate(dead):
        text = _system(net, sort, constraints, dead[:done], enabled(net, t))
        yield Obligation(f"state equation: {net.transitions[t]!r} never fires", text)
    yield Obligation("state equation: the property", _system(net, sort, constraints, dead, goal))


def _system(net: Plain, sort: str, constraints: Sequence[str], dead: Sequence[int], goal: Goal) -> str:
    lines = [f"(set-logic {'QF_LRA' if sort == 'Real' else 'QF_LIA'})"]
    terms: list[list[str]] = [[] for _ in net.places]
    for t in range(len(net.transitions)):
        lines.append(f"(declare-const x{t} {sort})")
        for p, n in sorted(net.effect(t).items()):
            terms[p].append(_product(n, f"x{t}"))
    for p, n in enumerate(net.initial):
        total = f"(+ {n} {' '.join(terms[p])})" if terms[p] else str(n)
        lines.append(f"(define-fun m{p} () {sort} {total})")
    lines += [f"(assert (>= x{t} 0))" for t in range(len(net.transitions))]
    lines += [f"(assert (>= m{p} 0))" for p in range(len(net.places))]
    lines += [f"(assert {c})" for c in constraints]
    lines += [f"(assert (= x{t} 0))" for t in dead]
    lines += [f"(assert {_written(goal)})", "(check-sat)", ""]
    return "\n".join(lines)


def _written(goal: Goal) -> str:
    if goal[0] == "<=":
        terms = [_product(c, f"m{p}") for p, c in goal[1]]
        bound = goal[2]
        total = "0" if not terms else terms[0] if len(terms) == 1 else f"(+ {' '.join(terms)})"
        return f"(<= {total} {bound if bound >= 0 else f'(- {-bound})'})"
    neutral = "true" if goal[0] == "and" else "false"
    return f"({goal[0]} {neutral} {' '.join(map(_written, goal[1]))})" if goal[1] else neutral


def _product(n: int, name: str) -> str:
    return name if n == 1 else f"(* {n if n >= 0 else f'(- {-n})'} {name})"


def _atleast(names: Sequence[str]) -> str:
    if not names:
        return "false"
    return f"(>= {names[0] if len(names) == 1 else '(+ ' + ' '.join(names) + ')'} 1)"


def _lists(data: Any) -> list[Any]:
    if not isinstance(data, list | tuple):
        raise Refused("the certificate's sets of places are no lists")
    return list(data)


def _numbers(names: Sequence[str], data: Any) -> list[int]:
    number = {name: i for i, name in enumerate(names)}
    for name in _lists(data):
        if not isinstance(name, str) or name not in number:
            raise Refused(f"the certificate names {str(name)[:60]!r}, which the net does not have")
    return [number[name] for name in data]


def _places(net: Plain, data: Any) -> set[int]:
    found = set(_numbers(net.places, data))
    if not found:
        raise Refused("a set of places of the certificate is empty")
    return found


# all markings


@dataclass(frozen=True, slots=True)
class Space:
    """Every reachable marking, with its firings."""

    markings: tuple[Marking, ...]
    firings: tuple[tuple[tuple[int, int], ...], ...]

    def reaching(self, wanted: Callable[[Marking], bool]) -> set[int]:
        """The markings from which some wanted one can be reached."""
        back: list[list[int]] = [[] for _ in self.markings]
        for at, out in enumerate(self.firings):
            for _, to in out:
                back[to].append(at)
        work = [i for i, m in enumerate(self.markings) if wanted(m)]
        found = set(work)
        while work:
            for before in back[work.pop()]:
                if before not in found:
                    found.add(before)
                    work.append(before)
        return found


def explored(net: Plain, start: Marking, *, deadline: float) -> Space:
    """All markings that can be reached from one.

    Raises:
        NotHere: There are more than this checker keeps, or time is up.
    """
    number = {start: 0}
    order = [start]
    out: list[tuple[tuple[int, int], ...]] = []
    for marking in order:
        here = []
        for t in range(len(net.transitions)):
            to = net.after(marking, t)
            if to is not None:
                at = number.setdefault(to, len(order))
                if at == len(order):
                    order.append(to)
                here.append((t, at))
        out.append(tuple(here))
        if len(order) > MOST_MARKINGS or time.monotonic() > deadline:
            raise NotHere(f"{len(order):,} markings were gone through, and there are more")
    return Space(tuple(order), tuple(out))


def same_numbers(space: Space, data: Mapping[str, Any]) -> None:
    """Compare what was found with what a certificate says of the markings.

    Raises:
        Refused: It says otherwise.
    """
    found = (len(space.markings), sum(map(len, space.firings)))
    told = (data.get("markings"), data.get("firings"))
    if data.get("reduced", "none") != "none":
        return  # it went through a part only; all of it was gone through here
    if any(type(n) is not int for n in told) or found != told:
        raise Refused(f"the net has {found[0]} markings and {found[1]} firings, not {told[0]} and {told[1]}")


def judged_sound(net: Plain, space: Space) -> None:
    """Soundness on all markings: completion stays possible, leaves nothing behind, and everything fires.

    Raises:
        Refused: It does not hold.
    """
    finals = set(net.finals)
    if not finals:
        raise Refused("the net declares no final marking")
    if len(space.reaching(lambda m: m in finals)) < len(space.markings):
        raise Refused("from some marking no final one can be reached")
    for m in space.markings:
        if m not in finals and any(any(f) and all(a >= b for a, b in zip(m, f, strict=True)) for f in finals):
            raise Refused("a final marking is reached with tokens left behind")
    fired = {t for out in space.firings for t, _ in out}
    if len(fired) < len(net.transitions):
        raise Refused("some transition never fires")


# free choice


def rank_theorem(net: Plain, data: Mapping[str, Any]) -> None:
    """Soundness of a free-choice workflow net by the rank theorem (Desel & Esparza, 1995, 6.17).

    The net with its end joined to its start is connected, has a positive place and a positive transition
    invariant, the rank of its incidence matrix is the number of its clusters less one, and each of its
    siphons is marked: then it is live and bounded, and the net is sound (van der Aalst, 1998).

    Raises:
        Refused: One of this does not hold.
    """
    source, sink = _ends(net)
    pre, post = [*net.pre, {sink: 1}], [*net.post, {source: 1}]
    if any(n != 1 for arcs in (*pre, *post) for n in arcs.values()):
        raise Refused("an arc has a weight: the net is not free-choice")
    inputs = [frozenset(arcs) for arcs in pre]
    clusters: dict[frozenset[int], None] = {}
    owner: dict[int, frozenset[int]] = {}
    for places in inputs:
        clusters[places] = None
        for p in places:
            if owner.setdefault(p, places) != places:
                raise Refused("two transitions share an input place, but not all: the net is not free-choice")
    # Places that nothing takes from are clusters of their own; a transition that takes nothing is one, too.
    count = len([c for c in clusters if c]) + sum(not places for places in inputs)
    count += len(net.places) - len(owner)
    _connected(len(net.places), pre, post)
    rows = []
    for taken, put in zip(pre, post, strict=True):
        row = Counter(put)
        row.subtract(taken)
        rows.append({p: n for p, n in row.items() if n})
    weights = weights_of(data.get("places"), net.places, "place weights")
    again = [*net.transitions, "again"]
    times = weights_of(data.get("transitions"), again, "transition weights")
    y = [weights.get(p, 0) for p in net.places]
    x = [times.get(t, 0) for t in again]
    if len(times) != len(again) or min(y) <= 0 or min(x) <= 0:
        raise Refused("an invariant of the certificate is not positive everywhere")
    if any(sum(n * y[p] for p, n in row.items()) for row in rows):
        raise Refused("the certificate's place invariant is none")
    total: Counter[int] = Counter()
    for effect, n in zip(rows, x, strict=True):
        for p, d in effect.items():
            total[p] += n * d
    if any(total.values()):
        raise Refused("the certificate's transition invariant is none")
    rank = _rank(rows)
    if rank != count - 1:
        raise Refused(f"the rank of the incidence matrix is {rank}, there are {count} clusters")
    if (data.get("rank"), data.get("clusters")) != (rank, count):
        raise Refused(f"the rank is {rank} and there are {count} clusters; the certificate says otherwise")
    siphon = {p for p, n in enumerate(net.initial) if not n}
    while True:
        fed = {p for taken, put in zip(pre, post, strict=True) if not siphon & taken.keys() for p in put}
        if not siphon & fed:
            break
        siphon -= fed
    if siphon:
        raise Refused("a siphon is not marked at first")


def is_free_choice_workflow(net: Plain) -> bool:
    """Whether transitions that share an input place share all, in a workflow net without weights."""
    try:
        _ends(net)
    except Refused:
        return False
    owner: dict[int, frozenset[int]] = {}
    shared = all(owner.setdefault(p, frozenset(pre)) == frozenset(pre) for pre in net.pre for p in pre)
    return shared and all(n == 1 for arcs in (*net.pre, *net.post) for n in arcs.values())


def _ends(net: Plain) -> tuple[int, int]:
    put = {p for arcs in net.post for p in arcs}
    taken = {p for arcs in net.pre for p in arcs}
    sources = [p for p in range(len(net.places)) if p not in put]
    sinks = [p for p in range(len(net.places)) if p not in taken]
    if len(sources) != 1 or len(sinks) != 1 or len(net.finals) != 1:
        raise Refused("the net is no workflow net: it has not one start and one end")
    for at, marking in ((sources[0], net.initial), (sinks[0], net.finals[0])):
        if marking != tuple(int(p == at) for p in range(len(net.places))):
            raise Refused("the net does not go from one token in its start to one token in its end")
    return sources[0], sinks[0]


def _connected(places: int, pre: Sequence[dict[int, int]], post: Sequence[dict[int, int]]) -> None:
    group = list(range(places + len(pre)))

    def root(n: int) -> int:
        while group[n] != n:
            group[n] = group[group[n]]
            n = group[n]
        return n

    for t, (taken, put) in enumerate(zip(pre, post, strict=True)):
        for p in (*taken, *put):
            group[root(p)] = root(places + t)
    if len({root(n) for n in range(len(group))}) != 1:
        raise Refused("the net is not connected")


def _rank(rows: Sequence[Mapping[int, int]]) -> int:
    """Rank over the rationals, by elimination of one column after another."""
    left = [{p: Fraction(n) for p, n in row.items()} for row in rows if row]
    rank = 0
    while left:
        pivot = min(left, key=len)
        left.remove(pivot)
        rank += 1
        column, head = next(iter(pivot.items()))
        rest = []
        for row in left:
            factor = row.get(column, Fraction(0)) / head
            if factor:
                for p, n in pivot.items():
                    value = row.get(p, Fraction(0)) - factor * n
                    if value:
                        row[p] = value
                    else:
                        row.pop(p, None)
            if row:
                rest.append(row)
        left = rest
    return rank
