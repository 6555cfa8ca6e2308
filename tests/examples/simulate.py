"""Runs of the renewal net by the firing rule alone: in any order, and against a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any

from provenet.examples.contract_renewal.people import CasePlan, decide
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.firing import Firing, NetRule
from provenet.nets.marking import Marking, initial_marking, is_final
from provenet.nets.models import from_value, to_value
from provenet.nets.net import (
    After,
    Ask,
    Auto,
    Choice,
    Explain,
    Net,
    OnFailure,
    Perform,
    Signal,
    Transition,
)
from provenet.nets.schema import (
    BoolType,
    DateTimeType,
    DurationType,
    EnumType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
    Value,
    plainest,
)
from provenet.sdb.handlers import Agent, ProposalFault, Request
from provenet.sdb.policy import explain
from provenet.sdb.reject import Reject
from provenet.sdb.saga import KILL_SIGNAL

_LOOP = asyncio.Runner()


@dataclass
class Step:
    """One firing of a run, and what an effect was given."""

    transition: str
    binding: Mapping[str, Value]
    effect: str = ""
    payload: Any = None


@dataclass
class Run:
    """A finished run."""

    net: Net
    marking: Marking
    steps: list[Step] = field(default_factory=list)

    @property
    def end(self) -> str:
        """The final place."""
        (place,) = self.marking
        return place

    @property
    def outcome(self) -> Any:
        """The outcome token, as a model."""
        ((place, (value,)),) = self.marking.items()
        return from_value(value, self.net.place(place).type)

    def effects(self) -> list[tuple[str, Any]]:
        """Effects that were performed, in order, with what they were given."""
        return [(s.effect, s.payload) for s in self.steps if s.effect]

    def fired(self, name: str) -> list[Step]:
        """The firings of one transition."""
        return [s for s in self.steps if s.transition == name]


@lru_cache(maxsize=8)
def _rule(net: Net) -> NetRule:
    return NetRule(net)


class Player:
    """Plays one case of an agent by the firing rule.

    Args:
        agent: The agent; its proposers are really asked, its effects are not performed.
        seed: Decides what the outside answers, and in which order things happen.
    """

    def __init__(self, agent: Agent, seed: int) -> None:
        self.agent, self.net = agent, agent.net
        self.rule = _rule(self.net)
        self.random = random.Random(seed)
        self.seed = seed
        self.refused = 0.0

    def at_random(self, case: Value, *, kill: float = 0.005, refused: float = 0.1) -> Run:
        """A run in which anything that can happen happens, sooner or later.

        Args:
            case: The token that the case starts with.
            kill: Chance of the kill switch at each step.
            refused: Chance that an effect fails for good, where that is provided for.
        """
        self.refused = refused
        run = Run(self.net, initial_marking(self.net, {"waiting": case}))
        while not is_final(self.net, run.marking):
            enabled = [
                f for f in self.rule.enabled(run.marking) if not isinstance(self._t(f).trigger, OnFailure)
            ]
            if self.random.random() >= kill:
                enabled = [f for f in enabled if f.transition != "kill"] or enabled
            assert enabled, f"stuck with seed {self.seed}: {run.marking}"
            weights = [_WEIGHTS.get(f.transition, 1.0) for f in enabled]
            (firing,) = self.random.choices(enabled, weights)
            self.fire(run, firing, outside=self._anything)
            assert len(run.steps) < 500, "the run does not end"
        return run

    def by_the_clock(self, plan: CasePlan) -> Run:
        """The run in which a plan's people and events come at their times."""
        run = Run(
            self.net, initial_marking(self.net, {"waiting": to_value(plan.case, self._type("waiting"))})
        )
        now = plan.case.day0 - timedelta(days=91)
        events = list(plan.events)
        arrived = dict.fromkeys(run.marking, now)
        while not is_final(self.net, run.marking):
            enabled = list(self.rule.enabled(run.marking))
            prompt = [f for f in enabled if isinstance(self._t(f).trigger, Auto | Explain | Ask | Perform)]
            if prompt:
                firing = prompt[0]
                outside: Callable[[Type], Value] = plainest
            else:
                due = [
                    (self._due(f, arrived), i, f)
                    for i, f in enumerate(enabled)
                    if isinstance(self._t(f).trigger, After)
                ]
                due += [(at, i, f) for i, f in enumerate(enabled) for at in self._decided(plan, f, arrived)]
                timed = min(due, default=None)
                if events and (timed is None or events[0].at <= timed[0]):
                    event = events.pop(0)
                    now = max(now, event.at)
                    heard = [f for f in enabled if self._t(f).trigger == Signal(event.event)]
                    if not heard:
                        continue
                    firing, outside = heard[0], partial(to_value, event.payload)
                else:
                    assert timed is not None, f"nothing will ever happen: {run.marking}"
                    now, firing, outside = max(now, timed[0]), timed[2], plainest
            before = run.marking
            self.fire(run, firing, outside=outside)
            for place in run.marking:
                if run.marking[place] != before[place]:
                    arrived[place] = now
            assert len(run.steps) < 500, "the run does not end"
        return run

    def fire(self, run: Run, firing: Firing, *, outside: Callable[[Type], Value]) -> None:
        """Fire one transition; where its proposer or its effect fails, fire its failure instead."""
        t, binding, step = self._t(firing), dict(firing.binding), Step(firing.transition, firing.binding)
        match t.trigger:
            case Ask(handler, payload):
                assert payload is not None
                try:
                    binding[t.fresh[0].var] = self._ask(
                        run, t, handler, self.rule.evaluate(t.name, payload, binding)
                    )
                except ProposalFault as fault:
                    t, binding = self._failed(t, binding, fault.reject)
            case Explain(contract):
                binding[t.fresh[0].var] = self._explained(t, contract, binding)
            case Perform(handler, payload):
                assert payload is not None
                failure = self._failure(t.name)
                if failure is not None and self.random.random() < self.refused:
                    t, binding = self._failed(
                        t, binding, Reject("service", expected="yes", got="no", retryable=False)
                    )
                else:
                    step.effect = handler
                    given = self.rule.evaluate(t.name, payload, binding)
                    step.payload = from_value(given, self.agent.effect(handler).payload_type)
                    receipt = (f"key-{len(run.steps)}", f"ref-{len(run.steps)}")
                    binding[t.fresh[0].var] = receipt
            case _:
                for fresh in t.fresh:
                    binding[fresh.var] = outside(fresh.type)
        run.marking = self.rule.fire(run.marking, t.name, binding)
        step.transition, step.binding = t.name, binding
        run.steps.append(step)

    def _ask(self, run: Run, t: Transition, handler: str, payload: Value) -> Value:
        trigger = t.trigger
        assert isinstance(trigger, Ask)
        assert trigger.payload is not None
        of = compile_type(self.net, t, trigger)
        returns = t.fresh[0].type
        request = Request("case", f"{self.seed}-{len(run.steps)}", from_value(payload, of), of, returns)
        return _LOOP.run(self.agent.proposer(handler).propose(request)).value

    def _explained(self, t: Transition, contract: str, binding: Mapping[str, Value]) -> Value:
        info = self.net.contract(contract)
        (arc,) = t.takes
        token = binding[arc.var or ""]
        of = self._type(arc.place)
        if of == info.inputs:
            proposal = inputs = token
        else:
            assert isinstance(of, RecordType)
            inputs, proposal = (token[of.index(n) or 0] for n in ("inputs", "proposal"))
        reject = explain(info, proposal=proposal, inputs=inputs)
        assert reject is not None, f"{t.name} fires and no rule says why"
        return reject.value()

    def _failed(
        self, t: Transition, binding: dict[str, Value], reject: Reject
    ) -> tuple[Transition, dict[str, Value]]:
        failure = self._failure(t.name)
        assert failure is not None
        return failure, {
            failure.takes[0].var or "": binding[t.takes[0].var or ""],
            failure.fresh[0].var: reject.value(),
        }

    def _failure(self, name: str) -> Transition | None:
        return next((t for t in self.net.transitions if t.trigger == OnFailure(name)), None)

    def _due(self, firing: Firing, arrived: Mapping[str, datetime]) -> datetime:
        t = self._t(firing)
        assert isinstance(t.trigger, After)
        delay = self.rule.evaluate(t.name, t.trigger.delay, firing.binding)
        return delay if isinstance(delay, datetime) else arrived[t.takes[0].place] + delay

    def _decided(self, plan: CasePlan, firing: Firing, arrived: Mapping[str, datetime]) -> Iterator[datetime]:
        t = self._t(firing)
        if isinstance(t.trigger, Choice):
            (arc,) = t.takes
            shown = from_value(firing.binding[arc.var or ""], self._type(arc.place))
            decision = decide(plan, t.trigger.task, shown)
            if decision is not None and decision.choice == t.trigger.choice:
                yield arrived[t.takes[0].place] + decision.after

    def _anything(self, of: Type) -> Value:
        return some_value(of, self.random)

    def _t(self, firing: Firing) -> Transition:
        return self.net.transition(firing.transition)

    def _type(self, place: str) -> Type:
        return self.net.place(place).type


def compile_type(net: Net, t: Transition, trigger: Ask) -> Type:
    """The type of what a proposer sees: the contract's inputs."""
    assert trigger.payload is not None
    compile_expr(trigger.payload, net.scope(t))
    return net.contract(t.contract).inputs


def some_value(of: Type, rng: random.Random) -> Value:
    """A value of a type; numbers and names are drawn where policies have their limits."""
    match of:
        case UnitType():
            return ()
        case BoolType():
            return rng.random() < 0.5
        case IntType(lo, hi):
            telling = [n for n in _TELLING if (lo is None or lo <= n) and (hi is None or n <= hi)]
            return rng.choice(telling)
        case StrType():
            return rng.choice(("C-001", "C-012", "7590-VHVEG", "DSL", ""))
        case EnumType(_, values):
            return rng.choice(values)
        case OptionalType(item):
            return None if rng.random() < 0.3 else some_value(item, rng)
        case RecordType(_, fields):
            return tuple(some_value(f.type, rng) for f in fields)
        case DateTimeType() | DurationType() | ListType():
            return plainest(of)
    raise AssertionError(of)


_TELLING = (0, 1, 12, 20, 21, 24, 30, 31, 35, 36, 40, 45, 50, 51, 60, 90, 100, 7_000, 7_001, 9_500, 9_501)
# What would end most random runs before anything interesting happens.
_WEIGHTS = {
    "window never opens": 0.02,
    "30 idle days": 0.5,
    "let the agent go on.deny": 0.2,
    "let the agent go on.timeout": 0.1,
    "discontinue plan": 0.05,
}

__all__ = ["KILL_SIGNAL", "Player", "Run", "Step", "some_value"]
