"""What the checks of one net share: its firing rule, its encoding, its state graph.

And the two ways to answer a question.

``never_fires`` asks about data: can this transition fire with such values? ``search`` asks about control: is
there a path that a monitor objects to? Both prove on an abstraction and refute with a trace that replays;
where a path of the abstraction has no data, the abstraction is refined by the fields that the clashing guards
read (counterexample-guided refinement, Clarke et al., CAV 2000) before anything is called unknown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import islice
from typing import Any, Literal

import z3

from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import Expr, Not
from provenet.nets.expr.parse import parse
from provenet.nets.expr.show import show
from provenet.nets.expr.typing import type_of
from provenet.nets.firing import NetRule
from provenet.nets.net import Net, Role, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, ListType, OptionalType, RecordType, Type, plainest
from provenet.verify.abstraction import Masks, Path, control_fields, small_fields, version_fields
from provenet.verify.backward import Lemmas, PlaceFacts, holds, infer
from provenet.verify.facts import Facts, HornSystem, broken_clause, parse_facts, solve
from provenet.verify.glimpse import glimpse
from provenet.verify.graph import Edge, Graph, Space
from provenet.verify.lineage import Storyteller, embed
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, IT, Ghost, Question
from provenet.verify.readable import readable_facts, readable_text
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.trace import Extra, Realizer, Spurious, SymRun
from provenet.verify.verdict import Certificate, Trace


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path that would be a violation if some run performed it.

    Attributes:
        path: The path, from an initial state.
        extra: What it asks of its end, beyond that it fires.
        matters: Whether any path to the same ``end`` is as good, or the ``whole`` path matters.
    """

    path: Sequence[Edge]
    extra: Extra | None = None
    matters: Literal["end", "whole"] = "end"


Finder = Callable[[Graph], Iterator[Candidate]]
"""Candidate violations in a graph, most promising first."""


class _Tried:
    """What was learnt from candidates without data."""

    def __init__(self, net: Net) -> None:
        self.net, self.reason, self.refine = net, "", list[tuple[str, Path]]()

    def note(self, path: Sequence[Edge], found: Spurious) -> list[str]:
        """Keep why a path has no data; the transitions that clash, the last one of the path aside."""
        self.reason = found.reason
        names = [path[i].transition for i in (found.steps or range(len(path))) if 0 <= i < len(path)]
        for name in names:
            self.refine += small_fields(self.net, self.net.transition(name))
        last = path[-1].transition if path else ""
        return [n for n in dict.fromkeys(names) if n != last]


@dataclass(frozen=True, slots=True)
class Proved:
    """A question answered: it cannot happen."""

    certificate: Certificate
    method: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuted:
    """A question answered: this run does it."""

    trace: Trace


@dataclass(frozen=True, slots=True)
class Open:
    """A question not answered."""

    reason: str


Answer = Proved | Refuted | Open


_SMALL = 20_000
"""Most states of a graph that is explored before anything is tried without one."""


class Context:
    """One net under verification.

    Args:
        net: A net without mistakes.
        deadline: ``time.monotonic()`` value to stop at.
        most_states: Most abstract states to explore.
        hints: Certificates to check instead of searching for proofs: then a question about data is answered
            only by one of them.
        glimpse: Look at a part of the state graph only: enough to find runs by.
    """

    _ROUNDS = 5
    _CANDIDATES = 40
    _DETOURS = 12

    def __init__(
        self,
        net: Net,
        *,
        deadline: float,
        most_states: int = 200_000,
        hints: Sequence[Certificate] | None = None,
        glimpse: bool = False,
    ) -> None:
        self.net, self.deadline, self.most_states, self.glimpse = net, deadline, most_states, glimpse
        self.hints = None if hints is None else {_key(c): c for c in hints if c.data.get("questions")}
        self.encoding = Encoding.for_exprs(_expressions(net))
        self.lemmas = Lemmas(self.encoding)
        self.realizer = Realizer(net, self.encoding)
        self.control = tuple(control_fields(net))
        self._versions = tuple(version_fields(net))
        self.memo: dict[Any, Any] = {}
        """Results that several properties share, by whatever key their makers choose."""
        self._requires: dict[str, Answer] = {}
        self._graphs: dict[tuple[tuple[str, Path], ...], Graph] = {}

    @property
    def rule(self) -> NetRule:
        """The firing rule of the net."""
        return self.realizer.rule

    def requires_hold(self, t: Transition) -> Answer:
        """Whether a transition's ``requires`` holds wherever it fires."""
        assert t.requires is not None
        if t.name not in self._requires:
            self._requires[t.name] = self.never_fires(
                [Question(t.name, Not(t.requires), assumes_requires=False)]
            )
        return self._requires[t.name]

    def remaining_ms(self, most: int = 10_000) -> int:
        """Time left, in milliseconds, at most ``most``."""
        return max(1, min(most, int((self.deadline - time.monotonic()) * 1000)))

    def graph(self, extra: Sequence[tuple[str, Path]] = ()) -> Graph:
        """The state graph that keeps the control fields, and more fields where asked."""
        seeds = tuple(dict.fromkeys((*self.control, *extra)))
        known = self._graphs.get(seeds)
        # What was cut short by an earlier property's time is explored anew with this one's.
        if known is None or (known.cut == "time" and self.remaining_ms() > 1):
            space = Space(self.net, Masks(self.net, seeds))
            if self.glimpse:
                self._graphs[seeds] = glimpse(space, deadline=self.deadline)
            else:
                self._graphs[seeds] = space.explore(most=self.most_states, deadline=self.deadline)
        return self._graphs[seeds]

    def small_graph(self) -> Graph | None:
        """The state graph where it is small; ``None`` where it is not.

        What is large may be proved without it (``provenet.verify.progress``), or is worth the wait.
        """
        if "small" not in self.memo:
            known = self._graphs.get(self.control)
            if known is None or not known.complete:
                space = Space(self.net, Masks(self.net, self.control))
                known = space.explore(most=min(_SMALL, self.most_states), deadline=self.deadline)
                if known.complete:
                    self._graphs[self.control] = known
            self.memo["small"] = known if known.complete else None
        found: Graph | None = self.memo["small"]
        return found

    # control

    def search(self, find: Finder, *, candidates: int = _CANDIDATES) -> Answer:
        """Whether a graph has a violation that some run performs."""
        extra: list[tuple[str, Path]] = []
        tried = _Tried(self.net)
        for _ in range(self._ROUNDS):
            graph = self.graph(extra)
            tried = _Tried(self.net)
            for number, candidate in enumerate(find(graph)):
                # A candidate that there was no time to try is no proof either.
                tried.reason = tried.reason or "time is up"
                if number == 0 and not extra and (told := self._told_apart(find, candidates)) is not None:
                    return Refuted(told)
                trace = self._realize(graph, candidate, tried)
                if trace is not None:
                    return Refuted(trace)
                if number + 1 >= candidates or self.remaining_ms() <= 1:
                    break
            if not tried.reason:
                if not graph.complete:
                    return Open(graph.reason)
                return Proved(graph_certificate(graph), "state graph")
            new = [f for f in dict.fromkeys(tried.refine) if f not in extra and f not in self.control]
            if not new or self.remaining_ms() <= 1:
                break
            extra += new
        return Open(f"abstract paths break it, but none has data found for it: {tried.reason}")

    def _told_apart(self, find: Finder, candidates: int) -> Trace | None:
        """A violation near the start, where versions are told apart: the graph as such keeps none."""
        if not self._versions:
            return None
        seeds = (*self.control, *self._versions)
        if seeds not in self._graphs:
            space = Space(self.net, Masks(self.net, seeds))
            self._graphs[seeds] = space.explore(most=_SMALL, deadline=self.deadline)
        graph, tried = self._graphs[seeds], _Tried(self.net)
        for candidate in islice(find(graph), candidates):
            trace = self._realize(graph, candidate, tried)
            if trace is not None or self.remaining_ms() <= 1:
                return trace
        return None

    def fires(self, transition: str, *, candidates: int = 8) -> Answer:
        """Whether some run fires a transition."""

        def find(graph: Graph) -> Iterator[Candidate]:
            for state, edge in graph.firings(transition):
                yield Candidate([*graph.path(state), edge])

        return self.search(find, candidates=candidates)

    def _realize(self, graph: Graph, candidate: Candidate, tried: _Tried) -> Trace | None:
        """A trace along a candidate, or along another way to the same end that avoids what clashed."""
        path: Sequence[Edge] | None = candidate.path
        queue: list[frozenset[str]] = [frozenset()]
        seen = {queue[0]}
        while queue and len(seen) <= self._DETOURS and self.remaining_ms() > 1:
            avoided = queue.pop(0)
            if avoided:
                path = graph.detour(candidate.path, avoided)
            if path is None:
                continue
            found = self.realizer.realize(graph.space, path, candidate.extra, timeout_ms=self.remaining_ms())
            if isinstance(found, Trace):
                return found
            clash = tried.note(path, found)
            if candidate.matters == "end":
                for name in reversed(clash):  # what clashed last is closest to the end, and most telling
                    longer = avoided | {name}
                    if longer not in seen:
                        seen.add(longer)
                        queue.append(longer)
        return None

    # data

    def never_fires(
        self, questions: Sequence[Question], ghost: Ghost | None = None, *, net: Net | None = None
    ) -> Answer:
        """Whether some question's transition can fire with its condition true.

        Args:
            questions: What must never happen.
            ghost: What ``ghost.set`` and ``ghost.value`` in the conditions mean.
            net: The net with probes added, where the questions are about probes.
        """
        net = net or self.net
        asked = _about(questions, ghost)
        hint = None if self.hints is None else self.hints.get(_key(Certificate("facts", asked)))
        if self.hints is None:
            facts = infer(net, questions, ghost, self.lemmas, timeout_ms=self.remaining_ms())
        else:
            facts = _parsed(hint, net, ghost, self._records())
        if facts is not None and holds(
            net, questions, ghost, facts, self.lemmas, timeout_ms=self.remaining_ms()
        ):
            texts = {place: [show(e) for e in known] for place, known in sorted(facts.places.items())}
            accepted = ghost is not None and all(
                net.transition(name).role is Role.ACCEPT for name in ghost.sets
            )
            readable = readable_text(texts, done="accepted" if accepted else "approved")
            return Proved(Certificate("facts", {**asked, "facts": texts}), "per-place facts", readable)
        return self._by_horn(questions, ghost, net, asked, hint)

    def _records(self) -> Mapping[str, RecordType]:
        """The records that the net's tokens are made of, by name; a fact may build one."""
        if "records" not in self.memo:
            found: dict[str, set[RecordType]] = {}
            seen: set[Type] = set()
            work = [p.type for p in self.net.places]
            while work:
                of = work.pop()
                if of not in seen:
                    seen.add(of)
                    if isinstance(of, RecordType):
                        found.setdefault(of.name, set()).add(of)
                        work += [f.type for f in of.fields]
                    elif isinstance(of, OptionalType | ListType):
                        work.append(of.item)
            self.memo["records"] = {name: of for name, (of, *more) in found.items() if not more}
        records: Mapping[str, RecordType] = self.memo["records"]
        return records

    def facts_forbid(self, questions: Sequence[Question]) -> bool:
        """Whether per-place facts, found here and now and checked, show that no question can happen."""
        found = infer(self.net, questions, None, self.lemmas, timeout_ms=self.remaining_ms())
        return found is not None and holds(
            self.net, questions, None, found, self.lemmas, timeout_ms=self.remaining_ms()
        )

    def _by_horn(
        self,
        questions: Sequence[Question],
        ghost: Ghost | None,
        net: Net,
        asked: Mapping[str, Any],
        hint: Certificate | None,
    ) -> Answer:
        """The same by Spacer, and a search for a witness where there are no facts."""
        try:
            system = HornSystem(net, questions, ghost, self.encoding)
        except Opaque as error:
            return Open(str(error))
        solution: Facts | None = None
        if self.hints is None:
            # A witness is often near, and Spacer is slow to refute: look first, briefly.
            quick = self._witness(questions, ghost, net, candidates=6)
            if isinstance(quick, Refuted):
                return quick
            solution = solve(system, timeout_ms=self.remaining_ms())
        elif hint is not None and hint.kind == "horn":
            solution = parse_facts(system, _facts_in(hint))
        if solution is not None and broken_clause(system, solution, timeout_ms=self.remaining_ms()) is None:
            return Proved(
                Certificate("horn", {**asked, "facts": solution.to_json()}),
                "per-place facts (Spacer)",
                readable_facts(solution),
            )
        if self.hints is not None and (hint is None or hint.kind != "graph"):
            return Open("no certificate answers this question")
        answer = self._witness(questions, ghost, net)
        if isinstance(answer, Proved):
            return Proved(Certificate("graph", {**answer.certificate.data, **asked}), answer.method)
        return answer

    def _witness(
        self, questions: Sequence[Question], ghost: Ghost | None, net: Net, candidates: int = _CANDIDATES
    ) -> Answer:
        context = (
            self if net is self.net else Context(net, deadline=self.deadline, most_states=self.most_states)
        )
        wanted = {q.transition: q for q in questions if q.assumes_requires}
        if len(wanted) < len(questions):
            # No run fires a transition whose requires is false: whoever asks looks for what comes just
            # before.
            return Open("what a firing requires is broken only by markings just before it")

        told_out: set[str] = set()

        def find(graph: Graph) -> Iterator[Candidate]:
            told_out.clear()
            for question in wanted.values():
                teller = Storyteller(net, self.encoding)
                told = 0
                for story in islice(teller.stories(question, ghost), 6):
                    told += 1
                    path = embed(graph, story)
                    if path is not None:
                        yield Candidate(path, last_step(question.condition, ghost))
                # What fires nowhere in the graph needs no story: the graph itself is the proof.
                if told == 0 and teller.exhausted and graph.firings(question.transition):
                    told_out.add(question.transition)
            for state, edges in enumerate(graph.edges):
                for edge, _ in edges:
                    asked = wanted.get(edge.transition)
                    if asked is not None and edge.transition not in told_out:
                        yield Candidate([*graph.path(state), edge], last_step(asked.condition, ghost))

        answer = context.search(find, candidates=candidates)
        if isinstance(answer, Proved) and told_out:
            # Stories only spare the search for a trace: that there is none to tell is no proof.
            return Open(f"no story of one token leads to {', '.join(map(repr, sorted(told_out)))}")
        if isinstance(answer, Proved) and net is not self.net:
            return Open("the state graph shows it, but no certificate speaks of the net itself")
        return answer


def last_step(condition: Expr, ghost: Ghost | None) -> Extra:
    """Asks that a condition holds at the last firing of a run.

    A ghost means: some earlier firing had set it to this value.
    """

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        last = run.steps[-1]
        scope: dict[str, Type] = dict(last.scope)
        if ghost is None:
            return [enc.encode_bool(condition, last.env, scope)]
        scope |= {GHOST_SET: BOOL, GHOST_VALUE: ghost.type}
        histories: list[tuple[z3.BoolRef, SymValue]] = [
            (z3.BoolVal(False), enc.constant(plainest(ghost.type), ghost.type))
        ]
        for step in run.steps[:-1]:
            value = ghost.sets.get(step.transition.name)
            if value is not None:
                histories.append((z3.BoolVal(True), enc.encode(value, step.env, step.scope)))
        return [
            enc.encode_bool(condition, {**last.env, GHOST_SET: was_set, GHOST_VALUE: value}, scope)
            for was_set, value in histories
        ]

    return extra


def monitor(
    graph: Graph,
    start: Any,
    step: Callable[[Any, Edge], Any],
    violated: Callable[[Any], bool],
    *,
    heeds: Collection[str] | None = None,
) -> Iterator[Candidate]:
    """Shortest paths on which an observer is violated, one for each firing that violates it.

    Args:
        graph: The graph.
        start: The observer's first state; hashable.
        step: The observer's next state after a firing.
        violated: Whether an observer's state is a violation; violated ones are not followed further.
        heeds: The transitions that the observer heeds; no other one changes its state. Without, all.
    """
    # Observer states have numbers; each was seen in some states of the graph.
    numbers: dict[Any, int] = {start: 0}
    observers: list[Any] = [start]
    seen: list[set[int]] = [set(range(graph.roots))]
    after: dict[tuple[int, int], int] = {}
    broken: list[bool] = [violated(start)]
    heeded = {t.name for t in graph.space.net.transitions} if heeds is None else frozenset(heeds)
    queue: list[tuple[int, int, int, Edge | None]] = [(root, 0, -1, None) for root in range(graph.roots)]
    edges = graph.edges
    for at, (state, observed, _, _) in enumerate(queue):
        here = seen[observed]
        for edge, target in edges[state]:
            if edge.transition not in heeded:
                if target not in here:
                    here.add(target)
                    queue.append((target, observed, at, edge))
                continue
            then = after.get((observed, id(edge)))
            if then is None:
                found = step(observers[observed], edge)
                then = numbers.setdefault(found, len(observers))
                if then == len(observers):
                    observers.append(found)
                    seen.append(set())
                    broken.append(violated(found))
                after[observed, id(edge)] = then
            if broken[then]:
                path = [edge]
                back = at
                while (last := queue[back][3]) is not None:
                    path.append(last)
                    back = queue[back][2]
                yield Candidate(path[::-1], matters="whole")
            elif target not in seen[then]:
                seen[then].add(target)
                queue.append((target, then, at, edge))


def _key(certificate: Certificate) -> str:
    """What a facts certificate is about: its questions and its ghost."""
    return json.dumps([certificate.data.get("questions"), certificate.data.get("ghost")], sort_keys=True)


def _about(questions: Sequence[Question], ghost: Ghost | None) -> dict[str, Any]:
    """Questions and ghost as JSON-like data."""
    return {
        "questions": [{"transition": q.transition, "condition": show(q.condition)} for q in questions],
        "ghost": None if ghost is None else {name: show(e) for name, e in sorted(ghost.sets.items())},
    }


def _parsed(
    hint: Certificate | None, net: Net, ghost: Ghost | None, records: Mapping[str, RecordType]
) -> PlaceFacts | None:
    """The facts of a certificate; ``None`` where it holds none that can be read."""
    if hint is None or hint.kind != "facts":
        return None
    places = {}
    for place, texts in _facts_in(hint).items():
        if not net.has_place(place):
            return None
        scope: dict[str, Type] = {IT: net.place(place).type}
        if ghost is not None:
            scope |= {GHOST_SET: BOOL, GHOST_VALUE: ghost.type}
        try:
            places[place] = [parse(text, scope, records, like=BOOL) for text in texts]
            if any(type_of(fact, scope) != BOOL for fact in places[place]):
                return None
        except ProvenetError:
            return None
    return PlaceFacts(places)


def _facts_in(hint: Certificate) -> Mapping[str, Any]:
    """What a certificate says of places; nothing where it is malformed."""
    found = hint.data.get("facts")
    return found if isinstance(found, Mapping) else {}


def graph_certificate(graph: Graph) -> Certificate:
    """A certificate by re-exploration: which fields were kept and what came out."""
    return Certificate(
        "graph",
        {
            "kept": [[place, ".".join(path)] for place, path in graph.space.masks.seeds],
            "states": len(graph.states),
            "firings": sum(map(len, graph.edges)),
        },
    )


def transition_expressions(t: Transition) -> Iterator[Expr]:
    """All expressions of a transition."""
    yield from (e for e in (t.guard, t.ensures, t.requires) if e is not None)
    yield from (p.expr for p in t.puts if p.expr is not None)
    for name in ("payload", "about", "delay"):
        expr = getattr(t.trigger, name, None)
        if expr is not None:
            yield expr


def _expressions(net: Net) -> Iterator[tuple[Expr, Mapping[str, Type]]]:
    for t in net.transitions:
        scope = net.scope(t)
        for expr in transition_expressions(t):
            yield expr, scope
    for entry in net.entries:
        if entry.where is not None:
            yield entry.where, {"it": net.place(entry.place).type}
