"""Hierarchical delegation: one owner hands parts of a task to specialists and merges what they say.

::

               ┌─▶ (todo) ─ a child's part ─▶ (done) ─[collect]─▶ (result) ─────────┐
    takes ─[dispatch]  ▲                 └──▶ (failed) ─[without]──▶ ▲              ├─[merge]─▶ gives
               │       └───────[again]───────────┘ where retries are left           │
               │   (clock) ───[late]─────────────────────────────────┘              │
               ├─▶ the other children ...                                         ──┤
               └─▶ (turn of the first) ─[heard]─▶ (turn of the second) ─[heard]─▶ ──┘

The owner is the only one that writes: a child proposes, and a part that reaches the outside is refused. The
children work side by side, and the owner hears them in their order. It has one budget of retries for all of them, so
retries never multiply (a part that asks again by itself is refused, too), and who gets the last one does not
depend on who was quicker. Each child has a deadline. What becomes of one that fails or is late is declared: it is
left out (``drop``), replaced (``substitute``), or the whole task fails at once (``fail fast``). The merge is an
expression over the results: deterministic, and known to the proof.

The lineage is the actor model (Hewitt, Bishop & Steiger, IJCAI 1973), and its orchestrator with workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.expr.build import Term, choose, make, type_of_term
from provenet.nets.models import schema_of
from provenet.nets.net import Requirement
from provenet.nets.patterns.slot import Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import always, mutex, responds
from provenet.nets.schema import INT, Field, OptionalType, RecordType

Partial: TypeAlias = Literal["drop", "substitute", "fail fast"]
"""What is done about a child that fails or is late."""


@dataclass(frozen=True, slots=True)
class Child:
    """A specialist.

    Attributes:
        name: Its name: a Python identifier, by which the merge speaks of its result.
        gives: Token model of its result.
        work: Makes its part; see ``Slot``.
        within: Its deadline, retries included.
        instead: Lambda over ``inputs``: its result where it has none (``substitute``).
    """

    name: str
    gives: Any
    work: Work
    within: timedelta
    instead: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """One owner, some children, one deterministic merge.

    Attributes:
        id: Name of the pattern's part of the net.
        takes: Where tasks come from; one is worked on at a time.
        gives: Where the merged result goes.
        children: The specialists.
        merge: Lambda over ``inputs``, the task, and the results by the children's names; under ``drop`` a
            result may be null. See ``by_priority`` and ``weighted``.
        partial: What is done about a child that fails or is late.
        fails: Where the task goes under ``fail fast``.
        retries: How often children may be asked again for a task, all together.
    """

    id: str
    takes: PlaceRef
    gives: PlaceRef
    children: Sequence[Child]
    merge: Callable[..., Any]
    partial: Partial = "drop"
    fails: PlaceRef | None = None
    retries: int = 0

    def expand(self, net: NetBuilder) -> DelegationHandle:
        """Add the pattern to a net."""
        return _Expansion(self, net).run()


@dataclass(frozen=True, slots=True)
class DelegationHandle:
    """A delegation in a net.

    Attributes:
        idle: Marked while no task is worked on.
        results: Where each child's result waits for the others, by the child's name.
        guarantees: What is to be proved of it wherever it stands; the net requires it.
    """

    idle: PlaceRef
    results: Mapping[str, PlaceRef]
    guarantees: tuple[Requirement, ...]


def by_priority(first: Term, *others: Term) -> Term:
    """The first result that is there, in this order; null where none is."""
    found: Term = (first, *others)[-1]
    for term in reversed((first, *others)[:-1]):
        found = choose(term.is_null(), found, term)
    return found


def weighted(*parts: tuple[Term, int], missing: int = 0) -> Term:
    """The weighted mean of whole numbers, rounded down.

    Args:
        *parts: Each a number, or null, and its weight, 1 or more.
        missing: What a null counts as.
    """
    total: Any = 0
    for term, weight in parts:
        known = term.or_else(missing) if isinstance(type_of_term(term), OptionalType) else term
        total = known * weight + total
    mean: Term = total // sum(weight for _, weight in parts)
    return mean


class _Expansion:
    """One expansion; holds the places while the fragment is built."""

    def __init__(self, pattern: Delegation, net: NetBuilder) -> None:
        self.p, self.net, self.id = pattern, net, pattern.id
        self.idle = net.place(f"{self.id}.idle", initial=[()])
        net.rests(self.idle)
        self.task = net.place(f"{self.id}.task", pattern.takes.type)
        self.children = [_Placed(self, child) for child in pattern.children]
        self.turns: list[PlaceRef] = []
        if pattern.retries > 0:
            left = RecordType(f"{self.id}.turn", (Field("left", INT),))
            names = [*(c.of.name for c in self.children), "all"]
            self.turns = [net.place(f"{self.id}.turn of {name}", left) for name in names]

    def run(self) -> DelegationHandle:
        p, net = self.p, self.net
        self._check()
        puts: dict[PlaceRef, Any] = {self.task: "inputs"}
        for child in self.children:
            puts |= {child.slot.takes: "inputs", child.clock: None}
        for turn in self.turns[:1]:
            puts[turn] = lambda: make(turn.type, left=p.retries)  # type: ignore[arg-type]
        net.route(f"{self.id}.dispatch", takes={"inputs": p.takes, "_idle": self.idle}, puts=puts)
        for child in self.children:
            child.fill()
        for at, child in enumerate(self.children):
            child.ends(self.turns[at : at + 2])
        results = {child.of.name: child.result for child in self.children}
        heard = {"_turn": turn for turn in self.turns[-1:]}
        takes = {"inputs": self.task, **results, **heard}
        net.route(f"{self.id}.merge", takes=takes, puts={p.gives: p.merge, self.idle: None})
        guarantees = tuple(self._guarantees())
        net.require(*guarantees)
        return DelegationHandle(self.idle, results, guarantees)

    @property
    def places(self) -> tuple[PlaceRef, ...]:
        """All that is marked while a task is worked on, but for the task itself."""
        return (*(p for c in self.children for p in c.places), *self.turns)

    def _guarantees(self) -> Iterator[Requirement]:
        """What is required of the pattern, in the catalogue's terms."""
        name, p = self.id, self.p
        yield mutex(self.idle.name, self.task.name, name=f"{name}: one task at a time")
        for turn in self.turns:
            yield always(
                turn.name,
                of=turn.type,
                where=lambda it: (it.left >= 0) & (it.left <= p.retries),
                name=f"{name}: its children are asked again at most {p.retries} times, all together",
            )
        if p.partial != "fail fast":
            answered = f"{name}: every task is answered, whatever its children do"
            yield responds(f"{name}.dispatch", f"{name}.merge", name=answered)

    def _check(self) -> None:
        net, p, where = self.net, self.p, f"delegation {self.id!r}"
        names = [c.name for c in p.children]
        if not names or len(set(names)) < len(names):
            net.mistake("PN130", where, "its children need names of their own", "name each child once")
        for name in names:
            if not name.isidentifier() or name.startswith("_") or name == "inputs":
                net.mistake("PN130", where, f"a child is named {name!r}", "a Python identifier, not 'inputs'")
        if (p.partial == "fail fast") != (p.fails is not None):
            net.mistake("PN130", where, "fails= goes with partial='fail fast'", "give both, or neither")
        for child in p.children:
            if (p.partial == "substitute") != (child.instead is not None):
                net.mistake(
                    "PN130",
                    f"{where}, child {child.name!r}",
                    "instead= goes with partial='substitute'",
                    "say what stands for each child's result, or leave it out",
                )
        if not 0 <= p.retries <= 1000:
            net.mistake("PN130", where, f"retries is {p.retries}", "give a number from 0 to 1000")


class _Placed:
    """A child in the net."""

    def __init__(self, whole: _Expansion, of: Child) -> None:
        net, self.whole, self.of = whole.net, whole, of
        self.id = f"{whole.id}.{of.name}"
        gives, task = schema_of(of.gives), whole.p.takes.type
        self.slot = Slot(
            id=self.id,
            takes=net.place(f"{self.id}.todo", task),
            gives=net.place(f"{self.id}.done", gives),
            failed=net.place(f"{self.id}.failed", task),
        )
        self.clock = net.place(f"{self.id}.clock")
        drops = whole.p.partial == "drop" and not isinstance(gives, OptionalType)
        self.result = net.place(f"{self.id}.result", OptionalType(gives) if drops else gives)
        self.own: tuple[PlaceRef, ...] = ()

    @property
    def working(self) -> tuple[PlaceRef, ...]:
        """Where it works: what is emptied when its time is up."""
        return (self.slot.takes, self.slot.gives, self.slot.failed, *self.own)

    @property
    def places(self) -> tuple[PlaceRef, ...]:
        """All its places."""
        return (*self.working, self.clock, self.result)

    def fill(self) -> None:
        """Build its part, and hold it to what a child may do."""
        net, where = self.whole.net, f"delegation {self.whole.id!r}, child {self.of.name!r}"
        added = fill(net, self.slot, self.of.work)
        self.own = added.places
        for effect in added.effects:
            net.mistake(
                "PN131",
                where,
                f"{effect.name!r} reaches the outside",
                "a child proposes, the owner writes: put a contract with the commit behind the merge",
            )
        for info in added.contracts:
            if info.attempts > 1:
                net.mistake(
                    "PN131",
                    where,
                    f"contract {info.id!r} asks {info.attempts} times by itself, and its owner again",
                    "attempts=1: the retries are the owner's",
                )

    def ends(self, turns: Sequence[PlaceRef]) -> None:
        """The ends of its work: with a result, spent, or late.

        Args:
            turns: Where the owner waits for it, and for the next; none where nobody is asked again.
        """
        net, slot, spent = self.whole.net, self.slot, {"_failed": self.slot.failed}
        net.route(
            f"{self.id}.collect", takes={"r": slot.gives, "_clock": self.clock}, puts={self.result: "r"}
        )
        if turns:
            turn, following = turns
            net.route(
                f"{self.id}.heard", takes={"t": turn}, reads={"_result": self.result}, puts={following: "t"}
            )
            net.route(
                f"{self.id}.again",
                takes={"inputs": slot.failed, "t": turn},
                when=lambda t: t.left > 0,
                puts={slot.takes: "inputs", turn: lambda t: t.with_(left=t.left - 1)},
            )
            net.route(f"{self.id}.without", when=lambda t: t.left == 0, **self._lost(spent, {"t": turn}))
        else:
            net.route(f"{self.id}.without", **self._lost(spent, {}))
        net.timer(f"{self.id}.late", after=self.of.within, **self._lost({}, {}))

    def _lost(self, spent: Mapping[str, PlaceRef], reads: Mapping[str, PlaceRef]) -> dict[str, Any]:
        """The arcs of going on without its result."""
        whole, takes = self.whole, {"_clock": self.clock, **spent}
        left = () if spent else self.working
        match whole.p.partial:
            case "drop":
                return {"takes": takes, "reads": reads, "puts": {self.result: lambda: None}, "resets": left}
            case "substitute":
                reads = {**reads, "inputs": whole.task}
                return {
                    "takes": takes,
                    "reads": reads,
                    "puts": {self.result: self.of.instead},
                    "resets": left,
                }
            case "fail fast":
                assert whole.p.fails is not None
                return {
                    "takes": {**takes, "inputs": whole.task},
                    "reads": reads,
                    "puts": {whole.p.fails: "inputs", whole.idle: None},
                    "resets": tuple(p for p in whole.places if p not in takes.values()),
                }
