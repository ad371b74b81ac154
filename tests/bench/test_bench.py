"""`largesse bench`: the figures, the proof, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import redis
from rig.command import Command
from rig.processes import Processes, descendants
from rig.waiting import until

from worker.bench.report import Proof, quantile
from worker.bench.usage import cpu_s, peak_bytes

SMALL = ("bench", "--jobs", "200", "--processes", "2", "--concurrency", "16")


def test_bench_measures_on_a_broker_of_its_own(largesse: Command) -> None:
    """Every figure is there and above nothing; each of the jobs has one page of its own."""
    ran = largesse(*SMALL, "--json")
    assert ran.code == 0, ran.err
    (found,) = ran.objects()
    assert (found["jobs"], found["processes"], found["concurrency"]) == (200, 2, 16)
    proof = found["proof"]
    assert proof["holds"] is True
    assert proof["jobs"] == proof["pages_made"] == proof["different_pages"] == proof["calls"]
    assert proof["jobs"] == 200 + found["idle_ms"]["jobs"] + 1
    for name in ("jobs_per_s", "enqueue_per_s", "enqueue_many_per_s", "took_s"):
        assert found[name] > 0, name
    assert 0 < found["idle_ms"]["p50"] <= found["idle_ms"]["p99"] < 10_000
    assert all(value > 0 for value in found["cpu_s_per_1000_jobs"].values())
    assert all(value > 1 for value in found["peak_mb"].values())


def test_bench_leaves_a_given_redis_as_it_was(largesse: Command, redis_url: str) -> None:
    """Its keys are in a namespace of its own and go with it; the latency is kept to."""
    with redis.Redis.from_url(redis_url) as client:
        client.set("{largesse:0}:job:mine", "1")
        ran = largesse(*SMALL, "--redis-url", redis_url, "--latency-ms", "20", "--json")
        assert client.keys("*") == [b"{largesse:0}:job:mine"]
    assert ran.code == 0, ran.err
    (found,) = ran.objects()
    assert found["idle_ms"]["p50"] > 20
    assert found["peak_mb"]["broker"] is None


def test_bench_encrypts_when_asked_to(largesse: Command, redis_url: str) -> None:
    """The same figures and the same proof, with everything encrypted."""
    ran = largesse(*SMALL, "--encrypt", "--redis-url", redis_url, "--json")
    assert ran.code == 0, ran.err
    (found,) = ran.objects()
    assert found["encrypted"] is True
    assert found["proof"]["holds"] is True


def test_bench_speaks_to_people(largesse: Command, redis_url: str) -> None:
    """A line for each figure, with its unit."""
    ran = largesse("bench", "--jobs", "20", "-p", "1", "--redis-url", redis_url)
    assert ran.code == 0, ran.err
    assert re.search(r"^jobs +[\d,]+ a second$", ran.out, re.MULTILINE)
    assert re.search(r"^idle +p50 [\d.]+ ms, p99 [\d.]+ ms", ran.out, re.MULTILINE)
    assert "broker - MB" in ran.out


def test_bench_gives_up_in_time(largesse: Command, redis_url: str) -> None:
    """A backlog that takes too long is an error that says what to do; keys go all the same."""
    words = ("bench", "--jobs", "50", "-p", "1", "-t", "1", "--latency-ms", "2000")
    ran = largesse(*words, "--timeout", "1", "--redis-url", redis_url)
    assert ran.code == 1
    assert "of 50 jobs ended in 1 s. Measure fewer with --jobs" in ran.err
    assert "Traceback" not in ran.err
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_bench_ends_what_it_started_when_it_is_ended(spawn: Processes, redis_url: str) -> None:
    """SIGTERM in the middle of it: no process and no key is left."""
    words = ["python", "-m", "worker.cli", "bench", "--jobs", "1000", "--latency-ms", "5000"]
    process = spawn([*words, "--redis-url", redis_url], name="bench")
    with redis.Redis.from_url(redis_url) as client:
        until(lambda: client.keys("*:workers"), timeout_s=30, what="the workers")
        family = descendants(process.pid)
        assert len(family) >= 3
        process.terminate()
        assert process.wait() == 130
        assert client.dbsize() == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))


def test_bench_without_redis(largesse: Command) -> None:
    """An unreachable Redis is reported as everywhere, exit 4."""
    ran = largesse("bench", "--redis-url", "redis://127.0.0.1:1/0")
    assert ran.code == 4
    assert "Traceback" not in ran.err


def test_stand_in_repeats_the_page_of_a_key() -> None:
    """The same key is the same page, marked as replayed; another key is another page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.bench.api", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = re.findall(r"http://[\d.:]+", process.stdout.readline())[0]
        pages = []
        for key in ("a", "b", "a"):
            headers = {"chargebee-idempotency-key": key}
            request = urllib.request.Request(url, b"x=1", headers)
            with urllib.request.urlopen(request, timeout=5) as answer:
                replayed = answer.headers.get("chargebee-idempotency-replayed")
                pages.append((re.findall(r"page-\d+", answer.read().decode())[0], replayed))
        assert pages == [("page-0", None), ("page-1", None), ("page-0", "true")]
        process.stdin.write("\n")
        process.stdin.flush()
        assert '"calls": 3, "pages": 2' in process.stdout.readline()
    finally:
        process.stdin.close()
        assert process.wait(5) == 0
        process.stdout.close()


@pytest.mark.parametrize("name", ["succeeded", "different", "made"])
def test_proof_fails_when_a_number_is_off(name: str) -> None:
    """A job without a page, a page given twice, or a page too many: no proof."""
    good = Proof(jobs=10, succeeded=10, different=10, made=10, calls=12)
    assert good.holds
    assert not dataclasses.replace(good, **{name: 9}).holds
    assert not dataclasses.replace(good, **{name: 11}).holds


def test_quantiles_are_of_the_values_themselves() -> None:
    """The value below or at which a part lies; none of nothing."""
    values = [float(n) for n in range(100, 0, -1)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50, 99, 7)
    assert quantile([], 0.5) is None


def test_usage_is_that_of_living_processes() -> None:
    """This process has used CPU and memory; one that is gone cannot be told."""
    used = cpu_s([os.getpid()])
    assert used is not None
    assert used > 0
    assert (peak_bytes([os.getpid()]) or 0) > 5_000_000
    assert cpu_s([2**22 + 1]) is None
    assert peak_bytes([2**22 + 1]) is None
