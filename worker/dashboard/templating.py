"""HTML from templates; everything is escaped, nothing is inline."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from worker.dashboard.dashboard import Dashboard
from worker.operator.durations import spell_ms
from worker.version import __version__

__all__ = ["fragment", "render"]

#: What a state looks like: tones of the style sheet.
_TONES: Final = {
    "succeeded": "good", "open": "good", "failed": "bad", "expired": "bad", "tripped": "bad",
    "unserved": "bad",
    "held": "warn", "paused": "warn", "throttled": "warn", "full": "warn", "cancelled": "",
    "running": "busy", "waiting": "busy", "busy": "busy", "idle": "good", "stuck": "bad",
    "lost": "bad", "silent": "warn", "stopping": "warn",
}  # fmt: skip
#: Stands where there is nothing.
NONE: Final = "\N{EN DASH}"


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return NONE
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _seconds(value: float | None) -> str:
    """Write seconds as people read them: 12 ms, 1.4 s, 3 min."""
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else spell_ms(round(value * 1000))


_TEMPLATES: Final = Environment(
    loader=PackageLoader("worker.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "when": _when,
    "iso": _iso,
    "span": spell_ms,
    "seconds": _seconds,
    "kind": lambda kind: str(kind).replace("_", "-"),
    "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "tone": lambda state: _TONES.get(str(state), ""),
    "slug": lambda name: str(name).replace(" ", "-"),
    "number": lambda value: f"{value:,}",
    "mib": lambda value: f"{value / (1 << 20):,.1f} MiB",
}


def fragment(name: str, **values: Any) -> str:
    """Render a part of a page."""
    return _TEMPLATES.get_template(name).render(values)


def render(
    dashboard: Dashboard, request: Request, name: str, *, status: int = 200, **values: Any
) -> HTMLResponse:
    """Render a page.

    Args:
        dashboard: the dashboard.
        request: what is answered.
        name: file name of the template.
        status: HTTP status.
        **values: what the template needs.
    """
    session = request.scope["state"].get("session")
    given = {
        "path": request.url.path,
        "session": session,
        "csrf": session.csrf if session is not None else "",
        "flash": session.take_flash() if session is not None else [],
        "read_only": dashboard.options.read_only,
        "may_reveal": dashboard.options.reveal,
        "has_login": not dashboard.options.is_open,
        "version": __version__,
        "counts": {"dead": 0, "held": 0},
        **values,
    }
    return HTMLResponse(fragment(name, **given), status)
