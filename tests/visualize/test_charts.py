"""Charts: what is measured lies where the axis says, is named, and reads on light and dark pages."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.visualize.backend import convert
from provenet.visualize.charts import Axis, Point, Series, bars, curves, over_size, over_time, shares

SVG = "{http://www.w3.org/2000/svg}"

CURVES = curves(
    "Departures",
    Axis("shift", percent="yes"),
    Axis("share of cases", low=0, high=1, percent="yes"),
    [
        Series("P3 <events>", (Point(0, 0.1, 0.0, 0.3), Point(0.5, 0.4, 0.3, 0.5), Point(1, 0.9, 0.8, 1.0))),
        Series("P5", (Point(0, 0.0), Point(0.5, 0.25), Point(1, 0.5))),
    ],
)


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def words(svg: str) -> list[str]:
    return [t.text or "" for t in drawn(svg).iter(f"{SVG}text")]


def path(svg: str, number: int) -> list[tuple[float, float]]:
    (line,) = [p for p in drawn(svg).iter(f"{SVG}polyline") if p.get("class") == f"s{number}"]
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def at_tick(svg: str, name: str) -> tuple[float, float]:
    (tick,) = [t for t in drawn(svg).iter(f"{SVG}text") if t.text == name and t.get("text-anchor") == "end"]
    return float(tick.attrib["x"]), float(tick.attrib["y"]) - 4


def test_axes_and_series_are_named() -> None:
    assert {"Departures", "shift", "share of cases", "P3 <events>", "P5", "40%", "100%"} <= {*words(CURVES)}


def test_points_lie_where_the_axis_says() -> None:
    ys = [y for _, y in path(CURVES, 1)]
    assert ys[0] == pytest.approx(at_tick(CURVES, "0%")[1])
    assert ys[1] == pytest.approx((at_tick(CURVES, "20%")[1] * 3 + at_tick(CURVES, "40%")[1]) / 4)
    xs = [x for x, _ in path(CURVES, 0)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])


def test_whiskers_span_their_interval() -> None:
    whisker = next(p for p in drawn(CURVES).iter(f"{SVG}path") if p.get("class") == "s0 thin")
    ends = re.match(r"M[\d.]+,([\d.]+)V([\d.]+)", whisker.attrib["d"])
    assert ends
    low, high = (float(e) for e in ends.groups())
    assert low == pytest.approx(at_tick(CURVES, "0%")[1])
    assert high == pytest.approx((at_tick(CURVES, "20%")[1] + at_tick(CURVES, "40%")[1]) / 2)


def test_series_differ_by_more_than_colour() -> None:
    lines = list(drawn(CURVES).iter(f"{SVG}polyline"))
    assert len({p.get("stroke-dasharray") for p in lines}) == len(lines)
    assert list(drawn(CURVES).iter(f"{SVG}circle"))
    assert len(list(drawn(CURVES).iter(f"{SVG}rect"))) == 1 + 3 + 1  # paper, marks, legend


@pytest.mark.parametrize(
    "svg",
    [
        CURVES,
        shares("Cases", [("decisions", 0.4, 0.3, 0.5, "24 of 60"), ("outcome", 0.0, 0.0, 0.06, "0 of 60")]),
        bars("rate", [("*ours", 3511, "all"), ("theirs", 20, "")]),
        over_size("size", [(10, 1.0, "a"), (1000, 0.9, "b")]),
        over_time([0, 30, 60], [("MB", [50, 51, 50]), ("ms", [1, 2, 1])]),
    ],
)
def test_each_follows_the_page_and_becomes_a_picture(svg: str) -> None:
    style = drawn(svg).find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme: dark" in (style.text or "")
    light, _, dark = (style.text or "").partition("@media")
    looks = {c for e in drawn(svg).iter() for c in e.get("class", "").split()}
    assert looks
    for name in looks - {"title", "thin", "span"}:
        assert f".{name}" in light
        assert f".{name}" in dark
    assert convert(svg.encode(), format="png").startswith(b"\x89PNG")


def test_what_cannot_be_read_is_not_drawn() -> None:
    axis = Axis("x")
    with pytest.raises(ValueError, match="cannot be read"):
        curves("t", axis, axis, [])
    with pytest.raises(ValueError, match="6 series"):
        curves("t", axis, axis, [Series("s", (Point(0, 0),))] * 6)


amounts = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=20))
def test_nothing_is_drawn_outside_the_picture(points: list[tuple[float, float]]) -> None:
    made = curves("t", Axis("x"), Axis("y"), [Series("s", tuple(Point(x, y) for x, y in sorted(points)))])
    root = drawn(made)
    for x, y in path(made, 0):
        assert 0 <= x <= float(root.attrib["width"])
        assert 0 <= y <= float(root.attrib["height"])
