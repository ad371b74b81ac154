"""One sandbox process for all tests here, emptied before each; a small client for it."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

GIFT_PATH = "/api/v2/hosted_pages/checkout_gift_for_items"
OFFER_PATH = "/api/v2/personalized_offers"
KEY = "test_sandbox_key"
FORM = "application/x-www-form-urlencoded"


class Process:
    """A sandbox started from its command line; ended by its pid."""

    def __init__(self, *options: str, cwd: Path | None = None) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "worker.sandbox", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        assert self.popen.stdout is not None
        ready, _, _ = select.select([self.popen.stdout], [], [], 20)
        line = self.popen.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"the sandbox did not start: {self.end()}")
        self.ready: dict[str, Any] = json.loads(line)
        self.url = str(self.ready["url"])

    def end(self) -> tuple[int, str, str]:
        """Ask it to end; exit code, rest of stdout, stderr."""
        self.popen.terminate()
        try:
            out, err = self.popen.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            out, err = self.popen.communicate()
        return self.popen.returncode, out, err


@dataclass(frozen=True)
class Heard:
    """What came over a raw connection, and how it ended: ``fin``, ``reset`` or ``silence``."""

    data: bytes
    end: str

    @property
    def body(self) -> bytes:
        """What follows the headers."""
        return self.data.partition(b"\r\n\r\n")[2]


class Box:
    """A client of one sandbox."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self.host = url.removeprefix("http://")
        self.client = client

    def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = KEY,
        body: str | bytes = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ) -> httpx.Response:
        """Send a request to the API."""
        return self.client.request(
            method,
            self.url + path,
            content=body,
            headers=list(headers.items() if isinstance(headers, Mapping) else headers),
            auth=None if key is None else (key, ""),
        )

    def gift(self, body: str = "", *, key: str = KEY, **headers: str) -> httpx.Response:
        """Ask for a gift checkout; ``chargebee_x=`` becomes the header ``chargebee-x``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call(
            "POST", GIFT_PATH, key=key, body=body, headers={"content-type": FORM} | named
        )

    def offer(self, payload: Any, *, key: str = KEY, **headers: str) -> httpx.Response:
        """Ask for offers, as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        kind = {"content-type": "application/json;charset=UTF-8"}
        return self.call("POST", OFFER_PATH, key=key, body=body, headers=kind | named)

    def get(self, path: str) -> Any:
        """GET below ``/_sandbox``."""
        answer = self.client.get(f"{self.url}/_sandbox{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, *, status: int | None = None) -> Any:
        """POST below ``/_sandbox``; any 2xx unless a status is given."""
        answer = self.client.post(f"{self.url}/_sandbox{path}", json=body)
        assert answer.status_code == status if status else answer.is_success, answer.text
        return answer.json()

    def fault(self, name: str, **members: Any) -> None:
        """Add a fault rule."""
        self.post("/faults", {"fault": name, **members})

    def last(self) -> dict[str, Any]:
        """The newest line of the request log."""
        found: dict[str, Any] = self.get("/requests")["requests"][-1]
        return found

    def raw(self, *, body: bytes = b"", path: str = GIFT_PATH, wait_s: float = 3.0) -> Heard:
        """Send a request over a plain socket and listen until it ends or falls silent."""
        host, _, port = self.host.partition(":")
        with socket.create_connection((host, int(port)), timeout=wait_s) as sock:
            sock.sendall(
                f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                "Authorization: Basic dGVzdF9zYW5kYm94X2tleTo=\r\n"
                f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            heard = b""
            while True:
                try:
                    data = sock.recv(65536)
                except ConnectionResetError:
                    return Heard(heard, "reset")
                except TimeoutError:
                    return Heard(heard, "silence")
                if not data:
                    return Heard(heard, "fin")
                heard += data


@pytest.fixture(scope="session")
def process() -> Iterator[Process]:
    """The one process, with a test site, another test site and a live one."""
    running = Process(
        "--no-access-log",
        "--site=acme-test=test_sandbox_key",
        "--site=other-test=test_other_key",
        "--site=acme=live_acme_key",
    )
    yield running
    code, out, err = running.end()
    assert (code, out, err) == (0, "", "")


@pytest.fixture(scope="session")
def shared_client() -> Iterator[httpx.Client]:
    """One pooled client for the session."""
    with httpx.Client(timeout=20) as client:
        yield client


@pytest.fixture
def box(process: Process, shared_client: httpx.Client) -> Box:
    """The sandbox, empty and with its first settings."""
    box = Box(process.url, shared_client)
    box.post("/reset", {})
    return box


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start a process of the test's own: ``start("--state", ...)``."""
    running: list[Process] = []

    def run(*options: str) -> Process:
        running.append(Process(*options, cwd=None))
        return running[-1]

    yield run
    for one in running:
        if one.popen.poll() is None:
            one.end()


@pytest.fixture
def box_of(shared_client: httpx.Client) -> Callable[[Process], Box]:
    """A client of a process of the test's own."""
    return lambda process: Box(process.url, shared_client)
