"""JUnit XML, in the form that build servers read: a suite for each net, a case for each verdict.

UNKNOWN is a failure of type ``unknown``, not a skipped case, since build servers count skipped as passed.
What a baseline knows is skipped, with what it is as the message. A target that could not be checked is an
error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as ET

from provenet.cli.reports.outcome import Outcome

# XML 1.0 can hold neither these nor lone surrogates.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def junit(outcomes: Iterable[Outcome]) -> bytes:
    """The outcomes as a JUnit XML document."""
    suites: dict[tuple[str, str], list[Outcome]] = {}
    for o in outcomes:
        suites.setdefault((o.target, o.net), []).append(o)
    root = ET.Element("testsuites", name="provenet")
    for (target, net), of in suites.items():
        suite = ET.SubElement(root, "testsuite", name=_text(net), file=_text(target))
        for o in of:
            _case(suite, o)
        _count(suite, of)
    _count(root, [o for of in suites.values() for o in of])
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _case(suite: ET.Element, o: Outcome) -> None:
    name = " ".join(filter(None, (o.prop, o.title, f"[{o.subject}]" if o.subject else ""))) or o.target
    case = ET.SubElement(suite, "testcase", classname=_text(o.net), name=_text(name), time=f"{o.seconds:.4f}")
    if o.spot.file:
        case.set("file", _text(o.spot.file))
        case.set("line", str(max(1, o.spot.line)))
    if o.status == "ERROR":
        ET.SubElement(case, "error", type="error", message=_text(o.reason)).text = _text(o.reason)
    elif o.finding and o.novelty == "known":
        ET.SubElement(case, "skipped", message=_text(f"in the baseline: {o.status} {o.reason}"))
    elif o.finding:
        lines = [o.reason, *(f"{n:>4}  {s.text}" for n, s in enumerate(o.steps, 1))]
        lines += [f"Mend: {o.mend}"] if o.mend else []
        failure = ET.SubElement(case, "failure", type=o.status.lower(), message=_text(o.reason or o.title))
        failure.text = _text("\n".join(lines))
    elif o.vacuous:
        ET.SubElement(case, "system-out").text = _text(f"vacuous: {o.vacuous}")


def _count(element: ET.Element, outcomes: list[Outcome]) -> None:
    known = [o for o in outcomes if o.finding and o.novelty == "known"]
    element.set("tests", str(len(outcomes)))
    element.set("failures", str(sum(o.finding for o in outcomes) - len(known)))
    element.set("errors", str(sum(o.status == "ERROR" for o in outcomes)))
    element.set("skipped", str(len(known)))
    element.set("time", f"{sum(o.seconds for o in outcomes):.4f}")


def _text(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
