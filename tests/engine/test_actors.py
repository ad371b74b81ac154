"""dramatiq's contract, part one: messages, delays, priorities, limits."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import CurrentMessage, TimeLimitExceeded
from rig.crew import Crew
from rig.waiting import until

Paint = Callable[[Callable[..., Any]], Callable[..., Any]]


def test_send_runs_the_actor(crew: Crew, colour: Paint) -> None:
    """Every message runs once, with its arguments."""
    seen: list[tuple[Any, ...]] = []
    actor = crew.actor(colour(lambda *args, **kwargs: seen.append((args, kwargs))), actor_name="a")
    crew.start()
    for number in range(50):
        actor.send(number, name="x")
    crew.join()
    assert sorted(seen) == [((number,), {"name": "x"}) for number in range(50)]
    assert crew.dead() == []


def test_send_before_the_worker_starts(crew: Crew) -> None:
    """Messages wait for a worker."""
    seen: list[int] = []
    actor = crew.actor(seen.append, actor_name="a")
    for number in range(20):
        actor.send(number)
    crew.start()
    crew.join()
    assert sorted(seen) == list(range(20))


def test_send_with_delay(crew: Crew, colour: Paint) -> None:
    """A delayed message runs at its time, and later ones before it."""
    seen: list[tuple[str, float]] = []
    actor = crew.actor(colour(lambda n: seen.append((n, time.monotonic()))), actor_name="a")
    crew.start()
    begun = time.monotonic()
    actor.send_with_options(args=("late",), delay=400)
    actor.send("now")
    crew.join()
    assert [name for name, _ in seen] == ["now", "late"]
    assert seen[1][1] - begun >= 0.399
    assert seen[1][1] - begun < 2


def test_same_message_twice_runs_once(crew: Crew) -> None:
    """A message enqueued again while it waits is the same message."""
    seen: list[int] = []
    actor = crew.actor(seen.append, actor_name="a")
    message = actor.message(1)
    crew.broker.enqueue(message)
    crew.broker.enqueue(message)
    crew.start()
    crew.join()
    assert seen == [1]


def test_messages_sent_by_an_actor_run(crew: Crew, colour: Paint) -> None:
    """An actor may send to itself and others, to any queue."""
    seen: list[int] = []

    def down(number: int) -> None:
        seen.append(number)
        if number:
            actor.send(number - 1)
        else:
            other.send("end")

    ends: list[str] = []
    actor = crew.actor(colour(down), actor_name="down")
    other = crew.actor(colour(ends.append), actor_name="other", queue_name="second")
    crew.start()
    actor.send(5)
    until(lambda: ends, what="the last message")
    assert seen == [5, 4, 3, 2, 1, 0]


def test_priority_decides_among_what_was_pulled_together(crew: Crew) -> None:
    """Of messages that a worker pulled at the same time the lower number runs first."""
    seen: list[str] = []
    gate = threading.Event()
    blocker = crew.actor(lambda: gate.wait(10), actor_name="blocker")
    low = crew.actor(lambda: seen.append("low"), actor_name="low", priority=10)
    high = crew.actor(lambda: seen.append("high"), actor_name="high", priority=0)
    if crew.kind == "threads":  # two threads pull four messages
        for actor in (blocker, blocker, low, high):
            actor.send()
        crew.start(size=2)
        until(lambda: crew.broker.depth("default") == (0, 0, 4), what="all four pulled")
        time.sleep(0.05)  # from Redis' count to the consumer's own queue
        gate.set()
    else:  # the loop starts at once what it pulls
        for actor in (low, low, high, high):
            actor.send()
        crew.start()
    crew.join()
    assert seen == sorted(seen, key=["high", "low"].index)


def test_age_limit_sets_old_messages_aside(crew: Crew) -> None:
    """A message older than max_age is not run; it is a dead letter."""
    seen: list[int] = []
    actor = crew.actor(lambda: seen.append(1), actor_name="a", max_age=20)
    message = actor.send()
    time.sleep(0.03)
    crew.start()
    crew.join()
    assert seen == []
    assert crew.dead() == [message.message_id]


@pytest.mark.parametrize("stubborn", [False, True])
def test_time_limit_breaks_a_plain_actor_off(crew: Crew, stubborn: bool) -> None:
    """A plain actor gets TimeLimitExceeded, in its thread, under the loop too; it fails."""
    raised: list[str] = []

    def endless() -> None:
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                time.sleep(0.005)
        except TimeLimitExceeded as error:
            raised.append(type(error).__name__)
            if not stubborn:
                raise

    message = crew.actor(endless, time_limit=100, max_retries=0).send()
    crew.start()
    crew.join()
    assert raised == ["TimeLimitExceeded"]
    assert crew.dead() == ([] if stubborn else [message.message_id])


def test_time_limit_cancels_an_async_actor(crew: Crew) -> None:
    """A coroutine is cancelled at its limit and the message fails with TimeLimitExceeded."""
    cancelled: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    message = crew.actor(endless, time_limit=100, max_retries=0).send()
    crew.start()
    crew.join()
    assert cancelled == [True]
    assert crew.dead() == [message.message_id]
    assert "TimeLimitExceeded" in str(crew.stored(message.message_id).options["traceback"])


def test_time_limit_of_the_message_wins(crew: Crew, colour: Paint) -> None:
    """A limit given with the message stands over the actor's."""
    seen: list[int] = []

    def slow() -> None:
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            time.sleep(0.005)
        seen.append(1)

    actor = crew.actor(colour(slow), actor_name="slow", time_limit=100, max_retries=0)
    actor.send_with_options(time_limit=5_000)
    crew.start()
    crew.join()
    assert seen == [1]


def test_timeout_of_the_actors_own_is_no_time_limit(crew: Crew) -> None:
    """A TimeoutError raised by the actor is an ordinary failure."""

    async def fails() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)

    message = crew.actor(fails, max_retries=0).send()
    crew.start()
    crew.join()
    text = str(crew.stored(message.message_id).options["traceback"])
    assert "TimeoutError" in text
    assert "TimeLimitExceeded" not in text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_anything_an_actor_raises_is_its_failure(
    crew: Crew, colour: Paint, kind: type[BaseException], request: pytest.FixtureRequest
) -> None:
    """An actor that would end a program, or cancels itself, fails; the worker goes on."""
    if crew.kind == "threads" and kind is not asyncio.CancelledError:
        colour = _as_it_is  # such an exception ends the loop of dramatiq's own AsyncIO
    seen: list[int] = []

    def leave() -> None:
        raise kind

    message = crew.actor(colour(leave), actor_name="leave", max_retries=1).send()
    crew.start(size=2)
    crew.join()
    assert crew.dead() == [message.message_id]
    assert crew.stored(message.message_id).options["retries"] == 2
    crew.actor(colour(lambda: seen.append(1)), actor_name="next").send()
    crew.join()
    assert seen == [1]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def test_current_message(crew: Crew, colour: Paint) -> None:
    """CurrentMessage gives the actor its own message, also with many at the same time."""
    crew.add(CurrentMessage())
    seen: list[bool] = []

    def look(number: int) -> None:
        message = CurrentMessage.get_current_message()
        seen.append(message is not None and message.args == (number,))

    actor = crew.actor(colour(look), actor_name="look")
    for number in range(30):
        actor.send(number)
    crew.start()
    crew.join()
    assert seen == [True] * 30
    assert CurrentMessage.get_current_message() is None


def test_snooze_runs_the_message_again_later(crew: Crew, colour: Paint) -> None:
    """A copy of the current message, enqueued with a delay, runs once more; no retry is used."""
    crew.add(CurrentMessage())
    seen: list[float] = []

    def snooze() -> None:
        message = CurrentMessage.get_current_message()
        assert message is not None
        seen.append(time.monotonic())
        if len(seen) < 3:
            crew.broker.enqueue(message.copy(), delay=100)

    message = crew.actor(colour(snooze), actor_name="snooze", max_retries=0).send()
    crew.start()
    crew.join()
    assert len(seen) == 3
    assert all(later - earlier >= 0.099 for earlier, later in itertools.pairwise(seen))
    assert crew.dead() == []
    record = crew.broker.client.hgetall(crew.broker.keyspace.job(message.message_id))
    assert record[b"state"] == b"succeeded"


def test_snooze_survives_a_failure_after_it(crew: Crew) -> None:
    """A message snoozed and then failed for good still runs again: the send was accepted."""
    crew.add(CurrentMessage())
    runs: list[int] = []

    def snooze() -> None:
        runs.append(1)
        if len(runs) == 1:
            message = CurrentMessage.get_current_message()
            assert message is not None
            crew.broker.enqueue(message.copy(), delay=10)
            raise ValueError("after the snooze")

    crew.actor(snooze, max_retries=0).send()
    crew.start()
    crew.join()
    assert len(runs) == 2
    assert crew.dead() == []


def test_unknown_actor_is_a_dead_letter(crew: Crew) -> None:
    """A message of an actor that nobody knows is set aside; its neighbours run."""
    seen: list[int] = []
    actor = crew.actor(lambda: seen.append(1), actor_name="known")
    stray: dramatiq.Message[Any] = dramatiq.Message(
        queue_name="default", actor_name="unknown", args=(), kwargs={}, options={}
    )
    crew.broker.enqueue(stray)
    actor.send()
    crew.start()
    crew.join()
    assert seen == [1]
    assert crew.dead() == [stray.message_id]
    reason = crew.broker.client.hget(crew.broker.keyspace.job(stray.message_id), "reason")
    assert reason == b"ActorNotFound"


def test_undecodable_message_is_a_dead_letter(crew: Crew) -> None:
    """Bytes that are no message are set aside by themselves; their neighbours run."""
    seen: list[int] = []
    actor = crew.actor(seen.append, actor_name="a")
    messages = [actor.send(number) for number in range(6)]
    broken = [messages[1].message_id, messages[4].message_id]
    for message_id, data in zip(broken, (b"\xff\x00", b'{"queue_name": 1}'), strict=True):
        crew.broker.client.set(crew.broker.keyspace.message(message_id), data)
    crew.start()
    crew.join()
    assert sorted(seen) == [0, 2, 3, 5]
    assert sorted(crew.dead()) == sorted(broken)


def test_join_waits_and_gives_up(crew: Crew) -> None:
    """Join returns once all is done, and raises when its time is over before."""
    gate = threading.Event()
    actor = crew.actor(lambda: gate.wait(10), actor_name="a")
    actor.send()
    with pytest.raises(QueueJoinTimeout):
        crew.broker.join("default", timeout=50)
    crew.start()
    with pytest.raises(QueueJoinTimeout):
        crew.broker.join("default", timeout=100)
    gate.set()
    crew.broker.join("default", timeout=5_000)


def test_flush_drops_waiting_messages(crew: Crew) -> None:
    """What waits or is delayed in a queue goes, other queues stay; flush_all empties all."""
    seen: list[str] = []
    first = crew.actor(lambda: seen.append("first"), actor_name="first", queue_name="one")
    second = crew.actor(lambda: seen.append("second"), actor_name="second", queue_name="two")
    third = crew.actor(lambda: seen.append("third"), actor_name="third", queue_name="three")
    for number in range(3):
        first.send()
        first.send_with_options(delay=10 + number)
        third.send_with_options(delay=10)
    second.send()
    crew.broker.flush("one")
    assert crew.broker.depth("one") == (0, 0, 0)
    crew.start(queues=["one", "two"])
    crew.join("one", "two")
    assert seen == ["second"]
    crew.stop()
    crew.broker.flush_all()
    assert crew.broker.depth("three") == (0, 0, 0)


def test_worker_serves_only_its_queues(crew: Crew) -> None:
    """A worker started for some queues leaves the others' messages alone."""
    seen: list[str] = []
    mine = crew.actor(lambda: seen.append("mine"), actor_name="mine", queue_name="one")
    other = crew.actor(lambda: seen.append("other"), actor_name="other", queue_name="two")
    other.send()
    mine.send()
    crew.start(queues=["one"])
    crew.join("one")
    assert seen == ["mine"]
    assert crew.broker.depth("two") == (1, 0, 0)


def test_consume_of_an_undeclared_queue_is_refused(crew: Crew) -> None:
    """A queue must be declared, as with every broker of dramatiq."""
    with pytest.raises(QueueNotFound):
        crew.broker.consume("nobody")


def test_stop_lets_running_messages_end(crew: Crew, colour: Paint) -> None:
    """A worker that stops waits for what runs, and gives back what it has not begun."""
    begun = threading.Event()
    ended: list[int] = []

    def slow() -> None:
        begun.set()
        time.sleep(0.3)
        ended.append(1)

    actor = crew.actor(colour(slow), actor_name="slow")
    for _ in range(5):
        actor.send()
    crew.start(size=1)
    begun.wait(5)
    crew.stop()
    waiting, delayed, running = crew.broker.depth("default")
    assert (delayed, running) == (0, 0)
    assert 1 <= len(ended) == 5 - waiting <= 2
