"""Per-place facts: what is known of every token in a place, whatever a model says.

One predicate for each place over its own token's fields (a refinement type), one constrained Horn clause for
each token that a transition puts::

    P_in1(x) & P_in2(y) & guard(x, y) & ensures(x, y, new)  =>  P_out(built(x, y, new))

Z3's Spacer (Komuravelli, Gurfinkel & Chaki, "SMT-based model checking for recursive programs", CAV 2014)
solves for the predicates, given what must never happen when a transition fires. The view is per token: it
forgets which tokens are there together, so it over-approximates, and what it proves holds in every run. One
predicate over all places at once does not scale; this does (hundreds of contracts in a second).

A *ghost* rides along with the tokens: set by some transitions (an approval, an accept) to a value, handed on
from the tokens that a transition takes to those it puts. "A ghost with this value is on the token" implies
"one of those transitions has fired with this value before".

Only what the question depends on is encoded: the cone of places behind the asked transitions, and the fields
that their conditions and the cone's guards read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import z3

from provenet.nets.expr.ast import Expr
from provenet.nets.net import Net, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, RecordType, Type, plainest
from provenet.verify.abstraction import Masks, Path, sources, type_at
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, IT, Ghost, Question, carrier, inputs_of
from provenet.verify.smt import Encoding, Opaque, SymValue


@dataclass(frozen=True, slots=True)
class Clause:
    """One obligation: if the inputs' predicates and the body hold, so does the head's predicate.

    Attributes:
        inputs: Places with the arguments of their predicates.
        body: Guard, ensures, and what the types promise.
        head: Place with its predicate's arguments; ``None`` for a question, which must not hold.
        origin: The transition, or where the token comes from, for messages.
    """

    inputs: tuple[tuple[str, tuple[z3.ExprRef, ...]], ...]
    body: z3.BoolRef
    head: tuple[str, tuple[z3.ExprRef, ...]] | None
    origin: str


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a place's predicate: a leaf of the token, or of the ghost."""

    name: str
    sort: z3.SortRef


class HornSystem:
    """The Horn clauses of a net for some questions.

    Args:
        net: The net.
        questions: What must never happen.
        ghost: The ghost that the questions speak about.
        encoding: How types become sorts.

    Raises:
        Opaque: A question or a guard looks at what the prover cannot look into.
    """

    def __init__(
        self, net: Net, questions: Sequence[Question], ghost: Ghost | None, encoding: Encoding
    ) -> None:
        self.net, self.questions, self.ghost, self.encoding = net, questions, ghost, encoding
        self._count = 0
        self.cone = _cone(net, {q.transition for q in questions})
        inside = [t for t in net.transitions if any(p.place in self.cone for p in t.puts)]
        asked = {q.transition: net.transition(q.transition) for q in questions}
        self.masks = Masks(net, self._seeds(inside, asked))
        self.arguments = {place: self._arguments(place) for place in sorted(self.cone)}
        self.clauses: list[Clause] = list(self._initial())
        for t in inside:
            self.clauses += self._transition(t)
        self.clauses += self._asked()

    def _seeds(
        self, inside: Sequence[Transition], asked: Mapping[str, Transition]
    ) -> Iterator[tuple[str, Path]]:
        arcs = {
            t.name: {a.var: a.place for a in inputs_of(t) if a.var is not None}
            for t in (*inside, *asked.values())
        }
        reads: list[tuple[str, Expr]] = [(q.transition, q.condition) for q in self.questions]
        for t in (*inside, *asked.values()):
            reads += [(t.name, e) for e in (t.guard, t.ensures, t.requires) if e is not None]
        if self.ghost is not None:
            reads += [(name, e) for name, e in self.ghost.sets.items() if name in arcs]
        for name, expr in reads:
            for var, path in sources(expr, ()):
                if var in arcs[name] and arcs[name][var] in self.cone:
                    yield arcs[name][var], path

    def _arguments(self, place: str) -> tuple[Argument, ...]:
        of = self.net.place(place).type
        found = []
        for path in sorted(self.masks.places.get(place, ())):
            part = type_at(of, path)
            assert part is not None
            for i, sort in enumerate(self.encoding.sorts(part)):
                name = ".".join(path) or IT  # a constant without a name could not be read back
                found.append(Argument(name + (f"#{i}" if i or not _scalar(part) else ""), sort))
        if self.ghost is not None:
            found.append(Argument(GHOST_SET, z3.BoolSort()))
            found += [
                Argument(f"{GHOST_VALUE}#{i}", s) for i, s in enumerate(self.encoding.sorts(self.ghost.type))
            ]
        return tuple(found)

    def _initial(self) -> Iterator[Clause]:
        enc, none = self.encoding, self._no_ghost()
        for place, tokens in self.net.initial:
            if place in self.cone:
                for token in tokens:
                    value = enc.constant(token, self.net.place(place).type)
                    yield Clause((), z3.BoolVal(True), (place, self._leaves(place, value) + none), place)
        for entry in self.net.entries:
            if entry.place in self.cone:
                of = self.net.place(entry.place).type
                value = enc.fresh(self._name("it"), of)
                body = self._promise(value, of, self.masks.places.get(entry.place, set()))
                if entry.where is not None:
                    body.append(enc.encode_bool(entry.where, {"it": value}, {"it": of}))
                yield Clause(
                    (), _all(body), (entry.place, self._leaves(entry.place, value) + none), entry.place
                )

    def _transition(self, t: Transition) -> Iterator[Clause]:
        enc = self.encoding
        env, inputs, body, ghosts = self._firing(t)
        scope = self.net.scope(t)
        for put in t.puts:
            if put.place not in self.cone:
                continue
            ghost = ghosts.get(carrier(t, put), self._no_ghost())
            if self.ghost is not None and t.name in self.ghost.sets:
                value = enc.encode(self.ghost.sets[t.name], env, scope)
                ghost = (z3.BoolVal(True), *enc.flatten(value))
            token: SymValue = ()
            if put.expr is not None:
                try:
                    token = enc.encode(put.expr, env, scope, like=self.net.place(put.place).type)
                except Opaque:
                    token = enc.fresh(self._name(put.place), self.net.place(put.place).type)
            yield Clause(inputs, body, (put.place, self._leaves(put.place, token) + ghost), t.name)

    def _asked(self) -> Iterator[Clause]:
        enc = self.encoding
        for q in self.questions:
            t = self.net.transition(q.transition)
            env, inputs, body, ghosts = self._firing(t, requires=q.assumes_requires)
            ghost = ghosts.get(carrier(t, None), self._no_ghost())
            scope: dict[str, Type] = dict(self.net.scope(t))
            if self.ghost is not None:
                scope |= {GHOST_SET: BOOL, GHOST_VALUE: self.ghost.type}
                env = {**env, GHOST_SET: ghost[0], GHOST_VALUE: enc.unflatten(self.ghost.type, ghost[1:])}
            bad = enc.encode_bool(q.condition, env, scope)
            yield Clause(inputs, z3.And(body, bad), None, q.transition)

    def _firing(
        self, t: Transition, *, requires: bool = True
    ) -> tuple[
        dict[str, SymValue],
        tuple[tuple[str, tuple[z3.ExprRef, ...]], ...],
        z3.BoolRef,
        dict[str | None, tuple[z3.ExprRef, ...]],
    ]:
        """Symbolic values of a transition's variables, its inputs' predicates, its condition, its ghosts."""
        enc, net = self.encoding, self.net
        env: dict[str, SymValue] = {}
        inputs = []
        ghosts: dict[str | None, tuple[z3.ExprRef, ...]] = {}
        body: list[z3.BoolRef] = []
        for arc in inputs_of(t):
            of = net.place(arc.place).type
            value = enc.fresh(self._name(arc.var or "_"), of)
            if arc.var is not None:
                env[arc.var] = value
            own = self._own_ghost()
            if arc.place in self.cone:
                inputs.append((arc.place, self._leaves(arc.place, value) + own))
                if arc.var is not None:
                    ghosts[arc.var] = own
        for fresh in t.fresh:
            env[fresh.var] = enc.fresh(self._name(fresh.var), fresh.type)
            body += self._promise(
                env[fresh.var], fresh.type, self.masks.fresh.get((t.name, fresh.var), set())
            )
        scope = net.scope(t)
        for condition in (t.guard, t.ensures, t.requires if requires else None):
            if condition is not None:
                try:
                    body.append(enc.encode_bool(condition, env, scope))
                except Opaque:
                    # A guard that the prover cannot look into is taken to be true: weaker, never wrong
                    continue
        return env, tuple(inputs), _all(body), ghosts

    def _promise(self, value: SymValue, of: Type, kept: set[Path]) -> list[z3.BoolRef]:
        """What the type promises of the kept parts of a value from outside."""
        out = []
        for path in sorted(kept):
            part = type_at(of, path)
            if part is not None:
                try:
                    out.append(self.encoding.inhabits(_descend(value, of, path), part))
                except Opaque:
                    continue
        return out

    def _leaves(self, place: str, value: SymValue) -> tuple[z3.ExprRef, ...]:
        of = self.net.place(place).type
        leaves: list[z3.ExprRef] = []
        for path in sorted(self.masks.places.get(place, ())):
            leaves += self.encoding.flatten(_descend(value, of, path))
        return tuple(leaves)

    def _own_ghost(self) -> tuple[z3.ExprRef, ...]:
        if self.ghost is None:
            return ()
        value = self.encoding.fresh(self._name("ghost"), self.ghost.type)
        return (z3.Bool(self._name("ghost.set")), *self.encoding.flatten(value))

    def _no_ghost(self) -> tuple[z3.ExprRef, ...]:
        if self.ghost is None:
            return ()
        value = self.encoding.constant(plainest(self.ghost.type), self.ghost.type)
        return (z3.BoolVal(False), *self.encoding.flatten(value))

    def _name(self, base: str) -> str:
        self._count += 1
        return f"{base}!{self._count}"


@dataclass(frozen=True, slots=True)
class Facts:
    """A solution: for each place of the cone a formula over its arguments, as constants of their names."""

    formulas: Mapping[str, z3.BoolRef]

    def to_json(self) -> dict[str, str]:
        """Place name to the formula in SMT-LIB 2."""
        return {place: f.sexpr() for place, f in sorted(self.formulas.items())}


def solve(system: HornSystem, *, timeout_ms: int) -> Facts | None:
    """Per-place facts under which no question can happen; ``None`` where there are none or time is up."""
    fp = z3.Fixedpoint()
    fp.set(engine="spacer", timeout=max(1, timeout_ms))
    fp.set("spacer.random_seed", 1)
    # Simplifications that drop or merge predicates would leave their places without a fact.
    for simplification in ("inline_eager", "inline_linear", "slice", "coi"):
        fp.set(f"xform.{simplification}", False)
    relations: dict[str, Any] = {}
    for i, (place, arguments) in enumerate(system.arguments.items()):
        relations[place] = z3.Function(f"P{i}", *(a.sort for a in arguments), z3.BoolSort())
        fp.register_relation(relations[place])
    bad = z3.Function("Bad", z3.BoolSort())
    fp.register_relation(bad)
    declared: set[int] = set()
    for clause in system.clauses:
        premises = [relations[p](*given) for p, given in clause.inputs]
        head = bad() if clause.head is None else relations[clause.head[0]](*clause.head[1])
        given_all = [a for _, given in clause.inputs for a in given]
        given_all += clause.head[1] if clause.head else ()
        for var in _constants((*given_all, clause.body)):
            if var.get_id() not in declared:
                declared.add(var.get_id())
                fp.declare_var(var)
        fp.rule(head, [*premises, clause.body])
    try:
        if fp.query(bad()) != z3.unsat:
            return None
    except z3.Z3Exception:
        return None
    formulas = {}
    for place, arguments in system.arguments.items():
        names = argument_constants(arguments)
        cover = fp.get_cover_delta(-1, relations[place])
        formulas[place] = z3.substitute_vars(cover, *names) if names else cover
    return Facts(formulas)


def broken_clause(system: HornSystem, facts: Facts, *, timeout_ms: int) -> Clause | None:
    """The first clause that the facts do not satisfy, by a plain solver; ``None`` where they are a proof."""
    solver = z3.Solver()
    solver.set("timeout", max(1, timeout_ms))
    for clause in system.clauses:
        solver.push()
        for place, arguments in clause.inputs:
            solver.add(_instance(system, facts, place, arguments))
        solver.add(clause.body)
        if clause.head is not None:
            solver.add(z3.Not(_instance(system, facts, *clause.head)))
        answer = solver.check()
        solver.pop()
        if answer != z3.unsat:
            return clause
    return None


def parse_facts(system: HornSystem, data: Mapping[str, str]) -> Facts | None:
    """Facts from their SMT-LIB 2 text; ``None`` where the text does not fit the system."""
    formulas = {}
    for place, arguments in system.arguments.items():
        if place not in data:
            return None
        names = argument_constants(arguments)
        declarations = {n.decl().name(): n for n in names}
        try:
            parsed = z3.parse_smt2_string(f"(assert {data[place]})", decls=declarations)
        except z3.Z3Exception:
            return None
        formula = z3.And(*parsed) if len(parsed) != 1 else parsed[0]
        # A constant of another name could be one of a clause's own variables: what holds of that one token
        # only would then pass for what holds of all.
        if any(c.decl().name() not in declarations for c in _constants((formula,))):
            return None
        formulas[place] = formula
    return Facts(formulas)


def argument_constants(arguments: Sequence[Argument]) -> list[z3.ExprRef]:
    """One constant for each argument, named after it."""
    return [z3.Const(a.name, a.sort) for a in arguments]


def _instance(system: HornSystem, facts: Facts, place: str, values: Sequence[z3.ExprRef]) -> z3.BoolRef:
    names = argument_constants(system.arguments[place])
    formula = facts.formulas[place]
    return z3.substitute(formula, *zip(names, values, strict=True)) if names else formula


def _cone(net: Net, transitions: set[str]) -> set[str]:
    """The places whose tokens can matter for what those transitions see."""
    cone: set[str] = set()
    stack = [net.transition(t) for t in transitions]
    producers: dict[str, list[Transition]] = {}
    for t in net.transitions:
        for put in t.puts:
            producers.setdefault(put.place, []).append(t)
    while stack:
        t = stack.pop()
        for arc in inputs_of(t):
            if arc.place not in cone:
                cone.add(arc.place)
                stack += producers.get(arc.place, [])
    return cone


def _descend(value: SymValue, of: Type, path: Path) -> SymValue:
    for name in path:
        assert isinstance(of, RecordType)
        index = of.index(name)
        assert index is not None
        assert isinstance(value, tuple)
        value, of = value[index], of.fields[index].type
    return value


def _scalar(of: Type) -> bool:
    return not isinstance(of, RecordType)


def _all(parts: list[z3.BoolRef]) -> z3.BoolRef:
    return z3.BoolVal(True) if not parts else parts[0] if len(parts) == 1 else z3.And(*parts)


def _constants(exprs: Sequence[z3.ExprRef]) -> Iterator[z3.ExprRef]:
    seen: set[int] = set()
    stack = list(exprs)
    while stack:
        e = stack.pop()
        if e.get_id() in seen:
            continue
        seen.add(e.get_id())
        if z3.is_const(e) and e.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            yield e
        else:
            stack += e.children()
