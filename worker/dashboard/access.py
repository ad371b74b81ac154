"""The way in: who asks, from where, and the headers of every answer.

Host of this machine?  ->  session or token?  ->  page  ->  strict headers
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.dashboard.dashboard import Dashboard
from worker.dashboard.options import is_loopback
from worker.dashboard.sessions import LIFE_S, Session

__all__ = ["AccessMiddleware", "cookie_name", "is_right"]

#: Paths that need no session.
_OPEN: Final = ("/static/", "/login")
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # With "no-referrer" a browser would send forms of this very page without their origin.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class AccessMiddleware:
    """Lets in whom the options let in; a session is in `scope["state"]["session"]`.

    Args:
        app: the pages.
        dashboard: options and sessions.
    """

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        self._app = app
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        fresh: Session | None = None

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
                if self._dashboard.options.https:
                    answer["strict-transport-security"] = "max-age=31536000"
                if fresh is not None:
                    answer.append("set-cookie", self.cookie(fresh))
            await send(message)

        session = self._session(headers)
        refusal = self._refuse(scope, headers, session)
        if refusal is None:
            if session is None and self._dashboard.options.is_open:
                session = self._dashboard.sessions.passing("dashboard")
                if "text/html" in headers.get("accept", ""):
                    session = fresh = self._dashboard.sessions.begin("dashboard")
            if session is None and not scope["path"].startswith(_OPEN):
                refusal = _ask_to_log_in(scope, headers)
            scope.setdefault("state", {})["session"] = session
            scope["state"]["set_cookie"] = self.cookie
        await (refusal or self._app)(scope, receive, send_strictly)

    def cookie(self, session: Session | None) -> str:
        """Write the cookie of a session; None takes it away."""
        https = self._dashboard.options.https
        value, age = ("", 0) if session is None else (session.id, round(LIFE_S))
        secure = "; Secure" if https else ""
        return (
            f"{cookie_name(https)}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict"
            f"{secure}"
        )

    def _refuse(self, scope: Scope, headers: Headers, session: Session | None) -> Response | None:
        host = _host(headers)
        if self._dashboard.options.is_open and not is_loopback(host):
            # Another name that leads here (DNS rebinding) is not to be trusted without a password.
            text = "This dashboard has no password and is for http://localhost or 127.0.0.1 only."
            return PlainTextResponse(text, 421)
        if scope["method"] in {"GET", "HEAD"} or (session is not None and session.is_program):
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
        if foreign or headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return PlainTextResponse("Not from another site.", 403)
        return None

    def _session(self, headers: Headers) -> Session | None:
        token = self._dashboard.options.token
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme:
            right = token is not None and scheme.lower() == "bearer" and is_right(given, token)
            program = self._dashboard.sessions.passing("dashboard (token)", is_program=True)
            return program if right else None
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            return None
        found = cookie.get(cookie_name(self._dashboard.options.https))
        return self._dashboard.sessions.find(found.value if found is not None else None)


def cookie_name(https: bool) -> str:
    """Give the name of the session's cookie; the prefix binds it to this very host."""
    return "__Host-largesse" if https else "largesse_session"


def is_right(given: str, wanted: str) -> bool:
    """Compare two secrets in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _ask_to_log_in(scope: Scope, headers: Headers) -> Response:
    if "authorization" in headers or "text/html" not in headers.get("accept", ""):
        challenge = {"www-authenticate": 'Bearer realm="largesse"'}
        return PlainTextResponse("Log in, or send the token.", 401, challenge)
    query = scope["query_string"].decode("latin-1")
    there = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"/login?next={quote(there, safe='')}", 303)


def _host(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""
