"""Refutations: a run is fired again, and what it is to break is looked at in its markings."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provenet.nets.errors import FiringError, ProvenetError
from provenet.nets.expr.ast import Expr
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.firing import Binding, NetRule
from provenet.nets.marking import Marking, is_final, marking_from_json
from provenet.nets.net import Net, Role, Transition
from provenet.nets.schema import BOOL, Type, Value, from_json, plainest
from provenet.verify.independent import claims, counting
from provenet.verify.independent.claims import Claim, Stated
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.facts import IT, SET, VALUE, Ghost, Never


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was fired again.

    Attributes:
        net: The net.
        rule: Its firing rule.
        markings: The markings before, between and after the firings.
        firings: The transitions, with the values of their variables.
    """

    net: Net
    rule: NetRule
    markings: tuple[Marking, ...]
    firings: tuple[tuple[str, dict[str, Value]], ...]

    @property
    def end(self) -> Marking:
        """The last marking."""
        return self.markings[-1]

    def names(self) -> list[str]:
        """The transitions in order."""
        return [name for name, _ in self.firings]


def refuted(net: Net, stated: Stated, trace: Mapping[str, Any] | None, *, deadline: float) -> Claim:
    """What a refutation shows.

    Args:
        net: The net.
        stated: The property.
        trace: The run, as JSON data; without one, the evidence must show it.
        deadline: ``time.monotonic()`` value to stop at.

    Raises:
        Refused: The run is none of this net, or breaks nothing.
        NotHere: This checker does not know what would break the property.
    """
    if trace is None:
        return _without_run(net, stated, deadline)
    run = replayed(net, trace)
    by = _BROKEN.get(stated.property)
    if by is None:
        raise NotHere(f"the run fires again; that it breaks {stated.property} is only told by the engines")
    return Claim(f"{by(run, stated, deadline)}, after {len(run.firings)} firings")


def replayed(net: Net, trace: Mapping[str, Any]) -> Run:
    """Fire a run again.

    Raises:
        Refused: A firing is not possible, or the run does not start as a case does.
    """
    rule = NetRule(net)
    firings: list[tuple[str, dict[str, Value]]] = []
    try:
        start = marking_from_json(trace["start"], net)
        markings = [start]
        for step in trace["steps"]:
            name = step["transition"]
            scope = net.scope(net.transition(name))
            binding = {v: from_json(value, scope[v], v) for v, value in step["binding"].items()}
            markings.append(rule.fire(markings[-1], name, binding))
            firings.append((name, binding))
    except ProvenetError as error:
        raise Refused(f"the run does not fire: step {len(firings) + 1}: {error.message}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refused(f"the run is none of this net: step {len(firings) + 1} is not well-formed") from error
    _starts(net, start)
    return Run(net, rule, tuple(markings), tuple(firings))


def _starts(net: Net, start: Marking) -> None:
    """Refuse a marking that no case starts with."""
    fixed = dict(net.initial)
    inputs = Counter(e.place for e in net.entries)
    for place in {*start, *fixed, *inputs}:
        left = Counter(start[place])
        left.subtract(fixed.get(place, ()))
        if min(left.values(), default=0) < 0 or left.total() != inputs[place]:
            raise Refused(f"no case starts with these tokens in {place!r}")
        of = net.place(place).type
        for entry in net.entries:
            if entry.place == place and entry.where is not None:
                given = [token for token, n in left.items() if n > 0]
                if not all(evaluate(entry.where, {IT: token}, {IT: of}) for token in given):
                    raise Refused(f"the input in {place!r} is none that a case may start with")


# what a run breaks


def _question(run: Run, stated: Stated, deadline: float) -> str:
    """The last firing does what must never happen."""
    del deadline
    for asked in claims.asked(run.net, stated):
        for never in asked.never:
            said = _broken(run, never, asked.ghost)
            if said:
                return said
    raise Refused("the run fires, but does not break the property")


def _broken(run: Run, never: Never, ghost: Ghost | None) -> str:
    """How a run does what must never happen; empty where it does not."""
    if never.place:
        of = run.net.place(never.place).type
        if any(evaluate(never.condition, {IT: token}, {IT: of}) for token in run.end[never.place]):
            return f"a token in {never.place!r} breaks it"
    elif not never.requires:
        if _comes_to(run, never):
            return f"{never.transition!r} could fire with what it requires broken"
    elif run.firings and run.firings[-1][0] == never.transition and _whatever_past(run, never, ghost):
        return f"{never.transition!r} does what must never happen"
    return ""


def _comes_to(run: Run, never: Never) -> bool:
    t = run.net.transition(never.transition)
    if t.fresh:
        raise NotHere("the run fires again; what the outside could say after it is only told by the engines")
    scope = run.net.scope(t)
    return any(
        evaluate(never.condition, binding, scope)
        and (t.ensures is None or evaluate(t.ensures, binding, scope))
        for binding in run.rule.bindings(run.end, t.name)
    )


def _whatever_past(run: Run, never: Never, ghost: Ghost | None) -> bool:
    """Whether the condition holds at the last firing, whichever earlier firing the ghost stands for."""
    name, binding = run.firings[-1]
    scope: dict[str, Type] = dict(run.net.scope(run.net.transition(name)))
    if ghost is None:
        return bool(evaluate(never.condition, binding, scope))
    past: list[tuple[bool, Value]] = [(False, plainest(ghost.type))]
    for earlier, values in run.firings[:-1]:
        if earlier in ghost.sets:
            before: Expr = ghost.sets[earlier]
            own = run.net.scope(run.net.transition(earlier))
            past.append((True, evaluate(before, values, own)))
    scope |= {SET: BOOL, VALUE: ghost.type}
    return all(evaluate(never.condition, {**binding, SET: s, VALUE: v}, scope) for s, v in past)


def _too_many(run: Run, stated: Stated, deadline: float) -> str:
    del deadline
    for requirement in run.net.requirements:
        places = list(dict.fromkeys(requirement.arg("places", ())))
        meant = requirement.kind == stated.property and claims.is_meant(requirement, stated)
        if meant and ", ".join(places) == stated.subject and places:
            counts = [run.end.count(p) for p in places]
            if stated.property == "mutex" and sum(n > 0 for n in counts) > 1:
                return f"{sum(n > 0 for n in counts)} of the places are marked together"
            if stated.property == "bound" and sum(counts) > requirement.arg("k"):
                return f"the places hold {sum(counts)} tokens"
    raise Refused("the run fires, but no such requirement of the net is broken at its end")


def _outnumbered(run: Run, stated: Stated, deadline: float) -> str:
    del deadline
    roles = [
        t.role
        for name in run.names()
        if (t := run.net.transition(name)).contract == stated.subject and stated.subject
    ]
    commits, accepts = roles.count(Role.COMMIT), roles.count(Role.ACCEPT)
    if commits <= accepts:
        raise Refused("the run fires, but commits no more often than was accepted")
    return f"{commits} commits and {accepts} accepts"


def _crowded(run: Run, stated: Stated, deadline: float) -> str:
    stated.of_all()
    del deadline
    k = claims.bound_in(stated)
    if k is not None:
        most = max((run.end.count(p.name) for p in run.net.places), default=0)
        if most <= k:
            raise Refused(f"the run fires, but no place holds more than {k} tokens")
        return f"a place holds {most} tokens"
    net = counting.plain(run.net)
    if not _grows(_numbers(net, run)):
        raise Refused("the run fires, but does not grow")
    return "a part of the run can be repeated for ever, and leaves more tokens each time"


def _stuck(run: Run, stated: Stated, deadline: float) -> str:
    stated.of_all()
    del deadline
    for t in run.net.transitions:
        for binding in run.rule.bindings(run.end, t.name):
            _does_not_fire(run, t, binding)
    if is_final(run.net, run.end):
        raise Refused("the run fires, but ends in a final marking")
    return "nothing can happen any more, and the marking is not final"


def _does_not_fire(run: Run, t: Transition, binding: Binding) -> None:
    """Refuse a firing that is possible; a full place or a broken promise may forbid one that is enabled."""
    full = {**binding, **{f.var: plainest(f.type) for f in t.fresh}}
    try:
        run.rule.fire(run.end, t.name, full)
    except FiringError as error:
        if t.fresh:
            raise NotHere(
                "the run fires again; what the outside could say is only told by the engines"
            ) from error
        return
    raise Refused("the run fires, but something can still happen at its end")


def _unsound(run: Run, stated: Stated, deadline: float) -> str:
    stated.of_all()
    claims.plainly_sound(run.net)
    net = counting.plain(run.net)
    markings = _numbers(net, run)
    end = markings[-1]
    if not net.finals:
        raise Refused("the net declares no final marking")
    if end not in net.finals:
        if any(any(f) and all(a >= b for a, b in zip(end, f, strict=True)) for f in net.finals):
            return "the end is reached with tokens left behind"
        if all(net.after(end, t) is None for t in range(len(net.transitions))):
            return "nothing can happen any more, and the marking is not final"
    if _grows(markings) and all(map(any, net.finals)):
        return "a part of the run can be repeated for ever, and leaves more tokens each time"
    if max(end) > 1 and counting.is_free_choice_workflow(net):
        return "two tokens meet in a place, which sound free-choice nets never do"
    space = counting.explored(net, end, deadline=min(deadline, time.monotonic() + 60))
    if 0 in space.reaching(lambda m: m in net.finals):
        raise Refused("the run fires, but a final marking can be reached from its end")
    return "no final marking can be reached any more"


def _numbers(net: counting.Plain, run: Run) -> list[counting.Marking]:
    return [tuple(m.count(p) for p in net.places) for m in run.markings]


def _grows(markings: Sequence[counting.Marking]) -> bool:
    end = markings[-1]
    return any(m != end and all(a <= b for a, b in zip(m, end, strict=True)) for m in markings)


_BROKEN = {
    **dict.fromkeys(("SDB-1", "CTL-1", "DATA-3", "never", "always"), _question),
    "bound": _too_many,
    "mutex": _too_many,
    "SDB-5": _outnumbered,
    "STATE-1": _unsound,
    "STATE-2": _crowded,
    "STATE-3": _stuck,
}


# refutations that no run shows


def _without_run(net: Net, stated: Stated, deadline: float) -> Claim:
    if stated.property not in ("STATE-1", "relaxed-soundness"):
        raise NotHere("there is no run to fire again")
    numbers = counting.plain(net)
    named = [t for t, name in enumerate(numbers.transitions) if name in stated.subject.split(", ")]
    if not named or ", ".join(numbers.transitions[t] for t in named) != stated.subject:
        raise Refused(f"{stated.subject[:60]!r} names no transitions of the net")
    if stated.property == "STATE-1":
        _, data = stated.only("explored")
        claims.plainly_sound(net)
        space = counting.explored(numbers, numbers.initial, deadline=deadline)
        counting.same_numbers(space, data)
        if {t for out in space.firings for t, _ in out} & set(named):
            raise Refused("a transition that is said never to fire does")
        return Claim(f"{claims.listed(numbers.transitions[t] for t in named)} never fires")
    kind, data = stated.only("explored", "state equation")
    says = f"no run that completes fires {numbers.transitions[named[0]]!r}"
    if kind == "state equation":
        return _no_completing_run(numbers, named[0], data, says)
    space = counting.explored(numbers, numbers.initial, deadline=deadline)
    counting.same_numbers(space, data)
    done = counting.completed(numbers)
    hopeful = space.reaching(lambda m: counting.holds(done, m))
    if any(t in named and to in hopeful for out in space.firings for t, to in out):
        raise Refused("a run that completes fires a transition that is said to take part in none")
    return Claim(says)


def _no_completing_run(net: counting.Plain, t: int, data: Mapping[str, Any], says: str) -> Claim:
    """The state equation of the net with a place beside each transition that counts its firings."""
    number = len(net.places)
    counted = counting.Plain(
        (*net.places, *(f"fired {name}" for name in net.transitions)),
        net.transitions,
        net.pre,
        tuple({**post, number + u: 1} for u, post in enumerate(net.post)),
        (*net.initial, *(0 for _ in net.transitions)),
        (),
    )
    fired: counting.Goal = ("<=", ((number + t, -1),), -1)
    goal: counting.Goal = ("and", (counting.completed(net), fired))
    return Claim(f"{says}, by the state equation", tuple(counting.equation(counted, goal, data)))
