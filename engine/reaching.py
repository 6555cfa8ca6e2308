"""Whether a case may stand where a marking map puts it: what shows that the new net's proofs cover it there.

A proof about a net speaks of its runs. So the best evidence is that the case's own history, fired again on
the new net, is such a run and ends there: then all that was proved holds of this case as if it had begun on
the new net (``history``). Less is that some run reaches the marking (``state``): what was proved of markings,
and of what can come, holds; what was proved of the past, such as an approval before a commit, was another
run's past.

The state graph over-approximates (``provenet.verify.graph``), so a marking that it does not hold is reached
by no run; one that it holds is believed reachable only with a run that replays and ends in that very marking.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations
from typing import Any, Literal, TypeAlias

import z3

from provenet.engine.case import LiveCase
from provenet.engine.history import Entry, Replayed
from provenet.engine.marking_map import BoundMap, MarkingMap, Unmapped
from provenet.engine.personal import Seal
from provenet.engine.program import Program
from provenet.nets.errors import ProvenetError
from provenet.nets.marking import Marking, initial_marking, is_final
from provenet.nets.net import Net
from provenet.nets.schema import Value
from provenet.verify.abstraction import ANY
from provenet.verify.context import Candidate, Context, Refuted
from provenet.verify.graph import Graph
from provenet.verify.hope import certainty_of, is_final_state, kills, promise, unaided
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun, agree
from provenet.verify.verdict import Report, Status

Evidence: TypeAlias = Literal["history", "state", "assumed"]
"""What shows that a marking is one of the new net's, the strongest first; ``assumed`` is nothing."""

EVIDENCE: tuple[Evidence, ...] = ("history", "state", "assumed")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a marking.

    Attributes:
        kind: The evidence; ``none`` where no run reaches the marking, ``unknown`` where that is not decided.
        why: Why there is no better evidence.
    """

    kind: Literal["history", "state", "unknown", "none"]
    why: str = ""


# the case's own history


def retraced(
    log: Sequence[Entry],
    bound: BoundMap,
    new: Program,
    target: Marking,
    nets: Nets,
    seal: Seal | None = None,
) -> str:
    """Why a case's history is no run of the new net to a marking; empty where it is one.

    Args:
        log: Its entries.
        bound: From the net that the case is on, to the new one.
        new: The new net.
        target: Where the run has to end.
        nets: Net versions by hash, for cases that were moved before.
        seal: What reads the case's personal values.
    """
    try:
        _Retrace(log, bound, new, nets, seal).run(target)
    except _Parts as error:
        return str(error)
    return ""


Nets: TypeAlias = Callable[[str], Net | None]


class _Parts(Exception):
    """The history and the new net part company."""


class _Retrace:
    def __init__(
        self, log: Sequence[Entry], bound: BoundMap, new: Program, nets: Nets, seal: Seal | None
    ) -> None:
        self._log, self._new, self._nets = log, new, nets
        self._book = Replayed()
        self._case = LiveCase(0, "retraced", new, 0, seal=seal)
        self._now: dict[int, int] = {}
        # The ways that names and tokens take from each net of the history to the new one.
        self._maps: list[BoundMap] = [*self._earlier(), bound]

    def run(self, target: Marking) -> None:
        if self._log and self._log[0][0] > 1:
            raise _Parts(f"its log was trimmed and begins with entry {self._log[0][0]}")
        for seq, kind, transition, at, data, *_ in self._log:
            said = json.loads(data)
            try:
                if kind == "start":
                    self._start(said, at)
                elif kind == "fire":
                    self._fire(said, transition, at)
                elif kind == "migrate":
                    del self._maps[0]
                    for token, place, value in said.get("put", ()):
                        self._meet([(token, *self._onward(place, value))])
            except (ProvenetError, KeyError, ValueError) as error:
                why = error.message if isinstance(error, ProvenetError) else str(error)
                name = f"{transition!r}" if transition else kind
                raise _Parts(f"entry {seq}, {name}: {why}") from None
        if self._case.marking != target:
            odd = sorted(
                p
                for p in {*self._case.marking, *target}
                if Counter(self._case.marking[p]) != Counter(target[p])
            )
            raise _Parts(f"it leads to other tokens in {', '.join(odd)}")

    def _earlier(self) -> Iterator[BoundMap]:
        for _, kind, _, _, data, *_ in self._log:
            if kind == "migrate":
                said = json.loads(data)
                before, after = self._nets(said["from"]), self._nets(said["to"])
                if before is None or after is None:
                    raise _Parts("a net that it was on is not at hand")
                yield BoundMap(MarkingMap.of(said["map"]), before, after)

    def _start(self, said: Mapping[str, Any], at: int) -> None:
        new, first = self._new, self._maps[0].old
        tokens = [(t, *self._onward(p, v)) for t, p, v in said["put"] if self._place(p) is not None]
        inputs = {p: v for _, p, v in tokens if p in new.entries}
        missing = [p for p in new.entries if p not in inputs]
        if missing:
            raise Unmapped(f"it started without input for {missing[0]!r} (net {first.name!r})")
        for place, condition in new.entries.items():
            if condition is not None and not condition({"it": inputs[place]}):
                raise Unmapped(f"its input at {place!r} is outside what the net was proved for")
        self._case.start(self._book, initial_marking(new.net, inputs), at)
        self._meet(tokens)

    def _fire(self, said: Mapping[str, Any], transition: str, at: int) -> None:
        case = self._case
        name = transition
        for bound in self._maps:
            name = bound.transition(name)
        step = self._new.by_name.get(name)
        if step is None:
            raise Unmapped("the new net has no such transition")
        places = {var: place for place, variables, _ in step.consumes for var in variables}
        places |= {var: place for place, variables in step.looks for var in variables}
        fresh = dict(step.fresh)
        binding: dict[str, Value] = {}
        chosen: dict[str, int] = {}
        for var, token in said["bind"].items():
            if var in places:
                chosen[var] = self._now[token]
                binding[var] = case.value(places[var], chosen[var])
        binding |= {v: case.read(x, fresh[v], v) for v, x in said.get("bring", {}).items() if v in fresh}
        lacking = [v for v in (*places, *fresh) if v not in binding]
        if lacking:
            raise Unmapped(f"the new net wants a {lacking[0]!r} there")
        took = {self._now[t] for t in said["took"] if t in self._now}
        loose = frozenset(took - set(chosen.values()))
        fired = case.fire(self._book, step, binding, at, chosen=chosen, loose=loose)
        if not took <= set(fired.gone):
            raise Unmapped("the new net takes other tokens there")
        tokens = list(fired.put)
        for token, place in said["put"]:
            to = self._place(place)
            found = next((t for t in tokens if t[1] == to), None)
            if found is not None:
                tokens.remove(found)
                self._now[token] = found[0]

    def _meet(self, tokens: list[tuple[int, str, Value]]) -> None:
        """Find the tokens of the run on the new net that stand for some of the case's."""
        taken = set(self._now.values())
        for token, place, value in tokens:
            here = zip(self._case.ids.get(place, ()), self._case.marking[place], strict=True)
            found = next((t for t, v in here if v == value and t not in taken), None)
            if found is None:
                raise Unmapped(f"no such token lies in {place!r} on the new net")
            self._now[token] = found
            taken.add(found)

    def _place(self, place: str) -> str | None:
        to: str | None = place
        for bound in self._maps:
            to = None if to is None else bound.place(to)
        return to

    def _onward(self, place: str, data: Any) -> tuple[str, Value]:
        value = self._case.read(data, self._maps[0].old.place(place).type, place)
        for bound in self._maps:
            made = bound.token(place, value)
            if made is None:
                raise Unmapped(f"the token in {place!r} is let go")
            place, value = made
        return place, value


# any run


class Reach:
    """What can be reached in a net, and from where a case can end.

    Args:
        net: The net.
        report: What was proved of it at its deployment.
        seconds: For each question.
    """

    def __init__(self, net: Net, report: Report, *, seconds: float = 10.0) -> None:
        self._net, self._seconds = net, seconds
        self._sound = any(v.property == "STATE-1" and v.status is Status.PROVED for v in report.verdicts)
        self._ctx = Context(net, deadline=time.monotonic() + seconds)
        self._by_counts: dict[frozenset[tuple[str, int]], list[int]] | None = None
        self._unexplored = ""
        self._found: dict[Marking, Found] = {}
        self._ends: dict[Any, str] = {}

    def reached(self, target: Marking) -> Found:
        """Whether some run reaches a marking."""
        if target not in self._found:
            self._found[target] = self._search(target)
        return self._found[target]

    def _search(self, target: Marking) -> Found:
        self._ctx.deadline = time.monotonic() + self._seconds
        if self._unexplored:
            return Found("unknown", self._unexplored)
        graph = self._ctx.graph()
        if not graph.complete:
            # As it would be with as much time again.
            self._unexplored = f"not everything that can be reached was explored: {graph.reason}"
            return Found("unknown", self._unexplored)
        if not any(_agrees(graph, s, target) for s in self._same_counts(graph, target)):
            return Found("none", "no run of the new net reaches this marking")

        def find(graph: Graph) -> Iterator[Candidate]:
            for state in range(len(graph.states)):
                if _agrees(graph, state, target):
                    yield Candidate(graph.path(state), _exactly(self._net, target))

        answer = self._ctx.search(find, candidates=8)
        if isinstance(answer, Refuted) and answer.trace.replay(self._net)[-1] == target:
            return Found("state")
        return Found("unknown", "no run was found that reaches this marking with these tokens")

    def can_end(self, target: Marking, evidence: str) -> str:
        """Why a case at a marking might never end; empty where from all that can come, it can."""
        if is_final(self._net, target):
            return ""
        if evidence in {"history", "state"} and self._sound:
            return ""  # it is one of the markings that soundness is about
        masks = self._ctx.graph().space.masks
        key = tuple(
            sorted((p, repr(sorted(repr(masks.project(p, v)) for v in vs))) for p, vs in target.items())
        )
        if key not in self._ends:
            self._ends[key] = self._end(target)
        return self._ends[key]

    def _end(self, target: Marking) -> str:
        net = replace(self._net, initial=tuple(sorted(target.items())), entries=())
        ctx = Context(net, deadline=time.monotonic() + self._seconds)
        graph = ctx.graph()
        if not net.finals:
            return "the new net declares no final marking"
        if not graph.complete:
            return f"what can come was not explored to its end: {graph.reason}"
        if all(unaided(ctx, graph).promising):
            return ""
        finals = [is_final_state(graph, s) for s in range(len(graph.states))]
        hope = promise(certainty_of(ctx, graph), finals, lambda t: not kills(t))
        if all(hope.promising):
            return ""
        ends = (s for s, final in enumerate(finals) if final)
        lost = set(range(len(graph.states))) - graph.leading_to(ends)
        if lost & set(range(graph.roots)):
            return "no final marking can be reached from there"
        return "it is not proved that a final marking can be reached from all that can come"

    def _same_counts(self, graph: Graph, target: Marking) -> list[int]:
        if self._by_counts is None:
            self._by_counts = {}
            for i, state in enumerate(graph.states):
                counts = Counter(graph.space.place_of[t] for t in state)
                self._by_counts.setdefault(frozenset(counts.items()), []).append(i)
        return self._by_counts.get(frozenset((p, len(v)) for p, v in target.items()), [])


_MANY = 5
"""Tokens of a place that are told apart; more are only counted."""


def _agrees(graph: Graph, state: int, target: Marking) -> bool:
    """Whether a state of the graph may stand for a marking: nothing that it keeps says otherwise."""
    space = graph.space
    held: dict[str, list[Any]] = {}
    for token in graph.states[state]:
        held.setdefault(space.place_of[token], []).append(space.value_of[token])
    if {p: len(v) for p, v in held.items()} != {p: len(v) for p, v in target.items()}:
        return False
    for place, partial in held.items():
        values = [space.masks.project(place, v) for v in target[place]]
        if len(values) <= _MANY and not any(
            all(_compatible(a, b) for a, b in zip(partial, order, strict=True))
            for order in permutations(values)
        ):
            return False
    return True


def _compatible(partial: Any, value: Any) -> bool:
    if partial is ANY or value is ANY:
        return True
    if isinstance(partial, tuple) and isinstance(value, tuple) and len(partial) == len(value):
        return all(_compatible(a, b) for a, b in zip(partial, value, strict=True))
    return bool(partial == value)


def _exactly(net: Net, target: Marking) -> Extra:
    """Asks that a run ends with these very tokens."""

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        out: list[z3.BoolRef] = []
        for place, tokens in run.tokens.items():
            values = target[place]
            if len(values) != len(tokens):
                return [z3.BoolVal(False)]
            of = net.place(place).type
            ways = [
                z3.And([c for t, v in zip(tokens, order, strict=True) for c in agree(enc, t.value, v, of)])
                for order in islice(permutations(values), 24)
            ]
            out.append(z3.Or(ways))
        return out

    return extra
