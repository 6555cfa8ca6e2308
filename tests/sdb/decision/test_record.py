"""The decision record: what follows from what, and the five workloads that ship."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provenet.sdb.decision.predicates import DAYS, HOUR, SECONDS, STEPS
from provenet.sdb.decision.record import PLANES, Record, decide, summary
from provenet.sdb.decision.workload import Workload, load_workload, parse_workload
from tests.sdb.decision.workloads import WHOLE, described, workloads

DAY = date(2026, 11, 23)

SHIPPED = {
    # class, spine, coordination, control; None where the method's source says nothing
    "contract_renewal": ("long-horizon", "P5", "P1+P2", "P4+P6"),
    "port_in": ("long-horizon", "P5", None, None),
    "drip": ("long-horizon", "none", None, None),
    "billing": ("conversational", "P3", None, None),
    "claims": ("autonomous", None, "P1+P2", "P4"),
}
"""The five workloads of the method, as its source decides on them; the fifth is ours."""

PAUSES = {"contract_renewal": "TTT", "port_in": "TTT", "drip": "TFT", "billing": "FFF"}
"""Pauses, what is paused is lost, the world moves."""


def shipped(name: str) -> Workload:
    return load_workload(Path(str(files("provenet.examples"))) / name / "workload.yaml")


def record(w: Workload) -> Record:
    return decide(w, on=DAY)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_five_workloads_are_decided_as_the_method_decides_them(name: str) -> None:
    found = record(shipped(name))
    decided = (found.runtime, found.spine, summary(found.coordination), summary(found.control))
    assert all(want in (None, got) for want, got in zip(SHIPPED[name], decided, strict=True)), decided
    answers = "".join("T" if p.holds else "F" for p in found.predicates["spine"])
    assert answers == PAUSES.get(name, answers)


def test_renewal_has_all_planes_and_billing_strains_control() -> None:
    assert [s for s in record(shipped("contract_renewal")).sequence if s.startswith("P6")] == [
        f"P6: {plane}" for plane in PLANES
    ]
    assert "strained most is control" in record(shipped("billing")).lines[0].choice


@given(data=workloads())
def test_a_record_has_six_lines_that_say_why_and_what_if(data: dict[str, Any]) -> None:
    found = record(parse_workload(yaml.safe_dump(data)))
    subjects = ["runtime class", "spine", "coordination", "control", "build", "decided"]
    assert [line.subject for line in found.lines] == subjects
    for line in found.lines:
        assert line.choice
        assert line.fired
        assert line.failure
        assert all(p.reason in str(p) for p in line.fired)
    again = record(parse_workload(yaml.safe_dump(data)))
    assert found == again
    assert found.to_json() == again.to_json()


@given(data=workloads())
def test_choices_follow_from_the_predicates(data: dict[str, Any]) -> None:
    w = parse_workload(yaml.safe_dump(data))
    found = record(w)
    holds = {p.id: p.holds for answers in found.predicates.values() for p in answers}
    a, b, c = holds["pauses"], holds["state-is-lost"], holds["world-moves"]
    assert (found.spine == "P5") == (a and b and c)
    assert (found.spine == "P3") == (not a)
    assert (found.spine == "none") == (a and not b)
    assert (found.spine == "P3 or P5") == (a and b and not c)
    delegates = holds["single-owner"] and holds["independent-parts"] and holds["deterministic-merge"]
    assert ("P1" in found.coordination) == delegates
    saga = holds["peers-write"] or holds["partial-useful"] or holds["bad-write-dear"]
    assert ("P2" in found.coordination) == saga
    assert ("P4" in found.control) == bool(w.acts)
    people = w.risk.legal_or_financial or w.risk.audited or any(x.irreversible for x in w.acts)
    assert ("P6" in found.control) == people
    # What decided is always said, with the answer that decided it.
    for line in found.lines[:4]:
        assert all(p.holds == holds[p.id] for p in line.fired)


@given(seconds=st.integers(1, 4 * 86_400), moves=st.booleans())
def test_the_class_is_a_matter_of_time(seconds: int, *, moves: bool) -> None:
    w = described(WHOLE, unit={"lasts": f"{seconds} seconds", "world_changes": moves})
    found = record(w).runtime
    if w.unit.lasts < SECONDS:
        assert found == "conversational"
    elif w.unit.lasts >= DAYS or (moves and w.unit.lasts >= HOUR):
        assert found == "long-horizon"
    else:
        assert found == "autonomous"


@pytest.mark.parametrize(
    ("longest", "waits_on", "pauses"),
    [("1 hour", [], False), ("61 minutes", [], True), ("1 second", ["them"], True), (None, [], False)],
)
def test_what_counts_as_a_pause(longest: str | None, waits_on: list[str], *, pauses: bool) -> None:
    said: dict[str, Any] = {"reconstructible": False, "world_changes": True, "waits_on": waits_on}
    found = record(described(WHOLE, pauses=said | ({"longest": longest} if longest else {})))
    assert (found.spine == "P5") == pauses


def test_questions_have_names_of_their_own() -> None:
    w = described(WHOLE)
    ids = [ask(w).id for _, asked in STEPS for ask in asked]
    assert len(ids) == len(set(ids)) == 15
    assert all(ask.__doc__ for _, asked in STEPS for ask in asked)


def test_the_day_is_the_file_s_or_today() -> None:
    assert record(described(WHOLE)).on == DAY
    assert record(described(WHOLE, decided=date(2025, 1, 2))).on == date(2025, 1, 2)
