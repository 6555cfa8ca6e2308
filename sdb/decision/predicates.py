"""The questions of the method, each with its answer for a workload and the reason for it.

The five steps and their questions are those of Srinivasan's methodology (arXiv 2605.20173, 2026): classify
the runtime, choose the spine, wrap it with coordination, bound it with control, sequence the build. Where its
source gives no number or leaves a case open, what is used here is ours; ``docs/method.md`` says which. Every
predicate is a plain function of the description: nothing is guessed, and no model is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from provenet.nets.quick import dataclass
from provenet.sdb.decision.workload import Workload

SECONDS = timedelta(minutes=1)
"""Shorter units are a conversation (ours: the source says seconds)."""

DAYS = timedelta(days=1)
"""A unit as long as this spans days."""

HOUR = timedelta(hours=1)
"""Longer pauses ask for a durable spine; a unit as long as this spans days where the world moves (ours)."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A question of the method, answered.

    Attributes:
        id: Its name.
        question: The question.
        holds: The answer.
        reason: What of the description gives it.
    """

    id: str
    question: str
    holds: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.id if self.holds else f'not {self.id}'}: {self.reason}"


Ask = Callable[[Workload], Predicate]


# Step 1: how long does a unit last, and does the world change meanwhile?


def in_seconds(w: Workload) -> Predicate:
    """A unit is over while somebody waits for the answer."""
    return Predicate(
        "in-seconds",
        f"Is a unit of work over within {span_text(SECONDS)}?",
        w.unit.lasts < SECONDS,
        f"a unit lasts {span_text(w.unit.lasts)}",
    )


def spans_days(w: Workload) -> Predicate:
    """A unit lasts for days, or for hours in a world that moves."""
    lasts, moves = w.unit.lasts, w.unit.world_changes
    said = "the world changes meanwhile" if moves else "the world stays as it is meanwhile"
    return Predicate(
        "spans-days",
        f"Does a unit last {span_text(DAYS)} or more, or {span_text(HOUR)} or more while the world changes?",
        lasts >= DAYS or (lasts >= HOUR and moves),
        f"a unit lasts {span_text(lasts)}, and {said}",
    )


# Step 2: what carries the state?


def pauses(w: Workload) -> Predicate:
    """(a) It pauses for longer than an hour, or waits on the outside."""
    p = w.pauses
    if p is None or (not p.longest and not p.waits_on):
        reason = "it never pauses"
    elif p.waits_on:
        reason = f"it waits on {_listed(p.waits_on)}"
        reason += f", for up to {span_text(p.longest)}" if p.longest else ""
    else:
        reason = f"it pauses for {span_text(p.longest)} at most"
    return Predicate(
        "pauses",
        f"Does it pause for longer than {span_text(HOUR)}, or wait on the outside?",
        p is not None and (p.longest > HOUR or bool(p.waits_on)),
        reason,
    )


def state_is_lost(w: Workload) -> Predicate:
    """(b) The paused state does not follow from the original input."""
    p = w.pauses
    lost = p is not None and not p.reconstructible
    if p is None:
        reason = "there is no paused state"
    else:
        reason = f"the paused state {'does not follow' if lost else 'follows'} from the original input"
    return Predicate("state-is-lost", "Is the paused state more than the original input tells?", lost, reason)


def world_moves(w: Workload) -> Predicate:
    """(c) The world can change during a pause."""
    p = w.pauses
    moves = p is not None and p.world_changes
    if p is None:
        reason = "there is no pause"
    else:
        reason = f"the world {'can' if moves else 'cannot'} change during a pause"
    return Predicate("world-moves", "Can the world change during a pause?", moves, reason)


# Step 3: who works together?


def single_owner(w: Workload) -> Predicate:
    """One party answers for the outcome."""
    if w.tasks is None:
        return Predicate("single-owner", _OWNER, holds=False, reason="nothing is handed out")
    one = w.tasks.owner == "single"
    return Predicate(
        "single-owner", _OWNER, one, f"the outcome has {'one owner' if one else 'several owners'}"
    )


_OWNER = "Does one party own the outcome of work that is handed out?"


def independent_parts(w: Workload) -> Predicate:
    """No sub-task needs another's result, and there are several."""
    count = len(w.parts)
    alone = w.tasks is not None and w.tasks.independent
    if count < 2:
        reason = "there is one part" if count else "there are no parts"
    else:
        reason = f"its {count} parts {'do not need' if alone else 'need'} each other's results"
    return Predicate(
        "independent-parts",
        "Are there several parts that do not need each other?",
        alone and count > 1,
        reason,
    )


def deterministic_merge(w: Workload) -> Predicate:
    """A rule makes one result of the parts' results."""
    merge = "none" if w.tasks is None else w.tasks.merge
    reason = {
        "deterministic": "a rule merges the results",
        "judged": "somebody's judgement merges the results",
        "none": "results are not merged",
    }[merge]
    return Predicate(
        "deterministic-merge", "Does a rule merge the results?", merge == "deterministic", reason
    )


def peers_write(w: Workload) -> Predicate:
    """Sub-tasks have effects on the outside."""
    writing = [p.name for p in w.parts if p.effect is not None]
    return Predicate(
        "peers-write",
        "Do parts have effects on the outside?",
        bool(writing),
        f"{_listed(writing)} {'write' if len(writing) > 1 else 'writes'} to the outside"
        if writing
        else "no part writes to the outside",
    )


def partial_useful(w: Workload) -> Predicate:
    """What some parts did is of use where others failed."""
    useful = w.tasks is not None and w.tasks.partial_useful
    return Predicate(
        "partial-useful",
        "Must a partial result still be useful?",
        useful,
        f"a partial result is {'of' if useful else 'of no'} use",
    )


def bad_write_dear(w: Workload) -> Predicate:
    """A wrong partial write costs more than a log of compensations."""
    dear = w.tasks is not None and w.tasks.bad_write_dear
    return Predicate(
        "bad-write-dear",
        "Does a wrong partial write cost more than a log of compensations?",
        dear,
        f"a wrong partial write costs {'more' if dear else 'no more'} than a log of compensations",
    )


# Step 4: what bounds it?


def reaches_outside(w: Workload) -> Predicate:
    """Something of it has an effect on the outside."""
    acts = [a.effect for a in w.acts]
    return Predicate(
        "reaches-outside",
        "Does anything of it reach the outside?",
        bool(acts),
        f"it does {_listed(acts)}" if acts else "it has no effect on the outside",
    )


def consequence(w: Workload) -> Predicate:
    """A wrong action has legal or financial consequences."""
    holds = w.risk.legal_or_financial
    return Predicate(
        "consequence",
        "Does a wrong action have legal or financial consequences?",
        holds,
        f"a wrong action has {'' if holds else 'no '}legal or financial consequences",
    )


def audited(w: Workload) -> Predicate:
    """Somebody will ask who decided."""
    return Predicate(
        "audited",
        "Will auditors ask who decided?",
        w.risk.audited,
        f"{'auditors' if w.risk.audited else 'no auditors'} will ask who decided",
    )


def irreversible(w: Workload) -> Predicate:
    """Something of it cannot be undone (ours: CTL-1 asks for a person's approval then)."""
    final = [a.effect for a in w.acts if a.irreversible]
    return Predicate(
        "irreversible",
        "Is there an effect that nothing takes back?",
        bool(final),
        f"nothing takes {_listed(final)} back" if final else "every effect can be taken back",
    )


STEPS: tuple[tuple[str, tuple[Ask, ...]], ...] = (
    ("class", (in_seconds, spans_days)),
    ("spine", (pauses, state_is_lost, world_moves)),
    (
        "coordination",
        (single_owner, independent_parts, deterministic_merge, peers_write, partial_useful, bad_write_dear),
    ),
    ("control", (reaches_outside, consequence, audited, irreversible)),
)
"""The questions of each step that asks some; the fifth follows from the others."""


def span_text(span: timedelta) -> str:
    """``90 days``."""
    seconds = span.total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    text = f"{seconds:g}"
    return f"{text} second{'' if text == '1' else 's'}"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
