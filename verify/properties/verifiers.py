"""SDB-3: verifiers are deterministic.

A policy is an expression over the token at hand, so its answer is a function of the token by construction;
what is left to check is that the net asks nothing else: that accept and reject fire by the policy alone, and
never both for one proposal. A function is opaque: nothing is proved of it. ``provenet lint`` runs it, and
``opaque(...)`` in the net's requirements says by name which ones are accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, product

import z3

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.expr.ast import Not, free_variables
from provenet.nets.net import Auto, Explain, Judge, Net, Requirement, Role, Transition
from provenet.nets.schema import RecordType
from provenet.verify.context import Answer, Candidate, Context, Open, Proved
from provenet.verify.graph import Graph
from provenet.verify.linear import bounding
from provenet.verify.properties.common import Property, info_of, proved, roles, vacuous, verdict
from provenet.verify.properties.data import ready_together
from provenet.verify.questions import inputs_of
from provenet.verify.smt import Encoding, SymValue
from provenet.verify.trace import SymRun, choices_of_tokens
from provenet.verify.verdict import Certificate, Verdict

_DETERMINISTIC = "verifiers are deterministic"
_ACCEPTED = "verifiers are deterministic, or accepted by name as opaque"
_MOST_WAYS = 256


def deterministic(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SDB-3: the verdict on a proposal is a function of the tokens that the verifier sees.

    The argument ``opaque`` names contracts whose verifier is a function and accepted as such.

    Raises:
        PropertyError: A name is no contract's, or that of a contract whose verifier is no function.
    """
    net = ctx.net
    judged = list(dict.fromkeys(t.contract for t in net.by_role(Role.ACCEPT, Role.REJECT)))
    accepted = _accepted(net, requirement, judged)
    if not judged:
        yield vacuous("SDB-3", _DETERMINISTIC, "the net has no verifier")
    for contract in judged:
        yield _of(ctx, contract, accepted, requirement.arg("because", ""))


CATALOGUE = (Property("SDB-3", _DETERMINISTIC, deterministic),)


def is_opaque(net: Net, contract: str) -> bool:
    """Whether a contract's verifier is a function, which the prover cannot look into."""
    info = info_of(net, contract)
    judges = any(isinstance(t.trigger, Judge) for t in roles(net, contract, Role.ACCEPT, Role.REJECT))
    return judges or (info is not None and info.opaque != "no")


def _accepted(net: Net, requirement: Requirement, judged: list[str]) -> frozenset[str]:
    names = requirement.arg("opaque", ())
    names = (names,) if isinstance(names, str) else names
    functions = [c for c in judged if is_opaque(net, c)]
    for name in names:
        if name not in judged:
            raise PropertyError(
                f"SDB-3 accepts an opaque verifier of {name!r}, no contract",
                hint=did_you_mean(name, functions),
            )
        if name not in functions:
            raise PropertyError(
                f"SDB-3 accepts the verifier of {name!r} as opaque, but it is a policy",
                hint="there is nothing to accept: drop the name",
            )
    return frozenset(names)


def _of(ctx: Context, contract: str, accepted: frozenset[str], because: str) -> Verdict:
    net = ctx.net
    for t in roles(net, contract, Role.ACCEPT, Role.REJECT):
        if not isinstance(t.trigger, Auto | Explain | Judge):
            answer = ctx.fires(t.name)
            if not isinstance(answer, Proved):
                return verdict(
                    "SDB-3",
                    _DETERMINISTIC,
                    answer,
                    net=net,
                    subject=contract,
                    broken=f"{t.name!r} gives the verdict of {contract!r} and fires by "
                    f"{_named(t)}, not by a policy",
                    mend="verify by a policy; let a person or a second model decide before or after it",
                )
        if isinstance(t.trigger, Auto) and t.fresh and t.ensures is not None:
            gated = Open(
                f"{t.name!r} promises something of a value from outside, which may keep it from firing"
            )
            return verdict("SDB-3", _DETERMINISTIC, gated, net=net, subject=contract)
    if is_opaque(net, contract):
        return _opaque(net, contract, accepted, because)
    for accept in roles(net, contract, Role.ACCEPT):
        for reject in roles(net, contract, Role.REJECT):
            answer = _undecided(ctx, accept, reject)
            if not isinstance(answer, Proved):
                return verdict(
                    "SDB-3",
                    _DETERMINISTIC,
                    answer,
                    net=net,
                    subject=contract,
                    broken=f"{accept.name!r} and {reject.name!r} are both possible for one proposal: "
                    "the same proposal passes in one run and not in another",
                    mend=f"let the guard of {reject.name!r} be the negation of that of {accept.name!r}",
                )
    certificate = Certificate("structure", {"deterministic": contract})
    return proved("SDB-3", _DETERMINISTIC, "by construction", certificate, subject=contract)


def _opaque(net: Net, contract: str, accepted: frozenset[str], because: str) -> Verdict:
    if contract not in accepted:
        reason = (
            f"the verifier of {contract!r} is a function, which no proof looks into: make it a policy, or "
            f"run `provenet lint` and accept it by name: require(opaque({contract!r}, because=...))"
        )
        return verdict("SDB-3", _DETERMINISTIC, Open(reason), net=net, subject=contract)
    made = proved(
        "SDB-3",
        _ACCEPTED,
        "accepted by name, not proved",
        Certificate("structure", {"opaque": contract, "because": because}),
        subject=contract,
    )
    why = f" because {because}" if because else ""
    return replace(made, reason=f"the verifier of {contract!r} is a function, accepted as opaque{why}")


def _undecided(ctx: Context, accept: Transition, reject: Transition) -> Answer:
    """Whether both can be possible for the same tokens."""
    if not {a.place for a in inputs_of(accept)} & {a.place for a in inputs_of(reject)}:
        apart = [_proposal_place(ctx.net, t) for t in (accept, reject) if inputs_of(t)]
        if len(apart) > 1 and _at_most_one(ctx.net, *apart):
            return Proved(Certificate("structure", {}), "structure")
        return Open(f"{accept.name!r} and {reject.name!r} may each have a copy of one proposal")
    if _arcs(accept) != _arcs(reject):
        return Open(f"{accept.name!r} and {reject.name!r} compete for a proposal by different arcs")
    given = accept.guard is not None and reject.guard in (Not(accept.guard), _plain(Not(accept.guard)))
    if not (given and accept.takes == reject.takes and accept.reads == reject.reads):
        guards = {t.name: t.guard for t in (accept, reject) if t.guard is not None}
        answer = ready_together(ctx, [accept, reject], guards)
        if not isinstance(answer, Proved):
            return answer
    return _whichever(ctx, accept, reject)


def _whichever(ctx: Context, accept: Transition, reject: Transition) -> Answer:
    """Whether both can be possible for one proposal, each with other tokens beside it."""
    net = ctx.net
    chosen = {
        a.place
        for t in (accept, reject)
        for a in inputs_of(t)
        if t.guard is not None and a.var in free_variables(t.guard)
    }
    first = _proposal_place(net, accept)
    if sum(a.place == first for a in inputs_of(accept)) == 1:
        chosen.discard(first)  # the proposal itself
    several = [p for p in sorted(chosen) if not _at_most_one(net, p)]
    if not several:
        return Proved(Certificate("structure", {}), "structure")

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        ways: list[z3.BoolRef] = []
        tried = product(*(_ways(run, t, first) for t in (accept, reject)))
        for (one, passes), (other, fails) in islice(tried, _MOST_WAYS):
            if one == other:
                ways.append(z3.And(_holds(net, enc, accept, passes), _holds(net, enc, reject, fails)))
        return [z3.Or(*ways)]

    def find(graph: Graph) -> Iterator[Candidate]:
        needed = Counter(a.place for a in inputs_of(accept) for _ in range(a.weight))
        for state in range(len(graph.states)):
            held = {p: graph.count(state, p) for p in needed}
            if all(held[p] >= n for p, n in needed.items()) and any(held[p] > 1 for p in several):
                yield Candidate(graph.path(state), extra)

    return ctx.search(find)


def _proposal_place(net: Net, t: Transition) -> str:
    """Where a verifier's proposal lies: a token that carries one, one of its type, else the first token."""
    info, types = info_of(net, t.contract), {a.place: net.place(a.place).type for a in inputs_of(t)}
    carrying = [p for p, of in types.items() if isinstance(of, RecordType) and of.field("proposal")]
    return [*carrying, *(p for p, of in types.items() if info and of == info.proposal), *types][0]


def _at_most_one(net: Net, *places: str) -> bool:
    found = bounding(net, list(places), most=1)
    return found is not None and found.allows(net, list(places)) <= 1


def _ways(run: SymRun, t: Transition, first: str) -> Iterator[tuple[int, dict[str, SymValue]]]:
    """The ways to choose a transition's tokens at the end of a run: the proposal's token, and the values."""
    slots = [(a.place, a.var) for a in inputs_of(t) for _ in range(a.weight)]
    at = next(i for i, (place, _) in enumerate(slots) if place == first)
    for chosen in choices_of_tokens(run, slots):
        named = zip(slots, chosen, strict=True)
        yield chosen[at].identity, {var: token.value for (_, var), token in named if var is not None}


def _holds(net: Net, enc: Encoding, t: Transition, env: dict[str, SymValue]) -> z3.BoolRef:
    if t.guard is None:
        return z3.BoolVal(True)
    return enc.encode_bool(t.guard, env, {v: o for v, o in net.scope(t).items() if v in env})


def _plain(expr: Not) -> object:
    """``x`` for ``not not x``."""
    return expr.of.of if isinstance(expr.of, Not) else expr


def _arcs(t: Transition) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    return sorted((a.place, a.weight) for a in t.takes), sorted((a.place, a.weight) for a in t.reads)


_KINDS = {
    "Ask": "a model's answer",
    "Choice": "a person's choice",
    "Signal": "an event",
    "After": "the passing of time",
    "Perform": "the end of an effect",
    "OnFailure": "a failure",
}


def _named(t: Transition) -> str:
    return _KINDS.get(type(t.trigger).__name__, "something else")
