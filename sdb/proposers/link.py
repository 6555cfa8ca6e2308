"""One watched HTTP exchange with a model's endpoint.

litellm's own clients are shared, cached per event loop, read answers of any size, and repeat a request after
a broken connection. A ``Link`` gives one call a client of its own: at most one request, an answer of bounded
size, closed when the call ends. Imported only when a model is called, like litellm itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import ssl


_NO_TIMEOUT = httpx.Timeout(None)  # litellm gives each request its own


class Link:
    """What became of a call's request.

    Attributes:
        limit: Most bytes of an answer.
        sent: Whether the request went out.
        status: Status code of the answer, if one came.
        retry_after: The answer's ``Retry-After``, if it had one.
        refused: Why the answer was not read to its end; empty if it was.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sent = False
        self.status: int | None = None
        self.retry_after = ""
        self.refused = ""
        self._shut = False

    def shut(self) -> bool:
        """Let no request out from now on; returns whether none went out so far."""
        self._shut = True
        return not self.sent

    @asynccontextmanager
    async def client(self, provider: str, *, key: str | None, base: str | None) -> AsyncIterator[Any]:
        """A client for litellm's ``client=``; ``None`` for providers that take none of the kinds we know."""
        if provider == "openai":
            import openai

            async with httpx.AsyncClient(
                verify=_tls(), event_hooks=self._hooks(), timeout=_NO_TIMEOUT
            ) as http:
                yield openai.AsyncOpenAI(api_key=key, base_url=base, http_client=http, max_retries=0)
        elif provider == "anthropic":
            from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

            handler: Any = AsyncHTTPHandler(event_hooks=self._hooks())
            try:
                yield handler
            finally:
                await handler.close()
        else:
            yield None

    def _hooks(self) -> dict[str, list[Callable[..., Any]]]:
        return {"request": [self._before], "response": [self._after]}

    async def _before(self, request: httpx.Request) -> None:
        if self._shut or self.sent:
            raise httpx.ConnectError("a call sends one request", request=request)
        self.sent = True
        # A compressed answer could unfold to any size.
        request.headers["accept-encoding"] = "identity"

    async def _after(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.retry_after = response.headers.get("retry-after", "")[:40]
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            self.refused = "a compressed answer that was not asked for"
            raise httpx.DecodingError(self.refused, request=response.request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream, self)


class _Bounded(httpx.AsyncByteStream):
    """A body that ends in an error where it grows too long."""

    def __init__(self, inner: httpx.AsyncByteStream, link: Link) -> None:
        self._inner = inner
        self._link = link

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > self._link.limit:
                self._link.refused = f"more than {self._link.limit} bytes"
                raise httpx.DecodingError(self._link.refused)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes tens of milliseconds: once is enough."""
    return httpx.create_ssl_context()


def broken_transport(error: BaseException | None) -> bool:
    """Whether an exception goes back to a connection that broke."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, httpx.TransportError | ConnectionError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
