"""The agent's side of the outside world: asynchronous calls with an idempotency key and typed failures.

::

    ServiceError               an effect that is not known to be done
    ├── ServiceUnavailable     the service failed or cannot be reached: repeat with the same key
    ├── ServiceTimeout         no answer in time, the fate is unknown: repeat with the same key
    └── ServiceRefused         the service said no, for good: repeating does not help

The client never retries by itself: one retry budget, and it belongs to whoever calls.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from provenet import ProvenetError
from provenet.examples.contract_renewal.endpoints import (
    BILLING_OFFER,
    BILLING_REVERT,
    CRM_DRAFT,
    CRM_WITHDRAW,
    EMAIL_SEND,
    MAX_KEY,
)

Fate = Literal["not_done", "unknown"]
Answered = Literal["first", "again"]


class ServiceError(ProvenetError):
    """An effect that is not known to be done.

    Attributes:
        fate: ``not_done``: certainly not; ``unknown``: it may have been done.
        retryable: Whether a repeat with the same key can help.
        status: The HTTP status, 0 where no answer came.
    """

    fate: Fate = "unknown"
    retryable = True

    def __init__(
        self, message: str, *, where: str, hint: str = "", status: int = 0, fate: Fate | None = None
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        if fate is not None:
            self.fate = fate


class ServiceUnavailable(ServiceError):
    """The service failed (5xx), could not be reached, or cut the connection."""


class ServiceTimeout(ServiceError):
    """No answer in time. The effect may have been done, or may be done later."""


class ServiceRefused(ServiceError):
    """The service said no (4xx), for good.

    Attributes:
        field: The field that was refused; empty where it was the whole request.
        expected: What the service wanted there.
        got: What it got.
    """

    fate = "not_done"
    retryable = False

    def __init__(
        self, message: str, *, where: str, status: int, field: str = "", expected: str = "", got: str = ""
    ) -> None:
        super().__init__(message, where=where, status=status)
        self.field = field
        self.expected = expected
        self.got = got


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that an effect is done.

    Attributes:
        reference: The service's own id of the effect.
        status: What was done, such as ``created``, ``withdrawn``, ``nothing_to_undo``.
        answered: ``first``, or ``again`` if the service had already done it under this key.
    """

    reference: str
    status: str
    answered: Answered


class OutsideClient:
    """Calls the outside world over a pool of keep-alive connections. Belongs to one event loop.

    Args:
        url: ``http://host:port``.
        timeout: Seconds to wait for an answer.
        connections: Requests in flight at once; more wait their turn.
    """

    def __init__(self, url: str, *, timeout: float = 1.0, connections: int = 64) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ProvenetError(
                f"not the URL of an outside world: {url!r}", hint="expected http://127.0.0.1:PORT"
            )
        self.url = url
        self._host, self._port = parts.hostname, parts.port
        self._timeout = timeout
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def create_draft(
        self, *, key: str, case_id: str, customer: str, plan: str, term_months: int
    ) -> Receipt:
        """Create a renewal draft in the CRM; undone by :meth:`withdraw_draft`."""
        body = {"case_id": case_id, "customer": customer, "plan": plan, "term_months": term_months}
        return await self.post(CRM_DRAFT.path, body, key=key)

    async def withdraw_draft(self, *, key: str, case_id: str, undoes: str) -> Receipt:
        """Withdraw the draft that was created under the key ``undoes``, even if it never arrived."""
        return await self.post(CRM_WITHDRAW.path, {"case_id": case_id, "undoes": undoes}, key=key)

    async def apply_offer(
        self, *, key: str, case_id: str, customer: str, discount_pct: int, term_months: int
    ) -> Receipt:
        """Apply an offer in billing; undone by :meth:`revert_offer`."""
        body = {
            "case_id": case_id,
            "customer": customer,
            "discount_pct": discount_pct,
            "term_months": term_months,
        }
        return await self.post(BILLING_OFFER.path, body, key=key)

    async def revert_offer(self, *, key: str, case_id: str, undoes: str) -> Receipt:
        """Revert the offer that was applied under the key ``undoes``, even if it never arrived."""
        return await self.post(BILLING_REVERT.path, {"case_id": case_id, "undoes": undoes}, key=key)

    async def send_email(
        self, *, key: str, case_id: str, to: str, template: str, values: Mapping[str, object] | None = None
    ) -> Receipt:
        """Send an e-mail. Irreversible."""
        body = {"case_id": case_id, "to": to, "template": template, "values": dict(values or {})}
        return await self.post(EMAIL_SEND.path, body, key=key)

    async def post(self, path: str, body: Mapping[str, object], *, key: str) -> Receipt:
        """Ask for one effect.

        Args:
            path: One of the world's endpoints.
            body: The request.
            key: Names the effect: the same key, the same effect, once.

        Returns:
            The receipt of the effect, done now or under this key before.

        Raises:
            ServiceUnavailable: The service failed or cannot be reached.
            ServiceTimeout: No answer in time.
            ServiceRefused: The service declines for good.
        """
        where = f"POST {path}"
        if not 0 < len(key) <= MAX_KEY or not all("!" <= c <= "~" for c in key):
            raise ServiceRefused(
                f"the idempotency key {key[:40]!r} has characters that no header carries",
                where=where,
                status=0,
                field="key",
                expected=f"1 to {MAX_KEY} printable ASCII characters without spaces",
                got=repr(key[:40]),
            )
        payload = json.dumps(body, separators=(",", ":")).encode()
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {key}\r\nContent-Length: {len(payload)}\r\n\r\n"
        ).encode() + payload
        async with self._turns:
            reply = await self._exchange(request, where)
        return _read(reply, where)

    async def close(self) -> None:
        """Close all connections."""
        self._idle.clear()
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _exchange(self, request: bytes, where: str) -> _Reply:
        connection = self._take()
        if connection is None:
            connection = await self._connect(where)
        try:
            reply = await connection.exchange(request, self._timeout)
        except TimeoutError:
            raise ServiceTimeout(
                f"no answer within {self._timeout:g} s, so whether it was done is unknown",
                where=where,
                hint="repeat it with the same idempotency key",
            ) from None
        except OSError as error:
            raise ServiceUnavailable(
                f"the connection was cut: {error}",
                where=where,
                hint="repeat it with the same idempotency key",
            ) from error
        finally:
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.close()
        return reply

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    async def _connect(self, where: str) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._open), self._host, self._port
                )
        except (OSError, TimeoutError) as error:
            raise ServiceUnavailable(
                f"nobody answers at {self.url}: {error or 'no connection in time'}",
                where=where,
                hint="is the outside world running?",
                fate="not_done",
            ) from error
        return connection


def _read(reply: _Reply, where: str) -> Receipt:
    status = reply.status
    try:
        body = json.loads(reply.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ServiceUnavailable(f"answer {status} is not JSON", where=where, status=status)
    if status < 300:
        return Receipt(
            reference=str(body.get("reference", "")),
            status=str(body.get("status", "")),
            answered=reply.answered,
        )
    said = str(body.get("error", ""))
    if status >= 500:
        raise ServiceUnavailable(
            f"answer {status}: {said}",
            where=where,
            status=status,
            hint="repeat it with the same idempotency key",
        )
    raise ServiceRefused(
        f"refused ({status}): {said}",
        where=where,
        status=status,
        field=str(body.get("field", "")),
        expected=str(body.get("expected", "")),
        got=str(body.get("got", "")),
    )


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    answered: Answered
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, registry: set[_Connection]) -> None:
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[_Reply] | None = None
        self._keep = True

    @property
    def reusable(self) -> bool:
        """Open, and with no answer outstanding."""
        return self._keep and self._transport is not None and self._waiter is None

    async def exchange(self, request: bytes, patience: float) -> _Reply:
        """Send, and wait for the answer ``patience`` seconds.

        Raises:
            TimeoutError: None came in time; the connection is of no use any more.
            ConnectionError: The connection was cut.
        """
        if self._transport is None:
            raise ConnectionResetError("closed by the service")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[_Reply] = loop.create_future()
        self._waiter = waiter
        alarm = loop.call_later(patience, _expire, waiter)
        try:
            self._transport.write(request)
            reply = await waiter
        except BaseException:
            # Time-out or cancellation: a late answer on this connection must not meet the next request.
            self._keep = False
            raise
        finally:
            alarm.cancel()
            self._waiter = None
        return reply

    def close(self) -> None:
        """Cut the connection."""
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._registry.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._transport = None
        self._registry.discard(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("closed by the service"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        try:
            status, length = int(head[0].split(" ")[1]), int(headers.get("content-length", ""))
        except (ValueError, IndexError):
            self.close()
            return
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        self._buffer.clear()
        self._keep = self._keep and headers.get("connection") != "close"
        if self._waiter is not None and not self._waiter.done():
            answered: Answered = "again" if "idempotency-replayed" in headers else "first"
            self._waiter.set_result(_Reply(status, answered, body))


def _expire(waiter: asyncio.Future[_Reply]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
