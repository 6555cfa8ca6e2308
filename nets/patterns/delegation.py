"""Hierarchical delegation: one owner hands a task to specialists and merges what they say.

::

    takes ─[dispatch]─┬─▶ (todo) ── a child's part ──▶ (done) ─[collect]─▶ (result) ──┬─[merge]─▶ gives
                      │     ▲                     └──▶ (failed) ─[without]─▶ ▲        │
                      │     └──[again]─── (retries) ────────┘                │        │
                      ├─▶ (clock) ─[late]────────────────────────────────────┘        │
                      └─▶ the other children ... ─────────────────────────────────────┘

The owner is the only one that writes: a child proposes, and a part that performs an effect is refused. The
children work side by side, each between places of its own. There is one budget of retries for all of them,
so retries never multiply (a part that asks again by itself is refused, too): who fails first is asked again
first. Each child has a deadline, its retries included; what it says later is dropped. What becomes of a
child that fails or is late is declared: it is left out (``drop``), replaced (``substitute``), or the whole
task fails at once (``fail fast``). The merge is an expression over the results: deterministic, and known to
the proof.

A delegation can be a child of another one; what is stopped there is as if it had never begun.

The lineage is the actor model (Hewitt, Bishop & Steiger, IJCAI 1973), and its orchestrator with workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from keyword import iskeyword
from typing import Any, Literal, TypeAlias, get_args

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.errors import ExprError, did_you_mean
from provenet.nets.expr.ast import Arith, Const, free_variables, walk
from provenet.nets.expr.build import Term, choose, type_of_term
from provenet.nets.models import schema_of
from provenet.nets.net import PatternInfo, Requirement, Transition
from provenet.nets.patterns.slot import Filled, Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import cap, formula, mutex
from provenet.nets.schema import INT, Field, OptionalType, RecordType

Partial: TypeAlias = Literal["drop", "substitute", "fail fast"]
"""What is done about a child that fails or is late."""


@dataclass(frozen=True, slots=True)
class Child:
    """A specialist.

    Attributes:
        name: Its name: a Python identifier, by which the merge speaks of its result.
        gives: Token model of its result.
        work: Makes its part, a contract as a rule; see ``Slot``. What it puts into ``failed`` is what it is
            asked again, so it can note there what went wrong.
        within: Its deadline, retries included.
        instead: Lambda over ``inputs``, the task: its result where it has none (``substitute``).
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
    """The first result that is there, in this order.

    Args:
        first: A result that may be null (``drop``).
        *others: Those after it. The last one may be a default; without one, where no result is there, null.
    """
    found: Term = (first, *others)[-1]
    for term in reversed((first, *others)[:-1]):
        if not isinstance(type_of_term(term), OptionalType):
            found = term
        elif isinstance(type_of_term(found), OptionalType):
            found = choose(term.is_null(), found, term)
        else:
            found = term.or_else(found)
    return found


def weighted(*parts: tuple[Term, int], missing: int = 0) -> Term:
    """The weighted mean of whole numbers, rounded down.

    Args:
        *parts: Each a number, or null, and its weight, 1 or more.
        missing: What a null counts as, with its weight.

    Raises:
        ExprError: There is nothing to weigh, or a weight is no whole number from 1.
    """
    weights = [weight for _, weight in parts]
    if not parts or any(not isinstance(w, int) or isinstance(w, bool) or w < 1 for w in weights):
        raise ExprError(
            f"weighted() was given the weights {weights}", hint="pairs of a number and its weight, 1 or more"
        )
    total: Any = 0
    for term, weight in parts:
        known = term.or_else(missing) if isinstance(type_of_term(term), OptionalType) else term
        total = known * weight + total
    mean: Term = total // sum(weights)
    return mean


class _Expansion:
    """One expansion; holds the places while the fragment is built."""

    def __init__(self, pattern: Delegation, net: NetBuilder) -> None:
        self.p, self.net, self.id = pattern, net, pattern.id
        self.where = f"delegation {self.id!r}"
        self._check()
        self.idle = net.place(f"{self.id}.idle", initial=[()])
        self.task = net.place(f"{self.id}.task", pattern.takes.type)
        self.children = [_Placed(self, child) for child in pattern.children]
        # A counter that is always there, in one token: a cap is proved by it without looking at any state.
        self.budget: dict[str, PlaceRef] = {}
        if pattern.retries:
            counter = RecordType(f"{self.id}.retries", (Field("left", INT),))
            self.budget["budget"] = net.place(f"{self.id}.retries", counter, initial=[(pattern.retries,)])
        net.rests(self.idle, *self.budget.values())

    def run(self) -> DelegationHandle:
        p, net = self.p, self.net
        puts: dict[PlaceRef, Any] = {self.task: "inputs"}
        for child in self.children:
            puts |= {child.slot.takes: "inputs", child.clock: None}
        puts |= {place: lambda budget: budget.with_(left=p.retries) for place in self.budget.values()}
        net.route(
            f"{self.id}.dispatch",
            takes={"inputs": p.takes, "_idle": self.idle, **self.budget},
            puts=puts,
        )
        for child in self.children:
            child.fill()
        for child in self.children:
            child.ends()
        results = {child.of.name: child.result for child in self.children}
        merge = net.route(
            f"{self.id}.merge",
            takes={"inputs": self.task, **results},
            puts={p.gives: p.merge, self.idle: None},
        )
        guarantees = tuple(self._guarantees())
        net.require(*guarantees)
        net.declare(self._info(merge))
        return DelegationHandle(self.idle, results, guarantees)

    @property
    def places(self) -> tuple[PlaceRef, ...]:
        """All that is marked while a task is worked on, but for the task itself."""
        return tuple(p for c in self.children for p in c.places)

    def _guarantees(self) -> Iterator[Requirement]:
        """What is required of the pattern, in the catalogue's terms."""
        name, p = self.id, self.p
        yield mutex(self.idle.name, self.task.name, name=f"{name}: one task at a time")
        again = [name for child in self.children for name in child.made("again")]
        if again:
            retries = "1 retry" if p.retries == 1 else f"{p.retries} retries"
            most = f"{name}: at most {retries} for a task, all children together"
            yield cap(*again, most=p.retries, amount=Const(1, INT), per=f"{name}.dispatch", name=most)
        # Not "followed by the merge": a kill switch or an owner of this owner may take the task away.
        stays = f'AG ("{self.task.name}" -> AF !"{self.task.name}")'
        yield formula(stays, name=f"{name}: no task stays for ever, whatever its children do")

    def _info(self, merge: Transition) -> PatternInfo:
        children, owner = self.children, (self.idle, self.task, *self.budget.values())
        parts = {
            "owner": tuple(p.name for p in owner),
            "dispatch": (f"{self.id}.dispatch",),
            "merge": (merge.name,),
            "child": tuple(name for c in children for name in c.contracts),
            "result": tuple(c.result.name for c in children),
            **{step: tuple(n for c in children for n in c.made(step)) for step in _STEPS},
            **{f"child {c.of.name}": (*c.contracts, *(p.name for p in c.places)) for c in children},
        }
        figures = {"retries": self.p.retries}
        figures |= {f"deadline of {c.of.name}": c.deadline // timedelta(seconds=1) for c in children}
        weights = _weights(merge, {c.of.name for c in children})
        figures |= {f"weight of {c.of.name}": weights[c.of.name] for c in children if c.of.name in weights}
        return PatternInfo("delegation", self.id, tuple(parts.items()), tuple(figures.items()))

    def _check(self) -> None:
        net, p, where = self.net, self.p, self.where
        names = [c.name for c in p.children]
        if not names or len(set(names)) < len(names):
            net.mistake("PN130", where, "its children need names of their own", "name each child once")
        for name in names:
            if not name.isidentifier() or iskeyword(name) or name.startswith("_") or name == "inputs":
                net.mistake("PN130", where, f"a child is named {name!r}", "a Python identifier, not 'inputs'")
        merge: object = p.merge  # whatever the author passed
        if not callable(merge):
            net.mistake(
                "PN130",
                where,
                f"merge is a {type(merge).__name__}, not a lambda",
                "children propose, the owner merges by rule: by_priority(...), weighted(...), choose(...)",
            )
        if p.partial not in get_args(Partial):
            hint = did_you_mean(str(p.partial), get_args(Partial))
            net.mistake("PN130", where, f"there is no partial={p.partial!r}", hint)
        elif (p.partial == "fail fast") != (p.fails is not None):
            net.mistake("PN130", where, "fails= goes with partial='fail fast'", "give both, or neither")
        for child in p.children:
            at = f"{where}, child {child.name!r}"
            if (p.partial == "substitute") != (child.instead is not None):
                net.mistake(
                    "PN130",
                    at,
                    "instead= goes with partial='substitute'",
                    "say what stands for each child's result, or leave it out",
                )
            if _deadline(child) <= timedelta(0):
                net.mistake(
                    "PN130", at, f"its deadline is {child.within!r}", "such as within=timedelta(minutes=5)"
                )
        if not isinstance(p.retries, int) or isinstance(p.retries, bool) or not 0 <= p.retries <= 1000:
            net.mistake("PN130", where, f"retries is {p.retries!r}", "give a number from 0 to 1000")


_STEPS = ("collect", "again", "without", "late")
"""The owner's transitions for a child."""


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
        self.clock, self.deadline = net.place(f"{self.id}.clock"), _deadline(of)
        drops = whole.p.partial == "drop" and not isinstance(gives, OptionalType)
        self.result = net.place(f"{self.id}.result", OptionalType(gives) if drops else gives)
        self.added = Filled()
        self.steps: list[Transition] = []

    @property
    def places(self) -> tuple[PlaceRef, ...]:
        """All its places; what is in them is gone when its time is up."""
        slot = self.slot
        return (slot.takes, slot.gives, slot.failed, *self.added.places, self.clock, self.result)

    @property
    def contracts(self) -> tuple[str, ...]:
        """The ids of its contracts."""
        return tuple(info.id for info in self.added.contracts)

    def made(self, step: str) -> tuple[str, ...]:
        """The owner's transition of that kind for this child; none where it has no such."""
        return tuple(t.name for t in self.steps if t.name == f"{self.id}.{step}")

    def fill(self) -> None:
        """Build its part, and hold it to what a child may do."""
        net = self.whole.net
        self.added = added = fill(net, self.slot, self.of.work)
        where = f"{self.whole.where}, child {self.of.name!r}"
        for effect in added.effects:
            net.mistake(
                "PN131",
                where,
                f"{effect.name!r} performs an effect",
                "a child proposes, the owner writes: put a contract with the commit behind the merge",
            )
        asks = [(f"contract {c.id!r}", c.attempts) for c in added.contracts]
        asks += [(f"{p.kind} {p.id!r}", 1 + (p.figure("retries") or 0)) for p in added.patterns]
        for name, times in asks:
            if times > 1:
                net.mistake(
                    "PN131",
                    where,
                    f"{name} asks {times} times by itself, and its owner again",
                    "attempts=1, retries=0: the retries are the owner's",
                )
        mine = {p.name for p in self.places}
        for t in added.transitions:
            for place in (*(a.place for a in t.takes), *t.resets, *(p.place for p in t.puts)):
                if place not in mine:
                    net.mistake(
                        "PN131",
                        where,
                        f"{t.name!r} takes from or puts into {place!r}, which is not the child's",
                        "a child works between the places of its slot; it may read others",
                    )

    def ends(self) -> None:
        """The ends of its work: with a result, spent, or late."""
        net, slot, budget = self.whole.net, self.slot, self.whole.budget
        takes = {"r": slot.gives, "_clock": self.clock}
        self.steps.append(net.route(f"{self.id}.collect", takes=takes, puts={self.result: "r"}))
        fails = any(put.place == slot.failed.name for t in self.added.transitions for put in t.puts)
        for place in budget.values() if fails else ():
            again = net.route(
                f"{self.id}.again",
                takes={"inputs": slot.failed, **budget},
                when=lambda budget: budget.left > 0,
                puts={slot.takes: "inputs", place: lambda budget: budget.with_(left=budget.left - 1)},
            )
            self.steps.append(again)
        if fails:
            spent = (lambda budget: budget.left <= 0) if budget else None
            arcs = self._without({"_failed": slot.failed}, budget)
            self.steps.append(net.route(f"{self.id}.without", when=spent, **arcs))
        self.steps.append(net.timer(f"{self.id}.late", after=self.deadline, **self._without({}, {})))

    def _without(self, failed: Mapping[str, PlaceRef], reads: Mapping[str, PlaceRef]) -> dict[str, Any]:
        """The arcs of going on without its result.

        Args:
            failed: Its failure; without one, it is still at work and is stopped.
            reads: What else there is to read.
        """
        whole, takes = self.whole, {"_clock": self.clock, **failed}
        stopped = [] if failed else [self]
        puts: dict[PlaceRef, Any] = {}
        match whole.p.partial:
            case "drop":
                puts[self.result] = lambda: None
            case "substitute":
                puts[self.result] = self.of.instead
                reads = {**reads, "inputs": whole.task}
            case "fail fast":
                takes["inputs"] = whole.task
                stopped = [child for child in whole.children if child is not self or not failed]
                puts |= {whole.idle: None, **({whole.p.fails: "inputs"} if whole.p.fails else {})}
        # What is stopped is as it was before: a delegation within has its owner idle again.
        puts |= {place: Const(value, place.type) for child in stopped for place, value in child.added.initial}
        going = (*takes.values(), self.result)
        resets = tuple(p for child in stopped for p in child.places if p not in going)
        return {"takes": takes, "reads": reads, "puts": puts, "resets": resets}


def _deadline(child: Child) -> timedelta:
    """A child's deadline; zero where what the author passed is none."""
    given: object = child.within
    return given if isinstance(given, timedelta) else timedelta(0)


def _weights(merge: Transition, names: set[str]) -> dict[str, int]:
    """The number that each child's result is multiplied by, where the merge has just one for it."""
    found: dict[str, set[int]] = {}
    for put in merge.puts:
        for node in walk(put.expr) if put.expr is not None else ():
            if isinstance(node, Arith) and node.op == "*":
                for of, by in ((node.left, node.right), (node.right, node.left)):
                    of_whom = free_variables(of) & names
                    if len(of_whom) == 1 and isinstance(by, Const) and isinstance(by.value, int):
                        (child,) = of_whom
                        found.setdefault(child, set()).add(by.value)
    return {name: weight for name, (weight, *more) in found.items() if not more}
