"""What if: a case as it was at some entry of its log, run on in a simulation, beside what really happened.

The state at the entry is replayed from the log and copied into a database that is marked as a simulation.
There the case runs on a virtual clock: proposers answer as recorded, or those of a given agent are asked;
people decide as they did; events come as they came; effects are played by stand-ins. What is told otherwise
(another agent, another receipt, another decision) makes the difference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from sqlmodel import SQLModel

from provenet.engine.archive import Archived, add
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.clock import VirtualClock, from_micros, to_micros
from provenet.engine.codec import plain, text_hash
from provenet.engine.engine import Engine
from provenet.engine.errors import (
    CaseClosed,
    CaseExists,
    EngineError,
    InputRefused,
    NoKeys,
    NotSimulation,
    StoreError,
)
from provenet.engine.history import ENTRIES, Again, Entry, Replay, replayed, tasks_in
from provenet.engine.keys import HINT, Keys
from provenet.engine.people import APPROVE, said_of
from provenet.engine.program import Program
from provenet.engine.reader import Reader, no_entry
from provenet.engine.simulation import MARK, Recording, Said, recorded_agent, recording_of
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.database import Rows, located, ready, snapshot
from provenet.engine.store.sqlite import made_like
from provenet.engine.store.store import Store
from provenet.engine.store.tables import (
    AboutRow,
    CaseRow,
    EffectRow,
    InboxRow,
    KeyRow,
    NetRow,
    TaskRow,
    table_of,
)
from provenet.engine.views import LogLine
from provenet.engine.workers import Decision, Task
from provenet.nets.errors import TypeMismatch, did_you_mean
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Ask, Choice, OnFailure, Perform, Role, Signal
from provenet.nets.schema import Value, from_json
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
        at: The entry.
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
    past = _read(reader, case, at)
    program = past.replay.case.program
    _fits(program, what_if)
    _refuse_real(to)
    past.recording.given = dict(what_if.receipts)
    agent = what_if.agent or recorded_agent(program, past.recording)
    _make(to, reader)
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
                    await engine.kill("case", case, who="the record")
            except EngineError as error:
                refused.append(f"{event.name or 'kill'}: {error.message}")
        await engine.run_until_idle(until=clock.now() + timedelta(days=what_if.days))
        return _beside(reader, engine.read, case, at, refused)


# reading the original


@dataclass(frozen=True, slots=True)
class _Decided:
    """What somebody decided, or one of several who had to."""

    about: str
    choice: str
    who: str
    at: int
    note: Value = None


@dataclass(frozen=True, slots=True)
class _Event:
    at: int
    name: str
    payload: Any
    key: str | None
    seq: int = 0
    event_at: int | None = None


@dataclass(slots=True)
class _Past:
    """All that a case's record says: the state at an entry, and what the outside said, then and later."""

    row: _Row
    log: list[Entry]
    replay: Replay
    recording: Recording
    nets: list[_Row]
    keys: list[_Row]
    effects: list[_Row]
    tasks: list[_Row]
    inbox: list[_Row]
    about: list[_Row]
    decisions: dict[tuple[str, int], list[_Decided]]
    events: list[_Event]


_Row: TypeAlias = dict[str, Any]
"""A row, by its table's columns."""


def _rows(rows: Rows, model: type[SQLModel], where: str, *parameters: Any) -> list[_Row]:
    names = [c.name for c in table_of(model).columns]
    columns = ", ".join(f'"{name}"' for name in names)
    found = rows(f"SELECT {columns} FROM {model.__tablename__} {where}", *parameters)  # noqa: S608  our own tables
    return [dict(zip(names, row, strict=True)) for row in found]


def _read(reader: Reader, case: str, at: int) -> _Past:
    reader.case(case)  # refuses an unknown one with the names that there are
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        (row,) = _rows(rows, CaseRow, "WHERE id = ?", case)
        no, created = row["no"], row["created"]
        log = [(e[0], e[1], e[2], e[3], e[4], e[5], e[6]) for e in rows(ENTRIES, no)]
        effects = _rows(rows, EffectRow, "WHERE case_no = ?", no)
        tasks = _rows(rows, TaskRow, "WHERE case_no = ?", no)
        inbox = _rows(rows, InboxRow, "WHERE case_no = ? ORDER BY id", no)
        about = _rows(rows, AboutRow, "WHERE case_no = ?", no)
        nets = _rows(rows, NetRow, "ORDER BY deployed")
        keys = _rows(rows, KeyRow, "WHERE id = ?", row["data_key"])
    first = log[0][0] if log else 1
    upto = at - first + 1
    if not 1 <= upto <= len(log):
        raise no_entry(case, at, first, first + len(log) - 1)
    if row["data_key"] and (state := reader.seal(row["data_key"]).state) != "open":
        raise NoKeys(
            "its personal data are erased" if state == "erased" else "it has personal data",
            where=f"case {case!r}",
            hint="nothing can be run on from them" if state == "erased" else HINT,
        )
    replay = replayed(Replay(reader.program, no, case, created, reader.seal), log, upto)
    if replay.status not in (*LIVE, "parked"):
        raise CaseClosed(
            f"case {case!r} was {replay.status} after entry {at}", hint="fork from an entry before its end"
        )
    recorder = _Recorder(reader, no, case, created, at)
    replayed(recorder, log, len(log))
    recorder.effects_of(effects)
    until = log[upto - 1][3]

    def over(token: int) -> bool:
        return token < replay.case.next_token and token not in replay.case.arrived

    return _Past(
        row=row,
        log=log[:upto],
        replay=replay,
        recording=recorder.recording,
        nets=[r for r in nets if r["hash"] in recorder.nets],
        keys=keys,
        effects=[r for r in effects if over(r["token"])],
        tasks=[r for r in tasks if over(r["token"])],
        inbox=[r for r in map(partial(_as_then, at=at, until=until), inbox) if r is not None],
        about=about,
        decisions=recorder.decisions,
        events=_as_sent(recorder, inbox, at),
    )


def _as_then(row: _Row, at: int, until: int) -> _Row | None:
    """An event of the inbox as it was after an entry; ``None`` where it came later, or counts for nothing."""
    if row["status"] not in {"accepted", "buffered", "unused", "expired"}:
        return None
    if row["seq"] is None and row["status"] == "accepted":  # of a release that did not note its entry
        return row if row["at"] <= until else None
    if row["seq"] is not None and row["seq"] <= at:
        return row
    if row["came"] >= at or (row["until"] is not None and row["until"] <= until):
        return None
    return row | {"status": "buffered", "seq": None, "reason": "it was kept then"}


def _as_sent(recorder: _Recorder, inbox: list[_Row], at: int) -> list[_Event]:
    """The events that came after an entry, as they came: one that was kept came before it was taken."""
    program = recorder.case.program
    came = {r["seq"]: r for r in inbox if r["seq"] is not None}
    found: list[_Event] = []
    for event in recorder.events:
        row = came.get(event.seq)
        if row is None:
            found.append(event)
        elif row["came"] >= at:
            found.append(replace(event, at=row["at"], event_at=row["event_at"]))
    for row in inbox:
        if row["status"] in {"buffered", "unused", "expired"} and row["came"] >= at:
            steps = [s for s in program.signals.get(row["event"], ()) if s.fresh]
            data = None if row["payload"] is None else json.loads(row["payload"])
            value = recorder.case.read(data, steps[0].fresh[0][1]) if steps else None
            found.append(_Event(row["at"], row["event"], value, row["key"], 0, row["event_at"]))
    return sorted(found, key=lambda e: e.at)


class _Recorder(Replay):
    """A replay that keeps what the outside said."""

    def __init__(self, reader: Reader, no: int, case: str, created: int, at: int) -> None:
        super().__init__(reader.program, no, case, created, reader.seal)
        self.recording = Recording()
        self.decisions: dict[tuple[str, int], list[_Decided]] = {}
        self.events: list[_Event] = []
        self.nets: set[str] = set()
        self._given: dict[tuple[str, int], str] = {}
        self._id, self._at = case, at

    def program(self, found: str) -> Program:
        """A net version, which the simulation needs as well."""
        self.nets.add(found)
        return super().program(found)

    def follow(self, entry: Entry) -> None:
        """Keep the approvals that choices of several people took."""
        _, kind, transition, at, data, *_ = entry
        super().follow(entry)
        if kind == APPROVE:
            said, trigger = json.loads(data), self.case.program.by_name[transition].transition.trigger
            assert isinstance(trigger, Choice)
            # Whoever decided in somebody's place was let to by an entry that may be yet to come.
            made = _Decided(said["about"], trigger.choice, said.get("for") or said["by"], at)
            self.decisions.setdefault((said["task"], said["token"]), []).append(made)

    def firing(self, again: Again) -> None:
        """Keep what came from outside with this firing."""
        step, token = again.step, again.token
        trigger = step.transition.trigger
        brought = again.binding[step.fresh[0][0]] if step.fresh else ()
        text = self.case.encoder(step.fresh[0][1])(brought) if step.fresh else None
        note = again.said.get("note", {})
        match trigger:
            case Ask():
                about = text_hash(again.payload(self.case))
                said = Said(about, "done", text, note.get("model", ""), note.get("prompt", ""))
                self.recording.answers[self._id, step.name, token] = said
            case OnFailure(of=failed):
                other = self.case.program.by_name[failed]
                about = text_hash(self._payload(failed, token))
                known = self.recording.answers
                if isinstance(other.transition.trigger, Perform):
                    known = self.recording.effects
                known[self._id, failed, token] = Said(about, "failed", text)
            case Perform():
                about = text_hash(again.payload(self.case))
                self.recording.effects[self._id, step.name, token] = Said(about, "done", text)
            case Choice(task=task, choice=choice, eyes=eyes):
                who = note.get("for") or note["by"]
                made = _Decided(note.get("about", ""), choice, who, again.at, brought)
                before = self.decisions.get((task, token), []) if eyes > 1 else []
                several = [replace(d, note=brought) for d in before if d.choice == choice]
                self.decisions[task, token] = several or [made]
            case Signal(event=event) if again.seq > self._at:
                name = "" if step.transition.role is Role.KILL else event
                value = brought if step.fresh else None
                self.events.append(_Event(again.at, name, value, note.get("key"), again.seq))

    def effects_of(self, rows: Sequence[_Row]) -> None:
        """Effects that were performed and whose case went no further."""
        for row in rows:
            at = (self._id, row["transition"], row["token"])
            if at not in self.recording.effects:
                said = "done" if row["state"] == "performed" and row["receipt"] is not None else "unknown"
                self.recording.effects[at] = Said(row["payload_hash"], said, row["receipt"])

    def _payload(self, transition: str, token: int) -> str:
        """What a long-running transition's handler is given for a token."""
        case = self.case
        step = case.program.by_name[transition]
        binding = case.binding_for(step, token) or {}
        anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
        value, of, *_ = case.program.payload(step, binding, anchor)
        return case.encoder(of)(value)


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


def _refuse_real(to: str | Path) -> None:
    """Make sure that a database is a simulation, or that there is none."""
    where = located(to)
    if where.kind == "memory" or not ready(where):
        return
    reader = Reader(to)
    with snapshot(reader.engine, where, lambda raw: raw.decode("utf-8", "replace")) as rows:
        if recording_of([(str(n), str(v)) for n, v in rows("SELECT name, value FROM provenet_meta")]) is None:
            raise NotSimulation(
                "this database is no simulation: its cases are real",
                where=str(where),
                hint="name a database that does not exist yet, or one that an earlier fork made",
            )


def _make(to: str | Path, reader: Reader) -> None:
    """A new file for a simulation, which nobody may read who may not read what it copies."""
    made, model = located(to), reader.location
    if made.path is not None and model.path is not None and not made.path.exists():
        try:
            made_like(model.path, made.path)
        except OSError as error:
            raise StoreError(f"it cannot be made: {error.strerror}", where=str(made)) from None


def _copy(past: _Past, to: str | Path) -> None:
    """Write the case as it was."""
    store = Store(to)
    try:
        case_id, case = str(past.row["id"]), past.replay.case
        if store.rows("SELECT 1 FROM provenet_case WHERE id = ?", (case_id,)):
            raise CaseExists(
                f"the simulation has a case {case_id!r} already",
                where=str(store.location),
                hint="name another database",
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


def _people(past: _Past, what_if: WhatIf, clock: VirtualClock) -> Any:
    """People who decide as told, or as they did."""

    async def decide(task: Task) -> Decision | None:
        if task.task in what_if.decisions:
            # Another one for each who has approved before.
            name = f"what-if-{len(task.approved) + 1}" if task.approved else "what-if"
            return Decision(what_if.decisions[task.task], f"{name}@{task.role}" if task.role else name)
        known = past.decisions.get((task.task, task.token), [])[len(task.approved) :]
        if not known or known[0].about != task.about_hash:
            return None
        await clock.sleep(from_micros(known[0].at) - clock.now())
        return Decision(known[0].choice, known[0].who, known[0].note)

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
