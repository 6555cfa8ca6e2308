"""A proposer that asks a language model through litellm.

litellm and what it brings along take seconds to import, so they are imported at the first call. Retries are
the contract's: one call here is one request (and a second one only where the provider turns structured
output down), and whatever comes of it is a ``Proposal`` or a ``ProposalFault`` before the deadline.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from decimal import Decimal
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from provenet.nets.errors import ProvenetError
from provenet.nets.models import schema_of
from provenet.nets.quick import dataclass
from provenet.nets.schema import Type, describe, shorten
from provenet.sdb.handlers import Proposal, ProposalFault, Request
from provenet.sdb.proposers.answers import answer_type, json_schema, read_answer
from provenet.sdb.proposers.faults import (
    DeadlinePassed,
    FaultRule,
    exception_text,
    fault,
    redact,
    timed_out,
    within,
)
from provenet.sdb.proposers.template import Template
from provenet.sdb.reject import Reject

if TYPE_CHECKING:
    from provenet.sdb.proposers.link import Link

_OWNED = frozenset(
    {
        *("model", "messages", "prompt", "system", "response_format", "tools", "functions", "stream", "n"),
        *("client", "timeout", "api_key", "api_base", "base_url"),
        *("num_retries", "max_retries", "fallbacks", "context_window_fallback_dict"),
        *("mock_response", "mock_tool_calls", "mock_timeout", "mock_delay"),
    }
)
_TURNED_DOWN = re.compile(r"(?i)response_?format|json_?schema|structured.?output|output_?format|guided")
# litellm puts the names of its classes before the provider's message, several times over.
_NOISE = re.compile(r"\A(?:(?:litellm\.)?\w+(?:Error|Exception|Timeout)(?:: | - ))+")
_MOST_TOKENS = 2**53


def model(
    name: str,
    *,
    prompt: str,
    returns: Any = None,
    takes: Any = None,
    system: str | None = None,
    timeout: timedelta | float | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    structured: Literal["auto", "schema", "prompt"] = "auto",
    api_base: str | None = None,
    api_key: str | None = None,
    max_answer: int = 1_000_000,
    options: Mapping[str, Any] | None = None,
) -> ModelProposer:
    """A proposer that asks a model.

    Args:
        name: The model as litellm names it: ``anthropic/claude-sonnet-4-6``, ``openai/gpt-5``,
            ``ollama/llama3``.
        prompt: What to ask; ``{field}`` and ``{field.sub}`` stand for fields of the payload, ``{payload}``
            for all of it.
        returns: Token model of the answer, where it should be compared with what the contract asks for.
        takes: Token model of the payload, where the prompt should be checked against it right here.
        system: System message, with the same fields as the prompt.
        timeout: Upper bound on the whole call; the contract's own timeout counts where it is shorter.
        temperature: Sampling temperature.
        max_tokens: Most tokens of the answer.
        seed: Sampling seed, where the provider has one.
        structured: ``schema`` makes the provider hold the answer to the JSON Schema, ``prompt`` puts the
            schema in words, ``auto`` takes the first where the provider knows it and falls back to the
            second.
        api_base: Address of the endpoint, where it is not the provider's own.
        api_key: The key; by default litellm takes it from the environment. It is in no message, hash or
            ``repr``.
        max_answer: Most bytes of an answer, where the provider is ``openai`` or ``anthropic``; most
            characters of its text everywhere.
        options: More parameters for litellm, such as ``{"reasoning_effort": "low"}``.

    Raises:
        ProvenetError: A template or an option that cannot be.
    """
    taken = sorted(set(options or {}) & _OWNED)
    if taken:
        raise ProvenetError(
            f"options of model {name!r} may not set {', '.join(taken)}",
            hint="these are arguments of model(), or belong to the contract (retries, answers)",
            code="SD312",
        )
    limit = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
    if limit is not None and limit <= timedelta(0):
        raise ProvenetError(
            f"timeout of model {name!r} is not positive", hint="give seconds or a timedelta", code="SD312"
        )
    templates = (Template.parse(system) if system else None, Template.parse(prompt))
    if takes is not None:
        for template in templates:
            if template is not None:
                template.check(schema_of(takes))
    params = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, **(options or {})}
    return ModelProposer(
        name=name,
        system=templates[0],
        prompt=templates[1],
        returns=None if returns is None else schema_of(returns),
        timeout=limit,
        params={k: v for k, v in params.items() if v is not None},
        structured=structured,
        api_base=api_base,
        api_key=api_key,
        max_answer=max_answer,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelProposer:
    """See ``model``."""

    name: str
    prompt: Template
    system: Template | None = None
    returns: Type | None = None
    timeout: timedelta | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    structured: Literal["auto", "schema", "prompt"] = "auto"
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_answer: int = 1_000_000
    # Set once the provider has turned structured output down, so that only the first call pays for finding
    # out.
    _turned_down: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def check(self, payload: Type) -> None:
        """Check the prompt's fields against a payload type.

        Raises:
            ProvenetError: The payload has no such field.
        """
        for template in (self.system, self.prompt):
            if template is not None:
                template.check(payload)

    async def propose(self, request: Request) -> Proposal:
        """Ask the model.

        The clock starts when litellm has been imported.

        Raises:
            ProposalFault: There is no usable answer.
        """
        limit = request.timeout if self.timeout is None else min(self.timeout, request.timeout)
        call: _Call | None = None
        if self.returns is not None and self.returns != request.returns:
            raise fault(
                "bad_request",
                expected=f"a proposer of {describe(request.returns)}",
                got=f"one of {describe(self.returns)}",
                hint="give model() and the contract the same returns=",
            )
        try:
            litellm = await asyncio.to_thread(_import_litellm)
            call = _Call(self, request, litellm, monotonic() + limit.total_seconds())
            return await within(limit, call.run(), gently=call.shut)
        except ProposalFault:
            raise
        except DeadlinePassed:
            raise timed_out(limit, spent=call.spent if call else None) from None
        except ProvenetError as error:
            raise fault(
                "bad_request", expected="a prompt that fits its payload", got=error.message, hint=error.hint
            ) from None
        except Exception as error:  # noqa: BLE001 - nothing but a proposal or a fault
            raise fault(
                "fault",
                expected="an answer",
                got=exception_text(error, secrets=self.secrets()),
                spent=call.spent if call else None,
            ) from None

    def messages(
        self, request: Request, *, in_words: Literal["schema", "prompt"] = "schema"
    ) -> list[dict[str, str]]:
        """The messages for a request; with ``prompt`` the answer's schema is part of them.

        Raises:
            ProvenetError: The template does not fit the payload.
        """
        found: list[dict[str, str]] = []
        system = "" if self.system is None else self.system.fill(request.payload, request.payload_type)
        if in_words == "prompt":
            shape = json.dumps(json_schema(answer_type(request.returns)), ensure_ascii=False)
            ask = f"Answer with one JSON object that fits this JSON Schema, and with nothing else:\n{shape}"
            system = f"{system}\n\n{ask}" if system else ask
        if system:
            found.append({"role": "system", "content": system})
        found.append({"role": "user", "content": self.prompt.fill(request.payload, request.payload_type)})
        if request.signal is not None:
            found.append({"role": "user", "content": _told(request.signal)})
        return found

    def secrets(self) -> tuple[str, ...]:
        """What must not show in any text: the key, and every key in the environment."""
        known = [
            v for k, v in os.environ.items() if k.endswith(("_API_KEY", "_TOKEN", "_SECRET")) and len(v) >= 8
        ]
        return (*((self.api_key,) if self.api_key else ()), *known)


class _Call:
    """One call of a model."""

    def __init__(self, proposer: ModelProposer, request: Request, litellm: Any, deadline: float) -> None:
        self.proposer = proposer
        self.request = request
        self.litellm = litellm
        self.deadline = deadline
        self.spent = Proposal(value=None, model=proposer.name)
        self.link: Link | None = None

    def shut(self) -> bool:
        """Send nothing more; returns whether nothing has been sent."""
        return self.link is not None and self.link.shut()

    async def run(self) -> Proposal:
        mode = self._mode()
        try:
            return await self._ask(mode)
        except _TurnedDown:
            self.proposer._turned_down.set()  # noqa: SLF001 - the call is the proposer's own other half
            return await self._ask("prompt")

    def _mode(self) -> Literal["schema", "prompt"]:
        if self.proposer.structured != "auto":
            return self.proposer.structured
        if self.proposer._turned_down.is_set():  # noqa: SLF001
            return "prompt"
        try:
            known = self.litellm.get_supported_openai_params(model=self.proposer.name) or ()
        except Exception:  # noqa: BLE001 - an unknown provider: the call itself will say so
            known = ()
        return "schema" if "response_format" in known else "prompt"

    async def _ask(self, mode: Literal["schema", "prompt"]) -> Proposal:
        from provenet.sdb.proposers.link import Link

        p = self.proposer
        messages = p.messages(self.request, in_words=mode)
        params = dict(p.params)
        if mode == "schema":
            params["response_format"] = _response_format(self.request.returns)
        self.spent = Proposal(value=None, model=p.name, prompt_hash=_hash(p.name, messages, params))
        link = self.link = Link(p.max_answer)
        try:
            _, provider, key, base = self.litellm.get_llm_provider(
                model=p.name, api_base=p.api_base, api_key=p.api_key
            )
            key, base = p.api_key or key, p.api_base or base
            if provider == "openai":
                key, base = _openai_account(key, base)
            async with link.client(provider, key=key, base=base) as client:
                response = await self.litellm.acompletion(
                    model=p.name,
                    messages=messages,
                    timeout=max(self.deadline - monotonic(), 0.001),
                    num_retries=0,
                    max_retries=0,
                    **({"api_base": base} if base else {}),
                    **({"api_key": key} if key else {}),
                    **({"client": client} if client is not None else {}),
                    **params,
                )
        except ProposalFault:
            raise
        except Exception as error:  # noqa: BLE001 - sorted into typed faults right here
            raise self._sorted(error, link, mode) from None
        return self._read(response)

    def _sorted(self, error: Exception, link: Link, mode: str) -> Exception:
        """The typed fault of an exception; what the link saw says more than litellm's class."""
        from provenet.sdb.proposers.link import broken_transport

        kinds = self.litellm.exceptions
        text = _NOISE.sub("", exception_text(error, secrets=self.proposer.secrets()))
        status = link.status or getattr(error, "status_code", None)
        rule: FaultRule
        expected, hint = "an answer", ""
        if link.refused:
            rule, expected, text = "malformed", f"an answer of at most {link.limit} bytes", link.refused
        elif isinstance(error, kinds.Timeout | TimeoutError):
            return timed_out(timedelta(seconds=self._limit()), spent=self.spent)
        elif isinstance(error, kinds.ContentPolicyViolationError):
            rule, hint = "refusal", "the provider's content policy refused the prompt or the answer"
        elif status == 200:
            rule = "unavailable" if broken_transport(error) else "malformed"
            expected = "a whole chat completion"
        elif status in {401, 403}:
            rule, hint = "auth", "set the provider's key in the environment, or give api_key="
        elif status == 429:
            rule, hint = (
                "rate_limit",
                f"try again after {redact(link.retry_after)} s" if link.retry_after else "",
            )
        elif status == 408:
            rule = "timeout"
        elif isinstance(status, int) and 300 <= status < 500:
            if mode == "schema" and self.proposer.structured == "auto" and _TURNED_DOWN.search(str(error)):
                return _TurnedDown()
            rule, hint = "bad_request", "look at the model's name, api_base= and the options"
        elif isinstance(status, int) and (link.sent or link.status is None):
            rule = "unavailable"
            if link.retry_after:
                hint = f"try again after {redact(link.retry_after)} s"
        else:
            rule = "fault"
        return fault(rule, expected=expected, got=text, hint=hint, spent=self.spent)

    def _limit(self) -> float:
        own = self.proposer.timeout
        return min(own or self.request.timeout, self.request.timeout).total_seconds()

    def _read(self, response: Any) -> Proposal:
        spent = self.spent = self._accounted(response)
        choices = getattr(response, "choices", None)
        if not choices:
            raise fault("malformed", expected="one choice", got="none", spent=spent)
        reason, message = getattr(choices[0], "finish_reason", None), getattr(choices[0], "message", None)
        text = getattr(message, "content", None)
        said_no = (getattr(message, "provider_specific_fields", None) or {}).get("refusal") or getattr(
            message, "refusal", None
        )
        if said_no or reason == "content_filter":
            got = (
                redact(str(said_no), secrets=self.proposer.secrets())
                if said_no
                else "stopped by the content filter"
            )
            raise fault("refusal", expected="an answer", got=got, hint="rephrase the prompt", spent=spent)
        if reason == "length":
            raise fault(
                "truncated",
                expected="a whole answer",
                got=shorten(text),
                hint="raise max_tokens=",
                spent=spent,
            )
        if not isinstance(text, str) or not text.strip():
            got = "a tool call" if getattr(message, "tool_calls", None) else "no text"
            raise fault(
                "malformed", expected="an answer as text", got=got, hint="no tools are offered", spent=spent
            )
        if len(text) > self.proposer.max_answer:
            raise fault(
                "malformed",
                expected=f"at most {self.proposer.max_answer} characters",
                got=str(len(text)),
                spent=spent,
            )
        try:
            value = read_answer(text, self.request.returns)
        except ProposalFault as error:
            raise ProposalFault(error.reject, spent=spent) from None
        return Proposal(
            value=value,
            model=spent.model,
            prompt_hash=spent.prompt_hash,
            tokens_in=spent.tokens_in,
            tokens_out=spent.tokens_out,
            cost_usd=spent.cost_usd,
        )

    def _accounted(self, response: Any) -> Proposal:
        usage = getattr(response, "usage", None)
        reported = getattr(response, "model", None)
        try:
            cost = float(self.litellm.completion_cost(completion_response=response, model=self.proposer.name))
        except Exception:  # noqa: BLE001 - a model that the price map does not know
            cost = 0.0
        return Proposal(
            value=None,
            model=redact(reported) if isinstance(reported, str) and reported else self.proposer.name,
            prompt_hash=self.spent.prompt_hash,
            tokens_in=_count(getattr(usage, "prompt_tokens", 0)),
            tokens_out=_count(getattr(usage, "completion_tokens", 0)),
            cost_usd=Decimal(f"{cost:.10f}").normalize()
            if math.isfinite(cost) and 0 < cost < 1e9
            else Decimal(0),
        )


class _TurnedDown(Exception):
    """The provider does not take a JSON Schema."""


def _import_litellm() -> Any:
    # Before the import: otherwise it fetches a price list.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True  # it would print to standard output
    return litellm


def _openai_account(key: str | None, base: str | None) -> tuple[str, str | None]:
    base = base or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    key = key or os.environ.get("OPENAI_API_KEY")
    if not key and not base:
        raise fault(
            "auth", expected="a key", got="none", hint="set OPENAI_API_KEY, or give api_key= or api_base="
        )
    return key or "none", base  # local servers want some key, and take any


def _response_format(of: Type) -> dict[str, Any]:
    record = answer_type(of)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", record.name)[:64] or "Answer"
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": json_schema(record)},
    }


def _told(signal: Reject) -> str:
    """A reject signal as the model reads it."""
    lines = [
        ("rule", signal.rule),
        ("field", signal.field),
        ("expected", signal.expected),
        ("got", signal.got),
        ("hint", signal.hint),
    ]
    told = "\n".join(f"{name}: {text}" for name, text in lines if text)
    return f"Your last proposal was rejected.\n{told}\nMake another proposal that mends this."


def _hash(name: str, messages: list[dict[str, str]], params: Mapping[str, Any]) -> str:
    whole = {"model": name, "messages": messages, "params": params}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _count(tokens: Any) -> int:
    return min(max(tokens, 0), _MOST_TOKENS) if isinstance(tokens, int) else 0
