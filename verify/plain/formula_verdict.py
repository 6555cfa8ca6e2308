"""A temporal formula of a user, with a verdict that people can read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget, Reachable
from provenet.verify.plain.decide import Decision, decide
from provenet.verify.plain.formula_text import parse_formula, shown
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.paths import Path, of_paths
from provenet.verify.verdict import Status

VACUITY = 0.5
"""Part of the time that is left, spent on whether the formula says anything."""


LONGEST = 400
"""Characters of a condition that is shown; that nothing is enabled takes a word for each transition."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that shows a verdict.

    Attributes:
        path: Its firings.
        says: What it shows.
    """

    path: Path
    says: str


@dataclass(frozen=True, slots=True)
class FormulaVerdict:
    """What is known of a formula.

    Attributes:
        formula: The formula.
        status: What is known.
        reason: Why, in one sentence.
        engines: Who found out.
        seconds: How long it took.
        run: A run that shows it, where one does.
        notes: What makes the formula say less than it seems to.
    """

    formula: str
    status: Status
    reason: str
    engines: tuple[str, ...]
    seconds: float
    run: Run | None = None
    notes: tuple[str, ...] = ()

    def to_json(self, net: PTNet) -> dict[str, Any]:
        """For programs."""
        out: dict[str, Any] = {
            "formula": self.formula,
            "verdict": str(self.status),
            "seconds": round(self.seconds, 3),
            "engine": ", ".join(self.engines),
            "reason": self.reason,
            "notes": list(self.notes),
        }
        if self.run is not None:
            names = net.transitions
            out["run"] = {
                "shows": self.run.says,
                "first": [names[t] for t in self.run.path.first],
                "loop": [names[t] for t in self.run.path.loop],
                "end": self.run.path.end,
            }
        return out


def prove_formula(
    net: PTNet, formula: str | tl.Temporal, *, timeout: float = 60.0, jobs: int = 1
) -> FormulaVerdict:
    """Decide a temporal formula about a net's initial marking.

    A formula about paths without a quantifier is about all of them.

    Args:
        net: The net.
        formula: As text (``provenet.verify.plain.formula_text``), or built.
        timeout: Seconds.
        jobs: How many engines may run at once.

    Raises:
        FormulaError: The text is no formula of this net.
    """
    began = time.monotonic()
    budget = Budget.seconds(timeout)
    asked = parse_formula(formula, net) if isinstance(formula, str) else formula
    linear = not tl.is_state(asked)
    if linear:
        asked = tl.A(asked)
    text = shown(asked, net)
    simple = tl.simplified(asked)
    if simple in (tl.TRULY, tl.FALSELY):
        status = Status.PROVED if simple == tl.TRULY else Status.REFUTED
        constant = (f"it is {str(simple == tl.TRULY).lower()} of every net: its constants decide it",)
        return FormulaVerdict(
            text, status, "logic alone", ("logic",), time.monotonic() - began, notes=constant
        )
    question = of_paths(net, asked) if linear else asked
    decision = next((d for _, d in decide(net, [question], budget, jobs=jobs)), None)
    seconds = time.monotonic() - began
    if decision is None:
        return FormulaVerdict(text, Status.UNKNOWN, _why_open(simple, timeout), (), seconds)
    status = Status.PROVED if decision.holds else Status.REFUTED
    notes = tuple(_vacuous(net, asked, budget.share(VACUITY), jobs)) if decision.holds else ()
    return FormulaVerdict(
        text, status, _reason(decision), decision.engines, seconds, _run(net, decision), notes
    )


def _why_open(simple: tl.Temporal, timeout: float) -> str:
    leaves = [f for f in tl.subformulas(simple) if isinstance(f, tl.A | tl.E)]
    if any(not tl.is_ctl(leaf) and not tl.is_ltl(leaf) for leaf in leaves):
        return "path formulas are nested in ways that neither CTL nor LTL has"
    return f"no engine came to an end in {timeout:g} s, or within its memory"


def _reason(decision: Decision) -> str:
    known = max((s.markings for _, s in decision.settled), default=0)
    by = f"by {', '.join(decision.engines)}" if decision.engines else "by logic"
    return f"{by}, which looked at {known:,} markings" if known else by


def _run(net: PTNet, decision: Decision) -> Run | None:
    for leaf, settled in decision.settled:
        if settled.path is not None:
            verb = "satisfies" if settled.holds else "breaks"
            return Run(settled.path, f"this run {verb} {shown(leaf, net)}")
        if settled.breaks is not None:
            firings, inner = settled.breaks
            return Run(Path(firings, end="any"), f"after this run {shown(inner, net)} does not hold")
    for goal, answer in decision.evidence:
        if isinstance(answer, Reachable):
            text = shown(tl.Now(goal), net)
            says = f"after this run {text}" if len(text) <= LONGEST else "this run leads to what decides it"
            return Run(Path(answer.firings, end="any"), says)
    return None


def _vacuous(net: PTNet, formula: tl.Temporal, budget: Budget, jobs: int) -> Iterator[str]:
    """Left sides of implications that no reachable marking satisfies (Beer et al., CAV 1997)."""
    left = list(dict.fromkeys(_left_sides(formula)))
    asked = [tl.E(tl.F(side)) for side in left]
    for i, decision in decide(net, asked, budget, jobs=jobs):
        if not decision.holds:
            yield f"{shown(left[i], net)} never holds, so what follows from it is not tested"


def _left_sides(formula: tl.Temporal) -> Iterator[tl.Now]:
    for part in tl.subformulas(formula):
        if isinstance(part, tl.Either):
            for piece in part.parts:
                if isinstance(piece, tl.Not) and isinstance(piece.of, tl.Now):
                    yield piece.of
