"""``responds`` and ``eventually``: what happens in the end, on every fair run.

``responds(a, b)``: in every fair maximal run, each firing of *a* is followed by one of *b* (or is one).
``eventually(b)``: every fair maximal run has *b*. A run is maximal when it is infinite, ends the case, or
ends where nothing is possible. It is *fair* when a firing that is possible again and again, with the same
control data and outside values, happens (strong fairness); only people's choices and events from outside may
stay away for ever.

Then (as for finite systems: Baier and Katoen, "Principles of model checking", 2008, chapter 5) *b* happens
where, from every state that still waits for it, certain steps lead to it without a person or an event
(``provenet.verify.hope``): a run that stayed in such states would pass one of
them again and again, and take the next step towards *b* in the end. And where from some state no path at all
leads to *b* without a person or an event, not even in the abstraction, the runs that go on from there with
nobody helping never have it: a run to that state is the refutation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from provenet.nets.errors import PropertyError
from provenet.nets.marking import is_final
from provenet.nets.net import Requirement
from provenet.nets.quick import dataclass
from provenet.verify.context import Candidate, Context, Open, Refuted, graph_certificate
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import Certainty, from_outside, is_final_state, promise, unaided
from provenet.verify.progress import RANKED, always_ends, progress_certificate, told
from provenet.verify.properties.common import Property, proved, verdict
from provenet.verify.properties.ending import ends_in, lets_none_fire, prolonged
from provenet.verify.properties.naming import named, unknown
from provenet.verify.verdict import Status, Trace, Verdict

_FAIR = (
    "fair: what stays possible happens in the end, and so does each answer of the outside; people and events "
    "may stay away"
)


def check_responds(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``responds``."""
    trigger, response = requirement.arg("trigger"), requirement.arg("response")
    begins, ends = named(ctx.net, trigger), named(ctx.net, response)
    asked = _Asked(frozenset(begins), frozenset(ends), None)
    title = requirement.name or f"{response} follows every {trigger}"
    yield _decided(ctx, "responds", title, asked, trigger, response)


def check_eventually(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``eventually``."""
    what = requirement.arg("what") or ()
    what = (what,) if isinstance(what, str) else what
    if not what:
        raise PropertyError("eventually names nothing", hint="name a transition, a contract or a place")
    net = ctx.net
    ends: set[str] = set()
    for name in what:
        if net.has_place(name):
            ends |= {t.name for t in net.transitions if any(p.place == name for p in t.puts)}
        try:
            ends |= named(net, name)
        except PropertyError:
            if not net.has_place(name):
                known = [*(t.name for t in net.transitions), *(p.name for p in net.places)]
                raise unknown(name, "transition, contract, task, effect or place", known) from None
    listed = " or ".join(what)
    puts_only = all(net.has_place(name) and not net.has_transition(name) for name in what)
    asked = _Asked(frozenset(), frozenset(ends), tuple(what), puts_only)
    yield _decided(ctx, "eventually", requirement.name or f"eventually {listed}", asked, "", listed)


CATALOGUE = (
    Property("responds", "one thing is followed by another", check_responds),
    Property("eventually", "something happens in the end", check_eventually),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is waited for.

    Attributes:
        begins: Transitions whose firing begins the waiting.
        ends: Transitions whose firing ends it.
        places: Of ``eventually``, the names: a token that lies in such a place from the start ends it. Of
            ``responds``, where nothing is waited for at the start, ``None``.
        puts_only: Whether only tokens in places are waited for.
    """

    begins: frozenset[str]
    ends: frozenset[str]
    places: tuple[str, ...] | None
    puts_only: bool = False


def _decided(ctx: Context, id: str, title: str, asked: _Asked, trigger: str, response: str) -> Verdict:
    net = ctx.net
    if asked.puts_only and _every_end(ctx, asked) and ctx.small_graph() is None:
        ranked = always_ends(ctx)
        if ranked is not None:
            why = f"{told(ranked)} ({_FAIR})"
            return proved(id, title, RANKED, progress_certificate(ranked), subject=response, reason=why)
    graph = ctx.graph()
    if not graph.complete:
        return verdict(id, title, Open(graph.reason), net=net, subject=response)
    if asked.puts_only and _every_end(ctx, asked) and all(unaided(ctx, graph).promising):
        certificate = graph_certificate(graph)
        return proved(id, title, "state graph, certain steps", certificate, subject=response, reason=_FAIR)
    view = _View(graph, asked)
    waiting = view.waiting()
    if not waiting:
        fired = {e.transition for out in graph.edges for e, _ in out}
        why = f"{trigger} never happens" if trigger and not asked.begins & fired else ""
        certificate = graph_certificate(graph)
        return proved(
            id,
            title,
            "state graph",
            certificate,
            subject=response,
            vacuous=why,
            reason="nothing waits for it",
        )
    if not _surely(ctx, view):
        return _doubted(ctx, id, title, asked, response)
    return proved(
        id,
        title,
        "state graph, certain steps",
        graph_certificate(graph),
        subject=response,
        reason=_FAIR,
    )


def _every_end(ctx: Context, asked: _Asked) -> bool:
    """Whether every final marking marks a place that is waited for; what rests there may be lacking."""
    net = ctx.net
    places = set(asked.places or ()) - set(net.resting)
    counted = set(places) - set(net.resting)  # what rests in a final marking need not be there
    return bool(net.finals) and all(any(p in counted for p, _ in final) for final in net.finals)


def _surely(ctx: Context, view: _View) -> bool:
    """Whether certain steps lead from every state that waits to the goal."""
    hope = promise(Certainty(ctx, view.redirected()), view.goal(), lambda t: not from_outside(t))
    return all(hope.promising[s] for s in view.waiting())


def _doubted(ctx: Context, id: str, title: str, asked: _Asked, response: str) -> Verdict:
    """A refutation: a run to where the response cannot come without help; else not known."""
    net = ctx.net
    hopeless = ctx.search(lambda graph: _View(graph, asked).hopeless() if graph.complete else iter(()))
    found: Trace | None = hopeless.trace if isinstance(hopeless, Refuted) else _stuck(ctx, asked)
    if found is None:
        reason = f"no certain way to {response!r} was found from every state that waits for it; {_FAIR}"
        return verdict(id, title, Open(reason), net=net, subject=response)
    end = found.replay(net)[-1]
    left = ", ".join(sorted(p for p in end if p not in net.resting))
    if is_final(net, end):
        how = f"the case ends in {left} without {response!r}"
    elif not any(not from_outside(net.transition(f.transition)) for f in ctx.rule.enabled(end)):
        how = f"with tokens in {left}, {response!r} has not come, and nothing goes on by itself"
    else:
        how = f"with tokens in {left}, {response!r} never comes by itself"
        alone = {t.name for t in net.transitions if not from_outside(t)}
        longer, round_ = prolonged(ctx, found, alone, over="stops")
        if round_:
            firings = len(found.steps)
            how = f"after {firings} firings, {how}: the last {round_} can be repeated for ever"
            found = longer
        else:
            how = f"from here on, {how}"
    result = verdict(
        id,
        title,
        Refuted(found),
        net=net,
        subject=response,
        broken=f"{how} ({_FAIR})",
        mend=f"lead every way from there to {response!r}: a timer or a fallback where only the outside could",
    )
    return replace(result, status=Status.REFUTED)


class _View:
    """A graph as what is waited for sees it: the goal ends every path, and so does the end of the case."""

    def __init__(self, graph: Graph, asked: _Asked) -> None:
        self.graph, self.asked = graph, asked
        self._ends: dict[int, bool] = {}
        self._came: dict[int, tuple[int, Edge] | None] = {}
        self._began: dict[int, tuple[int, Edge]] = {}
        self._walk()

    def waiting(self) -> list[int]:
        """The states in which some run waits, nearest first."""
        return list(self._came)

    def goal(self) -> list[bool]:
        """Of the states of ``redirected``, which are the goal: one, the last."""
        return [*(False for _ in self.graph.states), True]

    def redirected(self) -> Graph:
        """The states that wait, in a graph in which the goal leads to one more state and the end nowhere."""
        graph, done = self.graph, len(self.graph.states)
        edges = [
            []
            if state not in self._came or self.is_end(state)
            else [(e, done if e.transition in self.asked.ends else target) for e, target in out]
            for state, out in enumerate(graph.edges)
        ]
        return replace(
            graph,
            states=[*graph.states, ()],
            edges=[*edges, []],
            parent=[*graph.parent, None],
            _firings=None,
        )

    def hopeless(self) -> Iterator[Candidate]:
        """Short paths to where a run waits and no path without the outside leads to the goal."""
        hoping = self._hoping()
        for state in self._came:
            if state not in hoping and self.goes_on(state):
                yield Candidate(self.path(state), ends_in(self.graph, state), matters="whole")

    def goes_on(self, state: int) -> bool:
        """Whether the way to a waiting state passes no end of the case before the waiting begins."""
        at = state
        while (back := self._came[at]) is not None:
            at = back[0]
        before = self._began[at][0] if at in self._began else at
        parent = self.graph.parent[before]
        while parent is not None:
            if self.is_end(parent[0]):
                return False
            parent = self.graph.parent[parent[0]]
        return True

    def path(self, state: int) -> list[Edge]:
        """A short path to a state in which the run waits."""
        path = []
        at = state
        while (back := self._came[at]) is not None:
            path.append(back[1])
            at = back[0]
        if at in self._began:
            before, edge = self._began[at]
            return [*self.graph.path(before), edge, *path[::-1]]
        return [*self.graph.path(at), *path[::-1]]

    def is_end(self, state: int) -> bool:
        """Whether the case ends in a state."""
        found = self._ends.get(state)
        if found is None:
            found = self._ends[state] = is_final_state(self.graph, state)
        return found

    def _walk(self) -> None:
        graph, asked = self.graph, self.asked
        queue: deque[int] = deque()
        begins = asked.begins - asked.ends
        if asked.places is not None:
            for root in range(graph.roots):
                if not any(graph.count(root, p) for p in asked.places):
                    self._came[root] = None
                    queue.append(root)
        else:
            for state, out in enumerate(graph.edges):
                for edge, target in out:
                    if edge.transition in begins and target not in self._came and not self.is_end(state):
                        self._came[target] = None
                        self._began[target] = (state, edge)
                        queue.append(target)
        while queue:
            state = queue.popleft()
            if self.is_end(state):
                continue
            for edge, target in graph.edges[state]:
                if edge.transition not in asked.ends and target not in self._came:
                    self._came[target] = (state, edge)
                    queue.append(target)

    def _hoping(self) -> set[int]:
        """The states from which some path of the abstraction leads to the goal with nobody's help."""
        graph, net = self.graph, self.graph.space.net
        back: dict[int, list[int]] = {}
        found: set[int] = set()
        alone = {t.name for t in net.transitions if not from_outside(t)}
        for state, out in enumerate(graph.edges):
            if self.is_end(state):
                continue
            for edge, target in out:
                if edge.transition in alone:
                    if edge.transition in self.asked.ends:
                        found.add(state)
                    else:
                        back.setdefault(target, []).append(state)
        work = list(found)
        while work:
            for before in back.get(work.pop(), ()):
                if before not in found:
                    found.add(before)
                    work.append(before)
        return found


# where the abstraction sees a way, and the net has none


def _stuck(ctx: Context, asked: _Asked) -> Trace | None:
    """A run that waits and ends where nothing goes on by itself, by the firing rule."""
    graph = ctx.graph()
    view = _View(graph, asked)
    alone = [t for t in ctx.net.transitions if not from_outside(t)]
    for tried, state in enumerate(view.waiting()):
        if tried >= 60 or ctx.remaining_ms() <= 1:
            return None
        if not view.goes_on(state):
            continue
        moves = [e for e, _ in graph.edges[state] if not from_outside(ctx.net.transition(e.transition))]
        if any(e.certain and ctx.net.transition(e.transition).guard is None for e in moves):
            continue
        found = ctx.realizer.realize(
            graph.space, view.path(state), lets_none_fire(ctx, alone), timeout_ms=ctx.remaining_ms(2_000)
        )
        if isinstance(found, Trace):
            end = found.replay(ctx.net)[-1]
            if all(from_outside(ctx.net.transition(f.transition)) for f in ctx.rule.enabled(end)):
                return found
    return None
