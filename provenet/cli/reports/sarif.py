"""SARIF 2.1.0 (OASIS Standard, 2020): findings for code hosts and editors.

REFUTED is an error, UNKNOWN a warning. The standard has a kind ``open`` for what could not be decided, but
then the level must be ``none``, and viewers hide it: UNKNOWN would look like a pass. What is proved is no
finding and is left out, for code hosts would raise an alert for it. A target that could not be checked is a
notification of a run that did not succeed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from provenet import __version__
from provenet.cli.reports.outcome import Outcome, Spot
from provenet.nets.errors import PropertyError
from provenet.verify.pages import page

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "provenetFinding/v1"

_LEVELS = {"REFUTED": "error", "UNKNOWN": "warning"}
_BASELINE = {"new": "new", "known": "unchanged"}


def sarif(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """The outcomes as one SARIF log with one run."""
    given = tuple(outcomes)
    findings = [o for o in given if o.finding]
    ids = list(dict.fromkeys(o.prop for o in given if o.prop and o.status != "ERROR"))
    errors = [o for o in given if o.status == "ERROR"]
    counts = {s.lower(): sum(o.status == s for o in given) for s in ("PROVED", "REFUTED", "UNKNOWN", "ERROR")}
    run = {
        "tool": {
            "driver": {
                "name": "Provenet",
                "version": __version__,
                "rules": [_rule(each, given) for each in ids],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not errors,
                "toolExecutionNotifications": [_notification(o) for o in errors],
            }
        ],
        "results": [_result(o, ids.index(o.prop)) for o in findings],
        "properties": counts,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(id_: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    try:
        about = page(id_)
    except PropertyError:
        title = next(o.title for o in outcomes if o.prop == id_)
        return {"id": id_, "shortDescription": {"text": title}, "defaultConfiguration": {"level": "error"}}
    return {
        "id": id_,
        "name": "".join(word.capitalize() for word in _words(about.title)),
        "shortDescription": {"text": about.title},
        "fullDescription": {"text": about.sections["What it says"]},
        "help": {"text": about.text, "markdown": about.text},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": [id_.partition("-")[0], "petri-net"]},
    }


def _words(title: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in title.replace("'", "")).split()


def _result(o: Outcome, rule: int) -> dict[str, Any]:
    said = f"{o.status} {o.title}" + (f" ({o.subject})" if o.subject else "") + f" in net {o.net}."
    said += f" {_sentence(o.reason)}" if o.reason else ""
    said += f" Mend: {_sentence(o.mend)}" if o.mend else ""
    result: dict[str, Any] = {
        "ruleId": o.prop,
        "ruleIndex": rule,
        "kind": "fail",
        "level": _LEVELS[o.status],
        "message": {"text": said},
        "locations": [_location(o.spot, o.elements or (("net", o.net),), o.net)],
        "partialFingerprints": {FINGERPRINT: o.fingerprint},
        "properties": {"verdict": o.status, "net": o.net, "subject": o.subject, "engine": o.engine},
    }
    if o.novelty:
        result["baselineState"] = _BASELINE[o.novelty]
    if o.steps:
        flow = [
            {
                "location": {
                    **_location(s.spot, (("transition", s.transition),), o.net),
                    "message": {"text": f"{n}. {s.text}"},
                },
                "executionOrder": n,
            }
            for n, s in enumerate(o.steps, 1)
        ]
        result["codeFlows"] = [{"message": {"text": "the run"}, "threadFlows": [{"locations": flow}]}]
    return result


def _location(spot: Spot, elements: Sequence[tuple[str, str]], net: str) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [
            {"name": name, "kind": kind, "fullyQualifiedName": name if kind == "net" else f"{net}/{name}"}
            for kind, name in elements
        ]
    }
    if spot.file:
        location["physicalLocation"] = {
            "artifactLocation": _artifact(spot.file),
            "region": {"startLine": max(1, spot.line)},
        }
    return location


def _artifact(file: str) -> dict[str, str]:
    if Path(file).is_absolute():
        return {"uri": Path(file).as_uri()}
    return {"uri": quote(file), "uriBaseId": "%SRCROOT%"}


def _notification(o: Outcome) -> dict[str, Any]:
    note: dict[str, Any] = {"level": "error", "message": {"text": f"{o.target}: {o.reason}"}}
    if o.spot.file:
        note["locations"] = [
            {"physicalLocation": {"artifactLocation": _artifact(o.spot.file), "region": {"startLine": 1}}}
        ]
    return note


def _sentence(text: str) -> str:
    said = text[:1].upper() + text[1:]
    return said if said.endswith((".", "!", "?")) else f"{said}."
