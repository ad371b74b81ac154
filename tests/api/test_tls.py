"""TLS is verified, and what fails before it stands was not sent."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig.program import program

from worker.api.client import ApiClient
from worker.errors import NotSentError

pytestmark = pytest.mark.usefixtures("each_loop")

KEY = "test_key"
Certify = Callable[..., Path]


@pytest.fixture(scope="module")
def certify(tmp_path_factory: pytest.TempPathFactory) -> Certify:
    """Make a self-signed certificate for a host; returns a file with it and its key."""
    openssl = program("openssl", package="openssl")

    def made(host: str = "localhost", *, days: int = 2) -> Path:
        folder = tmp_path_factory.mktemp("tls")
        key, request, certificate = folder / "key", folder / "request", folder / "certificate"
        extensions = folder / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        commands = [
            f"req {curve} -keyout {key} -out {request} -subj /CN={host}",
            (
                f"x509 -req -in {request} -signkey {key} -days {days} "
                f"-extfile {extensions} -out {certificate}"
            ),
        ]
        for command in commands:
            subprocess.run([openssl, *command.split()], check=True, capture_output=True)
        both = folder / "both"
        both.write_text(key.read_text() + certificate.read_text())
        return both

    return made


def server_side(certificate: Path) -> ssl.SSLContext:
    """Return a server's context with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def answer_all(peer: Any) -> None:
    """Answer every request."""
    while True:
        await peer.read_request()
        await peer.answer(200, b'{"ok": true}')


def attempt(
    serve: Any, behaviour: Any, *, tls: ssl.SSLContext | None = None, **settings: Any
) -> tuple[Any, list[bytes]]:
    """Call a server under https; return the answer or the error, and what the server read."""

    async def scenario() -> tuple[Any, list[bytes]]:
        async with asyncio.timeout(20), serve(behaviour, tls) as server:
            server.origin = server.origin.replace("http://", "https://")
            client = ApiClient(**settings)
            try:
                result: Any = await client.call(server.request(), api_key=KEY)
            except NotSentError as error:
                result = error
            await client.aclose()
            return result, server.requests

    return asyncio.run(scenario())


def test_trusted_certificate_is_accepted(serve: Any, certify: Certify) -> None:
    """With an authority of its own the client talks to a private server."""
    certificate = certify()
    trust = ssl.create_default_context(cafile=str(certificate))
    answer, requests = attempt(serve, answer_all, tls=server_side(certificate), ssl_context=trust)
    assert answer.body == {"ok": True}
    assert len(requests) == 1


def test_authority_of_the_environment_is_trusted(
    serve: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`SSL_CERT_FILE` adds no proxy and no netrc, but its authorities count."""
    certificate = certify()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    answer, _ = attempt(serve, answer_all, tls=server_side(certificate))
    assert answer.body == {"ok": True}


@pytest.mark.parametrize(
    ("host", "days", "trusted"),
    [("localhost", 2, False), ("other.example", 2, True), ("localhost", -1, True)],
    ids=["self-signed", "wrong host", "expired"],
)
def test_certificate_that_does_not_hold_is_not_sent(
    serve: Any, certify: Certify, host: str, days: int, trusted: bool
) -> None:
    """An unknown, foreign or expired certificate ends the attempt before a byte of the request."""
    certificate = certify(host, days=days)
    trust = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    error, requests = attempt(serve, answer_all, tls=server_side(certificate), ssl_context=trust)
    assert (type(error), error.reason) == (NotSentError, "tls_certificate")
    assert requests == []


def test_old_tls_is_not_spoken(serve: Any, certify: Certify) -> None:
    """A server that knows TLS 1.1 at most gets no request."""
    certificate = certify()
    context = server_side(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    trust = ssl.create_default_context(cafile=str(certificate))
    error, requests = attempt(serve, answer_all, tls=context, ssl_context=trust)
    assert (type(error), error.reason) == (NotSentError, "tls")
    assert requests == []


async def speak_plainly(peer: Any) -> None:
    """Answer whatever comes with plain HTTP."""
    await peer.reader.read(1)
    await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def hang_up(peer: Any) -> None:
    """Reset the connection in the middle of the handshake."""
    await peer.reader.read(1)
    peer.reset()


async def say_nothing(peer: Any) -> None:
    """Take the connection and never answer."""
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("behaviour", "settings", "reason"),
    [
        (speak_plainly, {}, "tls"),
        (hang_up, {}, "tls"),
        (say_nothing, {"connect_timeout_s": 0.3}, "connect_timeout"),
        (say_nothing, {"attempt_timeout_s": 0.6}, "connect_timeout"),
    ],
    ids=["plain server", "reset", "connect timeout", "half of the attempt's"],
)
def test_handshake_that_fails_is_not_sent(
    serve: Any, behaviour: Any, settings: dict[str, float], reason: str
) -> None:
    """A server without TLS, a reset or silence in the handshake: nothing was sent."""
    error, requests = attempt(serve, behaviour, **settings)
    assert (type(error), error.reason) == (NotSentError, reason)
    assert requests == []
