"""Saga scopes: every committed step of an aborted scope is undone exactly once, in reverse order.

After Garcia-Molina & Salem, "Sagas" (SIGMOD 1987). A scope is one token that is in exactly one of these
states::

    (open) ──[abort | kill]──▶ (aborting) ──[unwind]─[compensate]─▶ (aborting) ... ──[aborted]──▶ aborts
       └─────[complete]──────▶ (completing) ──[discharge]──▶ (completing) ...      ──[completed]─▶ completes

The token counts the steps whose commit has begun (``depth``). A step takes the next number when its commit
begins, so that a commit in flight is never forgotten: the aborting scope waits until the step with the
highest number has left its undo token (or a void, where its effect failed or needs no undoing), undoes it,
and goes on with the one below. Beginning and ending to unwind cancel all ordinary work of the net, so no
commit begins once the scope has left ``open``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.expr.ast import Arith, Build, Compare, Const, Expr, Get, Var, substitute
from provenet.nets.models import schema_of
from provenet.nets.net import Auto, Perform, Put, Role, SagaInfo, Signal, Transition, Trigger
from provenet.nets.quick import dataclass
from provenet.nets.schema import INT, Field, RecordType, Type, UnitType
from provenet.sdb.handlers import Effect

KILL_SIGNAL = "provenet.kill"
"""Event that the engine's kill switch sends to a case."""


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga scope that is open from the start of the case.

    Attributes:
        id: Name of the scope.
        outcome: Type of the token that the scope ends with.
        completes: Where the outcome goes when the scope ends well.
        aborts: Where the outcome goes when the scope has compensated everything.
    """

    id: str
    outcome: Any
    completes: PlaceRef
    aborts: PlaceRef

    def expand(self, net: NetBuilder) -> SagaHandle:
        """Add the scope to a net."""
        outcome = schema_of(self.outcome)
        depth = Field("depth", INT)
        opened = RecordType(f"{self.id}.open", (depth,))
        ending = RecordType(f"{self.id}.ending", (depth, Field("outcome", outcome)))
        handle = SagaHandle(
            id=self.id,
            open=net.place(f"{self.id}.open", opened, capacity=1, initial=[(0,)]),
            aborting=net.place(f"{self.id}.aborting", ending, capacity=1),
            completing=net.place(f"{self.id}.completing", ending, capacity=1),
            open_type=opened,
            ending_type=ending,
            outcome_type=outcome,
        )
        net.keep(handle.open, handle.aborting, handle.completing)
        net.declare(SagaInfo(self.id, handle.open.name, handle.aborting.name, handle.completing.name))
        for state, role, name, target in (
            (handle.aborting, Role.ABORTED, "aborted", self.aborts),
            (handle.completing, Role.COMPLETE, "completed", self.completes),
        ):
            made = net.transition(
                f"{self.id}.{name}",
                role=role,
                contract=self.id,
                takes={"s": state},
                when=lambda s: s.depth == 0,
                puts={target: lambda s: s.outcome},
            )
            net.clears(made)
        return handle


@dataclass(frozen=True, slots=True)
class SagaHandle:
    """A scope in a net: its places, and the transitions that end it."""

    id: str
    open: PlaceRef
    aborting: PlaceRef
    completing: PlaceRef
    open_type: RecordType
    ending_type: RecordType
    outcome_type: Type

    def abort(
        self,
        net: NetBuilder,
        name: str,
        *,
        takes: PlaceRef | Mapping[str, PlaceRef],
        outcome: Any,
        when: Callable[..., Any] | None = None,
    ) -> Transition:
        """Start to compensate: takes what triggers it, cancels ordinary work, and unwinds every step.

        Args:
            net: The net.
            name: Name of the transition.
            takes: What triggers it.
            outcome: Lambda over the taken variables, or a constant: the outcome that the scope ends with.
            when: Guard.
        """
        return self._end(net, name, Role.ABORT, self.aborting, takes, outcome, when, Auto())

    def complete(
        self,
        net: NetBuilder,
        name: str,
        *,
        takes: PlaceRef | Mapping[str, PlaceRef],
        outcome: Any,
        when: Callable[..., Any] | None = None,
    ) -> Transition:
        """End the scope well: what was committed stays, its undo tokens are dropped.

        Arguments as for ``abort``.
        """
        return self._end(net, name, Role.ROUTE, self.completing, takes, outcome, when, Auto())

    def kill(self, net: NetBuilder, name: str, *, outcome: Any) -> Transition:
        """Let the kill switch abort the scope, whatever it is doing."""
        return self._end(net, name, Role.KILL, self.aborting, {}, outcome, None, Signal(KILL_SIGNAL))

    def void_place(self, net: NetBuilder) -> PlaceRef:
        """The place of the numbers of steps that need no undoing.

        Their effect failed, or has no compensation.

        It comes, with the transitions that pass such steps over, when a step first asks for it: a scope of
        steps that all leave undo tokens would have dead transitions otherwise.
        """
        name = f"{self.id}.void"
        found = net.known_place(name)
        if found is not None:
            return found
        void = net.place(name, self.open_type)
        net.keep(void)
        for state, role in ((self.aborting, Role.UNWIND), (self.completing, Role.DISCHARGE)):
            net.transition(
                f"{self.id}.skip when {state.name.rsplit('.', 1)[1]}",
                role=role,
                contract=self.id,
                takes={"s": state, "v": void},
                when=lambda s, v: v.depth == s.depth,
                puts={state: lambda s: s.with_(depth=s.depth - 1)},
            )
        return void

    def undo_place(self, net: NetBuilder, contract: str, payload: Type, receipt: Type) -> PlaceRef:
        """The place of a step's undo tokens: its number, and what its effect was given and returned."""
        of = RecordType(
            f"{contract}.undo", (Field("seq", INT), Field("payload", payload), Field("receipt", receipt))
        )
        ref = net.place(f"{contract}.undo", of)
        net.keep(ref)
        return ref

    def compensate(
        self,
        net: NetBuilder,
        contract: str,
        undo: PlaceRef,
        effect: Effect,
        shape: Callable[..., Any] | str | None,
    ) -> None:
        """Add a step's compensation and discharge."""
        held = RecordType(f"{contract}.undoing", (Field("scope", self.ending_type), Field("undo", undo.type)))
        undoing = net.place(f"{contract}.undoing", held)
        net.keep(undoing)
        net.transition(
            f"{contract}.unwind",
            role=Role.UNWIND,
            contract=contract,
            takes={"s": self.aborting, "u": undo},
            when=lambda s, u: u.seq == s.depth,
            puts={undoing: Build(held, (Var("s"), Var("u")))},
        )
        step = Get(Var("w"), "undo")
        trigger: Trigger = Perform(
            net.handle(effect.name, effect),
            self._payload(net, contract, undo, effect, shape, step),
            effect.external,
            effect.timeout,
            effect.tries,
        )
        scope = Get(Var("w"), "scope")
        lower = Arith("-", Get(scope, "depth"), Const(1, INT))
        net.transition(
            f"{contract}.compensate",
            role=Role.COMPENSATE,
            contract=contract,
            takes={"w": undoing},
            brings={"receipt": effect.receipt_type},
            puts={self.aborting: Build(self.ending_type, (lower, Get(scope, "outcome")))},
            trigger=trigger,
        )
        same = Compare("==", Get(Var("u"), "seq"), Get(Var("s"), "depth"))
        made = net.transition(
            f"{contract}.discharge",
            role=Role.DISCHARGE,
            contract=contract,
            takes={"s": self.completing, "u": undo},
            puts={self.completing: lambda s: s.with_(depth=s.depth - 1)},
        )
        net.amend(made, guard=same)

    def _payload(
        self, net: NetBuilder, contract: str, undo: PlaceRef, effect: Effect, shape: Any, step: Expr
    ) -> Expr | None:
        of = undo.type
        assert isinstance(of, RecordType)
        types = {f.name: f.type for f in of.fields if f.name != "seq"}
        if shape is None:
            found = next((n for n, t in types.items() if t == effect.payload_type), None)
            if found is None:
                net.mistake(
                    "SD211",
                    f"contract {contract!r}, undo {effect.name!r}",
                    f"neither the commit's payload nor its receipt is a {effect.payload_type}",
                    "build it: undo_payload=lambda payload, receipt: ...",
                )
                return None
            return Get(step, found)
        expr = net.expr(
            f"contract {contract!r}, undo {effect.name!r}", shape, types, like=effect.payload_type
        )
        return None if expr is None else substitute(expr, {n: Get(step, n) for n in types})

    def _end(
        self,
        net: NetBuilder,
        name: str,
        role: Role,
        to: PlaceRef,
        takes: PlaceRef | Mapping[str, PlaceRef],
        outcome: Any,
        when: Any,
        trigger: Trigger,
    ) -> Transition:
        taken = (
            {**takes, "scope": self.open}
            if isinstance(takes, Mapping)
            else {"inputs": takes, "scope": self.open}
        )
        types = {v: p.type for v, p in taken.items() if isinstance(p, PlaceRef)}
        result = net.expr(f"transition {name!r}", outcome, types, like=self.outcome_type)
        if outcome is None and isinstance(self.outcome_type, UnitType):
            result = Const((), self.outcome_type)
        made = net.transition(name, role=role, contract=self.id, takes=taken, when=when, trigger=trigger)
        depth = Get(Var("scope"), "depth")
        if result is not None:
            made = net.amend(made, puts=(Put(to.name, Build(self.ending_type, (depth, result))),))
        net.clears(made)
        return made
