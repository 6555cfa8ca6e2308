"""The cases of one process: which it runs, which it takes up, and how it finds those of others.

On a database of one process all cases are its own. On a shared one each case has an owner; what nobody living
owns is taken over, and a case that is asked for by name is taken up unless another process runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from provenet.engine import early
from provenet.engine.archive import find, pruned
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.clock import Clock, VirtualClock, from_micros
from provenet.engine.errors import (
    CaseClosed,
    CaseElsewhere,
    CaseExists,
    InputRefused,
    KillSwitchOn,
    NoSuchCase,
    NotDeployed,
)
from provenet.engine.faults import fault_point
from provenet.engine.outside import Outside
from provenet.engine.personal import Seal
from provenet.engine.program import Program
from provenet.engine.pruning import LATEST
from provenet.engine.recovery import load_cases
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.vault import PRUNED, Vault
from provenet.engine.versions import Versions, first_state
from provenet.engine.watching.events import CaseStarted, CaseTaken, Event
from provenet.engine.watching.watch import Watch
from provenet.nets.errors import did_you_mean
from provenet.nets.marking import initial_marking

Takes: TypeAlias = Literal["all", "asked", "turns"]
"""Which unfinished cases an engine takes up: all that it can run, only those that it is asked for, or each
for one short turn at a time, when somebody else says that it is time (``provenet.engine.adapters``)."""

ALL = 1_000_000_000
"""As many cases as there are."""

NOTHING: Mapping[str, str] = {}

NUMBERS = 256
"""Case numbers taken from a database at a time."""


class Holding:
    """What one engine holds.

    Args:
        store: The database.
        runner: What moves cases.
        versions: The net versions whose agents are at hand.
        outside: What has pulled kill switches.
        clock: The time.
        takes: Which unfinished cases it takes up.
        watch: Who is told.
        vault: The keys of personal values.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        versions: Versions,
        outside: Outside,
        *,
        clock: Clock,
        takes: Takes,
        watch: Watch | None,
        vault: Vault,
    ) -> None:
        self._store, self._runner, self._versions, self._outside = store, runner, versions, outside
        self._clock, self._takes, self._watch, self._vault = clock, takes, watch, vault
        self._fresh = range(0)

    def resume_clock(self) -> None:
        """Keep by which clock the cases run, and move a virtual one to the last event."""
        kind = "virtual" if isinstance(self._clock, VirtualClock) else "real"
        known = self._store.rows("SELECT value FROM provenet_meta WHERE name = 'clock'")
        if self._takes != "asked" and known != [(kind,)]:
            self._store.put("provenet_meta", "clock", ("clock", kind))
        if isinstance(self._clock, VirtualClock):
            last = max((at for (at,) in self._store.rows(LATEST) if at is not None), default=None)
            if last is not None:
                self._clock.jump(from_micros(last))

    def resume(self) -> None:
        """Take up what the database holds for this process."""
        self._outside.kills = self._kills()
        for status, count in self._store.rows("SELECT status, COUNT(*) FROM provenet_case GROUP BY status"):
            if status not in (*LIVE, "parked"):
                self._runner.statuses[status] += count
        self.adopt(self._versions.programs)

    @property
    def takes(self) -> Takes:
        """Which unfinished cases it takes up."""
        return self._takes

    def is_shared(self) -> bool:
        """Whether other processes may run cases on the database meanwhile."""
        return self._store.database.shared == "yes"

    def has(self, case_id: str) -> bool:
        """Whether the database has a case of that id."""
        known = case_id in self._runner.cases or self._store.case_number(case_id) is not None
        return known or find(self._store, case_id) is not None

    def start(
        self,
        net: str,
        inputs: Mapping[str, Any],
        case_id: str,
        tenant: str,
        subject: str = "",
        known_by: Mapping[str, str] = NOTHING,
    ) -> str:
        """Start a case, for the next commit; its id. Raises what ``Engine.start_case`` raises."""
        self.check()
        for scope in (("all", ""), ("net", net)):
            if scope in self._outside.kills:
                what = "everything" if scope[0] == "all" else f"net {net!r}"
                raise KillSwitchOn(
                    f"{what} was killed", hint="release the kill switch before new cases start"
                )
        program = self._versions.program(net)
        if len(tenant) > 200 or not tenant.isprintable():
            raise InputRefused(f"a tenant is up to 200 printable characters, not {tenant!r:.80}")
        if len(subject) > 200 or not subject.isprintable() or subject.startswith(PRUNED):
            raise InputRefused(f"a subject is up to 200 printable characters, not {subject!r:.80}")
        values, known = first_state(program, case_id, inputs, known_by)
        marking = initial_marking(program.net, values)
        fault_point("start")
        now = self._runner.now()
        case = LiveCase(self._number_for_case(), case_id, program, now, tenant)
        owner = self._store.database.worker
        if program.personal:
            case.seal = self._vault.for_start(subject, now)
        key = "" if case.seal is None else case.seal.key
        row = (case.no, case_id, program.hash, "running", 0, 1, case.head, now, *[None] * 4, 0, owner, tenant)
        if self._store.add_case((*row, key)) == "exists":
            if case.seal is not None and not subject:
                self._vault.unused(case.seal)
            raise _taken(case_id)
        if case.seal is not None:
            self._vault.keep(case.seal)
        self._runner.adopt(case)
        self._later(CaseStarted(case_id, program.net.name, program.hash, now))
        case.known_by = known
        case.start(self._store, marking, now)
        for about in early.known_by(known) if known else ():
            self._store.put("provenet_about", (case.no, about), (case.no, about))
        early.take_along(case, now, self._store)
        self._runner.settle(case, 0, [], all_places=True)
        self._runner.waits.expect_kept(case)
        return case_id

    def adopt(self, programs: Mapping[str, Program], most: int = ALL) -> int:
        """Take up unfinished cases of some net versions that nobody runs; how many."""
        if self._takes == "turns":
            return 0
        # Where nobody else runs, all cases are asked for.
        all_of_them = self._takes == "all" or not self.is_shared()
        numbers = self._store.claim([*programs], most) if all_of_them else []
        # Whoever was only opened to say something need not be able to run everything.
        self._take_up(programs, numbers, self._vault.if_open if self._takes == "asked" else None)
        return len(numbers)

    def _take_up(
        self,
        programs: Mapping[str, Program],
        numbers: Sequence[int],
        seal: Callable[[str, str], Seal | None] | None = None,
    ) -> None:
        waiting = any(p.keeps for p in programs.values()) and early.any_waiting(self._store)
        for case in load_cases(self._store, programs, numbers, seal or self._vault.of_case):
            self._runner.adopt(case)
            self._later(CaseTaken(case.id, case.program.net.name, case.status, self._runner.now()))
            self._outside.obey(case)
            if waiting:
                early.take_along(case, self._runner.now(), self._store)
            if case.status in LIVE:
                self._runner.rearm(case, case.seq)
            else:
                self._runner.waits.expect_kept(case)
            self._store.flush_if_large()

    def lift(self, case: str) -> int:
        """Take up a case for one turn; its number, or 0 if it is over.

        Raises:
            CaseElsewhere: Another process is at its turn.
            NotDeployed: The agent of its net is not at hand.
        """
        self.check()
        no = self.number(case)
        self._store.flush()  # what waits for the next commit is news, and a claim must not wait for it
        ((net, status),) = self._store.rows("SELECT net, status FROM provenet_case WHERE no = ?", (no,))
        if status not in (*LIVE, "parked"):
            return 0
        if net not in self._versions.programs:
            self._versions.load()
        if net not in self._versions.programs:
            raise NotDeployed(f"the agent of net {net[:12]} is not at hand", where=f"case {case!r}")
        if self._store.claim_one(no) == "elsewhere":
            raise CaseElsewhere(f"another process is at case {case!r}", hint="its turn is over soon")
        self._outside.kills = self._kills()
        self._versions.load()  # a version that somebody deployed meanwhile has the policy in force
        self._take_up(self._versions.programs, [no])
        return no

    def number(self, case: str) -> int:
        """A case's number in the store.

        Raises:
            NoSuchCase: There is none of that id.
        """
        live = self._runner.cases.get(case)
        found = self._store.case_number(case) if live is None else live.no
        if found is None:
            past = find(self._store, case)
            if past is not None:
                raise pruned(past)
            last = self._store.rows("SELECT id FROM provenet_case ORDER BY no DESC LIMIT 2000")
            raise NoSuchCase(f"there is no case {case!r}", hint=did_you_mean(case, [i for (i,) in last]))
        return found

    def live(self, case: str) -> LiveCase:
        """A case that moves, taken up where nobody runs it.

        Raises:
            NoSuchCase: There is none of that id.
            CaseElsewhere: Another process runs it.
            CaseClosed: It does not move.
        """
        self.check()
        no = self.number(case)
        if case not in self._runner.cases:
            self._ask_for(case, no)
        live = self._runner.cases.get(case)
        if live is None or live.status not in LIVE:
            raise CaseClosed(
                f"case {case!r} does not move: {self._why_not(live, no)}", hint=f"see `provenet case {case}`"
            )
        return live

    def parked(self, case: str) -> LiveCase:
        """A case that waits for somebody to look at it; raises as ``live`` does."""
        self.check()
        no = self.number(case)
        if case not in self._runner.cases:
            self._ask_for(case, no)
        live = self._runner.cases.get(case)
        if live is None or live.status != "parked":
            raise CaseClosed(f"case {case!r} is not parked", hint=f"see `provenet case {case}`")
        return live

    async def go_on(self, case: LiveCase) -> None:
        """Set a case in motion that was parked."""
        self._outside.obey(case)
        if case.status in LIVE:
            self._runner.rearm(case, case.seq)
        await self._store.durable()

    def _ask_for(self, case: str, no: int) -> None:
        """Take up a case that nobody runs."""
        # One that has just ended here is over only in what waits for the next commit.
        self._store.flush()
        rows = self._store.rows("SELECT status FROM provenet_case WHERE no = ?", (no,))
        if not rows or rows[0][0] not in (*LIVE, "parked"):
            return
        if self._store.claim_one(no) == "elsewhere":
            raise CaseElsewhere(
                f"another process runs case {case!r}", hint="ask that process: provenet.engine.ask"
            )
        self._take_up(self._versions.programs, [no])

    def unless_elsewhere(self, case: str) -> LiveCase | None:
        """An unfinished case in memory; ``None`` where another process runs it."""
        no = self.number(case)
        if case not in self._runner.cases:
            try:
                self._ask_for(case, no)
            except CaseElsewhere:
                return None
        return self._runner.cases.get(case)

    async def obey_others(self) -> None:
        """Let a kill switch that another process pulled reach the cases here."""
        pulled = self._kills()
        new = pulled.items() - self._outside.kills.items()
        self._outside.kills = pulled
        if new:
            for case in tuple(self._runner.cases.values()):
                self._store.flush_if_large()
                self._outside.obey(case)
            await self._store.durable()

    def check(self) -> None:
        """Raise what brought the engine down, if anything did."""
        if self._store.failure is not None:
            raise self._store.failure
        if self._runner.jobs.crash is not None:
            raise self._runner.jobs.crash

    # inside

    def _why_not(self, live: LiveCase | None, no: int) -> str:
        """Why a case does not move."""
        if live is not None and live.status == "parked":
            return f"it is parked: {live.reason or ''}"
        if live is not None:
            return f"it is over: {live.status}"
        ((status,),) = self._store.rows("SELECT status FROM provenet_case WHERE no = ?", (no,))
        return "its agent was not given" if status in (*LIVE, "parked") else f"it is over: {status}"

    def _number_for_case(self) -> int:
        if not self._fresh:
            first = self._store.database.case_numbers(NUMBERS)
            self._fresh = range(first, first + NUMBERS)
        no, self._fresh = self._fresh[0], self._fresh[1:]
        return no

    def _kills(self) -> dict[tuple[str, str], tuple[int, str]]:
        """The kill switches that are on, for a net or for all."""
        rows = self._store.rows(
            "SELECT scope, target, at, who FROM provenet_kill"
            " WHERE released IS NULL AND scope <> 'case' ORDER BY at"
        )
        return {(scope, target): (at, who) for scope, target, at, who in rows}

    def _later(self, event: Event) -> None:
        if self._watch is not None:
            self._watch.later(event)


def _taken(case_id: str) -> CaseExists:
    return CaseExists(f"there is a case {case_id!r} already", hint="give the case another id")
