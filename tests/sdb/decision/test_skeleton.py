"""The net to start from: for any workload it is Python, builds, and verifies as it stands."""

from __future__ import annotations

import ast
import sys
import types
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings

import provenet
from provenet.engine import audit
from provenet.nets.models import to_value
from provenet.nets.net import Perform
from provenet.sdb.decision.record import Record, decide
from provenet.sdb.decision.skeleton import skeleton
from provenet.sdb.decision.source import FRONT
from provenet.sdb.decision.workload import MOST_PARTS, Workload, parse_workload
from provenet.sdb.handlers import Agent
from provenet.verify.check import prove
from provenet.verify.verdict import Status
from tests.engine.kit import opened
from tests.sdb.decision.test_record import SHIPPED, shipped
from tests.sdb.decision.workloads import WHOLE, described, workloads


def decided(w: Workload) -> Record:
    return decide(w, on=date(2026, 11, 23))


def text_of(w: Workload) -> str:
    return skeleton(w, decided(w))


def agent_of(text: str) -> Agent:
    """The agent of a skeleton, as whoever loads the file has it."""
    module = types.ModuleType("a_skeleton")
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, "a_skeleton.py", "exec"), module.__dict__)
        found = module.agent()
    finally:
        del sys.modules[module.__name__]
    assert isinstance(found, Agent)
    return found


def unproved(text: str, *, timeout: float = 60) -> list[str]:
    report = prove(agent_of(text).net, timeout=timeout)
    return [f"{v.property} {v.title}: {v.reason}" for v in report.verdicts if v.status is not Status.PROVED]


def writers(count: int) -> Workload:
    parts = [{"name": f"p{n}", "effect": f"desk.write{n}", "undo": f"desk.undo{n}"} for n in range(count)]
    return described(WHOLE, tasks={**WHOLE["tasks"], "parts": parts}, effects=[])


@given(data=workloads())
@settings(max_examples=30)
def test_any_skeleton_is_python_of_the_front_door_that_builds(data: dict[str, Any]) -> None:
    w = parse_workload(yaml.safe_dump(data))
    text = text_of(w)
    assert text == text_of(parse_workload(yaml.safe_dump(data)))
    assert max(map(len, text.splitlines())) < 160
    imported = [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom) and n.module == "provenet"
    ]
    assert {a.name for n in imported for a in n.names} <= {*FRONT} <= {*provenet.__all__}
    net = agent_of(text).net
    assert net.name == w.workload
    effects = {t.trigger.handler for t in net.transitions if isinstance(t.trigger, Perform)}
    # Every effect of the description is in the net, where a pattern was chosen that it is an effect of.
    wanted = {n for a in w.effects for n in (a.effect, a.undo) if n}
    assert wanted <= effects <= {n for a in w.acts for n in (a.effect, a.undo) if n}


@pytest.mark.parametrize("name", SHIPPED)
def test_skeletons_of_the_shipped_workloads_verify(name: str) -> None:
    assert not unproved(text_of(shipped(name)))


@pytest.mark.parametrize("spine", ["P5", "P3", "none"])
@pytest.mark.parametrize("risky", [True, False])
def test_small_skeletons_verify(spine: str, *, risky: bool) -> None:
    pauses = {"waits_on": ["them"], "reconstructible": spine == "none", "world_changes": True}
    w = described(
        WHOLE,
        pauses=None if spine == "P3" else pauses,
        risk={"legal_or_financial": risky, "audited": False},
        effects=[
            {"effect": "desk.write", "undo": "desk.undo"},
            {"effect": "mail.send", "irreversible": True},
        ],
    )
    assert decided(w).spine == spine
    assert not unproved(text_of(w))


def test_an_agent_without_effects_verifies() -> None:
    assert not unproved(text_of(described(WHOLE, effects=[], tasks=None)))
    assert not unproved(
        text_of(described(WHOLE, effects=[], risk={"legal_or_financial": True, "audited": True}))
    )


def test_four_writers_go_two_by_two() -> None:
    text = text_of(writers(4))
    assert text.count("ScatterGather(\n") == 2
    assert not unproved(text)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", range(1, MOST_PARTS + 1))
def test_any_number_of_writers_verifies(count: int) -> None:
    assert not unproved(text_of(writers(count)), timeout=120)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(data=workloads())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_skeleton_verifies(data: dict[str, Any]) -> None:
    assert not unproved(text_of(parse_workload(yaml.safe_dump(data))), timeout=120)


@given(data=workloads())
@settings(max_examples=10)
@example(data={**WHOLE, "about": '"""\nimport os\nos.abort()\n"""', "workload": '"); raise SystemExit(1) #'})
@example(
    data={**WHOLE, "model": "'; raise SystemExit(1)", "pauses": {**WHOLE["pauses"], "waits_on": ["\n1/0\n"]}}
)
def test_texts_of_strangers_stay_texts(data: dict[str, Any]) -> None:
    text = text_of(parse_workload(yaml.safe_dump(data)))
    plain = text_of(parse_workload(yaml.safe_dump({**data, "about": "x", "workload": "x", "model": "x"})))
    # The same statements, whatever the texts say: they are in comments, or the name of the net.
    assert _shape(text) == _shape(plain)
    agent_of(text)


def _shape(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NetBuilder":
            node.args = []
    return ast.dump(tree)


async def test_run_as_it_is_it_parks_and_writes_nothing(tmp_path: Path) -> None:
    agent = agent_of(text_of(described(WHOLE, pauses=None, unit={"lasts": "1 hour", "world_changes": False})))
    async with opened(agent, tmp_path / "x.db") as engine:
        engine.deploy(agent, prove(agent.net))
        begin = {"begin": to_value({"id": "t-1"}, agent.net.place("begin").type)}
        await engine.start_case(agent.net.name, inputs=begin, case_id="c")
        await engine.run_until_idle()
        (found,) = engine.read.cases()
    assert found.status == "parked"
    assert "nobody has written what it proposes" in (found.reason or "")
    assert audit(tmp_path / "x.db").clean
