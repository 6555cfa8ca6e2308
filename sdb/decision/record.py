"""The decision record: six lines, each with its choice, what decided it, and what goes wrong if not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Literal, TypeAlias

from provenet.nets.quick import dataclass
from provenet.sdb.decision.predicates import STEPS, Predicate
from provenet.sdb.decision.workload import Workload

Class: TypeAlias = Literal["conversational", "autonomous", "long-horizon"]
"""How long a unit lasts: seconds, minutes, days."""

Spine: TypeAlias = Literal["P3", "P5", "P3 or P5", "none"]
"""What carries the state: a log of events, a versioned row, either, or nothing that lasts."""

Pattern: TypeAlias = Literal["P1", "P2", "P3", "P4", "P5", "P6"]

NAMES: Mapping[str, str] = {
    "P1": "hierarchical delegation",
    "P2": "scatter-gather with a saga",
    "P3": "event-driven sequencing",
    "P4": "supervisor and gate",
    "P5": "shared state machine",
    "P6": "human in the loop",
}
"""What each pattern is called."""

STRESSED: Mapping[Class, str] = {
    "conversational": "control",
    "autonomous": "coordination",
    "long-horizon": "state",
}
"""What a runtime class strains most."""

PLANES = ("kill switch", "escalation", "approval", "throttling")
"""The planes of P6, in the order in which they are built."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the record.

    Attributes:
        subject: What is decided.
        choice: The choice, in words.
        fired: The predicates that led to it, those that do not hold included.
        failure: What is to be expected where the choice is wrong.
        signs: The detectors that would show it (``provenet diagnose``).
    """

    subject: Literal["runtime class", "spine", "coordination", "control", "build", "decided"]
    choice: str
    fired: tuple[Predicate, ...]
    failure: str
    signs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """The architecture decision record of a workload.

    Attributes:
        workload: Its name.
        runtime: Its class.
        spine: What carries its state.
        coordination: ``P1``, ``P2``, both, or neither.
        control: ``P4``, ``P6``, both, or neither.
        sequence: What is built, in this order.
        model: The model that it is decided for.
        on: When.
        lines: The six lines.
        predicates: All answers, by step.
    """

    workload: str
    runtime: Class
    spine: Spine
    coordination: tuple[Pattern, ...]
    control: tuple[Pattern, ...]
    sequence: tuple[str, ...]
    model: str
    on: date
    lines: tuple[Line, ...]
    predicates: Mapping[str, tuple[Predicate, ...]]

    def to_json(self) -> dict[str, Any]:
        """The record as plain data."""
        return {
            "workload": self.workload,
            "class": self.runtime,
            "stressed": STRESSED[self.runtime],
            "spine": self.spine,
            "coordination": list(self.coordination),
            "control": list(self.control),
            "sequence": list(self.sequence),
            "model": self.model,
            "decided": self.on.isoformat(),
            "record": [
                {
                    "subject": line.subject,
                    "choice": line.choice,
                    "because": [str(p) for p in line.fired],
                    "if wrong": line.failure,
                    "signs": list(line.signs),
                }
                for line in self.lines
            ],
            "predicates": [
                {"step": step, "id": p.id, "question": p.question, "holds": p.holds, "reason": p.reason}
                for step, found in self.predicates.items()
                for p in found
            ],
        }


def decide(workload: Workload, *, on: date) -> Record:
    """The decision record of a workload.

    Args:
        workload: The workload.
        on: The day of the decision, where the description does not say it.
    """
    answers = {step: tuple(ask(workload) for ask in asked) for step, asked in STEPS}
    runtime, first = _runtime(answers["class"])
    spine, second = _spine(answers["spine"])
    coordination, third = _coordination(answers["coordination"])
    control, fourth = _control(answers["control"])
    sequence, fifth = _build(workload, coordination, control)
    day = workload.decided or on
    return Record(
        workload=workload.workload,
        runtime=runtime,
        spine=spine,
        coordination=coordination,
        control=control,
        sequence=sequence,
        model=workload.model,
        on=day,
        lines=(first, second, third, fourth, fifth, _decided(workload.model, day)),
        predicates=answers,
    )


def _runtime(answers: tuple[Predicate, ...]) -> tuple[Class, Line]:
    seconds, days = answers
    found: Class = "conversational" if seconds.holds else "long-horizon" if days.holds else "autonomous"
    failure = {
        "conversational": "a unit that takes longer outlives whoever waits for it: time-outs, and work that "
        "is lost because nothing durable carried it",
        "autonomous": "a unit that spans days acts on what was true when it began, and loses its state with "
        "the process that held it",
        "long-horizon": "a unit that is over in minutes pays for versions, timers and migrations that it "
        "never needs",
    }[found]
    fired = (seconds,) if seconds.holds else (days,) if days.holds else answers
    choice = f"{found}; what is strained most is {STRESSED[found]}"
    return found, Line("runtime class", choice, fired, failure)


def _spine(answers: tuple[Predicate, ...]) -> tuple[Spine, Line]:
    pauses, lost, moves = answers
    if not pauses.holds:
        return "P3", Line(
            "spine",
            f"P3, {NAMES['P3']}",
            (pauses,),
            "where it pauses after all, a replay under another model goes elsewhere than the run did "
            "(replay divergence), and a timer acts on what has moved on",
            ("P3a", "P3b"),
        )
    if not lost.holds:
        return "none", Line(
            "spine",
            "no durable spine: begin again from the input",
            (pauses, lost),
            "where the input does not tell all, a unit that begins again repeats what it did, or forgets it",
            ("P3a",),
        )
    if not moves.holds:
        return "P3 or P5", Line(
            "spine",
            "P3 or P5: a question of cost, not of being right",
            answers,
            "where the world moves after all, P3 repeats decisions that no longer fit (replay divergence)",
            ("P3a", "P5a"),
        )
    return "P5", Line(
        "spine",
        f"P5, {NAMES['P5']}",
        answers,
        "where P3 would have done, workers contend for a row that a log would not have; had P3 been built "
        "where P5 is needed, a replay would go elsewhere than the run did (replay divergence)",
        ("P5a", "P5b"),
    )


def _coordination(answers: tuple[Predicate, ...]) -> tuple[tuple[Pattern, ...], Line]:
    delegation, saga = answers[:3], answers[3:]
    fired: list[Predicate] = []
    found: list[Pattern] = []
    failures, signs = [], []
    if all(p.holds for p in delegation):
        found.append("P1")
        fired += delegation
        failures.append(
            "P1: where parts do need each other, or judgement merges them, one part's word decides and "
            "retries multiply"
        )
        signs += ["P1a", "P1b"]
    if any(p.holds for p in saga):
        found.append("P2")
        fired += (p for p in saga if p.holds)
        failures.append(
            "P2: where an action is too coarse to take back, undoing it costs more than doing it, and half "
            "of it stays"
        )
        signs += ["P2a", "P2b"]
    if not found:
        failures.append(
            "where parts could have been handed out, one failure is the failure of the whole, and no part "
            "has a deadline of its own"
        )
        fired = [p for p in answers if not p.holds]
    choice = " + ".join(f"{p}, {NAMES[p]}" for p in found) or "none: one agent does it"
    return tuple(found), Line("coordination", choice, tuple(fired), "; ".join(failures), tuple(signs))


def _control(answers: tuple[Predicate, ...]) -> tuple[tuple[Pattern, ...], Line]:
    outside, *people = answers
    found: list[Pattern] = []
    if outside.holds:
        found.append("P4")
    asked = tuple(p for p in people if p.holds)
    if asked:
        found.append("P6")
    if "P6" in found:
        failure = (
            "where nothing hangs on it, reviewers are asked too often, deadlines pass, and all ends in deny"
        )
        signs: tuple[str, ...] = ("P4b", "P6a", "P6b") if "P4" in found else ("P6a", "P6b")
    elif found:
        failure = (
            "where an action does have consequences, it stands, nobody can stop it, and nobody decided it"
        )
        signs = ("P4a", "P4b")
    else:
        failure, signs = "where it does act, nothing stands between a proposal and its effect", ()
    names = {"P4": f"P4, {NAMES['P4']}", "P6": f"full P6, {NAMES['P6']} ({', '.join(PLANES)})"}
    choice = " + ".join(names[p] for p in found) or "none: nothing of it acts"
    # What holds, and for what is left out, what does not.
    fired = ((outside,) if outside.holds or not found else ()) + (asked or tuple(people))
    return tuple(found), Line("control", choice, fired, failure, signs)


def _build(
    w: Workload, coordination: tuple[Pattern, ...], control: tuple[Pattern, ...]
) -> tuple[tuple[str, ...], Line]:
    steps = ["state schema and observability"]
    if "P4" in control:
        steps.append("gate and audit log")
    elif "P6" in control:
        steps.append("audit log")
    if coordination:
        names = [p.name for p in w.parts]
        steps.append(f"orchestrator and one sub-agent ({names[0]})")
        if names[1:]:
            steps.append(f"the other sub-agents ({', '.join(names[1:])})")
    else:
        steps.append("the agent")
    if "P6" in control:
        steps += [f"P6: {plane}" for plane in PLANES]
    chosen = (*coordination, *control)
    fired = Predicate(
        "follows",
        "What was chosen?",
        holds=True,
        reason=f"the parts of {', '.join(chosen)}, state before control before agents before people"
        if chosen
        else "state before the agent",
    )
    failure = (
        "agents that act before gate and log exist do what nobody checked, and nobody can tell what it was"
    )
    return tuple(steps), Line("build", "; ".join(steps), (fired,), failure, ())


def _decided(model: str, day: date) -> Line:
    fired = Predicate(
        "for-this-model", "What does the decision rest on?", holds=True, reason=f"decided for {model}"
    )
    return Line(
        "decided",
        f"{day.isoformat()} for {model}",
        (fired,),
        "a change of model or prompt changes behaviour that nobody decided on: measure it first "
        "(`provenet replay`), and decide again",
        ("P3a",),
    )


def summary(choices: Iterable[str]) -> str:
    """``P1+P2``, or ``none``."""
    return "+".join(choices) or "none"
