"""What a call costs that nothing but a socket makes: the API's own part of a job's way."""

from __future__ import annotations

import socket
import time
from typing import Final
from urllib.parse import urlsplit

from benchmarks.work import PATH, form, headers, payload

__all__ = ["bare_ms"]

#: Calls of one measurement; the first warms up.
CALLS: Final = 21


def bare_ms(url: str, *, gap_s: float) -> float:
    """Give the median time of single calls over one kept connection, ms.

    Args:
        url: origin of the stand-in.
        gap_s: seconds between two calls.

    Raises:
        ConnectionError: it does not answer.
    """
    where = urlsplit(url)
    body = form(payload(0))
    fields = headers() | {"Host": where.netloc, "Content-Length": str(len(body))}
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    call = "\r\n".join([*lines, "", ""]).encode() + body
    found = []
    with socket.create_connection((where.hostname, where.port), timeout=10) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(CALLS):
            time.sleep(gap_s)
            started = time.perf_counter()
            line.sendall(call)
            if not line.recv(65_536).startswith(b"HTTP/1.1 200 "):
                raise ConnectionError("the stand-in refuses a bare call")
            found.append((time.perf_counter() - started) * 1000)
    return sorted(found[1:])[len(found) // 2]
