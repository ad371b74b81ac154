"""A stand-in for the API that does next to nothing: each idempotency key gets a page of its own.

    python -m worker.bench.api LATENCY_MS

It says where it listens on stdout; each line on stdin is answered by what it has counted; the end
of stdin ends it. Unlike the sandbox it checks nothing, so that it is not what is measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any, Final

__all__: list[str] = []

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY: Final = re.compile(rb"\r\nchargebee-idempotency-key: *([^\r]+)", re.IGNORECASE)
_BODY: Final = (
    b'{"hosted_page":{"id":"%s","type":"checkout_gift","url":"http://127.0.0.1/pages/%s/",'
    b'"state":"created","embed":false,"created_at":1790000000,"expires_at":4102444800,'
    b'"object":"hosted_page","updated_at":1790000000,"resource_version":1790000000000}}'
)
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
)
_REPLAYED: Final = b"chargebee-idempotency-replayed: true\r\n"


class _Book:
    """What was made: the page of each key."""

    def __init__(self) -> None:
        self.calls = 0
        self.pages: dict[bytes, bytes] = {}

    def answer(self, head: bytes) -> bytes:
        self.calls += 1
        found = _KEY.search(head)
        key = found[1] if found else b"none-%d" % self.calls
        extra = _REPLAYED if key in self.pages else b""
        page = self.pages.setdefault(key, b"page-%d" % len(self.pages))
        body = _BODY % (page, page)
        return _ANSWER % (len(body), extra, body)

    def counts(self) -> dict[str, Any]:
        return {"calls": self.calls, "pages": len(self.pages), "cpu_s": time.process_time()}


class _Call(asyncio.Protocol):
    """One connection; calls come one after the other."""

    def __init__(self, book: _Book, latency_s: float) -> None:
        self._book = book
        self._latency_s = latency_s
        self._bytes = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP is
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        end = self._bytes.find(_HEAD_END)
        if end < 0:
            return
        length = _LENGTH.search(self._bytes, 0, end)
        whole = end + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._bytes) < whole:
            return
        answer = self._book.answer(self._bytes[:end])
        self._bytes = self._bytes[whole:]
        if self._latency_s > 0:
            asyncio.get_running_loop().call_later(self._latency_s, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(latency_s: float) -> None:
    loop = asyncio.get_running_loop()
    book = _Book()
    server = await loop.create_server(lambda: _Call(book, latency_s), "127.0.0.1", 0, backlog=4096)
    _say({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    # A thread of its own waits for stdin, so that files and pipes do alike.
    while await loop.run_in_executor(None, sys.stdin.readline):
        _say(book.counts())
    server.close()


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) / 1000))
