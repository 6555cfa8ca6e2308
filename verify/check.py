"""The front of the checker: a net in, a report out.

The function is ``prove``, since ``provenet.verify`` is the package.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import z3

from provenet import __version__
from provenet.nets.check import check_net
from provenet.nets.errors import NetError, PropertyError, did_you_mean
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Net, Requirement
from provenet.verify.context import Context
from provenet.verify.properties import (
    caps,
    control,
    data,
    duplicates,
    events,
    evidence,
    failing,
    flow,
    kill,
    machines,
    policies,
    saga,
    sdb,
    state,
    user,
    verifiers,
)
from provenet.verify.properties.common import Property, timed
from provenet.verify.verdict import Certificate, Report, Status, Verdict

_FAMILIES = ("SDB", "SAGA", "CTL", "STATE", "EVT", "DATA", "FLOW")
_FILES = (
    *(sdb, verifiers, evidence, saga, failing, control, kill, caps, state, machines),
    *(events, duplicates, data, policies, flow),
)

CATALOGUE: dict[str, Property] = {
    p.id: p
    for p in sorted(
        (p for file in _FILES for p in file.CATALOGUE),
        key=lambda p: (_FAMILIES.index(p.id.split("-")[0]), p.id),
    )
}
"""The catalogue by id, in its own order."""

_DECLARED = ("CTL-4", "STATE-4", "DATA-4")
"""Properties of what a requirement declares: asked for by id alone, they mean all that the net declares."""

_USER = {p.id: p for p in (*user.CATALOGUE, *state.OFFERED)}

Progress = Callable[[str, int, int], None]
"""Called with the property about to be checked, how many are done, and how many there are."""


def prove(
    net: Net,
    *,
    only: Iterable[str | Requirement] | None = None,
    timeout: float = 60.0,
    progress: Progress | None = None,
    hints: Sequence[Certificate] | None = None,
) -> Report:
    """Prove or refute the properties that a net requires, or the whole catalogue where it requires none.

    Args:
        net: The net.
        only: Ids or families to check instead, or requirements; user properties by their kind or name.
        timeout: Seconds for each property.
        progress: Told before each property.
        hints: Certificates to check instead of searching for proofs (see ``provenet.verify.certificate``).

    Raises:
        NetError: The net has mistakes.
        PropertyError: A property is unknown, or names what the net does not have.
    """
    mistakes = check_net(net)
    if mistakes:
        raise NetError(net.name, mistakes)
    with _collector_paused():
        return _prove(net, requirements_of(net, only), timeout, progress, hints)


def _prove(
    net: Net,
    asked: list[tuple[Property, Requirement]],
    timeout: float,
    progress: Progress | None,
    hints: Sequence[Certificate] | None,
) -> Report:
    began = time.perf_counter()
    verdicts: list[Verdict] = []
    for found in each(net, asked, timeout=timeout, progress=progress, hints=hints):
        verdicts += found
    if progress is not None:
        progress("", len(asked), len(asked))
    versions = {"provenet": __version__, "z3-solver": z3.get_version_string()}
    return Report(net.name, content_hash(net), tuple(verdicts), time.perf_counter() - began, versions)


def each(
    net: Net,
    asked: Sequence[tuple[Property, Requirement]],
    *,
    timeout: float,
    until: float = math.inf,
    progress: Progress | None = None,
    hints: Sequence[Certificate] | None = None,
) -> Generator[list[Verdict], None, None]:
    """The verdicts on one property after the other, for who may stop before the last.

    Args:
        net: A net without mistakes.
        asked: The properties; see ``requirements_of``.
        timeout: Seconds for each property.
        until: When to stop all the same, by ``time.monotonic``.
        progress: Told before each property.
        hints: See ``prove``.
    """
    ctx = Context(net, deadline=min(time.monotonic() + timeout, until), hints=hints)
    try:
        for number, (prop, requirement) in enumerate(asked):
            if progress is not None:
                progress(prop.id, number, len(asked))
            ctx.deadline = min(time.monotonic() + timeout, until)
            found = timed(partial(prop.check, ctx, requirement))
            yield [_evidenced(v, net) for v in found or [_silent(prop)]]
    finally:
        # What is shared points back at the context: without this, only the cycle collector frees the graph
        ctx.memo.clear()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No cyclic garbage collection meanwhile.

    Nothing here makes cycles, and walking the live state graph costs a tenth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def requirements_of(
    net: Net, only: Iterable[str | Requirement] | None = None
) -> list[tuple[Property, Requirement]]:
    """The properties to check, families spelled out.

    Raises:
        PropertyError: A property is unknown.
    """
    wanted = list(net.requirements) or [Requirement(kind) for kind in CATALOGUE]
    if only is not None:
        wanted = [r for o in only for r in _selected(net, o)]
    out: list[tuple[Property, Requirement]] = []
    for r in wanted:
        if r.kind in _USER:
            out.append((_USER[r.kind], r))
        elif r.kind in CATALOGUE:
            said = _said(net, r.kind) if r.kind in _DECLARED and not r.args else []
            out += [(CATALOGUE[r.kind], each) for each in said or [r]]
        else:
            family = [p for p in CATALOGUE.values() if p.id.split("-")[0] == r.kind]
            if not family:
                known = [*CATALOGUE, *_USER, *{p.split("-")[0] for p in CATALOGUE}]
                raise PropertyError(f"unknown property {r.kind!r}", hint=did_you_mean(r.kind, known))
            # What a net says of one property in so many words, it means for the family as well.
            out += [
                (p, each) for p in family for each in _said(net, p.id) or [Requirement(p.id, r.args, r.name)]
            ]
    return list(dict.fromkeys(out))


def _said(net: Net, kind: str) -> list[Requirement]:
    """What a net requires of one property with arguments of its own."""
    return [r for r in net.requirements if r.kind == kind and r.args]


def _selected(net: Net, wanted: str | Requirement) -> list[Requirement]:
    if isinstance(wanted, Requirement):
        return [wanted]
    own = [r for r in net.requirements if wanted in (r.kind, r.name)]
    return own or [Requirement(wanted)]


def _silent(prop: Property) -> Verdict:
    """What a check that says nothing amounts to: nothing to check is a proof only where the check says so."""
    return Verdict(prop.id, prop.title, Status.UNKNOWN, reason="the check found nothing to speak about")


def _evidenced(v: Verdict, net: Net) -> Verdict:
    """The verdict, or UNKNOWN where its evidence does not hold.

    No proof without a certificate, no refutation that does not replay.
    """
    if v.status is Status.PROVED and not v.certificates:
        return replace(v, status=Status.UNKNOWN, reason="the proof left no certificate; please report this")
    if v.status is Status.REFUTED:
        if v.trace is None and not v.certificates:
            return replace(
                v, status=Status.UNKNOWN, reason="the refutation left no trace; please report this"
            )
        if v.trace is not None and not v.trace.replays(net):
            return replace(
                v,
                status=Status.UNKNOWN,
                trace=None,
                reason="the trace found does not replay; please report this",
            )
    return v
