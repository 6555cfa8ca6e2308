"""One case's log, fired again by the code that fired it first, and held against the tables."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, get_args

from provenet.engine.case import GENESIS, LIVE, LiveCase, Status, chain
from provenet.engine.clock import to_micros
from provenet.engine.codec import Encoder, encoder, plain, text_hash
from provenet.engine.program import Program, Step
from provenet.nets.errors import ExprError, FiringError
from provenet.nets.marking import Marking, initial_marking, is_final
from provenet.nets.net import After, Choice, Explain, OnFailure, Perform, Role
from provenet.nets.schema import Value, from_json, microseconds


class Auditor(Protocol):
    """What the audit of a case needs of the whole."""

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, all of one moment of the database."""
        ...

    def program(self, found: str) -> Program | None:
        """A net version by its hash, where it can be read."""
        ...

    def count(self, events: int, effects: int) -> None:
        """Tell what was looked at."""
        ...

    def problem(self, case: str, seq: int, what: str) -> None:
        """Tell a discrepancy."""
        ...


class CaseAudit:
    """One case, replayed.

    Args:
        auditor: Where to read, and whom to tell.
        row: The case's own row.
    """

    def __init__(self, auditor: Auditor, row: tuple[Any, ...]) -> None:
        self.auditor, self.row = auditor, row
        self.no, self.id = row[0], row[1]
        self.book = Replayed()
        self.effects: dict[tuple[int, str], tuple[Any, ...]] = {}
        self.tasks: dict[tuple[int, str], tuple[Any, ...]] = {}
        self.committed: set[tuple[int, str]] = set()

    def run(self) -> None:
        """Replay the log and compare where it leads with what the tables say."""
        no, case_id, net, status, version, _, head, created, *_ = self.row
        program = self.auditor.program(net)
        if program is None:
            self._problem(0, f"its net {net[:12]} is not among the deployed ones")
            return
        self.effects = {
            (token, transition): tuple(rest)
            for token, transition, *rest in self.auditor.rows(
                "SELECT token, transition, state, receipt, key, payload_hash FROM provenet_effect"
                " WHERE case_no = ?",
                no,
            )
        }
        self.tasks = {
            (token, task): tuple(rest)
            for token, task, *rest in self.auditor.rows(
                "SELECT token, task, status, choice, who, about, about_hash, deadline FROM provenet_task"
                " WHERE case_no = ?",
                no,
            )
        }
        case = LiveCase(no, case_id, program, created)
        events = self.auditor.rows(
            "SELECT seq, kind, transition, at, data, prev, hash FROM provenet_event"
            " WHERE case_no = ? ORDER BY seq",
            no,
        )
        self.auditor.count(len(events), len(self.effects))
        whole = self._chained(events)
        for event in events:
            if not self._replay(case, event):
                return
        if not events:
            self._problem(0, "its log is empty")
        if whole and events and (self.row[5], self.row[10]) != (case.next_token, case.killed):
            self._problem(case.seq, "the case's row differs from what the log leads to")
        if (version, head) != (case.seq, case.head) and whole:
            self._problem(
                case.seq,
                f"the case's row says version {version}, its log ends with {case.seq}: "
                "entries are missing or the row was changed",
            )
        self._compare(case, status)

    def _problem(self, seq: int, what: str) -> None:
        self.auditor.problem(self.id, seq, what)

    def _chained(self, events: list[tuple[Any, ...]]) -> bool:
        head, whole = GENESIS, True
        for i, (seq, kind, transition, at, data, prev, digest) in enumerate(events):
            if seq != i + 1:
                self._problem(seq, f"entry {i + 1} of the log is missing")
                return False
            if prev != head or digest != chain(
                prev, self.id, seq, kind, transition=transition, at=at, data=data
            ):
                self._problem(seq, "the hash chain is broken here: the entry, or one before it, was changed")
                whole = False
            head = digest
        return whole

    def _replay(self, case: LiveCase, event: tuple[Any, ...]) -> bool:
        seq, kind, transition, at, data, _, digest = event
        said = json.loads(data)
        try:
            if kind == "start":
                self._start(case, said, at)
            elif kind == "fire":
                self._fire(case, said, transition, at, seq)
            else:
                case.log(self.book, kind, transition, at, data)
        except (FiringError, ExprError, KeyError) as error:
            self._problem(seq, f"{transition or kind} does not replay: {error}")
            return False
        if self.book.last[5] != data:
            self._problem(seq, f"{transition or kind} replays to something else than the log says")
            return False
        # Follow the stored chain, so that one changed entry is reported once and not for all that come after.
        case.head = digest
        return True

    def _start(self, case: LiveCase, said: dict[str, Any], at: int) -> None:
        program = case.program
        tokens: dict[str, tuple[Value, ...]] = {}
        for _, place, value in said["put"]:
            tokens[place] = (*tokens.get(place, ()), from_json(value, program.types[place], place))
        marking = Marking(tokens)
        inputs = {place: tokens[place][-1] for place in program.entries}
        if initial_marking(program.net, inputs) != marking:
            self._problem(1, "it does not start with the net's initial marking")
        for place, condition in program.entries.items():
            if condition is not None and not condition({"it": inputs[place]}):
                self._problem(1, f"its input at {place!r} is outside what the net was proved for")
        case.start(self.book, marking, at)

    def _fire(self, case: LiveCase, said: dict[str, Any], transition: str, at: int, seq: int) -> None:
        step = case.program.by_name[transition]
        places = {var: place for place, variables, _ in step.consumes for var in variables}
        places |= {var: place for place, variables in step.looks for var in variables}
        binding = {var: case.value(places[var], token) for var, token in said["bind"].items()}
        types = dict(step.fresh)
        binding |= {var: from_json(value, types[var], var) for var, value in said.get("bring", {}).items()}
        self._reasons(case, step, binding, said, at=at, seq=seq)
        if step.transition.role is Role.KILL:
            case.killed = 1
        took = set(said["took"])
        self.committed.update((token, transition) for token in took)
        case.fire(
            self.book,
            step,
            binding,
            at,
            chosen=said["bind"],
            loose=frozenset(took - set(said["bind"].values())),
            note=plain(said["note"]) if "note" in said else "",
        )

    def _reasons(
        self,
        case: LiveCase,
        step: Step,
        binding: dict[str, Value],
        said: dict[str, Any],
        *,
        at: int,
        seq: int,
    ) -> None:
        """Whether what makes the transition fire was there: its effect, its deadline, its decision."""
        anchor = said["took"][0] if said["took"] else 0
        match step.transition.trigger:
            case Perform(external=True):
                state, receipt, key, payload = self.effects.get(
                    (anchor, step.name), ("missing", None, "", "")
                )
                if state != "performed":
                    self._problem(seq, f"{step.name} committed, but its effect is {state}")
                elif step.fresh and receipt is not None:
                    brought = encoder(step.fresh[0][1])(binding[step.fresh[0][0]])
                    if json.loads(receipt) != json.loads(brought):
                        self._problem(seq, f"{step.name} committed with another receipt than its effect gave")
                if state != "missing" and key != said.get("note", {}).get("key"):
                    self._problem(seq, f"{step.name} committed under another key than its effect has")
                if state != "missing" and payload != self._payload(case, step, binding):
                    self._problem(
                        seq, f"the effect of {step.name} was given something else than its token holds"
                    )
            case OnFailure(of=failed):
                state, *_ = self.effects.get((anchor, failed), ("failed",))
                if state != "failed":
                    self._problem(seq, f"{step.name} fired, but the effect of {failed} is {state}")
            case After() if step.due is not None:
                delay = step.due(binding)
                due = (
                    to_micros(delay)
                    if isinstance(delay, datetime)
                    else case.arrived[anchor] + microseconds(delay)
                )
                if at < due:
                    self._problem(seq, f"{step.name} fired {(due - at) / 1e6:.0f} s before it was due")
            case Choice(task=task, choice=choice):
                status, chosen, who, about, about_hash, *_ = self.tasks.get(
                    (anchor, task), ("missing", *[None] * 5)
                )
                by = said.get("note", {}).get("by")
                if status != "decided" or chosen != choice or who != by:
                    self._problem(
                        seq, f"{step.name} fired by {by}, but task {task!r} is {status}, {chosen} by {who}"
                    )
                elif about_hash != said.get("note", {}).get("about") or text_hash(about) != about_hash:
                    self._problem(seq, f"{step.name}: what was decided on is not what the task shows")
            case Explain():
                why = case.program.explain(step, binding)
                if why is None or why.value() != binding[step.fresh[0][0]]:
                    self._problem(seq, f"{step.name} gives another reason than the policy does")

    def _payload(self, case: LiveCase, step: Step, binding: dict[str, Value]) -> str:
        """The hash of what an effect is given."""
        anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
        value, of, *_ = case.program.payload(step, binding, anchor)
        return text_hash(encoder(of)(value))

    def _compare(self, case: LiveCase, status: str) -> None:
        rows = {
            token: (place, value, arrived)
            for token, place, value, arrived in self.auditor.rows(
                "SELECT id, place, value, arrived FROM provenet_token WHERE case_no = ?", self.no
            )
        }
        for token in sorted(self.book.tokens.keys() | rows.keys()):
            here, there = self.book.tokens.get(token), rows.get(token)
            if here is None:
                self._problem(case.seq, f"token {token} lies in the table, but the log does not lead to it")
            elif there is None:
                self._problem(case.seq, f"token {token} in {here[0]!r} is missing from the table")
            elif (here[0], self.book.text(token), here[3]) != there:
                self._problem(case.seq, f"token {token} in {here[0]!r} differs from what the log leads to")
        final = is_final(case.program.net, case.marking)
        if status not in get_args(Status):
            self._problem(0, f"it is {status!r}, which is no status")
        if status == "done" and not final:
            self._problem(case.seq, "the case is done, but its marking is no final one")
        if status in LIVE and final:
            self._problem(case.seq, "the marking is final, but the case is not done")
        if status == "done" and final:
            place, outcome = self.row[8], self.row[9]
            if not case.marking[place] or case.program.encoders[place](case.marking[place][0]) != outcome:
                self._problem(case.seq, "the case's outcome is not the token it ended with")
        self._compare_waits(case, status)

    def _compare_waits(self, case: LiveCase, status: str) -> None:
        names = {s.name: s for s in case.program.steps}
        timers = self.auditor.rows(
            "SELECT token, transition, due FROM provenet_timer WHERE case_no = ?", self.no
        )
        for token, transition, due in timers:
            step = names.get(transition)
            if step is None or not case.holds(step.anchor, token):
                self._problem(case.seq, f"a timer of {transition} waits for token {token}, which is gone")
            elif due not in self._due(case, step, token):
                self._problem(case.seq, f"the timer of {transition} is not due when the net says")
        if status in LIVE:
            known = {(token, transition) for token, transition, _ in timers}
            for step in case.program.steps:
                if isinstance(step.transition.trigger, After):
                    for token in case.ids.get(step.anchor, ()):
                        if self._due(case, step, token) and (token, step.name) not in known:
                            self._problem(case.seq, f"{step.name} has no timer for token {token}")
            self._compare_tasks(case)
        for (token, transition), (state, *_) in self.effects.items():
            step = names.get(transition)
            live = step is not None and case.holds(step.anchor, token)
            if state == "intended" and not live and status != "killed":
                self._problem(
                    case.seq, f"the effect of {transition} was intended for token {token}, and never ended"
                )
            if state == "performed" and not live and (token, transition) not in self.committed:
                self._problem(
                    case.seq, f"the effect of {transition} was performed, but the log has no commit of it"
                )

    def _compare_tasks(self, case: LiveCase) -> None:
        for (token, task), (status, *_, deadline) in self.tasks.items():
            if status == "open" and token not in case.arrived:
                self._problem(case.seq, f"task {task!r} is open for token {token}, which is gone")
            due = [
                d
                for s in case.program.timers_of.get(self._place_of(case, token), ())
                for d in self._due(case, s, token)
            ]
            if status == "open" and deadline != min(due, default=None):
                self._problem(case.seq, f"task {task!r} has another deadline than the net says")
        for place, steps in case.program.asks_people.items():
            for token in case.ids.get(place, ()):
                for step in steps:
                    assert isinstance(step.transition.trigger, Choice)
                    task = step.transition.trigger.task
                    if self._enabled(case, step, token) and self.tasks.get((token, task), ("",))[0] != "open":
                        self._problem(case.seq, f"task {task!r} is not open for token {token}")

    def _place_of(self, case: LiveCase, token: int) -> str:
        return next((p for p, ids in case.ids.items() if token in ids), "")

    def _due(self, case: LiveCase, step: Step, token: int) -> set[int]:
        """When a timer of a token may be due, over all bindings that take it."""
        assert step.due is not None
        found: set[int] = set()
        for binding in self._enabled(case, step, token):
            delay = step.due(binding)
            found.add(
                to_micros(delay) if isinstance(delay, datetime) else case.arrived[token] + microseconds(delay)
            )
        return found

    def _enabled(self, case: LiveCase, step: Step, token: int) -> list[dict[str, Value]]:
        value = case.value(step.anchor, token)
        return [
            dict(b)
            for b in case.program.rule.bindings(case.marking, step.name)
            if step.anchor_var is None or b[step.anchor_var] == value
        ]


@dataclass(slots=True)
class Replayed:
    """Where a replay writes: the token table that it leads to, and the entry just made."""

    tokens: dict[int, tuple[str, Value, Encoder | str, int]] = field(default_factory=dict)
    last: tuple[Any, ...] = ()

    def text(self, token: int) -> str:
        """The text of a token's value."""
        _, value, text, _ = self.tokens[token]
        return text if isinstance(text, str) else text(value)

    def append(self, table: str, row: tuple[Any, ...]) -> None:  # noqa: ARG002  the log is the only such table here
        """Keep the entry just made."""
        self.last = row

    def put_token(self, key: tuple[int, int], place: str, value: Value, text: Encoder | str, at: int) -> None:
        """Add a token."""
        self.tokens[key[1]] = place, value, text, at

    def drop_token(self, key: tuple[int, int]) -> None:
        """Remove a token."""
        self.tokens.pop(key[1], None)

    def move_case(
        self, no: int, expected: int, moved: tuple[Any, ...], turned: tuple[Any, ...] | None
    ) -> None:
        """Never called."""
        raise AssertionError(f"a replay saves no case: {no}, {expected}, {moved}, {turned}")
