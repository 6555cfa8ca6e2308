"""Properties as they are stated: never, always, precedes, bound, mutex; cap, machine, opaque.

A property names what it speaks about by the names of the net: an effect's handler, a contract, a human task,
a transition, a place. A name that matches nothing is an error when the property is checked
(``provenet.verify.properties.user``). Nothing here needs the solver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Protocol, TypeAlias

from provenet.nets.errors import PropertyError
from provenet.nets.expr.ast import And, Expr
from provenet.nets.expr.build import record
from provenet.nets.models import schema_of
from provenet.nets.net import ContractInfo, Requirement, Rule
from provenet.nets.schema import BOOL, Type

Runs: TypeAlias = Literal["fair", "all"]
"""Which runs a formula is about: those where what is possible again and again happens, or every one."""


class Rules(Protocol):
    """A named set of rules that can be read as expressions: a policy."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def resolve(self, proposal: Type, inputs: Mapping[str, Type]) -> tuple[Rule, ...]:
        """Its rules, over ``proposal`` and the inputs' names."""
        ...


def never(
    *,
    effect: str = "",
    contract: str = "",
    transition: str = "",
    of: Any = None,
    where: Expr | Callable[..., Any] | None = None,
    unless: str | Collection[str] = "",
    name: str = "",
) -> Requirement:
    """An effect, a commit or a transition never happens with such values, unless it was approved.

    Args:
        effect: Handler name of an effect, whatever transition performs it.
        contract: Id of a contract whose commit is meant.
        transition: Name of a transition.
        of: Token model of ``payload`` for a lambda.
        where: Condition over ``payload`` (what the effect is given; the proposal; the first taken token).
        unless: Id of a human task, a gate or a contract, or several: it is allowed where one of them approved
            this very payload before: a person, the gate, the contract's verifier.
        name: Text for people.
    """
    # A set has another order in each process, and a net one hash.
    several = sorted(unless, key=str) if isinstance(unless, AbstractSet) else unless or ()
    tasks = tuple(several) if isinstance(several, Collection) and not isinstance(several, str) else (several,)
    if not all(isinstance(task, str) for task in tasks):
        raise PropertyError(
            f"unless={unless!r} names no human tasks", hint='unless="approve", or several names'
        )
    named = tasks[0] if len(tasks) == 1 else tasks
    given = {"effect": effect, "contract": contract, "transition": transition, "unless": named}
    args: list[tuple[str, Any]] = [(k, v) for k, v in given.items() if v]
    if where is not None:
        args.append(("where", _condition(where, {"payload": of})))
    return Requirement("never", tuple(args), name)


def always(place: str, *, of: Any = None, where: Expr | Callable[..., Any], name: str = "") -> Requirement:
    """Every token that is ever in a place meets a condition over ``it``."""
    return Requirement("always", (("place", place), ("where", _condition(where, {"it": of}))), name)


def precedes(first: str, then: str, *, name: str = "") -> Requirement:
    """``then`` never happens before ``first`` has.

    Each is a transition, a contract (its commit), a task (its approval), or an effect.
    """
    return Requirement("precedes", (("first", first), ("then", then)), name)


def bound(*places: str, k: int, name: str = "") -> Requirement:
    """The places together never hold more than ``k`` tokens."""
    return Requirement("bound", (("places", tuple(places)), ("k", k)), name)


def mutex(*places: str, name: str = "") -> Requirement:
    """No two of the places are ever marked together."""
    return Requirement("mutex", (("places", tuple(places)),), name)


def cap(
    *names: str,
    most: int,
    amount: Expr | Callable[..., Any] | None = None,
    of: Any = None,
    per: str = "",
    name: str = "",
) -> Requirement:
    """CTL-4: something happens at most so often, or adds up to at most so much, on any run of a case.

    ``cap("pay", most=3)`` bounds a number; ``cap("pay", of=Payment, amount=lambda payload: payload.cents,
    most=10_000)`` bounds a sum. With ``per=``, the count starts anew whenever that transition fires: a rate.

    Args:
        *names: Contracts (their commits), effects or transitions; they count together.
        most: How many, or how much.
        amount: What one of them adds, over ``payload`` (what the effect is given; the proposal; the first
            taken token). Without, 1.
        of: Token model of ``payload`` for a lambda.
        per: Name of the transition that opens a new window, such as a timer.
        name: Text for people.
    """
    args: list[tuple[str, Any]] = [("what", tuple(names)), ("most", most)]
    if amount is not None:
        args.append(("amount", _amount(amount, of)))
    if per:
        args.append(("per", per))
    return Requirement("CTL-4", tuple(args), name)


def machine(
    *places: str,
    field: str = "",
    states: Mapping[str, str | tuple[str, ...]] | None = None,
    moves: Mapping[str, str | tuple[str, ...]],
    name: str = "",
) -> Requirement:
    """STATE-4: a shared state machine is in exactly one state, and moves only as allowed.

    Its state is a field of the one token in some places: ``machine("status", field="state", moves={"open":
    ("sent", "closed"), "sent": "closed"})``; or the place that is marked: ``machine(states={"open": "scope",
    "undoing": ("stopping", "undo pending")}, moves={"open": "undoing"})``.

    Args:
        *places: The places that the token moves between.
        field: Its field of a ``Literal`` or ``Enum`` that is the state.
        states: In place of both: each state with the places that mean it.
        moves: From each state to those that may follow it. To stay in a state is always allowed.
        name: Text for people.
    """
    if states is not None and not places and not field:
        pairs = [(s, p) for s, named in states.items() for p in _several(named)]
    elif states is None and places and field:
        pairs = [(p, p) for p in places]
    else:
        raise PropertyError(
            "a machine is declared by places and a field, or by states",
            hint='machine("status", field="state", ...)',
        )
    args: list[tuple[str, Any]] = [("states", tuple(x for pair in pairs for x in pair))]
    args.append(("moves", tuple(x for a, ends in moves.items() for b in _several(ends) for x in (a, b))))
    if field:
        args.append(("field", field))
    return Requirement("STATE-4", tuple(args), name)


def opaque(*contracts: str, because: str) -> Requirement:
    """SDB-3, with the verifiers of some contracts accepted as opaque: functions that no proof looks into.

    ``provenet lint`` runs such a function; the verdict and every report say that it is accepted, and why.

    Args:
        *contracts: Ids of the contracts.
        because: Why, for whoever reads the report.
    """
    return Requirement("SDB-3", (("opaque", tuple(contracts)), ("because", because)))


def _several(named: str | tuple[str, ...]) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else tuple(named)


def _amount(amount: Expr | Callable[..., Any], of: Any) -> Expr:
    if isinstance(amount, Expr):
        return amount
    if of is None:
        raise PropertyError("a lambda needs of=, the token model of 'payload'", hint="add of=Payment")
    return record(amount, {"payload": schema_of(of)})


def _condition(where: Expr | Callable[..., Any], scope: dict[str, Any]) -> Expr:
    if isinstance(where, Expr):
        return where
    missing = [n for n, of in scope.items() if of is None]
    if missing:
        raise PropertyError(
            f"a lambda needs of=, the token model of {missing[0]!r}",
            hint="add of=Offer, or give an expression",
        )
    return record(where, {n: schema_of(of) for n, of in scope.items()}, like=BOOL)


def at_least_as_strict(
    contract: str, *, than: Rules | ContractInfo | Expr, of: Any = None, inputs: Any = None, name: str = ""
) -> Requirement:
    """A contract's policy accepts nothing that another one refuses, such as the version before it (DATA-4).

    Args:
        contract: Id of the contract.
        than: The other policy; a contract of another net; or a condition over ``proposal`` and ``inputs``.
        of: Token model of the proposal, for a policy.
        inputs: Token model of the contract's inputs, for a policy that reads them.
        name: Text for people.
    """
    policy = getattr(than, "name", "")
    if isinstance(than, ContractInfo):
        rules, policy = [r.expr for r in than.rules], than.policy
    elif isinstance(than, Expr):
        rules = [than]
    elif of is None:
        raise PropertyError("a policy needs of=, the token model of 'proposal'", hint="add of=Offer")
    else:
        read = {} if inputs is None else {"inputs": schema_of(inputs)}
        rules = [r.expr for r in than.resolve(schema_of(of), read)]
    whole = rules[0] if len(rules) == 1 else And(tuple(rules))
    args: list[tuple[str, Any]] = [("contract", contract), ("than", whole)]
    if policy:
        args.append(("policy", policy))
    return Requirement("DATA-4", tuple(args), name)


def responds(trigger: str, response: str, *, name: str = "") -> Requirement:
    """Every firing of ``trigger`` is followed by ``response``, on every fair run that goes on to its end.

    Each is a transition, a contract (its commit), a task (its approval), or an effect. Fair: what is possible
    again and again happens, but for people's choices and events, which may never come.
    """
    return Requirement("responds", (("trigger", trigger), ("response", response)), name)


def eventually(*what: str, name: str = "") -> Requirement:
    """One of these happens on every fair run that goes on to its end; fair as in ``responds``.

    Each is a transition, a contract (its commit), a task (its approval), an effect, or a place, which gets a
    token.
    """
    return Requirement("eventually", (("what", tuple(what)),), name)


def formula(text: str, *, runs: Runs = "fair", name: str = "") -> Requirement:
    """A formula of CTL or LTL holds: ``formula("AG (sent -> AF done)")``.

    Args:
        text: Counts tokens in places (``2*p + q <= 3``; ``p`` alone: it holds a token); ``fireable(t)``,
            ``deadlock``; ``! & | -> <->``, ``A E X F G U R W``. Names that are no words stand in double
            quotes. Without ``A`` or ``E``, it is about all runs.
        runs: ``fair``: as in ``responds``. ``all``: every run that ends only where nothing can fire.
        name: Text for people.
    """
    return Requirement("formula", (("formula", text), ("runs", runs)), name)
