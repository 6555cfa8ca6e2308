"""P3: event-driven sequencing. Answers that depend on the model's version, and events out of order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from provenet.engine.diagnosis.finding import Few, Finding, Signature
from provenet.engine.diagnosis.intervals import more_often
from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.engine.diagnosis.signatures import SIGNATURES, significant
from provenet.nets.net import Label, Net, Role, Signal
from provenet.nets.schema import RecordType

MOST_INPUTS = 100_000
"""Inputs of one contract that are remembered; those that come after are not compared."""

MOST_ANSWERS = 8
"""Answers to one input that are remembered."""


@dataclass(slots=True)
class _Asked:
    """What one contract answered to what.

    Attributes:
        versions: Models and prompts, in the order they were first seen.
        answers: By input: version, answer, case and entry.
    """

    versions: list[str] = field(default_factory=list)
    answers: dict[bytes, list[tuple[int, bytes, str, int]]] = field(default_factory=dict)


class Divergence:
    """P3a: the same input leads to other answers on another model or prompt."""

    signature: Signature = SIGNATURES["P3a"]

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], _Asked] = {}

    def look(self, case: CaseHistory) -> None:
        """Remember what was asked and answered, and by which model."""
        if has_row(case.net):
            return
        # Where there are personal values, the hash of a prompt says nothing across cases.
        blinded = any("key" in o.said for o in case.others if o.kind == "start")
        for firing in case.firings:
            # A later attempt has seen why the one before it was refused: it was asked something else.
            if firing.role is not Role.PROPOSE or not firing.payload or firing.attempt > 1:
                continue
            prompt = "" if blinded else firing.note.get("prompt", "")[:8]
            version = f"{firing.note.get('model', '')} {prompt}".strip()
            asked = self._asked.setdefault((case.net.name, firing.contract), _Asked())
            if version not in asked.versions:
                asked.versions.append(version)
            key = sha256(firing.payload.encode()).digest()[:16]
            if key not in asked.answers and len(asked.answers) >= MOST_INPUTS:
                continue
            known = asked.answers.setdefault(key, [])
            if len(known) < MOST_ANSWERS:
                answer = sha256(repr(firing.brought).encode()).digest()[:16]
                known.append((asked.versions.index(version), answer, case.id, firing.seq))

    def findings(self) -> list[Finding]:
        """One for each contract."""
        compared = {at: _Compared.of(asked) for at, asked in self._asked.items() if len(asked.versions) > 1}
        found = []
        for (net, contract), c in compared.items():
            chance = more_often(c.other, c.across, c.varied, c.within)
            if not significant(chance, len(compared)):
                continue
            named = ", ".join(repr(v or "no model named") for v in self._asked[net, contract].versions)
            said = (
                f"{contract!r} answered {c.other} of {c.across} inputs otherwise on another version "
                f"({named}); "
                f"the same version did so {c.varied} of {c.within} times"
            )
            numbers = {"inputs": c.across, "diverged": c.other, "repeated": c.within, "varied": c.varied}
            found.append(self.signature.found(net, contract, said, c.seen, **numbers, chance=chance))
        return found


@dataclass(slots=True)
class _Compared:
    """Pairs of answers to the same input; no answer is in two of them."""

    other: int = 0
    across: int = 0
    varied: int = 0
    within: int = 0
    seen: Few = field(default_factory=Few)

    @classmethod
    def of(cls, asked: _Asked) -> _Compared:
        found = cls()
        for answers in asked.answers.values():
            by_version: dict[int, list[tuple[int, bytes, str, int]]] = {}
            for one in answers:
                by_version.setdefault(one[0], []).append(one)
            versions = sorted(by_version)
            if len(versions) > 1:
                old, new = by_version[versions[0]].pop(), by_version[versions[-1]].pop()
                found.across += 1
                if old[1] != new[1]:
                    found.other += 1
                    found.seen.add(new[2], (new[3],), f"answered otherwise than case {old[2]!r}, {old[3]}")
            for same in by_version.values():
                for a, b in zip(same[::2], same[1::2], strict=False):
                    found.within += 1
                    found.varied += a[1] != b[1]
        return found


def has_row(net: Net) -> bool:
    """Whether a net says that a row is its truth, and not a log."""
    kinds = {p.kind for p in net.patterns}
    return "state machine" in kinds and "sequencing" not in kinds


class Disorder:
    """P3b: an older event is taken after a newer one."""

    signature: Signature = SIGNATURES["P3b"]

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Few] = {}
        self._count: dict[tuple[str, str], int] = {}
        self._taken: dict[tuple[str, str], int] = {}

    def look(self, case: CaseHistory) -> None:
        """Compare the own times of the events that a case took."""
        guarded = {d.event for d in case.net.deliveries if d.lateness is not None}
        guarded |= {d.late for d in case.net.deliveries}
        numbered = set(_named(case.net, "take")) | set(_named(case.net, "late"))
        self._by_number(case)
        entries = {firing.seq: firing for firing in case.firings}
        newest: dict[str, tuple[int, int]] = {}
        taken = [x for x in case.inbox if x[0] is not None and x[2] is not None and x[3] == "accepted"]
        for seq, event, at, _ in sorted(taken, key=lambda x: x[0] or 0):
            assert seq is not None
            assert at is not None
            firing = entries.get(seq)
            if event in guarded or firing is None or not _matters(firing):
                continue
            if firing.transition.name in numbered:
                continue  # there, the number of an event in the log says what is older
            where = case.net.name, event
            self._taken[where] = self._taken.get(where, 0) + 1
            before, first = newest.get(event, (at, seq))
            if at < before:
                older = f"{(before - at) / 1e6:.0f} s older"
                self._older(case, event, (first, seq), older)
            if at >= before:
                newest[event] = at, seq

    def _by_number(self, case: CaseHistory) -> None:
        """Compare the numbers of the events that a declared sequencing took."""
        for log in (p for p in case.net.patterns if p.kind == "sequencing"):
            takes, newest = set(log.part("take")), (-1, 0)
            for firing in case.firings:
                number = _number(firing) if firing.transition.name in takes else None
                trigger = firing.transition.trigger
                if number is None or not isinstance(trigger, Signal):
                    continue
                where = case.net.name, trigger.event
                self._taken[where] = self._taken.get(where, 0) + 1
                if number <= newest[0]:
                    self._older(case, trigger.event, (newest[1], firing.seq), f"number {number}, no later")
                else:
                    newest = number, firing.seq

    def _older(self, case: CaseHistory, event: str, entries: tuple[int, int], how: str) -> None:
        where = case.net.name, event
        self._count[where] = self._count.get(where, 0) + 1
        self._seen.setdefault(where, Few()).add(case.id, entries, f"{event!r} is {how} than one taken before")

    def findings(self) -> list[Finding]:
        """One for each event."""
        return [
            self.signature.found(
                net,
                event,
                f"{self._count[net, event]} of {self._taken[net, event]} events {event!r} were taken after "
                "newer ones, and the net declares no lateness for them",
                seen,
                taken=self._taken[net, event],
                older=self._count[net, event],
            )
            for (net, event), seen in self._seen.items()
        ]


def _matters(firing: Firing) -> bool:
    """Whether an event changes anything: absorbing places hold what is the same however often it comes."""
    if not isinstance(firing.transition.trigger, Signal) or Label.ABSORBER in firing.transition.labels:
        return False
    stays = {x.place: firing.binding.get(x.var) for x in firing.transition.takes if x.var}
    if {x.place for x in firing.transition.takes} - {h.place for h in firing.put}:
        return True
    changed = [h.place for h in firing.put if h.place not in stays or stays[h.place] != h.value]
    return any(Label.ABSORBER not in firing.net.place(p).labels for p in changed)


def _number(firing: Firing) -> int | None:
    """The number in the log that an event brings."""
    fresh = firing.transition.fresh[0] if firing.transition.fresh else None
    if fresh is None or not isinstance(fresh.type, RecordType) or not isinstance(firing.brought, tuple):
        return None
    parts = zip(fresh.type.fields, firing.brought, strict=True)
    return next((v for f, v in parts if f.name == "number" and isinstance(v, int)), None)


def _named(net: Net, part: str) -> Iterator[str]:
    """The transitions that are such a part of a declared sequencing."""
    return (name for p in net.patterns if p.kind == "sequencing" for name in p.part(part))
