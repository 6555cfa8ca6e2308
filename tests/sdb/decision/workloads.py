"""Descriptions of workloads: a whole one, and any."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from provenet.sdb.decision.workload import Workload, parse_workload

WHOLE: dict[str, Any] = {
    "workload": "a whole one",
    "unit": {"lasts": "3 days", "world_changes": True, "fields": {"due": "point in time"}},
    "pauses": {"waits_on": ["the outside"], "reconstructible": False, "world_changes": True},
    "tasks": {
        "owner": "single",
        "independent": True,
        "merge": "deterministic",
        "parts": [{"name": "first"}, {"name": "second"}],
    },
    "effects": [{"effect": "desk.write", "undo": "desk.take_back"}],
    "risk": {"legal_or_financial": False, "audited": False},
    "model": "a model",
}
"""P5, P1, P4."""


def described(base: dict[str, Any], **changes: Any) -> Workload:
    """A workload like another but for some keys; ``None`` leaves one out."""
    data = {key: value for key, value in {**base, **changes}.items() if value is not None}
    return parse_workload(yaml.safe_dump(data))


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    """Any description, as plain data."""
    flag = st.booleans()
    kinds = st.sampled_from(["text", "whole number", "yes or no", "point in time"])
    fields = st.dictionaries(st.sampled_from(["level", "pct", "note", "on_time"]), kinds, max_size=3)
    spans = st.sampled_from(["20 seconds", "5 minutes", "1 hour", "2 hours", "1 day", "90 days"])
    found: dict[str, Any] = {
        "workload": draw(st.sampled_from(["a workload", "überweisung's 'queue'", 'a "quoted" \\ one'])),
        "about": draw(st.sampled_from(["What it is.", 'Ends in """ and \\ and {braces}.'])),
        "unit": {
            "lasts": draw(spans),
            "world_changes": draw(flag),
            "called": draw(st.sampled_from(["Task", "Customer"])),
            "fields": draw(fields),
        },
        "risk": {"legal_or_financial": draw(flag), "audited": draw(flag), "role": "desk"},
        "model": "a/model-1",
    }
    if draw(flag):
        found["pauses"] = {"reconstructible": draw(flag), "world_changes": draw(flag)}
        if draw(flag):
            found["pauses"]["longest"] = draw(spans)
        if draw(flag):
            found["pauses"]["waits_on"] = ["somebody"]
    if draw(flag):
        names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True))
        parts = []
        for name in names:
            part: dict[str, Any] = {"name": name, "gives": draw(fields)}
            parts.append(part | _effect(draw, f"{name}.write", none="may be"))
        found["tasks"] = {
            "owner": draw(st.sampled_from(["single", "shared"])),
            "independent": draw(flag),
            "merge": draw(st.sampled_from(["deterministic", "judged", "none"])),
            "partial_useful": draw(flag),
            "bad_write_dear": draw(flag),
            "parts": parts,
        }
    count = draw(st.integers(0, 3))
    found["effects"] = [_effect(draw, f"own.write{n}", none="never") for n in range(count)]
    return found


def _effect(draw: st.DrawFn, name: str, *, none: str) -> dict[str, Any]:
    kinds = ["undo", "undo", "irreversible", *(["none"] * 2 if none == "may be" else [])]
    match draw(st.sampled_from(kinds)):
        case "undo":
            return {"effect": name, "undo": f"{name}_back"}
        case "irreversible":
            return {"effect": name, "irreversible": True}
    return {}
