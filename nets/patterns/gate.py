"""A gate: a deterministic check before what reaches the outside, whatever the action is called.

::

    takes ─[allow]─▶ (allowed) ─ the slot's contract ─▶ (done) ──[release]─▶ gives
      │       └──────▶ (held: what it read) ──────────────────────▲  │
      │                                       (failed) ──[put back]──┴─────▶ failed
      └──[deny]─▶ denied          (audit: the latest decision)   (left: of each budget)

The rules of a policy, who may act, and what is left of its budgets, all of them expressions. It says yes or
no, and each decision leaves an audit token: who, by which policy and version, why, and of what. The token
is the latest one; all of them are in the case's log.

The gate stands before an *effect*: the net has to prove that nothing reaches the effect but what this very
gate has allowed, so a second way to it is refuted, whatever it is called. What the gate has read is *held*
until the effect is done: whoever wants to change it waits, so that the decision and the effect cannot be
parted.

The lineage is the reference monitor (Anderson, "Computer security technology planning study", 1972): always
asked, not to be got around, small enough to be examined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import (
    And,
    Arith,
    Build,
    Compare,
    Const,
    Expr,
    Get,
    If,
    Not,
    Var,
    children,
    direct,
    free_variables,
    substitute,
    with_children,
)
from provenet.nets.expr.typing import type_of
from provenet.nets.net import ContractInfo, PatternInfo, Perform, Requirement, Role, Rule
from provenet.nets.patterns.slot import Filled, Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import Rules, always, cap, mutex, never
from provenet.nets.schema import INT, STR, EnumType, Field, OptionalType, RecordType, Type


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a gate may let pass in a case.

    Attributes:
        name: Such as ``cents``: a Python identifier.
        most: How much in all.
        amount: Lambda over ``proposal``: what one request takes from it, by its type never below zero;
            without one, 1 (a number of calls).
    """

    name: str
    most: int
    amount: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """A deterministic check before an effect.

    Lambdas read ``proposal``, the request that is to pass.

    Attributes:
        id: Name of the gate.
        takes: Where requests come from.
        gives: Where what passed goes: the request, or what ``work`` made of it.
        denied: Where a request goes that was denied.
        policy: A named set of rules over ``proposal``, and over ``inputs`` or what ``reads`` names.
        who: Who acts, for the audit: a text or an enum of the request. Let the net fill it in, never a model.
        may: Whether whoever acts may.
        budgets: What is used up by what passes; nothing is given back.
        reads: What else the rules read, by name: places of one token, which is held until the work is done.
        work: The contract that performs the effect; see ``Slot``.
        failed: Where the request goes when the work could not do it.
        deny: Lambda over ``proposal`` and ``why``, a text: the token for ``denied``, where that is not the
            request.
    """

    id: str
    takes: PlaceRef
    gives: PlaceRef
    denied: PlaceRef
    policy: Rules
    who: Callable[..., Any] | None = None
    may: Callable[..., Any] | None = None
    budgets: Sequence[Budget] = ()
    reads: Mapping[str, PlaceRef] = field(default_factory=dict)
    work: Work | None = None
    failed: PlaceRef | None = None
    deny: Callable[..., Any] | None = None

    def expand(self, net: NetBuilder) -> GateHandle:
        """Add the pattern to a net."""
        return _Gating(self, net).run()


@dataclass(frozen=True, slots=True)
class GateHandle:
    """A gate in a net.

    Attributes:
        id: Its name, for ``unless=`` of ``never``: what it has allowed.
        allowed: Name of the transition that allows.
        denies: Name of the transition that denies.
        audit: The latest decision; null before the first.
        guarantees: What is to be proved of it wherever it stands; the net requires it.
    """

    id: str
    allowed: str
    denies: str
    audit: PlaceRef
    guarantees: tuple[Requirement, ...]
    _request: Type
    _rules: tuple[Rule, ...]
    _amounts: tuple[tuple[Budget, Expr], ...]

    def guards(self, net: NetBuilder, effect: str, *, of: Type) -> tuple[Requirement, ...]:
        """Require that an effect is performed only with what this gate has allowed, whatever performs it.

        The gate of an effect in its own ``work`` guards it already.

        Args:
            net: The net.
            effect: Name of the effect.
            of: Type of what it is given: the gate's request, or one field of it.
        """
        found = tuple(self._about(net, effect, of))
        net.require(*found)
        return found

    def _about(self, net: NetBuilder, effect: str, of: Type) -> Iterator[Requirement]:
        part = _part(self._request, of)
        if part is None:
            net.mistake(
                "PN136",
                f"gate {self.id!r}",
                f"{effect!r} is given a {of}, and the gate judges a {self._request}",
                "let the effect be given the request, or one field of it that has a type of its own",
            )
            return
        yield never(
            effect=effect, unless=self.allowed, name=f"{self.id}: {effect} does only what the gate allowed"
        )
        said = [e for r in self._rules if (e := _of_payload(r.expr, part)) is not None]
        if said:
            policy = f"{self.id}: {effect} is never given what the gate's rules refuse"
            yield never(effect=effect, where=Not(And(tuple(said))), name=policy)
        for budget, amount in self._amounts:
            spent = _of_payload(amount, part)
            if spent is None:
                net.mistake(
                    "PN136",
                    f"gate {self.id!r}, budget {budget.name!r}",
                    f"it counts what {effect!r} is not given",
                    "count a field of what the effect is given",
                )
                continue
            most = f"{self.id}: {effect} takes at most {budget.most} {budget.name}"
            yield cap(effect, most=budget.most, amount=spent, name=most)


class _Gating:
    """One expansion of a gate."""

    def __init__(self, gate: Gate, net: NetBuilder) -> None:
        self.g, self.net, self.id, self.request = gate, net, gate.id, gate.takes.type
        self.where = f"gate {gate.id!r}"
        self._check()
        self.left = {
            b.name: net.place(
                f"{self.id}.{b.name} left",
                RecordType(f"{self.id}.{b.name} left", (Field("left", INT),)),
                initial=[{"left": b.most}],
            )
            for b in gate.budgets
        }
        fields = [Field(name, ref.type) for name, ref in gate.reads.items()]
        self.held = RecordType(f"{self.id}.held", tuple(fields))
        self.inputs = RecordType(f"{self.id}.inputs", (*fields, *(Field(b, INT) for b in self.left)))

    def run(self) -> GateHandle:
        g, net = self.g, self.net
        amounts = tuple(self._amounts())
        rules = tuple(self._rules(amounts))
        who = net.expr(self.where, g.who or (lambda: ""), {"proposal": self.request}, like=None) or _text("")
        said = RecordType(
            f"{self.id}.decision",
            (
                Field("decision", EnumType("Decision", ("allow", "deny"))),
                Field("who", type_of(who, {"proposal": self.request})),
                *(Field(name, STR) for name in ("policy", "why")),
                Field("request", self.request),
            ),
        )
        audit = net.place(f"{self.id}.audit", OptionalType(said), initial=[None])
        net.rests(audit, *self.left.values())
        holds, why = self._holds(rules)

        def decided(decision: str, because: Expr) -> Any:
            return Build(said, (_text(decision), who, _text(g.policy.name), because, Var("proposal")))

        to, filled = self._filled()
        reads = {**g.reads, **{f"_{b}": ref for b, ref in self.left.items()}}
        puts: dict[PlaceRef, Any] = {to: "proposal", audit: decided("allow", _text("all its rules hold"))}
        for b, amount in amounts:
            left = self.left[b.name]
            rest = Arith("-", Get(Var(f"_{b.name}"), "left"), amount)
            puts[left] = Build(left.type, (rest,))  # type: ignore[arg-type]
        if g.reads:
            puts[self._held()] = Build(self.held, tuple(Var(name) for name in g.reads))
        # Both take the same: so it is plain that one of the two is always possible, and never both.
        takes = {"proposal": g.takes, **reads, "_audit": audit}
        allow = net.transition(f"{self.id}.allow", role=Role.ACCEPT, contract=self.id, takes=takes, puts=puts)
        net.amend(allow, guard=holds)
        back = {ref: Var(name) for name, ref in reads.items()}
        puts = {g.denied: self._denied(why), audit: decided("deny", why), **back}
        # Of a role that may lie idle: where all that comes was verified before, it never denies.
        deny = net.route(f"{self.id}.deny", role=Role.GIVE_UP, contract=self.id, takes=takes, puts=puts)
        net.amend(deny, guard=Not(holds))
        net.declare(
            ContractInfo(
                id=self.id,
                proposal=self.request,
                policy=g.policy.name,
                rules=rules,
                inputs=self.inputs,
                external=False,
            )
        )
        handle = GateHandle(self.id, allow.name, deny.name, audit, (), self.request, rules, amounts)
        guarantees = tuple(self._guarantees())
        net.require(*guarantees)
        effects = self._effects(filled)
        for effect, of in effects.items():
            guarantees += handle.guards(net, effect, of=of)
        self._declare(handle, filled)
        return replace(handle, guarantees=guarantees)

    def _check(self) -> None:
        g, net = self.g, self.net

        def wrong(what: str, hint: str) -> None:
            net.mistake("PN136", self.where, what, hint)

        names = [*g.reads, *(b.name for b in g.budgets)]
        for name in names:
            if not name.isidentifier() or name.startswith("_") or name in ("proposal", "inputs", "why"):
                wrong(f"something that it reads is named {name!r}", "a Python identifier of its own")
        if len(set(names)) < len(names):
            wrong("two things that it reads have one name", "name each of them once")
        if g.reads and g.work is None:
            wrong(
                "it reads what may change before the effect is done",
                "give it the contract as work=, so that it holds what it read until then",
            )
        if (g.work is None) != (g.failed is None):
            wrong("failed= goes with work=", "say where a request goes that the work could not do")
        if g.work is None and g.gives.type != self.request:
            wrong(
                f"it gives a {g.gives.type} and takes a {self.request}", "give= a place of the request's type"
            )
        for b in g.budgets:
            if not isinstance(b.most, int) or isinstance(b.most, bool) or b.most < 0:
                wrong(f"budget {b.name!r} has most={b.most!r}", "give a whole number from 0")

    def _amounts(self) -> Iterator[tuple[Budget, Expr]]:
        for b in self.g.budgets:
            where = f"{self.where}, budget {b.name!r}"
            expr = None if b.amount is None else self.net.expr(where, b.amount, {"proposal": self.request})
            yield b, expr or Const(1, INT)

    def _rules(self, amounts: Sequence[tuple[Budget, Expr]]) -> Iterator[Rule]:
        """All that it checks, over ``proposal`` and ``inputs``."""
        g, net, inputs = self.g, self.net, Var("inputs")
        scope: dict[str, Type] = {"inputs": self.inputs, **{n: p.type for n, p in g.reads.items()}}
        try:
            found = g.policy.resolve(self.request, scope)
        except ProvenetError as error:
            where = f"{self.where}, policy {g.policy.name!r}"
            net.mistake(error.code or "PN136", where, error.message, error.hint)
            found = ()
        names: dict[str, Expr] = {n: Get(inputs, n) for n in g.reads}
        for rule in found:
            yield replace(rule, expr=substitute(rule.expr, names))
        if g.may is not None:
            may = net.expr(f"{self.where}, may", g.may, {"proposal": self.request})
            if may is not None:
                yield Rule("who may act", may, retryable=False)
        for b, amount in amounts:
            some = () if isinstance(amount, Const) else (Compare(">=", amount, Const(0, INT)),)
            enough = And((*some, Compare("<=", amount, Get(inputs, b.name))))
            yield Rule(f"budget {b.name}", enough, retryable=False)

    def _holds(self, rules: Sequence[Rule]) -> tuple[Expr, Expr]:
        """That all rules hold, and which is the first that does not, over the variables of a decision."""
        at: tuple[Expr, ...] = (
            *(Var(n) for n in self.g.reads),
            *(Get(Var(f"_{b}"), "left") for b in self.left),
        )
        here: dict[str, Expr] = {"inputs": Build(self.inputs, at)}
        each = [(r.name, direct(substitute(r.expr, here))) for r in rules]
        why: Expr = _text(each[-1][0] if each else "")
        for name, holds in reversed(each[:-1]):
            why = If(holds, why, _text(name))
        return And(tuple(holds for _, holds in each)), why

    def _filled(self) -> tuple[PlaceRef, Filled | None]:
        """Where what is allowed goes, and the work behind it."""
        g, net = self.g, self.net
        if g.work is None or g.failed is None:
            return g.gives, None
        allowed = net.place(f"{self.id}.allowed", self.request)
        if not g.reads:
            return allowed, fill(net, Slot(f"{self.id}.act", allowed, g.gives, g.failed), g.work)
        held = net.place(f"{self.id}.held", self.held)
        done = net.place(f"{self.id}.done", g.gives.type)
        failed = net.place(f"{self.id}.not done", g.failed.type)
        filled = fill(net, Slot(f"{self.id}.act", allowed, done, failed), g.work)
        back = {ref: Get(Var("h"), name) for name, ref in g.reads.items()}
        net.route(f"{self.id}.release", takes={"it": done, "h": held}, puts={g.gives: "it", **back})
        net.transition(
            f"{self.id}.put back",
            role=Role.GIVE_UP,  # its contract may be one that never fails: no harm in being ready
            contract=self.id,
            takes={"it": failed, "h": held},
            puts={g.failed: "it", **back},
        )
        return allowed, filled

    def _held(self) -> PlaceRef:
        return PlaceRef(f"{self.id}.held", self.held)

    def _denied(self, why: Expr) -> Expr | None:
        """The token of a request that was denied."""
        g, names = self.g, {"proposal": self.request, "why": STR}
        token = self.net.expr(f"{self.where}, deny", g.deny or "proposal", names, like=g.denied.type)
        return None if token is None else substitute(token, {"why": why})

    def _effects(self, filled: Filled | None) -> dict[str, Type]:
        """The effects of the work, what takes them back aside, with the types of what they are given."""
        found: dict[str, Type] = {}
        net = self.net.so_far()
        for t in filled.effects if filled is not None else ():
            if isinstance(t.trigger, Perform) and t.role is not Role.COMPENSATE:
                given = t.trigger.payload
                of = self.request if given is None else type_of(given, net.scope(t))
                found.setdefault(t.trigger.handler, of)
        if filled is not None and not found:
            self.net.mistake(
                "PN136", self.where, "its work reaches nothing outside", "give it a contract with a commit"
            )
        return found

    def _guarantees(self) -> Iterator[Requirement]:
        for b in self.g.budgets:
            left, counter = self.left[b.name], Get(Var("it"), "left")
            overdrawn = f"{self.id}: its budget of {b.most} {b.name} is never overdrawn"
            yield always(left.name, where=Compare(">=", counter, Const(0, INT)), name=overdrawn)
        for name, place in self.g.reads.items():
            kept = f"{self.id}: {name} does not change between its decision and the effect"
            yield mutex(place.name, self._held().name, name=kept)

    def _declare(self, handle: GateHandle, filled: Filled | None) -> None:
        acts = () if filled is None else filled.effects
        performs = tuple(t.name for t in acts if t.role is not Role.COMPENSATE)
        parts = {
            "allow": (handle.allowed,),
            "deny": (handle.denies,),
            "audit": (handle.audit.name,),
            "budget": tuple(p.name for p in self.left.values()),
            "reads": tuple(p.name for p in self.g.reads.values()),
            "effect": performs,
        }
        figures = tuple((f"most {b.name}", b.most) for b in self.g.budgets)
        self.net.declare(PatternInfo("gate", self.id, tuple((k, v) for k, v in parts.items() if v), figures))


def _text(value: str) -> Const:
    return Const(value, STR)


def _part(request: Type, of: Type) -> Expr | None:
    """What of ``proposal`` an effect of that type is given: all of it, or the one field of the type."""
    if of == request:
        return Var("proposal")
    fields = [f.name for f in request.fields if f.type == of] if isinstance(request, RecordType) else []
    return Get(Var("proposal"), fields[0]) if len(fields) == 1 else None


def _of_payload(expr: Expr, part: Expr) -> Expr | None:
    """An expression over ``proposal`` as one over ``payload``, the part of it that an effect is given."""
    said = _replaced(expr, part, Var("payload"))
    return said if free_variables(said) == {"payload"} or isinstance(said, Const) else None


def _replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    return with_children(expr, tuple(_replaced(part, old, new) for part in children(expr)))
