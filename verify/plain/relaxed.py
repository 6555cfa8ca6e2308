"""Relaxed soundness: every transition takes part in some run that completes properly.

Dehnert & Rittgen, "Relaxed soundness of business processes", CAiSE 2001: the criterion for models whose
routing may also go wrong, such as event-driven process chains. A searched space answers at once; where it is
too large, each transition that no completing run is known for becomes a goal on the net with a counter beside
that transition: the final marking, and the counter not zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from provenet.verify.plain.answer import Budget, Evidence, Explored, Reachable
from provenet.verify.plain.engines.plans import Plans
from provenet.verify.plain.logic import Formula, at_least, conj, disj, equal, exactly
from provenet.verify.plain.net import PTNet, listed
from provenet.verify.plain.packed import Space, with_room
from provenet.verify.plain.soundness import Undecided

_FARTHEST = 40_000
"""Most markings that are searched before counters are used."""


@dataclass(frozen=True, slots=True)
class RelaxedSound:
    """The net is relaxed sound.

    Attributes:
        runs: Runs that complete properly and together fire every transition.
    """

    runs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class NotRelaxedSound:
    """Some transition takes part in no run that completes properly.

    Attributes:
        useless: One such transition, or all of them where the space was searched to its end.
        evidence: What shows it: on the net with counters where it is the state equation.
    """

    useless: tuple[int, ...]
    evidence: Evidence


def relaxed_soundness(net: PTNet, budget: Budget) -> RelaxedSound | NotRelaxedSound | Undecided:
    """Decide relaxed soundness.

    Args:
        net: The net. Where it declares no final marking, a run completes when only places that nothing takes
            from are marked.
        budget: Time.
    """
    if not net.finals and not _sinks(net):
        return Undecided("the net declares no final marking, and has no place that nothing takes from")
    space = _searched(net, budget)
    runs = _completing_runs(space)
    left = sorted(set(range(len(net.transitions))) - {t for run in runs for t in run})
    if space.complete:
        if left:
            evidence = Explored(len(space.markings), sum(map(len, space.edges)))
            return NotRelaxedSound(tuple(left), evidence)
        return RelaxedSound(tuple(runs))
    counted = with_counters(net, left)
    end = completed(net)
    goals = [conj((end, at_least({len(net.places) + n: 1}, 1))) for n in range(len(left))]
    done: set[int] = set()
    once = replace(budget, answered=lambda n: left[n] in done)
    for n, answer in Plans().run(counted, goals, once):
        if not isinstance(answer, Reachable):
            return NotRelaxedSound((left[n],), answer.evidence)
        runs.append(answer.firings)
        done.update(answer.firings)
    missing = [repr(net.transitions[t]) for t in left if t not in done]
    if missing:
        return Undecided(f"no run that completes was found with {listed(missing)}, and none was excluded")
    return RelaxedSound(tuple(runs))


def with_counters(net: PTNet, transitions: list[int]) -> PTNet:
    """The net with a place beside each of some transitions that counts its firings."""
    counter = {t: len(net.places) + n for n, t in enumerate(transitions)}
    zeros = (0,) * len(transitions)
    return replace(
        net,
        places=(*net.places, *(f"fired {net.transitions[t]}" for t in transitions)),
        post=tuple((*put, (counter[t], 1)) if t in counter else put for t, put in enumerate(net.post)),
        initial=(*net.initial, *zeros),
        finals=(),
    )


def completed(net: PTNet) -> Formula:
    """The run has completed."""
    if net.finals:
        return disj(map(exactly, net.finals))
    sinks = _sinks(net)
    others = (p for p in range(len(net.places)) if p not in sinks)
    return conj((at_least(dict.fromkeys(sinks, 1), 1), *(equal({p: 1}, 0) for p in others)))


def _sinks(net: PTNet) -> frozenset[int]:
    return frozenset(p for p in range(len(net.places)) if not net.consumers[p] and net.producers[p])


def _searched(net: PTNet, budget: Budget) -> Space:
    def explore(space: Space) -> Space:
        for _ in space.grow(_FARTHEST, budget.share(0.3).deadline):
            pass
        return space

    return with_room(net, explore)


def _completing_runs(space: Space) -> list[tuple[int, ...]]:
    """Runs to a final marking that together fire whatever any such run within the space fires."""
    ends = _ends(space)
    towards = _towards(space, ends)
    runs: list[tuple[int, ...]] = []
    fired: set[int] = set()
    for at, out in enumerate(space.edges):
        for t, to in out:
            if t in fired or (to not in towards and to not in ends):
                continue
            run, here = [*space.path(at), t], to
            while here not in ends:
                step, here = towards[here]
                run.append(step)
            runs.append(tuple(run))
            fired.update(run)
    return runs


def _ends(space: Space) -> set[int]:
    """The markings in which a run has completed."""
    net, fields = space.net, space.fields
    if net.finals:
        wanted = {fields.pack(f) for f in net.finals}
        return {i for i, m in enumerate(space.markings) if m in wanted}
    sinks = sum(((1 << fields.bits) - 1) << (p * fields.bits) for p in _sinks(net))
    return {i for i, m in enumerate(space.markings) if m and not m & ~sinks}


def _towards(space: Space, ends: set[int]) -> dict[int, tuple[int, int]]:
    """For each marking that some final one can be reached from, a firing that brings it nearer."""
    back: list[list[tuple[int, int]]] = [[] for _ in space.markings]
    for at, out in enumerate(space.edges):
        for t, to in out:
            back[to].append((at, t))
    found: dict[int, tuple[int, int]] = {}
    layer = sorted(ends)
    while layer:
        layer_next: list[int] = []
        for to in layer:
            for at, t in back[to]:
                if at not in found and at not in ends:
                    found[at] = (t, to)
                    layer_next.append(at)
        layer = layer_next
    return found
