"""Looking up host names within a bound: `getaddrinfo` itself knows no time-out.

Each name has at most one lookup under way, in a daemon thread that all callers share. While the
name server is silent, the last good addresses serve.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ipaddress
import os
import socket
import threading
from typing import Final

__all__ = ["SilentNameServerError", "addresses_of", "addresses_of_async"]

#: Seconds to wait for a fresh answer when earlier addresses are at hand.
FRESH_S: Final = 0.2

_Future = concurrent.futures.Future[list[str]]
_Name = tuple[int, str, int]  # process id, host, port: a fork does not inherit the thread

_lock = threading.Lock()
_under_way: dict[_Name, _Future] = {}
_last_good: dict[tuple[str, int], list[str]] = {}


class SilentNameServerError(OSError):
    """The name server did not answer in time."""


def addresses_of(host: str, port: int, timeout_s: float) -> list[str]:
    """Give the IP addresses of a host.

    Args:
        host: name or IP address.
        port: TCP port.
        timeout_s: most seconds to wait.

    Raises:
        SilentNameServerError: no answer in time, and no earlier one.
        socket.gaierror: the name is not known.
    """
    if _is_address(host):
        return [host]
    future = _look_up(host, port)
    try:
        return future.result(_wait_s(host, port, timeout_s))
    except (TimeoutError, concurrent.futures.TimeoutError, socket.gaierror) as error:
        return _earlier(host, port, error)


async def addresses_of_async(host: str, port: int, timeout_s: float) -> list[str]:
    """Give the IP addresses of a host; see `addresses_of`."""
    if _is_address(host):
        return [host]
    future = asyncio.shield(asyncio.wrap_future(_look_up(host, port)))
    try:
        async with asyncio.timeout(_wait_s(host, port, timeout_s)):
            return await future
    except (TimeoutError, socket.gaierror) as error:
        future.add_done_callback(_read)
        return _earlier(host, port, error)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _wait_s(host: str, port: int, timeout_s: float) -> float:
    return min(timeout_s, FRESH_S) if (host, port) in _last_good else timeout_s


def _earlier(host: str, port: int, error: Exception) -> list[str]:
    known = _last_good.get((host, port))
    if isinstance(error, socket.gaierror):
        if known and error.errno == socket.EAI_AGAIN:
            return known
        raise error
    if known:
        return known
    raise SilentNameServerError("the name server did not answer in time") from None


def _look_up(host: str, port: int) -> _Future:
    name = (os.getpid(), host, port)
    with _lock:
        future = _under_way.get(name)
        if future is None:
            future = _under_way[name] = concurrent.futures.Future()
            threading.Thread(
                target=_ask, args=(name, future), name="largesse-name-lookup", daemon=True
            ).start()
        return future


def _ask(name: _Name, future: _Future) -> None:
    _, host, port = name
    found: list[str] = []
    problem: Exception | None = None
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(row[4][0]) for row in rows))
        _last_good[host, port] = found
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        problem = error
    with _lock:
        _under_way.pop(name, None)
    if problem is None:
        future.set_result(found)
    else:
        future.set_exception(problem)


def _read(future: asyncio.Future[list[str]]) -> None:
    if not future.cancelled():
        future.exception()


os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)
