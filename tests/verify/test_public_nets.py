"""Industrial process nets with known verdicts.

Soundness is never told wrong (IBM benchmark, Fahland et al., DKE 2011).
"""

from __future__ import annotations

import csv
import statistics
import time
from pathlib import Path

import pytest

from provenet.nets.formats.pnml import read_pnml
from provenet.verify.check import prove
from provenet.verify.verdict import Status

SHARED = Path(__file__).parents[3] / "shared" / "soundness"
TABLE = SHARED / "ibm_verdicts.csv"
EVERY = 10

pytestmark = pytest.mark.skipif(
    not TABLE.exists(), reason="the public process nets do not lie beside this checkout"
)


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8") as file:
        known = [row for row in csv.DictReader(file) if row["sound"] in ("true", "false")]
    return [row for row in known if (SHARED / "ibm" / f"{row['net']}.pnml").exists()]


def check(sample: list[dict[str, str]]) -> None:
    """Compare, and tell for ``pytest -s`` how much was decided how fast."""
    wrong, undecided, seconds = [], 0, []
    for row in sample:
        net = read_pnml(SHARED / "ibm" / f"{row['net']}.pnml")
        began = time.perf_counter()
        (verdict,) = prove(net, only=["STATE-1"], timeout=2).verdicts
        seconds.append(time.perf_counter() - began)
        undecided += verdict.status is Status.UNKNOWN
        if verdict.status is not Status.UNKNOWN and (verdict.status is Status.PROVED) != (
            row["sound"] == "true"
        ):
            wrong.append((row["net"], verdict.status.value, verdict.reason))
    print(f"{len(sample)} nets, {len(sample) - undecided} decided, median {statistics.median(seconds):.3f} s")
    assert wrong == []
    assert undecided < len(sample) / 2


def test_a_sample_of_the_ibm_nets() -> None:
    sample = rows()[::EVERY][:60]
    assert sample
    check(sample)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_all_ibm_nets() -> None:
    check(rows())
