"""The Starlette application of a sandbox."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from worker.sandbox import admin, admin_page, checkout
from worker.sandbox.api import Api
from worker.sandbox.sandbox import Sandbox

_STATIC = Path(__file__).parent / "static"


def create_app(sandbox: Sandbox) -> Starlette:
    """The API, the hosted pages and the admin side of one sandbox."""
    app = Starlette(
        routes=[
            Mount("/api/v2", app=Api(sandbox)),
            Mount("/pages/v3", routes=checkout.routes(sandbox)),
            Mount(
                "/_sandbox",
                routes=[
                    Mount("/static", app=StaticFiles(directory=_STATIC)),
                    *admin.routes(sandbox),
                    *admin_page.routes(sandbox),
                ],
            ),
        ],
    )
    app.state.sandbox = sandbox
    return app
