"""Random nets, random schedules, random crash points: whatever the engine shows is a run of the proved net.

A Hypothesis state machine starts cases, lets work and time go on for a while, decides, signals, kills,
resumes, closes, and crashes at any fault point. After every step, what is durable is read past the engine,
through a connection of its own, and each log is fired again by the plain firing rule of the net: by code that
shares nothing with the engine's replay.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from provenet.engine import Engine, Reader, VirtualClock, audit, faults
from provenet.engine.clock import to_micros
from provenet.engine.errors import CaseClosed, EngineError
from provenet.nets.build import NetBuilder
from provenet.nets.firing import NetRule
from provenet.nets.formats.canonical import content_hash
from provenet.nets.marking import Marking, initial_marking, is_final
from provenet.nets.net import After, Auto, Choice, Perform
from provenet.nets.schema import Value, from_json
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Proposal, Request
from tests.engine.kit import START, built, deployed, opened
from tests.engine.orders import dice
from tests.engine.test_random import World, agents

CASES = 3
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


class Firings:
    """One log, fired again: the marking it leads to, and which token lies where.

    Args:
        rule: The plain firing rule of the case's net.
    """

    def __init__(self, rule: NetRule) -> None:
        self.net, self.rule = rule.net, rule
        self.types = {p.name: p.type for p in rule.net.places}
        self.marking = Marking()
        self.tokens: dict[int, tuple[str, Value, int]] = {}
        self.keys: list[str] = []

    def start(self, data: dict[str, Any], at: int) -> None:
        for token, place, value in data["put"]:
            self.put(token, place, from_json(value, self.types[place]), at)
        inputs = {place: value for place, value, _ in self.tokens.values() if place in self.entries()}
        self.marking = initial_marking(self.net, inputs)
        self.agree()

    def entries(self) -> set[str]:
        return {e.place for e in self.net.entries}

    def fire(self, name: str, data: dict[str, Any], at: int) -> None:
        t = self.net.transition(name)
        fresh = {f.var: f.type for f in t.fresh}
        assert data.get("bring", {}).keys() == fresh.keys()
        binding = {var: from_json(v, fresh[var]) for var, v in data.get("bring", {}).items()}
        took = Counter(data["took"])
        assert all(n == 1 for n in took.values()), "a token is taken once"
        for var, where in [(a.var, a.place) for a in t.takes] + [(a.var, a.place) for a in t.reads]:
            if var is not None:
                place, value, _ = self.tokens[data["bind"][var]]
                assert place == where
                binding[var] = value
        named = {data["bind"][a.var] for a in t.takes if a.var is not None}
        assert named <= took.keys()
        left = Counter(self.tokens[token][0] for token in took.keys() - named)
        assert left == +Counter({a.place: a.weight for a in t.takes if a.var is None})
        if isinstance(t.trigger, After):
            delay = self.rule.evaluate(name, t.trigger.delay, binding)
            arrived = self.tokens[data["took"][0]][2]
            assert at >= arrived + delay // timedelta(microseconds=1), "a timer fires when it is due"
        if isinstance(t.trigger, Choice):
            assert data["note"]["by"]
        if isinstance(t.trigger, Perform):
            self.keys.append(data["note"]["key"])
        after = self.rule.fire(self.marking, name, binding)  # raises where the net forbids it
        for token in took:
            del self.tokens[token]
        swept = {token for token, (place, *_) in self.tokens.items() if place in t.resets}
        assert swept == set(data.get("reset", ()))
        for token in swept:
            del self.tokens[token]
        places = [p.place for p in t.puts for _ in range(1 if p.expr is not None else p.weight)]
        assert [place for _, place in data["put"]] == places
        made = iter(data["put"])
        for p in t.puts:
            for _ in range(1 if p.expr is not None else p.weight):
                value = () if p.expr is None else self.rule.evaluate(name, p.expr, binding)
                self.put(next(made)[0], p.place, value, at)
        self.marking = after
        self.agree()

    def put(self, token: int, place: str, value: Value, at: int) -> None:
        assert token > max(self.tokens, default=0), "a token's number is new"
        self.tokens[token] = place, value, at

    def agree(self) -> None:
        """The tokens one by one are the marking."""
        held: dict[str, tuple[Value, ...]] = {}
        for place, value, _ in self.tokens.values():
            held[place] = (*held.get(place, ()), value)
        assert Marking(held) == self.marking


class Outside:
    """Proposers and a service that come late, overtake each other, fail, lie, and lose answers.

    What they do follows from the order in which their keys came first: keys are different in every run.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._order: dict[str, int] = {}
        self.effects: dict[str, tuple[str, Any]] = {}

    def _dice(self, request: Request, *about: object) -> int:
        return dice(self._order.setdefault(request.key, len(self._order)), request.case, *about)

    async def _wait(self, request: Request) -> None:
        roll = self._dice(request, request.attempt, "slow")
        # The longest is over any time-out of an effect or a proposal.
        await self._clock.sleep(timedelta(seconds=(0, 0, 0.3, 7, 25, 4000)[roll % 6]))

    async def propose(self, request: Request) -> Proposal:
        await self._wait(request)
        if self._dice(request, request.attempt) < 15:
            raise RuntimeError("no idea")
        return Proposal(self._dice(request) if self._dice(request, "junk") > 10 else "junk")

    async def perform(self, request: Request) -> Any:
        await self._wait(request)
        if self._dice(request, request.attempt) < 15:
            raise ConnectionError("away")
        if self._dice(request) < 10:
            raise EffectRefused("no")
        said = (request.case, request.payload)
        assert self.effects.setdefault(request.key, said) == said, "one key is one effect"
        if self._dice(request, "lies") < 8:
            return "a receipt of another kind"
        if self._dice(request, request.attempt, "lost") < 10:
            raise ConnectionResetError("performed, and the answer is lost")
        return int(request.payload)


def is_lively(drawn: tuple[Agent, World]) -> bool:
    """Whether a case of the net has to wait for something at once, and not for one kind of thing alone."""
    net = drawn[0].net
    kinds = {type(t.trigger) for t in net.transitions} - {Auto}
    place = net.entries[0].place
    direct = [t for t in net.transitions if place in {a.place for a in t.takes} and t.guard is None]
    waits = all(not isinstance(t.trigger, Auto) or "intent" in t.name for t in direct)
    return waits and bool(direct) and len(kinds) > 1


class EngineMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Path(self.folder.name) / "x.db"
        self.runner = asyncio.Runner()
        self.clock = VirtualClock(START)
        self.stop_after = -1
        self.lengths: dict[int, tuple[int, bytes]] = {}
        self.agent: Agent
        self.plain: NetRule
        self.hash: str
        self.engine: Engine
        self.world: Outside

    @initialize(drawn=agents().filter(is_lively))
    def deploy(self, drawn: tuple[Agent, World]) -> None:
        agent, _ = drawn
        self.world = Outside(self.clock)
        handlers: dict[str, object] = {}
        for name, handler in agent.handlers.items():
            handlers[name] = (
                replace(handler, run=self.world.perform) if isinstance(handler, Effect) else self.world
            )
        self.agent = Agent(agent.net, handlers)
        self.plain, self.hash = NetRule(agent.net), content_hash(agent.net)
        self.open()
        for n in range(CASES - 1):
            self.start(n, n)

    # what happens

    @rule(n=st.integers(0, CASES - 1), value=st.integers(0, 5))
    def start(self, n: int, value: int) -> None:
        self.do(self.engine.start_case("small", inputs={"p0": value}, case_id=f"c{n}"))

    @rule(hours=st.sampled_from([0, 0, 1, 6, 80]))
    def go_on(self, hours: int) -> None:
        self.do(self.engine.run_until_idle(until=self.clock.now() + timedelta(hours=hours)))

    @rule(firings=st.integers(0, 6))
    def go_on_for_some_firings(self, firings: int) -> None:
        """Work is left queued, and what is under way is left under way."""
        self.stop_after = self.engine.progress().firings + firings
        self.do(self.engine.run_until_idle())
        self.stop_after = -1

    @rule(n=st.integers(0, CASES - 1), event=st.integers(0, 2), key=st.sampled_from([None, "a", "b"]))
    def signal(self, n: int, event: int, key: str | None) -> None:
        self.do(self.engine.signal(f"c{n}", f"event{event}", key=key))

    @rule(
        which=st.integers(0, 5), choice=st.integers(0, 3), who=st.sampled_from(["a@who", "a@who", "b@else"])
    )
    def decide(self, which: int, choice: int, who: str) -> None:
        tasks = self.read(
            "SELECT c.id, t.task, t.choices FROM provenet_task t"
            " JOIN provenet_case c ON c.no = t.case_no WHERE t.status = 'open'"
            " ORDER BY t.case_no, t.token, t.task"
        )
        if tasks:
            case, task, choices = tasks[which % len(tasks)]
            names = json.loads(choices)
            self.do(self.engine.decide(case, task, names[choice % len(names)], who))

    @rule(n=st.integers(0, CASES - 1), odds=st.integers(0, 2))
    def kill(self, n: int, odds: int) -> None:
        if not odds:
            self.do(self.engine.kill("case", f"c{n}", who="a@who", reason="a test"))

    @rule()
    def resume(self) -> None:
        for (case,) in self.read("SELECT id FROM provenet_case WHERE status = 'parked'"):
            self.do(self.engine.resume(case))

    @rule(point=st.sampled_from(faults.POINTS), nth=st.integers(1, 4))
    def plan_a_crash(self, point: str, nth: int) -> None:
        faults.plan(f"{point}:raise:{nth}")

    @rule()
    def cut_the_power(self) -> None:
        self.crash()

    @rule()
    def close_and_open(self) -> None:
        try:
            self.runner.run(self.engine.close())
        except faults.FaultInjected:
            faults.plan(None)
        self.open()

    # what must hold

    @invariant()
    @precondition(lambda self: hasattr(self, "engine"))
    def every_log_is_a_firing_sequence(self) -> None:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            for no, case, net, status, version, head in db.execute(
                "SELECT no, id, net, status, version, head FROM provenet_case"
            ).fetchall():
                assert net == self.hash, "a case stays on the version that was proved"
                log = db.execute(
                    "SELECT seq, kind, transition, at, data, hash FROM provenet_event"
                    " WHERE case_no = ? ORDER BY seq",
                    (no,),
                ).fetchall()
                run = Firings(self.plain)
                for i, (seq, kind, transition, at, data, _) in enumerate(log, start=1):
                    assert seq == i
                    assert at <= to_micros(self.clock.now())
                    assert (kind == "start") == (i == 1)
                    if kind == "start":
                        run.start(json.loads(data), at)
                    elif kind == "fire":
                        run.fire(transition, json.loads(data), at)
                assert log
                assert (version, head) == (len(log), log[-1][-1]), log
                # What was visible once stays so.
                seen, digest = self.lengths.get(no, (0, b""))
                assert not seen or (len(log) >= seen and log[seen - 1][-1] == digest)
                self.lengths[no] = len(log), log[-1][-1]
                table = {
                    token: (place, from_json(json.loads(value), run.types[place]), arrived)
                    for token, place, value, arrived in db.execute(
                        "SELECT id, place, value, arrived FROM provenet_token WHERE case_no = ?", (no,)
                    )
                }
                assert table == run.tokens
                final = is_final(self.agent.net, run.marking)
                assert final == (status in {"done", "killed"}) or (not final and status == "killed")
                self.effects_are_known(db, no, case, run, status)

    def effects_are_known(
        self, db: sqlite3.Connection, no: int, case: str, run: Firings, status: str
    ) -> None:
        rows: dict[str, str] = dict(
            db.execute("SELECT key, state FROM provenet_effect WHERE case_no = ?", (no,)).fetchall()
        )
        done = {key for key, (of, _) in self.world.effects.items() if of == case}
        assert done <= rows.keys(), "what was done outside was intended, durably, before"
        assert {key for key, state in rows.items() if state == "performed"} <= done
        assert len(set(run.keys)) == len(run.keys), "a commit of one key fires once"
        assert set(run.keys) <= done, "what the log says was done was done"
        if status == "done":
            # An answer that was lost for good leaves an effect that failed here, and was done there: the
            # engine cannot know, and its record says so.
            assert done - set(run.keys) <= {key for key, state in rows.items() if state == "failed"}

    def teardown(self) -> None:
        faults.plan(None)
        try:
            if hasattr(self, "engine"):
                self.go_on(0)
                self.resume()
                self.do(self.engine.run_until_idle())
                self.every_log_is_a_firing_sequence()
                self.runner.run(self.engine.close())
                found = audit(self.database)
                assert found.clean, [str(p) for p in found.problems]
                assert found.cases == len(self.lengths)
        finally:
            self.runner.close()
            self.folder.cleanup()

    # inside

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            self.runner.run(work)
        except faults.FaultInjected:
            faults.plan(None)
            self.crash()
        except EngineError:
            pass  # refused with a reason: nothing waits for it, no such case, the case is over

    def crash(self) -> None:
        try:
            self.runner.run(self.engine.crash())
        except faults.FaultInjected:
            faults.plan(None)
        self.open()

    def open(self) -> None:
        async def opening() -> Engine:
            made = opened(self.agent, self.database, clock=self.clock, snapshot_every=7)
            engine = await made.__aenter__()
            engine.hold_work(lambda: 0 <= self.stop_after <= engine.progress().firings)
            try:
                if not engine.read.nets():
                    deployed(engine, self.agent)
            except faults.FaultInjected:
                await engine.crash()
                raise
            return engine

        while True:
            try:
                self.engine = self.runner.run(opening())
            except faults.FaultInjected:
                faults.plan(None)
            else:
                return

    def read(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return db.execute(statement).fetchall()


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    settings.get_profile("thorough" if THOROUGH else "repeatable"),
    max_examples=settings.get_profile("thorough").max_examples if THOROUGH else 40,
    stateful_step_count=60 if THOROUGH else 25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("what", ["signal", "kill", "resume"])
async def test_a_case_that_has_ended_and_is_not_saved_yet_is_not_taken_up_again(
    tmp_path: Path, what: str
) -> None:
    """The machine found this: the signal met the case as the database still had it, and ran it again."""

    def make(net: NetBuilder) -> None:
        start, end = net.entry("start", int), net.final("end", int)
        net.timer("later", after=timedelta(days=1), takes={"x": start}, puts={end: "x"})
        net.event("sooner", event="sooner", takes={"x": start}, puts={end: "x"})

    agent, database = built(make), tmp_path / "x.db"
    async with opened(agent, database) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": 1}, case_id="a")
        engine.clock.jump(START + timedelta(days=1))  # type: ignore[attr-defined]
        engine._runner.fire_due()
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "signal": lambda: engine.signal("a", "sooner"),
            "kill": lambda: engine.kill("case", "a"),
            "resume": lambda: engine.resume("a"),
        }
        with pytest.raises(CaseClosed):
            await acts[what]()
    assert audit(database).clean
    assert Reader(database).case("a").case.firings == 2
