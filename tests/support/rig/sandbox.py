"""The sandbox API as a process of its own, and its admin API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from rig.processes import Process
from rig.waiting import until
from worker.demo.embedded import free_port

#: Site and key that the sandbox knows when it is started without `--site`.
SITE = "acme-test"
API_KEY = "test_sandbox_key"


class SandboxAdmin:
    """The sandbox's admin API, as docs/sandbox.md has it; answers are parsed JSON.

    Args:
        url: origin of the sandbox.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/_sandbox"

    def get(self, path: str) -> dict[str, Any]:
        """GET below `/_sandbox/`."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> dict[str, Any]:
        """POST JSON below `/_sandbox/`."""
        return self._ask("POST", path, body)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE below `/_sandbox/`."""
        return self._ask("DELETE", path, None)

    def counts(self) -> dict[str, Any]:
        """Totals: `requests`, `executed`, `replayed`, `pages`, `max_pages_per_key`, ..."""
        return self.get("counts")

    def requests(self) -> list[dict[str, Any]]:
        """The whole request log, oldest first."""
        found: list[dict[str, Any]] = []
        last = 0
        while True:
            answer = self.get(f"requests?after={last}&limit=1000")
            if not answer["requests"]:
                return found
            found += answer["requests"]
            last = answer["last"]

    def pages(self) -> list[dict[str, Any]]:
        """Every page made, with its idempotency key."""
        found: list[dict[str, Any]] = self.get("pages")["pages"]
        return found

    def add_fault(self, fault: str, **rule: Any) -> str:
        """Add one rule, such as `add_fault("error", status=503, times=3)`; returns its id."""
        answer = self.post("faults", {"fault": fault, **rule})
        return str(answer["faults"][0]["id"])

    def clear_faults(self) -> None:
        """Remove all rules."""
        self.delete("faults")

    def set(self, **settings: Any) -> None:
        """Change settings, such as `set(latency_ms=100)`."""
        self.post("settings", settings)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock ahead."""
        self.post("clock", {"advance_s": seconds})

    def reset(self) -> None:
        """Forget pages, requests, counts, faults, settings and the clock."""
        self.post("reset", {})

    def _ask(self, method: str, path: str, body: object) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._url}/{path}",
            data=data,
            method=method,
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                parsed: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise ValueError(f"{method} {path}: {error.code} {text}") from None
        return parsed


class SandboxServer:
    """One `largesse sandbox` process on a loopback port, its state in a file that a kill leaves.

    Args:
        folder: where its output and its state go.
        options: more words for its command line.
        port: loopback port; a free one when not given.
    """

    def __init__(
        self, folder: Path, *, options: tuple[str, ...] = (), port: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self.site = SITE
        self.api_key = API_KEY
        self._options = options
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Origin of the API, for `CHARGEBEE_API_URL`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> SandboxAdmin:
        """The admin API."""
        return SandboxAdmin(self.url)

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError when it is stopped."""
        if self._process is None:
            raise RuntimeError("the sandbox is not running")
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point a worker or a producer at it."""
        return {
            "CHARGEBEE_SITE": SITE,
            "CHARGEBEE_API_KEY": API_KEY,
            "CHARGEBEE_API_URL": self.url,
        }

    def start(self) -> Self:
        """Start it and wait until it answers; returns itself."""
        words = ["python", "-m", "worker.sandbox", "--port", str(self.port), "--no-access-log"]
        words += ["--state", str(self.folder / "state.sqlite"), *self._options]
        self._process = Process(words, output=self.folder / "sandbox.log")
        until(self._healthy, timeout_s=20, what="the sandbox")
        return self

    def _healthy(self) -> bool:
        if self._process is not None and not self._process.running:
            raise RuntimeError(f"the sandbox ended at start:\n{self._process.output()[-2000:]}")
        return bool(self.admin.get("health")["ok"])

    def fresh(self) -> Self:
        """Give it to a test as if it was new: emptied, or started anew when it is not idle."""
        if self._process is not None and self._process.running:
            self._process.resume()
            if self.admin.counts()["in_flight"] == 0:
                self.admin.reset()
                return self
            self.kill()
        (self.folder / "state.sqlite").unlink(missing_ok=True)
        return self.start()

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def kill(self) -> None:
        """SIGKILL it; started again it still has every page it made."""
        if self._process is not None:
            self._process.kill()
            self._process = None
