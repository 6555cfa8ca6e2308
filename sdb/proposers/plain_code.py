"""A proposer that is plain code: a rule, another framework's agent, a stand-in for a model."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable
from dataclasses import field
from datetime import timedelta
from typing import Any, Literal, get_type_hints

from provenet.nets.errors import ProvenetError
from provenet.nets.models import schema_of
from provenet.nets.quick import dataclass
from provenet.nets.schema import Type, describe
from provenet.sdb.handlers import NotFilledIn, Proposal, ProposalFault, Request, settle
from provenet.sdb.proposers.answers import read_value
from provenet.sdb.proposers.faults import DeadlinePassed, exception_text, fault, timed_out, within
from provenet.sdb.reject import Reject


def function(
    fn: Callable[[Any], Any],
    *,
    returns: Any = None,
    gets: Literal["payload", "request"] | None = None,
    timeout: timedelta | float | None = None,
) -> FunctionProposer:
    """A proposer that calls a function.

    The function returns a value of the asked type (a model instance, plain values, a mapping, JSON text), a
    whole ``Proposal``, or a ``Reject`` for "no answer". What it raises becomes a fault. A sync function runs
    in a thread of its own: past its deadline it is left to itself there and its answer is not used, so it
    should have no effects.

    Args:
        fn: Sync or async, of one argument.
        returns: Token model of the answer, where it should be compared with what the contract asks for.
        gets: What the argument is: the payload, or the whole ``Request`` (with attempt and reject signal).
            By default a parameter that is annotated ``Request`` or called ``request`` gets the request, any
            other the payload.
        timeout: Upper bound on the call; the contract's own timeout counts where it is shorter.
    """
    if not callable(fn):
        raise ProvenetError(
            f"function() got {fn!r}, which cannot be called",
            hint="give it a function of one argument",
            code="SD313",
        )
    limit = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
    return FunctionProposer(
        fn,
        gets=gets or _wants(fn),
        returns=None if returns is None else schema_of(returns),
        timeout=limit,
    )


@dataclass(frozen=True, slots=True)
class FunctionProposer:
    """See ``function``."""

    fn: Callable[[Any], Any]
    gets: Literal["payload", "request"] = field(default="payload", kw_only=True)
    returns: Type | None = field(default=None, kw_only=True)
    timeout: timedelta | None = field(default=None, kw_only=True)

    async def propose(self, request: Request) -> Proposal:
        """Call the function.

        Raises:
            ProposalFault: It raised, took too long, or answered with something of another type.
        """
        if self.returns is not None and self.returns != request.returns:
            raise fault(
                "bad_request",
                expected=f"a proposer of {describe(request.returns)}",
                got=f"one of {describe(self.returns)}",
                hint="give function() and the contract the same returns=",
            )
        limit = request.timeout if self.timeout is None else min(self.timeout, request.timeout)
        try:
            answer = await within(limit, self._call(request))
        except DeadlinePassed:
            raise timed_out(limit) from None
        if isinstance(answer, ProposalFault):
            raise answer
        if isinstance(answer, Reject):
            raise ProposalFault(answer)
        whole = answer if isinstance(answer, Proposal) else Proposal(value=answer)
        try:
            value = read_value(whole.value, request.returns)
        except ProposalFault as error:
            raise ProposalFault(error.reject, spent=whole) from None
        return Proposal(
            value=value,
            model=whole.model,
            prompt_hash=whole.prompt_hash,
            tokens_in=whole.tokens_in,
            tokens_out=whole.tokens_out,
            cost_usd=whole.cost_usd,
        )

    async def _call(self, request: Request) -> Any:
        """The function's answer; what it raised comes back as a fault."""
        import asyncio  # here, since a net with proposers is built and proved without one being called

        argument = request if self.gets == "request" else request.payload
        try:
            if _is_async(self.fn):
                return await self.fn(argument)
            return await settle(await _in_thread(self.fn, argument))
        except NotFilledIn:
            raise
        except ProposalFault as error:
            return error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _raised(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises is a fault
            return _raised(error)


def _raised(error: BaseException) -> ProposalFault:
    return fault(
        "fault", expected="an answer", got=exception_text(error), hint="the proposer's code raised this"
    )


def _is_async(fn: Callable[[Any], Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or (
        not inspect.isroutine(fn) and inspect.iscoroutinefunction(type(fn).__call__)
    )


def _wants(fn: Callable[[Any], Any]) -> Literal["payload", "request"]:
    try:
        parameter = next(iter(inspect.signature(fn).parameters.values()), None)
    except (TypeError, ValueError):
        return "payload"
    if parameter is None:
        raise ProvenetError(
            f"proposer function {getattr(fn, '__name__', fn)!r} takes no argument",
            hint="it is called with the payload, or with the whole Request",
            code="SD313",
        )
    try:
        annotation = get_type_hints(fn if inspect.isroutine(fn) else type(fn).__call__).get(parameter.name)
    except Exception:  # noqa: BLE001 - annotations that do not resolve say nothing
        annotation = parameter.annotation
    return "request" if annotation in {Request, "Request"} or parameter.name == "request" else "payload"


async def _in_thread(fn: Callable[[Any], Any], argument: Any) -> Any:
    """Run a function in a daemon thread: one that hangs holds up neither the shared executor nor the exit."""
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle_in_loop(outcome: tuple[Any, BaseException | None]) -> None:
        if not done.done():
            done.set_result(outcome)
        elif inspect.iscoroutine(outcome[0]):
            outcome[0].close()

    def work() -> None:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = (context.run(fn, argument), None)
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's side
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits for this answer any more
            loop.call_soon_threadsafe(settle_in_loop, outcome)

    threading.Thread(target=work, name=f"proposer-{getattr(fn, '__name__', 'function')}", daemon=True).start()
    result, error = await done
    if error is not None:
        raise error
    return result
