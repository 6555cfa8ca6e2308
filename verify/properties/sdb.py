"""SDB-1, 2, 4, 5: the boundary between what a model says and what happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import z3

from provenet.nets.expr.ast import And, Build, Compare, Expr, Not, Var, children, free_variables, substitute
from provenet.nets.net import ContractInfo, Net, Perform, Requirement, Role, Transition
from provenet.nets.schema import RecordType
from provenet.verify.context import Answer, Candidate, Context, Open, Proved, Refuted, monitor
from provenet.verify.graph import Edge, Graph
from provenet.verify.linear import at_most
from provenet.verify.properties.common import (
    Property,
    carried,
    contracts,
    first_token,
    info_of,
    proved,
    roles,
    vacuous,
    verdict,
)
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, Ghost, Question
from provenet.verify.ranking import attempts_certificate
from provenet.verify.regions import gap
from provenet.verify.smt import Opaque
from provenet.verify.verdict import Certificate, Trace, Verdict

_VERIFIED = "no commit without verify"
_HANDLED = "every reject is handled"
_BOUNDED = "the propose/reject loop ends"
_MOST_COUNTED = 8
_UNTOLD = -1
_ONCE = "at most one commit per accepted proposal"


def verified(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SDB-1: each commit comes after an accept of its proposal, and what is committed meets the policy."""
    net = ctx.net
    unverified = [
        t
        for t in net.transitions
        if (isinstance(t.trigger, Perform) and t.trigger.external and not _accounted(net, t))
        or (t.role is Role.COMMIT and not t.contract)
    ]
    for t in unverified:
        yield verdict(
            "SDB-1",
            _VERIFIED,
            ctx.fires(t.name),
            net=net,
            subject=t.name,
            broken=f"{t.name!r} {_does(t)} and no verifier stands before it",
            mend="make it the commit of a contract",
        )
    ids = contracts(net)
    if not ids and not unverified:
        yield vacuous("SDB-1", _VERIFIED, "the net has no contract")
    for contract in ids:
        for commit in roles(net, contract, Role.COMMIT):
            yield _commit_verified(ctx, contract, commit)


def handled(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SDB-2: only retry or give_up take a reject; it never gets stuck and is never reported as committed."""
    net = ctx.net
    ids = [c for c in contracts(net) if roles(net, c, Role.REJECT, Role.FAULT)]
    if not ids:
        yield vacuous("SDB-2", _HANDLED, "the net has no reject")
    for contract in ids:
        yield _rejects_handled(ctx, contract)


def bounded(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SDB-4: for one begin there are at most ``attempts`` proposals."""
    net = ctx.net
    ids = [c for c in contracts(net) if roles(net, c, Role.PROPOSE)]
    if not ids:
        yield vacuous("SDB-4", _BOUNDED, "the net has no proposer")
    for contract in ids:
        yield _loop_bounded(ctx, contract)


def once(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SDB-5: in every run, a contract commits no more often than its verifier accepts."""
    net = ctx.net
    ids = [c for c in contracts(net) if roles(net, c, Role.COMMIT)]
    if not ids:
        yield vacuous("SDB-5", _ONCE, "the net has no commit")
    for contract in ids:
        commits = [t.name for t in roles(net, contract, Role.COMMIT)]
        accepts = [t.name for t in roles(net, contract, Role.ACCEPT)]
        found = at_most(net, commits, accepts)
        if found is not None:
            data = {"weights": dict(found.weights), "plus": dict(found.plus), "minus": dict(found.minus)}
            yield proved("SDB-5", _ONCE, "linear invariant", Certificate("linear", data), subject=contract)
            continue

        def find(graph: Graph, c: list[str] = commits, a: list[str] = accepts) -> Iterator[Candidate]:
            return monitor(graph, 0, _count(c, a), lambda n: n < 0, heeds=[*c, *a])

        answer = ctx.search(find)
        if isinstance(answer, Refuted) and not _outnumbers(answer.trace, commits, accepts):
            answer = Open(f"more accepts than {_MOST_COUNTED} are ahead of the commits")
        yield verdict(
            "SDB-5",
            _ONCE,
            answer,
            net=net,
            subject=contract,
            broken=f"{contract!r} commits more often than its verifier accepted",
            mend="let the commit consume the token that its accept put, and put no second one",
        )


CATALOGUE = (
    Property("SDB-1", _VERIFIED, verified),
    Property("SDB-2", _HANDLED, handled),
    Property("SDB-4", _BOUNDED, bounded),
    Property("SDB-5", _ONCE, once),
)


def _accounted(net: Net, t: Transition) -> bool:
    """Whether an effect is a contract's commit, or the compensation of one, which SAGA-3 sees to.

    A role is only what a transition says of itself: without a contract behind it, it excuses nothing.
    """
    if t.role is Role.COMPENSATE:
        info = info_of(net, t.contract)
        return info is not None and bool(info.undo) and any(s.id == info.saga for s in net.sagas)
    return t.role is Role.COMMIT and bool(t.contract)


def _commit_verified(ctx: Context, contract: str, commit: Transition) -> Verdict:
    net = ctx.net
    info = info_of(net, contract)
    accepts = roles(net, contract, Role.ACCEPT)
    proposal = carried(net, commit, "proposal") or first_token(net, commit)
    words = {
        "subject": contract,
        "broken": f"{contract!r} commits what its verifier did not accept",
        "mend": f"let {commit.name!r} take only what an accept of {contract!r} put",
    }
    if not accepts:
        answer = ctx.fires(commit.name)
        words["broken"] = f"{contract!r} has no accept, and {commit.name!r} commits"
    elif proposal is None:
        minus, plus = [commit.name], [a.name for a in accepts]
        answer = ctx.search(
            lambda graph: monitor(graph, 0, _count(minus, plus), lambda n: n < 0, heeds=[*minus, *plus])
        )
    else:
        value, of = proposal
        sets = {}
        for accept in accepts:
            accepted = _accepted(net, accept, info)
            if accepted is not None and accepted[1] == of:
                sets[accept.name] = accepted[0]
        ghost = Ghost(of, sets)
        good: list[Expr] = [Var(GHOST_SET), Compare("==", Var(GHOST_VALUE), value)]
        names: dict[str, Expr] = {"proposal": value}
        inputs = carried(net, commit, "inputs")
        if inputs is not None:
            names["inputs"] = inputs[0]
        unsaid = _hands_out_more(commit, list(names.values()))
        rules, proposed = (info.rules, info.proposal) if info is not None else ((), None)
        for rule in rules:
            if of == proposed and free_variables(rule.expr) <= names.keys():
                good.append(substitute(rule.expr, names))
            else:
                unsaid = f"{commit.name!r} does not carry what the rule {rule.name!r} reads"
        answer = ctx.never_fires([Question(commit.name, Not(And(tuple(good))))], ghost)
        if not sets:
            answer = ctx.fires(commit.name)
        elif unsaid and isinstance(answer, Proved):
            answer = Open(unsaid)
    result = verdict("SDB-1", _VERIFIED, answer, net=net, **words)
    if info is not None and info.opaque != "no" and isinstance(answer, Proved):
        result = replace(
            result, reason="the verifier is a function: opaque to the proof, which takes its word for it"
        )
    return result


def _accepted(net: Net, accept: Transition, info: ContractInfo | None) -> tuple[Expr, object] | None:
    """What an accept accepts: the proposal that its token carries, or the token itself."""
    found = carried(net, accept, "proposal")
    if found is not None:
        return found
    single = first_token(net, accept)
    if single is not None and len(accept.takes) == 1:
        return single
    if info is not None and len(accept.takes) > 1:
        of = info.proposal
        variables = {a.var for a in accept.takes}
        if isinstance(of, RecordType) and {f.name for f in of.fields} == variables:
            return Build(of, tuple(Var(f.name) for f in of.fields)), of
    return None


def _hands_out_more(commit: Transition, known: Sequence[Expr]) -> str:
    """That an effect is given what is no part of the proposal and its inputs; empty where it is not."""

    def beyond(expr: Expr) -> bool:
        return expr not in known and (isinstance(expr, Var) or any(map(beyond, children(expr))))

    given = commit.trigger.payload if isinstance(commit.trigger, Perform) else None
    return f"{commit.name!r} hands out more than what was proposed" if given and beyond(given) else ""


def _rejects_handled(ctx: Context, contract: str) -> Verdict:
    net = ctx.net
    words = {"subject": contract}
    allowed = {t.name for t in roles(net, contract, Role.RETRY, Role.GIVE_UP)}
    for t in roles(net, contract, Role.REJECT, Role.FAULT):
        if not t.puts:
            return verdict(
                "SDB-2",
                _HANDLED,
                ctx.fires(t.name),
                net=net,
                broken=f"{t.name!r} swallows the reject: nothing is left of it",
                mend="put the reject where a retry or an escalation takes it",
                **words,
            )
        for place in dict.fromkeys(p.place for p in t.puts):
            thieves = [c for c in net.taking(place) if c.name not in allowed]
            for thief in thieves:
                answer = _after(ctx, t.name, thief.name)
                if not isinstance(answer, Proved):
                    return verdict(
                        "SDB-2",
                        _HANDLED,
                        answer,
                        net=net,
                        broken=f"{thief.name!r} takes the reject of {contract!r}, no retry nor escalation",
                        mend="let only retry and give_up take it",
                        **words,
                    )
            takers = [c for c in net.taking(place) if c.name in allowed]
            stuck = gap(ctx, place, takers)
            if not isinstance(stuck, Proved):
                return verdict(
                    "SDB-2",
                    _HANDLED,
                    stuck,
                    net=net,
                    broken=f"a reject of {contract!r} waits in {place!r} and nothing takes it",
                    mend="make the guards of retry and give_up cover every reject",
                    **words,
                )
    for give_up in roles(net, contract, Role.GIVE_UP):
        if _says_committed(ctx, contract, give_up):
            answer = ctx.fires(give_up.name)
            if not isinstance(answer, Proved):
                return verdict(
                    "SDB-2",
                    _HANDLED,
                    answer,
                    net=net,
                    broken=f"{give_up.name!r} reports a rejected proposal of {contract!r} as a committed one",
                    mend="send it elsewhere, or let its token say that it was rejected",
                    **words,
                )
    certificate = Certificate("structure", {"handled": contract, "by": sorted(allowed)})
    return proved("SDB-2", _HANDLED, "structure, guards covered", certificate, **words)


def _says_committed(ctx: Context, contract: str, give_up: Transition) -> bool:
    """Whether a given-up proposal can leave just the token that a commit leaves."""
    net, enc = ctx.net, ctx.encoding
    for commit in roles(net, contract, Role.COMMIT):
        for a in give_up.puts:
            for b in commit.puts:
                if a.place != b.place:
                    continue
                if a.expr is None or b.expr is None:
                    return True
                try:
                    tokens = [
                        enc.encode(
                            e,
                            {v: enc.fresh(f"{t.name}.{v}", o) for v, o in net.scope(t).items()},
                            net.scope(t),
                        )
                        for t, e in ((give_up, a.expr), (commit, b.expr))
                    ]
                except Opaque:
                    return True
                if enc.check([enc.equal(tokens[0], tokens[1])], ctx.remaining_ms()) != z3.unsat:
                    return True
    return False


def _loop_bounded(ctx: Context, contract: str) -> Verdict:
    net = ctx.net
    info = info_of(net, contract)
    attempts = info.attempts if info is not None else None
    certificate = attempts_certificate(ctx, contract, attempts)
    if certificate is not None:
        return proved("SDB-4", _BOUNDED, "ranking function", certificate, subject=contract)
    if attempts is None:
        return verdict(
            "SDB-4", _BOUNDED, Open("no bound on the attempts is declared"), net=net, subject=contract
        )
    asks = {t.name for t in roles(net, contract, Role.PROPOSE, Role.FAULT)}
    begins = {t.name for t in roles(net, contract, Role.BEGIN)}
    again: list[str] = []

    def step(seen: tuple[bool, int], edge: Edge) -> tuple[bool, int]:
        begun, asked = seen
        if edge.transition in begins:
            if begun:
                again.append(edge.transition)
            # From a second begin on it is not known whom a proposal answers: this run shows no more.
            return (True, 0) if not begun else (True, _UNTOLD)
        return (begun, asked + 1) if edge.transition in asks and asked != _UNTOLD else seen

    def find(graph: Graph) -> Iterator[Candidate]:
        return monitor(graph, (False, 0), step, lambda seen: seen[1] > attempts, heeds=begins | asks)

    answer = ctx.search(find)
    if isinstance(answer, Proved) and again:
        answer = Open(f"{again[0]!r} fires more than once, and no counter of attempts was found")
    return verdict(
        "SDB-4",
        _BOUNDED,
        answer,
        net=net,
        subject=contract,
        broken=f"{contract!r} asks its proposer more than {attempts} times for one begin",
        mend=f"guard the retry by attempt < {attempts} and count every attempt",
    )


def _after(ctx: Context, first: str, then: str) -> Answer:
    """Whether one transition ever fires after another."""

    def step(seen: str, edge: Edge) -> str:
        if edge.transition == first:
            return "armed"
        return "bad" if seen == "armed" and edge.transition == then else seen

    return ctx.search(lambda graph: monitor(graph, "", step, lambda s: s == "bad", heeds=(first, then)))


def _count(minus: Sequence[str], plus: Sequence[str]):  # type: ignore[no-untyped-def]
    """An observer that counts ``plus`` firings and takes ``minus`` firings off, up to a few.

    It may lose some of the former.
    """

    def step(n: int, edge: Edge) -> int:
        if edge.transition in minus:
            return n - 1
        return min(n + 1, _MOST_COUNTED) if edge.transition in plus else n

    return step


def _outnumbers(trace: Trace, minus: Sequence[str], plus: Sequence[str]) -> bool:
    """Whether a run fires ``minus`` transitions more often than ``plus`` ones."""
    fired = [s.transition for s in trace.steps]
    return sum(name in minus for name in fired) > sum(name in plus and name not in minus for name in fired)


def _does(t: Transition) -> str:
    return f"performs {t.trigger.handler!r}" if isinstance(t.trigger, Perform) else "commits"
