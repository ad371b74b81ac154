"""Looks up the hosts of the API: one lookup of a host at a time, in a thread of its own.

The loop's own `getaddrinfo` shares a few threads among all hosts: some names whose server is
silent take all of them, and no other name is looked up. Here a silent name holds up its own host
alone.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from typing import Final, cast

from aiohappyeyeballs import AddrInfoType

__all__ = ["Resolver"]

#: Seconds for which an address is used without another lookup.
FRESH_S: Final = 30.0
#: Seconds for which the last good address stands in for a name server that does not answer.
GOOD_S: Final = 3600.0
#: Seconds that a lookup may take while there is such an address.
PATIENCE_S: Final = 1.0

Addresses = list[AddrInfoType]
_Host = tuple[str, int]


class Resolver:
    """Gives the addresses of hosts, on one event loop.

    Args:
        fresh_s: seconds for which an address is used without another lookup.
        good_s: seconds for which the last good address is used while the name server is silent.
        patience_s: seconds that a lookup may take while there is such an address.
    """

    def __init__(
        self,
        *,
        fresh_s: float = FRESH_S,
        good_s: float = GOOD_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._fresh_s = fresh_s
        self._good_s = good_s
        self._patience_s = patience_s
        self._found: dict[_Host, tuple[float, Addresses]] = {}
        self._under_way: dict[_Host, asyncio.Future[Addresses]] = {}

    async def find(self, name: str, port: int) -> Addresses:
        """Look a host up; the caller bounds the time.

        Raises:
            OSError: the name has no address (`socket.gaierror`).
            UnicodeError: it is no name.
        """
        host = name, port
        at, good = self._found.get(host, (0.0, None))
        age_s = time.monotonic() - at
        if good is not None and age_s < self._fresh_s:
            return good
        if _is_address(name):
            return _look_up(name, port, socket.AI_NUMERICHOST)
        lookup = self._under_way.get(host) or self._start(host)
        if good is None or age_s > self._good_s:
            return await asyncio.shield(lookup)
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(lookup)
        except TimeoutError:
            return good
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                raise
            return good

    def forget(self, name: str, port: int) -> None:
        """Look a host up anew next time: none of its addresses took a connection."""
        if (name, port) in self._found:
            at, good = self._found[name, port]
            self._found[name, port] = at - self._fresh_s, good

    def _start(self, host: _Host) -> asyncio.Future[Addresses]:
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[Addresses] = loop.create_future()
        self._under_way[host] = lookup

        def settle(found: Addresses | None, error: Exception | None) -> None:
            self._under_way.pop(host, None)
            if found is not None:
                self._found[host] = time.monotonic(), found
                lookup.set_result(found)
            elif error is not None:
                lookup.set_exception(error)
                lookup.exception()  # whoever asked may have gone

        def look_up() -> None:
            found: Addresses | None = None
            problem: Exception | None = None
            try:
                found = _look_up(*host)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                problem = error
            with suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(settle, found, problem)

        threading.Thread(target=look_up, name=f"lookup-{host[0]}", daemon=True).start()
        return lookup


def _look_up(name: str, port: int, flags: int = 0) -> Addresses:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    return cast("Addresses", found)


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()
