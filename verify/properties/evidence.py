"""SDB-6: fresh evidence. Nothing that the verifier read can change between accept and commit.

What a verifier takes is its proposal's own from then on: nothing else can touch it. What it only *reads* (by
a read arc, or by taking a token and putting it back) stays where it was, for others to take. The evidence is
fresh where the place still holds a token of the very value that was read, at the moment at which the commit
fires. Three ways to prove it: nobody writes there; the commit reads it again and compares; or the state graph
has no path on which somebody writes while an accepted proposal waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import z3

from provenet.nets.expr.ast import And, Compare, Not, Var
from provenet.nets.net import Net, Requirement, Role, Transition
from provenet.verify.context import Answer, Candidate, Context, Open, Proved
from provenet.verify.graph import Edge, Graph
from provenet.verify.properties.common import Property, contracts, proved, roles, vacuous, verdict
from provenet.verify.properties.watching import follow
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, Ghost, Question, carrier, inputs_of
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun
from provenet.verify.verdict import Certificate, Verdict

_FRESH = "fresh evidence: nothing the verifier read can change between accept and commit"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that an accept reads and leaves where it is.

    Attributes:
        accept: Name of the accept.
        place: Where it reads.
        var: What it calls the token; ``None`` for black tokens, of which ``weight`` must be there.
        weight: How many tokens.
    """

    accept: str
    place: str
    var: str | None
    weight: int


def fresh(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SDB-6: at each commit, what its accept read is still there."""
    net = ctx.net
    ids = [c for c in contracts(net) if roles(net, c, Role.ACCEPT) and roles(net, c, Role.COMMIT)]
    if not ids:
        yield vacuous("SDB-6", _FRESH, "the net has no commit behind a verifier")
    for contract in ids:
        yield _of(ctx, contract)


CATALOGUE = (Property("SDB-6", _FRESH, fresh),)


def evidence_of(accept: Transition) -> Iterator[Evidence]:
    """What an accept reads and leaves in its place."""
    for read in accept.reads:
        yield Evidence(accept.name, read.place, read.var, read.weight)
    for take in accept.takes:
        if take.var is not None and any(
            p.place == take.place and p.expr == Var(take.var) for p in accept.puts
        ):
            yield Evidence(accept.name, take.place, take.var, take.weight)


def writers(net: Net, place: str) -> list[str]:
    """The transitions that may remove a token from a place without putting the same one back."""
    return [t.name for t in net.transitions if place in t.resets or _removes(t, place)]


def _removes(t: Transition, place: str) -> bool:
    back = [p for p in t.puts if p.place == place]
    for take in t.takes:
        if take.place != place:
            continue
        if take.var is not None and not any(p.expr == Var(take.var) for p in back):
            return True
        if take.var is None and sum(p.weight for p in back if p.expr is None) < take.weight:
            return True
    return False


def _of(ctx: Context, contract: str) -> Verdict:
    net = ctx.net
    read = [e for t in roles(net, contract, Role.ACCEPT) for e in evidence_of(t)]
    at_risk = [e for e in read if writers(net, e.place)]
    certificates: list[Certificate] = []
    methods = []
    for commit in roles(net, contract, Role.COMMIT):
        for e in at_risk:
            answer = _stays(ctx, contract, commit, e)
            if not isinstance(answer, Proved):
                return verdict(
                    "SDB-6",
                    _FRESH,
                    answer,
                    net=net,
                    subject=contract,
                    broken=f"{contract!r} commits on evidence that has changed: {e.accept!r} read it in "
                    f"{e.place!r}, where it is no more",
                    mend=f"let {e.accept!r} take the token from {e.place!r} and the commit put it back, "
                    "or let the commit read it again and compare",
                )
            certificates.append(answer.certificate)
            methods.append(answer.method)
    if not read:
        reason = "its verifier reads nothing but what it takes"
    elif not at_risk:
        reason = f"nothing ever takes from {', '.join(dict.fromkeys(repr(e.place) for e in read))}"
    else:
        reason = ""
    structure = Certificate("structure", {"fresh": contract, "read": sorted({e.place for e in read})})
    return proved(
        "SDB-6",
        _FRESH,
        ", ".join(dict.fromkeys(methods)) or "structure",
        *(certificates or [structure]),
        subject=contract,
        reason=reason,
    )


def _stays(ctx: Context, contract: str, commit: Transition, e: Evidence) -> Answer:
    """Whether a piece of evidence is still there whenever a commit fires."""
    net = ctx.net
    again = next((a.var for a in inputs_of(commit) if a.place == e.place and a.var is not None), None)
    if again is not None and e.var is not None:
        ghost = Ghost(net.place(e.place).type, {e.accept: Var(e.var)})
        same = And((Var(GHOST_SET), Compare("==", Var(GHOST_VALUE), Var(again))))
        answer = ctx.never_fires([Question(commit.name, Not(same))], ghost)
        if isinstance(answer, Proved):
            return answer
    accepts = {t.name for t in roles(net, contract, Role.ACCEPT)}
    waiting = _waiting(net, commit, accepts)
    if waiting is None:
        return Open(f"no token of an accept of {contract!r} is followed to {commit.name!r}")
    return ctx.search(_finder(net, commit.name, e, waiting, _gone(commit, e, accepts)))


def _waiting(net: Net, commit: Transition, accepts: set[str]) -> frozenset[str] | None:
    """Where an accepted proposal waits for its commit; ``None`` where no accept puts it there.

    It is followed as a ghost is: from a token to the first one that it is built from.
    """
    found: set[str] = set()
    work = _places(commit, carrier(commit, None))
    accepted = False
    while work:
        place = work.pop()
        if place in found:
            continue
        found.add(place)
        for t in net.putting(place):
            for put in t.puts:
                if put.place != place:
                    continue
                if t.name in accepts:
                    accepted = True
                else:
                    work += _places(t, carrier(t, put))
    return frozenset(found) if accepted else None


def _places(t: Transition, var: str | None) -> list[str]:
    arcs = inputs_of(t)
    return [a.place for a in arcs if a.var == var] if var is not None else [a.place for a in arcs]


def _finder(
    net: Net, commit: str, e: Evidence, waiting: frozenset[str], gone: Extra
) -> Callable[[Graph], Iterator[Candidate]]:
    """Paths on which somebody writes while a proposal waits, and a commit fires before none waits again."""
    changing = frozenset(writers(net, e.place))

    def find(graph: Graph) -> Iterator[Candidate]:
        place_of = graph.space.place_of
        waits = [any(place_of[k] in waiting for k in state) for state in graph.states]

        def step(changed: str, at: int, edge: Edge, target: int) -> str:
            if changed and edge.transition == commit:
                return "bad"
            changed = "changed" if changed or (waits[at] and edge.transition in changing) else ""
            return changed if waits[target] else ""

        return follow(graph, "", step, lambda s: s == "bad", gone)

    return find


def _gone(commit: Transition, e: Evidence, accepts: set[str]) -> Extra:
    """Asks that at the last firing the place holds nothing of what any accept before it had read.

    Of any: so it does not matter whose proposal is committed.
    """

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        last = run.steps[-1]
        if e.place in commit.resets:
            return [z3.BoolVal(False)]
        own = sum(p.weight for p in commit.puts if p.place == e.place)
        left = [k.value for k in run.tokens.get(e.place, [])]
        there = left[: len(left) - own] if own else left
        there += [last.env[a.var] for a in commit.takes if a.place == e.place and a.var is not None]
        count = len(there) + sum(a.weight for a in commit.takes if a.place == e.place and a.var is None)
        accepted = [s for s in run.steps[:-1] if s.transition.name in accepts]
        if not accepted or any(s.transition.name != e.accept for s in accepted):
            return [z3.BoolVal(False)]
        if e.var is None:
            return [z3.BoolVal(count < e.weight)]
        return [z3.Not(enc.equal(value, s.env[e.var])) for s in accepted for value in there]

    return extra
