"""Tables in plain text: nothing is lost, nothing is too wide, and a pipe shows what a terminal shows."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.cli.layout import GAP, Column, lines
from provenet.cli.printing import Out

WORDS = st.text(st.sampled_from("ab .,-ü"), max_size=30)
TABLES = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(
            st.builds(
                Column,
                fit=st.sampled_from(["wrap", "whole"]),
                align=st.sampled_from(["left", "right"]),
                head=WORDS,
            ),
            min_size=n,
            max_size=n,
        ),
        st.lists(st.lists(WORDS, min_size=n, max_size=n), min_size=1, max_size=5),
    )
)


@given(TABLES, st.integers(1, 120))
def test_no_letter_is_lost(table: tuple[list[Column], list[list[str]]], width: int) -> None:
    columns, rows = table
    heads = "".join(c.head for c in columns)
    shown = "".join(lines(columns, rows, width=width))
    everything = heads + "".join(cell for row in rows for cell in row)
    assert sorted(shown.replace(" ", "")) == sorted(everything.replace(" ", ""))


@given(TABLES)
def test_as_wide_as_allowed_where_all_can_be_wrapped(table: tuple[list[Column], list[list[str]]]) -> None:
    _, rows = table
    columns = [Column() for _ in rows[0]]
    for width in (20, 40, 80):
        least = len(columns) * (4 + GAP)
        assert all(len(line) <= max(width, least) for line in lines(columns, rows, width=width))


@pytest.mark.parametrize("width", [40, 60, 90, 150])
def test_a_pipe_shows_what_a_terminal_shows(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column(fit="whole"), Column(), Column(style="dim"), Column(fit="whole", align="right")]
    rows = [
        ["PROVED", "every committed step is undone when the scope aborts", "state graph", "666 ms"],
        ["REFUTED", "no offer above 30% reaches billing unless a person approved it", "", "1 ms"],
    ]
    monkeypatch.setenv("COLUMNS", str(width))
    shown = []
    for plain in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr("sys.stdout", stream)
        out = Out(as_json=False)
        out.plain = plain
        out.line("net")
        out.table(columns, rows)
        shown.append([line.rstrip() for line in stream.getvalue().splitlines()])
    assert shown[0] == shown[1]


def test_colours_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Out(as_json=False).plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not Out(as_json=False).plain
