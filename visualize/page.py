"""A report as one HTML page: verdicts, the picture, what is known of tokens, and traces to step through.

The page is one file that refers to nothing outside itself; its own policy (CSP) forbids every request and
every script but the one that is shipped here. Names and values of a net are data in it, never markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree as ET

from provenet.nets.errors import ProvenetError
from provenet.nets.marking import Marking
from provenet.nets.net import Net
from provenet.visualize import words
from provenet.visualize.badges import findings
from provenet.visualize.canvas import BIG
from provenet.visualize.draw import render_net
from provenet.visualize.errors import RenderError
from provenet.visualize.playback import named_traces, playback
from provenet.visualize.structure import Structure, structure
from provenet.visualize.svg import HREF, SVG, parse

if TYPE_CHECKING:
    from jinja2 import Environment

    from provenet.verify.verdict import Report, Verdict
    from provenet.visualize.badges import Findings

View = Literal["folded", "expanded"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_NODE = re.compile(r"([ptg])(\d+)\Z")
_EDGE = re.compile(r"([ptg]\d+)(?::[^-]*)?->([ptg]\d+)(?::.*)?\Z")
_TITLE_OF_LINK = "{http://www.w3.org/1999/xlink}title"
_MARKS = {"PROVED": "✓", "REFUTED": "✗", "UNKNOWN": "?", "ERROR": "!"}


def report_page(net: Net, report: Report, *, timeout: float = 30.0) -> bytes:
    """A report as one self-contained HTML page.

    Args:
        net: The net.
        report: The verdicts on it.
        timeout: Seconds for each layout. A net that cannot be laid out has a page without its picture.

    Returns:
        UTF-8 HTML.

    Raises:
        RenderError: A trace of the report is no run of this net.
    """
    shape = structure(net)
    traces = [(playback(net, v, name=name), v) for name, v in named_traces(report)]
    facts = _facts(net, report)
    views = [_view(net, shape, report, facts, kind, timeout) for kind in _views(net, shape)]
    data = {
        "places": [p.label or p.name for p in net.places],
        "transitions": [t.label or t.name for t in net.transitions],
        # The folded view draws one box for a contract, so its parts are found there.
        "groups": {
            "p": [_group(shape, p.name, "place") for p in net.places],
            "t": [_group(shape, t.name, "transition") for t in net.transitions],
        },
        "traces": [trace for trace, _ in traces],
    }
    style, script = _shipped("page.css"), _shipped("page.js")
    names = {id(v): trace["name"] for trace, v in traces}
    page = (
        _environment()
        .get_template("page.html")
        .render(
            net=net,
            report=report,
            hash=report.net_hash.removeprefix("sha256:"),
            counts={
                s: sum(str(v.status) == s for v in report.verdicts) for s in ("REFUTED", "UNKNOWN", "PROVED")
            },
            verdicts=[_row(v, names.get(id(v), "")) for v in _sorted(report)],
            marks=_MARKS,
            traces=traces,
            views=views,
            facts=facts,
            data=_json(data),
            style=style,
            script=script,
            style_hash=_digest(style),
            script_hash=_digest(script),
        )
    )
    return page.encode()


def _sorted(report: Report) -> list[Verdict]:
    order = {"REFUTED": 0, "UNKNOWN": 1, "PROVED": 2}
    return sorted(report.verdicts, key=lambda v: order[str(v.status)])


def _row(v: Verdict, trace: str) -> dict[str, Any]:
    from provenet.nets.errors import PropertyError
    from provenet.verify.pages import page

    try:
        about = page(v.property).sections
    except PropertyError:
        about = {}
    return {
        "v": v,
        "status": str(v.status),
        "took": f"{v.seconds * 1000:,.0f} ms" if v.seconds < 10 else f"{v.seconds:,.1f} s",
        "trace": trace,
        "about": [
            (head, about[head].replace("`", "").replace("*", ""))
            for head in ("What it says", "Why it matters")
            if head in about
        ],
        "certificates": sorted({c.kind for c in v.certificates}),
    }


def _facts(net: Net, report: Report) -> list[dict[str, Any]]:
    """Each place with its type and what proofs know of every token there, in the net's order."""
    known: dict[str, dict[str, None]] = {}
    for v in report.verdicts:
        for place, fact in v.facts.items():
            if fact and fact != "true":
                known.setdefault(place, {})[words.fact(fact)] = None
    return [
        {"place": p.label or p.name, "type": words.type_name(p.type), "facts": list(known.get(p.name, ()))}
        for p in net.places
    ]


# pictures


def _views(net: Net, shape: Structure) -> list[View]:
    if not shape.groups:
        return ["expanded"]
    big = len(net.places) + len(net.transitions) > BIG
    return ["folded"] if big else ["folded", "expanded"]


def _view(
    net: Net, shape: Structure, report: Report, facts: list[dict[str, Any]], kind: View, timeout: float
) -> dict[str, str]:
    try:
        # Where there are runs to step through, the page itself draws the tokens of each state.
        marking = Marking() if any(v.trace is not None for v in report.verdicts) else None
        svg = render_net(net, view=kind, marking=marking, timeout=timeout)
    except RenderError as error:
        return {"kind": kind, "svg": "", "problem": error.message}
    return {
        "kind": kind,
        "svg": _inlined(svg, net, shape, findings(net, shape, report), facts, kind),
        "problem": "",
    }


def _inlined(
    svg: bytes, net: Net, shape: Structure, found: Findings, facts: list[dict[str, Any]], kind: View
) -> str:
    """The picture as part of a page: elements have ids, tooltips, and what verdicts say of them."""
    root = parse(svg)
    for element in root.iter():
        for name in (HREF, _TITLE_OF_LINK):
            element.attrib.pop(name, None)
        element.attrib.pop("id", None)
        if element.tag == f"{SVG}a":  # what is left of a tooltip; without a link it means nothing
            element.tag = f"{SVG}g"
        if element.tag != f"{SVG}g":
            continue
        title = element.find(f"{SVG}title")
        said = "" if title is None or title.text is None else title.text
        if element.get("class") == "node" and (node := _NODE.match(said)):
            name, tip = _named(net, shape, facts, node[1], int(node[2]))
            element.set("id", f"{kind}-{said}")
            if status := _status(found, name):
                element.set("class", f"node {status.lower()}")
            assert title is not None
            title.text = tip
        elif element.get("class") == "edge" and (edge := _EDGE.match(said)):
            element.set("data-from", edge[1])
            element.set("data-to", edge[2])
            element.remove(title)
        elif title is not None:
            element.remove(title)
    # CSS pixels, so that the page can scale it.
    root.set("class", "net")
    root.set("role", "img")
    root.set("aria-label", f"the net {net.name}, {kind} view")
    written: str = ET.tostring(root, encoding="unicode")
    return written


def _named(
    net: Net, shape: Structure, facts: list[dict[str, Any]], letter: str, number: int
) -> tuple[str, str]:
    """What a node of the picture is: its name for verdicts, and its tooltip."""
    if letter == "g":
        group = shape.groups[number]
        return f"group:{group.id}", f"{group.kind} {group.id}"
    if letter == "t":
        t = net.transitions[number]
        return t.name, f"{t.name}\n{str(t.role).replace('_', ' ')}"
    place = net.places[number]
    known = facts[number]["facts"]
    tip = place.name + (f"\n{place.type}" if words.type_name(place.type) else "")
    return place.name, tip + "".join(f"\nevery token: {fact}" for fact in known)


def _status(found: Findings, element: str) -> str:
    statuses = {str(v.status) for v in found.about.get(element, ())}
    return next((s for s in ("REFUTED", "UNKNOWN") if s in statuses), "")


def _group(shape: Structure, name: str, kind: Literal["place", "transition"]) -> int | None:
    group = (shape.of_place if kind == "place" else shape.of_transition).get(name)
    return None if group is None else shape.groups.index(group)


# the frame


def _json(data: Any) -> str:
    """JSON that can stand inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _shipped(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise ProvenetError("jinja2 is not installed", hint="pip install jinja2") from error
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
