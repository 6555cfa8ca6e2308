"""P6: the human in the loop. Approvals that fall to their time-out, and a switch that does not stop work."""

from __future__ import annotations

from dataclasses import dataclass, field

from provenet.engine.diagnosis.finding import Few, Finding, Signature
from provenet.engine.diagnosis.intervals import at_least, clopper_pearson
from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.engine.diagnosis.signatures import GRACE, MISSED, SIGNATURES, significant
from provenet.nets.net import Choice, Net, Role
from provenet.nets.schema import microseconds


@dataclass(slots=True)
class _Decisions:
    missed: int = 0
    of: int = 0
    denied: int = 0
    seen: Few = field(default_factory=Few)


class Overloaded:
    """P6a: approvals fall to their time-out."""

    signature: Signature = SIGNATURES["P6a"]

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], _Decisions] = {}

    def look(self, case: CaseHistory) -> None:
        """Count what people decided, and what time decided for them."""
        asked = _asked(case.net)
        for firing in case.firings:
            trigger, takes = firing.transition.trigger, firing.transition.takes
            if isinstance(trigger, Choice):
                self._task(case, trigger.task).of += 1
                continue
            if (
                not firing.timed
                or not takes
                or any(p.place == takes[0].place for p in firing.transition.puts)
            ):
                continue
            for task in asked.get(takes[0].place, ()):
                decisions = self._task(case, task)
                decisions.of += 1
                decisions.missed += 1
                says = f"{firing.transition.name} decided in the place of {task!r}"
                decisions.seen.add(case.id, (firing.seq,), says)

    def findings(self) -> list[Finding]:
        """One for each task."""
        found = []
        for (net, task), d in self._tasks.items():
            chance = at_least(d.missed, d.of, MISSED)
            if significant(chance, len(self._tasks)):
                low, high = clopper_pearson(d.missed, d.of)
                said = (
                    f"{d.missed} of {d.of} decisions of {task!r} were made by their deadline "
                    f"({low:.0%} to {high:.0%} of all that come, at 95%)"
                )
                numbers = {"decisions": d.of, "missed": d.missed, "low": low, "high": high, "chance": chance}
                found.append(self.signature.found(net, task, said, d.seen, **numbers))
        return found

    def _task(self, case: CaseHistory, task: str) -> _Decisions:
        return self._tasks.setdefault((case.net.name, task), _Decisions())


def _asked(net: Net) -> dict[str, set[str]]:
    """The tasks whose token waits in a place."""
    found: dict[str, set[str]] = {}
    for t in net.transitions:
        if isinstance(t.trigger, Choice) and t.takes:
            found.setdefault(t.takes[0].place, set()).add(t.trigger.task)
    return found


class Unstopped:
    """P6b: work is committed after the kill switch was pulled."""

    signature: Signature = SIGNATURES["P6b"]

    def __init__(self) -> None:
        self._seen: dict[str, Few] = {}
        self._count: dict[str, int] = {}
        self._pulls: dict[str, int] = {}

    def look(self, case: CaseHistory) -> None:
        """Look for commits that began after the switch."""
        after = next(iter(_pulled(case)), None)
        if after is None:
            return
        net = case.net.name
        self._pulls[net] = self._pulls.get(net, 0) + 1
        for firing in case.firings:
            if firing.role is not Role.COMMIT or not _began(case, firing, after):
                continue
            self._count[net] = self._count.get(net, 0) + 1
            late = (firing.at - after.at) / 1e6
            says = f"{firing.transition.name} fired {late:.0f} s after the switch was pulled"
            entries = (after.seq, firing.seq) if after.seq else (firing.seq,)
            self._seen.setdefault(net, Few()).add(case.id, entries, says)

    def findings(self) -> list[Finding]:
        """One for each net."""
        return [
            self.signature.found(
                net,
                "kill switch",
                f"{self._count[net]} commits began after the kill switch had reached their case",
                seen,
                commits=self._count[net],
                pulls=self._pulls[net],
            )
            for net, seen in self._seen.items()
        ]


@dataclass(frozen=True, slots=True)
class _Pulled:
    """A pull of the switch as a case knows it: the entry, or the time where it has none."""

    seq: int
    at: int


def _pulled(case: CaseHistory) -> list[_Pulled]:
    """When the switch reached a case, or should have: the first time."""
    found = [_Pulled(f.seq, f.at) for f in case.firings if f.role is Role.KILL]
    found += [_Pulled(o.seq, o.at) for o in case.others if o.kind == "kill"]
    if not found:
        found = [_Pulled(0, at + microseconds(GRACE)) for at, _, scope in case.kills if scope != "case"]
    return sorted(found, key=lambda p: p.at)


def _began(case: CaseHistory, commit: Firing, pulled: _Pulled) -> bool:
    """Whether a commit began after the switch: one whose intent was written before may end."""
    makers = [case.maker[token] for token in commit.took if token in case.maker]
    begins = next((m for m in makers if m.role is Role.INTENT), commit)
    return begins.seq > pulled.seq if pulled.seq else begins.at > pulled.at
