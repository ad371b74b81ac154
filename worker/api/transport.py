"""The transport under the httpx client: HTTP/1.1 on asyncio, with httptools' parser.

httpx's own transport walks through its whole pool for every request; here a connection is taken
from the end of a list and put back there. One request, one answer, no pipelining, no redirects, no
retries: whatever goes wrong is told by the exceptions of httpx, and the connection is dropped.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator
from typing import Final

import httpx
from aiohappyeyeballs import start_connection

from worker.api.connection import Connection
from worker.api.raw_headers import RawHeaders
from worker.api.resolver import Resolver

__all__ = ["Body", "PooledTransport"]

#: Seconds of idleness after which a connection is looked at before it is used again.
LOOK_AFTER_S: Final = 0.5
#: Seconds between the tries of two addresses of one host.
NEXT_ADDRESS_S: Final = 0.25

_STARTED: Final = "http11.send_request_headers.started"
_HEADERS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*\Z")

Origin = tuple[bytes, bytes, int]


class PooledTransport(httpx.AsyncBaseTransport):
    """Carries requests over kept connections.

    Args:
        ssl_context: what TLS connections are verified by.
        connect_timeout_s: seconds to connect, with the lookup of the name and TLS.
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
        self._resolver = Resolver()
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the head of its answer.

        Raises:
            httpx.TransportError: one of its leaves.
        """
        stream = request.stream
        whole = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        data = _serialize(request, whole)
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
        body = Body(self, origin, connection)
        return httpx.Response(status, headers=RawHeaders(headers), stream=body, request=request)

    async def aclose(self) -> None:
        """Close every connection; answers under way break off."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        for connection in list(self._busy):
            connection.abort()

    def put_back(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; drop any other."""
        if connection.is_reusable():
            self._busy.discard(connection)
            connection.idle_since = time.monotonic()
            self._idle.setdefault(origin, []).append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.abort()

    def _take(self, origin: Origin) -> Connection | None:
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

    async def _connect(self, origin: Origin) -> Connection:
        scheme, host, port = origin
        name = host.decode("ascii")
        secure = scheme == b"https"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                addresses = await self._resolver.find(name, port)
                try:
                    # The first of them that answers.
                    sock = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
                except BaseException:
                    self._resolver.forget(name, port)
                    raise
                _, connection = await loop.create_connection(
                    Connection,
                    sock=sock,
                    ssl=self._ssl_context if secure else None,
                    server_hostname=name if secure else None,
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


class Body(httpx.AsyncByteStream):
    """The body of an answer; its connection goes back to the pool once it was read to its end."""

    def __init__(self, transport: PooledTransport, origin: Origin, connection: Connection) -> None:
        self._transport = transport
        self._origin = origin
        self._connection: Connection | None = connection

    def at_hand(self, max_bytes: int) -> bytes | None:
        """Give the whole body if it is here already and no larger than that, else None."""
        return None if self._connection is None else self._connection.whole(max_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            async for chunk in self._connection.chunks():
                yield chunk

    async def aclose(self) -> None:
        """Give the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport.put_back(self._origin, connection)


def _origin_of(url: httpx.URL) -> Origin:
    scheme = url.raw_scheme
    if scheme not in {b"http", b"https"}:
        raise httpx.UnsupportedProtocol("neither http nor https")
    if not url.raw_host:
        raise httpx.UnsupportedProtocol("no host")
    return scheme, url.raw_host, url.port or (443 if scheme == b"https" else 80)


def _serialize(request: httpx.Request, body: bytes) -> bytes:
    """Write a request down; nothing that could break out of a header gets through."""
    raw = request.headers.raw
    headers = b"".join([b"%s: %s\r\n" % header for header in raw])
    # Each header is one line of the pattern's, so none of them holds the end of a line, and its
    # name ends where the line's does.
    whole = _HEADERS.match(headers) is not None and headers.count(b"\r\n") == len(raw)
    if not whole or any(b":" in name for name, _ in raw):
        raise httpx.LocalProtocolError("a header cannot be sent")
    target = request.url.raw_path
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (
        request.method.encode("ascii"), target, headers, body,
    )  # fmt: skip
