"""What every report is made of: one outcome for each verdict, as plain data that any process can send.

An outcome knows where to point: at the line of the Python file in which the transition was written, at the
net's file, or, where neither is known, at the element of the net by name.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from provenet.cli.loading import Loaded
    from provenet.nets.net import Net, Transition
    from provenet.verify.verdict import Report, Verdict

Status = Literal["PROVED", "REFUTED", "UNKNOWN", "ERROR"]
Novelty = Literal["", "new", "known"]
Steps = Literal["told", "left out"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file; ``line`` 0 for the file as a whole, an empty ``file`` for nowhere."""

    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Happening:
    """One step of a trace: the transition, what happened in words, and where it was written."""

    transition: str
    text: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict as reports need it.

    Attributes:
        target: What the user named.
        net: Name of the net; tells nets apart where several of a run have the same name.
        prop: Id of the property.
        title: What it says.
        status: The verdict, or ERROR where there is none since the target could not be checked.
        engine: How it was decided.
        reason: Why.
        subject: What it is about; empty for the whole net.
        mend: How to mend the net.
        vacuous: Why a proof says nothing.
        seconds: How long it took.
        spot: Where to look.
        elements: Kind and name of what it is about: ``("transition", "make offer.commit")``.
        steps: The trace.
        variant: Tells it from others of the same property: the title of a property of the user's own, or of
            one that was asked with arguments.
        novelty: Against a baseline; empty where there was none.
    """

    target: str
    net: str
    prop: str
    title: str
    status: Status
    engine: str = ""
    reason: str = ""
    subject: str = ""
    mend: str = ""
    vacuous: str = ""
    seconds: float = 0.0
    spot: Spot = Spot()
    elements: tuple[tuple[str, str], ...] = ()
    steps: tuple[Happening, ...] = ()
    variant: str = ""
    novelty: Novelty = ""

    @property
    def finding(self) -> bool:
        """Whether there is something to mend, or to find out."""
        return self.status in {"REFUTED", "UNKNOWN"}

    @property
    def fingerprint(self) -> str:
        """The same for the same finding, whatever else changes in the net: net, property, subject."""
        told = json.dumps([self.net, self.prop, self.subject, self.variant])
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """An outcome from its JSON data."""
        given = dict(data)
        given["spot"] = Spot(**given["spot"])
        given["elements"] = tuple((kind, name) for kind, name in given["elements"])
        given["steps"] = tuple(
            Happening(s["transition"], s["text"], Spot(**s["spot"])) for s in given["steps"]
        )
        return cls(**given)


def outcomes_of(loaded: Loaded, report: Report, *, steps: Steps = "told") -> tuple[Outcome, ...]:
    """The outcomes of one target's report.

    Args:
        loaded: The target.
        report: The verdicts on its net.
        steps: Whether the steps of traces are told; nobody reads them where no report is written.
    """
    places = _Places(loaded)
    return tuple(_outcome(loaded, v, places, steps) for v in report.verdicts)


def failed(target: str, message: str, *, net: str = "", prop: str = "", seconds: float = 0.0) -> Outcome:
    """The outcome for a target that could not be checked."""
    path = Path(target)
    spot = Spot(shown_path(path), 1) if path.is_file() else Spot()
    return Outcome(target, net or target, prop, "", "ERROR", reason=message, seconds=seconds, spot=spot)


def told_apart(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes, with the target in the name of nets of which the run has several with one name."""
    given = tuple(outcomes)
    targets: dict[str, set[str]] = {}
    for o in given:
        targets.setdefault(o.net, set()).add(o.target)
    return tuple(replace(o, net=f"{o.net} in {o.target}") if len(targets[o.net]) > 1 else o for o in given)


def shown_path(path: Path) -> str:
    """A path as reports show it: relative to the working folder where it lies below it."""
    whole = path.resolve()
    here = Path.cwd().resolve()
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def _outcome(loaded: Loaded, v: Verdict, places: _Places, told: Steps) -> Outcome:
    from provenet.verify.check import CATALOGUE

    net = loaded.net
    steps: tuple[Happening, ...] = ()
    if v.trace is not None and told == "told":
        from provenet.cli.traces import steps_of

        steps = tuple(
            Happening(
                taken.transition,
                " ".join((f"{s.role} {s.name}", *s.changes, f"[{s.note}]" if s.note else "")).strip(),
                places.of(net.transition(taken.transition)),
            )
            for s, taken in zip(steps_of(net, v.trace, witness=v.witness), v.trace.steps, strict=True)
        )
    elements = tuple(_elements(net, v))
    spots = [places.of(net.transition(name)) for kind, name in elements if kind == "transition"]
    spots += [
        places.of(t)
        for kind, name in elements
        if kind in {"contract", "scope"}
        for t in net.transitions
        if t.contract == name
    ]
    spots += [steps[-1].spot] if steps else []
    usual = CATALOGUE[v.property].title if v.property in CATALOGUE else ""
    return Outcome(
        target=loaded.target,
        net=net.name,
        prop=v.property,
        title=v.title,
        status=v.status.value,
        engine=v.method,
        reason=v.reason,
        subject=v.subject,
        mend=v.told_mend(),
        vacuous=v.vacuous,
        seconds=round(v.seconds, 4),
        spot=next((s for s in spots if s.line), places.whole),
        elements=elements,
        steps=steps,
        variant="" if v.title == usual else v.title,
    )


def _elements(net: Net, v: Verdict) -> Iterator[tuple[str, str]]:
    names = [v.subject] if _kind(net, v.subject) else [n for n in v.subject.split(", ") if n]
    if v.trace is not None and v.trace.steps and not any(_kind(net, n) for n in names):
        names.append(v.trace.steps[-1].transition)
    for name in dict.fromkeys(names):
        if kind := _kind(net, name):
            yield kind, name


def _kind(net: Net, name: str) -> str:
    if net.has_transition(name):
        return "transition"
    if net.has_place(name):
        return "place"
    if any(c.id == name for c in net.contracts):
        return "contract"
    if any(s.id == name for s in net.sagas):
        return "scope"
    return ""


class _Places:
    """Where the transitions of a target were written."""

    def __init__(self, loaded: Loaded) -> None:
        module = None if loaded.module is None else getattr(loaded.module, "__file__", None)
        path = Path(module or loaded.target)
        self.whole = Spot(shown_path(path), 1) if path.is_file() else Spot()
        self._home = path if module else None
        self._files: dict[str, str] = {}

    def of(self, t: Transition) -> Spot:
        """The line of a transition; a net from a file has none."""
        name, _, line = t.source.rpartition(":")
        if self._home is None or not line.isdigit():
            return self.whole
        if name not in self._files:
            self._files[name] = self._found(name)
        return Spot(self._files[name], int(line)) if self._files[name] else self.whole

    def _found(self, name: str) -> str:
        """A transition knows the name of its file only; the file is the target's own or a loaded module's."""
        assert self._home is not None
        if self._home.name == name:
            return shown_path(self._home)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file and Path(file).name == name and "site-packages" not in file:
                return shown_path(Path(file))
        return ""
