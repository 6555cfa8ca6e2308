"""Property-directed reachability: Spacer looks for an inductive invariant that excludes the goal.

Komuravelli, Gurfinkel & Chaki, "SMT-based model checking for recursive programs", CAV 2014, on the net as one
predicate over the counts of all places (Amat, Dal Zilio & Hujsa, "Property directed reachability for
generalized Petri nets", TACAS 2022, do the same with their own frames). The invariant is translated back into
a formula over places and is checked by one induction step before it is told. Semi-decides both answers; only
proofs are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import z3

from provenet.verify.plain.answer import Answer, Budget, Inductive, Unreachable
from provenet.verify.plain.invariants import place_invariants
from provenet.verify.plain.logic import (
    FALSE,
    TRUE,
    Formula,
    at_least,
    at_most,
    conj,
    disj,
    encoded,
    equal,
    holds,
    negation,
    places_of,
)
from provenet.verify.plain.net import PTNet


@dataclass(frozen=True, slots=True)
class Spacer:
    """Proofs by inductive invariants."""

    name: str = "spacer"

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """One goal after the other."""
        facts = conj(invariant.formula() for invariant in place_invariants(net))
        for i, goal in enumerate(goals):
            if not budget.left():
                return
            if budget.answered(i) or holds(goal, net.initial):
                continue
            found = _invariant(net, goal, facts, budget.share(1 / (len(goals) - i)))
            if found is None:
                continue
            whole = conj([found, facts, negation(goal)])
            if holds(whole, net.initial) and kept(net, whole, budget):
                yield i, Unreachable(Inductive(whole), self.name)


def _invariant(net: PTNet, goal: Formula, facts: Formula, budget: Budget) -> Formula | None:
    fp = z3.Fixedpoint()
    fp.set(engine="spacer", timeout=max(1, int(1000 * budget.left())))
    fp.set("xform.slice", False)
    fp.set("xform.inline_linear", False)
    fp.set("xform.inline_eager", False)
    places = len(net.places)
    tokens = [z3.Int(f"m{p}") for p in range(places)]
    reach = z3.Function("reach", *[z3.IntSort()] * places, z3.BoolSort())
    bad = z3.Bool("bad")
    fp.register_relation(reach, bad.decl())
    fp.declare_var(*tokens)
    fp.fact(reach(*[z3.IntVal(n) for n in net.initial]))
    context = encoded(facts, tokens)
    for t in range(len(net.transitions)):
        change = dict(net.effect[t])
        enabled = [tokens[p] >= w for p, w in net.pre[t]]
        after = [m + change[p] if p in change else m for p, m in enumerate(tokens)]
        fp.rule(reach(*after), [reach(*tokens), context, *enabled])
    fp.rule(bad, [reach(*tokens), context, encoded(goal, tokens)])
    try:
        if fp.query(bad) != z3.unsat:
            return None
        return _translated(fp.get_cover_delta(-1, reach), places)
    except z3.Z3Exception:
        return None


def kept(net: PTNet, invariant: Formula, budget: Budget) -> bool:
    """Whether every firing keeps an invariant; ``False`` too where time does not tell."""
    before = [z3.Int(f"m{p}") for p in range(len(net.places))]
    solver = z3.SolverFor("QF_LIA")
    solver.add([m >= 0 for m in before])
    solver.add(encoded(invariant, before))
    read = places_of(invariant)
    for t, effect in enumerate(net.effect):
        change = dict(effect)
        if not read & change.keys():
            continue
        after = [m + change[p] if p in change else m for p, m in enumerate(before)]
        solver.push()
        solver.add([before[p] >= w for p, w in net.pre[t]])
        solver.add(z3.Not(encoded(invariant, after)))
        solver.set("timeout", max(1, int(1000 * budget.left())))
        answer = solver.check()
        solver.pop()
        if answer != z3.unsat:
            return False
    return True


def _translated(term: z3.ExprRef, places: int) -> Formula | None:
    """A Z3 term over the predicate's arguments as a formula; ``None`` where it says more than that."""
    if z3.is_true(term):
        return TRUE
    if z3.is_false(term):
        return FALSE
    if z3.is_not(term):
        inner = _translated(term.arg(0), places)
        return None if inner is None else negation(inner)
    if z3.is_and(term) or z3.is_or(term):
        parts = [_translated(part, places) for part in term.children()]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return conj(known) if z3.is_and(term) else disj(known)
    if not (z3.is_le(term) or z3.is_ge(term) or z3.is_lt(term) or z3.is_gt(term) or z3.is_eq(term)):
        return None
    left, right = _linear(term.arg(0)), _linear(term.arg(1))
    if left is None or right is None:
        return None
    terms = dict(left[0])
    for p, c in right[0].items():
        terms[p] = terms.get(p, 0) - c
    value = right[1] - left[1]
    if z3.is_le(term):
        return at_most(terms, value)
    if z3.is_lt(term):
        return at_most(terms, value - 1)
    if z3.is_ge(term):
        return at_least(terms, value)
    if z3.is_gt(term):
        return at_least(terms, value + 1)
    return equal(terms, value)


def _linear(term: z3.ExprRef) -> tuple[dict[int, int], int] | None:
    """Coefficients of the predicate's arguments, and a constant."""
    if z3.is_int_value(term):
        return {}, term.as_long()
    if z3.is_var(term):
        return {z3.get_var_index(term): 1}, 0
    if z3.is_add(term) or z3.is_sub(term):
        total: dict[int, int] = {}
        constant = 0
        for n, child in enumerate(term.children()):
            part = _linear(child)
            if part is None:
                return None
            sign = -1 if n and z3.is_sub(term) else 1
            for p, c in part[0].items():
                total[p] = total.get(p, 0) + sign * c
            constant += sign * part[1]
        return total, constant
    if z3.is_mul(term) and term.num_args() == 2 and z3.is_int_value(term.arg(0)):
        part = _linear(term.arg(1))
        factor = term.arg(0).as_long()
        return None if part is None else ({p: factor * c for p, c in part[0].items()}, factor * part[1])
    return None
