"""Policies: deterministic verifiers written as expressions, read alike by the runtime and the prover."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from provenet.nets.expr.ast import And, Expr, Get, Var, substitute, walk
from provenet.nets.expr.build import record
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.expr.show import show
from provenet.nets.models import schema_of
from provenet.nets.net import ContractInfo, Rule
from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, HIDDEN, RecordType, Type, Value, shorten
from provenet.nets.secrets import keeps_secrets
from provenet.sdb.reject import Reject


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule of a policy: a lambda over ``proposal``, and ``inputs`` where it needs them.

    Attributes:
        name: Name of the rule; by default its text.
        holds: A lambda that builds the condition.
        field: Path of the field that a reject points at; by default the first field that the condition reads.
        hint: Told to the proposer on a reject.
        retryable: Whether another proposal may pass.
    """

    holds: Callable[..., Any]
    name: str = ""
    field: str = ""
    hint: str = ""
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """A named, versioned set of rules; a proposal passes when all of them hold."""

    name: str
    rules: tuple[PolicyRule, ...]

    def resolve(self, proposal: Type, inputs: Mapping[str, Type]) -> tuple[Rule, ...]:
        """The rules as expressions over ``proposal`` and the inputs' names.

        Args:
            proposal: Type of what is proposed.
            inputs: Types of the names that rules may read besides ``proposal``.

        Raises:
            ExprError: A rule does not type-check.
        """
        scope = {**inputs, "proposal": proposal}
        rules: list[Rule] = []
        for rule in self.rules:
            names = list(inspect.signature(rule.holds).parameters)
            # A lambda with one parameter of any name speaks about the proposal: within(Offer, lambda o: ...).
            alias = names[0] if len(names) == 1 and names[0] not in scope else None
            expr = record(rule.holds, scope | ({alias: proposal} if alias else {}), like=BOOL)
            if alias:
                expr = _rename(expr, alias)
            parts = expr.parts if isinstance(expr, And) and not rule.name else (expr,)
            rules += [
                Rule(
                    name=rule.name or _said(part),
                    expr=part,
                    field=rule.field or _first_field(part),
                    hint=rule.hint,
                    retryable=rule.retryable,
                )
                for part in parts
            ]
        return tuple(rules)


def within(of: Any, holds: Callable[..., Any], *, name: str, hint: str = "") -> Policy:
    """A policy of one lambda; each part of a top-level ``&`` becomes a rule of its own.

    Args:
        of: The token model of the proposal; the lambda is checked against it at once.
        holds: A lambda over the proposal.
        name: Name and version of the policy, such as ``discount v7``.
        hint: Told to the proposer on a reject.

    Raises:
        ExprError: The lambda does not type-check.
    """
    policy = Policy(name, (PolicyRule(holds, hint=hint),))
    if len(inspect.signature(holds).parameters) == 1:
        policy.resolve(schema_of(of), {})
    return policy


def policy(name: str, *rules: PolicyRule) -> Policy:
    """A policy of named rules; see ``rule``."""
    return Policy(name, rules)


def rule(
    name: str, holds: Callable[..., Any], *, field: str = "", hint: str = "", retryable: bool = True
) -> PolicyRule:
    """A named rule; see ``PolicyRule``."""
    return PolicyRule(holds, name, field, hint, retryable)


def explain(info: ContractInfo, *, proposal: Value, inputs: Value) -> Reject | None:
    """Which rule of a contract a proposal breaks; ``None`` where it passes.

    Args:
        info: The contract; its rules are expressions over ``proposal`` and ``inputs``.
        proposal: The proposed value.
        inputs: The contract's inputs.
    """
    scope: dict[str, Type] = {"proposal": info.proposal, "inputs": info.inputs}
    env = {"proposal": proposal, "inputs": inputs}
    for r in info.rules:
        if not compile_expr(r.expr, scope)(env):
            return Reject(
                rule=f"{info.policy}: {r.name}",
                field=r.field,
                expected=_said(r.expr),
                got=_got(r.field, info.proposal, proposal),
                retryable=r.retryable,
                hint=r.hint,
            )
    return None


def _said(expr: Expr) -> str:
    """A condition for people, who know that it speaks of the proposal."""
    return _OF_THE_PROPOSAL.sub(lambda found: "" if found[0] == "proposal." else found[0], show(expr))


# Strings and quoted names stay as they are, and so does a field that is called proposal.
_OF_THE_PROPOSAL = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|(?<![\w.])proposal\.')


def _got(path: str, of: Type, value: Value) -> str:
    for name in path.split(".") if path else ():
        if not isinstance(of, RecordType) or (at := of.index(name)) is None:
            break
        if of.fields[at].mark:
            return HIDDEN
        of, value = of.fields[at].type, value[at]
    return HIDDEN if keeps_secrets(of) else shorten(value)


def _first_field(expr: Expr) -> str:
    for node in walk(expr):
        path: list[str] = []
        at: Expr = node
        while isinstance(at, Get):
            path.insert(0, at.field)
            at = at.of
        if path and at == Var("proposal"):
            return ".".join(path)
    return ""


def _rename(expr: Expr, alias: str) -> Expr:
    return substitute(expr, {alias: Var("proposal")})
