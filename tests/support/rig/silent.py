"""Hosts that say nothing: an API that takes calls and answers none, and a silent name server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

Silence = Literal["hang", "tls", "drip", "dns"]

#: Head of an answer whose body never comes to its end.
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
#: Seconds between two bytes of a body that drips.
_DRIP_S = 0.2


class SilentApi:
    """An API that takes every connection.

    The system takes connections and bytes for it; nobody reads them.

    Args:
        silence: `hang`: no answer; `tls`: no answer to the handshake; `drip`: the head of an
            answer, then a byte now and then; `dns`: its name server does not answer.
    """

    def __init__(self, silence: Silence) -> None:
        self._silence = silence
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._port = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._drip, name="drip", daemon=True)
        if silence == "drip":
            self._thread.start()

    def url(self, name: str) -> str:
        """Origin of the site of that name."""
        if self._silence == "dns":
            return f"http://{name}.example.test:{self._port}"
        scheme = "https" if self._silence == "tls" else "http"
        return f"{scheme}://127.0.0.1:{self._port}"

    def close(self) -> None:
        """Drop all connections."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._listener.close()

    def _drip(self) -> None:
        peers: list[socket.socket] = []
        self._listener.settimeout(0.01)
        while not self._stopped.wait(_DRIP_S):
            while True:
                try:
                    peer, _ = self._listener.accept()
                except TimeoutError:
                    break
                peers.append(peer)
                self._send(peer, _HEAD)
            for peer in peers:
                self._send(peer, b" ")
        for peer in peers:
            peer.close()

    @staticmethod
    def _send(peer: socket.socket, data: bytes) -> None:
        with suppress(OSError):  # the caller has given up
            peer.send(data)


class SilentNames:
    """A name server that takes every question and answers none.

    Args:
        folder: for the resolver's configuration.
    """

    def __init__(self, folder: Path) -> None:
        self._config = folder / "resolv.conf"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        # A name server has port 53: tests side by side each take an address of their own.
        for place in range(1, 255):
            with suppress(OSError):
                self._socket.bind((f"127.53.0.{place}", 53))
                break
        address, port = self._socket.getsockname()
        assert port == 53, "no address is free for a name server"
        self._config.write_text(f"nameserver {address}\noptions timeout:5 attempts:2\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def launch(self, words: Sequence[str]) -> list[str]:
        """Give the command that runs these words where this is the only name server."""
        program = sys.executable if words[0] == "python" else words[0]
        mounted = f'mount --bind {self._config} /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounted, "sh", program, *words[1:]]


def cannot_silence_names() -> str | None:
    """Say why there can be no silent name server here; None when there can."""
    command = ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/resolv.conf"]
    try:
        tried = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return "there is no unshare"
    return None if tried.returncode == 0 else "no mount namespace can be made"


Launch = Callable[[Sequence[str]], list[str]]
