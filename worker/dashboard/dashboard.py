"""What every page needs: the operator, the options, the sessions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from starlette.requests import Request

from worker.dashboard.options import Options
from worker.dashboard.sessions import LoginLimiter, Session, Sessions
from worker.operator import OperatorClient
from worker.settings import Settings

__all__ = ["Dashboard", "session_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard.

    Attributes:
        options: how it is served.
        settings: sites and the window.
        operator: reads and acts.
        sessions, login_limiter: who is in.
        stopping: set when the process is asked to end.
    """

    options: Options
    settings: Settings
    operator: OperatorClient
    sessions: Sessions = field(default_factory=Sessions)
    login_limiter: LoginLimiter = field(default_factory=LoginLimiter)
    stopping: threading.Event = field(default_factory=threading.Event)


def session_of(request: Request) -> Session:
    """Give the session of a request."""
    session: Session = request.scope["state"]["session"]
    return session
