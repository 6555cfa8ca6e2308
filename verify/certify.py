"""A report as a certificate file, for ``provenet.verify.independent`` to re-check.

The evidence is that of the verdicts; the obligations are those that the separate checker works out of it, as
SMT-LIB text, so that they can be run with any solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provenet.nets.net import Net
from provenet.verify.independent.check import FORMAT, Entry, digest, obligations_of
from provenet.verify.independent.claims import Stated
from provenet.verify.verdict import Report, Verdict

_MOST_TEXT = 4_000_000
"""Characters of obligations that a file holds for one verdict; what is longer is left to be written anew."""


def certificate_of(net: Net, report: Report, *, timeout: float = 10.0) -> dict[str, Any]:
    """A report as the JSON data of a certificate file.

    Args:
        net: The net.
        report: The report on it.
        timeout: Seconds for the obligations of one verdict; what takes longer is left out.
    """
    data: dict[str, Any] = {
        "format": FORMAT,
        "net": report.net,
        "net_hash": report.net_hash,
        "versions": dict(report.versions),
        "verdicts": [_entry(net, v, timeout) for v in report.verdicts],
    }
    return {**data, "digest": digest(data)}


def _entry(net: Net, v: Verdict, timeout: float) -> dict[str, Any]:
    evidence = [{"kind": c.kind, "data": _plain(c.data)} for c in v.certificates]
    stated = Stated(v.property, v.subject, v.title, tuple((e["kind"], e["data"]) for e in evidence))
    entry = Entry(stated, str(v.status), None, None)
    # Going through all markings again leaves no obligation: that is for whoever checks.
    counted = any(c.kind == "explored" for c in v.certificates)
    found = () if counted or v.trace is not None else obligations_of(net, entry, timeout=timeout)
    short = sum(len(text) for _, text in found) <= _MOST_TEXT
    return {
        "property": v.property,
        "subject": v.subject,
        "title": v.title,
        "verdict": str(v.status),
        "method": v.method,
        "evidence": evidence,
        "obligations": [{"name": name, "smt2": text} for name, text in found] if short else None,
        "trace": None if v.trace is None else v.trace.to_json(net),
    }


def _plain(data: Any) -> Any:
    """JSON data: mappings as objects, tuples as arrays, and anything else as text."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(value) for value in data]
    return data if data is None or isinstance(data, str | int | bool | float) else str(data)
