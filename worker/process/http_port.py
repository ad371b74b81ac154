"""The port of a worker process: `/livez`, `/readyz`, `/metrics`, answered by threads of its own.

Not on the event loop, so that it answers when the loop does not.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from worker.process.health import Verdict

__all__ = ["Port"]

_log = logging.getLogger("worker.port")

#: Seconds that a client may take for its request.
CLIENT_S: Final = 5.0
#: Seconds until the next try when the port is taken: by the process whose place this one has.
AGAIN_S: Final = 1.0
#: Seconds after which the thread sees that it should end.
POLL_S: Final = 0.2
#: Seconds that the end waits for the thread.
LAST_S: Final = 1.0

Page = Callable[[str], tuple[bytes, str]]


class Port:
    """Serves HTTP from a thread, from `open` to `close`.

    Args:
        host: address to listen on.
        port: TCP port.
        span: how many ports from there on are tried; with 1 it waits until the port is free.
        live: answers `/livez`.
        ready: answers `/readyz`.
        metrics: gives body and content type of `/metrics` for an `Accept` header.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        span: int = 1,
        live: Callable[[], Verdict],
        ready: Callable[[], Verdict],
        metrics: Page,
    ) -> None:
        self._host = host
        self._ports = range(port, min(65_536, port + span))
        self._handler = type(
            "Handler", (_Handler,),
            {"probes": {"/livez": live, "/readyz": ready}, "metrics": staticmethod(metrics)},
        )  # fmt: skip
        self._closing = threading.Event()
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._run, name="largesse-port", daemon=True)
        #: The port it listens on, or None while it does not.
        self.number: int | None = None

    def open(self) -> None:
        """Start to serve; a port that is taken keeps no job from running."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._closing.set()
        server = self._server
        if server is not None:
            server.shutdown()
        self._thread.join(LAST_S)

    def _run(self) -> None:
        said = False
        while not self._closing.is_set():
            self._server = self._bind()
            if self._server is not None:
                with self._server as server:
                    self.number = server.server_address[1]
                    if not self._closing.is_set():
                        server.serve_forever(POLL_S)
                return
            if not said:
                text = "port %d for metrics and health is taken or not allowed: trying again"
                _log.warning(text, self._ports[0])
                said = True
            self._closing.wait(AGAIN_S)

    def _bind(self) -> _Server | None:
        for number in self._ports:
            try:
                return _Server((self._host, number), self._handler)
            except OSError:
                continue
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Two processes on one port would hide one of them.
    allow_reuse_port = False

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for our own name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "largesse", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what failed; a client that went away is none of our business."""
        _log.debug("a request to the port for metrics and health broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_S
    server_version = "largesse"
    sys_version = ""
    probes: dict[str, Callable[[], Verdict]]
    metrics: Page

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in self.probes:
            verdict = self.probes[path]()
            status = HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, f"{verdict.why}\n".encode(), "text/plain; charset=utf-8")
        elif path == "/metrics":
            body, content_type = self.metrics(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, body, content_type)
        else:
            body = b"there are /livez, /readyz and /metrics\n"
            self._answer(HTTPStatus.NOT_FOUND, body, "text/plain; charset=utf-8")

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a probe comes every few seconds."""
