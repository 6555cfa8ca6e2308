"""The twelve detectors over all cases of a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenet.engine.diagnosis.detectors import all_detectors
from provenet.engine.diagnosis.finding import Detector, Finding
from provenet.engine.diagnosis.lineage import has_failed
from provenet.engine.diagnosis.reading import Log
from provenet.engine.keys import Keys


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the detectors found.

    Attributes:
        findings: The failures, in the order of the catalogue.
        nets: Names of the nets whose cases were read.
        cases: How many cases were read.
        entries: How many entries of their logs.
        failed: Cases that have failed (``lineage.has_failed``).
        skipped: Cases whose log does not replay, with what is wrong.
        pruned: How many cases are gone but for a row in the archive.
    """

    findings: tuple[Finding, ...]
    nets: tuple[str, ...]
    cases: int
    entries: int
    failed: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    pruned: int = 0

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as JSON data."""
        return {
            "findings": [f.to_json() for f in self.findings],
            "nets": list(self.nets),
            "cases": self.cases,
            "entries": self.entries,
            "failed": len(self.failed),
            "skipped": [{"case": case, "why": why} for case, why in self.skipped],
            "pruned": self.pruned,
        }


def diagnose(
    source: str | Path,
    *,
    net: str | None = None,
    places: Sequence[str] = (),
    keys: Keys | None = None,
    detectors: Sequence[Detector] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Look for failures with known signatures in a database; one case is in memory at a time.

    Args:
        source: The database's name.
        net: Only cases of this net, by name.
        places: Where a case that ended has failed; without any, one has that ended with what a contract gave
            up on.
        keys: Master keys, for personal values; those of the environment unless given. Without any, what
            depends on such values is not looked at.
        detectors: What to look with; all unless given. They must have seen nothing yet.
        progress: Called with the number of cases read.

    Raises:
        StoreError: It cannot be read.
    """
    log = Log(source, net=net, keys=keys)
    found = all_detectors() if detectors is None else list(detectors)
    nets: dict[str, None] = {}
    failed: list[str] = []
    for case in log.cases():
        nets[case.net.name] = None
        if has_failed(case, places):
            failed.append(case.id)
        for detector in found:
            detector.look(case)
        if progress is not None:
            progress(log.read.cases)
    return Diagnosis(
        tuple(f for detector in found for f in detector.findings()),
        tuple(nets),
        log.read.cases,
        log.read.entries,
        tuple(failed),
        tuple(log.read.skipped),
        log.read.pruned,
    )
