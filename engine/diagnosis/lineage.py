"""Which token led to which: runs of a contract, and those that follow from an earlier one's failure.

A run begins when a contract takes its inputs and ends when it commits, gives up or fails. A run follows from
another one of the same contract where its inputs descend from what that one left behind when it failed, and
neither a person nor an event from outside has decided anything in between: then the net itself asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.nets.net import Role
from provenet.sdb.reject import REJECT, Reject

ENDED_BADLY = frozenset({Role.GIVE_UP, Role.FAIL})
"""Roles that end a run without a commit."""


@dataclass(slots=True, eq=False)
class Run:
    """A run of a contract.

    Attributes:
        contract: The contract's id.
        begun: Entry of its beginning.
        retries: How often it asked again by itself.
        crash: Rule of its last failure, where that was none of the verifier's; empty where there is none.
        ended: Entry of its end; 0 while it runs.
        after: The run of the same contract from whose failure it follows.
    """

    contract: str
    begun: int
    retries: int = 0
    crash: str = ""
    ended: int = 0
    after: Run | None = None

    def chain(self) -> list[Run]:
        """This run and those that it follows from, the first one first."""
        found: list[Run] = []
        run: Run | None = self
        while run is not None:
            found.append(run)
            run = run.after
        return found[::-1]


@dataclass(slots=True)
class _Trail:
    """What is known of a token: the run that it is in, and the failed runs that it descends from."""

    run: Run | None = None
    failed: tuple[Run, ...] = ()


@dataclass(slots=True)
class Runs:
    """All runs of a case, in the order they began.

    Attributes:
        all: The runs.
        places: Where a token is in the end that descends from what a run left behind when it failed.
    """

    all: list[Run] = field(default_factory=list)
    places: frozenset[str] = frozenset()

    @classmethod
    def of(cls, case: CaseHistory) -> Runs:
        """Follow the tokens of a case."""
        found = cls()
        trails: dict[int, _Trail] = {}
        for firing in case.firings:
            found._follow(firing, trails)
        left = {h.place for f in case.firings for h in f.put if h.id in trails and trails[h.id].failed}
        found.places = frozenset(left)
        return found

    def last_of_chains(self) -> Iterator[Run]:
        """Runs that no other follows from."""
        followed = {id(run.after) for run in self.all if run.after is not None}
        return (run for run in self.all if id(run) not in followed)

    def _follow(self, firing: Firing, trails: dict[int, _Trail]) -> None:
        taken = [trails.pop(token) for token in firing.took if token in trails]
        for token in firing.reset:
            trails.pop(token, None)
        failed = () if firing.decided else tuple(dict.fromkeys(r for t in taken for r in t.failed))
        run = next((t.run for t in taken if t.run is not None and t.run.contract == firing.contract), None)
        if firing.role is Role.BEGIN or (run is None and firing.role is Role.PROPOSE):
            run = Run(firing.contract, firing.seq)
            run.after = next((r for r in reversed(failed) if r.contract == firing.contract), None)
            self.all.append(run)
        if run is None:
            if failed:
                trails.update((held.id, _Trail(None, failed)) for held in firing.put)
            return
        if firing.role is Role.RETRY:
            run.retries += 1
        if firing.role in {Role.FAULT, Role.FAIL}:
            run.crash = rule_of(firing) or firing.role.value
        elif firing.role is Role.PROPOSE:
            run.crash = ""
        trail = _Trail(run, failed)
        if firing.role in ENDED_BADLY:
            run.ended = firing.seq
            trail = _Trail(None, (*failed, run))
        elif firing.role is Role.COMMIT:
            run.ended = firing.seq
            trail = _Trail()
        trails.update((held.id, trail) for held in firing.put)


def has_failed(case: CaseHistory, places: Iterable[str] = ()) -> bool:
    """Whether a case counts as a failure.

    Args:
        case: The case.
        places: Where a case that ended has failed; without any, one has that ended with what a contract gave
            up on, and nobody decided anything about it.
    """
    wanted = set(places)
    if case.status in {"failed", "parked"}:
        return True
    return case.place in (wanted or Runs.of(case).places)


def rule_of(firing: Firing) -> str:
    """The rule of the signal that a firing brought; empty where it brought none."""
    for fresh in firing.transition.fresh:
        if fresh.type == REJECT:
            value = firing.binding.get(fresh.var)
            return Reject.of(value).rule if isinstance(value, tuple) else ""
    return ""


def line(case: CaseHistory, tokens: tuple[int, ...]) -> Iterator[Firing]:
    """The firings that tokens descend from, the nearest first."""
    agenda, seen = list(tokens), set[int]()
    while agenda:
        made = case.maker.get(agenda.pop(0))
        if made is not None and made.seq not in seen:
            seen.add(made.seq)
            yield made
            agenda += made.took
