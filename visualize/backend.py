"""From a DOT graph to SVG, PNG and PDF, with no system package.

The layout program is ``graphviz-pure``, a wheel that holds a whole ``dot``; a system ``dot`` is the
fallback. It writes an SVG, which is cleaned (`provenet.visualize.svg`); PNG and PDF are drawn from that
same SVG with the fonts shipped beside this file, so the three look alike on every machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Literal, Protocol

from provenet.visualize.errors import RenderError
from provenet.visualize.labels import drawable
from provenet.visualize.svg import FONTS, clean, size_in_points

Format = Literal["svg", "png", "pdf"]
Engine = Literal["dot", "neato", "fdp", "sfdp", "circo", "twopi", "osage"]

MAX_DOT_BYTES = 8 * 2**20
MAX_SVG_BYTES = 64 * 2**20
MAX_PNG_PIXELS = 40_000_000
MAX_PNG_SIDE = 16_000

_FORMATS = ("svg", "png", "pdf")
_ENGINES = ("dot", "neato", "fdp", "sfdp", "circo", "twopi", "osage")
_INSTALL = "pip install graphviz-pure, or install Graphviz so that `dot` is on the PATH"


class HasSource(Protocol):
    """Anything with DOT text: a ``graphviz.Digraph`` or ``graphviz.Source``."""

    @property
    def source(self) -> str:
        """The DOT text."""


def render(
    graph: HasSource | str,
    *,
    format: Literal["svg", "png", "pdf"],  # noqa: A002 - the graphviz package's name for it
    engine: Engine = "dot",
    timeout: float = 30.0,
    scale: float = 2.0,
) -> bytes:
    """Lay out a graph and draw it.

    The result depends on the graph and the installed versions only: no time, path or version is in it.

    Args:
        graph: A graph of the graphviz package, or DOT text. Text of others in it must have gone through
            `provenet.visualize.labels`.
        format: ``svg``, ``png`` or ``pdf``.
        engine: Layout engine.
        timeout: Seconds for layout and drawing together.
        scale: Pixels for each CSS pixel of a PNG; lowered where the picture would exceed
            `MAX_PNG_PIXELS` or `MAX_PNG_SIDE`.

    Returns:
        The bytes of one self-contained file.

    Raises:
        RenderError: No layout program, a graph that is too big or malformed, or time is up.
    """
    if format not in _FORMATS:
        raise RenderError(f"no format {format!r}", stage="input", hint="choose svg, png or pdf")
    if engine not in _ENGINES:
        raise RenderError(f"no engine {engine!r}", stage="input", hint="choose one of " + ", ".join(_ENGINES))
    deadline = time.monotonic() + timeout
    source = graph if isinstance(graph, str) else graph.source
    svg = clean(_layout(source, engine=engine, timeout=timeout))
    return convert(svg, format=format, timeout=max(deadline - time.monotonic(), 0.0), scale=scale)


def convert(
    svg: bytes,
    *,
    format: Literal["svg", "png", "pdf"],  # noqa: A002
    timeout: float = 30.0,
    scale: float = 2.0,
) -> bytes:
    """Turn an SVG made by `render`, or put together from several, into another format.

    Args:
        svg: The SVG.
        format: ``svg`` returns it as it is.
        timeout: Seconds for the drawing of a PDF; a PNG is bounded by its pixels instead.
        scale: As for `render`.

    Returns:
        The bytes of one self-contained file.

    Raises:
        RenderError: The SVG is malformed, a drawing library is missing, or time is up.
    """
    if format == "png":
        return _png(svg, scale=scale)
    if format == "pdf":
        from provenet.visualize.pdf import svg_to_pdf

        return svg_to_pdf(svg, fonts=FONTS, timeout=timeout)
    return svg


def find_dot() -> Path:
    """The layout program: ``graphviz-pure`` of this environment, else of the PATH, else a system ``dot``.

    Returns:
        Path of the program.

    Raises:
        RenderError: There is none.
    """
    suffix = ".exe" if sysconfig.get_platform().startswith("win") else ""
    beside = Path(sysconfig.get_path("scripts")) / f"graphviz-pure{suffix}"
    if beside.is_file():
        return beside
    from importlib import metadata

    try:
        files = metadata.files("graphviz-pure") or []
    except metadata.PackageNotFoundError:
        files = []
    for entry in files:
        program = Path(str(entry.locate()))
        if entry.stem == "graphviz-pure" and program.is_file():
            return program.resolve()
    for name in ("graphviz-pure", "dot"):
        if found := shutil.which(name):
            return Path(found)
    raise RenderError("no layout program: neither graphviz-pure nor dot is here", stage="find", hint=_INSTALL)


def _layout(source: str, *, engine: str, timeout: float) -> bytes:
    text = drawable(source).encode()
    if len(text) > MAX_DOT_BYTES:
        raise RenderError(
            f"the graph is {len(text) / 2**20:.1f} MiB of DOT, at most {MAX_DOT_BYTES >> 20} MiB are drawn",
            stage="input",
            hint="draw a part of the net, or the folded view",
        )
    program = find_dot()
    # Arial as the default, since its widths are those of the fonts drawn with; the graph may choose another.
    options = [f"-{kind}fontname=Arial" for kind in "GNE"]
    # The exact layout of a big tangle takes minutes; how much effort is spent depends on the graph alone, not
    # on the clock, so the same graph still gives the same picture.
    edges = text.count(b"->") + text.count(b"--")
    if edges > 300:
        options += ["-Gnslimit=1", "-Gnslimit1=1", "-Gmclimit=0.2"]
    if edges > 1500:
        options.append("-Gsplines=line")
    try:
        with tempfile.TemporaryFile() as out:
            done = subprocess.run(  # noqa: S603 - our own program, no shell, the graph goes through stdin
                [str(program), f"-K{engine}", "-Tsvg", "-q", *options],
                input=text,
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=timeout,
                check=False,
            )
            size = out.seek(0, 2)
            out.seek(0)
            svg = out.read(MAX_SVG_BYTES + 1)
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"layout took longer than {timeout:g} s ({len(text):,} bytes of DOT)",
            stage="layout",
            hint="draw a part of the net or the folded view, or allow more time (timeout=)",
        ) from None
    except OSError as error:
        raise RenderError(
            f"{program.name} could not be run: {error.strerror or error}", stage="layout", hint=_INSTALL
        ) from error
    if done.returncode != 0 or not size:
        said = " ".join(done.stderr.decode(errors="replace").split())[-300:] or "nothing"
        raise RenderError(
            f"{program.name} ended with {done.returncode} and said: {said}",
            stage="layout",
            hint="the graph is not valid DOT; pass names and labels through provenet.visualize.labels",
        )
    if size > MAX_SVG_BYTES:
        raise RenderError(
            f"the picture is larger than {MAX_SVG_BYTES >> 20} MiB",
            stage="layout",
            hint="draw a part of the net",
        )
    return svg


def _png(svg: bytes, *, scale: float) -> bytes:
    try:
        import resvg_py
    except ImportError as error:
        raise RenderError("resvg-py is not installed", stage="png", hint="pip install resvg-py") from error
    width, height = (side * 4 / 3 for side in size_in_points(svg))
    zoom = min(scale, (MAX_PNG_PIXELS / (width * height)) ** 0.5, MAX_PNG_SIDE / width, MAX_PNG_SIDE / height)
    text = svg.decode()
    try:
        return resvg_py.svg_to_bytes(
            svg_string=text,
            width=max(round(width * zoom), 1),
            height=max(round(height * zoom), 1),
            dpi=96.0,
            # Fonts of the machine only for scripts that ours lack (Chinese, emoji, ...).
            skip_system_fonts=max(text, default=" ") < "\u2c00",
            font_files=[str(file) for file in sorted(FONTS.glob("*.ttf"))],
            font_family="Arimo",
            sans_serif_family="Arimo",
        )
    except ValueError as error:
        raise RenderError(
            f"the PNG could not be drawn: {error}", stage="png", hint="try format='svg'"
        ) from error
