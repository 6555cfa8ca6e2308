"""All cases of a net version move, whoever runs them: what ``provenet migrate`` does.

Cases that nobody runs are moved here and now. Those of other processes are looked at from outside, in one
moment of the database, which takes as long as it takes; who runs them is then asked to move those that may
go, a few at a time, and does so where they stand as they were looked at, and looks for itself. One that has
moved on is looked at again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from provenet.engine.access.gate import Rules
from provenet.engine.case import LiveCase
from provenet.engine.clock import EPOCH, VirtualClock
from provenet.engine.errors import EngineError, NoKeys, StoreDenied, StoreLocked
from provenet.engine.keys import HINT, Keys
from provenet.engine.marking_map import MarkingMap
from provenet.engine.migrate import NO_EVIDENCE, UNFINISHED, Migration, Tally, both, counts, report_of
from provenet.engine.moving import Fitting, Look, Scout
from provenet.engine.personal import Seal
from provenet.engine.program import Program
from provenet.engine.reaching import Evidence
from provenet.engine.reader import Reader
from provenet.engine.recovery import load_cases
from provenet.engine.requests import post, rules_there
from provenet.engine.store.database import Location, Rows, snapshot
from provenet.engine.vault import seals
from provenet.nets.formats.canonical import content_hash
from provenet.sdb.handlers import Agent

AT_ONCE = 50
"""Cases that a process is asked to move at a time: it hears nobody else meanwhile."""

ROUNDS = 8
"""How often a case is looked at that moves on meanwhile."""


def migrate_database(
    source: str | Path,
    versions: tuple[str, str],
    plan: MarkingMap,
    agents: Sequence[Agent],
    *,
    accept: Evidence = "history",
    dry_run: Literal["no", "yes"] = "no",
    token: str | None = None,
    access: Rules | None = None,
) -> Migration:
    """Move the unfinished cases of a net version, whoever runs them.

    Args:
        source: The database's name.
        versions: The version that they leave, and the one that they go to: a hash, the beginning of one, or a
            name for its latest version.
        plan: Where their tokens go.
        agents: Agents of both; ``quiet`` makes one without code.
        accept: The least evidence that will do.
        dry_run: ``yes`` to look only: no process is asked for anything.
        token: Who asks, where the database is guarded. A signed command is for cases that nobody runs.
        access: The rules of a guarded database.

    Raises:
        AccessRefused: The token does not allow it.
        MigrationRefused: There are no such versions, or the map does not fit them.
        StoreError: The database cannot be read or written.
    """
    reader = Reader(source)
    programs = {content_hash(agent.net): Program(agent) for agent in agents}
    rows = [(str(n["hash"]), str(n["name"])) for n in reader.nets()]
    old, new = both(rows, versions, programs)
    far = _Far(source, reader, programs[old], programs[new], plan, accept, token)
    tally = Tally()
    left: Collection[str] | None = None
    for round_ in range(1 if dry_run == "yes" else ROUNDS):
        if dry_run == "no":
            time.sleep(0.1 * round_)
            found = asyncio.run(_alone(source, reader, (old, new), plan, agents, accept, left, token, access))
            if found is not None:
                tally.merge(found)
                left = found.elsewhere
        left = far.unfinished(left)
        again: list[str] = []
        for first in range(0, len(left), AT_ONCE):
            again += far.see_to(left[first : first + AT_ONCE], tally, dry_run)
        left = again
        if not left:
            break
    for name in left or ():
        tally.stays(name, "it moves on whenever it is looked at: try again when it is quieter")
    return tally.migration(old, new, "no" if dry_run == "yes" else "yes")


async def _alone(
    source: str | Path,
    reader: Reader,
    versions: tuple[str, str],
    plan: MarkingMap,
    agents: Sequence[Agent],
    accept: Evidence,
    cases: Collection[str] | None,
    token: str | None,
    access: Rules | None,
) -> Migration | None:
    """Move those that nobody runs; ``None`` where that is not ours to do."""
    from provenet.engine.engine import Engine

    # The time stands still: nothing rings meanwhile.
    clock = VirtualClock(EPOCH if reader.clock() == "virtual" else datetime.now(UTC))
    rules = rules_there(reader, access, {})
    try:
        async with Engine.open(source, agents=agents, clock=clock, takes="asked", access=rules) as engine:
            return await engine.migrate(*versions, plan, accept=accept, cases=cases, token=token)
    except (StoreLocked, StoreDenied):
        return None


class _Far:
    """Cases that other processes run.

    Args:
        source: Their database.
        reader: It, for reading.
        old: The version that they leave.
        new: The version that they go to.
        plan: Where their tokens go.
        accept: The least evidence that will do.
        token: Who asks.
    """

    def __init__(
        self,
        source: str | Path,
        reader: Reader,
        old: Program,
        new: Program,
        plan: MarkingMap,
        accept: Evidence,
        token: str | None,
    ) -> None:
        self._token = token
        self._silent: dict[int, str] = {}
        self._source, self._reader, self._old, self._new = source, reader, old, new
        self._plan, self._moment = plan, _Moment(reader.location)
        self._find = seals(lambda statement, *given: self._moment.rows(statement, given), Keys.from_env())
        report = report_of(json.dumps(reader.report(new.hash)), new.net)
        self._scout = Scout(Fitting(self._moment, old, new, plan), report, reader.net, accept)

    def unfinished(self, these: Collection[str] | None) -> list[str]:
        """Ids of those that have not ended; all of them, or those of some."""
        with self._snapshot():
            found = [case for (case,) in self._moment.rows(UNFINISHED, (self._old.hash,))]
        wanted = None if these is None else set(these)
        return [case for case in found if wanted is None or case in wanted]

    def see_to(self, cases: Sequence[str], tally: Tally, dry_run: Literal["no", "yes"]) -> list[str]:
        """Look at cases, and have those moved that may go; ids of those to be looked at again."""
        going: dict[int, dict[str, tuple[LiveCase, Look]]] = {}
        with self._snapshot():
            marks = ",".join("?" * len(cases))
            rows = self._moment.rows(
                "SELECT no, owner FROM provenet_case"  # noqa: S608
                f" WHERE net = ? AND status IN ('running', 'waiting', 'parked') AND id IN ({marks})",
                (self._old.hash, *cases),
            )
            owners = dict(rows)
            for case in load_cases(self._moment, {self._old.hash: self._old}, [*owners], self._seal):
                found = self._scout.look(case)
                if dry_run == "yes" or found.evidence == NO_EVIDENCE:
                    tally.add(case.id, counts(case.marking), found)
                else:
                    going.setdefault(owners[case.no], {})[case.id] = case, found
        again: list[str] = []
        for owner, ready in going.items():
            # What nobody runs by now is moved in the next round.
            again += self._ask(owner, ready, tally) if owner else ready
        return again

    def _ask(self, owner: int, ready: Mapping[str, tuple[LiveCase, Look]], tally: Tally) -> list[str]:
        command = {
            "do": "move",
            "token": self._token,
            "case": next(iter(ready)),
            "old": self._old.hash,
            "new": self._new.hash,
            "map": self._plan.to_json(),
            "cases": [(i, case.seq, case.head.hex(), found.evidence) for i, (case, found) in ready.items()],
        }
        answer: dict[str, Any] = {}
        try:
            if owner not in self._silent:
                answer = post(self._source, command)
        except EngineError as error:
            # Nobody waits for it again: fifty cases at a time, that may take hours.
            self._silent[owner] = f"the process that runs it: {error.message}"
        if owner in self._silent:
            for name, (case, _) in ready.items():
                tally.stays(name, self._silent[owner], counts(case.marking))
            return []
        moved, stays = set(answer["moved"]), answer["stays"]
        for name, (case, found) in ready.items():
            if name in moved:
                tally.add(name, counts(case.marking), found)
            elif name in stays:
                tally.stays(name, stays[name], counts(case.marking))
        return [name for name in ready if name not in moved and name not in stays]

    def _seal(self, case: str, key: str) -> Seal:
        found = self._find(key)
        if found.state != "open":
            raise NoKeys(f"its personal data are {found.state}", where=f"case {case!r}", hint=HINT)
        return found

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        with snapshot(self._reader.engine, self._reader.location, _lenient) as rows:
            self._moment.now = rows
            yield


class _Moment:
    """One moment of a database, as cases are read from it."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.now: Rows = _closed

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.now(statement, *parameters)


def _closed(*_: object) -> list[tuple[Any, ...]]:
    raise AssertionError("read outside of any moment")


def _lenient(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
