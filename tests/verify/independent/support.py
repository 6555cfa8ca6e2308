"""Certificates for tests: made, changed, sealed again, checked."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from provenet.nets.net import Net, Place, Put, Requirement, Take, Transition
from provenet.verify.certify import certificate_of
from provenet.verify.check import prove
from provenet.verify.independent.check import Result, check, digest, parsed
from provenet.verify.independent.solvers import Solver
from provenet.verify.plain.net import PTNet

Data = dict[str, Any]


def certified(net: Net, *asked: str | Requirement, timeout: float = 20.0) -> Data:
    """The certificate of what a net requires, or of what is asked."""
    data = certificate_of(net, prove(net, only=asked or None, timeout=timeout))
    found = json.loads(json.dumps(data))
    assert isinstance(found, dict)
    return found


def checked(
    net: Net, data: Data, *, solvers: Sequence[Solver] = ("z3",), timeout: float = 20.0
) -> list[Result]:
    """What the separate checker says of a certificate."""
    return list(check(net, parsed(json.dumps(data)), solvers=solvers, timeout=timeout))


def sealed(data: Data) -> Data:
    """The certificate with a digest that fits what it holds."""
    return {**data, "digest": digest(data)}


def changed(data: Data, change: Callable[[Data], object], *, texts: str = "without") -> Data:
    """A changed copy, sealed again.

    Args:
        data: The certificate.
        change: Changes the copy.
        texts: ``without`` leaves the obligations out, so that what was changed is looked at itself.
    """
    out = copy.deepcopy(data)
    if texts == "without":
        for entry in out["verdicts"]:
            entry["obligations"] = None
    change(out)
    return sealed(out)


def outcomes(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Properties with what became of them."""
    return [(r.entry.stated.property, r.outcome) for r in results]


def plain_net(pt: PTNet, finals: tuple[tuple[tuple[str, int], ...], ...] = ()) -> Net:
    """A plain net as a net of black tokens."""
    made = []
    for name, pre, post in zip(pt.transitions, pt.pre, pt.post, strict=True):
        takes = tuple(Take(pt.places[p], None, n) for p, n in pre)
        made.append(Transition(name, takes=takes, puts=tuple(Put(pt.places[p], None, n) for p, n in post)))
    initial = tuple((p, ((),) * n) for p, n in zip(pt.places, pt.initial, strict=True) if n)
    return Net("random", tuple(map(Place, pt.places)), tuple(made), initial=initial, finals=finals)
