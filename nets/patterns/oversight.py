"""Oversight: a kill switch, escalation, approval and a rate limit, with one audit trail.

::

    a proposal  ──[approve | deny | no answer]──▶ approved, or denied          approval: silence is a no
    a case      ──[suspend]─▶ (asked 1) ─[silent]─▶ (asked 2) ... ──▶ resumes, or ends          escalation
    the switch  ──[kill]─▶ the scope aborts, wherever the case is                               kill switch
    work        ──[pass]─▶ goes on, so often in a span of time ──[hold]─▶ (held) until then     rate limit
                     │
                     └──▶ (trail): which plane, what was decided, who had the say, by which policy, why

Each of the four planes stands alone; what they share is the trail (``Oversight``). It is one token: the
latest decision, which every decision of any plane takes and replaces. The trail as a whole is the case's
log, a chain of hashes: any moment of a case can be looked at again, with the decision that was the latest
then. The token says which role had the say, by which version of which policy, and why it was asked at all;
the log's entry of a person's choice names the person, and has the hash of what the person was shown.

The lineage is supervisory control (Sheridan, "Telerobotics, automation, and human supervisory control",
1992), and the two-man rule and the dead man's switch, which are older.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.expr.ast import Const
from provenet.nets.expr.build import Term, make
from provenet.nets.net import Choice, PatternInfo, Put, Requirement, Role, Take
from provenet.nets.patterns.slot import Scope
from provenet.nets.quick import dataclass
from provenet.nets.requirements import always, bound, cap, formula, never, precedes, responds
from provenet.nets.schema import INT, STR, EnumType, Field, OptionalType, RecordType, Type

Plane: TypeAlias = Literal["approval", "escalation", "kill switch", "rate limit"]
"""Which plane a decision is of."""

Verdict: TypeAlias = Literal[
    "approved", "denied", "no answer", "suspended", "handed over", "killed", "held back"
]
"""What was decided: by people, or by time in their place."""

Why: TypeAlias = str | Callable[..., Any]
"""A text, or a lambda over ``inputs`` that gives one: why anybody is asked, for the trail."""

ENTRY = RecordType(
    "Entry",
    (
        Field("plane", EnumType("Plane", get_args(Plane))),
        Field("part", STR),
        Field("verdict", EnumType("Verdict", get_args(Verdict))),
        Field("who", STR),
        Field("policy", STR),
        Field("why", STR),
        Field("note", OptionalType(STR)),
    ),
)
"""A token of the trail.

``part`` is the id of the plane's part, ``who`` the role that had the say (empty where it was time, or the
switch), and ``note`` what the person said about it.
"""


@dataclass(frozen=True, slots=True)
class Oversight:
    """The audit trail that planes of oversight share.

    Attributes:
        id: Name of the pattern's part of the net.
        policy: Name and version of the policy that says who decides what, such as ``oversight v3``.
    """

    id: str
    policy: str

    def expand(self, net: NetBuilder) -> OversightHandle:
        """Add the trail to a net."""
        trail = net.place(f"{self.id}.trail", OptionalType(ENTRY), initial=[None])
        net.rests(trail)
        where = f"oversight {self.id!r}"
        if not self.policy:
            net.mistake("PN140", where, "its policy has no name", 'policy="oversight v3", with its version')
        handle = OversightHandle(self.id, self.policy, trail, ())
        nobody = handle.entry("approval", "", "denied", who="", why="")

        def sound(it: Term) -> Term:
            entry = it.or_else(nobody)
            sound: Term = (entry.policy == self.policy) & ((entry.verdict != "approved") | (entry.who != ""))
            return sound

        by_role = f"{self.id}: nothing on the trail was approved by nobody, or by another policy"
        guarantees = (
            bound(trail.name, k=1, name=f"{self.id}: there is one trail"),
            always(trail.name, of=trail.type, where=sound, name=by_role),
        )
        net.require(*guarantees)
        net.declare(PatternInfo("oversight", self.id, parts=(("trail", (trail.name,)),)))
        return replace(handle, guarantees=guarantees)


@dataclass(frozen=True, slots=True)
class OversightHandle:
    """A trail in a net.

    Attributes:
        id: Its name.
        policy: Name and version of the policy.
        trail: The latest decision; null before the first.
        guarantees: What is to be proved of it; the net requires it.
    """

    id: str
    policy: str
    trail: PlaceRef
    guarantees: tuple[Requirement, ...]

    def entry(
        self, plane: Plane, part: str, verdict: Verdict, *, who: str, why: Any, note: Any = None
    ) -> Term:
        """A token for the trail."""
        return make(
            ENTRY, plane=plane, part=part, verdict=verdict, who=who, policy=self.policy, why=why, note=note
        )


# approval


@dataclass(frozen=True, slots=True)
class Approval:
    """A person approves a proposal before it happens; who does not answer in time has denied it.

    Lambdas read ``inputs``, the token in question.

    Attributes:
        id: Name of the task.
        on: The trail.
        takes: Where the proposal waits.
        approve: Where it goes when it was approved.
        deny: Where it goes when it was denied, or nobody answered.
        who: Role that the person needs.
        within: Deadline.
        why: Why a person is asked.
        before: Effects that are never performed with anything but what this task has approved.
        about: What the person is shown, and the approval binds to; by default the token.
        on_approve: The token for ``approve``; by default the token itself.
        on_deny: The token for ``deny``; by default the token itself.
        eyes: How many different people have to approve; one who denies is enough.
        fallback: Another role that may decide as well, and how long after the token's arrival.
    """

    id: str
    on: OversightHandle
    takes: PlaceRef
    approve: PlaceRef
    deny: PlaceRef
    who: str
    within: timedelta
    why: Why = ""
    before: Sequence[str] = ()
    about: Callable[..., Any] | None = None
    on_approve: Callable[..., Any] | None = None
    on_deny: Callable[..., Any] | None = None
    eyes: int = 1
    fallback: tuple[str, timedelta] | None = None

    def expand(self, net: NetBuilder) -> ApprovalHandle:
        """Add the plane to a net."""
        no = (self.deny, self.on_deny)
        asked = _Asked(net, self.on, "approval", self.id, self.takes, self.why)
        said = _Said(net, self.on, self.id, self.takes.type)
        asked.people(
            self.who,
            yes=said.leads("yes", (self.approve, self.on_approve)),
            no=said.leads("no", no),
            about=self.about,
            eyes=self.eyes,
            fallback=self.fallback,
            within=self.within,
        )
        silent = asked.silence(self.within, "no answer", no)
        effects = (self.before,) if isinstance(self.before, str) else tuple(self.before)
        only = "is performed only as this task has approved it"
        guarantees = (
            Requirement("CTL-3"),
            *(never(effect=e, unless=self.id, name=f"{self.id}: {e} {only}") for e in effects),
        )
        net.require(*guarantees)
        parts = (("task", (self.id,)), ("deadline", (silent,)), ("trail", (self.on.trail.name,)))
        figures = (("seconds", int(self.within.total_seconds())), ("eyes", self.eyes))
        net.declare(PatternInfo("oversight", self.id, parts, figures))
        return ApprovalHandle(self.id, silent, guarantees)


@dataclass(frozen=True, slots=True)
class ApprovalHandle:
    """An approval in a net.

    Attributes:
        id: The task, for ``unless=`` of ``never``.
        silent: Name of the timer that denies where nobody answers.
        guarantees: What is to be proved of it; the net requires it.
    """

    id: str
    silent: str
    guarantees: tuple[Requirement, ...]


# escalation


@dataclass(frozen=True, slots=True)
class Level:
    """Who is asked, and for how long.

    Attributes:
        who: Role that the person needs.
        within: How long this level has, before the next one is asked in its place.
        eyes: How many different people have to let it go on.
    """

    who: str
    within: timedelta
    eyes: int = 1


@dataclass(frozen=True, slots=True)
class Escalation:
    """A case is suspended until a person says whether it goes on; where one is silent, the next is asked.

    Nothing runs meanwhile: the suspended case is a row with a deadline, for minutes or for months. Lambdas
    read ``inputs``, the token in question.

    Attributes:
        id: Name of the pattern's part of the net; the tasks are ``id.role``.
        on: The trail.
        takes: Where the case comes from.
        resumes: Where it goes on, when a person lets it (``approve``).
        ends: Where it goes when a person ends it (``deny``), or when nobody of any level has answered.
        levels: Who is asked, in their order.
        why: Why a person is asked.
        about: What people are shown; by default the token.
        on_resume: The token for ``resumes``; by default the token itself.
        on_end: The token for ``ends``; by default the token itself.
    """

    id: str
    on: OversightHandle
    takes: PlaceRef
    resumes: PlaceRef
    ends: PlaceRef
    levels: Sequence[Level]
    why: Why = ""
    about: Callable[..., Any] | None = None
    on_resume: Callable[..., Any] | None = None
    on_end: Callable[..., Any] | None = None

    def expand(self, net: NetBuilder) -> EscalationHandle:
        """Add the plane to a net."""
        self._check(net)
        levels = tuple(self.levels)
        waits = [net.place(f"{self.id}.waits for {level.who}", self.takes.type) for level in levels]
        came = _Asked(net, self.on, "escalation", self.id, self.takes, self.why)
        came.goes(f"{self.id}.suspend", "suspended", (waits[0], None) if waits else (self.ends, self.on_end))
        said = _Said(net, self.on, self.id, self.takes.type)
        yes, no = said.leads("yes", (self.resumes, self.on_resume)), (self.ends, self.on_end)
        people_say_no = said.leads("no", no)
        timers: list[str] = []
        after = [*waits[1:], None]
        for level, place, following in zip(levels, waits, after, strict=False):
            asked = _Asked(net, self.on, "escalation", f"{self.id}.{level.who}", place, self.why)
            asked.people(
                level.who,
                yes=yes,
                no=people_say_no,
                about=self.about,
                eyes=level.eyes,
                within=level.within,
            )
            if following is None:
                timers.append(asked.silence(level.within, "no answer", no))
            else:
                timers.append(asked.silence(level.within, "handed over", (following, None)))
        tasks = tuple(f"{self.id}.{level.who}" for level in levels)
        guarantees = (Requirement("CTL-3"), *self._in_order(tasks, timers))
        net.require(*guarantees)
        parts = (
            ("task", tasks),
            ("deadline", tuple(timers)),
            ("suspend", (f"{self.id}.suspend",)),
            ("trail", (self.on.trail.name,)),
        )
        net.declare(PatternInfo("oversight", self.id, parts, (("levels", len(levels)),)))
        return EscalationHandle(tasks, tuple(timers), guarantees)

    def _in_order(self, tasks: Sequence[str], timers: Sequence[str]) -> Iterator[Requirement]:
        for level, silent, task in zip(self.levels[1:], timers, tasks[1:], strict=False):
            said = f"{self.id}: {level.who} decides only where those before have not answered"
            yield precedes(silent, f"{task}.approve", name=said)

    def _check(self, net: NetBuilder) -> None:
        where, roles = f"escalation {self.id!r}", [level.who for level in self.levels]
        if not roles or len(set(roles)) < len(roles):
            net.mistake("PN141", where, "its levels need roles of their own", "give each role one level")


@dataclass(frozen=True, slots=True)
class EscalationHandle:
    """An escalation in a net.

    Attributes:
        tasks: The tasks, one for each level.
        silent: Names of the timers that end each level's time.
        guarantees: What is to be proved of it; the net requires it.
    """

    tasks: tuple[str, ...]
    silent: tuple[str, ...]
    guarantees: tuple[Requirement, ...]


# kill switch


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """What stops a case wherever it is, and has its scope take back what was committed.

    The engine pulls it: for a case, for all cases of a net, or for everything. A net needs one for each of
    its scopes.

    Attributes:
        id: Name of the transition.
        on: The trail.
        scope: The saga scope that it aborts.
        outcome: What the scope ends with.
        why: What the trail says; who pulled it and why is in the log.
    """

    id: str
    on: OversightHandle
    scope: Scope
    outcome: Any
    why: str = "the kill switch was pulled"

    def expand(self, net: NetBuilder) -> KillSwitchHandle:
        """Add the plane to a net."""
        made = self.scope.kill(net, self.id, outcome=self.outcome)
        entry = self.on.entry("kill switch", self.id, "killed", who="", why=self.why)
        said = net.expr(f"kill switch {self.id!r}", entry, {}, like=self.on.trail.type)
        net.amend(
            made,
            takes=(*made.takes, Take(self.on.trail.name, "_trail")),
            puts=(*made.puts, Put(self.on.trail.name, said)),
        )
        ends = [t.name for t in net.so_far().by_role(Role.ABORTED, contract=self.scope.id)]
        off = f"{self.id}: a case that is killed has its scope undone"
        guarantees = (
            Requirement("CTL-2"),
            *(responds(self.id, end, name=off) for end in ends),
        )
        net.require(*guarantees)
        parts = (
            ("kill", (self.id,)),
            ("scope", (self.scope.id,)),
            ("trail", (self.on.trail.name,)),
        )
        net.declare(PatternInfo("oversight", self.id, parts))
        return KillSwitchHandle(self.id, guarantees)


@dataclass(frozen=True, slots=True)
class KillSwitchHandle:
    """A kill switch in a net.

    Attributes:
        id: Name of the transition that the engine fires.
        guarantees: What is to be proved of it; the net requires it.
    """

    id: str
    guarantees: tuple[Requirement, ...]


# rate limit


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Work of a case passes at most so often in a span of time; what comes too early is held, not lost.

    This is about one case, and proved with its net. What all cases of a tenant do together is no matter of a
    net: the engine counts that (``Throttle``), across processes.

    Attributes:
        id: Name of the pattern's part of the net.
        on: The trail.
        takes: Where work comes from.
        gives: Where it goes on.
        most: How often in a window.
        per: How long a window is; it opens with the first that passes.
    """

    id: str
    on: OversightHandle
    takes: PlaceRef
    gives: PlaceRef
    most: int
    per: timedelta

    def expand(self, net: NetBuilder) -> RateLimitHandle:
        """Add the plane to a net."""
        self._check(net)
        name, most = self.id, self.most
        counter = RecordType(f"{name}.left", (Field("left", INT),))
        left = net.place(f"{name}.left", counter, initial=[(most,)])
        window, held = net.place(f"{name}.window"), net.place(f"{name}.held", self.takes.type)
        asked = net.place(f"{name}.asked", self.takes.type)
        net.rests(left, window)
        net.route(f"{name}.ask", takes={"inputs": self.takes}, puts={asked: "inputs"})
        # One choice over the same tokens, so that one of the three is always possible.
        takes = {"inputs": asked, "b": left, "t": self.on.trail}
        passes: dict[PlaceRef, Any] = {
            self.gives: "inputs",
            left: lambda b: b.with_(left=b.left - 1),
            self.on.trail: "t",
        }
        net.route(f"{name}.open", takes=takes, when=lambda b: b.left >= most, puts={**passes, window: None})
        if most > 1:
            net.route(f"{name}.pass", takes=takes, when=lambda b: (b.left > 0) & (b.left < most), puts=passes)
        said = self.on.entry(
            "rate limit", name, "held back", who="", why=f"the {most} of this window have passed"
        )
        net.route(
            f"{name}.hold",
            takes=takes,
            when=lambda b: b.left <= 0,
            puts={held: "inputs", left: "b", self.on.trail: lambda: said},
        )
        net.timer(
            f"{name}.new window",
            after=self.per,
            takes={"_window": window, "b": left},
            puts={left: lambda b: b.with_(left=most)},
        )
        net.route(
            f"{name}.again",
            takes={"inputs": held},
            reads={"b": left},
            when=lambda b: b.left > 0,
            puts={asked: "inputs"},
        )
        passing = (f"{name}.open", f"{name}.pass")[: 1 + (most > 1)]
        often = f"{name}: at most {most} pass in a window"
        guarantees = (
            cap(*passing, most=most, amount=Const(1, INT), per=f"{name}.new window", name=often),
            # Not "followed by": the scope may abort meanwhile, and empty it.
            formula(
                f'AG ("{held.name}" -> AF !"{held.name}")', name=f"{name}: what is held is not held for ever"
            ),
        )
        net.require(*guarantees)
        parts = (
            ("pass", passing),
            ("hold", (f"{name}.hold",)),
            ("window", (f"{name}.new window",)),
            ("trail", (self.on.trail.name,)),
        )
        figures = (("most", most), ("seconds", int(self.per.total_seconds())))
        net.declare(PatternInfo("oversight", name, parts, figures))
        return RateLimitHandle(passing, held, guarantees)

    def _check(self, net: NetBuilder) -> None:
        where, most = f"rate limit {self.id!r}", self.most
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            net.mistake("PN141", where, f"most is {most!r}", "give a whole number, 1 or more")
        if self.per <= timedelta(0):
            net.mistake("PN141", where, "its window is over at once", "per=timedelta(days=1)")
        if self.takes.type != self.gives.type:
            hint = "it passes on what it takes: give it two places of one type"
            net.mistake("PN141", where, f"it takes a {self.takes.type}, gives a {self.gives.type}", hint)


@dataclass(frozen=True, slots=True)
class RateLimitHandle:
    """A rate limit in a net.

    Attributes:
        passes: Names of the transitions that let work pass.
        held: Where work waits for the next window.
        guarantees: What is to be proved of it; the net requires it.
    """

    passes: tuple[str, ...]
    held: PlaceRef
    guarantees: tuple[Requirement, ...]


_Goes: TypeAlias = tuple[PlaceRef, Callable[..., Any] | None]
"""Where a token goes, and what it becomes."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What people have said, on its way to the trail.

    A choice takes its token and nothing else: whoever reads the net shall not think that the trail is what
    people are waited for (CTL-3 would).
    """

    net: NetBuilder
    on: OversightHandle
    id: str
    of: Type

    def leads(self, said: Literal["yes", "no"], goes: _Goes) -> PlaceRef:
        """Where a choice puts what was said, for the trail; the token goes on from there."""
        to, becomes = goes
        record = RecordType(f"{self.id}.said", (Field("inputs", self.of), Field("entry", ENTRY)))
        place = self.net.place(f"{self.id}.said {said}", record)
        self.net.route(
            f"{self.id}.note {said}",
            takes={"d": place, "_trail": self.on.trail},
            puts={
                to: lambda d: d.inputs if becomes is None else _called(becomes, inputs=d.inputs),
                self.on.trail: lambda d: d.entry,
            },
        )
        return place


@dataclass(frozen=True, slots=True)
class _Asked:
    """A token that waits for people, and all that may become of it; each of that leaves an entry."""

    net: NetBuilder
    on: OversightHandle
    plane: Plane
    id: str
    place: PlaceRef
    why: Why

    def people(
        self,
        who: str,
        *,
        yes: PlaceRef,
        no: PlaceRef,
        about: Callable[..., Any] | None,
        eyes: int,
        within: timedelta,
        fallback: tuple[str, timedelta] | None = None,
    ) -> None:
        """The choices of a person of a role."""
        where, (other, after) = f"task {self.id!r}", fallback or ("", timedelta(0))
        if within <= timedelta(0) or (other and after >= within):
            self.net.mistake(
                "PN140", where, "its deadline leaves nobody time to answer", "within=timedelta(days=2)"
            )
        if not who:
            self.net.mistake("PN140", where, "it names no role", 'who="pricing": whoever may decide')
        shown = self.net.expr(where, about, {"inputs": self.place.type})
        approve = Choice(self.id, "approve", who, shown, eyes, other, after)
        self._choice(Role.APPROVE, "approved", yes, approve)
        self._choice(Role.DENY, "denied", no, replace(approve, choice="deny", eyes=1))

    def silence(self, within: timedelta, verdict: Verdict, goes: _Goes) -> str:
        """The end of a deadline; its name."""
        name = f"{self.id}.{verdict}"
        self.net.timer(
            name, after=within, contract=self.id, takes=self._takes, puts=self._puts(verdict, goes)
        )
        return name

    def goes(self, name: str, verdict: Verdict, goes: _Goes) -> None:
        """What happens to it at once."""
        self.net.route(name, takes=self._takes, puts=self._puts(verdict, goes))

    @property
    def _takes(self) -> dict[str, PlaceRef]:
        return {"inputs": self.place, "_trail": self.on.trail}

    def _choice(self, role: Role, verdict: Verdict, to: PlaceRef, choice: Choice) -> None:
        def noted(inputs: Term, note: Term | None) -> Term:
            entry = self._entry(verdict, inputs, choice.who, note)
            return make(to.type, inputs=inputs, entry=entry)  # type: ignore[arg-type]

        # What several people say of it is in the log; one firing has one note.
        alone = choice.eyes == 1
        self.net.transition(
            f"{self.id}.{choice.choice}",
            role=role,
            contract=self.id,
            takes={"inputs": self.place},
            brings={"note": OptionalType(STR)} if alone else {},
            puts={to: noted if alone else lambda inputs: noted(inputs, None)},
            trigger=choice,
        )

    def _puts(self, verdict: Verdict, goes: _Goes) -> dict[PlaceRef, Any]:
        to, becomes = goes
        return {to: becomes or "inputs", self.on.trail: lambda inputs: self._entry(verdict, inputs)}

    def _entry(self, verdict: Verdict, inputs: Term, who: str = "", note: Term | None = None) -> Term:
        why = _called(self.why, inputs=inputs) if callable(self.why) else self.why
        return self.on.entry(self.plane, self.id, verdict, who=who, why=why, note=note)


def _called(make_it: Callable[..., Any], **given: Any) -> Any:
    """What a lambda says that names some of these, or all."""
    return make_it(**{name: given[name] for name in inspect.signature(make_it).parameters if name in given})
