"""What the API tests share: vectors, sites, and servers on loopback that behave as told."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
import uvloop

from worker.api import ApiRequest
from worker.settings.site import Secret, Site

VECTORS = Path(__file__).parent.parent / "vectors"
Handler = Callable[["Peer"], Awaitable[None]]


@pytest.fixture(scope="session")
def vectors() -> dict[str, dict[str, Any]]:
    """All captured requests of the official SDK, by file name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}


@pytest.fixture
def site() -> Site:
    """The site of the vectors."""
    return Site(name="acme-test", api_key=Secret("env:NOT_READ"))


@dataclass
class Peer:
    """The server's end of one connection, with what it has read of it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes] = field(default_factory=list)

    async def read_request(self) -> bytes:
        """Read one request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        request = head + await self.reader.readexactly(length)
        self.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes, *headers: str) -> None:
        """Send a whole answer with its length."""
        lines = [f"HTTP/1.1 {status} Some Reason", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass
class Served:
    """A server that is up: its origin, and every connection made to it."""

    origin: str
    peers: list[Peer] = field(default_factory=list)

    @property
    def requests(self) -> list[bytes]:
        """Every request read, on any connection."""
        return [request for peer in self.peers for request in peer.requests]

    def request(self, body: bytes = b"a=b") -> ApiRequest:
        """Return a request to this server."""
        headers = (("Content-Type", "application/x-www-form-urlencoded"), ("X-Test", "1"))
        return ApiRequest("POST", f"{self.origin}/api/v2/test", headers, body)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test on asyncio's loop, as under `dramatiq`, then on uvloop's, as in our workers."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(scenario: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(scenario)

    monkeypatch.setattr(asyncio, "run", run)


@pytest.fixture
def serve() -> Serve:
    """A server on a free port, which a handler of the test answers for."""

    @asynccontextmanager
    async def served(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
        server = Served("")
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer)
            server.peers.append(peer)
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await handler(peer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()
                tasks.discard(task)

        listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        port = listening.sockets[0].getsockname()[1]
        server.origin = f"{'https' if tls else 'http'}://localhost:{port}"
        try:
            yield server
        finally:
            listening.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await listening.wait_closed()

    return served
