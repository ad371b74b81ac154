"""The transport under the httpx client: HTTP/1.1 on asyncio, with httptools' parser.

httpx's own transport walks through its whole pool for every request; here a connection is taken
from the end of a list and put back there. One request, one answer, no pipelining, no redirects, no
retries: whatever goes wrong is told by the exceptions of httpx, and the connection is dropped.
"""

from __future__ import annotations

import asyncio
import re
import select
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, cast

import httptools
import httpx

__all__ = ["PooledTransport"]

#: Bytes of an answer that wait to be read before the peer is told to slow down.
BUFFER_MAX_BYTES: Final = 256 * 1024
#: Bytes of status line and headers; an answer of the API has about one thousand.
HEAD_MAX_BYTES: Final = 64 * 1024
#: Seconds of idleness after which a connection is looked at before it is used again.
LOOK_AFTER_S: Final = 0.5
#: Seconds between the tries of two addresses of one host.
NEXT_ADDRESS_S: Final = 0.25

_STARTED: Final = "http11.send_request_headers.started"
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")

Origin = tuple[bytes, bytes, int]


class PooledTransport(httpx.AsyncBaseTransport):
    """Carries requests over kept connections.

    Args:
        ssl_context: what TLS connections are verified by.
        connect_timeout_s: seconds to connect, TLS included.
        keepalive_s: seconds that an idle connection is kept.
    """

    #: An attempt that ended before `send_request_headers.started` was not sent.
    reports_sending = True

    def __init__(
        self, *, ssl_context: ssl.SSLContext, connect_timeout_s: float, keepalive_s: float
    ) -> None:
        self._ssl_context = ssl_context
        self._connect_timeout_s = connect_timeout_s
        self._keepalive_s = keepalive_s
        self._idle: dict[Origin, list[_Connection]] = {}
        self._busy: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the head of its answer.

        Raises:
            httpx.TransportError: one of its leaves.
        """
        data = _serialize(request, await request.aread())
        origin = _origin_of(request.url)
        connection = self._take(origin) or await self._connect(origin)
        self._busy.add(connection)
        try:
            trace = request.extensions.get("trace")
            if trace is not None:
                await trace(_STARTED, {})
            status, headers = await connection.exchange(data)
        except BaseException:
            self._drop(connection)
            raise
        body = _Body(self, origin, connection)
        return httpx.Response(status, headers=headers, stream=body, request=request)

    async def aclose(self) -> None:
        """Close every connection; answers under way break off."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        for connection in list(self._busy):
            connection.abort()

    def put_back(self, origin: Origin, connection: _Connection) -> None:
        """Keep a connection whose answer was read to its end; drop any other."""
        if connection.is_reusable():
            self._busy.discard(connection)
            connection.idle_since = time.monotonic()
            self._idle.setdefault(origin, []).append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._busy.discard(connection)
        connection.abort()

    def _take(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin)
        now = time.monotonic()
        while idle:
            connection = idle.pop()
            if now - connection.idle_since > self._keepalive_s:
                # The others have been idle for longer: the list is in the order of their return.
                for other in (connection, *idle):
                    other.abort()
                idle.clear()
                return None
            if connection.is_alive(look=now - connection.idle_since > LOOK_AFTER_S):
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin) -> _Connection:
        scheme, host, port = origin
        name = host.decode("ascii")
        secure = scheme == b"https"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    _Connection,
                    name,
                    port,
                    ssl=self._ssl_context if secure else None,
                    server_hostname=name if secure else None,
                    **_next_address(loop),
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
            # A port that takes the connection and drops it: over TLS, that is in the handshake.
            cause = ssl.SSLError("the handshake broke off") if secure else error
            raise httpx.ConnectError("no connection") from cause
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError("no connection") from error
        return connection


class _Connection(asyncio.Protocol):
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


class _Body(httpx.AsyncByteStream):
    """The body of an answer; its connection goes back to the pool once it was read to its end."""

    def __init__(
        self, transport: PooledTransport, origin: Origin, connection: _Connection
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._connection: _Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            async for chunk in self._connection.chunks():
                yield chunk

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport.put_back(self._origin, connection)


def _next_address(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Try a host's next address soon, where the loop can: uvloop tries one after the other."""
    able = isinstance(loop, asyncio.BaseEventLoop)
    return {"happy_eyeballs_delay": NEXT_ADDRESS_S} if able else {}


def _origin_of(url: httpx.URL) -> Origin:
    scheme = url.raw_scheme
    if scheme not in {b"http", b"https"}:
        raise httpx.UnsupportedProtocol("neither http nor https")
    if not url.raw_host:
        raise httpx.UnsupportedProtocol("no host")
    return scheme, url.raw_host, url.port or (443 if scheme == b"https" else 80)


def _serialize(request: httpx.Request, body: bytes) -> bytes:
    """Write a request down; nothing that could break out of a header gets through."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if not _NAME.match(name) or not _VALUE.match(value):
            raise httpx.LocalProtocolError("a header cannot be sent")
        lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join((*lines, b"", body))
