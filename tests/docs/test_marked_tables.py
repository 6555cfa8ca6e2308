"""The tables of attacks and of anti-patterns are those of the tests."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.docs.antipatterns import ANTIPATTERNS, NAMES, OUTCOMES
from tests.docs.attacks import ATTACKS
from tests.docs.marked import Table

TABLES = pytest.mark.parametrize("table", [ATTACKS, ANTIPATTERNS], ids=lambda t: t.marker)

ATTACKED = {
    "forged approval",
    "replayed approval",
    "expired deadline",
    "role escalation",
    "oversized or deeply nested values",
    "SQL through every field",
    "prompt injection",
    "tampered rows",
    "control characters and terminal escapes",
    "markup in pictures and reports",
    "forged certificate",
    "forged report",
    "forged net",
}


@TABLES
def test_the_page_has_every_row(table: Table) -> None:
    assert table.written().strip() == table.made().strip(), f"run `python -m tests.docs.{table.marker}s`"


@TABLES
def test_a_test_shows_one_thing_or_two(table: Table) -> None:
    assert not [test for test, count in Counter(row.test for row in table.rows()).items() if count > 2]


def test_what_must_be_tried_is_tried() -> None:
    assert {row.name for row in ATTACKS.rows()} >= ATTACKED


def test_every_anti_pattern_is_shown_and_ends_in_one_of_three_ways() -> None:
    rows = ANTIPATTERNS.rows()
    assert {row.name for row in rows} == set(NAMES)
    assert not [row for row in rows if not row.outcome.startswith(OUTCOMES)]


def test_what_a_marker_calls_refuted_names_a_property_of_the_catalogue() -> None:
    from provenet.verify.asked import WORDS
    from provenet.verify.check import CATALOGUE

    known = {*CATALOGUE, *(r.kind for r in WORDS.values()), "never", "always", "bound", "precedes", "mutex"}
    for row in ANTIPATTERNS.rows():
        if row.outcome.startswith("refuted by "):
            named = row.outcome.removeprefix("refuted by ").partition(":")[0]
            assert {n.strip() for n in named.split(" and ")} <= known, row
