"""What passes between a case and its handlers: requests, keys, failures, and their rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

from provenet.engine.case import LiveCase, OpenTask, brought
from provenet.engine.codec import clean, plain, quote, text_hash
from provenet.engine.hiding import hidden, hidden_reject
from provenet.engine.jobs import Job
from provenet.engine.people import said_of
from provenet.engine.program import Step
from provenet.engine.store.store import Store
from provenet.engine.watching.events import EffectIntended, EffectTried
from provenet.engine.watching.watch import Watch
from provenet.nets.errors import Breach, ProvenetError
from provenet.nets.models import from_value
from provenet.nets.net import Ask, Perform
from provenet.nets.schema import Type, Value
from provenet.sdb.handlers import Request
from provenet.sdb.reject import Reject


def request_of(
    case: LiveCase,
    step: Step,
    binding: Mapping[str, Value],
    key: str,
    *,
    anchor: Value,
    tries: int,
    trace: str = "",
) -> Request:
    """What a handler is told."""
    trigger = step.transition.trigger
    assert isinstance(trigger, Ask | Perform)
    value, of, attempt, signal = case.program.payload(step, binding, anchor)
    if isinstance(trigger, Perform):
        effect = case.program.effect(step)
        of, returns = effect.payload_type if step.payload is not None else of, effect.receipt_type
    else:
        returns = step.fresh[0][1]
    return Request(
        case=case.id,
        key=key,
        payload=from_value(value, of),
        payload_type=of,
        returns=returns,
        attempt=tries if isinstance(trigger, Perform) else attempt,
        signal=None if signal is None else Reject.of(signal),
        timeout=trigger.timeout,
        traceparent=trace,
    )


def receipt_type(job: Job) -> Type:
    """The type of an effect's receipt as it is stored: a mark is the net's to set."""
    if job.case.seal is not None and job.step.fresh:
        return job.step.fresh[0][1]
    return job.case.program.effect(job.step).receipt_type


def anchor_of(job: Job) -> Value:
    """The token that stands for a piece of work."""
    return job.binding[job.step.anchor_var] if job.step.anchor_var is not None else ()


def key_of(store: Store, case: LiveCase, step: Step, token: int) -> str:
    """The idempotency key of a piece of work: the same after any restart, different for any other.

    An effect that was begun on another version of the net goes on under the key that it began with.
    """
    begun = case.keys.get((step.index, token))
    if begun is not None:
        return begun
    text = f'["{store.uid}",{quote(case.id)},{step.text},{token}]'
    return sha256(text.encode()).hexdigest()[:40]


def failing(case: LiveCase, step: Step, token: int, why: Reject) -> dict[str, Value]:
    """The binding of a failure transition."""
    binding = case.binding_for(step, token)
    if binding is None:
        raise Breach("it does not take the token whose work failed", where=f"transition {step.name!r}")
    return binding | brought(step, hidden_reject(case, why).value())


def reject_of(error: BaseException, rule: str) -> Reject:
    """A handler's failure as a typed signal."""
    if isinstance(error, TimeoutError):
        return Reject(rule="timeout", expected="an answer in time", got="none")
    if isinstance(error, ProvenetError):
        return Reject(rule=rule, expected="success", got=error.message, hint=error.hint)
    return Reject(rule=rule, expected="success", got=f"{type(error).__name__}: {error}")


class Records:
    """Writes the rows of tasks and effects.

    Args:
        store: Where to.
        now: The time in microseconds.
        watch: Who is told what happens.
    """

    def __init__(self, store: Store, now: Callable[[], int], watch: Watch | None = None) -> None:
        self._store, self._now, self._watch = store, now, watch

    def task(
        self,
        case: LiveCase,
        task: OpenTask,
        status: str,
        *,
        choice: str | None = None,
        who: str | None = None,
    ) -> None:
        """Write a task's row."""
        row = (
            case.no,
            task.token,
            task.task,
            plain(list(task.steps)),
            task.role,
            task.about,
            task.about_hash,
            task.opened,
            task.deadline,
            status,
            choice,
            who,
            None if status == "open" else self._now(),
            said_of(case, task.task, task.token),
        )
        self._store.put("provenet_task", row[:3], row)

    def effect(
        self,
        job: Job,
        state: str,
        *,
        receipt: str | None = None,
        reason: str | None = None,
        uncalled: Literal["no", "yes"] = "no",
    ) -> None:
        """Write an effect's row; ``uncalled`` where it is certain that nobody has called it yet."""
        payload = job.case.program.payload(job.step, job.binding, anchor_of(job))
        effect = job.case.program.effect(job.step)
        # A mark is the net's to set, so the type is that of the net where anything is personal.
        declared = job.step.payload is not None and job.case.seal is None
        text = job.case.encoder(effect.payload_type if declared else payload[1])(payload[0])
        row = (
            job.key,
            job.case.no,
            job.token,
            job.step.name,
            effect.name,
            text_hash(text),
            state,
            job.tries,
            receipt,
            None if reason is None else clean(hidden(job.case, reason)),
            self._now(),
            int(uncalled == "yes"),
        )
        self._store.put("provenet_effect", job.key, row)
        if uncalled == "yes":
            job.case.uncalled |= {job.key}
        elif job.case.uncalled:
            job.case.uncalled -= {job.key}
        if self._watch is not None:
            self._tell(self._watch, job, effect.name, state)

    def _tell(self, watch: Watch, job: Job, effect: str, state: str) -> None:
        about = (job.case.id, job.case.program.net.name, job.step.name, effect, job.key)
        if state == "intended" and job.began is None:
            watch.later(EffectIntended(*about, self._now()))
        elif job.began is not None:
            # A receipt that was known before is none of a try.
            outcome: Any = "again" if state == "intended" else state
            seconds = time.monotonic() - job.began[1]
            watch.later(EffectTried(*about, job.tries, job.began[0], self._now(), seconds, outcome))
            job.began = None
