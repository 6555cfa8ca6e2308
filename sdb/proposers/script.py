"""Proposers that say what they were told to say: scripts, and recordings of other proposers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

from provenet.nets import schema
from provenet.nets.errors import FormatError, ProvenetError, TypeMismatch
from provenet.sdb.handlers import Proposal, ProposalFault, Proposer, Request
from provenet.sdb.proposers.answers import off_schema, read_value
from provenet.sdb.proposers.faults import exception_text, fault
from provenet.sdb.reject import Reject

Answer: TypeAlias = Any
"""A value, a mapping, JSON text, a ``Proposal``; a ``Reject`` or an exception for no answer."""

ScriptKey: TypeAlias = str | tuple[str, int]
"""An idempotency key, a case's id, or a case's id with the number of the attempt."""


def scripted(answers: Sequence[Answer] | Mapping[ScriptKey, Answer | list[Answer]]) -> ScriptedProposer:
    """A proposer that answers from a script.

    Args:
        answers: In a sequence, every case takes the answers from the first on, in the order of its calls; a
            repeated call (the same ``request.key``) gets the same answer again. In a mapping, an answer is
            found by ``request.key``, by ``(case, attempt)``, or by case, where a list is taken in order. A
            process that takes a case up at attempt n, after a crash say, goes on with the n-th answer.

    Raises:
        ProvenetError: It is neither.
    """
    if isinstance(answers, str) or not isinstance(answers, Iterable):
        raise ProvenetError(
            f"scripted() got a {type(answers).__name__}",
            hint="give it a list of answers, or a mapping from cases to them; function(...) asks a function",
            code="SD314",
        )
    return ScriptedProposer(dict(answers) if isinstance(answers, Mapping) else list(answers))


def recorded(source: str | Path | Sequence[Recording]) -> ScriptedProposer:
    """A proposer that answers as another one once did; found by ``request.key``.

    Args:
        source: A JSONL file that ``Recorder.save`` wrote, or recordings.

    Raises:
        FormatError: The file is not one of recordings.
    """
    recordings = load(source) if isinstance(source, str | Path) else source
    return ScriptedProposer({r.key: r for r in recordings})


@dataclass(slots=True, eq=False)
class ScriptedProposer:
    """See ``scripted`` and ``recorded``."""

    answers: dict[Any, Answer] | list[Answer]
    _turns: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)
    _first: dict[str, int] = field(default_factory=dict, repr=False)

    async def propose(self, request: Request) -> Proposal:
        """Give the next answer of the script.

        Raises:
            ProposalFault: The script says so, has no answer for this request, or one of another type.
        """
        answer = self._find(request)
        if isinstance(answer, Recording):
            return answer.replay(request)
        if isinstance(answer, ProposalFault):
            raise answer
        if isinstance(answer, Reject):
            raise ProposalFault(answer)
        if isinstance(answer, BaseException):
            raise fault("fault", expected="an answer", got=exception_text(answer), hint="the script says so")
        whole = answer if isinstance(answer, Proposal) else Proposal(value=answer)
        value = read_value(whole.value, request.returns)
        return Proposal(
            value, whole.model, whole.prompt_hash, whole.tokens_in, whole.tokens_out, whole.cost_usd
        )

    def _find(self, request: Request) -> Answer:
        if request.case not in self._first:
            self._first[request.case] = self._before(request)
        if isinstance(self.answers, list):
            return self._next(self.answers, request)
        for key in (request.key, (request.case, request.attempt)):
            if key in self.answers:
                return self.answers[key]
        if request.case not in self.answers:
            raise _exhausted(request, f"nothing for key {request.key!r}")
        found = self.answers[request.case]
        return self._next(found, request) if isinstance(found, list) else found

    def _before(self, request: Request) -> int:
        """How many answers of its list a case had elsewhere when it comes here for the first time."""
        case, others = request.case, () if isinstance(self.answers, list) else self.answers
        return sum((case, attempt) not in others for attempt in range(1, request.attempt))

    def _next(self, answers: list[Answer], request: Request) -> Answer:
        turns = self._turns.setdefault(request.case, {})
        turn = turns.setdefault(request.key, self._first[request.case] + len(turns))
        if turn >= len(answers):
            raise _exhausted(request, f"{len(answers)} answers, all given")
        return answers[turn]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a proposer answered to one request.

    Attributes:
        case: Id of the case.
        key: Idempotency key of the request.
        attempt: Number of the attempt.
        proposal: The answer, with its value as JSON data; of a fault, what was spent.
        reject: The fault's signal; ``None`` for an answer.
    """

    case: str
    key: str
    attempt: int
    proposal: Proposal
    reject: Reject | None = None

    def replay(self, request: Request) -> Proposal:
        """The same answer again.

        Raises:
            ProposalFault: It was a fault, or the value does not belong to the type that is asked for now.
        """
        p = self.proposal
        if self.reject is not None:
            raise ProposalFault(self.reject, spent=p)
        try:
            value = schema.from_json(p.value, request.returns)
        except TypeMismatch as error:
            raise off_schema(error) from None
        return Proposal(value, p.model, p.prompt_hash, p.tokens_in, p.tokens_out, p.cost_usd)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        p, r = self.proposal, self.reject
        outcome: dict[str, Any] = {"value": p.value} if r is None else {"reject": _reject_data(r)}
        return {
            "case": self.case,
            "key": self.key,
            "attempt": self.attempt,
            **outcome,
            "model": p.model,
            "prompt_hash": p.prompt_hash,
            "tokens_in": p.tokens_in,
            "tokens_out": p.tokens_out,
            "cost_usd": str(p.cost_usd),
        }

    @classmethod
    def from_json(cls, data: Any, where: str = "") -> Recording:
        """From JSON data.

        Raises:
            FormatError: The data is not a recording.
        """
        try:
            reject = Reject(**data["reject"]) if "reject" in data else None
            proposal = Proposal(
                value=data["value"] if reject is None else None,
                model=data["model"],
                prompt_hash=data["prompt_hash"],
                tokens_in=int(data["tokens_in"]),
                tokens_out=int(data["tokens_out"]),
                cost_usd=Decimal(data["cost_usd"]),
            )
            return cls(str(data["case"]), str(data["key"]), int(data["attempt"]), proposal, reject)
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise FormatError(
                f"not a recording of a proposal: {exception_text(error)}",
                where=where,
                hint="recordings are written by Recorder.save, one JSON object a line",
            ) from None


@dataclass(slots=True, eq=False)
class Recorder:
    """A proposer that passes requests on to another and keeps what it answers.

    Attributes:
        proposer: The one that answers.
        recordings: What it answered, by request key.
    """

    proposer: Proposer
    recordings: dict[str, Recording] = field(default_factory=dict)

    async def propose(self, request: Request) -> Proposal:
        """Ask the other proposer.

        Raises:
            ProposalFault: It had no usable answer; that is kept, too.
        """
        try:
            proposal = await self.proposer.propose(request)
        except ProposalFault as error:
            self._keep(request, error.spent, None, error.reject)
            raise
        self._keep(request, proposal, schema.to_json(proposal.value, request.returns), None)
        return proposal

    def _keep(self, request: Request, p: Proposal, data: Any, reject: Reject | None) -> None:
        kept = Proposal(data, p.model, p.prompt_hash, p.tokens_in, p.tokens_out, p.cost_usd)
        self.recordings[request.key] = Recording(request.case, request.key, request.attempt, kept, reject)

    def save(self, path: str | Path) -> None:
        """Write the recordings as JSONL, in an order that does not depend on who answered first."""
        rows = sorted(self.recordings.values(), key=lambda r: (r.case, r.attempt, r.key))
        lines = (json.dumps(r.to_json(), ensure_ascii=True, sort_keys=True) + "\n" for r in rows)
        Path(path).write_text("".join(lines), encoding="utf-8")


def load(path: str | Path) -> list[Recording]:
    """The recordings in a JSONL file.

    Raises:
        FormatError: The file cannot be read, or a line is not a recording.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"cannot read recordings: {exception_text(error)}", where=str(path)) from None
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"not JSON: {exception_text(error)}", where=where) from None
        found.append(Recording.from_json(data, where))
    return found


def _reject_data(r: Reject) -> dict[str, Any]:
    return {
        "rule": r.rule,
        "field": r.field,
        "expected": r.expected,
        "got": r.got,
        "retryable": r.retryable,
        "hint": r.hint,
    }


def _exhausted(request: Request, got: str) -> ProposalFault:
    return fault(
        "fault",
        expected=f"a scripted answer for case {request.case!r}, attempt {request.attempt}",
        got=got,
        hint="add an answer to the script",
    )
