"""The table of attacks in docs/engine/security.md: `python -m tests.docs.attacks` makes it of markers."""

from __future__ import annotations

from tests.docs.marked import Table
from tests.docs.pages import ROOT

ATTACKS = Table(
    "attack",
    ROOT / "docs" / "engine" / "security.md",
    ("what somebody tries", "what becomes of it", "test"),
)

if __name__ == "__main__":
    ATTACKS.write()
