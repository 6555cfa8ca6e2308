"""The ways of a proposal's content through a net, to what is done with it.

Content is followed by explicit flow, as in ``provenet.verify.taint``: the fields of tokens that are built
from it. A transition whose guard reads it passes it on as *decided*: what comes of it is no more made of the
content, and would not be there without it. A way is followed once for each thing that may have stood on it
so far, so the weakest way to an effect is found, not just some way. Guards are not asked whether a way can
be gone in a run: it is one on the drawing, and the audit errs on the side of the weaker.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from provenet.nets.expr.ast import Expr, Var
from provenet.nets.net import Ask, Choice, Judge, Net, Perform, Role, Signal, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT
from provenet.verify.boundary.strength import Looked, Strength, looked_at, schema_strength
from provenet.verify.properties.common import undoes
from provenet.verify.properties.control import approves
from provenet.verify.questions import inputs_of
from provenet.verify.taint import Paths, paths_of

Kind: TypeAlias = Literal["model", "event", "person"]
"""Who proposes."""

Reach: TypeAlias = Literal["content", "decision"]
"""Whether what is done is made of what was proposed, or only happens because of it."""


class Presence(enum.IntEnum):
    """Whether a verifier stands on a way.

    ``missing``: nothing looks at the content. ``implicit``: something does, such as the guard of a choice or
    the verifier of another effect, and nobody who lets this effect pass. ``explicit``: a verifier that can
    refuse does, and the accept of the effect's own contract, or of a gate, is on the way.
    """

    MISSING = 0
    IMPLICIT = 1
    EXPLICIT = 2

    def __str__(self) -> str:
        """As people say it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """What a transition checks of the content that passes it.

    Attributes:
        at: The contract, or the transition where it belongs to none.
        transition: Its name.
        presence: ``explicit`` for the accept of a contract, or a gate, that can say no.
        strength: How much it asks.
        opaque: What the prover cannot look into.
    """

    at: str
    transition: str
    presence: Presence
    strength: Strength
    opaque: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """The weakest way from a source to an effect.

    Attributes:
        presence: The most explicit check on it.
        strength: The strongest check on it.
        reach: Whether content arrives, or a decision.
        approved: The human tasks on it.
        checks: What checks the content, in order.
        through: The names of what checks or approves it, in order.
        steps: The transitions, from the source to the effect.
    """

    presence: Presence
    strength: Strength
    reach: Reach
    approved: tuple[str, ...]
    checks: tuple[Check, ...]
    through: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _State:
    place: str
    reach: Reach
    strength: Strength
    looked: Presence  # the most explicit check of the content
    verifier: str  # whose accept it has passed last
    approved: Literal["no", "yes"]


_NO_CHECK = frozenset((Role.REJECT, Role.FAULT, Role.RETRY, Role.GIVE_UP, Role.FAIL))
"""What passes these did not pass a check; it is on its way because it did not."""


def sources(net: Net) -> Iterator[tuple[Transition, Kind]]:
    """The transitions by which something is proposed."""
    for t in net.transitions:
        if not t.fresh or (isinstance(t.trigger, Signal) and t.fresh[0].type == UNIT):
            continue
        if isinstance(t.trigger, Ask):
            yield t, "model"
        elif isinstance(t.trigger, Signal):
            yield t, "event"
        elif isinstance(t.trigger, Choice):
            yield t, "person"


def effects(net: Net) -> list[Transition]:
    """The transitions that do something, what takes back a contract's own commit aside."""
    return [t for t in net.transitions if isinstance(t.trigger, Perform) and not undoes(net, t)]


def readers_of(net: Net) -> dict[str, list[Transition]]:
    """The transitions that take from a place, or read there."""
    readers: dict[str, list[Transition]] = {}
    for t in net.transitions:
        for place in dict.fromkeys(a.place for a in inputs_of(t)):
            readers.setdefault(place, []).append(t)
    return readers


class Ways:
    """The ways of what one source proposes.

    Args:
        net: The net.
        source: The transition that proposes.
        kind: Who does.
        readers: What ``readers_of`` says of the net.
    """

    def __init__(
        self, net: Net, source: Transition, kind: Kind, readers: Mapping[str, list[Transition]]
    ) -> None:
        self.net, self.source, self.kind, self._readers = net, source, kind, readers
        self.content = self._followed()
        self._gates = {p.id for p in net.patterns if p.kind == "gate"}
        self._checks: dict[str, tuple[Check | None, Looked | None]] = {}
        self._came: dict[_State, tuple[_State | None, str]] = {}
        self._reached: dict[str, list[tuple[_State | None, _State]]] = {}
        self._walk()

    def to(self, effect: Transition) -> Way | None:
        """The weakest way to an effect; ``None`` where there is none."""
        found = self._reached.get(effect.name)
        if not found:
            return None
        before, end = min(found, key=lambda f: self._weakness(effect, f[1]))
        steps = [effect.name]
        at = before
        while at is not None:
            at, name = self._came[at]
            steps.insert(0, name)
        passed = [self.net.transition(name) for name in steps]
        checks = tuple(c for t in passed if (c := self._check(t)[0]) is not None)
        people = tuple(dict.fromkeys(t.contract or t.name for t in passed if approves(t)))
        strong = {c.transition: c.at for c in checks if c.strength}
        stations = (
            f"{t.contract or t.name} (a person)" if approves(t) else strong.get(t.name) for t in passed
        )
        through = tuple(dict.fromkeys(s for s in stations if s))
        presence = self._presence(effect, end)
        return Way(presence, end.strength, end.reach, people, checks, through, tuple(steps))

    def _weakness(self, effect: Transition, end: _State) -> tuple[int, int, bool, bool]:
        return (
            self._presence(effect, end),
            end.strength,
            end.reach != "content",
            end.approved == "yes",
        )

    def _presence(self, effect: Transition, end: _State) -> Presence:
        """Explicit where a verifier checked it, and the effect's own, or a gate's, has let it pass."""
        own = effect.role is Role.COMMIT and end.verifier == effect.contract
        if end.verifier and (own or end.verifier in self._gates):
            return end.looked
        return min(end.looked, Presence.IMPLICIT)

    # following content

    def _env(self, t: Transition, content: Mapping[str, Paths]) -> dict[str, Paths]:
        env = {a.var: content.get(a.place, frozenset()) for a in inputs_of(t) if a.var is not None}
        if t.name == self.source.name:
            env |= {f.var: frozenset(((),)) for f in t.fresh}
        return env

    def _followed(self) -> dict[str, Paths]:
        """For each place the parts of its tokens that are made of the content."""
        found: dict[str, Paths] = {}
        work = deque([self.source])
        while work:
            t = work.popleft()
            env = self._env(t, found)
            for put in t.puts:
                new = frozenset() if put.expr is None else paths_of(put.expr, env)
                if not new <= found.get(put.place, frozenset()):
                    found[put.place] = found.get(put.place, frozenset()) | new
                    work += self._readers.get(put.place, ())
        return found

    # the weakest ways

    def _walk(self) -> None:
        start = schema_strength(self.source.fresh[0].type)
        work: deque[_State] = deque()
        self._pass(self.source, None, _State("", "content", start, Presence.MISSING, "", "no"), work)
        while work:
            state = work.popleft()
            for t in self._readers.get(state.place, ()):
                self._pass(t, state, state, work)

    def _pass(self, t: Transition, before: _State | None, state: _State, work: deque[_State]) -> None:
        env = self._env(t, self.content)
        if before is not None:
            # This token's content, and that of no other.
            env = {
                a.var: self.content.get(a.place, frozenset())
                for a in inputs_of(t)
                if a.var is not None and a.place == state.place
            }
        here = replace(state, approved="yes") if approves(t) else state
        check, looked = self._check(t)
        if check is not None and here.reach == "content":
            strongest, most = max(here.strength, check.strength), max(here.looked, check.presence)
            here = replace(here, strength=strongest, looked=most)
        if t.role is Role.ACCEPT and here.reach == "content" and self._can_refuse(t.contract):
            here = replace(here, verifier=t.contract)
        decided = looked is not None and t.role not in (Role.ACCEPT, *_NO_CHECK)
        if isinstance(t.trigger, Perform) and not undoes(self.net, t):
            given = _payload(t)
            made = here.reach == "content" and given is not None and bool(paths_of(given, env))
            if made or here.reach == "decision":
                self._reached.setdefault(t.name, []).append((before, here))
        for put in t.puts:
            if here.reach == "content" and put.expr is not None and paths_of(put.expr, env):
                after = replace(here, place=put.place)
            elif (here.reach == "decision" or decided) and before is not None and self.kind == "model":
                after = replace(here, place=put.place, reach="decision")
            else:
                continue
            if after not in self._came:
                self._came[after] = (before, t.name)
                work.append(after)

    def _check(self, t: Transition) -> tuple[Check | None, Looked | None]:
        """What a transition checks of the content, and whether its guard looks at it at all."""
        if t.name not in self._checks:
            self._checks[t.name] = self._checked(t)
        return self._checks[t.name]

    def _checked(self, t: Transition) -> tuple[Check | None, Looked | None]:
        env = self._env(t, self.content)
        at = t.contract or t.name
        if not any(env.values()) or t.role in _NO_CHECK:
            return None, None
        explicit = t.role is Role.ACCEPT and t.contract != "" and self._can_refuse(t.contract)
        presence = Presence.EXPLICIT if explicit else Presence.IMPLICIT
        if isinstance(t.trigger, Judge):
            function = (f"the verifier of {at!r} is a function",)
            return Check(at, t.name, presence, Strength.SCHEMA, function), None
        opaque: tuple[str, ...] = ()
        best = Strength.NONE
        for condition in (t.guard, t.ensures):
            if condition is not None:
                looked = looked_at(self.net, t, condition, env)
                best, opaque = max(best, looked.strength), (*opaque, *looked.opaque)
        looked = Looked(best, opaque)
        if best is Strength.NONE:
            return (Check(at, t.name, Presence.MISSING, best, opaque) if opaque else None), None
        return Check(at, t.name, presence, best, opaque), looked

    def _can_refuse(self, contract: str) -> bool:
        """Whether somebody is told no: a verifier that cannot refuse is none."""
        return any(True for _ in self.net.by_role(Role.REJECT, Role.GIVE_UP, contract=contract))


def _payload(t: Transition) -> Expr | None:
    """What an effect is given."""
    assert isinstance(t.trigger, Perform)
    first = next((Var(a.var) for a in t.takes if a.var is not None), None)
    return t.trigger.payload or first
