"""What if: a case as it was at some entry of its log, run on in a simulation, beside what really happened.

The state at the entry is replayed from the log and copied into a database that is marked as a simulation.
There the case runs on a virtual clock: proposers answer as recorded, or those of a given agent are asked;
people decide as they did; events come as they came; effects are played by stand-ins. What is told otherwise
(another agent, another receipt, another decision) makes the difference.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from provenet.engine.archive import Archived, add
from provenet.engine.case import LiveCase
from provenet.engine.clock import VirtualClock, from_micros, to_micros
from provenet.engine.codec import plain
from provenet.engine.engine import Engine
from provenet.engine.errors import (
    CaseExists,
    EngineError,
    InputRefused,
    NotSimulation,
    StoreError,
)
from provenet.engine.history import ENTRIES, tasks_in
from provenet.engine.keys import Keys
from provenet.engine.past import Past, past_of
from provenet.engine.people import Delegation, said_of
from provenet.engine.program import Program
from provenet.engine.reader import Reader
from provenet.engine.simulation import MARK, recorded_agent, recording_of
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.database import located, ready, snapshot
from provenet.engine.store.sqlite import made_like
from provenet.engine.store.store import Store
from provenet.engine.views import LogLine
from provenet.engine.workers import Decision, People, Task
from provenet.nets.errors import TypeMismatch, did_you_mean
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Choice, Perform
from provenet.nets.schema import from_json
from provenet.nets.secrets import is_personal
from provenet.sdb.handlers import Agent


@dataclass(frozen=True, slots=True)
class Fork:
    """How a case went on in a simulation, beside how it really did.

    Attributes:
        case: Its id.
        at: The entry that both have last in common by construction.
        original: What really came after it.
        simulated: What came in the simulation.
        same: How many entries after it are the same.
        statuses: The case's status, really and simulated.
        outcomes: The place and value that it ended with, really and simulated.
        played: Every effect that a stand-in played: name, payload, receipt and where that came from.
        refused: Events of the record that the simulated case did not take.
    """

    case: str
    at: int
    original: tuple[LogLine, ...]
    simulated: tuple[LogLine, ...]
    same: int
    statuses: tuple[str, str]
    outcomes: tuple[Any, Any]
    played: tuple[dict[str, Any], ...]
    refused: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the histories are not the same."""
        return self.same < max(len(self.original), len(self.simulated))

    def to_json(self) -> dict[str, Any]:
        """The fork as JSON data."""
        return {
            "case": self.case,
            "at": self.at,
            "same": self.same,
            "differs": self.differs,
            "original": [x.to_json() for x in self.original],
            "simulated": [x.to_json() for x in self.simulated],
            "statuses": list(self.statuses),
            "outcomes": list(self.outcomes),
            "played": list(self.played),
            "refused": list(self.refused),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What is told otherwise in a simulation.

    Attributes:
        agent: Whose proposers and verifiers are asked; without one, recorded answers are given.
        receipts: Receipts by effect name, as JSON data.
        decisions: Choices by task.
        days: How far the virtual clock goes at most.
    """

    agent: Agent | None = None
    receipts: Mapping[str, Any] = field(default_factory=dict)
    decisions: Mapping[str, str] = field(default_factory=dict)
    days: float = 3650.0


def fork(
    source: str | Path,
    case: str,
    at: int,
    to: str | Path,
    what_if: WhatIf | None = None,
    *,
    keys: Keys | None = None,
) -> Fork:
    """Run a case on from an entry of its log, in a simulation.

    Args:
        source: The database that it is in.
        case: Its id.
        at: The entry; for the last of several approvals, the one before: it is one with what it let happen.
        to: The simulation's database: one that does not exist yet, or is a simulation already.
        what_if: What is told otherwise.
        keys: Master keys, for personal values; those of the environment unless given.

    Raises:
        NoKeys: The case has personal values, which were erased or for which no key was given.
        NotSimulation: ``to`` is a database, and no simulation.
        CaseExists: The simulation has a case of that id already.
        NoSuchEntry: The log has no such entry.
        CaseClosed: The case was over by then.
        EngineError: Something that is told otherwise does not fit the net.
    """
    keys = keys or Keys.from_env()
    return asyncio.run(_fork(Reader(source, keys=keys), case, at, to, what_if or WhatIf(), keys))


async def _fork(
    reader: Reader, case: str, at: int, to: str | Path, what_if: WhatIf, keys: Keys | None
) -> Fork:
    past = past_of(reader, case, at)
    at = past.log[-1][0]
    program = past.replay.case.program
    _fits(program, what_if)
    refuse_real(to)
    past.recording.given = dict(what_if.receipts)
    agent = what_if.agent or recorded_agent(program, past.recording)
    make_simulation(to, reader)
    _copy(past, to)
    clock = VirtualClock(from_micros(past.log[-1][3]))
    people = _people(past, what_if, clock)
    refused: list[str] = []
    async with Engine.open(
        to, agents=[agent], clock=clock, people=people, snapshot_every=0, keys=keys
    ) as engine:
        if past.replay.status == "parked":
            await engine.resume(case)
        for event in past.events:
            await engine.run_until_idle(until=from_micros(event.at))
            try:
                if event.name:
                    own = None if event.event_at is None else from_micros(event.event_at)
                    await engine.signal(case, event.name, event.payload, key=event.key, at=own)
                else:
                    await engine.kill("case", case, who=event.who, reason=event.reason)
            except EngineError as error:
                refused.append(f"{event.name or 'kill'}: {error.message}")
        await engine.run_until_idle(until=clock.now() + timedelta(days=what_if.days))
        return _beside(reader, engine.read, case, at, refused)


def _fits(program: Program, what_if: WhatIf) -> None:
    """Refuse what is told otherwise and does not fit the net."""
    agent = what_if.agent
    if agent is not None and content_hash(agent.net) != program.hash:
        raise EngineError(
            f"the agent's net is {content_hash(agent.net)[:12]}, the case runs on {program.hash[:12]}",
            hint="name the agent as it was deployed; for another net, fork without it, then deploy the other "
            "one to the simulation and `provenet migrate` the case there",
        )
    effects = {
        s.transition.trigger.handler: s for s in program.steps if isinstance(s.transition.trigger, Perform)
    }
    for name, data in what_if.receipts.items():
        if name not in effects:
            raise EngineError(f"there is no effect {name!r}", hint=did_you_mean(name, effects))
        fresh = effects[name].fresh
        try:
            if fresh and is_personal(fresh[0][1]):
                raise EngineError(
                    f"receipts of effect {name!r} have personal fields, and what is told is stored as it is"
                )
            if fresh:
                from_json(data, fresh[0][1])
        except TypeMismatch as error:
            raise InputRefused(
                f"the receipt does not fit: {error.message}", where=f"effect {name!r}"
            ) from None
    choices: dict[str, list[str]] = {}
    for s in program.steps:
        if isinstance(s.transition.trigger, Choice):
            choices.setdefault(s.transition.trigger.task, []).append(s.transition.trigger.choice)
    for task, choice in what_if.decisions.items():
        if task not in choices:
            raise EngineError(f"there is no task {task!r}", hint=did_you_mean(task, choices))
        if choice not in choices[task]:
            raise EngineError(
                f"task {task!r} has no choice {choice!r}", hint=did_you_mean(choice, choices[task])
            )


# writing the copy


def refuse_real(to: str | Path) -> None:
    """Make sure that a database is a simulation, or that there is none.

    Raises:
        NotSimulation: It is there, and its cases are real.
    """
    where = located(to)
    if where.kind == "memory":
        raise NotSimulation(
            "this database is gone as soon as the copy is made", hint="name a file for the simulation"
        )
    if not ready(where):
        return
    reader = Reader(to)
    with snapshot(reader.engine, where, lambda raw: raw.decode("utf-8", "replace")) as rows:
        if recording_of([(str(n), str(v)) for n, v in rows("SELECT name, value FROM provenet_meta")]) is None:
            raise NotSimulation(
                "this database is no simulation: its cases are real",
                where=str(where),
                hint="name a database that does not exist yet, or one that an earlier fork made",
            )


def make_simulation(to: str | Path, reader: Reader) -> None:
    """A new file for a simulation, which nobody may read who may not read what it copies."""
    made, model = located(to), reader.location
    if made.path is not None and model.path is not None and not made.path.exists():
        try:
            made_like(model.path, made.path)
        except OSError as error:
            raise StoreError(f"it cannot be made: {error.strerror}", where=str(made)) from None


def _copy(past: Past, to: str | Path) -> None:
    """Write the case as it was."""
    store = Store(to)
    try:
        case_id, case = str(past.row["id"]), past.replay.case
        if store.rows("SELECT 1 FROM provenet_case WHERE id = ?", (case_id,)):
            raise CaseExists(
                f"the simulation has a case {case_id!r} already",
                where=str(store.location),
                hint="a simulation holds one fork of a case: name a new one, as with --to what-if-2.db",
            )
        no = store.database.case_numbers(1)
        recorded = f"recorded:{case_id}"
        facts = {MARK: "yes", "clock": "virtual", recorded: past.recording.to_text(case_id)}
        for name, value in facts.items():
            store.put("provenet_meta", name, (name, value))
        known = {found for (found,) in store.rows("SELECT hash FROM provenet_net")}
        for each in past.keys:
            # No new case is started for the subject here, and a later fork may bring another key of its own.
            store.put("provenet_key", each["id"], tuple((each | {"subject": ""}).values()))
        for row in past.nets:
            if row["hash"] not in known:
                store.put("provenet_net", row["hash"], tuple(row.values()))
        row = past.row | {
            "no": no,
            "net": case.program.hash,
            "status": "parked" if past.replay.status == "parked" else "running",
            "version": case.seq,
            "tokens": case.next_token,
            "head": case.head,
            "finished": None,
            "outcome_place": None,
            "outcome": None,
            "reason": past.replay.reason,
            "killed": case.killed,
            "owner": 0,
        }
        store.add_case(tuple(row.values()))
        for entry in past.log:
            store.append("provenet_event", (no, *entry))
        if past.log[0][0] > 1:
            first, at = past.log[0], past.log[-1][3]
            begins = (case.program.hash, first[0], first[6], "running")
            add(store, Archived(0, "trimmed", no, case_id, *begins, None, None, None, at))
        for token, (place, value, text, at) in past.replay.book.tokens.items():
            store.put_token((no, token), place, value, text, at)
        for table, rows in (("effect", past.effects), ("task", past.tasks), ("about", past.about)):
            for each in rows:
                each["case_no"] = no
                values = tuple(v for k, v in each.items() if k != "id")
                store.put(f"provenet_{table}", (table, *values[:3]), values)
        for each in past.inbox:
            values = tuple(v for k, v in (each | {"case_no": no}).items() if k != "id")
            store.append("provenet_inbox", values)
        for said in _said(case, no):
            store.put("provenet_task", ("task", *said[:3]), said)
    except BaseException:
        store.abandon()
        raise
    store.close()


def _said(case: LiveCase, no: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the open tasks of which people have said something; whoever runs the case writes them anew."""
    for t in tasks_in(case):
        task, token = t["task"], t["token"]
        said = said_of(case, task, token)
        if said:
            deadline = None if t["deadline"] is None else to_micros(datetime.fromisoformat(t["deadline"]))
            about = (plain(t["choices"]), t["role"], plain(t["about"]), t["about_hash"])
            times = (case.arrived[token], deadline)
            yield no, token, task, *about, *times, "open", None, None, None, said


# running on


def _people(past: Past, what_if: WhatIf, clock: VirtualClock) -> People:
    """People who decide as told, or as they did."""
    done: Counter[tuple[str, int]] = Counter()

    async def decide(task: Task) -> Decision | Delegation | None:
        if task.task in what_if.decisions:
            # Another one for each who has approved before.
            name = f"what-if-{len(task.approved) + 1}" if task.approved else "what-if"
            return Decision(what_if.decisions[task.task], f"{name}@{task.role}" if task.role else name)
        at = task.task, task.token
        act = next(iter(past.acts.get(at, [])[done[at] :]), None)
        if act is None or (act.about and act.about != task.about_hash):
            return None
        await clock.sleep(from_micros(act.at) - clock.now())
        done[at] += 1
        return act.said

    return decide


def _beside(reader: Reader, simulated: Reader, case: str, at: int, refused: Sequence[str]) -> Fork:
    here, there = reader.case(case), simulated.case(case)
    original = tuple(x for x in here.log if x.seq > at and x.kind != SNAPSHOT)
    other = tuple(x for x in there.log if x.seq > at and x.kind != SNAPSHOT)
    same = 0
    for a, b in zip(_essences(reader, case, at), _essences(simulated, case, at), strict=False):
        if a != b:
            break
        same += 1
    ends = [
        None if d.case.outcome_place is None else {"place": d.case.outcome_place, "value": d.case.outcome}
        for d in (here, there)
    ]
    return Fork(
        case=case,
        at=at,
        original=original,
        simulated=other,
        same=same,
        statuses=(here.case.status, there.case.status),
        outcomes=(ends[0], ends[1]),
        played=tuple(simulated.played(case)),
        refused=tuple(refused),
    )


def _essences(reader: Reader, case: str, at: int) -> list[str]:
    """What entries must have in common to be the same: no time, and no key, which is the database's.

    They are compared as they are stored, since a difference may lie in what nobody is shown.
    """
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        ((no,),) = rows("SELECT no FROM provenet_case WHERE id = ?", case)
        entries = [e for e in rows(ENTRIES, no) if e[0] > at and e[1] != SNAPSHOT]
    found = []
    for _, kind, transition, _, text, *_ in entries:
        data = json.loads(text)
        note = {k: v for k, v in data.get("note", {}).items() if k != "key"}
        found.append(plain([kind, transition, {**data, "note": note}]))
    return found
