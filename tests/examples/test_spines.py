"""The ablation in small: both spines run, the control is zero, the page says what the numbers say."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from provenet import Reader, prove
from provenet.engine.diagnosis.divergence import LEVELS, CaseDivergence, Comparison, Share
from provenet.engine.fork import WhatIf, fork
from provenet.examples.spines.ablation import CHANGES, SPINES, Result, Size, Spine, ablate, record
from provenet.examples.spines.model import Model
from provenet.examples.spines.net import MOST
from provenet.examples.spines.report import chart, page, verdict

ROOT = Path(__file__).resolve().parents[2]
SMALL = Size(tasks=4, tries=2, shifts=(0, 100))


@pytest.fixture(scope="module")
def result() -> Result:
    return ablate(SMALL)


@pytest.mark.parametrize("spine", SPINES)
def test_every_goal_can_be_reached_and_the_gate_holds(spine: Spine) -> None:
    """STATE-1: no transition is dead, and a case can always end. So both goals are within reach."""
    net = SPINES[spine](Model()).net
    report = prove(net)
    assert not report.unproved()
    proved = {v.property: v for v in report.verdicts}
    assert "STATE-1" in proved
    assert any("beyond the gate" in v.title for v in report.verdicts)
    assert {place for final in net.finals for place, _ in final} >= {"paid", "declined"}


def test_the_control_comes_first_and_is_zero(result: Result) -> None:
    for found in result.spines.values():
        assert found.retold == Share(8, 8)
        assert found.control.same
        assert len(found.control.cases) == 8


def test_no_shift_departs_from_nothing_and_a_whole_one_from_much(result: Result) -> None:
    for spine in SPINES:
        for change in CHANGES:
            assert [result.share(spine, change, 0, level).k for level in LEVELS] == [0, 0, 0]
        assert result.share(spine, "asked again", 100, "committed state").k >= 4
        assert result.spines[spine].rewritten["changed during the pause", 100].k == 0
        assert result.spines[spine].rewritten["asked again", 100].k > 0
        assert result.spines[spine].pass_hat(0, 1) >= result.spines[spine].pass_hat(100, 1)


@pytest.mark.parametrize("spine", SPINES)
def test_a_change_during_the_pause_is_what_a_fork_at_the_pause_does(
    spine: Spine, result: Result, tmp_path: Path
) -> None:
    """The measured change is held against real restarts: the case as it waited, and B asked from there on."""
    agent = SPINES[spine](Model())
    report = prove(agent.net)
    asyncio.run(record(agent, report, tmp_path / "a.db", replace(SMALL, tries=1), spine))
    reader = Reader(tmp_path / "a.db")
    other = SPINES[spine](Model(100))
    measured = {c.case: c for c in result.spines[spine].measured["changed during the pause", 100].cases}
    for view in reader.cases():
        pause = next(x.seq for x in reader.log(view.id) if "details" in x.transition) - 1
        gone_on = fork(tmp_path / "a.db", view.id, pause, tmp_path / "b.db", WhatIf(agent=other, receipts={}))
        here, there = gone_on.outcomes
        assert ("outcome" in measured[view.id].differs) == (here != there), view.id


def test_what_is_paid_is_within_the_gate_whatever_the_model_says(tmp_path: Path) -> None:
    wild = Model(errs=100)
    for spine, build in SPINES.items():
        agent = build(wild)
        database = tmp_path / f"{spine[:2]}.db"
        asyncio.run(record(agent, prove(agent.net), database, SMALL, spine))
        cases = Reader(database).cases()
        assert {c.status for c in cases} == {"done"}
        assert {c.outcome_place for c in cases} == {"declined"}
        assert not any(c.outcome["offered"] > MOST for c in cases)


def test_the_page_and_the_picture(result: Result) -> None:
    said = page(result)
    for heading in ("## Verdict", "## The control first", "## Asked again", "## All of k tries"):
        assert heading in said
    assert "4 claims, tried 2 times each" in said
    assert said.count("| P3 events |") == said.count("| P5 row |") == 3 * 2 + 1
    assert "k = 2" in said
    assert ET.fromstring(chart(result)).tag.endswith("svg")


def test_the_verdict_follows_the_numbers(result: Result) -> None:
    """Where one spine departed more often, or the control failed, the page would say so."""
    assert any("the very same cases" in said for said in verdict(result))
    one = CaseDivergence("c", LEVELS, (1, 1), None, ("paid", "declined"))
    clean = replace(one, differs=(), points=(0, 1))
    p3, p5 = result.spines["P3 events"], result.spines["P5 row"]

    def all_of(case: CaseDivergence) -> dict[object, Comparison]:
        return {at: Comparison(("A", "B"), (case,) * 8) for at in p3.measured}

    worse = replace(p3, measured=all_of(one))  # type: ignore[arg-type]
    better = replace(p5, measured=all_of(clean))  # type: ignore[arg-type]
    said = verdict(replace(result, spines={"P3 events": worse, "P5 row": better}))
    assert any("more often on P3 events" in s for s in said)
    invalid = replace(p3, control=Comparison(("A", "A again"), (one,)))
    (only,) = verdict(replace(result, spines={"P3 events": invalid, "P5 row": p5}))
    assert "invalid" in only


def test_the_page_in_the_docs_is_of_this_program(result: Result) -> None:
    """The same page but for its numbers; `-m long` runs it again and compares all of it."""
    written = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    frame = [
        re.sub(r"[\d.,]+", "#", line)
        for line in page(result).splitlines()
        if line.startswith(("#", "- ", "A "))
    ]
    there = {re.sub(r"[\d.,]+", "#", line) for line in written.splitlines()}
    assert not [line for line in frame if line not in there]


@pytest.mark.long
def test_the_docs_have_what_the_program_measures() -> None:
    assert page(ablate()) == (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
