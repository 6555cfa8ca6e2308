"""The inbox: events from outside, each kept with what became of it.

An event finds its case by its id, or by the keys that the outside knows cases by. It is taken where a
transition waits for it; one that comes early is refused or kept (``provenet.engine.early``), one that comes
late is refused or taken as another event, as the net says (``Delivery``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from provenet.engine import early
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.case import note as said
from provenet.engine.clock import from_micros, to_micros
from provenet.engine.codec import clean, encoder
from provenet.engine.early import Kept
from provenet.engine.errors import (
    CaseClosed,
    CaseElsewhere,
    DuplicateSignal,
    EngineError,
    LateSignal,
    SignalRefused,
    StoreError,
)
from provenet.engine.hiding import hidden
from provenet.engine.holding import Holding
from provenet.engine.personal import PAYLOAD
from provenet.engine.program import Program, Step
from provenet.engine.requests import leave
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.vault import Vault
from provenet.engine.versions import Versions, case_keys
from provenet.engine.watching.events import Signalled
from provenet.nets.errors import ExprError, FiringError, ProvenetError, TypeMismatch, did_you_mean
from provenet.nets.formats.canonical import loads
from provenet.nets.models import to_value
from provenet.nets.net import Delivery, Signal
from provenet.nets.schema import Value, microseconds, shorten
from provenet.sdb.saga import KILL_SIGNAL

Taken: TypeAlias = Literal["accepted", "kept"]
"""What became of an event that was not refused."""

AHEAD = microseconds(timedelta(minutes=1))
"""How far the clock of an event's sender may be ahead of the engine's."""

MOST = 1_000
"""Characters of a key, and of a name."""

LONGEST = 100_000
"""Characters of a payload that is kept."""


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


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as it was sent.

    Attributes:
        event: Its name.
        payload: What it brings.
        key: What tells it from others.
        at: Its own time, in microseconds.
    """

    event: str
    payload: Any
    key: str | None
    at: int | None


class Inbox:
    """How events from outside move cases.

    Args:
        store: Where cases live.
        runner: What moves them.
        holding: Which of them are this process's.
        versions: The net versions whose agents are at hand.
        vault: The keys of personal values.
    """

    def __init__(
        self, store: Store, runner: Runner, holding: Holding, versions: Versions, vault: Vault
    ) -> None:
        self._store, self._runner, self._holding, self._versions = store, runner, holding, versions
        self._vault = vault
        self._heard: dict[str, frozenset[str]] = {}

    def signal(self, case: str, event: str, payload: Any, key: str | None, at: datetime | None) -> Taken:
        """Give an event to a case, and note what became of it in the same commit.

        Raises:
            SignalRefused: The case does not take it; it is in the inbox all the same.
            EngineError: As ``Holding.live`` says.
        """
        no = self._holding.number(case)
        sent = Sent(event, payload, key, None)
        live: LiveCase | None = None
        try:
            sent = Sent(event, payload, _key(key), _micros(at))
            live = self._case(case, event)
            delivery = live.program.deliveries.get(event)
            if delivery is not None and delivery.lateness is not None and sent.at is None:
                sent = replace(sent, at=self._runner.now())
            return self._give(live, sent)
        except (CaseElsewhere, StoreError):
            raise  # it is no event of a case that is not ours
        except EngineError as error:
            status = next((s for kind, s in _STATUSES if isinstance(error, kind)), "refused")
            self._note(no, sent, status, error.message, came=0 if live is None else live.seq)
            self._tell(case, event, status)
            raise

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
        keys, sent = case_keys(about), Sent(event, payload, _key(key), _micros(at))
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
        had = first is not None or (
            sent.key is not None and any(early.key_taken(self._store, no, sent.key) for no in others)
        )
        if had and not live:
            raise DuplicateSignal(
                f"event {event!r} with key {sent.key!r} was published before", where=f"about {text}"
            )
        if not live:
            self._wait(sent, text)
            return Published(waits="yes")
        if sent.key is not None and not had:
            ((last,),) = self._store.rows("SELECT COALESCE(MAX(no), 0) FROM provenet_case")
            row = self._row(0, sent, "published", None, came=last) | {"about": text}
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
        for case in self.missed():
            live = self._runner.cases.get(case)
            if live is not None and early.take_along(live, self._runner.now(), self._store):
                self._runner.wake_kept(live)

    # one case

    def _case(self, case: str, event: str) -> LiveCase:
        """A case that an event may be given to: one that moves, or a parked one that keeps it."""
        try:
            return self._holding.live(case)
        except CaseClosed:
            parked = self._runner.cases.get(case)
            if parked is None or parked.status != "parked" or not _keeps(parked.program, event):
                raise
            return parked

    def _give(self, live: LiveCase, sent: Sent) -> Taken:
        where, program = f"case {live.id!r}", live.program
        _must_hear(program, sent.event, where)
        delivery = program.deliveries.get(sent.event, Delivery(sent.event))
        if sent.key is not None or delivery.lateness is not None:
            self._store.flush()
        if sent.key is not None and early.key_taken(self._store, live.no, sent.key):
            raise DuplicateSignal(
                f"event {sent.event!r} with key {sent.key!r} was accepted before", where=where
            )
        if delivery.lateness is not None:
            instead = self._late(live, sent, delivery, self._runner.now())
            if instead is not None:
                return self._give(live, instead)
        reason = "its case is parked" if live.status not in LIVE else self._fire(live, sent)
        if not reason:
            self._tell(live.id, sent.event, "accepted")
            return "accepted"
        if delivery.early == "keep":
            self._keep(live, sent, delivery, reason)
            self._tell(live.id, sent.event, "kept")
            return "kept"
        raise SignalRefused(
            f"event {sent.event!r} is refused: {reason}", where=where, hint="it is kept in the inbox"
        )

    def _late(self, live: LiveCase, sent: Sent, delivery: Delivery, now: int) -> Sent | None:
        """What a late event is taken as; ``None`` where it is in time.

        Raises:
            LateSignal: It is refused.
        """
        assert sent.at is not None
        assert delivery.lateness is not None
        where, event = f"case {live.id!r}", sent.event
        if sent.at > now + AHEAD:
            raise SignalRefused(
                f"event {event!r} is refused: its time, {_time(sent.at)}, lies in the future", where=where
            )
        ((newest,),) = self._store.rows(
            "SELECT MAX(event_at) FROM provenet_inbox"
            " WHERE case_no = ? AND event = ? AND status = 'accepted'",
            (live.no, clean(event)),
        )
        if newest is None or sent.at >= newest - microseconds(delivery.lateness):
            return None
        why = f"its time, {_time(sent.at)}, is more than {delivery.lateness} before {_time(newest)}"
        if not delivery.late:
            raise LateSignal(f"event {event!r} is late: {why}", where=where, hint="it is kept in the inbox")
        self._note(live.no, sent, "late", f"taken as {delivery.late!r}: {why}", came=live.seq)
        self._tell(live.id, event, "late")
        return replace(sent, event=delivery.late)

    def _fire(self, live: LiveCase, sent: Sent) -> str:
        """Fire with an event; why nothing took it, or empty."""
        reason, came = "nothing waits for it now", live.seq
        for step, binding in early.ways(live, sent.event, _value_of(sent.payload)):
            if isinstance(binding, TypeMismatch):
                reason = f"its payload does not fit: {binding.message}"
                continue
            text = live.encoder(step.fresh[0][1])(binding[step.fresh[0][0]]) if step.fresh else None
            try:
                self._runner.fire(live, step, binding, also=said(key=sent.key))
            except (FiringError, ExprError) as error:
                reason = f"the net forbids it: {hidden(live, error.message)}"
                continue
            self._note(live.no, sent, "accepted", None, came=came, seq=came + 1, text=text)
            return ""
        return reason

    def _keep(self, live: LiveCase, sent: Sent, delivery: Delivery, why: str) -> None:
        where, now = f"case {live.id!r}", self._runner.now()
        early.age_out(live, now, self._store, lambda event, status: self._tell(live.id, event, status))
        held = sum(k.event == sent.event for k in live.kept)
        if held >= delivery.keep_most:
            raise SignalRefused(f"event {sent.event!r} is refused: {why}, and {held} are kept", where=where)
        step, value = _fitting([live.program], sent, where)
        text = live.encoder(step.fresh[0][1])(value) if step.fresh else None
        until = None if delivery.keep_for is None else now + microseconds(delivery.keep_for)
        row = self._row(live.no, sent, "buffered", why, came=live.seq, text=_short(text, where), until=until)
        number = early.keep(self._store, row)
        if number is None:
            raise DuplicateSignal(f"event {sent.event!r} with key {sent.key!r} is kept already", where=where)
        kept = Kept(number, clean(sent.event), sent.key, text, until)
        live.kept.append(kept)
        self._runner.await_kept(live, kept)

    # cases that are known by keys

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

    def _spread(
        self, cases: list[str], sent: Sent, at: datetime | None, about: str, token: str | None
    ) -> Published:
        taken: dict[str, list[str]] = {name: [] for name in ("accepted", "kept", "asked", "duplicate")}
        refused: dict[str, str] = {}
        for case in cases:
            try:
                if self._holding.takes == "turns":
                    raise CaseElsewhere("its turn is not now")
                taken[self.signal(case, sent.event, sent.payload, sent.key, at)].append(case)
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
        programs = [p for p in self._versions.programs.values() if _keeps(p, sent.event)]
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
        step, value = _fitting(programs, sent, where)
        text = encoder(step.fresh[0][1])(value) if step.fresh else None
        said_of = [p.deliveries[sent.event] for p in programs]
        self._store.run(
            "UPDATE provenet_inbox SET status = 'expired', reason = 'no case started in time'"
            " WHERE case_no = 0 AND status = 'buffered' AND until <= ?",
            (now,),
        )
        ((held,),) = self._store.rows(
            "SELECT COUNT(*) FROM provenet_inbox WHERE case_no = 0 AND status = 'buffered' AND about = ?",
            (about,),
        )
        if held >= max(d.keep_most for d in said_of):
            raise SignalRefused(f"event {sent.event!r} is refused: {held} wait already", where=where)
        spans = [d.keep_for for d in said_of]
        until = None if None in spans else now + max(microseconds(s) for s in spans if s is not None)
        row = self._row(
            0, sent, "buffered", "its case has not started", text=_short(text, where), until=until
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
                if _keeps(program, event):
                    found.setdefault(event, []).append(digest)
        return found

    # the table

    def _note(
        self,
        no: int,
        sent: Sent,
        status: str,
        reason: str | None,
        *,
        came: int,
        seq: int | None = None,
        text: str | None = None,
    ) -> None:
        if text is None and sent.payload is not None:
            text, live = clean(_as_text(sent.payload)), self._runner.numbers.get(no)
            if live is None:
                text = self._vault.payload(no, text)
            elif live.seal is not None:
                text = live.seal.write(text, PAYLOAD)
        row = self._row(no, sent, status, reason, came=came, seq=seq, text=text)
        self._store.append("provenet_inbox", tuple(row.values()))

    def _row(
        self,
        no: int,
        sent: Sent,
        status: str,
        reason: str | None,
        *,
        came: int = 0,
        seq: int | None = None,
        text: str | None = None,
        until: int | None = None,
    ) -> dict[str, Any]:
        """A row of the inbox, by its columns in their order."""
        return {
            "case_no": no,
            "key": None if sent.key is None else _text(sent.key),
            "event": _text(sent.event),
            "payload": text,
            "status": status,
            "reason": None if reason is None else clean(reason).replace("\0", ""),
            "at": self._runner.now(),
            "event_at": sent.at,
            "came": came,
            "seq": seq,
            "until": until,
            "about": None,
        }

    def _tell(self, case: str, event: str, status: str) -> None:
        if self._runner.watch is not None:
            self._runner.watch.later(Signalled(case, event, status, self._runner.now()))


_STATUSES: tuple[tuple[type[EngineError], str], ...] = (
    (DuplicateSignal, "duplicate"),
    (LateSignal, "late"),
)
_UNFINISHED = "'running', 'waiting', 'parked'"
_FIRST = """
SELECT at, case_no, came FROM provenet_inbox
WHERE about = ? AND key = ? AND status IN ('published', 'accepted', 'buffered', 'unused')
ORDER BY id LIMIT 1"""


def _must_hear(program: Program, event: str, where: str) -> None:
    if event == KILL_SIGNAL:
        raise SignalRefused("the kill switch is no event", where=where, hint="use kill(...)")
    if event not in program.signals:
        known = [e for e in program.signals if e != KILL_SIGNAL]
        raise SignalRefused(
            f"net {program.net.name!r} has no event {event!r}",
            where=where,
            hint=did_you_mean(event, known),
        )


def _keeps(program: Program, event: str) -> bool:
    delivery = program.deliveries.get(event)
    return delivery is not None and delivery.early == "keep"


def _value_of(payload: Any) -> Callable[[Step], Value]:
    return lambda step: to_value(payload, step.fresh[0][1])


def _fitting(programs: Iterable[Program], sent: Sent, where: str) -> tuple[Step, Value]:
    """The first transition whose payload an event's fits, with the value.

    Raises:
        SignalRefused: It fits none, and never will.
    """
    reason = ""
    for step in (s for p in programs for s in p.signals[sent.event]):
        if not step.fresh:
            return step, ()
        try:
            return step, to_value(sent.payload, step.fresh[0][1])
        except TypeMismatch as error:
            reason = error.message
    raise SignalRefused(f"event {sent.event!r} is refused: its payload does not fit: {reason}", where=where)


def _events_in(content: str) -> Iterator[str]:
    try:
        net = loads(content)
    except ProvenetError:
        return
    for t in net.transitions:
        if isinstance(t.trigger, Signal):
            yield t.trigger.event


def _short(text: str | None, where: str) -> str | None:
    if text is not None and len(text) > LONGEST:
        raise SignalRefused(
            f"its payload is too long to be kept: {len(text):,} characters", where=where, hint="send it later"
        )
    return text


def _key(key: str | None) -> str | None:
    """A key that can be stored.

    Raises:
        SignalRefused: It cannot.
    """
    if key is None:
        return None
    if "\0" in key or len(key) > MOST:
        raise SignalRefused(f"a key is up to {MOST:,} characters, not {key!r:.80}")
    return clean(key)


def _micros(at: datetime | None) -> int | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise SignalRefused(
            f"the time {at.isoformat()} has no time zone", hint="say at=datetime(..., tzinfo=UTC)"
        )
    return to_micros(at)


def _text(name: str) -> str:
    return clean(name).replace("\0", "")[:MOST]


def _time(at: int) -> str:
    return from_micros(at).isoformat()


def _as_text(payload: Any) -> str:
    try:
        return _whole_text(payload)[:LONGEST]
    except (TypeError, ValueError, RecursionError):
        return json.dumps(shorten(payload, 1000))


def _whole_text(payload: Any) -> str:
    dump = getattr(payload, "model_dump_json", None)
    return str(dump()) if dump is not None else json.dumps(payload, ensure_ascii=False, default=repr)


def _data(payload: Any) -> Any:
    """A payload as JSON data.

    Raises:
        SignalRefused: It is none.
    """
    try:
        return None if payload is None else json.loads(_whole_text(payload))
    except (TypeError, ValueError, RecursionError) as error:
        raise SignalRefused(f"its payload cannot be sent to another process: {error}") from None
