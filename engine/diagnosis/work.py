"""Units of work from recorded runs: for each case that has ended, its calls and how far it strayed.

What was declared is either the contract of each call or the goal of the whole case, and a case strays by one
for each call whose answer did not pass its contract, or by one where it did not end in a goal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from provenet.engine.case import LIVE
from provenet.engine.diagnosis.reliability import Work, pass_hat_of
from provenet.engine.errors import EngineError
from provenet.engine.reader import Reader
from provenet.engine.store.database import snapshot
from provenet.nets.errors import did_you_mean
from provenet.nets.net import Ask, Net, OnFailure, Role

Measure: TypeAlias = Literal["calls", "goals"]
"""Whether a case strays with each call that did not pass its contract, or by not ending in a goal."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a net version has on record.

    Attributes:
        net: Its name.
        hash: Its content hash.
        measure: What counts as straying.
        work: Cases that have ended, in that order.
        tasks: For each input that more than one case was started with: tries, and how many did not stray.
        idle: Cases that ended and asked no model.
    """

    net: str
    hash: str
    measure: Measure
    work: tuple[Work, ...]
    tasks: tuple[tuple[int, int], ...]
    idle: int

    def pass_hats(self, most: int = 8) -> dict[int, float]:
        """The mean of pass^k over repeated tasks, for each k that all of them were tried as often as."""
        if not self.tasks:
            return {}
        fewest = min(n for n, _ in self.tasks)
        return {k: float(pass_hat_of(self.tasks, k)) for k in range(1, min(fewest, most) + 1)}


def recorded_work(reader: Reader, *, goals: Collection[str] = (), net: str | None = None) -> list[Record]:
    """Units of work on record, for each net version that has any.

    Args:
        reader: Of the database.
        goals: Final places that are goals; without any, each call's contract is what was declared.
        net: Only this net, by name or content hash.

    Raises:
        EngineError: A goal is no final place of a net that is looked at.
    """
    views = [v for v in reader.cases(net=net) if v.status not in (*LIVE, "parked")]
    views.sort(key=lambda v: (v.finished or v.created, v.id))
    nets = {digest: reader.net(digest) for digest in dict.fromkeys(v.net_hash for v in views)}
    known = {digest: found for digest, found in nets.items() if found is not None}
    _check(known.values(), goals)
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        numbers = {int(no): str(case) for no, case in rows("SELECT no, id FROM provenet_case")}
        fired = rows(
            "SELECT case_no, transition, COUNT(*) FROM provenet_event WHERE kind = 'fire'"
            " GROUP BY case_no, transition"
        )
        starts = rows("SELECT case_no, data FROM provenet_event WHERE kind = 'start'")
    counts: dict[str, Counter[str]] = {}
    for no, transition, count in fired:
        counts.setdefault(numbers[int(no)], Counter())[str(transition)] = int(count)
    inputs = {numbers[int(no)]: _inputs(str(data)) for no, data in starts}
    found: list[Record] = []
    for digest, its in known.items():
        asked, strayed = _calls(its)
        work: list[Work] = []
        tries: dict[str, list[int]] = {}
        for view in (v for v in views if v.net_hash == digest):
            seen = counts.get(view.id, Counter[str]())
            misses = sum(seen[t] for t in strayed)
            if goals:
                misses = int(view.outcome_place not in goals)
            elif view.status != "done":
                misses += 1
            work.append(Work(view.id, sum(seen[t] for t in asked), float(misses)))
            if view.id in inputs:
                tries.setdefault(inputs[view.id], []).append(int(misses == 0))
        tasks = tuple((len(t), sum(t)) for t in tries.values() if len(t) > 1)
        with_calls = tuple(w for w in work if w.calls)
        measure: Measure = "goals" if goals else "calls"
        found.append(Record(its.name, digest, measure, with_calls, tasks, len(work) - len(with_calls)))
    return found


def _calls(net: Net) -> tuple[Sequence[str], Sequence[str]]:
    """Transitions that stand for a call that has ended, and those that say it did not pass."""
    asks = {t.name for t in net.transitions if isinstance(t.trigger, Ask)}
    faults = [t.name for t in net.transitions if isinstance(t.trigger, OnFailure) and t.trigger.of in asks]
    contracts = {t.contract for t in net.transitions if t.name in asks}
    rejects = [t.name for t in net.transitions if t.role is Role.REJECT and t.contract in contracts]
    return [*asks, *faults], [*faults, *rejects]


def _check(nets: Collection[Net], goals: Collection[str]) -> None:
    finals = {place for net in nets for final in net.finals for place, _ in final}
    for goal in goals:
        if goal not in finals:
            raise EngineError(
                f"no case can end in {goal!r}", hint=did_you_mean(goal, sorted(finals)) if finals else ""
            )


def _inputs(text: str) -> str:
    said: dict[str, Any] = json.loads(text)
    return json.dumps([said["net"], [[place, value] for _, place, value in said["put"]]], sort_keys=True)
