"""FLOW-1: untrusted content steers no sink while private data is in scope, unless somebody vouches for it.

In no run does a sink fire such that untrusted content decided what it says or that it fires, after (or just
when) the case looked at private data. What is untrusted, private, a sink and vouched for is said by labels;
how content flows is said in ``provenet.verify.taint``.

A proof is a fixpoint over places: what the tokens of each place may carry, whatever is enabled. Where that
reaches a sink, paths of the state graph are followed with each token's own flow, and a path that reaches the
sink with private data in scope becomes a run, whose flow is traced again along the run itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

from provenet.nets.expr.evaluate import evaluate
from provenet.nets.net import Label, Net, Perform, Requirement, Role, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import Value
from provenet.verify.context import Answer, Candidate, Context, Open, Refuted
from provenet.verify.graph import Edge, Graph
from provenet.verify.properties.common import Property, proved, vacuous, verdict
from provenet.verify.questions import inputs_of
from provenet.verify.taint import CLEAN, Flow, Taint, fixpoint
from provenet.verify.verdict import Certificate, Status, Trace, TraceStep, Verdict

_FLOW = "untrusted content steers no sink while private data is in scope, unless sanitized"
_MOST = 200_000


def contained(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """FLOW-1."""
    net, taint = ctx.net, Taint(ctx.net)
    for label, what in ((Label.UNTRUSTED, "untrusted"), (Label.PRIVATE, "private")):
        if not taint.labelled[label]:
            yield vacuous("FLOW-1", _FLOW, f"nothing is labelled {what}")
            return
    if not taint.sinks:
        yield vacuous("FLOW-1", _FLOW, "nothing is labelled a sink, and no effect reaches the outside")
        return
    flows, reached = fixpoint(taint)
    if not reached:
        yield proved(
            "FLOW-1",
            _FLOW,
            "labels of places",
            Certificate("flow", _shown(flows)),
            subject=", ".join(taint.labelled[Label.UNTRUSTED]),
            reason=f"what is untrusted reaches none of {len(taint.sinks)} sinks",
        )
        return
    lost: list[str] = []

    def find(graph: Graph) -> Iterator[Candidate]:
        lost.clear()
        return _leaks(ctx, graph, taint, frozenset(reached), lost)

    answer: Answer = ctx.search(find)
    if lost and not isinstance(answer, Refuted):
        answer = Open(f"untrusted content may reach {_listed(reached)}; {lost[0]}")
    if isinstance(answer, Refuted):
        leak = _retraced(net, taint, answer.trace)
        if leak is not None:
            yield _broken(net, taint, leak)
            return
        answer = Open(f"a run to {_listed(reached)} was found, but nothing untrusted flows along it")
    found = verdict("FLOW-1", _FLOW, answer, net=net, subject=_listed(reached))
    if found.status is Status.PROVED:
        found = replace(
            found, reason="no path of the state graph carries it there with private data in scope"
        )
    yield found


CATALOGUE = (Property("FLOW-1", _FLOW, contained),)


def _shown(flows: dict[str, Flow]) -> dict[str, object]:
    """The fixpoint as JSON-like data: place to its untrusted parts, and the places of steered tokens."""
    return {
        "untrusted": {
            place: sorted(".".join(p) or "*" for p in flow.paths)
            for place, flow in sorted(flows.items())
            if flow.paths
        },
        "steered": sorted(place for place, flow in flows.items() if flow.steered),
    }


def _listed(reached: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(reached)))


# paths of the state graph, with a flow on each token


@dataclass(frozen=True, slots=True)
class _Node:
    """A state whose tokens carry flows; tokens as (number, flow), sorted by number."""

    state: int
    tokens: tuple[tuple[int, Flow], ...]
    private: bool


def _leaks(
    ctx: Context, graph: Graph, taint: Taint, reached: frozenset[str], lost: list[str]
) -> Iterator[Candidate]:
    """Shortest paths on which a sink fires with untrusted content and private data in scope.

    ``lost`` is told why, where not every path was followed.
    """
    net, space = ctx.net, graph.space
    came: dict[_Node, tuple[_Node, Edge] | None] = {}
    queue: deque[_Node] = deque()
    for root in range(graph.roots):
        tokens = tuple((k, taint.starts(space.place_of[k])) for k in graph.states[root])
        node = _Node(root, tokens, private=False)
        came[node] = None
        queue.append(node)
    if not graph.complete:
        lost.append(graph.reason)
    while queue:
        here = queue.popleft()
        if len(came) > _MOST or (len(came) % 512 == 0 and time.monotonic() > ctx.deadline):
            lost.append(f"more than {len(came):,} ways for content to flow were met")
            return
        for edge, target in graph.edges[here.state]:
            t = net.transition(edge.transition)
            for rest, inputs in _choices(here.tokens, (*edge.takes, *edge.reads), len(edge.takes)):
                passed = taint.passed(t, inputs)
                private = here.private or passed.private
                if passed.reaches and private and t.name in reached:
                    yield Candidate(_path(came, here, edge), matters="whole")
                after = _Node(target, _placed(graph, t, edge, rest, passed.puts), private)
                if after not in came:
                    came[after] = (here, edge)
                    queue.append(after)


def _choices(
    tokens: tuple[tuple[int, Flow], ...], wanted: tuple[int, ...], taken: int
) -> Iterator[tuple[list[tuple[int, Flow]], tuple[Flow, ...]]]:
    """The ways to take and read tokens of given numbers: what is left, and the flows in order."""
    options = [[i for i, (k, _) in enumerate(tokens) if k == number] for number in wanted]
    seen = set()
    for chosen in product(*options):
        if len(set(chosen)) < len(chosen):
            continue
        flows = tuple(tokens[i][1] for i in chosen)
        if flows in seen:
            continue
        seen.add(flows)
        gone = set(chosen[:taken])
        yield [token for i, token in enumerate(tokens) if i not in gone], flows


def _placed(
    graph: Graph, t: Transition, edge: Edge, rest: list[tuple[int, Flow]], puts: Sequence[Flow]
) -> tuple[tuple[int, Flow], ...]:
    """The tokens after a firing."""
    place_of = graph.space.place_of
    kept = [token for token in rest if place_of[token[0]] not in t.resets] if t.resets else rest
    flows = [flow for put, flow in zip(t.puts, puts, strict=True) for _ in range(put.weight)]
    new = [*kept, *zip(edge.puts, flows, strict=True)]
    return tuple(sorted(new, key=lambda token: (token[0], token[1].steered, sorted(token[1].paths))))


def _path(came: dict[_Node, tuple[_Node, Edge] | None], node: _Node, last: Edge) -> list[Edge]:
    path = [last]
    back = came[node]
    while back is not None:
        path.append(back[1])
        back = came[back[0]]
    return path[::-1]


# the flow along a run


@dataclass(frozen=True, slots=True)
class _Carried:
    """A token of a run: its value, its flow, and the steps by which untrusted content came into it."""

    value: Value
    flow: Flow
    steps: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class _Leak:
    """What a run shows: where content came in, the steps that it went by, how it got out."""

    trace: Trace
    source: str
    steps: tuple[int, ...]
    private: tuple[int, str]
    reaches: str


def _retraced(net: Net, taint: Taint, trace: Trace) -> _Leak | None:
    """The flow along a run up to its last step; ``None`` where the last step is no leak."""
    held: dict[str, list[_Carried]] = {
        place: [_Carried(v, taint.starts(place), (), place) for v in tokens]
        for place, tokens in trace.start.items()
    }
    private: tuple[int, str] | None = None
    for number, step in enumerate(trace.steps):
        t = net.transition(step.transition)
        taken, used = _picked(net, t, step, held)
        passed = taint.passed(t, [c.flow for c in taken])
        if passed.private and private is None:
            private = (number, _private_source(net, t))
        bad = [c for c in taken if c.flow != CLEAN]
        steps: tuple[int, ...] = ()
        source = t.name if Label.UNTRUSTED in t.labels else ""
        if bad:
            longest = max(bad, key=lambda c: (bool(c.flow.paths), len(c.steps)))
            steps, source = longest.steps, longest.source
        if number == len(trace.steps) - 1:
            if not passed.reaches or private is None:
                return None
            return _Leak(trace, source or t.name, (*steps, number), private, passed.reaches)
        for place, carried in used:
            held[place].remove(carried)
        for place in t.resets:
            held[place] = []
        _put(net, taint, t, step, passed.puts, held, ((*steps, number), source))
    return None


def _picked(
    net: Net, t: Transition, step: TraceStep, held: dict[str, list[_Carried]]
) -> tuple[list[_Carried], list[tuple[str, _Carried]]]:
    """The tokens that a step takes and reads; of tokens that are alike, the one that carries most."""
    left = {place: list(tokens) for place, tokens in held.items()}
    found: list[_Carried] = []
    used: list[tuple[str, _Carried]] = []
    for number, arc in enumerate(inputs_of(t)):
        for _ in range(arc.weight):
            alike = [c for c in left[arc.place] if arc.var is None or c.value == step.binding[arc.var]]
            best = max(alike, key=lambda c: (c.flow.steered, len(c.flow.paths), len(c.steps)))
            left[arc.place].remove(best)
            found.append(best)
            if number < len(t.takes):
                used.append((arc.place, best))
    return found, used


def _put(
    net: Net,
    taint: Taint,
    t: Transition,
    step: TraceStep,
    flows: Sequence[Flow],
    held: dict[str, list[_Carried]],
    came: tuple[tuple[int, ...], str],
) -> None:
    scope = net.scope(t)
    for put, flow in zip(t.puts, flows, strict=True):
        value: Value = ()
        if put.expr is not None:
            value = evaluate(put.expr, step.binding, scope)
        steps, source = came if flow != CLEAN else ((), "")
        if flow != CLEAN and not source:
            source = put.place
        for _ in range(put.weight):
            held.setdefault(put.place, []).append(_Carried(value, flow, steps, source))


def _private_source(net: Net, t: Transition) -> str:
    return next((a.place for a in inputs_of(t) if Label.PRIVATE in net.place(a.place).labels), t.name)


# the verdict


def _broken(net: Net, taint: Taint, leak: _Leak) -> Verdict:
    """The refutation, with the path of the labels in its notes."""
    last = net.transition(leak.trace.steps[-1].transition)
    at, private = leak.private
    notes: dict[int, str] = dict.fromkeys(leak.steps, "untrusted content goes on")
    if leak.steps[:-1]:
        notes[leak.steps[0]] = f"untrusted content of {leak.source!r} comes in"
    notes[at] = (
        f"{notes[at]}; private data is read" if at in notes else f"private data of {private!r} is read"
    )
    how = "decides what it says" if leak.reaches == "arguments" else "decides that it fires"
    notes[len(leak.trace.steps) - 1] = f"the sink: untrusted content {how}"
    steps = tuple(replace(s, note=notes.get(n, s.note)) for n, s in enumerate(leak.trace.steps))
    way = " > ".join(dict.fromkeys(leak.trace.steps[n].transition for n in leak.steps))
    found = verdict(
        "FLOW-1",
        _FLOW,
        Refuted(Trace(leak.trace.start, steps)),
        net=net,
        subject=last.name,
        broken=f"untrusted content of {leak.source!r} {how}: {_said(last)}, while private data of "
        f"{private!r} is in scope; its way is {way}",
        mend=_mend(net, last, leak),
    )
    witness = {"untrusted": leak.source, "private": private, "sink": _said(last), "way": way}
    return replace(found, witness=witness)


def _said(t: Transition) -> str:
    return f"{t.trigger.handler} ({t.name})" if isinstance(t.trigger, Perform) else t.name


def _mend(net: Net, sink: Transition, leak: _Leak) -> str:
    accepts = [
        leak.trace.steps[n].transition
        for n in leak.steps
        if net.transition(leak.trace.steps[n].transition).role is Role.ACCEPT
    ]
    person = f"send it to a person before {sink.name!r}"
    if accepts:
        return (
            f"{person}; or, where the policy lets nothing harmful pass, vouch for it: "
            f'net.label({accepts[-1]!r}, "sanitizer")'
        )
    return f'{person}, or check it on the way by a transition labelled "sanitizer"'
