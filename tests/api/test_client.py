"""The client when all is well: one attempt, one connection, nothing of its own added."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import Any

import httpx
import pytest

from worker.api import ApiRequest
from worker.api.client import ApiClient
from worker.errors import NotSentError, RejectedError

pytestmark = pytest.mark.usefixtures("each_loop")

KEY = "test_canaryKey0123456789"
OK = b'{"ok": true}'


def run(coroutine: Any) -> Any:
    """Run a test's coroutine, with a bound of its own."""

    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


async def answer_all(peer: Any) -> None:
    """Answer every request on a connection."""
    while True:
        await peer.read_request()
        await peer.answer(200, OK)


def test_client_sends_the_request_and_the_key(serve: Any) -> None:
    """The request arrives as it was built, with the key as Basic user and nothing else added."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            client = ApiClient()
            answer = await client.call(server.request(b"x=1"), api_key=KEY)
            await client.aclose()
            assert (answer.status, answer.body, answer.replayed) == (200, {"ok": True}, False)
            assert 0 <= answer.elapsed_ms < 5_000
            (request,) = server.requests
            head, body = request.split(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            assert lines[0] == "POST /api/v2/test HTTP/1.1"
            headers = dict(line.split(": ", 1) for line in lines[1:])
            assert base64.b64decode(headers.pop("Authorization").removeprefix("Basic ")) == (
                f"{KEY}:".encode()
            )
            assert headers == {
                "Host": server.origin.removeprefix("http://"),
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Test": "1",
                "Content-Length": "3",
            }
            assert body == b"x=1"

    run(scenario())


def test_empty_body_says_its_length(serve: Any) -> None:
    """A POST without a body says so, as the SDK's does."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            client = ApiClient()
            await client.call(server.request(b""), api_key=KEY)
            await client.aclose()
            assert b"content-length: 0\r\n" in server.requests[0].lower()

    run(scenario())


def test_connection_is_used_again(serve: Any) -> None:
    """Calls one after another share a connection; calls at once have one each, and no more."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            client = ApiClient(max_connections=5)
            for _ in range(20):
                await client.call(server.request(), api_key=KEY)
            assert len(server.peers) == 1
            calls = [client.call(server.request(), api_key=KEY) for _ in range(40)]
            await asyncio.gather(*calls)
            assert len(server.peers) == 5
            await client.aclose()

    run(scenario())


def test_error_answer_leaves_the_connection_usable(serve: Any) -> None:
    """A rejected request does not cost the connection."""

    async def handler(peer: Any) -> None:
        await peer.read_request()
        body = {"api_error_code": "param_wrong_value", "param": "layout", "message": "m"}
        await peer.answer(400, json.dumps(body).encode(), "Retry-After: 3")
        await answer_all(peer)

    async def scenario() -> None:
        async with serve(handler) as server:
            client = ApiClient()
            with pytest.raises(RejectedError) as caught:
                await client.call(server.request(), api_key=KEY)
            assert str(caught.value) == "http_status, status 400, param_wrong_value, param layout"
            assert caught.value.retry_after_s == 3.0
            await client.call(server.request(), api_key=KEY)
            await client.aclose()
            assert len(server.peers) == 1

    run(scenario())


def test_cookies_are_not_kept(serve: Any) -> None:
    """A cookie of one answer is not sent with the next request: attempts stay equal."""

    async def handler(peer: Any) -> None:
        while True:
            await peer.read_request()
            await peer.answer(200, OK, "Set-Cookie: a=b; Path=/")

    async def scenario() -> None:
        async with serve(handler) as server:
            client = ApiClient()
            for _ in range(2):
                await client.call(server.request(), api_key=KEY)
            await client.aclose()
            first, second = server.requests
            assert first == second
            assert b"cookie" not in second.lower()

    run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(serve: Any, status: int) -> None:
    """No request, and so no key, ever reaches the host that a redirect names."""

    async def scenario() -> None:
        async with serve(answer_all) as elsewhere:

            async def handler(peer: Any) -> None:
                await peer.read_request()
                await peer.answer(status, OK, f"Location: {elsewhere.origin}/api/v2/test")

            async with serve(handler) as server:
                client = ApiClient()
                with pytest.raises(Exception, match="redirected") as caught:
                    await client.call(server.request(), api_key=KEY)
                await client.aclose()
                assert type(caught.value).__name__ == "MisconfiguredError"
                assert len(server.requests) == 1
            assert elsewhere.peers == []

    run(scenario())


def test_environment_does_not_redirect_calls(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named by the environment gets neither the request nor the key."""

    async def scenario() -> None:
        async with serve(answer_all) as proxy, serve(answer_all) as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.origin)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            client = ApiClient()
            await client.call(server.request(), api_key=KEY)
            await client.aclose()
            assert len(server.requests) == 1
            assert proxy.peers == []

    run(scenario())


def test_key_is_nowhere_but_on_the_wire(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs of any level nor errors, their chains included, hold the key or the body."""
    caplog.set_level(logging.DEBUG)

    async def handler(peer: Any) -> None:
        await peer.read_request()
        peer.reset()

    async def scenario() -> None:
        async with serve(handler) as server:
            client = ApiClient()
            with pytest.raises(Exception, match="connection_lost") as caught:
                await client.call(server.request(b"canary-body"), api_key=KEY)
            await client.aclose()
            error = caught.value
            assert error.__cause__ is None
            assert error.__context__ is None
            encoded = base64.b64encode(f"{KEY}:".encode()).decode()
            shown = caplog.text + repr(error) + repr(error.__dict__) + repr(client.__dict__)
            for secret in (KEY, encoded, "canary-body"):
                assert secret not in shown

    run(scenario())


def test_closed_client_sends_nothing(serve: Any) -> None:
    """After closing, a call is an error of the program, and nothing leaves."""

    async def scenario() -> None:
        async with serve(answer_all) as server:
            client = ApiClient()
            await client.aclose()
            with pytest.raises(RuntimeError):
                await client.call(server.request(), api_key=KEY)
            assert server.peers == []

    run(scenario())


class Transport(httpx.AsyncBaseTransport):
    """A transport that fails as it is told, and may report when it starts to send."""

    def __init__(self, error: Exception | None, *, reports: bool, sends: bool) -> None:
        self.reports_sending = reports
        self._error = error
        self._sends = sends

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Fail, before or after the report."""
        if self._sends:
            await request.extensions["trace"]("http11.send_request_headers.started", {})
        if self._error is not None:
            raise self._error
        return httpx.Response(200, content=OK)


REQUEST = ApiRequest("POST", "http://api.example/x", (), b"")


@pytest.mark.parametrize(
    ("error", "reports", "sends", "kind", "reason"),
    [
        (httpx.ConnectError("x"), False, False, "NotSentError", "connect"),
        (httpx.ConnectTimeout("x"), False, False, "NotSentError", "connect_timeout"),
        (httpx.PoolTimeout("x"), False, False, "NotSentError", "pool_timeout"),
        (httpx.ReadError("x"), False, False, "AmbiguousError", "connection_lost"),
        (httpx.ReadError("x"), True, False, "NotSentError", "connect"),
        (httpx.ReadError("x"), True, True, "AmbiguousError", "connection_lost"),
        (httpx.WriteError("x"), True, True, "AmbiguousError", "connection_lost"),
        (httpx.ReadTimeout("x"), True, True, "AmbiguousError", "read_timeout"),
        (httpx.RemoteProtocolError("x"), True, True, "AmbiguousError", "protocol_error"),
        (httpx.LocalProtocolError("x"), True, True, "RejectedError", "unsendable_request"),
        (httpx.UnsupportedProtocol("x"), True, False, "MisconfiguredError", "invalid_url"),
        (httpx.InvalidURL("x"), True, False, "MisconfiguredError", "invalid_url"),
        (OSError("x"), True, False, "NotSentError", "connect"),
        (TimeoutError("x"), True, False, "NotSentError", "connect"),
        (TimeoutError("x"), True, True, "AmbiguousError", "broken_answer"),
        (ValueError("x"), True, True, "AmbiguousError", "broken_answer"),
    ],
)
def test_failure_means_what_the_transport_reports(
    error: Exception, reports: bool, sends: bool, kind: str, reason: str
) -> None:
    """Whether anything was sent decides; a transport that does not say counts as having sent."""

    async def scenario() -> None:
        client = ApiClient(transport=Transport(error, reports=reports, sends=sends))
        with pytest.raises(Exception, match=reason) as caught:
            await client.call(REQUEST, api_key=KEY)
        assert type(caught.value).__name__ == kind
        await client.aclose()

    run(scenario())


class Stalling(httpx.AsyncBaseTransport):
    """A transport that stalls for good, before or after it reports that it sends."""

    reports_sending = True

    def __init__(self, *, sends: bool) -> None:
        self._sends = sends

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Never answer."""
        if self._sends:
            await request.extensions["trace"]("http11.send_request_headers.started", {})
        await asyncio.sleep(60)
        raise AssertionError


@pytest.mark.parametrize(("sends", "kind"), [(False, "NotSentError"), (True, "AmbiguousError")])
def test_deadline_means_what_was_sent_by_then(sends: bool, kind: str) -> None:
    """A deadline while connecting is not sent; one after sending began is unknown."""

    async def scenario() -> None:
        client = ApiClient(transport=Stalling(sends=sends), attempt_timeout_s=0.1)
        with pytest.raises(Exception, match="deadline") as caught:
            await client.call(REQUEST, api_key=KEY)
        assert type(caught.value).__name__ == kind
        await client.aclose()

    run(scenario())


def test_fault_of_the_program_is_not_hidden() -> None:
    """A bug before anything was sent is no fault of the network: it is raised as it is."""

    async def scenario() -> None:
        client = ApiClient(transport=Transport(KeyError("x"), reports=True, sends=False))
        with pytest.raises(KeyError):
            await client.call(REQUEST, api_key=KEY)
        await client.aclose()

    run(scenario())


def test_transport_can_be_replaced() -> None:
    """Another transport carries the calls without a network."""

    async def scenario() -> None:
        client = ApiClient(transport=Transport(None, reports=False, sends=False))
        assert (await client.call(REQUEST, api_key=KEY)).body == {"ok": True}
        await client.aclose()

    run(scenario())


def test_cancelled_call_is_cancelled(serve: Any) -> None:
    """Cancelling a call, as a worker does at shutdown, is not turned into an error."""

    async def silent(peer: Any) -> None:
        await peer.read_request()
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with serve(silent) as server:
            client = ApiClient()
            call = asyncio.create_task(client.call(server.request(), api_key=KEY))
            while not server.requests:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await client.aclose()

    run(scenario())


def test_name_that_does_not_exist_is_not_sent() -> None:
    """A host without an address is a matter of DNS, and nothing was sent."""

    async def scenario() -> None:
        client = ApiClient()
        request = ApiRequest("POST", "https://acme.largesse.invalid/api/v2/x", (), b"")
        with pytest.raises(NotSentError) as caught:
            await client.call(request, api_key=KEY)
        assert caught.value.reason == "dns"
        await client.aclose()

    run(scenario())
