"""Small pictures of measurements: bars, a curve over a size, curves over time. Plain SVG, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, QUIET, GRID = "#1f6feb", "#afb8c1", "#d0d7de"


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

    parts = [_text(10, 20, title, weight="bold")]
    for power in range(low, high + 1):
        at = x(10**power)
        parts += [_line(at, at, top - 6, height - 16), _text(at, height - 4, f"{10**power:,}", "middle")]
    for i, (name, amount, word) in enumerate(rows):
        y, colour = top + step * i, INK if name.startswith("*") else QUIET
        parts += [
            _text(left - 8, y + 12, name.removeprefix("*"), "end"),
            f'<rect x="{left}" y="{y}" width="{x(amount) - left:.1f}" height="16" fill="{colour}"/>',
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
            _line(left, width - 10, y(level), y(level)),
            _text(left - 8, y(level) + 4, f"{level:.1f}", "end"),
        ]
    path = " ".join(f"{x(size):.1f},{y(ratio):.1f}" for size, ratio, _ in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="2"/>')
    for size, ratio, word in points:
        parts += [
            f'<circle cx="{x(size):.1f}" cy="{y(ratio):.1f}" r="4" fill="{INK}"/>',
            _text(x(size), y(ratio) - 10, word, "middle"),
            _text(x(size), height - 28, f"{size:,}", "middle"),
        ]
    return _svg(width, height, [*parts, _text(width / 2, height - 8, title, "middle")])


def over_time(seconds: Sequence[float], curves: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Curves over the same moments, one below the other, each from zero."""
    wide, high, left = 720, 110, 60
    height = (high + 40) * len(curves) + 26
    longest = max(seconds, default=1)
    parts = []
    for number, (name, values) in enumerate(curves):
        top, most = 30 + number * (high + 40), max([*values, 1e-9]) * 1.1
        points = " ".join(
            f"{left + wide * at / longest:.1f},{top + high * (1 - value / most):.1f}"
            for at, value in zip(seconds, values, strict=True)
        )
        parts += [
            _text(left, top - 8, name),
            _text(left - 6, top + 10, f"{most:.0f}", "end"),
            _text(left - 6, top + high, "0", "end"),
            f'<path d="M{left},{top}v{high}h{wide}" fill="none" stroke="{QUIET}"/>',
            f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="2"/>',
        ]
    minutes = _text(left + wide, height - 8, f"{longest / 60:.0f} minutes", "end")
    return _svg(wide + left + 20, height, [*parts, minutes])


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _text(x: float, y: float, said: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(said)}</text>'
    )


def _line(x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'
