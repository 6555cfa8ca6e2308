"""The SDB contract: proposer, verifier, commit, reject signal; and the net fragment that it stands for.

Fragment of contract ``c``; names in parentheses are places, in brackets transitions with their roles::

    takes ─[begin]─▶ (running) ─[propose]─▶ (proposed) ─[accept]─▶ (verified) ─[intent]─▶ (committing)
                       ─[commit]─▶ gives ▲   └──[fault]──┐         └──[reject]──┐
                       └──[fail]──▶ on_failure └──[retry]── (rejected) ◀──────────────┘ └──[give_up]──▶
                       otherwise

``propose=None`` leaves the left part out: the input itself is the proposal (a person approved it, or another
contract made it), and the verifier re-checks it. A transactional commit needs no ``intent``. Within a saga
scope, a step takes its number from the scope when its commit begins, and a commit leaves an undo token of
that number (see ``provenet.sdb.saga``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, replace
from datetime import timedelta
from typing import Any

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import And, Arith, Build, Compare, Const, Expr, Get, Not, Var, substitute
from provenet.nets.expr.build import Term, lift
from provenet.nets.models import schema_of
from provenet.nets.net import (
    Ask,
    Auto,
    ContractInfo,
    Explain,
    Judge,
    OnFailure,
    Perform,
    Role,
    Rule,
    Transition,
    Trigger,
)
from provenet.nets.quick import dataclass
from provenet.nets.schema import INT, Field, OptionalType, RecordType, Type
from provenet.sdb.handlers import Effect, Proposer, VerifierFunction
from provenet.sdb.policy import Policy
from provenet.sdb.reject import REJECT
from provenet.sdb.saga import SagaHandle

Shape = Callable[..., Any] | str | None
"""A lambda that builds a token or payload, a variable's name to pass on, or ``None`` for the obvious one."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A stochastic-deterministic boundary in its four parts.

    Lambdas may read ``inputs`` (or the taken variables by name), ``proposal``, and where they exist
    ``attempt``, ``signal``, ``receipt``.

    Attributes:
        id: Name of the contract; its transitions are ``id.propose`` and so on.
        takes: Where its inputs come from: a place, or variables with their places.
        gives: Where a committed result goes.
        verify: The verifier: a ``Policy``, or a deterministic function ``(proposal, inputs) -> bool | Reject
            | None``.
        otherwise: Where the case goes when the attempts are spent.
        propose: The proposer; ``None`` where the input itself is the proposal.
        returns: Token model of the proposal; not needed where there is no proposer.
        commit: The effect; ``None`` where committing means no more than passing the result on.
        undo: The effect that compensates the commit; asks for a ``saga``.
        irreversible: The commit cannot be undone.
        attempts: Most proposals.
        timeout: How long a proposal may take.
        on_failure: Where the case goes when the commit's effect fails for good; without it, the effect is
            tried until it works.
        saga: The scope that the commit belongs to.
        when: Guard on the inputs for the contract to begin.
        payload: What the effect is given; by default the proposal.
        emit: The token for ``gives``; by default the proposal, the input or the receipt, whichever has its
            type.
        escalate: The token for ``otherwise``; by default the input or the signal, whichever has its type.
        fail_emit: The token for ``on_failure``; by default the proposal, the input or the signal, whichever
            has its type.
        undo_payload: What the undo effect is given, over ``payload`` and ``receipt``; by default the commit's
            payload.
        requires: What the commit relies on; proved from what was verified (DATA-3).
    """

    id: str
    _: KW_ONLY
    takes: PlaceRef | Mapping[str, PlaceRef]
    gives: PlaceRef
    verify: Policy | VerifierFunction
    otherwise: PlaceRef
    propose: Proposer | None = None
    returns: Any = None
    commit: Effect | None = None
    undo: Effect | None = None
    irreversible: bool = False
    attempts: int = 3
    timeout: timedelta = timedelta(seconds=60)
    on_failure: PlaceRef | None = None
    saga: SagaHandle | None = None
    when: Callable[..., Any] | None = None
    payload: Shape = None
    emit: Shape = None
    escalate: Shape = None
    fail_emit: Shape = None
    undo_payload: Shape = None
    requires: Callable[..., Any] | None = None

    def expand(self, net: NetBuilder) -> ContractHandle:
        """Add the fragment to a net."""
        return _Expansion(self, net).run()


@dataclass(frozen=True, slots=True)
class ContractHandle:
    """A contract in a net: its id and its places, for properties and for arcs."""

    id: str
    verified: PlaceRef
    rejected: PlaceRef
    committed: str
    """Name of the commit transition."""


class _Expansion:
    """One expansion of a contract; holds the names while the fragment is built."""

    def __init__(self, contract: Contract, net: NetBuilder) -> None:
        self.c, self.net = contract, net
        if isinstance(contract.takes, PlaceRef):
            self.takes = {"inputs": contract.takes}
            self.inputs: Type = contract.takes.type
        else:
            self.takes = dict(contract.takes)
            only = len(self.takes) == 1
            self.inputs = (
                next(iter(self.takes.values())).type
                if only
                else RecordType(
                    f"{contract.id} inputs", tuple(Field(v, p.type) for v, p in self.takes.items())
                )
            )
        if contract.returns is not None:
            self.proposal = schema_of(contract.returns)
        else:
            self.proposal = self.inputs
        self.payload = self.receipt = self.undo_given = None
        external = contract.commit is not None and contract.commit.external
        self.numbered = contract.saga is not None and contract.commit is not None
        self.external = external or self.numbered

    def run(self) -> ContractHandle:
        c, net = self.c, self.net
        self._check()
        rules, opaque = self._rules()
        verified = self._place("verified", self._carrying(proposal=self.proposal))
        rejected = self._place(
            "rejected",
            self._carrying(proposal=OptionalType(self.proposal), attempt=INT, signal=REJECT),
        )
        if c.propose is None:
            self._passthrough(verified, rejected, rules)
        else:
            self._loop(verified, rejected, rules)
        commit = self._commit(verified)
        net.declare(
            ContractInfo(
                id=c.id,
                proposal=self.proposal,
                policy=c.verify.name if isinstance(c.verify, Policy) else "",
                rules=rules,
                inputs=self.inputs,
                opaque="function" if opaque else "no",
                attempts=c.attempts if c.propose is not None else 1,
                irreversible=c.irreversible,
                undo=c.undo.name if c.undo else "",
                external=c.commit.external if c.commit else False,
                saga=c.saga.id if c.saga else "",
            )
        )
        return ContractHandle(c.id, verified, rejected, commit.name)

    # the four parts

    def _loop(self, verified: PlaceRef, rejected: PlaceRef, rules: tuple[Rule, ...]) -> None:
        """begin, propose, fault, accept, reject, retry, give_up."""
        c, net = self.c, self.net
        assert c.propose is not None
        attempt = INT
        running = self._place("running", self._carrying(attempt=attempt, signal=OptionalType(REJECT)))
        proposed = self._place("proposed", self._carrying(proposal=self.proposal, attempt=attempt))
        gathered = self._gathered()
        self._transition(
            "begin",
            Role.BEGIN,
            takes=self.takes,
            when=c.when,
            puts={running: self._record(running, inputs=gathered, attempt=1, signal=None)},
        )
        asked = self._transition(
            "propose",
            Role.PROPOSE,
            takes={"r": running},
            brings={"proposal": self.proposal},
            puts={
                proposed: self._record(proposed, inputs="r.inputs", proposal="proposal", attempt="r.attempt")
            },
            trigger=Ask(net.handle(f"{c.id}.propose", c.propose), _path("r.inputs"), c.timeout),
        )
        self._transition(
            "fault",
            Role.FAULT,
            takes={"r": running},
            brings={"signal": REJECT},
            puts={
                rejected: self._record(
                    rejected, inputs="r.inputs", proposal=None, attempt="r.attempt", signal="signal"
                )
            },
            trigger=OnFailure(asked.name),
        )
        policy = self._policy(rules, "p")
        accept, reject = self._verdicts()
        self._transition(
            "accept",
            Role.ACCEPT,
            takes={"p": proposed},
            guard=policy,
            puts={verified: self._record(verified, inputs="p.inputs", proposal="p.proposal")},
            trigger=accept,
        )
        self._transition(
            "reject",
            Role.REJECT,
            takes={"p": proposed},
            guard=None if policy is None else Not(policy),
            brings={"signal": REJECT},
            puts={
                rejected: self._record(
                    rejected, inputs="p.inputs", proposal="p.proposal", attempt="p.attempt", signal="signal"
                )
            },
            trigger=reject,
        )
        again = And((_path("r.signal.retryable"), _less("r.attempt", c.attempts)))
        self._transition(
            "retry",
            Role.RETRY,
            takes={"r": rejected},
            guard=again,
            puts={
                running: self._record(
                    running, inputs="r.inputs", attempt=_next("r.attempt"), signal="r.signal"
                )
            },
        )
        self._give_up(rejected, Not(again))

    def _passthrough(self, verified: PlaceRef, rejected: PlaceRef, rules: tuple[Rule, ...]) -> None:
        """Accept and reject straight on the input; there is nobody to ask again."""
        gathered = self._gathered()
        names = {"proposal": gathered, "inputs": gathered}
        policy = self._policy(rules, None, names)
        accept, reject = self._verdicts()
        when = self._condition("begin", self.c.when)
        self._transition(
            "accept",
            Role.ACCEPT,
            takes=self.takes,
            guard=_both(when, policy),
            puts={verified: self._record(verified, inputs=gathered, proposal=gathered)},
            trigger=accept,
        )
        self._transition(
            "reject",
            Role.REJECT,
            takes=self.takes,
            guard=_both(when, None if policy is None else Not(policy)),
            brings={"signal": REJECT},
            puts={
                rejected: self._record(
                    rejected, inputs=gathered, proposal=gathered, attempt=1, signal="signal"
                )
            },
            trigger=reject,
        )
        self._give_up(rejected, None)

    def _give_up(self, rejected: PlaceRef, guard: Expr | None) -> None:
        c = self.c
        names = {
            "proposal": _path("r.proposal"),
            "attempt": _path("r.attempt"),
            "signal": _path("r.signal"),
            **self._input_names("r.inputs"),
        }
        types: dict[str, Type] = {
            "proposal": OptionalType(self.proposal),
            "attempt": INT,
            "signal": REJECT,
        }
        self._transition(
            "give_up",
            Role.GIVE_UP,
            takes={"r": rejected},
            guard=guard,
            puts={c.otherwise: self._shape("give_up", c.escalate, c.otherwise.type, names, types)},
        )

    def _commit(self, verified: PlaceRef) -> Transition:
        c, net = self.c, self.net
        source = verified
        saga = c.saga if self.numbered else None
        if self.external:
            extra: dict[str, Type] = {"seq": INT} if saga else {}
            committing = self._place("committing", self._carrying(proposal=self.proposal, **extra), keep=True)
            takes = {"v": verified}
            puts: dict[PlaceRef, Any] = {
                committing: self._record(
                    committing, inputs="v.inputs", proposal="v.proposal", seq=_next("s.depth")
                )
            }
            if saga:
                takes["s"] = saga.open
                puts[saga.open] = Build(saga.open_type, (_next("s.depth"),))
            self._transition("intent", Role.INTENT, takes=takes, puts=puts)
            source = committing
        names = {"proposal": _path("v.proposal"), **self._input_names("v.inputs")}
        types: dict[str, Type] = {"proposal": self.proposal}
        brings: dict[str, Type] = {}
        trigger: Trigger = Auto()
        payload: Expr | None = None
        if c.commit is not None:
            payload = self._shape("commit", c.payload, c.commit.payload_type, names, types)
            trigger = Perform(
                net.handle(c.commit.name, c.commit),
                payload,
                c.commit.external,
                c.commit.timeout,
                c.commit.tries if c.on_failure is not None else None,
            )
            brings = {"receipt": c.commit.receipt_type}
            names["receipt"], types["receipt"] = Var("receipt"), c.commit.receipt_type
        puts = {c.gives: self._shape("commit", c.emit, c.gives.type, names, types)}
        if saga:
            assert c.commit is not None
            assert payload is not None
            if c.undo is not None:
                undo = saga.undo_place(net, c.id, c.commit.payload_type, c.commit.receipt_type)
                puts[undo] = Build(
                    undo.type,  # type: ignore[arg-type]
                    (_path("v.seq"), payload, Var("receipt")),
                )
                saga.compensate(net, c.id, undo, c.undo, self.c.undo_payload)
            else:
                puts[saga.void_place(net)] = Build(saga.open_type, (_path("v.seq"),))
        made = self._transition(
            "commit",
            Role.COMMIT,
            takes={"v": source},
            brings=brings,
            puts=puts,
            requires=self._condition("commit", c.requires, names, types),
            trigger=trigger,
        )
        if c.on_failure is not None and c.commit is not None:
            names["signal"], types["signal"] = Var("signal"), REJECT
            names.pop("receipt"), types.pop("receipt")
            failed = {c.on_failure: self._shape("fail", c.fail_emit, c.on_failure.type, names, types)}
            if saga:
                failed[saga.void_place(net)] = Build(saga.open_type, (_path("v.seq"),))
            self._transition(
                "fail",
                Role.FAIL,
                takes={"v": source},
                brings={"signal": REJECT},
                puts=failed,
                trigger=OnFailure(made.name),
            )
        return made

    # names, shapes and records

    def _check(self) -> None:
        c, where = self.c, f"contract {self.c.id!r}"
        if not isinstance(c.attempts, int) or isinstance(c.attempts, bool) or not 1 <= c.attempts <= 1000:
            self.net.mistake("SD203", where, f"attempts is {c.attempts!r}", "give a number from 1 to 1000")
        if c.propose is not None and c.returns is None:
            self.net.mistake(
                "SD204", where, "a proposer without returns=", "name the token model that it proposes"
            )
        proposer: object = c.propose  # whatever the author passed
        if proposer is not None and not isinstance(proposer, Proposer):
            self.net.mistake(
                "SD205",
                where,
                f"propose is a {type(proposer).__name__}, not a proposer",
                "wrap it: function(...), model(...) or scripted(...)",
            )
        verifier: object = c.verify  # whatever the author passed
        if isinstance(verifier, Proposer) or not (isinstance(verifier, Policy) or callable(verifier)):
            self.net.mistake(
                "SD213",
                where,
                f"verify is a {type(verifier).__name__}, not a policy",
                "within(...), policy(...), or a deterministic function of (proposal, inputs)",
            )
        if c.undo is not None and c.saga is None:
            self.net.mistake("SD208", where, "undo= without a saga scope", "add saga=..., or drop undo=")
        if c.undo is not None and c.irreversible:
            self.net.mistake("SD209", where, "irreversible=True and undo=", "keep one of them")
        if (
            c.saga is not None
            and c.commit is not None
            and c.commit.external
            and c.undo is None
            and not c.irreversible
        ):
            self.net.mistake(
                "SD207",
                where,
                f"an external commit and no undo, inside saga {c.saga.id!r}",
                "add undo=..., or say irreversible=True and require an approval before it (CTL-1)",
            )

    def _rules(self) -> tuple[tuple[Rule, ...], bool]:
        if not isinstance(self.c.verify, Policy):
            return (), True
        try:
            rules = self.c.verify.resolve(self.proposal, self._input_types())
            # A rule may name the taken variables; in the net's record of the contract it reads them from
            # ``inputs``.
            names = {v: e for v, e in self._input_names("inputs").items() if v != "proposal"}
            return tuple(replace(r, expr=substitute(r.expr, names)) for r in rules), False
        except ProvenetError as error:
            self.net.mistake(
                error.code,
                f"contract {self.c.id!r}, policy {self.c.verify.name!r}",
                error.message,
                error.hint,
            )
            return (), False

    def _policy(
        self, rules: tuple[Rule, ...], var: str | None, names: dict[str, Expr] | None = None
    ) -> Expr | None:
        """The policy over the token ``var`` (or given names); ``None`` for an opaque verifier."""
        if not isinstance(self.c.verify, Policy):
            return None
        if names is None:
            names = {"proposal": _path(f"{var}.proposal"), **self._input_names(f"{var}.inputs")}
        else:
            names = names | {v: Var(v) for v in self.takes}
        return And(tuple(substitute(r.expr, names) for r in rules))

    def _verdicts(self) -> tuple[Trigger, Trigger]:
        if isinstance(self.c.verify, Policy):
            return Auto(), Explain(self.c.id)
        handler = self.net.handle(f"{self.c.id}.verify", self.c.verify)
        return Judge(handler, accepts=True), Judge(handler, accepts=False)

    def _gathered(self) -> Expr:
        """The inputs as one value, over the taken variables."""
        if len(self.takes) == 1:
            return Var(next(iter(self.takes)))
        assert isinstance(self.inputs, RecordType)
        return Build(self.inputs, tuple(Var(v) for v in self.takes))

    def _input_names(self, path: str) -> dict[str, Expr]:
        names: dict[str, Expr] = {"inputs": _path(path)}
        if len(self.takes) == 1:
            return names | {v: _path(path) for v in self.takes}
        return names | {v: _path(f"{path}.{v}") for v in self.takes}

    def _input_types(self) -> dict[str, Type]:
        return {"inputs": self.inputs} | {v: p.type for v, p in self.takes.items()}

    def _carrying(self, **fields: Type) -> RecordType:
        return RecordType("", (Field("inputs", self.inputs), *(Field(n, t) for n, t in fields.items())))

    def _place(self, name: str, of: RecordType, *, keep: bool = False) -> PlaceRef:
        full = f"{self.c.id}.{name}"
        ref = self.net.place(full, RecordType(f"{self.c.id}.{name}", of.fields))
        if keep:
            self.net.keep(ref)
        return ref

    def _record(self, place: PlaceRef, **parts: Any) -> Term:
        """A record for one of the fragment's places; strings are paths, other constants are themselves."""
        of = place.type
        assert isinstance(of, RecordType)
        exprs = []
        for f in of.fields:
            part = parts[f.name]
            exprs.append(_path(part) if isinstance(part, str) else lift(part, like=f.type))
        return Term(Build(of, tuple(exprs)), of, {})

    def _shape(
        self, step: str, shape: Shape, wanted: Type, names: dict[str, Expr], types: dict[str, Type]
    ) -> Expr | None:
        """What a lambda, a name or nothing stands for, as a value of the wanted type."""
        where = f"contract {self.c.id!r}, {step}"
        types = types | self._input_types()
        if shape is None:
            for name in ("proposal", "inputs", "receipt", "signal"):
                if name in types and types[name] == wanted:
                    return names[name]
            if wanted == schema_of(None):
                return Const((), wanted)
            self.net.mistake(
                "SD210",
                where,
                f"nothing at hand is a {wanted}",
                "build it: "
                + {
                    "commit": "emit=lambda proposal: ... (or payload=)",
                    "give_up": "escalate=lambda inputs, signal: ...",
                }.get(step, "fail_emit=lambda inputs, signal: ..."),
            )
            return None
        expr = self.net.expr(where, shape, types, like=wanted)
        return None if expr is None else substitute(expr, names)

    def _condition(
        self,
        step: str,
        make: Callable[..., Any] | None,
        names: dict[str, Expr] | None = None,
        types: dict[str, Type] | None = None,
    ) -> Expr | None:
        if make is None:
            return None
        if names is None:
            names = {v: Var(v) for v in self.takes} | {"inputs": self._gathered()}
        expr = self.net.expr(f"contract {self.c.id!r}, {step}", make, (types or {}) | self._input_types())
        return None if expr is None else substitute(expr, names)

    def _transition(
        self,
        step: str,
        role: Role,
        *,
        guard: Expr | None = None,
        requires: Expr | None = None,
        when: Any = None,
        **parts: Any,
    ) -> Transition:
        made = self.net.transition(f"{self.c.id}.{step}", role=role, contract=self.c.id, **parts)
        guard = guard if when is None else self._condition(step, when)
        return self.net.amend(made, guard=guard, requires=requires)


def _path(path: str) -> Expr:
    """``r.inputs`` as an expression."""
    first, *rest = path.split(".")
    expr: Expr = Var(first)
    for name in rest:
        expr = Get(expr, name)
    return expr


def _next(path: str) -> Expr:
    return Arith("+", _path(path), Const(1, INT))


def _less(path: str, bound: int) -> Expr:
    return Compare("<", _path(path), Const(bound, INT))


def _both(a: Expr | None, b: Expr | None) -> Expr | None:
    return b if a is None else a if b is None else And((a, b))
