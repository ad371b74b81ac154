"""One pooled client, one attempt per call. Only this module and what carries it know httpx.

What can go wrong falls in two: before the first byte of the request was handed to the network the
request was surely not sent (`NotSentError`); from then on it may have been executed, whatever
happens (`AmbiguousError`), unless an answer's status says otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

import httpx

from worker.api.answers import TELLING_HEADERS, ApiAnswer, RawAnswer, read_answer
from worker.api.raw_headers import RawHeaders
from worker.api.request import ApiRequest
from worker.api.transport import Body, PooledTransport
from worker.errors import (
    AmbiguousError,
    ApiError,
    MisconfiguredError,
    NotSentError,
    RejectedError,
)

#: Seconds to connect, and again to agree on TLS: a host that is up answers in well under one.
CONNECT_TIMEOUT_S: Final = 5.0

#: Seconds for the whole attempt, from asking for a connection to the last byte of the answer.
ATTEMPT_TIMEOUT_S: Final = 30.0

#: Bytes of a body, packed or unpacked; a hosted page takes less than a thousandth of it.
MAX_BODY_BYTES: Final = 1 << 20

#: Calls of one process at once, and with them its connections.
MAX_CONNECTIONS: Final = 100

#: Seconds an idle connection is kept: less than the 60 after which load balancers commonly close.
KEEPALIVE_S: Final = 30.0

#: Part of the attempt's time that must be left when its turn for a connection comes.
LEAST_PART: Final = 0.05

_SENDING = "send_request_headers.started"
_TELLING: Final = {name.encode("ascii"): name for name in TELLING_HEADERS}

# Errors of httpx before the request was sent. The rest of its errors are told by their cause.
_UNSENT: Final[tuple[tuple[type[Exception], str, type[ApiError]], ...]] = (
    (httpx.InvalidURL, "invalid_url", MisconfiguredError),
    (httpx.UnsupportedProtocol, "invalid_url", MisconfiguredError),
    (httpx.LocalProtocolError, "unsendable_request", RejectedError),
    (httpx.ConnectTimeout, "connect_timeout", NotSentError),
    (httpx.PoolTimeout, "pool_timeout", NotSentError),
)
_SENT: Final[tuple[tuple[type[Exception], str], ...]] = (
    (httpx.TimeoutException, "read_timeout"),
    (httpx.ReadError, "connection_lost"),
    (httpx.WriteError, "connection_lost"),
    (httpx.RemoteProtocolError, "protocol_error"),
)


class ApiClient:
    """Sends requests, each exactly once; made once per process and event loop.

    Redirects are not followed, cookies are not kept, proxies and `.netrc` of the environment are
    not used. TLS is verified against certifi's authorities, or `SSL_CERT_FILE`/`SSL_CERT_DIR`.

    Args:
        connect_timeout_s: seconds to connect, and again for TLS; half the attempt's at most.
        attempt_timeout_s: seconds for the whole attempt, whatever the server does.
        max_body_bytes: the most of a body that is read, and that it may unpack to.
        max_connections: connections in use or kept; give it the number of calls at once.
        ssl_context: trust of its own, for a private authority.
        transport: what carries the requests instead of our own pool. If it reports
            `send_request_headers.started` to the `trace` extension as httpcore does, and says so
            by an attribute `reports_sending = True`, an attempt that ends earlier counts as not
            sent; otherwise only its connect errors do.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        attempt_timeout_s: float = ATTEMPT_TIMEOUT_S,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int = MAX_CONNECTIONS,
        ssl_context: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._attempt_timeout_s = attempt_timeout_s
        self._max_body_bytes = max_body_bytes
        self._room = asyncio.Semaphore(max_connections)
        # Reading and writing have no timeout of their own: the attempt's deadline covers them.
        connect_s = min(connect_timeout_s, attempt_timeout_s / 2)
        carrier = transport or PooledTransport(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            connect_timeout_s=connect_s,
            keepalive_s=KEEPALIVE_S,
        )
        self._reports_sending = getattr(carrier, "reports_sending", False)
        timeout = httpx.Timeout(None, connect=connect_s)
        self._timeout = timeout.as_dict()
        self._http = _OneHop(carrier, timeout=timeout, trust_env=False)

    async def call(self, request: ApiRequest, *, api_key: str) -> ApiAnswer:
        """Send a request once and read its answer.

        Args:
            request: what to send.
            api_key: key of the site.

        Raises:
            ApiError: one of its leaves. It holds nothing of the request, the answer or the key.
        """
        started = time.monotonic()
        attempt = _Attempt(sent=not self._reports_sending)
        failure = await self._attempt(request, api_key, attempt)
        raw = attempt.answered(failure)
        if raw is None:
            raise failure or AmbiguousError("no_answer")
        elapsed_ms = round((time.monotonic() - started) * 1000)
        return read_answer(raw, elapsed_ms=elapsed_ms, max_body_bytes=self._max_body_bytes)

    async def aclose(self) -> None:
        """Close all connections; calls under way fail."""
        await self._http.aclose()

    async def _attempt(
        self, request: ApiRequest, api_key: str, attempt: _Attempt
    ) -> ApiError | None:
        """Send and receive into `attempt`; return what stopped it instead of raising it.

        An error that is raised by the caller has no chain to the exception of httpx, whose request
        holds the key.
        """
        started = time.monotonic()
        deadline = asyncio.timeout(self._attempt_timeout_s)
        try:
            # One scope from asking for room to the last byte: nothing can outlast it.
            async with deadline, self._room:
                # A request that could only be cut off again had better not go out.
                left = 1 - (time.monotonic() - started) / self._attempt_timeout_s
                if left < LEAST_PART:
                    return NotSentError("deadline")
                await self._exchange(request, api_key, attempt)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                return AmbiguousError("deadline") if attempt.sent else NotSentError("deadline")
            failure = attempt.failure(error)
            if failure is None:
                raise
            return failure
        return None

    async def _exchange(self, request: ApiRequest, api_key: str, attempt: _Attempt) -> None:
        url, host = _address(request.url)
        outgoing = httpx.Request(
            request.method,
            url,
            headers=RawHeaders(
                [
                    (b"Host", host),
                    *[
                        (name.encode("ascii"), text.encode("ascii"))
                        for name, text in request.headers
                    ],
                    (b"Content-Length", b"%d" % len(request.body)),
                    (b"Authorization", _basic(api_key)),
                ]
            ),
            stream=httpx.ByteStream(request.body),
            extensions={"trace": attempt.trace, "timeout": self._timeout},
        )
        response = await self._http.send(outgoing)
        attempt.sent = True
        attempt.status = response.status_code
        attempt.headers = _told(response)
        try:
            await self._receive(response, attempt)
        finally:
            await cast("httpx.AsyncByteStream", response.stream).aclose()

    async def _receive(self, response: httpx.Response, attempt: _Attempt) -> None:
        """Read the body as it comes, packed or not, and no more of it than is allowed."""
        if response.is_stream_consumed:  # a transport of a test, which had all of it at hand
            attempt.body = response.content
            return
        stream = response.stream
        if isinstance(stream, Body) and (body := stream.at_hand(self._max_body_bytes)) is not None:
            attempt.body = body
            return
        chunks: list[bytes] = []
        size = 0
        # Straight from the transport: nothing is unpacked and nothing cut into other pieces.
        async for chunk in cast("httpx.AsyncByteStream", stream):
            size += len(chunk)
            if size > self._max_body_bytes:
                attempt.problem = "answer_too_large"
                return
            chunks.append(chunk)
        attempt.body = b"".join(chunks)


class _OneHop(httpx.AsyncClient):
    """The client of httpx, whose requests go straight to its transport.

    Redirects, cookies, authentication and hooks are all switched off here; looking for each of
    them at every request took as long as the transport itself.
    """

    def __init__(self, carrier: httpx.AsyncBaseTransport, **bounds: Any) -> None:
        super().__init__(transport=carrier, **bounds)
        self._carrier = carrier

    async def send(self, request: httpx.Request, **_: Any) -> httpx.Response:
        """Send a request once; the answer's body is still to be read."""
        if self.is_closed:
            raise RuntimeError("the client has been closed")
        response = await self._carrier.handle_async_request(request)
        response.request = request
        return response


class _Attempt:
    """How far one attempt got."""

    __slots__ = ("body", "headers", "problem", "sent", "status")

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body: bytes | None = None
        self.problem = "unreadable_answer"

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Note that the request starts to be written; called by httpcore."""
        if event.endswith(_SENDING):
            self.sent = True

    def answered(self, failure: ApiError | None) -> RawAnswer | None:
        """Return the answer, if it came; of one that is no success the status is enough."""
        if self.status is None or (failure is not None and 200 <= self.status < 300):
            return None
        return RawAnswer(self.status, self.headers, self.body, self.problem)

    def failure(self, error: Exception) -> ApiError | None:
        """Say what an exception means at this point; None if it is none of the network's."""
        for unsent, reason, failure in _UNSENT:
            if isinstance(error, unsent):
                return failure(reason)
        if isinstance(error, httpx.ConnectError) or not self.sent:
            network = isinstance(error, httpx.TransportError | OSError)
            return NotSentError(_connect_problem(error)) if network else None
        for sent, reason in _SENT:
            if isinstance(error, sent):
                return AmbiguousError(reason)
        return AmbiguousError("broken_answer")


def _connect_problem(error: BaseException) -> str:
    """Find out why no connection came about, from the chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return "tls_certificate"
        if isinstance(seen, ssl.SSLError):
            return "tls"
        if isinstance(seen, socket.gaierror):
            return "dns"
        seen = seen.__cause__ or seen.__context__
    return "connect"


@lru_cache(maxsize=1024)
def _address(text: str) -> tuple[httpx.URL, bytes]:
    """Take an address apart, once: a site has two."""
    url = httpx.URL(text)
    return url, url.netloc


def _told(response: httpx.Response) -> dict[str, str]:
    """Give the headers that say something about the answer."""
    told: dict[str, str] = {}
    for name, value in response.headers.raw:
        known = _TELLING.get(name.lower())
        if known is not None:
            text = value.decode("latin-1")
            told[known] = f"{told[known]}, {text}" if known in told else text
    return told


@lru_cache(maxsize=64)
def _basic(api_key: str) -> bytes:
    """The key is the user, and the password is empty. Source: the API's "Authentication"."""
    return b"Basic " + base64.b64encode(f"{api_key}:".encode())
