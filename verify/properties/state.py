"""STATE-1, 2, 3: soundness, boundedness, absence of deadlock.

Soundness is van der Aalst's ("The application of Petri nets to workflow management", 1998), for nets with
data, several final markings and resting places: from every reachable marking a final one can be reached
(option to complete), a marking that covers a final one is final (proper completion), and every transition
fires in some run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import z3

from provenet.nets.errors import Breach
from provenet.nets.expr.ast import And, Expr, free_variables
from provenet.nets.firing import Firing
from provenet.nets.marking import Marking, is_final
from provenet.nets.net import Net, Requirement, Role, Transition
from provenet.nets.schema import UNIT
from provenet.verify.context import Candidate, Context, Open, Proved, Refuted, graph_certificate
from provenet.verify.coverage import Coverage, fire_everything
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import (
    Hope,
    certainty_of,
    final_counts,
    is_final_state,
    kills,
    ordinary_tokens,
    promise,
    unaided,
    unconditional,
)
from provenet.verify.linear import bounding
from provenet.verify.progress import RANKED, ends_properly, known, progress_certificate, ranking, told
from provenet.verify.properties.common import Property, proved, searched, verdict
from provenet.verify.questions import inputs_of
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, Spurious, SymRun, choices_of_tokens
from provenet.verify.verdict import Certificate, Status, Trace, Verdict

if TYPE_CHECKING:
    from provenet.verify.plain.net import PTNet

_SOUND = "workflow soundness: option to complete, proper completion, no dead transition"
_DEFENSIVE = (Role.REJECT, Role.FAULT, Role.RETRY, Role.GIVE_UP, Role.FAIL)
_BOUNDED = "every place is bounded"
_LIVE = "no deadlock but in declared final markings"
_RELAXED = "relaxed soundness: every transition fires in some run that ends properly"


def sound(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """STATE-1: option to complete, proper completion, no dead transition.

    The kill switch is no way to complete. Dead transitions may be: those of a contract that answer a failure
    (reject, fault, retry, give up, fail), where it is proved that none is ever needed, and a scope's own ones
    that pass over a step.
    """
    net = ctx.net
    pt = _counted(net)
    if pt is not None:
        from provenet.verify.properties import plain

        yield plain.sound(net, pt, _SOUND, ctx.deadline)
        return
    if not net.finals:
        yield verdict("STATE-1", _SOUND, Open("the net declares no final marking"), net=net)
        return
    if ctx.small_graph() is None:
        ranked = _sound_by_rank(ctx)
        if ranked is not None:
            yield ranked
            return
    graph = ctx.graph()
    if not graph.complete:
        yield verdict("STATE-1", _SOUND, Open(graph.reason), net=net)
        return
    improper = searched(
        "STATE-1",
        _SOUND,
        ctx,
        lambda g: _improper(g, net),
        broken="a run reaches a final marking with other tokens left behind: improper completion",
        mend="consume or clear what is left before the case ends",
    )
    if improper.status is not Status.PROVED:
        yield improper
        return
    if not all(unaided(ctx, graph).promising):
        finals = [is_final_state(graph, s) for s in range(len(graph.states))]
        # The kill switch ends every case: what can end by it alone is stuck all the same.
        hope = promise(certainty_of(ctx, graph), finals, lambda t: not kills(t))
        if not all(hope.promising):
            yield _incomplete(ctx, graph, hope, finals)
            return
    coverage = fire_everything(ctx, graph)
    spare = _spare(net)
    dead = [name for name in coverage.dead if name not in spare]
    if dead:
        yield Verdict(
            "STATE-1",
            _SOUND,
            Status.REFUTED,
            "state graph",
            f"no run ever fires {', '.join(map(repr, dead))}",
            ", ".join(dead),
            certificates=(graph_certificate(graph),),
            mend="remove the dead transition, or mend the guard or arc that keeps it from firing",
        )
        return
    # Nor does it matter whether such a one can fire: a report's evidence need not say so.
    missing = ", ".join(repr(name) for name in coverage.unknown if name not in spare)
    if missing:
        yield verdict("STATE-1", _SOUND, Open(f"no run was found that fires {missing}"), net=net)
        return
    reason = f"{len(graph.states):,} abstract states; {_all_fire(coverage)}"
    yield proved("STATE-1", _SOUND, "state graph, certain steps", graph_certificate(graph), reason=reason)


def bounded(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """STATE-2; ``k`` asks for k-safeness."""
    net = ctx.net
    k = requirement.arg("k")
    title = _BOUNDED if k is None else f"no place ever holds more than {k} tokens"
    if k is None:
        found = bounding(net, [p.name for p in net.places])
        if found is not None:
            data = {
                "weights": dict(found.weights),
                "plus": {},
                "minus": {},
                "bounds": [p.name for p in net.places],
            }
            most = found.start(net)
            yield proved(
                "STATE-2",
                title,
                "linear invariant",
                Certificate("linear", data),
                reason=f"at most {most} tokens in any place",
            )
            return
    pt = _counted(net)
    if pt is not None:
        from provenet.verify.properties import plain

        counted = plain.bounded(net, pt, title, ctx.deadline, k)
        if counted is not None:
            yield counted
            return
    if ctx.small_graph() is None:
        here = known(ctx)
        if here.bounded() if k is None else all(here.at_most([p.name], k) for p in net.places):
            yield proved("STATE-2", title, "inequalities", here.certificate())
            return
    if k is None:
        # What grows for ever mostly does so near the start: look there before exploring far.
        for at in (Context(net, deadline=ctx.deadline, most_states=2_000), ctx):
            graph = at.graph()
            pump = _pump(graph)
            if pump is None:
                continue
            path, loop = pump
            answer = at.search(
                lambda g, graph=graph, path=path: iter(  # type: ignore[misc]
                    [Candidate(path, matters="whole")] if g is graph else []
                )
            )
            sure = all(e.certain and unconditional(net, net.transition(e.transition)) for e in path[loop:])
            if isinstance(answer, Refuted) and (sure or _grows(net, answer.trace, loop)):
                yield verdict(
                    "STATE-2",
                    title,
                    answer,
                    net=net,
                    broken="a run comes back to where it was with more tokens: it can do so for ever",
                    mend="consume the token that piles up, or declare a capacity",
                )
                return
        graph = ctx.graph()
        answer = Proved(graph_certificate(graph), "state graph") if graph.complete else Open(graph.reason)
        yield verdict("STATE-2", title, answer, net=net)
        return

    def find(g: Graph) -> Iterator[Candidate]:
        for s in range(len(g.states)):
            places = [g.space.place_of[t] for t in g.states[s]]
            if any(places.count(p) > k for p in set(places)):
                yield Candidate(g.path(s))

    yield searched("STATE-2", title, ctx, find, broken=f"a place holds more than {k} tokens")


def deadlock_free(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """STATE-3."""
    net = ctx.net
    pt = _counted(net)
    if pt is not None:
        from provenet.verify.properties import plain

        yield plain.deadlock_free(net, pt, _LIVE, ctx.deadline)
        return
    if ctx.small_graph() is None and (ranked := ranking(ctx, "aided")) is not None:
        yield proved("STATE-3", _LIVE, RANKED, progress_certificate(ranked), reason=told(ranked))
        return
    graph = ctx.graph()
    if not graph.complete:
        yield verdict("STATE-3", _LIVE, Open(graph.reason), net=net)
        return
    stuck: list[int] = []
    if not all(unaided(ctx, graph).promising):
        finals = [is_final_state(graph, s) for s in range(len(graph.states))]
        hope = promise(certainty_of(ctx, graph), finals)
        stuck = [s for s in range(len(graph.states)) if not hope.certain[s]]
    if not stuck:
        yield proved(
            "STATE-3",
            _LIVE,
            "state graph, certain steps",
            graph_certificate(graph),
            reason=f"{len(graph.states):,} abstract states",
        )
        return
    yield _stuck("STATE-3", _LIVE, ctx, graph, stuck)


def relaxed_sound(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """Relaxed soundness, of nets without data."""
    pt = _counted(ctx.net)
    if pt is None:
        why = "relaxed soundness is decided for nets without data only; ask for STATE-1"
        yield verdict("relaxed-soundness", _RELAXED, Open(why), net=ctx.net)
    else:
        from provenet.verify.properties import plain

        yield plain.relaxed(ctx.net, pt, _RELAXED, ctx.deadline)


def _counted(net: Net) -> PTNet | None:
    """The integers of a net without data; what decides such nets is loaded for them alone."""
    if any(p.type != UNIT for p in net.places):
        return None
    from provenet.verify.properties import plain

    return plain.counted(net)


OFFERED = (Property("relaxed-soundness", _RELAXED, relaxed_sound),)
"""Not part of the catalogue: asked for by name."""

CATALOGUE = (
    Property("STATE-1", _SOUND, sound),
    Property("STATE-2", _BOUNDED, bounded),
    Property("STATE-3", _LIVE, deadlock_free),
)


def _spare(net: Net) -> set[str]:
    """The transitions that may be dead.

    A reject that can never be needed is a verifier that double-checks, not a mistake of the flow. So is a
    scope that could pass over a step on a way on which no such step is ever met.
    """
    scopes = {s.id for s in net.sagas}
    spare = {t.name for t in net.by_role(*_DEFENSIVE)}
    return spare | {t.name for t in net.by_role(Role.UNWIND, Role.DISCHARGE) if t.contract in scopes}


def _all_fire(coverage: Coverage) -> str:
    every = "every other transition" if coverage.unknown else "every transition"
    said = f"{every} fires, by certain steps and {coverage.runs} replayed runs"
    if coverage.dead:
        said += f"; proved never to be needed: {', '.join(coverage.dead)}"
    if coverage.unknown:
        said += f"; not known ever to be needed: {', '.join(coverage.unknown)}"
    return said


def _sound_by_rank(ctx: Context) -> Verdict | None:
    """Soundness without the graph: a rank, inequalities, and runs found by a glimpse of the graph.

    ``None`` where this does not show it; nothing is refuted here.
    """
    net = ctx.net
    ranked = ranking(ctx, "aided")
    if ranked is None or not ends_properly(ctx):
        return None
    glimpse = Context(net, deadline=ctx.deadline, most_states=ctx.most_states, glimpse=True)
    coverage = fire_everything(glimpse, glimpse.graph())
    if not _spare(net).issuperset((*coverage.dead, *coverage.unknown)):
        return None
    reason = f"{told(ranked)}; {_all_fire(coverage)}"
    return proved("STATE-1", _SOUND, RANKED, progress_certificate(ranked), reason=reason)


def _incomplete(ctx: Context, graph: Graph, hope: Hope, finals: list[bool]) -> Verdict:
    """What to say of states that do not surely reach a final one."""
    net = ctx.net
    unsure = [s for s in range(len(graph.states)) if not hope.promising[s]]
    ends = (s for s, final in enumerate(finals) if final)
    reach = graph.leading_to(ends, avoiding={t.name for t in net.transitions if kills(t)})
    lost = [s for s in unsure if s not in reach]
    if lost:
        found = searched(
            "STATE-1",
            _SOUND,
            ctx,
            lambda g: (Candidate(g.path(s)) for s in lost) if g is graph else iter(()),
            broken="a run reaches a marking from which the case can never end: no option to complete",
            mend="give the tokens that are left a way to a final marking",
        )
        if found.status is not Status.PROVED:
            return found
    stuck = [s for s in unsure if not hope.certain[s] and not finals[s]]
    return _stuck("STATE-1", _SOUND, ctx, graph, stuck)


def _stuck(id: str, title: str, ctx: Context, graph: Graph, states: list[int]) -> Verdict:
    """Confirm one of the states as a deadlock of the net itself: no guard holds, by the firing rule."""
    net = ctx.net
    reason = ""
    # Where not even an abstract firing is possible, whatever run gets there is stuck.
    for state, path in islice(_ways(graph, sorted(states, key=lambda s: bool(graph.edges[s]))), 60):
        dead = graph.complete and not graph.edges[state]
        found = ctx.realizer.realize(
            graph.space, path, None if dead else _nothing_enabled(ctx), timeout_ms=ctx.remaining_ms()
        )
        if isinstance(found, Spurious):
            reason = found.reason
            continue
        end = found.replay(net)[-1]
        ready = list(ctx.rule.enabled(end))
        if not is_final(net, end) and all(_refused(ctx, end, f, otherwise=dead) for f in ready):
            left = ", ".join(sorted(end))
            mend = "cover the missing case of the guards there, or add the transition that is missing"
            if ready:
                kept = ", ".join(repr(n) for n in dict.fromkeys(f.transition for f in ready))
                mend = f"see why {kept} cannot fire there: a place is full, or what it requires is broken"
            return verdict(
                id,
                title,
                Refuted(found),
                net=net,
                broken=f"nothing can happen any more, and the case has not ended; tokens wait in {left}",
                mend=mend,
            )
    shown = ", ".join(sorted({graph.space.place_of[t] for s in states[:1] for t in graph.states[s]}))
    return verdict(
        id,
        title,
        Open(
            f"in an abstract state with {shown} marked, no firing is certain{'; ' + reason if reason else ''}"
        ),
        net=net,
    )


def _ways(graph: Graph, states: Sequence[int]) -> Iterator[tuple[int, list[Edge]]]:
    """A shortest path to each state, then others that come in by another transition."""
    for state in states:
        yield state, graph.path(state)
    wanted = set(states)
    seen = {(s, parent[1].transition) for s in states if (parent := graph.parent[s]) is not None}
    for before, edges in enumerate(graph.edges):
        for edge, target in edges:
            if target in wanted and (target, edge.transition) not in seen:
                seen.add((target, edge.transition))
                yield target, [*graph.path(before), edge]


def _demand(t: Transition) -> Expr | None:
    """What the tokens at hand must meet for a transition to fire; what comes from outside is left out."""
    outside = {f.var for f in t.fresh}
    required = t.requires is not None and not free_variables(t.requires) & outside
    parts = [e for e in (t.guard, t.requires if required else None) if e is not None]
    return And(tuple(parts)) if parts else None


def _refused(ctx: Context, end: Marking, firing: Firing, *, otherwise: bool) -> bool:
    """Whether the rule refuses a firing whose guard holds, whatever comes from outside."""
    t = ctx.net.transition(firing.transition)
    if t.fresh:
        wanted = _demand(t)
        return otherwise or (wanted is not None and not ctx.rule.evaluate(t.name, wanted, firing.binding))
    try:
        ctx.rule.fire(end, t.name, firing.binding)
    except Breach:
        return True
    return False


def _nothing_enabled(ctx: Context) -> Extra:
    """Asks that no transition with enough tokens can fire at the end of a run, by its tokens' values."""

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        out: list[z3.BoolRef] = []
        for t in ctx.net.transitions:
            slots = [(a.place, a.var) for a in inputs_of(t) for _ in range(a.weight)]
            for chosen in choices_of_tokens(run, slots):
                wanted = _demand(t)
                if wanted is None:
                    return [z3.BoolVal(False)]
                env = {v: token.value for (_, v), token in zip(slots, chosen, strict=True) if v is not None}
                scope = {v: o for v, o in ctx.net.scope(t).items() if v in env}
                out.append(z3.Not(enc.encode_bool(wanted, env, scope)))
        return out

    return extra


def _improper(graph: Graph, net: Net) -> Iterator[Candidate]:
    finals = final_counts(net)
    for s in range(len(graph.states)):
        here = ordinary_tokens(graph, s)
        if here not in finals and any(f and all(here.get(p, 0) >= n for p, n in f.items()) for f in finals):
            yield Candidate(graph.path(s))


def _pump(graph: Graph) -> tuple[list[Edge], int] | None:
    """A path that strictly grows a state from some step on, with no reset on the way; and that step.

    After Karp & Miller, "Parallel program schemata" (1969).
    """
    if graph.complete:
        return None

    resets = {t.name for t in graph.space.net.transitions if t.resets}
    capped = {p.name for p in graph.space.net.places if p.capacity is not None}
    limited = {t.name for t in graph.space.net.transitions if any(p.place in capped for p in t.puts)}
    near = range(min(len(graph.states), 2_000))
    far = range(len(near), len(graph.states), max(1, len(graph.states) // 200))
    for state in (*near, *far):
        mine = Counter(graph.states[state])
        at = graph.parent[state]
        while at is not None and at[1].transition not in resets | limited:
            theirs = Counter(graph.states[at[0]])
            if theirs != mine and all(mine[k] >= n for k, n in theirs.items()):
                return graph.path(state), len(graph.path(at[0]))
            at = graph.parent[at[0]]
    return None


def _grows(net: Net, trace: Trace, loop: int) -> bool:
    """Whether the very firings of a trace's end can be repeated.

    The tokens that the loop started with are there again.
    """
    markings = trace.replay(net)
    before, after = markings[loop], markings[-1]
    return all(not Counter(tokens) - Counter(after[place]) for place, tokens in before.items())
