"""CTL-1, 3: people decide what they must, and no wait is for ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.expr.ast import And, Compare, Expr, Get, Not, Var
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Choice, Net, Perform, Requirement, Role, Transition
from provenet.nets.schema import Type
from provenet.verify.abstraction import type_at
from provenet.verify.context import Answer, Candidate, Context, Open, Refuted, graph_certificate
from provenet.verify.graph import Graph
from provenet.verify.hope import (
    by_engine,
    certainty_of,
    from_outside,
    is_final_state,
    promise,
    unaided,
)
from provenet.verify.progress import RANKED, progress_certificate, ranking, told
from provenet.verify.properties.common import Property, carried, first_token, proved, vacuous, verdict
from provenet.verify.properties.ending import ends_in
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, Ghost, Question
from provenet.verify.verdict import Verdict

_APPROVED = "an irreversible commit comes after a person's approval of that very proposal"
_WAY_OUT = "every wait for a person or the outside has a way out"


def approved(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """CTL-1: commits of contracts declared irreversible.

    The argument ``exempt`` names contracts whose policy stands in for the person.

    Raises:
        PropertyError: An exempted contract is none of the net's.
    """
    net = ctx.net
    exempt = requirement.arg("exempt", ())
    exempt = (exempt,) if isinstance(exempt, str) else exempt
    known = [c.id for c in net.contracts]
    for name in exempt:
        if name not in known:
            raise PropertyError(f"CTL-1 exempts {name!r}, no contract", hint=did_you_mean(name, known))
    chosen = [c for c in net.contracts if c.irreversible and c.id not in exempt]
    if not chosen:
        yield vacuous("CTL-1", _APPROVED, "no contract is irreversible and unexempted")
    for contract in chosen:
        for commit in net.by_role(Role.COMMIT, contract=contract.id):
            proposal = committed(net, commit)
            if proposal is None:
                answer: Answer = Open(f"{commit.name!r} takes no token that says what it commits")
            else:
                value, of = proposal
                ghost = approvals(net, of)
                same = And((Var(GHOST_SET), Compare("==", Var(GHOST_VALUE), value)))
                answer = ctx.never_fires([Question(commit.name, Not(same))], ghost)
            yield verdict(
                "CTL-1",
                _APPROVED,
                answer,
                net=net,
                subject=contract.id,
                broken=f"{contract.id!r} cannot be undone and commits what no person approved",
                mend=f"send the proposal to a person before {commit.name!r}, or exempt the contract by name",
            )


def way_out(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """CTL-3: wherever a token waits, its place can be left without the person or the outside."""
    net = ctx.net
    waits = list(
        dict.fromkeys(
            a.place for t in net.transitions if from_outside(t) and not by_engine(t) for a in t.takes
        )
    )
    if not waits:
        yield vacuous("CTL-3", _WAY_OUT, "nothing waits for a person or the outside")
        return
    ending = {place for final in net.finals for place, _ in final} | set(net.resting)
    if ending.isdisjoint(waits) and ctx.small_graph() is None:
        ranked = ranking(ctx, "unaided")
        if ranked is not None:
            listed = ", ".join(waits)
            yield proved(
                "CTL-3", _WAY_OUT, RANKED, progress_certificate(ranked), subject=listed, reason=told(ranked)
            )
            return
    graph = ctx.graph()
    if not graph.complete:
        yield verdict("CTL-3", _WAY_OUT, Open(graph.reason), net=net)
        return
    if all(unaided(ctx, graph).promising) and not any(p in net.resting for p in waits):
        yield proved(
            "CTL-3",
            _WAY_OUT,
            "state graph, certain steps",
            graph_certificate(graph),
            subject=", ".join(waits),
        )
        return
    certainty = certainty_of(ctx, graph)
    doubtful = []
    for place in waits:
        hope = promise(certainty, _left(graph, place), lambda t: not from_outside(t))
        if all(hope.promising):
            continue

        def find(g: Graph, place: str = place) -> Iterator[Candidate]:
            return (Candidate(g.path(s), ends_in(g, s)) for s in _hopeless(g, net, _left(g, place)))

        answer = ctx.search(find)
        if isinstance(answer, Refuted):
            yield verdict(
                "CTL-3",
                _WAY_OUT,
                answer,
                net=net,
                subject=place,
                broken=f"a token waits in {place!r} and only a person or the outside can ever take it",
                mend=f"add a timer that takes from {place!r}",
            )
            return
        # That the abstraction has a way out everywhere is no promise that the net has one.
        doubtful.append(place)
    if doubtful:
        yield verdict(
            "CTL-3",
            _WAY_OUT,
            Open(f"no certain way out was found for {', '.join(map(repr, doubtful))}"),
            net=net,
        )
        return
    yield proved(
        "CTL-3", _WAY_OUT, "state graph, certain steps", graph_certificate(graph), subject=", ".join(waits)
    )


CATALOGUE = (
    Property("CTL-1", _APPROVED, approved),
    Property("CTL-3", _WAY_OUT, way_out),
)


def approvals(net: Net, of: Type, *tasks: str) -> Ghost:
    """The ghost that approvals set: what was approved, where it has the type or a part of it has.

    Args:
        net: The net.
        of: Type of what is to be approved.
        *tasks: Ids of the tasks, gates and contracts that count; all people's tasks where none is given.
    """
    sets: dict[str, Expr] = {}
    found = allowing(net, *tasks) if tasks else filter(approves, net.transitions)
    for t in found:
        shown = shown_to(net, t) if approves(t) else judged(net, t)
        if shown is None:
            continue
        value, shown_type = shown
        if shown_type == of:
            sets[t.name] = value
        else:
            part = next((f for f in getattr(shown_type, "fields", ()) if f.type == of), None)
            if part is not None:
                sets[t.name] = Get(value, part.name)
    return Ghost(of, sets)


def approves(t: Transition) -> bool:
    """Whether a person says yes by firing a transition; a role alone makes nobody a person."""
    return t.role is Role.APPROVE and isinstance(t.trigger, Choice)


def allowing(net: Net, *names: str) -> list[Transition]:
    """The transitions that say yes in some names: people's approvals, else what a gate or a contract accepts.

    A contract that has the name of a task is not meant by it: a person is asked for by the task's name.
    """
    found: dict[str, Transition] = {}
    for name in names:
        meant = [t for t in net.transitions if name in (t.contract, t.name)]
        people = [t for t in meant if approves(t)]
        found |= {t.name: t for t in people or meant if approves(t) or t.role is Role.ACCEPT}
    return list(found.values())


def judged(net: Net, accept: Transition) -> tuple[Expr, Type] | None:
    """What a gate or a contract's verifier judges: the proposal in its token, else its first token."""
    return carried(net, accept, "proposal") or first_token(net, accept)


def committed(net: Net, t: Transition) -> tuple[Expr, Type] | None:
    """What a commit commits, with its type.

    What its effect is given, else the proposal, else the first token that it takes.
    """
    if isinstance(t.trigger, Perform) and t.trigger.payload is not None:
        return t.trigger.payload, declared_type(net, t, t.trigger.payload)
    return carried(net, t, "proposal") or first_token(net, t)


def declared_type(net: Net, t: Transition, expr: Expr) -> Type:
    """The type of an expression over a transition's variables; of variables and fields with their bounds."""
    path: list[str] = []
    at = expr
    while isinstance(at, Get):
        path.insert(0, at.field)
        at = at.of
    scope = net.scope(t)
    found = type_at(scope[at.name], tuple(path)) if isinstance(at, Var) else None
    return found if found is not None else type_of(expr, scope)


def shown_to(net: Net, t: Transition) -> tuple[Expr, Type] | None:
    """What the person sees who fires a transition, with its type."""
    if isinstance(t.trigger, Choice) and t.trigger.about is not None:
        return t.trigger.about, declared_type(net, t, t.trigger.about)
    return first_token(net, t)


def _left(graph: Graph, place: str) -> list[bool]:
    """For each state, whether nothing waits in a place: it is empty, or the case has ended."""
    return [not graph.count(s, place) or is_final_state(graph, s) for s in range(len(graph.states))]


def _hopeless(graph: Graph, net: Net, left: list[bool]) -> list[int]:
    """States from which not even the abstraction leads, without the outside, to one where nothing waits."""
    if not graph.complete:
        return []
    outside = {t.name for t in net.transitions if from_outside(t)}
    hopeful = graph.leading_to((s for s, empty in enumerate(left) if empty), avoiding=outside)
    return [s for s in range(len(graph.states)) if s not in hopeful]
