"""The sandbox API as a process of its own."""

from __future__ import annotations

from pathlib import Path

from rig.processes import Process
from rig.server import free_port


class SandboxServer:
    """One `largesse sandbox` process on a loopback port.

    Args:
        folder: where its output goes.
        options: more words for its command line.
        port: loopback port; a free one when not given.
    """

    def __init__(self, folder: Path, *, options: tuple[str, ...] = (), port: int | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self._options = options
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Origin of the API, for `CHARGEBEE_API_URL`."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> SandboxServer:
        """Start it and wait until it listens."""
        raise RuntimeError("worker.sandbox is not importable")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.end()
            self._process = None
