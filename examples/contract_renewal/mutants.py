"""Ways to break the renewal net on purpose, each with the property that should notice.

A mutant is a pure function from the net to a broken net: surgery on plain data, the way a mistake in a
real net looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from provenet.examples.contract_renewal.policy_data import POLICY_V7
from provenet.examples.contract_renewal.tokens import Done
from provenet.nets.expr.ast import (
    And,
    Arith,
    Build,
    Compare,
    Const,
    Expr,
    Get,
    Not,
    Var,
    children,
    substitute,
    with_children,
)
from provenet.nets.models import schema_of
from provenet.nets.net import (
    Ask,
    ContractInfo,
    Fresh,
    Net,
    Perform,
    Place,
    Put,
    Read,
    Role,
    Rule,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import BOOL, INT, IntType, RecordType, Type, plainest


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break the net.

    Attributes:
        name: Its name.
        broken: What was broken, in one sentence.
        caught_by: Properties of which at least one is refuted: ids of the catalogue, or kinds of our own.
        make: The surgery.
    """

    name: str
    broken: str
    caught_by: tuple[str, ...]
    make: Callable[[Net], Net]

    def __call__(self, net: Net) -> Net:
        """The broken net."""
        return replace(self.make(net), name=f"{net.name}, {self.name}")


MUTANTS: list[Mutant] = []
"""All mutants, in the order of the catalogue."""


def mutant(name: str) -> Mutant:
    """The mutant of that name; ``KeyError`` where there is none."""
    return {m.name: m for m in MUTANTS}[name]


def _breaks(
    name: str, broken: str, *caught_by: str
) -> Callable[[Callable[[Net], Net]], Callable[[Net], Net]]:
    def keep(make: Callable[[Net], Net]) -> Callable[[Net], Net]:
        MUTANTS.append(Mutant(name, broken, caught_by, make))
        return make

    return keep


# the boundary: SDB


@_breaks(
    "verifier bypassed",
    "a route takes a proposal straight to billing's doorstep, past the verifier",
    "SDB-1",
    "never",
)
def _bypass(net: Net) -> Net:
    verified = _record(net, "make offer.verified")
    passed = Build(verified, (_path("p.inputs"), _path("p.proposal")))
    return _add(
        net,
        Transition(
            "make offer.trust the model",
            takes=(Take("make offer.proposed", "p"),),
            puts=(Put("make offer.verified", passed),),
        ),
    )


@_breaks(
    "verifier accepts up to 40",
    "the accepting guard lets 40% pass, while the policy still says 30%",
    "never",
    "SDB-1",
)
def _loose_guard(net: Net) -> Net:
    guard = net.transition("make offer.accept").guard
    return _edit(net, "make offer.accept", guard=_raise_limit(guard, _MAX, 40))


@_breaks(
    "policy loosened to 40",
    "the policy itself, its accepting and its rejecting guard say 40% in place of 30%",
    "never",
)
def _loose_policy(net: Net) -> Net:
    return _reprice(net, "make offer", _MAX, 40)


@_breaks("hard cap loosened to 60", "a person may approve up to 60%", "DATA-3")
def _loose_cap(net: Net) -> Net:
    return _reprice(net, "publish approved offer", POLICY_V7.discount.escalate_pct, 60)


@_breaks("reject swallowed", "a refused offer leaves no token behind: the case waits for ever", "SDB-2")
def _swallow(net: Net) -> Net:
    return _edit(net, "make offer.reject", puts=())


@_breaks(
    "reject reported as completed",
    "when the attempts are spent, the refused offer goes on as if billing had it",
    "SDB-2",
)
def _reported(net: Net) -> Net:
    (put,) = net.transition("make offer.give_up").puts
    return _edit(net, "make offer.give_up", puts=(replace(put, place="priced"),))


@_breaks("retry without bound", "the proposer is asked again as long as the reject is retryable", "SDB-4")
def _endless(net: Net) -> Net:
    net = _edit(net, "make offer.retry", guard=_path("r.signal.retryable"))
    return _edit(net, "make offer.give_up", guard=Not(_path("r.signal.retryable")))


@_breaks("attempt not counted", "a retry asks again under the same attempt number", "SDB-4")
def _uncounted(net: Net) -> Net:
    running = _record(net, "make offer.running")
    again = Build(running, (_path("r.inputs"), _path("r.attempt"), _path("r.signal")))
    return _edit(net, "make offer.retry", puts=(Put("make offer.running", again),))


@_breaks("two commits for one accept", "an accepted offer is handed to billing twice", "SDB-5")
def _twice(net: Net) -> Net:
    (put,) = net.transition("make offer.accept").puts
    return _edit(net, "make offer.accept", puts=(put, put))


@_breaks(
    "a second model verifies",
    "whether an offer passes is what a model says about it, and no policy",
    "SDB-3",
)
def _judged_by_a_model(net: Net) -> Net:
    made = net.transition("make offer.accept")
    (var,) = (a.var for a in made.takes)
    assert var is not None
    return _edit(
        net,
        made.name,
        fresh=(Fresh("opinion", BOOL),),
        ensures=Var("opinion"),
        trigger=Ask("judge", _path(f"{var}.proposal")),
    )


@_breaks(
    "ceiling changes under way",
    "the verifier reads a ceiling that somebody may change before the offer is committed",
    "SDB-6",
)
def _stale_ceiling(net: Net) -> Net:
    ceiling = Place("ceiling", IntType(0, 100))
    net = replace(net, places=(*net.places, ceiling), initial=(*net.initial, ("ceiling", (_MAX,))))
    net = replace(net, resting=(*net.resting, "ceiling"))
    made = net.transition("make offer.accept")
    net = _edit(net, made.name, reads=(*made.reads, Read("ceiling", "limit")))
    return _add(
        net,
        Transition(
            "change ceiling",
            role=Role.EVENT,
            takes=(Take("ceiling", "old"),),
            fresh=(Fresh("new", ceiling.type),),
            puts=(Put("ceiling", Var("new")),),
            trigger=Signal("policy.changed"),
        ),
    )


# control: CTL and the property of our own


@_breaks(
    "another offer than the approved one", "billing gets 50%, whatever offer the person approved", "never"
)
def _other_offer(net: Net) -> Net:
    made = net.transition("publish approved offer.commit")
    assert isinstance(made.trigger, Perform)
    offer = _record_of(net.transition("make offer.propose").fresh[0].type)
    approved = "v.proposal.offer"
    fifty = Build(
        offer,
        (
            _path(f"{approved}.customer"),
            Const(POLICY_V7.discount.escalate_pct, INT),
            _path(f"{approved}.term_months"),
        ),
    )
    return _edit(net, made.name, trigger=replace(made.trigger, payload=fifty))


@_breaks(
    "discount under another action name",
    "a loyalty bonus of 90% reaches billing by a transition of another name",
    "never",
)
def _goodwill(net: Net) -> Net:
    offer = _record_of(net.transition("make offer.propose").fresh[0].type)
    bonus = Build(offer, (_path("d.offer.customer"), Const(90, INT), _path("d.offer.term_months")))
    return _add(
        net,
        Transition(
            "loyalty bonus",
            takes=(Take("agreed", "d"),),
            fresh=(Fresh("receipt", schema_of(Done)),),
            puts=(Put("agreed", Var("d")),),
            trigger=Perform("billing.apply_offer", bonus),
        ),
    )


@_breaks(
    "silence counts as approval",
    "when the person lets the deadline pass, the offer is published",
    "never",
    "CTL-1",
)
def _silence(net: Net) -> Net:
    return _edit(net, "approve offer.timeout", puts=net.transition("approve offer.approve").puts)


@_breaks(
    "binding letter without approval",
    "an ordinary offer can be turned into a binding one with nobody's approval",
    "CTL-1",
)
def _unapproved(net: Net) -> Net:
    return _add(
        net, Transition("make it binding", takes=(Take("priced", "d"),), puts=(Put("special", Var("d")),))
    )


@_breaks("no deadline for the person", "an over-policy offer waits for a decision for ever", "CTL-3")
def _no_deadline(net: Net) -> Net:
    return _drop(net, "approve offer.timeout")


@_breaks("no idle expiry", "an offer waits for the customer's reply for ever", "CTL-3", "eventually")
def _no_expiry(net: Net) -> Net:
    return _drop(net, "30 idle days")


@_breaks(
    "kill switch checked at the start only",
    "the kill switch stops the scope, but an offer that was verified before still goes to billing",
    "CTL-2",
)
def _kill_forgets(net: Net) -> Net:
    committing = _record(net, "make offer.committing")
    begun = Build(committing, (_path("v.inputs"), _path("v.proposal"), Const(2, INT)))
    net = _keep(net, "make offer.verified")
    return _edit(
        net,
        "make offer.intent",
        takes=(Take("make offer.verified", "v"),),
        puts=(Put("make offer.committing", begun),),
    )


@_breaks(
    "letters without end",
    "each letter that is sent lets another one be sent",
    "CTL-4",
)
def _reminders(net: Net) -> Net:
    made = net.transition("write letter.commit")
    again = Build(_record(net, "write letter.verified"), (_path("v.inputs"), _path("v.proposal")))
    return _edit(net, made.name, puts=(*made.puts, Put("write letter.verified", again)))


# sagas


@_breaks(
    "compensation missing", "the abort passes over billing's step and leaves the offer in place", "SAGA-1"
)
def _no_compensation(net: Net) -> Net:
    ending = _record(net, "case.aborting")
    lower = Build(ending, (_less_one("s.depth"), _path("s.outcome")))
    net = _edit(net, "make offer.unwind", puts=(Put("case.aborting", lower),), role=Role.ROUTE)
    return _drop_place(_drop(net, "make offer.compensate"), "make offer.undoing")


@_breaks("no undo token", "billing's commit leaves a void, as if there were nothing to undo", "SAGA-1")
def _no_undo(net: Net) -> Net:
    made = net.transition("make offer.commit")
    void = Put("case.void", Build(_record(net, "case.void"), (_path("v.seq"),)))
    puts = tuple(void if p.place == "make offer.undo" else p for p in made.puts)
    return _edit(net, made.name, puts=puts)


@_breaks(
    "commit outside the scope",
    "billing's commit begins without asking the scope, even while it is compensating",
    "SAGA-1",
    "SAGA-2",
)
def _outside_scope(net: Net) -> Net:
    committing = _record(net, "make offer.committing")
    begun = Build(committing, (_path("v.inputs"), _path("v.proposal"), Const(2, INT)))
    return _edit(
        net,
        "make offer.intent",
        takes=(Take("make offer.verified", "v"),),
        puts=(Put("make offer.committing", begun),),
    )


@_breaks("order swapped", "steps are undone in any order, not from the last to the first", "SAGA-2")
def _swapped(net: Net) -> Net:
    for contract in ("draft contract", "make offer", "write letter", "publish approved offer"):
        net = _edit(net, f"{contract}.unwind", guard=None)
    return net


@_breaks(
    "undo of what was refused", "an offer that billing refused leaves an undo token all the same", "SAGA-3"
)
def _undo_refused(net: Net) -> Net:
    made = net.transition("make offer.fail")
    undo = _record(net, "make offer.undo")
    receipt = undo.field("receipt")
    assert receipt is not None
    token = Build(undo, (_path("v.seq"), _path("v.proposal"), Const(plainest(receipt.type), receipt.type)))
    puts = tuple(Put("make offer.undo", token) if p.place == "case.void" else p for p in made.puts)
    return _edit(net, made.name, puts=puts)


@_breaks(
    "two undo tokens",
    "billing's commit leaves two undo tokens, of which one stays behind",
    "SAGA-1",
    "SAGA-3",
    "STATE-1",
)
def _two_undo_tokens(net: Net) -> Net:
    made = net.transition("make offer.commit")
    undo = next(p for p in made.puts if p.place == "make offer.undo")
    return _edit(net, made.name, puts=(*made.puts, undo))


@_breaks(
    "compensation tried for ever",
    "billing is asked to revert an offer until it does, and nobody hears that it does not",
    "SAGA-4",
)
def _tried_for_ever(net: Net) -> Net:
    made = net.transition("make offer.compensate")
    assert isinstance(made.trigger, Perform)
    return _edit(net, made.name, trigger=replace(made.trigger, tries=None))


@_breaks(
    "a lost case is only noted",
    "a case that is lost waits for nothing but the kill switch: its scope never aborts",
    "SAGA-4",
    "STATE-1",
)
def _never_called_off(net: Net) -> Net:
    return _drop(net, "call off")


# state


@_breaks(
    "join of two", "the join does not wait for the offer agent, whose token nothing cleans up", "STATE-1"
)
def _join_of_two(net: Net) -> Net:
    made = net.transition("join")
    (put,) = made.puts
    offer = _record_of(net.place("suggested").type)
    fixed = Build(offer, (_path("c.id"), Const(0, INT), Const(12, INT)))
    assert put.expr is not None
    net = _edit(
        net,
        "join",
        takes=tuple(a for a in made.takes if a.place != "suggested"),
        puts=(replace(put, expr=substitute(put.expr, {"o": fixed})),),
    )
    return _keep(net, "suggested")


@_breaks(
    "token left behind", "a case that is called off leaves its watch for an end of life behind", "STATE-1"
)
def _left_behind(net: Net) -> Net:
    return _keep(net, "watching")


@_breaks("dead transition", "a step waits for two offers to be out at once, which never happens", "STATE-1")
def _dead(net: Net) -> Net:
    return _add(
        net,
        Transition(
            "compare offers",
            takes=(Take("offer sent", "a"), Take("final sent", "b")),
            puts=(Put("agreed", Var("a")),),
        ),
    )


@_breaks("end of life without end", "the watch goes on after a plan change, so changes pile up", "STATE-2")
def _unbounded(net: Net) -> Net:
    made = net.transition("discontinue plan")
    return _edit(net, made.name, puts=(*made.puts, Put("watching")))


@_breaks(
    "voids block the abort", "an abort cannot pass the number of a step that failed", "STATE-3", "responds"
)
def _stuck_abort(net: Net) -> Net:
    return _drop(net, "case.skip when aborting")


@_breaks(
    "undo tokens block the end", "a case cannot close, because nothing drops billing's undo token", "STATE-3"
)
def _stuck_close(net: Net) -> Net:
    return _drop(net, "make offer.discharge")


@_breaks(
    "changed plans never go out",
    "a case that absorbed a plan change waits until somebody kills it",
    "STATE-1",
    "STATE-3",
)
def _never_out(net: Net) -> Net:
    return _drop(net, "outreach day, plan changed")


@_breaks(
    "a case that is called off opens again",
    "while it compensates, a case may be opened again and go on",
    "STATE-4",
)
def _reopened(net: Net) -> Net:
    opened = Build(_record(net, "case.open"), (_path("s.depth"),))
    return _add(
        net,
        Transition(
            "try once more",
            takes=(Take("case.aborting", "s"),),
            puts=(Put("case.open", opened),),
        ),
    )


# events and the flow of information


@_breaks(
    "acceptance refused",
    "a customer who accepts a final offer above 40% is not heard, and the offer expires",
    "EVT-1",
)
def _unheard(net: Net) -> Net:
    return _edit(
        net, "accept final offer", guard=Compare("<=", _path("d.offer.discount_pct"), Const(40, INT))
    )


@_breaks(
    "counter-offer taken again",
    "a counter-offer goes straight into the offer that is out, again with each delivery",
    "EVT-2",
)
def _taken_again(net: Net) -> Net:
    (put,) = net.transition("negotiate").puts
    return _edit(net, "negotiate", puts=(replace(put, place="offer sent"),))


@_breaks(
    "counter-offer goes to billing",
    "what a customer asks for is published without anybody's approval",
    "FLOW-1",
)
def _trusted(net: Net) -> Net:
    (put,) = net.transition("negotiate").puts
    return _edit(net, "negotiate", puts=(replace(put, place="approved"),))


# data


@_breaks("gap in scoring", "a customer who pays exactly 70.00 a month is on no path", "DATA-1")
def _gap(net: Net) -> Net:
    return _edit(net, "renew as it is", guard=_recompare(net.transition("renew as it is").guard, "<=", "<"))


@_breaks("overlap in scoring", "a customer who pays exactly 70.00 a month is on two paths", "DATA-1")
def _overlap(net: Net) -> Net:
    return _edit(
        net, "make an offer", guard=_recompare(net.transition("make an offer").guard, ">", ">=", of=7_000)
    )


@_breaks("policy that nothing meets", "the letter must say the offer's discount, and one above 100", "DATA-2")
def _unsatisfiable(net: Net) -> Net:
    rule = Rule("generous", Compare(">", _path("proposal.discount_pct"), Const(100, INT)), "discount_pct")
    return _repolicy(net, "write letter", lambda rules: (*rules, rule))


@_breaks("rule that says nothing", "the draft's ceiling is 100%, which every proposal meets", "DATA-2")
def _vacuous(net: Net) -> Net:
    every = Compare("<=", _path("proposal.discount_pct"), Const(100, INT))
    return _repolicy(
        net,
        "draft offer",
        lambda rules: tuple(
            replace(r, expr=every) if r.name == "discount within the ceiling" else r for r in rules
        ),
    )


@_breaks(
    "commit relies on more than was verified",
    "billing relies on 25% at most, the policy lets 30% pass",
    "DATA-3",
)
def _unverified(net: Net) -> Net:
    least = Compare("<=", _path("v.proposal.discount_pct"), Const(25, INT))
    return _edit(net, "make offer.commit", requires=least)


@_breaks("policy looser than the company's limits", "the offer policy lets 60% pass", "DATA-4")
def _beyond_limits(net: Net) -> Net:
    return _reprice(net, "make offer", _MAX, 60)


# properties of our own


@_breaks("letter before billing", "the suggested offer is announced before billing has it", "precedes")
def _early_letter(net: Net) -> Net:
    deal = _record(net, "priced")
    early = Build(deal, (_path("p.case"), _path("p.aim"), _path("p.offer"), Const(False, BOOL)))
    return _add(
        net,
        Transition("announce early", takes=(Take("outreach", "p"),), puts=(Put("priced", early),)),
    )


@_breaks("offer to another customer", "neither policy nor billing asks whom the offer is made to", "always")
def _another_customer(net: Net) -> Net:
    net = _edit(net, "make offer.commit", requires=None)
    return _repolicy(net, "make offer", lambda rules: tuple(r for r in rules if r.name != "own customer"))


@_breaks(
    "two offers at a time", "an offer stays out while the customer's counter-offer is decided on", "mutex"
)
def _two_offers(net: Net) -> Net:
    made = net.transition("negotiate")
    return _edit(net, made.name, puts=(*made.puts, Put("offer sent", Var("d"))))


@_breaks("a case ends twice", "completing a case leaves two outcomes", "bound")
def _two_ends(net: Net) -> Net:
    (put,) = net.transition("case.completed").puts
    return _edit(net, "case.completed", puts=(put, put))


# surgery

_MAX = POLICY_V7.discount.max_pct


def _edit(net: Net, name: str, **changes: Any) -> Net:
    net.transition(name)
    return replace(
        net, transitions=tuple(replace(t, **changes) if t.name == name else t for t in net.transitions)
    )


def _drop(net: Net, name: str) -> Net:
    net.transition(name)
    return replace(net, transitions=tuple(t for t in net.transitions if t.name != name))


def _add(net: Net, made: Transition) -> Net:
    return replace(net, transitions=(*net.transitions, made))


def _drop_place(net: Net, name: str) -> Net:
    return replace(net, places=tuple(p for p in net.places if p.name != name))


def _keep(net: Net, place: str) -> Net:
    """Let no transition empty the place."""
    kept = (replace(t, resets=tuple(r for r in t.resets if r != place)) for t in net.transitions)
    return replace(net, transitions=tuple(kept))


def _reprice(net: Net, contract: str, old: int, new: int) -> Net:
    """Another limit in the policy and in both guards that come from it."""
    return _repolicy(
        net, contract, lambda rules: tuple(replace(r, expr=_raised(r.expr, old, new)) for r in rules)
    )


def _repolicy(net: Net, contract: str, change: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> Net:
    """Other rules in a contract, and in the guards of its verifier."""
    info = net.contract(contract)
    rules = change(info.rules)
    accept = net.transition(f"{contract}.accept")
    (var,) = (a.var for a in accept.takes)
    assert var is not None
    with_proposer = net.has_place(f"{contract}.proposed")
    names: Mapping[str, Expr] = (
        {"proposal": _path(f"{var}.proposal"), "inputs": _path(f"{var}.inputs")}
        if with_proposer
        else {"proposal": Var(var), "inputs": Var(var)}
    )
    guard = And(tuple(substitute(r.expr, dict(names)) for r in rules))
    net = _edit(_edit(net, accept.name, guard=guard), f"{contract}.reject", guard=Not(guard))
    return replace(
        net, contracts=tuple(_with_rules(c, rules) if c.id == contract else c for c in net.contracts)
    )


def _with_rules(info: ContractInfo, rules: tuple[Rule, ...]) -> ContractInfo:
    return replace(info, rules=rules)


def _raise_limit(guard: Expr | None, old: int, new: int) -> Expr:
    assert guard is not None
    return _raised(guard, old, new)


def _raised(expr: Expr, old: int, new: int) -> Expr:
    if isinstance(expr, Const):
        return Const(new, INT) if expr == Const(old, INT) else expr
    return with_children(expr, tuple(_raised(part, old, new) for part in children(expr)))


def _recompare(expr: Expr | None, old: str, new: Any, *, of: int | None = None) -> Expr:
    assert expr is not None
    if isinstance(expr, Compare) and expr.op == old and (of is None or expr.right == Const(of, INT)):
        return replace(expr, op=new)
    return with_children(expr, tuple(_recompare(part, old, new, of=of) for part in children(expr)))


def _record(net: Net, place: str) -> RecordType:
    return _record_of(net.place(place).type)


def _record_of(of: Type) -> RecordType:
    assert isinstance(of, RecordType)
    return of


def _path(path: str) -> Expr:
    first, *rest = path.split(".")
    expr: Expr = Var(first)
    for name in rest:
        expr = Get(expr, name)
    return expr


def _less_one(path: str) -> Expr:
    return Arith("-", _path(path), Const(1, INT))
