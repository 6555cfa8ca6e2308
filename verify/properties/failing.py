"""SAGA-4: a failing compensation is retried, then reaches a person; abort is always reachable from a failure.

Two halves for each scope. A compensation that performs an effect is tried a finite number of times, more
than once; then either its failure transition leads to a person's choice, or there is none, and the engine
parks the case for a person, with the reason. And from every marking right after a step has failed for good or
was given up, while the scope is open, some run aborts the scope without the kill switch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from provenet.nets.net import Choice, Net, OnFailure, Perform, Requirement, Role, SagaInfo, Transition
from provenet.verify.context import Answer, Candidate, Context, Open, Proved, Refuted, graph_certificate
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import (
    Certainty,
    certainty_of,
    fits,
    from_outside,
    kills,
    promise,
)
from provenet.verify.progress import known
from provenet.verify.properties.common import Property, info_of, proved, vacuous, verdict
from provenet.verify.verdict import Certificate, Trace, Verdict

_FAILING = "a failing compensation is retried, then reaches a person; abort is reachable from a failure"
_MOST_TOLD = 20


def failing(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SAGA-4, scope by scope."""
    net = ctx.net
    if not net.sagas:
        yield vacuous("SAGA-4", _FAILING, "the net has no saga scope")
    for saga in net.sagas:
        yield _scope(ctx, saga)


CATALOGUE = (Property("SAGA-4", _FAILING, failing),)


def _scope(ctx: Context, saga: SagaInfo) -> Verdict:
    net = ctx.net
    undoing = [t for t in net.transitions if _undoes(net, t, saga)]
    failures = [t for t in net.transitions if _fails(net, t, saga)]
    if not undoing and not failures:
        return vacuous("SAGA-4", _FAILING, f"no step of scope {saga.id!r} can fail, and none is undone")
    certificates: list[Certificate] = []
    for t in undoing:
        problem = _compensation(ctx, saga, t)
        if problem is not None:
            return problem
        certificates.append(Certificate("structure", {"compensation": t.name}))
    if failures:
        names = frozenset(t.name for t in failures)
        if ctx.small_graph() is None and all(_aborts_next(ctx, saga, t) for t in failures):
            answer: Answer = Proved(Certificate("structure", {"failures": sorted(names)}), "structure")
        else:
            answer = _always_reaches(
                ctx,
                lambda g: [(s, e, x) for s, e, x in _firings(g, names) if g.count(x, saga.open)],
                lambda g: [g.count(s, saga.aborting) > 0 for s in range(len(g.states))],
            )
        if not isinstance(answer, Proved):
            return verdict(
                "SAGA-4",
                _FAILING,
                answer,
                net=net,
                subject=saga.id,
                broken=f"a step of scope {saga.id!r} has failed, and the scope can never abort any more"
                " but by the kill switch",
                mend="let some transition abort the scope from where the failure goes, as one way out",
            )
        certificates.append(answer.certificate)
    plain = all(c.kind == "structure" for c in certificates)
    method = "structure" if plain else "state graph, certain steps"
    made = proved("SAGA-4", _FAILING, method, *certificates, subject=saga.id)
    parked = [t.name for t in undoing if not _on_failure(net, t)]
    if parked:
        made = replace(made, reason=f"when {', '.join(parked)} keeps failing, the engine parks the case")
    return made


def _aborts_next(ctx: Context, saga: SagaInfo, failure: Transition) -> bool:
    """Whether what a failure puts can surely go straight on, by itself, to where it aborts the open scope.

    By transitions that need nothing else, have no guard and always fit; the last one takes the scope's
    token, too.
    """
    net, seen = ctx.net, set[str]()
    work = [p.place for p in failure.puts]
    while work:
        place = work.pop()
        if place in seen:
            continue
        seen.add(place)
        for t in net.taking(place):
            if t.guard is not None or t.reads or from_outside(t) or not fits(ctx, t):
                continue
            takes, puts = sorted((a.place, a.weight) for a in t.takes), {p.place for p in t.puts}
            # What empties places on the way may empty the scope's, too; the abort itself has taken it.
            if takes == [(place, 1)] and not t.resets and all(net.place(p).capacity is None for p in puts):
                work += puts
            elif takes == sorted(((place, 1), (saga.open, 1))) and saga.aborting in puts - set(t.resets):
                # The other places that it may fill have room; this one, since the scope has one token.
                roomy = all(net.place(p).capacity is None for p in puts - {saga.aborting})
                if roomy and known(ctx).at_most((saga.open, saga.aborting), 1):
                    return True
    return False


def _belongs(net: Net, t: Transition, saga: SagaInfo) -> bool:
    info = info_of(net, t.contract)
    return info is not None and info.saga == saga.id


def _undoes(net: Net, t: Transition, saga: SagaInfo) -> bool:
    """Whether a transition performs the undoing of a step of a scope, whatever it says of itself."""
    if not isinstance(t.trigger, Perform):
        return False
    if t.trigger.handler in {c.undo for c in net.contracts if c.saga == saga.id}:
        return True
    return t.role is Role.COMPENSATE and (info_of(net, t.contract) is None or _belongs(net, t, saga))


def _fails(net: Net, t: Transition, saga: SagaInfo) -> bool:
    """Whether with a transition a step of a scope has failed for good, or was given up."""
    if isinstance(t.trigger, OnFailure):
        of = net.transition(t.trigger.of)
        if of.role is Role.COMMIT and _belongs(net, of, saga):
            return True
    return t.role in (Role.FAIL, Role.GIVE_UP) and _belongs(net, t, saga)


def _on_failure(net: Net, t: Transition) -> list[Transition]:
    return [f for f in net.transitions if isinstance(f.trigger, OnFailure) and f.trigger.of == t.name]


def _compensation(ctx: Context, saga: SagaInfo, t: Transition) -> Verdict | None:
    """What is wrong with how a compensation fails, if anything is."""
    net, trigger = ctx.net, t.trigger
    assert isinstance(trigger, Perform)
    after = _on_failure(net, t)
    said = mend = ""
    if trigger.tries is None:
        said = f"{t.name!r}, should it keep failing, is tried for ever, and no person hears of it"
        mend = "give the undo effect a number of tries: Effect(..., tries=5)"
    elif trigger.tries < 2 and not any(_leads_back(net, f, t) for f in after):
        said = f"{t.name!r} is given up after its first failure"
        mend = "give the undo effect more tries: Effect(..., tries=5)"
    if said:
        answer = _just_before(ctx.fires(t.name))
    else:
        answer = Proved(Certificate("structure", {}), "structure")
        for name in (f.name for f in after):
            answer = _told(ctx, net.transition(name))
            said = f"{t.name!r} fails for good, and what {name!r} leaves never reaches a person"
            mend = f"let {name!r} put its token where a person decides"
            if not isinstance(answer, Proved):
                break
    if isinstance(answer, Proved):
        return None
    return verdict("SAGA-4", _FAILING, answer, net=net, subject=saga.id, broken=said, mend=mend)


def _told(ctx: Context, after: Transition) -> Answer:
    """Whether a person can decide on what a failure leaves, from wherever it leaves it."""
    net, graph = ctx.net, ctx.graph()
    people, downstream = _people_after(net, after)
    desks = {a.place for name in people for a in net.transition(name).takes} & downstream

    def there(g: Graph, state: int) -> int:
        return sum(g.count(state, p) for p in desks)

    def told(others: int) -> Answer:
        """The same, where so many other tokens lay there before: then there must be more than these."""
        return _always_reaches(
            ctx,
            lambda g: [f for f in _firings(g, {after.name}) if there(g, f[0]) == others],
            lambda g: [
                any(e.transition in people and e.certain for e, _ in edges) and there(g, s) > others
                for s, edges in enumerate(g.edges)
            ],
            possible=lambda g: [any(e.transition in people for e, _ in edges) for edges in g.edges],
        )

    answer: Answer = Proved(Certificate("structure", {}), "structure")
    for others in sorted({there(graph, state) for state, _, _ in _firings(graph, {after.name})}):
        answer = told(others)
        if not isinstance(answer, Proved):
            break
    return answer


def _just_before(answer: Answer) -> Answer:
    """The same without the last firing of a run: what is about to happen."""
    if isinstance(answer, Refuted):
        return Refuted(Trace(answer.trace.start, answer.trace.steps[:-1]))
    return answer


def _leads_back(net: Net, after: Transition, t: Transition) -> bool:
    return bool({p.place for p in after.puts} & {a.place for a in t.takes})


def _people_after(net: Net, t: Transition) -> tuple[set[str], set[str]]:
    """The choices of people that what a transition puts may come to, and the places on the way."""
    places: set[str] = set()
    work = [p.place for p in t.puts]
    found: set[str] = set()
    while work:
        place = work.pop()
        if place in places:
            continue
        places.add(place)
        for u in net.transitions:
            if any(a.place == place for a in u.takes):
                if isinstance(u.trigger, Choice):
                    found.add(u.name)
                work += [p.place for p in u.puts]
    return found, places


def _firings(graph: Graph, names: Collection[str]) -> list[tuple[int, Edge, int]]:
    """The firings of some transitions: state before, firing, state after."""
    return [
        (state, edge, target)
        for state, edges in enumerate(graph.edges)
        for edge, target in edges
        if edge.transition in names
    ]


def _always_reaches(
    ctx: Context,
    failures: Callable[[Graph], list[tuple[int, Edge, int]]],
    kept: Callable[[Graph], list[bool]],
    possible: Callable[[Graph], list[bool]] | None = None,
) -> Answer:
    """Whether from every state after a failure some run surely reaches a kept one, without the kill switch.

    Args:
        ctx: The net.
        failures: The failing firings of a graph.
        kept: For each state, whether it surely is where failures have to lead.
        possible: For each state, whether it may be; the same by default.
    """
    graph = ctx.graph()
    if not graph.complete:
        return Open(graph.reason)
    net = ctx.net
    switches = {t.name for t in net.transitions if kills(t)}
    certainty = certainty_of(ctx, graph)
    failed = failures(graph)
    good = kept(graph)
    targets = list(dict.fromkeys(target for _, _, target in failed))
    if _walks(certainty, targets, good, switches) or all(
        promise(certainty, good, lambda t: not kills(t)).promising[s] for s in targets
    ):
        return Proved(graph_certificate(graph), "state graph, certain steps")

    def find(g: Graph) -> Iterator[Candidate]:
        if not g.complete:
            return  # what was not explored may lead on
        wanted = (s for s, k in enumerate((possible or kept)(g)) if k)
        reach = g.leading_to(wanted, avoiding=switches)
        lost = {target: (s, e) for s, e, target in failures(g) if target not in reach}
        for state, edge in islice(lost.values(), _MOST_TOLD):
            yield Candidate([*g.path(state), edge])

    answer = ctx.search(find)
    if isinstance(answer, Proved):
        # That the abstraction always has a way is no promise that the net has one.
        return Open("a way on is possible from every failure, but it is not certain from all of them")
    return answer


def _walks(certainty: Certainty, states: Iterable[int], kept: Sequence[bool], avoided: set[str]) -> bool:
    """Whether each state leads to a kept one by firings that are certain; quick, and gives up easily."""
    good = {s for s, k in enumerate(kept) if k}
    net = certainty.ctx.net
    usable = {t.name for t in net.transitions if t.name not in avoided}
    for start in states:
        came: dict[int, int | None] = {start: None}
        queue = [start]
        end = None
        for state in queue:
            if state in good:
                end = state
                break
            for edge, targets in certainty.moves[state].certain:
                to = targets[0]
                if to in came or len(targets) > 1 or edge.transition not in usable:
                    continue
                if certainty.fits(edge.transition):
                    came[to] = state
                    queue.append(to)
        if end is None:
            return False
        at: int | None = end
        while at is not None:
            good.add(at)
            at = came[at]
    return True
