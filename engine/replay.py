"""One case's log, fired again by the code that fired it first, and held against the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

from provenet.engine import people
from provenet.engine.audit_inbox import InboxAudit
from provenet.engine.case import GENESIS, LIVE, LiveCase, Status, chain
from provenet.engine.clock import to_micros
from provenet.engine.codec import text_hash
from provenet.engine.history import ENTRIES, Again, NotReplayed, Replay, due, enabled
from provenet.engine.in_force import accepted
from provenet.engine.personal import Seal, known_text
from provenet.engine.program import Program
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.unread import ODD, is_unread
from provenet.nets.errors import ExprError, FiringError
from provenet.nets.marking import Marking, initial_marking, is_final
from provenet.nets.net import After, Choice, Explain, OnFailure, Perform
from provenet.nets.schema import microseconds
from provenet.sdb.reject import Reject


class Auditor(Protocol):
    """What the audit of a case needs of the whole."""

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, all of one moment of the database."""
        ...

    def program(self, found: str) -> Program | None:
        """A net version by its hash, where it can be read."""
        ...

    def seal(self, key: str) -> Seal:
        """What reads personal values under a key, as far as the keys at hand do."""
        ...

    def followed(self, count: int, seal: Seal) -> None:
        """Tell how many entries of a case could not be fired again, and what reads its personal values."""
        ...

    def count(self, events: int, effects: int) -> None:
        """Tell what was looked at."""
        ...

    def problem(self, case: str, seq: int, what: str) -> None:
        """Tell a discrepancy."""
        ...

    @property
    def fast(self) -> Literal["no", "yes"]:
        """Whether logs are taken from their latest snapshot on."""
        ...

    def begins(self, no: int) -> tuple[int, bytes] | None:
        """Where the archive says that a case's log begins: number and hash of the entry; for trimmed ones."""
        ...

    def begun(self, seq: int) -> None:
        """Tell with which entry the replay of a case begins."""
        ...


class CaseAudit(Replay):
    """One case, replayed.

    Args:
        auditor: Where to read, and whom to tell.
        row: The case's own row.

    Attributes:
        since: Number of the first entry that is looked at: a later one than 1 where the log was trimmed, or
            the audit is a fast one.
    """

    def __init__(self, auditor: Auditor, row: tuple[Any, ...]) -> None:
        self.auditor, self.row = auditor, row
        self.no, self.id = row[0], row[1]
        super().__init__(auditor.program, self.no, self.id, row[7], auditor.seal)
        self.effects: dict[tuple[int, str], tuple[Any, ...]] = {}
        self.tasks: dict[tuple[int, str], tuple[Any, ...]] = {}
        self.committed: set[tuple[int, str]] = set()
        self._inbox = InboxAudit(auditor, self.no, self.id)
        self._before, self._held = 1, frozenset[int]()
        self.since = 1

    def run(self) -> None:
        """Replay the log and compare where it leads with what the tables say."""
        no, _, net, status, version, _, head, *_ = self.row
        if self.auditor.program(net) is None:
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
                "SELECT token, task, status, choice, who, about, about_hash, people, deadline"
                " FROM provenet_task WHERE case_no = ?",
                no,
            )
        }
        events = self._entries()
        self.auditor.count(len(events), len(self.effects))
        if not events:
            self._problem(0, "its log is empty")
            return
        self.since = events[0][0]
        self.auditor.begun(self.since)
        whole = self._chained(events)
        for seq, kind, transition, *rest in events:
            try:
                self.follow((seq, kind, transition, *rest))
            except NotReplayed as error:
                self._problem(seq, f"{transition or kind}: {error.message}")
                return
            except (FiringError, ExprError, KeyError) as error:
                self._problem(seq, f"{transition or kind} does not replay: {error}")
                return
        case = self.case
        if whole and (self.row[5], self.row[10], self.row[11]) != (case.next_token, case.killed, case.tenant):
            self._problem(case.seq, "the case's row differs from what the log leads to")
        key = "" if case.seal is None else case.seal.key
        if self.row[12] != key:
            self._problem(case.seq, f"the case's row names data key {self.row[12]!r}, its log {key!r}")
        if case.seal is not None:
            self.auditor.followed(self.followed, case.seal)
            self._compare_key(case.seal.key)
        if case.program.hash != net:
            self._problem(case.seq, f"it runs on net {net[:12]}, its log on {case.program.hash[:12]}")
            return
        if (version, head) != (case.seq, case.head) and whole:
            self._problem(
                case.seq,
                f"the case's row says version {version}, its log ends with {case.seq}: "
                "entries are missing or the row was changed",
            )
        self._compare(case, status)
        self._compare_said()
        with self._as_far_as_known():
            self._inbox.compare(case, status, self.since)

    def starting(self, marking: Marking, program: Program) -> None:
        """Whether it starts as the net says."""
        inputs = {place: marking[place][-1] for place in program.entries}
        with self._as_far_as_known():
            self._inbox.starting(program, inputs, self.case.known_by)
        with self._as_far_as_known():
            if initial_marking(program.net, inputs) != marking:
                self._problem(1, "it does not start with the net's initial marking")
        for place, condition in program.entries.items():
            with self._as_far_as_known():
                if condition is not None and not condition({"it": inputs[place]}):
                    self._problem(1, f"its input at {place!r} is outside what the net was proved for")

    def firing(self, again: Again) -> None:
        """Whether what makes the transition fire was there: its effect, its deadline, its decision."""
        try:
            self._reasoned(again)
        except ODD:
            if not is_unread(self.case):
                raise

    def _reasoned(self, again: Again) -> None:
        case, step, binding, said, seq = self.case, again.step, again.binding, again.said, again.seq
        self.committed.update((token, step.name) for token in said["took"])
        self._inbox.firing(case, again)
        anchor = again.token
        match step.transition.trigger:
            case Perform(external=True):
                state, receipt, key, payload = self.effects.get(
                    (anchor, step.name), ("missing", None, "", "")
                )
                if state != "performed":
                    self._problem(seq, f"{step.name} committed, but its effect is {state}")
                elif step.fresh and receipt is not None:
                    brought = case.encoder(step.fresh[0][1])(binding[step.fresh[0][0]])
                    if json.loads(receipt) != json.loads(brought):
                        self._problem(seq, f"{step.name} committed with another receipt than its effect gave")
                if state != "missing" and key != said.get("note", {}).get("key"):
                    self._problem(seq, f"{step.name} committed under another key than its effect has")
                if state != "missing" and payload != text_hash(again.payload(case)):
                    self._problem(
                        seq, f"the effect of {step.name} was given something else than its token holds"
                    )
            case OnFailure(of=failed):
                state, *_ = self.effects.get((anchor, failed), ("failed",))
                if state != "failed":
                    self._problem(seq, f"{step.name} fired, but the effect of {failed} is {state}")
                if "policy" in said.get("note", {}):
                    self._not_called(again, failed)
            case After() if step.due is not None:
                delay = step.due(binding)
                rings = (
                    to_micros(delay)
                    if isinstance(delay, datetime)
                    else case.arrived[anchor] + microseconds(delay)
                )
                if again.at < rings:
                    early = (rings - again.at) / 1e6
                    self._problem(seq, f"{step.name} fired {early:.0f} s before it was due")
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
                self._chosen(again, task)
            case Explain():
                why = case.program.explain(step, binding)
                if why is None or why.value() != binding[step.fresh[0][0]]:
                    self._problem(seq, f"{step.name} gives another reason than the policy does")

    def _not_called(self, again: Again, failed: str) -> None:
        """Whether the policy that is said to have stopped an effect refuses what was accepted."""
        case, by = self.case, str(again.said["note"]["policy"])
        step, other = case.program.by_name[failed], self.auditor.program(by)
        token = {} if step.anchor_var is None else {step.anchor_var: case.value(step.anchor, again.token)}
        values, contract = accepted(case.program, step, token), step.transition.contract
        info = None if other is None else next((c for c in other.net.contracts if c.id == contract), None)
        if values is None or other is None or info is None:
            self._problem(again.seq, f"{again.step.name}: net {by[:12]} has no policy about {failed}")
        elif info.opaque == "no":
            why, said = other.refusal(contract, *values), Reject.of(again.binding[again.step.fresh[0][0]])
            if why is None or why.rule != said.rule:
                self._problem(again.seq, f"{again.step.name}: the policy of net {by[:12]} does not refuse it")

    def _chosen(self, again: Again, task: str) -> None:
        """Whether those who chose were as many as it takes, and might."""
        case, token = self.case, again.token
        if (token, task) in self.unsure:
            return
        why = people.fired(
            again.step,
            case.arrived[token],
            case.said.get((task, token), people.NOTHING),
            again.said.get("note", {}),
            people.brings(case, again.step, again.binding),
            again.at,
        )
        if why:
            self._problem(again.seq, f"{again.step.name}: {why}")

    def _compare_key(self, key: str) -> None:
        """Whether the key of its personal values is there, or its log says who erased it."""
        rows = self.auditor.rows("SELECT wrapped, erased, who, reason FROM provenet_key WHERE id = ?", key)
        wrapped, *row = rows[0] if rows else (None, None, None, None)
        said = None if self.gone is None else [self.gone[name] for name in ("at", "by", "reason")]
        if said is None and wrapped is None:
            self._problem(self.case.seq, "the key of its personal data is gone, and its log has no erasure")
        elif said is not None and (wrapped is not None or row != said):
            self._problem(self.case.seq, "its log has an erasure of its personal data, and their key another")

    def _compare_said(self) -> None:
        """Whether tasks say the same of what people said as the log."""
        heard = {(token, task): said.text() for (task, token), said in self.case.said.items()}
        void = {(token, task): said.text() for (task, token), said in self.void.items()}
        for at, text in (void | heard).items():
            if at not in self.tasks:
                self._problem(self.case.seq, f"task {at[1]!r} of token {at[0]} is missing: {text}")
        for (token, task), (status, *_, said, _) in self.tasks.items():
            # What was said of a token that was gone before the log begins is not in it any more.
            gone = token not in self._held or status == "withdrawn"
            past = (token < self._before and gone) or (token, task) in self.unsure
            same = {heard.get((token, task), "")}
            if status == "withdrawn":
                same |= {void.get((token, task), "")}
            if said not in same and not past:
                self._problem(self.case.seq, f"what people said of task {task!r} is not what the log says")

    def _problem(self, seq: int, what: str) -> None:
        self.auditor.problem(self.id, seq, what)

    def resumed(self, case: LiveCase) -> None:
        """Which tokens there were when a log that was trimmed, or is taken from a snapshot on, begins."""
        self._before, self._held = case.next_token, frozenset(case.arrived)

    def _entries(self) -> list[tuple[Any, ...]]:
        """The log: all that there is of it, or from the latest snapshot on."""
        since = 0
        if self.auditor.fast == "yes":
            latest = self.auditor.rows(
                "SELECT seq FROM provenet_event WHERE case_no = ? AND kind = ? ORDER BY seq DESC LIMIT 1",
                self.no,
                SNAPSHOT,
            )
            since = latest[0][0] if latest else 0
        return self.auditor.rows(ENTRIES.replace("ORDER", "AND seq >= ? ORDER"), self.no, since)

    def _chained(self, events: list[tuple[Any, ...]]) -> bool:
        first, head, whole = self._begins(events[0]), GENESIS, True
        if first > 1:
            head = events[0][5]
        for i, (seq, kind, transition, at, data, prev, digest) in enumerate(events, start=first):
            if seq != i:
                self._problem(seq, f"entry {i} of the log is missing")
                return False
            if prev != head or digest != chain(
                prev, self.id, seq, kind, transition=transition, at=at, data=data
            ):
                self._problem(seq, "the hash chain is broken here: the entry, or one before it, was changed")
                whole = False
            head = digest
        return whole

    def _begins(self, entry: tuple[Any, ...]) -> int:
        """The number that the first entry must have; a later one than 1 must be on record."""
        seq, kind, digest = int(entry[0]), entry[1], entry[6]
        if kind == SNAPSHOT and self.auditor.fast == "yes":
            return seq
        record = self.auditor.begins(self.no)
        if record is None:
            return 1
        if record != (seq, digest):
            self._problem(seq, f"its log was trimmed to begin with entry {record[0]}, and does not")
        return record[0]

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
            elif (here[0], self.book.text(token) or there[1], here[3]) != there:
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
            held = case.marking[place]
            if not held or (known_text(held[0], case.encoder_at(place)) or outcome) != outcome:
                self._problem(case.seq, "the case's outcome is not the token it ended with")
        self._compare_waits(case, status)

    def _compare_waits(self, case: LiveCase, status: str) -> None:
        names = {s.name: s for s in case.program.steps}
        timers = self.auditor.rows(
            "SELECT token, transition, due FROM provenet_timer WHERE case_no = ?", self.no
        )
        for token, transition, rings in timers:
            step = names.get(transition)
            if step is None or not case.holds(step.anchor, token):
                self._problem(case.seq, f"a timer of {transition} waits for token {token}, which is gone")
            else:
                with self._as_far_as_known():
                    if rings not in due(case, step, token):
                        self._problem(case.seq, f"the timer of {transition} is not due when the net says")
        if status in LIVE:
            known = {(token, transition) for token, transition, _ in timers}
            for step in case.program.steps:
                if isinstance(step.transition.trigger, After):
                    for token in case.ids.get(step.anchor, ()):
                        with self._as_far_as_known():
                            if due(case, step, token) and (token, step.name) not in known:
                                self._problem(case.seq, f"{step.name} has no timer for token {token}")
            with self._as_far_as_known():
                self._compare_tasks(case)
        elif status != "parked":
            for (token, task), (now, *_) in self.tasks.items():
                if now == "open":
                    self._problem(
                        case.seq, f"task {task!r} of token {token} is open, and the case is {status}"
                    )
        for (token, transition), (state, *_) in self.effects.items():
            step = names.get(transition)
            live = step is not None and case.holds(step.anchor, token)
            if state == "intended" and not live and status != "killed":
                self._problem(
                    case.seq, f"the effect of {transition} was intended for token {token}, and never ended"
                )
            past = token < self._before and token not in self._held
            if state == "performed" and not (live or past) and (token, transition) not in self.committed:
                self._problem(
                    case.seq, f"the effect of {transition} was performed, but the log has no commit of it"
                )

    def _compare_tasks(self, case: LiveCase) -> None:
        for (token, task), (status, *_, deadline) in self.tasks.items():
            if status == "open" and token not in case.arrived:
                self._problem(case.seq, f"task {task!r} is open for token {token}, which is gone")
            rings = [
                d
                for s in case.program.timers_of.get(self._place_of(case, token), ())
                for d in due(case, s, token)
            ]
            if status == "open" and deadline != min(rings, default=None):
                self._problem(case.seq, f"task {task!r} has another deadline than the net says")
        for place, steps in case.program.asks_people.items():
            for token in case.ids.get(place, ()):
                for step in steps:
                    assert isinstance(step.transition.trigger, Choice)
                    task = step.transition.trigger.task
                    if enabled(case, step, token) and self.tasks.get((token, task), ("",))[0] != "open":
                        self._problem(case.seq, f"task {task!r} is not open for token {token}")

    @contextmanager
    def _as_far_as_known(self) -> Iterator[None]:
        """What depends on personal values that cannot be read here is left out."""
        try:
            yield
        except ODD:
            if not is_unread(self.case):
                raise

    def _place_of(self, case: LiveCase, token: int) -> str:
        return next((p for p, ids in case.ids.items() if token in ids), "")
