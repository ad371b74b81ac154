"""The floor: a bare asyncio script, the leanest client there is, and no promise at all.

Jobs are taken off a list in batches, calls go over connections that know this one request, pages
are published in batches. A job in hand is lost with the process; nothing is retried or paced.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

import redis
import redis.asyncio
import uvloop

from benchmarks.work import (
    PAGES,
    PATH,
    api_url,
    form,
    headers,
    in_flight,
    payload,
    published,
    redis_url,
)

__all__ = ["make"]

_JOBS = "bench:jobs"
_END = b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    """One call after the other, as long as there are jobs."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._job = 0
        self._parts = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._work.is_free(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._job:
            raise SystemExit(f"the API left in the middle of a call: {error}")

    def call(self, job: int, fields: dict[str, str]) -> None:
        self._job = job
        body = form(fields)
        self._transport.write(self._work.head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        data = self._parts + data
        end = data.find(_END)
        low = data[:end].lower()
        at = low.find(b"content-length:") + len(b"content-length:")
        if end < 0 or len(data) < end + 4 + int(low[at:].partition(b"\r\n")[0]):
            self._parts = data
            return
        self._parts = b""
        self._work.is_done(published(self._job, json.loads(data[end + 4 :])))
        self._job = 0
        self._work.is_free(self)


class _Work:
    def __init__(self) -> None:
        host = urlsplit(api_url()).netloc
        lines = [f"POST {PATH} HTTP/1.1", f"Host: {host}", *map(": ".join, headers().items())]
        self.head = "\r\n".join([*lines, "Content-Length: %d", "", ""]).encode()
        self._jobs: deque[bytes] = deque()
        self._free: list[_Connection] = []
        self._pages: list[str] = []
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._redis = redis.asyncio.Redis.from_url(redis_url())

    def is_free(self, connection: _Connection) -> None:
        if self._jobs:
            job, fields = json.loads(self._jobs.popleft())
            connection.call(job, fields)
        else:
            self._free.append(connection)
        if len(self._jobs) < in_flight() // 2:
            self._wanted.set()

    def is_done(self, page: str) -> None:
        self._pages.append(page)
        self._news.set()

    async def run(self) -> None:
        address = urlsplit(api_url())
        loop = asyncio.get_running_loop()
        for _ in range(in_flight()):
            await loop.create_connection(lambda: _Connection(self), address.hostname, address.port)
        await asyncio.gather(self._fetch(), self._publish())

    async def _fetch(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            found = await self._redis.lpop(_JOBS, in_flight())
            if not found:
                one = await self._redis.blpop([_JOBS], timeout=0)
                found = [one[1]]
            self._jobs.extend(found)
            while self._jobs and self._free:
                self.is_free(self._free.pop())
            if self._free:
                self._wanted.set()

    async def _publish(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            pages, self._pages = self._pages, []
            await self._redis.rpush(PAGES, *pages)


class _Jobs:
    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(redis_url())

    def enqueue(self, job: int) -> None:
        self._redis.rpush(_JOBS, json.dumps([job, payload(job)]))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        self._redis.rpush(_JOBS, *[json.dumps([job, payload(job)]) for job in jobs])


make = _Jobs

if __name__ == "__main__":
    uvloop.run(_Work().run())
