"""Functions as proposers: sync, async, hanging, raising, answering anything."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.errors import ProvenetError
from provenet.nets.models import Token, schema_of
from provenet.sdb.handlers import Proposal, ProposalFault, Proposer, Request
from provenet.sdb.proposers import function
from provenet.sdb.proposers.faults import fault
from provenet.sdb.reject import Reject


class Question(Token):
    n: int


class Answer(Token):
    n: int
    why: str


def asking(n: int = 3, *, timeout: float = 10, **parts: Any) -> Request:
    return Request(
        case="case",
        key=f"key-{n}",
        payload=Question(n=n),
        payload_type=schema_of(Question),
        returns=schema_of(Answer),
        timeout=timedelta(seconds=timeout),
        **parts,
    )


async def fault_of(fn: Callable[[Any], Any], *, limit: float = 10) -> ProposalFault:
    with pytest.raises(ProposalFault) as caught:
        await function(fn).propose(asking(timeout=limit))
    return caught.value


def plain(q: Question) -> Answer:
    return Answer(n=q.n + 1, why="because")


async def waiting(q: Question) -> Answer:
    await asyncio.sleep(0)
    return plain(q)


class SyncCallable:
    def __call__(self, q: Question) -> Answer:
        return plain(q)


class AsyncCallable:
    async def __call__(self, q: Question) -> Answer:
        return plain(q)


@pytest.mark.parametrize(
    "fn",
    [
        plain,
        waiting,
        SyncCallable(),
        AsyncCallable(),
        partial(plain),
        partial(waiting),
        lambda q: (q, plain(q))[1],
        lambda q: (q, waiting(q))[1],
        lambda q: {"n": q.n + 1, "why": "because"},
        lambda q: f'{{"n": {q.n + 1}, "why": "because"}}',
        lambda q: (q.n + 1, "because"),
        lambda q: Proposal(value=plain(q)),
        lambda request: plain(request.payload),
    ],
    ids=[f"form{i}" for i in range(13)],
)
async def test_every_form_of_function(fn: Callable[[Any], Any]) -> None:
    proposer = function(fn, returns=Answer)
    assert isinstance(proposer, Proposer)
    assert (await proposer.propose(asking())).value == (4, "because")


async def test_a_request_goes_to_whoever_asks_for_it() -> None:
    def annotated(r: Request) -> Answer:
        return Answer(n=r.attempt, why=r.signal.rule if r.signal else "none")

    async def named(request) -> Answer:  # type: ignore[no-untyped-def]
        return annotated(request)

    for fn in (annotated, named):
        given = await function(fn).propose(asking(attempt=2, signal=Reject("max")))
        assert given.value == (2, "max")
    forced = await function(lambda x: (x, annotated(x))[1], gets="request").propose(asking())
    assert forced.value == (1, "none")


async def test_what_was_paid_is_kept() -> None:
    paid = Proposal(value=plain(Question(n=1)), model="m-1", tokens_in=5, cost_usd=Decimal("0.1"))
    given = await function(lambda q: paid).propose(asking())
    assert (given.value, given.model, given.tokens_in, given.cost_usd) == (
        (2, "because"),
        "m-1",
        5,
        Decimal("0.1"),
    )
    bad = Proposal(value="nothing", model="m-1", tokens_in=5)
    assert (await fault_of(lambda q: bad)).spent.tokens_in == 5


def raises(error: BaseException) -> Callable[[Any], Any]:
    def fn(q: Question) -> Any:
        raise error

    return fn


def raises_later(error: BaseException) -> Callable[[Any], Any]:
    async def fn(q: Question) -> Any:
        await asyncio.sleep(0)
        raise error

    return fn


@pytest.mark.parametrize("how", [raises, raises_later])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no\nway"),
        KeyError("x"),
        StopIteration(1),
        TimeoutError(),
        asyncio.CancelledError(),
        RecursionError(),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_whatever_is_raised_is_a_fault(how: Callable[[Any], Any], error: BaseException) -> None:
    found = await fault_of(how(error))
    assert found.reject.rule == "fault"
    assert found.reject.retryable
    assert found.reject.got


async def test_a_function_that_exits_does_not_end_the_process() -> None:
    assert (await fault_of(lambda q: sys.exit(3))).reject.got == "SystemExit: 3"


async def test_own_faults_and_rejects_pass_through() -> None:
    mine = fault("refusal", expected="an answer", got="no")
    assert await fault_of(raises(mine)) is mine
    assert (await fault_of(lambda q: Reject("budget", retryable=False))).reject == Reject(
        "budget", retryable=False
    )


@pytest.mark.parametrize(
    "answer",
    [
        None,
        7,
        "",
        "{}",
        {"n": "1", "why": ""},
        {"n": 1},
        {"n": 1, "why": "", "z": 0},
        Question(n=1),
        (1,),
        Answer,
    ],
    ids=repr,
)
async def test_an_answer_of_another_type_is_a_fault(answer: Any) -> None:
    found = await fault_of(lambda q: answer)
    assert found.reject.rule in {"schema", "malformed"}


@pytest.mark.parametrize("kind", ["sync", "async", "stubborn"])
async def test_the_deadline_holds(kind: str) -> None:
    release = threading.Event()

    async def stubborn(q: Question) -> Answer:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(1.5)
        return plain(q)

    async def slow(q: Question) -> Answer:
        await asyncio.sleep(30)
        return plain(q)

    def blocked(q: Question) -> Answer:
        release.wait(30)
        return plain(q)

    fn: Callable[[Any], Any] = {"sync": blocked, "async": slow, "stubborn": stubborn}[kind]
    before = time.monotonic()
    found = await fault_of(fn, limit=0.2)
    assert time.monotonic() - before < 2.5
    assert (found.reject.rule, found.reject.expected) == ("timeout", "an answer within 0.2 s")
    release.set()
    await asyncio.sleep(0.6 if kind == "stubborn" else 0.05)


async def test_own_timeout_counts_where_it_is_shorter() -> None:
    proposer = function(lambda q: asyncio.sleep(30), timeout=0.1)
    with pytest.raises(ProposalFault, match=r"0\.1 s"):
        await proposer.propose(asking())


async def test_cancelled_from_outside() -> None:
    started = asyncio.Event()

    async def fn(q: Question) -> Answer:
        started.set()
        await asyncio.sleep(30)
        return plain(q)

    task = asyncio.ensure_future(function(fn).propose(asking()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_sync_functions_run_at_once_and_in_their_callers_context() -> None:
    barrier = threading.Barrier(8, timeout=5)
    var: ContextVar[int] = ContextVar("var")
    var.set(5)

    def fn(q: Question) -> Answer:
        barrier.wait()
        return Answer(n=var.get(), why=str(q.n))

    given = await asyncio.gather(*(function(fn).propose(asking(i)) for i in range(8)))
    assert [g.value for g in given] == [(5, str(i)) for i in range(8)]


async def test_a_proposer_of_another_type_than_the_contracts() -> None:
    with pytest.raises(ProposalFault) as caught:
        await function(plain, returns=Question).propose(asking())
    assert (caught.value.reject.rule, caught.value.reject.retryable) == ("bad_request", False)


def test_what_is_no_function_of_one_argument() -> None:
    with pytest.raises(ProvenetError, match="cannot be called"):
        function(7)  # type: ignore[arg-type]
    with pytest.raises(ProvenetError, match="no argument"):
        function(lambda: 1)  # type: ignore[misc,arg-type]


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_answer_is_a_proposal_or_a_fault(answer: Any) -> None:
    async def fn(q: Question) -> Any:
        return answer

    (outcome,) = asyncio.run(gathered(function(fn).propose(asking())))
    if isinstance(outcome, ProposalFault):
        assert outcome.reject.rule in {"schema", "malformed"}
    else:
        assert isinstance(outcome, Proposal)
        assert isinstance(outcome.value, tuple)


async def gathered(*work: Coroutine[Any, Any, Proposal]) -> list[Proposal | BaseException]:
    return await asyncio.gather(*work, return_exceptions=True)
