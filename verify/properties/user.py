"""The checks of the user's own properties; ``provenet.nets.requirements`` states them.

A name that matches nothing in the net is an error, and a ``never`` about something that does not happen
anyway is reported as vacuous.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import z3

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.expr.ast import And, Compare, Expr, Get, Not, Var, free_variables, substitute, walk
from provenet.nets.expr.show import show
from provenet.nets.net import Auto, Net, Perform, Requirement, Role, Take, Transition
from provenet.nets.schema import Type
from provenet.verify.context import Candidate, Context, Proved, monitor
from provenet.verify.graph import Edge, Graph
from provenet.verify.linear import at_most, bounding
from provenet.verify.progress import known
from provenet.verify.properties.common import Property, proved, searched, verdict
from provenet.verify.properties.control import approvals, committed
from provenet.verify.properties.following import CATALOGUE as FOLLOWING
from provenet.verify.properties.naming import approvers, known_place, named, unknown
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, IT, Question, inputs_of
from provenet.verify.regions import resting_token
from provenet.verify.smt import Opaque
from provenet.verify.verdict import Certificate, Verdict


def check_never(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``never``."""
    net = ctx.net
    title = requirement.name or _never_title(requirement)
    targets = _targets(net, requirement)
    where = requirement.arg("where")
    unless = approvers(requirement)
    for task in unless:
        if not any(task in {t.contract, t.name} for t in net.by_role(Role.APPROVE, Role.ACCEPT)):
            known = (name for t in net.by_role(Role.APPROVE, Role.ACCEPT) for name in (t.contract, t.name))
            raise unknown(task, "human task, gate or contract", known)
    groups: dict[Type, list[Question]] = {}
    possible = False
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
            possible = possible or _satisfiable(ctx, net.scope(t), condition)
        if unless:
            parts.append(Not(And((Var(GHOST_SET), Compare("==", Var(GHOST_VALUE), payload)))))
        groups.setdefault(of, []).append(Question(t.name, And(tuple(parts))))
    for of, questions in groups.items():
        ghost = approvals(net, of, *unless) if unless else None
        answer = ctx.never_fires(questions, ghost)
        names = ", ".join(q.transition for q in questions)
        silent = f"{names} never fires" if _silent(ctx, {q.transition for q in questions}) else ""
        if where is not None and not possible:
            silent = f"nothing whatever meets {show(where)}"
        yield verdict(
            "never",
            title,
            answer,
            net=net,
            subject=names,
            broken="a run does what must never happen" + _unapproved(unless),
            mend=_never_mend(requirement),
            vacuous=silent,
            about=() if where is None else {node.field for node in walk(where) if isinstance(node, Get)},
        )


def check_always(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``always``."""
    net = ctx.net
    place = known_place(net, requirement.arg("place"))
    where = requirement.arg("where")
    title = requirement.name or f"always in {place}: {show(where)}"
    wrong = Not(where)
    # Its place in its name: the same question about another place is another question.
    probe = Transition(f"?probe {place}", takes=(Take(place, "it"),), trigger=Auto())
    answer = ctx.never_fires(
        [Question(probe.name, wrong)], net=replace(net, transitions=(*net.transitions, probe))
    )
    if not isinstance(answer, Proved):

        def find(graph: Graph) -> Iterator[Candidate]:
            for state in range(len(graph.states)):
                if graph.count(state, place):
                    yield Candidate(graph.path(state), resting_token(ctx, place, wrong))

        answer = ctx.search(find)
    yield verdict(
        "always",
        title,
        answer,
        net=net,
        subject=place,
        broken=f"a token gets to {place!r} that breaks it",
        mend=f"let whatever puts a token into {place!r} check it first",
        vacuous=_always_vacuous(ctx, place, wrong),
    )


def check_precedes(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``precedes``."""
    net = ctx.net
    first, then = requirement.arg("first"), requirement.arg("then")
    before, after = named(net, first), named(net, then)

    def step(seen: str, edge: Edge) -> str:
        if seen == "" and edge.transition in after:
            return "bad"
        return "seen" if edge.transition in before else seen

    title = requirement.name or f"{first} precedes {then}"
    # What is both comes first without any before it.
    large = not before & after and ctx.small_graph() is None
    counted = at_most(net, sorted(after), sorted(before)) if large else None
    if counted is not None:
        # In every run there are no more of the one than of the other: so there is none before the first.
        data = {"weights": dict(counted.weights), "plus": dict(counted.plus), "minus": dict(counted.minus)}
        yield proved("precedes", title, "linear invariant", Certificate("linear", data), subject=then)
        return
    yield verdict(
        "precedes",
        title,
        ctx.search(lambda graph: monitor(graph, "", step, lambda s: s == "bad", heeds=before | after)),
        net=net,
        subject=then,
        broken=f"{then!r} happens before {first!r} ever has",
        mend=f"let {then!r} need a token that only {first!r} puts",
        vacuous=f"{then} never happens" if _silent(ctx, after) else "",
    )


def check_bound(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``bound``."""
    net = ctx.net
    places = list(dict.fromkeys(known_place(net, p) for p in requirement.arg("places")))
    k = requirement.arg("k")
    title = requirement.name or f"{', '.join(places)} together hold at most {k}"
    yield _together(ctx, "bound", title, places, k, lambda counts: sum(counts) > k)


def check_mutex(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``mutex``."""
    net = ctx.net
    places = list(dict.fromkeys(known_place(net, p) for p in requirement.arg("places")))
    title = requirement.name or f"no two of {', '.join(places)} are marked together"
    yield _together(ctx, "mutex", title, places, 1, lambda counts: sum(c > 0 for c in counts) > 1)


def check_formula(ctx: Context, asked: Requirement) -> Iterable[Verdict]:
    """A formula of CTL or LTL: its engines are loaded where there is one."""
    from provenet.verify.properties import temporal

    return temporal.check_formula(ctx, asked)


CATALOGUE = (
    Property("never", "something never happens", check_never),
    Property("always", "every token in a place meets a condition", check_always),
    Property("precedes", "one thing comes before another", check_precedes),
    Property("bound", "places hold few tokens", check_bound),
    Property("mutex", "places are not marked together", check_mutex),
    *FOLLOWING,
    Property("formula", "a formula of CTL or LTL holds", check_formula),
)


def _silent(ctx: Context, names: Collection[str]) -> bool:
    """Whether it is known that none of the transitions ever fires."""
    graph = ctx.small_graph()
    return graph is not None and not any(graph.firings(name) for name in names)


def _always_vacuous(ctx: Context, place: str, wrong: Expr) -> str:
    """Why ``always`` says nothing of a place; empty where it says something."""
    if not _satisfiable(ctx, {IT: ctx.net.place(place).type}, wrong):
        return f"every value that {place!r} may hold meets it"
    graph = ctx.small_graph()
    if graph is not None and not any(graph.count(s, place) for s in range(len(graph.states))):
        return f"no token ever gets to {place!r}"
    return ""


def _unmarked(ctx: Context, places: list[str], enough: int) -> str:
    """Why nothing is said of tokens in the places: none gets to enough of them, whatever guards let pass."""
    key = "may be marked"
    if key not in ctx.memo:
        net = ctx.net
        found = {p for p, tokens in net.initial if tokens} | {e.place for e in net.entries}
        size = -1
        while len(found) != size:
            size = len(found)
            for t in net.transitions:
                if all(a.place in found for a in inputs_of(t)):
                    found |= {p.place for p in t.puts}
        ctx.memo[key] = found
    empty = [p for p in places if p not in ctx.memo[key]]
    return f"no token ever gets to {', '.join(map(repr, empty))}" if len(empty) >= enough else ""


def _satisfiable(ctx: Context, scope: Mapping[str, Type], condition: Expr) -> bool:
    """Whether a condition holds for some values of its variables; ``True`` where that is not known."""
    enc = ctx.encoding
    try:
        env = {v: enc.fresh(f"any.{v}", of) for v, of in scope.items()}
        solver = z3.SimpleSolver()
        solver.set("timeout", ctx.remaining_ms())
        solver.add(*(enc.inhabits(env[v], of) for v, of in scope.items()))
        solver.add(enc.encode_bool(condition, env, scope))
    except Opaque:
        return True
    return bool(solver.check() != z3.unsat)


def _together(
    ctx: Context, id: str, title: str, places: list[str], k: int, bad: Callable[[list[int]], bool]
) -> Verdict:
    found = bounding(ctx.net, places, most=k)
    if found is not None and found.allows(ctx.net, places) <= k:
        data = {"weights": dict(found.weights), "plus": {}, "minus": {}, "bounds": places, "k": k}
        return proved(
            id,
            title,
            "linear invariant",
            Certificate("linear", data),
            subject=", ".join(places),
            vacuous=_unmarked(ctx, places, max(1, len(places) - (id == "mutex"))),
        )

    if ctx.small_graph() is None:
        here = known(ctx)
        if here.one_at_a_time(places) if id == "mutex" else here.at_most(places, k):
            return proved(id, title, "inequalities", here.certificate(), subject=", ".join(places))

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
            raise unknown(
                effect, "effect", (t.trigger.handler for t in performers if isinstance(t.trigger, Perform))
            )
        return found
    if contract:
        found = list(net.by_role(Role.COMMIT, contract=contract))
        if not found:
            raise unknown(contract, "contract", (t.contract for t in net.by_role(Role.COMMIT)))
        return found
    if not name:
        raise PropertyError(
            "never names neither effect=, contract= nor transition=", hint="say what must never happen"
        )
    if not net.has_transition(name):
        raise unknown(name, "transition", (t.name for t in net.transitions))
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


def _never_title(requirement: Requirement) -> str:
    what = requirement.arg("effect") or requirement.arg("contract") or requirement.arg("transition")
    where, unless = requirement.arg("where"), approvers(requirement)
    text = f"never {what}"
    if where is not None:
        text += f" where {show(where)}"
    return text + (f" unless {' or '.join(unless)}" if unless else "")


def _unapproved(tasks: Collection[str]) -> str:
    named = " nor ".join(map(repr, tasks))
    match len(tasks):
        case 0:
            return ""
        case 1:
            return f", and {named} did not approve it"
        case _:
            return f", and neither {named} approved it"


def _never_mend(requirement: Requirement) -> str:
    unless = " or ".join(map(repr, approvers(requirement)))
    tighten = "tighten the policy that lets it pass"
    return f"{tighten}, or route it to {unless} first" if unless else tighten
