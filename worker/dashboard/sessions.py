"""Who has logged in: kept in this process, so that a restart logs everybody out."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LoginLimiter", "Session", "Sessions"]

#: Seconds that a session lasts: a working day.
LIFE_S: Final = 12 * 3600.0
#: Sessions at the same time; the oldest make room.
SESSIONS_MAX: Final = 1000
#: Wrong passwords of one address within a minute, before it has to wait.
TRIES_MAX: Final = 5
TRIES_S: Final = 60.0
#: Addresses that are remembered; the oldest make room.
ADDRESSES_MAX: Final = 10_000


@dataclass(slots=True, kw_only=True)
class Session:
    """One browser.

    Attributes:
        id: what the cookie holds.
        csrf: what every form must hold.
        who: name for the audit list.
        ends_at: when it ends, in the seconds of the clock of `Sessions`.
        is_program: a program sent the token; a browser never does that by itself, so there is no
            form to protect.
        flash: sentences that the next page shows once: a tone and a text.
    """

    id: str
    csrf: str
    who: str
    ends_at: float
    is_program: bool = False
    flash: list[tuple[str, str]] = field(default_factory=list)

    def say(self, text: str, *, tone: str = "good") -> None:
        """Let the next page say something."""
        self.flash.append((tone, text))

    def take_flash(self) -> list[tuple[str, str]]:
        """Take what there is to say."""
        taken, self.flash = self.flash, []
        return taken


class Sessions:
    """All sessions of this process.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Session] = OrderedDict()

    def begin(self, who: str) -> Session:
        """Begin a session with an id of its own."""
        session = Session(
            id=secrets.token_urlsafe(32),
            csrf=secrets.token_urlsafe(32),
            who=who,
            ends_at=self._clock() + LIFE_S,
        )
        self._known[session.id] = session
        while len(self._known) > SESSIONS_MAX:
            self._known.popitem(last=False)
        return session

    @staticmethod
    def passing(who: str, *, is_program: bool = False) -> Session:
        """Make a session for one request alone."""
        return Session(
            id="", csrf=secrets.token_urlsafe(32), who=who, ends_at=0.0, is_program=is_program
        )

    def find(self, session_id: str | None) -> Session | None:
        """Find a session that has not ended."""
        session = self._known.get(session_id or "")
        if session is None or not self.is_alive(session):
            return None
        return session

    def is_alive(self, session: Session) -> bool:
        """Say whether a session goes on."""
        return session.id in self._known and session.ends_at > self._clock()

    def end(self, session: Session) -> None:
        """End a session."""
        self._known.pop(session.id, None)


class LoginLimiter:
    """Lets nobody try passwords without end.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Give the seconds that an address has to wait; 0 when it may try."""
        tries = self._wrong.get(address)
        if tries is None or len(tries) < TRIES_MAX:
            return 0.0
        return max(0.0, tries[0] + TRIES_S - self._clock())

    def was_wrong(self, address: str) -> None:
        """Count a wrong password."""
        tries = self._wrong.setdefault(address, deque(maxlen=TRIES_MAX))
        tries.append(self._clock())
        self._wrong.move_to_end(address)
        while len(self._wrong) > ADDRESSES_MAX:
            self._wrong.popitem(last=False)

    def was_right(self, address: str) -> None:
        """Forget what was wrong before."""
        self._wrong.pop(address, None)
