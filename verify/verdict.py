"""Verdicts: what the checker says of one property, with its evidence.

``PROVED`` comes with a certificate that was re-checked, ``REFUTED`` with a trace that was replayed through
the firing rule (or, where the fault is that nothing can happen, with a certificate of that), ``UNKNOWN`` with
the reason and what was tried. ``UNKNOWN`` is never a pass.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from provenet.nets.errors import FiringError, FormatError
from provenet.nets.firing import NetRule
from provenet.nets.formats.canonical import content_hash, net_from_json, net_to_json
from provenet.nets.formats.patch import difference, patched
from provenet.nets.marking import Marking, marking_from_json, marking_to_json
from provenet.nets.net import Net
from provenet.nets.quick import dataclass
from provenet.nets.schema import Value, from_json, to_json


class Status(enum.StrEnum):
    """What is known of a property."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One firing of a trace.

    Attributes:
        transition: Which transition fired.
        binding: Values of all its variables.
        note: One sentence for people: what this step means for the property.
    """

    transition: str
    binding: Mapping[str, Value]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A run of a net: the marking it starts from and the firings.

    Attributes:
        start: The initial marking, with the case's input in it.
        steps: The firings in order.
    """

    start: Marking
    steps: tuple[TraceStep, ...]

    def replay(self, net: Net, *, rule: NetRule | None = None) -> tuple[Marking, ...]:
        """The markings before, between and after the firings, by the firing rule.

        Args:
            net: The net.
            rule: Its firing rule, where it is at hand: making one compiles every expression of the net.

        Raises:
            FiringError: A step does not fire: the trace is no run of this net.
        """
        rule = rule or NetRule(net)
        markings = [self.start]
        for step in self.steps:
            markings.append(rule.fire(markings[-1], step.transition, step.binding))
        return tuple(markings)

    def replays(self, net: Net) -> bool:
        """Whether every step fires."""
        try:
            self.replay(net)
        except (FiringError, KeyError):
            return False
        return True

    def to_json(self, net: Net) -> dict[str, Any]:
        """The trace as JSON data."""
        steps = []
        for step in self.steps:
            scope = net.scope(net.transition(step.transition))
            binding = {name: to_json(step.binding[name], of) for name, of in scope.items()}
            steps.append({"transition": step.transition, "binding": binding, "note": step.note})
        return {"start": marking_to_json(self.start, net), "steps": steps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], net: Net) -> Trace:
        """A trace from JSON data.

        Raises:
            TypeMismatch: A value does not belong to its type.
            KeyError: A place, transition or variable is unknown.
        """
        steps = []
        for step in data["steps"]:
            scope = net.scope(net.transition(step["transition"]))
            binding = {name: from_json(value, scope[name], name) for name, value in step["binding"].items()}
            steps.append(TraceStep(step["transition"], binding, step.get("note", "")))
        return cls(marking_from_json(data["start"], net), tuple(steps))


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a proof rests on.

    Attributes:
        kind: ``facts`` (conditions for each place, inductive) and ``horn`` (the same as Spacer's formulas)
            are checked clause by clause in place of a new search; what the others name is cheap to do again:
            ``linear`` (an invariant's weights), ``graph`` (which fields the state graph keeps),
            ``ranking``, ``flow``, ``policy`` and ``structure``.
        data: JSON-like data.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mend:
    """A change of the net under which the property was proved; see ``provenet.verify.mending``.

    Attributes:
        text: What to change, in words.
        net: The net with the change.
        checked: Properties that were proved of the mended net, by id or, for the user's own, by title.
        unchecked: Those that were proved before and, in the time there was, not again.
    """

    text: str
    net: Net
    checked: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    def to_json(self, net: Net) -> dict[str, Any]:
        """The mend as JSON data: what changes in the net's canonical JSON, as a JSON Patch (RFC 6902)."""
        return {
            "text": self.text,
            "patch": difference(net_to_json(net), net_to_json(self.net)),
            "net_hash": content_hash(self.net),
            "checked": list(self.checked),
            "unchecked": list(self.unchecked),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], net: Net) -> Mend:
        """A mend from JSON data.

        Raises:
            FormatError: The patch does not fit the net, or does not make the net that was checked.
            NetError: The mended net has mistakes.
        """
        mended = net_from_json(patched(net_to_json(net), data["patch"]), source="mended net")
        if content_hash(mended) != data["net_hash"]:
            raise FormatError("the patch makes another net than the one that was checked", where="mend")
        return cls(data["text"], mended, tuple(data["checked"]), tuple(data["unchecked"]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker says of one property.

    Attributes:
        property: Id of the catalogue, or the user property's kind.
        title: What the property says, in one line.
        status: PROVED, REFUTED or UNKNOWN.
        method: How it was decided: ``per-place facts``, ``linear invariant``, ``state graph`` ...
        reason: Why: what the refutation shows, or why nothing is known, in one or two sentences.
        subject: What it is about: a contract, a place, a transition; empty for the whole net.
        trace: A run that breaks the property.
        certificates: What the proof rests on.
        witness: Named values that show the point, such as the discount that slips through.
        facts: Place name to what is known of every token there, in the expression language, where the proof
            found it.
        mend: How to mend the net, where the cause is recognized; in words.
        mends: Mends that were verified, each with the net that it makes (``provenet.verify.mending``).
        vacuous: Why the property holds for want of anything to check; empty where it says something.
        seconds: How long it took.
    """

    property: str
    title: str
    status: Status
    method: str = ""
    reason: str = ""
    subject: str = ""
    trace: Trace | None = None
    certificates: tuple[Certificate, ...] = ()
    witness: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    mend: str = ""
    vacuous: str = ""
    seconds: float = 0.0
    mends: tuple[Mend, ...] = ()

    def told_mend(self) -> str:
        """The mend for people: words that no mended net stands behind are called advice."""
        return f"{self.mend} (advice, not re-verified)" if self.mend and not self.mends else self.mend

    def to_json(self, net: Net) -> dict[str, Any]:
        """The verdict as JSON data."""
        return {
            "property": self.property,
            "title": self.title,
            "verdict": str(self.status),
            "method": self.method,
            "reason": self.reason,
            "subject": self.subject,
            "trace": None if self.trace is None else self.trace.to_json(net),
            "certificates": [{"kind": c.kind, "data": dict(c.data)} for c in self.certificates],
            "witness": {
                k: v if isinstance(v, str | int | bool | None) else str(v) for k, v in self.witness.items()
            },
            "facts": dict(self.facts),
            "mend": self.mend,
            "mends": [m.to_json(net) for m in self.mends],
            "vacuous": self.vacuous,
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], net: Net) -> Verdict:
        """A verdict from JSON data; see ``Trace.from_json`` for what it raises."""
        trace = data.get("trace")
        return cls(
            property=data["property"],
            title=data["title"],
            status=Status(data["verdict"]),
            method=data["method"],
            reason=data["reason"],
            subject=data["subject"],
            trace=None if trace is None else Trace.from_json(trace, net),
            certificates=tuple(Certificate(c["kind"], c["data"]) for c in data["certificates"]),
            witness=data["witness"],
            facts=data["facts"],
            mend=data["mend"],
            mends=tuple(Mend.from_json(m, net) for m in data.get("mends", ())),
            vacuous=data["vacuous"],
            seconds=data["seconds"],
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on one net.

    Attributes:
        net: Name of the net.
        net_hash: Content hash of the net; the verdicts hold for that very content.
        verdicts: One for each property.
        seconds: How long all of it took.
        versions: Versions of Provenet and of the solvers.
    """

    net: str
    net_hash: str
    verdicts: tuple[Verdict, ...]
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    def unproved(self) -> tuple[Verdict, ...]:
        """The verdicts that forbid a deploy."""
        return tuple(v for v in self.verdicts if v.status is not Status.PROVED)

    def status(self) -> Status:
        """REFUTED if anything is, else UNKNOWN if anything is, else PROVED."""
        found = {v.status for v in self.verdicts}
        return next((s for s in (Status.REFUTED, Status.UNKNOWN) if s in found), Status.PROVED)

    def to_json(self, net: Net) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "net": self.net,
            "net_hash": self.net_hash,
            "verdicts": [v.to_json(net) for v in self.verdicts],
            "seconds": round(self.seconds, 4),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], net: Net) -> Report:
        """A report from JSON data; see ``Trace.from_json`` for what it raises."""
        return cls(
            net=data["net"],
            net_hash=data["net_hash"],
            verdicts=tuple(Verdict.from_json(v, net) for v in data["verdicts"]),
            seconds=data["seconds"],
            versions=data["versions"],
        )


def matches(report: Report, net: Net) -> bool:
    """Whether a report speaks of this very net."""
    return report.net_hash == content_hash(net)
