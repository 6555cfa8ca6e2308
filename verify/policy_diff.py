"""The difference between two versions of a policy: what passes now and did not, and the other way round.

Both ways are one solver query each: a proposal (with the contract's inputs) that one version accepts and the
other refuses. A version accepts a value of its own type that meets all of its rules. A witness is evaluated
by the expression language before it is shown; a relation is claimed only where the solver has answered both
queries.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import z3

from provenet.nets.errors import ProvenetError, TypeMismatch
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.formats.typetable import canonical
from provenet.nets.net import ContractInfo, Net, Role
from provenet.nets.schema import (
    DecimalType,
    EnumType,
    Field,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
    Value,
    check,
    to_json,
)
from provenet.verify.abstraction import sources
from provenet.verify.smt import Encoding, Opaque, SymValue


class Relation(enum.StrEnum):
    """How a new policy relates to the old one."""

    EQUAL = "equal"  # the same values pass
    STRICTER = "stricter"  # some value passes no longer, none is new
    LOOSER = "looser"  # some value passes that did not, none is lost
    INCOMPARABLE = "incomparable"  # both
    ADDED = "added"  # only the new net has the contract
    REMOVED = "removed"  # only the old net has it
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """The difference between two versions of one contract's policy.

    Attributes:
        contract: Id of the contract.
        relation: How the new policy relates to the old one.
        old: Name of the old policy.
        new: Name of the new one.
        passes_now: A value that the new policy accepts and the old one refuses, as JSON by the rules' names
            (``proposal``, ``inputs``); empty where there is none.
        refused_now: A value that the old policy accepts and the new one refuses.
        loosened: The old rules that ``passes_now`` breaks.
        tightened: The new rules that ``refused_now`` breaks.
        reads: The fields that either policy reads, as paths.
        reason: Why the relation is not known.
    """

    contract: str
    relation: Relation
    old: str = ""
    new: str = ""
    passes_now: Mapping[str, Any] | None = None
    refused_now: Mapping[str, Any] | None = None
    loosened: tuple[str, ...] = ()
    tightened: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    reason: str = ""

    @property
    def at_least_as_strict(self) -> bool:
        """Whether nothing passes that did not pass before."""
        return self.relation in (Relation.EQUAL, Relation.STRICTER, Relation.REMOVED)

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON data."""
        return {
            "contract": self.contract,
            "relation": str(self.relation),
            "old": self.old,
            "new": self.new,
            "passes_now": None if self.passes_now is None else dict(self.passes_now),
            "refused_now": None if self.refused_now is None else dict(self.refused_now),
            "loosened": list(self.loosened),
            "tightened": list(self.tightened),
            "reason": self.reason,
        }


def policy_diff(old: Net, new: Net, *, timeout: float = 10.0) -> tuple[PolicyDiff, ...]:
    """The differences between the policies of two nets, contract by contract, matched by name.

    Args:
        old: The net as it was.
        new: The net as it is.
        timeout: Seconds for each query.

    Returns:
        One for each contract of either net: first those of the new one, in its order.
    """
    before = {c.id: c for c in old.contracts}
    found = []
    for c in new.contracts:
        if c.id in before:
            reads = reads_of(old, c.id) if reads_of(old, c.id) == reads_of(new, c.id) else "inputs"
            found.append(compare(before.pop(c.id), c, inputs=reads, timeout=timeout))
        else:
            found.append(PolicyDiff(c.id, Relation.ADDED, "", c.policy))
    return (*found, *(PolicyDiff(c.id, Relation.REMOVED, c.policy, "") for c in before.values()))


Inputs = Literal["inputs", "proposal"]
"""What a contract's rules read under the name ``inputs``: its inputs, or the proposal itself."""


def reads_of(net: Net, contract: str) -> Inputs:
    """What ``inputs`` means in a contract: without a proposer, the input is the proposal.

    Where the tokens that the verifier sees have inputs of their own, these are meant, whatever the roles.
    """
    if any(net.by_role(Role.PROPOSE, contract=contract)):
        return "inputs"
    seen = [net.place(a.place).type for t in net.by_role(Role.ACCEPT, contract=contract) for a in t.takes]
    own = any(isinstance(of, RecordType) and of.field("inputs") is not None for of in seen)
    return "inputs" if own else "proposal"


def compare(
    old: ContractInfo, new: ContractInfo, *, inputs: Inputs = "inputs", timeout: float = 10.0
) -> PolicyDiff:
    """The difference between two versions of one contract's policy.

    Args:
        old: The contract as it was.
        new: The contract as it is.
        inputs: What the rules read as ``inputs``.
        timeout: Seconds for each query.
    """
    return _compare(old, new, inputs, timeout, ways="both")


def loosened(
    old: ContractInfo, new: ContractInfo, *, inputs: Inputs = "inputs", timeout: float = 10.0
) -> PolicyDiff:
    """One half of ``compare``: whether the new policy is looser; where it is not, ``STRICTER`` may be equal.

    Arguments as for ``compare``.
    """
    return _compare(old, new, inputs, timeout, ways="now")


def _compare(
    old: ContractInfo, new: ContractInfo, inputs: Inputs, timeout: float, *, ways: Literal["both", "now"]
) -> PolicyDiff:
    def unknown(reason: str) -> PolicyDiff:
        return PolicyDiff(new.id, Relation.UNKNOWN, old.policy, new.policy, reason=reason)

    for info, when in ((old, "old"), (new, "new")):
        if info.opaque != "no":
            return unknown(f"the {when} verifier is a function, which the prover cannot look into")
    wide = [_wide(a, b) for a, b in ((old.proposal, new.proposal), (old.inputs, new.inputs))]
    if wide[0] is None or wide[1] is None:
        return unknown("what is proposed has another type now; the two policies speak of different things")
    try:
        asked = _Asked(old, new, {"proposal": wide[0], "inputs": wide[1]}, inputs, timeout)
        now = asked.witness(new, old)
        before = asked.witness(old, new) if ways == "both" else None
    except (Opaque, ProvenetError) as error:
        return unknown(str(error))
    if isinstance(now, str) or isinstance(before, str):
        return unknown(now if isinstance(now, str) else str(before))
    relation = {
        (True, True): Relation.INCOMPARABLE,
        (True, False): Relation.LOOSER,
        (False, True): Relation.STRICTER,
        (False, False): Relation.EQUAL if ways == "both" else Relation.STRICTER,
    }[now is not None, before is not None]
    return PolicyDiff(
        new.id,
        relation,
        old.policy,
        new.policy,
        None if now is None else asked.shown(now),
        None if before is None else asked.shown(before),
        () if now is None else broken_rules(old, now),
        () if before is None else broken_rules(new, before),
        tuple(
            sorted({".".join((v, *p)) for c in (old, new) for r in c.rules for v, p in sources(r.expr, ())})
        ),
    )


def broken_rules(info: ContractInfo, value: Mapping[str, Value]) -> tuple[str, ...]:
    """The rules of a contract that a proposal breaks, its type included."""
    types = {"proposal": info.proposal, "inputs": info.inputs}
    for name, of in types.items():
        try:
            check(value[name], of, name)
        except TypeMismatch as error:
            return (f"type of {error.message}",)
    return tuple(r.name for r in info.rules if not evaluate(r.expr, value, types))


class _Asked:
    """Both queries about two versions, over values of a type that has those of both."""

    def __init__(
        self,
        old: ContractInfo,
        new: ContractInfo,
        types: Mapping[str, Type],
        inputs: Inputs,
        timeout: float,
    ) -> None:
        self.types, self.timeout = types, timeout
        self.alike = (old.proposal, old.inputs) == (new.proposal, new.inputs)
        scopes = [(r.expr, _types(info)) for info in (old, new) for r in info.rules]
        # Where the types differ, so may the lengths of their texts, which only the theory of strings knows.
        self.encoding = Encoding.for_exprs(scopes) if self.alike else Encoding("theory")
        self.env: dict[str, SymValue] = {n: self.encoding.fresh(n, of) for n, of in types.items()}
        if inputs == "proposal" and types["proposal"] == types["inputs"]:
            self.env["inputs"] = self.env["proposal"]

    def witness(self, accepts: ContractInfo, refuses: ContractInfo) -> dict[str, Value] | str | None:
        """A value that one version accepts and the other refuses.

        ``None`` where there is none; a text, why it is not known.
        """
        enc = self.encoding
        passes = [*self._typed(accepts, "assume"), *self._rules(accepts)]
        typed = [] if self.alike else self._typed(refuses, "prove")
        solver = z3.SimpleSolver()
        solver.set("timeout", max(1, int(self.timeout * 1000)))
        solver.set("random_seed", 1)
        solver.add(*passes, z3.Not(z3.And(*typed, *self._rules(refuses))))
        answer = solver.check()
        if answer == z3.unsat:
            return None
        if answer != z3.sat:
            return f"the solver gave up: {solver.reason_unknown()}"
        model = solver.model()
        value = {n: enc.concretize(model, self.env[n], of) for n, of in self.types.items()}
        if broken_rules(accepts, value) or not broken_rules(refuses, value):
            return "the value that the solver found is none: please report this"
        return value

    def shown(self, value: Mapping[str, Value]) -> dict[str, Any]:
        """A value as JSON; inputs that are none are left out."""
        return {
            n: to_json(canonical(value[n], of), of)
            for n, of in self.types.items()
            if not isinstance(of, UnitType) and not (n == "inputs" and self.env[n] is self.env["proposal"])
        }

    def _typed(self, info: ContractInfo, reading: Literal["assume", "prove"]) -> list[z3.BoolRef]:
        types = _types(info)
        return [self.encoding.inhabits(self.env[n], of, reading=reading) for n, of in types.items()]

    def _rules(self, info: ContractInfo) -> list[z3.BoolRef]:
        return [self.encoding.encode_bool(r.expr, self.env, _types(info)) for r in info.rules]


def _types(info: ContractInfo) -> dict[str, Type]:
    return {"proposal": info.proposal, "inputs": info.inputs}


def _wide(a: Type, b: Type) -> Type | None:
    """A type with the values of two types of one form; ``None`` where their forms differ."""
    if a == b:
        return a
    match a, b:
        case IntType(), IntType():
            return IntType()
        case StrType(), StrType():
            return StrType()
        case FloatType(), FloatType():
            return FloatType()
        case DecimalType(), DecimalType():
            return DecimalType()
        case EnumType(name, some), EnumType(_, others):
            return EnumType(name, tuple(dict.fromkeys((*some, *others))))
        case OptionalType(one), OptionalType(other):
            item = _wide(one, other)
            return None if item is None else OptionalType(item)
        case RecordType(name, fields), RecordType(_, others):
            if [f.name for f in fields] != [f.name for f in others]:
                return None
            parts = [_wide(f.type, g.type) for f, g in zip(fields, others, strict=True)]
            known = [p for p in parts if p is not None]
            if len(known) < len(parts):
                return None
            return RecordType(name, _fields([f.name for f in fields], known))
        case ListType(), ListType():
            return None
        case _:
            return None


def _fields(names: Sequence[str], types: Sequence[Type]) -> tuple[Field, ...]:
    return tuple(Field(n, of) for n, of in zip(names, types, strict=True))
