"""Temporal formulas on a plain net: what reachability answers goes to the portfolio, the rest further on.

A formula is true or false in the initial marking. It is a Boolean combination of *leaves*: ``EF`` and ``AG``
of a state formula are reachability goals, shared by all formulas of a call; other quantified formulas go to
the engines for CTL and LTL. Where those do not come to an end, reachability helps them: a condition that no
marking satisfies is false wherever it occurs, and a run to a certain deadlock may refute a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Answer, Budget, Reachable
from provenet.verify.plain.constants import facts, informed, questions
from provenet.verify.plain.hints import at_the_end
from provenet.verify.plain.logic import Formula, conj, deadlock, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.paths import Path
from provenet.verify.plain.plan import reachability_stages
from provenet.verify.plain.plan_temporal import HELP, Logic, first_stages, help_stages, last_stages
from provenet.verify.plain.portfolio import Stage, answers, settle
from provenet.verify.plain.rules import Rules
from provenet.verify.plain.runs import runs_of
from provenet.verify.plain.settled import Settled

FEW = 40
"""Formulas; where more are open, as many transitions are asked about, only conditions are asked for."""

LOOK = 3.0
RUNS = 0.04
"""Most seconds for finding out whether all runs end, or can return, and the part of the time that is left."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known of a formula.

    Attributes:
        holds: Whether it holds in the initial marking.
        engines: Who answered the parts that this rests on.
        evidence: The goals that it rests on, with their answers.
        settled: The other quantified formulas that it rests on, with their answers.
    """

    holds: bool
    engines: tuple[str, ...] = ()
    evidence: tuple[tuple[Formula, Answer], ...] = ()
    settled: tuple[tuple[tl.Temporal, Settled], ...] = ()


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
    case = _Case(net, {i: tl.simplified(f) for i, f in enumerate(formulas)})
    yield from case.news()
    if case.hard():
        # Those that do not need others' help come along: the graph answers them too.
        leaves = [*case.hard(), *map(_asking, case.goals())]
        plan = first_stages(budget.left(), case.logic())
        for n, settled in settle(net, leaves, budget, stages=plan, jobs=jobs):
            case.settle(leaves[n], settled)
            yield from case.news()
    if not case.open:
        return
    yield from case.helped_by_reachability(budget, jobs=jobs)
    if goals := case.goals():
        share = budget.share(HELP[case.logic()][0]) if case.hard() else budget
        yield from case.reached(goals, share, reachability_stages(budget.left()), jobs=jobs)
    if leaves := case.hard():
        plan = last_stages(budget.left(), case.logic())
        for n, settled in settle(net, leaves, budget, stages=plan, jobs=jobs):
            case.settle(leaves[n], settled)
            yield from case.news()
    if goals := case.goals():
        yield from case.reached(goals, budget, reachability_stages(budget.left()), jobs=jobs)


def _hints(net: PTNet, hard: Sequence[tl.Temporal]) -> dict[Formula, list[tl.Temporal]]:
    """Deadlocks to reach, with the formulas that they decide."""
    dead = deadlock(net)
    out: dict[Formula, list[tl.Temporal]] = {}
    for leaf in hard[:FEW]:
        condition = at_the_end(leaf)
        if condition is not None:
            out.setdefault(conj((dead, condition)), []).append(leaf)
    return out


@dataclass(slots=True)
class _Case:
    """The open formulas of a call, and what is known."""

    net: PTNet
    open: dict[int, tl.Temporal]
    known: dict[Formula, Answer] = field(default_factory=dict)
    settled: dict[tl.Temporal, Settled] = field(default_factory=dict)
    helped: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def settle(self, leaf: tl.Temporal, settled: Settled) -> None:
        """An engine answered a leaf."""
        self.settled[leaf] = settled

    def news(self) -> Iterator[tuple[int, Decision]]:
        """The formulas that are decided now."""
        for i, formula in list(self.open.items()):
            found = self._value(formula)
            if found is not None:
                del self.open[i]
                if i in self.helped:
                    engines = tuple(dict.fromkeys((*self.helped[i], *found.engines)))
                    found = Decision(found.holds, engines, found.evidence, found.settled)
                yield i, found

    def goals(self) -> list[Formula]:
        """The reachability goals that open formulas ask for."""
        asked = (tl.as_reachability(leaf) for f in self.open.values() for leaf in _leaves(f))
        goals = dict.fromkeys(r.goal for r in asked if r is not None)
        return [g for g in goals if g not in self.known and _asking(g) not in self.settled]

    def hard(self) -> list[tl.Temporal]:
        """The other leaves of open formulas that nobody answered."""
        found = (leaf for f in self.open.values() for leaf in _leaves(f) if tl.as_reachability(leaf) is None)
        return list(dict.fromkeys(leaf for leaf in found if leaf not in self.settled))

    def logic(self) -> Logic:
        """What the formulas are that are more than reachability."""
        return "CTL" if any(map(tl.is_ctl, self.hard())) else "LTL"

    def reached(
        self, goals: Sequence[Formula], budget: Budget, stages: Sequence[Stage], *, jobs: int
    ) -> Iterator[tuple[int, Decision]]:
        """Ask for goals, and tell what formulas the answers decide."""
        hints = _hints(self.net, self.hard())
        for n, answer in answers(self.net, goals, budget, stages=stages, jobs=jobs):
            self.known[goals[n]] = answer
            if isinstance(answer, Reachable):
                path = Path(answer.firings, end="deadlock")
                for leaf in hints.get(goals[n], ()):
                    self.settle(leaf, Settled(isinstance(leaf, tl.E), answer.engine, path=path))
            yield from self.news()
            if not self.open:
                return

    def helped_by_reachability(self, budget: Budget, *, jobs: int) -> Iterator[tuple[int, Decision]]:
        """Make the formulas smaller, ask what bounds their parts, and again for what is left of them."""
        if not self.hard():
            return
        rules = Rules(self.net, runs_of(self.net, seconds=min(LOOK, RUNS * budget.left())))
        before: set[Formula] = set()
        for share in HELP[self.logic()]:
            for i, formula in self.open.items():
                self.open[i] = _with_leaves(formula, rules.smaller)
            yield from self.news()
            unchanged = set(self.open.values())
            hard = self.hard()
            if not hard:
                return
            asked = questions(rules, hard, depth="parts" if len(hard) <= FEW else "conditions")
            goals = dict.fromkeys(
                [*self.goals(), *_hints(self.net, hard), rules.dead, *(b.goal for b in asked)]
            )
            new = [goal for goal in goals if goal not in self.known and goal not in before]
            before.update(new)
            yield from self.reached(new, budget.share(share), help_stages(), jobs=jobs)
            found = facts(rules, asked, self.known)
            for leaf, (value, engine) in found.at_first.items():
                self.settle(leaf, Settled(value, engine))
            for i, formula in self.open.items():
                self.open[i], engines = found.applied(formula)
                if engines:
                    self.helped[i] = tuple(dict.fromkeys((*self.helped.get(i, ()), *engines)))
            yield from self.news()
            better = informed(rules, self.known)
            if better is rules and set(self.open.values()) == unchanged:
                return
            rules = better

    def _value(self, formula: tl.Temporal) -> Decision | None:
        """The value of a formula as far as the answers so far tell (Kleene's three values)."""
        match formula:
            case tl.Now(of):
                return Decision(holds(of, self.net.initial), ("initial marking",))
            case tl.Both(parts) | tl.Either(parts):
                deciding = isinstance(formula, tl.Either)
                found = [self._value(part) for part in parts]
                for one in found:
                    if one is not None and one.holds == deciding:
                        return one
                sure = [one for one in found if one is not None]
                if len(sure) < len(found):
                    return None
                engines = dict.fromkeys(e for one in sure for e in one.engines)
                return Decision(
                    not deciding,
                    tuple(engines),
                    tuple(e for one in sure for e in one.evidence),
                    tuple(s for one in sure for s in one.settled),
                )
        asked = tl.as_reachability(formula)
        leaf = formula if asked is None else _asking(asked.goal)
        settled = self.settled.get(leaf)
        if settled is not None:
            value = settled.holds if asked is None else settled.holds == asked.holds_if
            return Decision(value, (settled.engine,), (), ((leaf, settled),))
        answer = None if asked is None else self.known.get(asked.goal)
        if asked is None or answer is None:
            return None
        value = isinstance(answer, Reachable) == asked.holds_if
        return Decision(value, (answer.engine,), ((asked.goal, answer),))


def _leaves(formula: tl.Temporal) -> Iterator[tl.Temporal]:
    """The quantified formulas that a formula is a Boolean combination of."""
    match formula:
        case tl.Both(parts) | tl.Either(parts):
            for part in parts:
                yield from _leaves(part)
        case tl.A() | tl.E():
            yield formula


def _with_leaves(formula: tl.Temporal, change: Callable[[tl.Temporal], tl.Temporal]) -> tl.Temporal:
    """A formula with other quantified formulas in place of its own."""
    match formula:
        case tl.Both(parts):
            return tl.both([_with_leaves(part, change) for part in parts])
        case tl.Either(parts):
            return tl.either([_with_leaves(part, change) for part in parts])
        case tl.A() | tl.E():
            return change(formula)
    return formula


def _asking(goal: Formula) -> tl.Temporal:
    return tl.E(tl.F(tl.Now(goal)))
