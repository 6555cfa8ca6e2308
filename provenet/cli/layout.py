"""Tables as plain text, for pipes and files; on a terminal rich draws them, elsewhere it is not loaded."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

from provenet.nets.quick import dataclass

GAP = 2
"""Blanks between columns."""
_NARROWEST = 4


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is set.

    Attributes:
        fit: ``wrap`` breaks its cells over lines where the table is too wide; ``whole`` never does.
        align: The side that its cells stand on.
        style: How rich shows it on a terminal.
        head: What stands above it.
    """

    fit: Literal["wrap", "whole"] = "wrap"
    align: Literal["left", "right"] = "left"
    style: str = ""
    head: str = ""


def lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int) -> list[str]:
    """The lines of a table, as narrow as ``width`` where its columns can be wrapped."""
    if any(c.head for c in columns):
        rows = [[c.head for c in columns], *rows]
    widths = _widths(columns, rows, width)
    found: list[str] = []
    for row in rows:
        cells = [_wrapped(cell, room) for cell, room in zip(row, widths, strict=True)]
        for at in range(max(map(len, cells), default=0)):
            parts = (cell[at] if at < len(cell) else "" for cell in cells)
            line = (" " * GAP).join(
                part.rjust(room) if column.align == "right" else part.ljust(room)
                for part, room, column in zip(parts, widths, columns, strict=True)
            )
            found.append(line.rstrip())
    return found


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Each column as wide as its widest line; the widest ones give way until all fit."""
    widths = [
        max((len(part) for row in rows for part in row[i].split("\n")), default=0)
        for i in range(len(columns))
    ]
    yielding = [i for i, column in enumerate(columns) if column.fit == "wrap"]
    while sum(widths) + GAP * (len(widths) - 1) > width and yielding:
        widest = max(yielding, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _wrapped(cell: str, room: int) -> list[str]:
    if len(cell) <= room and "\n" not in cell:
        return [cell]
    return [
        line
        for part in cell.split("\n")
        for line in textwrap.wrap(part, room, break_on_hyphens=False) or [""]
    ]
