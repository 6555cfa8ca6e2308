"""Nets whose runs all end, and nets whose runs can all come back to the beginning, told without searching."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeAlias

from provenet.verify.plain.answer import Budget
from provenet.verify.plain.invariants import place_invariants
from provenet.verify.plain.logic import encoded, exactly, fireable, negation
from provenet.verify.plain.net import PTNet

if TYPE_CHECKING:
    import z3

Runs: TypeAlias = Literal["end", "return", "may go on"]
"""Every run ends in a deadlock; none does, and each can go on to the initial marking; neither is known."""


def runs_of(net: PTNet, *, seconds: float) -> Runs:
    """What is known of all runs of a net.

    Args:
        net: The net.
        seconds: How long to look for each of the two.
    """
    if not net.transitions:
        return "end"
    if all_runs_end(net, seconds=seconds):
        return "end"
    return "return" if all_runs_return(net, seconds=seconds) else "may go on"


def all_runs_end(net: PTNet, *, seconds: float) -> bool:
    """Whether no run of the net, from whatever marking, goes on for ever, shown by counting.

    Of a run without end some part repeats a marking or more (Dickson, 1913): firings that take nothing away
    in sum (Murata, "Petri nets: properties, analysis and applications", 1989). Where no firing counts do,
    over the rationals, every run ends.

    Args:
        net: The net.
        seconds: How long to look; where that is too short, the answer is no.
    """
    import z3

    counts, changes = _counted(net)
    solver = z3.SimpleSolver()
    solver.add(*(x >= 0 for x in counts), z3.Sum(counts) >= 1, *(change >= 0 for change in changes))
    return bool(_checked(solver, Budget.seconds(seconds)) == z3.unsat)


def all_runs_return(net: PTNet, *, seconds: float) -> bool:
    """Whether the initial marking can be reached from every reachable one, and is no deadlock.

    Shown by weights of places: in each marking other than the initial one that the place invariants allow,
    a transition is enabled that lowers the weighted sum of tokens. Firing such ones comes to an end, which is
    in the initial marking (ranking functions of stages; Blondin, Esparza, Helfrich, Kučera & Meyer, "Checking
    qualitative liveness properties of replicated systems with stochastic scheduling", CAV 2020). The weights
    are found by proposing some, and learning from a marking that they do not serve.

    Args:
        net: The net.
        seconds: How long to look; where that is too short, the answer is no.
    """
    import z3

    transitions = range(len(net.transitions))
    if not any(net.enabled(net.initial, t) for t in transitions):
        return False
    budget = Budget.seconds(seconds)
    counts, changes = _counted(net)
    around = z3.SimpleSolver()
    around.add(*(x >= 1 for x in counts), *(change == 0 for change in changes))
    if _checked(around, budget) != z3.sat:
        # A transition that no cycle fires is dead, or leads where nothing leads back from.
        return False
    tokens = [z3.Int(f"m{p}") for p in range(len(net.places))]
    elsewhere = z3.SolverFor("QF_LIA")
    elsewhere.add(*(m >= 0 for m in tokens), encoded(negation(exactly(net.initial)), tokens))
    elsewhere.add(*(encoded(invariant.formula(), tokens) for invariant in place_invariants(net)))
    weights = [z3.Real(f"w{p}") for p in range(len(net.places))]
    lowers = [z3.Bool(f"d{t}") for t in transitions]
    ranking = z3.SolverFor("QF_LRA")
    # The weighted sum is least where it all ends; asking for nothing there finds weights much sooner.
    ranking.add(*(w == 0 if n else w >= 0 for w, n in zip(weights, net.initial, strict=True)))
    for t in transitions:
        if net.effect[t]:
            change = z3.Sum([d * weights[p] for p, d in net.effect[t]])
            ranking.add(z3.Implies(lowers[t], change <= -1))
        else:
            ranking.add(z3.Not(lowers[t]))
    while budget.left():
        if _checked(ranking, budget) != z3.sat:
            return False
        found = ranking.model()
        weight = [_fraction(found.eval(w, model_completion=True)) for w in weights]
        lowering = [t for t in transitions if sum(d * weight[p] for p, d in net.effect[t]) <= -1]
        elsewhere.push()
        elsewhere.add(*(encoded(negation(fireable(net, t)), tokens) for t in lowering))
        status = _checked(elsewhere, budget)
        if status != z3.sat:
            return bool(status == z3.unsat)
        model = elsewhere.model()
        elsewhere.pop()
        marking = [int(str(model.eval(m, model_completion=True))) for m in tokens]
        ranking.add(z3.Or([lowers[t] for t in transitions if net.enabled(marking, t)]))
    return False


def _counted(net: PTNet) -> tuple[list[z3.ArithRef], list[z3.ArithRef]]:
    """How often each transition fires, and what that does to each place."""
    import z3

    counts = [z3.Real(f"x{t}") for t in range(len(net.transitions))]
    rows: dict[int, list[z3.ArithRef]] = defaultdict(list)
    for t, effect in enumerate(net.effect):
        for p, d in effect:
            rows[p].append(d * counts[t])
    return counts, [z3.Sum(row) for row in rows.values()]


def _checked(solver: z3.Solver, budget: Budget) -> z3.CheckSatResult:
    solver.set("timeout", max(1, int(1000 * budget.left())))
    return solver.check()


def _fraction(value: z3.ExprRef) -> Fraction:
    return Fraction(str(value))
