"""The gate map: proposals on the left, effects on the right, and in the middle what stands between them.

Each boundary of a score is one line through the gates of its weakest way. A line is solid and dark where a
verifier stands on it, dashed where it is checked only in passing, and dotted, thick and red where nothing
looks at what was proposed. A gate says how much it asks: its strength is a word in its box, and never only a
colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import graphviz

from provenet.nets.net import Net
from provenet.visualize.backend import Format, render
from provenet.visualize.errors import RenderError
from provenet.visualize.html import wrap
from provenet.visualize.labels import plain
from provenet.visualize.palette import COLOUR, Family, Theme

if TYPE_CHECKING:
    from provenet.verify.boundary import Boundary, Score

MOST_BOUNDARIES = 400
"""More are no picture that anybody reads."""

_LINES = {"explicit": "solid", "implicit": "dashed", "missing": "dotted"}
_SHAPES = {"model": "hexagon", "event": "component", "person": "house"}
_FAMILIES = {"model": Family.MODEL, "event": Family.OUTSIDE, "person": Family.HUMAN}


def gate_map(net: Net, score: Score, *, theme: Theme = COLOUR) -> graphviz.Digraph:
    """Draw the boundaries of a net as a graph.

    Args:
        net: The net.
        score: Its score.
        theme: Colours.

    Raises:
        RenderError: There are too many of them.
    """
    shown = [*score.boundaries, *score.people]
    if len(shown) > MOST_BOUNDARIES:
        raise RenderError(
            f"net {net.name!r} has {len(shown):,} boundaries, at most {MOST_BOUNDARIES} are drawn",
            stage="input",
            hint="look at them with --json",
        )
    return _Map(net, score, theme).draw(shown)


def render_gates(
    net: Net,
    score: Score,
    *,
    format: Format = "svg",  # noqa: A002 - the graphviz package's name for it
    theme: Theme = COLOUR,
    timeout: float = 60.0,
) -> bytes:
    """Draw the gate map as a file; arguments as for ``gate_map`` and ``render``."""
    return render(gate_map(net, score, theme=theme), format=format, timeout=timeout)


class _Map:
    """One map under construction."""

    def __init__(self, net: Net, score: Score, theme: Theme) -> None:
        self.net, self.score, self.theme = net, score, theme
        self.ids: dict[tuple[str, str], str] = {}
        self.graph = graphviz.Digraph(
            "gates",
            graph_attr={
                "rankdir": "LR",
                "bgcolor": theme.paper,
                "fontname": "Arial",
                "fontsize": "13",
                "fontcolor": theme.ink,
                "pad": "0.25",
                "nodesep": "0.28",
                "ranksep": "0.75",
                "labelloc": "t",
                "labeljust": "l",
                "tooltip": plain(net.name or "net"),
                "label": plain(self._title()),
            },
            node_attr={"fontname": "Arial", "fontsize": "10", "style": "filled", "penwidth": "1.1"},
            edge_attr={"fontname": "Arial", "fontsize": "9", "arrowsize": "0.7"},
        )

    def draw(self, shown: list[Boundary]) -> graphviz.Digraph:
        """All of it."""
        proposals = dict.fromkeys((b.proposal, b.by, b.kind) for b in shown)
        effects = {m.done_by: m for m in self.score.meanings}
        with self.graph.subgraph() as left:
            left.attr(rank="source")
            for proposal, by, kind in proposals:
                self._node(left, "proposal", proposal, f"{by}\n{kind}", _SHAPES[kind], _FAMILIES[kind])
        with self.graph.subgraph() as right:
            right.attr(rank="sink")
            for name, meaning in effects.items():
                wrong = f"\n{', '.join(meaning.broken)} refuted" if meaning.broken else ""
                belongs = f"\n{meaning.contract or name}"
                edge = self.theme.bad if wrong else self.theme.ink
                label = f"{meaning.effect}{belongs}{wrong}"
                self._node(right, "effect", name, label, "cylinder", Family.COMMIT, edge)
        drawn: set[tuple[str, str, str]] = set()
        for b in shown:
            self._line(b, drawn)
        return self.graph

    def _line(self, b: Boundary, drawn: set[tuple[str, str, str]]) -> None:
        """One boundary: from its proposal, through what checks and approves it, to its effect."""
        at, presence = self.ids["proposal", b.proposal], str(b.way.presence)
        checks = {c.transition: c for c in b.way.checks if c.strength}
        stops: list[str] = []
        for step in b.way.steps:
            t = self.net.transition(step)
            if step in checks:
                c = checks[step]
                policy = next((i.policy for i in self.net.contracts if i.id == c.at), "")
                label = "\n".join(x for x in (c.at, policy, str(c.strength)) if x)
                family = Family.POLICY if str(c.presence) == "explicit" else Family.PLUMBING
                shape = "box" if str(c.presence) == "explicit" else "note"
                stops.append(self._node(self.graph, "gate", c.at, label, shape, family))
            elif (t.contract or t.name) in b.way.approved and str(t.role) == "approve":
                task = t.contract or t.name
                stops.append(
                    self._node(self.graph, "person", task, f"{task}\na person", "house", Family.HUMAN)
                )
        for stop in [*dict.fromkeys(stops), self.ids["effect", b.done_by]]:
            if (at, stop, presence) not in drawn:
                drawn.add((at, stop, presence))
                self._edge(at, stop, presence, b.way.reach)
            at = stop

    def _edge(self, tail: str, head: str, presence: str, reach: str) -> None:
        bad = presence == "missing"
        label = "nothing in between" if bad else "decides it" if reach == "decision" else ""
        self.graph.edge(
            tail,
            head,
            style=_LINES[presence],
            color=self.theme.bad if bad else self.theme.ink,
            penwidth="2.6" if bad else "1.2",
            label=plain(label) if label else "",
            fontcolor=self.theme.bad if bad else self.theme.faint,
            tooltip=plain(presence),
        )

    def _node(
        self,
        graph: graphviz.Digraph,
        kind: str,
        name: str,
        label: str,
        shape: str,
        family: Family,
        edge: str = "",
    ) -> str:
        """The id of a node, drawn where it was not yet."""
        if (kind, name) not in self.ids:
            self.ids[kind, name] = f"n{len(self.ids)}"
            fill = self.theme.fills[family]
            lines = [line for part in label.split("\n") for line in wrap(part, 26)]
            graph.node(
                self.ids[kind, name],
                plain("\n".join(lines)),
                shape=shape,
                fillcolor=fill,
                fontcolor=self.theme.text_on(fill),
                color=edge or self.theme.ink,
                tooltip=plain(name),
            )
        return self.ids[kind, name]

    def _title(self) -> str:
        counts = {p: sum(str(b.way.presence) == p for b in self.score.boundaries) for p in _LINES}
        said = ", ".join(f"{n} {p}" for p, n in counts.items() if n) or "no proposal reaches an effect"
        return f"{self.net.name}: {said}\nproposals, what checks them, effects"
