"""Temporal formulas on a plain net: what reachability answers goes to the portfolio, the rest further on.

A formula is true or false in the initial marking. It is a Boolean combination of *leaves*: ``EF`` and ``AG``
of a state formula are reachability goals, shared by all formulas of a call; other quantified formulas go to
the engines for CTL and LTL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Answer, Budget, Reachable
from provenet.verify.plain.logic import Formula, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.plan import reachability_stages
from provenet.verify.plain.portfolio import answers


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known of a formula.

    Attributes:
        holds: Whether it holds in the initial marking.
        engines: Who answered the parts that this rests on.
        evidence: The goals that it rests on, with their answers.
    """

    holds: bool
    engines: tuple[str, ...] = ()
    evidence: tuple[tuple[Formula, Answer], ...] = ()


def decide(
    net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget, *, jobs: int = 1
) -> Iterator[tuple[int, Decision]]:
    """Decide formulas, each as soon as what is known suffices.

    Args:
        net: The net.
        formulas: Formulas about the net's initial marking.
        budget: Time for all of them.
        jobs: How many engines may run at once.
    """
    open_ = {i: tl.simplified(f) for i, f in enumerate(formulas)}
    goals = list(dict.fromkeys(r.goal for f in open_.values() for r in _goals(f)))
    known: dict[Formula, Answer] = {}

    def news() -> Iterator[tuple[int, Decision]]:
        for i, formula in list(open_.items()):
            found = _value(net, formula, known)
            if found is not None:
                del open_[i]
                yield i, found

    yield from news()
    wanted = [g for g in goals if any(g == r.goal for f in open_.values() for r in _goals(f))]
    for n, answer in answers(net, wanted, budget, stages=reachability_stages(), jobs=jobs):
        known[wanted[n]] = answer
        yield from news()
        if not open_:
            return


def _goals(formula: tl.Temporal) -> Iterator[tl.Reach]:
    match formula:
        case tl.Both(parts) | tl.Either(parts):
            for part in parts:
                yield from _goals(part)
        case _:
            found = tl.as_reachability(formula)
            if found is not None:
                yield found


def _value(net: PTNet, formula: tl.Temporal, known: Mapping[Formula, Answer]) -> Decision | None:
    """The value of a formula as far as the answers so far tell (Kleene's three values)."""
    match formula:
        case tl.Now(of):
            return Decision(holds(of, net.initial), ("initial marking",))
        case tl.Both(parts) | tl.Either(parts):
            deciding = isinstance(formula, tl.Either)
            found = [_value(net, part, known) for part in parts]
            for one in found:
                if one is not None and one.holds == deciding:
                    return one
            sure = [one for one in found if one is not None]
            if len(sure) < len(found):
                return None
            engines = dict.fromkeys(e for one in sure for e in one.engines)
            return Decision(not deciding, tuple(engines), tuple(e for one in sure for e in one.evidence))
    asked = tl.as_reachability(formula)
    answer = None if asked is None else known.get(asked.goal)
    if asked is None or answer is None:
        return None
    value = isinstance(answer, Reachable) == asked.holds_if
    return Decision(value, (answer.engine,), ((asked.goal, answer),))
