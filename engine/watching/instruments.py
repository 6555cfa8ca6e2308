"""The metrics: what is counted of each event, once, for OpenTelemetry and for Prometheus alike.

Names and units follow the OpenTelemetry semantic conventions; the ``gen_ai.*`` metrics and attributes are
those of version 1.44.0, histogram bounds included (status: development; the conventions for GenAI move to a
repository of their own, ``semantic-conventions-genai``). They have no name for money:
``provenet.proposal.cost`` is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from provenet.engine.case import LIVE
from provenet.engine.watching import events as e

SEMCONV = "1.44.0"
"""Version of the semantic conventions that names here are taken from."""

OPERATION, PROVIDER = "gen_ai.operation.name", "gen_ai.provider.name"
RESPONSE_MODEL, TOKEN_TYPE = "gen_ai.response.model", "gen_ai.token.type"
INPUT_TOKENS, OUTPUT_TOKENS = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
ERROR_TYPE = "error.type"

MOST_MODELS = 50
"""Model names told apart: a server says what its model is called, and a metric keeps every name for ever."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric.

    Attributes:
        name: Its name, with dots.
        kind: A counter only grows; a level goes up and down; a histogram sorts amounts into bounds.
        unit: UCUM unit.
        about: What it says.
        labels: What its amounts are told apart by.
        bounds: Upper bounds of a histogram's buckets.
    """

    name: str
    kind: Literal["counter", "level", "histogram"]
    unit: str
    about: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


Sample: TypeAlias = tuple[Instrument, float, tuple[str, ...]]
"""An instrument, an amount, and the values of its labels."""

_QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 3600, 86400)
_GEN_AI = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.response.model")

STARTED = Instrument("provenet.cases.started", "counter", "{case}", "Cases started", ("net",))
ENDED = Instrument("provenet.cases.ended", "counter", "{case}", "Cases that ended", ("net", "status"))
HELD = Instrument(
    "provenet.cases.held", "level", "{case}", "Unfinished cases that this process runs", ("status",)
)
PARKED = Instrument("provenet.cases.parked", "counter", "{case}", "Times a case was parked", ("net",))
FIRINGS = Instrument(
    "provenet.firings", "counter", "{firing}", "Durable firings", ("net", "transition", "role")
)
PROPOSALS = Instrument(
    "provenet.proposals", "counter", "{proposal}", "Calls of proposers", ("net", "transition", "outcome")
)
COST = Instrument(
    "provenet.proposal.cost",
    "counter",
    "USD",
    "What proposals cost, as far as known",
    ("net", RESPONSE_MODEL),
)
TOKENS = Instrument(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Number of input and output tokens used",
    (*_GEN_AI, TOKEN_TYPE),
    tuple(4**n for n in range(14)),
)
OPERATIONS = Instrument(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "GenAI operation duration",
    (*_GEN_AI, ERROR_TYPE),
    tuple(0.01 * 2**n for n in range(14)),
)
EFFECTS = Instrument(
    "provenet.effects", "counter", "{call}", "Calls of external effects", ("net", "effect", "outcome")
)
EFFECT_SECONDS = Instrument(
    "provenet.effect.duration", "histogram", "s", "How long calls of effects took", ("net", "effect"), _SLOW
)
TIMERS = Instrument("provenet.timers", "counter", "{timer}", "Timers that rang", ("net",))
LATE = Instrument(
    "provenet.timer.lateness", "histogram", "s", "How long after they were due timers rang", (), _SLOW
)
DECISIONS = Instrument(
    "provenet.decisions", "counter", "{decision}", "Decisions of people", ("net", "task", "choice")
)
SIGNALS = Instrument("provenet.signals", "counter", "{event}", "Events from outside", ("status",))
KILLS = Instrument("provenet.kills", "counter", "{pull}", "Pulls of the kill switch", ("scope",))
COMMITS = Instrument("provenet.commits", "counter", "{commit}", "Transactions")
ROWS = Instrument("provenet.commit.rows", "counter", "{row}", "Rows and changes committed")
COMMIT_SECONDS = Instrument(
    "provenet.commit.duration", "histogram", "s", "How long transactions took", (), _QUICK
)

ALL = (
    STARTED,
    ENDED,
    HELD,
    PARKED,
    FIRINGS,
    PROPOSALS,
    COST,
    TOKENS,
    OPERATIONS,
    EFFECTS,
    EFFECT_SECONDS,
    TIMERS,
    LATE,
    DECISIONS,
    SIGNALS,
    KILLS,
    COMMITS,
    ROWS,
    COMMIT_SECONDS,
)
"""Every instrument."""


class Measure:
    """What events come to, one engine's or several engines' one after the other."""

    def __init__(self) -> None:
        self._models: set[str] = set()
        self._held: dict[str, int] = {}

    def samples(self, event: e.Event) -> Iterator[Sample]:
        """The amounts that an event adds."""
        match event:
            case e.Fired():
                yield FIRINGS, 1, (event.net, event.transition, event.role)
            case e.CaseStarted():
                yield STARTED, 1, (event.net,)
                yield self._hold("running", 1)
            case e.CaseTaken():
                yield self._hold(event.status, 1)
            case e.CaseTurned():
                yield self._hold(event.before, -1)
                if event.is_end:
                    yield ENDED, 1, (event.net, event.status)
                else:
                    yield self._hold(event.status, 1)
                if event.status == "parked":
                    yield PARKED, 1, (event.net,)
            case e.Answered():
                yield from self._answered(event)
            case e.EffectTried():
                yield EFFECTS, 1, (event.net, event.effect, event.outcome)
                yield EFFECT_SECONDS, event.seconds, (event.net, event.effect)
            case e.Rung():
                yield TIMERS, 1, (event.net,)
                yield LATE, max(0, event.at - event.due) / 1e6, ()
            case e.Decided():
                yield DECISIONS, 1, (event.net, event.task, event.choice)
            case e.Signalled():
                yield SIGNALS, 1, (event.status,)
            case e.Pulled(released="no"):
                yield KILLS, 1, (event.scope,)
            case e.Committed():
                yield COMMITS, 1, ()
                yield ROWS, event.rows, ()
                yield COMMIT_SECONDS, event.seconds, ()
            case e.Stopped():
                # Whoever opens the database next holds them.
                for status, count in list(self._held.items()):
                    yield self._hold(status, -count)

    def _hold(self, status: str, change: int) -> Sample:
        assert status in {*LIVE, "parked"}
        self._held[status] = self._held.get(status, 0) + change
        return HELD, change, (status,)

    def _answered(self, event: e.Answered) -> Iterator[Sample]:
        yield PROPOSALS, 1, (event.net, event.transition, event.outcome)
        model = self._known(event.model)
        if event.cost_usd > 0:
            yield COST, float(event.cost_usd), (event.net, model)
        if not event.model:
            return
        about = ("chat", provider_of(model), model)
        yield OPERATIONS, event.seconds, (*about, event.rule)
        for kind, count in (("input", event.tokens_in), ("output", event.tokens_out)):
            if count > 0:
                yield TOKENS, count, (*about, kind)

    def _known(self, model: str) -> str:
        model = model[:100]
        if model not in self._models and len(self._models) >= MOST_MODELS:
            return "other"
        self._models.add(model)
        return model


def provider_of(model: str) -> str:
    """The conventions' name of a model's provider, as far as the model's own name says it."""
    prefix = model.partition("/")[0] if "/" in model else ""
    if prefix:
        return _PROVIDERS.get(prefix, prefix)
    return next((p for start, p in _FAMILIES if model.startswith(start)), "unknown")


_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Where the prefix that litellm wants differs from the conventions' well-known values."""

_FAMILIES = (
    ("claude", "anthropic"),
    ("gpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("gemini", "gcp.gemini"),
    ("command", "cohere"),
    ("mistral", "mistral_ai"),
    ("deepseek", "deepseek"),
    ("grok", "x_ai"),
)
