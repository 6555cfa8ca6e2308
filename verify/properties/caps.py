"""CTL-4: spend and rate caps cannot be exceeded on any run.

A cap is declared by ``cap(...)``: some commits, effects or transitions happen at most so often, or add up to
at most so much, on any run of a case, or between two firings of the transition that opens a new window.
Proved by counting (weights of places, else the longest way through the state graph) times what one of them
may add, or by a counter that a token carries; refuted by a run that goes beyond. What several cases spend
together is no matter of one case's net.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import z3

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.expr.ast import Compare, Const, Expr, Get, free_variables, substitute, walk
from provenet.nets.expr.show import show
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Net, Perform, Requirement, Role
from provenet.nets.quick import dataclass
from provenet.nets.schema import INT, DecimalType, IntType
from provenet.verify.context import Answer, Candidate, Context, Open, Proved, Refuted
from provenet.verify.graph import Edge, Graph
from provenet.verify.linear import LinearInvariant
from provenet.verify.potential import Spending, budgeted, counted, times
from provenet.verify.properties.common import Property, vacuous, verdict
from provenet.verify.properties.control import committed
from provenet.verify.properties.watching import follow, near_first, path_of
from provenet.verify.questions import Question
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun
from provenet.verify.verdict import Certificate, Verdict

_CAPPED = "spend and rate caps cannot be exceeded on any run"
_FEW_STATES = 2_000
_TOLD = 6
_MOST_COUNTED = 24
"""How many firings an observer counts before it gives up; a cap of more is proved or refuted otherwise."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A declared cap, checked against the net.

    Attributes:
        names: The transitions that count.
        costs: What each adds, over its variables; ``None`` for 1.
        most: How many, or how much.
        per: The transition that opens a new window; empty for none.
        fields: Names of the fields that the amount reads.
    """

    names: tuple[str, ...]
    costs: dict[str, Expr] | None
    most: int
    per: str
    fields: tuple[str, ...] = ()


def capped(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """CTL-4, one verdict a cap.

    Raises:
        PropertyError: A name is none of the net's, or the amount is no number.
    """
    if not requirement.args:
        yield vacuous("CTL-4", _CAPPED, "the net declares no cap")
        return
    what = requirement.arg("what")
    cap = _cap(ctx.net, requirement)
    budget = None if cap.costs is None else _from_budget(ctx, cap)
    answer = budget[0] if budget else _often(ctx, cap) if cap.costs is None else _much(ctx, cap)
    unit = "times" if cap.costs is None else "in all"
    window = f" between two {cap.per!r}" if cap.per else ""
    found = verdict(
        "CTL-4",
        requirement.name or _title(requirement),
        answer,
        net=ctx.net,
        subject=", ".join(what),
        broken=f"{', '.join(map(repr, what))}: more than {cap.most} {unit}{window}",
        mend="let what begins it take from a budget: a token with a counter, guarded by the cap",
        about=cap.fields,
    )
    yield replace(found, certificates=(*found.certificates, budget[1])) if budget else found


CATALOGUE = (Property("CTL-4", _CAPPED, capped),)


def _title(requirement: Requirement) -> str:
    amount, per = requirement.arg("amount"), requirement.arg("per")
    said = "" if amount is None else f" of {show(amount)}"
    return f"at most {requirement.arg('most')}{said} by {', '.join(requirement.arg('what'))}" + (
        f" per {per}" if per else ""
    )


def _cap(net: Net, requirement: Requirement) -> Cap:
    names = list(dict.fromkeys(n for name in requirement.arg("what") for n in _transitions(net, name)))
    if not names:
        raise PropertyError("a cap names nothing that counts", hint='cap("pay", most=3)')
    per, amount = requirement.arg("per", ""), requirement.arg("amount")
    if per and not net.has_transition(per):
        raise PropertyError(
            f"{per!r} names no transition of the net",
            hint=did_you_mean(per, (t.name for t in net.transitions)),
        )
    if per in names:
        raise PropertyError(
            f"{per!r} counts and opens a new window at once", hint="let another transition open the window"
        )
    if requirement.arg("most") < 0:
        raise PropertyError("a cap is below zero", hint="give most= a number from 0")
    costs: dict[str, Expr] = {}
    for name in names if amount is not None else ():
        t = net.transition(name)
        found = committed(net, t)
        cost = amount if found is None else substitute(amount, {"payload": found[0]})
        missing = free_variables(cost) - set(net.scope(t))
        if missing:
            raise PropertyError(
                f"the amount reads {min(missing)!r}, which {name!r} does not have",
                hint=did_you_mean(min(missing), ["payload", *net.scope(t)]),
            )
        if not isinstance(type_of(cost, net.scope(t)), IntType | DecimalType):
            raise PropertyError(f"the amount of {name!r} is no number", hint="let it be an int or a Decimal")
        costs[name] = cost
    fields = tuple(dict.fromkeys(_fields(amount))) if amount is not None else ()
    return Cap(tuple(names), costs or None, requirement.arg("most"), per, fields)


def _fields(amount: Expr) -> Iterator[str]:
    yield from (node.field for node in walk(amount) if isinstance(node, Get))


def _transitions(net: Net, name: str) -> list[str]:
    """The transitions that a name means: itself, an effect's, or the commits of a contract."""
    found = [name] if net.has_transition(name) else []
    found += [t.name for t in net.transitions if isinstance(t.trigger, Perform) and t.trigger.handler == name]
    found += [t.name for t in net.by_role(Role.COMMIT, contract=name)]
    if not found:
        known = [t.name for t in net.transitions] + [c.id for c in net.contracts]
        known += [t.trigger.handler for t in net.transitions if isinstance(t.trigger, Perform)]
        raise PropertyError(
            f"{name!r} names no contract, effect or transition of the net", hint=did_you_mean(name, known)
        )
    return found


# how often


def _often(ctx: Context, cap: Cap) -> Answer:
    if not cap.per:
        found = counted(ctx.net, cap.names, cap.most)
        if found is not None:
            return _linear(found)
    many: list[str] = []

    def find(graph: Graph) -> Iterator[Candidate]:
        longest = most_firings(graph, cap.names, cap.per)
        if longest is not None and longest <= cap.most:
            return
        if cap.most >= _MOST_COUNTED:
            many.append("")
            return
        yield from _beyond(graph, cap)

    answer: Answer = Open("")
    for at in near_first(ctx):
        answer = at.search(find)
        if many or not isinstance(answer, Open):
            break
    if many and isinstance(answer, Proved):
        return Open(
            f"no counting argument was found, and no run was looked for beyond {_MOST_COUNTED} firings"
        )
    return answer


def _linear(found: LinearInvariant) -> Proved:
    data = {"weights": dict(found.weights), "plus": {}, "minus": dict(found.minus)}
    return Proved(Certificate("linear", data), "linear invariant")


def most_firings(graph: Graph, names: Sequence[str], per: str = "") -> int | None:
    """The most firings of some transitions on one path, or between two firings of ``per``.

    ``None`` where there is no such number: one of them lies on a cycle, or the graph is incomplete.
    """
    if not graph.complete:
        return None
    wanted = frozenset(names)
    component = _components(graph, per)
    most = [0] * (max(component, default=-1) + 1)
    # Components are numbered from the last to the first, so that successors are done.
    order = sorted(range(len(graph.states)), key=component.__getitem__)
    for state in order:
        here = component[state]
        for edge, target in graph.edges[state]:
            if edge.transition == per:
                continue
            counts = edge.transition in wanted
            if component[target] == here:
                if counts:
                    return None
                continue
            most[here] = max(most[here], most[component[target]] + counts)
    return max(most, default=0)


def _components(graph: Graph, avoided: str) -> list[int]:
    """The strongly connected component of each state, last ones first (Tarjan 1972), one transition aside."""
    size = len(graph.states)
    index, low, number = [-1] * size, [0] * size, [-1] * size
    after = [[x for e, x in edges if e.transition != avoided] for edges in graph.edges]
    stack: list[int] = []
    found = clock = 0
    for root in range(size):
        if index[root] >= 0:
            continue
        work = [(root, iter(after[root]))]
        index[root] = low[root] = clock
        clock += 1
        stack.append(root)
        while work:
            state, rest = work[-1]
            for target in rest:
                if index[target] < 0:
                    index[target] = low[target] = clock
                    clock += 1
                    stack.append(target)
                    work.append((target, iter(after[target])))
                    break
                if number[target] < 0:
                    low[state] = min(low[state], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[state])
                if low[state] == index[state]:
                    while True:
                        member = stack.pop()
                        number[member] = found
                        if member == state:
                            break
                    found += 1
    return number


def _beyond(graph: Graph, cap: Cap) -> Iterator[Candidate]:
    """Paths with one firing too many."""
    wanted = frozenset(cap.names)

    def step(n: int, at: int, edge: Edge, target: int) -> int:
        n += edge.transition in wanted
        return 0 if edge.transition == cap.per and n <= cap.most else n

    return follow(graph, 0, step, lambda n: n > cap.most)


# how much


def _from_budget(ctx: Context, cap: Cap) -> tuple[Proved, Certificate] | None:
    """A proof by a counter in a token, with the counter."""
    return budgeted(ctx, Spending(cap.costs or {}, cap.most, cap.per))


def _much(ctx: Context, cap: Cap) -> Answer:
    assert cap.costs is not None
    found = None if cap.per else counted(ctx.net, cap.names)
    if found is not None:
        answer = _at_most_each(ctx, cap, times(ctx.net, found))
        if answer is not None:
            return answer
    for at in near_first(ctx):
        answer = at.search(lambda graph: _summing(graph, cap))
        if isinstance(answer, Refuted):
            return answer
        bound = None if found is not None else most_firings(at.graph(), cap.names, cap.per)
        if bound is not None:
            return _at_most_each(ctx, cap, bound) or _UNDECIDED
    return _UNDECIDED


_UNDECIDED = Open("no run was found that goes beyond, and no counter that keeps all runs below")


def _at_most_each(ctx: Context, cap: Cap, bound: int) -> Answer | None:
    """A proof by what one firing adds at most, where there are at most ``bound`` of them."""
    assert cap.costs is not None
    if not bound:
        return _often(ctx, replace(cap, costs=None, most=0))
    each = Const(cap.most // bound, INT)
    answer = ctx.never_fires([Question(n, Compare(">", cost, each)) for n, cost in cap.costs.items()])
    if isinstance(answer, Proved):
        return replace(answer, method=f"{answer.method}, at most {bound} times")
    return None


def _summing(graph: Graph, cap: Cap) -> Iterator[Candidate]:
    """Paths with ever more firings, each asked to add up to more than the cap."""
    wanted = frozenset(cap.names)
    extra = _sum(cap)
    told: Counter[tuple[str, int]] = Counter()
    # With the last firing in mind, ways that come back to the same state are told apart: they may free
    # what the data of the first time does not allow. In a large graph there is no room for that.
    apart = len(graph.states) <= _FEW_STATES
    start = [(root, (0, "")) for root in range(graph.roots)]
    came: dict[tuple[int, Any], tuple[tuple[int, Any], Edge] | None] = dict.fromkeys(start)
    queue = list(came)
    for here in queue:
        state, (n, _) = here
        for edge, target in graph.edges[state]:
            counts = edge.transition in wanted
            after = n + counts if edge.transition != cap.per else 0
            if after > _MOST_COUNTED:
                continue
            if counts and told[edge.transition, n] < _TOLD:
                told[edge.transition, n] += 1
                yield Candidate(path_of(came, here, edge), extra, matters="whole")
            key = (target, (after, edge.transition if apart else ""))
            if key not in came:
                came[key] = (here, edge)
                queue.append(key)


def _sum(cap: Cap) -> Extra:
    """Asks that what was spent since the last window opened is more than the cap."""
    assert cap.costs is not None
    costs = cap.costs

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        spent: list[z3.ArithRef] = []
        for s in run.steps:
            if s.transition.name == cap.per:
                spent = []
            if s.transition.name in costs:
                spent.append(enc.encode(costs[s.transition.name], s.env, s.scope))
        return [z3.Sum(spent) > cap.most]

    return extra
