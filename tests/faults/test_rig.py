"""The rig itself: a fixture that cannot kill proves nothing."""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis
from rig.processes import Processes, descendants, is_marked, leftovers
from rig.server import RedisServer
from rig.stopwatch import Stopwatch
from rig.waiting import until


def test_redis_server_keeps_accepted_data_over_a_kill(redis_server: RedisServer) -> None:
    """SIGKILL and restart on the same port keep what AOF always accepted."""
    with redis_server.client() as client:
        client.set("kept", "yes")
        before = redis_server.pid
        redis_server.restart(kill=True)
        assert redis_server.pid != before
    with redis_server.client() as client:
        assert client.get("kept") == "yes"


def test_redis_server_paused_does_not_answer(redis_server: RedisServer) -> None:
    """A paused server times clients out, and answers again when resumed."""
    with redis_server.client(socket_timeout=0.2) as client:
        client.ping()
        redis_server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        redis_server.resume()
        assert client.ping()


def test_redis_server_takes_settings_at_run_time(redis_server: RedisServer) -> None:
    """CONFIG SET reaches the running server."""
    redis_server.config_set(maxmemory=123456789)
    with redis_server.client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": "123456789"}


def test_redis_url_is_empty_for_each_test(redis_url: str) -> None:
    """The shared server is flushed before each test that asks for it."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_redis_url_forgets_the_test_before(redis_url: str) -> None:
    """What the test before wrote is gone."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_spawn_ends_children_of_children(spawn: Processes) -> None:
    """Ending a process ends the ones it started, each by its pid."""
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = spawn(["python", "-c", code])
    child = int(until(process.output, what="the child's pid"))
    assert child in descendants(process.pid)
    assert is_marked(child)
    process.end()
    until(lambda: not is_marked(child), what="the end of the child")
    assert child not in leftovers()


def test_spawn_sends_signals_by_pid(spawn: Processes) -> None:
    """SIGKILL is seen as a negative exit code."""
    process = spawn(["python", "-c", "import time; time.sleep(60)"])
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL


def test_until_gives_up_in_time() -> None:
    """A condition that stays false ends in a TimeoutError that names it."""
    began = Stopwatch()
    with pytest.raises(TimeoutError, match="the moon"):
        until(lambda: False, timeout_s=0.1, what="the moon")
    assert began.own_s < 1


def test_stopwatch_counts_waits_in_full() -> None:
    """What a program waits for counts; only the queue for a processor does not."""
    watch = Stopwatch()
    time.sleep(0.3)
    assert 0.1 <= watch.own_s < 2
