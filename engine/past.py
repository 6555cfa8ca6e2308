"""A case's past as its record tells it: how it stood after an entry of its log, and what the outside said.

Two readings of one log. The first is led to the entry and stops there; it is the state to go on from. The
second is led to the end and keeps what nobody can compute again: answers of proposers, outcomes of effects,
people's decisions, events. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from sqlmodel import SQLModel

from provenet.engine.case import LIVE
from provenet.engine.codec import text_hash
from provenet.engine.errors import CaseClosed, NoKeys
from provenet.engine.history import ENTRIES, Again, Entry, Replay, replayed
from provenet.engine.keys import HINT
from provenet.engine.people import APPROVE, DELEGATE, SAID, Delegation
from provenet.engine.program import Program
from provenet.engine.reader import Reader, no_entry
from provenet.engine.simulation import Recording, Said
from provenet.engine.store.database import Rows, snapshot
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
from provenet.engine.workers import Decision
from provenet.nets.net import Ask, Choice, OnFailure, Perform, Role, Signal

Row: TypeAlias = dict[str, Any]
"""A row, by its table's columns."""


@dataclass(slots=True)
class Past:
    """All that a case's record says: the state at an entry, and what the outside said, then and later."""

    row: Row
    log: list[Entry]
    replay: Replay
    recording: Recording
    nets: list[Row]
    keys: list[Row]
    effects: list[Row]
    tasks: list[Row]
    inbox: list[Row]
    about: list[Row]
    acts: dict[tuple[str, int], list[Act]]
    events: list[Event]


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did about a task.

    Attributes:
        at: When.
        said: A decision, or one of several that it took; a delegation, or the end of one.
        about: Hash of what was decided on.
        brought: Hash of what a decision brought, as long as nobody knows what that was.
    """

    at: int
    said: Decision | Delegation
    about: str = ""
    brought: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened outside; without a name, somebody pulled the case's kill switch."""

    at: int
    name: str
    payload: Any = None
    key: str | None = None
    seq: int = 0
    event_at: int | None = None
    who: str = ""
    reason: str = ""


def past_of(reader: Reader, case: str, at: int) -> Past:
    """What a case's record says, from an entry of its log on.

    Args:
        reader: Of the database that it is in.
        case: Its id.
        at: The entry.

    Raises:
        NoSuchEntry: The log has no such entry.
        NoKeys: The case has personal values, which were erased or for which no key was given.
        CaseClosed: The case was over by then.
    """
    reader.must_have(case)
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
    if upto < len(log) and log[upto - 1][1] == APPROVE and log[upto][1:3] == ("fire", log[upto - 1][2]):
        at, upto = at - 1, upto - 1  # the last approval and what it let happen are one moment
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

    return Past(
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
        # What was brought with an approval that nothing came of is nowhere.
        acts={task: [a for a in acts if not a.brought] for task, acts in recorder.acts.items()},
        events=_as_sent(recorder, inbox, at),
    )


def _as_then(row: Row, at: int, until: int) -> Row | None:
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


def _as_sent(recorder: _Recorder, inbox: list[Row], at: int) -> list[Event]:
    """The events that came after an entry, as they came: one that was kept came before it was taken."""
    program = recorder.case.program
    came = {r["seq"]: r for r in inbox if r["seq"] is not None}
    found: list[Event] = []
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
            found.append(Event(row["at"], row["event"], value, row["key"], 0, row["event_at"]))
    return sorted(found, key=lambda e: e.at)


class _Recorder(Replay):
    """A replay that keeps what the outside said."""

    def __init__(self, reader: Reader, no: int, case: str, created: int, at: int) -> None:
        super().__init__(reader.program, no, case, created, reader.seal)
        self.recording = Recording()
        self.acts: dict[tuple[str, int], list[Act]] = {}
        self.events: list[Event] = []
        self.nets: set[str] = set()
        self._id, self._at = case, at

    def program(self, found: str) -> Program:
        """A net version, which the simulation needs as well."""
        self.nets.add(found)
        return super().program(found)

    def follow(self, entry: Entry) -> None:
        """Keep what people said of a task, and who stopped a case that has no way to end by itself."""
        seq, kind, transition, at, data, *_ = entry
        super().follow(entry)
        if seq <= self._at or kind not in {*SAID, "kill"}:
            return
        said = json.loads(data)
        who = said.get("by") or said.get("who", "")
        match kind:
            case "kill":
                self._killed(at, who, said.get("reason", ""))
            case "approve":
                trigger = self.case.program.by_name[transition].transition.trigger
                assert isinstance(trigger, Choice)
                made = Act(at, Decision(trigger.choice, who), said["about"], said.get("note", ""))
                self._act(said, made)
            case _:
                state: Literal["holds", "ended"] = "holds" if kind == DELEGATE else "ended"
                self._act(said, Act(at, Delegation(who, said.get("to", ""), state)))

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
                by = note.get("model", ""), note.get("prompt", "")
                said = Said(about, "done", text, *by, trigger.handler, self._took(again), again.seq)
                self.recording.answers[self._id, step.name, token] = said
            case OnFailure(of=failed):
                other = self.case.program.by_name[failed]
                about = text_hash(self._payload(failed, token))
                known = self.recording.answers
                if isinstance(other.transition.trigger, Perform):
                    known = self.recording.effects
                name, took = self._handler(failed), self._took(again)
                known[self._id, failed, token] = Said(
                    about, "failed", text, handler=name, took=took, seq=again.seq
                )
            case Perform():
                about = text_hash(again.payload(self.case))
                took = self._took(again)
                said = Said(about, "done", text, handler=trigger.handler, took=took, seq=again.seq)
                self.recording.effects[self._id, step.name, token] = said
            case Choice(eyes=1) as choice if again.seq > self._at:
                decided = Decision(choice.choice, note["by"], brought)
                self._act(
                    {"task": choice.task, "token": token}, Act(again.at, decided, note.get("about", ""))
                )
            case Choice(task=task, choice=choice):
                self.acts[task, token] = [
                    replace(act, said=replace(act.said, note=brought), brought="")
                    if isinstance(act.said, Decision)
                    and (act.said.choice, act.about) == (choice, note.get("about", ""))
                    else act
                    for act in self.acts.get((task, token), [])
                ]
            case Signal() if again.seq > self._at and step.transition.role is Role.KILL:
                self._killed(again.at, note.get("by", ""), note.get("reason", ""))
            case Signal(event=event) if again.seq > self._at:
                value = brought if step.fresh else None
                self.events.append(Event(again.at, event, value, note.get("key"), again.seq))

    def _handler(self, transition: str) -> str:
        """The name of what does a transition's work; empty for one of an earlier version of the net."""
        step = self.case.program.by_name.get(transition)
        trigger = None if step is None else step.transition.trigger
        return trigger.handler if isinstance(trigger, Ask | Perform) else ""

    def _took(self, again: Again) -> int:
        """How long work has taken, in microseconds."""
        return again.at - self.case.arrived.get(again.token, again.at)

    def _act(self, said: Mapping[str, Any], act: Act) -> None:
        self.acts.setdefault((said["task"], said["token"]), []).append(act)

    def _killed(self, at: int, who: str, reason: str) -> None:
        """Keep that the kill switch was pulled, once for all that fired then."""
        killed = Event(at, "", who=who, reason=reason)
        if killed not in self.events:
            self.events.append(killed)

    def effects_of(self, rows: Sequence[Row]) -> None:
        """Effects that were performed and whose case went no further."""
        for row in rows:
            at = (self._id, row["transition"], row["token"])
            if at not in self.recording.effects:
                said = "done" if row["state"] == "performed" and row["receipt"] is not None else "unknown"
                name = self._handler(row["transition"])
                self.recording.effects[at] = Said(row["payload_hash"], said, row["receipt"], handler=name)

    def _payload(self, transition: str, token: int) -> str:
        """What a long-running transition's handler is given for a token."""
        case = self.case
        step = case.program.by_name[transition]
        binding = case.binding_for(step, token) or {}
        anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
        value, of, *_ = case.program.payload(step, binding, anchor)
        return case.encoder(of)(value)


def _rows(rows: Rows, model: type[SQLModel], where: str, *parameters: Any) -> list[Row]:
    names = [c.name for c in table_of(model).columns]
    columns = ", ".join(f'"{name}"' for name in names)
    found = rows(f"SELECT {columns} FROM {model.__tablename__} {where}", *parameters)  # noqa: S608  our own tables
    return [dict(zip(names, row, strict=True)) for row in found]
