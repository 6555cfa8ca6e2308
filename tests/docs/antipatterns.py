"""The table in docs/patterns/anti-patterns.md: `python -m tests.docs.antipatterns` makes it of markers."""

from __future__ import annotations

from tests.docs.marked import Table
from tests.docs.pages import ROOT

NAMES = {
    "AP1": "AP1 a refusal told as a success",
    "AP2": "AP2 a refusal that ends in a crash",
    "AP3": "AP3 the provider's schema is the only check",
    "AP4": "AP4 a check that one model happened to pass",
    "AP5": "AP5 a loop without a bound or a budget",
    "AP6": "AP6 decisions that no policy stands behind",
    "AP7": "AP7 no permissions, and nobody is asked",
    "AP8": "AP8 a strict parser, and no way back from it",
}
"""Each anti-pattern in a few words."""

OUTCOMES = ("impossible to express: ", "refuted by ", "detected at run time: ")
"""How an outcome begins."""

ANTIPATTERNS = Table(
    "antipattern",
    ROOT / "docs" / "patterns" / "anti-patterns.md",
    ("anti-pattern", "what becomes of it here", "test"),
    tuple(NAMES.items()),
)

if __name__ == "__main__":
    ANTIPATTERNS.write()
