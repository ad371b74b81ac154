"""The chaos proxy: each fault does what its name says."""

from __future__ import annotations

import gc
import socket
import socketserver
import threading
import time
import warnings
from collections.abc import Iterator

import pytest
from rig.proxy import ChaosProxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class _EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A reset connection is what these tests are about."""


@pytest.fixture
def echo_port() -> Iterator[int]:
    """The port of an echo server."""
    with _EchoServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo_port: int) -> Iterator[ChaosProxy]:
    """A proxy before an echo server."""
    with ChaosProxy(echo_port) as chaos:
        yield chaos


def _connect(proxy: ChaosProxy, timeout_s: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_s)


def _echo(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    got = b""
    while len(got) < len(data):
        part = sock.recv(65536)
        if not part:
            break
        got += part
    return got


def test_proxy_passes_bytes_in_order(proxy: ChaosProxy) -> None:
    """Without faults a large message comes back unchanged."""
    data = bytes(range(256)) * 2000
    with _connect(proxy) as sock:
        threading.Thread(target=sock.sendall, args=(data,)).start()
        got = b""
        while len(got) < len(data):
            got += sock.recv(65536)
    assert got == data


def test_proxy_delays_both_ways_and_keeps_the_order(proxy: ChaosProxy) -> None:
    """Latency counts twice for an echo; jitter does not change the order."""
    proxy.set(latency_ms=100, jitter_ms=30)
    with _connect(proxy) as sock:
        began = time.monotonic()
        assert _echo(sock, b"0123456789") == b"0123456789"
        assert 0.2 <= time.monotonic() - began < 1
        for number in range(20):
            sock.sendall(b"%02d" % number)
        got = b""
        while len(got) < 40:
            got += sock.recv(64)
    assert got == b"".join(b"%02d" % number for number in range(20))


@pytest.mark.parametrize("way", ["up", "down"])
def test_proxy_holds_bytes_until_healed(proxy: ChaosProxy, way: str) -> None:
    """A stalled direction is silent; healing delivers what was held."""
    with _connect(proxy, 0.2) as sock:
        proxy.set(**{f"stall_{way}": True})
        sock.sendall(b"held")
        with pytest.raises(TimeoutError):
            sock.recv(4)
        proxy.heal()
        sock.settimeout(5)
        assert sock.recv(4) == b"held"


@pytest.mark.parametrize("way", ["up", "down"])
def test_proxy_drops_bytes_for_good(proxy: ChaosProxy, way: str) -> None:
    """Dropped bytes never come, even when healed; a new connection works."""
    with _connect(proxy, 0.2) as sock:
        proxy.set(**{f"drop_{way}": True})
        sock.sendall(b"gone")
        with pytest.raises(TimeoutError):
            sock.recv(4)
        proxy.heal()
        sock.sendall(b"also gone")
        with pytest.raises(TimeoutError):
            sock.recv(4)
    with _connect(proxy) as sock:
        assert _echo(sock, b"new") == b"new"


def test_proxy_resets_and_refuses(proxy: ChaosProxy) -> None:
    """A cut connection and a refused one end in a reset."""
    with _connect(proxy) as sock:
        assert _echo(sock, b"a") == b"a"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    proxy.set(refuse=True)
    with pytest.raises(ConnectionResetError), _connect(proxy) as sock:
        sock.recv(1)


def test_proxy_cuts_after_n_bytes_of_the_answer(proxy: ChaosProxy) -> None:
    """Exactly n bytes of the answer arrive, then a reset."""
    proxy.set(cut_down_after=3)
    with _connect(proxy) as sock:
        sock.sendall(b"abcdef")
        assert b"".join(sock.recv(1) for _ in range(3)) == b"abc"
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_proxy_half_open_leaves_the_client_waiting(proxy: ChaosProxy) -> None:
    """The client's connection stays open and is never answered again."""
    with _connect(proxy, 0.2) as sock:
        assert _echo(sock, b"a") == b"a"
        assert proxy.half_open() == 1
        sock.sendall(b"b")
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_proxy_throttles(proxy: ChaosProxy) -> None:
    """Bytes per second bound both ways of a connection."""
    proxy.set(bytes_per_s=20_000)
    with _connect(proxy) as sock:
        began = time.monotonic()
        assert _echo(sock, b"x" * 4000) == b"x" * 4000
        assert 0.35 <= time.monotonic() - began < 2


def test_proxy_follows_a_new_target(proxy: ChaosProxy) -> None:
    """New connections go to the new port; one that nobody listens on is reset."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy.retarget(closed.getsockname()[1])
        with pytest.raises(ConnectionResetError), _connect(proxy) as sock:
            sock.recv(1)


def test_proxy_stops_cleanly_while_connections_come(echo_port: int) -> None:
    """Connections that were just taken are closed too: what is left open would warn later."""
    for _ in range(20):
        chaos = ChaosProxy(echo_port).start()
        clients = [socket.socket() for _ in range(60)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", chaos.port))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            chaos.stop()
            del chaos
            gc.collect()
        for client in clients:
            client.close()
        assert [str(warning.message) for warning in caught] == []
