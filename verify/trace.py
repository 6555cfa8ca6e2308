"""From an abstract path to a run: solve for the data, then replay through the firing rule.

A path of the state graph fixes which transitions fire and which tokens they take. Executing it symbolically
(King, "Symbolic execution and program testing", CACM 1976) gives one formula over the case's input and the
values from outside; a model of it is the data of a run. What comes out is replayed through the firing rule: a
trace that does not replay is never reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import Expr
from provenet.nets.expr.evaluate import Compiled, compile_expr
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking
from provenet.nets.net import Net, Transition
from provenet.nets.schema import RecordType, Type, UnitType, Value
from provenet.verify.abstraction import ANY, is_known
from provenet.verify.graph import Edge, Space
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.smt_queries import decide
from provenet.verify.verdict import Trace, TraceStep


@dataclass(frozen=True, slots=True)
class SymToken:
    """A token on the way: its number in the state graph, its symbolic value, and which one it is."""

    number: int
    value: SymValue
    identity: int


@dataclass(frozen=True, slots=True)
class SymStep:
    """A firing on the way: the transition and the symbolic values of its variables."""

    transition: Transition
    env: Mapping[str, SymValue]
    scope: Mapping[str, Type]


@dataclass(slots=True)
class SymRun:
    """A symbolic run: what was executed so far.

    Attributes:
        steps: The firings.
        tokens: Place to its tokens, oldest first.
        constraints: What the firings ask of the data, with the index of the step that asks.
    """

    steps: list[SymStep] = field(default_factory=list)
    tokens: dict[str, list[SymToken]] = field(default_factory=dict)
    constraints: list[tuple[int, z3.BoolRef]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spurious:
    """No data fits the path: the abstraction was too coarse at this step (the last of those that clash).

    Attributes:
        steps: Indices of the steps whose conditions clash; empty where the solver gave up.
        reason: Why, in words.
    """

    steps: tuple[int, ...]
    reason: str


_INPUT = -1  # the number of a case's input, which stands for each of the partial values that it may have

Extra = Callable[[Encoding, SymRun], list[z3.BoolRef]]
"""What a property asks of the end of the run, beyond that the path fires."""


class Realizer:
    """Turns abstract paths of one net into traces."""

    def __init__(self, net: Net, encoding: Encoding) -> None:
        self.net, self.encoding = net, encoding
        self.rule = NetRule(net)
        self._builders: dict[tuple[str, int], Compiled] = {}

    def realize(
        self, space: Space, path: Sequence[Edge], extra: Extra | None = None, *, timeout_ms: int = 5_000
    ) -> Trace | Spurious:
        """A trace along a path.

        Args:
            space: What the path was found in.
            path: Abstract firings from an initial state.
            extra: More conditions on the end of the run.
            timeout_ms: Limit for the solver.
        """
        try:
            return self._realize(space, path, extra, timeout_ms)
        except Opaque as error:
            return Spurious((), str(error))

    def _realize(
        self, space: Space, path: Sequence[Edge], extra: Extra | None, timeout_ms: int
    ) -> Trace | Spurious:
        enc = self.encoding
        run, entries = self._start(space)
        fresh: list[dict[str, SymValue]] = []
        choices: list[list[tuple[str | None, int]]] = []
        counter = 1_000
        for index, edge in enumerate(path):
            t = self.net.transition(edge.transition)
            env: dict[str, SymValue] = {}
            picked: list[tuple[str | None, int]] = []
            slots = [(a.place, a.var, True) for a in t.takes for _ in range(a.weight)]
            slots += [(a.place, a.var, False) for a in t.reads for _ in range(a.weight)]
            used: set[int] = set()
            for (place, var, consumed), number in zip(slots, (*edge.takes, *edge.reads), strict=True):
                tokens = run.tokens.get(place, [])
                at = next(
                    (k for k in tokens if k.number in (number, _INPUT) and k.identity not in used), None
                )
                if at is None:
                    return Spurious((index,), f"{place!r} holds no such token")
                used.add(at.identity)
                picked.append((var, at.identity))
                if var is not None:
                    env[var] = at.value
                known = agree(enc, at.value, space.value_of[number], self.net.place(place).type)
                run.constraints += [(index, c) for c in known]
                if consumed:
                    run.tokens[place] = [k for k in tokens if k.identity != at.identity]
            outside = {f.var: enc.fresh(f"step{index}.{f.var}", f.type) for f in t.fresh}
            for f in t.fresh:
                run.constraints.append((index, enc.inhabits(outside[f.var], f.type)))
            env |= outside
            fresh.append(outside)
            choices.append(picked)
            scope = self.net.scope(t)
            # The firing rule checks what a step requires, so every step of a run meets it.
            for condition in (t.guard, t.ensures, t.requires):
                if condition is not None:
                    run.constraints.append((index, enc.encode_bool(condition, env, scope)))
            for place in t.resets:
                run.tokens[place] = []
            numbers = iter(edge.puts)
            for put in t.puts:
                for _ in range(put.weight):
                    of = self.net.place(put.place).type
                    value: SymValue = () if put.expr is None else enc.encode(put.expr, env, scope, like=of)
                    counter += 1
                    run.tokens.setdefault(put.place, []).append(SymToken(next(numbers), value, counter))
            run.steps.append(SymStep(t, env, scope))
        wanted = [] if extra is None else extra(enc, run)
        answer, solver = decide([*(c for _, c in run.constraints), *wanted], timeout_ms)
        if answer == z3.unknown:
            return Spurious((), f"the solver gave up: {solver.reason_unknown()}")
        if answer == z3.unsat:
            return Spurious(_clash(run, wanted, timeout_ms) or (len(path) - 1,), "no data fits this path")
        return self._concrete(solver.model(), run, entries, fresh, choices)

    def _build(self, t: Transition, number: int, expr: Expr) -> Compiled:
        """What builds the token of a transition's n-th arc; compiled once."""
        key = (t.name, number)
        if key not in self._builders:
            self._builders[key] = compile_expr(expr, self.net.scope(t))
        return self._builders[key]

    def _start(self, space: Space) -> tuple[SymRun, dict[str, SymValue]]:
        enc, net, run = self.encoding, self.net, SymRun()
        identity = 0
        for place, tokens in net.initial:
            for token in tokens:
                identity += 1
                of = net.place(place).type
                value: SymValue = () if isinstance(of, UnitType) else enc.constant(token, of)
                number = space.number(place, space.masks.project(place, token))
                run.tokens.setdefault(place, []).append(SymToken(number, value, identity))
        entries: dict[str, SymValue] = {}
        for e in net.entries:
            of = net.place(e.place).type
            entries[e.place] = enc.fresh(f"input.{e.place}", of)
            run.constraints.append((-1, enc.inhabits(entries[e.place], of)))
            if e.where is not None:
                run.constraints.append((-1, enc.encode_bool(e.where, {"it": entries[e.place]}, {"it": of})))
            identity += 1
            run.tokens.setdefault(e.place, []).append(SymToken(_INPUT, entries[e.place], identity))
        return run, entries

    def _concrete(
        self,
        model: z3.ModelRef,
        run: SymRun,
        entries: Mapping[str, SymValue],
        fresh: Sequence[Mapping[str, SymValue]],
        choices: Sequence[Sequence[tuple[str | None, int]]],
    ) -> Trace | Spurious:
        """The run with the model's data, executed by the firing rule."""
        enc, net = self.encoding, self.net
        try:
            inputs = {p: enc.concretize(model, v, net.place(p).type) for p, v in entries.items()}
            start = initial_marking(net, inputs)
            held: dict[int, Value] = {}
            identity = 0
            for _, tokens in net.initial:
                for token in tokens:
                    identity += 1
                    held[identity] = token
            for e in net.entries:
                identity += 1
                held[identity] = inputs[e.place]
            counter = 1_000
            marking, steps = start, []
            for step, outside, picked in zip(run.steps, fresh, choices, strict=True):
                t = step.transition
                types = {f.var: f.type for f in t.fresh}
                binding = {var: held[k] for var, k in picked if var is not None}
                binding |= {v: enc.concretize(model, s, types[v]) for v, s in outside.items()}
                marking = self.rule.fire(marking, t.name, binding)
                for number, put in enumerate(t.puts):
                    for _ in range(put.weight):
                        counter += 1
                        held[counter] = () if put.expr is None else self._build(t, number, put.expr)(binding)
                steps.append(TraceStep(t.name, binding))
        except ProvenetError as error:
            return Spurious((), f"the data found does not replay: {error.message}")
        return Trace(start, tuple(steps))


def _clash(run: SymRun, wanted: list[z3.BoolRef], timeout_ms: int) -> tuple[int, ...]:
    """The steps whose conditions cannot hold together, by the solver's unsatisfiable core."""
    solver = z3.SimpleSolver()
    solver.set("timeout", max(1, timeout_ms))
    solver.set("random_seed", 1)
    solver.add(*wanted)
    step_of: dict[str, int] = {}
    for number, (index, constraint) in enumerate(run.constraints):
        flag = z3.Bool(f"holds!{number}")
        step_of[f"holds!{number}"] = index
        solver.add(z3.Implies(flag, constraint))
    if solver.check(*(z3.Bool(name) for name in step_of)) != z3.unsat:
        return ()
    return tuple(sorted({step_of[str(flag)] for flag in solver.unsat_core()}))


def choices_of_tokens(run: SymRun, slots: Sequence[tuple[str, str | None]]) -> Iterator[tuple[SymToken, ...]]:
    """The ways to fill slots with the tokens at the end of a run, no token twice.

    A slot is a place and a variable; there is one for each token.
    """

    def extend(at: int, used: tuple[SymToken, ...]) -> Iterator[tuple[SymToken, ...]]:
        if at == len(slots):
            yield used
            return
        for token in run.tokens.get(slots[at][0], ()):
            if all(token.identity != u.identity for u in used):
                yield from extend(at + 1, (*used, token))

    return extend(0, ())


def agree(enc: Encoding, value: SymValue, partial: Any, of: Type) -> list[z3.BoolRef]:
    """The conditions under which a symbolic value is one of those that a partial value stands for."""
    if partial is ANY or isinstance(of, UnitType):
        return []
    if isinstance(of, RecordType) and isinstance(value, tuple):
        return [
            c for f, v, p in zip(of.fields, value, partial, strict=True) for c in agree(enc, v, p, f.type)
        ]
    if not is_known(partial):
        return []
    return [enc.equal(value, enc.constant(partial, of))]
