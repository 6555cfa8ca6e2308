"""A model behind litellm: whatever the endpoint does becomes a proposal or a typed fault in time."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from provenet.nets.errors import ProvenetError
from provenet.nets.models import Token, schema_of
from provenet.sdb.handlers import Proposal, ProposalFault, Request
from provenet.sdb.proposers import ModelProposer, model
from provenet.sdb.reject import Reject
from tests.support import openai_endpoint as wire
from tests.support.openai_endpoint import Behaviour, Endpoint, completion, fails, returns, says, sends

KEY = "sk-never-to-be-seen-0123456789"


class Customer(Token):
    name: str
    plan: Literal["basic", "pro"]


class Case(Token):
    customer: Customer
    months: int


class Offer(Token):
    discount: Annotated[int, Field(ge=0, le=100)]
    price: Decimal
    text: str | None


GOOD = {"discount": 90, "price": "12.50", "text": "hello"}
VALUE = (90, Decimal("12.50"), "hello")


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """The first call of litellm loads much; tests of deadlines should measure deadlines."""
    with Endpoint(says(json.dumps(GOOD))) as endpoint:
        asyncio.run(proposer(endpoint).propose(asking(timeout=60)))


def asking(*, timeout: float = 20, signal: Reject | None = None, returns: Any = Offer) -> Request:
    return Request(
        case="case-1",
        key="key-1",
        payload=Case(customer=Customer(name="Ann {months}", plan="pro"), months=12),
        payload_type=schema_of(Case),
        returns=schema_of(returns),
        signal=signal,
        timeout=timedelta(seconds=timeout),
    )


def proposer(endpoint: Endpoint, name: str = "openai/gpt-test", **options: Any) -> ModelProposer:
    base = endpoint.root if name.startswith("anthropic/") else endpoint.url
    prompt = options.pop("prompt", "Draft an offer for {customer.name}, {months} months.")
    return model(name, prompt=prompt, api_base=base, api_key=KEY, **options)


async def ask(behaviour: Behaviour, request: Request | None = None, **options: Any) -> Proposal:
    with Endpoint(behaviour) as endpoint:
        return await proposer(endpoint, **options).propose(request or asking())


async def fault_of(behaviour: Behaviour, request: Request | None = None, **options: Any) -> ProposalFault:
    with pytest.raises(ProposalFault) as caught:
        await ask(behaviour, request, **options)
    assert KEY not in str(caught.value) + repr(caught.value.reject) + repr(caught.value.spent)
    return caught.value


async def test_good_answer_with_its_account() -> None:
    with Endpoint(says(json.dumps(GOOD))) as endpoint:
        given = await proposer(
            endpoint, system="Plan: {customer.plan}.", temperature=0.5, max_tokens=9
        ).propose(asking())
    assert given.value == VALUE
    assert (given.model, given.tokens_in, given.tokens_out) == ("gpt-test-2030-01-31", 11, 7)
    assert given.cost_usd == 0  # nobody knows the price of gpt-test
    assert len(given.prompt_hash) == 64
    (received,) = endpoint.requests
    assert received.path == "/v1/chat/completions"
    assert received.messages == [
        {"role": "system", "content": "Plan: pro."},
        {"role": "user", "content": "Draft an offer for Ann {months}, 12 months."},
    ]
    assert (received.body["temperature"], received.body["max_tokens"]) == (0.5, 9)
    shape = received.body["response_format"]["json_schema"]
    assert shape["strict"] is True
    assert shape["schema"]["additionalProperties"] is False
    assert shape["schema"]["required"] == ["discount", "price", "text"]
    assert shape["schema"]["properties"]["discount"]["description"] == "at least 0 and at most 100"


async def test_cost_is_known_for_a_known_model() -> None:
    given = await ask(
        says(json.dumps(GOOD), model="gpt-4o-mini", tokens=(1000, 100)), name="openai/gpt-4o-mini"
    )
    assert Decimal("0.00001") < given.cost_usd < Decimal("0.1")


async def test_prompt_hash_follows_what_is_asked() -> None:
    told = asking(signal=Reject("max_discount"))
    asked: list[tuple[Request, dict[str, Any]]] = [
        (asking(), {}),
        (asking(), {}),
        (told, {}),
        (asking(), {"temperature": 0.1}),
        (asking(), {"prompt": "Other"}),
    ]
    hashes = [
        (await ask(says(json.dumps(GOOD)), request, **options)).prompt_hash for request, options in asked
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


@pytest.mark.antipattern(
    "AP8", "detected at run time: the model is told the rule, the field, and what was expected"
)
async def test_reject_signal_reaches_the_model() -> None:
    signal = Reject(
        "max_discount", field="discount", expected="at most 20", got="90", hint="offer a longer term"
    )
    with Endpoint(says(json.dumps(GOOD))) as endpoint:
        await proposer(endpoint).propose(asking(signal=signal))
    (received,) = endpoint.requests
    assert [m["role"] for m in received.messages] == ["user", "user"]
    told = received.messages[1]["content"]
    for line in ("rule: max_discount", "field: discount", "expected: at most 20", "got: 90", "longer term"):
        assert line in told


@pytest.mark.antipattern("AP8", "detected at run time: what a model wraps around its answer is taken off")
@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "  ```JSON\r\n{}\r\n```\n"])
async def test_code_fences_are_taken_off(fence: str) -> None:
    assert (await ask(says(fence.replace("{}", json.dumps(GOOD))))).value == VALUE


async def test_scalar_answers_travel_in_an_object() -> None:
    with Endpoint(says('{"value": 7}')) as endpoint:
        given = await proposer(endpoint).propose(asking(returns=int))
    assert given.value == 7
    assert endpoint.requests[0].body["response_format"]["json_schema"]["schema"]["required"] == ["value"]


@pytest.mark.parametrize(
    ("text", "rule", "field"),
    [
        ("Here is your offer!", "malformed", ""),
        ('{"discount": 5', "malformed", ""),
        ("```json\n{\n```", "malformed", ""),
        ("[" * 100_000, "malformed", ""),
        ('{"discount": ' + "9" * 5000 + "}", "malformed", ""),
        ("[1]", "schema", ""),
        (json.dumps(GOOD | {"discount": "90"}), "schema", "discount"),
        (json.dumps(GOOD | {"discount": 90.5}), "schema", "discount"),
        (json.dumps(GOOD | {"discount": True}), "schema", "discount"),
        (json.dumps(GOOD | {"discount": None}), "schema", "discount"),
        (json.dumps(GOOD | {"discount": 101}), "schema", "discount"),
        (json.dumps(GOOD | {"discount": float("nan")}), "schema", ""),
        (json.dumps(GOOD | {"price": float("inf")}), "schema", ""),
        (json.dumps(GOOD | {"price": "NaN"}), "schema", "price"),
        (json.dumps(GOOD | {"price": "1e999999"}), "schema", "price"),
        (json.dumps(GOOD | {"extra": 1}), "schema", "extra"),
        (json.dumps({"discount": 1, "price": "1"}), "schema", "text"),
        (json.dumps(GOOD | {"text": "\ud800"}), "schema", ""),
        ('{"discount": 1, "discount": 2, "price": "1", "text": null}', "schema", ""),
        ("", "malformed", ""),
        ("  \n", "malformed", ""),
    ],
    ids=lambda part: str(part)[:40],
)
async def test_unusable_text(text: str, rule: str, field: str) -> None:
    fault = await fault_of(says(text))
    assert (fault.reject.rule, fault.reject.retryable) == (rule, True)
    assert not field or fault.reject.field == field
    assert fault.spent.tokens_in == 11  # it was paid for all the same
    assert fault.spent.tokens_out == 7
    assert fault.spent.model == "gpt-test-2030-01-31"
    assert fault.spent.prompt_hash


TOOL_CALLS = [{"id": "1", "type": "function", "function": {"name": "pay", "arguments": json.dumps(GOOD)}}]
MISBEHAVIOURS: dict[str, tuple[Behaviour, str]] = {
    "refused": (says(None, refusal="I cannot help with that"), "refusal"),
    "filtered": (says(None, finish="content_filter"), "refusal"),
    "cut": (says(json.dumps(GOOD)[:20], finish="length"), "truncated"),
    "cut_but_whole": (says(json.dumps(GOOD), finish="length"), "truncated"),
    "no_text": (says(None), "malformed"),
    "tool_call": (
        says(
            None,
            finish="tool_calls",
            tool_calls=[
                {"id": "1", "type": "function", "function": {"name": "pay", "arguments": json.dumps(GOOD)}}
            ],
        ),
        "malformed",
    ),
    "no_choices": (returns({**completion("{}"), "choices": []}), "malformed"),
    "no_completion": (returns({"hello": "world"}), "malformed"),
    "list": (returns([]), "malformed"),
    "null": (returns(None), "malformed"),
    "not_json": (sends(b"{,"), "malformed"),
    "no_bytes": (sends(b""), "malformed"),
    "not_utf8": (sends(b"\xff\xfe\x00"), "malformed"),
    "html": (sends(b"<html>It works!</html>", content_type="text/html"), "malformed"),
    "compressed": (sends(b"xx", headers={"Content-Encoding": "gzip"}), "malformed"),
    "flood": (wire.floods(50000000), "malformed"),
    "too_long": (says("x" * 2000000), "malformed"),
    "429": (fails(429), "rate_limit"),
    "500": (fails(500), "unavailable"),
    "502": (fails(502), "unavailable"),
    "503": (fails(503), "unavailable"),
    "529": (fails(529), "unavailable"),
    "reset": (wire.resets, "unavailable"),
    "broken_off": (wire.breaks_off, "unavailable"),
    "400": (fails(400), "bad_request"),
    "404": (fails(404), "bad_request"),
    "422": (fails(422), "bad_request"),
    "redirect": (fails(307, headers={"Location": "http://192.0.2.1/"}), "bad_request"),
    "401": (wire.echoes_key(401), "auth"),
    "403": (wire.echoes_key(403), "auth"),
}


@pytest.mark.antipattern("AP2", "detected at run time: all that a provider may do wrong is a typed signal")
@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_every_misbehaviour_is_a_typed_fault(name: str) -> None:
    behaviour, rule = MISBEHAVIOURS[name]
    with Endpoint(behaviour) as endpoint, pytest.raises(ProposalFault) as caught:
        await proposer(endpoint).propose(asking())
    fault = caught.value
    assert (fault.reject.rule, fault.reject.retryable) == (rule, rule not in {"auth", "bad_request"}), fault
    assert KEY not in str(fault)
    assert len(endpoint.requests) == 1  # repeating is the contract's business
    assert Reject.of(fault.reject.value())  # it fits a token


async def test_an_endpoint_that_is_not_there() -> None:
    with Endpoint(says("")) as endpoint:
        pass
    with pytest.raises(ProposalFault) as caught:
        await proposer(endpoint).propose(asking())
    assert caught.value.reject.rule == "unavailable"


async def test_retry_after_is_passed_on() -> None:
    for status in (429, 503):
        fault = await fault_of(fails(status, headers={"Retry-After": "7"}))
        assert fault.reject.hint == "try again after 7 s"


@pytest.mark.parametrize(
    "behaviour",
    [wire.hangs, wire.trickles(json.dumps(completion(json.dumps(GOOD))).encode(), every=0.05)],
    ids=["hang", "trickle"],
)
@pytest.mark.parametrize("name", ["openai/gpt-test", "anthropic/claude-sonnet-4-6"])
async def test_the_deadline_holds(name: str, behaviour: Behaviour) -> None:
    before = time.monotonic()
    fault = await fault_of(behaviour, asking(timeout=0.6), name=name)
    assert time.monotonic() - before < 3
    assert fault.reject.rule == "timeout"
    assert fault.spent.prompt_hash


async def test_the_shorter_deadline_counts() -> None:
    fault = await fault_of(wire.hangs, asking(timeout=30), timeout=0.3)
    assert fault.reject.expected == "an answer within 0.3 s"


@pytest.mark.parametrize("after", [0.0, 0.001, 0.005, 0.02, 0.3])
async def test_cancelled_at_any_moment_leaves_nothing_behind(after: float) -> None:
    """Warnings are errors: a coroutine never awaited or a connection left open would fail this."""
    with Endpoint(wire.hangs) as endpoint:
        task = asyncio.ensure_future(proposer(endpoint).propose(asking()))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0.05)
        gc.collect()


async def test_many_at_once() -> None:
    with Endpoint(says(json.dumps(GOOD)), fails(500), says(json.dumps(GOOD))) as endpoint:
        asked = proposer(endpoint)
        results = await asyncio.gather(*(asked.propose(asking()) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(r, Proposal) for r in results) == 11
    assert sum(isinstance(r, ProposalFault) for r in results) == 1


async def test_schema_in_words_where_the_provider_turns_it_down() -> None:
    turned_down = fails(400, "This response_format type is unavailable now")
    with Endpoint(turned_down, says(json.dumps(GOOD))) as endpoint:
        asked = proposer(endpoint)
        assert (await asked.propose(asking())).value == VALUE
        assert (await asked.propose(asking())).value == VALUE
    first, second, third = endpoint.requests
    assert "response_format" in first.body
    for later in (second, third):
        assert "response_format" not in later.body
        assert later.messages[0]["role"] == "system"
        assert '"discount"' in later.messages[0]["content"]


async def test_schema_mode_does_not_fall_back() -> None:
    fault = await fault_of(fails(400, "no response_format here"), structured="schema")
    assert fault.reject.rule == "bad_request"


async def test_no_key_is_told_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ProposalFault) as caught:
        await model("openai/gpt-test", prompt="Hi").propose(asking())
    assert (caught.value.reject.rule, caught.value.reject.retryable) == ("auth", False)
    assert "OPENAI_API_KEY" in caught.value.reject.hint


async def test_key_from_the_environment_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unusual secret value")
    with Endpoint(wire.echoes_key(401)) as endpoint, pytest.raises(ProposalFault) as caught:
        await model("openai/gpt-test", prompt="Hi", api_base=endpoint.url).propose(asking())
    assert "unusual secret value" in endpoint.requests[0].headers["authorization"]
    assert "unusual secret value" not in str(caught.value)
    assert KEY not in repr(model("openai/gpt-test", prompt="Hi", api_key=KEY))


async def test_unknown_provider() -> None:
    with pytest.raises(ProposalFault) as caught:
        await model("nobody/knows/this", prompt="Hi").propose(asking())
    assert (caught.value.reject.rule, caught.value.reject.retryable) == ("bad_request", False)


async def test_unsupported_option() -> None:
    fault = await fault_of(says(json.dumps(GOOD)), options={"no_such_option_of_litellm": {1}})
    assert fault.reject.rule in {"bad_request", "fault", "unavailable"}


async def test_prompt_that_does_not_fit_the_payload() -> None:
    fault = await fault_of(says(json.dumps(GOOD)), prompt="For {custmer}")
    assert (fault.reject.rule, fault.reject.retryable) == ("bad_request", False)
    assert "customer" in fault.reject.hint
    with pytest.raises(ProvenetError, match="custmer"):
        model("openai/gpt-test", prompt="For {custmer}", takes=Case)


async def test_contract_and_proposer_disagree() -> None:
    fault = await fault_of(says(json.dumps(GOOD)), returns=Customer)
    assert fault.reject.rule == "bad_request"


def test_options_that_are_not_the_callers() -> None:
    with pytest.raises(ProvenetError, match="num_retries"):
        model("openai/gpt-test", prompt="Hi", options={"num_retries": 3})
    with pytest.raises(ProvenetError, match="not positive"):
        model("openai/gpt-test", prompt="Hi", timeout=0)


class TestAnthropic:
    """The other protocol, through litellm's other kind of client."""

    NAME = "anthropic/claude-sonnet-4-6"

    @staticmethod
    def answer(text: str) -> Behaviour:
        return returns(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-4-6",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 10, "output_tokens": 5},
            }
        )

    async def test_good_answer(self) -> None:
        with Endpoint(self.answer(json.dumps(GOOD))) as endpoint:
            given = await proposer(endpoint, self.NAME).propose(asking(signal=Reject("r", got="seen")))
        assert given.value == VALUE
        assert given.cost_usd > 0
        (received,) = endpoint.requests
        assert received.path == "/v1/messages"
        assert "seen" in json.dumps(received.messages)

    FAULTS: ClassVar[dict[str, tuple[Behaviour, str]]] = {
        "429": (fails(429), "rate_limit"),
        "500": (fails(500), "unavailable"),
        "529": (fails(529), "unavailable"),
        "reset": (wire.resets, "unavailable"),
        "broken_off": (wire.breaks_off, "unavailable"),
        "401": (wire.echoes_key(401), "auth"),
        "404": (fails(404), "bad_request"),
        "html": (sends(b"<html>", content_type="text/html"), "malformed"),
        "flood": (wire.floods(50_000_000), "malformed"),
        "no_message": (returns({}), "malformed"),
    }

    @pytest.mark.parametrize("name", FAULTS)
    async def test_faults(self, name: str) -> None:
        behaviour, rule = self.FAULTS[name]
        with Endpoint(behaviour) as endpoint, pytest.raises(ProposalFault) as caught:
            await proposer(endpoint, self.NAME).propose(asking())
        assert caught.value.reject.rule == rule, caught.value
        assert KEY not in str(caught.value)
        assert len(endpoint.requests) == 1


def test_import_and_construction_load_no_model_library() -> None:
    program = """
import sys
import provenet.sdb
from provenet.sdb.proposers import model
model("anthropic/claude-sonnet-4-6", prompt="Hi {name}")
heavy = {"litellm", "openai", "httpx", "aiohttp", "tiktoken"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
