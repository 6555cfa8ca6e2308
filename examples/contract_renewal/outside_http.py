"""HTTP/1.1 in front of the outside store: keep-alive, loopback, one event loop, grouped commits.

Every request that is ready in one turn of the event loop shares one transaction, and no answer leaves
before that transaction is durable. Written on ``asyncio.Protocol`` because the demo runs in one process
with its world: a request costs tens of microseconds here, against hundreds with ``http.server``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Literal

from provenet.examples.contract_renewal.endpoints import ENDPOINTS, MAX_KEY
from provenet.examples.contract_renewal.faults import Fault, Faults
from provenet.examples.contract_renewal.outside_store import Answer, OutsideStore, Request, refusal

MAX_HEAD = 16 * 1024
MAX_BODY = 256 * 1024

_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")
_REASONS = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_LOST = Answer(500, b'{"error": "something went wrong after the request was taken"}', "performed")
_BUSY = Answer(503, b'{"error": "not available, try again"}', "not_done")


class World:
    """The service behind all connections of one server.

    Args:
        store: Where effects are kept.
        faults: How often, and how, the world misbehaves.
    """

    def __init__(self, store: OutsideStore, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Connection, Request]] = []
        self.connections: set[Connection] = set()

    def protocol(self) -> Connection:
        """A fresh connection, for ``loop.create_server``."""
        return Connection(self)

    def submit(self, connection: Connection, request: Request) -> None:
        """Queue a request for the transaction that this turn of the loop ends with."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append((connection, request))

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        answers: list[tuple[Connection, Answer, float]] = []
        late: list[Request] = []
        try:
            with self._store.batch():
                for connection, request in batch:
                    answer, delay = self._deliver(request, late)
                    if answer is not None:
                        answers.append((connection, answer, delay))
        except (sqlite3.Error, OSError) as error:
            # Nothing of the batch was kept, so nothing of it may be acknowledged.
            failed = Answer(503, json.dumps({"error": f"the ledger refused: {error}"}).encode(), "not_done")
            for connection, _ in batch:
                connection.answer(failed)
            return
        for connection, answer, delay in answers:
            if delay:
                self._loop.call_later(delay, connection.answer, answer)
            else:
                connection.answer(answer)
        for request in late:
            self._loop.call_later(self._faults.hang_seconds, self._perform_late, request)

    def _deliver(self, request: Request, late: list[Request]) -> tuple[Answer | None, float]:
        """One delivery under its fault: the answer (``None``: never) and how long it is held back."""
        store = self._store
        attempt = store.next_attempt(request.key)
        refusable = bool(request.endpoint.undone_by)
        fault = self._faults.decide(request.key, attempt, refusable=refusable)
        if fault is Fault.FAIL_BEFORE:
            answer = _BUSY
        elif fault is Fault.REFUSE:
            answer = refusal(422, f"{request.endpoint.service} declines this request for good")
        elif fault is Fault.HANG_BEFORE:
            late.append(request)
            store.record(request, attempt, outcome="not_done", fault=fault)
            return None, 0.0
        else:
            answer = store.perform(request)
        store.record(request, attempt, outcome=answer.outcome, fault=fault)
        if fault is Fault.TWICE:
            again = store.perform(request)
            store.record(request, attempt, outcome=again.outcome, fault=fault)
        if fault is Fault.FAIL_AFTER and answer.status < 400:
            return _LOST, 0.0
        return answer, self._faults.hang_seconds if fault is Fault.HANG_AFTER else 0.0

    def _perform_late(self, request: Request) -> None:
        try:
            with self._store.batch():
                answer = self._store.perform(request)
                self._store.record(request, 0, outcome=answer.outcome, fault="late")
        except sqlite3.Error:
            return  # nobody waits for this answer; the request counts as never done


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    path: str
    headers: dict[str, str]


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it are answered in order, one at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._busy = False
        self._stepping = False
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._world.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Part of ``asyncio.Protocol``."""
        self._transport = None
        self._world.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Part of ``asyncio.Protocol``."""
        if self._closing:
            return
        self._buffer += data
        if len(self._buffer) > MAX_HEAD + MAX_BODY:
            self._fatal(413, "the request is too large")
            return
        self._advance()

    def answer(self, answer: Answer) -> None:
        """Send one answer and take up the next request, if one is already here."""
        if self._transport is None:
            return
        replayed = "Idempotency-Replayed: true\r\n" if answer.outcome == "repeat" else ""
        closing = "Connection: close\r\n" if self._closing else ""
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer.body)}\r\n{replayed}{closing}\r\n"
        )
        self._transport.write(head.encode("latin-1") + answer.body)
        self._busy = False
        if self._closing:
            self._transport.close()
        else:
            self._advance()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        # An answer that needs no transaction comes back here at once: a loop, lest a long pipeline recurse.
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._buffer and not self._busy and not self._closing and self._step() == "took one":
                pass
        finally:
            self._stepping = False

    def _step(self) -> Literal["took one", "needs more"]:
        """Take one request from the buffer, if a whole one is there."""
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD:
                if len(self._buffer) > MAX_HEAD:
                    self._fatal(431, "the request's head is too large")
                return "needs more"
            head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if head is None:
                self._fatal(400, "this is not an HTTP/1.1 request")
                return "needs more"
            self._head = head
        headers = self._head.headers
        length_text = headers.get("content-length", "0" if self._head.method == "GET" else "")
        if not (length_text.isascii() and length_text.isdigit()) or "transfer-encoding" in headers:
            self._fatal(411, "expected a Content-Length header with a whole number")
            return "needs more"
        length = int(length_text[:10])
        if length > MAX_BODY:
            self._fatal(413, f"the body is too large: {length} bytes, expected at most {MAX_BODY}")
            return "needs more"
        if len(self._buffer) < length:
            return "needs more"
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        head, self._head = self._head, None
        self._busy = True
        if headers.get("connection", "").lower() == "close":
            self._closing = True
        understood = _understand(head, body)
        if isinstance(understood, Request):
            self._world.submit(self, understood)
        else:
            self.answer(understood)
        return "took one"

    def _fatal(self, status: int, error: str) -> None:
        # The rest of the stream cannot be told apart from this request any more.
        self._closing = True
        self._buffer.clear()
        self.answer(refusal(status, error))


def _parse_head(raw: bytes) -> _Head | None:
    lines = raw.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            return None
        headers[name.lower()] = value.strip()
    return _Head(parts[0], parts[1], headers)


def _understand(head: _Head, raw: bytes) -> Request | Answer:
    if head.method == "GET" and head.path == "/health":
        return Answer(200, b'{"status": "ok"}', "read")
    endpoint = ENDPOINTS.get(head.path)
    if endpoint is None:
        return refusal(404, f"no such path; there are: {', '.join(ENDPOINTS)}")
    if head.method != "POST":
        return refusal(405, f"{head.path} takes POST, not {head.method}")
    key = head.headers.get("idempotency-key")
    if key is None:
        return refusal(400, "expected an Idempotency-Key header, got none")
    if not _KEY.fullmatch(key):
        return refusal(
            400, f"Idempotency-Key: expected 1 to {MAX_KEY} printable ASCII characters without spaces"
        )
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return refusal(400, "the body is not JSON")
    if not isinstance(body, dict):
        return refusal(400, "expected a JSON object as body")
    mistake = endpoint.mistake(body)
    if mistake is not None:
        return Answer(400, json.dumps(mistake).encode(), "refused")
    return Request(endpoint, key, body, text)


def _no_constant(name: str) -> object:
    raise ValueError(name)  # NaN and infinities are Python's idea of JSON, nobody else's
