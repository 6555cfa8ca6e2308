"""The inbox: events from outside, each kept with what became of it."""

from __future__ import annotations

import json
from typing import Any

from provenet.engine.case import LiveCase, brought
from provenet.engine.case import note as said
from provenet.engine.codec import clean
from provenet.engine.errors import DuplicateSignal, SignalRefused
from provenet.engine.hiding import hidden
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.nets.errors import ExprError, FiringError, TypeMismatch, did_you_mean
from provenet.nets.models import to_value
from provenet.sdb.saga import KILL_SIGNAL


class Inbox:
    """How events from outside move cases.

    Args:
        store: Where cases live.
        runner: What moves them.
    """

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store, self._runner = store, runner

    def signal(self, live: LiveCase, event: str, payload: Any, key: str | None) -> None:
        """Fire with an event, and note it in the inbox in the same commit.

        Raises:
            SignalRefused: The net does not take it, or has taken its key before.
        """
        where, key = f"case {live.id!r}", None if key is None else clean(key)
        if event == KILL_SIGNAL:
            raise SignalRefused("the kill switch is no event", where=where, hint="use kill(...)")
        steps = live.program.signals.get(event, ())
        if not steps:
            known = [e for e in live.program.signals if e != KILL_SIGNAL]
            raise SignalRefused(
                f"net {live.program.net.name!r} has no event {event!r}",
                where=where,
                hint=did_you_mean(event, known),
            )
        if key is not None:
            self._store.flush()
            if self._store.rows(
                "SELECT 1 FROM provenet_inbox WHERE case_no = ? AND key = ? AND status = 'accepted'",
                (live.no, key),
            ):
                raise DuplicateSignal(f"event {event!r} with key {key!r} was accepted before", where=where)
        reason = "nothing waits for it now"
        for step in steps:
            try:
                value = to_value(payload, step.fresh[0][1]) if step.fresh else ()
            except TypeMismatch as error:
                reason = f"its payload does not fit: {error.message}"
                continue
            for binding in live.program.rule.bindings(live.marking, step.name):
                try:
                    self._runner.fire(live, step, {**binding, **brought(step, value)}, also=said(key=key))
                except (FiringError, ExprError) as error:
                    reason = f"the net forbids it: {hidden(live, error.message)}"
                    continue
                self.keep(live.no, key, event, payload, status="accepted")
                return
        raise SignalRefused(
            f"event {event!r} is refused: {reason}", where=where, hint="it is kept in the inbox"
        )

    def keep(
        self, no: int, key: str | None, event: str, payload: Any, *, status: str, reason: str | None = None
    ) -> None:
        """Keep an event with what became of it."""
        text = None if payload is None else clean(_as_text(payload))
        key, reason = (None if s is None else clean(s) for s in (key, reason))
        self._store.append(
            "provenet_inbox", (no, key, clean(event), text, status, reason, self._runner.now())
        )


def _as_text(payload: Any) -> str:
    dump = getattr(payload, "model_dump_json", None)
    try:
        return (
            str(dump())
            if dump is not None
            else json.dumps(payload, ensure_ascii=False, default=repr)[:100_000]
        )
    except (TypeError, ValueError):
        return json.dumps(repr(payload)[:1000])
