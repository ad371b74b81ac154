"""The port of a worker process: three pages, on loopback, whatever else happens."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rig.waiting import until

from worker.process.health import Verdict
from worker.process.http_port import Port

Opened = Callable[..., Port]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open ports with `opened(number, ...)`; closed after the test."""
    ports: list[Port] = []

    def open_port(number: int, **changes: Any) -> Port:
        given: dict[str, Any] = {
            "live": lambda: Verdict(True, "live"),
            "ready": lambda: Verdict(False, "Redis is unreachable"),
            "metrics": lambda accept: (b"figures\n", f"text/plain; asked={accept}"),
        }
        port = Port("127.0.0.1", number, **{**given, **changes})
        ports.append(port)
        port.open()
        return port

    yield open_port
    for port in ports:
        port.close()


def ask(number: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Give status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type") or "", answer.read().decode()
    finally:
        connection.close()


def test_port_answers_its_pages(opened: Opened, free_port: int) -> None:
    """200 for yes, 503 for no with the reason, the metrics as asked for, 404 for the rest."""
    port = opened(free_port)
    until(lambda: port.number == free_port)
    plain = "text/plain; charset=utf-8"
    assert ask(free_port, "/livez") == (200, plain, "live\n")
    assert ask(free_port, "/readyz?verbose") == (503, plain, "Redis is unreachable\n")
    assert ask(free_port, "/metrics", Accept="x") == (200, "text/plain; asked=x", "figures\n")
    assert ask(free_port, "/metrics", "HEAD") == (200, "text/plain; asked=", "")
    assert ask(free_port, "/")[0] == 404
    assert ask(free_port, "/livez", "POST")[0] == 501


def test_port_says_nothing_about_its_insides(opened: Opened, free_port: int) -> None:
    """No version of the interpreter in the headers; a page that breaks gives no traceback."""

    def broken(accept: str) -> tuple[bytes, str]:
        raise RuntimeError("maria@example.com")

    port = opened(free_port, metrics=broken)
    until(lambda: port.number)
    with socket.create_connection(("127.0.0.1", free_port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(10_000) == b""
    connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=5)
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    assert answer.getheader("Server", "").strip() == "largesse"
    connection.close()


def test_port_that_is_taken_opens_later(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process waits for the port of its place, and its jobs do not wait for it."""
    monkeypatch.setattr("worker.process.http_port.AGAIN_S", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        port = opened(number)
        assert port.number is None
    until(lambda: port.number == number)
    assert ask(number, "/livez")[0] == 200


def test_port_takes_the_next_of_a_span(opened: Opened) -> None:
    """Processes that do not know their places share a span of ports."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        port = opened(first, span=64)
        number = until(lambda: port.number)
        assert first < number < first + 64


def test_port_closes(opened: Opened, free_port: int) -> None:
    """After the end nothing listens, and closing while it waits for the port ends it too."""
    port = opened(free_port)
    until(lambda: port.number)
    port.close()
    with pytest.raises(ConnectionRefusedError):
        ask(free_port, "/livez")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        waiting = opened(free_port)
        waiting.close()
        assert waiting.number is None
