"""The Starlette application of a sandbox."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount

from worker.sandbox import admin
from worker.sandbox.api import Api
from worker.sandbox.sandbox import Sandbox


def create_app(sandbox: Sandbox) -> Starlette:
    """The API, the hosted pages and the admin side of one sandbox."""
    app = Starlette(
        routes=[
            Mount("/api/v2", app=Api(sandbox)),
            Mount("/_sandbox", routes=admin.routes(sandbox)),
        ],
    )
    app.state.sandbox = sandbox
    return app
