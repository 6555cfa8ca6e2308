"""SAGA-1, 2, 3: what was committed is undone when the scope aborts, in reverse order, and nothing else is.

An observer rides along the state graph with the steps that have begun to commit and are not yet undone or
dropped, in the order in which their commits began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field, replace

from provenet.nets.net import Net, Requirement, Role, SagaInfo
from provenet.nets.quick import dataclass
from provenet.verify.context import Candidate, Context, Open, Proved, monitor
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import certainty_of, promise, unaided
from provenet.verify.numbering import disciplined
from provenet.verify.progress import known, ranking
from provenet.verify.properties.common import Property, proved, vacuous, verdict
from provenet.verify.properties.ending import ends_in
from provenet.verify.verdict import Certificate, Verdict

_COMPLETE = "every committed step is undone when the scope aborts"
_REVERSE = "steps are undone in reverse order"
_ONLY = "nothing is undone that was not committed; nothing is outstanding when the scope completes"


@dataclass(frozen=True, slots=True)
class Observed:
    """What the observer knows.

    Attributes:
        steps: (contract, committed) of the steps that owe a compensation, in the order in which their commits
            began.
        late: (contract, property) of the steps whose commits were on the way when the scope ended, with the
            property that breaks if they still happen.
        broken: The property that the last firing has broken; empty for none.
        dropped: Whether a committed step was dropped, as only a scope that completes may.
    """

    steps: tuple[tuple[str, bool], ...] = ()
    late: tuple[tuple[str, str], ...] = ()
    broken: str = ""
    dropped: bool = False


def complete(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SAGA-1: whenever a scope ends aborted, each committed step was undone.

    And an aborting scope can always end.
    """
    yield from _each(
        ctx, "SAGA-1", _COMPLETE, "add the compensation, and let each commit leave its undo token"
    )


def reverse(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SAGA-2: a step is undone only when every step whose commit began later is."""
    yield from _each(ctx, "SAGA-2", _REVERSE, "undo the step whose number equals the scope's depth")


def only(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """SAGA-3: each compensation undoes a commit of its own; a scope that completes leaves no undo token."""
    yield from _each(
        ctx,
        "SAGA-3",
        _ONLY,
        "let the compensation consume the undo token that its commit left, and drop undo tokens when the "
        "scope completes",
    )


CATALOGUE = (
    Property("SAGA-1", _COMPLETE, complete),
    Property("SAGA-2", _REVERSE, reverse),
    Property("SAGA-3", _ONLY, only),
)


def _each(ctx: Context, id: str, title: str, mend: str) -> Iterable[Verdict]:
    net = ctx.net
    if not net.sagas:
        yield vacuous(id, title, "the net has no saga scope")
    for saga in net.sagas:
        owing = _owing(net, saga)
        if not owing:
            yield vacuous(id, title, f"no step of scope {saga.id!r} owes a compensation")
            continue
        found = None if ctx.small_graph() is not None else _numbered(ctx, saga, owing)
        if found is not None and (id != "SAGA-1" or _surely_ends(ctx, saga)):
            yield proved(id, title, "numbered steps", found, subject=saga.id, reason=_NUMBERED)
            continue
        observe: Observer = ctx.memo.setdefault(("observer", saga.id), Observer(net, saga, owing))

        def find(graph: Graph, observe: Observer = observe, saga: SagaInfo = saga) -> Iterator[Candidate]:
            if not _never_broken(ctx, graph, observe):
                heeds = observe.heeds()
                yield from monitor(graph, Observed(), observe.step, lambda o: o.broken == id, heeds=heeds)
            if id == "SAGA-1":
                yield from _stuck(graph, net, saga)

        answer = ctx.search(find)
        if id == "SAGA-2" and observe.alike:
            # The observer takes steps of one contract for one another; their numbers tell them apart.
            found = _numbered(ctx, saga, owing)
            if found is not None:
                yield proved(id, title, "numbered steps", found, subject=saga.id, reason=_NUMBERED)
                continue
            several = ", ".join(map(repr, dict.fromkeys(observe.alike)))
            answer = Open(f"{several} may have several steps to undo at once, and nothing tells them apart")
        if isinstance(answer, Proved) and observe.lost:
            answer = Open(f"scope {saga.id!r} may have more than {_MOST_STEPS} steps to undo at once")
        if id == "SAGA-1" and isinstance(answer, Proved) and not _surely_ends(ctx, saga):
            answer = Open(f"it is not certain that scope {saga.id!r} can end once it aborts")
        broken = _BROKEN[id].format(scope=saga.id)
        yield verdict(id, title, answer, net=net, subject=saga.id, broken=broken, mend=mend)


_NUMBERED = "each step carries its own number, up to the depth that the scope has counted"


def _numbered(ctx: Context, saga: SagaInfo, owing: frozenset[str]) -> Certificate | None:
    """Why no run breaks any of the three properties; ``None`` where the numbers of steps do not tell."""
    here = known(ctx)
    numbers = here.numbered.get(saga.id)
    found = None if numbers is None else disciplined(ctx.net, saga, numbers, owing)
    # All of it counts on the one token of the scope.
    if numbers is None or found is None or not here.at_most({place for place, _ in numbers.scope}, 1):
        return None
    return Certificate(
        "numbering",
        {
            "scope": sorted([place, list(path)] for place, path in numbers.scope),
            "numbers": sorted([place, list(path)] for place, path in numbers.numbers),
            "pending": {c: sorted(places) for c, places in sorted(found.pending.items())},
            "owed": {c: sorted(places) for c, places in sorted(found.owed.items())},
        },
    )


def _never_broken(ctx: Context, graph: Graph, observe: Observer) -> bool:
    """Whether no path of the graph breaks any of the three properties; one pass answers for all of them."""
    key = ("saga", observe.saga.id, id(graph))
    if key not in ctx.memo:
        broken = monitor(graph, Observed(), observe.step, lambda o: o.broken != "", heeds=observe.heeds())
        # With the graph, or another one might come to have its id.
        ctx.memo[key] = (graph, next(broken, None) is None)
    return bool(ctx.memo[key][1])


_BROKEN = {
    "SAGA-1": "scope {scope!r} aborts and a committed step is never undone",
    "SAGA-2": "scope {scope!r} undoes a step before a later one",
    "SAGA-3": "scope {scope!r} undoes what was not committed, or completes with a step outstanding",
}


@dataclass(frozen=True, slots=True)
class Observer:
    """Follows one scope."""

    net: Net
    saga: SagaInfo
    owing: frozenset[str]
    lost: list[str] = field(default_factory=list, compare=False)
    """Not empty once a step was dropped: what the observer has not objected to since is not proved."""
    alike: list[str] = field(default_factory=list, compare=False)
    """Contracts with several steps to undo at once: the observer cannot tell which of them is undone."""

    def heeds(self) -> frozenset[str]:
        """The transitions that change what is known."""
        return frozenset(
            t.name
            for t in self.net.transitions
            if t.contract in self.owing
            or (t.contract == self.saga.id and t.role in (Role.ABORTED, Role.COMPLETE))
        )

    def step(self, seen: Observed, edge: Edge) -> Observed:
        """What is known after a firing."""
        t = self.net.transition(edge.transition)
        if t.contract in self.owing:
            return self._contract(seen, t.contract, t.role)
        if t.contract == self.saga.id and t.role in (Role.ABORTED, Role.COMPLETE):
            says = "SAGA-1" if t.role is Role.ABORTED else "SAGA-3"
            # What was dropped before the scope aborts was never undone.
            if any(committed for _, committed in seen.steps) or (seen.dropped and t.role is Role.ABORTED):
                return Observed(broken=says)
            return self._few(Observed(late=(*seen.late, *((c, says) for c, _ in seen.steps))))
        return replace(seen, broken="")

    def _contract(self, seen: Observed, contract: str, role: Role) -> Observed:
        steps, late, dropped = list(seen.steps), list(seen.late), seen.dropped
        pending = next((i for i, s in enumerate(steps) if s == (contract, False)), None)
        overdue = next((i for i, s in enumerate(late) if s[0] == contract), None)
        if role is Role.INTENT:
            steps.append((contract, False))
        elif role is Role.COMMIT:
            if pending is not None:
                steps[pending] = (contract, True)
            elif overdue is not None:
                rest = tuple(late[:overdue] + late[overdue + 1 :])
                return Observed(tuple(steps), rest, late[overdue][1], dropped)
            else:
                steps.append((contract, True))
        elif role is Role.FAIL:
            if pending is not None:
                del steps[pending]
            elif overdue is not None:
                del late[overdue]
        elif role in (Role.COMPENSATE, Role.DISCHARGE):
            own = [i for i, s in enumerate(steps) if s == (contract, True)]
            if not own:
                says = "SAGA-3" if role is Role.COMPENSATE else ""
                return Observed(tuple(steps), tuple(late), says, dropped)
            early = role is Role.COMPENSATE and own[-1] != len(steps) - 1
            if role is Role.COMPENSATE and len(own) > 1:
                self.alike.append(contract)
            # Undone out of order is undone all the same.
            del steps[own[-1]]
            says, dropped = "SAGA-2" if early else "", dropped or role is Role.DISCHARGE
            return Observed(tuple(steps), tuple(late), says, dropped)
        return self._few(Observed(tuple(steps), tuple(late), "", dropped))

    def _few(self, seen: Observed) -> Observed:
        """The same with as many steps as the observer keeps in mind, the newest; it notes what it drops."""
        if len(seen.steps) > _MOST_STEPS or len(seen.late) > _MOST_STEPS:
            self.lost.append(self.saga.id)
            return Observed(seen.steps[-_MOST_STEPS:], seen.late[-_MOST_STEPS:], "", seen.dropped)
        return seen


_MOST_STEPS = 32


def _owing(net: Net, saga: SagaInfo) -> frozenset[str]:
    declared = {c.id for c in net.contracts if c.saga == saga.id and c.undo}
    return frozenset(declared)


def _surely_ends(ctx: Context, saga: SagaInfo) -> bool:
    """Whether an aborting scope can always come to its end.

    A path of the graph is no promise, certain steps are.
    """
    if _leaves_by_its_end(ctx.net, saga) and ctx.small_graph() is None and ranking(ctx, "aided") is not None:
        return True
    graph = ctx.graph()
    if _leaves_by_its_end(ctx.net, saga) and graph.complete and all(unaided(ctx, graph).promising):
        return True
    certainty = certainty_of(ctx, graph)
    anywhere = [True] * len(graph.states)
    ends = frozenset(t.name for t in ctx.net.by_role(Role.ABORTED, contract=saga.id))
    aborting = [s for s in range(len(graph.states)) if graph.count(s, saga.aborting)]
    kept = [False] * len(graph.states)
    for s in aborting:
        kept[s] = certainty.can(s, anywhere, ends)
    hope = promise(certainty, kept)
    return graph.complete and all(hope.promising[s] for s in aborting)


def _leaves_by_its_end(net: Net, saga: SagaInfo) -> bool:
    """Whether the token of an aborting scope, unwinding or not, leaves only by the end of the abort.

    Then a case that surely ends surely ends its abort.
    """
    scope = {saga.aborting} | {
        p.place
        for t in net.by_role(Role.UNWIND)
        if any(a.place == saga.aborting for a in t.takes)
        for p in t.puts
    }
    if scope & ({place for final in net.finals for place, _ in final} | set(net.resting)):
        return False
    for t in net.transitions:
        if t.role is Role.ABORTED and t.contract == saga.id:
            continue
        taken = sum(a.weight for a in t.takes if a.place in scope)
        if scope & set(t.resets) or taken > sum(p.weight for p in t.puts if p.place in scope):
            return False
    return True


def _stuck(graph: Graph, net: Net, saga: SagaInfo) -> Iterator[Candidate]:
    """Paths to states in which the scope is aborting and from which no path lets it end."""
    if not graph.complete:
        return
    ends = {t.name for t in net.by_role(Role.ABORTED, contract=saga.id)}
    ending = (s for s, edges in enumerate(graph.edges) if any(e.transition in ends for e, _ in edges))
    hopeful = graph.leading_to(ending)
    for state in range(len(graph.states)):
        if state not in hopeful and graph.count(state, saga.aborting):
            yield Candidate(graph.path(state), ends_in(graph, state))
