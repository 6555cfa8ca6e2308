"""CTL-2: after the kill switch no commit fires, compensations aside.

An external commit is two firings: its intent, durable before anything leaves, and its outcome. What was
intended before the switch may have happened already, so its outcome still comes in; the engine waits for it
and compensates it. So the property says: after the switch no intent fires, no commit without an intent fires,
and no contract commits more often than it had intents outstanding when the switch was pulled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from provenet.nets.net import Net, Perform, Requirement, Role, Transition
from provenet.verify.context import Answer, Candidate, Context, Open, Proved, Refuted, monitor
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import kills
from provenet.verify.linear import at_most, tokens_at_start
from provenet.verify.properties.common import Property, contracts, roles, undoes, vacuous, verdict
from provenet.verify.questions import inputs_of
from provenet.verify.verdict import Certificate, Status, Trace, Verdict

_STOPPED = "after the kill switch no commit fires, compensations aside"
_MOST_IN_FLIGHT = 8
_MOST_TOLD = 8


def stopped(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """CTL-2: the switch stops every commit that had not begun."""
    net = ctx.net
    switches = {t.name for t in net.transitions if kills(t)}
    begun = [c for c in contracts(net) if roles(net, c, Role.INTENT)]
    never = {t.name for t in net.transitions if _begins(net, t, begun)}
    if not switches:
        why = "the net has no kill switch of its own: the engine stops it where it stands"
        if net.sagas:
            why += ", and what its scopes have committed is not taken back (scope.kill would)"
        yield vacuous("CTL-2", _STOPPED, why)
        return
    if not never and not begun:
        yield vacuous("CTL-2", _STOPPED, "the net has no commit")
        return
    barred = _barred(net, switches, never) if ctx.small_graph() is None else ""
    answer: Answer = Proved(Certificate("structure", {"barred": barred}), "structure")
    if not barred:
        answer = ctx.search(lambda graph: _after(graph, switches, never))
    said, kept = "", []
    if isinstance(answer, Refuted):
        said = f"{answer.trace.steps[-1].transition!r} fires after the kill switch"
    if isinstance(answer, Proved):
        kept.append(answer.certificate)
        for contract in begun:
            answer = _in_flight(ctx, contract, switches)
            if not isinstance(answer, Proved):
                said = f"{contract!r} commits after the kill switch what it had not begun before"
                break
            kept.append(answer.certificate)
    found = verdict(
        "CTL-2",
        _STOPPED,
        answer,
        net=net,
        subject=", ".join(sorted(switches)),
        broken=said,
        mend="let the kill switch empty the places from which it begins, or let each commit take its number "
        "from the scope, whose token the switch takes",
    )
    if found.status is Status.PROVED:
        method = "structure, linear invariants" if barred else "state graph, linear invariants"
        found = replace(found, method=method, certificates=tuple(kept))
        if not barred and not any(ctx.graph().firings(name) for name in switches):
            found = replace(found, vacuous="the kill switch never fires")
    yield found


CATALOGUE = (Property("CTL-2", _STOPPED, stopped),)


def _barred(net: Net, switches: set[str], never: set[str]) -> str:
    """A place that the switch empties for good, and without which nothing begins; empty where there is none.

    It holds one token from the start; the switch takes or empties it; and nothing puts one there but by
    taking it.
    """
    pulled = [net.transition(name) for name in switches]
    needed = [{a.place for a in inputs_of(net.transition(name))} for name in never]
    start = tokens_at_start(net)
    return next(
        (
            place
            for place, tokens in start.items()
            if tokens == 1
            and all(place in places for places in needed)
            and all(_clears(t, place) for t in pulled)
            and not any(_raises(t, place) for t in net.transitions)
        ),
        "",
    )


def _clears(t: Transition, place: str) -> bool:
    """Whether a firing leaves nothing in a place that holds one token at most."""
    gone = place in t.resets or any(a.place == place for a in t.takes)
    return gone and all(p.place != place for p in t.puts)


def _raises(t: Transition, place: str) -> bool:
    """Whether a firing may leave more tokens in a place than it found."""
    put = sum(p.weight for p in t.puts if p.place == place)
    return put > sum(a.weight for a in t.takes if a.place == place)


def _begins(net: Net, t: Transition, begun: list[str]) -> bool:
    """Whether a transition begins a commit, or performs an effect that is none's.

    A commit of a contract with intents has begun with its intent.
    """
    if t.role is Role.INTENT:
        return True
    if t.role is Role.COMMIT:
        return t.contract not in begun
    return isinstance(t.trigger, Perform) and not undoes(net, t)


def _after(graph: Graph, switches: set[str], never: set[str]) -> Iterator[Candidate]:
    """Paths through the kill switch to a firing that must not come after it, shortest first."""
    came: dict[int, tuple[int, Edge] | None] = {}
    before: dict[int, list[Edge]] = {}
    for state, edges in enumerate(graph.edges):
        for edge, target in edges:
            if edge.transition in switches and target not in came:
                came[target] = None
                before[target] = [*graph.path(state), edge]
    told: Counter[str] = Counter()
    queue = list(came)
    for state in queue:
        for edge, target in graph.edges[state]:
            if edge.transition in never and told[edge.transition] < _MOST_TOLD:
                told[edge.transition] += 1
                yield Candidate(_path(came, before, state, edge), matters="whole")
            if target not in came:
                came[target] = (state, edge)
                queue.append(target)


def _path(
    came: dict[int, tuple[int, Edge] | None], before: dict[int, list[Edge]], state: int, last: Edge
) -> list[Edge]:
    path = [last]
    back = came[state]
    while back is not None:
        path.append(back[1])
        state = back[0]
        back = came[state]
    return before[state] + path[::-1]


def _in_flight(ctx: Context, contract: str, switches: set[str]) -> Proved | Refuted | Open:
    """Whether a contract commits after the switch at most what it had begun before it."""
    net = ctx.net
    intents = {t.name for t in roles(net, contract, Role.INTENT)}
    ends = {t.name for t in roles(net, contract, Role.COMMIT, Role.FAIL)}
    # In every run there are no more ends than intents; so after the last intent, no more than outstanding.
    found = at_most(net, sorted(ends), sorted(intents))
    if found is not None:
        data = {"weights": dict(found.weights), "plus": dict(found.plus), "minus": dict(found.minus)}
        return Proved(Certificate("linear", data), "linear invariant")
    commits = {t.name for t in roles(net, contract, Role.COMMIT)}
    full: list[str] = []

    def step(seen: tuple[str, int], edge: Edge) -> tuple[str, int]:
        killed, flying = seen
        if edge.transition in commits and killed and not flying:
            return ("bad", 0)
        if edge.transition in ends:
            flying = max(0, flying - 1)
        elif edge.transition in intents and not killed:
            flying += 1
            if flying > _MOST_IN_FLIGHT:
                full.append(edge.transition)
                flying = _MOST_IN_FLIGHT
        return ("killed" if killed or edge.transition in switches else "", flying)

    answer = ctx.search(lambda graph: monitor(graph, ("", 0), step, lambda s: s[0] == "bad"))
    if full and not isinstance(answer, Open) and not _more(answer, contract, net):
        return Open(f"{contract!r} may have more than {_MOST_IN_FLIGHT} commits in flight")
    return answer


def _more(answer: Proved | Refuted, contract: str, net: Net) -> bool:
    """Whether a run shows more commits after the switch than were in flight, counted without a limit."""
    return isinstance(answer, Refuted) and _surplus(answer.trace, contract, net)


def _surplus(trace: Trace, contract: str, net: Net) -> bool:
    killed, flying = "", 0
    for s in trace.steps:
        t = net.transition(s.transition)
        if kills(t):
            killed = "yes"
        elif t.contract == contract and t.role is Role.INTENT:
            flying += 0 if killed else 1
        elif t.contract == contract and t.role in (Role.COMMIT, Role.FAIL):
            if killed and t.role is Role.COMMIT and not flying:
                return True
            flying = max(0, flying - 1)
    return False
