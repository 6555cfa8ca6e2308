"""The front of mending: verdicts in, verdicts with mends that were tried out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from provenet.nets.check import check_net
from provenet.nets.errors import ProvenetError
from provenet.nets.net import Net, Requirement
from provenet.verify.check import CATALOGUE, each, requirements_of
from provenet.verify.mending.candidates import candidates
from provenet.verify.mending.surgery import Candidate, Case
from provenet.verify.properties.common import Property
from provenet.verify.verdict import Mend, Report, Status, Verdict

_MOST_TRIED = 12
"""Candidates for one verdict: what is not among the first of them is not recognized."""

_MOST_NAMED = 4

Asked = Sequence[tuple[Property, Requirement]]


def mends(
    net: Net,
    report: Report,
    *,
    only: Iterable[str | Requirement] | None = None,
    timeout: float = 2.0,
) -> Report:
    """The report with mends for what is refuted, each verified on the mended net before it is proposed.

    A mend is proposed where the very property is proved of the mended net, not for want of anything to check,
    and nothing that the report proves is refuted of it. Words about what could not be tried so say that they
    are advice.

    Args:
        net: The net.
        report: The report on it.
        only: What ``prove`` was asked, where that was not all that the net requires.
        timeout: Seconds for all mends together.
    """
    if not any(v.status is Status.REFUTED for v in report.verdicts):
        return report
    until = time.monotonic() + timeout
    asked = requirements_of(net, only)
    known = _Trials(report, asked, until)
    refuted = [v for v in report.verdicts if v.status is Status.REFUTED]
    first = {id(v): _mended(net, v, asked, known) for v in refuted}
    # What was found for a later one may mend an earlier one, too.
    return replace(report, verdicts=tuple(_again(first.get(id(v), v), known) for v in report.verdicts))


def _again(v: Verdict, known: _Trials) -> Verdict:
    if v.status is not Status.REFUTED or v.mends:
        return v
    made = known.made_before(v)
    return v if made is None else _with(v, made)


def _mended(net: Net, v: Verdict, asked: Asked, known: _Trials) -> Verdict:
    made = known.made_before(v)
    if made is not None:
        return _with(v, made)
    for requirement in _asks_for(v, asked):
        for candidate in islice(candidates(Case(net, v, requirement)), _MOST_TRIED):
            if known.late():
                break
            made = known.tried(v, candidate)
            if made is not None:
                return _with(v, made)
    return v


def _with(v: Verdict, mend: Mend) -> Verdict:
    return replace(v, mend=f"{mend.text} {words(mend)}", mends=(mend,))


def words(mend: Mend) -> str:
    """What was found of a mended net."""
    if not mend.unchecked:
        return "(re-verified: PROVED)"
    some = ", ".join(mend.unchecked[:_MOST_NAMED])
    more = len(mend.unchecked) - _MOST_NAMED
    return f"(re-verified: PROVED; not checked again: {some}{f' and {more} more' if more > 0 else ''})"


def _asks_for(v: Verdict, asked: Asked) -> list[Requirement]:
    """The requirements that a verdict may answer: by its title where that tells them apart."""
    same = [r for p, r in asked if p.id == v.property]
    return [r for r in same if r.name == v.title] or [r for r in same if not r.name] or same


def _name(v: Verdict) -> str:
    """What a list calls a verdict: the id, or the words of the user's own property."""
    return v.property if v.property[:1].isupper() else v.title


def _key(v: Verdict) -> tuple[str, str]:
    return v.property, v.title


class _Trials:
    """Tries mends, and remembers what came of them: one change may mend what several verdicts refute."""

    def __init__(self, report: Report, asked: Asked, until: float) -> None:
        self._asked = asked
        self._until = until
        self._before = [v for v in report.verdicts if v.status is Status.PROVED]
        self._proved = {(*_key(v), v.subject) for v in self._before}
        self._refuted = {_key(v) for v in report.verdicts if v.status is Status.REFUTED}
        self._made: list[tuple[Mend, list[Verdict]]] = []

    def late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._until

    def made_before(self, v: Verdict) -> Mend | None:
        """A mend of another verdict that mends this one as well."""
        return next((mend for mend, found in self._made if _does(v, found)), None)

    def tried(self, v: Verdict, candidate: Candidate) -> Mend | None:
        """The mend, if the mended net is proved in what the verdict refutes, and refuted in nothing else."""
        if check_net(candidate.net) or not all(map(self._asks, candidate.needs)):
            return None
        first = [a for a in self._asked if a[0].id == v.property or a[0].id in candidate.needs]
        first += [(CATALOGUE[p], Requirement(p)) for p in candidate.also if not self._asks(p)]
        order = [*first, *(a for a in self._asked if a not in first)]
        found: list[Verdict] = []
        verdicts = each(candidate.net, order, timeout=math.inf, until=self._until)
        try:
            for number, some in enumerate(verdicts, start=1):
                found += some
                if any(map(self._worse, some)):
                    return None
                if number == len(first) and not self._enough(v, candidate, found):
                    return None
                if self.late():
                    break
        except ProvenetError:  # such as a property that speaks of what the mend takes away
            return None
        finally:
            verdicts.close()
        if number < len(first):
            return None
        made = self._mend(candidate, found)
        self._made.append((made, found))
        return made

    def _asks(self, name: str) -> bool:
        return any(p.id == name for p, _ in self._asked)

    def _worse(self, found: Verdict) -> bool:
        """Whether something is refuted that was not."""
        if found.status is not Status.REFUTED:
            return False
        return _key(found) not in self._refuted or (*_key(found), found.subject) in self._proved

    def _enough(self, v: Verdict, candidate: Candidate, found: list[Verdict]) -> bool:
        """Whether a mend does what it is for, and what it needs is proved."""
        needed = [w for w in found if w.property in candidate.needs]
        return _does(v, found, vacuous=candidate.vacuous) and all(w.status is Status.PROVED for w in needed)

    def _mend(self, candidate: Candidate, found: list[Verdict]) -> Mend:
        open_ = {_name(w) for w in found if w.status is not Status.PROVED}
        checked = [n for n in dict.fromkeys(map(_name, found)) if n not in open_]
        before = [n for n in dict.fromkeys(map(_name, self._before)) if n not in checked]
        refuted = {name for pair in self._refuted for name in pair}
        unchecked = [n for n in before if n not in refuted]
        return Mend(candidate.text, candidate.net, tuple(checked), tuple(unchecked))


def _does(v: Verdict, found: Sequence[Verdict], *, vacuous: bool = False) -> bool:
    """Whether these verdicts on a mended net prove what the verdict refutes."""
    mine = [w for w in found if _key(w) == _key(v)]
    about = [w for w in mine if w.subject == v.subject] or mine
    return bool(about) and all(w.status is Status.PROVED and (vacuous or not w.vacuous) for w in about)
