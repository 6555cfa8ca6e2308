"""The expanded view: every place and transition, fragments as clusters."""

from __future__ import annotations

import graphviz

from provenet.nets.net import Put, Read, Role, Take, Transition
from provenet.visualize import html, words
from provenet.visualize.badges import badge
from provenet.visualize.canvas import Canvas
from provenet.visualize.structure import Group

_KINDS = {"contract": "contract", "saga": "saga scope", "human": "human task"}
# These run against the flow, so they are laid out backwards: an undo then lies below the step that it undoes.
_BACKWARD = frozenset((Role.RETRY, Role.UNWIND, Role.COMPENSATE, Role.DISCHARGE))


def expanded(canvas: Canvas) -> graphviz.Digraph:
    """Draw the expanded view."""
    outer = canvas.graph("expanded")
    graph = graphviz.Digraph("cluster_net")
    canvas.ends(graph)
    net, shape = canvas.net, canvas.shape
    for i, group in enumerate(shape.groups):
        with graph.subgraph(name=f"cluster_{i}") as box:
            _cluster(canvas, box, group)
    for place in net.places:
        if place.name not in shape.of_place:
            canvas.place(graph, place)
    attached = {t.name for group in shape.groups for t in _attached(canvas, group)}
    for t in net.transitions:
        if t.name not in shape.of_transition and t.name not in attached:
            canvas.transition(graph, t)
    for t in net.transitions:
        _arcs(canvas, graph, t)
    return canvas.finish(outer, graph, "expanded")


def _cluster(canvas: Canvas, box: graphviz.Digraph, group: Group) -> None:
    theme = canvas.theme
    title = html.font(html.text(group.id or "·", limit=80), size=11, weight="bold")
    title += html.font(html.text(f"  {_KINDS[group.kind]}"), size=9, colour=theme.faint)
    stamp = badge(canvas.found, f"group:{group.id}", theme)
    cells = [html.td(title), *([html.td(stamp)] if stamp else [])]
    bad = canvas.found.refuted(f"group:{group.id}")
    tint = dict(zip(("contract", "saga", "human"), theme.tints, strict=True))[group.kind]
    box.attr(
        label=html.label(html.table(html.tr(*cells), bgcolor=tint)),
        labelloc="t",
        labeljust="l",
        style="rounded,filled",
        fillcolor=tint,
        color=theme.bad if bad else theme.faint,
        penwidth="2.4" if bad else "0.8",
        margin="8",
    )
    for name in group.interior:
        canvas.place(box, canvas.net.place(name), group=group.id)
    for t in (*group.transitions, *_attached(canvas, group)):
        canvas.transition(box, t, group=group.id)


def _attached(canvas: Canvas, group: Group) -> list[Transition]:
    """Transitions that begin or end a scope: the folded view draws them beside its box, this one inside."""
    if group.kind != "saga":
        return []
    return [
        t
        for t in canvas.net.transitions
        if t.contract == group.id and t.name not in canvas.shape.of_transition
    ]


def _arcs(canvas: Canvas, graph: graphviz.Digraph, t: Transition) -> None:
    backward = t.role in _BACKWARD and t.name in canvas.shape.of_transition
    into, out = canvas.end_of(t, "in"), canvas.end_of(t, "out")
    told = {place for place, _ in canvas.told(t)}
    # A place that is taken from and put back into is one line with two heads.
    both = {a.place for a in t.takes} & {p.place for p in t.puts} if canvas.inscriptions == "off" else set()
    for take in t.takes:
        if take.place in told:
            continue
        place, said = canvas.place_ids[take.place], _said(canvas, take)
        if take.place in both:
            graph.edge(place, into, **said, dir="both")
        elif backward:
            graph.edge(into, place, **said, dir="back")
        else:
            graph.edge(place, into, **said)
    for read in t.reads:
        if read.place not in told:
            said = _said(canvas, read)
            graph.edge(canvas.place_ids[read.place], into, style="dashed", arrowhead="dot", **said)
    for put in t.puts:
        if put.place in told or put.place in both:
            continue
        place, said = canvas.place_ids[put.place], _said(canvas, put)
        if backward:
            graph.edge(place, out, **said, dir="back")
        else:
            graph.edge(out, place, **said)


def _said(canvas: Canvas, arc: Take | Read | Put) -> dict[str, str]:
    parts = [f"{arc.weight}×"] if arc.weight != 1 else []
    if canvas.inscriptions == "on" and not canvas.big:
        parts.append(
            (words.written(arc.expr) if arc.expr else "") if isinstance(arc, Put) else (arc.var or "")
        )
    return canvas.said(" ".join(part for part in parts if part))
