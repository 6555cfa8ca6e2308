"""The table of attacks is that of the tests."""

from __future__ import annotations

from collections import Counter

from tests.docs.attacks import attacks, table, written

WANTED = {
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


def test_the_page_has_every_attack_that_is_tried() -> None:
    assert written().strip() == table().strip(), "run `python -m tests.docs.attacks`"


def test_what_must_be_tried_is_tried() -> None:
    assert {a.name for a in attacks()} >= WANTED
    assert not [test for test, count in Counter(a.test for a in attacks()).items() if count > 2]
