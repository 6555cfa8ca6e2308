"""A baseline: the findings that are known, so that a run fails on new ones only.

The file holds fingerprints with what they stand for, sorted, so that it reads well in a review and changes
only where the findings do. It holds neither hashes of the net nor times.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provenet.cli.printing import Unusable
from provenet.cli.reports.outcome import Outcome

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """A run against a baseline.

    Attributes:
        outcomes: All outcomes, each finding marked as new or known.
        new: How many findings are new.
        known: How many the baseline has.
        gone: How many of the baseline are no more.
    """

    outcomes: tuple[Outcome, ...]
    new: int
    known: int
    gone: int

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        findings = [
            {"property": o.prop, "subject": o.subject, "verdict": o.status, "novelty": o.novelty}
            for o in self.outcomes
            if o.finding
        ]
        return {"new": self.new, "known": self.known, "gone": self.gone, "findings": findings}


def baseline_text(outcomes: Iterable[Outcome]) -> str:
    """The findings of a run as a baseline."""
    findings = [
        {
            "fingerprint": o.fingerprint,
            "net": o.net,
            "property": o.prop,
            "subject": o.subject,
            "title": o.title,
            "verdict": o.status,
        }
        for o in outcomes
        if o.finding
    ]
    findings.sort(key=lambda f: (f["net"], f["property"], f["subject"], f["title"], f["verdict"]))
    return (
        json.dumps({"provenet-baseline": _VERSION, "findings": findings}, indent=2, ensure_ascii=False) + "\n"
    )


def compared(outcomes: Iterable[Outcome], baseline: Path) -> Compared:
    """Mark the findings of a run as new or known.

    What was UNKNOWN and is REFUTED now is new: more is known of it than before.

    Raises:
        Unusable: The file is no baseline.
    """
    before: Counter[str] = Counter()
    refuted: Counter[str] = Counter()
    for f in read_baseline(baseline):
        before[f["fingerprint"]] += 1
        refuted[f["fingerprint"]] += f["verdict"] == "REFUTED"
    marked = []
    known = new = 0
    for o in outcomes:
        if not o.finding:
            marked.append(o)
            continue
        key = o.fingerprint
        there = before[key] > 0 and (o.status != "REFUTED" or refuted[key] > 0)
        if there:
            before[key] -= 1
            refuted[key] -= o.status == "REFUTED"
        known, new = known + there, new + (not there)
        marked.append(replace(o, novelty="known" if there else "new"))
    return Compared(tuple(marked), new, known, sum(n for n in before.values() if n > 0))


def read_baseline(path: Path) -> list[dict[str, str]]:
    """The findings of a baseline: ``fingerprint`` and ``verdict`` of each.

    Raises:
        Unusable: The file is no baseline.
    """
    try:
        data = json.loads(path.read_bytes())
        if data["provenet-baseline"] != _VERSION:
            raise ValueError(data["provenet-baseline"])
        found = [
            {"fingerprint": str(f["fingerprint"]), "verdict": str(f["verdict"])} for f in data["findings"]
        ]
    except FileNotFoundError:
        raise Unusable(
            "there is no such baseline", where=str(path), hint="write one first: --write-baseline FILE"
        ) from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Unusable(
            f"this is no baseline of version {_VERSION}",
            where=str(path),
            hint="write one: provenet verify ... --write-baseline FILE",
        ) from None
    return found
