"""The transport by itself, over real TCP: connections are kept, and dropped when they must be."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from rig.stopwatch import Stopwatch

from worker.api.connection import BUFFER_MAX_BYTES, HEAD_MAX_BYTES
from worker.api.transport import PooledTransport

pytestmark = pytest.mark.usefixtures("each_loop")

OK = b'{"a": 1}'


def transport(**settings: Any) -> PooledTransport:
    """A transport with short limits."""
    options = {
        "ssl_context": ssl.create_default_context(),
        "connect_timeout_s": 2.0,
        "keepalive_s": 5.0,
        **settings,
    }
    return PooledTransport(**options)


async def exchange(carrier: PooledTransport, origin: str, body: bytes = b"x=1") -> bytes:
    """Send one request and read all of its answer."""
    request = httpx.Request("POST", f"{origin}/path", content=body)
    response = await carrier.handle_async_request(request)
    try:
        return b"".join([chunk async for chunk in response.aiter_raw()])
    finally:
        await response.aclose()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario that must end in time."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


async def answer_all(peer: Any) -> None:
    """Answer every request of a connection."""
    while True:
        await peer.read_request()
        await peer.answer(200, OK)


def test_transport_keeps_one_connection_for_calls_in_turn(serve: Any) -> None:
    """Ten calls, one after the other, go over one connection."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            carrier = transport()
            for _ in range(10):
                assert await exchange(carrier, server.origin) == OK
            assert len(server.peers) == 1
            assert len(server.requests) == 10
            await carrier.aclose()

    run(scenario)


def test_transport_opens_as_many_connections_as_calls_at_once(serve: Any) -> None:
    """Fifty calls at once need fifty connections, and fifty more use the same."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            carrier = transport()
            for _ in range(2):
                calls = [exchange(carrier, server.origin) for _ in range(50)]
                assert await asyncio.gather(*calls) == [OK] * 50
            assert len(server.peers) <= 50
            await carrier.aclose()

    run(scenario)


def test_transport_keeps_origins_apart(serve: Any) -> None:
    """A connection to one server never carries a request for another."""

    async def scenario() -> None:
        async with serve(answer_all) as one, serve(answer_all) as other:
            carrier = transport()
            for server in (one, other, one, other):
                await exchange(carrier, server.origin)
            assert [len(one.requests), len(other.requests)] == [2, 2]
            await carrier.aclose()

    run(scenario)


def test_transport_drops_idle_connections_by_age(serve: Any) -> None:
    """A connection that was idle for too long is not used again."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            carrier = transport(keepalive_s=0.0)
            await exchange(carrier, server.origin)
            await asyncio.sleep(0.01)
            await exchange(carrier, server.origin)
            assert len(server.peers) == 2
            await carrier.aclose()

    run(scenario)


def test_transport_notices_that_the_peer_hung_up_meanwhile(serve: Any) -> None:
    """A connection that the server closed while idle costs no failed call."""

    async def once(peer: Any) -> None:
        await peer.read_request()
        await peer.answer(200, OK)

    async def scenario() -> None:
        async with serve(once) as server:
            carrier = transport()
            for _ in range(3):
                assert await exchange(carrier, server.origin) == OK
                await asyncio.sleep(0.05)
            assert len(server.peers) == 3
            await carrier.aclose()

    run(scenario)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        ("Connection: close", False),
        ("Connection: keep-alive", True),
    ],
)
def test_transport_does_as_the_peer_says_of_the_connection(
    serve: Any, head: str, kept: bool
) -> None:
    """After `Connection: close` the next call opens a new connection."""

    async def polite(peer: Any) -> None:
        while True:
            await peer.read_request()
            await peer.answer(200, OK, head)

    async def scenario() -> None:
        async with serve(polite) as server:
            carrier = transport()
            await exchange(carrier, server.origin)
            await exchange(carrier, server.origin)
            assert len(server.peers) == (1 if kept else 2)
            await carrier.aclose()

    run(scenario)


def test_transport_never_takes_leftover_bytes_for_the_next_answer(serve: Any) -> None:
    """An answer with a second one glued to it gives the first, and the connection is dropped."""
    glued = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async def doubled(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + OK + glued)
        await peer.read_request()
        await peer.answer(200, b"never")

    async def scenario() -> None:
        async with serve(doubled) as first, serve(answer_all) as _:
            carrier = transport()
            assert await exchange(carrier, first.origin) == OK
            request = httpx.Request("POST", f"{first.origin}/path", content=b"")
            response = await carrier.handle_async_request(request)
            assert b"evil" not in b"".join([one async for one in response.aiter_raw()])
            assert len(first.peers) == 2
            await response.aclose()
            await carrier.aclose()

    run(scenario)


def test_transport_reads_bodies_that_end_with_the_connection(serve: Any) -> None:
    """A body without a length ends where the peer closes in order."""

    async def unframed(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + OK)
        peer.writer.close()

    async def scenario() -> None:
        async with serve(unframed) as server:
            carrier = transport()
            assert await exchange(carrier, server.origin) == OK
            await carrier.aclose()

    run(scenario)


def test_transport_passes_over_interim_answers(serve: Any) -> None:
    """A 100 and a 103 announce the answer; they are not the answer."""

    async def early(peer: Any) -> None:
        await peer.read_request()
        hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        await peer.send(hints)
        await peer.answer(201, OK)

    async def scenario() -> None:
        async with serve(early) as server:
            carrier = transport()
            request = httpx.Request("POST", f"{server.origin}/path", content=b"")
            response = await carrier.handle_async_request(request)
            assert response.status_code == 201
            assert "link" not in response.headers
            assert b"".join([one async for one in response.aiter_raw()]) == OK
            await response.aclose()
            await carrier.aclose()

    run(scenario)


def test_transport_refuses_a_head_without_end(serve: Any) -> None:
    """Headers that never stop are cut at their bound."""

    async def endless(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        for place in range(HEAD_MAX_BYTES // 64 + 200):
            await peer.send(b"X-%08d: %s\r\n" % (place, b"a" * 100))

    async def scenario() -> None:
        async with serve(endless) as server:
            carrier = transport()
            with pytest.raises(httpx.RemoteProtocolError):
                await exchange(carrier, server.origin)
            await carrier.aclose()

    run(scenario)


def test_transport_slows_down_a_peer_that_sends_too_fast(serve: Any) -> None:
    """A body that nobody reads does not fill the memory: the peer has to wait."""
    whole = b"a" * (BUFFER_MAX_BYTES * 16)

    async def fast(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))
        await peer.send(whole)

    async def scenario() -> None:
        async with serve(fast) as server:
            carrier = transport()
            request = httpx.Request("POST", f"{server.origin}/path", content=b"")
            response = await carrier.handle_async_request(request)
            await asyncio.sleep(0.2)
            stream: Any = response.stream
            assert stream._connection._buffered < len(whole) // 2
            assert b"".join([one async for one in response.aiter_raw()]) == whole
            await response.aclose()
            await carrier.aclose()

    run(scenario)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nX-Evil: 1"), ("X-A", "a\nb"), ("X-A", "a\x00b"), ("X-A: 1\r\nX-B", "2"),
        ("X-Evil: 1", "2"), ("X A", "1"), ("", "1"),
    ],
)  # fmt: skip
def test_transport_sends_nothing_that_breaks_out_of_a_header(
    serve: Any, name: str, value: str
) -> None:
    """A line break in a header, or a name that is none, is refused before anything is written."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            carrier = transport()
            request = httpx.Request("POST", server.origin, headers={name: value})
            with pytest.raises(httpx.LocalProtocolError):
                await carrier.handle_async_request(request)
            assert server.requests == []
            await carrier.aclose()

    run(scenario)


def test_transport_drops_the_connection_of_a_call_that_was_cut(serve: Any) -> None:
    """After a cancelled call the late answer reaches nobody."""
    heard = asyncio.Event()

    async def slow(peer: Any) -> None:
        while True:
            await peer.read_request()
            heard.set()
            await asyncio.sleep(0.2)
            await peer.answer(200, b"late")

    async def scenario() -> None:
        async with serve(slow) as server:
            carrier = transport()
            call = asyncio.create_task(exchange(carrier, server.origin))
            await heard.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await exchange(carrier, server.origin) == b"late"
            assert len(server.peers) == 2
            assert not carrier._busy
            await carrier.aclose()

    run(scenario)


def test_transport_does_not_wait_for_a_dead_address(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a host's addresses the one that answers is taken, though another one comes first."""

    async def scenario() -> None:
        async with serve(answer_all) as server, _silent_port() as dead:
            port = int(server.origin.rsplit(":", 1)[1])

            async def both(resolver: Any, name: str, port: int) -> list[Any]:
                kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                return [(*kind, ("127.0.0.1", dead)), (*kind, ("127.0.0.1", port))]

            monkeypatch.setattr("worker.api.transport.Resolver.find", both)
            carrier = transport()
            started = Stopwatch()
            assert await exchange(carrier, f"http://two.example:{port}") == OK
            assert started.own_s < 1.5
            await carrier.aclose()

    run(scenario)


@asynccontextmanager
async def _silent_port() -> AsyncIterator[int]:
    """A port whose queue of connections is full: nobody there answers, nobody refuses."""
    with socket.socket() as listening, ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        await asyncio.sleep(0.05)
        yield listening.getsockname()[1]
