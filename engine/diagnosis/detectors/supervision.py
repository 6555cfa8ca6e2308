"""P4: supervisor and gate. Restarts that change nothing, and verdicts that take long."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log

from provenet.engine.diagnosis.finding import Few, Finding, Signature
from provenet.engine.diagnosis.intervals import at_least
from provenet.engine.diagnosis.lineage import Run, Runs
from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.engine.diagnosis.signatures import ALPHA, SELDOM, SIGNATURES, SLOW, TRANSIENT, significant
from provenet.nets.net import Judge, Role
from provenet.nets.schema import microseconds


@dataclass(frozen=True, slots=True)
class _Chain:
    """A failure that was followed by a restart, and how many restarts in a row ended with the same one."""

    contract: str
    crash: str
    case: str
    entries: tuple[int, ...]
    restarts: int


class Hopeless:
    """P4a: a child dies of the same failure after every restart."""

    signature: Signature = SIGNATURES["P4a"]

    def __init__(self) -> None:
        self._restarted = 0
        self._longest: dict[tuple[str, str, str], list[_Chain]] = {}

    def look(self, case: CaseHistory) -> None:
        """Look for runs that end with the same failure, one after the other."""
        found = [c for run in Runs.of(case).last_of_chains() for c in _chains(case, run)]
        found += _restarts(case, {c.contract for c in found if c.restarts})
        self._restarted += len(found)
        for chain in found:
            known = self._longest.setdefault((case.net.name, chain.contract, chain.crash), [])
            known.append(chain)
            known.sort(key=lambda c: -c.restarts)
            del known[_KEPT:]

    def findings(self) -> list[Finding]:
        """One for each child and failure."""
        most = most_by_chance(self._restarted)
        found = []
        for (net, child, crash), chains in self._longest.items():
            long = [c for c in chains if c.restarts > most]
            if not long:
                continue
            seen = Few()
            for c in long:
                seen.add(c.case, c.entries, f"{c.restarts} restarts, each ended by {crash}")
            worst = long[0].restarts
            said = (
                f"{child!r} ended with {crash!r} after each of up to {worst} restarts; chance explains "
                f"{most} at most in a log with {self._restarted} failures that were followed by a restart"
            )
            numbers = {"chains": len(long), "restarts": worst, "by_chance": most}
            found.append(self.signature.found(net, child, said, seen, **numbers))
        return found


_KEPT = 50
"""Chains of one child and failure that are remembered, the longest ones."""


def most_by_chance(chains: int) -> int:
    """The most restarts in a row that a passing failure strikes, in so many chains."""
    return int(log(max(chains, 1) / ALPHA) / log(1 / TRANSIENT))


def _chains(case: CaseHistory, last: Run) -> list[_Chain]:
    """Stretches of runs that follow from each other and end with the same failure."""
    found: list[_Chain] = []
    same: list[Run] = []
    for run in [*last.chain(), None]:
        if run is not None and run.crash and run.ended and same and run.crash == same[0].crash:
            same.append(run)
            continue
        if len(same) > 1 or (same and run is not None):
            ended = tuple(r.ended for r in same)
            found.append(_Chain(same[0].contract, same[0].crash, case.id, ended, len(same) - 1))
        same = [run] if run is not None and run.crash and run.ended else []
    return found


def _restarts(case: CaseHistory, known: set[str]) -> list[_Chain]:
    """Restarts by a declared supervisor, one after the other for the same task.

    Args:
        case: The case.
        known: Contracts whose own runs tell what happened: of those, nothing is told twice.
    """
    found = []
    for info in case.net.patterns:
        restart, over = set(info.part("restart")), {*info.part("done"), *info.part("escalate")}
        if info.kind != "supervisor" or not restart or known & set(info.part("worker")):
            continue
        entries: list[int] = []
        for firing in [*case.firings, None]:
            name = "" if firing is None else firing.transition.name
            if firing is not None and name in restart:
                entries.append(firing.seq)
            elif firing is None or name in over or firing.role is Role.COMMIT or firing.decided:
                if entries:
                    found.append(_Chain(info.id, "no result", case.id, tuple(entries), len(entries)))
                entries = []
    return found


@dataclass(slots=True)
class _Verdicts:
    slow: int = 0
    of: int = 0
    worst: int = 0
    kind: str = "policy"
    seen: Few = field(default_factory=Few)


class SlowGate:
    """P4b: verdicts take long."""

    signature: Signature = SIGNATURES["P4b"]

    def __init__(self) -> None:
        self._verdicts: dict[tuple[str, str], _Verdicts] = {}

    def look(self, case: CaseHistory) -> None:
        """Measure how long verdicts took."""
        for firing in case.firings:
            if firing.role not in {Role.ACCEPT, Role.REJECT} or not firing.contract:
                continue
            v = self._verdicts.setdefault((case.net.name, firing.contract), _Verdicts())
            took = _thought(case, firing)
            v.of += 1
            v.worst = max(v.worst, took)
            if isinstance(firing.transition.trigger, Judge):
                v.kind = f"function {firing.transition.trigger.handler!r}"
            if took > microseconds(SLOW):
                v.slow += 1
                v.seen.add(case.id, (firing.seq,), f"the verdict took {took / 1000:.0f} ms")

    def findings(self) -> list[Finding]:
        """One for each contract."""
        found = []
        for (net, contract), v in self._verdicts.items():
            chance = at_least(v.slow, v.of, SELDOM)
            if significant(chance, len(self._verdicts)):
                said = (
                    f"{v.slow} of {v.of} verdicts of {contract!r} (by a {v.kind}) took longer than "
                    f"{microseconds(SLOW) // 1000} ms, up to {v.worst / 1000:.0f} ms"
                )
                numbers = {"verdicts": v.of, "slow": v.slow, "worst_ms": v.worst / 1000, "chance": chance}
                found.append(self.signature.found(net, contract, said, v.seen, **numbers))
        return found


def _thought(case: CaseHistory, firing: Firing) -> int:
    """How long a verdict took: it follows at once from the entry before it, unless the case stood still."""
    since = max((case.arrived.get(token, 0) for token in firing.took), default=0)
    return firing.at - max(firing.before, since)
