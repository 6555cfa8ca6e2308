"""Mends of contracts and sagas: rejects, attempts, what goes past a verifier, and undoing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from provenet.nets.expr.ast import Arith, Build, Compare, Const, Expr, Not
from provenet.nets.net import Net, Perform, Role, Transition
from provenet.nets.schema import INT
from provenet.verify.mending.surgery import (
    Candidate,
    Case,
    both,
    negated,
    token_for,
    with_transition,
    without,
)
from provenet.verify.properties.common import carried, info_of, roles

_SOUND = ("STATE-1",)


def past_verifier(case: Case) -> Iterator[Candidate]:
    """A token gets to where only an accept may put one."""
    net = case.net
    for contract in dict.fromkeys(t.contract for t in case.fired() if t.role is Role.COMMIT):
        behind = {p.place for t in roles(net, contract, Role.ACCEPT) for p in t.puts}
        for t in case.fired():
            kept = tuple(p for p in t.puts if p.place not in behind)
            if t.role is Role.ACCEPT or len(kept) == len(t.puts):
                continue
            places = ", ".join(dict.fromkeys(repr(p.place) for p in t.puts if p.place in behind))
            if kept:
                text = f"let {t.name!r} put nothing into {places}, behind the verifier of {contract!r}"
                yield Candidate(text, with_transition(net, t.name, puts=kept), needs=_SOUND)
            elif not t.contract:
                text = f"remove {t.name!r}, which leads past the verifier of {contract!r}"
                yield Candidate(text, without(net, {t.name}), needs=_SOUND)


# rejects


def swallowed(case: Case) -> Iterator[Candidate]:
    """SDB-2: a reject leaves nothing behind."""
    net, contract = case.net, case.verdict.subject
    answers = roles(net, contract, Role.RETRY, Role.GIVE_UP)
    places = list(dict.fromkeys(a.place for t in answers for a in t.takes))
    for t in roles(net, contract, Role.REJECT, Role.FAULT):
        for place in () if t.puts else places:
            put = token_for(net, t, place)
            if put is not None:
                mended = with_transition(net, t.name, puts=(put,))
                yield Candidate(
                    f"let {t.name!r} put the reject into {place!r}, where {_or(answers)} takes it", mended
                )


def uncovered(case: Case) -> Iterator[Candidate]:
    """SDB-2: a reject waits that neither a retry nor a give_up takes."""
    net, contract = case.net, case.verdict.subject
    for retry in roles(net, contract, Role.RETRY):
        for give_up in roles(net, contract, Role.GIVE_UP):
            if retry.guard is not None and retry.takes == give_up.takes:
                mended = with_transition(net, give_up.name, guard=negated(retry.guard))
                text = f"let {give_up.name!r} take every reject that {retry.name!r} does not"
                yield Candidate(text, mended)


def reported(case: Case) -> Iterator[Candidate]:
    """SDB-2: a rejected proposal is reported as a committed one; a person gets it instead."""
    net, contract = case.net, case.verdict.subject
    committed = {p.place for t in roles(net, contract, Role.COMMIT) for p in t.puts}
    people = dict.fromkeys(
        (a.place, t.contract or t.name) for t in net.by_role(Role.APPROVE) for a in t.takes
    )
    for t in roles(net, contract, Role.GIVE_UP):
        wrong = [p for p in t.puts if p.place in committed]
        for place, task in people if len(wrong) == 1 else ():
            same = net.place(place).type == net.place(wrong[0].place).type
            put = replace(wrong[0], place=place) if same else token_for(net, t, place)
            if put is not None:
                puts = tuple(put if p is wrong[0] else p for p in t.puts)
                text = f"let {t.name!r} put its token into {place!r}, where {task!r} decides"
                yield Candidate(text, with_transition(net, t.name, puts=puts))


def _or(some: list[Transition]) -> str:
    return " or ".join(repr(t.name) for t in some)


# verdicts and attempts


def undecided(case: Case) -> Iterator[Candidate]:
    """SDB-3: accept and reject are both possible for one proposal."""
    net, contract = case.net, case.verdict.subject
    for accept in roles(net, contract, Role.ACCEPT):
        for reject in roles(net, contract, Role.REJECT):
            if accept.guard is not None and reject.guard != Not(accept.guard):
                mended = with_transition(net, reject.name, guard=Not(accept.guard))
                text = f"let the guard of {reject.name!r} be the negation of that of {accept.name!r}"
                yield Candidate(text, mended)


def endless(case: Case) -> Iterator[Candidate]:
    """SDB-4: the attempts are not counted, or not bounded."""
    net, contract = case.net, case.verdict.subject
    info = info_of(net, contract)
    if info is None:
        return
    counted = _counted(net, contract)
    for mended, said in (
        (_limited(net, contract, info.attempts), f"guard the retry by attempt < {info.attempts}"),
        (counted, "let the retry count the attempt: attempt + 1"),
        (
            None if counted is None else _limited(counted, contract, info.attempts),
            f"guard the retry by attempt < {info.attempts}, and let it count the attempt",
        ),
    ):
        if mended is not None and mended != net:
            yield Candidate(f"{said}, in {contract!r}", mended)


def _limited(net: Net, contract: str, most: int) -> Net | None:
    for t in roles(net, contract, Role.RETRY):
        at = carried(net, t, "attempt")
        if at is None:
            return None
        guard = both(t.guard, Compare("<", at[0], Const(most, INT)))
        net = with_transition(net, t.name, guard=guard)
        for other in roles(net, contract, Role.GIVE_UP):
            if other.takes == t.takes:
                net = with_transition(net, other.name, guard=negated(guard))
    return net


def _counted(net: Net, contract: str) -> Net | None:
    for t in roles(net, contract, Role.RETRY):
        at = carried(net, t, "attempt")
        if at is None:
            return None
        puts = tuple(replace(p, expr=_with_attempt(p.expr, at[0])) for p in t.puts)
        net = with_transition(net, t.name, puts=puts)
    return net


def _with_attempt(expr: Expr | None, at: Expr) -> Expr | None:
    if not isinstance(expr, Build) or (index := expr.type.index("attempt")) is None:
        return expr
    parts = list(expr.parts)
    parts[index] = Arith("+", at, Const(1, INT))
    return replace(expr, parts=tuple(parts))


# sagas and the kill switch


def last_first(case: Case) -> Iterator[Candidate]:
    """SAGA-2: steps are undone in any order."""
    net = case.net
    for t in net.by_role(Role.UNWIND):
        number, depth = carried(net, t, "seq"), carried(net, t, "depth")
        if number is not None and depth is not None:
            guard = both(t.guard, Compare("==", number[0], depth[0]))
            net = with_transition(net, t.name, guard=guard)
    if net != case.net:
        yield Candidate("undo the last step first: guard what picks the next one by seq == depth", net)


def tries(case: Case) -> Iterator[Candidate]:
    """SAGA-4: a compensation is given up at once, or tried for ever."""
    net = case.net
    for t in case.net.by_role(Role.COMPENSATE):
        info = info_of(net, t.contract)
        if info is None or info.saga != case.verdict.subject or not isinstance(t.trigger, Perform):
            continue
        if t.trigger.tries is None or t.trigger.tries < 2:
            net = with_transition(net, t.name, trigger=replace(t.trigger, tries=5))
    if net != case.net:
        yield Candidate("give the undo effect a number of tries: Effect(..., tries=5)", net)


def emptied(case: Case) -> Iterator[Candidate]:
    """CTL-2: the kill switch empties where the last firing of the run took its tokens."""
    net = case.net
    scopes = {p for s in net.sagas for p in (s.open, s.aborting, s.completing)}
    for last in case.fired()[:1]:
        begins = [a.place for a in last.takes if a.place not in scopes]
        for t in case.net.by_role(Role.KILL):
            net = with_transition(net, t.name, resets=tuple(dict.fromkeys((*t.resets, *begins))))
        if net != case.net:
            yield Candidate(f"let the kill switch empty {', '.join(map(repr, begins))}", net)
