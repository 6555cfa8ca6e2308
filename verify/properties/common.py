"""What the families share: turning answers into verdicts, and finding the parts of contracts in any net."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from provenet.nets.expr.ast import Const, Expr, Get, Var
from provenet.nets.net import ContractInfo, Net, Perform, Requirement, Role, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, RecordType, Type
from provenet.verify.abstraction import ANY
from provenet.verify.context import Answer, Context, Finder, Open, Proved, Refuted
from provenet.verify.verdict import Certificate, Status, Trace, TraceStep, Verdict

Check: TypeAlias = Callable[[Context, Requirement], Iterable[Verdict]]
"""Decides one property of one net."""

TRUE = Const(True, BOOL)

_NOTES: dict[Role, str] = {
    Role.PROPOSE: "the model may say this",
    Role.FAULT: "the model gives no usable answer",
    Role.ACCEPT: "the verifier lets it pass",
    Role.REJECT: "the verifier refuses it",
    Role.INTENT: "the effect is about to be performed",
    Role.COMMIT: "the effect is performed",
    Role.FAIL: "the effect fails for good",
    Role.COMPENSATE: "a committed step is undone",
    Role.APPROVE: "a person approves",
    Role.DENY: "a person denies",
    Role.TIMER: "a deadline passes",
    Role.EVENT: "the outside says so",
    Role.KILL: "the kill switch",
    Role.GIVE_UP: "the attempts are spent",
    Role.RETRY: "the proposer is asked again",
}


@dataclass(frozen=True, slots=True)
class Property:
    """An entry of the catalogue.

    Attributes:
        id: Stable id.
        title: What it says, in one line.
        check: Decides it.
    """

    id: str
    title: str
    check: Check


def verdict(
    property: str,
    title: str,
    answer: Answer,
    *,
    net: Net,
    subject: str = "",
    broken: str = "",
    mend: str = "",
    vacuous: str = "",
    about: Collection[str] = (),
) -> Verdict:
    """The verdict for an answer.

    Args:
        property: Id of the property.
        title: What it says.
        answer: What was found.
        net: The net.
        subject: What it is about.
        broken: What a refutation shows, in one sentence.
        mend: How to mend the net.
        vacuous: Why a proof says nothing.
        about: Names of the fields that the property speaks about: what a witness shows, where it has them.
    """
    base = Verdict(property, title, Status.UNKNOWN, subject=subject)
    match answer:
        case Proved(certificate, method, facts):
            return replace(
                base,
                status=Status.PROVED,
                method=method,
                facts=facts,
                certificates=(certificate,),
                vacuous=vacuous,
            )
        case Refuted(trace):
            return refuted(base, trace, net, broken, mend, about=about)
        case Open(reason):
            return replace(base, reason=reason)


def refuted(
    base: Verdict, trace: Trace, net: Net, reason: str, mend: str = "", *, about: Collection[str] = ()
) -> Verdict:
    """A refutation with its notes and witness."""
    steps = tuple(
        TraceStep(s.transition, s.binding, s.note or _note(net.transition(s.transition))) for s in trace.steps
    )
    everything = witness_of(trace, net)
    witness = {name: v for name, v in everything.items() if name.rsplit(".", 1)[-1] in about}
    if witness:
        reason = f"{reason}: {by_name(witness)}"
    return replace(
        base,
        status=Status.REFUTED,
        method="trace",
        reason=reason,
        trace=Trace(trace.start, steps),
        witness=witness or everything,
        mend=mend,
    )


def proved(
    property: str,
    title: str,
    method: str,
    *certificates: Certificate,
    subject: str = "",
    vacuous: str = "",
    reason: str = "",
) -> Verdict:
    """A proof by certificates that were checked when they were made."""
    return Verdict(
        property,
        title,
        Status.PROVED,
        method,
        reason,
        subject,
        certificates=tuple(certificates),
        vacuous=vacuous,
    )


def vacuous(property: str, title: str, why: str) -> Verdict:
    """A proof that says nothing, since there is nothing to check."""
    return proved(property, title, "structure", Certificate("structure", {"nothing": why}), vacuous=why)


def _note(t: Transition) -> str:
    if t.role is Role.COMMIT and not isinstance(t.trigger, Perform):
        return "it counts from here on; nothing leaves the net"
    return _NOTES.get(t.role, "")


def witness_of(trace: Trace, net: Net) -> dict[str, Any]:
    """The values that came from outside in a trace, by name, the last of a name winning."""
    found: dict[str, Any] = {}
    for step in trace.steps:
        for fresh in net.transition(step.transition).fresh:
            value = step.binding[fresh.var]
            if isinstance(fresh.type, RecordType):
                if fresh.var != "signal":
                    found |= {
                        f"{fresh.var}.{f.name}": v for f, v in zip(fresh.type.fields, value, strict=True)
                    }
            elif value != ():
                found[fresh.var] = value
    return found


def contracts(net: Net) -> list[str]:
    """Ids of the contracts: declared ones, and those that commits of hand-built nets name."""
    ids = [c.id for c in net.contracts]
    ids += [t.contract for t in net.by_role(Role.COMMIT) if t.contract]
    return list(dict.fromkeys(ids))


def info_of(net: Net, contract: str) -> ContractInfo | None:
    """What was declared of a contract, if anything."""
    return next((c for c in net.contracts if c.id == contract), None)


def roles(net: Net, contract: str, *wanted: Role) -> list[Transition]:
    """The transitions of some roles of one contract."""
    return list(net.by_role(*wanted, contract=contract))


def undoes(net: Net, t: Transition) -> bool:
    """Whether an effect is the compensation that a contract declares; a role alone makes it none."""
    info = info_of(net, t.contract)
    return (
        t.role is Role.COMPENSATE
        and isinstance(t.trigger, Perform)
        and info is not None
        and t.trigger.handler == info.undo
    )


def carried(net: Net, t: Transition, field: str) -> tuple[Expr, Type] | None:
    """The field of that name of the first taken token that has it, with its type."""
    scope = net.scope(t)
    for arc in t.takes:
        if arc.var is not None and isinstance(of := scope[arc.var], RecordType):
            found = of.field(field)
            if found is not None:
                return Get(Var(arc.var), field), found.type
    return None


def first_token(net: Net, t: Transition) -> tuple[Expr, Type] | None:
    """The first taken token that has a name, with its type."""
    for arc in t.takes:
        if arc.var is not None:
            return Var(arc.var), net.place(arc.place).type
    return None


def searched(property: str, title: str, ctx: Context, find: Finder, **words: str) -> Verdict:
    """The verdict of a search."""
    return verdict(property, title, ctx.search(find), net=ctx.net, **words)


def timed(run: Callable[[], Iterable[Verdict]]) -> list[Verdict]:
    """Verdicts with the time that each took."""
    out = []
    began = time.perf_counter()
    for v in run():
        now = time.perf_counter()
        out.append(replace(v, seconds=now - began))
        began = now
    return out


def by_name(values: Mapping[str, Any]) -> str:
    """Values for a sentence: ``discount_pct = 31, term = 12``."""
    return ", ".join(f"{k} = {v}" for k, v in values.items() if v is not ANY)
