"""What observers are told is what the database says: metrics, traces and logs of real runs."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.schemas import Schemas
from prometheus_client.parser import text_string_to_metric_families

from provenet.engine import Engine, VirtualClock, faults
from provenet.engine.errors import EngineError
from provenet.engine.watching import (
    Answered,
    CaseTurned,
    Committed,
    EffectTried,
    Event,
    Fired,
    JsonLines,
    Logs,
    Observer,
    Opened,
    Stopped,
    instruments,
)
from provenet.engine.watching.prometheus import Prometheus
from provenet.engine.watching.telemetry import Telemetry
from provenet.nets.build import NetBuilder
from provenet.nets.net import Ask, Perform
from provenet.sdb.handlers import Agent, Effect, Proposal, Proposer, Request
from tests.engine.kit import Answers, Item, built, deployed, opened
from tests.engine.orders import START, Order, orders, person, proofs
from tests.support.ledger import Ledger

CENT = Decimal("0.0125")

NUMBERS = (*range(38), 127, 133)
"""Of the orders that a run is made of; in the last two, a person takes too long to decide."""


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def see(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


class Paid:
    """A proposer whose answers cost something."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer

    async def propose(self, request: Request) -> Proposal:
        return replace(await self._proposer.propose(request), cost_usd=CENT)


def dear(ledger: Ledger) -> Agent:
    """The agent of ``tests.engine.orders``, whose model costs money."""
    agent = orders(ledger)
    paid = {n: Paid(h) for n, h in agent.handlers.items() if isinstance(h, Proposer)}
    return replace(agent, handlers={**agent.handlers, **paid})


async def go(
    folder: Path, observers: Sequence[Observer], cases: Iterable[int], *, until: timedelta | None = None
) -> None:
    """Run orders, or go on with those that are there."""
    agent, clock = dear(Ledger(folder / "ledger.db")), VirtualClock(START)
    async with Engine.open(
        folder / "x.db", agents=[agent], clock=clock, people=person(clock), observers=observers
    ) as engine:
        if not engine.read.nets():
            engine.deploy(agent, proofs(agent.net))
        wanted = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in cases]
        await engine.start_cases("orders", wanted, existing="skip")
        await engine.run_until_idle(until=None if until is None else START + until)


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "x.db")) as db:
        return db.execute(query).fetchall()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


FIRINGS = (
    "SELECT c.id, e.seq, e.transition FROM provenet_event e JOIN provenet_case c ON c.no = e.case_no"
    " WHERE e.kind = 'fire'"
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases=st.integers(1, 6), point=st.sampled_from(faults.POINTS), nth=st.integers(1, 12))
def test_nobody_is_told_of_what_a_crash_undid(cases: int, point: str, nth: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, told = Path(name), Recorder()
        faults.plan(f"{point}:raise:{nth}")
        try:
            with suppress(faults.FaultInjected):
                asyncio.run(go(folder, [told], range(cases)))
        finally:
            faults.plan(None)
        before = [(e.case, e.seq, e.transition) for e in told.of(Fired)]
        assert len(set(before)) == len(before)
        there = set(rows(folder, FIRINGS))
        assert set(before) <= there
        told.events.clear()
        asyncio.run(go(folder, [told], range(cases)))
        after = [(e.case, e.seq, e.transition) for e in told.of(Fired)]
        # A run that ends well tells all that it did, and nothing twice.
        assert Counter(after) == Counter(set(rows(folder, FIRINGS)) - there)
        assert isinstance(told.events[0], Opened)
        assert told.events[-1] == Stopped(told.events[-1].at, "")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Forty orders, stopped on the second day and gone on with in another engine; everybody watches."""
    folder = tmp_path_factory.mktemp("watched")
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    meters, told = MeterProvider(metric_readers=[reader]), Recorder()
    lines = logging.FileHandler(folder / "log.jsonl", encoding="utf-8")
    lines.setFormatter(JsonLines())
    logger = logging.getLogger("provenet")
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    with Prometheus() as metrics:
        port = metrics.listen("127.0.0.1", 0)
        try:
            # Two processes have two providers and two clients: here they share what they write to.
            for until in (timedelta(days=1), None):
                traces = TracerProvider()
                traces.add_span_processor(SimpleSpanProcessor(spans))
                everybody: list[Observer] = [told, metrics, Logs()]
                everybody.append(Telemetry(traces=traces, meters=meters))
                asyncio.run(go(folder, everybody, NUMBERS, until=until))
        finally:
            logger.removeHandler(lines)
            logger.setLevel(logging.NOTSET)
            lines.close()
        scraped = scrape(port)
    data = reader.get_metrics_data()
    assert data is not None
    amounts: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            amount = point.sum if hasattr(point, "sum") else point.value
            labels = tuple(sorted((point.attributes or {}).items()))
            amounts.setdefault(metric.name, {})[labels] = amount
    return Watched(folder, told, spans.get_finished_spans(), amounts, scraped)


class Watched:
    """What the watchers of a run have seen."""

    def __init__(
        self,
        folder: Path,
        told: Recorder,
        spans: Sequence[ReadableSpan],
        amounts: dict[str, Any],
        scraped: str,
    ) -> None:
        self.folder, self.told, self.spans, self.amounts = folder, told, spans, amounts
        self.samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(scraped):
            for sample in family.samples:
                labels = tuple(sorted((k, v) for k, v in sample.labels.items() if v))
                self.samples.setdefault(sample.name, {})[labels] = sample.value

    def both(self, name: str, scraped: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The amounts of a metric, which OpenTelemetry and Prometheus must agree on."""
        found = {tuple((k, str(v)) for k, v in labels): n for labels, n in self.amounts.get(name, {}).items()}
        as_scraped = {
            tuple(sorted((k.replace(".", "_"), v) for k, v in labels)): n for labels, n in found.items()
        }
        assert self.samples.get(scraped, {}) == pytest.approx(as_scraped)
        return found


def test_metrics_are_what_the_database_says(watched: Watched) -> None:
    folder = watched.folder
    fired = Counter(t for _, _, t in rows(folder, FIRINGS))
    counted = watched.both("provenet.firings", "provenet_firings_total")
    assert {dict(labels)["transition"]: n for labels, n in counted.items()} == fired
    ended = watched.both("provenet.cases.ended", "provenet_cases_ended_total")
    statuses = dict(rows(folder, "SELECT status, COUNT(*) FROM provenet_case GROUP BY status"))
    assert {dict(labels)["status"]: n for labels, n in ended.items()} == statuses == {"done": 40}
    assert sum(watched.both("provenet.cases.started", "provenet_cases_started_total").values()) == 40
    assert set(watched.both("provenet.cases.held", "provenet_cases_held").values()) == {0}
    # effects
    states = dict(rows(folder, "SELECT state, COUNT(*) FROM provenet_effect GROUP BY state"))
    (tries,) = rows(folder, "SELECT SUM(tries) FROM provenet_effect")[0]
    outcomes: Counter[str] = Counter()
    for labels, n in watched.both("provenet.effects", "provenet_effects_total").items():
        outcomes[dict(labels)["outcome"]] += int(n)
    assert set(states) == {"performed", "failed"}
    assert {s: outcomes[s] for s in states} == states
    assert outcomes.total() == tries
    # proposals: the journal has those that were paid for
    paid, into, out = rows(
        folder, "SELECT COUNT(*), SUM(tokens_in), SUM(tokens_out) FROM provenet_proposal WHERE model <> ''"
    )[0]
    cost = sum(Decimal(c) for (c,) in rows(folder, "SELECT cost_usd FROM provenet_proposal"))
    assert cost > 0
    counted_cost = watched.both("provenet.proposal.cost", "provenet_proposal_cost_usd_total").values()
    assert sum(counted_cost) == pytest.approx(float(cost))
    tokens = watched.both("gen_ai.client.token.usage", "gen_ai_client_token_usage_sum")
    assert {dict(labels)["gen_ai.token.type"]: n for labels, n in tokens.items()} == {
        "input": into,
        "output": out,
    }
    answered = [e for e in watched.told.of(Answered) if e.model]
    assert (
        len(answered)
        == paid
        == watched.samples["gen_ai_client_operation_duration_seconds_count"][
            (
                ("gen_ai_operation_name", "chat"),
                ("gen_ai_provider_name", "unknown"),
                ("gen_ai_response_model", "dice-1"),
            )
        ]
    )
    proposals = watched.both("provenet.proposals", "provenet_proposals_total")
    used = sum(n for labels, n in proposals.items() if dict(labels)["outcome"] == "used")
    assert used == fired["quote.propose"]
    decided = sum(watched.both("provenet.decisions", "provenet_decisions_total").values())
    assert [(decided,)] == rows(folder, "SELECT COUNT(*) FROM provenet_task WHERE status = 'decided'")
    assert decided > 0
    rang = sum(watched.both("provenet.timers", "provenet_timers_total").values())
    assert rang == fired["approve.timeout"] > 0
    commits = sum(watched.both("provenet.commits", "provenet_commits_total").values())
    assert commits == len(watched.told.of(Committed)) > 10
    assert watched.samples["provenet_commit_duration_seconds_count"][()] == commits


def test_every_case_is_one_trace_across_restarts(watched: Watched) -> None:
    by_case: dict[str, list[ReadableSpan]] = {}
    for span in watched.spans:
        assert span.attributes is not None
        by_case.setdefault(str(span.attributes["provenet.case"]), []).append(span)
    assert set(by_case) == {f"o-{i}" for i in NUMBERS}
    assert len({s.context.span_id for s in watched.spans if s.context}) == len(watched.spans)
    traces = set()
    waited = 0
    for spans in by_case.values():
        (trace,) = {s.context.trace_id for s in spans if s.context}
        traces.add(trace)
        (root,) = [s for s in spans if s.parent is None]
        assert root.context is not None
        assert root.name == "case orders"
        assert {s.parent.span_id for s in spans if s.parent} == {root.context.span_id}
        assert root.start_time is not None
        assert root.end_time is not None
        assert all(
            root.start_time <= (s.start_time or 0) <= (s.end_time or 0) <= root.end_time for s in spans
        )
        waited += root.end_time - root.start_time > 24 * 3600 * 10**9
    assert len(traces) == 40
    assert waited > 0, "no case went on after the restart"
    fired = Counter(
        (s.attributes or {})["provenet.transition"] for s in watched.spans if s.name.startswith("fire ")
    )
    assert fired == Counter(t for _, _, t in rows(watched.folder, FIRINGS))
    performed = [s for s in watched.spans if s.name.startswith("effect ")]
    assert len(performed) == len(watched.told.of(EffectTried))


def test_a_proposal_is_a_gen_ai_span(watched: Watched) -> None:
    assert hasattr(Schemas, f"V{instruments.SEMCONV.replace('.', '_')}")
    known = {v for v in vars(gen_ai_attributes).values() if isinstance(v, str)}
    metrics = {v for v in vars(gen_ai_metrics).values() if isinstance(v, str)}
    labels = {label for i in instruments.ALL for label in i.labels if label.startswith("gen_ai.")}
    assert labels <= known
    assert {i.name for i in instruments.ALL if i.name.startswith("gen_ai.")} <= metrics
    chats = [s for s in watched.spans if s.name == "chat dice-1"]
    assert len(chats) == len([e for e in watched.told.of(Answered) if e.model])
    for span in chats:
        about = span.attributes or {}
        assert {a for a in about if a.startswith("gen_ai.")} <= known
        assert (about["gen_ai.response.model"], about["gen_ai.operation.name"]) == ("dice-1", "chat")
        assert (about["gen_ai.usage.input_tokens"], about["gen_ai.usage.output_tokens"]) == (7, 3)
        assert about["provenet.cost_usd"] == float(CENT)
    failed = [s for s in watched.spans if s.name == "propose quote.propose"]
    assert {(s.attributes or {})["error.type"] for s in failed} == {"fault", "refusal", "schema"}
    assert not any(s.status.is_ok for s in failed)


def test_logs_are_json_lines_in_the_order_of_events(watched: Watched) -> None:
    lines = [
        json.loads(line) for line in (watched.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    fired = [(x["case"], x["seq"]) for x in lines if x["event"] == "fired"]
    assert fired == [(e.case, e.seq) for e in watched.told.of(Fired)]
    assert all(x["logger"].startswith("provenet.") for x in lines)
    assert len([x for x in lines if x["event"] == "answered"]) == len(watched.told.of(Answered))
    traces = {
        (s.attributes or {})["provenet.case"]: f"{s.context.trace_id:032x}"
        for s in watched.spans
        if s.context
    }
    assert {(x["case"], x["trace"]) for x in lines if "case" in x} == set(traces.items())
    ends = [x for x in lines if x["event"] == "case turned" and x["status"] == "done"]
    assert len(ends) == 40
    assert {x["level"] for x in ends} == {"INFO"}
    rejects = [x for x in lines if x.get("role") == "reject"]
    assert rejects
    assert all(x["field"] == "discount" and "discount <= 30" in x["rule"] for x in rejects)


def quiet(effect: Any) -> Agent:
    """A proposal, then an effect."""

    def make(net: NetBuilder) -> None:
        start, mid, done = net.entry("start", Item), net.place("mid", Item), net.final("done", Item)
        ask = Ask(net.handle("says", Answers(lambda r: Proposal((r.payload.id, 7)))))
        net.transition("ask", takes={"s": start}, brings={"a": Item}, puts={mid: "a"}, trigger=ask)
        call = Effect("out.send", effect, payload=Item)
        act = Perform(net.handle("out.send", call), timeout=call.timeout, tries=call.tries)
        net.transition("send", takes={"s": mid}, puts={done: "s"}, trigger=act)

    return built(make)


async def one(agent: Agent, *observers: Observer, case: str = "c", value: str = "x") -> None:
    async with opened(agent, observers=observers) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id=value, n=1)}, case_id=case)
        await engine.run_until_idle()
        assert engine.read.counts() == {"done": 1}


async def test_a_handler_can_hand_the_trace_on() -> None:
    asked: list[Request] = []

    async def send(request: Request) -> None:
        asked.append(request)
        if len(asked) == 1:
            raise ConnectionError("away")

    spans, traces = InMemorySpanExporter(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    await one(quiet(send), Telemetry(traces=traces, meters=MeterProvider()))
    tries = [s for s in spans.get_finished_spans() if s.name == "effect out.send"]
    headers = [f"00-{s.context.trace_id:032x}-{s.context.span_id:016x}-01" for s in tries if s.context]
    assert [r.traceparent for r in asked] == headers
    assert len(set(headers)) == 2
    asked.clear()
    await one(quiet(send))
    assert {r.traceparent for r in asked} == {""}


async def test_a_sampled_case_is_sampled_whole() -> None:
    spans, traces = InMemorySpanExporter(), TracerProvider(sampler=ParentBasedTraceIdRatio(0.5))
    traces.add_span_processor(SimpleSpanProcessor(spans))
    watcher = Telemetry(traces=traces, meters=MeterProvider())
    agent = quiet(lambda request: None)
    async with opened(agent, observers=[watcher]) as engine:
        deployed(engine, agent)
        many = [(f"c-{i}", {"start": Item(id="x", n=1)}) for i in range(40)]
        await engine.start_cases("small", many)
        await engine.run_until_idle()
    by_case = Counter((s.attributes or {})["provenet.case"] for s in spans.get_finished_spans())
    assert 0 < len(by_case) < 40
    assert len(set(by_case.values())) == 1


async def test_without_an_sdk_nothing_is_lost_but_the_spans() -> None:
    watcher = Telemetry()  # the API alone gives providers that do nothing
    await one(quiet(lambda request: None), watcher)


class Broken:
    def __init__(self) -> None:
        self.told = 0

    def see(self, event: Event) -> None:
        self.told += 1
        if isinstance(event, Fired):
            raise RuntimeError("no")  # noqa: TRY004


async def test_an_observer_that_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Broken(), Recorder()
    with caplog.at_level(logging.ERROR, "provenet.watching"):
        await one(quiet(lambda request: None), broken, sound)
    assert [e.transition for e in sound.of(Fired)] == ["ask", "send"]
    assert len(caplog.records) == 1
    assert "Broken" in caplog.records[0].getMessage()
    assert broken.told < len(sound.events)


async def test_values_of_tokens_are_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    spans, traces = InMemorySpanExporter(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    told = Recorder()
    with Prometheus() as metrics, caplog.at_level(logging.DEBUG, "provenet"):
        port = metrics.listen("127.0.0.1", 0)
        watchers = (told, metrics, Logs(), Telemetry(traces=traces, meters=MeterProvider()))
        await one(quiet(lambda request: None), *watchers, value="hunter2-ultramarine")
        scraped = await asyncio.to_thread(scrape, port)
    logged = [JsonLines().format(r) for r in caplog.records if r.name.startswith("provenet.")]
    assert len(logged) > 5
    for text in (
        repr(told.events),
        scraped,
        "\n".join(logged),
        *(s.to_json() for s in spans.get_finished_spans()),
    ):
        assert "ultramarine" not in text


async def test_a_line_is_one_record_whatever_is_in_it(caplog: pytest.LogCaptureFixture) -> None:
    agent = quiet(lambda request: None)
    with caplog.at_level(logging.INFO, "provenet"):
        async with opened(agent, observers=[Logs()]) as engine:
            deployed(engine, agent)
            await engine.kill("all", who='eve\n{"event": "decided"}', reason="\u2028\x1b[2J\x00")
    (line,) = [JsonLines().format(r) for r in caplog.records if r.name == "provenet.kill"]
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert json.loads(line)["who"].startswith("eve\n")
    other = logging.LogRecord("httpx", logging.INFO, "", 0, "said %s", ("a\nb",), None)
    assert json.loads(JsonLines().format(other))["message"] == "said a\nb"


def test_lines_of_several_processes_are_whole(tmp_path: Path) -> None:
    program = (
        "import logging, sys; from provenet.engine.watching import JsonLines, WholeLines\n"
        "handler = WholeLines(sys.argv[1]); handler.setFormatter(JsonLines(worker=int(sys.argv[2])))\n"
        "log = logging.getLogger('x'); log.addHandler(handler)\n"
        "for i in range(50): log.error('%d %s', i, sys.argv[2] * 50_000)"
    )
    log = tmp_path / "log"
    several = [subprocess.Popen([sys.executable, "-c", program, str(log), str(n)]) for n in range(3)]
    assert [process.wait(60) for process in several] == [0, 0, 0]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 150
    for line in lines:
        assert set(line["message"].partition(" ")[2]) == {str(line["worker"])}


async def test_a_parked_case_is_told_with_its_reason() -> None:
    told = Recorder()

    def refuse(request: Request) -> None:
        raise OSError("the disk of the other side is full")

    agent = quiet(refuse)
    async with opened(agent, observers=[told]) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="x", n=1)}, case_id="c")
        await engine.run_until_idle()
        assert engine.read.counts() == {"parked": 1}
    turned = told.of(CaseTurned)[-1]
    assert (turned.status, turned.is_end) == ("parked", False)
    assert "the disk of the other side is full" in turned.reason
    outcomes = [e.outcome for e in told.of(EffectTried)]
    assert outcomes == ["again"] * 4 + ["failed"]


def test_models_that_are_told_apart_are_limited() -> None:
    measure = instruments.Measure()
    seen = set()
    for n in range(500):
        event = Answered(
            "c", "n", "t", "h", "k", 1, 0, 0, 0.1, "used", "", f"model-{n}-{'x' * 300}", 1, 1, CENT
        )
        seen |= {labels[-1] for i, _, labels in measure.samples(event) if i is instruments.COST}
    assert len(seen) == instruments.MOST_MODELS + 1
    assert max(map(len, seen)) <= 100


def test_an_address_that_is_taken_is_said_so() -> None:
    with Prometheus() as first, Prometheus() as second:
        port = first.listen("127.0.0.1", 0)
        with pytest.raises(EngineError, match="metrics cannot be served"):
            second.listen("127.0.0.1", port)
