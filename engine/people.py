"""Who may decide a task, and what people have said of it so far: approvals of several, and delegations.

The net sees one firing, at the last approval that it takes. What comes before is the engine's: an entry of
the case's log for each approval (``approve``), each delegation (``delegate``) and each one taken back
(``revoke``), bound to a task and a token. It counts for as long as the token stays where it is; an approval,
only for what the person was shown. The engine and the replay of a log ask the same functions here, so that an
entry which nobody could have made does not replay.

People are told apart by their names, the part before the last ``@``, whatever their roles: ``dana@pricing``
and ``Dana@on_call`` are one. Whoever delegates a task and whoever it is delegated to count as one as well,
also when that was taken back: no delegation makes two people of one.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from provenet.engine.case import Book, LiveCase, OpenTask
from provenet.engine.clock import from_micros
from provenet.engine.codec import clean, plain, text_hash
from provenet.engine.errors import DecisionRefused
from provenet.engine.program import Step
from provenet.nets.errors import did_you_mean
from provenet.nets.net import Choice, Net
from provenet.nets.schema import Value, microseconds

APPROVE, DELEGATE, REVOKE = "approve", "delegate", "revoke"
SAID = (APPROVE, DELEGATE, REVOKE)
"""The kinds of entries that say what people said."""

LONGEST = 200
"""Most characters of somebody who is named in a delegation."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One of several approvals that a choice takes.

    Attributes:
        choice: Name of the choice.
        who: The person, with role.
        instead: In whose place, where it was delegated.
        about: Hash of what the person was shown.
        note: Hash of what the person brought, where the choice brings something.
    """

    choice: str
    who: str
    instead: str
    about: str
    note: str

    @property
    def of(self) -> tuple[str, str]:
        """What is approved: the choice, and the hash of what it is about."""
        return self.choice, self.about


@dataclass(frozen=True, slots=True)
class Delegation:
    """Somebody lets another person decide in their place.

    Attributes:
        by: Who may decide.
        to: Who may decide in their place.
        state: Whether it still holds.
    """

    by: str
    to: str
    state: Literal["holds", "ended"] = "holds"


@dataclass(slots=True)
class Said:
    """What people have said of one open task."""

    approvals: list[Approval] = field(default_factory=list)
    delegations: list[Delegation] = field(default_factory=list)

    @classmethod
    def of(cls, text: str) -> Said:
        """What ``text`` made."""
        data = json.loads(text)
        return cls([Approval(*a) for a in data["approved"]], [Delegation(*d) for d in data["delegated"]])

    def text(self) -> str:
        """All of it, as a row and a snapshot keep it."""
        approved = [[a.choice, a.who, a.instead, a.about, a.note] for a in self.approvals]
        return plain({"approved": approved, "delegated": [[d.by, d.to, d.state] for d in self.delegations]})

    def approving(self, choice: str, about: str) -> list[Approval]:
        """The approvals of a choice that count."""
        return [a for a in self.approvals if a.choice == choice and a.about == about]

    def holding(self) -> list[Delegation]:
        """The delegations that were not taken back."""
        return [d for d in self.delegations if d.state == "holds"]

    def people(self, who: Sequence[str]) -> list[set[str]]:
        """Different people among some, each with all the names that count as theirs."""
        groups: list[set[str]] = []
        for pair in [*((person(d.by), person(d.to)) for d in self.delegations), *((person(w),) for w in who)]:
            joined = set(pair).union(*(g for g in groups if not g.isdisjoint(pair)))
            groups = [g for g in groups if g.isdisjoint(pair)] + [joined]
        names = {person(w) for w in who}
        return [g for g in groups if not g.isdisjoint(names)]

    def delegate(self, by: str, to: str) -> None:
        """Let somebody decide in the place of another; who does so again means another."""
        self.revoke(by)
        self.delegations.append(Delegation(by, to))

    def revoke(self, by: str) -> None:
        """Take back what somebody delegated."""
        self.delegations = [
            Delegation(d.by, d.to, "ended") if person(d.by) == person(by) else d for d in self.delegations
        ]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a decision.

    Attributes:
        who: The person, with role.
        missing: How many more people have to decide the same before anything happens.
    """

    who: str
    missing: int

    def __str__(self) -> str:
        if not self.missing:
            return f"decided by {self.who}"
        people = "person has" if self.missing == 1 else "people have"
        return f"by {self.who}; {self.missing} more {people} to decide the same"


NOTHING = Said()
"""What people have said where nobody has said anything."""


def person(who: str) -> str:
    """Who somebody is, whatever their role and however it is written: what tells people apart."""
    name, at, role = who.rpartition("@")
    text = unicodedata.normalize("NFKC", name if at else role)
    # Twice: folding may give what normal form would write otherwise.
    text = unicodedata.normalize("NFKC", text.casefold())
    seen = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Cc", "Cs"})
    return " ".join(seen.split())


def right(choice: Choice, arrived: int, said: Said, who: str, at: int) -> str | None:
    """By what right somebody may choose.

    Args:
        choice: What is chosen.
        arrived: When the token came that it is about.
        said: What people have said of the task.
        who: The person, with role.
        at: When.

    Returns:
        Empty for their own; who delegated it to them otherwise; ``None`` where they have no right.
    """
    if own_right(choice, arrived, who, at):
        return ""
    # To the letter: that two names may be one person's is no reason to give one the other's right.
    return next((d.by for d in said.holding() if d.to == who and own_right(choice, arrived, d.by, at)), None)


def own_right(choice: Choice, arrived: int, who: str, at: int) -> bool:
    """Whether somebody's own role lets them choose."""
    name, _, role = who.rpartition("@")
    if not person(who):
        return False
    if not choice.who:
        return True
    if not name:
        return False
    if role == choice.who:
        return True
    return bool(choice.fallback) and role == choice.fallback and at >= fallback_from(choice, arrived)


def fallback_from(choice: Choice, arrived: int) -> int:
    """From when on the fallback may choose."""
    return arrived + microseconds(choice.after)


def refused(choice: Choice, said: Said, approval: Approval) -> str:
    """Why an approval does not count beside those before it; empty where it does."""
    before, who = said.approving(*approval.of), approval.who
    (mine,) = said.people([who])
    same = next((a for a in before if person(a.who) in mine), None)
    if same is not None:
        why = (
            "" if person(same.who) == person(who) else f": {who} and {same.who} count as one, by a delegation"
        )
        return f"{same.who} has chosen {choice.choice!r} already, and it takes {choice.eyes} people{why}"
    if any(a.note != approval.note for a in before):
        return f"{before[0].who} has chosen {choice.choice!r} with another note"
    return ""


def missing(choice: Choice, said: Said, about: str) -> int:
    """How many people have still to choose."""
    whose = [a.who for a in said.approving(choice.choice, about)]
    return max(0, choice.eyes - len(said.people(whose)))


# the log of it


def approve(case: LiveCase, book: Book, step: Step, task: tuple[str, int], said: Approval, at: int) -> None:
    """Write an approval to the case's log, and count it."""
    entry: dict[str, Any] = {"task": task[0], "token": task[1], "by": said.who, "about": said.about}
    if said.instead:
        entry["for"] = said.instead
    if said.note:
        entry["note"] = said.note
    case.log(book, APPROVE, step.name, at, plain(entry))
    _said(case, task).approvals.append(said)


def delegate(case: LiveCase, book: Book, task: OpenTask, who: str, to: str | None, at: int) -> None:
    """Let somebody decide a task in the place of another, or no longer; with an entry in the log.

    Raises:
        DecisionRefused: Who delegates may not decide by their own role, or there is nobody to delegate to.
    """
    where, key = f"case {case.id!r}, task {task.task!r}", (task.task, task.token)
    said = case.said.get(key, NOTHING)
    why = delegated(choices_of(task.steps.values()), task.opened, said, who, to, at)
    if why:
        raise DecisionRefused(why, where=where)
    if task.deadline is not None and at >= task.deadline:
        raise DecisionRefused(f"the deadline passed at {from_micros(task.deadline).isoformat()}", where=where)
    entry = {"task": task.task, "token": task.token, "by": who}
    if to is None:
        case.log(book, REVOKE, "", at, plain(entry))
        _said(case, key).revoke(who)
    else:
        case.log(book, DELEGATE, "", at, plain(entry | {"to": to}))
        _said(case, key).delegate(who, to)


def delegated(choices: list[Choice], arrived: int, said: Said, who: str, to: str | None, at: int) -> str:
    """Why somebody cannot delegate a task to somebody, or take that back; empty where they can."""
    if to is None:
        mine = any(person(d.by) == person(who) for d in said.holding())
        return "" if mine else f"{who or 'nobody'!r} has delegated it to nobody"
    if not any(own_right(c, arrived, who, at) for c in choices):
        roles = " or ".join(dict.fromkeys(repr(c.who) for c in choices))
        return f"{who or 'nobody'!r} may not delegate this: it takes somebody who may decide, of role {roles}"
    if not person(to) or len(to) > LONGEST or not to.isprintable() or to != clean(to):
        return f"it is delegated to a person, NAME@ROLE, not to {to[:50]!r}"
    if person(to) == person(who):
        return f"{who!r} and {to!r} are the same person"
    return ""


def follow(case: LiveCase, kind: str, transition: str, entry: dict[str, Any], at: int) -> str:
    """Count what an entry of a log says; why it cannot have been said, empty where it can.

    Raises:
        KeyError: It names no such transition, or leaves something out.
    """
    task, token, who = entry["task"], entry["token"], entry["by"]
    steps = [
        step
        for place, steps in case.program.asks_people.items()
        for step in steps
        if _choice(step).task == task
        and case.holds(place, token)
        and case.binding_for(step, token) is not None
    ]
    if not steps:
        return f"task {task!r} is not open for token {token}"
    arrived, said = case.arrived[token], _said(case, (task, token))
    if kind == REVOKE:
        why = delegated([], arrived, said, who, None, at)
        said.revoke(who)
    elif kind == DELEGATE:
        why = delegated(choices_of(steps), arrived, said, who, entry["to"], at)
        said.delegate(who, entry["to"])
    else:
        step = next((s for s in steps if s.name == transition), None)
        if step is None:
            return f"{transition!r} is no choice of task {task!r} for token {token}"
        choice = _choice(step)
        made = Approval(choice.choice, who, entry.get("for", ""), entry["about"], entry.get("note", ""))
        if right(choice, arrived, said, who, at) != made.instead:
            why = f"{who!r} may not choose {choice.choice!r}"
        else:
            why = refused(choice, said, made)
        said.approvals.append(made)
    return why


def fired(step: Step, arrived: int, said: Said, note: dict[str, Any], brought: str, at: int) -> str:
    """Why a choice cannot have been made as its firing says it was; empty where it can.

    Args:
        step: What fired.
        arrived: When the token came that it took.
        said: What people had said of the task.
        note: What the firing's entry says besides.
        brought: Hash of what it brought; empty where it brings nothing.
        at: When.
    """
    choice, who = _choice(step), str(note.get("by", ""))
    if right(choice, arrived, said, who, at) != note.get("for", ""):
        return f"it was chosen by {who!r}, who may not"
    if choice.eyes == 1:
        return ""
    counted = said.approving(choice.choice, str(note.get("about", "")))
    whose = [a.who for a in counted]
    if note.get("approved") != whose or whose[-1:] != [who] or any(a.note != brought for a in counted):
        return f"it says that {note.get('approved')} approved, the log that {whose} did"
    if len(said.people(whose)) < choice.eyes:
        return f"it takes {choice.eyes} different people, and {', '.join(whose)} are not"
    return ""


# tasks


def open_task(case: LiveCase, task: str, about_hash: str | None) -> OpenTask:
    """The open task of a name.

    Raises:
        DecisionRefused: There is none, or it is about something else.
    """
    where = f"case {case.id!r}"
    found = [t for t in case.tasks.values() if t.task == task]
    if about_hash is not None:
        bound = [t for t in found if t.about_hash == about_hash]
        if found and not bound:
            raise DecisionRefused(
                f"task {task!r} is about something else by now: "
                f"{found[0].about_hash[:12]}, not {about_hash[:12]}",
                where=where,
                hint="look at the task again and decide on what it says now",
            )
        found = bound
    if not found:
        open_tasks = sorted({t.task for t in case.tasks.values()})
        raise DecisionRefused(
            f"there is no open task {task!r}", where=where, hint=did_you_mean(task, open_tasks)
        )
    return found[0]


def approved(case: LiveCase, task: OpenTask) -> tuple[str, ...]:
    """Who has chosen already what takes several people."""
    said = case.said.get((task.task, task.token), NOTHING)
    return tuple(dict.fromkeys(a.who for a in said.approvals if a.about == task.about_hash))


def terms_of(net: Net | None, task: str) -> Choice:
    """The choice of a task that takes the most people; one that takes anybody where there is no such task."""
    found = [] if net is None else [c for c in _choices(net) if c.task == task]
    return max(found, key=lambda c: c.eyes, default=Choice(task, ""))


def fallback_tasks(net: Net, role: str) -> list[str]:
    """The tasks that a role may decide after a while."""
    return [c.task for c in _choices(net) if c.fallback == role]


def in_words(kind: str, entry: dict[str, Any]) -> str:
    """An entry in a few words."""
    instead = f", for {entry['for']}" if "for" in entry else ""
    said = {APPROVE: "approved", DELEGATE: f"delegated to {entry.get('to')}", REVOKE: "delegation taken back"}
    return f"{entry['task']}  {said[kind]} by {entry['by']}{instead}"


def heard(case: LiveCase, task: str, token: int, about: str) -> dict[str, Any]:
    """What people have said of a task, as JSON data."""
    said = case.said.get((task, token), NOTHING)
    return {
        "approved": [a.who for a in said.approvals if a.about == about],
        "delegated": {d.by: d.to for d in said.holding()},
    }


def choices_of(steps: Iterable[Step]) -> list[Choice]:
    """What can be chosen."""
    return [_choice(step) for step in steps]


def brings(case: LiveCase, step: Step, binding: Mapping[str, Value]) -> str:
    """The hash of what somebody brings with a choice; empty where it takes nothing."""
    if not step.fresh:
        return ""
    var, of = step.fresh[0]
    return text_hash(case.encoder(of)(binding[var]))


def said_of(case: LiveCase, task: str, token: int) -> str:
    """What people have said of a task, as its row keeps it; empty where that is nothing."""
    said = case.said.get((task, token))
    return "" if said is None else said.text()


def _choices(net: Net) -> list[Choice]:
    return [t.trigger for t in net.transitions if isinstance(t.trigger, Choice)]


def _choice(step: Step) -> Choice:
    trigger = step.transition.trigger
    assert isinstance(trigger, Choice)
    return trigger


def _said(case: LiveCase, task: tuple[str, int]) -> Said:
    """What people have said of a task, to add to."""
    return case.said.setdefault(task, Said())
