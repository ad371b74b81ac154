"""`largesse dashboard` as a process: what it says, what it refuses, how it ends."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
import redis
from rig.command import Command, clean
from rig.processes import Processes
from rig.waiting import until


def test_dashboard_streams_and_ends_at_once(redis_url: str, spawn: Processes) -> None:
    """One line says where it is; SIGTERM ends it with 0, open streams or not."""
    process = spawn(
        ["python", "-m", "worker.cli", "dashboard", "--port", "0"],
        env=clean({"LARGESSE_REDIS_URL": redis_url}), name="dashboard",
    )  # fmt: skip
    line = until(process.output, timeout_s=30, what="the dashboard").splitlines()[0]
    ready = json.loads(line)
    assert (ready["event"], ready["pid"]) == ("dashboard.ready", process.pid)
    with httpx.Client(base_url=ready["url"]) as client, client.stream("GET", "/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "event: overview"
        html = json.loads(next(lines).removeprefix("data: "))
        assert 'data-live="cards"' in html
        process.terminate()
        assert process.wait(8) == 0
    assert process.output().count("\n") == 1


def test_dashboard_logs_a_page_that_breaks_without_its_values(
    redis_url: str, spawn: Processes
) -> None:
    """A fault of our own is one redacted line; the person is told that the log says more."""
    with redis.Redis.from_url(redis_url) as client:
        client.set("{largesse:0}:audit", "canary@example.com")
    process = spawn(
        ["python", "-m", "worker.cli", "dashboard", "--port", "0"],
        env=clean({"LARGESSE_REDIS_URL": redis_url}), name="dashboard",
    )  # fmt: skip
    url = json.loads(until(process.output, timeout_s=30, what="the dashboard"))["url"]
    answer = httpx.get(f"{url}/audit?q=canary@example.com")
    assert answer.status_code == 500
    assert "The log of this process says more." in answer.text

    def line() -> dict[str, str]:
        lines = [json.loads(one) for one in process.output().splitlines()]
        return next(one for one in lines if one.get("level") == "error")

    found = until(lambda: "error" in process.output() and line(), what="the line")
    assert found["logger"] == "uvicorn.error"
    assert "ResponseError" in found["traceback"]
    assert "canary" not in process.output()


def test_dashboard_says_that_redis_is_unreachable(free_port: int, spawn: Processes) -> None:
    """It starts all the same; the stream says what is wrong."""
    process = spawn(
        ["python", "-m", "worker.cli", "dashboard", "--port", "0"],
        env=clean({"LARGESSE_REDIS_URL": f"redis://127.0.0.1:{free_port}/0"}), name="dashboard",
    )  # fmt: skip
    url = json.loads(until(process.output, timeout_s=30, what="the dashboard"))["url"]
    assert httpx.get(url).status_code == 503
    with httpx.stream("GET", f"{url}/live") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: unreachable"
        assert "Redis" in next(lines)


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("--host", "0.0.0.0"), {}, "LARGESSE_DASHBOARD_PASSWORD"),
        ((), {"LARGESSE_DASHBOARD_PASSWORD": "short"}, "too short"),
        ((), {"LARGESSE_DASHBOARD_READ_ONLY": "perhaps"}, "LARGESSE_DASHBOARD_READ_ONLY"),
    ],
)
def test_dashboard_refuses_what_is_not_safe(
    largesse: Command, words: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    """Exit 3, with the setting and what to do, never with its value."""
    url = {"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"}
    ran = largesse("dashboard", *words, env={**url, **env})
    assert ran.code == 3
    assert says in ran.err
    assert "perhaps" not in ran.err


def test_dashboard_names_a_port_that_is_taken(largesse: Command) -> None:
    """Exit 3 and which."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = largesse(
            "dashboard", "--port", str(port), env={"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"}
        )
    assert ran.code == 3
    assert str(port) in ran.err
