"""dramatiq's contract, part two: retries, and what becomes of those that fail for good."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from dramatiq import Retry
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware as DramatiqMiddleware
from dramatiq.middleware import MiddlewareError, SkipMessage
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import StubBackend
from rig.crew import Crew

Paint = Callable[[Callable[..., Any]], Callable[..., Any]]


def failing(runs: list[float], *, times: int = 10**6) -> Callable[[], None]:
    """Make a function that notes when it ran and fails so many times."""

    def fail() -> None:
        runs.append(time.monotonic())
        if len(runs) <= times:
            raise ValueError("it fails")

    return fail


def test_failed_message_is_retried_until_it_succeeds(crew: Crew, colour: Paint) -> None:
    """A message that fails goes on living, and is no dead letter once it succeeds."""
    runs: list[float] = []
    message = crew.actor(colour(failing(runs, times=3)), actor_name="a").send()
    crew.start()
    crew.join()
    assert len(runs) == 4
    assert crew.dead() == []
    state = crew.broker.client.hget(crew.broker.keyspace.job(message.message_id), "state")
    assert state == b"succeeded"


def test_max_retries_exhausted_is_a_dead_letter(crew: Crew, colour: Paint) -> None:
    """After max_retries the message is set aside as it is now: retries and traceback in it."""
    runs: list[float] = []
    message = crew.actor(colour(failing(runs)), actor_name="a", max_retries=2).send()
    crew.start()
    crew.join()
    assert len(runs) == 3
    assert crew.dead() == [message.message_id]
    stored = crew.stored(message.message_id)
    assert stored.options["retries"] == 3
    assert "ValueError: it fails" in str(stored.options["traceback"])
    record = crew.broker.client.hgetall(crew.broker.keyspace.job(message.message_id))
    assert record[b"reason"] == b"ValueError"


def test_max_retries_of_the_message_wins(crew: Crew) -> None:
    """Options given with a message stand over the actor's."""
    runs: list[float] = []
    crew.actor(failing(runs), actor_name="a", max_retries=5).send_with_options(max_retries=1)
    crew.start()
    crew.join()
    assert len(runs) == 2


def test_backoff_is_kept(crew: Crew) -> None:
    """Between two runs at least min_backoff passes, and no more than max_backoff."""
    runs: list[float] = []
    actor = crew.actor(failing(runs, times=2), actor_name="a", min_backoff=150, max_backoff=300)
    actor.send()
    crew.start()
    crew.join()
    first, second = runs[1] - runs[0], runs[2] - runs[1]
    assert 0.149 <= first < 1.5
    assert 0.149 <= second < 1.5


def test_retry_when_decides(crew: Crew, colour: Paint) -> None:
    """`retry_when` replaces max_retries; it sees the count and the exception."""
    runs: list[float] = []
    asked: list[tuple[int, str]] = []

    def when(retries: int, error: BaseException) -> bool:
        asked.append((retries, type(error).__name__))
        return retries < 2

    actor = crew.actor(colour(failing(runs)), actor_name="a", max_retries=0, retry_when=when)
    message = actor.send()
    crew.start()
    crew.join()
    assert asked == [(0, "ValueError"), (1, "ValueError"), (2, "ValueError")]
    assert crew.dead() == [message.message_id]


def test_throws_is_not_retried(crew: Crew, colour: Paint) -> None:
    """An expected exception sets the message aside at once."""
    runs: list[float] = []
    message = crew.actor(colour(failing(runs)), actor_name="a", throws=ValueError).send()
    crew.start()
    crew.join()
    assert len(runs) == 1
    assert crew.dead() == [message.message_id]


def test_on_retry_exhausted_is_told(crew: Crew, colour: Paint) -> None:
    """The actor named gets the message and the counts, once."""
    told: list[tuple[str, dict[str, Any]]] = []
    crew.actor(lambda message, counts: told.append((message["message_id"], counts)),
               actor_name="undertaker")  # fmt: skip
    actor = crew.actor(
        colour(failing([])), actor_name="a", max_retries=1, on_retry_exhausted="undertaker"
    )
    message = actor.send()
    crew.start()
    crew.join()
    assert told == [(message.message_id, {"retries": 1, "max_retries": 1})]
    assert crew.dead() == [message.message_id]


def test_retry_with_a_delay(crew: Crew, colour: Paint) -> None:
    """`raise Retry(delay=)` sets the delay of the next run to the letter."""
    runs: list[float] = []

    def ask() -> None:
        runs.append(time.monotonic())
        if len(runs) == 1:
            raise Retry("not yet", delay=200)

    crew.actor(colour(ask), actor_name="ask", min_backoff=10_000).send()
    crew.start()
    crew.join()
    assert len(runs) == 2
    assert 0.199 <= runs[1] - runs[0] < 1.5


def test_rate_limited_message_is_retried(crew: Crew, colour: Paint) -> None:
    """A limiter that refuses is a reason to retry, as dramatiq has it."""
    limiter = ConcurrentRateLimiter(StubBackend(), "key", limit=1)
    runs: list[str] = []

    def limited() -> None:
        runs.append("asked")
        if len(runs) == 1:
            raise RateLimitExceeded("full")
        with limiter.acquire():
            runs.append("went")

    crew.actor(colour(limited), actor_name="limited").send()
    crew.start()
    crew.join()
    assert runs == ["asked", "asked", "went"]


def test_without_retries_a_failed_message_is_done(crew: Crew, colour: Paint) -> None:
    """Without the Retries middleware dramatiq marks a failed message done."""
    from dramatiq.middleware import Retries

    broker_middleware = crew.broker.middleware
    broker_middleware[:] = [one for one in broker_middleware if not isinstance(one, Retries)]
    runs: list[float] = []
    crew.broker.actor_options -= {"max_retries", "min_backoff", "max_backoff"}
    import dramatiq

    message = dramatiq.actor(actor_name="a", broker=crew.broker)(colour(failing(runs))).send()
    crew.start()
    crew.join()
    assert len(runs) == 1
    assert crew.dead() == []
    state = crew.broker.client.hget(crew.broker.keyspace.job(message.message_id), "state")
    assert state == b"succeeded"


class Guard(DramatiqMiddleware):
    """Raises before a message is processed, as long as it has something to raise."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Raise the next error."""
        if self.errors:
            raise self.errors.pop(0)


def test_middleware_error_fails_the_attempt(crew: Crew, colour: Paint) -> None:
    """A MiddlewareError raised before the run counts as the run's failure: it is retried."""
    crew.add(Guard(MiddlewareError("no"), MiddlewareError("no")))
    runs: list[int] = []
    crew.actor(colour(lambda: runs.append(1)), actor_name="a").send()
    crew.start()
    crew.join()
    assert runs == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_broken_middleware_does_not_stop_a_message(crew: Crew, colour: Paint) -> None:
    """Any other exception of a middleware is logged and the message runs, as dramatiq has it."""
    crew.add(Guard(ZeroDivisionError("a bug")))
    runs: list[int] = []
    crew.actor(colour(lambda: runs.append(1)), actor_name="a").send()
    crew.start()
    crew.join()
    assert runs == [1]


def test_skipped_message_is_done(crew: Crew, colour: Paint) -> None:
    """SkipMessage ends a message without running it; it is no dead letter."""
    crew.add(Guard(SkipMessage("not today")))
    runs: list[int] = []
    message = crew.actor(colour(lambda: runs.append(1)), actor_name="a").send()
    crew.start()
    crew.join()
    assert runs == []
    assert crew.dead() == []
    state = crew.broker.client.hget(crew.broker.keyspace.job(message.message_id), "state")
    assert state == b"succeeded"
