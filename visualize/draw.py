"""Drawing a net: `draw` makes the graph, `render_net` a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import graphviz

from provenet.nets.marking import Marking
from provenet.nets.net import Net
from provenet.visualize.backend import Format, render
from provenet.visualize.badges import findings
from provenet.visualize.canvas import Canvas, Direction, Facts, Inscriptions
from provenet.visualize.errors import RenderError
from provenet.visualize.expanded import expanded
from provenet.visualize.folded import folded
from provenet.visualize.palette import COLOUR, Theme
from provenet.visualize.structure import structure

if TYPE_CHECKING:
    from provenet.verify.verdict import Report

View = Literal["folded", "expanded"]

MOST_NODES = 6_000
"""Nodes above which no layout is readable or done in time."""

# Above these, a picture that flows to the right is wider than any screen or page.
_SMALL: dict[View, int] = {"folded": 16, "expanded": 60}


def draw(
    net: Net,
    *,
    view: View = "folded",
    report: Report | None = None,
    marking: Marking | None = None,
    facts: Facts = "off",
    inscriptions: Inscriptions = "off",
    direction: Direction = "auto",
    theme: Theme = COLOUR,
) -> graphviz.Digraph:
    """Draw a net as a graph.

    Args:
        net: The net.
        view: ``folded`` draws each contract, saga scope and human task as one box; ``expanded``
            draws every place and transition.
        report: Verdicts to show: badges, outlines of what is refuted, and a table.
        marking: A live case's tokens; without one, the tokens that every case starts with.
        facts: ``on`` writes under each place what the report's proofs know of every token there.
        inscriptions: ``on`` writes guards and what arcs carry.
        direction: ``LR`` flows to the right, ``TB`` downward; ``auto`` takes the first for a
            small net, which then fits a screen.
        theme: Colours.

    Returns:
        The graph; its node ids are generated, so a net's names are only ever labels.

    Raises:
        RenderError: An option is unknown, or the net is too big to be drawn.
    """
    for value, allowed in (
        (view, ("folded", "expanded")),
        (facts, ("off", "on")),
        (inscriptions, ("off", "on")),
        (direction, ("LR", "TB", "auto")),
    ):
        if value not in allowed:
            raise RenderError(
                f"no such choice: {value!r}", stage="input", hint="choose " + " or ".join(allowed)
            )
    shape = structure(net)
    nodes = len(net.places) + len(net.transitions)
    if view == "folded":
        nodes += len(shape.groups) - len(shape.of_place) - len(shape.of_transition)
    if nodes > MOST_NODES:
        raise RenderError(
            f"net {net.name!r} has {nodes:,} nodes in this view, at most {MOST_NODES:,} are drawn",
            stage="input",
            hint="draw the folded view, or a part of the net"
            if view == "expanded"
            else "draw a part of the net",
        )
    flow: Literal["LR", "TB"] = direction if direction != "auto" else "LR" if nodes <= _SMALL[view] else "TB"
    canvas = Canvas(
        net, shape, findings(net, shape, report), theme, flow, marking, facts, inscriptions, nodes
    )
    return folded(canvas) if view == "folded" else expanded(canvas)


def render_net(
    net: Net,
    *,
    format: Format = "svg",  # noqa: A002 - the graphviz package's name for it
    view: View = "folded",
    report: Report | None = None,
    marking: Marking | None = None,
    facts: Facts = "off",
    inscriptions: Inscriptions = "off",
    direction: Direction = "auto",
    theme: Theme = COLOUR,
    timeout: float = 60.0,
) -> bytes:
    """Draw a net as a file; arguments as for `draw` and `provenet.visualize.backend.render`.

    Returns:
        The bytes of one self-contained SVG, PNG or PDF.

    Raises:
        RenderError: The net could not be drawn.
    """
    graph = draw(
        net,
        view=view,
        report=report,
        marking=marking,
        facts=facts,
        inscriptions=inscriptions,
        direction=direction,
        theme=theme,
    )
    return render(graph, format=format, timeout=timeout)
