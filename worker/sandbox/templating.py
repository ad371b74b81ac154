"""HTML from templates; everything is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader
from starlette.responses import HTMLResponse


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


_TEMPLATES = Environment(loader=PackageLoader("worker.sandbox"), autoescape=True)
_TEMPLATES.filters["time"] = _time


def render(
    name: str,
    *,
    status: int = 200,
    form_action: str = "'self'",
    frames: str = "'none'",
    **values: Any,
) -> HTMLResponse:
    """Render a template.

    Args:
        name: File name of the template.
        status: HTTP status.
        form_action: CSP sources that a form may lead to, redirects included.
        frames: CSP sources that may show it in a frame.
        **values: What the template needs.
    """
    policy = (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
        f"form-action {form_action}; frame-ancestors {frames}"
    )
    headers = {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return HTMLResponse(_TEMPLATES.get_template(name).render(values), status, headers)
