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
from provenet.nets.marking import Marking, initial_marking
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
        passed: The tokens before, between and after the firings.
    """

    steps: list[SymStep] = field(default_factory=list)
    tokens: Mapping[str, Sequence[SymToken]] = field(default_factory=dict)
    constraints: list[tuple[int, z3.BoolRef]] = field(default_factory=list)
    passed: Sequence[Mapping[str, Sequence[SymToken]]] = ()


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

_WISHES = 12
"""Texts of a run that are asked for one by one, where not all can be plain."""

Extra = Callable[[Encoding, SymRun], list[z3.BoolRef]]
"""What a property asks of the end of the run, beyond that the path fires."""


@dataclass(slots=True, eq=False)
class _Prefix:
    """A symbolic run by its last firing; paths that begin alike share it.

    Attributes:
        edge: The last firing; ``None`` for the run of none. Kept, so that no other edge gets its identity.
        step: The same, symbolically.
        tokens: Place to its tokens, oldest first.
        constraints: What the last firing asks of the data.
        outside: What came from outside with it; of the run of no firing, the case's input by place.
        picked: The variables that it bound, with the identities of the tokens.
        identity: The highest identity of a token so far.
        after: The runs with one more firing, by the edge's identity.
    """

    edge: Edge | None
    step: SymStep | None
    tokens: Mapping[str, tuple[SymToken, ...]]
    constraints: list[z3.BoolRef]
    outside: Mapping[str, SymValue]
    picked: list[tuple[str | None, int]]
    identity: int
    after: dict[int, _Prefix] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Form:
    """What all firings of a transition share; a slot is a place, a variable, and whether it takes."""

    transition: Transition
    scope: Mapping[str, Type]
    slots: tuple[tuple[str, str | None, bool], ...]


class Realizer:
    """Turns abstract paths of one net into traces."""

    def __init__(self, net: Net, encoding: Encoding) -> None:
        self.net, self.encoding = net, encoding
        self.rule = NetRule(net)
        self._builders: dict[tuple[str, int], Compiled] = {}
        self._forms: dict[str, _Form] = {}
        self._kept: tuple[Space, _Prefix] | None = None
        self._replayed: tuple[Trace, tuple[Marking, ...]] | None = None

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

    def onward(
        self, space: Space, start: Marking, path: Sequence[Edge], *, timeout_ms: int = 5_000
    ) -> tuple[Marking, ...] | None:
        """The markings of a run along a path that goes on from a marking, that one first.

        Args:
            space: What the path was found in.
            start: A marking.
            path: Abstract firings from the state that stands for it.
            timeout_ms: Limit for the solver.

        Returns:
            What the firing rule makes of the data found; ``None`` where none was.
        """
        try:
            prefix = self._along(space, self._resumed(space, start), path)
            if isinstance(prefix, Spurious):
                return None
            answer, solver = decide([c for p in prefix for c in p.constraints], timeout_ms)
            if answer != z3.sat:
                return None
            held = [token for _, tokens in start.items() for token in tokens]
            return self._fired(solver.model(), prefix[1:], start, held)[0]
        except ProvenetError:  # what cannot be encoded, or does not replay
            return None

    def _realize(
        self, space: Space, path: Sequence[Edge], extra: Extra | None, timeout_ms: int
    ) -> Trace | Spurious:
        enc = self.encoding
        prefix = self._along(space, self._root(space), path)
        if isinstance(prefix, Spurious):
            return prefix
        run = SymRun(
            [p.step for p in prefix if p.step is not None],
            prefix[-1].tokens,
            [(number - 1, c) for number, p in enumerate(prefix) for c in p.constraints],
            [p.tokens for p in prefix],
        )
        wanted = [] if extra is None else extra(enc, run)
        answer, solver = decide([*(c for _, c in run.constraints), *wanted], timeout_ms)
        if answer == z3.unknown:
            return Spurious((), f"the solver gave up: {solver.reason_unknown()}")
        if answer == z3.unsat:
            return Spurious(_clash(run, wanted, timeout_ms) or (len(path) - 1,), "no data fits this path")
        model = solver.model()
        plain = self._plainer(solver, prefix)
        if plain is not None and isinstance(trace := self._concrete(plain, prefix), Trace):
            return trace
        return self._concrete(model, prefix)

    def _plainer(self, solver: z3.Solver, prefix: Sequence[_Prefix]) -> z3.ModelRef | None:
        """A model whose texts are no constants of the net wherever others will do; ``None`` where none will.

        A solver's first choice is the net's first constant, and whoever reads the run takes it for its point.
        """
        enc = self.encoding
        places = {e.place: self.net.place(e.place).type for e in self.net.entries}
        wished: list[z3.BoolRef] = []
        for p in prefix:
            types = places if p.step is None else p.step.scope
            wished += [w for name, value in p.outside.items() for w in enc.plain_texts(value, types[name])]
        if not wished:
            return None
        solver.push()
        solver.add(*wished)
        if solver.check() == z3.sat:
            return solver.model()
        solver.pop()
        found = None
        for wish in wished[:_WISHES]:
            solver.push()
            solver.add(wish)
            if solver.check() == z3.sat:
                found = solver.model()
            else:
                solver.pop()
        return found

    def _along(self, space: Space, here: _Prefix, path: Sequence[Edge]) -> list[_Prefix] | Spurious:
        """The symbolic runs that a path goes through."""
        prefix = [here]
        for index, edge in enumerate(path):
            after = here.after.get(id(edge))
            if after is None:
                extended = self._extend(space, here, index, edge)
                if isinstance(extended, Spurious):
                    return extended
                after = here.after[id(edge)] = extended
            here = after
            prefix.append(here)
        return prefix

    def _extend(self, space: Space, before: _Prefix, index: int, edge: Edge) -> _Prefix | Spurious:
        """A symbolic run with one more firing."""
        enc, tokens = self.encoding, dict(before.tokens)
        form = self._form(edge.transition)
        t, scope = form.transition, form.scope
        env: dict[str, SymValue] = {}
        constraints: list[z3.BoolRef] = []
        picked: list[tuple[str | None, int]] = []
        used: set[int] = set()
        for (place, var, consumed), number in zip(form.slots, (*edge.takes, *edge.reads), strict=True):
            here = tokens.get(place, ())
            at = next((k for k in here if k.number in (number, _INPUT) and k.identity not in used), None)
            if at is None:
                return Spurious((index,), f"{place!r} holds no such token")
            used.add(at.identity)
            picked.append((var, at.identity))
            if var is not None:
                env[var] = at.value
            constraints += agree(enc, at.value, space.value_of[number], self.net.place(place).type)
            if consumed:
                tokens[place] = tuple(k for k in here if k.identity != at.identity)
        outside = {f.var: enc.fresh(f"step{index}.{f.var}", f.type) for f in t.fresh}
        constraints += [enc.inhabits(outside[f.var], f.type) for f in t.fresh]
        env |= outside
        # The firing rule checks what a step requires, so every step of a run meets it.
        for condition in (t.guard, t.ensures, t.requires):
            if condition is not None:
                constraints.append(enc.encode_bool(condition, env, scope))
        for place in t.resets:
            tokens[place] = ()
        numbers = iter(edge.puts)
        identity = before.identity
        for put in t.puts:
            for _ in range(put.weight):
                of = self.net.place(put.place).type
                value: SymValue = () if put.expr is None else enc.encode(put.expr, env, scope, like=of)
                identity += 1
                token = SymToken(next(numbers), value, identity)
                tokens[put.place] = (*tokens.get(put.place, ()), token)
        step = SymStep(t, env, scope)
        return _Prefix(edge, step, tokens, constraints, outside, picked, identity)

    def _form(self, name: str) -> _Form:
        """What every firing of a transition has in common."""
        found = self._forms.get(name)
        if found is None:
            t = self.net.transition(name)
            slots = [(a.place, a.var, True) for a in t.takes for _ in range(a.weight)]
            slots += [(a.place, a.var, False) for a in t.reads for _ in range(a.weight)]
            found = self._forms[name] = _Form(t, self.net.scope(t), tuple(slots))
        return found

    def _build(self, t: Transition, number: int, expr: Expr) -> Compiled:
        """What builds the token of a transition's n-th arc; compiled once."""
        key = (t.name, number)
        if key not in self._builders:
            self._builders[key] = compile_expr(expr, self.net.scope(t))
        return self._builders[key]

    def _root(self, space: Space) -> _Prefix:
        """The symbolic run of no firing; the last space's is kept, with all that was built on it."""
        if self._kept is not None and self._kept[0] is space:
            return self._kept[1]
        enc, net = self.encoding, self.net
        root = self._resumed(space, Marking(dict(net.initial)))
        found = dict(root.tokens)
        constraints: list[z3.BoolRef] = []
        outside: dict[str, SymValue] = {}
        identity = root.identity
        for e in net.entries:
            of = net.place(e.place).type
            outside[e.place] = enc.fresh(f"input.{e.place}", of)
            constraints.append(enc.inhabits(outside[e.place], of))
            if e.where is not None:
                constraints.append(enc.encode_bool(e.where, {"it": outside[e.place]}, {"it": of}))
            identity += 1
            found[e.place] = (*found.get(e.place, ()), SymToken(_INPUT, outside[e.place], identity))
        root = _Prefix(None, None, found, constraints, outside, [], identity)
        self._kept = (space, root)
        return root

    def _resumed(self, space: Space, marking: Marking) -> _Prefix:
        """The symbolic run of no firing that starts from a marking, its tokens numbered in their order."""
        found: dict[str, tuple[SymToken, ...]] = {}
        identity = 0
        for place, tokens in marking.items():
            of = self.net.place(place).type
            for token in tokens:
                identity += 1
                value: SymValue = () if isinstance(of, UnitType) else self.encoding.constant(token, of)
                number = space.number(place, space.masks.project(place, token))
                found[place] = (*found.get(place, ()), SymToken(number, value, identity))
        return _Prefix(None, None, found, [], {}, [], identity)

    def _concrete(self, model: z3.ModelRef, prefix: Sequence[_Prefix]) -> Trace | Spurious:
        """The run with the model's data, executed by the firing rule."""
        enc, net = self.encoding, self.net
        root, *firings = prefix
        try:
            inputs = {p: enc.concretize(model, v, net.place(p).type) for p, v in root.outside.items()}
            start = initial_marking(net, inputs)
            held = [token for _, tokens in net.initial for token in tokens]
            held += [inputs[e.place] for e in net.entries]
            markings, steps = self._fired(model, firings, start, held)
        except ProvenetError as error:
            return Spurious((), f"the data found does not replay: {error.message}")
        trace = Trace(start, steps)
        self._replayed = (trace, markings)
        return trace

    def _fired(
        self, model: z3.ModelRef, firings: Sequence[_Prefix], start: Marking, tokens: Sequence[Value]
    ) -> tuple[tuple[Marking, ...], tuple[TraceStep, ...]]:
        """The markings and the steps of firings with the model's data, executed by the firing rule.

        Args:
            model: Values of what came from outside.
            firings: The firings.
            start: The marking before them.
            tokens: Its tokens, in the order of their identities.

        Raises:
            ProvenetError: A firing does not replay.
        """
        # Values by the tokens' identities, which count up: the tokens that there are, then those put.
        held: list[Value] = [None, *tokens]
        markings, steps = [start], []
        for firing in firings:
            assert firing.step is not None
            t = firing.step.transition
            types = {f.var: f.type for f in t.fresh}
            binding = {var: held[k] for var, k in firing.picked if var is not None}
            binding |= {v: self.encoding.concretize(model, s, types[v]) for v, s in firing.outside.items()}
            markings.append(self.rule.fire(markings[-1], t.name, binding))
            for number, put in enumerate(t.puts):
                token = () if put.expr is None else self._build(t, number, put.expr)(binding)
                held += [token] * put.weight
            steps.append(TraceStep(t.name, binding))
        return tuple(markings), tuple(steps)

    def markings(self, trace: Trace) -> tuple[Marking, ...]:
        """The markings of a trace, by the firing rule; of the last one that was made, they are at hand."""
        if self._replayed is not None and self._replayed[0] is trace:
            return self._replayed[1]
        return trace.replay(self.net, rule=self.rule)


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
