"""Soundness of workflow nets: option to complete, proper completion, no dead transition.

van der Aalst, "The application of Petri nets to workflow management", 1998. In this order, whatever answers
first:

1. breadth-first search for a marking that cannot be: stuck, improperly completed, or growing for ever
   (Karp & Miller, 1969; a net that grows for ever cannot always complete properly). In a free-choice net two
   tokens in one place are such a marking too, since sound free-choice nets are safe; going on from there at
   random mostly shows what becomes of them.
2. where search ended: every marking can complete, and every transition was seen to fire.
3. free choice, too large to search: the net with its end joined to its start is live and bounded if and only
   if the net is sound (rank theorem, ``free_choice``). Where it is not sound, random runs look for the fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from provenet.verify.plain.answer import Budget, Explored
from provenet.verify.plain.free_choice import RankTheorem, is_free_choice, live_and_bounded
from provenet.verify.plain.net import Counts, PTNet, listed
from provenet.verify.plain.packed import Space, with_room

_STUCK = "no option to complete: nothing can happen any more, with tokens in {}"

_FIRST_LOOK = 4_000
"""Markings before structure theory is asked."""

_FARTHEST = 400_000
"""Most markings that are kept in plain Python."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The net is sound.

    Attributes:
        evidence: What shows it.
        method: How, in words.
    """

    evidence: Explored | RankTheorem
    method: str


@dataclass(frozen=True, slots=True)
class Unsound:
    """The net is not sound.

    Attributes:
        fault: What is wrong with it.
        reason: The same, as a sentence.
        firings: A run that shows it; ``None`` for dead transitions, which no run shows.
        loop: How many of the last firings can be repeated for ever, for ``unbounded``.
        dead: The dead transitions.
        evidence: What shows that they are dead.
    """

    fault: Literal["stuck", "no option to complete", "improper completion", "unbounded", "unsafe", "dead"]
    reason: str
    firings: tuple[int, ...] | None = None
    loop: int = 0
    dead: tuple[int, ...] = ()
    evidence: Explored | None = None


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nothing is known, and why."""

    reason: str


def soundness(net: PTNet, budget: Budget) -> Sound | Unsound | Undecided:
    """Decide soundness of a net with declared final markings.

    Args:
        net: The net; it need not be free-choice, nor a workflow net by structure.
        budget: Time.
    """
    if not net.finals:
        return Undecided("the net declares no final marking")
    free = is_free_choice(net) and _is_workflow(net)
    first = max(_FIRST_LOOK, 4 * len(net.places)) if free else _FARTHEST
    space, found = _looked(net, free, first, budget)
    if found is None and free and not space.complete:
        try:
            proof = live_and_bounded(_short_circuited(net), deadline=budget.deadline)
        except TimeoutError:
            return Undecided(f"{len(space.markings):,} markings looked at, then the time was over")
        if proof is not None:
            return Sound(proof, "rank theorem for free-choice nets")
        # Not sound, then: a run that shows it is all that is left to find.
        found = _wander(net, (), budget, tries=200)
        if found is None:
            space, found = _looked(net, free, _FARTHEST, budget)
    if found is not None:
        return found
    if space.complete:
        return _judged(space)
    return Undecided(f"{len(space.markings):,} markings looked at, and there are more")


def _looked(net: PTNet, free: bool, limit: int, budget: Budget) -> tuple[Space, Unsound | None]:  # noqa: FBT001
    return with_room(net, lambda space: (space, _search(space, free, limit, budget)))


def _search(space: Space, free: bool, limit: int, budget: Budget) -> Unsound | None:  # noqa: FBT001
    """The first marking that cannot be, in breadth-first order."""
    net, fields = space.net, space.fields
    finals = {fields.pack(f): f for f in net.finals}
    # Nothing is left over where the end is the empty marking, and what grows may still go away.
    ends_marked = all(map(any, net.finals))
    looked = 0
    for number in space.grow(limit, budget.deadline):
        marking = space.markings[number]
        for final, counts in finals.items():
            if marking not in finals and fields.covers(marking, final) and any(counts):
                return _improper(net, space.counts(number), counts, space.path(number))
        if ends_marked and marking & fields.above_one:
            for before in space.ancestors(number):
                if fields.covers(marking, space.markings[before]):
                    return _growing(space, before, number)
            if free:
                return _wander(net, space.path(number), budget, tries=20) or _unsafe(space, number)
        # What grow() has left behind is looked at: what has no way on is stuck.
        while looked < len(space.edges):
            if not space.edges[looked] and space.markings[looked] not in finals:
                return _stuck(space, looked)
            looked += 1
    for at in range(looked, len(space.edges)):
        if not space.edges[at] and space.markings[at] not in finals:
            return _stuck(space, at)
    return None


def _wander(net: PTNet, firings: tuple[int, ...], budget: Budget, *, tries: int) -> Unsound | None:
    """Go on at random after some firings, until a run gets stuck or completes improperly."""
    chance = Random(1)  # noqa: S311  (it orders firings, it keeps no secret)
    start = net.replay(firings)
    for _ in range(tries):
        if budget.left() <= 0:
            break
        marking, run = list(start), list(firings)
        able = [t for t in range(len(net.transitions)) if net.enabled(marking, t)]
        for _ in range(20 * len(net.places)):
            here = tuple(marking)
            if here in net.finals:
                break
            for final in net.finals:
                if all(a >= b for a, b in zip(here, final, strict=True)):
                    return _improper(net, here, final, tuple(run))
            if not able:
                return Unsound("stuck", _STUCK.format(_shown(net, here)), tuple(run))
            t = chance.choice(able)
            for p, d in net.effect[t]:
                marking[p] += d
            run.append(t)
            near = {u for p, _ in (*net.effect[t],) for u, _ in net.consumers[p]}
            able = [u for u in able if u not in near] + [u for u in sorted(near) if net.enabled(marking, u)]
    return None


def _judged(space: Space) -> Sound | Unsound:
    """What a complete space without an evident fault amounts to."""
    net = space.net
    wanted = {space.fields.pack(f) for f in net.finals}
    ends = {i for i, m in enumerate(space.markings) if m in wanted}
    hopeful = space.leading_to(ends)
    for number in range(len(space.markings)):
        if number not in hopeful:
            left = _shown(net, space.counts(number))
            return Unsound(
                "no option to complete",
                f"no option to complete: from a marking with tokens in {left} no final marking is reached",
                space.path(number),
            )
    fired = {t for out in space.edges for t, _ in out}
    evidence = Explored(len(space.markings), sum(map(len, space.edges)))
    dead = tuple(t for t in range(len(net.transitions)) if t not in fired)
    if dead:
        return Unsound(
            "dead",
            f"no run ever fires {listed([repr(net.transitions[t]) for t in dead])}",
            dead=dead,
            evidence=evidence,
        )
    return Sound(evidence, "state space")


def _stuck(space: Space, number: int) -> Unsound:
    return Unsound("stuck", _STUCK.format(_shown(space.net, space.counts(number))), space.path(number))


def _improper(net: PTNet, marking: Counts, final: Counts, firings: tuple[int, ...]) -> Unsound:
    left = _shown(net, _minus(marking, final))
    return Unsound(
        "improper completion", f"improper completion: the end is reached with tokens left in {left}", firings
    )


def _growing(space: Space, before: int, after: int) -> Unsound:
    net = space.net
    grown = _shown(net, _minus(space.counts(after), space.counts(before)))
    path = space.path(after)
    return Unsound(
        "unbounded",
        f"a part of the run can be repeated for ever and leaves tokens in {grown} each time",
        path,
        loop=len(path) - len(space.path(before)),
    )


def _unsafe(space: Space, number: int) -> Unsound:
    counts = space.counts(number)
    crowded = _shown(space.net, tuple(n if n > 1 else 0 for n in counts))
    return Unsound(
        "unsafe",
        f"two tokens meet in {crowded}, which cannot happen in a sound free-choice net: "
        "one of them is stuck, or left over at the end",
        space.path(number),
    )


def _is_workflow(net: PTNet) -> bool:
    """Whether a token in the only source is the first marking, and one in the only sink the final one."""
    sources = [p for p in range(len(net.places)) if not net.producers[p]]
    sinks = [p for p in range(len(net.places)) if not net.consumers[p]]
    if len(sources) != 1 or len(sinks) != 1 or len(net.finals) != 1:
        return False
    one = [tuple(int(p == at) for p in range(len(net.places))) for at in (sources[0], sinks[0])]
    return net.initial == one[0] and net.finals[0] == one[1]


def _short_circuited(net: PTNet) -> PTNet:
    """The workflow net with a transition from its sink back to its source."""
    sink = next(p for p, n in enumerate(net.finals[0]) if n)
    source = next(p for p, n in enumerate(net.initial) if n)
    return replace(
        net,
        transitions=(*net.transitions, "again"),
        pre=(*net.pre, ((sink, 1),)),
        post=(*net.post, ((source, 1),)),
    )


def _minus(counts: Counts, others: Counts) -> Counts:
    return tuple(a - b for a, b in zip(counts, others, strict=True))


def _shown(net: PTNet, counts: Counts) -> str:
    return listed([net.places[p] for p, n in enumerate(counts) if n > 0])
