"""Small charts as plain SVG: bars, curves over a size or over time, curves and shares with their intervals.

They follow the reader's light or dark page, name their axes, and say nothing by colour alone: curves differ
in their dashes and marks as well, and each bears its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from xml.sax.saxutils import escape

from provenet.visualize.svg import SANS

Kind: TypeAlias = Literal["curve", "points", "steps"]
"""How a series is drawn: joined with marks, as points alone, or as a path with no marks."""


@dataclass(frozen=True, slots=True)
class Point:
    """A measured amount.

    Attributes:
        x: Where.
        y: How much.
        low: The lower end of its interval, where there is one.
        high: The upper end.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Amounts that belong together.

    Attributes:
        name: What they are.
        points: In the order of ``x``.
        kind: How they are drawn.
    """

    name: str
    points: tuple[Point, ...]
    kind: Kind = "curve"


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        name: What it measures, and the unit.
        low: Where it begins; by default with the least amount, or zero.
        high: Where it ends; by default with the greatest amount.
        percent: ``yes`` where amounts are shares, shown as percentages.
    """

    name: str
    low: float | None = None
    high: float | None = None
    percent: Literal["no", "yes"] = "no"


def curves(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Several series over one axis, with their intervals as whiskers or bands.

    Args:
        title: What is shown.
        x: The axis below.
        y: The axis at the left.
        series: What is drawn, at most as many as there are looks; the legend names them.

    Raises:
        ValueError: There is nothing to draw, or too much to tell apart.
    """
    points = [p for s in series for p in s.points]
    if not points or len(series) > len(_LOOKS):
        raise ValueError(f"a chart of {len(series)} series and {len(points)} points cannot be read")
    box = _Box(70, 44, 470, 250)
    across = _scale(x, [p.x for p in points], box.left, box.right)
    amounts = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    up = _scale(y, amounts, box.bottom, box.top)
    parts = [_text(10, 22, title, cls="title"), *_grid(box, across, up)]
    for number, one in enumerate(series):
        parts += _drawn(one, number, across.at, up.at)
    parts += _legend(box, series)
    height = box.bottom + 64 + 20 * (math.ceil(len(series) / _columns(series)) - 1)
    return _svg(box.right + 30, height, parts)


def shares(title: str, rows: Sequence[tuple[str, float, float, float, str]]) -> str:
    """Shares from 0 to 100 % with their intervals, one below the other.

    Args:
        title: What they are shares of.
        rows: Name, share, both ends of its interval, and a word about it.
    """
    left, long, step, top = 210, 330, 28, 48
    bottom = top + step * len(rows)

    def x(share: float) -> float:
        return left + long * share

    parts = [_text(10, 22, title, cls="title")]
    for tenth in range(0, 11, 2):
        at = x(tenth / 10)
        parts += [_line(at, top - 8, at, bottom), _text(at, bottom + 16, f"{tenth * 10}%", "middle")]
    for i, (name, share, low, high, word) in enumerate(rows):
        y = top + step * i + 10
        parts += [
            _text(left - 10, y + 4, name, "end"),
            f'<path class="s0 span" d="M{x(low):.1f},{y}H{x(high):.1f}"/>',
            f'<circle class="f0" cx="{x(share):.1f}" cy="{y}" r="5"/>',
            _text(left + long + 12, y + 4, word),
        ]
    return _svg(left + long + 170, bottom + 28, parts)


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Amounts on a logarithmic scale, one below the other.

    Args:
        title: What is measured, and its unit.
        rows: Name, amount above zero and a word about it. A name that begins with ``*`` is ours.
    """
    left, long, step = 300, 330, 24
    top, height = 40, 56 + step * len(rows)
    amounts = [amount for _, amount, _ in rows]
    low, high = math.floor(math.log10(min(amounts) / 1.5)), math.ceil(math.log10(max(amounts)))

    def x(amount: float) -> float:
        return left + long * (math.log10(amount) - low) / (high - low)

    parts = [_text(10, 20, title, cls="title")]
    for power in range(low, high + 1):
        at = x(10**power)
        parts += [_line(at, top - 6, at, height - 16), _text(at, height - 4, f"{10**power:,}", "middle")]
    for i, (name, amount, word) in enumerate(rows):
        y, look = top + step * i, "f0" if name.startswith("*") else "quiet"
        parts += [
            _text(left - 8, y + 12, name.removeprefix("*"), "end"),
            f'<rect class="{look}" x="{left}" y="{y}" width="{x(amount) - left:.1f}" height="16"/>',
            _text(x(amount) + 6, y + 12, f"{amount:,.0f}  {word}".rstrip()),
        ]
    return _svg(left + long + 150, height, parts)


def over_size(title: str, points: Sequence[tuple[int, float, str]]) -> str:
    """A ratio from 0 to 1.5 over a size on a logarithmic scale; points are size, ratio and a word."""
    width, height, left, top = 580, 260, 60, 20
    low, high = math.log10(points[0][0]), math.log10(points[-1][0])

    def x(size: int) -> float:
        return left + 30 + (width - left - 70) * (math.log10(size) - low) / max(high - low, 1e-9)

    def y(ratio: float) -> float:
        return top + (height - top - 50) * (1 - min(ratio, 1.5) / 1.5)

    parts = []
    for level in (0.0, 0.5, 1.0):
        parts += [
            _line(left, y(level), width - 10, y(level)),
            _text(left - 8, y(level) + 4, f"{level:.1f}", "end"),
        ]
    path = " ".join(f"{x(size):.1f},{y(ratio):.1f}" for size, ratio, _ in points)
    parts.append(f'<polyline class="s0" points="{path}"/>')
    for size, ratio, word in points:
        parts += [
            f'<circle class="f0" cx="{x(size):.1f}" cy="{y(ratio):.1f}" r="4"/>',
            _text(x(size), y(ratio) - 10, word, "middle"),
            _text(x(size), height - 28, f"{size:,}", "middle"),
        ]
    return _svg(width, height, [*parts, _text(width / 2, height - 8, title, "middle")])


def over_time(seconds: Sequence[float], named: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Curves over the same moments, one below the other, each from zero."""
    wide, high, left = 720, 110, 60
    height = (high + 40) * len(named) + 26
    longest = max(seconds, default=1)
    parts = []
    for number, (name, values) in enumerate(named):
        top, most = 30 + number * (high + 40), max([*values, 1e-9]) * 1.1
        points = " ".join(
            f"{left + wide * at / longest:.1f},{top + high * (1 - value / most):.1f}"
            for at, value in zip(seconds, values, strict=True)
        )
        parts += [
            _text(left, top - 8, name),
            _text(left - 6, top + 10, f"{most:.0f}", "end"),
            _text(left - 6, top + high, "0", "end"),
            f'<path class="axis" d="M{left},{top}v{high}h{wide}"/>',
            f'<polyline class="s0" points="{points}"/>',
        ]
    minutes = _text(left + wide, height - 8, f"{longest / 60:.0f} minutes", "end")
    return _svg(wide + left + 20, height, [*parts, minutes])


# scales


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    wide: float
    high: float

    @property
    def right(self) -> float:
        return self.left + self.wide

    @property
    def bottom(self) -> float:
        return self.top + self.high


@dataclass(frozen=True, slots=True)
class _Scale:
    axis: Axis
    low: float
    high: float
    first: float
    last: float
    step: float

    def at(self, amount: float) -> float:
        """Where an amount lies; one beyond the axis lies at its end."""
        share = (min(max(amount, self.low), self.high) - self.low) / (self.high - self.low)
        return self.first + (self.last - self.first) * share

    @property
    def ticks(self) -> list[float]:
        """Round amounts between the ends."""
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        return [self.low + i * self.step for i in range(count + 1)]

    def said(self, amount: float) -> str:
        """An amount as the axis shows it."""
        if self.axis.percent == "yes":
            digits = max(0, -math.floor(math.log10(self.step * 100) + 1e-9))
            return f"{amount * 100:.{digits}f}%"
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{amount:,.{digits}f}"


def _scale(axis: Axis, amounts: Sequence[float], first: float, last: float) -> _Scale:
    low = min(0.0, *amounts) if axis.low is None else axis.low
    high = max(amounts) if axis.high is None else axis.high
    if high <= low:
        high = low + 1.0
    step = _round_step((high - low) / 5)
    if axis.low is None:
        low = math.floor(low / step + 1e-9) * step
    if axis.high is None:
        high = math.ceil(high / step - 1e-9) * step
    return _Scale(axis, low, high, first, last, step)


def _round_step(rough: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


# parts

_LOOKS = (("", "circle"), ("7 4", "square"), ("2 3", "diamond"), ("10 3 2 3", "triangle"), ("1 5", "cross"))
"""Dashes and mark of each series."""


def _drawn(one: Series, number: int, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    dashes, mark = _LOOKS[number]
    parts: list[str] = []
    banded = [p for p in one.points if p.low is not None and p.high is not None]
    if one.kind == "steps" and banded:
        edge = [f"{x(p.x):.1f},{y(p.high or 0.0):.1f}" for p in banded]
        edge += [f"{x(p.x):.1f},{y(p.low or 0.0):.1f}" for p in reversed(banded)]
        parts.append(f'<polygon class="f{number}" opacity="0.15" points="{" ".join(edge)}"/>')
    elif banded:
        parts += [
            f'<path class="s{number} thin" d="M{x(p.x):.1f},{y(p.low or 0.0):.1f}V{y(p.high or 0.0):.1f}'
            f'm-4,0h8M{x(p.x) - 4:.1f},{y(p.low or 0.0):.1f}h8"/>'
            for p in banded
        ]
    if one.kind != "points":
        path = " ".join(f"{x(p.x):.1f},{y(p.y):.1f}" for p in one.points)
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline class="s{number}"{dash} points="{path}"/>')
    if one.kind != "steps":
        parts += [_mark(mark, number, x(p.x), y(p.y)) for p in one.points]
    return parts


def _mark(mark: str, number: int, x: float, y: float) -> str:
    match mark:
        case "circle":
            return f'<circle class="f{number}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        case "square":
            return f'<rect class="f{number}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        case "diamond":
            d = f"M{x:.1f},{y - 5:.1f}l5,5l-5,5l-5,-5z"
        case "triangle":
            d = f"M{x:.1f},{y - 5:.1f}l5,9h-10z"
        case _:
            return f'<path class="s{number}" d="M{x - 4:.1f},{y - 4:.1f}l8,8m-8,0l8,-8"/>'
    return f'<path class="f{number}" d="{d}"/>'


def _grid(box: _Box, across: _Scale, up: _Scale) -> list[str]:
    parts: list[str] = []
    for tick in up.ticks:
        at = up.at(tick)
        parts += [_line(box.left, at, box.right, at), _text(box.left - 8, at + 4, up.said(tick), "end")]
    for tick in across.ticks:
        at = across.at(tick)
        parts += [
            _line(at, box.bottom, at, box.bottom + 5),
            _text(at, box.bottom + 18, across.said(tick), "middle"),
        ]
    middle = box.top + box.high / 2
    turned = f'transform="rotate(-90 16 {middle:.1f})"'
    parts += [
        f'<path class="axis" d="M{box.left},{box.top}V{box.bottom}H{box.right}"/>',
        _text((box.left + box.right) / 2, box.bottom + 36, across.axis.name, "middle"),
        f'<text x="16" y="{middle:.1f}" text-anchor="middle" {turned}>{escape(up.axis.name)}</text>',
    ]
    return parts


def _legend(box: _Box, series: Sequence[Series]) -> list[str]:
    parts: list[str] = []
    columns = _columns(series)
    for i, one in enumerate(series):
        x, y = box.left + (i % columns) * box.wide / columns, box.bottom + 56 + 20 * (i // columns)
        dashes, mark = _LOOKS[i]
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        if one.kind != "points":
            parts.append(f'<path class="s{i}"{dash} d="M{x:.1f},{y - 4:.1f}h26"/>')
        if one.kind != "steps":
            parts.append(_mark(mark, i, x + 13, y - 4))
        parts.append(_text(x + 32, y, one.name))
    return parts


def _columns(series: Sequence[Series]) -> int:
    """How many names of the legend stand side by side."""
    return 3 if max(len(one.name) for one in series) <= 18 else 2


_STYLE = """
  text { fill: #1f2328 } .title { font-weight: bold }
  .paper { fill: #ffffff } .quiet { fill: #afb8c1 }
  .grid { stroke: #d8dee4 } .axis { stroke: #5b636d; fill: none }
  .s0 { stroke: #0f5fae } .f0 { fill: #0f5fae }
  .s1 { stroke: #b34700 } .f1 { fill: #b34700 }
  .s2 { stroke: #00664a } .f2 { fill: #00664a }
  .s3 { stroke: #86378f } .f3 { fill: #86378f }
  .s4 { stroke: #5b636d } .f4 { fill: #5b636d }
  .s0, .s1, .s2, .s3, .s4 { stroke-width: 2; fill: none } .thin { stroke-width: 1.2 }
  .span { stroke-width: 7; opacity: 0.35 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .paper { fill: #0d1117 } .quiet { fill: #6e7681 }
    .grid { stroke: #30363d } .axis { stroke: #9198a1 }
    .s0 { stroke: #6cb6ff } .f0 { fill: #6cb6ff }
    .s1 { stroke: #f69d50 } .f1 { fill: #f69d50 }
    .s2 { stroke: #57c99a } .f2 { fill: #57c99a }
    .s3 { stroke: #dcbdfb } .f3 { fill: #dcbdfb }
    .s4 { stroke: #adbac7 } .f4 { fill: #adbac7 }
  }
"""


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="{SANS}" font-size="12">'
    )
    paper = '<rect class="paper" width="100%" height="100%"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", paper, *parts, "</svg>", ""])


def _text(x: float, y: float, said: str, anchor: str = "start", cls: str = "") -> str:
    look = f' class="{cls}"' if cls else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'
