"""EVT-2: an event that is delivered twice, or late, has the effect of one that is delivered once.

For every event *e* and every key *k* (the payload's field that ``Signal.key`` names; without one, all events
of the name share a key): in every run at most one firing with *e* and *k* changes anything. A firing changes
nothing when the transition puts back what it takes; what it takes from and puts into places labelled
``absorber`` (a log of repeated events, a counter) does not count. The engine refuses an event whose delivery
key it has accepted before; this property does not rely on that, since senders may leave the key out or send
one fact under two of them.

A proof is, in this order, a linear invariant (the consumers fire at most once), a state graph in which no
path has two such firings with one key, or per-place facts of a net with a witness: one place from which every
consumer takes its token and where it puts it back (the place that remembers what was seen) also remembers
some key that was consumed, whichever, and no consumer ever meets that key again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import z3

from provenet.nets.expr.ast import Expr, Get, Var
from provenet.nets.net import Label, Net, Requirement, Signal, Transition
from provenet.nets.schema import UNIT, RecordType, Type
from provenet.verify.context import Answer, Candidate, Context, Proved, Refuted
from provenet.verify.graph import Edge, Graph
from provenet.verify.linear import seldom
from provenet.verify.properties.common import Property, proved, vacuous, verdict
from provenet.verify.properties.events import consumers
from provenet.verify.properties.watched_key import key_facts
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun
from provenet.verify.verdict import Certificate, Verdict

_ONCE = "an event that is delivered twice, or late, takes effect once"
_MOST = 3


def idempotent(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """EVT-2, one verdict for each event."""
    found = consumers(ctx.net)
    if not found:
        yield vacuous("EVT-2", _ONCE, "the net waits for no event")
    for event, takers in found.items():
        acting = [t for t in takers if not absorbs(ctx.net, t)]
        if not acting:
            why = "no event of this name changes anything"
            yield replace(vacuous("EVT-2", _ONCE, why), subject=event)
        else:
            yield _idempotent(ctx, event, acting)


CATALOGUE = (Property("EVT-2", _ONCE, idempotent),)


def absorbs(net: Net, t: Transition) -> bool:
    """Whether a transition changes nothing but places labelled ``absorber``: it puts back what it takes."""
    if any(not _absorber(net, place) for place in t.resets):
        return False
    taken: list[tuple[str, Expr | None]] = []
    for a in t.takes:
        if not _absorber(net, a.place):
            black = net.place(a.place).type == UNIT
            taken += [(a.place, None if black or a.var is None else Var(a.var))] * a.weight
    for p in t.puts:
        if _absorber(net, p.place):
            continue
        black = net.place(p.place).type == UNIT
        for _ in range(p.weight):
            token = (p.place, None if black else p.expr)
            if token not in taken:
                return False
            taken.remove(token)
    return not taken


def key_of(t: Transition) -> tuple[Expr, Type] | None:
    """What tells the events that a transition takes from each other; ``None`` where nothing does."""
    trigger = t.trigger
    assert isinstance(trigger, Signal)
    if not trigger.key:
        return None
    expr: Expr = Var(t.fresh[0].var)
    of: Type = t.fresh[0].type
    for name in trigger.key.split("."):
        assert isinstance(of, RecordType)
        field = of.field(name)
        assert field is not None
        expr, of = Get(expr, name), field.type
    return expr, of


def _idempotent(ctx: Context, event: str, acting: list[Transition]) -> Verdict:
    net = ctx.net
    names = [t.name for t in acting]
    found = seldom(net, names)
    if found is not None:
        data = {"weights": dict(found.weights), "plus": {}, "minus": dict(found.minus), "fire": names, "k": 1}
        reason = "taken at most once in a case"
        return proved(
            "EVT-2", _ONCE, "linear invariant", Certificate("linear", data), subject=event, reason=reason
        )
    keys = {t.name: key_of(t) for t in acting}
    answer = _answer(ctx, acting, keys)
    key = next((t.trigger.key for t in acting if isinstance(t.trigger, Signal) and t.trigger.key), "")
    return verdict(
        "EVT-2",
        _ONCE,
        answer,
        net=net,
        subject=event,
        broken=f"an event {event!r} that is delivered again"
        + (f", with the same {key}," if key else "")
        + " takes effect again",
        mend=_mend(event, key),
    )


def _answer(ctx: Context, acting: list[Transition], keys: dict[str, tuple[Expr, Type] | None]) -> Answer:
    answer = ctx.search(lambda graph: _repeats(graph, acting, keys)) if ctx.hints is None else None
    if isinstance(answer, Proved | Refuted):
        return answer
    if None not in keys.values():
        known = {name: key for name, key in keys.items() if key is not None}
        facts = key_facts(ctx, acting, known)
        if isinstance(facts, Proved):
            return facts
    return answer or ctx.search(lambda graph: _repeats(graph, acting, keys))


def _repeats(
    graph: Graph, acting: Sequence[Transition], keys: dict[str, tuple[Expr, Type] | None]
) -> Iterator[Candidate]:
    """Shortest paths, for each state, whose last firing may repeat the key of one of those before it."""
    names = {t.name for t in acting}
    came: dict[tuple[int, int], tuple[tuple[int, int], Edge] | None] = {}
    queue: deque[tuple[int, int]] = deque()
    for root in range(graph.roots):
        came[root, 0] = None
        queue.append((root, 0))
    told: set[tuple[int, str]] = set()
    while queue:
        here = queue.popleft()
        state, count = here
        for edge, target in graph.edges[state]:
            takes_it = edge.transition in names
            new = count > 1 or (target, edge.transition) not in told
            if takes_it and count and new and _alike(edge.transition, keys):
                told.add((target, edge.transition))
                path = [edge]
                back = came[here]
                while back is not None:
                    path.append(back[1])
                    back = came[back[0]]
                yield Candidate(path[::-1], _same_key(keys), matters="whole")
            after = (target, min(_MOST, count + takes_it))
            if after not in came:
                came[after] = (here, edge)
                queue.append(after)


def _alike(name: str, keys: dict[str, tuple[Expr, Type] | None]) -> bool:
    """Whether a transition's key can equal another consumer's at all."""
    mine = keys[name]
    return mine is None or any(k is None or type(k[1]) is type(mine[1]) for k in keys.values())


def _same_key(keys: dict[str, tuple[Expr, Type] | None]) -> Extra | None:
    """Asks that the last firing has the key of an earlier one."""
    if all(k is None for k in keys.values()):
        return None

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        last = run.steps[-1]
        mine = keys[last.transition.name]
        ways = []
        for step in run.steps[:-1]:
            if step.transition.name not in keys:
                continue
            other = keys[step.transition.name]
            if mine is None or other is None:
                ways.append(z3.BoolVal(True))
            elif type(mine[1]) is type(other[1]):
                a = enc.encode(mine[0], last.env, last.scope)
                b = enc.encode(other[0], step.env, step.scope)
                ways.append(enc.equal(a, b))
        return [z3.Or(*ways)]

    return extra


def _absorber(net: Net, place: str) -> bool:
    return Label.ABSORBER in net.place(place).labels


def _mend(event: str, key: str) -> str:
    if key:
        return (
            f"remember the last {key} that was taken, and let the consumers of {event!r} ensure that a new "
            "one is higher"
        )
    return (
        f"let the first {event!r} use up what the next one would need, or name the key that tells them apart"
    )
