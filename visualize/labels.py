r"""Text from a net, made safe to stand in a DOT graph.

Names and values of a net come from strangers. In DOT a label may hold escapes (``\N``), entities
(``&lt;``) and, between ``<`` and ``>``, markup; none of that may take effect for text that is data.
"""

from __future__ import annotations

import re
from html import escape

import graphviz

# XML 1.0 can hold neither these nor lone surrogates, so no SVG can.
_UNDRAWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def plain(text: str, *, limit: int | None = 300) -> str:
    """Text for a plain attribute (``label=``, ``tooltip=``) that is drawn as it stands.

    Args:
        text: Any string; line breaks are kept.
        limit: Longest result in characters, cut with an ellipsis; None for no limit.

    Returns:
        A string which the graphviz package takes neither for markup nor for an escape.
    """
    shown = drawable(text, limit=limit).replace("\\", "\\\\").replace("&", "&amp;").replace("\n", "\\n")
    # Between < and > it would be taken for markup; the package marks one that is not with a type.
    safe: str = graphviz.nohtml(shown)
    return safe


def markup(text: str, *, limit: int | None = 300) -> str:
    """Text for the inside of an HTML-like label that is drawn as it stands.

    Args:
        text: Any string; line breaks become ``<BR/>``.
        limit: Longest result in characters before escaping, cut with an ellipsis; None for no limit.

    Returns:
        The escaped text.
    """
    return escape(drawable(text, limit=limit)).replace("\n", "<BR/>")


def drawable(text: str, *, limit: int | None = None) -> str:
    """The text with what no picture can hold shown as U+FFFD, tabs as spaces, and cut to a limit."""
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return _UNDRAWABLE.sub("\ufffd", text)
