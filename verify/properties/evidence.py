"""SDB-6: fresh evidence. Nothing that the verifier read can change between accept and commit.

What a verifier takes is its proposal's own from then on: nothing else can touch it. What it only *reads* (by
a read arc, or by taking a token and putting it back) stays where it was, for others to take. The evidence is
fresh where the place still holds a token of the very value that was read, at the moment at which the commit
fires. Three ways to prove it: nobody writes there; the commit reads it again and compares; or the state graph
has no path on which somebody writes while an accepted proposal waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

import z3

from provenet.nets.expr.ast import And, Compare, Not, Var, free_variables
from provenet.nets.net import Net, Requirement, Role, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT
from provenet.verify.context import Answer, Candidate, Context, Open, Proved
from provenet.verify.graph import Edge, Graph
from provenet.verify.potential import follows
from provenet.verify.properties.common import Property, contracts, proved, roles, vacuous, verdict
from provenet.verify.properties.control import committed
from provenet.verify.properties.watching import follow
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, Ghost, Question, carrier, inputs_of
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun
from provenet.verify.verdict import Certificate, Verdict

_FRESH = "fresh evidence: nothing the verifier read can change between accept and commit"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that an accept reads and leaves where it is, or puts back as it was.

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


def evidence_of(ctx: Context, accept: Transition) -> Iterator[Evidence]:
    """What an accept reads and leaves in its place, or puts back as it was."""
    net = ctx.net
    counts: Counter[str] = Counter()
    for read in accept.reads:
        if read.var is None:
            counts[read.place] += read.weight
        else:
            yield Evidence(accept.name, read.place, read.var, read.weight)
    for place in dict.fromkeys(a.place for a in accept.takes):
        if net.place(place).type == UNIT:
            counts[place] += min(taken_and_put(accept, place))
        for take in accept.takes:
            if take.place == place and take.var is not None and net.place(place).type != UNIT:
                back = [p.expr for p in accept.puts if p.place == place and p.expr is not None]
                if any(follows(ctx, accept, Compare("==", e, Var(take.var))) for e in back):
                    yield Evidence(accept.name, place, take.var, take.weight)
    for place, count in counts.items():
        if count:
            yield Evidence(accept.name, place, None, count)


def taken_and_put(t: Transition, place: str) -> tuple[int, int]:
    """How many tokens a firing takes from a place, and how many it puts there."""
    taken = sum(a.weight for a in t.takes if a.place == place)
    return taken, sum(p.weight for p in t.puts if p.place == place)


def writers(net: Net, place: str) -> list[str]:
    """The transitions that may remove a token from a place without putting the same one back."""
    return [t.name for t in net.transitions if place in t.resets or _removes(net, t, place)]


def _removes(net: Net, t: Transition, place: str) -> bool:
    taken, put = taken_and_put(t, place)
    if net.place(place).type == UNIT:
        return put < taken
    left = [p.expr for p in t.puts if p.place == place]
    return any(a.place == place and (a.var is None or Var(a.var) not in left) for a in t.takes)


def _of(ctx: Context, contract: str) -> Verdict:
    net = ctx.net
    read = [e for t in roles(net, contract, Role.ACCEPT) for e in evidence_of(ctx, t)]
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
    return ctx.search(_finder(net, commit.name, e, waiting, accepts, _gone(commit, e, accepts)))


def _waiting(net: Net, commit: Transition, accepts: set[str]) -> frozenset[str] | None:
    """Where an accepted proposal waits for its commit; ``None`` where no accept puts it there.

    It is followed as a ghost is: from a token to the first one that it is built from.
    """
    found: set[str] = set()
    said = committed(net, commit)
    owners: list[str | None] = [] if said is None else [*free_variables(said[0])]
    work = [p for v in owners or [carrier(commit, None)] for p in _places(commit, v)]
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
    net: Net, commit: str, e: Evidence, waiting: frozenset[str], accepts: Collection[str], gone: Extra
) -> Callable[[Graph], Iterator[Candidate]]:
    """Paths on which somebody writes after an accept, and a commit fires.

    What was written before an accept is of no matter to it; but it may be to a proposal that waits already.
    """
    changing = frozenset(writers(net, e.place))
    own = e.place in net.transition(e.accept).resets

    def find(graph: Graph) -> Iterator[Candidate]:
        place_of = graph.space.place_of
        waits = [any(place_of[k] in waiting for k in state) for state in graph.states]

        def step(changed: str, at: int, edge: Edge, target: int) -> str:
            if changed and edge.transition == commit:
                return "bad"
            if edge.transition in accepts and not waits[at]:
                return "changed" if own and edge.transition == e.accept else ""
            return "changed" if changed or edge.transition in changing else ""

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
