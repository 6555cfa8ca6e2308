"""The SVG of the layout program, cleaned.

What comes in names the program's version and trusts the reader to have its fonts. What goes out is the same
for the same graph, refers to nothing outside itself, and keeps its text inside its boxes whatever sans-serif
font the reader has: `textLength` holds the width that the layout assumed.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from provenet.visualize.errors import RenderError

FONTS = Path(__file__).resolve().parent / "fonts"

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
SANS = "Arimo, 'Liberation Sans', Arial, Helvetica, sans-serif"

_SANS_NAMES = re.compile(r"arial|helvetica|arimo|liberation sans|sans", re.IGNORECASE)
_SAFE_LINK = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)

ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", HREF[1 : HREF.index("}")])


def clean(svg: bytes) -> bytes:
    """Make the layout program's SVG self-contained, deterministic and safe to open.

    Args:
        svg: What the layout program wrote.

    Returns:
        UTF-8 SVG with no document type, comment, outside image or script link.

    Raises:
        RenderError: It is not well-formed XML.
    """
    root = parse(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{SVG}image":
                parent.remove(child)
        if HREF in parent.attrib and not _SAFE_LINK.match(parent.attrib[HREF]):
            del parent.attrib[HREF]
        if parent.tag == f"{SVG}text":
            _fix_text(parent)
    for graph in root.iter(f"{SVG}g"):
        if graph.get("class") == "graph":
            _lift_writing(graph)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def parse(svg: bytes) -> Any:
    """The root element of an SVG.

    Raises:
        RenderError: It is not well-formed XML, defines entities, or is not SVG.
    """
    try:
        root = fromstring(svg)
    except (ET.ParseError, DefusedXmlException, ValueError) as error:
        raise RenderError(
            f"the SVG is not well-formed: {error}",
            stage="svg",
            hint="pass names and labels through provenet.visualize.labels",
        ) from error
    if root.tag != f"{SVG}svg":
        raise RenderError(f"expected an <svg> element, got <{root.tag}>", stage="svg")
    return root


def size_in_points(svg: bytes) -> tuple[float, float]:
    """Width and height of an SVG in points (1/72 inch).

    Raises:
        RenderError: It has no positive size.
    """
    return element_size(parse(svg))


def element_size(root: Any) -> tuple[float, float]:
    """Width and height of a parsed SVG in points; a bare number is CSS pixels (3/4 point)."""
    sides: list[float] = []
    for name in ("width", "height"):
        match = re.fullmatch(r"([0-9.]+)(pt|px)?", root.get(name, ""))
        value = float(match[1]) * (1.0 if match[2] == "pt" else 0.75) if match else 0.0
        if value <= 0:
            raise RenderError(
                f"the SVG has no usable {name} (got {root.get(name)!r})",
                stage="svg",
                hint=f"set {name}= in pt",
            )
        sides.append(value)
    return sides[0], sides[1]


def text_width(text: str, *, size: float, bold: bool = False) -> float:
    """Width of a text in the fonts that ours are metric twins of: Arial and Helvetica.

    Args:
        text: One line.
        size: Font size in points.
        bold: Whether it is set in bold.

    Returns:
        Points; a character that the shipped fonts lack counts as one em.
    """
    regular, heavier = _widths()
    if bold:
        return sum(heavier.get(char) or regular.get(char, 1000) for char in text) * size / 1000
    return sum(regular.get(char, 1000) for char in text) * size / 1000


def assumed_width(text: str, *, size: float, bold: bool = False) -> float:
    """The width that the layout program reckons with: it counts 0.278 em for each byte beyond ASCII."""
    known = text_width("".join(char for char in text if char.isascii()), size=size, bold=bold)
    return known + sum(len(char.encode()) for char in text if not char.isascii()) * 0.278 * size


@cache
def _widths() -> tuple[dict[str, int], dict[str, int]]:
    """Advance widths in thousandths of the size: regular, and where bold differs."""
    table = json.loads((FONTS / "widths.json").read_text(encoding="utf-8"))
    return table["regular"], table["bold"]


def _lift_writing(graph: Any) -> None:
    """Draw the headings of clusters and what is written on arcs after all arcs: these pass behind."""
    lifted = ET.Element(f"{SVG}g", {"class": "writing"})
    last = 0
    for i, child in enumerate(list(graph)):
        if child.get("class") == "cluster":
            holder = next(child.iter(f"{SVG}a"), child)
            # The first shape is the frame itself.
            for piece in [e for e in holder if e.tag != f"{SVG}title"][1:]:
                holder.remove(piece)
                lifted.append(piece)
        elif child.get("class") == "edge":
            last = i + 1
            for piece in [e for e in child if e.get("id", "").endswith("-label")]:
                child.remove(piece)
                lifted.append(piece)
    if len(lifted):
        graph.insert(last or len(graph), lifted)


def _fix_text(element: Any) -> None:
    if not _SANS_NAMES.search(element.get("font-family", "")):
        return
    element.set("font-family", SANS)
    text, bold = element.text or "", element.get("font-weight") == "bold"
    size = float(element.get("font-size", "14"))
    # Where the layout leaves less than the text needs, the text is narrowed to stay inside its box.
    if width := min(assumed_width(text, size=size, bold=bold), text_width(text, size=size, bold=bold)):
        element.set("textLength", f"{width:.2f}")
        element.set("lengthAdjust", "spacingAndGlyphs")
