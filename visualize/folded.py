"""The folded view: one box for each contract, scope and human task; what a design review looks at."""

from __future__ import annotations

from collections.abc import Iterator

import graphviz

from provenet.nets.net import (
    After,
    Choice,
    ContractInfo,
    Judge,
    OnFailure,
    Perform,
    Role,
    Transition,
)
from provenet.visualize import html, words
from provenet.visualize.badges import badge
from provenet.visualize.canvas import Canvas
from provenet.visualize.labels import plain
from provenet.visualize.palette import LOOKS, Family
from provenet.visualize.structure import Group

_RULES = 6
# Which row of a contract's box an arc leaves from, and how it is drawn.
_PORTS = {
    Role.COMMIT: "commit",
    Role.GIVE_UP: "reject",
    Role.FAIL: "fail",
    Role.ABORTED: "aborted",
    Role.COMPLETE: "completed",
}


def folded(canvas: Canvas) -> graphviz.Digraph:
    """Draw the folded view."""
    outer = canvas.graph("folded")
    graph = graphviz.Digraph("cluster_net")
    canvas.ends(graph)
    net, shape = canvas.net, canvas.shape
    boxes = {g.id: f"g{i}" for i, g in enumerate(shape.groups)}
    for place in net.places:
        if place.name not in shape.of_place:
            canvas.place(graph, place, sink="yes" if place.name in canvas.sinks else "no")
    for group in shape.groups:
        inner = {"contract": _contract, "saga": _saga, "human": _human}[group.kind](canvas, group)
        graph.node(boxes[group.id], html.label(inner), shape="plain", tooltip=plain(group.id))
    for t in net.transitions:
        if t.name not in shape.of_transition:
            canvas.transition(graph, t)
    drawn: set[tuple[str, str, str]] = set()
    told = canvas.sinks
    for t in net.transitions:
        for tail, head, label, style in _arcs(canvas, t, boxes, told):
            if (tail, head, label) not in drawn:
                drawn.add((tail, head, label))
                graph.edge(tail, head, **canvas.said(label), **style)
    return canvas.finish(outer, graph, "folded")


def _arcs(
    canvas: Canvas, t: Transition, boxes: dict[str, str], told: frozenset[str]
) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Arcs of one transition, from or to the box that it is folded into."""
    group = canvas.shape.of_transition.get(t.name)
    side_in = "w" if canvas.direction == "LR" else "n"
    if group is not None:
        node = boxes[group.id]
        port = _port(group, t)
        # Where it leaves its part is left to the layout: a side of ours makes it loop when it goes elsewhere.
        into, out = f"{node}:in:{side_in}", f"{node}:{port}" if port else node
    else:
        into, out = canvas.end_of(t, "in"), canvas.end_of(t, "out")
    refused = t.role in {Role.GIVE_UP, Role.FAIL}
    style = {"color": canvas.theme.fills[Family.REJECT], "style": "dashed"} if refused else {}
    put_into = {canvas.shape.of_place[p.place].id for p in t.puts if p.place in canvas.shape.of_place}
    both = {a.place for a in t.takes} & {p.place for p in t.puts} if group is None else set()
    for arc in t.takes:
        holder = canvas.shape.of_place.get(arc.place)
        weight = f"{arc.weight}×" if arc.weight != 1 else ""
        if holder is None:
            yield canvas.place_ids[arc.place], into, weight, {"dir": "both"} if arc.place in both else {}
        elif group is None and holder.id not in put_into:
            yield boxes[holder.id], into, weight, {}
    for read in t.reads:
        holder = canvas.shape.of_place.get(read.place)
        weight = f"{read.weight}×" if read.weight != 1 else ""
        tail = canvas.place_ids[read.place] if holder is None else boxes[holder.id]
        if holder is None or holder is not group:
            yield tail, into, weight, {"style": "dashed", "arrowhead": "dot"}
    for put in t.puts:
        holder = canvas.shape.of_place.get(put.place)
        weight = f"{put.weight}×" if put.weight != 1 else ""
        if refused and group is not None and group.kind == "contract" and put.place in told:
            continue
        if holder is None and put.place not in both:
            yield out, canvas.place_ids[put.place], weight, style
        elif holder is not None and group is None:
            yield out, f"{boxes[holder.id]}:in:{side_in}", weight, {}


def _port(group: Group, t: Transition) -> str:
    if group.kind == "human":
        return f"c{_outcome(group, t)}"
    if t.role is Role.FAIL and not any(o.role is Role.COMMIT for o in group.transitions):
        return ""
    return _PORTS.get(t.role, "")


# contracts


def _contract(canvas: Canvas, group: Group) -> str:
    """A contract: who proposes, what verifies, what commits, where a reject goes."""
    info = next((c for c in canvas.net.contracts if c.id == group.id), None)
    parts = [
        (Family.MODEL, "PROPOSE", "propose", _propose(group, info)),
        (Family.POLICY, "VERIFY", "verify", _verify(group, info)),
        (Family.COMMIT, "COMMIT", "commit", _commit(group, info)),
        (Family.REJECT, "REJECT", "reject", _reject(group, info)),
    ]
    failing = [t for t in group.transitions if t.role is Role.FAIL]
    tag = "contract" + (f", step of {info.saga}" if info and info.saga else "")
    if canvas.direction == "LR":
        rows = []
        for family, name, port, lines in parts:
            rows += [
                html.RULE,
                html.tr(_part_name(canvas, family, name), _part_text(canvas, lines, 30, port)),
            ]
        if failing:
            rows += [
                html.RULE,
                html.tr(
                    _part_name(canvas, Family.REJECT, "FAIL"),
                    _part_text(canvas, _failing(canvas, failing), 30, "fail"),
                ),
            ]
        return _box(canvas, group, tag, 2, *rows)
    if failing:
        parts.append((Family.REJECT, "FAIL", "fail", _failing(canvas, failing)))
    names = html.tr(*(_part_name(canvas, family, name) for family, name, _, _ in parts))
    # The verifier's rules are the longest text, and the one that a review is about.
    widths = [30 if name == "VERIFY" else 21 for _, name, _, _ in parts]
    heads = html.tr(
        *(
            html.td(_headline(canvas, lines, width), align="left", balign="left", valign="top")
            for (_, _, _, lines), width in zip(parts, widths, strict=True)
        )
    )
    texts = html.tr(
        *(
            html.td(_details(canvas, lines, width), port=port, align="left", balign="left", valign="top")
            for (_, _, port, lines), width in zip(parts, widths, strict=True)
        )
    )
    return _box(canvas, group, tag, len(parts), names, heads, texts)


def _propose(group: Group, info: ContractInfo | None) -> list[str]:
    asks = [t for t in group.transitions if t.role is Role.PROPOSE]
    of = words.type_name(info.proposal) if info else ""
    if not asks:
        return [f"nobody: the {of or 'input'} as it stands"]
    lines = [f"may say any {of}" if of else "may say anything"]
    for t in asks:
        handler, timeout = getattr(t.trigger, "handler", ""), getattr(t.trigger, "timeout", None)
        if handler and handler != f"{group.id}.propose":
            lines.append(handler)
        if timeout is not None:
            lines.append(f"within {words.duration(timeout)}")
    return lines


def _verify(group: Group, info: ContractInfo | None) -> list[str]:
    judges = [t.trigger.handler for t in group.transitions if isinstance(t.trigger, Judge)]
    if judges:
        return [f"function {judges[0]}", "(opaque to the prover)"]
    if info is None or not info.rules:
        checks = any(t.role is Role.ACCEPT for t in group.transitions)
        return [
            f"policy {info.policy}"
            if info and info.policy
            else "the guard of accept"
            if checks
            else "nothing!"
        ]
    rules = words.rules(info)
    more = [f"and {len(rules) - _RULES} more rules"] if len(rules) > _RULES else []
    return [info.policy or "rules", *(f"· {r}" for r in rules[:_RULES]), *more]


def _commit(group: Group, info: ContractInfo | None) -> list[str]:
    commits = [t for t in group.transitions if t.role is Role.COMMIT]
    if not commits:
        return ["nothing is written"]
    lines: list[str] = []
    for t in commits:
        if isinstance(t.trigger, Perform):
            lines += [
                t.trigger.handler,
                "outside, with a key" if t.trigger.external else "in the database, once",
            ]
        else:
            lines += ["no effect", "passes the token on"]
    if info and info.undo:
        lines.append(f"↩ undo {info.undo}")
    if info and info.irreversible:
        lines.append("⚠ cannot be undone")
    return lines


def _reject(group: Group, info: ContractInfo | None) -> list[str]:
    targets = dict.fromkeys(p.place for t in group.transitions if t.role is Role.GIVE_UP for p in t.puts)
    there = f"→ {', '.join(targets)}" if targets else "goes nowhere!"
    if info and any(t.role is Role.RETRY for t in group.transitions):
        return [f"{info.attempts} attempt{'s' if info.attempts != 1 else ''}, then", there]
    return [there]


def _failing(canvas: Canvas, failing: list[Transition]) -> list[str]:
    puts = (p.place for t in failing for p in t.puts if p.place not in canvas.shape.of_place)
    return ["fails for good", f"→ {', '.join(dict.fromkeys(puts))}"]


# scopes and people


def _saga(canvas: Canvas, group: Group) -> str:
    """A saga scope: its steps in the net's order, each with what undoes it."""
    steps = [c for c in canvas.net.contracts if c.saga == group.id]
    rows = []
    for i, step in enumerate(steps[:12], 1):
        undo = (
            f"↩ {step.undo}"
            if step.undo
            else "⚠ cannot be undone"
            if step.irreversible
            else "nothing to undo"
        )
        rows.append(
            html.tr(
                html.td(
                    html.font(html.text(f"{i}  {step.id}", width=30), size=9), align="left", balign="left"
                ),
                html.td(html.font(html.text(undo, width=28), size=9), align="left", balign="left"),
            )
        )
    if len(steps) > 12:
        rows.append(
            html.tr(
                html.td(
                    html.font(html.text(f"and {len(steps) - 12} more steps"), size=9), align="left", colspan=2
                )
            )
        )
    across = canvas.direction == "LR"
    cells = []
    for t in group.transitions:
        if t.role in {Role.ABORTED, Role.COMPLETE}:
            said = (
                "aborted: every step is undone, last first"
                if t.role is Role.ABORTED
                else "completed: what was committed stays"
            )
            words_of = html.font(html.text(said, width=48 if across else 20), size=8.5, slant="italic")
            cells.append(
                html.td(
                    words_of, port=_PORTS[t.role], align="left", balign="left", colspan=2 if across else None
                )
            )
    ends = (
        [piece for c in cells for piece in (html.RULE, html.tr(c))]
        if across
        else [html.RULE, html.tr(*cells)]
        if cells
        else []
    )
    return _box(canvas, group, "saga scope", 2, *([html.RULE] if rows else []), *rows, *ends)


def _human(canvas: Canvas, group: Group) -> str:
    """A human task: who decides on what, the choices, and what happens when nobody does."""
    choices = [t for t in group.transitions if isinstance(t.trigger, Choice)]
    triggers = [t.trigger for t in choices if isinstance(t.trigger, Choice)]
    who = words.deciders(triggers[0]) if triggers else "anybody"
    eyes = max((t.eyes for t in triggers), default=1)
    who = f"{who}: {eyes} people decide" if eyes > 1 else f"{who} decides"
    across = canvas.direction == "LR"
    outcomes = []
    for key in dict.fromkeys(_outcome(group, t) for t in group.transitions):
        same = [t for t in group.transitions if _outcome(group, t) == key]
        said = f"{LOOKS[same[0].role].glyph} " + " or ".join(dict.fromkeys(_how(t, group) for t in same))
        inner = html.font(html.text(said, width=34 if across else 24), size=9.5, weight="bold")
        outcomes.append(html.td(inner, port=f"c{key}", align="left", balign="left", valign="top"))
    columns = 1 if across else max(len(outcomes), 1)
    note = html.font(html.text(who, width=34), size=9.5)
    if not any(isinstance(t.trigger, After) for t in group.transitions):
        note += "<BR/>" + html.font(html.text("no deadline"), size=8.5, colour=canvas.theme.bad)
    rows = [html.RULE, html.tr(html.td(note, align="left", balign="left", colspan=columns)), html.RULE]
    if across:
        rows += [piece for cell in outcomes for piece in (html.tr(cell), html.RULE)][:-1]
    else:
        rows.append(html.tr(*outcomes))
    return _box(canvas, group, "human task", columns, *rows)


def _outcome(group: Group, t: Transition) -> int:
    """Number of a task's outcome: transitions that put into the same places share one."""
    ends = list(dict.fromkeys(tuple(p.place for p in o.puts) for o in group.transitions))
    return ends.index(tuple(p.place for p in t.puts))


def _how(t: Transition, group: Group) -> str:
    match t.trigger:
        case Choice(choice=choice):
            return choice
        case After(span):
            return words.delay(span)
        case OnFailure():
            return "on failure"
        case _:
            return words.short_name(t.name, group.id)


# pieces of boxes


def _box(canvas: Canvas, group: Group, tag: str, columns: int, *rows: str) -> str:
    theme = canvas.theme
    families = {"contract": Family.PLUMBING, "saga": Family.SAGA, "human": Family.HUMAN}
    fill = theme.fills[families[group.kind]]
    ink = theme.text_on(fill)
    title = html.lines(
        html.font(html.text(group.id or "·", width=34, limit=90), size=11.5, colour=ink, weight="bold"),
        html.font(html.text(tag, width=40), size=8, colour=ink),
        cellpadding=0,
    )
    cells = [html.td(title, align="left", balign="left")]
    if count := _work_in_flight(canvas, group):
        cells.append(
            html.td(
                html.font(html.text("●" * count if count < 6 else f"● × {count}"), size=13, colour=ink),
                align="right",
            )
        )
    if stamp := badge(canvas.found, f"group:{group.id}", theme):
        cells.append(html.td(stamp, align="right"))
    head = html.td(html.table(html.tr(*cells), width="100%"), bgcolor=fill, colspan=columns, port="in")
    bad = canvas.found.refuted(f"group:{group.id}")
    return html.table(
        html.tr(head),
        *rows,
        border=3 if bad else 1,
        cellpadding=4,
        color=theme.bad if bad else theme.ink,
        bgcolor=theme.paper,
    )


def _work_in_flight(canvas: Canvas, group: Group) -> int:
    """Tokens on the hidden places of a group, where a live case is drawn."""
    return 0 if canvas.marking is None else sum(canvas.marking.count(p) for p in group.interior)


def _part_name(canvas: Canvas, family: Family, name: str) -> str:
    fill = canvas.theme.fills[family]
    return html.td(
        html.font(html.text(name), size=8.5, colour=canvas.theme.text_on(fill), weight="bold"), bgcolor=fill
    )


def _headline(canvas: Canvas, lines: list[str], width: int) -> str:
    """The first line of a part, in bold."""
    words_of = html.text(lines[0] or "·", width=width, limit=90, most=3)
    return html.font(words_of, size=9, weight="bold", colour=canvas.theme.ink)


def _details(canvas: Canvas, lines: list[str], width: int) -> str:
    """The further lines of a part; one font throughout, so that they are evenly spaced."""
    shown = "<BR/>".join(html.text(line, width=width, limit=160, most=4) for line in lines[1:])
    return html.font(shown, size=9, colour=canvas.theme.ink) if shown else ""


def _part_text(canvas: Canvas, lines: list[str], width: int, port: str) -> str:
    """A part's text in one cell."""
    inner = html.lines(_headline(canvas, lines, width), _details(canvas, lines, width))
    return html.td(inner, port=port, align="left")
