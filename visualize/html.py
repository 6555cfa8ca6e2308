"""HTML-like labels of DOT, built from pieces that are always escaped.

Functions that take ``text`` escape it; functions that take ``inner`` take what these functions returned.
"""

from __future__ import annotations

import re

from provenet.visualize.labels import markup

_WORD = re.compile(r"\S+\s*|\s+")
_PART = re.compile(r"[^_.\-/,;:]*[_.\-/,;:]?")


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` characters, broken at spaces, at ``_ . - /`` in names, else anywhere."""
    out: list[str] = []
    for paragraph in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        line = ""
        words = _WORD.findall(paragraph)
        for chunk in (p for w in words for p in ([w] if len(w.rstrip()) <= width else _PART.findall(w))):
            if len(line) + len(chunk.rstrip()) > width and line:
                out.append(line.rstrip())
                line = ""
            rest = chunk
            while len(rest.rstrip()) > width:
                out.append(rest[:width])
                rest = rest[width:]
            line += rest
        out.append(line.rstrip())
    return out or [""]


def text(words: str, *, width: int | None = None, limit: int = 300, most: int | None = None) -> str:
    """Escaped text, wrapped; an empty one becomes a space, since empty elements are no label.

    Args:
        words: Any string.
        width: Characters in a line.
        limit: Most characters.
        most: Most lines; more end in an ellipsis.
    """
    if len(words) > limit:
        words = words[: limit - 1] + "…"
    lines = wrap(words, width) if width else words.split("\n")
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: (width or 40) - 1] + "…"]
    return "<BR/>".join(markup(line, limit=None) or " " for line in lines)


def font(
    inner: str, *, size: float | None = None, colour: str = "", weight: str = "", slant: str = ""
) -> str:
    """Font of a piece: ``weight="bold"``, ``slant="italic"``."""
    if weight:
        inner = f"<B>{inner}</B>"
    if slant:
        inner = f"<I>{inner}</I>"
    parts = (f' POINT-SIZE="{size:g}"' if size else "") + (f' COLOR="{colour}"' if colour else "")
    return f"<FONT{parts}>{inner}</FONT>" if parts else inner


def td(inner: str, **attributes: object) -> str:
    """A cell; attribute names in lower case."""
    return f"<TD{_attributes(attributes)}>{inner}</TD>"


def tr(*cells: str) -> str:
    """A row of cells."""
    return f"<TR>{''.join(cells)}</TR>"


def table(*rows: str, **attributes: object) -> str:
    """A table of rows (and ``RULE`` between them)."""
    defaults = {"border": 0, "cellborder": 0, "cellspacing": 0, "cellpadding": 2}
    return f"<TABLE{_attributes(defaults | attributes)}>{''.join(rows)}</TABLE>"


def lines(*inner: str, **attributes: object) -> str:
    """Lines of different sizes below one another, each as high as it needs; ``<BR/>`` lets them touch."""
    rows = (tr(td(line, align="left", balign="left")) for line in inner if line)
    return table(*rows, **({"cellpadding": 1} | attributes))


def label(inner: str) -> str:
    """The value of a ``label`` attribute."""
    return f"<{inner}>"


RULE = "<HR/>"
"""A line between two rows."""


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(f' {name.upper()}="{value}"' for name, value in attributes.items() if value is not None)
