"""Mends of waits and of what comes from outside: deadlines, silence, events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from provenet.nets.expr.ast import Compare, Const, Var
from provenet.nets.net import After, Choice, Ignored, Net, Place, Put, Role, Signal, Take, Transition
from provenet.nets.schema import DURATION, UNIT, DateTimeType, IntType, Type, Value
from provenet.verify.hope import from_outside
from provenet.verify.mending.surgery import (
    Candidate,
    Case,
    added,
    both,
    named,
    reads_fresh,
    renamed,
    takers,
    with_transition,
)
from provenet.verify.properties.duplicates import key_of

_DAYS = 7


def silence(case: Case) -> Iterator[Candidate]:
    """A person's silence counts as a yes: after the deadline it counts as a no."""
    for t in case.fired():
        if not isinstance(t.trigger, After):
            continue
        same = [o for o in takers(case.net, t.takes[0].place) if isinstance(o.trigger, Choice)]
        for no in (o for o in same if o.role is Role.DENY and not reads_fresh(o)):
            puts = _puts(no, t)
            if puts is not None and puts != t.puts:
                text = f"let {t.name!r} do what {no.name!r} does: silence is no approval"
                yield Candidate(text, with_transition(case.net, t.name, puts=puts))


def timer(case: Case) -> Iterator[Candidate]:
    """CTL-3, ``eventually``: a wait for the outside has no deadline."""
    net = case.net
    places = [case.verdict.subject] if net.has_place(case.verdict.subject) else case.left()
    for place in places:
        there = list(takers(net, place))
        if not all(from_outside(t) for t in there):
            continue
        answers = [t for t in there if t.role is not Role.APPROVE and not reads_fresh(t)]
        for like in sorted(answers, key=_refusing):
            if not isinstance(like.trigger, Choice | Signal) or like.role is Role.KILL:
                continue
            made = replace(
                like,
                name=named(net, f"{place}.timeout"),
                role=Role.TIMER,
                fresh=(),
                ensures=None,
                trigger=After(Const(timedelta(days=_DAYS), DURATION)),
                label="",
                source="",
            )
            text = (
                f"add a timer that takes from {place!r} after {_DAYS} days and does what {like.name!r} does"
            )
            yield Candidate(text, added(net, made))


def _refusing(t: Transition) -> int:
    """Silence is a no where somebody can say no."""
    return 0 if t.role is Role.DENY else 1


def _puts(of: Transition, to: Transition) -> tuple[Put, ...] | None:
    """What one transition puts, over the variables of another."""
    out = []
    for p in of.puts:
        expr = None if p.expr is None else renamed(p.expr, of, to)
        if p.expr is not None and expr is None:
            return None
        out.append(replace(p, expr=expr))
    return tuple(out)


# events


def heard(case: Case) -> Iterator[Candidate]:
    """EVT-1: a guard keeps an event from being taken."""
    for t in _consumers(case.net, case.verdict.subject):
        if t.guard is not None:
            text = f"let {t.name!r} take every {case.verdict.subject!r}: drop its guard"
            yield Candidate(text, with_transition(case.net, t.name, guard=None))


def ignored(case: Case) -> Iterator[Candidate]:
    """EVT-1: an event that comes when nobody waits for it is ignored on purpose."""
    net, event = case.net, case.verdict.subject
    if any(i.event == event for i in net.ignored):
        return
    waiting = tuple(dict.fromkeys(a.place for t in _consumers(net, event) for a in t.takes[:1]))
    shown = ", ".join(map(repr, waiting))
    mended = replace(net, ignored=(*net.ignored, Ignored(event, waiting)))
    yield Candidate(
        f"say that it is ignored: net.ignore({event!r}, unless=[{shown}])", mended, vacuous=not waiting
    )


def keyed(case: Case) -> Iterator[Candidate]:
    """EVT-2: remember the last key that was taken, and take only higher ones."""
    net, event = case.net, case.verdict.subject
    consumers = list(_consumers(net, event))
    found = [key_of(t) for t in consumers]
    if not found or None in found or len({of for f in found if f is not None for of in (f[1],)}) != 1:
        return
    first = found[0]
    assert first is not None
    lowest = _below(first[1])
    place = f"last {event}"
    if lowest is None or net.has_place(place):
        return
    of, value = lowest
    for t, key in zip(consumers, found, strict=True):
        assert key is not None
        seen = "seen" if "seen" not in net.scope(t) else "seen before"
        takes = (*t.takes, Take(place, seen))
        if any(a.var is None and net.place(a.place).type != UNIT for a in t.takes):
            return
        net = with_transition(
            net,
            t.name,
            takes=takes,
            puts=(*t.puts, Put(place, key[0])),
            ensures=both(t.ensures, Compare(">", key[0], Var(seen))),
        )
        # What comes again is taken, too, and changes nothing: or nobody would take it (EVT-1).
        back = tuple(Put(a.place, None if a.var is None else Var(a.var), a.weight) for a in takes)
        old = both(t.ensures, Compare("<=", key[0], Var(seen)))
        net = added(net, replace(t, name=named(net, f"{t.name} again"), takes=takes, puts=back, ensures=old))
    net = replace(
        net,
        # The proof looks for the memory of keys in the first place that every consumer passes.
        places=(Place(place, of), *net.places),
        initial=(*net.initial, (place, (value,))),
        resting=(*net.resting, place),
    )
    text = (
        f"remember the last key of {event!r} in a place {place!r}, and let only a higher one change anything"
    )
    yield Candidate(text, net)


def _consumers(net: Net, event: str) -> list[Transition]:
    return [t for t in net.transitions if isinstance(t.trigger, Signal) and t.trigger.event == event]


def _below(of: Type) -> tuple[Type, Value] | None:
    """A type for the place that remembers, and a value below every key."""
    match of:
        case IntType(lo, hi) if lo is not None:
            return IntType(lo - 1, hi), lo - 1
        case DateTimeType():
            return of, datetime(1900, 1, 1, tzinfo=UTC)
        case _:
            return None
