"""An agent compiled for running: what to look at when a place changes, how values become text.

Built once per deployed net version. It adds no meaning to the net: every firing still goes through
``provenet.nets.firing.NetRule``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from provenet.engine.codec import Decoder, Encoder, decoder, encoder, quote
from provenet.nets.expr.ast import Expr, Get, Var, free_variables, substitute
from provenet.nets.expr.evaluate import Compiled, compile_expr
from provenet.nets.expr.typing import type_of
from provenet.nets.firing import NetRule
from provenet.nets.formats.canonical import content_hash
from provenet.nets.marking import Marking
from provenet.nets.models import from_value
from provenet.nets.net import (
    After,
    Ask,
    Auto,
    Choice,
    ContractInfo,
    Explain,
    Judge,
    Net,
    OnFailure,
    Perform,
    Put,
    Signal,
    Transition,
)
from provenet.nets.schema import UNIT, RecordType, Type, Value
from provenet.nets.secrets import is_personal, keeps_secrets
from provenet.sdb.handlers import Agent, Effect, Proposer
from provenet.sdb.policy import explain
from provenet.sdb.reject import Reject


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One transition, ready to run.

    Attributes:
        index: Its place in the net's order.
        transition: The transition.
        consumes: Per place, in the firing rule's order: variables taken, and how many anonymous tokens.
        looks: Per place, the variables that read.
        puts: Output places with their weights, in order; then the place's name as JSON, and the variable from
            outside that is put as it came, where it is one.
        brings: Variables from outside with the encoders of their types.
        running: Of the token that stands for work outside: its type, where attempt and signal lie in it, and
            where the inputs, with their type.
        labels: Its variables as JSON keys.
        sole: The variable of the one token that it takes, where that is all that enables it.
        anchor: Place of the first taken token; empty where nothing is taken.
        anchor_var: Its variable; ``None`` for a black token.
        text: Its name as JSON.
    """

    index: int
    transition: Transition
    consumes: tuple[tuple[str, tuple[str, ...], int], ...]
    looks: tuple[tuple[str, tuple[str, ...]], ...]
    puts: tuple[tuple[str, int, str, str], ...]
    brings: tuple[tuple[str, Encoder], ...]
    fresh: tuple[tuple[str, Type], ...]
    anchor: str
    anchor_var: str | None
    payload: Compiled | None
    payload_type: Type
    due: Compiled | None
    running: tuple[Type, int | None, int | None, tuple[int, Type] | None]
    labels: Mapping[str, str]
    sole: str | None
    name: str
    text: str


class Program:
    """A net version with its handlers.

    Args:
        agent: The agent.
        digest: The net's content hash, where it is known already.
    """

    def __init__(self, agent: Agent, digest: str | None = None) -> None:
        self.agent = agent
        self.net: Net = agent.net
        self.hash = digest or content_hash(agent.net)
        self.rule = NetRule(agent.net)
        self.types: dict[str, Type] = {p.name: p.type for p in self.net.places}
        self.secret_places = tuple(p for p, of in self.types.items() if keeps_secrets(of))
        outside = (f.type for t in self.net.transitions for f in t.fresh)
        self.personal = any(map(is_personal, (*self.types.values(), *outside)))
        self.encoders: dict[str, Encoder] = {p.name: encoder(p.type) for p in self.net.places}
        self.decoders: dict[str, Decoder] = {p.name: decoder(p.type) for p in self.net.places}
        self.steps: tuple[Step, ...] = tuple(self._step(i, t) for i, t in enumerate(self.net.transitions))
        self.by_name: dict[str, Step] = {s.name: s for s in self.steps}
        self.on_failure: dict[str, Step] = {
            s.transition.trigger.of: s
            for s in reversed(self.steps)
            if isinstance(s.transition.trigger, OnFailure)
        }
        self.signals: dict[str, tuple[Step, ...]] = {}
        for s in self.steps:
            if isinstance(s.transition.trigger, Signal):
                event = s.transition.trigger.event
                self.signals[event] = (*self.signals.get(event, ()), s)
        self.deliveries = {d.event: d for d in self.net.deliveries}
        self.keeps = any(d.early == "keep" for d in self.net.deliveries)
        self.keys: dict[str, tuple[str, Compiled]] = {
            k.name: (k.place, compile_expr(k.expr, {"it": self.types[k.place]})) for k in self.net.keys
        }
        self.immediate = tuple(s.index for s in self.steps if self.is_immediate(s.transition))
        self.sources = tuple(
            i
            for i in self.immediate
            if not self.steps[i].transition.takes and not self.steps[i].transition.reads
        )
        self.wakes: dict[str, tuple[int, ...]] = self._watch(self.immediate)
        self.starts: dict[str, tuple[Step, ...]] = self._by_anchor(Ask, Perform)
        self.timed: dict[str, tuple[int, ...]] = self._watch(
            tuple(s.index for s in self.steps if isinstance(s.transition.trigger, After))
        )
        self.asks_people: dict[str, tuple[Step, ...]] = self._by_anchor(Choice)
        self.decided: dict[str, tuple[str, ...]] = {}
        for place, indices in self._watch(
            tuple(s.index for steps in self.asks_people.values() for s in steps)
        ).items():
            self.decided[place] = tuple(dict.fromkeys(self.steps[i].anchor for i in indices))
        self.timers_of: dict[str, tuple[Step, ...]] = self._by_anchor(After)
        self.waits = frozenset((*self.timed, *self.starts, *self.decided))
        finals = ([p for p, n in f if n and p not in self.net.resting] for f in self.net.finals)
        self._finals = [places for places in finals if places]
        self.entries: dict[str, Compiled | None] = {
            e.place: None if e.where is None else compile_expr(e.where, {"it": self.types[e.place]})
            for e in self.net.entries
        }
        self._handlers: dict[str, Any] = {}
        self._rules: dict[str, list[tuple[Compiled, ContractInfo]]] = {}
        self._reasons: dict[str, Callable[[Mapping[str, Value]], tuple[Value, Value]]] = {}

    def is_immediate(self, transition: Transition) -> bool:
        """Whether a transition fires as soon as it is enabled, waiting for nothing outside the database."""
        match transition.trigger:
            case Auto() | Explain() | Judge():
                return True
            case Perform(external=False):
                return True
        return False

    def may_be_final(self, marking: Marking) -> bool:
        """Whether all places of some final marking are marked: a first look before ``is_final``."""
        for places in self._finals:
            for place in places:
                if not marking.count(place):
                    break
            else:
                return True
        return False

    def effect(self, step: Step) -> Effect:
        """The effect behind a ``Perform``."""
        found = self._handlers.get(step.name)
        if found is None:
            assert isinstance(step.transition.trigger, Perform)
            found = self._handlers[step.name] = self.agent.effect(step.transition.trigger.handler)
        return found

    def proposer(self, step: Step) -> Proposer:
        """The proposer behind an ``Ask``."""
        found = self._handlers.get(step.name)
        if found is None:
            assert isinstance(step.transition.trigger, Ask)
            found = self._handlers[step.name] = self.agent.proposer(step.transition.trigger.handler)
        return found

    def explain(self, step: Step, binding: Mapping[str, Value]) -> Reject | None:
        """Why a contract's policy refuses what an ``Explain`` transition takes; ``None`` where it passes."""
        assert isinstance(step.transition.trigger, Explain)
        return self.refusal(step.transition.trigger.contract, *self.reading(step)(binding))

    def refusal(self, contract: str, proposal: Value, inputs: Value) -> Reject | None:
        """Why a contract's policy refuses a proposal; ``None`` where it passes."""
        env = {"proposal": proposal, "inputs": inputs}
        if contract not in self._rules:
            info = self.net.contract(contract)
            scope = {"proposal": info.proposal, "inputs": info.inputs}
            rules = [replace(r, expr=_over_inputs(r.expr, info)) for r in info.rules]
            # ``explain`` compiles what it reads: here each rule is compiled once, and it words the one
            # that fails.
            self._rules[contract] = [(compile_expr(r.expr, scope), replace(info, rules=(r,))) for r in rules]
        for holds, alone in self._rules[contract]:
            if not holds(env):
                return explain(alone, proposal=proposal, inputs=inputs)
        return None

    def judge(self, step: Step, binding: Mapping[str, Value]) -> Reject | None:
        """What an opaque verifier says: ``None`` for a pass. One that fails has not passed anything."""
        trigger = step.transition.trigger
        assert isinstance(trigger, Judge)
        return self._judged(trigger.handler, self.reading(step)(binding), self._reading_types(step))

    def function_of(self, info: ContractInfo) -> Callable[[Value, Value], Reject | None] | None:
        """The opaque verifier of a contract, as a function of a proposal and its inputs."""
        judges = (s.transition for s in self.steps if s.transition.contract == info.id)
        handler = next((t.trigger.handler for t in judges if isinstance(t.trigger, Judge)), None)
        if handler is None:
            return None
        types = info.proposal, info.inputs
        return lambda proposal, inputs: self._judged(handler, (proposal, inputs), types)

    def _judged(self, handler: str, values: tuple[Value, Value], types: tuple[Type, Type]) -> Reject | None:
        verify = self.agent.verifier(handler)
        try:
            said: Any = verify(from_value(values[0], types[0]), from_value(values[1], types[1]))
        except Exception as error:  # noqa: BLE001  a verifier that fails is a reject, whatever it raised
            return Reject(
                rule="verifier", expected="a verdict", got=f"{type(error).__name__}: {error}", retryable=False
            )
        if said is None or said is True:
            return None
        if isinstance(said, Reject):
            return said
        if said is False:
            return Reject(rule=handler, expected="a proposal that the verifier accepts", got="a refusal")
        return Reject(
            rule="verifier",
            expected="True, False, None or a Reject",
            got=type(said).__name__,
            retryable=False,
            hint="a verifier is a plain function, not a coroutine",
        )

    def reading(self, step: Step) -> Callable[[Mapping[str, Value]], tuple[Value, Value]]:
        """Where proposal and inputs of a verifying transition lie: in one token, or in what it takes."""
        found = self._reasons.get(step.name)
        if found is None:
            found = self._reasons[step.name] = self._reading(step)
        return found

    def payload(
        self, step: Step, binding: Mapping[str, Value], anchor: Value
    ) -> tuple[Value, Type, int, Value]:
        """What a long-running transition's handler is given, with its type; then attempt and last signal.

        The running token of a contract holds its inputs beside the bookkeeping: the proposer is given the
        inputs.
        """
        of, attempt_at, signal_at, inner = step.running
        attempt = 1 if attempt_at is None else anchor[attempt_at]
        signal = None if signal_at is None else anchor[signal_at]
        if step.payload is not None:
            return step.payload(binding), step.payload_type, attempt, signal
        if inner is not None:
            return anchor[inner[0]], inner[1], attempt, signal
        return anchor, of, attempt, signal

    def _step(self, index: int, t: Transition) -> Step:
        consumes: dict[str, tuple[list[str], int]] = {}
        looks: dict[str, list[str]] = {}
        # The order of places is the one in which the firing rule meets them.
        for place in dict.fromkeys([a.place for a in t.takes] + [a.place for a in t.reads]):
            taken = [a.var for a in t.takes if a.place == place and a.var is not None]
            count = sum(a.weight for a in t.takes if a.place == place and a.var is None)
            consumes[place] = (taken, count)
            read = [a.var for a in t.reads if a.place == place and a.var is not None]
            if read:
                looks[place] = read
        scope = self.net.scope(t)
        bound = {n: of for n, of in scope.items() if n not in {f.var for f in t.fresh}}
        expr = _payload_of(t)
        first = t.takes[0] if t.takes else None
        return Step(
            index=index,
            transition=t,
            consumes=tuple((p, tuple(v), n) for p, (v, n) in consumes.items() if v or n),
            looks=tuple((p, tuple(v)) for p, v in looks.items()),
            puts=tuple(
                (p.place, 1 if p.expr is not None else p.weight, quote(p.place), self._as_it_came(t, p))
                for p in t.puts
            ),
            brings=tuple((f.var, encoder(f.type)) for f in t.fresh),
            fresh=tuple((f.var, f.type) for f in t.fresh),
            anchor=first.place if first else "",
            running=self._running(t, first.place if first else ""),
            anchor_var=first.var if first else None,
            payload=None if expr is None else compile_expr(expr, bound),
            payload_type=UNIT if expr is None else type_of(expr, bound),
            due=compile_expr(t.trigger.delay, bound) if isinstance(t.trigger, After) else None,
            labels={var: f"{quote(var)}:" for var in scope},
            sole=first.var if first and len(t.takes) == 1 and not t.reads and t.guard is None else None,
            name=t.name,
            text=quote(t.name),
        )

    def _running(
        self, t: Transition, anchor: str
    ) -> tuple[Type, int | None, int | None, tuple[int, Type] | None]:
        of = self.types.get(anchor, UNIT)
        if not isinstance(of, RecordType) or not isinstance(t.trigger, Ask):
            return of, None, None, None
        inputs, attempt, signal = (of.index(name) for name in ("inputs", "attempt", "signal"))
        if inputs is None or attempt is None or signal is None:
            return of, attempt, signal, None
        return of, attempt, signal, (inputs, of.fields[inputs].type)

    def _as_it_came(self, t: Transition, put: Put) -> str:
        """The variable from outside that is put without a change of type; empty where it is none."""
        for fresh in t.fresh:
            if (
                isinstance(put.expr, Var)
                and put.expr.name == fresh.var
                and self.types[put.place] == fresh.type
            ):
                return fresh.var
        return ""

    def _watch(self, indices: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for i in indices:
            t = self.steps[i].transition
            for place in dict.fromkeys([a.place for a in t.takes] + [a.place for a in t.reads]):
                found[place] = (*found.get(place, ()), i)
        return found

    def _by_anchor(self, *triggers: type) -> dict[str, tuple[Step, ...]]:
        found: dict[str, tuple[Step, ...]] = {}
        for s in self.steps:
            trigger = s.transition.trigger
            if (
                isinstance(trigger, triggers)
                and s.anchor
                and not (isinstance(trigger, Perform) and not trigger.external)
            ):
                found[s.anchor] = (*found.get(s.anchor, ()), s)
        return found

    def _reading_types(self, step: Step) -> tuple[Type, Type]:
        takes = [(a.var, self.types[a.place]) for a in step.transition.takes if a.var is not None]
        if len(takes) == 1 and isinstance(takes[0][1], RecordType):
            proposal, inputs = takes[0][1].field("proposal"), takes[0][1].field("inputs")
            if proposal is not None and inputs is not None and self._is_fragment(step, takes[0][1]):
                return proposal.type, inputs.type
        if len(takes) == 1:
            return takes[0][1], takes[0][1]
        info = self.net.contract(step.transition.contract)
        return info.inputs, info.inputs

    def _reading(self, step: Step) -> Callable[[Mapping[str, Value]], tuple[Value, Value]]:
        variables = [a.var for a in step.transition.takes if a.var is not None]
        if len(variables) == 1:
            var, of = variables[0], self.types[step.anchor]
            if isinstance(of, RecordType) and self._is_fragment(step, of):
                p, i = of.index("proposal"), of.index("inputs")
                assert p is not None
                assert i is not None
                return lambda binding: (binding[var][p], binding[var][i])
            return lambda binding: (binding[var], binding[var])

        def gather(binding: Mapping[str, Value]) -> tuple[Value, Value]:
            value = tuple(binding[v] for v in variables)
            return value, value

        return gather

    def _is_fragment(self, step: Step, of: RecordType) -> bool:
        """Whether a token type is that of a contract's ``proposed`` place, not one that looks like it."""
        contract = step.transition.contract
        info = next((c for c in self.net.contracts if c.id == contract), None)
        proposal, inputs = of.field("proposal"), of.field("inputs")
        if proposal is None or inputs is None:
            return False
        return info is None or (proposal.type == info.proposal and inputs.type == info.inputs)


def _over_inputs(expr: Expr, info: ContractInfo) -> Expr:
    """A policy's rule over ``proposal`` and ``inputs``, where it names what the contract takes."""
    gathered = (
        info.inputs
        if isinstance(info.inputs, RecordType) and info.inputs.name == f"{info.id} inputs"
        else None
    )
    names: dict[str, Expr] = {
        name: Var("inputs") if gathered is None or gathered.index(name) is None else Get(Var("inputs"), name)
        for name in free_variables(expr) - {"proposal", "inputs"}
    }
    return substitute(expr, names) if names else expr


def _payload_of(t: Transition) -> Expr | None:
    match t.trigger:
        case Ask(payload=payload) | Perform(payload=payload):
            return payload
        case Choice(about=about):
            return about
    return None
