"""Mends of the flow of tokens: what is left over, what is put twice, what never fires, what leads astray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from provenet.nets.net import Auto, Explain, Perform, Role, Transition
from provenet.verify.mending.surgery import (
    Candidate,
    Case,
    any_of,
    negated,
    renamed,
    takers,
    with_transition,
    without,
)

_SOUND = ("STATE-1",)
"""What takes something away must leave a net that still does its work from beginning to end."""


def removed(case: Case) -> Iterator[Candidate]:
    """A step of no contract leads to what must not be, and the net is whole without it."""
    for t in case.fired():
        if not t.contract and t.role is Role.ROUTE and isinstance(t.trigger, Auto | Perform):
            yield Candidate(f"remove {t.name!r}", without(case.net, {t.name}), needs=_SOUND)


def dead(case: Case) -> Iterator[Candidate]:
    """STATE-1: some transitions never fire."""
    v = case.verdict
    if v.trace is not None:
        return
    pieces = {v.subject, *v.subject.split(", ")}
    gone = [t.name for t in case.net.transitions if repr(t.name) in v.reason or t.name in pieces]
    if gone:
        yield Candidate(f"remove {', '.join(map(repr, gone))}", without(case.net, gone))


def single_puts(case: Case) -> Iterator[Candidate]:
    """A transition puts the same token twice."""
    for t in case.fired():
        once = tuple(dict.fromkeys(replace(p, weight=1) for p in t.puts))
        if once != t.puts:
            twice = dict.fromkeys(p.place for p in t.puts if t.puts.count(p) > 1 or p.weight > 1)
            text = f"let {t.name!r} put one token into {', '.join(map(repr, twice))}"
            yield Candidate(text, with_transition(case.net, t.name, puts=once))


def fewer_puts(case: Case) -> Iterator[Candidate]:
    """A transition puts one token too many."""
    asked = case.requirement.arg("places")
    for t in case.fired():
        for p in t.puts if len(t.puts) > 1 else ():
            # What it takes and puts back is what lets tokens pile up.
            back = p.place in {a.place for a in t.takes}
            if (
                (asked and p.place in asked)
                or (not asked and back and t.role is Role.ROUTE)
                or _again(t, p.place)
            ):
                puts = tuple(q for q in t.puts if q is not p)
                text = f"let {t.name!r} put no token into {p.place!r}"
                yield Candidate(text, with_transition(case.net, t.name, puts=puts), needs=_SOUND)


def _again(t: Transition, place: str) -> bool:
    return t.role in (Role.EVENT, Role.TIMER, Role.COMMIT) and place in {a.place for a in t.takes}


def cleared(case: Case) -> Iterator[Candidate]:
    """STATE-1: tokens are left behind when the case ends."""
    net = case.net
    ends = {place for final in net.finals for place, _ in final}
    over = [p for p in case.left() if p not in ends and p not in net.resting]
    if not over or not set(case.left()) & ends:
        return
    shown = ", ".join(map(repr, over))
    last = [t.name for t in case.fired()[:1]]
    closing = [t.name for t in net.transitions if any(p.place in ends for p in t.puts)]
    for names in dict.fromkeys((tuple(last), tuple(closing))):
        mended = net
        for name in names:
            t = net.transition(name)
            kept = [p for p in over if p not in {a.place for a in t.takes}]
            mended = with_transition(mended, name, resets=tuple(dict.fromkeys((*t.resets, *kept))))
        yield Candidate(f"let {', '.join(map(repr, names))} clear {shown}", mended)
    text = f"say that tokens may stay behind in {shown}: net.rests(...)"
    yield Candidate(text, replace(net, resting=(*net.resting, *over)))


def capacity(case: Case) -> Iterator[Candidate]:
    """STATE-2: tokens pile up in a place that needs no more than a few."""
    k = case.requirement.arg("k") or 1
    trace = case.verdict.trace
    if trace is None:
        return
    for place, tokens in sorted(trace.replay(case.net)[-1].items()):
        if len(tokens) > k or (len(tokens) > 1 and case.net.place(place).capacity is None):
            places = tuple(replace(p, capacity=k) if p.name == place else p for p in case.net.places)
            text = f"declare a capacity of {k} for {place!r}: what would put more waits"
            yield Candidate(text, replace(case.net, places=places))


def dead_end(case: Case) -> Iterator[Candidate]:
    """STATE-3: a token waits where no guard lets it pass; the last guard becomes the ``else``."""
    for place in case.left():
        there = [t for t in takers(case.net, place) if isinstance(t.trigger, Auto | Explain)]
        for last in reversed(there):
            same = [t for t in there if t is not last and len(t.takes) == len(last.takes)]
            guards = [g for t in same if t.guard is not None and (g := renamed(t.guard, t, last)) is not None]
            if guards and len(guards) == len(same) and last.guard is not None:
                mended = with_transition(case.net, last.name, guard=negated(any_of(guards)))
                yield Candidate(f"let {last.name!r} take what the other guards there leave", mended)
