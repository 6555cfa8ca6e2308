"""A supervisor: a worker that dies, hangs or talks nonsense is restarted, and in the end left to somebody.

::

    takes ─[start]─▶ (working) ──────────[collect]──▶ gives                          ┐
              ├────▶ the slot's worker ────▲                                         ├─▶ (idle)
              ▲              │ silent, late or failed: all of it is emptied          │
              └─[restart]─ (paused) ◀─[again]─ (given up) ─[escalate]─▶ escalated    ┘

One worker, restarted by itself (one for one): after a pause that grows, so many times, then it is somebody
else's matter. A worker that is given up leaves nothing behind, so nothing that it says later counts; it has
done nothing outside either, since it only proposes. Several workers are several of these: the restart of
one touches no other.

This supervises a *worker of the net*, such as an agent that works on one task of one case, and is proved
with the net. The processes that run cases have a supervisor of their own (``provenet.engine.supervisor``):
a process that dies is no failure of any worker here, since its cases go on elsewhere where they were.

The lineage is Erlang/OTP's (Armstrong, "Making reliable distributed systems in the presence of software
errors", 2003).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.expr.ast import (
    Const,
)
from provenet.nets.expr.build import Term, choose, make, term
from provenet.nets.net import PatternInfo, Requirement, Signal
from provenet.nets.patterns.slot import Filled, Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import always, bound, formula
from provenet.nets.schema import DURATION, INT, Field, RecordType


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a worker says that it lives.

    Attributes:
        event: Name of the event; its payload is a whole number, the ``run`` that the worker was started as.
        silence: A worker that was not heard of for so long is given up.
    """

    event: str
    silence: timedelta


@dataclass(frozen=True, slots=True)
class Supervised:
    """A worker that is restarted when it fails, is late or falls silent.

    With a ``heartbeat`` it takes a record of ``task`` and ``run``, the number that its beats have to bear;
    without one it takes the task.

    Attributes:
        id: Name of the pattern's part of the net.
        takes: Where tasks come from; one is worked on at a time.
        gives: Where results go.
        escalated: Where a task goes that no restart mended.
        work: The worker; see ``Slot``. It proposes: what reaches the outside comes behind ``gives``.
        within: How long one run of it may take.
        restarts: Most restarts for one task.
        first: The pause before the first restart.
        factor: What each pause is multiplied by for the next.
        longest: None is longer.
        heartbeat: How it says that it lives.
    """

    id: str
    takes: PlaceRef
    gives: PlaceRef
    escalated: PlaceRef
    work: Work
    within: timedelta
    restarts: int = 3
    first: timedelta = timedelta(seconds=10)
    factor: int = 2
    longest: timedelta = timedelta(hours=1)
    heartbeat: Heartbeat | None = None

    def expand(self, net: NetBuilder) -> SupervisedHandle:
        """Add the pattern to a net."""
        return _Supervising(self, net).run()

    def pause(self, run: int) -> timedelta:
        """The pause after the run of that number, from 1."""
        pause = self.first
        for _ in range(1, run):
            pause = min(pause * self.factor, self.longest)
        return pause


@dataclass(frozen=True, slots=True)
class SupervisedHandle:
    """A supervised worker in a net.

    Attributes:
        idle: Marked while it has no task.
        working: The task that it works on, with the number of the run.
        guarantees: What is to be proved of it wherever it stands; the net requires it.
    """

    idle: PlaceRef
    working: PlaceRef
    guarantees: tuple[Requirement, ...]


class _Supervising:
    """One expansion of a supervised worker."""

    def __init__(self, pattern: Supervised, net: NetBuilder) -> None:
        self.p, self.net, self.id = pattern, net, pattern.id
        self._check()
        task = pattern.takes.type
        self.job = RecordType(
            f"{self.id}.job", (Field("task", task), Field("run", INT), Field("pause", DURATION))
        )
        self.start = RecordType(f"{self.id}.start", (Field("task", task), Field("run", INT)))
        self.idle = net.place(f"{self.id}.idle", initial=[()])
        self.working = net.place(f"{self.id}.working", self.job)
        self.paused: tuple[PlaceRef, ...] = ()
        self.given_up = net.place(f"{self.id}.given up", self.job)
        net.rests(self.idle)
        given = task if pattern.heartbeat is None else self.start
        self.slot = Slot(
            id=f"{self.id}.worker",
            takes=net.place(f"{self.id}.todo", given),
            gives=net.place(f"{self.id}.result", pattern.gives.type),
            failed=net.place(f"{self.id}.failed", given),
        )
        self.term = (net.place(f"{self.id}.term"),) if pattern.heartbeat is not None else ()

    def run(self) -> SupervisedHandle:
        p, net, id_ = self.p, self.net, self.id
        added = fill(net, self.slot, p.work)
        inside = (self.slot.takes, self.slot.gives, self.slot.failed, *added.places)
        self._held_to_its_part(added, inside)
        j = {"j": self.working}
        clock = {f"_{n}": place for n, place in enumerate(self.term)}
        first = make(self.job, task=term("t", p.takes.type), run=1, pause=p.first)
        start = self._started(first, inside[0])
        net.route(f"{id_}.start", takes={"t": p.takes, "_idle": self.idle}, puts=start)
        takes = {"r": self.slot.gives, **j, **clock}
        net.route(f"{id_}.collect", takes=takes, puts={p.gives: "r", self.idle: None})
        # What is given up is emptied, and stands as it did before its first run.
        gone: dict[PlaceRef, Any] = {place: Const(value, place.type) for place, value in added.initial}
        gone[self.given_up] = "j"
        gives_up = ["late"] if p.heartbeat is None else ["silent", "late"]
        if any(put.place == self.slot.failed.name for t in added.transitions for put in t.puts):
            gives_up.append("give up")
            rest = tuple(place for place in inside if place != self.slot.failed)
            takes = {"_failed": self.slot.failed, **j, **clock}
            net.route(f"{id_}.give up", takes=takes, puts=gone, resets=rest)
        if p.heartbeat is None:
            net.timer(f"{id_}.late", after=p.within, takes=j, puts=gone, resets=inside)
        else:
            self._heard(p.heartbeat)
            silence = p.heartbeat.silence
            net.timer(f"{id_}.silent", after=silence, takes={**j, **clock}, puts=gone, resets=inside)
            net.timer(f"{id_}.late", after=p.within, takes={**clock, **j}, puts=gone, resets=inside)
        again = self._again(inside[0]) if p.restarts else ()
        net.route(
            f"{id_}.escalate",
            takes={"j": self.given_up},
            when=(lambda j: j.run > p.restarts) if again else None,
            puts={p.escalated: lambda j: j.task, self.idle: None},
        )
        # A pattern within may have several tokens at work, and some from the start.
        alone = inside if not (added.patterns or added.initial) else inside[:3]
        guarantees = tuple(self._guarantees(alone))
        net.require(*guarantees)
        parts = {
            "worker": tuple(c.id for c in added.contracts) or (self.slot.takes.name,),
            "start": (f"{id_}.start",),
            "restart": again,
            "give up": tuple(f"{id_}.{name}" for name in gives_up),
            "escalate": (f"{id_}.escalate",),
            "done": (f"{id_}.collect",),
        }
        figures = (("restarts", p.restarts), ("seconds", int(p.within.total_seconds())))
        named = tuple((part, names) for part, names in parts.items() if names)
        net.declare(PatternInfo("supervisor", id_, named, figures))
        return SupervisedHandle(self.idle, self.working, guarantees)

    def _again(self, takes: PlaceRef) -> tuple[str, ...]:
        """The way from a run that was given up to the next one; the names of what begins it."""
        net, p, job = self.net, self.p, term("j", self.job)
        paused = net.place(f"{self.id}.paused", self.job)
        self.paused = (paused,)
        net.route(
            f"{self.id}.again",
            takes={"j": self.given_up},
            when=lambda j: j.run <= p.restarts,
            puts={paused: "j"},
        )
        anew = self._started(job.with_(run=job.run + 1, pause=self._pause(job.run + 1)), takes)
        net.timer(f"{self.id}.restart", after=lambda j: j.pause, takes={"j": paused}, puts=anew)
        return (f"{self.id}.restart",)

    def _heard(self, beat: Heartbeat) -> None:
        """A beat of the run at work starts the silence anew; one of an earlier run changes nothing."""
        net, j = self.net, {"j": self.working}
        events = {t.trigger.event for t in net.so_far().transitions if isinstance(t.trigger, Signal)}
        if beat.event in events:
            where = f"supervised {self.id!r}"
            net.mistake("PN137", where, f"the event {beat.event!r} is another's", "one event for each worker")
        net.event(
            f"{self.id}.beat",
            event=beat.event,
            takes=j,
            brings={"run": INT},
            ensures=lambda j, run: j.run == run,
            puts={self.working: "j"},
        )
        net.event(
            f"{self.id}.late beat",
            event=beat.event,
            reads=j,
            brings={"run": INT},
            ensures=lambda j, run: j.run != run,
        )
        net.ignore(beat.event, unless=[self.working])

    def _started(self, job: Term, takes: PlaceRef) -> dict[PlaceRef, Any]:
        """What a run begins with."""
        task: Any = job.task if self.p.heartbeat is None else make(self.start, task=job.task, run=job.run)
        return {self.working: job, takes: task, **dict.fromkeys(self.term)}

    def _pause(self, run: Term) -> Term | timedelta:
        """The pause after a run: from a table, since a product may go beyond any duration."""
        pause: Term | timedelta = self.p.pause(self.p.restarts + 1)
        for n in range(self.p.restarts, 0, -1):
            if self.p.pause(n) < self.p.pause(self.p.restarts + 1):
                pause = choose(run <= n, self.p.pause(n), pause)
        return pause

    def _guarantees(self, inside: Sequence[PlaceRef]) -> Iterator[Requirement]:
        p, name = self.p, self.id
        started = f"{name}: it is restarted at most {p.restarts} times for a task"
        yield always(self.working.name, of=self.job, where=lambda it: it.run <= p.restarts + 1, name=started)
        pauses = f"{name}: each pause is {p.factor} times the one before, until it is the longest"
        for place in self.paused:
            yield always(
                place.name, of=self.job, where=lambda it: it.pause == self._pause(it.run), name=pauses
            )
        stale = f"{name}: nothing is left of a worker that was given up, and one works at a time"
        places = (self.idle, self.given_up, *self.paused, *inside)
        yield bound(*(place.name for place in places), k=1, name=stale)
        # Said of places that are empty when a case ends, so that it is proved where all cases end.
        task = " + ".join(f'"{place.name}"' for place in (self.working, self.given_up, *self.paused))
        ended = f"{name}: every task ends with a result, or escalated"
        yield formula(f"AG AF {task} <= 0", name=ended)

    def _check(self) -> None:
        p, net, where = self.p, self.net, f"supervised {self.p.id!r}"
        zero = timedelta(0)
        if not isinstance(p.restarts, int) or isinstance(p.restarts, bool) or not 0 <= p.restarts <= 100:
            net.mistake("PN137", where, f"restarts is {p.restarts!r}", "give a number from 0 to 100")
        if p.first <= zero or p.longest < p.first or p.factor < 2:
            net.mistake("PN137", where, "its pauses do not grow", "first > 0, longest >= first, factor >= 2")
        if p.within <= zero or (p.heartbeat is not None and not zero < p.heartbeat.silence <= p.within):
            net.mistake("PN137", where, "its deadlines do not fit", "0 < silence <= within")
        if p.escalated.type != p.takes.type:
            net.mistake("PN137", where, f"escalated holds {p.escalated.type}", f"it gets a {p.takes.type}")

    def _held_to_its_part(self, added: Filled, inside: Sequence[PlaceRef]) -> None:
        """A worker proposes, asks once and keeps to its places: what is restarted has done nothing yet."""
        net, where = self.net, f"supervised {self.id!r}"
        for effect in added.effects:
            net.mistake(
                "PN137",
                where,
                f"{effect.name!r} performs an effect, and a restart would do it again",
                "let the worker propose, and put a contract with the commit behind gives",
            )
        asks = [(f"contract {c.id!r}", c.attempts) for c in added.contracts]
        for p in added.patterns:
            again = p.figure("retries") or p.figure("restarts") or 0
            asks += [(f"{p.kind} {p.id!r}", 1 + again)]
        for name, times in asks:
            if times > 1:
                net.mistake(
                    "PN137",
                    where,
                    f"{name} asks {times} times by itself, and is restarted as well",
                    "attempts=1, retries=0: trying again is the supervisor's",
                )
        own = {place.name for place in inside}
        for t in added.transitions:
            for name in (*(a.place for a in t.takes), *t.resets, *(put.place for put in t.puts)):
                if name not in own:
                    net.mistake(
                        "PN137",
                        where,
                        f"{t.name!r} takes from or puts into {name!r}, which is not the worker's",
                        "a worker works between the places of its slot; it may read others",
                    )
