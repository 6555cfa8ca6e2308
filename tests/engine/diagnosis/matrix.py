"""The confusion matrix of the detectors: what each of them finds in each run.

``python -m tests.engine.diagnosis.matrix`` writes it, and the table of detectors, into docs/diagnosis.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from provenet.engine.diagnosis.diagnose import Diagnosis, diagnose
from provenet.engine.diagnosis.signatures import SIGNATURES
from tests.docs.pages import ROOT
from tests.engine.diagnosis.healthy import HEALTHY
from tests.engine.diagnosis.seeded import SEEDS, Way

PAGE = ROOT / "docs" / "diagnosis.md"
BLOCKS = ("detectors", "matrix")


def runs() -> dict[str, Callable[[Path], None]]:
    """All runs by name: each failure, each corrected, and the healthy ones."""
    ways: tuple[Way, ...] = ("seeded", "corrected")
    made = {f"{way} {name}": _run(seed, way) for way in ways for name, seed in SEEDS.items()}
    return {**made, **HEALTHY}


def _run(seed: Callable[[Path | str, Way], None], way: Way) -> Callable[[Path], None]:
    return lambda path: seed(path, way)


def diagnosed(name: str) -> Diagnosis:
    """What the detectors find in a run."""
    with tempfile.TemporaryDirectory(prefix="provenet-matrix-") as folder:
        path = Path(folder) / "run.db"
        runs()[name](path)
        return diagnose(path)


def matrix() -> dict[str, dict[str, int]]:
    """For each run, how many findings each detector has."""
    found: dict[str, dict[str, int]] = {}
    for name in runs():
        found[name] = counted(diagnosed(name))
    return found


def counted(found: Diagnosis) -> dict[str, int]:
    """How many findings each detector has."""
    return {i: sum(f.detector == i for f in found.findings) for i in SIGNATURES}


def matrix_table(found: dict[str, dict[str, int]]) -> str:
    """The matrix as the page has it; runs that find nothing share a row."""
    ids = list(SIGNATURES)
    lines = [f"| run | {' | '.join(ids)} |", f"|---|{'---|' * len(ids)}"]
    for name, counts in found.items():
        if name.startswith("seeded"):
            lines.append(_row(name.removeprefix("seeded "), counts))
    corrected = {str(i): sum(c[i] for n, c in found.items() if n.startswith("corrected")) for i in ids}
    lines.append(_row("all twelve, corrected", corrected))
    for name, counts in found.items():
        if name in HEALTHY:
            lines.append(_row(f"healthy: {name}", counts))
    return "\n".join(lines) + "\n"


def _row(name: str, counts: dict[str, int]) -> str:
    return f"| {name} | {' | '.join(str(n) if n else '·' for n in counts.values())} |"


def detectors_table() -> str:
    """The detectors as the page has them."""
    lines = ["| | how it shows | what it reads | from when on |", "|---|---|---|---|"]
    lines += [f"| {s.id} | {s.symptom} | {s.reads} | {s.threshold} |" for s in SIGNATURES.values()]
    lines += ["", "| | the weakness | the correction |", "|---|---|---|"]
    lines += [f"| {s.id} | {s.weakness} | {s.correction} |" for s in SIGNATURES.values()]
    return "\n".join(lines) + "\n"


def written(block: str) -> str:
    """What stands in the page."""
    begin, end = f"<!-- {block}: begin -->\n", f"<!-- {block}: end -->"
    return PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip("\n") + "\n"


def write(block: str, table: str) -> None:
    """Put a table into the page."""
    begin, end = f"<!-- {block}: begin -->\n", f"<!-- {block}: end -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


if __name__ == "__main__":
    write("detectors", detectors_table())
    write("matrix", matrix_table(matrix()))
    print(f"{len(runs())} runs")
