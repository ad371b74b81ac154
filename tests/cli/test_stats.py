"""`largesse stats`: the last minutes and the queue, as a picture, as JSON, live."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from rig.command import Ran, clean
from rig.shelf import Shelf
from rig.system import System
from rig.waiting import until

from worker.cli.stats import spark
from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.metrics.counts import Counts
from worker.metrics.flusher import Flusher
from worker.metrics.minutes import minute_key

Typed = Callable[..., Ran]
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture
def busy(shelf: Shelf, redis_url: str) -> Shelf:
    """A shelf with a waiting job, and minutes in which two kinds of job ran at two sites."""
    shelf.gift()
    counted = Counts(sites=["acme-test", "globex"], kinds=["gift_checkout", "personalized_offer"])
    for site, kind in (("acme-test", "gift_checkout"), ("globex", "personalized_offer")):
        counted.attempted(site, kind, "snoozed")
        counted.called(
            site, kind, outcome="throttled", code="too_many", replayed=False, duration_ms=15
        )
        counted.attempted(site, kind, "succeeded")
        counted.called(site, kind, outcome="succeeded", code=None, replayed=True, duration_ms=15)
        counted.ended(site, kind, outcome="succeeded", error_class="", duration_ms=1_500)
    client = connect(redis_url, PRODUCER)
    Flusher(client, Keyspace(), counted).flush()
    old = redis_now_ms(client) // 60_000 - 30
    client.hset(minute_key(Keyspace(), 0, old), "globex|personalized_offer|jobs:failed", 3)
    client.close()
    return shelf


def test_stats_as_json(busy: Shelf, typed: Typed) -> None:
    """One object: the queue, each site, each place, their sum, each minute."""
    ran = typed("stats", "--json")
    assert ran.code == 0, ran.err
    (shown,) = ran.objects()
    assert list(shown) == [
        "at", "minutes", "queue", "workers", "sites", "places", "total", "by_minute"
    ]  # fmt: skip
    assert shown["queue"]["waiting"] == 1
    assert shown["queue"]["oldest_s"] < 60
    gift, offer = shown["places"]
    assert (gift["site"], gift["kind"]) == ("acme-test", "gift_checkout")
    assert (gift["succeeded"], gift["failed"], gift["attempts"], gift["retries"]) == (1, 0, 2, 1)
    assert (gift["calls"], gift["throttled"], gift["replayed"]) == (2, 1, 1)
    assert gift["api_ms"] == {"p50": 15.0, "p99": 19.9}
    assert 1000 < gift["total_latency_ms"]["p50"] < 2000
    assert (offer["site"], offer["failed"]) == ("globex", 3)
    total = shown["total"]
    assert (total["succeeded"], total["failed"], total["attempts"]) == (2, 3, 4)
    assert sum(one["succeeded"] for one in shown["by_minute"]) == 2
    assert shown["by_minute"][0]["minute"] <= shown["at"] - 29 * 60_000


def test_stats_shape_is_documented(busy: Shelf, typed: Typed) -> None:
    """docs/cli.md lists the fields that the object has, of a figure and of a site."""
    (shown,) = typed("stats", "--json").objects()
    section = DOCS.read_text("utf-8").split("\n## stats\n")[1].split("\n## ")[0]
    words = set(re.findall(r'"(\w+)"', section))
    fields = {
        *shown,
        *shown["queue"],
        *shown["workers"],
        *shown["places"][0],
        "p50",
        "p99",
        "minute",
    }
    for site in shown["sites"]:
        fields |= set(site)
    assert fields <= words
    assert words - fields <= {"paused_reason", "tripped_reason", "throttled_s", "budget_used",
                              "rate_per_minute", "in_flight", "max_in_flight", "oldest_s",
                              "adaptive_ratio"}  # fmt: skip


def test_stats_look_back_as_far_as_asked(busy: Shelf, typed: Typed) -> None:
    """Five minutes do not show what failed half an hour ago."""
    (shown,) = typed("stats", "--minutes", "5", "--json").objects()
    assert shown["minutes"] == 5
    assert shown["total"]["failed"] == 0
    assert typed("stats", "--minutes", "121").code == 2


def test_stats_as_a_picture(busy: Shelf, typed: Typed) -> None:
    """A line of the queue, a row for each place, their sum, the times of calls and jobs."""
    ran = typed("stats")
    assert ran.code == 0, ran.err
    assert re.search(r"waiting 1 \(oldest .*\) +running 0 +delayed 0 +dead 0 +held 0", ran.out)
    assert re.search(r"acme-test +gift-checkout +1 +0 +0 +0 +0 +1 +1 +15 ms +20 ms", ran.out)
    assert re.search(r"^ all +2 +3 +0 +0 +0 +2 +2", ran.out, re.MULTILINE)
    assert "█" in ran.out


def test_stats_of_nothing(typed: Typed) -> None:
    """An empty Redis is no error, and the person is told how to start a worker."""
    ran = typed("stats")
    assert ran.code == 0
    assert "largesse worker" in ran.err
    (shown,) = typed("stats", "--json").objects()
    assert shown["total"]["api_ms"] == {"p50": None, "p99": None}
    assert (shown["places"], shown["by_minute"]) == ([], [])


def test_stats_watch_a_running_fleet(system: System) -> None:
    """The live view goes on until Ctrl-C, shows what happens meanwhile and leaves no trace."""
    system.worker()
    system.producer().gift_checkout({}).result(20)
    words = ["python", "-m", "worker.cli", "stats", "--watch"]
    live = system.spawn([*words], env=system.environ, name="live")
    lines = system.spawn([*words, "--json"], env=system.environ, name="lines")

    def counted() -> bool:
        text = lines.output().strip().splitlines()
        return bool(text) and json.loads(text[-1])["total"]["succeeded"] == 1

    until(counted, timeout_s=20)
    for one in (live, lines):
        one.send(2)  # type: ignore[arg-type]
        assert one.wait() == 130
        assert "Traceback" not in one.output()
    assert "jobs a minute" in live.output()


def test_stats_are_a_live_view_on_a_terminal(system: System) -> None:
    """A screen of its own, drawn anew every two seconds; Ctrl-C gives the terminal back."""
    system.worker()
    system.producer().gift_checkout({}).result(20)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 160))
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "stats", "--watch"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=clean({**system.environ, "TERM": "xterm-256color"}),
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = bytearray()

    def shows(what: bytes) -> bool:
        with contextlib.suppress(BlockingIOError, OSError):
            seen.extend(os.read(ours, 65_536))
        return what in seen

    try:
        until(lambda: shows(b"workers  1 idle"), timeout_s=20, what="the worker")
        assert b"\x1b[?1049h" in seen  # the screen of its own
        # On 100 columns nothing is cut off.
        until(lambda: shows(b"gift-checkout"), timeout_s=20, what="the figures, drawn anew")
        assert "…".encode() not in seen
        process.send_signal(signal.SIGINT)
        until(lambda: shows(b"\x1b[?1049l"), what="the terminal as it was")
        assert process.wait(10) == 130
        assert b"Traceback" not in seen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ("values", "drawn"), [([], ""), ([0, 0], "  "), ([1, 8], "▁█"), ([0, 4, 8], " ▄█"), ([3], "█")]
)
def test_spark_draws_numbers(values: list[int], drawn: str) -> None:
    """The highest is a full block, the least is still one, nothing is a blank."""
    assert spark(values) == drawn
