"""A cheap API in a process of its own: every call makes a page, after a fixed time.

It answers from one loop over epoll (Linux) with nothing but the work that a call needs, so that
it is never what a run waits for. It can answer the first calls at once and hold those that follow
until workers are warm: nothing is measured of their start. It keeps which pages it made for which
job.

It takes one word a line: `release`, `look`, `report`; the end of its input ends it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import deque
from typing import Any, Final, Self

from benchmarks.asked import Asked
from benchmarks.work import MARK

__all__ = ["StandIn"]

_BODY: Final = (
    b'{"hosted_page":{"id":"%s","type":"checkout_gift","url":"https://acme-test.chargebee.com/'
    b'pages/v3/%s/","state":"created","embed":false,"created_at":1790000000,"expires_at":'
    b'1999999999,"object":"hosted_page","updated_at":1790000000,"resource_version":'
    b"1790000000000}}"
)
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%s"
)
_REFUSAL: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LENGTH: Final = b"content-length:"
_END: Final = b"\r\n\r\n"
#: Most bytes of one read; a call has about 600.
_READ: Final = 65_536


class StandIn(Asked):
    """The API's process; a context manager.

    Args:
        latency_ms: time from a call to its answer.
        warm_up: calls that are answered at once, before those that follow are held; None holds
            none.
    """

    def __init__(self, latency_ms: float, *, warm_up: int | None = None) -> None:
        held = "" if warm_up is None else str(warm_up)
        command = [sys.executable, "-m", "benchmarks.stand_in", str(latency_ms), held]
        super().__init__("the stand-in", command)
        self.url = ""

    def __enter__(self) -> Self:
        super().__enter__()
        self.url = f"http://127.0.0.1:{self._answer()['port']}"
        return self

    def release(self) -> None:
        """Answer what is held, and all that comes."""
        self._ask("release")

    def look(self) -> dict[str, Any]:
        """Give `calls` so far, `in_flight` now, the `most` there were, `cpu_s` used."""
        return self._ask("look")

    def pages(self) -> dict[int, list[str]]:
        """Give the pages made for each job."""
        made = self._ask("report")["pages"]
        return {int(job): pages for job, pages in made.items()}


class _Loop:
    """The process itself."""

    def __init__(self, latency_s: float, warm_up: int | None) -> None:
        self._latency_s = latency_s
        self._warm_up = warm_up or 0
        self._held = warm_up is not None
        self._epoll = select.epoll()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        #: What came of a call that is not whole yet.
        self._parts: dict[int, bytes] = {}
        #: (when due, socket, answer), in the order of time, as all wait equally long.
        self._waiting: deque[tuple[float, socket.socket, bytes]] = deque()
        self._calls = self._most = 0
        self._pages: dict[int, list[str]] = {}

    def run(self) -> None:
        _tell({"port": self._listener.getsockname()[1]})
        listener, stdin = self._listener.fileno(), sys.stdin.fileno()
        while True:
            for number, _ in self._epoll.poll(self._pause_s()):
                if number == listener:
                    self._accept()
                elif number == stdin:
                    if not self._obey():
                        return
                else:
                    self._read(number)
            self._answer_due()

    def _pause_s(self) -> float:
        if self._held or not self._waiting:
            return -1
        return max(0.0, self._waiting[0][0] - time.monotonic())

    def _accept(self) -> None:
        while True:
            try:
                found, _ = self._listener.accept()
            except BlockingIOError:
                return
            found.setblocking(False)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[found.fileno()] = found
            self._epoll.register(found.fileno(), select.EPOLLIN)

    def _read(self, number: int) -> None:
        found = self._sockets[number]
        try:
            data = found.recv(_READ)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._parts.pop(number, None)
            del self._sockets[number]
            found.close()
            return
        if number in self._parts:
            data = self._parts.pop(number) + data
        end = data.find(_END)
        length = _length(data[:end]) if end >= 0 else 0
        if end < 0 or len(data) < end + len(_END) + length:
            self._parts[number] = data
            return
        self._take(found, data, end)

    def _take(self, found: socket.socket, data: bytes, end: int) -> None:
        mark = data.find(MARK, end)
        if mark < 0 or not data.startswith(b"POST ") or b"asic " not in data[:end]:
            found.send(_REFUSAL)
            return
        job = int(data[mark + len(MARK) :].partition(b"&")[0])
        self._calls += 1
        # Each call makes a page of its own, so that none that was made twice can hide.
        page = f"hp_{self._calls}_{os.urandom(8).hex()}"
        self._pages.setdefault(job, []).append(page)
        name = page.encode()
        body = _BODY % (name, name)
        answer = _ANSWER % (len(body), body)
        if self._held and self._calls <= self._warm_up:
            _send(found, answer)
        elif self._held or self._latency_s:
            self._waiting.append((time.monotonic() + self._latency_s, found, answer))
            self._most = max(self._most, len(self._waiting))
        else:
            _send(found, answer)

    def _answer_due(self) -> None:
        if self._held or not self._waiting:
            return
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, found, answer = self._waiting.popleft()
            _send(found, answer)

    def _obey(self) -> bool:
        word = sys.stdin.readline().strip()
        if word == "release":
            self._held = False
            # Spread over one latency, as calls of workers that have run for long are.
            start, count = time.monotonic(), len(self._waiting)
            self._waiting = deque(
                (start + self._latency_s * place / count, found, answer)
                for place, (_, found, answer) in enumerate(self._waiting)
            )
        used = os.times()
        _tell(
            {
                "calls": self._calls,
                "in_flight": len(self._waiting),
                "most": self._most,
                "cpu_s": used.user + used.system,
            }
            | ({"pages": self._pages} if word == "report" else {})
        )
        return bool(word)


def _length(head: bytes) -> int:
    low = head.lower()
    start = low.find(_LENGTH)
    return int(low[start + len(_LENGTH) :].partition(b"\r\n")[0]) if start >= 0 else 0


def _send(found: socket.socket, answer: bytes) -> None:
    try:
        # An answer fits into the buffer of a socket that carries one call at a time.
        found.send(answer)
    except OSError:
        return  # the caller has left; the call stays counted


def _tell(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _Loop(float(sys.argv[1]) / 1000, int(sys.argv[2]) if sys.argv[2] else None).run()
