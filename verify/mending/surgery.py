"""Surgery on nets: the cuts that mends are made of, each a pure function from a net to a net."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from provenet.nets.expr.ast import (
    And,
    Build,
    Compare,
    Const,
    Expr,
    Get,
    Not,
    Or,
    Var,
    children,
    free_variables,
    with_children,
)
from provenet.nets.net import ContractInfo, Net, Put, Requirement, Role, Rule, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT, OptionalType, RecordType, Type
from provenet.verify.properties.common import carried, first_token, info_of, roles
from provenet.verify.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Case:
    """What a mend is sought for.

    Attributes:
        net: The broken net.
        verdict: The refutation.
        requirement: What was asked.
    """

    net: Net
    verdict: Verdict
    requirement: Requirement

    def fired(self) -> list[Transition]:
        """The transitions of the trace, the last first, each once."""
        steps = () if self.verdict.trace is None else self.verdict.trace.steps
        return [self.net.transition(name) for name in dict.fromkeys(s.transition for s in reversed(steps))]

    def left(self) -> list[str]:
        """The places that are marked at the end of the trace."""
        trace = self.verdict.trace
        return (
            [] if trace is None else sorted(p for p, tokens in trace.replay(self.net)[-1].items() if tokens)
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mend to try.

    Attributes:
        text: What it changes, in words.
        net: The net with the change.
        needs: Properties that must be asked for and proved, for a mend that could be too much of a good
            thing: without soundness, a net that does nothing breaks no rule.
        also: Properties that must not be refuted, asked or not.
        vacuous: Whether the property may hold of the mended net for want of anything to check.
    """

    text: str
    net: Net
    needs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    vacuous: bool = False


def with_transition(net: Net, name: str, **changes: Any) -> Net:
    """The net with one transition changed."""
    return replace(
        net, transitions=tuple(replace(t, **changes) if t.name == name else t for t in net.transitions)
    )


def without(net: Net, names: Collection[str]) -> Net:
    """The net without some transitions."""
    return replace(net, transitions=tuple(t for t in net.transitions if t.name not in names))


def added(net: Net, *made: Transition) -> Net:
    """The net with more transitions."""
    return replace(net, transitions=(*net.transitions, *made))


def named(net: Net, wanted: str) -> str:
    """A name for a new transition that is not taken."""
    name, number = wanted, 2
    while net.has_transition(name):
        name, number = f"{wanted} {number}", number + 1
    return name


# conditions

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def negated(expr: Expr) -> Expr:
    """The negation, as people write it."""
    match expr:
        case Not(inner):
            return inner
        case Compare(op, left, right):
            return Compare(_OPPOSITE[op], left, right)  # type: ignore[arg-type]  # one of the six
        case _:
            return Not(expr)


def both(first: Expr | None, second: Expr) -> Expr:
    """The conjunction, with no conjunction inside a conjunction."""
    parts = [p for e in (first, second) if e is not None for p in (e.parts if isinstance(e, And) else (e,))]
    parts = list(dict.fromkeys(parts))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def any_of(parts: Sequence[Expr]) -> Expr:
    """The disjunction."""
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def replaced(expr: Expr, what: Expr, by: Expr) -> Expr:
    """The expression with one part put in another's place, wherever it occurs."""
    if expr == what:
        return by
    parts = children(expr)
    return with_children(expr, tuple(replaced(p, what, by) for p in parts)) if parts else expr


# contracts


def as_rule(net: Net, t: Transition, condition: Expr) -> Expr | None:
    """A condition over a transition's variables as one over ``proposal`` and ``inputs``, where it is one."""
    for name in ("proposal", "inputs"):
        found = carried(net, t, name)
        if found is not None:
            condition = replaced(condition, found[0], Var(name))
    return condition if free_variables(condition) <= {"proposal", "inputs"} else None


def as_guard(net: Net, t: Transition, rule: Expr) -> Expr | None:
    """A rule as a condition over the variables of an accept or a reject, where it can be said there."""
    info = info_of(net, t.contract)
    for name in sorted(free_variables(rule)):
        found = carried(net, t, name) or (first_token(net, t) if len(t.takes) == 1 else None)
        wanted = info.proposal if name == "proposal" and info is not None else None
        if found is None or (wanted is not None and found[1] != wanted):
            return None
        rule = replaced(rule, Var(name), found[0])
    return rule


def tightened(net: Net, contract: str, rule: Expr, text: str) -> Net | None:
    """The net with one more rule in a contract's policy, and in the guards that come from it."""
    info = info_of(net, contract)
    if info is None or info.opaque != "no" or any(r.expr == rule for r in info.rules):
        return None
    if "inputs" in free_variables(rule) and info.inputs == UNIT:
        of = next((f[1] for t in roles(net, contract, Role.ACCEPT) if (f := carried(net, t, "inputs"))), None)
        if of is None:
            return None
        info = replace(info, inputs=of)
    for t in roles(net, contract, Role.ACCEPT):
        more = as_guard(net, t, rule)
        if more is None:
            return None
        net = _decided(net, t, both(t.guard, more))
    return with_info(net, replace(info, rules=(*info.rules, Rule(text, rule))))


def by_policy(net: Net, contract: str) -> Net | None:
    """The net in which a contract's verifier accepts only what its policy lets pass."""
    info = info_of(net, contract)
    return None if info is None else _ruled(net, info, "as well")


def with_rules(net: Net, info: ContractInfo) -> Net | None:
    """The net with other rules of a contract, where its guards are the rules and nothing else."""
    old = info_of(net, info.id)
    for t in roles(net, info.id, Role.ACCEPT):
        if old is None or t.guard is None or t.guard != _rules_of(net, t, old):
            return None
    found = _ruled(net, info, "alone")
    return None if found is None else with_info(found, info)


def _ruled(net: Net, info: ContractInfo, how: Literal["as well", "alone"]) -> Net | None:
    if info.opaque != "no":
        return None
    for t in roles(net, info.id, Role.ACCEPT):
        rules = _rules_of(net, t, info)
        if rules is None:
            return None
        net = _decided(net, t, both(t.guard, rules) if how == "as well" else rules)
    return net


def _rules_of(net: Net, accept: Transition, info: ContractInfo) -> Expr | None:
    """The policy as the guard of an accept; the builder makes it so, even of one rule."""
    parts = [as_guard(net, accept, r.expr) for r in info.rules]
    rules = [p for p in parts if p is not None]
    return And(tuple(rules)) if rules and len(rules) == len(parts) else None


def _decided(net: Net, accept: Transition, guard: Expr) -> Net:
    """The net with another guard of an accept, and its negation in the rejects that answer to it."""
    for t in roles(net, accept.contract, Role.REJECT):
        if t.takes == accept.takes and t.reads == accept.reads:
            net = with_transition(net, t.name, guard=Not(guard))
    return with_transition(net, accept.name, guard=guard)


def with_info(net: Net, info: ContractInfo) -> Net:
    """The net with another record of a contract."""
    return replace(net, contracts=tuple(info if c.id == info.id else c for c in net.contracts))


# tokens


def token_for(net: Net, t: Transition, place: str) -> Put | None:
    """An arc from a transition that puts a token into a place, made of what the transition has.

    A variable of the place's type, or a record whose fields are found by name in what is taken or fresh.
    """
    of = net.place(place).type
    if of == UNIT:
        return Put(place)
    scope = net.scope(t)
    same = [v for v, has in scope.items() if has == of]
    if same:
        return Put(place, Var(same[0]))
    if not isinstance(of, RecordType):
        return None
    parts = [_field(net, t, scope, f.name, f.type) for f in of.fields]
    filled = [p for p in parts if p is not None]
    return Put(place, Build(of, tuple(filled))) if len(filled) == len(parts) else None


def _field(net: Net, t: Transition, scope: dict[str, Type], name: str, of: Type) -> Expr | None:
    fits = {of, of.item} if isinstance(of, OptionalType) else {of}
    if name in scope and scope[name] in fits:
        return Var(name)
    found = carried(net, t, name)
    if found is not None and found[1] in fits:
        return found[0]
    whole = [a.var for a in t.takes if a.var is not None and scope[a.var] in fits]
    if whole:
        return Var(whole[0])
    deeper = _inside(net, t, name, fits)
    if deeper is None and isinstance(of, OptionalType):
        return Const(None, of)
    return deeper


def _inside(net: Net, t: Transition, name: str, fits: Collection[Type]) -> Expr | None:
    """A field of that name one level further down."""
    for arc in t.takes:
        of = net.place(arc.place).type
        if arc.var is None or not isinstance(of, RecordType):
            continue
        for f in of.fields:
            if isinstance(f.type, RecordType) and (g := f.type.field(name)) is not None and g.type in fits:
                return Get(Get(Var(arc.var), f.name), name)
    return None


def reads_fresh(t: Transition) -> bool:
    """Whether what a transition puts depends on a value from outside."""
    fresh = {f.var for f in t.fresh}
    return any(p.expr is not None and free_variables(p.expr) & fresh for p in t.puts)


def takers(net: Net, place: str) -> Iterator[Transition]:
    """The transitions that take from a place."""
    return (t for t in net.transitions if any(a.place == place for a in t.takes))


def renamed(expr: Expr, of: Transition, to: Transition) -> Expr | None:
    """A condition of one transition over the variables of another with the same input arcs."""
    pairs = zip(_arcs(of), _arcs(to), strict=False)
    for mine, other in [(a, b) for a, b in pairs if a is not None and a != b]:
        if mine in free_variables(expr):
            if other is None or other in _arcs(of):
                return None
            expr = replaced(expr, Var(mine), Var(other))
    return expr


def _arcs(t: Transition) -> list[str | None]:
    """The variables of what a transition takes and reads, in an order that its siblings share."""
    takes = sorted(t.takes, key=lambda a: (a.place, a.weight))
    reads = sorted(t.reads, key=lambda a: (a.place, a.weight))
    return [*(a.var for a in takes), *(a.var for a in reads)]
