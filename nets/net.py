"""The net: immutable plain data that proofs, runs and pictures all read.

A Provenet net is a coloured Petri net (Jensen & Kristensen, "Coloured Petri Nets", 2009) with read arcs and
reset arcs, in which

* every place holds tokens of one declared type;
* a transition *takes* tokens, *reads* tokens (and leaves them), *resets* places (takes whatever is there)
  and *puts* tokens;
* a transition may also have *fresh* variables: values that come from outside when it fires (a model's
  proposal, a person's note, an event's payload). In a proof they are any value of their type;
* a *trigger* says what makes the engine fire it; a *role* says what it means, which is what properties
  speak about.

A transition with a true guard is enabled; there are no priorities. Nothing in a net is code: handlers are
named, and bound at deploy.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from provenet.nets.expr.ast import Expr
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT, Type, Value


class Role(enum.StrEnum):
    """What a transition means; properties speak about roles."""

    BEGIN = "begin"  # a contract takes its inputs
    PROPOSE = "propose"  # the stochastic proposer's answer arrives
    FAULT = "fault"  # no usable answer: malformed, refused, timed out, crashed
    ACCEPT = "accept"  # the verifier lets the proposal pass
    REJECT = "reject"  # the verifier refuses it, with a signal
    RETRY = "retry"  # ask again, attempt + 1
    GIVE_UP = "give_up"  # the attempts are spent, or the reject is not retryable
    INTENT = "intent"  # an external commit is about to begin: its intent is durable from here on
    COMMIT = "commit"  # the only writer
    FAIL = "fail"  # the commit's effect failed for good
    UNWIND = "unwind"  # an aborting scope picks the step to undo next
    COMPENSATE = "compensate"  # undo one committed step
    DISCHARGE = "discharge"  # drop the undo token of a step whose scope completes
    ABORT = "abort"  # a saga scope starts to compensate
    ABORTED = "aborted"  # a saga scope has compensated everything
    COMPLETE = "complete"  # a saga scope ends well
    APPROVE = "approve"  # a person says yes to a proposal
    DENY = "deny"  # a person, or the fallback of a wait, says no
    TIMER = "timer"  # a deadline passes
    EVENT = "event"  # the outside says something
    KILL = "kill"  # the kill switch
    ROUTE = "route"  # deterministic plumbing: choices, forks, joins


class Label(enum.StrEnum):
    """What the flow of information is about; FLOW-1 and EVT-2 speak about labels."""

    UNTRUSTED = "untrusted"  # tokens here, or values that it brings, may be written by an adversary
    PRIVATE = "private"  # tokens here, or values that it brings, are nobody else's business
    SINK = "sink"  # firing it, or putting a token here, reaches the outside
    SANITIZER = "sanitizer"  # what it puts counts as trusted: somebody vouches for it
    ABSORBER = "absorber"  # a token put here by a repeated event changes nothing that matters


@dataclass(frozen=True, slots=True)
class Place:
    """A place.

    Attributes:
        name: Unique in the net; composition prefixes it with ``prefix.``.
        type: Type of its tokens.
        capacity: Most tokens it may hold; ``None`` for any number.
        label: Text for people, where the name will not do.
        labels: What the flow of information is about (FLOW-1).
    """

    name: str
    type: Type = UNIT
    capacity: int | None = None
    label: str = ""
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Take:
    """An input arc: consumes ``weight`` tokens; with ``var``, binds the one that it consumes."""

    place: str
    var: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """A read arc: needs ``weight`` tokens and leaves them; with ``var``, binds the one that it reads."""

    place: str
    var: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Put:
    """An output arc.

    Builds a token by ``expr``, or ``weight`` black tokens where the place is of type unit.
    """

    place: str
    expr: Expr | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Fresh:
    """A value that comes from outside when the transition fires.

    Any value of its type, as far as a proof knows.
    """

    var: str
    type: Type


@dataclass(frozen=True, slots=True)
class Auto:
    """Fires as soon as it is enabled; shares the commit of the firing that enabled it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Fires with the answer of a proposer, which runs outside any transaction.

    Attributes:
        handler: Name that deploy binds to a proposer.
        payload: What the proposer sees, over the taken and read variables; without one, the first taken
            token.
        timeout: How long an answer may take.
    """

    handler: str
    payload: Expr | None = None
    timeout: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Perform:
    """Fires when an effect has been performed.

    Attributes:
        handler: Name that deploy binds to the effect. Properties select effects by it, whatever the
            transition is called.
        payload: What the effect is given, over the taken and read variables; without one, the first taken
            token.
        external: An external effect gets an idempotency key and its intent is written first; a transactional
            one shares the marking's transaction.
        timeout: How long one try may take.
        tries: Most tries before the failure transition fires; ``None`` to try until it works.
    """

    handler: str
    payload: Expr | None = None
    external: bool = True
    timeout: timedelta = timedelta(seconds=30)
    tries: int | None = 5


@dataclass(frozen=True, slots=True)
class Judge:
    """Fires with the verdict of an opaque verifier, a function that the prover cannot look into.

    The accepting and the rejecting transition name the same handler; ``accepts`` tells which this one is. A
    rejecting one has a fresh variable for the reject signal.
    """

    handler: str
    accepts: bool


@dataclass(frozen=True, slots=True)
class Explain:
    """Fires as soon as it is enabled, with the reject signal that the contract's policy gives."""

    contract: str


@dataclass(frozen=True, slots=True)
class OnFailure:
    """Fires when the long-running transition ``of`` failed for good.

    Its fresh variable takes the reject signal.
    """

    of: str


@dataclass(frozen=True, slots=True)
class After:
    """Fires once a deadline has passed.

    Attributes:
        delay: A duration since the arrival of the first taken token, or a datetime, over the taken and read
            variables.
    """

    delay: Expr


@dataclass(frozen=True, slots=True)
class Choice:
    """Fires when a person chooses it.

    Attributes:
        task: Name of the task; transitions of one task that take the same place are its choices.
        choice: The choice that fires this transition.
        who: Role that a person needs; empty for anybody.
        about: What the person decides on, over the taken and read variables; an approval binds to its hash.
            Without one, the first taken token.
        eyes: How many different people have to choose it; the transition fires when the last of them does.
        fallback: Role that may choose it as well, once ``after`` has passed; empty for none.
        after: How long that is, since the arrival of the first taken token.
    """

    task: str
    choice: str
    who: str = ""
    about: Expr | None = None
    eyes: int = 1
    fallback: str = ""
    after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Signal:
    """Fires when the outside sends the named event; its fresh variable takes the payload.

    Attributes:
        event: Name of the event.
        key: Path of the payload's field that tells one event from another; without one, any two events of
            this name may be the same one, delivered twice (EVT-2).
    """

    event: str
    key: str = ""


Trigger: TypeAlias = Auto | Explain | Ask | Perform | Judge | OnFailure | After | Choice | Signal
"""What makes the engine fire a transition.

What it brings from outside is bound to the transition's first fresh variable.
"""


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition.

    Attributes:
        name: Unique in the net.
        role: What it means.
        contract: Id of the contract, saga or task that it belongs to; empty for plumbing.
        takes: Input arcs.
        reads: Read arcs.
        resets: Places that it empties, whatever they hold.
        puts: Output arcs.
        fresh: Values from outside.
        guard: Condition on taken and read variables; without one, true. Part of enabledness.
        ensures: Condition on all variables that the values from outside must meet. Proofs assume it, the
            engine checks it.
        requires: Condition on all variables that must hold when it fires. Proofs prove it (DATA-3), the
            engine checks it.
        trigger: What makes the engine fire it.
        label: Text for people.
        labels: What the flow of information is about (FLOW-1).
        source: Where it was written, ``file.py:41``; not part of the net's content.
    """

    name: str
    role: Role = Role.ROUTE
    contract: str = ""
    takes: tuple[Take, ...] = ()
    reads: tuple[Read, ...] = ()
    resets: tuple[str, ...] = ()
    puts: tuple[Put, ...] = ()
    fresh: tuple[Fresh, ...] = ()
    guard: Expr | None = None
    ensures: Expr | None = None
    requires: Expr | None = None
    trigger: Trigger = Auto()
    label: str = ""
    labels: tuple[Label, ...] = ()
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a case starts: one token of any value of the place's type for which ``where`` holds.

    ``where`` reads the token under the variable ``it``.
    """

    place: str
    where: Expr | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that is ignored on purpose wherever no transition takes it: the engine refuses it.

    Attributes:
        event: Name of the event.
        unless: Places; while one of them is marked the event is not ignored, and must be taken (EVT-1).
    """

    event: str
    unless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the engine does with an event that comes before anything waits for it, or later than others.

    Proofs do not need it: they let every event come at any time and any number of times.

    Attributes:
        event: Name of the event.
        early: Whether an event that nothing takes now is refused, or kept until something does.
        keep_for: How long one is kept; ``None`` for as long as its case runs.
        keep_most: How many a case keeps at a time.
        lateness: How much older than the newest one taken an event may be; ``None`` for any age.
        late: Event that an older one is taken as; empty where it is refused.
    """

    event: str
    early: Literal["refuse", "keep"] = "refuse"
    keep_for: timedelta | None = None
    keep_most: int = 100
    lateness: timedelta | None = None
    late: str = ""


@dataclass(frozen=True, slots=True)
class CaseKey:
    """A key that the outside knows a case by, read off the token that the case starts with.

    Attributes:
        name: Such as ``order``.
        place: An entry.
        expr: The key, a text or a whole number, over ``it``: the token.
    """

    name: str
    place: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Rule:
    """One named rule of a policy.

    Attributes:
        name: Such as ``discount <= 30``.
        expr: Condition over the contract's variables.
        field: Path of the field that a reject points at.
        hint: Told to the proposer on a reject.
        retryable: Whether another proposal may pass.
    """

    name: str
    expr: Expr
    field: str = ""
    hint: str = ""
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class ContractInfo:
    """What properties need to know of a contract that its net fragment does not say.

    Attributes:
        id: The contract's id; its transitions carry it.
        proposal: Type of what is proposed.
        policy: Name and version of the policy; empty where the verifier is a function.
        rules: The policy's rules, over the variables ``proposal`` (and ``inputs`` where the policy reads the
            contract's inputs).
        inputs: Type of ``inputs`` as the rules see it; unit where they do not.
        opaque: The verifier is a function, which the prover cannot look into.
        attempts: Most proposals for one begin.
        irreversible: The commit cannot be undone.
        undo: Handler name of the compensation that the commit owes; empty for none.
        external: The commit reaches outside the database.
        saga: Id of the saga scope it belongs to; empty for none.
    """

    id: str
    proposal: Type
    policy: str = ""
    rules: tuple[Rule, ...] = ()
    inputs: Type = UNIT
    opaque: Literal["no", "function"] = "no"
    attempts: int = 1
    irreversible: bool = False
    undo: str = ""
    external: bool = True
    saga: str = ""


@dataclass(frozen=True, slots=True)
class SagaInfo:
    """A saga scope: the places of which exactly one is marked while the scope lives.

    Attributes:
        id: The scope's id.
        open: Marked while the scope runs; its token counts the steps that have begun to commit.
        aborting: Marked while the scope compensates.
        completing: Marked while the scope drops its undo tokens.
    """

    id: str
    open: str
    aborting: str
    completing: str


PatternKind: TypeAlias = Literal[
    "delegation", "scatter-gather", "sequencing", "gate", "supervisor", "state machine", "oversight"
]


@dataclass(frozen=True, slots=True)
class PatternInfo:
    """A runtime architecture pattern that a part of the net was built by (``provenet.nets.patterns``).

    No property and no firing leans on it: it tells readers, such as pictures and the detectors of
    ``provenet diagnose``, what the parts are for.

    Attributes:
        kind: Which pattern.
        id: Name of this use of it.
        parts: What names of the net are in the pattern: places, transitions, contracts, tasks or scopes.
        figures: Whole numbers that were declared, such as a budget of retries.
    """

    kind: PatternKind
    id: str
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    figures: tuple[tuple[str, int], ...] = ()

    def part(self, name: str) -> tuple[str, ...]:
        """The names of the net that are ``name`` in the pattern; none where it has no such part."""
        return dict(self.parts).get(name, ())

    def figure(self, name: str) -> int | None:
        """The declared number of that name."""
        return dict(self.figures).get(name)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A property that must be proved before the net is deployed.

    Attributes:
        kind: Id or family of the catalogue (``SDB-1``, ``SAGA``), or ``never always precedes bound mutex``.
        args: The property's parts as JSON-like data and expressions, by name; ``provenet.verify`` gives them
            meaning.
        name: Text for people.
    """

    kind: str
    args: tuple[tuple[str, Expr | str | int | tuple[str, ...]], ...] = ()
    name: str = ""

    def arg(self, name: str, default: Any = None) -> Any:
        """The argument of that name."""
        return dict(self.args).get(name, default)


@dataclass(frozen=True, slots=True)
class Net:
    """A net; see the module's docstring.

    Attributes:
        name: Name of the net.
        places: Its places, in the order they were written.
        transitions: Its transitions, in the order they were written.
        entries: Where a case's input goes.
        initial: Tokens that every case starts with, besides its input.
        finals: Final markings: a case is done when its marking, resting places aside, equals one of them.
        resting: Places whose tokens may stay behind in a final marking.
        contracts: What the contracts are.
        sagas: What the saga scopes are.
        requirements: Properties to be proved before deploy.
        ignored: Events that are ignored on purpose, and where not.
        deliveries: What is done with events that come early, or late.
        keys: What the outside knows a case by.
        patterns: Which patterns its parts were built by.
    """

    name: str
    places: tuple[Place, ...] = ()
    transitions: tuple[Transition, ...] = ()
    entries: tuple[Entry, ...] = ()
    initial: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    finals: tuple[tuple[tuple[str, int], ...], ...] = ()
    resting: tuple[str, ...] = ()
    contracts: tuple[ContractInfo, ...] = ()
    sagas: tuple[SagaInfo, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    keys: tuple[CaseKey, ...] = ()
    patterns: tuple[PatternInfo, ...] = ()
    _places: Mapping[str, Place] = field(init=False, repr=False, compare=False, hash=False)
    _transitions: Mapping[str, Transition] = field(init=False, repr=False, compare=False, hash=False)
    _groups: dict[str, Mapping[str, list[Transition]]] = field(
        init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_groups", {})
        object.__setattr__(self, "_places", {p.name: p for p in self.places})
        object.__setattr__(self, "_transitions", {t.name: t for t in self.transitions})

    def place(self, name: str) -> Place:
        """The place of that name; ``KeyError`` where there is none."""
        return self._places[name]

    def transition(self, name: str) -> Transition:
        """The transition of that name; ``KeyError`` where there is none."""
        return self._transitions[name]

    def contract(self, name: str) -> ContractInfo:
        """The contract of that id; ``KeyError`` where there is none."""
        return next((c for c in self.contracts if c.id == name), None) or _missing(name)

    def has_place(self, name: str) -> bool:
        """Whether there is a place of that name."""
        return name in self._places

    def has_transition(self, name: str) -> bool:
        """Whether there is a transition of that name."""
        return name in self._transitions

    def by_role(self, *roles: Role, contract: str | None = None) -> Iterator[Transition]:
        """Transitions of some roles, of one contract or of all."""
        among = self.transitions if contract is None else self._grouped("contract").get(contract, ())
        for t in among:
            if t.role in roles:
                yield t

    def taking(self, place: str) -> Sequence[Transition]:
        """Transitions that take from a place, in the order they were written."""
        return self._grouped("takes").get(place, ())

    def putting(self, place: str) -> Sequence[Transition]:
        """Transitions that put into a place, in the order they were written."""
        return self._grouped("puts").get(place, ())

    def scope(self, transition: Transition) -> dict[str, Type]:
        """Types of the variables that a transition's expressions may read."""
        scope: dict[str, Type] = {}
        arcs: tuple[Take | Read, ...] = (*transition.takes, *transition.reads)
        for arc in arcs:
            if arc.var is not None and arc.place in self._places:
                scope[arc.var] = self._places[arc.place].type
        for fresh in transition.fresh:
            scope[fresh.var] = fresh.type
        return scope

    def _grouped(self, by: Literal["contract", "takes", "puts"]) -> Mapping[str, list[Transition]]:
        """Transitions by their contract, or by the places of their arcs; made when first asked for."""
        if by not in self._groups:
            groups: dict[str, list[Transition]] = {}
            for t in self.transitions:
                arcs: tuple[Take | Put, ...] = t.takes if by == "takes" else t.puts
                for key in [t.contract] if by == "contract" else dict.fromkeys(a.place for a in arcs):
                    groups.setdefault(key, []).append(t)
            self._groups[by] = groups
        return self._groups[by]


def _missing(name: str) -> ContractInfo:
    raise KeyError(name)
