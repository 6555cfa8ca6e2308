"""Industrial process nets: how many are decided, how fast, and whether any verdict is wrong.

Run it with ``python benchmarks/soundness.py FOLDER``. The folder holds ``ibm/`` and ``sap/`` with one PNML
file a net, and ``ibm_verdicts.csv`` and ``sap_verdicts.csv``. Every net is read and decided in this process;
milliseconds are its own (CPU), with reading, so that a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from provenet.nets.formats.pnml import read_pnml
from provenet.verify.asked import decide
from provenet.verify.verdict import Status

QUESTIONS = (
    ("ibm", "soundness", "sound"),
    ("sap", "relaxed-soundness", "sara_relaxed_sound"),
    ("sap", "safeness", "lola_safe"),
)
"""Folder, property, and the table's column that knows."""


@dataclass(frozen=True)
class Result:
    """One net and one property."""

    net: str
    property: str
    known: bool
    answer: bool | None
    milliseconds: float
    trace: bool
    reason: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each net and property")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th net")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: list[Result] = []
    for folder, property_, column in QUESTIONS:
        found = asked(options.folder, folder, property_, column, options.seconds, options.every)
        if found:
            _print(f"{folder} {property_}", found)
            results += found
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1))
    sys.exit(1 if any(r.answer not in (None, r.known) for r in results) else 0)


def asked(folder: Path, kind: str, property_: str, column: str, seconds: float, every: int) -> list[Result]:
    """Ask every net of a table with a known verdict."""
    table = folder / f"{kind}_verdicts.csv"
    if not table.exists():
        return []
    with table.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row[column] in ("true", "false")]
    if property_ == "safeness":
        # Where a table contradicts itself, its file is not the net that the other label was made for.
        rows = [r for r in rows if not r["max_tokens"] or (r["max_tokens"] == "1") == (r[column] == "true")]
    out: list[Result] = []
    for row in rows[::every]:
        path = folder / kind / f"{row['net']}.pnml"
        if not path.exists():
            continue
        began = _cpu()
        net = read_pnml(path)
        (verdict,) = decide(net, [property_], timeout=seconds).verdicts
        took = 1000 * (_cpu() - began)
        answer = None if verdict.status is Status.UNKNOWN else verdict.status is Status.PROVED
        replayed = verdict.trace is not None and verdict.trace.replays(net)
        known = row[column] == "true"
        out.append(Result(row["net"], property_, known, answer, round(took, 2), replayed, verdict.reason))
    return out


def _print(title: str, results: Sequence[Result]) -> None:
    times = sorted(r.milliseconds for r in results)
    wrong = [r for r in results if r.answer not in (None, r.known)]
    open_ = [r for r in results if r.answer is None]
    refuted = [r for r in results if r.answer is False]
    print(
        f"{title:24} {len(results):5} nets  {len(results) - len(open_):5} decided  {len(wrong)} wrong  "
        f"median {times[len(times) // 2]:.1f} ms  p99 {times[int(0.99 * (len(times) - 1))]:.1f} ms  "
        f"most {times[-1]:.0f} ms  replayed traces {sum(r.trace for r in refuted)}/{len(refuted)}",
        flush=True,
    )
    for r in wrong:
        print(f"  WRONG {r.net}: {r.answer}, known {r.known}: {r.reason}")
    for r in open_[:20]:
        print(f"  open  {r.net}: {r.reason}")


def _cpu() -> float:
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in both)


if __name__ == "__main__":
    main()
