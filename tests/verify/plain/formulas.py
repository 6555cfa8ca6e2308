"""Random temporal formulas, and a checker that knows nothing of the engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from hypothesis import strategies as st

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import holds
from provenet.verify.plain.net import Counts, PTNet
from tests.verify.plain.nets import goals

Graph = dict[Counts, list[Counts]]
Unary = Callable[[tl.Temporal], tl.Temporal]
UNARY: Mapping[str, Unary] = {"not": tl.Not, "X": tl.X, "F": tl.F, "G": tl.G}


@st.composite
def paths(draw: st.DrawFn, net: PTNet, *, depth: int = 3) -> tl.Temporal:
    """A formula without path quantifiers."""
    kind = draw(st.sampled_from(["now", "not", "and", "or", "X", "F", "G", "U", "R"])) if depth else "now"
    part = paths(net, depth=depth - 1)
    match kind:
        case "now":
            return tl.Now(draw(goals(net, depth=1)))
        case "and" | "or":
            parts = (draw(part), draw(part))
            return tl.Both(parts) if kind == "and" else tl.Either(parts)
        case "U" | "R":
            pair = (draw(part), draw(part))
            return tl.U(*pair) if kind == "U" else tl.R(*pair)
    return UNARY[kind](draw(part))


@st.composite
def branching(draw: st.DrawFn, net: PTNet, *, depth: int = 3) -> tl.Temporal:
    """A CTL formula."""
    kind = draw(st.sampled_from(["now", "not", "and", "or", "X", "F", "G", "U", "R"])) if depth else "now"
    part = branching(net, depth=depth - 1)
    match kind:
        case "now":
            return tl.Now(draw(goals(net, depth=1)))
        case "not":
            return tl.Not(draw(part))
        case "and" | "or":
            parts = (draw(part), draw(part))
            return tl.Both(parts) if kind == "and" else tl.Either(parts)
    quantifier: Unary = tl.A if draw(st.booleans()) else tl.E
    if kind in ("U", "R"):
        pair = (draw(part), draw(part))
        return quantifier(tl.U(*pair) if kind == "U" else tl.R(*pair))
    return quantifier(UNARY[kind](draw(part)))


def graph_of(net: PTNet, *, limit: int) -> Graph | None:
    """The reachability graph; ``None`` where it is larger."""
    graph: Graph = {}
    work = [net.initial]
    while work:
        at = work.pop()
        if at in graph:
            continue
        if len(graph) >= limit:
            return None
        graph[at] = [net.fire(at, t) for t in range(len(net.transitions)) if net.enabled(at, t)]
        work.extend(graph[at])
    return graph


def satisfying(graph: Graph, formula: tl.Temporal) -> set[Counts]:
    """Where a CTL formula holds, by its meaning, operator by operator."""
    match formula:
        case tl.Now(of):
            return {m for m in graph if holds(of, m)}
        case tl.Not(of):
            return graph.keys() - satisfying(graph, of)
        case tl.Both(parts):
            return set(graph).intersection(*(satisfying(graph, part) for part in parts))
        case tl.Either(parts):
            return set().union(*(satisfying(graph, part) for part in parts))
        case tl.E(path) | tl.A(path):
            quantifier = any if isinstance(formula, tl.E) else all
            match path:
                case tl.X(of):
                    inner = satisfying(graph, of)
                    return {m for m, after in graph.items() if quantifier(n in inner for n in after)}
                case tl.F(of):
                    before, goal, start = set(graph), satisfying(graph, of), False
                case tl.U(a, b):
                    before, goal, start = satisfying(graph, a), satisfying(graph, b), False
                case tl.G(of):
                    before, goal, start = satisfying(graph, of), set(), True
                case tl.R(a, b):
                    before = satisfying(graph, b)
                    goal, start = satisfying(graph, a) & before, True
                case _:
                    raise AssertionError(path)
            out = set(graph) if start else set(goal)
            while True:
                # What must go on for ever need not go on after a deadlock; what must come has to be there.
                step = {
                    m
                    for m, after in graph.items()
                    if (quantifier(n in out for n in after) if after else start)
                }
                grown = goal | (before & step)
                if grown == out:
                    return out
                out = grown
    raise AssertionError(formula)


def lassos(graph: Graph, initial: Counts, *, length: int) -> list[tuple[list[Counts], int]]:
    """Every path of so many markings that comes back to one of them, with the position it comes back to."""
    found: list[tuple[list[Counts], int]] = []
    work = [[initial]]
    while work:
        path = work.pop()
        after = list(dict.fromkeys(graph[path[-1]])) or [path[-1]]
        for to, at in product(after, range(len(path))):
            if path[at] == to:
                found.append((path, at))
        if len(path) < length and graph[path[-1]]:
            work.extend([*path, to] for to in after)
    return found
