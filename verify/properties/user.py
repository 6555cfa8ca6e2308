"""The checks of the user's own properties; ``provenet.verify.requirements`` states them.

A name that matches nothing in the net is an error, and a ``never`` about something that does not happen
anyway is reported as vacuous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from provenet.nets.errors import did_you_mean
from provenet.nets.expr.ast import And, Compare, Expr, Get, Not, Var, free_variables, substitute, walk
from provenet.nets.expr.show import show
from provenet.nets.net import Auto, Net, Perform, Requirement, Role, Take, Transition
from provenet.nets.schema import Type
from provenet.verify.context import Candidate, Context, Proved, monitor
from provenet.verify.errors import PropertyError
from provenet.verify.graph import Edge, Graph
from provenet.verify.linear import bounding
from provenet.verify.properties.common import Property, proved, searched, verdict
from provenet.verify.properties.control import approvals, committed
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, Question
from provenet.verify.regions import resting_token
from provenet.verify.verdict import Certificate, Verdict


def check_never(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``never``."""
    net = ctx.net
    title = requirement.name or _never_title(requirement)
    targets = _targets(net, requirement)
    where = requirement.arg("where")
    unless = requirement.arg("unless")
    for task in (unless,) if unless else ():
        if not any(task in {t.contract, t.name} for t in net.by_role(Role.APPROVE)):
            raise _unknown(task, "human task", (t.contract for t in net.by_role(Role.APPROVE)))
    groups: dict[Type, list[Question]] = {}
    for t in targets:
        payload, of = _payload(net, t)
        parts: list[Expr] = []
        if where is not None:
            condition = substitute(where, {"payload": payload})
            missing = free_variables(condition) - set(net.scope(t))
            if missing:
                raise PropertyError(
                    f"the condition reads {min(missing)!r}, which {t.name!r} does not have",
                    hint=did_you_mean(min(missing), ["payload", *net.scope(t)]),
                )
            parts.append(condition)
        if unless:
            parts.append(Not(And((Var(GHOST_SET), Compare("==", Var(GHOST_VALUE), payload)))))
        groups.setdefault(of, []).append(Question(t.name, And(tuple(parts))))
    for of, questions in groups.items():
        ghost = approvals(net, of, unless) if unless else None
        answer = ctx.never_fires(questions, ghost)
        names = ", ".join(q.transition for q in questions)
        graph = ctx.graph()
        silent = graph.complete and not any(graph.firings(q.transition) for q in questions)
        yield verdict(
            "never",
            title,
            answer,
            net=net,
            subject=names,
            broken="a run does what must never happen"
            + (f", and {unless!r} did not approve it" if unless else ""),
            mend=_never_mend(requirement),
            vacuous=f"{names} never fires" if silent else "",
            about=() if where is None else {node.field for node in walk(where) if isinstance(node, Get)},
        )


def check_always(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``always``."""
    net = ctx.net
    place = _place(net, requirement.arg("place"))
    where = requirement.arg("where")
    title = requirement.name or f"always in {place}: {show(where)}"
    wrong = Not(where)
    probe = Transition("?probe", takes=(Take(place, "it"),), trigger=Auto())
    answer = ctx.never_fires(
        [Question("?probe", wrong)], net=replace(net, transitions=(*net.transitions, probe))
    )
    if not isinstance(answer, Proved):

        def find(graph: Graph) -> Iterator[Candidate]:
            for state in range(len(graph.states)):
                if graph.count(state, place):
                    yield Candidate(graph.path(state), resting_token(ctx, place, wrong))

        answer = ctx.search(find)
    yield verdict(
        "always", title, answer, net=net, subject=place, broken=f"a token gets to {place!r} that breaks it"
    )


def check_precedes(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``precedes``."""
    net = ctx.net
    first, then = requirement.arg("first"), requirement.arg("then")
    before, after = _named(net, first), _named(net, then)

    def step(seen: str, edge: Edge) -> str:
        if seen == "" and edge.transition in after:
            return "bad"
        return "seen" if edge.transition in before else seen

    yield searched(
        "precedes",
        requirement.name or f"{first} precedes {then}",
        ctx,
        lambda graph: monitor(graph, "", step, lambda s: s == "bad", heeds=before | after),
        subject=then,
        broken=f"{then!r} happens before {first!r} ever has",
    )


def check_bound(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``bound``."""
    net = ctx.net
    places = list(dict.fromkeys(_place(net, p) for p in requirement.arg("places")))
    k = requirement.arg("k")
    title = requirement.name or f"{', '.join(places)} together hold at most {k}"
    yield _together(ctx, "bound", title, places, k, lambda counts: sum(counts) > k)


def check_mutex(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``mutex``."""
    net = ctx.net
    places = list(dict.fromkeys(_place(net, p) for p in requirement.arg("places")))
    title = requirement.name or f"no two of {', '.join(places)} are marked together"
    yield _together(ctx, "mutex", title, places, 1, lambda counts: sum(c > 0 for c in counts) > 1)


CATALOGUE = (
    Property("never", "something never happens", check_never),
    Property("always", "every token in a place meets a condition", check_always),
    Property("precedes", "one thing comes before another", check_precedes),
    Property("bound", "places hold few tokens", check_bound),
    Property("mutex", "places are not marked together", check_mutex),
)


def _together(
    ctx: Context, id: str, title: str, places: list[str], k: int, bad: Callable[[list[int]], bool]
) -> Verdict:
    found = bounding(ctx.net, places, most=k)
    if found is not None and found.allows(ctx.net, places) <= k:
        data = {"weights": dict(found.weights), "plus": {}, "minus": {}, "bounds": places, "k": k}
        return proved(id, title, "linear invariant", Certificate("linear", data), subject=", ".join(places))

    def find(graph: Graph) -> Iterator[Candidate]:
        for state in range(len(graph.states)):
            if bad([graph.count(state, p) for p in places]):
                yield Candidate(graph.path(state))

    return searched(
        id, title, ctx, find, subject=", ".join(places), broken=f"too many tokens in {', '.join(places)}"
    )


def _targets(net: Net, requirement: Requirement) -> list[Transition]:
    effect, contract, name = (requirement.arg(k) for k in ("effect", "contract", "transition"))
    if effect:
        performers = [t for t in net.transitions if isinstance(t.trigger, Perform)]
        found = [t for t in performers if isinstance(t.trigger, Perform) and t.trigger.handler == effect]
        if not found:
            raise _unknown(
                effect, "effect", (t.trigger.handler for t in performers if isinstance(t.trigger, Perform))
            )
        return found
    if contract:
        found = list(net.by_role(Role.COMMIT, contract=contract))
        if not found:
            raise _unknown(contract, "contract", (t.contract for t in net.by_role(Role.COMMIT)))
        return found
    if not name:
        raise PropertyError(
            "never names neither effect=, contract= nor transition=", hint="say what must never happen"
        )
    if not net.has_transition(name):
        raise _unknown(name, "transition", (t.name for t in net.transitions))
    return [net.transition(name)]


def _payload(net: Net, t: Transition) -> tuple[Expr, Type]:
    """What a transition commits, to speak about."""
    found = committed(net, t)
    if found is None:
        raise PropertyError(
            f"{t.name!r} takes no token that a condition could speak about",
            hint="ask about a transition that takes a token",
        )
    return found


def _named(net: Net, name: str) -> set[str]:
    """The transitions that a name means."""
    if net.has_transition(name):
        return {name}
    found = {t.name for t in net.transitions if isinstance(t.trigger, Perform) and t.trigger.handler == name}
    found |= {t.name for t in net.by_role(Role.COMMIT, Role.APPROVE, contract=name)}
    if not found:
        known = [t.name for t in net.transitions] + [
            t.contract for t in net.by_role(Role.COMMIT, Role.APPROVE)
        ]
        known += [t.trigger.handler for t in net.transitions if isinstance(t.trigger, Perform)]
        raise _unknown(name, "transition, contract, task or effect", known)
    return found


def _place(net: Net, name: str) -> str:
    if not net.has_place(name):
        raise _unknown(name, "place", (p.name for p in net.places))
    return name


def _unknown(name: str, what: str, known: Iterable[str]) -> PropertyError:
    return PropertyError(f"{name!r} names no {what} of the net", hint=did_you_mean(name, known))


def _never_title(requirement: Requirement) -> str:
    what = requirement.arg("effect") or requirement.arg("contract") or requirement.arg("transition")
    where, unless = requirement.arg("where"), requirement.arg("unless")
    text = f"never {what}"
    if where is not None:
        text += f" where {show(where)}"
    return text + (f" unless {unless}" if unless else "")


def _never_mend(requirement: Requirement) -> str:
    unless = requirement.arg("unless")
    tighten = "tighten the policy that lets it pass"
    return f"{tighten}, or route it to {unless!r} first" if unless else tighten
