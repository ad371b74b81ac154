"""The processes and settings of a deployment, without containers: `honcho start`."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from rig.processes import Process, Processes, descendants
from rig.waiting import until

from worker import Producer, Settings
from worker.demo.embedded import free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "chosen-by-chance"


class Deployed:
    """What the Procfile starts, on free ports, with settings from an .env file.

    Args:
        folder: where the .env file goes.
        redis_url: an empty database.
    """

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.ports = {9400: free_pair(), 8400: free_port(), 8500: free_port()}
        self.env = {
            "LARGESSE_REDIS_URL": redis_url,
            "CHARGEBEE_SITE": "acme-test",
            "CHARGEBEE_API_KEY": "test_sandbox_key",
            "CHARGEBEE_API_URL": f"http://127.0.0.1:{self.ports[8400]}",
            "LARGESSE_DASHBOARD_TOKEN": TOKEN,
            "LARGESSE_METRICS_PORT": str(self.ports[9400]),
            "SANDBOX_PORT": str(self.ports[8400]),
            "DASHBOARD_PORT": str(self.ports[8500]),
        }
        self.env_file = folder / "env"
        self.env_file.write_text("".join(f"{k}={v}\n" for k, v in self.env.items()), "utf-8")

    def start(self, spawn: Processes) -> Process:
        """Start all of it."""
        words = ["python", "-m", "honcho", "start", "--env", str(self.env_file)]
        words += ["--procfile", str(ROOT / "Procfile")]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return spawn(words, env={"PATH": path}, name="honcho")

    def is_healthy(self, check: list[str]) -> bool:
        """Run a health check of a container, on the port that the process has here."""
        moved = [
            re.sub(
                r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{self.ports[int(found[1])]}", word
            )
            for word in check
        ]
        done = subprocess.run(
            [sys.executable, *moved[1:]], capture_output=True, timeout=20, check=False
        )
        return done.returncode == 0

    def page(self, path: str) -> str:
        """Read a page of the dashboard."""
        address = f"http://127.0.0.1:{self.ports[8500]}{path}"
        asked = urllib.request.Request(address, headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return str(answer.read().decode())


def free_pair() -> int:
    """The first of two free ports that follow each other."""
    while True:
        port = free_port()
        with socket.socket() as after:
            try:
                after.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port


def health_checks(compose: dict[str, Any]) -> dict[str, list[str]]:
    """The words of each health check of our image and services, the interpreter first."""
    (text,) = re.findall(r"(?m)^    CMD (\[.+\])$", (ROOT / "Dockerfile").read_text("utf-8"))
    found = {"worker": json.loads(text)}
    for name in ("dashboard", "sandbox"):
        kind, *words = compose["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        found[name] = words
    assert all(words[0] == "python" for words in found.values())
    return found


def lives(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.fixture
def deployed(tmp_path: Path, redis_url: str) -> Deployed:
    """The Procfile's processes, not started yet."""
    return Deployed(tmp_path, redis_url)


def test_procfile_runs_a_whole_system_and_ends_it(
    deployed: Deployed, spawn: Processes, compose: dict[str, Any]
) -> None:
    """All three get well, a job goes through and is seen, and one SIGTERM leaves nothing."""
    checks = health_checks(compose)
    assert not any(deployed.is_healthy(check) for check in checks.values())
    honcho = deployed.start(spawn)
    for name, check in checks.items():
        until(lambda check=check: deployed.is_healthy(check), timeout_s=20, what=f"{name} is well")
    with Producer(Settings.from_env(deployed.env)) as producer:
        job = producer.gift_checkout({}, key="order-1")
        assert job.result(timeout=20).hosted_page
    assert job.id in deployed.page(f"/jobs/{job.id}")
    assert "Workers" in deployed.page("/")
    family = descendants(honcho.pid)
    assert len(family) >= 5
    honcho.terminate()
    honcho.wait(20)
    until(lambda: not any(lives(pid) for pid in family), what="the end of all")
