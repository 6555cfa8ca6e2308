"""The pages of the patterns: all in the index, all of one make."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.docs.test_pages import named

FOLDER = ROOT / "docs" / "patterns"
INDEX = FOLDER / "README.md"
PAGES = sorted(p for p in FOLDER.glob("*.md") if p.name not in {"README.md", "anti-patterns.md"})
SAID = ("not for", "lineage", "stochastic", "detector")
"""What a page speaks of."""


def test_the_index_has_every_page() -> None:
    text = INDEX.read_text(encoding="utf-8")
    assert not [p.name for p in FOLDER.glob("*.md") if p != INDEX and f"({p.name}" not in text]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_says_when_and_when_not_and_what_covers_a_failure(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower()
    assert not [words for words in SAID if words not in text]
    assert any(b.language == "python" and b.value("file") for b in blocks(page)), "it has no program"


def test_a_newcomer_composes_two_patterns_in_thirty_lines() -> None:
    program = next(b.text for b in blocks(INDEX) if b.value("file"))
    lines = [line for line in program.splitlines() if line.strip()]
    asked = next(at for at, line in enumerate(lines) if line.startswith("def "))
    assert len(lines) - asked <= 30, "imports and tokens aside"
    used = {word for word in ("Delegation(", "Gate(") if word in program}
    assert len(used) == 2
