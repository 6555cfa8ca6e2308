"""What observers are told: facts about cases and work, never a token's value.

Names in them (nets, transitions, effects, cases, people) are the program's or the caller's. Words that a
handler, a model or a person chose are kept out, but for the name of the model that answered, the rule that a
proposal broke, why a case is parked, and a person's reason for pulling the kill switch.

Times are the engine's clock, in microseconds since 1970; ``seconds`` are real ones.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

from provenet.nets.quick import dataclass


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine opened its database; told before anything else. Traces of cases derive from ``database``."""

    database: str
    at: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """An engine closed its database; ``failure`` says what brought it down, and is empty otherwise."""

    at: int
    failure: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """A net version may start cases."""

    net: str
    net_hash: str
    at: int


@dataclass(frozen=True, slots=True)
class CaseStarted:
    """A case started."""

    case: str
    net: str
    net_hash: str
    at: int


@dataclass(frozen=True, slots=True)
class CaseTaken:
    """A process took up a case that was there: after a restart, or when the process that ran it died."""

    case: str
    net: str
    status: str
    at: int


@dataclass(frozen=True, slots=True)
class CaseTurned:
    """A case's status changed.

    Attributes:
        before: The status it had.
        status: The one that it has now.
        reason: Why it is parked, killed or failed.
        place: The final place in which it ended.
        created: When it started.
        firings: How many entries its log has, the one that goes with this included.
    """

    case: str
    net: str
    at: int
    before: str
    status: str
    reason: str
    place: str
    created: int
    firings: int

    @property
    def is_end(self) -> bool:
        """Whether the case is over."""
        return self.status in {"done", "killed", "failed"}


@dataclass(frozen=True, slots=True)
class Fired:
    """A transition fired.

    Attributes:
        role: Its role, ``commit`` say; empty where it has none.
        contract: The contract that it belongs to; empty where it belongs to none.
        seq: Number of its entry in the case's log.
        rule: Where it rejects a proposal, or answers a failure: which rule was broken.
        field: On which field.
    """

    case: str
    net: str
    transition: str
    role: str
    contract: str
    seq: int
    at: int
    rule: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A proposer is asked; told at once."""

    case: str
    net: str
    transition: str
    handler: str
    key: str
    tries: int
    at: int


Outcome: TypeAlias = Literal["used", "late", "kept", "failed"]
"""``used``: it fired; ``late``: its token was gone; ``kept``: paid for, for later; ``failed``: no answer."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A proposer answered, or failed to.

    Attributes:
        began: When it was asked.
        seconds: How long it took, really.
        outcome: What became of the answer; a policy's reject is a firing of its own.
        rule: Where it failed: ``schema``, ``timeout``, ``refusal``, ``fault``, ``ensures`` or the like.
        model: Model that answered; empty for plain code.
        tokens_in: Prompt tokens paid for.
        tokens_out: Completion tokens paid for.
        cost_usd: What it cost, as far as known.
    """

    case: str
    net: str
    transition: str
    handler: str
    key: str
    tries: int
    began: int
    at: int
    seconds: float
    outcome: Outcome
    rule: str
    model: str
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class EffectIntended:
    """The intent of an external effect is durable; it is called next."""

    case: str
    net: str
    transition: str
    effect: str
    key: str
    at: int


@dataclass(frozen=True, slots=True)
class EffectTried:
    """One try of an external effect is over.

    Attributes:
        outcome: ``performed``; ``failed`` for good; or ``again``: it is tried again later.
    """

    case: str
    net: str
    transition: str
    effect: str
    key: str
    tries: int
    began: int
    at: int
    seconds: float
    outcome: Literal["performed", "failed", "again"]


@dataclass(frozen=True, slots=True)
class Rung:
    """A timer rang and its transition fired; ``due`` is when it should have."""

    case: str
    net: str
    transition: str
    due: int
    at: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A person decided a task that was opened at ``opened``."""

    case: str
    net: str
    task: str
    choice: str
    who: str
    opened: int
    at: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """An event came from outside, or what was kept of one changed.

    ``status`` is ``accepted``, ``kept``, ``refused``, ``duplicate`` or ``late``; of one that was kept it is
    ``accepted``, ``expired`` or ``unused`` later.
    """

    case: str
    event: str
    status: str
    at: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """The kill switch was pulled, or released: then it reached no case."""

    scope: str
    target: str
    who: str
    reason: str
    reached: int
    released: Literal["no", "yes"]
    at: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction is durable; what was told just before is part of it."""

    rows: int
    seconds: float
    at: int


Event: TypeAlias = (
    Opened
    | Stopped
    | Deployed
    | CaseStarted
    | CaseTaken
    | CaseTurned
    | Fired
    | Asked
    | Answered
    | EffectIntended
    | EffectTried
    | Rung
    | Decided
    | Signalled
    | Pulled
    | Committed
)
"""Anything that observers are told."""
