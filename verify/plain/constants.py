"""What reachability tells of CTL and LTL formulas, asked and put to use.

Each part of a formula that speaks of a marking is bounded by conditions (``rules``): a part whose upper bound
is never reached is false everywhere, one whose lower bound never fails is true everywhere, and what is left
of the formula is smaller (query simplification; Bønneland, Dyhr, Jensen, Johannsen & Srba, "Simplification of
CTL formulae for efficient model checking of Petri nets", PETRI NETS 2018). ``EF part`` holds where the part's
lower bound is reached, and ``AG part`` fails where the upper one can fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Answer, Reachable, Unreachable
from provenet.verify.plain.logic import FALSE, TRUE, Formula, atoms_of, holds, negation
from provenet.verify.plain.rules import Rules, is_global, state_formulas, with_values

WIDEST = 600
"""Different atoms of a condition that is worth asking for."""


@dataclass(frozen=True, slots=True)
class Question:
    """A part of a formula, and what reachability of a goal says of it.

    Attributes:
        part: The part.
        goal: The goal.
        reached: The part's value in the initial marking where the goal is reachable; ``None``: nothing.
        never: Its value in every reachable marking where the goal is unreachable; ``None``: nothing.
        here: Its value in a marking that is not of the goal; ``None``: nothing.
    """

    part: tl.Temporal
    goal: Formula
    reached: bool | None = None
    never: bool | None = None
    here: bool | None = None


def questions(
    rules: Rules, formulas: Sequence[tl.Temporal], *, depth: Literal["parts", "conditions"] = "parts"
) -> list[Question]:
    """What to ask for the sake of simplified quantified formulas.

    Args:
        rules: What bounds them.
        formulas: The formulas.
        depth: ``conditions``: only whether the conditions on markings that occur are ever reached.
    """
    if depth == "conditions":
        return [Question(now, now.formula, never=False) for f in formulas for now in _conditions(f)]
    # What deadlocks alone would satisfy is never so everywhere.
    shallow = Rules(rules.net, deadlocks="none")
    found = (bound for formula in formulas for bound in _bounds(rules, shallow, formula))
    wanted = (b for b in dict.fromkeys(found) if b.goal != TRUE)
    return [b for b in wanted if len(atoms_of(b.goal)) <= WIDEST]


def _bounds(rules: Rules, shallow: Rules, formula: tl.Temporal) -> Iterator[Question]:
    if not tl.is_ctl(formula):
        for now in _conditions(formula):
            yield Question(now, now.formula, never=False)
            yield Question(now, negation(now.formula), never=True)
        return
    for part in state_formulas(formula):
        yield Question(part, shallow.at_most(part), never=False, here=False)
        yield Question(part, negation(shallow.at_least(part)), never=True, here=True)
        if part == formula or rules.runs == "return":
            match part:
                case tl.E(tl.F(of)):
                    yield Question(part, rules.at_least(of), reached=True)
                case tl.A(tl.G(of)):
                    yield Question(part, negation(rules.at_most(of)), reached=False)
        if rules.runs == "end":
            match part:
                case tl.A(tl.F(of)):
                    yield Question(part, rules.at_the_end(tl.simplified(of, negated=True)), never=True)
                case tl.E(tl.G(of)):
                    yield Question(part, rules.at_the_end(of), never=False)


def _conditions(formula: tl.Temporal) -> Iterator[tl.Now]:
    return (part for part in tl.subformulas(formula) if isinstance(part, tl.Now))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of parts of formulas.

    Attributes:
        everywhere: Parts that have one value in all reachable markings, with it and who found that.
        at_first: Quantified formulas whose value in the initial marking is known, likewise.
    """

    everywhere: Mapping[tl.Temporal, tuple[bool, str]]
    at_first: Mapping[tl.Temporal, tuple[bool, str]]

    def applied(self, formula: tl.Temporal) -> tuple[tl.Temporal, tuple[str, ...]]:
        """What is left of a formula, and who helped."""
        used = [(part, *self.everywhere[part]) for part in tl.subformulas(formula) if part in self.everywhere]
        if not used:
            return formula, ()
        changed = tl.simplified(with_values(formula, {part: value for part, value, _ in used}))
        return changed, tuple(dict.fromkeys(engine for *_, engine in used))


def facts(rules: Rules, asked: Sequence[Question], known: Mapping[Formula, Answer]) -> Facts:
    """What answers to questions tell.

    Args:
        rules: The rules that the questions are from.
        asked: The questions.
        known: Answers to their goals, as far as there are any.
    """
    everywhere: dict[tl.Temporal, tuple[bool, str]] = {}
    at_first: dict[tl.Temporal, tuple[bool, str]] = {}
    for bound in asked:
        answer = known.get(bound.goal)
        if bound.never is not None and (bound.goal == FALSE or isinstance(answer, Unreachable)):
            everywhere[bound.part] = bound.never, answer.engine if answer is not None else "logic"
        if bound.reached is not None and isinstance(answer, Reachable):
            at_first[bound.part] = bound.reached, answer.engine
        if bound.here is not None and not holds(bound.goal, rules.net.initial):
            at_first.setdefault(bound.part, (bound.here, "initial marking"))
    if rules.runs == "return":
        # What can be reached, or always holds, is so everywhere.
        everywhere |= {f: v for f, v in at_first.items() if f not in everywhere and is_global(f)}
    return Facts(everywhere, at_first)


def informed(rules: Rules, known: Mapping[Formula, Answer]) -> Rules:
    """The rules, where no deadlock is reachable with that knowledge."""
    if rules.deadlocks == "possible" and isinstance(known.get(rules.dead), Unreachable):
        return Rules(rules.net, rules.runs, "none")
    return rules
