"""The admin page: requests, pages, customers and events, for a person."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.sandbox.sandbox import Sandbox
from worker.sandbox.templating import render

#: Rows of each table.
NEWEST = 50


def routes(sandbox: Sandbox) -> list[Route]:
    """``GET /_sandbox/``."""

    async def show(_: Request) -> Response:
        return _show(sandbox)

    return [Route("/", show)]


def _show(sandbox: Sandbox) -> Response:
    counts, pages = sandbox.journal.counts(), sandbox.pages.counts()
    clock = sandbox.clock.as_json()
    return render(
        "admin.html",
        sites=sandbox.sites.as_json(),
        now=clock["now"],
        offset_s=clock["offset_ms"] // 1000,
        frozen=clock["frozen"],
        totals={
            "Requests": counts["requests"],
            "Executed": counts["executed"],
            "Replayed": counts["replayed"],
            "Refused (429)": counts["refused_429"],
            "Pages": pages["pages"],
            "Customers": sandbox.customers.count(),
            "Events": sandbox.events.count(),
        },
        faults=sandbox.faults.as_json(),
        requests=sandbox.journal.read(limit=NEWEST, newest=True),
        pages=sandbox.pages.list(newest=NEWEST),
        customers=sandbox.customers.list(newest=NEWEST),
        events=sandbox.events.list(newest=NEWEST),
        newest=NEWEST,
    )
