"""A server that is not the API: it notes every byte it is sent, and answers nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Self

from rig.program import program


class Spy:
    """Listens on loopback in a thread of its own.

    Args:
        context: speaks TLS with it; plain TCP without.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        #: What came, after decryption.
        self.heard = b""
        self.connections = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _listen(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with contextlib.suppress(OSError), peer:
                peer.settimeout(2)
                self._hear(peer)

    def _hear(self, peer: socket.socket) -> None:
        if self._context is None:
            self.heard += peer.recv(65536)
            return
        with self._context.wrap_socket(peer, server_side=True) as secure:
            self.heard += secure.recv(65536)


def certificate(folder: Path, *, days: int = 2, host: str = "localhost") -> Path:
    """Make a self-signed certificate and its key in one PEM file; needs the `openssl` command.

    Args:
        folder: an empty folder of its own.
        days: until it expires; negative = it has.
        host: whose it is.
    """
    folder.mkdir(parents=True)
    key, request, signed = folder / "key", folder / "request", folder / "signed"
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{host}\n")
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    commands = [
        f"req {curve} -keyout {key} -out {request} -subj /CN={host}",
        f"x509 -req -in {request} -signkey {key} -days {days} -extfile {extensions} -out {signed}",
    ]
    openssl = program("openssl", package="openssl")
    for command in commands:
        subprocess.run([openssl, *command.split()], check=True, capture_output=True)
    both = folder / "both"
    both.write_text(key.read_text() + signed.read_text())
    return both


def server_context(pem: Path, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Make a server's context with a certificate, up to a version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if newest is not None:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    return context
