"""Events that are published under keys: they find the cases that the outside knows so.

Cases of this process take the event at once, those of others are asked to. Where there is no such case yet,
the event waits for one to start, if a net here keeps it (``provenet.engine.early``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from provenet.engine import early
from provenet.engine.case import LIVE
from provenet.engine.codec import encoder
from provenet.engine.errors import (
    CaseElsewhere,
    DuplicateSignal,
    EngineError,
    SignalRefused,
    StoreError,
)
from provenet.engine.holding import Holding
from provenet.engine.inbox import Inbox, Sent, checked_key, fitting, keeps, micros_of, short, whole_text
from provenet.engine.requests import leave
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.vault import Vault
from provenet.engine.versions import Versions, case_keys
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import loads
from provenet.nets.net import Signal
from provenet.nets.schema import microseconds
from provenet.sdb.saga import KILL_SIGNAL


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an event that was published under keys.

    Attributes:
        accepted: Cases that took it.
        kept: Cases that keep it until something takes it.
        asked: Cases of other processes, which were asked to take it.
        duplicate: Cases that had its key before.
        refused: Cases that refused it, and why.
        waits: Whether it waits for a case that has not started.
    """

    accepted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    duplicate: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    waits: Literal["no", "yes"] = "no"

    def __str__(self) -> str:
        told = [
            *(f"case {c} has taken it" for c in self.accepted),
            *(f"case {c} keeps it" for c in self.kept),
            *(f"case {c} is asked to take it" for c in self.asked),
            *(f"case {c} had its key before" for c in self.duplicate),
            *(f"case {c} refuses it: {why}" for c, why in self.refused.items()),
        ]
        return "; ".join(told) if told else "it waits for its case to start"

    def to_json(self) -> dict[str, Any]:
        """The same as JSON data."""
        lists = {n: list(getattr(self, n)) for n in ("accepted", "kept", "asked", "duplicate")}
        return {**lists, "refused": dict(self.refused), "waits": self.waits}


class Publishing:
    """How events find cases by their keys.

    Args:
        store: Where cases live.
        runner: What moves them.
        holding: Which of them are this process's.
        versions: The net versions whose agents are at hand.
        vault: The keys of personal values.
        inbox: Where each of them takes its events.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        holding: Holding,
        versions: Versions,
        vault: Vault,
        *,
        inbox: Inbox,
    ) -> None:
        self._store, self._runner, self._holding, self._versions = store, runner, holding, versions
        self._vault, self._inbox = vault, inbox
        self._heard: dict[str, frozenset[str]] = {}
        self._next = 0.0

    def publish(
        self,
        event: str,
        payload: Any,
        about: Mapping[str, str],
        key: str | None,
        at: datetime | None,
        *,
        to: Literal["all", "one"],
        token: str | None = None,
    ) -> Published:
        """Give an event to the cases that are known by some keys; a token is for those of other processes.

        Raises:
            SignalRefused: No case takes it, and none that is still to start will.
        """
        keys, sent = case_keys(about), Sent(event, payload, checked_key(key), micros_of(at))
        if not keys:
            raise SignalRefused(
                "an event is published under keys", where=f"event {event!r}", hint='about={"order": "17"}'
            )
        text = early.about_text(keys)
        self._store.flush()
        first = self._first(sent.key, text)
        live, others = self._known(text, event, first)
        if to == "one" and len(live) > 1:
            names = ", ".join(live[:5])
            raise SignalRefused(
                f"event {event!r} is for one case, and {len(live)} are known by {text}: {names}",
                hint="name the case by its id, or by more keys",
            )
        had = first is not None or (others and not self._have(text, sent.key).isdisjoint(others))
        if had and not live:
            raise DuplicateSignal(
                f"event {event!r} with key {sent.key!r} was published before", where=f"about {text}"
            )
        if not live:
            self._wait(sent, text)
            return Published(waits="yes")
        if sent.key is not None and not had:
            ((last,),) = self._store.rows("SELECT COALESCE(MAX(no), 0) FROM provenet_case")
            row = self._inbox.row(0, sent, "published", None, came=last) | {"about": text}
            self._store.append("provenet_inbox", tuple(row.values()))
        return self._spread(live, sent, at, text, token)

    def missed(self) -> list[str]:
        """Unfinished cases with events that were published for them while they were being started."""
        found: list[str] = []
        for event, hashes in self._keeping().items():
            marks = ",".join("?" * len(hashes))
            found += [
                case
                for (case,) in self._store.rows(
                    "SELECT DISTINCT c.id FROM provenet_inbox i JOIN provenet_about a ON a.about = i.about"  # noqa: S608
                    " JOIN provenet_case c ON c.no = a.case_no"
                    " WHERE i.case_no = 0 AND i.status = 'buffered' AND (i.until IS NULL OR i.until > ?)"
                    f" AND i.event = ? AND c.status IN ({_UNFINISHED}) AND c.net IN ({marks}) LIMIT 100",
                    (self._runner.now(), event, *hashes),
                )
            ]
        return found

    def catch_up(self) -> None:
        """Give the cases here what was published for them while they were being started."""
        began = time.monotonic()
        if began < self._next:
            return
        for case in self.missed():
            live = self._runner.cases.get(case)
            if live is not None and early.take_along(live, self._runner.now(), self._store):
                self._runner.wake_kept(live)
        took = time.monotonic() - began
        # Where very many events wait for cases, a look takes its time: cases that are there go first.
        self._next = began + 50 * took if took > _QUICK else 0.0

    # inside

    def _first(self, key: str | None, about: str) -> tuple[int, int, int] | None:
        """Of an event that was published before: when, the case that it waited for, and the last one then."""
        found = [] if key is None else self._store.rows(_FIRST, (about, key))
        return found[0] if found else None

    def _known(
        self, about: str, event: str, first: tuple[int, int, int] | None
    ) -> tuple[list[str], list[int]]:
        """Unfinished cases that hear an event, and numbers of all the others that are known so.

        One that was published before is for the cases of that time, however often it comes.
        """
        live: list[str] = []
        others: list[int] = []
        for no, case, status, net, created in self._store.rows(
            "SELECT c.no, c.id, c.status, c.net, c.created FROM provenet_about a"
            " JOIN provenet_case c ON c.no = a.case_no WHERE a.about = ? ORDER BY c.no",
            (about,),
        ):
            meant = first is None or no == first[1] or (first[1] == 0 and (created, no) <= first[::2])
            if meant and status in (*LIVE, "parked") and event in self._events(net):
                live.append(case)
            else:
                others.append(no)
        return live, others

    def _have(self, about: str, key: str | None) -> set[int]:
        """Numbers of the cases known so that have an event of that key."""
        if key is None:
            return set()
        rows = self._store.rows(
            "SELECT i.case_no FROM provenet_about a JOIN provenet_inbox i ON i.case_no = a.case_no"  # noqa: S608
            f" WHERE a.about = ? AND i.key = ? AND i.case_no <> 0 AND i.status IN {early.OPEN}",
            (about, key),
        )
        return {no for (no,) in rows}

    def _spread(
        self, cases: list[str], sent: Sent, at: datetime | None, about: str, token: str | None
    ) -> Published:
        taken: dict[str, list[str]] = {name: [] for name in ("accepted", "kept", "asked", "duplicate")}
        refused: dict[str, str] = {}
        for case in cases:
            try:
                if self._holding.takes == "turns":
                    raise CaseElsewhere("its turn is not now")
                taken[self._inbox.signal(case, sent.event, sent.payload, sent.key, at)].append(case)
            except CaseElsewhere:
                self._ask(case, sent, at, token)
                taken["asked"].append(case)
            except DuplicateSignal:
                taken["duplicate"].append(case)
            except StoreError:
                raise
            except EngineError as error:
                refused[case] = error.message
        accepted, kept, asked, duplicate = map(tuple, taken.values())
        found = Published(accepted, kept, asked, duplicate, refused)
        if found.accepted or found.kept or found.asked:
            return found
        kind = DuplicateSignal if found.duplicate else SignalRefused
        raise kind(f"no case takes event {sent.event!r}: {found}", where=f"about {about}")

    def _ask(self, case: str, sent: Sent, at: datetime | None, token: str | None) -> None:
        """Leave a request for whoever runs a case."""
        command: dict[str, Any] = {"do": "signal", "case": case, "event": sent.event, "key": sent.key}
        command |= {"payload": _data(sent.payload), "token": token}
        leave(self._store, command | ({} if at is None else {"at": at.isoformat()}), self._vault.given)

    def _wait(self, sent: Sent, about: str) -> None:
        """Keep an event for a case that has not started.

        Raises:
            SignalRefused: No net here keeps it.
        """
        where, now = f"about {about}", self._runner.now()
        programs = [p for p in self._versions.programs.values() if keeps(p, sent.event)]
        if not programs:
            raise SignalRefused(
                f"event {sent.event!r} is refused: no unfinished case is known so, and no net here keeps it",
                where=where,
                hint='start the case first, or let its net keep the event: net.delivery(..., early="keep")',
            )
        if any(p.personal for p in programs):
            raise SignalRefused(
                f"event {sent.event!r} is refused: its net has personal data, which no case keeps yet",
                where=where,
                hint="start the case first",
            )
        step, value = fitting(programs, sent, where)
        text = encoder(step.fresh[0][1])(value) if step.fresh else None
        said_of = [p.deliveries[sent.event] for p in programs]
        if early.room(self._store, sent.event, now) < 1:
            raise SignalRefused(
                f"event {sent.event!r} is refused: {early.MOST_WAITING:,} of them wait for cases already",
                where=where,
                hint="start their cases, or let the net keep it for a shorter time: keep_for=...",
            )
        ((held,),) = self._store.rows(
            "SELECT COUNT(*) FROM provenet_inbox WHERE case_no = 0 AND status = 'buffered' AND about = ?",
            (about,),
        )
        if held >= max(d.keep_most for d in said_of):
            raise SignalRefused(f"event {sent.event!r} is refused: {held} wait already", where=where)
        spans = [d.keep_for for d in said_of]
        until = None if None in spans else now + max(microseconds(s) for s in spans if s is not None)
        row = self._inbox.row(
            0, sent, "buffered", "its case has not started", text=short(text, where), until=until
        )
        if early.keep(self._store, row | {"about": about}) is None:
            raise DuplicateSignal(
                f"event {sent.event!r} with key {sent.key!r} was published before", where=where
            )

    def _events(self, net: str) -> frozenset[str]:
        """The events of a net version, whether its agent is at hand or not."""
        if net not in self._heard:
            program = self._versions.programs.get(net)
            if program is not None:
                found = frozenset(program.signals)
            else:
                rows = self._store.rows("SELECT content FROM provenet_net WHERE hash = ?", (net,))
                found = frozenset(e for (content,) in rows for e in _events_in(content))
            self._heard[net] = found - {KILL_SIGNAL}
        return self._heard[net]

    def _keeping(self) -> dict[str, list[str]]:
        """The events that are kept by net versions here, with these versions."""
        found: dict[str, list[str]] = {}
        for digest, program in self._versions.programs.items():
            for event in program.deliveries if program.keeps else ():
                if keeps(program, event):
                    found.setdefault(event, []).append(digest)
        return found


_QUICK = 0.03
"""Seconds that a look may take that is repeated a few times a second."""

_UNFINISHED = "'running', 'waiting', 'parked'"
_FIRST = """
SELECT at, case_no, came FROM provenet_inbox
WHERE about = ? AND key = ? AND status IN ('published', 'accepted', 'buffered', 'unused')
ORDER BY id LIMIT 1"""


def _events_in(content: str) -> Iterator[str]:
    try:
        net = loads(content)
    except ProvenetError:
        return
    for t in net.transitions:
        if isinstance(t.trigger, Signal):
            yield t.trigger.event


def _data(payload: Any) -> Any:
    """A payload as JSON data.

    Raises:
        SignalRefused: It is none.
    """
    try:
        return None if payload is None else json.loads(whole_text(payload))
    except (TypeError, ValueError, RecursionError) as error:
        raise SignalRefused(f"its payload cannot be sent to another process: {error}") from None
