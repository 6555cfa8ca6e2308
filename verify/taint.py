"""Where untrusted content gets to: labels on tokens, by explicit and implicit flow.

After D. Denning and P. Denning, "Certification of programs for secure information flow" (CACM 1977), with
places in the part of variables. A token has the fields of it that untrusted content may have decided, and it
is *steered* when untrusted content may have decided that it is there at all. A firing hands both on:

* A put token's field has the content of what it is built from (explicit flow).
* A firing is steered by a steered token; by untrusted content in its guard, its ``ensures`` or an opaque
  verifier's verdict; or by the guard of another transition that competes for one of its tokens and looks at
  untrusted content of that token (implicit flow). What a steered firing puts is untrusted throughout, and
  steered. Where all the competing transitions put into the same places, and one of them can always fire, the
  way goes on the same for all of them: then what is put is untrusted, and no longer steered.
* What a model, an effect or a verifier answers is as untrusted as what it was given.
* A person's approval vouches for what the person was shown and for going on; a transition or a place labelled
  ``sanitizer`` vouches for what it puts. That a policy lets something pass vouches for nothing by itself.

A reset that keeps something from happening is no steering: content that can only *prevent* a sink is not
followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import z3

from provenet.nets.expr.ast import Build, Const, Each, Expr, Get, If, OrElse, Var, children, substitute
from provenet.nets.net import (
    Ask,
    Choice,
    Explain,
    Judge,
    Label,
    Net,
    OnFailure,
    Perform,
    Place,
    Read,
    Signal,
    Take,
    Transition,
)
from provenet.nets.quick import dataclass
from provenet.nets.schema import RecordType, Type
from provenet.verify.abstraction import Path, sources
from provenet.verify.properties.control import approves, shown_to
from provenet.verify.questions import inputs_of
from provenet.verify.smt import Encoding, Opaque

Paths: TypeAlias = frozenset[Path]
"""The parts of a token that untrusted content may have decided; the empty path is the whole of it."""

_SOLVER_MS = 2_000

_NONE: Paths = frozenset()
_WHOLE: Paths = frozenset({()})


@dataclass(frozen=True, slots=True)
class Flow:
    """What untrusted content decided of one token.

    Attributes:
        paths: Its untrusted parts.
        steered: Whether it decided that the token is there.
    """

    paths: Paths = _NONE
    steered: bool = False

    def join(self, other: Flow) -> Flow:
        """What either of two tokens may be."""
        return Flow(_shortest(self.paths | other.paths), self.steered or other.steered)


CLEAN = Flow()


@dataclass(frozen=True, slots=True)
class Passed:
    """What one firing does with what its tokens carry.

    Attributes:
        puts: The flow of each put arc's tokens.
        reaches: How untrusted content reaches the outside by this firing: ``arguments``, ``control``; empty
            where it does not.
        private: Whether the firing looks at private data.
        steered: Whether untrusted content decided that it fires.
    """

    puts: tuple[Flow, ...]
    reaches: str
    private: bool
    steered: bool


class Taint:
    """How labels flow through one net.

    Args:
        net: The net. Where nothing is labelled ``sink``, every external effect is one.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        marked: list[Place | Transition] = [*net.places, *net.transitions]
        self.labelled = {label: [n.name for n in marked if label in n.labels] for label in Label}
        self.sinks = self._sinks()
        self._takers: dict[str, list[Transition]] = {}
        for t in net.transitions:
            for place in dict.fromkeys(a.place for a in t.takes):
                self._takers.setdefault(place, []).append(t)
        self._read_by_rivals: dict[tuple[str, str], tuple[Path, ...]] = {}
        self._cache: dict[tuple[str, tuple[Flow, ...]], Passed] = {}

    def _sinks(self) -> frozenset[str]:
        net = self.net
        if self.labelled[Label.SINK]:
            open_to_all = {p.name for p in net.places if Label.SINK in p.labels}
            return frozenset(
                t.name
                for t in net.transitions
                if Label.SINK in t.labels or any(p.place in open_to_all for p in t.puts)
            )
        return frozenset(
            t.name for t in net.transitions if isinstance(t.trigger, Perform) and t.trigger.external
        )

    def starts(self, place: str) -> Flow:
        """The flow of a token that a case starts with, or of any that is put, by the place's own label."""
        return Flow(_WHOLE) if Label.UNTRUSTED in self.net.place(place).labels else CLEAN

    def slots(self, t: Transition) -> list[tuple[str, str | None]]:
        """One slot for each token that a transition takes or reads: place and variable."""
        return [(a.place, a.var) for a in inputs_of(t) for _ in range(a.weight)]

    def passed(self, t: Transition, inputs: Sequence[Flow]) -> Passed:
        """What a firing does with the flows of its tokens, which come in the order of the slots."""
        key = (t.name, tuple(inputs))
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._pass(t, inputs)
        return found

    def _pass(self, t: Transition, inputs: Sequence[Flow]) -> Passed:
        net = self.net
        slots = self.slots(t)
        env = {var: flow.paths for (_, var), flow in zip(slots, inputs, strict=True) if var is not None}
        steered_in = any(flow.steered for flow in inputs)
        if approves(t):
            env, steered_in = self._approved(t, env), False
        given = self._given(t, env)
        answers = isinstance(t.trigger, Ask | Perform | Judge | Explain | OnFailure)
        brought = _WHOLE if Label.UNTRUSTED in t.labels or (answers and given) else _NONE
        env |= dict.fromkeys((f.var for f in t.fresh), brought)
        decided = any(paths_of(e, env) for e in (t.guard, t.ensures) if e is not None)
        decided = decided or (isinstance(t.trigger, Judge | OnFailure) and bool(given))
        taken = slots[: sum(a.weight for a in t.takes)]
        decided = decided or any(
            any(_meets(flow.paths, path) for path in self._rivals_read(t, place))
            for (place, _), flow in zip(taken, inputs, strict=False)
            if flow.paths and not approves(t)
        )
        steered = steered_in or decided
        after = steered_in or (decided and not self._goes_on(t))
        vouched = Label.SANITIZER in t.labels
        puts = tuple(self._put(p.place, p.expr, env, steered, after, vouched=vouched) for p in t.puts)
        reaches = ""
        if t.name in self.sinks and not vouched:
            reaches = "arguments" if self._says(t, env, puts) else "control" if steered else ""
        private = Label.PRIVATE in t.labels or any(
            Label.PRIVATE in net.place(place).labels for place, _ in slots
        )
        return Passed(puts, reaches, private, steered)

    def _put(
        self,
        place: str,
        expr: Expr | None,
        env: Mapping[str, Paths],
        steered: bool,  # noqa: FBT001 - private, and clear from its name
        after: bool,  # noqa: FBT001
        *,
        vouched: bool,
    ) -> Flow:
        labels = self.net.place(place).labels
        if Label.UNTRUSTED in labels:
            return Flow(_WHOLE, after and not vouched)
        if vouched or Label.SANITIZER in labels:
            return CLEAN
        paths = _WHOLE if steered else _NONE if expr is None else paths_of(expr, env)
        return Flow(paths, after)

    def _approved(self, t: Transition, env: Mapping[str, Paths]) -> dict[str, Paths]:
        """The inputs after a person vouched for what was shown."""
        shown = shown_to(self.net, t)
        out = dict(env)
        for var, path in () if shown is None else sources(shown[0], ()):
            if var in out:
                out[var] = frozenset(p for p in out[var] if p[: len(path)] != path)
                # Of a token that is untrusted as a whole, the other parts stay so: what was shown cannot be
                # told from them, so nothing of it is cleared unless all of it was shown.
        return out

    def _given(self, t: Transition, env: Mapping[str, Paths]) -> Paths:
        """What whoever answers a transition was given."""
        payload = getattr(t.trigger, "payload", None)
        if isinstance(t.trigger, Ask | Perform) and payload is not None:
            return paths_of(payload, env) | self._told(t, env)
        return frozenset(p for paths in env.values() for p in paths)

    def _told(self, t: Transition, env: Mapping[str, Paths]) -> Paths:
        """What a proposer is told besides its payload: the attempt, and why the last one was refused."""
        first = t.takes[0] if t.takes else None
        of = None if first is None else self.net.place(first.place).type
        if first is None or first.var is None or not isinstance(of, RecordType):
            return _NONE
        parts = [(f.name,) for f in of.fields if f.name in ("attempt", "signal")]
        found = env[first.var]
        return frozenset(path for path in parts if _meets(found, path))

    def _says(self, t: Transition, env: Mapping[str, Paths], puts: Sequence[Flow]) -> bool:
        """Whether untrusted content is among what a sink tells the outside."""
        if isinstance(t.trigger, Perform):
            first = next((a.var for a in t.takes if a.var is not None), None)
            payload = t.trigger.payload or (None if first is None else Var(first))
            if payload is not None and paths_of(payload, env):
                return True
        elif Label.SINK in t.labels and any(env[a.var] for a in inputs_of(t) if a.var is not None):
            return True
        return any(
            flow.paths
            for flow, put in zip(puts, t.puts, strict=True)
            if Label.SINK in self.net.place(put.place).labels
        )

    def _rivals_read(self, t: Transition, place: str) -> tuple[Path, ...]:
        """What the guards of the transitions that compete for a place's token read of it."""
        key = (t.name, place)
        if key not in self._read_by_rivals:
            read: list[Path] = []
            for rival in self._takers[place]:
                names = {a.var for a in rival.takes if a.place == place}
                if rival.name != t.name and rival.guard is not None:
                    read += [path for var, path in sources(rival.guard, ()) if var in names]
            self._read_by_rivals[key] = tuple(dict.fromkeys(read))
        return self._read_by_rivals[key]

    def _goes_on(self, t: Transition) -> bool:
        """Whether all that compete for a transition's tokens put into the same places, and none is a sink."""
        rivals = [r for a in t.takes for r in self._takers[a.place]]
        ways = [
            (
                sorted(Counter(_repeated((a.place, a.weight) for a in r.takes)).items()),
                sorted(Counter(_repeated((p.place, p.weight) for p in r.puts)).items()),
            )
            for r in rivals
        ]
        if any(way != ways[0] for way in ways) or any(r.name in self.sinks for r in rivals):
            return False
        return self._exhaustive([r for r in rivals if _places(r.reads) == _places(t.reads)])

    def _exhaustive(self, rivals: Sequence[Transition]) -> bool:
        """Whether some of the transitions can fire whatever the tokens say; else they may stay."""
        outside = [r for r in rivals if isinstance(r.trigger, Choice | Signal)]
        able = rivals if len(outside) == len(rivals) else [r for r in rivals if r not in outside]
        free = {r.name: r for r in able if r.ensures is None}
        if any(r.guard is None for r in free.values()):
            return True
        guards: list[tuple[Expr, dict[str, Type]]] = []
        for r in free.values():
            assert r.guard is not None
            arcs = sorted(inputs_of(r), key=lambda a: (isinstance(a, Read), a.place))
            names: dict[str, Expr] = {
                a.var: Var(f"token{i}") for i, a in enumerate(arcs) if a.var is not None
            }
            scope = {f"token{i}": self.net.place(a.place).type for i, a in enumerate(arcs)}
            guards.append((substitute(r.guard, names), scope))
        enc = Encoding.for_exprs(guards)
        try:
            env = {v: enc.fresh(v, of) for v, of in (guards[0][1] if guards else {}).items()}
            none = [z3.Not(enc.encode_bool(g, env, scope)) for g, scope in guards]
            inhabited = [enc.inhabits(env[v], of) for v, of in guards[0][1].items()] if guards else []
        except Opaque:
            return False
        return bool(enc.check([*inhabited, *none], _SOLVER_MS) == z3.unsat)


def fixpoint(taint: Taint) -> tuple[dict[str, Flow], dict[str, str]]:
    """For each place what its tokens may carry, in any run; and the sinks that untrusted content may reach.

    A place's tokens are taken together, and every transition to be able to fire: more than what happens.
    """
    net = taint.net
    flows = {p.name: taint.starts(p.name) for p in net.places}
    readers: dict[str, list[str]] = {}
    for t in net.transitions:
        for place, _ in taint.slots(t):
            readers.setdefault(place, []).append(t.name)
    reached: dict[str, str] = {}
    work = [t.name for t in net.transitions]
    waiting = set(work)
    while work:
        t = net.transition(work.pop())
        waiting.discard(t.name)
        passed = taint.passed(t, [flows[place] for place, _ in taint.slots(t)])
        if passed.reaches:
            reached[t.name] = passed.reaches
        for put, flow in zip(t.puts, passed.puts, strict=True):
            joined = flows[put.place].join(flow)
            if joined != flows[put.place]:
                flows[put.place] = joined
                new = [name for name in readers.get(put.place, ()) if name not in waiting]
                work += new
                waiting.update(new)
    return flows, reached


def paths_of(expr: Expr, env: Mapping[str, Paths]) -> Paths:
    """The parts of an expression's value that depend on untrusted content."""
    match expr:
        case Const():
            return _NONE
        case Var(name):
            return env.get(name, _NONE)
        case Get(of, field):
            inner = paths_of(of, env)
            return frozenset(p[1:] if p else () for p in inner if not p or p[0] == field)
        case Build(of, parts):
            return frozenset(
                (f.name, *p) for f, e in zip(of.fields, parts, strict=True) for p in paths_of(e, env)
            )
        case If(condition, then, otherwise):
            if paths_of(condition, env):
                return _WHOLE
            return _shortest(paths_of(then, env) | paths_of(otherwise, env))
        case OrElse(of, default):
            return _shortest(paths_of(of, env) | paths_of(default, env))
        case Each(_, of, var, body):
            return _WHOLE if paths_of(of, env) or paths_of(body, {**env, var: _NONE}) else _NONE
        case _:
            return _WHOLE if any(paths_of(part, env) for part in children(expr)) else _NONE


def _shortest(paths: Paths) -> Paths:
    """The paths without those that lie below another one."""
    return frozenset(p for p in paths if not any(p[:n] in paths for n in range(len(p))))


def _meets(paths: Iterable[Path], path: Path) -> bool:
    """Whether a part of a token overlaps one of the untrusted parts."""
    return any(p[: len(path)] == path or path[: len(p)] == p for p in paths)


def _places(arcs: Iterable[Take | Read]) -> list[str]:
    return sorted(_repeated((a.place, a.weight) for a in arcs))


def _repeated(counts: Iterable[tuple[str, int]]) -> Iterator[str]:
    for name, n in counts:
        for _ in range(n):
            yield name
