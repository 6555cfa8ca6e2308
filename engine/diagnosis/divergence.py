"""Replay and its divergence: recorded runs told again, and run anew under another model, prompt or policy.

A recorded run that is told again is the same, bit for bit (``provenet.engine.diagnosis.retelling``). Under
another version of what proposes or verifies it is a new run (``provenet.engine.diagnosis.rerun``), and how
far it departs is measured: version A, A again, then B, from the same recorded inputs, events and people. A
against A is the control. Where it is not zero, A differs from itself, so a difference between A and B would
say nothing: the measurement is invalid, and ends there.

Three shares of cases are kept apart. *Decisions*: what proposers proposed, what the boundary made of it, what
people chose. *Outcome*: where the case ended, and with which value. *Committed state*: which effects were
committed, with what, in which order, and the tokens that are left. Decisions may differ and commit the same:
a gate that lets one answer pass does that. Intervals are Wilson's score intervals; cases are taken as
independent of one another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from provenet.engine.diagnosis.intervals import Interval, wilson
from provenet.engine.diagnosis.rerun import DAYS, Story, Version, rerun, story_of
from provenet.engine.diagnosis.retelling import Departure, Retold, retell
from provenet.engine.diagnosis.telling import Told, tell
from provenet.engine.errors import EngineError
from provenet.engine.keys import Keys
from provenet.engine.program import Program
from provenet.engine.reader import Reader
from provenet.nets.formats.canonical import content_hash
from provenet.sdb.handlers import Agent

Level: TypeAlias = Literal["decisions", "outcome", "committed state"]
"""Where two runs of a case may differ."""

LEVELS: Final[tuple[Level, ...]] = ("decisions", "outcome", "committed state")


@dataclass(frozen=True, slots=True)
class Share:
    """How many of some cases.

    Attributes:
        k: How many.
        n: Of how many.
    """

    k: int
    n: int

    @property
    def interval(self) -> Interval:
        """Between what the share lies, at 95 %."""
        return wilson(self.k, self.n)

    def to_json(self) -> dict[str, Any]:
        """The share as JSON data."""
        low, high = self.interval
        return {"k": self.k, "n": self.n, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class CaseDivergence:
    """Two runs of a case, held side by side.

    Attributes:
        case: Its id.
        differs: In what.
        points: How many decisions differ, and how many there are in the longer run of each who decides.
        departure: Where they part first; ``None`` where they are the same all through.
        ends: Status and final place of both.
        made_up: Effects of the second run that the record knows nothing of: what comes after is
            counterfactual.
        refused: Events of the record that the second run did not take.
    """

    case: str
    differs: tuple[Level, ...]
    points: tuple[int, int]
    departure: Departure | None
    ends: tuple[str, str]
    made_up: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differs and self.departure is None

    def to_json(self) -> dict[str, Any]:
        """The case as JSON data."""
        return {
            "case": self.case,
            "differs": list(self.differs),
            "decisions": {"differ": self.points[0], "of": self.points[1]},
            "departure": None if self.departure is None else self.departure.to_json(),
            "ends": list(self.ends),
            "counterfactual": bool(self.made_up),
            "made_up": list(self.made_up),
            "refused": list(self.refused),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs of the same cases by two versions.

    Attributes:
        names: Of the versions.
        cases: Case by case.
    """

    names: tuple[str, str]
    cases: tuple[CaseDivergence, ...]

    def share(self, level: Level) -> Share:
        """In how many cases it differs."""
        return Share(sum(level in c.differs for c in self.cases), len(self.cases))

    @property
    def same(self) -> bool:
        """Whether no case differs in anything."""
        return all(c.same for c in self.cases)

    @property
    def counterfactual(self) -> Share:
        """In how many cases a stand-in had to make something up."""
        return Share(sum(bool(c.made_up) for c in self.cases), len(self.cases))

    @property
    def points(self) -> tuple[int, int]:
        """How many single decisions differ, and of how many."""
        return sum(c.points[0] for c in self.cases), sum(c.points[1] for c in self.cases)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        differ, of = self.points
        return {
            "versions": list(self.names),
            "shares": {level: self.share(level).to_json() for level in LEVELS},
            "single_decisions": {"differ": differ, "of": of},
            "counterfactual": self.counterfactual.to_json(),
            "cases": [c.to_json() for c in self.cases],
        }


@dataclass(frozen=True, slots=True)
class Divergence:
    """What a measurement has found, in the order in which it was taken.

    Attributes:
        control: A against A again.
        record: A against what is recorded: zero where A is what ran then, and answers as it did.
        measured: B against A; ``None`` where the control is not zero, and after a control alone.
        skipped: Cases that could not be run anew, and why.
    """

    control: Comparison
    record: Comparison
    measured: Comparison | None
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def valid(self) -> bool:
        """Whether A is the same as A."""
        return self.control.same

    @property
    def same(self) -> bool:
        """Whether the measurement is valid and has found no divergence."""
        return self.valid and (self.measured is None or self.measured.same)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "valid": self.valid,
            "control": self.control.to_json(),
            "against_record": self.record.to_json(),
            "measured": None if self.measured is None else self.measured.to_json(),
            "skipped": [{"case": case, "why": why} for case, why in self.skipped],
        }


def replay(
    source: str | Path | Reader,
    agents: Sequence[Agent] = (),
    *,
    cases: Iterable[str] | None = None,
    keys: Keys | None = None,
) -> tuple[Retold, ...]:
    """Tell recorded runs again, from recorded proposals.

    Args:
        source: The database.
        agents: Whose verifiers are asked, where some are functions.
        cases: Ids of the cases; all of them unless given.
        keys: Master keys, for personal values; those of the environment unless given.

    Raises:
        NoSuchCase: There is no case of one of those ids.
        StoreError: The database cannot be read.
    """
    reader = _reader(source, keys)
    programs: dict[str, Program] = {}
    wanted = [view.id for view in reader.cases()] if cases is None else list(cases)
    return tuple(retell(reader, case, agents, programs=programs) for case in wanted)


def measure(
    source: str | Path | Reader,
    a: Version,
    b: Version | None,
    *,
    cases: Iterable[str] | None = None,
    to: str | Path | None = None,
    receipts: Mapping[str, Any] | None = None,
    keys: Keys | None = None,
    days: float = DAYS,
) -> Divergence:
    """Measure how far runs under version B depart from those under version A.

    Args:
        source: The database with the recorded runs, which is only read.
        a: The version that is measured against; without an agent, the record itself.
        b: The other one; without it, only the control is taken.
        cases: Ids of the cases; all of them unless given.
        to: Where the runs of B are kept: a new database, or a simulation; nowhere unless given.
        receipts: Receipts by effect, as JSON data, whatever was recorded.
        keys: Master keys, for personal values; those of the environment unless given.
        days: How far the virtual clock goes at most after the last thing that is recorded.

    Raises:
        NoSuchCase: There is no case of one of those ids.
        NotSimulation: ``to`` is a database, and no simulation.
        DeployRefused: Not all that a version's net requires is proved.
        EngineError: A version cannot run the recorded cases.
    """
    reader = _reader(source, keys)
    wanted = [view.id for view in reader.cases()] if cases is None else list(cases)
    told = {case: story_of(reader, case) for case in wanted}
    skipped = [(case, story) for case, story in told.items() if isinstance(story, str)]
    stories = [story for story in told.values() if isinstance(story, Story)]
    if a.agent is not None:
        own = content_hash(a.agent.net)
        skipped += [
            (s.case, f"it ran on net {s.net[:12]}, not on {own[:12]}") for s in stories if s.net != own
        ]
        stories = [s for s in stories if s.net == own]
    found = asyncio.run(_measure(reader, stories, a, b, to, receipts, keys or Keys.from_env(), days))
    return Divergence(*found, skipped=tuple(skipped))


async def _measure(
    reader: Reader,
    stories: Sequence[Story],
    a: Version,
    b: Version | None,
    to: str | Path | None,
    receipts: Mapping[str, Any] | None,
    keys: Keys | None,
    days: float,
) -> tuple[Comparison, Comparison, Comparison | None]:
    programs: dict[str, Program] = {}
    recorded = {s.case: tell(reader, s.case, programs=programs) for s in stories}

    async def run(version: Version, to: str | Path | None = None) -> dict[str, Told]:
        found: dict[str, Told] = {}
        for net in dict.fromkeys(s.net for s in stories):
            same = [s for s in stories if s.net == net]
            found |= await rerun(reader, same, version, to=to, receipts=receipts, keys=keys, days=days)
        return found

    first, again = await run(a), await run(a)
    control = compare((a.name, f"{a.name} again"), first, again)
    record = compare(("the record", a.name), recorded, first)
    if b is None or not control.same:
        return control, record, None
    return control, record, compare((a.name, b.name), first, await run(b, to))


def compare(names: tuple[str, str], one: Mapping[str, Told], other: Mapping[str, Told]) -> Comparison:
    """Hold runs of the same cases side by side.

    Args:
        names: Of what ran them.
        one: The runs that are measured against, by case.
        other: The others.

    Raises:
        EngineError: They are not of the same cases.
    """
    if one.keys() != other.keys():
        raise EngineError("these are runs of different cases")
    return Comparison(names, tuple(_beside(told, other[case]) for case, told in one.items()))


def _beside(one: Told, other: Told) -> CaseDivergence:
    differ = total = 0
    for who in dict.fromkeys([*one.decisions, *other.decisions]):
        here, there = one.decisions.get(who, ()), other.decisions.get(who, ())
        total += max(len(here), len(there))
        differ += max(len(here), len(there)) - sum(x == y for x, y in zip(here, there, strict=False))
    differs: list[Level] = []
    if differ:
        differs.append("decisions")
    if (one.status, one.outcome) != (other.status, other.outcome):
        differs.append("outcome")
    # An effect that the record never saw has no receipt of its own: the state rests on one that was made up.
    if one.state != other.state or set(other.made_up) - set(one.made_up):
        differs.append("committed state")
    return CaseDivergence(
        case=one.case,
        differs=tuple(differs),
        points=(differ, total),
        departure=_parting(one, other),
        ends=(_end(one), _end(other)),
        made_up=other.made_up,
        refused=other.refused,
    )


def _end(told: Told) -> str:
    return told.place or told.status


def _parting(one: Told, other: Told) -> Departure | None:
    for i in range(max(len(one.essences), len(other.essences))):
        if one.essences[i : i + 1] != other.essences[i : i + 1]:
            words = ["".join(t.words[i : i + 1]) for t in (one, other)]
            seq = (*one.entries[i : i + 1], *other.entries[i : i + 1])[0]
            return Departure(seq, words[0], words[1])
    return None


def _reader(source: str | Path | Reader, keys: Keys | None) -> Reader:
    return source if isinstance(source, Reader) else Reader(source, keys=keys or Keys.from_env())


__all__ = [
    "LEVELS",
    "CaseDivergence",
    "Comparison",
    "Divergence",
    "Level",
    "Share",
    "Version",
    "compare",
    "measure",
    "replay",
]
