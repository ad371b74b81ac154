"""A TCP proxy that misbehaves on demand: between workers, producers, Redis and the API.

It listens on loopback only and keeps its port, so that a target may go away and come back. What a
direction does is looked up for every chunk, so a change holds for open connections at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 16 * 1024
#: First retransmission of a lost packet; each further loss doubles it, as TCP does.
RETRANSMIT_S = 0.2
#: Connections that may wait to be taken: a fleet's threads come all at once.
BACKLOG = 512
#: How long a stop waits for connections that are being made to the target.
JOIN_S = 2.0

#: A chunk, or how its direction ends: `_FIN`, `_RST`; each with the loop time it may go on.
_FIN, _RST = object(), object()
_Queue = asyncio.Queue[tuple[float, bytes | object]]


@dataclass(frozen=True, slots=True)
class Faults:
    """What the proxy does now; `up` is client to target, `down` is target to client.

    Attributes:
        latency_ms: delay of every chunk, each way.
        jitter_ms: up to this much more, uniformly.
        loss: share 0..1 of chunks that come late, as after retransmissions.
        stall_up, stall_down: hold the bytes back until healed, as a partition does.
        drop_up, drop_down: throw the bytes away; the direction stays dead on that connection.
        drop_down_at: the same for the way down, from the first chunk that has these bytes in it.
        refuse: reset every new connection.
        stall_up_after: bytes of one connection that pass before it stalls.
        cut_up_after, cut_down_after: bytes of one connection that pass before it is reset.
        bytes_per_s: throttle, each way and connection.
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    stall_up: bool = False
    stall_down: bool = False
    drop_up: bool = False
    drop_down: bool = False
    drop_down_at: bytes | None = None
    refuse: bool = False
    stall_up_after: int | None = None
    cut_up_after: int | None = None
    cut_down_after: int | None = None
    bytes_per_s: float | None = None


class _Link:
    """One client connection and its connection to the target."""

    def __init__(self, client: asyncio.StreamWriter, target: asyncio.StreamWriter) -> None:
        self.client = client
        self.target = target
        self.tasks: list[asyncio.Task[None]] = []

    def close(self, *, reset: bool) -> None:
        for writer in (self.client, self.target):
            if reset:
                _reset(writer)
            else:
                writer.close()
        for task in self.tasks:
            task.cancel()


class ChaosProxy:
    """Runs in a thread of its own; every method may be called from any thread.

    Args:
        target_port: loopback port to connect to.
        seed: seed of jitter and loss.
        port: port to listen on; a free one when 0.
    """

    def __init__(self, target_port: int, *, seed: int = 1, port: int = 0) -> None:
        self.target_port = target_port
        self.port = port
        self.seed = seed
        self.faults = Faults()
        self.accepted = 0
        self._rng = random.Random(seed)
        self._links: set[_Link] = set()
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.socket()
        self._joining: set[asyncio.Task[None]] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)

    def start(self) -> Self:
        """Listen; returns itself."""
        self._thread.start()
        self._call(self._listen)
        return self

    def stop(self) -> None:
        """Close all connections and the port."""
        self._call(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._links)

    def set(self, **changes: Any) -> None:
        """Change some faults, named as in `Faults`; the others stay."""
        self._call(self._apply, replace(self.faults, **changes))

    def heal(self) -> None:
        """No faults: held bytes go on, dead directions stay dead."""
        self._call(self._apply, Faults())

    def cut(self, *, reset: bool = True) -> int:
        """Close every open connection, by RST or by FIN; returns how many."""
        return self._call(self._cut, reset)

    def half_open(self) -> int:
        """Forget the target's side of every connection: the client sees nothing, ever."""
        return self._call(self._half_open)

    def retarget(self, port: int) -> None:
        """Send new connections to another port, as a name that points elsewhere does."""
        self.target_port = port

    def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        async def run() -> T:
            return await function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept)

    async def _shut(self) -> None:
        """End every connection, also those that are just being made: none is left to warn."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._closing = True
        if self._joining:
            _, stuck = await asyncio.wait(self._joining, timeout=JOIN_S)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
        await self._cut(True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _apply(self, faults: Faults) -> None:
        self.faults = faults
        self._changed.set()
        self._changed = asyncio.Event()

    async def _cut(self, reset: bool) -> int:
        links = list(self._links)
        for link in links:
            link.close(reset=reset)
        self._links.clear()
        return len(links)

    async def _half_open(self) -> int:
        for link in self._links:
            for task in link.tasks:
                task.cancel()
            _reset(link.target)
        return len(self._links)

    def _accept(self) -> None:
        """Take one connection. asyncio's own server loses those it took as it is closed."""
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # gone again
        self.accepted += 1
        if self.faults.refuse:
            _linger_none(sock)
            sock.close()
            return
        sock.setblocking(False)
        task = self._loop.create_task(self._join(sock))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, sock: socket.socket) -> None:
        """Connect a client that was taken to the target."""
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            from_target, to_target = await asyncio.open_connection("127.0.0.1", self.target_port)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        if self._closing:
            _reset(writer)
            _reset(to_target)
            return
        link = _Link(writer, to_target)
        self._links.add(link)
        up: _Queue = asyncio.Queue(64)
        down: _Queue = asyncio.Queue(64)
        link.tasks = [
            asyncio.create_task(self._read(reader, up, "up")),
            asyncio.create_task(self._read(from_target, down, "down")),
            asyncio.create_task(self._write(link, to_target, up, "up")),
            asyncio.create_task(self._write(link, writer, down, "down")),
        ]

    async def _read(
        self,
        reader: asyncio.StreamReader,
        queue: _Queue,
        way: str,
    ) -> None:
        """Take bytes in and stamp them with the time they may go on."""
        passed = 0
        dead = False
        while True:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except OSError:
                chunk = b""
            faults = self.faults
            dead = dead or getattr(faults, f"drop_{way}")
            if way == "down" and faults.drop_down_at:
                dead = dead or faults.drop_down_at in chunk
            if dead and chunk:
                continue
            limit = getattr(faults, f"cut_{way}_after")
            if limit is not None and passed + len(chunk) > limit:
                await queue.put((0.0, chunk[: limit - passed]))
                await queue.put((0.0, _RST))
                return
            passed += len(chunk)
            await queue.put((self._loop.time() + self._delay_s(faults), chunk or _FIN))
            if not chunk:
                return

    async def _write(
        self,
        link: _Link,
        writer: asyncio.StreamWriter,
        queue: _Queue,
        way: str,
    ) -> None:
        """Let bytes go on in order, when they are due and nothing holds them."""
        passed = 0
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            while getattr(self.faults, f"stall_{way}"):
                await self._changed.wait()
            if not isinstance(chunk, bytes):
                break
            limit = self.faults.stall_up_after if way == "up" else None
            if limit is not None and passed + len(chunk) > limit:
                part = max(0, limit - passed)
                writer.write(chunk[:part])
                chunk = chunk[part:]
                while self.faults.stall_up_after is not None:
                    await self._changed.wait()
            passed += len(chunk)
            if self.faults.bytes_per_s:
                await asyncio.sleep(len(chunk) / self.faults.bytes_per_s)
            try:
                writer.write(chunk)
                await writer.drain()
            except OSError:
                break
        self._links.discard(link)
        link.close(reset=chunk is not _FIN)

    def _delay_s(self, faults: Faults) -> float:
        delay_s = (faults.latency_ms + self._rng.random() * faults.jitter_ms) / 1000
        lost_s = RETRANSMIT_S
        while faults.loss and self._rng.random() < faults.loss and lost_s < 4:
            delay_s += lost_s
            lost_s *= 2
        return delay_s


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close by RST: what the peer sees when a machine restarts."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        _linger_none(sock)
    writer.transport.abort()


def _linger_none(sock: socket.socket) -> None:
    """Make the socket's close a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
