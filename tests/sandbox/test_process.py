"""The command line: options, the ready line, signals, and a state file that outlives a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rig.stopwatch import Stopwatch


def test_ready_line_is_all_of_stdout(
    start: Callable[..., Any], box_of: Callable[..., Any]
) -> None:
    """One JSON line with address and pid; requests are logged on stderr without private data."""
    process = start()
    box = box_of(process)
    assert process.ready == {
        "event": "sandbox.ready",
        "url": process.url,
        "pid": process.popen.pid,
        "sites": ["acme-test"],
    }
    page = box.gift("redirect_url=https://secret.example", chargebee_idempotency_key="secret-key")
    page_id = page.json()["hosted_page"]["id"]
    box.call("GET", f"/api/v2/hosted_pages/{page_id}")
    code, out, err = process.end()
    assert (code, out) == (0, "")
    lines = [json.loads(line) for line in err.splitlines()]
    assert [(line["kind"], line["status"]) for line in lines] == [
        ("gift_checkout", 200),
        ("retrieve", 200),
    ]
    for private in ("secret", page_id, "test_sandbox_key"):
        assert private not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_at_once(
    start: Callable[..., Any], box_of: Callable[..., Any], number: int
) -> None:
    """Exit code 0 within two seconds, stalled and slow answers in progress or not."""
    process = start("--latency-ms", "60000", "--no-access-log")
    box = box_of(process)
    box.post("/settings", {"latency_ms": 0})
    box.post("/faults", [{"fault": "stall", "requests": "1"}, {"fault": "latency", "ms": 60_000}])
    host, _, port = box.host.partition(":")
    request = (
        f"POST /api/v2/hosted_pages/checkout_gift_for_items HTTP/1.1\r\nHost: {box.host}\r\n"
        "Authorization: Basic dGVzdF9zYW5kYm94X2tleTo=\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    with (
        socket.create_connection((host, int(port))) as stalled,
        socket.create_connection((host, int(port))) as slow,
    ):
        stalled.sendall(request)
        assert stalled.recv(100).startswith(b"HTTP/1.1 200 OK")
        slow.sendall(request)
        while box.get("/counts")["in_flight"] != 1:
            pass
        began = Stopwatch()
        os.kill(process.popen.pid, number)
        out, err = process.popen.communicate(timeout=10)
        assert began.own_s < 2
    assert (process.popen.returncode, out, err) == (0, "", "")


def test_state_file_outlives_a_kill(
    start: Callable[..., Any], box_of: Callable[..., Any], tmp_path: Path
) -> None:
    """What was answered is there after a kill: the page, its key, and the moved clock."""
    state = str(tmp_path / "state.db")
    first = start("--state", state)
    box = box_of(first)
    box.post("/clock", {"advance_s": 1000})
    box.post("/catalogue", {"coupons": ["TEN"]})
    page = box.gift(chargebee_idempotency_key="k").json()["hosted_page"]
    with closing(sqlite3.connect(state)) as db:  # the log is written within moments, unasked
        while not db.execute("SELECT count(*) FROM requests").fetchone()[0]:
            pass
    requests = box.get("/requests")["requests"]
    first.popen.kill()
    first.popen.communicate()

    again = box_of(start("--state", state))
    assert again.get("/clock")["offset_ms"] >= 999_000
    answer = again.gift(chargebee_idempotency_key="k")
    assert answer.headers["chargebee-idempotency-replayed"] == "true"
    assert answer.json()["hosted_page"] == page
    assert again.get("/requests")["requests"][: len(requests)] == requests
    counts = again.get("/counts")
    assert (counts["requests"], counts["executed"], counts["replayed"]) == (2, 1, 1)
    assert again.get("/catalogue") == {"coupons": ["TEN"]}


def test_options_set_limits_sites_and_faults(
    start: Callable[..., Any], box_of: Callable[..., Any], tmp_path: Path
) -> None:
    """Sites, limits, latency and a file of faults come from the command line."""
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps([{"fault": "error", "times": 1}]))
    box = box_of(
        start(
            "--site=shop-test=test_a", "--site=shop-test=test_b", "--rate-per-minute=4",
            "--max-concurrent=9", "--latency-ms=20", f"--faults={faults}",
        )
    )  # fmt: skip
    settings = box.get("/settings")
    assert (settings["rate_per_minute"], settings["max_concurrent"]) == (4, 9)
    assert box.gift().status_code == 401
    keys = ["test_a", "test_b", "test_a", "test_b", "test_a"]
    assert [box.gift(key=key).status_code for key in keys] == [500, 200, 200, 200, 429]
    assert box.get("/requests")["requests"][2]["took_ms"] >= 20


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--site", "acme"], "NAME=API_KEY"),
        (["--site", "a=k", "--site", "b=k"], "another site"),
        (["--faults", "missing.json"], "missing.json"),
        (["--faults", "wrong.toml"], "fault"),
        (["--state", "no/such/folder/x.db"], "--state"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
        (["--port", "70000"], "--port"),
    ],
)
def test_wrong_option_is_explained(tmp_path: Path, options: list[str], text: str) -> None:
    """Exit code 2 and one line that says what to change; no traceback."""
    (tmp_path / "wrong.toml").write_text('[[faults]]\nfault = "nothing"\n')
    done = subprocess.run(
        [sys.executable, "-m", "worker.sandbox", "--port=0", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_taken_port_is_explained() -> None:
    """A port that somebody else has is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "worker.sandbox", f"--port={port}"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert str(port) in done.stderr
