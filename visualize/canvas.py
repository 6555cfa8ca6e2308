"""What both views of a net share: the graph's frame, places, single transitions, arcs, title and legend."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import graphviz

from provenet.nets.marking import Marking
from provenet.nets.net import Net, Place, Role, Transition
from provenet.visualize import html, words
from provenet.visualize.badges import Findings, badge, verdict_table
from provenet.visualize.labels import plain
from provenet.visualize.palette import LOOKS, PARTS, WHO, Family, Theme
from provenet.visualize.structure import Structure, ordinary_places

Direction = Literal["LR", "TB", "auto"]
Facts = Literal["off", "on"]
Inscriptions = Literal["off", "on"]

BIG = 260
"""Nodes from which a picture leaves out what would make it unreadable, and says so."""

# From here on, spring layouts take longer than layers.
_TANGLE = 1_000


@dataclass(frozen=True)
class Canvas:
    """One picture being drawn: the net and how it is to be shown."""

    net: Net
    shape: Structure
    found: Findings
    theme: Theme
    direction: Literal["LR", "TB"]
    marking: Marking | None
    facts: Facts
    inscriptions: Inscriptions
    nodes: int

    @property
    def big(self) -> bool:
        """Whether names are cut and details left out."""
        return self.nodes > BIG

    @cached_property
    def place_ids(self) -> dict[str, str]:
        """Node id of each place, whatever its name holds."""
        return {p.name: f"p{i}" for i, p in enumerate(self.net.places)}

    @cached_property
    def transition_ids(self) -> dict[str, str]:
        """Node id of each transition."""
        return {t.name: f"t{i}" for i, t in enumerate(self.net.transitions)}

    @cached_property
    def ordinary(self) -> frozenset[str]:
        """Places that hold ordinary work."""
        return ordinary_places(self.net, self.shape)

    @cached_property
    def sinks(self) -> frozenset[str]:
        """Places that so many contracts refuse into that their boxes name them; arcs would hide the rest."""
        sources: dict[str, set[str]] = {}
        for group in self.shape.groups:
            for t in group.transitions:
                if group.kind == "contract" and t.role in {Role.GIVE_UP, Role.FAIL}:
                    for put in t.puts:
                        sources.setdefault(put.place, set()).add(group.id)
        return frozenset(p for p, groups in sources.items() if len(groups) > 3)

    @cached_property
    def _tokens(self) -> dict[str, int]:
        if self.marking is not None:
            return {p: len(tokens) for p, tokens in self.marking.items()}
        return {p: len(tokens) for p, tokens in self.net.initial}

    def graph(self, kind: str) -> graphviz.Digraph:
        """An empty graph in this picture's style, with the title; ``kind`` says which view it is."""
        graph = graphviz.Digraph(
            "net",
            graph_attr={
                "rankdir": self.direction,
                "bgcolor": self.theme.paper,
                "fontname": "Arial",
                "pad": "0.25",
                "nodesep": "0.18" if self.big else "0.32",
                "ranksep": "0.3" if self.big or self.direction == "TB" else "0.42",
                "labelloc": "t",
                "labeljust": "l",
                "outputorder": "edgesfirst",
                "tooltip": plain(self.net.name or "net"),
            },
            node_attr={
                "fontname": "Arial",
                "fontsize": "10",
                "fontcolor": self.theme.ink,
                "color": self.theme.ink,
                "penwidth": "1.1",
            },
            edge_attr={
                "fontname": "Arial",
                "fontsize": "8.5",
                "fontcolor": self.theme.faint,
                "color": self.theme.ink,
                "arrowsize": "0.65",
                "penwidth": "1",
            },
        )
        if self.big:
            # Curves take most of the time there, and a big net without fragments has no direction to follow.
            graph.attr(splines="line")
            if not self.shape.groups and self.nodes < _TANGLE:
                graph.attr(layout="sfdp", overlap="prism", outputorder="edgesfirst")
        graph.attr(label=html.label(self._title(kind)))
        return graph

    def finish(self, graph: graphviz.Digraph, inner: graphviz.Digraph, kind: str) -> graphviz.Digraph:
        """Put the drawing above the verdicts and the legend."""
        inner.attr(
            label=html.label(self._below(kind)), labelloc="b", labeljust="l", peripheries="0", margin="4"
        )
        graph.subgraph(inner)
        return graph

    def place(
        self, graph: graphviz.Digraph, place: Place, *, group: str = "", sink: Literal["no", "yes"] = "no"
    ) -> None:
        """Draw a place: an ellipse with its name, its tokens, what is known of them, and what it collects."""
        name = place.label or words.short_name(place.name, group) or "·"
        tip = place.name + (f"\n{place.type}" if str(place.type) != "unit" else "")
        final = any(place.name == p for marking in self.net.finals for p, _ in marking)
        entry = any(e.place == place.name for e in self.net.entries)
        bad = self.found.refuted(place.name)
        attributes = {
            "shape": "ellipse",
            "style": "filled",
            "fillcolor": self.theme.paper,
            "margin": "0.03,0.02",
            "penwidth": "2.4" if bad else "1.8" if entry else "1.1",
            "color": self.theme.bad if bad else self.theme.ink,
            "peripheries": "2" if final else "1",
            "tooltip": plain(tip),
        }
        count = self._tokens.get(place.name, 0)
        if self.big:
            cut = words.cut(name)
            dots = f"{self._dots(count)}\n" if count else ""
            graph.node(
                self.place_ids[place.name],
                plain(dots + cut),
                fontsize="8",
                height="0.3",
                width="0.3",
                **attributes,
            )
            return
        lines = []
        if count:
            lines.append(html.font(html.text(self._dots(count)), size=13, colour=self.theme.dot))
        lines.append(
            html.font(html.text(name, width=16, limit=80), size=10, weight="bold" if entry or final else "")
        )
        of = "" if group else words.type_name(place.type)
        if of and of != name:
            lines.append(html.font(html.text(of, width=20, limit=60), size=8, colour=self.theme.faint))
        if sink == "yes":
            lines.append(
                html.font(
                    html.text("- -▶ of contracts that", width=40)
                    + "<BR/>"
                    + html.text(f"say → {name}", width=40, limit=60),
                    size=8,
                    colour=self.theme.fills[Family.REJECT],
                )
            )
        known = self.found.facts.get(place.name, ())[:4] if self.facts == "on" else ()
        lines += [
            html.font(html.text(fact, width=34, limit=400), size=8, colour=self.theme.good, slant="italic")
            for fact in known
        ]
        if stamp := badge(self.found, place.name, self.theme):
            lines.append(stamp)
        inner = (
            "<BR/>".join(lines)
            if not stamp
            else html.table(*(html.tr(html.td(line)) for line in lines), cellpadding=0)
        )
        graph.node(self.place_ids[place.name], html.label(inner), **attributes)

    def ends(self, graph: graphviz.Digraph) -> None:
        """Draw where a case begins: a filled dot before each entry place."""
        for i, entry in enumerate(self.net.entries):
            if entry.place in self.place_ids:
                graph.node(
                    f"in{i}",
                    "",
                    shape="circle",
                    style="filled",
                    fillcolor=self.theme.ink,
                    width="0.14",
                    fixedsize="true",
                    tooltip="a case starts here",
                )
                where = "" if entry.where is None or self.big else words.written(entry.where)
                graph.edge(f"in{i}", self.place_ids[entry.place], **self.said(where, slant="italic"))

    def said(self, words_of: str, *, slant: str = "") -> dict[str, str]:
        """Attributes of an arc that something is written on: whole as a tooltip, on a ground of its own."""
        if not words_of:
            return {}
        inner = html.font(html.text(words_of, width=26, limit=240), size=8, slant=slant)
        cell = html.td(inner, align="left", balign="left", bgcolor=self.theme.paper)
        # An empty cell keeps it off the arc that it belongs to: the layout puts it above, or to the right.
        gap = html.td("", width=4, height=4, cellpadding=0)
        rows = (html.tr(cell), html.tr(gap)) if self.direction == "LR" else (html.tr(gap, cell),)
        label = html.table(*rows, cellpadding=1)
        return {"label": html.label(label), "labeltooltip": plain(words_of)}

    def transition(self, graph: graphviz.Digraph, t: Transition, *, group: str = "") -> None:
        """Draw one transition in its role's shape and colour."""
        look, node = LOOKS[t.role], self.transition_ids[t.name]
        fill = self.theme.fills[look.family]
        ink = self.theme.text_on(fill)
        bad = self.found.refuted(t.name)
        outline = self.theme.bad if bad else self.theme.ink
        name = t.label or words.short_name(t.name, group) or "·"
        tip = plain(t.name)
        if self.big:
            cut = words.cut(name)
            graph.node(
                node,
                plain(cut),
                shape=look.shape if t.role is not Role.ROUTE else "box",
                style=look.style,
                fillcolor=fill,
                fontcolor=ink,
                fontsize="8",
                height="0.2",
                width="0.3",
                margin="0.04,0.02",
                color=outline,
                penwidth="2.4" if bad else "1",
                tooltip=tip,
            )
            return
        if t.role is Role.ROUTE:
            self._bar(graph, t, node, name, outline=outline, tip=tip)
            return
        lines = [html.font(html.text(look.tag.upper()), size=8, colour=ink, weight="bold")]
        if name.lower() not in {look.tag, str(t.role), str(t.role).replace("_", " ")}:
            lines.append(html.font(html.text(name, width=20, limit=80), size=9.5, colour=ink))
        if what := words.happens(t):
            lines.append(html.font(html.text(what, width=24, limit=80), size=8, colour=ink))
        lines += [
            html.font(html.text(line, width=34, limit=600), size=8, colour=ink, slant="italic")
            for line in self._conditions(t)
        ]
        if stop := words.cancels(t, self.ordinary):
            lines.append(html.font(html.text(f"✕ {stop}", width=18, limit=120), size=8, colour=ink))
        for told, sign in self.told(t):
            lines.append(
                html.font(
                    html.text(f"{sign} {told}", width=22, limit=80), size=7.5, colour=ink, slant="italic"
                )
            )
        stamp = badge(self.found, t.name, self.theme)
        inner = "<BR/>".join(lines)
        if stamp:
            inner = html.table(
                *(html.tr(html.td(line)) for line in lines), html.tr(html.td(stamp)), cellpadding=0
            )
        graph.node(
            node,
            html.label(inner),
            shape=look.shape,
            style=look.style,
            peripheries=str(look.rims),
            fillcolor=fill,
            fontcolor=ink,
            margin="0.2,0.06" if look.shape == "component" else "0.11,0.055",
            height="0.3",
            width="0.5",
            color=outline,
            penwidth="2.6" if bad else "1.1",
            tooltip=tip,
        )

    def _bar(
        self, graph: graphviz.Digraph, t: Transition, node: str, name: str, *, outline: str, tip: str
    ) -> None:
        """A route is a thin bar with its name beside it; arcs end at the bar."""
        across = self.direction == "LR"
        size = {"width": 7, "height": 34} if across else {"width": 44, "height": 7}
        bar = html.td("", port="bar", bgcolor=outline, fixedsize="true", **size)
        lines = [html.font(html.text(name, width=18, limit=80), size=9)]
        lines += [
            html.font(
                html.text(line, width=28, limit=600, most=3 if self.inscriptions == "off" else None),
                size=8,
                colour=self.theme.faint,
                slant="italic",
            )
            for line in self._conditions(t, always=True)
        ]
        if stop := words.cancels(t, self.ordinary):
            lines.append(
                html.font(html.text(f"✕ {stop}", width=24, limit=120), size=8, colour=self.theme.bad)
            )
        beside = html.td(
            "<BR/>".join(lines), balign="left" if not across else None, align="left" if not across else None
        )
        stamp = badge(self.found, t.name, self.theme)
        extra = [html.tr(html.td(stamp))] if stamp and across else []
        if across:
            inner = html.table(
                html.tr(html.td(html.table(html.tr(bar), cellpadding=0))),
                html.tr(beside),
                *extra,
                cellpadding=1,
            )
        else:
            cells = [
                html.td(html.table(html.tr(bar), cellpadding=0)),
                beside,
                *([html.td(stamp)] if stamp else []),
            ]
            inner = html.table(html.tr(*cells), cellpadding=1)
        graph.node(node, html.label(inner), shape="plain", tooltip=tip)

    def end_of(self, t: Transition, side: Literal["in", "out"]) -> str:
        """Where an arc touches a transition."""
        node = self.transition_ids[t.name]
        if t.role is not Role.ROUTE or self.big:
            return node
        sides = {"LR": {"in": "w", "out": "e"}, "TB": {"in": "n", "out": "s"}}
        return f"{node}:bar:{sides[self.direction][side]}"

    def told(self, t: Transition) -> list[tuple[str, str]]:
        """Arcs between a contract's step and its scope's state: written, since drawn they cross everything.

        Returns:
            Place and sign of each: taken, put back changed, put, or read.
        """
        group = self.shape.of_transition.get(t.name)
        if group is None or group.kind != "contract":
            return []
        taken, put = [a.place for a in t.takes], [p.place for p in t.puts]
        out: dict[str, str] = {}
        for place in (*taken, *put, *(r.place for r in t.reads)):
            holder = self.shape.of_place.get(place)
            if holder is not None and holder.kind == "saga":
                out[place] = (
                    "↔"
                    if place in taken and place in put
                    else "from"
                    if place in taken
                    else "to"
                    if place in put
                    else "reads"
                )
        return list(out.items())

    def _conditions(self, t: Transition, *, always: bool = False) -> list[str]:
        if not (always or self.inscriptions == "on"):
            return []
        out = [] if t.guard is None else [f"[{words.written(t.guard)}]"]
        if self.inscriptions == "on":
            out += [f"brings {f.var}: {f.type}" for f in t.fresh]
            out += [] if t.requires is None else [f"requires {words.written(t.requires)}"]
            out += [] if t.ensures is None else [f"ensures {words.written(t.ensures)}"]
        return out

    def _dots(self, count: int) -> str:
        return "●" * count if count <= 5 else f"● × {count:,}"

    def _title(self, kind: str) -> str:
        net = self.net
        counts = f"{kind} view   {len(net.places):,} places   {len(net.transitions):,} transitions"
        if n := sum(g.kind == "contract" for g in self.shape.groups):
            counts += f"   {n} contract{'s' if n > 1 else ''}"
        notes = []
        if self.big:
            notes.append(
                f"Large picture ({self.nodes:,} nodes): names are cut and details left out; "
                "the SVG shows whole names as tooltips."
            )
        if self.found.report is not None:
            counts += f"   net {self.found.report.net_hash.removeprefix('sha256:')[:8]}"
        return html.lines(
            html.font(html.text(net.name or "net", limit=120), size=15, weight="bold"),
            html.font(html.text(counts), size=9, colour=self.theme.faint),
            *(html.font(html.text(note, width=110), size=9, colour=self.theme.bad) for note in notes),
            html.font(" ", size=6),
        )

    def _below(self, kind: str) -> str:
        """Verdicts and legend."""
        rows = [html.tr(html.td("", height=10))]
        if self.found.report is not None and (verdicts := verdict_table(self.found.report, self.theme)):
            rows.append(html.tr(html.td(verdicts, align="left")))
        rows.append(html.tr(html.td(self._legend(kind), align="left")))
        return html.table(*rows, cellpadding=4)

    def _alone(self, t: Transition, kind: str) -> bool:
        """Whether a view draws a transition by itself, not within a box."""
        return kind == "expanded" or t.name not in self.shape.of_transition

    def _legend_tags(self, kind: str) -> dict[Family, list[str]]:
        """What is drawn in each family's colour: roles, and in the folded view the parts of boxes."""
        used: dict[Family, list[str]] = {}
        for group in self.shape.groups if kind == "folded" else ():
            for family, tag in PARTS[group.kind]:
                used.setdefault(family, []).append(tag)
        for t in self.net.transitions:
            if self._alone(t, kind) and (t.role is not Role.ROUTE or self.big):
                used.setdefault(LOOKS[t.role].family, []).append(LOOKS[t.role].tag)
        return used

    def _legend(self, kind: str) -> str:
        used = self._legend_tags(kind)
        cells = []
        for family in (f for f in Family if f in used):
            fill, tags = self.theme.fills[family], dict.fromkeys(used[family])
            swatch = html.font(
                html.text(", ".join(tags), width=32), size=8, colour=self.theme.text_on(fill), weight="bold"
            )
            meaning = html.font(html.text(WHO[family]), size=8.5, colour=self.theme.faint)
            cells.append(
                html.td(swatch, bgcolor=fill, border=1, color=self.theme.ink)
                + html.td(meaning, align="left")
                + html.td("", width=14)
            )
        rows = [html.tr(*cells[i : i + 2]) for i in range(0, len(cells), 2)]
        arcs = "● token     ◎ a case ends here     ▬▶ takes or puts     - -● reads"
        if any(t.role is Role.ROUTE and self._alone(t, kind) for t in self.net.transitions):
            arcs += "     ▬ a route: fires by itself"
        if kind == "folded" and self.shape.groups:
            arcs += "     - -▶ rejected or failed"
        if kind == "expanded" and any(self.told(t) for t in self.net.transitions):
            arcs += "     ↔ a scope's state: written, not drawn"
        key = html.td(html.font(html.text(arcs), size=8.5, colour=self.theme.faint), align="left", colspan=6)
        return html.table(*rows, html.tr(key), cellpadding=2, cellspacing=2)
