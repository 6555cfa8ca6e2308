"""Verdicts in a picture: badges on elements, outlines of what is refuted, and the table below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provenet.nets.net import Net
from provenet.visualize import html, words
from provenet.visualize.palette import Theme
from provenet.visualize.structure import Structure
from provenet.visualize.svg import assumed_width

if TYPE_CHECKING:
    from provenet.verify.verdict import Report, Verdict

_MARKS = {"PROVED": "✓", "REFUTED": "✗", "UNKNOWN": "?"}
_ROWS = 12


@dataclass(frozen=True, slots=True)
class Findings:
    """What a report says, by element.

    Attributes:
        report: The report; ``None`` where none was given.
        about: Name of a place or transition, or ``contract:`` and an id, to the verdicts on it.
        facts: Place to what is known of every token there.
    """

    report: Report | None = None
    about: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def refuted(self, element: str) -> bool:
        """Whether a refuted property points at an element."""
        return any(v.status == "REFUTED" for v in self.about.get(element, ()))


def findings(net: Net, shape: Structure, report: Report | None) -> Findings:
    """Sort a report's verdicts by the elements that they are about.

    A refutation points at its subject and at the transition that its trace ends with; a proof for the whole
    net of a property of contracts (``SDB-``) counts for each of them.
    """
    if report is None:
        return Findings()
    about: dict[str, list[Verdict]] = {}
    facts: dict[str, dict[str, None]] = {}
    groups = {g.id for g in shape.groups}
    contracts = [g.id for g in shape.groups if g.kind == "contract"]
    for v in report.verdicts:
        known = v.subject in groups or net.has_place(v.subject) or net.has_transition(v.subject)
        named = [v.subject] if known else [name for name in v.subject.split(", ") if name]
        if v.status == "REFUTED" and v.trace is not None and v.trace.steps:
            named.append(v.trace.steps[-1].transition)
        elements: list[str] = []
        for name in named:
            if name in groups:
                elements.append(f"group:{name}")
            elif net.has_place(name) or net.has_transition(name):
                elements.append(name)
                holder = shape.of_transition.get(name) or shape.of_place.get(name)
                if holder is not None:
                    elements.append(f"group:{holder.id}")
        if v.status == "PROVED" and not v.subject and v.property.startswith("SDB-"):
            elements += [f"group:{c}" for c in contracts]
        for element in dict.fromkeys(elements):
            about.setdefault(element, []).append(v)
        for place, fact in v.facts.items():
            if fact and fact != "true":
                facts.setdefault(place, {})[words.fact(fact)] = None
    return Findings(
        report, {e: tuple(vs) for e, vs in about.items()}, {p: tuple(known) for p, known in facts.items()}
    )


def badge(found: Findings, element: str, theme: Theme) -> str:
    """Badges of an element as one table; empty where no verdict is about it.

    Proved is a filled box, refuted a double frame, unknown a dashed one; each has its own sign as well.
    """
    verdicts = found.about.get(element, ())
    cells = []
    for status in ("REFUTED", "UNKNOWN", "PROVED"):
        of = [v for v in verdicts if v.status == status]
        if not of:
            continue
        ids = list(dict.fromkeys(v.property for v in of))
        said = (
            f"{len(of)} proved" if status == "PROVED" else ", ".join(ids[:2]) + (" …" if len(ids) > 2 else "")
        )
        cells.append(html.td(_stamp(status, said, theme)))
    return html.table(html.tr(*cells), cellpadding=1) if cells else ""


def verdict_table(report: Report, theme: Theme) -> str:
    """The verdicts as a table: what is refuted first, then what is unknown; many proofs are summed up."""
    order = {"REFUTED": 0, "UNKNOWN": 1, "PROVED": 2}
    verdicts = sorted(report.verdicts, key=lambda v: order[v.status])
    shown = verdicts
    if len(verdicts) > _ROWS:
        shown = [v for v in verdicts if v.status != "PROVED"][: 2 * _ROWS]
    rows = [_row(v, theme) for v in shown]
    rest = [v for v in verdicts if v not in shown]
    for status in order:
        if of := [v for v in rest if v.status == status]:
            named = ", ".join(dict.fromkeys(v.property for v in of))
            said = html.font(html.text(named, width=74, limit=600), size=9)
            rows.append(_told(_stamp(status, status.lower(), theme), f"{len(of)} properties", said))
    return html.table(*rows, cellpadding=3) if rows else ""


def _row(v: Verdict, theme: Theme) -> str:
    about = f"{v.title} — {v.subject}" if v.subject else v.title
    why = v.method if v.status == "PROVED" else v.reason
    return _told(
        _stamp(v.status, v.status.lower(), theme),
        v.property,
        html.font(html.text(about or v.property, width=74, limit=160), size=9),
        html.font(html.text(why, width=78, limit=240), size=8.5, colour=theme.faint) if why else "",
    )


def _told(stamp: str, name: str, *said: str) -> str:
    """One row of the table."""
    return html.tr(
        html.td(stamp),
        html.td(html.font(html.text(name, width=18), size=9, weight="bold"), align="left"),
        html.td(html.lines(*said), align="left"),
    )


def _stamp(status: str, said: str, theme: Theme) -> str:
    """Sign and words of one status, in the status' own frame, which no wider or higher cell stretches."""
    colour = {"PROVED": theme.good, "REFUTED": theme.bad, "UNKNOWN": theme.open}[status]
    inner = html.font(
        html.text(f"{_MARKS[status]} {said}"),
        size=8.5,
        weight="bold",
        colour="#ffffff" if status == "PROVED" else colour,
    )
    # The sign is as wide for each status as for the layout: three bytes.
    width = math.ceil(assumed_width(f"✓ {said}", size=8.5, bold=True)) + (14 if status == "REFUTED" else 8)
    frame = {"border": 1, "color": colour}
    fixed = {"fixedsize": "true", "width": width, "height": 21 if status == "REFUTED" else 17}
    if status == "REFUTED":
        # Cell and table are told their sizes, since a table of a fixed size does not fill itself.
        cell = html.td(inner, width=width - 6, height=15, **frame)
        return html.table(html.tr(cell), cellspacing=2, bgcolor=theme.paper, **frame, **fixed)
    cell = html.td(inner, width=width - 2, height=15)
    if status == "UNKNOWN":
        return html.table(html.tr(cell), style="dashed", bgcolor=theme.paper, **frame, **fixed)
    return html.table(html.tr(cell), style="rounded", bgcolor=colour, **frame, **fixed)
