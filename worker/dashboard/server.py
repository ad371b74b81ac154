"""The process: a bound socket, uvicorn on it, one line when it is ready, a prompt end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.concurrency import run_in_threadpool

from worker.dashboard.app import create_app
from worker.dashboard.dashboard import Dashboard
from worker.errors import BrokerError

__all__ = ["bind", "serve"]

#: Seconds between two tries to note how deep the queue is; the first of a minute counts.
RECORD_S: Final = 15.0
#: Seconds in which the process's end is noticed.
LOOK_S: Final = 0.25
#: Seconds that requests in progress get when the process is asked to end.
GRACE_S: Final = 2


def bind(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any free one.

    Raises:
        OSError: it is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    except (TypeError, UnicodeError):  # as socket tells a name that is none
        sock.close()
        raise OSError(errno.EADDRNOTAVAIL, "no such address") from None
    return sock


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready and ends the streams of events first."""

    def __init__(self, dashboard: Dashboard, url: str) -> None:
        config = uvicorn.Config(
            create_app(dashboard),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)
        self._dashboard = dashboard
        self._url = url
        self._recording: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, without raising them again afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self._dashboard.stopping.set()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        ready = {"event": "dashboard.ready", "url": self._url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        self._recording = asyncio.create_task(_record_gauges(self._dashboard), name="gauges")


async def _record_gauges(dashboard: Dashboard) -> None:
    """Note how deep the queue is, minute by minute: no worker may be there to do it."""
    while not dashboard.stopping.is_set():
        with contextlib.suppress(BrokerError):
            await run_in_threadpool(dashboard.operator.record_depth)
        for _ in range(round(RECORD_S / LOOK_S)):
            if dashboard.stopping.is_set():
                return
            await asyncio.sleep(LOOK_S)


def serve(dashboard: Dashboard, sock: socket.socket) -> None:
    """Run until SIGTERM or SIGINT."""
    host, port = sock.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    _Server(dashboard, url).run(sockets=[sock])
