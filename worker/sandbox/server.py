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

import uvicorn

from worker.sandbox.app import create_app
from worker.sandbox.sandbox import Sandbox
from worker.sandbox.wire import WireProtocol

#: Requests in progress get this long when the process is asked to end.
GRACE_S = 1


def bind(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any free one.

    Raises:
        OSError: when it is taken or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio would not turn Nagle's algorithm off: 40 ms an answer.
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


def origin_of(sock: socket.socket) -> str:
    """The address of a bound socket as an HTTP origin."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn that ends with exit code 0 on a signal and waits for nobody."""

    def __init__(self, sandbox: Sandbox, *, announce: bool = True) -> None:
        config = uvicorn.Config(
            create_app(sandbox),
            http=WireProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
            backlog=4096,
        )
        super().__init__(config)
        self._sandbox = sandbox
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, without raising them again afterwards."""
        if not self._announce:
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        yield

    def stop(self) -> None:
        """Ask it to end; to be called on its own loop."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self._announce:
            ready = {
                "event": "sandbox.ready",
                "url": self._sandbox.origin,
                "pid": os.getpid(),
                "sites": self._sandbox.sites.names,
            }
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End every connection at once: an answer that drips would never end by itself."""
        self._sandbox.stopping.set()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def serve(sandbox: Sandbox, sock: socket.socket) -> None:
    """Run until SIGTERM or SIGINT."""
    sandbox.origin = origin_of(sock)
    try:
        Server(sandbox).run(sockets=[sock])
    finally:
        sandbox.close()
