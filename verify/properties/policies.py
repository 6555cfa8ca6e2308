"""DATA-4: a contract's policy is at least as strict as another one, mostly the version before it.

``at_least_as_strict(contract, than=...)`` names the other policy; every value that the contract's policy
accepts is accepted by the other. This is about the policies as such, whatever the net does with them: a value
that passes now and did not is a refutation, with the run that lets it pass where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.expr.ast import And, Expr, Not, free_variables, substitute
from provenet.nets.expr.show import show
from provenet.nets.expr.typing import type_of
from provenet.nets.net import ContractInfo, Requirement, Role, Rule, Transition
from provenet.nets.schema import BOOL
from provenet.verify.context import Context, Open, Refuted
from provenet.verify.policy_diff import PolicyDiff, Relation, loosened, reads_of
from provenet.verify.properties.common import Property, carried, first_token, proved, vacuous, verdict
from provenet.verify.questions import Question
from provenet.verify.verdict import Certificate, Status, Verdict

_STRICT = "the policy is at least as strict as the one before it"


def stricter(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """DATA-4.

    Raises:
        PropertyError: The contract is none of the net's, or the other policy speaks of something else.
    """
    than = requirement.arg("than")
    if than is None:
        yield vacuous("DATA-4", _STRICT, "no older policy is named: at_least_as_strict(contract, than=...)")
        return
    known = [c.id for c in ctx.net.contracts]
    name = requirement.arg("contract", "")
    if name not in known:
        raise PropertyError(f"DATA-4 names {name!r}, no contract", hint=did_you_mean(name, known))
    new = ctx.net.contract(name)
    old = _older(new, than, requirement.arg("policy", ""))
    title = requirement.name or f"{name!r} accepts nothing that {old.policy!r} refuses"
    inputs = reads_of(ctx.net, name)
    found = loosened(old, new, inputs=inputs, timeout=ctx.remaining_ms() / 1000)
    if found.relation is Relation.UNKNOWN:
        yield verdict("DATA-4", title, Open(found.reason), net=ctx.net, subject=name)
    elif found.at_least_as_strict:
        certificate = Certificate(
            "policy", {"contract": name, "than": show(than), "relation": found.relation}
        )
        yield proved("DATA-4", title, "solver", certificate, subject=name)
    else:
        yield _looser(ctx, title, new, old, found)


CATALOGUE = (Property("DATA-4", _STRICT, stricter),)


def _older(new: ContractInfo, than: Expr, policy: str) -> ContractInfo:
    """The other policy, on what the contract proposes."""
    types = {"proposal": new.proposal, "inputs": new.inputs}
    unknown = free_variables(than) - set(types)
    if unknown:
        raise PropertyError(
            f"the policy to compare {new.id!r} with reads {min(unknown)!r}",
            hint=did_you_mean(min(unknown), types),
        )
    if type_of(than, types) != BOOL:
        raise PropertyError(f"the policy to compare {new.id!r} with is no condition: {show(than)}")
    parts = than.parts if isinstance(than, And) else (than,)
    rules = tuple(Rule(show(part), part) for part in parts)
    return replace(new, policy=policy or "the other policy", rules=rules, opaque="no")


def _looser(ctx: Context, title: str, new: ContractInfo, old: ContractInfo, found: PolicyDiff) -> Verdict:
    """The refutation: a value that passes now, and a run that lets such a value pass, where there is one."""
    assert found.passes_now is not None
    witness = _flat(found.passes_now)
    shown = ", ".join(f"{k} = {v}" for k, v in witness.items() if k.startswith("proposal"))
    broken = f"{new.policy!r} lets pass what {old.policy!r} refuses"
    mend = f"add to {new.policy!r}: {'; '.join(found.loosened)}"
    answer = ctx.never_fires(_questions(ctx, new, old)) if ctx.hints is None else None
    if isinstance(answer, Refuted):
        fields = {k.rsplit(".", 1)[-1] for k in witness if k.startswith("proposal")}
        return verdict(
            "DATA-4", title, answer, net=ctx.net, subject=new.id, broken=broken, mend=mend, about=fields
        )
    return Verdict(
        "DATA-4",
        title,
        Status.REFUTED,
        "solver",
        f"{broken}: {shown}",
        new.id,
        certificates=(Certificate("policy", {"contract": new.id, "passes now": dict(found.passes_now)}),),
        witness=witness,
        mend=mend,
    )


def _questions(ctx: Context, new: ContractInfo, old: ContractInfo) -> list[Question]:
    """Whether an accept of the contract fires with what the other policy refuses."""
    out = []
    for t in ctx.net.by_role(Role.ACCEPT, contract=new.id):
        names = _names(ctx, t)
        condition = substitute(And(tuple(r.expr for r in old.rules)), names)
        if free_variables(condition) <= set(ctx.net.scope(t)):
            out.append(Question(t.name, Not(condition)))
    return out


def _names(ctx: Context, accept: Transition) -> dict[str, Expr]:
    """What ``proposal`` and ``inputs`` are for an accept."""
    net = ctx.net
    token = first_token(net, accept)
    names: dict[str, Expr] = {}
    for name in ("proposal", "inputs"):
        found = carried(net, accept, name) or token
        if found is not None:
            names[name] = found[0]
    return names


def _flat(value: object, path: str = "") -> dict[str, object]:
    """A JSON value by the paths of its leaves."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        k: v for name, part in value.items() for k, v in _flat(part, f"{path}.{name}".lstrip(".")).items()
    }
