"""CTL, LTL and global examinations on nets of the Model Checking Contest: not one answer is wrong."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path

import pytest

from provenet.verify.plain.answer import Budget
from provenet.verify.plain.examination import examine

CONTEST = Path(__file__).parents[4] / "shared" / "mcc"
EXAMINATIONS = (
    "CTLCardinality",
    "CTLFireability",
    "LTLCardinality",
    "LTLFireability",
    "OneSafe",
    "Liveness",
    "QuasiLiveness",
    "StableMarking",
)
QUICK = ("TwoPhaseLocking-PT-nC00004vD", "RobotManipulation-PT-00001", "IOTPpurchase-PT-C01M01P01D01")

pytestmark = pytest.mark.skipif(
    not CONTEST.exists(), reason="the contest's nets are not here (../shared/mcc)"
)


@pytest.fixture(scope="module", autouse=True)
def _kernels() -> None:
    for name in ("explore_kernel", "graph_kernel", "product_kernel", "walk_kernel"):
        import_module(f"provenet.verify.plain.engines.{name}")


def published(most: float) -> list[str]:
    index = CONTEST / "INDEX.csv"
    if not index.exists():
        return []
    with index.open(encoding="utf-8") as file:
        return [
            row["instance"]
            for row in csv.DictReader(file)
            if row["states"].isdigit() and int(row["states"]) <= most
        ]


def known(name: str, examination: str) -> dict[str, bool]:
    """The verdicts that tools agree on, by formula."""
    verdicts = json.loads((CONTEST / name / "verdicts.json").read_text(encoding="utf-8"))["verdicts"]
    found = verdicts.get(examination)
    if not isinstance(found, dict):
        return {} if found is None else {examination: found}
    if examination.startswith("CTL"):
        # The file gives them by position in the order of ids, which mix years, under ids by position.
        found = dict(zip(sorted(found), found.values(), strict=True))
    return {name: value for name, value in found.items() if value is not None}


def answered(name: str, examination: str, seconds: float) -> int:
    """How many formulas are answered; all of them as they are known."""
    right = known(name, examination)
    count = 0
    for outcome in examine(CONTEST / name, examination, Budget.seconds(seconds)):
        if outcome.value is not None:
            count += 1
            assert outcome.value == right.get(outcome.id, outcome.value), outcome
    return count


@pytest.mark.slow
@pytest.mark.parametrize("examination", EXAMINATIONS)
@pytest.mark.parametrize("name", QUICK)
def test_small_nets_are_answered_whole(name: str, examination: str) -> None:
    assert answered(name, examination, 60) == (16 if examination not in EXAMINATIONS[4:] else 1)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("examination", EXAMINATIONS)
@pytest.mark.parametrize("name", published(1e6))
def test_no_answer_is_wrong(name: str, examination: str) -> None:
    assert answered(name, examination, 20) >= 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BusinessProcesses-PT-06", "CryptoMiner-PT-D03N000"])
def test_no_answer_is_wrong_where_time_ends(name: str) -> None:
    for examination in EXAMINATIONS[:4]:
        assert answered(name, examination, 1) >= 0
