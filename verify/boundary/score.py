"""The score of a net: for each proposal that may come to something, what stands between.

After the three axes of the stochastic-deterministic boundary (Srinivasan, arXiv 2605.20173, 2026):
*presence*, *strength*, and *semantics*, which is what commit, reject and retry mean there. The first two are
found on the weakest way from the proposal to the effect; the third is read off the net, and what it promises
is proved, or not. There is no sum: a net is as good as its weakest boundary, and no number of strong ones
makes up for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Choice, Net, OnFailure, Perform, Role, Transition
from provenet.nets.quick import dataclass
from provenet.verify.boundary.strength import Strength
from provenet.verify.boundary.ways import Kind, Presence, Way, Ways, effects, readers_of, sources
from provenet.verify.check import prove
from provenet.verify.properties.common import info_of
from provenet.verify.properties.verifiers import is_opaque
from provenet.verify.verdict import Status

ASKED = ("SDB-1", "SDB-2", "SDB-4", "SDB-5", "SDB-6", "CTL-1")
"""What is asked of the meaning of a boundary: see each property."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """Between one proposal and one effect.

    Attributes:
        proposal: The transition that proposes.
        by: The contract or task that it belongs to, or the event's name.
        kind: Who proposes: a model, an event from outside, or a person.
        effect: Name of the effect.
        done_by: The transition that performs it.
        way: The weakest way between them.
    """

    proposal: str
    by: str
    kind: Kind
    effect: str
    done_by: str
    way: Way

    @property
    def weakness(self) -> tuple[Presence, Strength]:
        """What boundaries are ordered by."""
        return self.way.presence, self.way.strength


@dataclass(frozen=True, slots=True)
class Meaning:
    """What commit, reject and retry mean where an effect is performed.

    Attributes:
        done_by: The transition that performs it.
        effect: Its name.
        contract: The contract that it belongs to; empty for none.
        commit: How it is done, and what becomes of it when it fails.
        undo: How it is taken back.
        reject: Where a refused proposal goes.
        retry: How often it is asked again.
        verdicts: What was asked of it, with the verdicts.
    """

    done_by: str
    effect: str
    contract: str
    commit: str
    undo: str
    reject: str
    retry: str
    verdicts: Mapping[str, Status]

    @property
    def broken(self) -> tuple[str, ...]:
        """The properties that are refuted of it."""
        return tuple(p for p, status in self.verdicts.items() if status is Status.REFUTED)


@dataclass(frozen=True, slots=True)
class Score:
    """The boundary audit of a net.

    Attributes:
        net: Its name.
        net_hash: Its content.
        boundaries: Between models or events and effects, the weakest first.
        people: Between people and effects.
        meanings: Of each effect, in the net's order.
        alone: Effects that no proposal reaches.
        opaque: What no proof looks into, by where it is.
    """

    net: str
    net_hash: str
    boundaries: tuple[Boundary, ...]
    people: tuple[Boundary, ...]
    meanings: tuple[Meaning, ...]
    alone: tuple[str, ...]
    opaque: tuple[tuple[str, str], ...]

    @property
    def weakest(self) -> Boundary | None:
        """The boundary that the net is as good as; ``None`` where it has none."""
        return self.boundaries[0] if self.boundaries else None

    def count(self, presence: Presence) -> int:
        """How many boundaries are so present."""
        return sum(b.way.presence is presence for b in self.boundaries)

    def holds(self, least: Strength = Strength.NONE) -> bool:
        """Whether every boundary is explicit and at least so strong, and nothing asked of them is refuted."""
        present = all(
            b.way.presence is Presence.EXPLICIT and b.way.strength >= least for b in self.boundaries
        )
        return present and not any(m.broken for m in self.meanings)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        weakest = self.weakest
        return {
            "net": self.net,
            "net_hash": self.net_hash,
            "counts": {str(p): self.count(p) for p in reversed(Presence)},
            "weakest": None if weakest is None else _boundary(weakest),
            "boundaries": [_boundary(b) for b in self.boundaries],
            "people": [_boundary(b) for b in self.people],
            "effects": [_meaning(m) for m in self.meanings],
            "reached_by_no_proposal": list(self.alone),
            "opaque": [{"at": at, "what": what} for at, what in self.opaque],
        }


def score(net: Net, *, timeout: float = 10.0) -> Score:
    """The boundary audit of a net.

    Args:
        net: A net without mistakes.
        timeout: Seconds for each property that is asked of the boundaries.
    """
    done = effects(net)
    readers = readers_of(net)
    found = [b for t, kind in sources(net) for b in _of_source(Ways(net, t, kind, readers), done)]
    found.sort(key=lambda b: (*b.weakness, b.way.approved != (), b.proposal, b.done_by))
    reached = {b.done_by for b in found}
    return Score(
        net.name,
        content_hash(net),
        tuple(b for b in found if b.kind != "person"),
        tuple(b for b in found if b.kind == "person"),
        tuple(_meanings(net, done, timeout)),
        tuple(t.name for t in done if t.name not in reached),
        tuple(dict.fromkeys(_opaque(net, found))),
    )


def _of_source(ways: Ways, done: list[Transition]) -> Iterator[Boundary]:
    source = ways.source
    for effect in done:
        way = ways.to(effect)
        if way is not None and isinstance(effect.trigger, Perform):
            by = getattr(source.trigger, "event", "") or source.contract or source.name
            yield Boundary(source.name, by, ways.kind, effect.trigger.handler, effect.name, way)


def _meanings(net: Net, done: list[Transition], timeout: float) -> Iterator[Meaning]:
    report = prove(net, only=ASKED, timeout=timeout) if done else None
    verdicts = () if report is None else report.verdicts
    for t in done:
        assert isinstance(t.trigger, Perform)
        mine = {
            v.property: v.status
            for v in verdicts
            if not v.vacuous and v.subject in ((t.contract, t.name) if t.contract else (t.name,))
        }
        yield Meaning(
            t.name,
            t.trigger.handler,
            t.contract,
            _commit(net, t, t.trigger),
            _undo(net, t),
            _reject(net, t),
            _retry(net, t),
            mine,
        )


def _commit(net: Net, t: Transition, act: Perform) -> str:
    if not act.external:
        return "in the transaction of the case, exactly once"
    failed = [f for f in net.transitions if isinstance(f.trigger, OnFailure) and f.trigger.of == t.name]
    places = dict.fromkeys(p.place for f in failed for p in f.puts)
    if failed and act.tries is not None:
        after = f"after {act.tries} tries it has failed: {_where(net, list(places))}"
    elif act.tries is None:
        after = "tried until it works, parked for a person where it is refused for good"
    else:
        after = f"after {act.tries} tries the case is parked for a person"
    return f"outside, under one idempotency key; {after}"


def _undo(net: Net, t: Transition) -> str:
    info = info_of(net, t.contract)
    if info is not None and info.undo and info.saga:
        return f"by {info.undo}, when {info.saga!r} aborts"
    if info is not None and info.irreversible:
        return "never: it is irreversible"
    return "nobody takes it back"


def _reject(net: Net, t: Transition) -> str:
    refusing = list(net.by_role(Role.GIVE_UP, Role.REJECT, contract=t.contract)) if t.contract else []
    inner = {a.place for r in refusing for a in r.takes}
    places = dict.fromkeys(p.place for r in refusing for p in r.puts if p.place not in inner)
    return _where(net, list(places)) if refusing else "nothing is ever refused"


def _retry(net: Net, t: Transition) -> str:
    if not t.contract or not any(net.by_role(Role.PROPOSE, contract=t.contract)):
        return "nobody is asked again"
    info = info_of(net, t.contract)
    if info is None:
        return "asked again, with no bound that is declared"
    return "asked once" if info.attempts == 1 else f"asked {info.attempts} times at most"


def _where(net: Net, places: list[str]) -> str:
    """Where tokens go, with who takes them there."""
    finals = {p for final in net.finals for p, _ in final}
    said = []
    for place in places:
        tasks = dict.fromkeys(t.trigger.task for t in net.taking(place) if isinstance(t.trigger, Choice))
        end = ", which ends the case" if place in finals else ""
        said.append(f"to {place!r}" + (f", where {' and '.join(tasks)} is a person's" if tasks else end))
    return "; ".join(said) or "nowhere"


def _opaque(net: Net, found: list[Boundary]) -> Iterator[tuple[str, str]]:
    for c in net.contracts:
        if is_opaque(net, c.id):
            yield c.id, "its verifier is a function: it counts as schema, whatever it does"
    for b in found:
        for check in b.way.checks:
            yield from ((check.at, what) for what in check.opaque if not is_opaque(net, check.at))


def _boundary(b: Boundary) -> dict[str, Any]:
    return {
        "proposal": b.proposal,
        "by": b.by,
        "kind": b.kind,
        "effect": b.effect,
        "done_by": b.done_by,
        "presence": str(b.way.presence),
        "strength": str(b.way.strength),
        "reaches_by": b.way.reach,
        "approved_by": list(b.way.approved),
        "checks": [
            {"at": c.at, "transition": c.transition, "presence": str(c.presence), "strength": str(c.strength)}
            for c in b.way.checks
        ],
        "way": list(b.way.steps),
    }


def _meaning(m: Meaning) -> dict[str, Any]:
    return {
        "effect": m.effect,
        "done_by": m.done_by,
        "contract": m.contract,
        "commit": m.commit,
        "undo": m.undo,
        "reject": m.reject,
        "retry": m.retry,
        "verdicts": {p: str(s) for p, s in m.verdicts.items()},
    }
