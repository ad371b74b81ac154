"""Answers that no HTTP server would send: written to the connection itself, past the server."""

from __future__ import annotations

import asyncio
import http
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Where the connection is found in an ASGI scope's extensions.
EXTENSION = "largesse.sandbox.wire"

#: With it, closing a socket sends RST in place of FIN. ``struct linger {on, seconds}``.
_LINGER_RST = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer: status, pairs of header name and value, body."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json;charset=utf-8"),)

    def raw(self) -> bytes:
        """The whole answer as bytes, its length declared."""
        return self.raw_head((("content-length", str(len(self.body))),)) + self.body

    def raw_head(self, more: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Status line and headers, with the empty line."""
        phrase = http.HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, *more)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def send(self, send: Send) -> None:
        """Send it through the server, as HTTP should be."""
        headers = [(name.encode(), value.encode("latin-1")) for name, value in self.headers]
        if self.status != 204:
            headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class WireProtocol(H11Protocol):
    """uvicorn's protocol, which also hands the connection to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the application for this one connection."""
        super().connection_made(transport)
        inner: Callable[..., Awaitable[None]] = self.app

        async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[EXTENSION] = transport
            await inner(scope, receive, send)

        self.app = app


class Wire:
    """One connection, taken from the server; after its use it is closed, never reused.

    Raises:
        KeyError: when the application is not served by ``WireProtocol``.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._transport: asyncio.Transport = scope["extensions"][EXTENSION]
        self._receive = receive

    async def reset(self) -> None:
        """Send RST; what was written and not yet sent is dropped."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
        self._transport.abort()
        await self._gone(None)

    async def close(self) -> None:
        """Send what was written, then FIN."""
        self._transport.close()
        await self._gone(None)

    def write(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self._transport.write(data)

    async def drip(self, data: bytes, *, size: int, every_s: float) -> None:
        """Write ``size`` bytes at a time until all is sent or the client is gone; then close."""
        for at in range(0, len(data), max(1, size)):
            self._transport.write(data[at : at + max(1, size)])
            if await self._gone(every_s):
                return
        await self.close()

    async def repeat(self, data: bytes, *, every_s: float) -> None:
        """Write the same bytes again and again until the client is gone."""
        while not await self._gone(every_s):
            # A client that does not read must not fill our memory.
            if self._transport.get_write_buffer_size() < 2**20:
                self._transport.write(data)

    async def silence(self, for_s: float) -> None:
        """Write nothing until the time is over or the client is gone; then close."""
        if not await self._gone(for_s):
            await self.close()

    async def abort(self) -> None:
        """End it at once, without an answer."""
        self._transport.abort()
        await self._gone(None)

    async def _gone(self, within_s: float | None) -> bool:
        try:
            async with asyncio.timeout(within_s):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True
