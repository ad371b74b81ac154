"""Sessions and wrong passwords, on a clock of the test's."""

from __future__ import annotations

from worker.dashboard.sessions import (
    LIFE_S,
    SESSIONS_MAX,
    TRIES_MAX,
    TRIES_S,
    LoginLimiter,
    Sessions,
)


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


def test_session_ends_by_age() -> None:
    """After its life it opens nothing."""
    clock = Clock()
    sessions = Sessions(clock)
    session = sessions.begin("Ada")
    assert sessions.find(session.id) is session
    clock.now = LIFE_S + 1
    assert sessions.find(session.id) is None
    assert not sessions.is_alive(session)


def test_sessions_are_bounded_and_unlike() -> None:
    """Many visitors push out the oldest; no id and no secret comes twice."""
    sessions = Sessions()
    made = [sessions.begin("x") for _ in range(SESSIONS_MAX + 1)]
    assert sessions.find(made[0].id) is None
    assert sessions.find(made[-1].id) is made[-1]
    assert len({one.id for one in made} | {one.csrf for one in made}) == 2 * len(made)
    assert sessions.find(None) is None
    assert sessions.find("") is None


def test_what_was_said_is_said_once() -> None:
    """A sentence is for the next page alone."""
    session = Sessions().begin("Ada")
    session.say("done")
    assert session.take_flash() == [("good", "done")]
    assert session.take_flash() == []


def test_login_limiter_forgets_after_a_minute() -> None:
    """Five wrong passwords make an address wait; others, and later tries, need not."""
    clock = Clock()
    keeper = LoginLimiter(clock)
    for _ in range(TRIES_MAX):
        assert keeper.wait_s("a") == 0
        keeper.was_wrong("a")
    assert keeper.wait_s("a") == TRIES_S
    assert keeper.wait_s("b") == 0
    clock.now = TRIES_S
    assert keeper.wait_s("a") == 0
    keeper.was_right("a")
    keeper.was_wrong("a")
    assert keeper.wait_s("a") == 0
