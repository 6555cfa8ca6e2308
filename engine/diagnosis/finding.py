"""What a detector says: the failure, where it is seen, the weakness behind it and what mends it."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias

from provenet.nets.quick import dataclass

DetectorId: TypeAlias = Literal[
    "P1a", "P1b", "P2a", "P2b", "P3a", "P3b", "P4a", "P4b", "P5a", "P5b", "P6a", "P6b"
]
"""A pattern, and which of its two failures."""

SHOWN = 20
"""Most places in logs that one finding names; its numbers count them all."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a failure is seen.

    Attributes:
        case: Id of the case.
        entries: Numbers of its log's entries, in their order.
        says: What they show, in a few words.
    """

    case: str
    entries: tuple[int, ...]
    says: str

    def to_json(self) -> dict[str, Any]:
        """The evidence as JSON data."""
        return {"case": self.case, "entries": list(self.entries), "says": self.says}


@dataclass(frozen=True, slots=True)
class Finding:
    """A failure with a known signature.

    Attributes:
        detector: Which signature.
        net: Name of the net.
        about: The part of it: a contract, a task, a scope, a timer, an event.
        symptom: What was seen, in one sentence.
        weakness: What of the design lets it happen.
        correction: What mends it.
        evidence: Where it is seen, the first places.
        numbers: What was counted, by name.
    """

    detector: DetectorId
    net: str
    about: str
    symptom: str
    weakness: str
    correction: str
    evidence: tuple[Evidence, ...]
    numbers: tuple[tuple[str, float], ...] = ()

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases among the evidence."""
        return tuple(dict.fromkeys(e.case for e in self.evidence))

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON data."""
        return {
            "detector": self.detector,
            "net": self.net,
            "about": self.about,
            "symptom": self.symptom,
            "weakness": self.weakness,
            "correction": self.correction,
            "evidence": [e.to_json() for e in self.evidence],
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True, slots=True)
class Signature:
    """A failure as the documentation lists it.

    Attributes:
        id: Its id.
        symptom: How it shows.
        weakness: What of the design lets it happen.
        correction: What mends it.
        reads: What its detector reads.
        threshold: From when on it is one.
    """

    id: DetectorId
    symptom: str
    weakness: str
    correction: str
    reads: str
    threshold: str

    def found(
        self, net: str, about: str, symptom: str, evidence: list[Evidence], **numbers: float
    ) -> Finding:
        """A finding of this signature."""
        shown = tuple(evidence[:SHOWN])
        return Finding(
            self.id, net, about, symptom, self.weakness, self.correction, shown, tuple(numbers.items())
        )


class Few(list[Evidence]):
    """The first places where something is seen: as many as a finding names."""

    def add(self, case: str, entries: tuple[int, ...], says: str) -> None:
        """Keep a place, if there is room."""
        if len(self) < SHOWN:
            self.append(Evidence(case, entries, says))


class Detector(Protocol):
    """Looks at one case after the other and says in the end what it found."""

    @property
    def signature(self) -> Signature:
        """Of what failure."""
        ...

    def look(self, case: Any) -> None:
        """Look at a case (``reading.CaseHistory``)."""
        ...

    def findings(self) -> list[Finding]:
        """What all cases together show."""
        ...
