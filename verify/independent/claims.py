"""What each property asks of a net, worked out from the net alone, and which evidence shows it.

``claim`` takes what a certificate says of one property and gives what is left to be shown: what it says in
words, and obligations for a solver. Whatever numbers can decide is decided on the way. A property, or a kind
of evidence, that is not here raises ``NotHere``: another run of the engines may speak for it, this checker
does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import (
    And,
    Build,
    Compare,
    Expr,
    Get,
    Not,
    Var,
    children,
    free_variables,
    substitute,
)
from provenet.nets.expr.parse import parse
from provenet.nets.expr.show import show
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Choice, ContractInfo, Net, Perform, Requirement, Role, Signal, Transition
from provenet.nets.schema import BOOL, RecordType, Type
from provenet.verify.independent import counting, reductions, structure
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.facts import IT, SET, VALUE, Ghost, Never, Proof
from provenet.verify.independent.smtlib import Obligation

_KILL = "provenet.kill"
"""The event by which the engine pulls the kill switch."""

_SPECIAL = (
    *(Role.REJECT, Role.FAULT, Role.RETRY, Role.GIVE_UP, Role.FAIL),  # may be dead
    *(Role.UNWIND, Role.DISCHARGE),  # may be dead, where they are a scope's own
    Role.KILL,  # is no way to complete
)
"""Roles that soundness treats in a way of its own."""

_UNREACHABLE = ("explored", "state equation", "inductive", "reduced")
"""Kinds of evidence that a plain net never reaches a marking."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a certificate states of one property.

    Attributes:
        property: Its id, or its kind.
        subject: What it is about.
        title: What it says, in one line. It matters where it tells requirements apart; of the catalogue's
            properties, whose ids say all, it is words for people, and not looked at.
        evidence: What it rests on, each with a ``kind`` and its ``data``.
    """

    property: str
    subject: str
    title: str
    evidence: tuple[tuple[str, Mapping[str, Any]], ...]

    def of_all(self) -> None:
        """Refuse a subject where a property is about the whole net."""
        if self.subject:
            raise Refused(f"{self.property} is about the whole net, not about {self.subject[:60]!r}")

    def only(self, *kinds: str) -> tuple[str, Mapping[str, Any]]:
        """The one piece of evidence, of one of these kinds.

        Raises:
            NotHere: There are others, or it is of another kind.
        """
        if len(self.evidence) != 1 or self.evidence[0][0] not in kinds:
            found = ", ".join(dict.fromkeys(kind for kind, _ in self.evidence)) or "none"
            raise NotHere(f"evidence of the kind {found} is only gone through by the engines")
        return self.evidence[0]


@dataclass(frozen=True, slots=True)
class Claim:
    """What was worked out of a statement.

    Attributes:
        says: What holds where nothing raises and every obligation is unsatisfiable, in words.
        obligations: What is left for a solver.
        otherwise: What it means that a solver satisfies one: the evidence is wrong and ``refused``, or the
            property may be shown in another way and stays ``open``.
    """

    says: str
    obligations: tuple[Obligation, ...] = ()
    otherwise: Literal["refused", "open"] = "refused"


@dataclass(frozen=True, slots=True)
class Asked:
    """A property as a question about data: what must never happen, and which past counts."""

    says: str
    never: tuple[Never, ...]
    ghost: Ghost | None = None


def claim(net: Net, stated: Stated, *, deadline: float) -> Claim:
    """What a proof must still show.

    Args:
        net: The net.
        stated: What the certificate states.
        deadline: ``time.monotonic()`` value to stop at.

    Raises:
        Refused: The evidence does not show it.
        NotHere: This checker knows no such property, or no such evidence for it.
    """
    if any(kind == "structure" and "nothing" in data for kind, data in stated.evidence):
        return _vacuous(net, stated)
    by = _PROOFS.get(stated.property)
    if by is None:
        raise NotHere(f"{stated.property} is only gone through by the engines")
    return by(net, stated, deadline)


def asked(net: Net, stated: Stated) -> tuple[Asked, ...]:
    """A property as questions about data: what a statement may be about, one at least.

    Raises:
        Refused: The net does not ask it.
        NotHere: It is no such question, or this checker does not know it.
    """
    by = _QUESTIONS.get(stated.property)
    if by is None:
        raise NotHere(f"{stated.property} is no question about data")
    found = by(net, stated)
    return found if isinstance(found, tuple) else (found,)


def _vacuous(net: Net, stated: Stated) -> Claim:
    """A property that has nothing to speak about."""
    about = _ABOUT.get(stated.property)
    if about is None or stated.subject:
        raise NotHere("that there is nothing to check is only told by the engines")
    if any(map(about, net.transitions)):
        raise Refused("the certificate says that there is nothing to check, and there is")
    return Claim("the net has nothing of the kind")


def _is_event(t: Transition) -> bool:
    return isinstance(t.trigger, Signal) and t.trigger.event != _KILL


_ABOUT: dict[str, Callable[[Transition], bool]] = {
    "SDB-2": lambda t: t.role in (Role.REJECT, Role.FAULT),
    "SDB-4": lambda t: t.role is Role.PROPOSE,
    "SDB-5": lambda t: t.role is Role.COMMIT,
    "DATA-3": lambda t: t.requires is not None,
    "EVT-1": _is_event,
    "EVT-2": _is_event,
}
"""The transitions that a property speaks about."""


# by per-place facts


def _by_facts(net: Net, stated: Stated, deadline: float) -> Claim:
    del deadline
    _, data = stated.only("facts")
    found = next((question for question in asked(net, stated) if _tells(data, question)), None)
    if found is None:
        raise Refused(f"the certificate answers another question than {stated.property} asks of this net")
    facts = _facts(net, data.get("facts"), found.ghost)
    return Claim(found.says, tuple(Proof(net, found.never, facts, found.ghost).obligations()))


def _tells(data: Mapping[str, Any], found: Asked) -> bool:
    """Whether evidence names the very question, in the form in which certificates hold it."""
    ghost = None if found.ghost is None else {t: show(e) for t, e in found.ghost.sets.items()}
    told = data.get("questions")
    if data.get("ghost") != ghost or not isinstance(told, list | tuple) or len(told) != len(found.never):
        return False
    for one, never in zip(told, found.never, strict=True):
        if not isinstance(one, Mapping) or one.get("condition") != show(never.condition):
            return False
        if not never.place and one.get("transition") != never.transition:
            return False
    return True


def _facts(net: Net, data: Any, ghost: Ghost | None) -> dict[str, list[Expr]]:
    if not isinstance(data, Mapping):
        raise Refused("the certificate has no facts")
    found: dict[str, list[Expr]] = {}
    for place, texts in data.items():
        if not net.has_place(place) or not isinstance(texts, list | tuple):
            raise Refused(f"the certificate has facts about {str(place)[:60]!r}, no place of the net")
        scope: dict[str, Type] = {IT: net.place(place).type}
        if ghost is not None:
            scope |= {SET: BOOL, VALUE: ghost.type}
        try:
            found[place] = [parse(text, scope, like=BOOL) for text in texts]
        except (ProvenetError, TypeError) as error:
            raise Refused(f"a fact about {place!r} is no condition") from error
    return found


def _verified(net: Net, stated: Stated) -> Asked:
    """SDB-1: what a commit commits was accepted, and meets the policy."""
    commits = list(net.by_role(Role.COMMIT, contract=stated.subject)) if stated.subject else []
    if len(commits) != 1:
        raise NotHere(f"{stated.subject!r} has {len(commits)} commits")
    commit = commits[0]
    info = next((c for c in net.contracts if c.id == stated.subject), None)
    value, of = _proposal(net, commit)
    sets: dict[str, Expr] = {}
    for accept in net.by_role(Role.ACCEPT, contract=stated.subject):
        found = _accepted(net, accept, None if info is None else info.proposal)
        if found is not None and found[1] == of:
            sets[accept.name] = found[0]
    carried = [value, *(found[0] for found in (_carried(net, commit, "inputs"),) if found is not None)]
    if _reads_beyond(_payload(net, commit)[0], carried):
        raise NotHere(f"{commit.name!r} hands out more than what was proposed")
    good: list[Expr] = [Var(SET), Compare("==", Var(VALUE), value)]
    says = f"{commit.name!r} commits only what {listed(sets)} accepted"
    if info is not None and info.rules:
        good += _ruled(net, commit, info, value, of)
        says += ", and what meets the rules of the policy"
    return Asked(says, (Never(commit.name, Not(And(tuple(good)))),), Ghost(of, sets))


def _ruled(net: Net, commit: Transition, info: ContractInfo, value: Expr, of: Type) -> Iterable[Expr]:
    """The rules of a contract's policy, over the variables of its commit."""
    names = {"proposal": value}
    inputs = _carried(net, commit, "inputs")
    if inputs is not None:
        names["inputs"] = inputs[0]
    for rule in info.rules:
        if info.proposal != of or not free_variables(rule.expr) <= names.keys():
            raise NotHere(f"{commit.name!r} does not carry what the rule {rule.name!r} reads")
        yield substitute(rule.expr, names)


def _reads_beyond(expr: Expr, known: Sequence[Expr]) -> bool:
    """Whether an expression reads anything but these."""
    if expr in known:
        return False
    return isinstance(expr, Var) or any(_reads_beyond(part, known) for part in children(expr))


def _approved(net: Net, stated: Stated) -> Asked:
    """CTL-1: what an irreversible commit commits was shown to a person, who approved."""
    commits = list(net.by_role(Role.COMMIT, contract=stated.subject)) if stated.subject else []
    if len(commits) != 1:
        raise NotHere(f"{stated.subject!r} has {len(commits)} commits")
    if not any(c.id == stated.subject and c.irreversible for c in net.contracts):
        raise Refused(f"{stated.subject!r} is no contract that is declared irreversible")
    exempt = [r.arg("exempt", ()) for r in net.requirements if r.kind == "CTL-1"]
    if any(stated.subject in ((names,) if isinstance(names, str) else names) for names in exempt):
        raise NotHere(f"the net exempts {stated.subject!r}: what is asked of it, only the engines tell")
    value, of = _payload(net, commits[0])
    ghost = Ghost(of, _approvals(net, of))
    same = And((Var(SET), Compare("==", Var(VALUE), value)))
    says = f"{commits[0].name!r} commits only what {listed(ghost.sets)} approved"
    return Asked(says, (Never(commits[0].name, Not(same)),), ghost)


def _implied(net: Net, stated: Stated) -> Asked:
    """DATA-3: what a transition requires holds wherever it fires."""
    t = net.transition(stated.subject) if net.has_transition(stated.subject) else None
    if t is None or t.requires is None:
        raise Refused(f"{stated.subject!r} is no transition that requires something")
    says = f"{t.name!r} fires only where {show(t.requires)}"
    return Asked(says, (Never(t.name, Not(t.requires), requires=False),))


def _never(net: Net, stated: Stated) -> tuple[Asked, ...]:
    """``never``: as requirements of the net say it."""
    out = []
    for requirement in net.requirements:
        if requirement.kind != "never" or not is_meant(requirement, stated):
            continue
        effect, contract, name = (requirement.arg(k) for k in ("effect", "contract", "transition"))
        where, unless = requirement.arg("where"), _tasks(requirement)
        groups: dict[Type, list[Never]] = {}
        for t in net.transitions:
            performs = isinstance(t.trigger, Perform) and t.trigger.handler == effect
            commits = t.role is Role.COMMIT and t.contract == contract
            if not (performs if effect else commits if contract else t.name == name):
                continue
            payload, of = _payload(net, t)
            parts = [] if where is None else [substitute(where, {"payload": payload})]
            if unless:
                parts.append(Not(And((Var(SET), Compare("==", Var(VALUE), payload)))))
            groups.setdefault(of, []).append(Never(t.name, And(tuple(parts))))
        for of, never in groups.items():
            if ", ".join(n.transition for n in never) == stated.subject:
                ghost = Ghost(of, _approvals(net, of, *unless)) if unless else None
                what = "" if where is None else f" where {show(where)}"
                but = f" unless {listed(ghost.sets)} approved it" if ghost is not None else ""
                out.append(Asked(f"{stated.subject} never{what}{but}", tuple(never), ghost))
    if not out:
        raise NotHere("the net requires no such `never`")
    return tuple(out)


def _always(net: Net, stated: Stated) -> tuple[Asked, ...]:
    """``always``: as requirements of the net say it."""
    out = []
    for requirement in net.requirements:
        if requirement.kind == "always" and requirement.arg("place") == stated.subject:
            where = requirement.arg("where")
            if is_meant(requirement, stated) and net.has_place(stated.subject):
                never = Never("", Not(where), place=stated.subject)
                out.append(Asked(f"every token in {stated.subject!r} meets {show(where)}", (never,)))
    if not out:
        raise NotHere("the net requires no such `always`")
    return tuple(out)


def is_meant(requirement: Requirement, stated: Stated) -> bool:
    """Whether a statement is about a requirement: in its title is the name, or what is required in words."""
    if requirement.name:
        return stated.title == requirement.name
    of = requirement.arg
    where = "" if of("where") is None else show(of("where"))
    what = of("effect") or of("contract") or of("transition")
    unless = " or ".join(_tasks(requirement))
    when = (f" where {where}" if where else "") + (f" unless {unless}" if unless else "")
    places = ", ".join(dict.fromkeys(of("places", ())))
    titles = {
        "never": f"never {what}{when}",
        "always": f"always in {of('place')}: {where}",
        "bound": f"{places} together hold at most {of('k')}",
        "mutex": f"no two of {places} are marked together",
        "CTL-4": f"at most {of('most')} by {', '.join(of('what', ()))}",
    }
    return stated.title == titles.get(requirement.kind)


# what the parts of a net mean


def _proposal(net: Net, t: Transition) -> tuple[Expr, Type]:
    """The proposal that a transition takes: the field of that name, else its first token."""
    found = _carried(net, t, "proposal") or _first(net, t)
    if found is None:
        raise NotHere(f"{t.name!r} takes no token that says what it is about")
    return found


def _payload(net: Net, t: Transition) -> tuple[Expr, Type]:
    """What a transition hands out: what its effect is given, else the proposal."""
    if isinstance(t.trigger, Perform) and t.trigger.payload is not None:
        return t.trigger.payload, _type_of(net, t, t.trigger.payload)
    return _proposal(net, t)


def _carried(net: Net, t: Transition, name: str) -> tuple[Expr, Type] | None:
    scope = net.scope(t)
    for arc in t.takes:
        of = None if arc.var is None else scope[arc.var]
        if arc.var is not None and isinstance(of, RecordType) and (part := of.field(name)) is not None:
            return Get(Var(arc.var), name), part.type
    return None


def _first(net: Net, t: Transition) -> tuple[Expr, Type] | None:
    return next(((Var(a.var), net.place(a.place).type) for a in t.takes if a.var is not None), None)


def _accepted(net: Net, accept: Transition, proposal: Type | None) -> tuple[Expr, Type] | None:
    """What an accept accepts: the proposal in its token, its only token, or the record of its tokens."""
    found = _carried(net, accept, "proposal")
    if found is not None or len(accept.takes) == 1:
        return found or _first(net, accept)
    names = {a.var for a in accept.takes}
    if isinstance(proposal, RecordType) and {f.name for f in proposal.fields} == names:
        return Build(proposal, tuple(Var(f.name) for f in proposal.fields)), proposal
    return None


def _tasks(requirement: Requirement) -> tuple[str, ...]:
    """The human tasks that may allow what is required never to happen: one, or several."""
    found = requirement.arg("unless") or ()
    return tuple(map(str, found if isinstance(found, tuple | list) else (found,)))


def _approvals(net: Net, of: Type, *tasks: str) -> dict[str, Expr]:
    """What was approved, all of it or a part, by type; by any person where nobody is named.

    A name means the people's tasks of that name, else what the gate or the contract of that name accepts.
    """
    people = [
        t for t in net.by_role(Role.APPROVE) if isinstance(t.trigger, Choice)
    ]  # a role makes nobody one
    allowing = [] if tasks else people
    for name in tasks:
        asked = [t for t in people if name in (t.contract, t.name)]
        allowing += asked or [t for t in net.by_role(Role.ACCEPT) if name in (t.contract, t.name)]
    sets: dict[str, Expr] = {}
    for t in allowing:
        if t.role is Role.ACCEPT:
            shown, kind = _carried(net, t, "proposal") or _first(net, t) or (None, None)
        elif isinstance(t.trigger, Choice) and t.trigger.about is not None:
            shown, kind = t.trigger.about, _type_of(net, t, t.trigger.about)
        else:
            shown, kind = _first(net, t) or (None, None)
        if shown is not None and kind == of:
            sets[t.name] = shown
        elif shown is not None and isinstance(kind, RecordType):
            part = next((f for f in kind.fields if f.type == of), None)
            if part is not None:
                sets[t.name] = Get(shown, part.name)
    return sets


def _type_of(net: Net, t: Transition, expr: Expr) -> Type:
    """The type of an expression; of a variable's field as it was declared, with its bounds."""
    scope = net.scope(t)
    path: list[str] = []
    at = expr
    while isinstance(at, Get):
        path.insert(0, at.field)
        at = at.of
    if not isinstance(at, Var):
        return type_of(expr, scope)
    of = scope[at.name]
    for name in path:
        part = of.field(name) if isinstance(of, RecordType) else None
        if part is None:
            return type_of(expr, scope)
        of = part.type
    return of


def listed(names: Iterable[str]) -> str:
    """Names for a sentence."""
    return " or ".join(map(repr, names)) or "nobody"


_QUESTIONS: dict[str, Callable[[Net, Stated], Asked | tuple[Asked, ...]]] = {
    "SDB-1": _verified,
    "CTL-1": _approved,
    "DATA-3": _implied,
    "never": _never,
    "always": _always,
}


# by arcs and guards


def _handled(net: Net, stated: Stated, deadline: float) -> Claim:
    """SDB-2."""
    del deadline
    stated.only("structure")
    found = tuple(structure.rejects_handled(net, stated.subject))
    return Claim("every reject is retried or given up, and never told as a commit", found, "open")


def _deterministic(net: Net, stated: Stated, deadline: float) -> Claim:
    """SDB-3."""
    del deadline
    stated.only("structure")
    found = tuple(structure.deterministic(net, stated.subject))
    return Claim("a policy decides, and no proposal both passes and fails", found, "open")


def _ranked(net: Net, stated: Stated, deadline: float) -> Claim:
    """SDB-4."""
    del deadline
    _, data = stated.only("ranking")
    info = next((c for c in net.contracts if c.id == stated.subject), None)
    found = tuple(structure.attempts(net, stated.subject, str(data.get("field"))))
    return Claim(f"at most {1 if info is None else info.attempts} proposals for one begin", found)


def _fresh(net: Net, stated: Stated, deadline: float) -> Claim:
    """SDB-6."""
    del deadline
    stated.only("structure")
    return Claim(f"what the verifier read stays: {structure.fresh(net, stated.subject)}")


def _choices(net: Net, stated: Stated, deadline: float) -> Claim:
    """DATA-1."""
    del deadline
    stated.only("structure")
    if stated.subject != f"{len(structure.clusters(net))} choices":
        raise Refused("the certificate is not about all choices of the net")
    return Claim("guards exclude each other and leave no gap", tuple(structure.choices(net)), "open")


# by counting


def _once(net: Net, stated: Stated, deadline: float) -> Claim:
    """SDB-5: no more commits than accepts."""
    del deadline
    _, data = stated.only("linear")
    commits = [t.name for t in net.by_role(Role.COMMIT, contract=stated.subject)]
    accepts = [t.name for t in net.by_role(Role.ACCEPT, contract=stated.subject)]
    _, plus, minus, start = counting.counted(net, data)
    if not stated.subject or not commits:
        raise Refused(f"{stated.subject!r} has no commit")
    most = max((plus.get(t.name, 0) for t in net.transitions if t.name in accepts), default=0)
    if start or any(n for name, n in plus.items() if name not in accepts):
        raise Refused("the counting argument counts more than accepts")
    if min(minus.get(name, 0) for name in commits) < max(most, 1):
        raise Refused("the counting argument does not count every commit")
    return Claim(f"{listed(commits)} fires no more often than {listed(accepts)}")


def _seldom(net: Net, stated: Stated, deadline: float) -> Claim:
    """EVT-2, where an event is taken once in a case."""
    del deadline
    _, data = stated.only("linear")
    names = [
        t.name for t in net.transitions if isinstance(t.trigger, Signal) and t.trigger.event == stated.subject
    ]
    minus = data.get("minus")
    counted = sorted(minus) if isinstance(minus, Mapping) else []
    left = set(names) - set(counted)
    if not names or not set(counted) <= set(names) or not all(map(_idle, map(net.transition, left))):
        raise NotHere("the counting argument does not count all that takes the event")
    _fires_at_most(net, data, counted, 1)
    return Claim(f"{listed(counted)} fires at most once in a case")


def _capped(net: Net, stated: Stated, deadline: float) -> Claim:
    """CTL-4: a cap on how often."""
    del deadline
    _, data = stated.only("linear")
    bounds: dict[tuple[str, ...], int] = {}
    for requirement in net.requirements:
        what = requirement.arg("what", ())
        counts = (
            requirement.kind == "CTL-4" and requirement.arg("amount") is None and not requirement.arg("per")
        )
        if counts and ", ".join(what) == stated.subject and is_meant(requirement, stated):
            bounds[what] = min(requirement.arg("most"), bounds.get(what, requirement.arg("most")))
    if len(bounds) != 1:
        raise NotHere("the net requires no such cap on how often")
    # Of several caps on the same, the least one is shown, and so all of them.
    ((what, most),) = bounds.items()
    names = [t.name for t in net.transitions if any(_counts(t, name) for name in what)]
    try:
        _fires_at_most(net, data, names, most)
    except Refused:
        if sum(r.kind == "CTL-4" for r in net.requirements) > 1:
            raise NotHere("which of the net's caps is meant is only told by the engines") from None
        raise
    return Claim(f"{listed(names)} fires at most {most} times")


def _counts(t: Transition, name: str) -> bool:
    performs = isinstance(t.trigger, Perform) and t.trigger.handler == name
    return t.name == name or performs or (t.role is Role.COMMIT and t.contract == name)


def _fires_at_most(net: Net, data: Mapping[str, Any], names: Sequence[str], most: int) -> None:
    _, plus, minus, start = counting.counted(net, data)
    each = min((minus.get(name, 0) for name in names), default=0)
    if any(plus.values()) or not each or start // each > most:
        raise Refused(f"the counting argument does not show: at most {most} times")


def _idle(t: Transition) -> bool:
    """Whether a firing puts back what it takes, and no more."""
    kept = [(a.place, Var(a.var)) for a in t.takes if a.var is not None and a.weight == 1]
    put = [(p.place, p.expr) for p in t.puts]
    return not t.resets and len(kept) == len(t.takes) and sorted(map(repr, kept)) == sorted(map(repr, put))


def _together(net: Net, stated: Stated, deadline: float) -> Claim:
    """``bound`` and ``mutex``: as some requirement of the net says it."""
    del deadline
    _, data = stated.only("linear")
    for requirement in net.requirements:
        places = list(dict.fromkeys(requirement.arg("places", ())))
        if requirement.kind != stated.property or ", ".join(places) != stated.subject or not places:
            continue
        k = 1 if stated.property == "mutex" else requirement.arg("k")
        if is_meant(requirement, stated) and (data.get("bounds"), data.get("k")) == (places, k):
            weights, plus, _, start = counting.counted(net, data)
            least = min(weights.get(p, 0) for p in places)
            if any(plus.values()) or not least or start // least > k:
                raise Refused(f"the counting argument does not show: at most {k} tokens")
            return Claim(f"{' + '.join(places)} <= {k}")
    raise NotHere(f"the net requires no such `{stated.property}`")


# plain nets


def _bounded(net: Net, stated: Stated, deadline: float) -> Claim:
    """STATE-2."""
    stated.of_all()
    k = bound_in(stated)
    kind, data = stated.only("linear", *_UNREACHABLE)
    if kind == "linear" and k is None:
        weights, plus, _, _ = counting.counted(net, data)
        if any(plus.values()) or any(not weights.get(p.name) for p in net.places):
            raise Refused("the counting argument does not count every place")
        return Claim("every place is bounded, by weights of places")
    if kind == "explored" and k is None:
        numbers = counting.plain(net)
        space = counting.explored(numbers, numbers.initial, deadline=deadline)
        counting.same_numbers(space, data)
        return Claim(f"{len(space.markings):,} markings can be reached, and no more")
    if kind == "linear" or k is None:
        raise NotHere(f"evidence of the kind {kind} is only gone through by the engines")
    numbers = counting.plain(net)
    return _unreachable(
        numbers, counting.crowded(numbers, k), kind, data, deadline, f"no place holds {k + 1}"
    )


def bound_in(stated: Stated) -> int | None:
    """The bound that STATE-2 is stated with; ``None`` for any bound.

    Raises:
        Refused: It is stated in neither of its two forms.
    """
    found = re.fullmatch(r"no place ever holds more than ([0-9]{1,9}) tokens", stated.title)
    if found is None and stated.title != "every place is bounded":
        raise Refused("the certificate does not say which bound it shows")
    return None if found is None else int(found[1])


def _live(net: Net, stated: Stated, deadline: float) -> Claim:
    """STATE-3."""
    stated.of_all()
    kind, data = stated.only(*_UNREACHABLE)
    numbers = counting.plain(net)
    goal = counting.deadlock(numbers)
    return _unreachable(
        numbers, goal, kind, data, deadline, "something can happen in every unfinished marking"
    )


def _unreachable(
    net: counting.Plain, goal: counting.Goal, kind: str, data: Mapping[str, Any], deadline: float, says: str
) -> Claim:
    """No reachable marking meets a goal.

    Evidence of a kind that is not known here is left aside, and all markings are gone through in its place.
    """
    if kind == "state equation":
        return Claim(f"{says}, by the state equation", tuple(counting.equation(net, goal, data)))
    if kind == "inductive" and data.get("invariant") == "true":
        # An engine that needs no invariant at all says so in this way: the goal alone is contradictory.
        nothing = {"numbers": "whole", "traps": [], "empty": [], "dead": []}
        return Claim(says, tuple(counting.equation(net, goal, nothing)))
    if kind == "reduced":
        inner = data.get("evidence", {})
        smaller, left = reductions.smaller(net, goal, data.get("rules"), deadline=deadline)
        found = _unreachable(smaller, left, inner.get("kind"), inner.get("data"), deadline, says)
        return replace(found, says=f"{found.says}, on a net of {len(smaller.places)} places")
    space = counting.explored(net, net.initial, deadline=deadline)
    if any(counting.holds(goal, m) for m in space.markings):
        raise Refused("a marking that can be reached breaks it")
    if kind == "explored":
        counting.same_numbers(space, data)
    return Claim(f"{says}: {len(space.markings):,} markings gone through")


def _sound(net: Net, stated: Stated, deadline: float) -> Claim:
    """STATE-1 of a plain net."""
    stated.of_all()
    kind, data = stated.only("explored", "rank theorem")
    plainly_sound(net)
    numbers = counting.plain(net)
    if kind == "rank theorem":
        counting.rank_theorem(numbers, data)
        return Claim("sound, by the rank theorem for free-choice nets")
    space = counting.explored(numbers, numbers.initial, deadline=deadline)
    counting.judged_sound(numbers, space)
    counting.same_numbers(space, data)
    return Claim(f"sound: {len(space.markings):,} markings gone through")


def plainly_sound(net: Net) -> None:
    """Refuse to speak of the soundness of a net in which it means something else.

    Raises:
        NotHere: The net has transitions that may be dead, or that are no way to complete.
    """
    kill = any(isinstance(t.trigger, Signal) and t.trigger.event == _KILL for t in net.transitions)
    if kill or any(True for _ in net.by_role(*_SPECIAL)):
        raise NotHere("the net has roles that soundness treats in a way of its own")


def _relaxed(net: Net, stated: Stated, deadline: float) -> Claim:
    """Relaxed soundness: runs that complete and fire everything."""
    stated.of_all()
    del deadline
    _, data = stated.only("runs")
    numbers = counting.plain(net)
    number = {name: i for i, name in enumerate(numbers.transitions)}
    fired: set[int] = set()
    runs = data.get("runs")
    if not isinstance(runs, list | tuple):
        raise Refused("the certificate has no runs")
    for run in runs:
        marking: counting.Marking | None = numbers.initial
        for name in run if isinstance(run, list | tuple) else (None,):
            if marking is None or not isinstance(name, str) or name not in number:
                raise Refused(f"a run of the certificate does not fire {str(name)[:60]!r}")
            marking = numbers.after(marking, number[name])
            fired.add(number[name])
        if marking is None or not counting.holds(counting.completed(numbers), marking):
            raise Refused("a run of the certificate does not complete")
    if len(fired) < len(numbers.transitions):
        raise Refused("the runs of the certificate do not fire every transition")
    return Claim(f"{len(runs)} runs complete and fire every transition")


_PROOFS: dict[str, Callable[[Net, Stated, float], Claim]] = {
    **dict.fromkeys(_QUESTIONS, _by_facts),
    "DATA-1": _choices,
    "SDB-2": _handled,
    "SDB-3": _deterministic,
    "SDB-4": _ranked,
    "SDB-6": _fresh,
    "SDB-5": _once,
    "EVT-2": _seldom,
    "CTL-4": _capped,
    "bound": _together,
    "mutex": _together,
    "STATE-1": _sound,
    "STATE-2": _bounded,
    "STATE-3": _live,
    "relaxed-soundness": _relaxed,
}
