"""Events and what follows, by plain definitions, over the markings of ``explicit``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from provenet.nets.errors import Breach
from provenet.nets.net import Choice, Signal, Transition
from provenet.nets.schema import UNIT, RecordType
from tests.verify.explicit import Explicit, all_values


def takers(seen: Explicit, event: str) -> list[Transition]:
    """The transitions that wait for an event."""
    return [t for t in seen.net.transitions if isinstance(t.trigger, Signal) and t.trigger.event == event]


def evt_1(seen: Explicit, event: str) -> bool | None:
    """Whether every payload is taken in every unfinished marking in which it is not ignored."""
    waiting = takers(seen, event)
    types = {t.fresh[0].type for t in waiting if t.fresh} or {UNIT}
    said = [i for i in seen.net.ignored if i.event == event]
    if not said and any(d.event == event and d.early == "keep" for d in seen.net.deliveries):
        return seen.holds_unless(False)
    for at, marking in enumerate(seen.markings):
        if seen.is_final(at) or (said and not any(marking.count(p) for i in said for p in i.unless)):
            continue
        for of in types:
            for payload in all_values(of):
                hearing = [t for t in waiting if not t.fresh or t.fresh[0].type == of]
                if not any(_takes(seen, at, t, payload) for t in hearing):
                    return False
    return seen.holds_unless(False)


def _takes(seen: Explicit, at: int, t: Transition, payload: Any) -> bool:
    for binding in seen.rule.bindings(seen.markings[at], t.name):
        full = {**binding, **{f.var: payload for f in t.fresh}}
        try:
            seen.rule.fire(seen.markings[at], t.name, full)
        except Breach:
            continue
        return True
    return False


def evt_2(seen: Explicit, event: str) -> bool | None:
    """Whether no two firings that change something take the same key."""
    acting = {t.name for t in takers(seen, event) if not _puts_back(seen, t)}

    def step(keys: tuple[Any, ...], t: Transition, binding: Any) -> tuple[Any, ...] | None:
        if t.name not in acting:
            return keys
        key = _key(t, binding)
        if any(key is None or other is None or key == other for other in keys):
            return ("bad",)
        return (*keys, key) if len(keys) < 5 else None

    return seen.observed((), step, lambda keys: keys == ("bad",))


def _key(t: Transition, binding: Any) -> Any:
    assert isinstance(t.trigger, Signal)
    if not t.trigger.key:
        return None
    of, value = t.fresh[0].type, binding[t.fresh[0].var]
    for name in t.trigger.key.split("."):
        assert isinstance(of, RecordType)
        index = of.index(name)
        assert index is not None
        of, value = of.fields[index].type, value[index]
    return (type(of).__name__, value)


def _puts_back(seen: Explicit, t: Transition) -> bool:
    def matters(place: str) -> bool:
        return "absorber" not in [str(label) for label in seen.net.place(place).labels]

    if any(matters(p) for p in t.resets):
        return False
    black = {p.name for p in seen.net.places if p.type == UNIT}
    taken = sorted(
        (a.place, "" if a.place in black else str(a.var))
        for a in t.takes
        if matters(a.place)
        for _ in range(a.weight)
    )
    put = sorted(
        (p.place, "" if p.place in black else str(getattr(p.expr, "name", p.expr)))
        for p in t.puts
        if matters(p.place)
        for _ in range(p.weight)
    )
    return taken == put


def responds(seen: Explicit, first: Collection[str], then: Collection[str]) -> bool | None:
    """Whether from every marking that waits some run with nobody's help has the response."""
    return _follows(seen, first, then, ())


def eventually(seen: Explicit, what: Collection[str]) -> bool | None:
    """The same, waiting from the start; a name is a transition's or a place's."""
    then = {t.name for t in seen.net.transitions if t.name in what or any(p.place in what for p in t.puts)}
    return _follows(seen, None, then, what)


def _follows(
    seen: Explicit, first: Collection[str] | None, then: Collection[str], places: Collection[str]
) -> bool | None:
    if not seen.complete:
        return None
    ended = [seen.is_final(at) for at in range(len(seen.markings))]
    hoping = {
        at
        for at, steps in enumerate(seen.steps)
        if not ended[at] and any(s.transition in then and _alone(seen, s.transition) for s in steps)
    }
    while True:
        more = {
            at
            for at, steps in enumerate(seen.steps)
            if at not in hoping
            and not ended[at]
            and any(s.target in hoping and _alone(seen, s.transition) for s in steps)
        }
        if not more:
            break
        hoping |= more
    starts = first is None
    work = [(r, starts and not any(seen.markings[r].count(p) for p in places)) for r in seen.roots]
    met = set(work)
    while work:
        at, waits = work.pop()
        if waits and at not in hoping:
            return False
        if ended[at]:
            continue
        for s in seen.steps[at]:
            after = s.transition not in then and (waits or s.transition in (first or ()))
            if (starts and not after) or (s.target, after) in met:
                continue
            met.add((s.target, after))
            work.append((s.target, after))
    return True


def _alone(seen: Explicit, name: str) -> bool:
    return not isinstance(seen.net.transition(name).trigger, Choice | Signal)
