"""OpenTelemetry: a trace for each case, with a span for each firing, proposal and effect; and the metrics.

::

    Engine.open("renewals.db", agents=[agent], observers=[Telemetry()])

Without arguments it takes the providers that the program has set up globally; a program that has none gets no
telemetry, and pays little for it. Needs ``provenet[otel]``, or the OpenTelemetry API and SDK from elsewhere.

All spans of a case share one trace, also those of other processes and of later runs, since the ids of the
trace and of the case's own span are derived from the database and the case
(``provenet.engine.watching.context``). The case's own span is written when the case ends, by whoever ends it.
A proposer or an effect that passes on ``request.traceparent`` has what it calls in the trace as well.

Names follow the semantic conventions that ``provenet.engine.watching.instruments`` names; attributes of our
own begin with ``provenet.``. No token's value is in any of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TracerProvider,
    set_span_in_context,
)

from provenet.engine.watching import events as e
from provenet.engine.watching import instruments as i
from provenet.engine.watching.context import case_span_id, trace_id, work_span_id

_SCHEMA = f"https://opentelemetry.io/schemas/{i.SEMCONV}"


class Telemetry:
    """An observer that speaks OpenTelemetry.

    Args:
        traces: Where spans go; the program's global provider unless said otherwise.
        meters: Where metrics go, likewise.
    """

    def __init__(self, *, traces: TracerProvider | None = None, meters: MeterProvider | None = None) -> None:
        provider = traces or trace.get_tracer_provider()
        tracer: Any = provider.get_tracer("provenet", schema_url=_SCHEMA)
        self._tracer, self._ids = tracer, _Ids()
        self._derives = hasattr(self._tracer, "id_generator")
        if self._derives:
            tracer.id_generator = self._ids
        self._measure = i.Measure()
        self._record = _recorders(meters or metrics.get_meter_provider())
        self._database = ""

    def see(self, event: e.Event) -> None:
        """Turn it into spans and amounts."""
        for instrument, amount, labels in self._measure.samples(event):
            known = {n: v for n, v in zip(instrument.labels, labels, strict=True) if v}
            self._record[instrument.name](amount, known)
        match event:
            case e.Opened():
                self._database = event.database
            case e.Fired():
                self._fired(event)
            case e.Answered():
                self._answered(event)
            case e.EffectTried():
                self._effect(event)
            case e.Decided():
                about = {"provenet.task": event.task, "provenet.choice": event.choice}
                self._span(event, f"decide {event.task}", event.opened, event.at, about)
            case e.CaseTurned():
                self._turned(event)

    def _fired(self, event: e.Fired) -> None:
        about: dict[str, Any] = {"provenet.transition": event.transition, "provenet.seq": event.seq}
        if event.role:
            about["provenet.role"] = event.role
        if event.contract:
            about["provenet.contract"] = event.contract
        if event.rule:
            about |= {"provenet.reject.rule": event.rule, "provenet.reject.field": event.field}
        self._span(event, f"fire {event.transition}", event.at, event.at, about)

    def _answered(self, event: e.Answered) -> None:
        about: dict[str, Any] = {
            "provenet.transition": event.transition,
            "provenet.proposer": event.handler,
            "provenet.key": event.key,
            "provenet.tries": event.tries,
            "provenet.outcome": event.outcome,
        }
        name, kind = f"propose {event.transition}", SpanKind.INTERNAL
        if event.model:
            name, kind = f"chat {event.model}", SpanKind.CLIENT
            about |= {
                i.OPERATION: "chat",
                i.PROVIDER: i.provider_of(event.model),
                i.RESPONSE_MODEL: event.model,
                i.INPUT_TOKENS: event.tokens_in,
                i.OUTPUT_TOKENS: event.tokens_out,
            }
        if event.cost_usd:
            about["provenet.cost_usd"] = float(event.cost_usd)
        own = work_span_id(event.key, event.tries)
        self._span(event, name, event.began, event.at, about, kind=kind, own=own, error=event.rule)

    def _effect(self, event: e.EffectTried) -> None:
        about = {
            "provenet.transition": event.transition,
            "provenet.effect": event.effect,
            "provenet.key": event.key,
            "provenet.tries": event.tries,
            "provenet.outcome": event.outcome,
        }
        own = work_span_id(event.key, event.tries)
        error = "" if event.outcome == "performed" else event.outcome
        self._span(
            event,
            f"effect {event.effect}",
            event.began,
            event.at,
            about,
            kind=SpanKind.CLIENT,
            own=own,
            error=error,
        )

    def _turned(self, event: e.CaseTurned) -> None:
        if event.status == "parked":
            about = {"provenet.reason": event.reason}
            self._span(event, "parked", event.at, event.at, about, error="parked")
        if not event.is_end:
            return
        about_case: dict[str, Any] = {"provenet.status": event.status, "provenet.firings": event.firings}
        if event.place:
            about_case["provenet.outcome"] = event.place
        if event.reason:
            about_case["provenet.reason"] = event.reason
        error = "" if event.status == "done" else event.status
        self._span(event, f"case {event.net}", event.created, event.at, about_case, whole="case", error=error)

    def _span(
        self,
        event: e.Fired | e.Answered | e.EffectTried | e.Decided | e.CaseTurned,
        name: str,
        start: int,
        end: int,
        about: dict[str, Any],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        own: int | None = None,
        whole: str = "",
        error: str = "",
    ) -> None:
        trace_of, root = trace_id(self._database, event.case), case_span_id(self._database, event.case)
        about |= {"provenet.case": event.case, "provenet.net": event.net}
        if error:
            about[i.ERROR_TYPE] = error
        context = trace.set_span_in_context(trace.INVALID_SPAN)
        if not (whole and self._derives):
            above = SpanContext(trace_of, root, is_remote=True, trace_flags=self._flags(trace_of, event.net))
            context = set_span_in_context(NonRecordingSpan(above))
        self._ids.next = trace_of, root if whole else own
        span = self._tracer.start_span(
            name, context=context, kind=kind, attributes=about, start_time=start * 1000
        )
        if error:
            span.set_status(StatusCode.ERROR, error)
        span.end(end_time=max(start, end) * 1000)

    def _flags(self, of: int, net: str) -> TraceFlags:
        """Whether a case's trace is sampled: what the sampler says of its own span, which comes last."""
        sampler = getattr(self._tracer, "sampler", None)
        if sampler is None:
            return TraceFlags(TraceFlags.SAMPLED)
        said = sampler.should_sample(None, of, f"case {net}")
        return TraceFlags(TraceFlags.SAMPLED if said.decision.is_sampled() else TraceFlags.DEFAULT)


class _Ids:
    """Gives the SDK's tracer the ids that a span is to have; one that is not said is random."""

    def __init__(self) -> None:
        self.next: tuple[int, int | None] = (0, None)
        self._random = random.Random()  # noqa: S311  ids must differ, not be secret

    def generate_trace_id(self) -> int:
        return self.next[0] or self._random.getrandbits(128) or 1

    def generate_span_id(self) -> int:
        return self.next[1] or self._random.getrandbits(64) or 1

    def is_trace_id_random(self) -> bool:
        return True


def _recorders(provider: MeterProvider) -> dict[str, Callable[[float, dict[str, str]], None]]:
    meter = provider.get_meter("provenet", schema_url=_SCHEMA)
    found: dict[str, Callable[[float, dict[str, str]], None]] = {}
    for known in i.ALL:
        match known.kind:
            case "counter":
                found[known.name] = meter.create_counter(known.name, known.unit, known.about).add
            case "level":
                found[known.name] = meter.create_up_down_counter(known.name, known.unit, known.about).add
            case "histogram":
                found[known.name] = meter.create_histogram(
                    known.name,
                    known.unit,
                    known.about,
                    explicit_bucket_boundaries_advisory=list(known.bounds),
                ).record
    return found
