"""One connection to Redis: bounded, tried anew when it went silent, and named in errors.

redis-py's classes are extended: these functions give a subclass of the class it would have used.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.engine.name_lookup import addresses_of, addresses_of_async

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SilentTlsError", "async_connection", "over_within", "sync_connection"]

#: When the call that is under way is to be over, monotonic s; None where nothing bounds it.
_until: ContextVar[float | None] = ContextVar("until", default=None)
#: Shortest wait, s: a wait of none would not even look.
LEAST_S: Final = 0.001
#: Seconds of rest after which a connection is replaced: a firewall may have forgotten it.
IDLE_S: Final = 5.0


class SilentTlsError(OSError):
    """The port accepted the connection and did not answer the TLS handshake."""


@contextmanager
def over_within(seconds: float) -> Iterator[None]:
    """Bound what a block does with a client of one server, connecting and repeats included.

    The bounds of a connection are for each wait: on a line that loses packets several of them
    would add up.

    Raises:
        redis.TimeoutError: from the client, when the time is over.
    """
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


def _bounded(seconds: float | None) -> float:
    until = _until.get()
    most = 3600.0 if seconds is None else seconds
    return most if until is None else min(most, max(LEAST_S, until - time.monotonic()))


#: redis-py's class stands behind ours in the order of methods.
_Base: Any = object


class _Kept(_Base):  # type: ignore[misc]
    """What both connections remember.

    Attributes:
        place: where the server is, for errors; without a password.
        first_s: most seconds for the first answer on a reused connection. Then the command is
            sent again on a new one. None where nothing is repeated.
        heard_at: when the last reply came, monotonic s.
        is_reused: whether the connection was open already when the pool handed it out.
    """

    place: str
    first_s: float | None
    heard_at = 0.0
    is_reused = False
    socket_timeout: float | None
    socket_connect_timeout: float | None

    def note_use(self, is_open: bool) -> bool:
        """Note that the pool hands the connection out; says whether it is to be replaced."""
        # A subscription rests for long, and its owner reads what it misses.
        rests = not getattr(self, "_connect_callbacks", None)
        is_stale = is_open and rests and time.monotonic() - self.heard_at > IDLE_S
        self.is_reused = is_open and not is_stale
        return is_stale

    def first_bound(self) -> float | None:
        """Give the bound of the answer that is waited for, when there is a second try."""
        return self.first_s if self.is_reused else None

    def told(self, error: Exception) -> None:
        """Note in an error where it happened."""
        error.place = self.place  # type: ignore[attr-defined]


class _ForThreads(_Kept):
    """The parts of redis-py's connection for threads that are ours."""

    def connect(self) -> None:
        if self.note_use(self._sock is not None):
            self.disconnect()
        super().connect()

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        try:
            super().connect_check_health(*args, **options)
        except (redis.RedisError, OSError) as error:
            self.told(error)
            raise

    def disconnect(self, *args: Any, **options: Any) -> None:
        self.is_reused = False
        super().disconnect(*args, **options)

    def _connect(self) -> Any:
        given, name = self.socket_connect_timeout, getattr(self, "host", None)
        try:
            if name is None:  # a socket of this machine
                self.socket_connect_timeout = _bounded(given)
                return super()._connect()
            return self._connect_to(name, addresses_of(name, self.port, _bounded(given)))
        finally:
            self.socket_connect_timeout = given

    def _connect_to(self, name: str, addresses: list[str]) -> Any:
        given = self.socket_connect_timeout
        self._name = name
        left = len(addresses)
        for address in addresses:
            self.socket_connect_timeout = _bounded(given) / left
            left -= 1
            self._host = address
            try:
                return super()._connect()
            except OSError:
                if not left:
                    raise
            finally:
                self._host = name
        raise OSError("the name has no address")

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        self._host, address = self._name, self._host
        try:
            sock.settimeout(self.socket_connect_timeout)
            wrapped = super()._wrap_socket_with_ssl(sock)
            wrapped.settimeout(self.socket_timeout)
        except TimeoutError:
            raise SilentTlsError("the TLS handshake was not answered") from None
        finally:
            self._host = address
        return wrapped

    def read_response(self, *args: Any, **options: Any) -> Any:
        first_s = None if "timeout" in options else self.first_bound()
        if "timeout" not in options and (first_s or _until.get() is not None):
            options["timeout"] = _bounded(first_s or self.socket_timeout)
        try:
            reply = super().read_response(*args, **options)
        except redis.ReadOnlyError:
            self.disconnect()
            raise
        except redis.TimeoutError as error:
            self.told(error)
            if first_s:
                raise redis.ConnectionError("a connection went silent") from error
            raise
        except (redis.ConnectionError, OSError) as error:
            self.told(error)
            raise
        self.heard_at = time.monotonic()
        return reply


class _ForLoops(_Kept):
    """The parts of redis-py's connection for asyncio that are ours."""

    _address: str | None = None
    _turn: asyncio.Lock | None = None
    _opener: asyncio.Task[Any] | None = None

    async def connect(self) -> None:
        if self.note_use(self.is_connected):
            await self.disconnect(nowait=True)
        await super().connect()

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        # Who listens and who subscribes share a connection: the second one to find it broken
        # would open it again, and leave the first one's socket to the garbage collector.
        task = asyncio.current_task()
        if self._opener is not None and self._opener is task:
            # Part of the opening: what was subscribed is subscribed again.
            await super().connect_check_health(*args, **options)
            return
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            self._opener = task
            try:
                await super().connect_check_health(*args, **options)
            except (redis.RedisError, OSError) as error:
                self.told(error)
                raise
            finally:
                self._opener = None

    async def disconnect(self, *args: Any, **options: Any) -> None:
        self.is_reused = False
        await super().disconnect(*args, **options)

    def _connection_arguments(self) -> Any:
        found = dict(super()._connection_arguments())
        if found.get("ssl"):
            found["server_hostname"] = self.host
        return {**found, "host": self._address}

    async def _connect(self) -> None:
        given, name = self.socket_connect_timeout, getattr(self, "host", None)
        if name is None:
            await super()._connect()
            return
        began = time.monotonic()
        addresses = await addresses_of_async(name, self.port, _bounded(given))
        most_s = max(LEAST_S, _bounded(given) - (time.monotonic() - began))
        for tries, self._address in enumerate(addresses, 1):
            self.socket_connect_timeout = most_s / len(addresses)
            try:
                await super()._connect()
            except ssl.SSLError:
                raise
            except OSError as error:
                if tries == len(addresses):
                    if isinstance(error, TimeoutError) and hasattr(self, "ssl_context"):
                        raise SilentTlsError("the TLS handshake was not answered") from None
                    raise
            finally:
                self.socket_connect_timeout = given
            return
        raise OSError("the name has no address")

    async def read_response(self, *args: Any, **options: Any) -> Any:
        first_s = None if "timeout" in options else self.first_bound()
        given = self.socket_timeout
        if first_s:
            self.socket_timeout = first_s
        try:
            reply = await super().read_response(*args, **options)
        except redis.ReadOnlyError:
            await self.disconnect(nowait=True)
            raise
        except redis.TimeoutError as error:
            self.told(error)
            if first_s:
                raise redis.ConnectionError("a connection went silent") from error
            raise
        except (redis.ConnectionError, OSError) as error:
            self.told(error)
            raise
        finally:
            self.socket_timeout = given
        self.heard_at = time.monotonic()
        return reply


def sync_connection(kind: Any, place: str, first_s: float | None) -> Any:
    """Make a connection class for threads.

    It keeps to `over_within`. It leaves a server that turned replica: its name may point to the
    new primary by now, and only a new connection asks for the address.

    Args:
        kind: redis-py's class.
        place: where the server is, for errors.
        first_s: see `_Kept`.
    """
    return type("Connection", (_ForThreads, kind), {"place": place, "first_s": first_s})


def async_connection(kind: Any, place: str, first_s: float | None) -> Any:
    """Make a connection class for asyncio; see `sync_connection`."""
    return type("Connection", (_ForLoops, kind), {"place": place, "first_s": first_s})
