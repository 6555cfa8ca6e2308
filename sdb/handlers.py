"""What stands behind a net's handler names.

Proposers, effects and opaque verifiers, and the agent that binds them.

A net is data; an ``Agent`` is a net together with the code that its names stand for. The engine calls
handlers only through the protocols here, never inside a transaction.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from datetime import timedelta
from decimal import Decimal
from math import log2
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from provenet.nets.build import NetBuilder
from provenet.nets.errors import ProvenetError
from provenet.nets.models import schema_of
from provenet.nets.net import Ask, Judge, Net, Perform
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT, Type, Value
from provenet.sdb.reject import Reject


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a handler.

    Attributes:
        case: Id of the case.
        key: Idempotency key: the same for every repetition of this very call, different for any other.
        payload: What the net gives the handler: a model instance for a record, a scalar otherwise.
        payload_type: Its token type.
        returns: Token type of the answer.
        attempt: 1 for the first attempt (of a proposal) or try (of an effect).
        signal: For a proposer: why the last proposal of this contract did not pass.
        timeout: How long the answer may take.
        traceparent: W3C header that puts what the handler calls into the case's trace; empty where nobody
            watches.
    """

    case: str
    key: str
    payload: Any
    payload_type: Type
    returns: Type
    attempt: int = 1
    signal: Reject | None = None
    timeout: timedelta = timedelta(seconds=60)
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposer's answer, checked against the output type.

    Attributes:
        value: The proposed token value.
        model: Model and version that answered; empty for plain code.
        prompt_hash: Hash of the prompt; empty for plain code.
        tokens_in: Prompt tokens paid for.
        tokens_out: Completion tokens paid for.
        cost_usd: What the call cost, as far as known.
    """

    value: Value
    model: str = ""
    prompt_hash: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal = Decimal(0)


class ProposalFault(ProvenetError):
    """A proposer gave no usable answer: malformed, off the schema, refused, timed out, unreachable.

    It becomes the reject signal of the contract's ``fault`` transition. What was paid for is kept.

    Attributes:
        reject: The signal.
        spent: What the failed call cost; its ``value`` means nothing.
    """

    code = "SD300"

    def __init__(self, reject: Reject, *, spent: Proposal | None = None) -> None:
        super().__init__(f"{reject.rule}: expected {reject.expected}, got {reject.got}", hint=reject.hint)
        self.reject = reject
        self.spent = spent or Proposal(value=None)


class EffectRefused(ProvenetError):
    """An effect failed for good.

    Trying again will not help. Any other exception of an effect is tried again.
    """

    code = "SD301"


class NotFilledIn(ProvenetError):
    """A handler is a place for somebody's code, and nobody has written it yet.

    The engine parks the case: neither the net's failure path nor another try would tell more. When the code
    is there, ``provenet resume`` lets the case go on.
    """

    code = "SD302"


@runtime_checkable
class Proposer(Protocol):
    """Anything stochastic. It reads and answers; it never writes."""

    async def propose(self, request: Request) -> Proposal:
        """Answer a request.

        Raises:
            ProposalFault: There is no usable answer.
        """
        ...


EffectFunction: TypeAlias = Callable[[Request], Any] | Callable[[Request], Awaitable[Any]]
"""Performs an effect and returns its receipt; a repeated ``request.key`` must be one logical effect."""

VerifierFunction: TypeAlias = Callable[[Any, Any], bool | Reject | None]
"""Deterministic: ``(proposal, inputs)`` to ``True`` or ``None`` (passes), ``False`` or a ``Reject``."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between tries, each longer than the one before.

    Attributes:
        first: The first.
        factor: What each is multiplied by for the next.
        longest: None is longer.
        jitter: Each is changed by up to this share, so that many that failed together are not tried together.
    """

    first: timedelta = timedelta(seconds=0.4)
    factor: float = 2.0
    longest: timedelta = timedelta(minutes=5)
    jitter: float = 0.25

    def pause(self, tries: int, dice: float) -> timedelta:
        """The pause after so many tries.

        Args:
            tries: From 1.
            dice: A number from 0 to 1.
        """
        longest = self.longest / self.first if self.first > timedelta(0) else 0.0
        times = longest if (tries - 1) * log2(self.factor) > 60 else self.factor ** (tries - 1)
        return self.first * min(times, longest) * (1 + self.jitter * (2 * dice - 1))


@dataclass(frozen=True, slots=True)
class Effect:
    """A named effect on the outside.

    Attributes:
        name: Handler name; properties select effects by it.
        run: Performs it.
        payload: Type of what it is given: a token model or a token type.
        receipt: Type of what it returns.
        external: Whether it reaches outside the database. A transactional effect must not.
        timeout: How long one try may take.
        tries: Most tries before it counts as failed; ``None`` to try until it works.
        backoff: The pauses between tries.
        idempotent: Whether its target takes a repeated ``request.key`` for one effect. One that does not is
            never called twice: where a call ended without an outcome (a crash, a time-out, any exception but
            ``EffectRefused``), its case is parked until a person says what became of it.
    """

    name: str
    run: EffectFunction
    payload: Any = UNIT
    receipt: Any = UNIT
    external: bool = True
    timeout: timedelta = timedelta(seconds=30)
    tries: int | None = 5
    backoff: Backoff = Backoff()
    idempotent: Literal["yes", "no"] = "yes"

    @property
    def payload_type(self) -> Type:
        """Token type of the payload."""
        return schema_of(self.payload)

    @property
    def receipt_type(self) -> Type:
        """Token type of the receipt."""
        return schema_of(self.receipt)


@dataclass(frozen=True, slots=True)
class Agent:
    """A net with the handlers that its names stand for.

    Attributes:
        net: The net.
        handlers: Name to ``Proposer``, ``Effect`` or verifier function.
    """

    net: Net
    handlers: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, builder: NetBuilder) -> Agent:
        """The agent that a builder describes.

        Raises:
            NetError: The net has mistakes.
        """
        return cls(builder.build(), dict(builder.handlers))

    def missing(self) -> tuple[str, ...]:
        """Handler names that the net uses and nothing is bound to."""
        used = dict.fromkeys(
            t.trigger.handler for t in self.net.transitions if isinstance(t.trigger, Ask | Perform | Judge)
        )
        return tuple(name for name in used if name not in self.handlers)

    def proposer(self, name: str) -> Proposer:
        """The proposer behind a name; ``ProvenetError`` where something else is bound."""
        found: Proposer = self._typed(name, Proposer, "a proposer")
        return found

    def effect(self, name: str) -> Effect:
        """The effect behind a name; ``ProvenetError`` where something else is bound."""
        found: Effect = self._typed(name, Effect, "an effect")
        return found

    def verifier(self, name: str) -> VerifierFunction:
        """The verifier function behind a name; ``ProvenetError`` where something else is bound."""
        found = self.handlers.get(name)
        if not callable(found):
            raise self._unbound(name, "a verifier function")
        return found

    def _typed(self, name: str, kind: Any, what: str) -> Any:
        found = self.handlers.get(name)
        if not isinstance(found, kind):
            raise self._unbound(name, what)
        return found

    def _unbound(self, name: str, what: str) -> ProvenetError:
        return ProvenetError(
            f"handler {name!r} of net {self.net.name!r} is not bound to {what}",
            hint="run the agent from its Python file, or bind the name in Agent(net, handlers)",
            code="SD302",
        )


async def settle(result: Any) -> Any:
    """The result of a handler that may be sync or async."""
    return await result if inspect.isawaitable(result) else result
