"""A model endpoint on loopback that answers, and misbehaves, as told.

It speaks enough HTTP/1.1 for chat completions: ``POST`` with a JSON body, one answer, connection closed.
Each request takes the next behaviour; the last one repeats.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

Behaviour = Callable[["Exchange"], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """A request that the endpoint got."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body["messages"]
        return found


@dataclass
class Exchange:
    """One request with the connection to answer on."""

    received: Received
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def respond(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        lines = [f"HTTP/1.1 {status} Status", f"Content-Type: {content_type}", "Connection: close"]
        lines.append(f"Content-Length: {len(body) if length is None else length}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@dataclass
class Endpoint:
    """The endpoint, in a thread of its own, so that a blocked test loop does not block it."""

    behaviours: list[Behaviour]
    requests: list[Received] = field(default_factory=list)
    port: int = 0

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)
        self.requests = []
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(ready))
        finally:
            self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            received = await _read(reader)
            behaviour = self.behaviours[min(len(self.requests), len(self.behaviours) - 1)]
            self.requests.append(received)
            await behaviour(Exchange(received, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split()[1], headers, json.loads(body or b"{}"))


def completion(
    content: str | None,
    *,
    finish: str = "stop",
    model: str = "gpt-test-2030-01-31",
    tokens: tuple[int, int] = (11, 7),
    **message: Any,
) -> dict[str, Any]:
    """The body of a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        },
    }


def says(content: str | None, **options: Any) -> Behaviour:
    """Answer with a message."""
    return returns(completion(content, **options))


def returns(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with a JSON body."""

    async def behave(exchange: Exchange) -> None:
        await exchange.respond(status, json.dumps(body).encode(), headers=headers)

    return behave


def fails(status: int, message: str = "no", **options: Any) -> Behaviour:
    """Answer with an error of the protocol."""
    return returns({"error": {"message": message, "type": "error", "code": None}}, status=status, **options)


def echoes_key(status: int) -> Behaviour:
    """Answer with an error that repeats the caller's credentials, as some endpoints do."""

    async def behave(exchange: Exchange) -> None:
        sent = exchange.received.headers.get("authorization", exchange.received.headers.get("x-api-key", ""))
        body = {"error": {"message": f"bad credentials: {sent}", "type": "auth", "code": None}}
        await exchange.respond(status, json.dumps(body).encode())

    return behave


def sends(body: bytes, *, status: int = 200, **options: Any) -> Behaviour:
    """Answer with any bytes."""

    async def behave(exchange: Exchange) -> None:
        await exchange.respond(status, body, **options)

    return behave


async def hangs(exchange: Exchange) -> None:
    """Never answer."""
    await asyncio.sleep(600)


def trickles(body: bytes, *, every: float) -> Behaviour:
    """Answer a byte at a time: each byte comes before any per-read time-out."""

    async def behave(exchange: Exchange) -> None:
        await exchange.respond(200, b"", length=len(body))
        for i in range(len(body)):
            await exchange.send(body[i : i + 1])
            await asyncio.sleep(every)

    return behave


def floods(size: int) -> Behaviour:
    """Answer with a body of ``size`` bytes, sent as fast as it is read."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        chunk = b" " * 65_536
        for _ in range(size // len(chunk)):
            await exchange.send(chunk)

    return behave


async def resets(exchange: Exchange) -> None:
    """Close the connection before a word of the answer."""
    transport = exchange.writer.transport
    transport.abort()


async def breaks_off(exchange: Exchange) -> None:
    """Close the connection in the middle of the answer."""
    body = json.dumps(completion("{}")).encode()
    await exchange.respond(200, body[: len(body) // 2], length=len(body))
    exchange.writer.transport.abort()
