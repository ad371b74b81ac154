"""One connection to the API: a request goes out, an answer comes in, then the next."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, cast

import httptools
import httpx

__all__ = ["Connection"]

#: Bytes of an answer that wait to be read before the peer is told to slow down.
BUFFER_MAX_BYTES: Final = 256 * 1024
#: Bytes of status line and headers; an answer of the API has about one thousand.
HEAD_MAX_BYTES: Final = 64 * 1024


class Connection(asyncio.Protocol):
    """One connection: a request goes out, an answer comes in, then the next."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._parser: Any = None
        self._lost = False
        self._keep_alive = False
        self._head: asyncio.Future[None] | None = None
        self._news: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._headed = False
        self._framed = False
        self._glued = False
        self._complete = True
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False

    # -- what the pool asks

    def is_reusable(self) -> bool:
        """Say whether another request may go out here."""
        fit = self._complete and self._keep_alive and not self._glued
        return fit and not self._lost and self._error is None

    def is_alive(self, *, look: bool) -> bool:
        """Say whether the peer has kept its end open while nobody spoke.

        Args:
            look: ask the system, which may know of an end that the loop was not told of yet.
        """
        transport = self._transport
        if self._lost or transport is None or transport.is_closing():
            return False
        if not look:
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    def abort(self) -> None:
        """Drop the connection; whoever reads from it learns that it is gone."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    # -- one exchange

    async def exchange(self, data: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Send a request; give status and headers of the answer.

        Raises:
            httpx.TransportError: the connection broke, or what came is not HTTP.
        """
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._head_bytes = [], 0
        self._headed = self._framed = self._complete = self._keep_alive = self._glued = False
        self._error = None
        if self._lost or self._transport is None:
            raise httpx.WriteError("the connection is gone")
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        await self._head
        return self._status, self._headers

    def whole(self, max_bytes: int) -> bytes | None:
        """Give the body if all of it has come, whole, and is no larger than that; else None."""
        here = self._complete and self._error is None and not self._paused
        if not here or self._buffered > max_bytes:
            return None
        body = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                if self._paused and self._transport is not None and not self._lost:
                    self._paused = False
                    self._transport.resume_reading()
                yield chunk
            if self._error is not None:
                raise self._error
            if self._complete:
                return
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    # -- what the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; bytes that nobody asked for end the connection."""
        if self._complete:
            self._keep_alive = False
            self.abort()
            return
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What follows a whole answer makes the connection unfit, not the answer.
            self._keep_alive = False
            if not self._complete:
                self._fail(httpx.RemoteProtocolError("the answer is not HTTP"))
        if not self._headed and self._head_bytes > HEAD_MAX_BYTES:
            self._fail(httpx.RemoteProtocolError("the head of the answer is too large"))
        if self._buffered > BUFFER_MAX_BYTES and not self._paused and not self._lost:
            assert self._transport is not None  # noqa: S101 - data came over it
            self._paused = True
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        """Close our end too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer without a length ends here; any other breaks off."""
        self._lost = True
        if self._complete:
            return
        if self._headed and not self._framed and exc is None:
            self._complete = True
        elif exc is not None:
            self._error = self._error or httpx.ReadError("the connection was lost")
        else:
            self._error = self._error or httpx.RemoteProtocolError(
                "the peer closed the connection before the end of its answer"
            )
        self._tell()

    # -- what the parser tells

    def on_message_begin(self) -> None:
        """An answer that nobody asked for, glued to the one that was: it is not looked at."""
        self._glued = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._glued:
            return
        self._headers.append((name, value))
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_headers_complete(self) -> None:
        """The head is there, unless it is one of those that announce another."""
        if self._glued:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._headers, self._framed = [], False
            return
        self._status = status
        self._headed = True
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._glued:
            return
        self._chunks.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._headed:
            self._complete = True

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._keep_alive = False
        self.abort()

    def _tell(self) -> None:
        """Wake whoever waits for the head or for more of the body."""
        head, news = self._head, self._news
        if head is not None and not head.done():
            if self._headed:
                head.set_result(None)
            elif self._error is not None:
                head.set_exception(self._error)
        if news is not None and not news.done():
            news.set_result(None)
