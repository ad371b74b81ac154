"""Servers that misbehave, over real TCP: every attempt ends in time and in the right class."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from worker.api.client import ApiClient
from worker.errors import (
    AmbiguousError,
    ApiError,
    NotSentError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)

pytestmark = pytest.mark.usefixtures("each_loop")

KEY = "test_key"
# Long enough that a busy machine still connects and sends within it.
DEADLINE_S = 2.0
CAP = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PAGE = b'{"hosted_page": {"id": "p", "url": "https://a.example/p"}}'

Behaviour = Callable[[Any], Awaitable[None]]


async def attempt(origin_request: Any, client: ApiClient) -> ApiError:
    """Make one attempt that must fail, and return its error."""
    with pytest.raises(ApiError) as caught:
        await client.call(origin_request, api_key=KEY)
    assert caught.value.__context__ is None
    return caught.value


def failure_of(serve: Any, behaviour: Behaviour, **settings: Any) -> tuple[ApiError, float]:
    """Return the error of an attempt at a server that behaves so, and the seconds it took.

    Afterwards the same client, with room for one connection only, reaches a good server: nothing
    of the failed attempt is left in its pool.
    """

    async def good(peer: Any) -> None:
        await peer.read_request()
        await peer.answer(200, PAGE)

    async def scenario() -> tuple[ApiError, float]:
        options = {"attempt_timeout_s": 10.0, "max_connections": 1, **settings}
        client = ApiClient(**options)
        async with serve(behaviour) as server, serve(good) as other:
            started = time.monotonic()
            error = await attempt(server.request(), client)
            took_s = time.monotonic() - started
            assert (await client.call(other.request(), api_key=KEY)).status == 200
            assert len(server.peers) <= 1, "one call is one attempt"
        await client.aclose()
        return error, took_s

    async def bounded() -> tuple[ApiError, float]:
        async with asyncio.timeout(20):
            return await scenario()

    return asyncio.run(bounded())


async def stay_silent(peer: Any) -> None:
    """Read the request and never answer."""
    await peer.read_request()
    await asyncio.sleep(60)


async def read_nothing(peer: Any) -> None:
    """Accept the connection and do nothing at all."""
    await asyncio.sleep(60)


async def drip_the_head(peer: Any) -> None:
    """Send the head of the answer a byte at a time."""
    await peer.read_request()
    for byte in HEAD + b"X: " + b"y" * 10_000:
        await peer.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def drip_the_body(peer: Any) -> None:
    """Send the body a byte at a time."""
    await peer.read_request()
    await peer.send(HEAD + b"Content-Length: 10000\r\n\r\n")
    for _ in range(10_000):
        await peer.send(b" ")
        await asyncio.sleep(0.02)


async def drip_chunks(peer: Any) -> None:
    """Send small chunks for ever."""
    await peer.read_request()
    await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.send(b"1\r\n \r\n")
        await asyncio.sleep(0.02)


async def stop_in_the_body(peer: Any) -> None:
    """Send half of the body, then nothing more."""
    await peer.read_request()
    await peer.send(HEAD + b"Content-Length: 100\r\n\r\n{")
    await asyncio.sleep(60)


async def continue_for_ever(peer: Any) -> None:
    """Say `100 Continue` again and again."""
    await peer.read_request()
    while True:
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "behaviour",
    [
        *(stay_silent, read_nothing, drip_the_head, drip_the_body, drip_chunks),
        *(stop_in_the_body, continue_for_ever),
    ],
    ids=lambda behaviour: behaviour.__name__,
)
def test_attempt_ends_at_its_deadline(serve: Any, behaviour: Behaviour) -> None:
    """Whatever trickles in, the attempt ends at its deadline, and its outcome is unknown."""
    error, took_s = failure_of(serve, behaviour, attempt_timeout_s=DEADLINE_S)
    assert type(error) is AmbiguousError
    assert (error.reason, error.status) == ("deadline", None)
    assert DEADLINE_S - 0.05 <= took_s <= DEADLINE_S + 5


async def endless_body(peer: Any) -> None:
    """Send a body without end, as fast as it goes."""
    await peer.read_request()
    await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


async def ten_megabytes(peer: Any) -> None:
    """Send 10 MiB of valid JSON with its length."""
    await peer.read_request()
    await peer.answer(200, PAGE[:-1] + b" " * (10 << 20) + b"}")


async def until_closed(peer: Any) -> None:
    """Send 2 MiB without a length and close."""
    await peer.read_request()
    await peer.send(HEAD + b"\r\n" + b" " * (2 << 20))


async def packed_bomb(peer: Any) -> None:
    """Send 200 MiB of blanks packed into some 200 KiB."""
    await peer.read_request()
    await peer.answer(200, BOMB, "Content-Encoding: gzip")


BOMB = gzip.compress(b" " * (200 << 20), compresslevel=9)


@pytest.mark.parametrize(
    "behaviour",
    [endless_body, ten_megabytes, until_closed, packed_bomb],
    ids=lambda behaviour: behaviour.__name__,
)
def test_body_is_read_up_to_its_cap(serve: Any, behaviour: Behaviour) -> None:
    """No more than the cap is read or unpacked; a 2xx that large is unknown."""
    assert len(BOMB) < CAP
    error, took_s = failure_of(serve, behaviour, attempt_timeout_s=10)
    assert type(error) is AmbiguousError
    assert (error.reason, error.status) == ("answer_too_large", 200)
    assert took_s < 3


def test_body_of_the_cap_is_read(serve: Any) -> None:
    """A body of exactly the cap is still an answer; one byte more is not."""
    body = b'{"a": 1}'

    async def answer(peer: Any) -> None:
        while True:
            await peer.read_request()
            await peer.answer(200, body)

    async def scenario() -> None:
        async with serve(answer) as server:
            enough = ApiClient(max_body_bytes=len(body))
            assert (await enough.call(server.request(), api_key=KEY)).body == {"a": 1}
            await enough.aclose()
            short = ApiClient(max_body_bytes=len(body) - 1)
            assert (await attempt(server.request(), short)).reason == "answer_too_large"
            await short.aclose()

    asyncio.run(scenario())


def answering(status: int, body: bytes, *headers: str) -> Behaviour:
    """Return a server that reads the request and answers so."""

    async def behaviour(peer: Any) -> None:
        await peer.read_request()
        await peer.answer(status, body, *headers)

    return behaviour


def sending(data: bytes) -> Behaviour:
    """Return a server that reads the request, sends these bytes and closes."""

    async def behaviour(peer: Any) -> None:
        await peer.read_request()
        await peer.send(data)

    return behaviour


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(200, b"<html><h1>Sign in to the network</h1></html>", "Content-Type: text/html"),
        answering(200, PAGE[:-10]),
        answering(200, b""),
        answering(200, b"[]"),
        answering(200, b"null"),
        answering(200, b'{"a": 1, "a": 2}'),
        answering(200, b'{"name": "\xe9"}', "Content-Type: application/json; charset=latin-1"),
        answering(200, PAGE.decode().encode("utf-16")),
        answering(200, b"\xff\xfe\x00garbage\x00"),
        answering(200, b'{"a": 1e400}'),
        answering(200, PAGE, "Content-Encoding: br"),
        answering(200, PAGE, "Content-Encoding: gzip"),
        sending(b"HTTP/1.1 204 No Content\r\n\r\n"),
        sending(HEAD + b"Content-Length: 100\r\n\r\n" + PAGE),
        sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3a\r\n" + PAGE),
        sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        sending(b""),
        sending(b"HTTP/1.1 2"),
        sending(b"HTTP/1.1 200"),
        sending(b"SSH-2.0-OpenSSH_9.0\r\n"),
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
        sending(b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n{}"),
        sending(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n{}"),
        sending(b"\x16\x03\x01\x02\x00\x01\x00"),
        sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        sending(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_garbage_is_ambiguous(serve: Any, behaviour: Behaviour) -> None:
    """A success that cannot be read, or no HTTP at all, may have been executed."""
    error, _ = failure_of(serve, behaviour)
    assert type(error) is AmbiguousError


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"hosted_page": {"id": "p", "url": null}}', b'{"hosted_page": {"id": 5}}'],
)
def test_object_of_no_use_is_left_to_the_reader(serve: Any, body: bytes) -> None:
    """A JSON object is an answer to the client; whether a page is in it, the operation says."""

    async def scenario() -> None:
        async with serve(answering(200, body)) as server:
            client = ApiClient()
            answer = await client.call(server.request(), api_key=KEY)
            assert isinstance(answer.body, dict)
            await client.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, ThrottledError), (503, UnavailableError), (400, RejectedError), (502, AmbiguousError)],
)
def test_status_of_a_torn_error_is_enough(serve: Any, status: int, kind: type[ApiError]) -> None:
    """When the body of an error drips, tears or bursts the cap, its status still says enough."""
    head = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\n".encode()

    async def drip(peer: Any) -> None:
        await peer.read_request()
        await peer.send(head + b"Content-Length: 100\r\n\r\n")
        for _ in itertools.count():
            await peer.send(b" ")
            await asyncio.sleep(0.02)

    torn = sending(head + b"Content-Length: 100\r\n\r\n{")
    burst = sending(head + b"Content-Length: 3000000\r\n\r\n" + b" " * 3_000_000)
    for behaviour, timeout_s in ((drip, DEADLINE_S), (torn, 10.0), (burst, 10.0)):
        error, _ = failure_of(serve, behaviour, attempt_timeout_s=timeout_s)
        assert type(error) is kind
        assert (error.status, error.retry_after_s) == (status, 7.0)


async def reset_before_reading(peer: Any) -> None:
    """Reset the connection as soon as it is there."""
    peer.reset()


async def reset_after_reading(peer: Any) -> None:
    """Read the request, then reset the connection."""
    await peer.read_request()
    peer.reset()


async def reset_in_the_body(peer: Any) -> None:
    """Send the head and half of the body, then reset the connection."""
    await peer.read_request()
    await peer.send(HEAD + b"Content-Length: 100\r\n\r\n{")
    await asyncio.sleep(0.05)
    peer.reset()


@pytest.mark.parametrize(
    "behaviour",
    [reset_before_reading, reset_after_reading, reset_in_the_body],
    ids=lambda behaviour: behaviour.__name__,
)
def test_reset_after_connecting_is_ambiguous(serve: Any, behaviour: Behaviour) -> None:
    """Once the request began to be written, a lost connection leaves its outcome unknown."""
    error, _ = failure_of(serve, behaviour)
    assert type(error) is AmbiguousError
    assert error.reason in {"connection_lost", "protocol_error"}
    assert error.status is None


def test_kept_connection_that_dies_is_ambiguous(serve: Any) -> None:
    """A kept connection that the server drops while the next request is on its way is unknown."""

    async def one_then_drop(peer: Any) -> None:
        await peer.read_request()
        await peer.answer(200, PAGE)
        await peer.read_request()

    async def scenario() -> None:
        async with serve(one_then_drop) as server:
            client = ApiClient(attempt_timeout_s=5)
            await client.call(server.request(), api_key=KEY)
            error = await attempt(server.request(), client)
            assert type(error) is AmbiguousError
            assert len(server.peers) == 1
            await client.call(server.request(), api_key=KEY)
            assert len(server.peers) == 2
            await client.aclose()

    asyncio.run(scenario())


def test_kept_connection_that_was_closed_is_replaced(serve: Any) -> None:
    """A kept connection that is known to be closed is not used: a new one is made."""

    async def one_only(peer: Any) -> None:
        await peer.read_request()
        await peer.answer(200, PAGE)

    async def scenario() -> None:
        async with serve(one_only) as server:
            client = ApiClient()
            for expected in (1, 2, 3):
                await client.call(server.request(), api_key=KEY)
                await asyncio.sleep(0.05)
                assert len(server.peers) == expected
            await client.aclose()

    asyncio.run(scenario())


def test_port_that_nobody_listens_on_is_not_sent(free_port: int) -> None:
    """A refused connection means that nothing was sent."""

    async def scenario() -> None:
        from worker.api import ApiRequest

        client = ApiClient()
        request = ApiRequest("POST", f"http://127.0.0.1:{free_port}/x", (), b"")
        error = await attempt(request, client)
        assert (type(error), error.reason) == (NotSentError, "connect")
        await client.aclose()

    asyncio.run(scenario())


def test_deadline_while_waiting_for_a_connection_is_not_sent(serve: Any) -> None:
    """An attempt that never got a connection of the pool was not sent."""

    async def scenario() -> None:
        async with serve(stay_silent) as server:
            client = ApiClient(attempt_timeout_s=DEADLINE_S, max_connections=1)
            first = asyncio.create_task(attempt(server.request(), client))
            while not server.peers:
                await asyncio.sleep(0)
            client._attempt_timeout_s = DEADLINE_S / 4  # over before the first one gives way
            second = await attempt(server.request(), client)
            assert (type(await first), type(second)) == (AmbiguousError, NotSentError)
            assert len(server.peers) == 1
            await client.aclose()

    asyncio.run(scenario())


def test_many_failed_attempts_leave_the_pool_whole(serve: Any) -> None:
    """After a burst of cut attempts every connection of the pool can be used again."""

    async def moody(peer: Any) -> None:
        while True:
            request = await peer.read_request()
            if b"bad" in request:
                await asyncio.sleep(60)
            await peer.answer(200, PAGE)

    async def scenario() -> None:
        async with serve(moody) as server:
            client = ApiClient(attempt_timeout_s=0.2, max_connections=8)
            for _ in range(3):
                bad = [attempt(server.request(b"bad"), client) for _ in range(30)]
                await asyncio.gather(*bad)
            good = [client.call(server.request(b"good"), api_key=KEY) for _ in range(16)]
            assert [answer.status for answer in await asyncio.gather(*good)] == [200] * 16
            await client.aclose()

    asyncio.run(scenario())
