"""An SVG of ours as a one-page PDF, drawn with ReportLab.

Covers the SVG that Graphviz writes (groups, paths of M, L, C and Z, polygons, polylines, ellipses,
text), not SVG at large: an unknown element is an error, never a silent gap. Text stays text: subsets of the
shipped fonts are embedded, and a character that Arimo lacks comes from the symbol font.
"""

from __future__ import annotations

import io
import re
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from provenet.visualize.errors import RenderError
from provenet.visualize.svg import SVG, element_size, parse

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TRANSFORM = re.compile(r"(\w+)\s*\(([^)]*)\)")
_FACES = ("Regular", "Bold", "Italic")
_SYMBOLS = "Provenet-Symbols"


def svg_to_pdf(svg: bytes, *, fonts: Path, timeout: float = 30.0) -> bytes:
    """Draw an SVG as a PDF of one page of the same size.

    Args:
        svg: An SVG of `provenet.visualize.backend`.
        fonts: Folder of the fonts.
        timeout: Seconds.

    Returns:
        The PDF; the same bytes for the same SVG.

    Raises:
        RenderError: ReportLab is missing, the SVG uses what is not drawn here, or time is up.
    """
    try:
        from reportlab.pdfgen.canvas import Canvas
    except ImportError as error:
        raise RenderError("reportlab is not installed", stage="pdf", hint="pip install reportlab") from error
    root = parse(svg)
    width, height = element_size(root)
    box = _numbers(root.get("viewBox", f"0 0 {width} {height}"))
    out = io.BytesIO()
    _register(fonts)
    canvas = Canvas(
        out, pagesize=(width, height), invariant=1, pageCompression=1, initialFontName=_face("Regular")
    )
    canvas.setTitle(root.findtext(f"{SVG}g/{SVG}title") or "")
    canvas.setCreator("Provenet")
    # SVG counts downward from the top, PDF upward from the bottom.
    canvas.transform(width / box[2], 0, 0, -height / box[3], 0, height)
    canvas.translate(-box[0], -box[1])
    try:
        _Painter(canvas, root, deadline=time.monotonic() + timeout).paint(root)
        canvas.showPage()
        canvas.save()
    except (ValueError, IndexError, KeyError) as error:
        raise RenderError(
            f"the PDF could not be drawn: {error}", stage="pdf", hint="try format='svg'"
        ) from error
    return out.getvalue()


class _Painter:
    """Walks the SVG and paints onto a ReportLab canvas."""

    def __init__(self, canvas: Any, root: Any, *, deadline: float) -> None:
        from reportlab.pdfbase import pdfmetrics

        self.canvas = canvas
        self.deadline = deadline
        self.covered = {face: pdfmetrics.getFont(_face(face)).face.charToGlyph for face in _FACES}
        self.symbols = pdfmetrics.getFont(_SYMBOLS).face.charToGlyph
        self.gradients = {
            item.get("id"): item[0]
            for item in root.iter()
            if item.tag in {f"{SVG}linearGradient", f"{SVG}radialGradient"} and len(item)
        }

    def paint(self, element: Any) -> None:
        if time.monotonic() > self.deadline:
            raise RenderError(
                "the PDF took too long to draw",
                stage="pdf",
                hint="draw a part of the net, or allow more time",
            )
        match element.tag.removeprefix(SVG):
            case "svg" | "g" | "a":
                self._group(element)
            case "polygon" | "polyline" | "path" | "ellipse":
                self._shape(element)
            case "text":
                self._text(element)
            case "title" | "defs" | "desc" | "linearGradient" | "radialGradient" | "style":
                pass
            case other:
                raise RenderError(
                    f"<{other}> is not drawn in PDF", stage="pdf", hint="use format='svg' or 'png'"
                )

    def _group(self, element: Any) -> None:
        self.canvas.saveState()
        for name, arguments in _TRANSFORM.findall(element.get("transform", "")):
            values = _numbers(arguments)
            if name == "translate":
                self.canvas.translate(values[0], values[1] if len(values) > 1 else 0)
            elif name == "scale":
                self.canvas.scale(values[0], values[-1])
            elif name == "rotate":
                if len(values) == 3:
                    self.canvas.translate(values[1], values[2])
                self.canvas.rotate(values[0])
                if len(values) == 3:
                    self.canvas.translate(-values[1], -values[2])
        for child in element:
            self.paint(child)
        self.canvas.restoreState()

    def _shape(self, element: Any) -> None:
        path = self.canvas.beginPath()
        if element.tag == f"{SVG}ellipse":
            cx, cy, rx, ry = (float(element.get(name, "0")) for name in ("cx", "cy", "rx", "ry"))
            path.ellipse(cx - rx, cy - ry, 2 * rx, 2 * ry)
        elif element.tag == f"{SVG}path":
            _trace(path, element.get("d", ""))
        else:
            values = _numbers(element.get("points", ""))
            for index in range(0, len(values) - 1, 2):
                (path.lineTo if index else path.moveTo)(values[index], values[index + 1])
            if element.tag == f"{SVG}polygon":
                path.close()
        fill = self._colour(element.get("fill", "black"), element.get("fill-opacity"))
        stroke = self._colour(element.get("stroke", "none"), element.get("stroke-opacity"))
        self.canvas.saveState()
        if fill is not None:
            self.canvas.setFillColor(fill)
        if stroke is not None:
            self.canvas.setStrokeColor(stroke)
        self.canvas.setLineWidth(float(element.get("stroke-width", "1")))
        if dashes := _numbers(element.get("stroke-dasharray", "")):
            self.canvas.setDash(dashes)
        self.canvas.drawPath(path, fill=int(fill is not None), stroke=int(stroke is not None))
        self.canvas.restoreState()

    def _text(self, element: Any) -> None:
        content = element.text or ""
        size = float(element.get("font-size", "14"))
        bold, italic = element.get("font-weight") == "bold", element.get("font-style") == "italic"
        face = "Bold" if bold else "Italic" if italic else "Regular"
        runs = [
            (_SYMBOLS if symbol else _face(face), "".join(chars))
            for symbol, chars in groupby(content, key=lambda char: self._is_symbol(char, face))
        ]
        widths = [self.canvas.stringWidth(text, name, size) for name, text in runs]
        natural = sum(widths)
        stretch = float(element.get("textLength", natural)) / natural if natural else 1.0
        x = float(element.get("x", "0"))
        x -= {"middle": natural / 2, "end": natural}.get(element.get("text-anchor", "start"), 0.0) * stretch
        colour = self._colour(element.get("fill", "black"), element.get("fill-opacity"))
        if colour is None:
            return
        self.canvas.saveState()
        self.canvas.translate(x, float(element.get("y", "0")))
        self.canvas.scale(stretch, -1)
        self.canvas.setFillColor(colour)
        left = 0.0
        for (name, text), width in zip(runs, widths, strict=True):
            self.canvas.setFont(name, size)
            self.canvas.drawString(left, 0, text)
            left += width
        if (decoration := element.get("text-decoration", "")) in {"underline", "line-through"}:
            self.canvas.setStrokeColor(colour)
            self.canvas.setLineWidth(size / 16)
            height = -size / 9 if decoration == "underline" else size / 3.5
            self.canvas.line(0, height, left, height)
        self.canvas.restoreState()

    def _is_symbol(self, char: str, face: str) -> bool:
        return ord(char) not in self.covered[face] and ord(char) in self.symbols

    def _colour(self, value: str, opacity: str | None) -> Any:
        from reportlab.lib import colors

        if reference := re.fullmatch(r"url\(#(.+)\)", value):
            # A gradient is drawn as its first colour.
            style = self.gradients[reference[1]].get("style", "")
            value = re.search(r"stop-color:\s*([^;]+)", style)[1]  # type: ignore[index]
        if value in {"none", "transparent"}:
            return None
        colour = colors.toColor(value)
        return colors.Color(colour.red, colour.green, colour.blue, alpha=float(opacity) if opacity else 1.0)


def _trace(path: Any, d: str) -> None:
    for command, arguments in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        values = _numbers(arguments)
        if command == "M":
            path.moveTo(values[0], values[1])
        if command in "ML":
            for index in range(2 if command == "M" else 0, len(values), 2):
                path.lineTo(values[index], values[index + 1])
        elif command == "C":
            for index in range(0, len(values), 6):
                path.curveTo(*values[index : index + 6])
        elif command in "Zz":
            path.close()
        else:
            raise ValueError(f"path command {command!r}")


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _face(style: str) -> str:
    return f"Provenet-{style}"


def _register(fonts: Path) -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    # A fresh font for each document: it remembers which glyphs were used, and the same SVG shall give the
    # same bytes whatever was drawn before. Parsing takes a few milliseconds.
    for style in _FACES:
        pdfmetrics.registerFont(TTFont(_face(style), str(fonts / f"Arimo-{style}.ttf")))
    pdfmetrics.registerFont(TTFont(_SYMBOLS, str(fonts / "DejaVuSans-Symbols.ttf")))
