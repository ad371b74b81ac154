"""dramatiq's contract, part three: pipelines, groups, callbacks, and the order of signals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import group, pipeline
from dramatiq.middleware import GroupCallbacks, Middleware, SkipMessage
from dramatiq.rate_limits.backends import RedisBackend
from dramatiq.results import Results
from dramatiq.results.errors import ResultFailure, ResultMissing, ResultTimeout
from rig.crew import JOIN_MS, Crew

from worker.engine.results_backend import EngineResults

Paint = Callable[[Callable[..., Any]], Callable[..., Any]]


@pytest.fixture
def stored(crew: Crew) -> Crew:
    """A crew whose broker keeps results in the engine."""
    crew.add(Results(backend=EngineResults(crew.broker)))
    return crew


# -- callbacks


def test_callbacks_are_sent(crew: Crew, colour: Paint) -> None:
    """`on_success` gets the result, `on_failure` the exception of each failed run."""
    seen: list[tuple[str, Any]] = []
    crew.actor(lambda message, result: seen.append(("ok", result)), actor_name="ok")
    crew.actor(lambda message, error: seen.append(("no", error["type"])), actor_name="no")

    def work(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number * 2

    actor = crew.actor(colour(work), actor_name="work", max_retries=0)
    for number in (21, -1):
        actor.send_with_options(args=(number,), on_success="ok", on_failure="no")
    crew.start()
    crew.join()
    assert sorted(seen) == [("no", "ValueError"), ("ok", 42)]


# -- pipelines


def test_pipeline_passes_results_on(stored: Crew, colour: Paint) -> None:
    """Each message of a pipeline gets the result of the one before, and the last can be read."""
    add = stored.actor(colour(lambda x, y: x + y), actor_name="add", store_results=True)
    stored.start()
    pipe = add.message(1, 2) | add.message(3) | add.message(4)
    pipe.run()
    assert pipe.get_result(block=True, timeout=JOIN_MS) == 10
    assert list(pipe.get_results(block=True, timeout=JOIN_MS)) == [3, 6, 10]
    assert pipe.completed


def test_pipeline_can_ignore_results_and_wait(stored: Crew, colour: Paint) -> None:
    """`pipe_ignore` drops the result on the way; a pipeline may start with a delay."""
    first = stored.actor(colour(lambda: "dropped"), actor_name="first")
    last = stored.actor(colour(lambda: "end"), actor_name="last", store_results=True)
    stored.start()
    pipe = pipeline([first.message(), last.message_with_options(pipe_ignore=True)])
    pipe.run(delay=50)
    assert pipe.get_result(block=True, timeout=JOIN_MS) == "end"


def test_pipeline_stops_at_a_failure(stored: Crew, colour: Paint) -> None:
    """What comes after a failed message is not run."""
    seen: list[Any] = []

    def fail() -> None:
        raise ValueError("here")

    bad = stored.actor(colour(fail), actor_name="bad", max_retries=0)
    after = stored.actor(colour(seen.append), actor_name="after")
    stored.start()
    (bad.message() | after.message()).run()
    stored.join()
    assert seen == []
    assert len(stored.dead()) == 1


def test_pipeline_goes_on_with_the_ending(crew: Crew) -> None:
    """The next message is taken in by the same script that ends the one before."""
    calls: list[str] = []
    run = crew.broker.scripts.run

    def watched(name: str, shard: int, args: Any) -> Any:
        calls.append(name)
        return run(name, shard, args)

    crew.broker.scripts.run = watched  # type: ignore[method-assign]
    one = crew.actor(lambda: 1, actor_name="one")
    two = crew.actor(lambda x: None, actor_name="two")
    (one.message() | two.message()).run()
    calls.clear()
    crew.start()
    crew.join()
    assert "enqueue" not in calls


# -- groups


def test_group_runs_and_gives_results(stored: Crew, colour: Paint) -> None:
    """The results of a group come in the order of its messages."""
    double = stored.actor(colour(lambda x: x * 2), actor_name="double", store_results=True)
    stored.start()
    jobs = group(double.message(number) for number in range(20)).run()
    jobs.wait(timeout=JOIN_MS)
    assert jobs.completed
    assert jobs.completed_count == 20
    assert list(jobs.get_results()) == [number * 2 for number in range(20)]


def test_group_wait_gives_up(stored: Crew) -> None:
    """Waiting for a group ends with its timeout."""
    gate = threading.Event()
    slow = stored.actor(lambda: gate.wait(10), actor_name="slow", store_results=True)
    stored.start()
    jobs = group([slow.message()]).run()
    with pytest.raises(ResultTimeout):
        jobs.wait(timeout=100)
    gate.set()
    jobs.wait(timeout=JOIN_MS)


@pytest.fixture
def barriers(crew: Crew) -> Iterator[RedisBackend]:
    """Dramatiq's own barriers, on the same server."""
    backend = RedisBackend(url=crew.url)
    yield backend
    backend.client.close()


def test_group_callback_is_sent_once(crew: Crew, barriers: RedisBackend, colour: Paint) -> None:
    """When all of a group are done, its callback is sent, once."""
    crew.add(GroupCallbacks(barriers))
    done: list[int] = []
    finished: list[int] = []
    work = crew.actor(colour(done.append), actor_name="work")
    end = crew.actor(colour(lambda: finished.append(len(done))), actor_name="end")
    jobs = group(work.message(number) for number in range(10))
    jobs.add_completion_callback(end.message())
    crew.start()
    jobs.run()
    crew.join()
    assert finished == [10]


# -- signals


class Recorder(Middleware):
    """Notes the signals of messages, in order."""

    def __init__(self, name: str, seen: list[str]) -> None:
        for signal in ("enqueue", "process_message", "ack", "nack", "skip_message"):
            for when in ("before", "after"):
                if (when, signal) == ("before", "skip_message"):
                    continue
                setattr(self, f"{when}_{signal}", self._noting(f"{when}_{signal} {name}", seen))

    @staticmethod
    def _noting(text: str, seen: list[str]) -> Callable[..., None]:
        def note(*_: Any, **__: Any) -> None:
            seen.append(text)

        return note


def test_signals_come_in_order(crew: Crew, colour: Paint) -> None:
    """Before-signals come in the order of the middleware, after-signals in reverse."""
    seen: list[str] = []
    crew.add(Recorder("1", seen), Recorder("2", seen))
    crew.actor(colour(lambda: seen.append("run")), actor_name="a").send()
    crew.start()
    crew.join()
    crew.stop()
    assert seen == [
        "before_enqueue 1", "before_enqueue 2", "after_enqueue 2", "after_enqueue 1",
        "before_process_message 1", "before_process_message 2", "run",
        "after_process_message 2", "after_process_message 1",
        "before_ack 1", "before_ack 2", "after_ack 2", "after_ack 1",
    ]  # fmt: skip


def test_signals_of_a_failure(crew: Crew, colour: Paint) -> None:
    """A message that fails for good is rejected: nack in place of ack."""
    seen: list[str] = []
    crew.add(Recorder("1", seen))

    def fail() -> None:
        raise ValueError("here")

    crew.actor(colour(fail), actor_name="a", max_retries=0).send()
    crew.start()
    crew.join()
    crew.stop()
    assert seen[2:] == [
        "before_process_message 1", "after_process_message 1", "before_nack 1", "after_nack 1"
    ]  # fmt: skip


def test_signals_of_an_unknown_actor(crew: Crew) -> None:
    """A message without an actor is rejected and not processed."""
    seen: list[str] = []
    crew.add(Recorder("1", seen))
    crew.actor(lambda: None, actor_name="known")
    crew.broker.enqueue(
        dramatiq.Message(queue_name="default", actor_name="x", args=(), kwargs={}, options={})
    )
    crew.start()
    crew.join()
    crew.stop()
    assert seen[2:] == ["before_nack 1", "after_nack 1"]


def test_signals_of_the_worker(crew: Crew) -> None:
    """A worker tells when its process and it itself start and stop, with itself as argument."""
    seen: list[str] = []

    class Life(Middleware):
        def after_process_boot(self, broker: Any) -> None:
            seen.append("process_boot")

        def before_worker_boot(self, broker: Any, worker: Any) -> None:
            seen.append("before_boot")

        def after_worker_boot(self, broker: Any, worker: Any) -> None:
            seen.append("after_boot")

        def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
            seen.append("before_shutdown")

        def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
            seen.append("after_shutdown")

    crew.add(Life())
    crew.start()
    crew.stop()
    assert seen == ["process_boot", "before_boot", "after_boot", "before_shutdown",
                    "after_shutdown"]  # fmt: skip


# -- results


def test_result_is_read(stored: Crew, colour: Paint) -> None:
    """A stored return value is read by waiting, and read again."""
    message = stored.actor(colour(lambda: {"a": [1]}), actor_name="a", store_results=True).send()
    stored.start()
    assert message.get_result(block=True, timeout=JOIN_MS) == {"a": [1]}
    assert message.get_result() == {"a": [1]}


def test_failure_is_read(stored: Crew, colour: Paint) -> None:
    """A message that failed for good raises for its reader, after its retries."""

    def fail() -> None:
        raise ValueError("broken")

    actor = stored.actor(colour(fail), actor_name="a", store_results=True, max_retries=2)
    message = actor.send()
    stored.start()
    with pytest.raises(ResultFailure) as raised:
        message.get_result(block=True, timeout=JOIN_MS)
    assert (raised.value.orig_exc_type, raised.value.orig_exc_msg) == ("ValueError", "broken")


def test_result_travels_with_the_ending(
    stored: Crew, colour: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and failures are stored by the script that ends their message, by nothing else."""

    def alone(*_: Any) -> None:
        raise AssertionError("a result was stored by itself")

    monkeypatch.setattr(EngineResults, "_store", alone)

    def work(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number

    actor = stored.actor(colour(work), actor_name="work", store_results=True, max_retries=0)
    good, bad = actor.send(7), actor.send(-1)
    stored.start()
    stored.join()
    assert good.get_result() == 7
    with pytest.raises(ResultFailure):
        bad.get_result()
    assert stored.dead() == [bad.message_id]


def test_result_is_missing_before_it_is_there(stored: Crew) -> None:
    """Without waiting a result that is not there is missing; a retried message has none yet."""
    message = stored.actor(lambda: 1, actor_name="a", store_results=True).message()
    with pytest.raises(ResultMissing):
        message.get_result()
    with pytest.raises(ResultTimeout):
        message.get_result(block=True, timeout=50)


def test_result_of_a_skipped_message_is_none(stored: Crew) -> None:
    """A skipped message stores None, as dramatiq has it."""

    class Skip(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise SkipMessage("not today")

    stored.add(Skip())
    message = stored.actor(lambda: 1, actor_name="a", store_results=True).send()
    stored.start()
    assert message.get_result(block=True, timeout=JOIN_MS) is None


def test_result_is_kept_for_its_time(stored: Crew) -> None:
    """A result_ttl longer than the record's ten minutes is honoured."""
    actor = stored.actor(lambda: 1, actor_name="a", store_results=True, result_ttl=3_600_000)
    message = actor.send()
    stored.start()
    stored.join()
    left = stored.broker.client.pttl(stored.broker.keyspace.outcome(message.message_id))
    assert 3_500_000 < left <= 3_600_000


def test_result_is_told_to_a_waiting_reader_at_once(stored: Crew) -> None:
    """A reader that blocks is woken by the ending; it does not poll for it."""
    gate = threading.Event()
    done: list[float] = []

    def work() -> None:
        gate.wait(10)
        done.append(time.monotonic())

    message = stored.actor(work, store_results=True).send()
    stored.start()
    threading.Timer(0.3, gate.set).start()
    message.get_result(block=True, timeout=JOIN_MS)
    assert time.monotonic() - done[0] < 0.25
