"""The inbox: events from outside, each kept with what became of it.

An event is given to a case; how it finds one that it does not name is ``provenet.engine.publishing``. It is
taken where a transition waits for it; one that comes early is refused or kept (``provenet.engine.early``),
one that comes late is refused or taken as another event, as the net says (``Delivery``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from provenet.engine import early
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.case import note as said
from provenet.engine.clock import from_micros, to_micros
from provenet.engine.codec import clean
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
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.vault import Vault
from provenet.engine.watching.events import Signalled
from provenet.nets.errors import ExprError, FiringError, TypeMismatch, did_you_mean
from provenet.nets.models import to_value
from provenet.nets.net import Delivery
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
        vault: The keys of personal values.
    """

    def __init__(self, store: Store, runner: Runner, holding: Holding, vault: Vault) -> None:
        self._store, self._runner, self._holding = store, runner, holding
        self._vault = vault

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
            sent = Sent(event, payload, checked_key(key), micros_of(at))
            live = self._case(case, sent)
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

    # one case

    def _case(self, case: str, sent: Sent) -> LiveCase:
        """A case that an event may be given to: one that moves, or a parked one that keeps it.

        Raises:
            DuplicateSignal: It does not move any more, and has taken this very event while it did.
        """
        try:
            return self._holding.live(case)
        except CaseClosed:
            parked = self._runner.cases.get(case)
            if parked is not None and parked.status == "parked" and keeps(parked.program, sent.event):
                return parked
            self._refuse_again(case, self._holding.number(case), sent)
            raise

    def _refuse_again(self, case: str, no: int, sent: Sent) -> None:
        """Refuse an event that a case has taken, or keeps."""
        if sent.key is None:
            return
        self._store.flush()
        if early.key_taken(self._store, no, sent.key):
            raise DuplicateSignal(
                f"event {sent.event!r} with key {sent.key!r} was accepted before", where=f"case {case!r}"
            )

    def _give(self, live: LiveCase, sent: Sent) -> Taken:
        where, program = f"case {live.id!r}", live.program
        _must_hear(program, sent.event, where)
        delivery = program.deliveries.get(sent.event, Delivery(sent.event))
        self._refuse_again(live.id, live.no, sent)
        if delivery.lateness is not None:
            self._store.flush()
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
            " WHERE case_no = ? AND event = ? AND status = 'accepted' AND event_at IS NOT NULL",
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
            if isinstance(binding, ExprError):
                reason = f"the net forbids it: {hidden(live, binding.message)}"
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
        step, value = fitting([live.program], sent, where)
        text = live.encoder(step.fresh[0][1])(value) if step.fresh else None
        until = None if delivery.keep_for is None else now + microseconds(delivery.keep_for)
        row = self.row(live.no, sent, "buffered", why, came=live.seq, text=short(text, where), until=until)
        number = early.keep(self._store, row)
        if number is None:
            raise DuplicateSignal(f"event {sent.event!r} with key {sent.key!r} is kept already", where=where)
        kept = Kept(number, clean(sent.event), sent.key, text, until)
        live.kept.append(kept)
        self._runner.waits.await_kept(live, kept)

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
        row = self.row(no, sent, status, reason, came=came, seq=seq, text=text)
        self._store.append("provenet_inbox", tuple(row.values()))

    def row(
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


def keeps(program: Program, event: str) -> bool:
    """Whether a net version keeps an event that comes early."""
    delivery = program.deliveries.get(event)
    return delivery is not None and delivery.early == "keep"


def _value_of(payload: Any) -> Callable[[Step], Value]:
    return lambda step: to_value(payload, step.fresh[0][1])


def fitting(programs: Iterable[Program], sent: Sent, where: str) -> tuple[Step, Value]:
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


def short(text: str | None, where: str) -> str | None:
    """A payload that is not too long to be kept.

    Raises:
        SignalRefused: It is.
    """
    if text is not None and len(text) > LONGEST:
        raise SignalRefused(
            f"its payload is too long to be kept: {len(text):,} characters", where=where, hint="send it later"
        )
    return text


def checked_key(key: str | None) -> str | None:
    """A key that can be stored.

    Raises:
        SignalRefused: It cannot.
    """
    if key is None:
        return None
    if "\0" in key or len(key) > MOST:
        raise SignalRefused(f"a key is up to {MOST:,} characters, not {key!r:.80}")
    return clean(key)


def micros_of(at: datetime | None) -> int | None:
    """An event's own time.

    Raises:
        SignalRefused: It has no time zone.
    """
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
        return whole_text(payload)[:LONGEST]
    except (TypeError, ValueError, RecursionError):
        return json.dumps(shorten(payload, 1000))


def whole_text(payload: Any) -> str:
    """A payload as JSON text, however long; raises what ``json`` does where it is none."""
    dump = getattr(payload, "model_dump_json", None)
    return str(dump()) if dump is not None else json.dumps(payload, ensure_ascii=False, default=repr)
