"""A trace as a strip of state differences: what each step takes, what it puts, and who made it happen.

A token is shown by the fields that the step changed. What it carries on from the tokens that it was made of
is left out, since the reader has seen it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import graphviz

from provenet.nets.errors import ProvenetError
from provenet.nets.expr.show import show_value
from provenet.nets.firing import NetRule
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Transition
from provenet.nets.schema import OptionalType, RecordType, Type, UnitType, Value
from provenet.visualize import html, words
from provenet.visualize.backend import Format, render
from provenet.visualize.errors import RenderError
from provenet.visualize.labels import plain
from provenet.visualize.palette import COLOUR, LOOKS, Theme
from provenet.visualize.structure import Structure, structure

if TYPE_CHECKING:
    from provenet.verify.verdict import Trace, TraceStep, Verdict

MOST_STEPS = 60
"""Most steps drawn; a longer trace is drawn as its beginning and its end."""

_FIELDS = 6
_WIDTH = 38
_NOISE = frozenset(("attempt", "seq", "depth", "signal"))


def trace_graph(
    net: Net, trace: Trace, *, verdict: Verdict | None = None, columns: int = 4, theme: Theme = COLOUR
) -> graphviz.Digraph:
    """Draw a trace as a graph of one node, whose cells are the steps.

    Args:
        net: The net.
        trace: A run of it.
        verdict: The verdict that the trace refutes: its witness is highlighted and the last step marked.
        columns: Cards in a row.
        theme: Colours.

    Raises:
        RenderError: The trace does not replay: it is no run of this net.
    """
    if columns < 1:
        raise RenderError(f"{columns} columns", stage="input", hint="draw at least one card in a row")
    cards = list(_cards(_Strip(net, structure(net), theme, witness_values(verdict)), trace, verdict))
    rows = [
        html.tr(html.td(_head(net, trace, verdict, theme), colspan=2 * columns, align="left", balign="left"))
    ]
    for i in range(0, len(cards), columns):
        cells = []
        tallest = max(card.height for card in cards[i : i + columns])
        for card in cards[i : i + columns]:
            last = card is cards[-1]
            arrow = "" if last else html.font(html.text("▶"), size=11, colour=theme.faint)
            cells += [
                html.td(card.drawn(tallest, theme), valign="top", align="left"),
                html.td(arrow, width=14),
            ]
        rows += [html.tr(*cells), html.tr(html.td("", height=4, cellpadding=0))]
    if verdict is not None and verdict.mend:
        words_of = html.font("Mend: ", size=10, weight="bold") + html.font(
            html.text(verdict.told_mend(), width=130, limit=600), size=10
        )
        rows.append(html.tr(html.td(words_of, colspan=2 * columns, align="left", balign="left")))
    graph = graphviz.Digraph(
        "trace",
        graph_attr={"bgcolor": theme.paper, "pad": "0.2", "tooltip": plain(net.name or "trace")},
        node_attr={"fontname": "Arial", "fontsize": "9", "fontcolor": theme.ink, "color": theme.ink},
    )
    graph.node("strip", html.label(html.table(*rows, cellpadding=4)), shape="plain", tooltip="trace")
    return graph


def draw_trace(
    net: Net,
    trace: Trace,
    *,
    verdict: Verdict | None = None,
    format: Format = "svg",  # noqa: A002 - the graphviz package's name for it
    columns: int = 4,
    theme: Theme = COLOUR,
    timeout: float = 60.0,
) -> bytes:
    """Draw a trace as a file; arguments as for `trace_graph` and `provenet.visualize.backend.render`.

    Returns:
        The bytes of one self-contained SVG, PNG or PDF.

    Raises:
        RenderError: The trace does not replay, or could not be drawn.
    """
    graph = trace_graph(net, trace, verdict=verdict, columns=columns, theme=theme)
    return render(graph, format=format, timeout=timeout)


@dataclass(frozen=True, slots=True)
class _Card:
    """One step: a coloured head and lines below."""

    head: str
    fill: str
    lines: tuple[str, ...]
    bad: bool = False

    @property
    def height(self) -> float:
        """Height of the lines in points, near enough."""
        return sum(_height(line) for line in self.lines)

    def drawn(self, tallest: float, theme: Theme) -> str:
        """The card as a table, filled up at the bottom: what a layout stretches, it stretches row by row."""
        body = [html.tr(html.td(line, align="left", balign="left", width=190)) for line in self.lines]
        body.append(html.tr(html.td("", height=round(tallest - self.height) + 4, cellpadding=0)))
        return html.table(
            html.tr(html.td(self.head, bgcolor=self.fill, align="left", balign="left", cellpadding=4)),
            html.RULE,
            html.tr(html.td("", height=4, cellpadding=0)),
            *body,
            border=3 if self.bad else 1,
            color=theme.bad if self.bad else theme.ink,
            bgcolor=theme.paper,
            cellpadding=2,
        )


def _height(line: str) -> float:
    return (line.count("<BR/>") + 1) * 10.8 + 4 + (8 if "<TABLE" in line else 0)


@dataclass(frozen=True, slots=True)
class _Strip:
    """What all cards of a strip share."""

    net: Net
    shape: Structure
    theme: Theme
    witness: frozenset[tuple[str, str]]

    def line(self, sign: str, place: str, fields: list[tuple[str, str]], *, colour: str) -> Iterator[str]:
        """A token that moves: the place, then its changed fields."""
        yield html.font(
            html.text(f"{sign} {place}", width=_WIDTH, limit=100), size=9, colour=colour, weight="bold"
        )
        yield from self.fields(fields)

    def fields(self, fields: list[tuple[str, str]]) -> Iterator[str]:
        """Lines of fields with their values; the witness's on a marked ground."""
        marked = [f for f in fields if self.is_witness(*f)]
        shown = (marked + [f for f in fields if f not in marked])[:_FIELDS]
        for path, value in shown:
            said = html.text(f"{path} = {value}" if path else value, width=_WIDTH, limit=120, most=3)
            if (path, value) in marked:
                inner = html.font(said + " ◀", size=9, weight="bold")
                cell = html.td(
                    inner,
                    bgcolor=self.theme.mark,
                    border=1,
                    color=self.theme.ink,
                    align="left",
                    balign="left",
                )
                yield html.table(html.tr(cell), cellpadding=1)
            else:
                yield html.font(said, size=9)
        if len(fields) > len(shown):
            yield html.font(
                html.text(f"and {len(fields) - len(shown)} more"), size=8, colour=self.theme.faint
            )

    def is_witness(self, path: str, value: str) -> bool:
        """Whether the verdict names a field."""
        return is_witness(path, value, self.witness)


def is_witness(path: str, value: str, witness: frozenset[tuple[str, str]]) -> bool:
    """Whether a witness names a field: same value, and the same last name where it has one."""
    last = path.rsplit(".", 1)[-1]
    return any(v == value and (name == last or not path) for name, v in witness)


def witness_values(verdict: Verdict | None) -> frozenset[tuple[str, str]]:
    """The witness's names and values, the values in the forms in which fields may be shown."""
    out: set[tuple[str, str]] = set()
    for name, value in (verdict.witness if verdict is not None else {}).items():
        last = name.rsplit(".", 1)[-1]
        match value:
            case None:
                out.add((last, "null"))
            case bool():
                out.add((last, str(value).lower()))
            case _:
                out |= {(last, str(value)), (last, json.dumps(str(value), ensure_ascii=False))}
    return frozenset(out)


def _head(net: Net, trace: Trace, verdict: Verdict | None, theme: Theme) -> str:
    steps = f"{len(trace.steps)} step{'' if len(trace.steps) == 1 else 's'}"
    if verdict is None:
        return html.font(html.text(f"{net.name}: {steps}", limit=160), size=14, weight="bold")
    title = (
        f"✗ {verdict.property}   {verdict.title}"
        if verdict.status == "REFUTED"
        else f"{verdict.property}   {verdict.title}"
    )
    said = html.font(html.text(title, width=100, limit=240), size=14, weight="bold", colour=theme.bad)
    run = f"{net.name}, {steps}" + (f", {verdict.subject}" if verdict.subject else "")
    return html.lines(
        said,
        html.font(html.text(verdict.reason, width=130, limit=600), size=10) if verdict.reason else "",
        html.font(html.text(run, width=130, limit=600), size=10, colour=theme.faint),
        cellpadding=2,
    )


def _cards(strip: _Strip, trace: Trace, verdict: Verdict | None) -> Iterator[_Card]:
    markings = replayed(strip.net, trace)
    yield _start(strip, trace.start)
    steps = list(enumerate(trace.steps, 1))
    cut = len(steps) > MOST_STEPS
    for number, step in steps:
        if cut and MOST_STEPS // 2 < number <= len(steps) - MOST_STEPS // 2:
            if number == MOST_STEPS // 2 + 1:
                said = html.font(
                    html.text(f"{len(steps) - MOST_STEPS:,} steps are not drawn"), size=9, slant="italic"
                )
                yield _frame(strip, "…", "and so on", strip.theme.paper, [said])
            continue
        bad = verdict is not None and verdict.status == "REFUTED" and number == len(steps)
        yield _card(strip, number, step, (markings[number - 1], markings[number]), verdict if bad else None)


def replayed(net: Net, trace: Trace) -> list[Marking]:
    """The markings before, between and after the steps of a trace.

    Raises:
        RenderError: It is no run of this net.
    """
    rule, markings = NetRule(net), [trace.start]
    for number, step in enumerate(trace.steps, 1):
        try:
            markings.append(rule.fire(markings[-1], step.transition, step.binding))
        except (ProvenetError, KeyError) as error:
            said = error.message if isinstance(error, ProvenetError) else f"the net has no {error}"
            raise RenderError(
                f"step {number} of the trace, {step.transition!r}, does not fire: {said}",
                stage="input",
                hint="the trace belongs to another version of the net; verify this one again",
            ) from error
    return markings


def _start(strip: _Strip, start: Marking) -> _Card:
    entries = [e.place for e in strip.net.entries]
    lines: list[str] = []
    for place in [p for p in entries if start.count(p)] or list(start)[:3]:
        for token in start[place][:2]:
            lines += strip.line(
                "+", place, list(leaves(strip.net.place(place).type, token)), colour=strip.theme.good
            )
    return _frame(
        strip,
        "0",
        "the case starts",
        strip.theme.paper,
        lines or [html.font(html.text("with no input"), size=9)],
    )


def _card(
    strip: _Strip, number: int, step: TraceStep, markings: tuple[Marking, Marking], broken: Verdict | None
) -> _Card:
    net, theme = strip.net, strip.theme
    t = net.transition(step.transition)
    look = LOOKS[t.role]
    lines = [
        html.font(html.text(words.who_acts(net, t), width=_WIDTH + 4, limit=160), size=9, slant="italic")
    ]
    for fresh in t.fresh:
        brought = list(leaves(fresh.type, step.binding[fresh.var]))
        lines.append(html.font(html.text(f"{fresh.var} :="), size=9, weight="bold"))
        lines += strip.fields(brought)
    lines += _moves(strip, t, step.binding, *markings)
    if step.note:
        lines.append(html.font(html.text(step.note, width=_WIDTH + 2, limit=240), size=9, colour=theme.faint))
    if broken is not None:
        said = html.font(
            html.text(f"✗ breaks {broken.property}", width=_WIDTH - 6, limit=90),
            size=10,
            colour="#ffffff",
            weight="bold",
        )
        lines.append(html.table(html.tr(html.td(said, bgcolor=theme.bad)), cellpadding=3))
    name = t.label or words.short_name(t.name, t.contract)
    title = f"{look.glyph} {look.tag.upper()}  {t.contract or name}"
    if t.contract and name.lower() not in {look.tag, str(t.role), str(t.role).replace("_", " ")}:
        title += f": {name}"
    return _frame(strip, str(number), title, theme.fills[look.family], lines, bad=broken is not None)


def _moves(
    strip: _Strip, t: Transition, binding: Mapping[str, Value], before: Marking, after: Marking
) -> Iterator[str]:
    """Tokens that are gone and tokens that are new, and what of them is new."""
    net, theme = strip.net, strip.theme
    known: dict[str, set[str]] = {}
    scope = net.scope(t)
    for var, of in scope.items():
        for path, value in leaves(of, binding[var]):
            known.setdefault(path.rsplit(".", 1)[-1], set()).add(value)
    emptied = 0
    for place in dict.fromkeys((*(a.place for a in t.takes), *t.resets)):
        gone = before.count(place) - after.count(place)
        if place in t.resets and gone > 0 and place not in {a.place for a in t.takes}:
            emptied += gone
        elif gone > 0:
            yield html.font(
                html.text(f"− {place}" + (f" × {gone}" if gone > 1 else ""), width=_WIDTH, limit=100),
                size=9,
                colour=theme.bad,
            )
    if emptied:
        yield html.font(
            html.text(f"✕ {emptied} token{'s' if emptied > 1 else ''} of other work cancelled"),
            size=9,
            colour=theme.bad,
        )
    for place in dict.fromkeys(p.place for p in t.puts):
        of = net.place(place).type
        new = list((Counter(after[place]) - Counter(before[place])).elements())
        if not new and place in {a.place for a in t.takes}:
            continue
        # The witness is followed through the places that people know, not through a contract's inside.
        telling = place not in strip.shape.of_place
        for token in new[:3] or [None]:
            fields = [] if token is None else [
                (path, value)
                for path, value in leaves(of, token)
                if not bookkeeping(path, value)
                and (
                    value not in known.get(path.rsplit(".", 1)[-1], set())
                    or (telling and strip.is_witness(path, value))
                )
            ]  # fmt: skip
            yield from strip.line("+", place, fields, colour=theme.good)


def bookkeeping(path: str, value: str) -> bool:
    """First attempts, empty signals: bookkeeping that tells nothing yet."""
    return path.rsplit(".", 1)[-1] in _NOISE and value in {"1", "null"}


def _frame(
    strip: _Strip, number: str, title: str, fill: str, lines: list[str], *, bad: bool = False
) -> _Card:
    ink = strip.theme.text_on(fill)
    head = html.font(html.text(f"{number}   "), size=11, colour=ink, weight="bold")
    head += html.font(html.text(title, width=_WIDTH, limit=120), size=9.5, colour=ink, weight="bold")
    return _Card(head, fill, tuple(lines), bad)


def leaves(of: Type, value: Value, path: str = "") -> Iterator[tuple[str, str]]:
    """Fields of a value that hold no further fields, as path and text."""
    while isinstance(of, OptionalType) and value is not None:
        of = of.item
    if isinstance(of, RecordType) and value is not None:
        for field, part in zip(of.fields, value, strict=True):
            yield from leaves(field.type, part, f"{path}.{field.name}" if path else field.name)
    elif not isinstance(of, UnitType):
        yield path, "null" if value is None else show_value(value, of)
