"""What the read side shows: cases, log lines and tasks as plain data, made from rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from provenet.engine.clock import from_micros
from provenet.engine.codec import plain
from provenet.engine.people import SAID, Said, fallback_from, in_words
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.tables import (
    CaseRow,
    TaskRow,
)
from provenet.engine.veil import Veil
from provenet.nets.net import Choice, Net, Role


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case in one line.

    Attributes:
        id: Its id.
        net: Name of its net.
        net_hash: Content hash of its net version.
        status: Where it stands.
        firings: How many entries its log has.
        created: When it started.
        finished: When it ended.
        outcome_place: The final place it ended in.
        outcome: The outcome's value, as JSON data.
        reason: Why it is parked, killed or failed.
    """

    id: str
    net: str
    net_hash: str
    status: str
    firings: int
    created: datetime
    finished: datetime | None
    outcome_place: str | None
    outcome: Any
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The view as JSON data."""
        return {
            "id": self.id,
            "net": self.net,
            "net_hash": self.net_hash,
            "status": self.status,
            "firings": self.firings,
            "created": self.created.isoformat(),
            "finished": None if self.finished is None else self.finished.isoformat(),
            "outcome_place": self.outcome_place,
            "outcome": self.outcome,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry of a case's log, in words.

    Attributes:
        seq: Its number.
        at: When.
        kind: ``start``, ``fire``, ``park``, ``resume``, ``kill``, ``fail``, ``migrate``, ``snapshot``.
        transition: Which transition fired.
        role: Its role; empty for other entries.
        text: What happened, in a few words.
        data: The entry's data.
        hash: Its hash, in hexadecimal.
    """

    seq: int
    at: datetime
    kind: str
    transition: str
    role: str
    text: str
    data: dict[str, Any] = field(repr=False)
    hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """The line as JSON data."""
        return {
            "seq": self.seq,
            "at": self.at.isoformat(),
            "kind": self.kind,
            "transition": self.transition,
            "role": self.role,
            "text": self.text,
            "data": self.data,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class TaskView:
    """A decision that a person is asked for, or was.

    ``eyes`` is how many people have to choose the same, ``approved`` who has; ``delegated`` to whom, by who
    did so; ``fallback`` another role that may decide, from ``fallback_from`` on.
    """

    case: str
    task: str
    token: int
    status: str
    choices: tuple[str, ...]
    role: str
    about: Any
    about_hash: str
    opened: datetime
    deadline: datetime | None
    choice: str | None
    who: str | None
    decided: datetime | None
    eyes: int = 1
    approved: tuple[str, ...] = ()
    delegated: Mapping[str, str] = field(default_factory=dict)
    fallback: str = ""
    fallback_from: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The task as JSON data."""
        when = {n: getattr(self, n) for n in ("opened", "deadline", "decided", "fallback_from")}
        rest = {n: getattr(self, n) for n in self.__slots__ if n not in when}
        return {
            **rest,
            "choices": list(self.choices),
            "approved": list(self.approved),
            **{n: w.isoformat() if w else None for n, w in when.items()},
        }


@dataclass(frozen=True, slots=True)
class CaseDetail:
    """Everything about one case."""

    case: CaseView
    marking: dict[str, list[Any]]
    log: tuple[LogLine, ...]
    tasks: tuple[TaskView, ...]
    timers: tuple[tuple[str, datetime], ...]
    effects: tuple[dict[str, Any], ...]
    proposals: tuple[dict[str, Any], ...]
    inbox: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The case as JSON data."""
        return {
            "case": self.case.to_json(),
            "marking": self.marking,
            "log": [line.to_json() for line in self.log],
            "tasks": [t.to_json() for t in self.tasks],
            "timers": [{"transition": t, "due": d.isoformat()} for t, d in self.timers],
            "effects": list(self.effects),
            "proposals": list(self.proposals),
            "inbox": list(self.inbox),
        }


def json_of(text: str) -> Any:
    """A stored value; one that could not be printed is refused."""
    value = json.loads(text)
    if "\\u" in text:
        # Half a surrogate pair is JSON, but no text: it could not be printed.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def entry_in_words(net: Net | None, kind: str, transition: str, data: dict[str, Any]) -> tuple[str, str]:
    """The role of what fired, and the entry in a few words."""
    if kind == "start":
        return "", "started with " + ", ".join(place for _, place, _ in data["put"])
    if kind == "park":
        return "", f"parked: {data['reason']}"
    if kind in {"kill", "fail"}:
        done, why = "killed" if kind == "kill" else "failed", data.get("reason", "")
        who = f" by {data['who']}" if data.get("who") else ""
        return "", f"{done}{who}" + (f": {why}" if why not in {"", done} else "")
    if kind == "resume":
        return "", "resumed"
    if kind == "erase":
        return "", f"personal data erased by {data['by']}: {data['reason']}"
    if kind in SAID:
        return "", in_words(kind, data)
    if kind == SNAPSHOT:
        count = len(data["put"])
        return "", f"snapshot: {count} token{'' if count == 1 else 's'}"
    if kind == "migrate":
        return "", f"moved from net {data['from'][:8]} to {data['to'][:8]}"
    t = net.transition(transition) if net is not None and net.has_transition(transition) else None
    if t is None:
        return "", transition
    name = t.label or t.contract or transition
    signal = next(
        (v for v in data.get("bring", {}).values() if isinstance(v, dict) and "retryable" in v), None
    )
    by = data.get("note", {}).get("by", "")
    role = t.role
    if role in {Role.REJECT, Role.FAULT, Role.FAIL} and signal is not None:
        about = f"{signal['field']} = {signal['got']}" if signal["field"] else signal["got"]
        word = {Role.REJECT: "REJECTED", Role.FAULT: "NO ANSWER", Role.FAIL: "FAILED"}[role]
        return str(role), f"{name}  {word}  {signal['rule']}: {about}, expected {signal['expected']}"
    if role is Role.PROPOSE:
        return str(role), f"{name}  proposed {_short(next(iter(data.get('bring', {}).values()), None))}"
    if role is Role.ROUTE:
        return str(role), t.label or transition
    return str(role), f"{name}  {role}" + (f" by {by}" if by else "")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."


def case_view(row: CaseRow, names: dict[str, str], veil: Veil) -> CaseView:
    """A case's row as it is shown."""
    return CaseView(
        id=row.id,
        net=names.get(row.net, row.net[:12]),
        net_hash=row.net,
        status=row.status,
        firings=row.version,
        created=from_micros(row.created),
        finished=None if row.finished is None else from_micros(row.finished),
        outcome_place=row.outcome_place,
        outcome=None if row.outcome is None else veil.token(row.outcome_place, json_of(row.outcome)),
        reason=row.reason,
    )


def task_view(row: TaskRow, case: str, veil: Veil, terms: Choice) -> TaskView:
    """A task's row as it is shown."""
    said = Said.of(row.people) if row.people else Said()
    return TaskView(
        case=case,
        task=row.task,
        token=row.token,
        status=row.status,
        choices=tuple(json_of(row.choices)),
        role=row.role,
        about=veil.about(row.task, json_of(row.about)),
        about_hash=row.about_hash,
        opened=from_micros(row.opened),
        deadline=None if row.deadline is None else from_micros(row.deadline),
        choice=row.choice,
        who=row.who,
        decided=None if row.decided is None else from_micros(row.decided),
        eyes=terms.eyes,
        approved=tuple(dict.fromkeys(a.who for a in said.approvals if a.about == row.about_hash)),
        delegated={d.by: d.to for d in said.holding()},
        fallback=terms.fallback,
        fallback_from=from_micros(fallback_from(terms, row.opened)) if terms.fallback else None,
    )


def veiled_row(row: Any, name: str, veil: Veil, net: Net | None) -> dict[str, Any]:
    """A row with what came from outside, JSON text, without its secrets."""
    data, text = plain_row(row), getattr(row, name)
    if text is not None and net is not None and net.has_transition(row.transition):
        fresh = [f.var for f in net.transition(row.transition).fresh]
        whole = json.loads(text)
        shown = veil.brought(row.transition, fresh, whole)
        if shown is not whole:
            data[name] = plain(shown)
    return data


def plain_row(row: Any) -> dict[str, Any]:
    """A row as JSON data, times as text."""
    data = {k: v for k, v in row.model_dump().items() if k != "case_no"}
    for name in ("at", "released", "event_at", "until"):
        if data.get(name) is not None:
            data[name] = from_micros(data[name]).isoformat()
    return data
